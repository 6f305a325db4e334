"""Each operator on batches. Items are even numbers and the most similar item of v is v + 1, so that what was put in can be told."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from monge.augment import SHORT_SETS, Augmentation, NearestItems
from monge.augment.sequences import OPERATORS, crop, insert, mask, reorder, substitute

EMPTY = 1000
HISTORIES = st.lists(
    st.lists(st.integers(0, 40).map(lambda number: 2 * number), min_size=1, max_size=9, unique=True), min_size=1, max_size=5
)
PERCENT = st.integers(0, 100)
SEED = st.integers(0, 999)


def odd(items: Tensor, generator: torch.Generator) -> Tensor:
    """The most similar item; the padding id must never be asked for."""
    assert ((items >= 0) & (items < EMPTY)).all()
    return items + 1


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def left_aligned(histories: list[list[int]], spare: int = 2) -> tuple[Tensor, Tensor]:
    width = max(map(len, histories)) + spare
    items = torch.tensor([history + [0] * (width - len(history)) for history in histories])
    return items, torch.tensor([len(history) for history in histories])


def right_aligned(histories: list[list[int]], spare: int = 2) -> Tensor:
    width = max(map(len, histories), default=0) + spare
    return torch.tensor([[EMPTY] * (width - len(history)) + history for history in histories])


def rows_of(items: Tensor, lengths: Tensor) -> list[list[int]]:
    return [row[:length] for row, length in zip(items.tolist(), lengths.tolist(), strict=True)]


def is_crop(before: list[int], after: list[int], percent: int) -> bool:
    count = max(1, percent * len(before) // 100)
    return any(after == before[start : start + count] for start in range(len(before) - count + 1))


def is_mask(before: list[int], after: list[int], percent: int) -> bool:
    emptied = [b for b, a in zip(before, after, strict=True) if a == EMPTY]
    unchanged = all(a in (b, EMPTY) for b, a in zip(before, after, strict=True))
    return unchanged and len(emptied) == min(percent * len(before) // 100, len(before) - 1)


def is_reorder(before: list[int], after: list[int], percent: int) -> bool:
    moved = [place for place, (b, a) in enumerate(zip(before, after, strict=True)) if b != a]
    in_one_window = not moved or moved[-1] - moved[0] < percent * len(before) // 100
    return in_one_window and sorted(after) == sorted(before)


def is_substitute(before: list[int], after: list[int], percent: int) -> bool:
    replaced = [a for b, a in zip(before, after, strict=True) if a == b + 1]
    return all(a in (b, b + 1) for b, a in zip(before, after, strict=True)) and len(replaced) == max(1, percent * len(before) // 100)


def is_insert(before: list[int], after: list[int], percent: int) -> bool:
    put_in = [place for place, item in enumerate(after) if item % 2]
    directly_before = all(place + 1 < len(after) and after[place] == after[place + 1] + 1 for place in put_in)
    return directly_before and [item for item in after if item % 2 == 0] == before and len(put_in) == max(1, percent * len(before) // 100)


@given(histories=HISTORIES, percent=PERCENT, seed=SEED)
@settings(deadline=None, max_examples=40)
def test_each_operator_does_what_its_name_says_with_the_counts_of_the_spec(histories: list[list[int]], percent: int, seed: int) -> None:
    items, lengths = left_aligned(histories)
    views = {
        is_crop: crop(items, lengths, percent / 100, rng(seed)),
        is_mask: mask(items, lengths, percent / 100, rng(seed), empty=EMPTY),
        is_reorder: reorder(items, lengths, percent / 100, rng(seed)),
        is_substitute: substitute(items, lengths, percent / 100, rng(seed), nearest=odd),
        is_insert: insert(items, lengths, percent / 100, rng(seed), nearest=odd),
    }
    for explains, view in views.items():
        for before, after in zip(histories, rows_of(*view), strict=True):
            assert explains(before, after, percent), (explains.__name__, before, after)


@pytest.mark.parametrize("percent", [13, 21, 29, 52, 58, 70, 87])
def test_counts_are_exact_at_every_length(percent: int) -> None:
    lengths = torch.arange(1, 301)
    items = (2 * torch.arange(300)).expand(300, 300)
    _, counts = crop(items, lengths, percent / 100, rng(0))
    assert counts.tolist() == [max(1, percent * m // 100) for m in range(1, 301)]


def shares(rows: list[list[int]]) -> dict[tuple[int, ...], float]:
    return {row: count / len(rows) for row, count in Counter(map(tuple, rows)).items()}


REPEATED = ([[2, 4, 6, 8]] * 4000, 5 * (0.25 / 4000) ** 0.5)  # and five standard deviations of a share


def test_crop_starts_everywhere_with_one_probability() -> None:
    histories, error = REPEATED
    got = shares(rows_of(*crop(*left_aligned(histories), 0.5, rng(1))))
    assert got == {window: pytest.approx(1 / 3, abs=error) for window in ((2, 4), (4, 6), (6, 8))}


def test_reorder_takes_every_window_and_every_order() -> None:
    histories, error = REPEATED
    got = shares(rows_of(*reorder(*left_aligned(histories), 0.5, rng(2))))
    swaps = ((4, 2, 6, 8), (2, 6, 4, 8), (2, 4, 8, 6))
    assert got == {(2, 4, 6, 8): pytest.approx(1 / 2, abs=error)} | {swap: pytest.approx(1 / 6, abs=error) for swap in swaps}
    got = shares(rows_of(*reorder(*left_aligned(histories), 0.75, rng(3))))
    assert got[(4, 2, 6, 8)] == pytest.approx(1 / 12, abs=error)
    assert got[(2, 4, 6, 8)] == pytest.approx(1 / 6, abs=error)
    assert len(got) == 2 * 6 - 2  # two windows of three; the swap of both and the order as it was are counted twice


@pytest.mark.parametrize("name", ["mask", "substitute", "insert"])
def test_positions_are_chosen_uniformly(name: str) -> None:
    histories, error = REPEATED
    items, lengths = left_aligned(histories)
    if name == "mask":
        rows = rows_of(*mask(items, lengths, 0.25, rng(4), empty=EMPTY))
        expected = [(EMPTY, 4, 6, 8), (2, EMPTY, 6, 8), (2, 4, EMPTY, 8), (2, 4, 6, EMPTY)]
    elif name == "substitute":
        rows = rows_of(*substitute(items, lengths, 0.25, rng(4), nearest=odd))
        expected = [(3, 4, 6, 8), (2, 5, 6, 8), (2, 4, 7, 8), (2, 4, 6, 9)]
    else:
        rows = rows_of(*insert(items, lengths, 0.25, rng(4), nearest=odd))
        expected = [(3, 2, 4, 6, 8), (2, 5, 4, 6, 8), (2, 4, 7, 6, 8), (2, 4, 6, 9, 8)]
    assert shares(rows) == {row: pytest.approx(1 / 4, abs=error) for row in expected}


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([6], {"crop": {(6,)}, "mask": {(6,)}, "reorder": {(6,)}, "substitute": {(7,)}, "insert": {(7, 6)}}),
        (
            [6, 8],
            {
                "crop": {(6,), (8,)},
                "mask": {(EMPTY, 8), (6, EMPTY)},
                "reorder": {(6, 8)},
                "substitute": {(7, 8), (6, 9)},
                "insert": {(7, 6, 8), (6, 9, 8)},
            },
        ),
    ],
)
def test_the_shortest_histories(history: list[int], expected: dict[str, set[tuple[int, ...]]]) -> None:
    items, lengths = left_aligned([history] * 50, spare=0)
    views = {
        "crop": crop(items, lengths, 0.6, rng(5)),
        "mask": mask(items, lengths, 0.7, rng(5), empty=EMPTY),
        "reorder": reorder(items, lengths, 0.6, rng(5)),
        "substitute": substitute(items, lengths, 0.1, rng(5), nearest=odd),
        "insert": insert(items, lengths, 0.4, rng(5), nearest=odd),
    }
    assert {name: set(map(tuple, rows_of(*view))) for name, view in views.items()} == expected


PERCENTS = {"crop": 50, "mask": 60, "reorder": 100, "substitute": 50, "insert": 30}
EXPLANATIONS = {"mask": is_mask, "crop": is_crop, "substitute": is_substitute, "insert": is_insert, "reorder": is_reorder}


def augmentation(threshold: int, short_set: str = "SIM") -> Augmentation:
    return Augmentation(**{name: percent / 100 for name, percent in PERCENTS.items()}, threshold=threshold, short_set=short_set)


def operator_of(before: list[int], row: list[int]) -> str | None:
    """Which operator explains a row of a view, the padding still on its left (for a mask: of what is as long as the history)."""
    first = next(place for place, item in enumerate(row) if item != EMPTY)
    for name, explains in EXPLANATIONS.items():  # a mask at the left looks like a crop, but for the width
        after = row[-len(before) :] if name == "mask" else row[first:]
        if name in ("mask", "substitute", "reorder") and len(after) != len(before):
            continue
        if explains(before, after, PERCENTS[name]):
            return name
    return None


@given(histories=HISTORIES, threshold=st.integers(-1, 9), seed=SEED, short_set=st.sampled_from(sorted(SHORT_SETS)))
@settings(deadline=None, max_examples=40)
def test_every_row_of_a_view_is_explained_by_one_operator(histories: list[list[int]], threshold: int, seed: int, short_set: str) -> None:
    sequences = right_aligned([*histories, []])
    before = sequences.clone()
    view = augmentation(threshold, short_set).view(sequences, empty=EMPTY, nearest=odd, generator=rng(seed), max_length=100)
    assert torch.equal(sequences, before)
    for history, row in zip(histories, view.tolist(), strict=False):
        assert operator_of(history, row) is not None, (history, row)
    assert (view[-1] == EMPTY).all()  # a row without items stays empty
    assert len(view) == len(histories) + 1


@pytest.mark.parametrize("short_set", sorted(SHORT_SETS))
@pytest.mark.parametrize("length", [4, 5])
def test_the_threshold_picks_the_operators(short_set: str, length: int) -> None:
    history = [2 * place for place in range(length)]
    draws = 150
    one = right_aligned([history], spare=0)  # alone, so that the width tells a crop from a mask at the left
    picked = Counter(
        operator_of(history, augmentation(4, short_set).view(one, empty=EMPTY, nearest=odd, generator=rng(seed), max_length=99)[0].tolist())
        for seed in range(draws)
    )
    allowed = SHORT_SETS[short_set] if length <= 4 else OPERATORS
    assert set(picked) == set(allowed)
    for name in allowed:
        assert picked[name] / draws == pytest.approx(1 / len(allowed), abs=5 * (0.25 / draws) ** 0.5)


def test_short_sets_are_named_by_their_initials() -> None:
    for initials, names in SHORT_SETS.items():
        assert sorted(initials) == sorted(name[0].upper() for name in names)


def test_threshold_minus_1_means_all_five_for_every_length() -> None:
    sequences = right_aligned([[2, 4, 6]] * 400, spare=0)
    rows = augmentation(-1).view(sequences, empty=EMPTY, nearest=odd, generator=rng(0), max_length=99).tolist()
    assert any(sorted(row[-3:]) == [2, 4, 6] and row[-3:] != [2, 4, 6] for row in rows)  # a reordered one
    assert any(row[-2] == EMPTY and row[-3] == EMPTY for row in rows)  # a cropped one


@pytest.mark.parametrize("max_length", [1, 2, 3, 5, 50])
def test_the_newest_max_length_are_kept(max_length: int) -> None:
    everywhere = Augmentation(substitute=1.0, insert=1.0, threshold=9, short_set="SI")
    sequences = right_aligned([[2, 4, 6]] * 50, spare=1)
    view = everywhere.view(sequences, empty=EMPTY, nearest=odd, generator=rng(0), max_length=max_length)
    assert view.shape == (50, min(max_length, 6))
    longest = [[EMPTY] * 3 + [3, 5, 7], [3, 2, 5, 4, 7, 6]]
    assert set(map(tuple, view.tolist())) == {tuple(row[-max_length:]) for row in longest}


@given(histories=HISTORIES, seed=SEED)
@settings(deadline=None, max_examples=25)
def test_substitute_and_insert_never_give_padding(histories: list[list[int]], seed: int) -> None:
    sequences = right_aligned(histories)
    n_items = 81
    sequences[sequences == EMPTY] = n_items
    lonely = NearestItems(torch.full((n_items,), -1), torch.full((n_items,), -torch.inf))
    config = Augmentation(substitute=0.8, insert=0.8, threshold=99, short_set="SI")
    view = config.view(sequences, empty=n_items, nearest=lonely, generator=rng(seed), max_length=99)
    for history, row in zip(histories, view.tolist(), strict=True):
        real = [item for item in row if item != n_items]
        assert row == [n_items] * (len(row) - len(real)) + real
        assert len(real) in (len(history), len(history) + max(1, 80 * len(history) // 100))
        assert all(0 <= item < n_items for item in real)


def test_one_seed_one_view() -> None:
    sequences = right_aligned([[2, 4, 6, 8, 10, 12]] * 30)

    def view(generator: torch.Generator) -> Tensor:
        return augmentation(4).view(sequences, empty=EMPTY, nearest=odd, generator=generator, max_length=6)

    generator, before = rng(7), torch.get_rng_state()
    first, second = view(generator), view(generator)
    assert first.shape != second.shape or not torch.equal(first, second)
    assert torch.equal(view(rng(7)), first)
    assert torch.equal(torch.get_rng_state(), before)  # nothing comes from the global generator


def test_a_batch_without_any_item_stays_empty() -> None:
    view = augmentation(4).view(torch.full((3, 5), EMPTY), empty=EMPTY, nearest=odd, generator=rng(0), max_length=6)
    assert view.tolist() == [[EMPTY]] * 3
