"""Sequences that are encoded in pieces of like length."""

import pytest
import torch
from torch import Tensor

from monge.nn import interests
from monge.nn.interests import InterestEncoder, states_by_length

N_ITEMS, LONGEST, DIM = 9, 6, 4


@pytest.fixture
def encoder() -> InterestEncoder:
    torch.manual_seed(3)
    made = InterestEncoder(DIM, n_blocks=2, n_heads=2, dropout=0.0, max_length=LONGEST).double()
    for weight in made.parameters():
        weight.data = 0.6 * torch.randn(weight.shape, dtype=weight.dtype)
    return made


def sequences(lengths: list[int]) -> Tensor:
    rows = [torch.cat([torch.full((LONGEST - n,), N_ITEMS), torch.randint(N_ITEMS, (n,))]) for n in lengths]
    return torch.stack(rows) if rows else torch.empty(0, LONGEST, dtype=torch.int64)


@pytest.mark.parametrize("lengths", [[3, 0, 6, 1, 1, 5, 0], [0, 0], [2], []])
@pytest.mark.parametrize("piece", [1, 2, 64])
def test_pieces_have_the_states_and_gradients_of_the_whole(
    lengths: list[int], piece: int, encoder: InterestEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interests, "PIECE", piece)
    table = torch.randn(N_ITEMS + 1, DIM, dtype=torch.float64, requires_grad=True)
    items = sequences(lengths)
    real = items != N_ITEMS
    weights = torch.randn(len(items), LONGEST, DIM, dtype=torch.float64)
    read = (table, *encoder.parameters())

    def found(states: Tensor) -> tuple[Tensor, ...]:
        loss = (states * weights)[real].sum() + 0 * sum(weight.sum() for weight in read)
        return states[real].detach(), *torch.autograd.grad(loss, read)

    whole = found(encoder(table[items], real))
    pieces = found(states_by_length(encoder, items, real, lambda some: table[some]))

    for one, other in zip(whole, pieces, strict=True):
        torch.testing.assert_close(one, other)
    assert real.any() == (pieces[1].abs().max() > 0)
