"""Models of several domains: paths by what a query knows, pseudo-sequences, the objective, and what can be carried over."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import monge
from monge.api import InterruptedRunError
from monge.data import Domains, Interactions, Queries, Ragged, cross_domain, examples_of
from monge.data.examples import with_earlier_targets
from monge.errors import ConfigError, DataError, QueryError, UnknownNameError
from monge.evaluation import evaluate
from monge.models import make_model
from monge.models.crossdomain.c2dsr import C2DSR, C2DSRConfig
from monge.models.crossdomain.i2vae import I2VAE, REFERENCE, I2VAEConfig
from monge.models.crossdomain.pseudo import PseudoSequences, inputs_of
from monge.models.crossdomain.savae import SAVAE, SAVAEConfig
from monge.sampling import ExampleBatches, by_domain
from tests.conftest import log_of, queries_of
from tests.crossdomain import rounds, tastes, with_domains
from tests.training.test_resume import CtrlC

SPLIT: dict[str, Any] = {"validation": 0.2, "test": 0.2, "n_negatives": 2}
TINY: dict[str, Any] = {"dim": 8, "max_length": 4, "n_pseudo": 4, "psg_epochs": 2, "cross_heads": 2, "n_blocks": 1, "batch_size": 16}
LEARNS: dict[str, Any] = {**TINY, "dim": 16, "kl_weight": 1e-3, "domain_dropout": 0.3, "dropout": 0.0, "head_dropout": 0.0}
QUICK: dict[str, Any] = {
    "batch_size": 16, "learning_rate": 2e-2, "validate_every": 100, "metrics": ["ndcg@10"], "select": "ndcg@10", "device": "cpu"
}  # fmt: skip
CPU = torch.device("cpu")


def made(log: Interactions, **options: Any) -> I2VAE:
    torch.manual_seed(0)
    config = I2VAEConfig(**(TINY | options))
    model = make_model(I2VAE, config, n_users=log.n_users, n_items=log.n_items, item_columns=log.item_columns, modalities={})
    assert isinstance(model, I2VAE)
    return model


def asked(histories: list[list[int]], log: Interactions, domain: int | None) -> Queries:
    """Queries for one domain, or for all."""
    queries = queries_of(histories, [[]] * len(histories), n_items=log.n_items, users=[-1] * len(histories))
    if domain is None:
        return queries
    return replace(queries, domain=np.full(len(histories), domain), domain_of_item=Domains.of(log.item_columns).of_item)


def scores(model: Any, queries: Queries) -> Tensor:
    model.eval()
    with torch.inference_mode():
        return model.scores(queries.batch())


def scramble(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.full_like(parameter, torch.nan))


@pytest.mark.parametrize(
    ("name", "options", "transfers"),
    [
        ("i2vae", {**LEARNS, "epochs": 8}, True),
        ("c2dsr", {"dim": 16, "max_length": 6, "n_blocks": 1, "epochs": 8}, True),
        ("savae", {"dim": 8, "hidden": 16, "kl_steps": 50, "epochs": 10}, True),
        ("domain-sasrec", {"dim": 8, "max_length": 6, "epochs": 8}, False),
        ("domain-multvae", {"dim": 8, "hidden": 16, "epochs": 10}, False),
        ("domain-svae", {"dim_items": 8, "dim_state": 8, "hidden": 8, "dim": 4, "weight_decay": 0.0, "epochs": 20}, False),
    ],
)
def test_a_taste_is_learnt_and_carried_over_where_the_model_can(name: str, options: dict[str, Any], transfers: bool) -> None:
    split = cross_domain(tastes(), **{**SPLIT, "cold_start": 0.4})
    run = monge.train(name, split, **{**QUICK, **options})
    found = evaluate(run.model, split.test, ["recall@4"]).values["recall@4"]
    cold = np.array([label is not None for label in split.test.groups["cold-start"].tolist()])
    assert cold.sum() >= 8
    # 4 items of a half: the held-out one is among the first 4 of the domain if the right half leads, whoever was seen
    assert found[~cold].mean() >= 0.9
    assert (found[cold].mean() >= 0.9) == transfers


@pytest.mark.parametrize("name", ["popular", "last-popular"])
def test_trivial_models_rank_within_the_domain(name: str) -> None:
    split = cross_domain(rounds(single=12), **SPLIT)
    run = monge.train(name, split)
    assert split.train.examples is not None
    counted = split.train.examples.truth.values if name == "last-popular" else split.train.item
    assert run.model.counts.tolist() == np.bincount(counted, minlength=12).tolist()  # pyright: ignore[reportAttributeAccessIssue]
    assert {row["item_id"] for row in run.recommend("u3", domain="b", k=6, include_seen=True)} == {f"i{item}" for item in range(6, 12)}


@pytest.mark.parametrize("name", ["domain-sasrec", "domain-multvae", "domain-svae"])
def test_one_domain_alone_answers_the_unknown_by_what_was_asked_for(name: str) -> None:
    split = cross_domain(tastes(), **{**SPLIT, "cold_start": 0.4})
    run = monge.train(name, split, **{**QUICK, "epochs": 1})
    assert split.train.examples is not None
    counts = np.bincount(split.train.examples.truth.values, minlength=split.train.n_items)
    assert not np.array_equal(counts, split.train.item_counts)
    cold = np.array([label is not None for label in split.test.groups["cold-start"].tolist()])
    queries = split.test.take(np.flatnonzero(cold))
    assert queries.domain is not None
    found = scores(run.model, queries).numpy()
    for row, domain in zip(found, queries.domain, strict=True):
        own = Domains.of(split.train.item_columns).of_item == domain
        assert row[own].tolist() == counts[own].tolist()


def test_what_stands_in_a_masked_latent_does_not_matter() -> None:
    log = rounds()
    model = made(log)
    model.batches(log, seed=0, device=CPU)
    cold = asked([[6, 7], [9], []], log, 0)
    before = scores(model, cold)
    scramble(model.own_heads[0])
    scramble(model.augmented_heads[0])
    scramble(model.transfers[0])
    scramble(model.encoders[0])
    with torch.no_grad():
        model.pseudo.reach.fill_(7)
    assert torch.equal(scores(model, cold), before)
    assert before[:, :6].isfinite().all()
    scramble(model.auxiliaries[0])
    after = scores(model, cold)[:, :6]
    assert after[:2].isnan().all()
    assert after[2].isfinite().all()  # nobody knows anything of this one: all three latents are masked


def test_who_knows_one_domain_alone_gets_the_prior_in_place_of_the_other() -> None:
    log = rounds()
    model = made(log)
    model.batches(log, seed=0, device=CPU)
    single, both = asked([[0, 1]], log, 0), asked([[0, 6, 1]], log, 0)
    before, other = scores(model, single), scores(model, both)
    scramble(model.auxiliaries[0])  # read by cold-start users alone
    assert torch.equal(scores(model, both), other)
    scramble(model.transfers[0])
    scramble(model.encoders[1])
    assert torch.equal(scores(model, single), before)
    assert scores(model, both)[:, :6].isnan().all()


def test_paths_are_chosen_query_by_query() -> None:
    log = rounds()
    model = made(log)
    model.batches(log, seed=0, device=CPU)
    histories = [[0, 6, 1], [0, 1], [6, 7], [], [8], [2, 3, 4, 5, 9]]
    queries = replace(asked(histories, log, 0), domain=np.array([0, 1, 0, 1, 1, 0]))
    together = scores(model, queries)
    alone = torch.cat([scores(model, queries.take(np.array([row]))) for row in range(len(histories))])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
    everywhere = scores(model, asked(histories, log, None))
    own = together.isfinite()
    assert own.sum(1).tolist() == [6] * 6
    torch.testing.assert_close(together[own], everywhere[own], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{}, dict(REFERENCE), {"cold_start": "decode", "single_domain": "posterior"}, {"cross": "mlp"}])
def test_empty_histories_give_numbers(options: dict[str, Any]) -> None:
    log = rounds()
    model = made(log, **options)
    model.batches(log, seed=0, device=CPU)
    assert scores(model, asked([[], [0], [6], [0, 6]], log, None)).isfinite().all()
    assert scores(model, asked([[]], log, 1))[:, 6:].isfinite().all()


@pytest.mark.parametrize(("option", "value"), list(REFERENCE.items()))
def test_every_switch_of_the_code_makes_a_difference(option: str, value: Any) -> None:
    log = rounds(single=12)
    more = {"psg_rounds": 3} if option == "psg_rounds" else {}
    if option == "share_items":  # one id in both domains
        log = replace(
            log, item_columns={**log.item_columns, "id_in_domain": np.array([str(n % 6) for n in range(12)] + [None], dtype=object)[:-1]}
        )
    log = replace(log, examples=_with_all_kinds(log))
    totals: list[float] = []
    for options in (more, {option: value}):
        model = made(log, domain_dropout=0.0, **options)
        batches = model.batches(log, seed=0, device=CPU)
        torch.manual_seed(1)
        model.train()
        parts = model.loss(next(batches(0)))
        assert all(part.isfinite() for part in parts.values())
        torch.stack(list(parts.values())).sum().backward()
        assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())
        model.eval()
        cold = scores(model, asked([[7, 8], [0, 1], [0, 1, 6]], log, 0))[:, :6]
        totals.append(
            float(sum(part.item() for part in parts.values())) + float(cold.double().sum())
            if option != "psg_rounds"
            else float(model.config.psg_rounds)
        )
    assert totals[0] != totals[1]


@pytest.mark.parametrize("first", [0, 1])
def test_the_slip_is_in_the_domain_of_the_first_list(first: int) -> None:
    log = with_domains(rounds(single=12), ["ab"[first]] * 6 + ["ba"[first]] * 6)
    model = made(log, first_without_augmented=True).eval()
    for number in (0, 1):
        batch = next(iter(ExampleBatches(log, batch_size=8, max_length=4, n_negatives=1, seed=0, device=CPU)(0)))
        pseudo = torch.arange(4).repeat(8, 1) + 6 * (number != first)
        latents = model.latents(number, batch.sequences, pseudo)
        cold = torch.zeros(8, dtype=torch.bool)
        _, read = model.wanted(number, latents, cold=cold, sample=False)
        assert torch.equal(read, latents.own[0]) == (number == first)
        assert torch.equal(read, latents.augmented[0]) == (number != first)


def _with_all_kinds(log: Interactions) -> Queries:
    """Examples with both histories, with one, and cold-start ones."""
    histories = [[0, 6, 1], [2, 8, 9], [0, 1], [6, 7], [8], [1]]
    truth, domain = [[2], [3], [3], [0], [9], [7]], [0, 0, 0, 0, 1, 1]
    return replace(asked(histories, log, 0), user=np.arange(6), truth=Ragged.from_lists(truth), domain=np.array(domain))


def test_the_loss_of_the_code_alone_leaves_the_long_tail_out() -> None:
    examples = _with_all_kinds(rounds())
    log = replace(rounds(), examples=examples.take(np.flatnonzero(examples.domain == 0)))  # 3, 2, 3 and 1 items with the target: bound 3
    model = made(log, augmentation_weight=0.1)
    assert model.loss(next(model.batches(log, seed=0, device=CPU)(0)))["augmentation"] == 0
    model.long_tail.fill_(2)
    assert model.loss(next(model.batches(log, seed=0, device=CPU)(0)))["augmentation"] == 0  # counted anew by batches()
    batch = next(model.batches(log, seed=0, device=CPU)(0))
    model.long_tail.fill_(2)
    assert model.loss(batch)["augmentation"] > 0


@torch.no_grad()
def test_the_objective_is_the_papers() -> None:
    log = replace(rounds(), examples=_with_all_kinds(rounds()))
    a, c = 0.3, 0.2
    model = made(log, lambda_a=a, lambda_c=c)
    batch = next(model.batches(log, seed=0, device=CPU)(0))
    model.eval()  # latents are their means, nothing is dropped
    parts = {name: part.item() for name, part in model.loss(batch).items()}
    expected = dict.fromkeys(parts, 0.0)
    for number in (0, 1):
        rows = (batch.domain == number).nonzero().squeeze(1)
        latents = model.latents(number, batch.sequences[:, rows], model.pseudo_of_example[batch.rows[rows]])
        wanted, _ = model.wanted(number, latents, cold=~latents.has_own, sample=False)
        for place, row in enumerate(rows.tolist()):
            user = wanted[place].double()
            good, bad = (model.items.weight[item].double() @ user for item in (batch.targets[row], batch.negatives[row, 0]))
            expected["bce"] += (1 + c) * float(torch.log1p(torch.exp(-good)) + torch.log1p(torch.exp(bad))) / 2
            own, augmented, carried, auxiliary = (
                (posterior[0][place].tolist(), posterior[1][place].tolist())
                for posterior in (latents.own, latents.augmented, latents.carried, latents.auxiliary)
            )
            standard = [0.0] * 8, [1.0] * 8  # every prior begins there
            length = int((batch.sequences[number, row] != 12).sum())
            if length:
                expected["kl_own"] += (1 + c) * kl(*own, *standard)
                expected["kl_augmented"] += kl(*augmented, *standard)
                expected["denoising"] += a * (np.exp(0.8 * length / 4) - 0.8) * kl(*own, *augmented)
            if length and bool((batch.sequences[1 - number, row] != 12).any()):
                expected["kl_transfer"] += kl(*carried, *standard)
                expected["cross_domain"] += c * kl(*carried, *auxiliary)
    assert parts == pytest.approx({name: value / 6 for name, value in expected.items()}, rel=1e-4)
    assert all(value > 0 for value in expected.values())


def kl(mean: list[float], deviation: list[float], other: list[float], other_deviation: list[float]) -> float:
    rows = zip(mean, deviation, other, other_deviation, strict=True)
    return sum(np.log(t / s) + (s * s + (m - n) ** 2) / (2 * t * t) - 0.5 for m, s, n, t in rows)


@pytest.mark.parametrize("kind", ["lightgcn", "random"])
def test_pseudo_items_are_new_items_of_the_domain_and_never_see_a_target(kind: Any) -> None:
    log = tastes(n_users=24)
    split = cross_domain(log, **SPLIT)
    examples = split.train.examples
    assert examples is not None
    pairs = set(zip(inputs_of(examples, split.train).user.tolist(), inputs_of(examples, split.train).item.tolist(), strict=True))
    targets = set(zip(examples.user.tolist(), examples.truth.values.tolist(), strict=True))
    known = {(int(user), int(item)) for place, user in enumerate(examples.user) for item in examples.history[place]}
    assert targets & known  # one example's target is another's input
    assert pairs == known - targets
    without = [[item for item in examples.history[place].tolist() if (user, item) in pairs] for place, user in enumerate(examples.user)]
    examples = replace(examples, history=Ragged.from_lists(without))
    of_item = torch.from_numpy(Domains.of(log.item_columns).of_item)

    def recalled(some: Queries, *, at_once: int | None = None) -> Tensor:
        generator = PseudoSequences(of_item, 2, kind=kind, n_rounds=2, epochs=3, dim=8)
        generator.fit(some, split.train, seed=0, device=CPU)
        rows = np.arange(len(some)) if at_once is None else np.arange(at_once)
        part = some.take(rows)
        history = torch.from_numpy(part.history.values), torch.from_numpy(part.history.row_of_value)
        return generator(*history, len(part), torch.from_numpy(part.domain), 5)  # pyright: ignore[reportArgumentType]

    found = recalled(examples)
    for place, row in enumerate(found.tolist()):
        real = [item for item in row if item < log.n_items]
        assert len(real) == len(set(real)) > 0
        assert not set(real) & set(examples.history[place].tolist())
        assert all(of_item[item] == examples.domain[place] for item in real)  # pyright: ignore[reportOptionalSubscript]
    # other targets, the same pseudo-items: what is recalled cannot depend on them, nor on the rows that the training has beside the inputs
    others = replace(examples, truth=Ragged.from_lists([[int(truth) ^ 4] for truth in examples.truth.values]))  # of the other half
    assert recalled(others).tolist() == found.tolist()
    assert recalled(examples, at_once=1).tolist() == found[:1].tolist()


def test_earlier_items_are_targets_where_that_is_asked_for() -> None:
    split = cross_domain(tastes(n_users=24), **SPLIT)
    model = made(split.train, n_targets=3)
    batches = model.batches(split.train, seed=0, device=CPU)
    examples = with_earlier_targets(examples_of(split.train), split.train, 3)
    assert len(examples) > 2 * len(examples_of(split.train))
    seen = list(batches(0))
    targets = torch.cat([torch.stack([batch.users, batch.targets]) for batch in seen], 1).T.tolist()
    assert sorted(targets) == sorted([int(user), int(item)] for user, item in zip(examples.user, examples.truth.values, strict=True))
    assert model.pseudo_of_example.shape == (len(examples), 4)
    assert examples.domain is not None
    for batch in seen:  # each example has the pseudo-items of its own history
        for row, user, target in zip(batch.rows.tolist(), batch.users.tolist(), batch.targets.tolist(), strict=True):
            pseudo = set(model.pseudo_of_example[row].tolist()) - {split.train.n_items}
            assert (examples.user[row], examples.truth[row].tolist()) == (user, [target])
            assert {int(model.domain_of_item[item]) for item in pseudo} == {examples.domain[row]}
            assert not pseudo & set(examples.history[row].tolist())
    # none of the targets is in the graph that recalls
    edges = inputs_of(examples, split.train)
    assert not {(user, item) for user, item in targets} & set(zip(edges.user.tolist(), edges.item.tolist(), strict=True))
    assert all(torch.isfinite(value) for value in model.loss(seen[0]).values())


def test_recall_follows_the_graph() -> None:
    log = tastes(n_users=60)
    split = cross_domain(log, **SPLIT)
    model = made(log, psg_epochs=30)
    model.batches(split.train, seed=0, device=CPU)
    history = torch.tensor([0, 1, 12, 13])  # first half of a; second half of b
    found = model.pseudo(history, torch.tensor([0, 0, 1, 1]), 2, torch.tensor([1, 0]), 4)
    assert set(found[0].tolist()) == {8, 9, 10, 11}  # of b, the same half
    assert set(found[1].tolist()) == {4, 5, 6, 7}


def test_three_domains_pool_the_others() -> None:
    split = cross_domain(tastes(n_domains=3, n_items=6), **{**SPLIT, "cold_start": 0.4})
    run = monge.train("i2vae", split, **{**QUICK, **LEARNS, "epochs": 6})
    found = evaluate(run.model, split.test, ["recall@3"]).values["recall@3"]
    assert found.mean() >= 0.9
    model = run.model
    assert isinstance(model, I2VAE)
    log = split.train
    c_alone, b_alone, both = (scores(model, asked([history], log, 0)) for history in ([12, 13], [6, 7], [6, 7, 12, 13]))
    assert not torch.equal(c_alone, b_alone)
    assert not torch.equal(both, b_alone)
    with pytest.raises(ConfigError, match="--cross swapped pairs keys and values of two domains"):
        made(log, cross="swapped")


def test_one_domain_is_refused_by_name() -> None:
    log = with_domains(log_of([[0, 1, 2]] * 5), ["a"] * 3)
    for name in ("i2vae", "c2dsr", "savae"):
        with pytest.raises(DataError, match=f"{name} needs items of two domains or more, and all items are of 'a'"):
            monge.train(name, log, epochs=1)
    with pytest.raises(DataError, match="items have no domain"):
        monge.train("i2vae", log_of([[0, 1, 2]] * 5), epochs=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_heads": 3}, "--n-heads must divide --dim; got 3 heads for width 8"),
        ({"pseudo_order": "interleave", "n_pseudo": 5}, "--pseudo-order interleave needs --n-pseudo = --max-length; got 5 and 4"),
        ({"domain_dropout": 2.0}, "--domain-dropout must be between 0 and 1; got 2.0"),
    ],
)
def test_wrong_options_are_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        I2VAEConfig(**(TINY | options))


@pytest.mark.parametrize("options", [{}, dict(REFERENCE)])
def test_a_run_comes_back_as_it_was(options: dict[str, Any], tmp_path: Any) -> None:
    split = cross_domain(rounds(single=12), **SPLIT)
    run = monge.train("i2vae", split, out=tmp_path / "run", **{**QUICK, **TINY, "epochs": 2}, **options)
    loaded = monge.load_run(tmp_path / "run")
    torch.testing.assert_close(scores(loaded.model, split.test), scores(run.model, split.test), rtol=0, atol=0)
    for history in ([], ["i0"], ["i7", "i8"], ["i0", "i7"]):
        assert loaded.recommend(history=history, domain="a") == run.recommend(history=history, domain="a")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("i2vae", TINY),
        ("i2vae", TINY | dict(REFERENCE)),
        ("c2dsr", {"dim": 8, "max_length": 6, "n_blocks": 1}),
        ("savae", {"dim": 4, "hidden": 8}),
    ],
)
def test_interrupted_and_resumed_is_as_uninterrupted(name: str, options: dict[str, Any], tmp_path: Any) -> None:
    split = cross_domain(rounds(single=12), **SPLIT)
    options = {**options, "batch_size": 16, "epochs": 4, "seed": 3, "device": "cpu"}
    whole = monge.train(name, split, out=tmp_path / "whole", **options)
    with pytest.raises(InterruptedRunError, match="stopped after epoch 2"):
        monge.train(name, split, out=tmp_path / "cut", watch=CtrlC(3, 1), **options)
    resumed = monge.train(name, split, out=tmp_path / "cut", resume=True, **options)
    assert (tmp_path / "cut" / "weights.safetensors").read_bytes() == (tmp_path / "whole" / "weights.safetensors").read_bytes()
    torch.testing.assert_close(scores(resumed.model, split.test), scores(whole.model, split.test), rtol=0, atol=0)


def c2dsr(log: Interactions, **options: Any) -> tuple[C2DSR, Any]:
    torch.manual_seed(0)
    config = C2DSRConfig(**({"dim": 4, "max_length": 6, "batch_size": 64, "n_blocks": 1, "dropout": 0.0} | options))
    model = make_model(C2DSR, config, n_users=log.n_users, n_items=log.n_items, item_columns=log.item_columns, modalities={})
    assert isinstance(model, C2DSR)
    return model, model.batches(log, seed=0, device=CPU)


def test_c2dsr_has_a_graph_within_domains_and_one_over_all() -> None:
    log = with_domains(log_of([[0, 3, 1, 4, 2, 5], [1, 0, 3, 4, 5, 2]]), ["a"] * 3 + ["b"] * 3)
    model, _ = c2dsr(log)
    examples = examples_of(log)
    counts = np.zeros((2, 6, 6))
    for row in range(len(examples)):
        history = examples.history[row].tolist()
        lines = ([item for item in history if item < 3], [item for item in history if item >= 3]), (history,)
        for graph, sequences in enumerate(lines):
            for sequence in sequences:
                for first, second in pairwise(sequence):
                    counts[graph, first, second] += 1
                    counts[graph, second, first] += 1
    tables = model.tables.detach().double().numpy()
    means = counts / np.maximum(counts.sum(2, keepdims=True), 1)
    torch.testing.assert_close(model.vectors()[:, :-1].detach().numpy(), ((tables + means @ tables) / 2).astype(np.float32))
    assert not counts[0, :3, 3:].any()
    assert counts[1, :3, 3:].any()


def test_c2dsrs_merged_loss_is_among_the_items_of_the_next_items_domain() -> None:
    log = rounds(single=12)
    model, batches = c2dsr(log)
    batch = next(batches(0))
    found = model.loss(batch)["merged"].item() / (1 - model.config.infomax)
    merged_BT = model.merged_of_example[batch.rows]
    states, real = model.states(model.n_domains, model.vectors(), merged_BT)
    logits = F.linear(states, model.out.weight, model.out.bias).detach().double()
    losses: list[float] = []
    for row, place in real.nonzero().tolist():
        following = merged_BT[row, place + 1] if place + 1 < merged_BT.shape[1] else batch.targets[row]
        of_domain = model.domain_of_item == model.domain_of_item[following]
        losses.append(float(logits[row, place][of_domain].logsumexp(0) - logits[row, place, following]))
    assert found == pytest.approx(np.mean(losses), rel=1e-5)


def test_savaes_prior_is_what_the_other_domain_says_of_the_whole_bag() -> None:
    log = rounds(single=12)
    config = SAVAEConfig(dim=4, hidden=8, batch_size=16, dropout=0.9)
    torch.manual_seed(0)
    model = make_model(SAVAE, config, n_users=log.n_users, n_items=log.n_items, item_columns=log.item_columns, modalities={})
    assert isinstance(model, SAVAE)
    batch = next(model.batches(log, seed=0, device=CPU)(0))
    for number in (0, 1):
        model.train()
        torch.manual_seed(1)
        learning = model.source(number, batch.sequences)
        mean, _, has = model.encoded(1 - number, batch.sequences[1 - number])
        model.eval()
        asked_for, _, _ = model.encoded(1 - number, batch.sequences[1 - number])
        torch.testing.assert_close(learning, torch.where(has[:, None], asked_for, torch.zeros_like(asked_for)))
        assert not torch.allclose(mean, asked_for)  # a bag that is read for itself is thinned


def test_recommendations_in_a_domain(tmp_path: Any) -> None:
    split = cross_domain(rounds(single=12), **SPLIT)
    run = monge.train("c2dsr", split, out=tmp_path / "run", epochs=1, dim=8, device="cpu")
    assert {row["item_id"] for row in run.recommend("u0", domain="b")} == {f"i{item}" for item in range(6, 12)}  # u0 has items of a alone
    listed = run.recommend(history={"a": ["i0", "i1"], "b": ["i7"]}, domain="a")
    assert {row["item_id"] for row in listed} == {f"i{item}" for item in range(2, 6)}
    assert listed == monge.load_run(tmp_path / "run").recommend(history=["i0", "i1", "i7"], domain="a")
    assert len(run.recommend(history=[], domain="a")) == 6
    with pytest.raises(UnknownNameError, match="no domain 'c'; there are: a, b"):
        run.recommend("u0", domain="c")
    with pytest.raises(ConfigError, match="--k must be between 1 and the number of items of b, 6; got 7"):
        run.recommend("u0", domain="b", k=7)
    with pytest.raises(QueryError, match="item i7 is of domain 'b', not 'a'"):
        run.recommend(history={"a": ["i7"]}, domain="b")
    plain = monge.train("popular", log_of([[0, 1, 2]] * 5))
    with pytest.raises(DataError, match="on a log without domains; leave --domain out"):
        plain.recommend("u0", domain="a")


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.lists(st.integers(0, 8), max_size=7), min_size=1, max_size=6), length=st.integers(1, 5))
def test_histories_are_cut_by_domain(rows: list[list[int]], length: int) -> None:
    domain_of_item = torch.tensor([0, 1, 2] * 3)
    ragged = Ragged.from_lists(rows)
    found = by_domain(torch.from_numpy(ragged.values), torch.from_numpy(ragged.row_of_value), len(rows), domain_of_item, 3, length)
    assert 1 <= found.shape[2] <= length
    for domain in range(3):
        for place, row in enumerate(rows):
            expected = [item for item in row if item % 3 == domain][-length:]
            assert found[domain, place].tolist() == [9] * (found.shape[2] - len(expected)) + expected


def test_negatives_are_of_the_targets_domain_and_untaken() -> None:
    log = rounds(n_users=30)
    batches = ExampleBatches(log, batch_size=8, max_length=4, n_negatives=3, seed=0)
    taken = set(zip(log.user.tolist(), log.item.tolist(), strict=True))
    seen = 0
    for batch in batches(0):
        for user, domain, drawn in zip(batch.users.tolist(), batch.domain.tolist(), batch.negatives.tolist(), strict=True):
            if user < 30:  # the last user took everything
                assert all(item // 6 == domain and (user, item) not in taken for item in drawn)
                seen += len(drawn)
    assert seen == 3 * 60
    first, again, other = (next(iter(batches(epoch))).rows.tolist() for epoch in (0, 0, 1))
    assert first == again != other


def test_tuning_chooses_the_weight_of_the_kl_terms_with_the_papers_in_reach() -> None:
    assert I2VAEConfig().kl_weight == 1
    assert I2VAEConfig().space()["kl_weight"] == "1e-3..1:log"


def test_it_trains_where_no_user_has_two_domains() -> None:
    run = monge.train("i2vae", cross_domain(rounds(single=48), **SPLIT), **{**QUICK, **TINY, "epochs": 1})
    assert np.isfinite(evaluate(run.model, cross_domain(rounds(single=48), **SPLIT).test, ["mrr"]).values["mrr"]).all()
