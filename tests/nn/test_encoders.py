from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from monge.nn import SequenceEncoder, StochasticEncoder, stochastic
from monge.nn.stochastic import MeanStream
from tests.reference import encoders as by_hand

N_ITEMS, LONGEST, DIM = 7, 6, 4
KINDS = ("sas", "sas-pre", "attended", "passthrough")


def randomise(module: nn.Module, seed: int) -> None:
    """Weights of ordinary size, so that attention is far from uniform and gains and biases matter."""
    rng = torch.Generator().manual_seed(seed)
    for name, weight in module.named_parameters():
        drawn = torch.randn(weight.shape, generator=rng, dtype=weight.dtype)
        weight.data = 1 + 0.3 * drawn if "norm" in name and name.endswith("weight") else 0.6 * drawn


def encoder_of(
    kind: str, seed: int = 0, *, n_layers: int = 2, n_heads: int = 2, dropout: float = 0.0
) -> SequenceEncoder | StochasticEncoder:
    sizes = {"dim": DIM, "max_length": LONGEST, "n_layers": n_layers, "n_heads": n_heads}
    rates = {"dropout": dropout, "attention_dropout": dropout}
    if kind.startswith("sas"):
        encoder = SequenceEncoder(N_ITEMS, **sizes, **rates, norm="pre" if kind == "sas-pre" else "post")
    else:
        encoder = StochasticEncoder(N_ITEMS, **sizes, **rates, mean_stream=kind)  # pyright: ignore[reportArgumentType]
    encoder = encoder.double()
    randomise(encoder, seed)
    return encoder


def outputs(encoder: SequenceEncoder | StochasticEncoder, sequences: Tensor) -> Tensor:
    """(B, T) -> (B, T, everything that stands at a position)."""
    with torch.no_grad():
        return encoder.states(sequences) if isinstance(encoder, StochasticEncoder) else encoder(sequences)


def padded(histories: list[list[int]], width: int | None = None) -> Tensor:
    width = width or max(map(len, histories))
    return torch.tensor([[N_ITEMS] * (width - len(history)) + history for history in histories])


HISTORIES = st.lists(st.lists(st.integers(0, N_ITEMS - 1), min_size=1, max_size=LONGEST), min_size=1, max_size=4)


@given(histories=HISTORIES, n_layers=st.integers(0, 2), n_heads=st.sampled_from([1, 2]), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=15)
@pytest.mark.parametrize("mean_stream", ["attended", "passthrough"])
def test_stosa_is_section_3_of_the_spec(
    histories: list[list[int]], n_layers: int, n_heads: int, seed: int, mean_stream: MeanStream
) -> None:
    encoder = encoder_of(mean_stream, seed, n_layers=n_layers, n_heads=n_heads)
    sequences = padded(histories)
    with torch.no_grad():
        first_mean, _ = encoder.embed(sequences)  # pyright: ignore[reportCallIssue]
        mean, logits = encoder(sequences)
    z = outputs(encoder, sequences)
    weights = {name: value.numpy() for name, value in encoder.state_dict().items()}
    for b, row in enumerate(sequences.tolist()):
        ids = [-1 if item == N_ITEMS else item for item in row]
        expected = by_hand.stosa(weights, ids, n_layers=n_layers, n_heads=n_heads, mean_stream=mean_stream)
        for got, wanted in zip((first_mean[b], mean[b], F.elu(logits[b]) + 1), expected, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(z[b], np.concatenate([expected[1], np.sqrt(expected[2])], 1), rtol=1e-8, atol=1e-8)


@given(histories=HISTORIES, n_layers=st.integers(0, 2), n_heads=st.sampled_from([1, 2]), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=15)
@pytest.mark.parametrize("kind", ["sas", "sas-pre"])
def test_sas_is_its_equations(histories: list[list[int]], n_layers: int, n_heads: int, seed: int, kind: str) -> None:
    encoder = encoder_of(kind, seed, n_layers=n_layers, n_heads=n_heads)
    sequences = padded(histories)
    got = outputs(encoder, sequences)
    weights = {name: value.numpy() for name, value in encoder.state_dict().items()}
    for b, row in enumerate(sequences.tolist()):
        ids = [-1 if item == N_ITEMS else item for item in row]
        expected = by_hand.sas(weights, ids, n_layers=n_layers, n_heads=n_heads, pre=kind == "sas-pre")
        np.testing.assert_allclose(got[b], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("t", range(LONGEST))
def test_an_item_changes_only_what_follows(kind: str, t: int) -> None:
    encoder = encoder_of(kind)
    sequences = padded([[0, 1, 2, 3, 4, 5], [3, 3, 0, 1, 6, 2]])
    other = sequences.clone()
    other[:, t] = (other[:, t] + 1) % N_ITEMS
    before, after = outputs(encoder, sequences), outputs(encoder, other)
    torch.testing.assert_close(before[:, :t], after[:, :t], rtol=0, atol=1e-12)
    for later in range(t, LONGEST):  # and it does change all of that
        assert (before[:, later] - after[:, later]).abs().max() > 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing_at_real_positions(kind: str) -> None:
    encoder = encoder_of(kind)
    sequences = padded([[1, 2], [0, 1, 2, 3], [5]], LONGEST)
    real = sequences != N_ITEMS
    before = outputs(encoder, sequences)
    with torch.no_grad():
        encoder.items.weight[-1] += 5 * torch.randn(encoder.items.weight.shape[1], dtype=torch.float64)
    after = outputs(encoder, sequences)
    torch.testing.assert_close(before[real], after[real], rtol=0, atol=1e-12)
    assert (before[~real] - after[~real]).abs().max() > 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_a_trimmed_window_gives_the_same_states(kind: str) -> None:
    encoder = encoder_of(kind)
    histories = [[1, 2], [0, 1, 2]]
    wide, narrow = outputs(encoder, padded(histories, LONGEST)), outputs(encoder, padded(histories))
    real = padded(histories) != N_ITEMS
    torch.testing.assert_close(wide[:, -3:][real], narrow[real], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_sequences_of_a_batch_do_not_meet_and_an_empty_one_is_finite(kind: str) -> None:
    encoder = encoder_of(kind)
    sequences = padded([[0, 1, 2], [], [4]], LONGEST)
    together = outputs(encoder, sequences)
    assert together.isfinite().all()
    for b in range(3):
        torch.testing.assert_close(outputs(encoder, sequences[b : b + 1])[0], together[b])


@pytest.mark.parametrize("mean_stream", ["attended", "passthrough"])
def test_variances_are_positive_in_float32_even_with_huge_weights(mean_stream: MeanStream) -> None:
    encoder = encoder_of(mean_stream).float()
    with torch.no_grad():
        for weight in encoder.parameters():
            weight *= 20
    states = outputs(encoder, padded([[0, 1, 2, 3], [6]], LONGEST))
    assert states.isfinite().all()
    assert (states[..., DIM:] > 0).all()
    assert (encoder.item_gaussians()[:, DIM:] > 0).all()  # pyright: ignore[reportCallIssue]


def gradients_of(encoder: nn.Module, loss: Tensor) -> dict[str, Tensor | None]:
    encoder.zero_grad()
    loss.backward()
    return {name: weight.grad for name, weight in encoder.named_parameters()}


@pytest.mark.parametrize("n_layers", [1, 2])
def test_passthrough_never_updates_the_mean(n_layers: int) -> None:
    encoder = encoder_of("passthrough", n_layers=n_layers)
    assert isinstance(encoder, StochasticEncoder)
    sequences = padded([[0, 1, 2, 3], [6, 5]])
    mean, _ = encoder(sequences)
    assert torch.equal(mean, encoder.embed(sequences)[0])
    gradients = gradients_of(encoder, encoder.states(sequences).square().sum())
    unused = ("value_mean", "out_mean", "feed_forward_mean")
    for name, gradient in gradients.items():
        if any(f".{part}." in name for part in unused):
            assert gradient is None
        else:
            assert gradient is not None
            assert gradient.abs().sum() > 0


def test_attended_uses_every_weight_and_the_mean_leaves_the_embedding_stage() -> None:
    encoder = encoder_of("attended")
    assert isinstance(encoder, StochasticEncoder)
    sequences = padded([[0, 1, 2, 3], [6, 5]])
    mean, _ = encoder(sequences)
    assert (mean - encoder.embed(sequences)[0]).abs().max() > 1e-3
    for gradient in gradients_of(encoder, encoder.states(sequences).pow(3).sum()).values():
        assert gradient is not None
        assert gradient.abs().sum() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_padding_row_gets_no_gradient(kind: str) -> None:
    encoder = encoder_of(kind)
    sequences = padded([[0, 1], [2]], LONGEST)
    states = encoder.states(sequences) if isinstance(encoder, StochasticEncoder) else encoder(sequences)
    gradient = gradients_of(encoder, states.pow(3).sum())["items.weight"]
    assert gradient is not None
    assert (gradient[-1] == 0).all()
    assert (gradient[:3] != 0).any(1).all()


def test_items_as_targets_have_no_position_norm_or_dropout() -> None:
    encoder = encoder_of("attended", dropout=0.9)
    assert isinstance(encoder, StochasticEncoder)
    raw = encoder.items.weight[:-1]
    expected = torch.cat([raw[:, :DIM], (F.elu(raw[:, DIM:]) + 1).sqrt()], 1)
    torch.testing.assert_close(encoder.item_gaussians(), expected)
    items = torch.tensor([[3, 0], [6, 6]])
    torch.testing.assert_close(encoder.item_gaussians(items), expected[items])


def test_a_dropped_coordinate_of_the_embedding_stage_has_mean_0_and_variance_1() -> None:
    encoder = encoder_of("attended", n_layers=0, dropout=0.5)
    torch.manual_seed(0)
    mean, logits = encoder(padded([[0, 1, 2, 3, 4, 5]] * 200))
    variance = F.elu(logits) + 1
    assert (mean == 0).double().mean().item() == pytest.approx(0.5, abs=0.05)
    assert (variance == 1).double().mean().item() == pytest.approx(0.5, abs=0.05)
    assert ((mean == 0) & (variance == 1)).double().mean().item() == pytest.approx(0.25, abs=0.05)  # each stream its own draw


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_acts_in_training_only_and_by_the_seed(kind: str) -> None:
    encoder = encoder_of(kind, dropout=0.5)
    sequences = padded([[0, 1, 2, 3, 4, 5]])

    def seeded(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return outputs(encoder, sequences)

    assert torch.equal(seeded(1), seeded(1))
    assert not torch.equal(seeded(1), seeded(2))
    encoder.eval()
    assert torch.equal(seeded(1), seeded(2))
    torch.testing.assert_close(seeded(1), outputs(encoder_of(kind), sequences))


def test_a_large_batch_in_pieces_gives_the_states_and_gradients_of_the_same_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = encoder_of("attended", dropout=0.5)
    assert isinstance(encoder, StochasticEncoder)
    sequences = torch.randint(N_ITEMS + 1, (7, LONGEST), generator=torch.Generator().manual_seed(0))

    def states_and_gradients(encode: Callable[[Tensor], Tensor]) -> tuple[Tensor, dict[str, Tensor | None]]:
        torch.manual_seed(1)
        states = encode(sequences)
        torch.manual_seed(2)  # what is drawn between the two passes must not change the masks of the second
        gradients = gradients_of(encoder, states.pow(3).sum())
        return states, {name: None if gradient is None else gradient.clone() for name, gradient in gradients.items()}

    expected = states_and_gradients(lambda x: torch.cat([encoder.states(piece) for piece in x.split(2)]))
    monkeypatch.setattr(stochastic, "PIECE", 2 * LONGEST + 1)
    got = states_and_gradients(encoder.states)
    torch.testing.assert_close(got[0], expected[0])
    for name, gradient in expected[1].items():
        torch.testing.assert_close(got[1][name], gradient, msg=name)
    encoder.eval()
    with torch.inference_mode():
        in_pieces = encoder.states(sequences)
        monkeypatch.undo()
        torch.testing.assert_close(in_pieces, encoder.states(sequences))


BUILDERS: dict[str, tuple[float, Callable[..., nn.Module]]] = {
    "sas": (0.0, SequenceEncoder),
    "attended": (0.01, lambda n, **sizes: StochasticEncoder(n, **sizes, mean_stream="attended")),
}


@pytest.mark.parametrize("kind", BUILDERS)
def test_weights_start_normal_biases_0_norms_as_the_identity(kind: str) -> None:
    mean, build = BUILDERS[kind]
    torch.manual_seed(0)
    encoder = build(300, dim=32, max_length=50, n_layers=1, n_heads=2, dropout=0.1, attention_dropout=0.1)
    for name, weight in encoder.named_parameters():
        if "norm" in name or name.endswith("bias"):
            assert (weight == (1.0 if "norm" in name and name.endswith("weight") else 0.0)).all()
        else:
            assert weight.mean().item() == pytest.approx(mean, abs=5 * 0.02 / weight.numel() ** 0.5)
            assert weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert (encoder.get_parameter("items.weight")[-1] != 0).all()  # the padding row as well
