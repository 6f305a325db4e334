"""WMF and BPF beside float64 loops, and WMF beside the objective that it minimises."""

import itertools
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from monge.data import Interactions, Vocabulary
from monge.errors import MissingExtraError
from monge.models.collaborative import bpf, wmf
from monge.models.collaborative.bpf import BPF, BPFConfig, renewed
from monge.models.collaborative.wmf import WMF, WMFConfig, fold_in
from tests.conftest import log_of, queries_of
from tests.reference.factorisation import PoissonFactors, als_half_sweep, als_objective, poisson_bound, transposed

N_ITEMS = 9
UNTAKEN = N_ITEMS - 1
OPTIONS: dict[type[Any], dict[str, Any]] = {
    WMF: {"dim": 4, "regularisation": 0.5, "confidence": 5.0, "sweeps": 3},
    BPF: {"dim": 3, "sweeps": 3},
}
CONFIGS: dict[type[Any], type[Any]] = {WMF: WMFConfig, BPF: BPFConfig}


def sequences(n_users: int = 16) -> list[list[int]]:
    rng = np.random.default_rng(4)
    return [[0, 1, 0, 2], *(rng.permutation(N_ITEMS - 1)[: rng.integers(1, 7)].tolist() for _ in range(n_users))]


ROWS = [set(row) for row in sequences()]


def log() -> Interactions:
    """Training rows of `sequences`; item 8 (UNTAKEN) and a last user have none."""
    full = log_of([*sequences(), [UNTAKEN]])
    return full.select(full.item != UNTAKEN)


def fresh(model: type[Any], **options: Any) -> Any:
    torch.manual_seed(0)
    return model(CONFIGS[model](**(OPTIONS[model] | options)), n_users=len(ROWS) + 1, n_items=N_ITEMS)


def solved(model: type[Any], **options: Any) -> Any:
    built = fresh(model, **options)
    built.solve(log())
    return built


def asked(histories: list[list[int]]) -> Any:
    return queries_of(histories, [[]] * len(histories), n_items=N_ITEMS, users=[-1] * len(histories)).batch()


@pytest.mark.parametrize("c", [1.0, 2.0, 40.0])
@pytest.mark.parametrize("regularisation", [0.05, 3.0])
def test_wmf_is_alternating_least_squares_by_hand(c: float, regularisation: float) -> None:
    options = {"confidence": c, "regularisation": regularisation}
    items = fresh(WMF, **options).items.double().numpy()
    users, columns = np.zeros((0, 4)), transposed(ROWS, N_ITEMS)
    for _ in range(3):
        users = als_half_sweep(ROWS, items, c=c, regularisation=regularisation)
        items = als_half_sweep(columns, users, c=c, regularisation=regularisation)
    built = solved(WMF, **options)
    assert np.abs(items).max() > 0.05
    np.testing.assert_allclose(built.items.numpy(), items, rtol=1e-3, atol=1e-4)
    # a training user's own history: the user's vector after one more half-sweep over the users
    users = als_half_sweep(ROWS, built.items.double().numpy(), c=c, regularisation=regularisation)
    np.testing.assert_allclose(built.query_vectors(asked(sequences())).numpy(), users, rtol=1e-4, atol=1e-5)


def test_wmf_never_raises_its_objective_in_a_half_sweep() -> None:
    c, regularisation, values = 8.0, 0.3, []
    built = fresh(WMF, confidence=c, regularisation=regularisation, sweeps=1)
    for _ in range(6):
        users = built.query_vectors(asked(sequences())).double().numpy()  # users from these items, then items from those users
        values.append(als_objective(ROWS, users, built.items.double().numpy(), c=c, regularisation=regularisation))
        built.solve(log())
        values.append(als_objective(ROWS, users, built.items.double().numpy(), c=c, regularisation=regularisation))
    assert all(after <= before * (1 + 1e-6) for before, after in itertools.pairwise(values)), values
    assert values[-1] < 0.9 * values[0]


def test_folding_in_some_users_at_a_time_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    items = torch.randn(N_ITEMS, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    histories = [sorted(row) for row in [*ROWS, set()]]
    taken = torch.tensor([item for history in histories for item in history])
    lengths = torch.tensor([len(history) for history in histories])
    expected = als_half_sweep([*ROWS, set()], items.numpy(), c=7.0, regularisation=0.2)
    for budget in (wmf.FOLD_IN_BUDGET, 1, 150):
        monkeypatch.setattr(wmf, "FOLD_IN_BUDGET", budget)
        found = fold_in(taken, lengths, items, confidence=7.0, regularisation=0.2)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10, atol=1e-12)


def test_wmf_without_implicit_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "implicit.cpu.als", None)
    with pytest.raises(MissingExtraError, match=r"wmf needs implicit, which is not installed; run: pip install 'monge\[baselines\]'"):
        solved(WMF)


def by_hand(n: int, shape: np.ndarray, rate: np.ndarray, config: BPFConfig) -> PoissonFactors:
    return PoissonFactors(shape, rate, np.full(n, config.activity_mean), config.shape, config.activity_shape, config.activity_mean)


def both_sides(model: BPF) -> tuple[PoissonFactors, PoissonFactors]:
    """Users at their prior and items at their start, in float64."""
    config, n = model.config, len(ROWS)
    full = np.ones((n, config.dim))
    users = by_hand(n, config.shape * full, config.activity_mean * full, config)
    return users, by_hand(N_ITEMS, model.shape.double().numpy(), model.rate.double().numpy(), config)


PRIORS = [{}, {"shape": 1.3, "activity_shape": 0.7, "activity_mean": 0.5}]


@pytest.mark.parametrize("options", PRIORS)
def test_bpf_is_coordinate_ascent_by_hand(options: dict[str, Any]) -> None:
    users, items = both_sides(fresh(BPF, **options))
    columns = transposed(ROWS, N_ITEMS)
    for _ in range(3):
        users.half_sweep(ROWS, items)
        items.half_sweep(columns, users)
    built = solved(BPF, **options)
    np.testing.assert_allclose(built.shape.numpy(), items.shape, rtol=1e-4)
    np.testing.assert_allclose(built.rate.numpy(), items.rate, rtol=1e-4)
    # a query's user: the same steps from the prior, the items held
    asking, _ = both_sides(built)
    for _ in range(built.config.fold_in_sweeps):
        asking.half_sweep(ROWS, items)
    np.testing.assert_allclose(built.query_vectors(asked(sequences())).numpy(), asking.shape / asking.rate, rtol=1e-3)


@pytest.mark.parametrize("options", PRIORS)
def test_bpf_never_lowers_its_bound_in_a_half_sweep(options: dict[str, Any]) -> None:
    model = fresh(BPF, **options).double()
    config, bounds = model.config, []
    of_users, of_items = (
        (torch.tensor([number for row in rows for number in sorted(row)]), torch.tensor([len(row) for row in rows]))
        for rows in (ROWS, transposed(ROWS, N_ITEMS))
    )
    users, items = model._prior(len(ROWS)), model._items()
    for _ in range(8):
        for side in ("users", "items"):
            if side == "users":
                users = renewed(users, items, *of_users, config)
            else:
                items = renewed(items, users, *of_items, config)
            twins = [
                PoissonFactors(
                    part.shape.numpy(), part.rate.numpy(), part.activity.numpy(), config.shape, config.activity_shape, config.activity_mean
                )
                for part in (users, items)
            ]
            bounds.append(poisson_bound(ROWS, *twins))
    assert all(after >= before - 1e-9 * abs(before) for before, after in itertools.pairwise(bounds)), bounds
    assert bounds[-1] > bounds[0] + 1


def test_sharing_out_counts_a_few_rows_at_a_time_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = solved(BPF).shape
    monkeypatch.setattr(bpf, "SHARES_BUDGET", 7)
    torch.testing.assert_close(solved(BPF).shape, whole, rtol=1e-6, atol=0)


@pytest.mark.parametrize("model", [WMF, BPF])
def test_users_without_a_training_row_change_nothing(model: type[Any]) -> None:
    with_one = log()
    without = replace(with_one, users=Vocabulary(with_one.users.ids[:-1]))
    built = fresh(model)
    built.solve(without)
    assert (without.n_users, with_one.n_users) == (len(ROWS), len(ROWS) + 1)
    for name, tensor in solved(model).state_dict().items():
        assert torch.equal(tensor, built.state_dict()[name])


@pytest.mark.parametrize("model", [WMF, BPF])
def test_an_item_that_no_training_user_has_ranks_below_what_is_liked(model: type[Any]) -> None:
    built = solved(model, sweeps=20)
    scores = built.scores(asked(sequences()))
    assert scores.isfinite().all()
    assert float(scores[:, UNTAKEN].abs().max()) < 0.1
    for row, taken in enumerate(ROWS):
        assert scores[row, list(taken)].min() > scores[row, UNTAKEN]


@pytest.mark.parametrize("model", [WMF, BPF])
def test_repeats_in_a_history_count_once_and_nothing_known_is_answered(model: type[Any]) -> None:
    built = solved(model)
    found = built.scores(asked([[3, 1, 3, 1], [1, 3], []]))
    assert torch.equal(found[0], found[1])
    assert found[2].isfinite().all()
    if model is WMF:
        assert not found[2].any()
    assert built.scores(asked([])).shape == (0, N_ITEMS)
