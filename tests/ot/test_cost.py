import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from monge.ot import ItemCost, cost
from tests.reference import sinkhorn as by_hand

FORMS = {"float32": 2**30, "float16": 200, "sparse": 0}  # budgets for 8 items: 81 cells are 324 and 162 bytes


def from_pairs(pairs: list[tuple[int, int]], budget_bytes: int, shrink: float = 0.0, n_items: int = 8) -> ItemCost:
    user, item = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return ItemCost.from_pairs(user, item, n_users=6, n_items=n_items, shrink=shrink, budget_bytes=budget_bytes)


@given(
    pairs=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 7)), max_size=40),
    shrink=st.sampled_from([0.0, 0.3, 5.0]),
    block=st.sampled_from([1, 24, 2**22]),
    seed=st.integers(0, 999),
)
@settings(deadline=None, max_examples=30)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_one_minus_the_cosine(form: str, pairs: list[tuple[int, int]], shrink: float, block: int, seed: int) -> None:
    """Pairs may stand twice, items may have no user, and the padding id 8 stands among the rows and the columns."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "BLOCK_CELLS", block)
        C = from_pairs(pairs, FORMS[form], shrink)
    assert (C.dense.dtype if C.dense is not None else "sparse") == {"float32": torch.float32, "float16": torch.float16}.get(form, "sparse")
    expected = np.ones((9, 9))
    expected[:8, :8] = by_hand.item_cost(pairs, 8, shrink)
    tolerance = {"rtol": 0, "atol": 2.0**-11 if form == "float16" else 1e-6}
    rng = torch.Generator().manual_seed(seed)
    rows, columns = torch.randint(0, 9, (3, 4), generator=rng), torch.randint(0, 9, (3, 5), generator=rng)
    block_BMK = C.block(rows, columns)
    assert (block_BMK.shape, block_BMK.dtype) == ((3, 4, 5), torch.float32)
    np.testing.assert_allclose(block_BMK, expected[rows[:, :, None], columns[:, None, :]], **tolerance)
    of_rows = C.rows(rows.flatten())
    assert (of_rows.shape, of_rows.dtype) == ((12, 8), torch.float32)
    np.testing.assert_allclose(of_rows, expected[rows.flatten(), :8], **tolerance)
    every = C.rows(torch.arange(8))
    assert (every.diagonal() == 0).all()
    assert torch.equal(every, every.T)


@pytest.mark.parametrize("form", FORMS)
def test_an_item_without_users_is_near_itself_only(form: str) -> None:
    C = from_pairs([(0, 1), (1, 1), (1, 2)], FORMS[form])
    assert C.rows(torch.tensor([5])).tolist() == [[1, 1, 1, 1, 1, 0, 1, 1]]
    assert C.rows(torch.tensor([1]))[0, 2].item() == pytest.approx(1 - 1 / np.sqrt(2), abs=1e-3)
    assert C.block(torch.tensor([[8, 5]]), torch.tensor([[8, 5, 0]])).tolist() == [[[1, 1, 1], [1, 0, 1]]]


@pytest.mark.parametrize("form", FORMS)
def test_no_pairs_and_no_rows(form: str) -> None:
    C = from_pairs([], FORMS[form])
    assert torch.equal(C.rows(torch.arange(8)), 1 - torch.eye(8))
    none = torch.zeros(0, dtype=torch.int64)
    assert C.rows(none).shape == (0, 8)
    assert C.block(none.view(0, 3), none.view(0, 2)).shape == (0, 3, 2)


def test_half_precision_keeps_small_similarities() -> None:
    """S is stored, not C: 1 - 1/600 would round to steps of 1/2048."""
    user, item = np.array([0, *range(600), *range(599, 1199)]), np.array([0, *[0] * 600, *[1] * 600])
    C = ItemCost.from_pairs(user, item, n_users=1199, n_items=2, budget_bytes=20)
    assert C.dense is not None
    assert C.dense.dtype == torch.float16
    assert 1 - C.rows(torch.tensor([0]))[0, 1].item() == pytest.approx(1 / 600, rel=1e-3)


def test_similarities_of_your_own() -> None:
    S = torch.tensor([[1.0, 0.8], [0.8, 1.0]])
    C = ItemCost.from_similarity(S)
    S[:] = 0
    torch.testing.assert_close(C.to("cpu").rows(torch.tensor([0, 2])), torch.tensor([[0.0, 0.2], [1.0, 1.0]]))
    with pytest.raises(ValueError, match=r"similarity must be \(I, I\); got \(1, 2\)"):
        ItemCost.from_similarity(S[:1])


def test_bad_arguments_are_named() -> None:
    for pairs, sentence in [
        ([(6, 0)], r"user must lie in 0..5; found 6..6"),
        ([(0, 8), (0, 1)], r"item must lie in 0..7; found 1..8"),
        ([(0, -1)], r"item must lie in 0..7"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            from_pairs(pairs, 0)
    for shrink in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="shrink must be >= 0"):
            from_pairs([(0, 0)], 0, shrink)
    with pytest.raises(ValueError, match=r"must both be \(n,\); got \(2,\), \(1,\)"):
        ItemCost.from_pairs(np.array([0, 1]), np.array([0]), n_users=2, n_items=1)
    for wrong in (torch.zeros(2, dtype=torch.int64), torch.zeros(3, 2, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"must be \(B, m\) and \(B, k\)"):
            from_pairs([], 0).block(torch.zeros(2, 2, dtype=torch.int64), wrong)
