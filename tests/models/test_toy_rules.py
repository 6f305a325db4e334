"""Every model learns a rule that is there to be learnt, and the trivial ones have known answers."""

from typing import Any

import numpy as np
import pytest

import monge
from monge.data import Interactions, leave_one_out, ratio
from tests.conftest import cycle_sequences, log_of, with_content

USERS: dict[str, Any] = {"epochs": 40, "select": "recall@5", "learning_rate": 0.05, "batch_size": 20}
BAG: dict[str, Any] = {"epochs": 30, "select": "recall@5", "learning_rate": 0.01, "batch_size": 20, "dim": 4, "hidden": 16}
ADVERSARY: dict[str, Any] = {"critic_shrink": 2}
PAIRS: dict[str, Any] = {"epochs": 40, "select": "recall@5", "learning_rate": 0.02, "batch_size": 64, "dim": 2}
SEQUENCE: dict[str, Any] = {"dim": 16, "max_length": 8, "batch_size": 64, "n_layers": 1, "n_heads": 2, "learning_rate": 1e-2}
OF_ATTENTION = ("n_layers", "n_heads")
CONTRAST: dict[str, Any] = {"similarity_warmup": 20}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sasrec", {"dropout": 0.1, "attention_dropout": 0.0}),
        ("sasrec", {"dropout": 0.1, "attention_dropout": 0.0, "loss": "full_ce"}),
        ("stosa", {"dropout": 0.1, "mean_stream": "attended"}),
        ("stosa", {"dropout": 0.1, "mean_stream": "passthrough"}),
        ("mstein", {"mean_stream": "attended", **CONTRAST}),
        ("mstein", {"mean_stream": "passthrough", **CONTRAST}),
        ("mstein", {"cl_sim": "inv_w2", "cl_temperature": 1e-2, "cl_readout": "last", **CONTRAST}),
        ("coserec", {"dropout": 0.1, "attention_dropout": 0.0, **CONTRAST}),
        ("svae", {"dim": 8, "dim_items": 16, "dim_state": 32, "hidden": 32, "n_next": 1, "kl_cap": 0.0, "weight_decay": 0.0}),
        ("tests.models.outside:Transitions", None),
    ],
)
def test_a_deterministic_next_item_rule_is_learnt(name: str, options: dict[str, Any] | None, cycle: Interactions) -> None:
    options = (
        {} if options is None else {key: value for key, value in SEQUENCE.items() if name != "svae" or key not in OF_ATTENTION} | options
    )
    run = monge.train(name, cycle, epochs=80, validate_every=10, device="cpu", **options)
    assert run.result["test"]["recall@1"]["mean"] >= 0.95
    best = run.recommend(history=["i4", "i5", "i6"], k=1)
    assert best[0]["item_id"] == "i7"


def blocks(n_users: int = 80, n_items: int = 24, taken: int = 9) -> Interactions:
    """Even users take only items of the first half, odd users only of the second."""
    rng = np.random.default_rng(0)
    half = n_items // 2
    return log_of([(rng.permutation(half)[:taken] + half * (user % 2)).tolist() for user in range(n_users)])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("itemknn", {"weighting": "cosine"}),
        ("itemknn", {"weighting": "tfidf"}),
        ("itemknn", {"weighting": "bm25"}),
        ("p3alpha", {}),
        ("rp3beta", {}),
        ("slim", {}),
        ("ease", {"regularisation": 10.0}),
        ("wmf", {"dim": 2}),
        ("bpf", {"dim": 2}),
        ("bprmf", {"dim": 2, "epochs": 40, "select": "recall@5", "learning_rate": 0.05, "batch_size": 128, "regularisation": 1e-2}),
        (
            "bprmf",
            {
                "dim": 2,
                "epochs": 40,
                "select": "recall@5",
                "learning_rate": 0.05,
                "batch_size": 128,
                "item_bias": True,
                "regularisation": 3e-2,
            },
        ),
        *[
            ("lightgcn", {**USERS, "dim": 4, "batch_size": 128, "n_layers": n_layers, "normalisation": normalisation})
            for n_layers, normalisation in ((2, "symmetric"), (3, "one-sided"))
        ],
        ("clrec", {**PAIRS, "tau": 1.0}),  # small temperatures tell users of one half apart
        ("directau", {**PAIRS, "dim": 4, "gamma": 0.5}),
        ("buir", {**PAIRS, "dim": 4, "momentum": 0.9}),
        ("sclrec", {**PAIRS, "tau": 1.0}),
        *[(name, {**PAIRS, "tau": 1.0, "encoder": "lightgcn"}) for name in ("clrec", "sclrec")],
        ("buir", {**PAIRS, "dim": 4, "momentum": 0.9, "encoder": "lightgcn", "edge_dropout": 0.2}),
        ("sclrec", {**PAIRS, "tau": 1.0, "symmetric": True, "mask_false_negatives": "all_observed", "ema": False}),
        ("vbpr", {**PAIRS, "content_dim": 2, "learning_rate": 0.05, "regularisation": 3e-2, "epochs": 30}),
        ("lightgcn-m", {**PAIRS, "dim": 4}),
        ("lattice", {**PAIRS, "dim": 4, "k": 4}),
        *[("slmrec", {**PAIRS, "dim": 4, "temperature": 1.0, "task": task}) for task in ("fac", "fd_fm")],
        ("slmrec", {**PAIRS, "epochs": 20, "dim": 4, "temperature": 1.0, "asl": True, "cl": True, **ADVERSARY}),
        ("mmssl", {**PAIRS, "epochs": 20, "dim": 4, "n_heads": 2, "k": 3, **ADVERSARY}),
        ("mmssl", {**PAIRS, "dim": 4, "n_heads": 2, "k": 3, "generator": "gae", "cl": False, "missing": "mean", "modalities": "visual"}),
        *[("mf", {**USERS, "dim": 2, "observation": loss}) for loss in ("gaussian", "sinkhorn")],
        ("neumf", {**USERS, "dim": 8, "batch_size": 128, "learning_rate": 0.01, "weight_decay": 1e-3}),
        ("neumf", {**USERS, "form": "mlp", "learning_rate": 0.02}),
        *[("multvae", {**BAG, "observation": loss}) for loss in ("multinomial", "sinkhorn")],
        ("sinkhorncf", {**BAG, "k": 8}),
        ("sinkhorncf", {**BAG, "flow": "iaf2", "debias": True, "k": 8, "l1_every": 3, "l1_start_epoch": 2, "l1_max_users": 10}),
    ],
)
def test_a_checkerboard_is_learnt(name: str, options: dict[str, Any]) -> None:
    log = with_content(blocks())
    split = ratio(log, train=0.6, validation=0.2, test=0.2, seed=1)
    run = monge.train(name, split, device="cpu", **options)
    # 12 items of a block less at least 7 of the history leave at most 5 in it: the held-out ones must be among them
    assert run.result["test"]["recall@5"]["mean"] >= 0.97
    assert monge.train("popular", split).result["test"]["recall@5"]["mean"] < 0.9
    block = {f"i{item}" for item in range(12)}
    assert {row["item_id"] for row in run.recommend("u4", k=3)} <= block
    assert not {row["item_id"] for row in run.recommend("u5", k=3)} & block


def test_popular_counts_training_rows_only() -> None:
    # training rows: i0 three times, i1 twice, i2 once; i3 and i4 only in the held-out places
    log = log_of([[0, 1, 2, 3, 4], [0, 1, 3, 4], [0, 4, 3]])
    split = leave_one_out(log)
    run = monge.train("popular", split)
    assert run.model.counts.tolist() == [3, 2, 1, 0, 0]  # pyright: ignore[reportAttributeAccessIssue]
    assert [(row["item_id"], row["score"]) for row in run.recommend(history=["i3"], k=3)] == [("i0", 3.0), ("i1", 2.0), ("i2", 1.0)]
    # u0: test truth i4 after history i0..i3 is first of one; u1: i2 (1), then i4 (0): rank 2; u2: i1, i2, then i3: rank 3
    assert monge.evaluate(run.model, split.test, ["mrr"]).values["mrr"].tolist() == pytest.approx([1, 1 / 2, 1 / 3])


def test_last_popular_counts_the_newest_training_item_of_each_user() -> None:
    # training parts: [0, 1, 2], [0, 2], [1]
    log = log_of([[0, 1, 2, 3, 4], [0, 2, 3, 4], [1, 4, 3]])
    run = monge.train("last-popular", leave_one_out(log))
    assert run.model.counts.tolist() == [0, 1, 2, 0, 0]  # pyright: ignore[reportAttributeAccessIssue]


def test_the_order_matters_to_sequence_models_and_not_to_itemknn() -> None:
    log = log_of(cycle_sequences())
    knn = monge.train("itemknn", log)
    options = {"dropout": 0.0, "attention_dropout": 0.0}
    sasrec = monge.train("sasrec", log, epochs=10, device="cpu", **SEQUENCE, **options)

    def answers(run: monge.Run, history: list[str]) -> dict[str, float]:
        return {row["item_id"]: row["score"] for row in run.recommend(history=history, k=7)}

    one, other = ["i1", "i5", "i8"], ["i8", "i5", "i1"]
    assert answers(knn, one) == pytest.approx(answers(knn, other), rel=1e-6)
    assert answers(sasrec, one) != pytest.approx(answers(sasrec, other), rel=1e-3)
