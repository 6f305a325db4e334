import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from monge.nn import IAF, Decoder, GaussianEncoder, Inner, PairMLP, Table, latent
from monge.nn.latent import Activation
from tests.reference import latent as by_hand

N_ITEMS, DIM = 7, 3
BAGS = st.lists(st.sets(st.integers(0, N_ITEMS - 1)), min_size=1, max_size=5)
HIDDEN = st.sampled_from([(), (4,), (4, 5)])


def randomise(module: nn.Module, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    for weight in module.parameters():
        weight.data = 0.7 * torch.randn(weight.shape, generator=rng, dtype=weight.dtype)


def weights(module: nn.Module) -> by_hand.Weights:
    return {name: value.detach().double().numpy() for name, value in module.state_dict().items()}


def as_input(bags: list[set[int]]) -> tuple[Tensor, Tensor, int]:
    items = torch.tensor([item for bag in bags for item in bag], dtype=torch.int64)
    rows = torch.tensor([row for row, bag in enumerate(bags) for _ in bag], dtype=torch.int64)
    return items, rows, len(bags)


@given(bags=BAGS, hidden=HIDDEN, activation=st.sampled_from(["tanh", "relu"]), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=25)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_a_bag_is_encoded_as_its_dense_row(
    bags: list[set[int]], hidden: tuple[int, ...], activation: Activation, seed: int, dtype: torch.dtype, tolerance: float
) -> None:
    encoder = GaussianEncoder(N_ITEMS, DIM, hidden=hidden, activation=activation, dropout=0.5).to(dtype).eval()
    randomise(encoder, seed)
    mean, log_variance = encoder(*as_input(bags))
    expected = [by_hand.encode(weights(encoder), len(hidden), activation, bag) for bag in bags]
    np.testing.assert_allclose(mean.detach().numpy(), [one for one, _ in expected], rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(log_variance.detach().numpy(), [other for _, other in expected], rtol=tolerance, atol=tolerance)


def test_encoder_gradients_are_those_of_the_dense_product() -> None:
    bags = [{0, 3, 5}, set(), {3}, {1, 2, 3, 4, 6}]
    encoder = GaussianEncoder(N_ITEMS, DIM, hidden=(4,), activation="tanh", dropout=0.0).double()
    randomise(encoder, 0)
    dense = torch.tensor([[float(item in bag) / max(len(bag), 1) ** 0.5 for item in range(N_ITEMS)] for bag in bags], dtype=torch.float64)
    table = encoder.items.detach().clone().requires_grad_()
    expected = encoder.layers[0](torch.tanh(dense @ table + encoder.bias)).square().sum()
    expected.backward()
    torch.cat(encoder(*as_input(bags)), -1).square().sum().backward()
    torch.testing.assert_close(encoder.items.grad, table.grad, rtol=1e-12, atol=1e-12)


def test_dropout_takes_items_out_of_the_bag_in_training_only() -> None:
    encoder = GaussianEncoder(500, 1, hidden=(), activation="tanh", dropout=0.5)
    nn.init.ones_(encoder.items)
    bags = [set(range(400))] * 200
    torch.manual_seed(0)
    sums = encoder(*as_input(bags))[0].squeeze(1)  # the number kept, times 2 / sqrt(400)
    kept = sums / (2 / 20)
    torch.testing.assert_close(kept, kept.round(), rtol=0, atol=1e-3)
    assert kept.mean().item() == pytest.approx(200, abs=5 * 10 / 200**0.5)
    assert kept.unique().numel() > 10
    torch.testing.assert_close(encoder.eval()(*as_input(bags))[0].squeeze(1), torch.full((200,), 20.0))


@given(n_users=st.integers(1, 4), hidden=HIDDEN, activation=st.sampled_from(["tanh", "relu"]), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_the_decoder_is_an_mlp_and_linear_in_its_state(n_users: int, hidden: tuple[int, ...], activation: Activation, seed: int) -> None:
    decoder = Decoder(DIM, N_ITEMS, hidden=hidden, activation=activation).double()
    randomise(decoder, seed)
    z = torch.randn(n_users, DIM, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    expected = [by_hand.decode(weights(decoder), len(hidden), activation, row) for row in z.tolist()]
    np.testing.assert_allclose(decoder(z).detach().numpy(), expected, rtol=1e-10, atol=1e-10)
    by_vectors = decoder.states(z) @ decoder.items.weight.T + decoder.items.bias
    torch.testing.assert_close(by_vectors, decoder(z))


@given(n_users=st.integers(1, 4), hidden=st.sampled_from([(4,), (6, 4, 2)]), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_the_mlp_of_a_pair_reads_both_vectors_side_by_side(n_users: int, hidden: tuple[int, ...], seed: int) -> None:
    mlp = PairMLP(DIM, 2, hidden=hidden).double()
    randomise(mlp, seed)
    rng = torch.Generator().manual_seed(seed)
    users, items = (torch.randn(n, z, generator=rng, dtype=torch.float64) for n, z in ((n_users, DIM), (N_ITEMS, 2)))
    expected = [[by_hand.pair_logit(weights(mlp), len(hidden), user, item) for item in items.tolist()] for user in users.tolist()]
    np.testing.assert_allclose(mlp(users, items).detach().numpy(), expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(mlp.pairs(users[:, None], items).detach().numpy(), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("piece", [1, 40, 64])
def test_blocks_of_items_change_neither_logits_nor_gradients(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    users, items = torch.randn(5, DIM), torch.randn(N_ITEMS, DIM)
    results = []
    for size in (2**20, piece):
        monkeypatch.setattr(latent, "PIECE", size)
        monkeypatch.setattr(latent, "PIECE_WITHOUT_GRADIENTS", size)
        torch.manual_seed(1)
        mlp = PairMLP(DIM, DIM, hidden=(8, 4))
        table = items.clone().requires_grad_()
        logits = mlp(users, table)
        logits.square().sum().backward()
        results.append([logits, table.grad, *(weight.grad for weight in mlp.parameters())])
        with torch.no_grad():
            torch.testing.assert_close(mlp(users, items), logits)
    for whole, pieces in zip(*results, strict=True):
        torch.testing.assert_close(whole, pieces)


def test_inner_products_of_all_and_of_pairs() -> None:
    users, items = torch.tensor([[1.0, 2.0], [0.0, -1.0]]), torch.tensor([[3.0, 1.0], [1.0, 1.0], [0.0, 2.0]])
    assert Inner()(users, items).tolist() == [[5, 3, 4], [-1, -1, -2]]
    assert Inner().pairs(users, items[:2]).tolist() == [5, -1]


def test_a_table_gives_its_rows_or_itself() -> None:
    table = Table(5, 2, std=0.1)
    assert table().shape == (5, 2)
    assert table(torch.tensor([[3, 3], [0, 4]])).tolist() == [[table()[3].tolist()] * 2, [table()[0].tolist(), table()[4].tolist()]]
    assert 0.05 < Table(2000, 3, std=0.1)().std().item() < 0.15


@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("n_steps", [1, 2, 3])
def test_the_flows_log_determinant_is_that_of_its_jacobian(dim: int, n_steps: int) -> None:
    flow = IAF(dim, n_steps=n_steps).double()
    randomise(flow, 10 * dim + n_steps)
    z = torch.randn(4, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    moved, log_det = flow(z)
    assert log_det.abs().min() > 1e-3
    for row in range(len(z)):
        jacobian = torch.autograd.functional.jacobian(lambda one: flow(one[None])[0][0], z[row])  # pyright: ignore[reportPrivateImportUsage]
        assert isinstance(jacobian, Tensor)
        assert torch.linalg.slogdet(jacobian).logabsdet.item() == pytest.approx(log_det[row].item(), abs=1e-7)
        if n_steps == 1:  # each latent is moved by those before it
            assert torch.equal(jacobian, jacobian.tril())
            assert (jacobian.diagonal() > 0).all()
        elif dim > 2:  # the reversed order lets later ones move earlier ones
            assert not torch.equal(jacobian, jacobian.tril())
    torch.testing.assert_close(torch.cat([flow(row[None])[0] for row in z]), moved)


def test_a_flow_begins_as_the_identity_but_for_the_reversal() -> None:
    z = torch.randn(3, 4)
    moved, log_det = IAF(4, n_steps=2)(z)
    torch.testing.assert_close(moved, z.flip(-1))
    assert log_det.tolist() == [0, 0, 0]
    torch.testing.assert_close(IAF(4, n_steps=1)(z)[0], z)
