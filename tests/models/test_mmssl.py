"""MMSSL, and the parts that SLMRec takes from it, beside float64 twins; what must not be zero; what is refused."""

import math
import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import monge
from monge.data import Interactions
from monge.errors import ConfigError, DataError, UnknownNameError
from monge.losses import cross_view_info_nce
from monge.models.multimodal.adversarial import AdversarialConfig, Adversary
from monge.models.multimodal.mmssl import MMSSL, Attention, MMSSLConfig
from monge.models.multimodal.slmrec import SLMRec, SLMRecConfig
from monge.nn import BipartiteGraph
from monge.sampling import PairBatch
from monge.training.loop import make_optimizer
from tests.conftest import cycle_sequences, log_of, with_content
from tests.reference import mmssl as twin

CPU = torch.device("cpu")
BATCH = PairBatch(torch.tensor([0, 3, 17, 41]), torch.tensor([1, 5, 9, 2]), torch.tensor([8, 9, 1, 9]))
SMALL: dict[str, Any] = {"dim": 4, "n_heads": 2, "batch_size": 16, "critic_shrink": 2, "k": 2}


def content() -> Interactions:
    return with_content(log_of(cycle_sequences()))


def model_of(log: Interactions, **options: Any) -> MMSSL:
    torch.manual_seed(3)
    made = MMSSL(MMSSLConfig(**(SMALL | options)), n_users=log.n_users, n_items=log.n_items, modalities=log.modalities)
    made.batches(log, seed=0, device=CPU)
    return made


def pairs_of(graph: BipartiteGraph) -> set[tuple[int, int]]:
    users = torch.repeat_interleave(torch.arange(graph.n_users), graph.user_offsets.diff().long())
    return set(zip(users.tolist(), graph.items.tolist(), strict=True))


def table(tensor: Tensor) -> twin.Table:
    return tensor.detach().double().tolist()


def close(found: Tensor, expected: twin.Table | twin.Row, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(found.detach().double(), torch.tensor(expected, dtype=torch.float64), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("refreshed", [False, True])
def test_vectors_are_equations_2_8_9_10_and_12(refreshed: bool) -> None:
    log = content()
    model = model_of(log, n_layers=2).double()
    if refreshed:
        model.refresh()
    model.eval()
    found = model.vectors()
    assert model.graph is not None
    pairs = pairs_of(model.graph)
    users, items = table(model.users.weight), table(model.items.weight)
    features, views = [], []
    for projection, graph, made, view in zip(model.content.values(), model.neighbours, found.features, found.views, strict=True):
        f_users = twin.to_users(pairs, log.n_users, table(projection()))
        features.append((f_users, twin.to_items(pairs, log.n_items, f_users)))
        close(made[0], features[-1][0])
        close(made[1], features[-1][1])
        assert graph is not None
        near = pairs_of(graph)
        views.append((twin.to_users(near, log.n_users, items), twin.to_items(near, log.n_items, users)))
        close(view[0], views[-1][0])
        close(view[1], views[-1][1])
    weights = [table(layer.weight) for layer in (model.attention.queries, model.attention.keys, model.attention.out)]
    first = []
    for own, side in ((users, 0), (items, 1)):
        attended = [twin.attention([tables[side][n] for tables in views], weights[0], weights[1], weights[2], 2) for n in range(len(own))]
        eta = model.config.view_weight
        first.append([[x + eta * y for x, y in zip(e, twin.unit(a), strict=True)] for e, a in zip(own, attended, strict=True)])
    layered = twin.layers(pairs, first[0], first[1], 2)
    for side in (0, 1):
        close(found.final[side], twin.fused(layered[side], [tables[side] for tables in features], model.config.feature_weight))


def test_attention_is_equation_9() -> None:
    torch.manual_seed(0)
    attention = Attention(6, 3).double()
    views = torch.randn(5, 4, 6, dtype=torch.float64)
    weights = [table(layer.weight) for layer in (attention.queries, attention.keys, attention.out)]
    close(attention(views), [twin.attention(node, weights[0], weights[1], weights[2], 3) for node in views.tolist()], 1e-10)


@pytest.mark.parametrize("temperature", [0.085, 0.5])
def test_contrast_is_equation_11(temperature: float) -> None:
    anchors, views = torch.randn(2, 7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = cross_view_info_nce(anchors, views, temperature=temperature).item()
    assert found == pytest.approx(twin.contrast(anchors.tolist(), views.tolist(), temperature), rel=1e-10)
    dead = cross_view_info_nce(anchors, torch.zeros_like(views), temperature=temperature).item()
    assert dead == pytest.approx(math.log(2 * 7 - 1))  # what views without neighbours give, whatever is learnt
    with pytest.raises(ValueError, match="must both be"):
        cross_view_info_nce(anchors, views[:3], temperature=temperature)


def test_neighbours_are_the_most_alike_by_cosine_of_equation_3() -> None:
    log = content()
    for block, observed in ((0, False), (7, False), (0, True)):
        model = model_of(log, block=block, observed_views=observed, k=3)
        model.refresh()
        taken = {user: set(log.sequences[user].tolist()) for user in range(log.n_users)}
        for (f_users, f_items), graph in zip(model.features(), model.neighbours, strict=True):
            users, items = table(f_users), table(f_items)
            assert graph is not None
            found = pairs_of(graph)
            for user in range(log.n_users):
                hidden = set() if observed else taken[user]
                cosines = sorted(((twin.cosine(users[user], item), i) for i, item in enumerate(items) if i not in hidden), reverse=True)
                near = {i for u, i in found if u == user}
                positive = [c for c, _ in cosines if c > 1e-6]
                assert len(near) == min(3, len(positive))
                assert all(twin.cosine(users[user], items[i]) >= cosines[len(near) - 1][0] - 1e-6 for i in near)
                assert not near & hidden


def adversary_of(log: Interactions, **options: Any) -> tuple[Adversary, Any, Any]:
    torch.manual_seed(0)
    asked: dict[str, Any] = {"asl": True, "critic_shrink": 2, **options}
    adversary = Adversary(AdversarialConfig(**asked), log.n_items).double()
    adversary.connect(BipartiteGraph.from_interactions(log, normalisation="root"))
    sizes = (log.n_users, log.n_items)
    drawn = [tuple(torch.randn(size, 3).double().requires_grad_() for size in sizes) for _ in range(3)]
    return adversary, drawn[:2], drawn[2]


def test_fake_rows_are_equation_3_without_what_was_taken() -> None:
    log = content()
    adversary, features, _ = adversary_of(log)
    for (users, items), rows in zip(features, adversary.fake(BATCH.users, features), strict=True):
        for number, user in enumerate(BATCH.users.tolist()):
            expected = twin.fake_row(table(users)[user], table(items), set(log.sequences[user].tolist()))
            close(rows.dense()[number], expected, 1e-9)


@pytest.mark.parametrize("noise", [1e-5, 0.7])
def test_real_rows_are_equation_5(noise: float) -> None:
    log = content()
    adversary, _, final = adversary_of(log, gumbel_noise=noise, real_weight=1.5)
    torch.manual_seed(8)
    rows = adversary.real(BATCH.users, final)
    dense = rows if isinstance(rows, Tensor) else rows.dense()
    assert isinstance(rows, Tensor) == (noise > 0.5)
    torch.manual_seed(8)
    drawn = torch.empty_like(dense).uniform_(torch.finfo(torch.float64).tiny, 1 - torch.finfo(torch.float64).eps)
    g = (noise * -(-drawn.log()).log()).tolist()
    for number, user in enumerate(BATCH.users.tolist()):
        taken = [float(item in set(log.sequences[user].tolist())) for item in range(log.n_items)]
        # with the weak noise the sparse rows draw in another order: there it moves shares by 1e-5 / 0.005 at most
        expected = twin.real_row(taken, g[number], table(final[0])[user], table(final[1]), temperature=0.005, zeta=1.5)
        close(dense[number], expected, 1e-9 if noise > 0.5 else 0.02)
    silent, _, _ = adversary_of(log, gumbel_noise=0.0, real_weight=1.5)
    rows = silent.real(BATCH.users, final)
    assert not isinstance(rows, Tensor)
    for number, user in enumerate(BATCH.users.tolist()):
        taken = [float(item in set(log.sequences[user].tolist())) for item in range(log.n_items)]
        expected = twin.real_row(taken, [0.0] * log.n_items, table(final[0])[user], table(final[1]), temperature=0.005, zeta=1.5)
        close(rows.dense()[number], expected, 1e-9)
    bare, _, _ = adversary_of(log, gumbel=False)
    raw = bare.real(BATCH.users, final)
    assert not isinstance(raw, Tensor)
    assert (raw.dense() > 0).sum(1).tolist() == [len(log.sequences[user]) for user in BATCH.users.tolist()]


def test_a_batch_of_one_user_meets_the_critic_with_the_spread_of_earlier_batches() -> None:
    adversary, features, final = adversary_of(content(), critic_dropout=0.0, critic_dropout_2=0.0)
    for _ in range(3):
        adversary.critic_loss(BATCH.users, features, final)
    kept = {name: tensor.clone() for name, tensor in adversary.named_buffers()}
    one = BATCH.users[:1]
    parts = adversary.critic_loss(one, features[:1], final)
    assert parts["critic"].isfinite()
    assert parts["critic_penalty"].isfinite()
    loss = adversary.loss(one, features[:1])
    assert all(torch.equal(kept[name], tensor) for name, tensor in adversary.named_buffers())
    adversary.eval()
    torch.testing.assert_close(loss, adversary.loss(one, features[:1]), rtol=0, atol=1e-12)


def test_the_released_real_rows_hide_what_was_taken_in_their_second_term() -> None:
    log = content()
    adversary, _, final = adversary_of(log, gumbel_noise=0.0, real_term="hidden_dot", real_weight=2.0)
    rows = adversary.real(BATCH.users, final)
    assert not isinstance(rows, Tensor)
    for number, user in enumerate(BATCH.users.tolist()):
        own = set(log.sequences[user].tolist())
        h, items = table(final[0])[user], table(final[1])
        second = twin.unit([0.0 if i in own else twin.dot(h, item) for i, item in enumerate(items)])
        close(rows.dense()[number], twin.unit([(i in own) / len(own) + 2 * s for i, s in enumerate(second)]), 1e-9)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_the_critics_loss_is_equation_7_on_rows_written_out(norm: Any) -> None:
    log = content()
    adversary, features, final = adversary_of(log, gumbel_noise=0.0, critic_norm=norm, penalty_rows=0, penalty_weight=0.7)
    critic = adversary.critic.eval()  # no dropout, and batch normalisation by what it has seen: every row alone
    torch.manual_seed(5)
    parts = adversary.critic_loss(BATCH.users, features, final)
    torch.manual_seed(5)
    fakes = torch.cat([rows.dense() for rows in adversary.fake(BATCH.users, features)]).detach()
    rows = adversary.real(BATCH.users, final)  # draws noise, of scale 0
    assert not isinstance(rows, Tensor)
    real = rows.dense()
    drawn, share = torch.randperm(len(fakes)), torch.rand(len(fakes), dtype=torch.float64)[:, None]
    assert parts["critic"].item() == pytest.approx((critic(fakes).mean() - critic(real).mean()).item(), rel=1e-9)
    points = share * real.repeat(2, 1)[drawn] + (1 - share) * fakes[drawn]
    by_hand = twin.slope_penalty(lambda x: critic(torch.tensor([x], dtype=torch.float64)).item(), points.tolist())
    assert parts["critic_penalty"].item() == pytest.approx(0.7 * by_hand, rel=1e-4)


def gradient_norm(loss: Tensor, parameter: Tensor) -> float:
    (found,) = torch.autograd.grad(loss, [parameter], retain_graph=True, allow_unused=True)
    return 0.0 if found is None else float(found.norm())


def test_the_adversarial_part_is_in_float32_under_mixed_precision() -> None:
    model = model_of(content())
    model.eval()
    found: list[list[float]] = []
    for mixed in (False, True):
        torch.manual_seed(2)
        features, final = model.features(), model.vectors().final
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
            assert model.adversary is not None
            parts = model.adversary.critic_loss(BATCH.users, features, final)
            found.append([*(part.item() for part in parts.values()), model.adversary.loss(BATCH.users, features).item()])
    assert found[0] == found[1]


def test_the_critic_sees_all_modalities_together_in_both_steps() -> None:
    """Batch normalisation by modality would hide from the generator what the critic was taught by."""
    log = content()
    adversary, features, _ = adversary_of(log, adversarial_weight=1.0, critic_dropout=0.0, critic_dropout_2=0.0)
    fakes = torch.cat([rows.dense() for rows in adversary.fake(BATCH.users, features)])
    assert adversary.loss(BATCH.users, features).item() == pytest.approx(-adversary.critic(fakes).mean().item(), rel=1e-9)


def test_each_part_reaches_what_it_should_and_nothing_else() -> None:
    model = model_of(content())
    model.refresh()
    parts = model.loss(BATCH)
    assert set(parts) == {"bpr", "contrast", "adversarial", "l2"}
    assert model.adversary is not None
    for projection in model.content.values():
        assert gradient_norm(parts["adversarial"], projection.weight) > 1e-4 * gradient_norm(parts["bpr"], projection.weight)  # pyright: ignore[reportArgumentType]
        assert gradient_norm(parts["contrast"], projection.weight) > 1e-5  # pyright: ignore[reportArgumentType]
    assert gradient_norm(parts["contrast"], model.items.weight) > 1e-5
    assert gradient_norm(parts["contrast"], model.attention.keys.weight) > 0
    assert gradient_norm(parts["adversarial"], model.users.weight) == 0
    for parameter in model.adversary.parameters():
        assert gradient_norm(torch.stack(list(parts.values())).sum(), parameter) == 0
    critic = model.critic_loss(BATCH)
    assert set(critic) == {"critic", "critic_penalty"}
    total = torch.stack(list(critic.values())).sum()
    assert gradient_norm(total, model.adversary.critic.weight) > 1e-3
    own = [parameter for group in model.parameter_groups()[:1] for parameter in group["params"]]
    assert all(gradient_norm(total, parameter) == 0 for parameter in own)


def test_each_step_moves_its_own_parameters_only() -> None:
    model = model_of(content())
    optimizer = make_optimizer(model)
    assert isinstance(optimizer, torch.optim.AdamW)
    assert model.adversary is not None
    critic = {name for name, _ in model.named_parameters() if name.startswith("adversary.")}
    for step, moved in ((model.critic_loss, critic), (model.loss, {name for name, _ in model.named_parameters()} - critic)):
        before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        optimizer.zero_grad()
        torch.stack(list(step(BATCH).values())).sum().backward()
        optimizer.step()
        changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
        assert changed <= moved
        assert len(changed) > len(moved) / 2


def test_ablations_leave_out_what_they_name() -> None:
    log = content()
    assert set(model_of(log, asl=False).loss(BATCH)) == {"bpr", "contrast", "l2"}
    assert model_of(log, asl=False).critic_loss(BATCH) == {}
    assert set(model_of(log, cl=False).loss(BATCH)) == {"bpr", "adversarial", "l2"}
    auto_encoder = model_of(log, generator="gae")
    parts = auto_encoder.loss(BATCH)
    assert set(parts) == {"bpr", "contrast", "gae", "l2"}
    features = auto_encoder.features(0.0)
    by_hand = 0.0
    for users, items in ((table(one), table(other)) for one, other in features):
        for u, i, j in zip(BATCH.users.tolist(), BATCH.positives.tolist(), BATCH.negatives.tolist(), strict=True):
            taken, other = twin.dot(users[u], items[i]), twin.dot(users[u], items[j])
            by_hand += (math.log1p(math.exp(-taken)) + math.log1p(math.exp(other))) / 8
    assert auto_encoder.auto_encoder(BATCH, features).item() == pytest.approx(by_hand, rel=1e-5)
    everything = model_of(log, feature_regularisation=0.1, sequential_layers=True, last_softmax=True)
    assert "features_l2" in everything.loss(BATCH)


def test_the_released_layers_are_sequential_with_a_softmax_at_the_end() -> None:
    log = content()
    model = model_of(log, sequential_layers=True, last_softmax=True, n_layers=2)
    assert model.graph is not None
    pairs, users, items = pairs_of(model.graph), table(model.users.weight), table(model.items.weight)
    first = twin.to_users(pairs, log.n_users, items)
    then = twin.to_items(pairs, log.n_items, first)
    second = twin.to_users(pairs, log.n_users, then)
    last = twin.to_items(pairs, log.n_items, second)
    soft = [torch.tensor(rows, dtype=torch.float64).softmax(-1).tolist() for rows in (second, last)]
    found = model.layers(model.users.weight, model.items.weight)
    for side, tables in enumerate(((users, first, soft[0]), (items, then, soft[1]))):
        close(found[side], np.mean([np.array(rows) for rows in tables], axis=0).tolist())


def test_views_none_is_what_the_released_defaults_train() -> None:
    model = model_of(content(), views="none")
    for users, items in model.vectors().views:
        assert not users.any()
        assert not items.any()
    contrast = model.loss(BATCH)["contrast"]
    assert contrast.item() == pytest.approx(0.03 * 2 * math.log(2 * 4 - 1), rel=1e-6)
    assert gradient_norm(contrast, model.items.weight) == 0


def test_views_from_the_log_are_the_logs_in_every_epoch() -> None:
    log = content()
    model, first = model_of(log, views="log"), model_of(log)
    batches, others = (some.batches(log, seed=0, device=CPU) for some in (model, first))
    for epoch in (0, 1):
        assert len(list(batches(epoch))) == len(list(others(epoch)))
        assert all(graph is model.graph for graph in model.neighbours)
    assert model.graph is not None
    assert pairs_of(model.graph) == set(zip(log.user.tolist(), log.item.tolist(), strict=True))
    assert [pairs_of(graph) == pairs_of(model.graph) for graph in first.neighbours if graph is not None] == [False, False]
    assert set(model.config.unused()) >= {"k", "observed_views", "block"}
    assert "view_weight" in model.config.space()
    assert "k" not in model.config.space()


def test_graphs_may_be_symmetric_in_every_part() -> None:
    model = model_of(content(), normalisation="symmetric")
    assert model.graph is not None
    graphs = [model.graph, *(graph for graph in model.neighbours if graph is not None)]
    assert [graph.normalisation for graph in graphs] == ["symmetric"] * 3
    adjacency = torch.zeros(model.graph.n_users, model.graph.n_items)
    adjacency[tuple(torch.tensor(sorted(pairs_of(model.graph))).T)] = 1
    scaled = adjacency / adjacency.sum(1, keepdim=True).clamp(min=1).sqrt() / adjacency.sum(0).clamp(min=1).sqrt()
    users, items = (features.detach() for features in model.features()[0])
    torch.testing.assert_close(users, scaled @ next(iter(model.content.values()))().detach())
    torch.testing.assert_close(items, scaled.T @ users)


def test_empty_views_are_an_error() -> None:
    log = content()
    everything = Interactions.from_numbers(
        np.repeat(np.arange(log.n_users), log.n_items), np.tile(np.arange(log.n_items), log.n_users), users=log.users, items=log.items
    )
    with pytest.raises(DataError, match="the views of modality visual are empty: no user has an item to be its neighbour"):
        model_of(replace(everything, modalities=log.modalities))


def test_a_run_with_one_modality_and_with_half_of_the_items_lacking_one() -> None:
    log = content()
    half = log.modalities["visual"].values
    assert half is not None
    log = monge.data.attach_modality(log, "sound", half[::2], ids=log.items.ids[::2].tolist())
    assert log.modalities["sound"].n_missing == 5
    choices: list[dict[str, Any]] = [{"modalities": "sound"}, {"modalities": "sound,halves", "missing": "mean"}, {"missing": "zero"}]
    for options in choices:
        run = monge.train("mmssl", log, epochs=2, device="cpu", **{**SMALL, **options})
        assert run.result["test"]["mrr"]["mean"] > 0
    with pytest.raises(UnknownNameError, match="no modality 'soun'; did you mean 'sound'"):
        monge.train("mmssl", log, epochs=1, modalities="soun")
    with pytest.raises(DataError, match="the log has none: give --modality"):
        monge.train("mmssl", log_of(cycle_sequences()), epochs=1)


def test_options_out_of_range_and_without_effect() -> None:
    with pytest.raises(ConfigError, match="--dim must be a multiple of --n-heads"):
        MMSSLConfig(dim=10, n_heads=4)
    with pytest.raises(ConfigError, match="--k must be at least 1"):
        MMSSLConfig(k=0)
    assert MMSSLConfig(asl=False).unused()["critic_norm"] == "--no-asl"
    assert MMSSLConfig(generator="gae").unused()["gumbel"] == "--generator gae"
    assert "gae_weight" in MMSSLConfig().unused()
    assert SLMRecConfig().unused()["adversarial_weight"] == "--no-asl"
    assert SLMRecConfig(cl=True).unused()["task"] == "--cl"


def test_slmrec_takes_both_parts() -> None:
    log = content()

    def made(**options: Any) -> SLMRec:
        torch.manual_seed(0)
        config = SLMRecConfig(dim=4, batch_size=16, critic_shrink=2, **options)
        model = SLMRec(config, n_users=log.n_users, n_items=log.n_items, modalities=log.modalities)
        model.batches(log, seed=0, device=CPU)
        return model

    assert set(made().loss(BATCH)) == {"info_nce", "fac"}
    assert set(made(task="fd_fm").loss(BATCH)) == {"info_nce", "fd", "fm"}
    plain = made(cl=True)
    parts = plain.loss(BATCH)
    assert set(parts) == {"info_nce", "contrast"}
    users, items = plain.channels()
    fused = plain.fuse_users(users[BATCH.users])
    by_hand = sum(twin.contrast(table(fused), table(users[BATCH.users][:, 4 * c : 4 * c + 4]), 0.2) for c in (1, 2))
    assert parts["contrast"].item() == pytest.approx(0.1 * by_hand, rel=1e-4)
    assert gradient_norm(parts["contrast"], plain.users.weight) > 1e-4
    twice = replace(BATCH, **{side: torch.cat([getattr(BATCH, side)] * 2) for side in ("users", "positives", "negatives")})
    torch.testing.assert_close(plain.loss(twice)["contrast"], parts["contrast"])  # nobody is a negative of itself
    against = made(asl=True)
    parts = against.loss(BATCH)
    assert gradient_norm(parts["adversarial"], next(iter(against.content.values())).weight) > 1e-9  # pyright: ignore[reportArgumentType]
    assert set(against.critic_loss(BATCH)) == {"critic", "critic_penalty"}
    assert isinstance(make_optimizer(against), torch.optim.Adam)
    assert not isinstance(make_optimizer(against), torch.optim.AdamW)
    assert made().critic_loss(BATCH) == {}
    assert items.shape == (log.n_items, 12)


def test_untrained_users_have_no_neighbours() -> None:
    log = content()
    model = model_of(replace(log.select(log.user != 7)))
    model.refresh()
    assert all(graph is not None and 7 not in {u for u, _ in pairs_of(graph)} for graph in model.neighbours)


@pytest.mark.skipif("MONGE_DATA" not in os.environ, reason="mm-tiktok lies in the folder that MONGE_DATA names")
def test_views_on_tiktok_are_not_empty() -> None:
    train = monge.data.load_split("mm-tiktok").train
    torch.manual_seed(0)
    model = MMSSL(MMSSLConfig(asl=False), n_users=train.n_users, n_items=train.n_items, modalities=train.modalities)
    model.batches(train, seed=0, device=CPU)
    model.refresh()
    assert [None if graph is None else graph.n_edges for graph in model.neighbours] == [10 * 9298] * 2
    with torch.no_grad():
        for users, items in model.views():
            assert (users[model.trained.users].norm(dim=1) > 0).all()
            assert (items.norm(dim=1) > 0).any()


def test_rates_fall_to_the_decay_in_fifty_epochs_a_little_in_each() -> None:
    model = model_of(content(), decay=0.9)
    assert [model.rate_factor(epoch) for epoch in (0, 25, 50, 100)] == pytest.approx([1, 0.9**0.5, 0.9, 0.81])
    assert model_of(content()).rate_factor(50) == pytest.approx(0.96)
    assert model_of(content(), decay=1.0).rate_factor(70) == 1
