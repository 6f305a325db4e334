import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from monge.nn import Scoring
from monge.nn.scoring import Geometry

EVERY_SCORING = pytest.mark.parametrize(
    "scoring",
    [
        Scoring(geometry, temperature, normalise)
        for geometry, temperature, normalise in itertools.product(("dot", "w2"), (1.0, 0.2), (False, True))
    ],
    ids=str,
)


def by_hand(state: list[float], item: list[float], scoring: Scoring) -> float:
    """One score in Python floats."""

    def unit(part: list[float]) -> list[float]:
        length = math.sqrt(sum(x * x for x in part))
        return [x / length for x in part]

    if scoring.normalise:
        half = len(state) // 2
        state, item = (unit(v) if scoring.geometry == "dot" else unit(v[:half]) + unit(v[half:]) for v in (state, item))
    if scoring.geometry == "dot":
        return sum(a * b for a, b in zip(state, item, strict=True)) / scoring.temperature
    return -sum((a - b) ** 2 for a, b in zip(state, item, strict=True)) / scoring.temperature


def states_and_items(seed: int, N: int, M: int) -> tuple[Tensor, Tensor]:
    both = torch.randn(N + M, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return both[:N], both[N:]


@given(N=st.integers(1, 4), M=st.integers(1, 5), seed=st.integers(0, 999))
@settings(deadline=None, max_examples=15)
@EVERY_SCORING
def test_all_forms_of_a_score_agree(N: int, M: int, seed: int, scoring: Scoring) -> None:
    raw_states, raw_items = states_and_items(seed, N, M)
    states, items = scoring.vectors(raw_states), scoring.vectors(raw_items)
    expected = torch.tensor([[by_hand(q, v, scoring) for v in raw_items.tolist()] for q in raw_states.tolist()], dtype=torch.float64)
    torch.testing.assert_close(scoring.all_pairs(states, items), expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(scoring.paired(states[:, None], items), expected, rtol=1e-10, atol=1e-10)
    queries, vectors, bias = scoring.as_inner_product(states, items)
    constant = expected - (queries @ vectors.T + (0 if bias is None else bias))
    torch.testing.assert_close(constant, constant[:, :1].expand(N, M), rtol=1e-10, atol=1e-10)


@EVERY_SCORING
def test_an_inner_product_has_a_bias_only_where_one_is_needed(scoring: Scoring) -> None:
    states, items = map(scoring.vectors, states_and_items(0, 2, 3))
    _, _, bias = scoring.as_inner_product(states, items)
    assert (bias is not None) == (scoring.geometry == "w2" and not scoring.normalise)


@pytest.mark.parametrize("geometry", ["dot", "w2"])
def test_normalised_scores_have_known_ends(geometry: Geometry) -> None:
    scoring = Scoring(geometry, normalise=True)
    v = scoring.vectors(torch.tensor([[3.0, 4.0, 0.6, 0.8], [-3.0, -4.0, 0.6, 0.8], [-3.0, -4.0, -0.6, -0.8]]))
    expected = {"dot": [1.0, -24 / 26, -1.0], "w2": [0.0, -4.0, -8.0]}[geometry]
    assert scoring.all_pairs(v[:1], v)[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_vectors_are_left_alone_without_normalisation() -> None:
    raw, _ = states_and_items(1, 3, 1)
    assert Scoring("w2").vectors(raw) is raw
    assert Scoring("dot").vectors(raw) is raw


@EVERY_SCORING
def test_mixed_precision_leaves_scores_of_all_pairs_in_float32(scoring: Scoring) -> None:
    states, items = (scoring.vectors(8 * raw).float() for raw in states_and_items(2, 3, 4))
    expected = scoring.all_pairs(states, items)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(scoring.all_pairs(states, items), expected)
    half = states.bfloat16(), items.bfloat16()
    assert torch.equal(scoring.all_pairs(*half), scoring.all_pairs(half[0].float(), half[1].float()))


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_temperature_must_be_positive(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be > 0"):
        Scoring("dot", temperature)
