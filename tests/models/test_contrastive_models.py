"""CLRec, SCLRec, DirectAU and BUIR: witnesses in 64 bits, who gets a gradient, what each switch does."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import monge
from monge.data import Interactions
from monge.errors import DataError
from monge.losses import info_nce
from monge.models import find_model
from monge.models.collaborative.sclrec import SCLRec, popularity
from monge.models.contract import FollowsSteps
from monge.nn import GraphTables, follow, teacher_of
from monge.sampling import PairBatch, PairBatches
from monge.training.loop import TrainingConfig, fit, make_fabric
from tests.conftest import cycle_sequences, log_of, queries_of
from tests.reference import contrastive as reference
from tests.reference import sinkhorn
from tests.reference.graph import layer_mean

CPU = torch.device("cpu")
LOG = [[0, 1, 2], [1, 2, 3, 4], [4, 0], [5], [3, 5, 1, 0]]
PAIRS = [(0, 1), (1, 1), (1, 3), (4, 1), (2, 4), (0, 1), (3, 5)]
"""A batch with users, items and one whole pair more than once."""
OF_GRAPHS = ("n_layers", "normalisation", "edge_dropout")
IN_BATCH = ("clrec", "sclrec", "directau", "buir")


def batch_of(pairs: list[tuple[int, int]] = PAIRS) -> PairBatch:
    users, items = torch.tensor(pairs).T
    return PairBatch(users, items, torch.empty(len(pairs), 0, dtype=torch.int64))


def model_of(name: str, log: Interactions | None = None, *, seed: int = 0, **options: Any) -> Any:
    """In float64, with the data's statistics, its teacher (if any) elsewhere than its student."""
    log = log or log_of(LOG)
    torch.manual_seed(seed)
    cls: Any = find_model(name)
    model = cls(cls.Config(**({"dim": 4} | options)), n_users=log.n_users, n_items=log.n_items).double()
    model.batches(log, seed=0, device=CPU)
    if getattr(model, "teacher", None) is not None:
        for parameter in model.teacher.parameters():
            parameter.data.normal_()
    return model


def total(model: Any) -> torch.Tensor:
    """The loss of PAIRS, its parts added up."""
    return torch.stack(list(model.loss(batch_of()).values())).sum()


def vectors(encoder: Any, pairs: list[tuple[int, int]] = PAIRS) -> tuple[list[list[float]], list[list[float]]]:
    """Unit-norm vectors of the pairs' two sides; a graph's are propagated by the loop."""
    users, items = (table.weight.tolist() for table in (encoder.users, encoder.items))
    if isinstance(encoder, GraphTables):
        edges = {(user, item) for user, history in enumerate(LOG) for item in history}
        users, items = layer_mean(edges, users, items, n_layers=encoder.n_layers, symmetric=encoder.normalisation == "symmetric")
    return [reference.unit(users[user]) for user, _ in pairs], [reference.unit(items[item]) for _, item in pairs]


def matching(model: SCLRec) -> list[list[float]]:
    """M' of PAIRS, SCLRec's Eqs. 2-4."""
    config = model.config
    u, v = vectors(model.encoder if model.teacher is None else model.teacher)
    counts = [sum(history.count(item) for history in LOG) for item in range(6)]
    scale = {"count": float, "relative": lambda count: count / len(LOG), "log": math.log}[config.popularity_scale]
    popular = sinkhorn.softmax([scale(counts[item]) for _, item in PAIRS])
    similarity = [
        [
            config.user_weight * reference.dot(u[i], u[j])
            + config.item_weight * reference.dot(v[i], v[j])
            + config.popularity_weight * popular[j]
            + reference.dot(u[i], v[j])
            for j in range(len(PAIRS))
        ]
        for i in range(len(PAIRS))
    ]
    return sinkhorn.doubly_stochastic(similarity, config.entropy, config.n_iterations, rows_first=config.rows_first)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ema": False},
        {"tau": 0.05, "alpha": 0.5, "entropy": 0.3},
        {"user_weight": 0.0, "item_weight": 2.0, "n_iterations": 2},
        {"user_weight": 0.3, "item_weight": 0.0, "n_iterations": 0},
        {"rows_first": False, "n_iterations": 1, "popularity_weight": 2.0},
        *[{"popularity_weight": 3.0, "popularity_scale": scale, "n_iterations": 1} for scale in ("count", "relative", "log")],
        {"alpha": 0.0},
        {"alpha": 1.0},
        {"encoder": "lightgcn"},
        {"encoder": "lightgcn", "n_layers": 1, "normalisation": "one-sided", "alpha": 0.3, "ema": False},
    ],
)
@pytest.mark.parametrize("mask", ["none", "same_item", "all_observed"])
@pytest.mark.parametrize("symmetric", [False, True])
def test_sclrec_is_equations_2_to_6(options: dict[str, Any], mask: str, symmetric: bool) -> None:
    model = model_of("sclrec", **options, mask_false_negatives=mask, symmetric=symmetric)
    config, B = model.config, len(PAIRS)
    wanted = [[config.alpha * (i == j) for j in range(B)] for i in range(B)]
    back = [list(row) for row in wanted]
    if config.alpha < 1:
        plan = matching(model)
        columns = [sum(row[j] for row in plan) for j in range(B)]
        for i in range(B):
            for j in range(B):
                wanted[i][j] += (1 - config.alpha) * plan[i][j]
                back[j][i] += (1 - config.alpha) * plan[i][j] / columns[j]
    hides = {
        "none": lambda user, item, own: False,
        "same_item": lambda user, item, own: item == own,
        "all_observed": lambda user, item, own: item in LOG[user],
    }[mask]
    hidden = [[hides(user, other, item) for _, other in PAIRS] for user, item in PAIRS]
    u, v = vectors(model.encoder)
    expected = {"info_nce": reference.in_batch(u, v, config.tau, wanted, hidden)}
    if symmetric:
        turned = [list(column) for column in zip(*hidden, strict=True)]
        expected = {"info_nce": expected["info_nce"] / 2, "items_to_users": reference.in_batch(v, u, config.tau, back, turned) / 2}
    got = {name: part.item() for name, part in model.loss(batch_of()).items()}
    assert got == pytest.approx(expected, rel=1e-6)  # popularity is kept in float32


def test_clrec_is_equation_1() -> None:
    model = model_of("clrec", tau=0.1)
    u, v = vectors(model.encoder)
    identity = [[float(i == j) for j in range(len(PAIRS))] for i in range(len(PAIRS))]
    assert model.loss(batch_of())["info_nce"].item() == pytest.approx(reference.in_batch(u, v, 0.1, identity), rel=1e-12)


@pytest.mark.parametrize(
    "options", [{}, {"tau": 0.07, "ema": False, "entropy": 0.02, "n_iterations": 0}, {"encoder": "lightgcn", "edge_dropout": 0.3}]
)
def test_with_alpha_one_sclrec_is_clrec_to_the_last_bit(options: dict[str, Any]) -> None:
    log = log_of(cycle_sequences())
    tau: dict[str, Any] = {name: value for name, value in options.items() if name in ("tau", "encoder", "edge_dropout")}
    soft = monge.train("sclrec", log, epochs=3, batch_size=64, dim=8, device="cpu", alpha=1.0, **options)
    hard = monge.train("clrec", log, epochs=3, batch_size=64, dim=8, device="cpu", **tau)
    softer = monge.train("sclrec", log, epochs=3, batch_size=64, dim=8, device="cpu", ema=False, **tau)
    weights, others, softened = (run.model.state_dict() for run in (soft, hard, softer))  # pyright: ignore[reportAttributeAccessIssue]
    assert set(weights) == set(others) == set(softened)
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert soft.result["test"] == hard.result["test"]
    assert not torch.equal(weights["encoder.users.weight"], softened["encoder.users.weight"])


@pytest.mark.parametrize("options", [{}, {"encoder": "lightgcn"}])
def test_with_alpha_one_the_loss_and_its_gradient_are_clrecs_to_the_last_bit(options: dict[str, Any]) -> None:
    soft, hard, softer = model_of("sclrec", alpha=1.0, **options), model_of("clrec", **options), model_of("sclrec", alpha=0.999, **options)
    losses = [model.loss(batch_of())["info_nce"] for model in (soft, hard, softer)]
    assert torch.equal(losses[0], losses[1])
    assert not torch.equal(losses[2], losses[1])
    found = [torch.autograd.grad(loss, list(model.encoder.parameters())) for loss, model in zip(losses, (soft, hard, softer), strict=True)]
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(found[0], found[1], strict=True))
    assert not any(torch.equal(mine, theirs) for mine, theirs in zip(found[2], found[1], strict=True))


@pytest.mark.parametrize("encoder", ["embedding", "lightgcn"])
@pytest.mark.parametrize("name", ["sclrec", "buir"])
def test_the_teacher_gets_no_gradient_and_starts_as_the_student(name: str, encoder: str) -> None:
    torch.manual_seed(0)
    cls: Any = find_model(name)
    fresh = cls(cls.Config(dim=4, encoder=encoder), n_users=5, n_items=6)
    assert all(torch.equal(mine, his) for mine, his in zip(fresh.teacher.parameters(), fresh.encoder.parameters(), strict=True))
    model = model_of(name, encoder=encoder)
    total(model).backward()
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.teacher.parameters())
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in model.encoder.parameters())


@pytest.mark.parametrize("ema", [True, False])
def test_no_gradient_enters_sclrecs_targets(ema: bool) -> None:
    model = model_of("sclrec", alpha=0.3, ema=ema)
    weights = list(model.encoder.parameters())
    found = torch.autograd.grad(total(model), weights)
    u, v = (torch.nn.functional.normalize(x, dim=1) for x in model.encoder(batch_of().users, batch_of().positives))
    constant = torch.tensor(matching(model), dtype=torch.float64)
    loss = info_nce(u, v, temperature=model.config.tau, targets=constant, alpha=0.3)
    for mine, expected in zip(found, torch.autograd.grad(loss, weights), strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-7)
    # the witness can tell: a gradient through the targets of a model without teacher would be another one
    if not ema:
        step, weight = 1e-5, model.encoder.users.weight
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[1, 0] += sign * step
                ends.append(total(model).item())
                weight[1, 0] -= sign * step
        assert abs((ends[0] - ends[1]) / (2 * step) - found[0][1, 0].item()) > 1e-3


def test_buirs_gradient_stops_at_the_targets() -> None:
    model = model_of("buir", momentum=0.5)
    model.teacher = teacher_of(model.encoder)
    batch = batch_of()
    targets = [torch.nn.functional.normalize(x, dim=1).clone() for x in model.teacher(batch.users, batch.positives)]
    own = [torch.nn.functional.normalize(model.predictor(x), dim=1) for x in model.encoder(batch.users, batch.positives)]
    loss = (own[0] - targets[1]).square().sum(1).mean() + (own[1] - targets[0]).square().sum(1).mean()
    learnt = [*model.encoder.parameters(), *model.predictor.parameters()]
    found = torch.autograd.grad(total(model), learnt)
    for mine, expected in zip(found, torch.autograd.grad(loss, learnt), strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-10, atol=1e-14)


def predicted(model: Any, vector: list[float]) -> list[float]:
    weight, bias = model.predictor.weight.tolist(), model.predictor.bias.tolist()
    return [reference.dot(row, vector) + b for row, b in zip(weight, bias, strict=True)]


def test_buir_is_the_loop_in_loss_and_score() -> None:
    model = model_of("buir")
    users, items = model.encoder.users.weight.tolist(), model.encoder.items.weight.tolist()
    target_users, target_items = vectors(model.teacher)

    def away(vector: list[float], target: list[float]) -> float:
        return 2 - 2 * reference.dot(reference.unit(predicted(model, vector)), target)

    expected = {
        "users": sum(away(users[user], t) for (user, _), t in zip(PAIRS, target_items, strict=True)) / len(PAIRS),
        "items": sum(away(items[item], t) for (_, item), t in zip(PAIRS, target_users, strict=True)) / len(PAIRS),
    }
    assert {name: part.item() for name, part in model.loss(batch_of()).items()} == pytest.approx(expected, rel=1e-10)
    scores = model.scores(queries_of([[1], [0]], [[], []], n_items=6, users=[2, 4]).batch())
    by_hand = [[reference.dot(predicted(model, users[u]), v) + reference.dot(users[u], predicted(model, v)) for v in items] for u in (2, 4)]
    torch.testing.assert_close(scores, torch.tensor(by_hand, dtype=torch.float64), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 5.0])
def test_directau_is_the_loop_with_twins_in_the_batch(gamma: float) -> None:
    model = model_of("directau", gamma=gamma)
    u, v = vectors(model.encoder)
    spread = gamma * (reference.uniformity(u) + reference.uniformity(v)) / 2
    parts = model.loss(batch_of())
    assert parts["alignment"].item() == pytest.approx(reference.alignment(u, v), rel=1e-10)
    assert parts["uniformity"].item() == pytest.approx(spread, rel=1e-10)
    total(model).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("name", ["clrec", "sclrec", "directau"])
def test_the_score_is_a_cosine_or_the_raw_inner_product(name: str) -> None:
    asked = queries_of([[1], [0]], [[], []], n_items=6, users=[2, 4]).batch()
    for score in ("normalised", "raw"):
        model = model_of(name, score=score)
        users, items = (table.weight.detach() for table in (model.encoder.users, model.encoder.items))
        if score == "normalised":
            users, items = (torch.tensor([reference.unit(row) for row in table.tolist()], dtype=torch.float64) for table in (users, items))
        torch.testing.assert_close(model.scores(asked), users[[2, 4]] @ items.T, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("score", ["normalised", "raw"])
@pytest.mark.parametrize("name", ["clrec", "sclrec", "directau"])
def test_popularity_put_back_is_the_log_share_of_the_training_pairs_and_nothing_in_training(name: str, score: str) -> None:
    asked = queries_of([[1], [0]], [[], []], n_items=6, users=[2, 4]).batch()
    plain, prior = (model_of(name, score=score, prior_weight=weight) for weight in (0.0, 0.3))
    counts = [sum(item in items for items in LOG) for item in range(6)]  # of 14 pairs
    bias = torch.tensor([0.3 * math.log((count + 1) / (14 + 6)) for count in counts], dtype=torch.float64)
    torch.testing.assert_close(prior.scores(asked), plain.scores(asked) + bias, rtol=1e-6, atol=1e-6)  # noted in float32
    assert len({round(float(value), 6) for value in bias}) > 1
    assert torch.equal(total(prior), total(plain))
    assert "log_share" not in plain.state_dict()
    fresh: Any = find_model(name)
    fresh = fresh(prior.config, n_users=5, n_items=6).double()
    fresh.load_state_dict(prior.state_dict())
    assert torch.equal(fresh.scores(asked), prior.scores(asked))  # it is kept with the weights


@pytest.mark.parametrize("scale", ["count", "relative", "log"])
def test_the_popularity_term_is_flat_at_convergence(scale: str) -> None:
    options: dict[str, Any] = {"popularity_scale": scale, "entropy": 0.3}
    without = model_of("sclrec", popularity_weight=0.0, n_iterations=300, **options)
    for weight in (0.1, 3.0):
        model = model_of("sclrec", popularity_weight=weight, n_iterations=300, **options)
        found, plain = model.loss(batch_of())["info_nce"], without.loss(batch_of())["info_nce"]
        assert abs((found - plain).item()) < 1e-6
        u, v = model.encoder(batch_of().users, batch_of().positives)
        assert (model.targets(batch_of(), u, v) - without.targets(batch_of(), u, v)).abs().max() < 1e-6
    columns_first = [
        model_of("sclrec", popularity_weight=weight, n_iterations=1, rows_first=False, **options).loss(batch_of())["info_nce"]
        for weight in (0.0, 3.0)
    ]
    assert abs((columns_first[0] - columns_first[1]).item()) < 1e-12  # gone with the first half-step
    unscaled = [
        model_of("sclrec", popularity_weight=weight, n_iterations=0, **options).loss(batch_of())["info_nce"] for weight in (0.0, 3.0)
    ]
    assert abs((unscaled[0] - unscaled[1]).item()) > 1e-4


def test_popularity_is_of_training_rows() -> None:
    log = log_of([[0, 1], [0, 1], [0, 3]])
    rows = log.select(np.array([True, True, True, True, False, False]))  # users 0 and 1; items 2 and 3 were never taken
    assert popularity(rows, "count").tolist() == [2, 2, 0, 0]
    assert popularity(rows, "relative").tolist() == [1, 1, 0, 0]
    assert popularity(log, "relative").tolist() == pytest.approx([1, 2 / 3, 0, 1 / 3])
    assert popularity(log, "log").tolist() == pytest.approx([math.log(3), math.log(2), 0, 0])


def test_targets_are_float32_under_autocast() -> None:
    model = model_of("sclrec").float()
    u, v = model.encoder(batch_of().users, batch_of().positives)
    plain = model.targets(batch_of(), u, v)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model.targets(batch_of(), u, v)
        loss = model.loss(batch_of())["info_nce"]
    assert found.dtype == loss.dtype == torch.float32
    assert torch.equal(found, plain)


@pytest.mark.parametrize(("name", "momentum"), [("sclrec", 0.9), ("sclrec", 0.0), ("sclrec", 1.0), ("buir", 0.995)])
def test_the_loop_lets_the_teacher_follow_every_step(name: str, momentum: float) -> None:
    """Four steps: m^4 t_0 + (1 - m) sum m^(4-s) w_s, from the weights after each step."""
    log = log_of(cycle_sequences())  # 325 pairs
    torch.manual_seed(0)
    cls: Any = find_model(name)
    model = cls(cls.Config(dim=4, batch_size=100, momentum=momentum, learning_rate=0.1), n_users=50, n_items=10)
    seen = [parameter.detach().double() for parameter in model.encoder.parameters()]
    expected, steps = [x.clone() for x in seen], 0

    original = model.after_step

    def after_step() -> None:
        nonlocal steps
        steps += 1
        for mine, weight in zip(expected, model.encoder.parameters(), strict=True):
            mine.mul_(momentum).add_((1 - momentum) * weight.detach().double())
        original()

    model.after_step = after_step
    fit(model, log, TrainingConfig(epochs=1), fabric=make_fabric("32-true", "cpu"))
    assert steps == 4
    for mine, found, student, start in zip(expected, model.teacher.parameters(), model.encoder.parameters(), seen, strict=True):
        torch.testing.assert_close(found.double(), mine, rtol=0, atol=1e-6)
        assert torch.equal(found, student) == (momentum == 0)
        assert torch.equal(found.double(), start) == (momentum == 1)


@pytest.mark.parametrize("name", IN_BATCH)
def test_a_graph_encoder_is_seen_with_dropped_edges_in_training_alone(name: str) -> None:
    model = model_of(name, encoder="lightgcn", edge_dropout=0.5, n_layers=2)
    encoders = [encoder for encoder in (model.encoder, getattr(model, "teacher", None)) if encoder is not None]
    for encoder in encoders:
        model.train()
        torch.manual_seed(5)
        first, second = (encoder(batch_of().users, batch_of().positives)[0] for _ in range(2))
        assert not torch.equal(first, second)
        torch.manual_seed(5)
        assert torch.equal(encoder(batch_of().users, batch_of().positives)[0], first)
        model.eval()
        whole = torch.tensor(vectors(encoder)[0], dtype=torch.float64)
        for found in (encoder(batch_of().users, batch_of().positives)[0], encoder.everything()[0][batch_of().users]):
            torch.testing.assert_close(torch.nn.functional.normalize(found, dim=1).detach(), whole, rtol=1e-6, atol=1e-8)
    if len(encoders) == 2:  # of equal tables each draws a view of its own
        model.teacher = teacher_of(model.encoder)
        model.train()
        mine, theirs = (encoder(batch_of().users, batch_of().positives)[0] for encoder in (model.encoder, model.teacher))
        assert not torch.equal(mine, theirs)


def test_which_models_follow_steps() -> None:
    follows = {name: isinstance(model_of(name), FollowsSteps) for name in ("sclrec", "buir", "clrec", "directau")}
    assert follows == {"sclrec": True, "buir": True, "clrec": False, "directau": False}


def test_follow_is_the_moving_average() -> None:
    student = torch.nn.Linear(3, 2)
    teacher = teacher_of(student)
    before = [parameter.tolist() for parameter in teacher.parameters()]
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.normal_()
    follow(teacher, student, 0.75)
    for then, now, weight in zip(before, teacher.parameters(), student.parameters(), strict=True):
        expected = 0.75 * np.array(then) + 0.25 * np.array(weight.tolist())
        np.testing.assert_allclose(now.numpy(), expected, rtol=1e-6)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert all(parameter.requires_grad for parameter in student.parameters())


def test_without_ema_or_with_alpha_one_there_is_no_teacher() -> None:
    cases: list[dict[str, Any]] = [{"ema": False}, {"alpha": 1.0}]
    for options in cases:
        model = model_of("sclrec", **options)
        assert model.teacher is None
        assert not any("teacher" in name for name in model.state_dict())
        model.after_step()
    assert any("teacher" in name for name in model_of("sclrec").state_dict())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"alpha": 1.0, "entropy": 0.2}, {"entropy": "--alpha 1"}),
        ({"ema": False, "momentum": 0.5}, {"momentum": "--no-ema"}),
        ({"popularity_weight": 0.0, "popularity_scale": "log"}, {"popularity_scale": "--popularity-weight 0"}),
        ({"n_iterations": 0, "rows_first": False}, {"rows_first": "--n-iterations 0"}),
        ({"n_layers": 3, "normalisation": "one-sided", "edge_dropout": 0.5}, dict.fromkeys(OF_GRAPHS, "--encoder embedding")),
    ],
)
def test_options_without_effect_are_told_and_have_none(options: dict[str, Any], expected: dict[str, str]) -> None:
    config = find_model("sclrec").Config(**options)
    assert expected.items() <= config.unused().items()
    read = {name: value for name, value in options.items() if name not in config.unused()}
    assert model_of("sclrec", **options).loss(batch_of()) == model_of("sclrec", **read).loss(batch_of())
    assert set(find_model("sclrec").Config().unused()) == set(OF_GRAPHS)
    assert not find_model("sclrec").Config(encoder="lightgcn").unused()


@pytest.mark.parametrize("name", IN_BATCH)
def test_a_last_batch_of_one_pair_is_left_out_and_one_pair_alone_is_refused(name: str) -> None:
    model = model_of(name, batch_size=13)  # of 14 pairs
    batches = model.batches(log_of(LOG), seed=0, device=CPU)
    assert len(batches) == len(list(batches(0))) == 1
    assert len(next(iter(batches(0))).users) == 13
    with pytest.raises(DataError, match="1 training pair, and a batch needs at least 2"):
        model_of(name, log_of([[0]]))


@pytest.mark.parametrize("options", [{}, {"symmetric": True, "mask_false_negatives": "same_item"}, {"alpha": 0.0, "n_iterations": 0}])
def test_a_pair_alone_has_nothing_to_be_told_apart_from_and_two_pairs_swap(options: dict[str, Any]) -> None:
    model = model_of("sclrec", **options)
    parts = model.loss(batch_of([(1, 3)]))
    assert [part.item() for part in parts.values()] == [0.0] * len(parts)
    u, v = model.encoder(batch_of(PAIRS[2:4]).users, batch_of(PAIRS[2:4]).positives)
    assert model.targets(batch_of(PAIRS[2:4]), u, v).tolist() == [[0, 1], [1, 0]]


def test_every_pair_is_visited_without_negatives() -> None:
    log = log_of(LOG)
    sampler = PairBatches(log, batch_size=4, seed=1, n_negatives=0, smallest=2)
    batches = list(sampler(3))
    assert [len(batch.users) for batch in batches] == [4, 4, 4, 2]
    assert len(sampler) == 4
    assert all(batch.negatives.shape == (len(batch.users), 0) for batch in batches)
    visited = [pair for batch in batches for pair in zip(batch.users.tolist(), batch.positives.tolist(), strict=True)]
    assert sorted(visited) == sorted(zip(log.user.tolist(), log.item.tolist(), strict=True))
    with pytest.raises(DataError, match="0 training pairs, and a batch needs at least 1"):
        PairBatches(log.select(np.zeros(len(log), dtype=bool)), batch_size=4, seed=1)
