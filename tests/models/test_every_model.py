"""One suite that every model passes: the built-in ones and somebody else's, named by its import path."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
import torch
from torch import nn

import monge
from monge.data import Interactions, Queries, Ragged, leave_one_out
from monge.errors import DataError, QueryError, UnknownNameError
from monge.evaluation import rank_truth
from monge.models import MODELS, InnerProduct, find_model, make_model
from monge.options import describe_options
from tests.conftest import cycle_sequences, log_of, queries_of, with_content
from tests.crossdomain import with_domains

OUTSIDE = "tests.models.outside:Transitions"
SEQUENCE: dict[str, Any] = {"dim": 8, "max_length": 6, "batch_size": 16, "n_heads": 2}
BAG: dict[str, Any] = {"dim": 4, "hidden": 8, "batch_size": 16}
PAIRS: dict[str, Any] = {"dim": 8, "batch_size": 32}
ASL: dict[str, Any] = {"critic_shrink": 2, "penalty_rows": 8}
SMALL: dict[str, dict[str, Any]] = {
    "popular": {},
    "itemknn": {"k": 5},
    "p3alpha": {"k": 5},
    "rp3beta": {"k": 5, "normalise": True},
    "slim": {"k": 5},
    "ease": {"regularisation": 5.0},
    "wmf": {"dim": 6, "regularisation": 0.5, "sweeps": 4},
    "bpf": {"dim": 6, "sweeps": 5},
    "bprmf": {"dim": 8, "batch_size": 32, "item_bias": True},
    "lightgcn": {"dim": 8, "batch_size": 32},
    "clrec": PAIRS,
    "directau": {**PAIRS, "encoder": "lightgcn", "normalisation": "one-sided"},
    "buir": {**PAIRS, "encoder": "lightgcn"},
    "sclrec": {**PAIRS, "symmetric": True, "mask_false_negatives": "all_observed"},
    "mf": {"dim": 4, "batch_size": 16},
    "neumf": {"dim": 4, "batch_size": 64},
    "multvae": BAG,
    "sinkhorncf": {**BAG, "k": 5, "flow": "iaf2"},
    "vbpr": {**PAIRS, "content_dim": 4},
    "lightgcn-m": PAIRS,
    "lattice": {**PAIRS, "k": 3},
    "slmrec": {**PAIRS, "task": "fd_fm", "asl": True, **ASL},
    "mmssl": {**PAIRS, "k": 2, **ASL},
    "last-popular": {},
    "sasrec": SEQUENCE,
    "stosa": SEQUENCE,
    "coserec": {**SEQUENCE, "similarity_warmup": 1},
    "mstein": {**SEQUENCE, "similarity_warmup": 1},
    "svae": {"dim_items": 8, "dim_state": 8, "hidden": 8, "dim": 4, "batch_size": 16, "kl_steps": 5},
    "domain-sasrec": {"dim": 8, "max_length": 6, "batch_size": 16},
    "domain-multvae": BAG,
    "domain-svae": {"dim_items": 8, "dim_state": 8, "hidden": 8, "dim": 4, "batch_size": 16},
    "c2dsr": {"dim": 8, "max_length": 6, "batch_size": 16, "n_blocks": 1},
    "savae": BAG,
    "i2vae": {"dim": 8, "max_length": 6, "n_pseudo": 3, "psg_epochs": 2, "cross_heads": 2, "n_blocks": 1, "batch_size": 16},
    OUTSIDE: {},
}
IN_BATCH = ["clrec", "directau", "buir", "sclrec"]
CONTENT = ["vbpr", "lightgcn-m", "lattice", "slmrec", "mmssl"]
CROSS_DOMAIN = ["domain-sasrec", "domain-multvae", "domain-svae", "c2dsr", "savae", "i2vae"]
SEQUENTIAL = ["sasrec", "stosa", "coserec", "mstein", "svae"]
LEARNT = [*IN_BATCH, *CONTENT, "bprmf", "lightgcn", "mf", "neumf", "multvae", "sinkhorncf", *SEQUENTIAL, *CROSS_DOMAIN, OUTSIDE]
NEEDS_HISTORY = ["multvae", "sinkhorncf", *SEQUENTIAL, OUTSIDE]
OF_USERS = [*IN_BATCH, *CONTENT, "bprmf", "lightgcn", "mf", "neumf"]
ITEM_WEIGHTS = ["itemknn", "p3alpha", "rp3beta", "slim", "ease"]
FACTORS = ["wmf", "bpf"]
ANSWERS_ANYBODY = ["popular", "last-popular", *ITEM_WEIGHTS, *FACTORS, *CROSS_DOMAIN]
N_ITEMS = 10


def toy() -> Interactions:
    """The cycle; its items have content, and are of two domains by turns, which only some models care for."""
    return with_domains(with_content(log_of(cycle_sequences(n_items=N_ITEMS))), ["even", "odd"] * (N_ITEMS // 2))


def train(name: str, out: Path | None = None, *, seed: int = 0, epochs: int = 2, **options: Any) -> monge.Run:
    if name in LEARNT:
        options |= {"epochs": epochs}
    return monge.train(name, toy(), out=out, seed=seed, device="cpu", **(SMALL[name] | options))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, monge.Run]:
    """One short training of each model, kept on disk; made when first asked for."""

    class Cache(dict[str, monge.Run]):
        def __missing__(self, name: str) -> monge.Run:
            self[name] = train(name, tmp_path_factory.mktemp("run") / "it")
            return self[name]

    return Cache()


def queries() -> Queries:
    """Histories of one item, of fewer than the window, and of more; users of the training."""
    sequences = [[3], [0, 1], [9, 0, 1], [2, 3, 4, 5, 6, 7, 8], [5, 4, 3, 2, 1, 0, 9, 8], [7, 8, 9]]
    return queries_of(sequences, [[]] * len(sequences), n_items=N_ITEMS)


def scores(model: Any, asked: Queries) -> torch.Tensor:
    model.eval()
    with torch.inference_mode():
        return model.scores(asked.batch())


def module(run: monge.Run) -> nn.Module:
    assert isinstance(run.model, nn.Module)
    return run.model


def test_the_suite_knows_every_model() -> None:
    assert set(SMALL) == {*MODELS, OUTSIDE}


@pytest.mark.parametrize("name", SMALL)
def test_saved_and_loaded_gives_equal_scores(name: str, runs: dict[str, monge.Run]) -> None:
    run = runs[name]
    assert run.path is not None
    loaded = monge.load_run(run.path, trusted=[OUTSIDE])
    assert loaded.model is not run.model
    assert torch.equal(scores(run.model, queries()), scores(loaded.model, queries()))
    assert {key: value.tolist() for key, value in module(run).state_dict().items()} == {
        key: value.tolist() for key, value in module(loaded).state_dict().items()
    }
    fresh = make_model(
        type(run.model),
        module(run).config,
        n_users=50,
        n_items=N_ITEMS,
        item_columns=toy().item_columns,
        modalities=toy().modalities,
    )
    assert any(
        not torch.equal(mine, other) for mine, other in zip(module(run).state_dict().values(), fresh.state_dict().values(), strict=True)
    )
    assert loaded.evaluate(["ndcg@10", "coverage@3"]).to_dict() == run.evaluate(["ndcg@10", "coverage@3"]).to_dict()
    assert loaded.evaluate(["mrr"]).to_dict()["mrr"] == run.result["test"]["mrr"]
    assert loaded.recommend("u3", k=4) == run.recommend("u3", k=4)


def choices(hint: Any) -> list[Any]:
    """The values of a flag or of a choice among names; none for what is a number."""
    if hint is bool:
        return [True, False]
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    return [value for part in get_args(hint) for value in choices(part)]


SWITCHES = [
    (name, option.name, value)
    for name, small in SMALL.items()
    for option in describe_options(find_model(name).Config)
    for value in choices(option.type)
    if value != small.get(option.name, option.default)
]
NEEDS: dict[tuple[str, str, Any], dict[str, Any]] = {("i2vae", "pseudo_order", "interleave"): {"n_pseudo": 6}}
"""Switches that stand with another option alone."""


@pytest.mark.parametrize(("name", "option", "value"), SWITCHES)
def test_every_switch_learns_and_comes_back(name: str, option: str, value: Any, tmp_path: Path) -> None:
    run = train(name, tmp_path / "it", epochs=1, **{option: value}, **NEEDS.get((name, option, value), {}))
    loaded = monge.load_run(tmp_path / "it", trusted=[OUTSIDE])
    assert getattr(module(loaded).config, option) == value
    found = scores(loaded.model, queries())
    assert found.isfinite().all()
    assert torch.equal(found, scores(run.model, queries()))


@pytest.mark.parametrize("name", SMALL)
def test_scores_are_one_finite_row_a_query(name: str, runs: dict[str, monge.Run]) -> None:
    found = scores(runs[name].model, queries())
    assert found.shape == (len(queries()), N_ITEMS)
    assert found.isfinite().all()
    assert found.is_floating_point()


@pytest.mark.parametrize("name", SMALL)
def test_batched_equals_one_by_one(name: str, runs: dict[str, monge.Run]) -> None:
    asked = queries()
    together = scores(runs[name].model, asked)
    alone = torch.cat([scores(runs[name].model, asked.take(np.array([row]))) for row in range(len(asked))])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    turned = np.arange(len(asked))[::-1].copy()
    torch.testing.assert_close(scores(runs[name].model, asked.take(turned)), together[torch.from_numpy(turned)], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_vectors_reproduce_the_scores_up_to_a_constant_a_row(name: str, runs: dict[str, monge.Run]) -> None:
    model = runs[name].model
    if not isinstance(model, InnerProduct):
        assert name in {"popular", "last-popular", "neumf", *ITEM_WEIGHTS, *CROSS_DOMAIN, OUTSIDE}
        return
    with torch.inference_mode():
        query_vectors, (item_vectors, bias) = model.query_vectors(queries().batch()), model.item_vectors()
    assert query_vectors.shape[1] == item_vectors.shape[1]
    assert item_vectors.shape[0] == N_ITEMS
    by_hand = query_vectors.double() @ item_vectors.double().T + (0 if bias is None else bias.double())
    difference = scores(model, queries()).double() - by_hand
    torch.testing.assert_close(difference, difference[:, :1].expand_as(difference), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_what_training_returns_is_ready_to_answer(name: str) -> None:
    """Nothing is dropped at random: asked twice, it says the same."""
    model = train(name).model
    assert isinstance(model, nn.Module)
    assert not model.training
    with torch.inference_mode():
        assert torch.equal(model.scores(queries().batch()), model.scores(queries().batch()))


@pytest.mark.parametrize("name", SMALL)
def test_ranking_by_vectors_and_by_scores_agree(name: str, runs: dict[str, monge.Run]) -> None:
    asked = leave_one_out(log_of(cycle_sequences(n_items=N_ITEMS))).test
    model = runs[name].model
    fast = rank_truth(model, asked, seed=5).ranks

    class ScoresOnly:
        Config, answers_unknown_users = model.Config, model.answers_unknown_users
        scores = staticmethod(model.scores)

    module(runs[name]).eval()
    assert fast.tolist() == rank_truth(ScoresOnly(), asked, seed=5, block=7).ranks.tolist()  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", SMALL)
def test_same_seed_same_weights_and_another_seed_others(name: str, runs: dict[str, monge.Run]) -> None:
    first, again, other = (module(run).state_dict() for run in (runs[name], train(name), train(name, seed=1)))
    assert all(torch.equal(first[key], again[key]) for key in first)
    if name in (*LEARNT, *FACTORS):
        assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", NEEDS_HISTORY)
def test_an_empty_history_is_a_query_error(name: str, runs: dict[str, monge.Run]) -> None:
    asked = queries_of([[1], []], [[], []], n_items=N_ITEMS)
    with pytest.raises(QueryError, match="history"):
        scores(runs[name].model, asked)
    with pytest.raises(QueryError, match="history"):
        runs[name].recommend(history=[])


@pytest.mark.parametrize("name", [*NEEDS_HISTORY, *ANSWERS_ANYBODY])
def test_an_unknown_user_with_a_history_gets_an_answer(name: str, runs: dict[str, monge.Run]) -> None:
    model = runs[name].model
    assert model.answers_unknown_users
    unknown = replace(queries(), user=np.full(len(queries()), -1))
    assert torch.equal(scores(model, unknown), scores(model, queries()))
    rows = runs[name].recommend(history=["i3", "i4"], k=3)
    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert not {"i3", "i4"} & {row["item_id"] for row in rows}


@pytest.mark.parametrize("name", ANSWERS_ANYBODY)
def test_models_solved_in_one_go_answer_an_empty_history(name: str, runs: dict[str, monge.Run]) -> None:
    asked = Queries(n_items=N_ITEMS, user=np.array([-1]), history=Ragged.from_lists([[]]), truth=Ragged.from_lists([[]]))
    assert scores(runs[name].model, asked).isfinite().all()
    assert len(runs[name].recommend(history=[], k=N_ITEMS)) == N_ITEMS


@pytest.mark.parametrize("name", OF_USERS)
def test_a_model_of_users_refuses_unknown_ones(name: str, runs: dict[str, monge.Run]) -> None:
    assert not runs[name].model.answers_unknown_users
    asked = queries_of([[1], [1]], [[], []], n_items=N_ITEMS, users=[0, -1])
    with pytest.raises(QueryError, match="1 of 2 queries are from users whom training never saw"):
        scores(runs[name].model, asked)
    with pytest.raises(QueryError, match="unknown to this run"):
        runs[name].recommend("nobody")


@pytest.mark.parametrize("name", OF_USERS)
def test_a_model_of_users_refuses_a_user_without_a_training_row(name: str) -> None:
    split = leave_one_out(with_content(log_of(cycle_sequences())))
    untrained = replace(split, train=split.train.select(split.train.user != 7), validation=split.validation.take(np.arange(7)))
    with pytest.raises(DataError, match=r"cannot answer 1 of \d+ test queries.*known_users_only"):
        monge.train(name, untrained, epochs=1, dim=4)


def test_temporal_queries_without_history_are_refused_before_training_or_left_out_on_request() -> None:
    n = 40
    user = np.repeat(np.arange(n), 6)
    time = np.arange(6 * n) % 6 + 3 * (user % 3 == 0)  # a third of the users begin later, some after the test's time point
    log = monge.Interactions.from_columns(user.tolist(), ((user + np.arange(6 * n)) % 12).tolist(), time=(time * 10 + user % 10).tolist())
    options = {"validation_time": 20, "test_time": 30}
    split = monge.make_split(log, "temporal", options)
    assert (split.test.history.lengths == 0).any()
    with pytest.raises(DataError, match="their histories are empty"):
        monge.train("sasrec", split, epochs=1, dim=4)
    known = monge.make_split(log, "temporal", options | {"known_users_only": True})
    assert (known.test.history.lengths > 0).all()
    assert any(f"{len(split.test) - len(known.test)} queries" in note for note in known.notes)
    for model in ("sasrec", "bprmf"):
        assert monge.train(model, known, epochs=1, dim=4).result["test"]["mrr"]["mean"] > 0


@pytest.mark.parametrize("name", OF_USERS)
def test_a_trained_model_of_users_refuses_a_known_user_without_a_training_row(name: str) -> None:
    split = leave_one_out(with_content(log_of(cycle_sequences())))
    fewer = replace(split, **{part: getattr(split, part).take(np.arange(7)) for part in ("validation", "test")})
    run = monge.train(name, replace(fewer, train=split.train.select(split.train.user != 7)), epochs=1, dim=4, device="cpu")
    assert scores(run.model, split.test.take(np.array([6]))).isfinite().all()
    with pytest.raises(QueryError, match="1 of 1 queries are from users whom training never saw"):
        scores(run.model, split.test.take(np.array([7])))


@pytest.mark.parametrize("name", SMALL)
def test_similar_items_leave_out_the_item_itself(name: str, runs: dict[str, monge.Run]) -> None:
    rows = runs[name].similar("i2", k=N_ITEMS - 1)
    assert {row["item_id"] for row in rows} == {f"i{item}" for item in range(N_ITEMS)} - {"i2"}
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)


def test_a_name_that_is_none_gets_the_nearest_one() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'sasrec'"):
        find_model("sasrek")
    with pytest.raises(UnknownNameError, match="no_such_module"):
        find_model("no_such_module:Model")
    with pytest.raises(UnknownNameError, match="nothing"):
        find_model("tests.models.outside:nothing")
    with pytest.raises(UnknownNameError, match="no recommender: it has no Config"):
        find_model("collections:OrderedDict")
