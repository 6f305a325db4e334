"""LightGCN beside a dense twin in float64, beside BPRMF, and its final vectors in the middle of a training and after loading
(`tests/training/test_resume.py` resumes it)."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import monge
from monge.data import Interactions, leave_one_out
from monge.errors import QueryError
from monge.models.collaborative.bprmf import BPRMF, BPRMFConfig
from monge.models.collaborative.lightgcn import LightGCN, LightGCNConfig
from monge.sampling import PairBatch
from monge.training.loop import Callbacks, Progress, TrainingConfig, fit, make_fabric
from tests.conftest import cycle_sequences, log_of, queries_of
from tests.reference.graph import layer_mean

N_USERS, N_ITEMS = 50, 10


def model_of(log: Interactions, **options: Any) -> LightGCN:
    torch.manual_seed(3)
    made = LightGCN(LightGCNConfig(dim=4, batch_size=64, **options), n_users=log.n_users, n_items=log.n_items)
    made.batches(log, seed=0, device=torch.device("cpu"))
    return made


def finals_by_hand(model: LightGCN, log: Interactions) -> tuple[Tensor, Tensor]:
    pairs = set(zip(log.user.tolist(), log.item.tolist(), strict=True))
    users, items = model.tables.users.weight.tolist(), model.tables.items.weight.tolist()
    symmetric = model.config.normalisation == "symmetric"
    final = layer_mean(pairs, users, items, n_layers=model.config.n_layers, symmetric=symmetric)
    return torch.tensor(final[0], dtype=torch.float64), torch.tensor(final[1], dtype=torch.float64)


def assert_scores(model: LightGCN, log: Interactions) -> None:
    users, items = finals_by_hand(model, log)
    asked = queries_of([[]] * log.n_users, [[]] * log.n_users, n_items=log.n_items).batch()
    with torch.inference_mode():
        torch.testing.assert_close(model.scores(asked).double(), users @ items.T, rtol=1e-5, atol=1e-6)


BATCH = PairBatch(torch.tensor([0, 3, 3, 41]), torch.tensor([1, 5, 5, 2]), torch.tensor([8, 9, 1, 9]))


@pytest.mark.parametrize("normalisation", ["symmetric", "one-sided"])
@pytest.mark.parametrize("n_layers", [0, 1, 3])
def test_scores_and_loss_are_the_papers(n_layers: int, normalisation: str, cycle: Interactions) -> None:
    model = model_of(cycle, n_layers=n_layers, normalisation=normalisation, regularisation=0.3)
    users, items = finals_by_hand(model, cycle)
    loss, penalty = 0.0, 0.0
    for u, i, j in zip(BATCH.users.tolist(), BATCH.positives.tolist(), BATCH.negatives.tolist(), strict=True):
        margin = float(users[u] @ items[i] - users[u] @ items[j])
        loss += math.log1p(math.exp(-margin)) / 4
        for vector in (model.tables.users.weight[u], model.tables.items.weight[i], model.tables.items.weight[j]):
            penalty += 0.3 / 2 * sum(value**2 for value in vector.tolist()) / 4
    parts = model.loss(BATCH)
    assert parts["bpr"].item() == pytest.approx(loss, rel=1e-5)
    assert parts["l2"].item() == pytest.approx(penalty, rel=1e-5)
    assert_scores(model, cycle)
    assert set(model_of(cycle, regularisation=0.0).loss(BATCH)) == {"bpr"}


def test_no_layer_is_bprmf(cycle: Interactions) -> None:
    model = model_of(cycle, n_layers=0, regularisation=0.1)
    other = BPRMF(BPRMFConfig(dim=4, regularisation=0.1), n_users=N_USERS, n_items=N_ITEMS)
    other.batches(cycle, seed=0, device=torch.device("cpu"))
    other.users.load_state_dict(model.tables.users.state_dict())
    other.items.load_state_dict(model.tables.items.state_dict())
    asked = queries_of([[1], [2]], [[], []], n_items=N_ITEMS, users=[7, 0]).batch()
    assert torch.equal(model.scores(asked), other.scores(asked))
    for made in (model, other):
        sum(made.loss(BATCH).values(), torch.zeros(())).backward()
    assert model.loss(BATCH)["bpr"].item() == pytest.approx(other.loss(BATCH)["bpr"].item(), rel=1e-6)
    for mine, theirs in ((model.tables.users, other.users), (model.tables.items, other.items)):
        assert mine.weight.grad is not None
        torch.testing.assert_close(mine.weight.grad, theirs.weight.grad)


def test_repeated_pairs_are_one_edge_and_each_trains() -> None:
    once, twice = log_of([[0, 1], [1, 2]]), log_of([[0, 1, 1], [1, 2]])
    tables = model_of(once), model_of(twice)
    assert torch.equal(tables[0].item_vectors()[0], tables[1].item_vectors()[0])
    batches = tables[1].batches(twice, seed=0, device=torch.device("cpu"))
    assert sorted(torch.cat([batch.positives for batch in batches(0)]).tolist()) == [0, 1, 1, 1, 2]


@pytest.mark.parametrize(("init", "deviation"), [("normal", 0.1), ("xavier", math.sqrt(2 / (400 + 16)))])
def test_first_vectors(init: Any, deviation: float) -> None:
    torch.manual_seed(0)
    model = LightGCN(LightGCNConfig(dim=16, init=init), n_users=400, n_items=400)
    for table in (model.tables.users, model.tables.items):
        assert table.weight.std().item() == pytest.approx(deviation, rel=0.05)


def test_scores_are_right_after_every_batch_and_every_epoch(cycle: Interactions) -> None:
    model = model_of(cycle, learning_rate=0.05)
    evaluated: list[list[float]] = []

    def validate(module: Any) -> dict[str, float]:
        module.eval()
        assert_scores(module, cycle)
        evaluated.append(module.item_vectors()[0].flatten().tolist())
        module.train()
        return {"mrr": float(len(evaluated))}

    def on_epoch(progress: Progress, module: Any, optimizer: Any) -> None:
        assert_scores(module, cycle)

    callbacks = Callbacks(on_batch=lambda n_done: assert_scores(model, cycle), on_epoch=on_epoch)
    fit(model, cycle, TrainingConfig(epochs=3), validate=validate, fabric=make_fabric("32-true", "cpu"), callbacks=callbacks)
    assert len({tuple(vectors) for vectors in evaluated}) == 3


SMALL: dict[str, Any] = {"dim": 8, "batch_size": 64, "device": "cpu"}


def test_a_loaded_run_answers_without_a_graph_and_with_the_same_scores(tmp_path: Path) -> None:
    log = log_of(cycle_sequences())
    run = monge.train("lightgcn", log, out=tmp_path / "run", epochs=3, **SMALL)
    loaded = monge.load_run(tmp_path / "run")
    assert isinstance(loaded.model, LightGCN)
    assert loaded.model.tables.graph is None
    assert isinstance(run.model, LightGCN)
    test = leave_one_out(log)
    assert_scores(run.model, test.train)
    assert_scores(loaded.model, test.train)
    for mode in (True, False):
        for model in (run.model, loaded.model):
            model.train(mode)
        for mine, theirs in zip(run.model.tables.everything(), loaded.model.tables.everything(), strict=True):
            assert torch.equal(mine, theirs)
    assert loaded.recommend("u3", k=5) == run.recommend("u3", k=5)
    assert loaded.evaluate(["mrr"]).to_dict() == run.evaluate(["mrr"]).to_dict()


def test_a_user_without_a_training_row_is_refused_though_the_tables_have_a_row(cycle: Interactions) -> None:
    model = model_of(cycle.select(cycle.user != 7))
    asked = queries_of([[1], [1]], [[], []], n_items=N_ITEMS, users=[6, 7])
    with pytest.raises(QueryError, match="lightgcn has a vector for each training user only, and 1 of 2 queries"):
        model.scores(asked.batch())
    assert np.isfinite(model.scores(asked.take(np.array([0])).batch()).detach().numpy()).all()
