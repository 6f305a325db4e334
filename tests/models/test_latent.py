"""What is particular to the latent-factor models: parts that go with any loss, schedules, and SinkhornCF as MultVAE plus two terms."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from monge.errors import ConfigError
from monge.losses.observation import accelerated_sinkhorn, concentration, sinkhorn_loss
from monge.models import find_model
from monge.models.collaborative.latent import LIKELIHOODS, observation_loss
from monge.models.collaborative.mf import MF, MFConfig
from monge.models.collaborative.multvae import MultVAE, MultVAEConfig
from monge.models.collaborative.neumf import NeuMF, NeuMFConfig
from monge.models.collaborative.sinkhorncf import SinkhornCF, SinkhornCFConfig
from monge.nn import latent as parts
from monge.ot.cost import ItemCost
from monge.sampling import BagBatch, BagBatches
from monge.training.loop import TrainingConfig, fit
from tests.conftest import log_of, queries_of
from tests.reference import latent as by_hand

CPU = torch.device("cpu")
N_ITEMS = 12
HISTORIES = [np.random.default_rng(user).permutation(N_ITEMS)[: 2 + user % 3].tolist() for user in range(20)]
LOG = log_of(HISTORIES)
FAST: dict[str, Any] = {"learning_rate": 0.03, "batch_size": 20}
VAE: dict[str, Any] = {**FAST, "dim": 12, "hidden": 32, "dropout": 0.0}
NEAR: dict[str, Any] = {"observation": "sinkhorn", "epsilon": 0.1}
"""At the paper's epsilon of 1 the plan is nearly a product, and the cheapest item of each user draws all of its mass."""


def model_of(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    cls = find_model(name)
    options = {"k": LOG.n_items, **options} if name == "sinkhorncf" else options
    return cls(cls.Config(**options), n_users=len(HISTORIES), n_items=LOG.n_items)  # pyright: ignore[reportCallIssue]


def recall_of_training_items(model: Any) -> float:
    """Of each user's n training items, the share among the n best scores, with nothing left out of the ranking."""
    model.eval()
    with torch.inference_mode():
        scores = model.scores(queries_of(HISTORIES, [[]] * len(HISTORIES), n_items=LOG.n_items).batch())
    found = [
        len(set(scores[user].topk(len(history)).indices.tolist()) & set(history)) / len(history) for user, history in enumerate(HISTORIES)
    ]
    return float(np.mean(found))


@pytest.mark.parametrize(
    ("name", "options", "epochs"),
    [
        *[("mf", {**FAST, "observation": loss}, 100) for loss in LIKELIHOODS],
        ("mf", {**FAST, **NEAR}, 100),
        ("neumf", {**FAST, "batch_size": 64, "dim": 8}, 50),
        *[("neumf", {**FAST, "dim": 8, "observation": loss}, 100) for loss in ("gaussian", "multinomial")],
        *[("neumf", {**FAST, "form": "mlp", "observation": loss}, 150) for loss in ("bernoulli", "poisson")],
        *[("multvae", {**VAE, "observation": loss}, 100) for loss in LIKELIHOODS],
        ("multvae", {**VAE, **NEAR}, 150),
        ("sinkhorncf", VAE, 100),
        ("sinkhorncf", {**VAE, "flow": "iaf2", "debias": True, "k": 6, "l1_every": 3}, 100),
    ],
)
def test_twenty_users_are_learnt_by_heart(name: str, options: dict[str, Any], epochs: int) -> None:
    """Each row of the paper's Table 1 that is here, and every transformation with other losses, the Sinkhorn loss too."""
    model = model_of(name, **options)
    assert recall_of_training_items(untrained(model)) < 0.6
    progress = fit(model, LOG, TrainingConfig(epochs=epochs))
    assert progress.records[-1].loss["total"] < progress.records[0].loss["total"]
    assert recall_of_training_items(model) >= 0.95


@pytest.mark.parametrize(
    ("name", "options"),
    [("mf", FAST), ("neumf", FAST), ("neumf", {**FAST, "form": "mlp"}), ("multvae", VAE)],
)
def test_every_transformation_moves_its_mass_by_the_sinkhorn_loss_alone(name: str, options: dict[str, Any]) -> None:
    """Even users take items of the first half, odd ones of the second: mass that stays in the other half costs most."""
    half = N_ITEMS // 2
    rng = np.random.default_rng(0)
    histories = [(rng.permutation(half)[:4] + half * (user % 2)).tolist() for user in range(20)]
    model = model_of(name, **(options | {"learning_rate": 0.01}), observation="sinkhorn")
    progress = fit(model, log_of(histories), TrainingConfig(epochs=100))
    assert progress.records[-1].loss["sinkhorn"] < progress.records[0].loss["sinkhorn"] - 0.1
    model.eval()
    with torch.inference_mode():
        scores = model.scores(queries_of(histories, [[]] * 20, n_items=N_ITEMS).batch())
    mass = scores.double().softmax(1).view(20, 2, half).sum(2)
    assert [mass[user, user % 2].item() for user in range(20)] == pytest.approx([1.0] * 20, abs=0.02)


def untrained(model: Any) -> Any:
    if hasattr(model, "trained"):
        model.trained.fill_(True)
    return model


def batch_of(histories: list[list[int]], *, n_items: int = N_ITEMS, epoch: int = 0, step: int = 0) -> BagBatch:
    rows = torch.tensor([row for row, history in enumerate(histories) for _ in history])
    items = torch.tensor([item for history in histories for item in history])
    return BagBatch(torch.arange(len(histories)), items, rows, n_items, epoch, step)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("n_hidden", [0, 1, 2])
def test_without_its_two_terms_sinkhorncf_is_multvae(training: bool, n_hidden: int) -> None:
    options = {**VAE, "n_hidden": n_hidden, "dropout": 0.5, "activation": "tanh", "kl_steps": 40}
    mult, sinkhorn = model_of("multvae", **options), model_of("sinkhorncf", **options, alpha=0.0, l1_weight=0.0)
    assert {name: value.tolist() for name, value in mult.state_dict().items()} == {
        name: value.tolist() for name, value in sinkhorn.state_dict().items()
    }
    for step in (0, 7, 100):
        batch = batch_of(HISTORIES, n_items=LOG.n_items, step=step)
        found = []
        for model in (mult.train(training), sinkhorn.train(training)):
            torch.manual_seed(step)
            loss = model.loss(batch)
            gradients = torch.autograd.grad(torch.stack(list(loss.values())).sum(), list(model.parameters()))
            found.append(([value.item() for value in loss.values()], [gradient.tolist() for gradient in gradients]))
        assert found[0] == found[1]
    sinkhorn.batches(LOG, seed=0, device=CPU)
    assert sinkhorn.cost is None  # nothing of size items x items where it is not needed


def test_multvaes_loss_is_the_formula_by_hand() -> None:
    model = MultVAE(MultVAEConfig(dim=3, hidden=4, kl_steps=100), n_users=3, n_items=5).double().eval()
    histories = [[0, 3], [4], [1, 2, 3]]
    loss = model.loss(batch_of(histories, n_items=5, step=10))
    encoder, decoder = (
        {key: value.double().numpy() for key, value in part.state_dict().items()} for part in (model.encoder, model.decoder)
    )
    fit_by_hand = kl_by_hand = 0.0
    for history in histories:
        mean, log_variance = by_hand.encode(encoder, 1, "tanh", set(history))
        logits = by_hand.decode(decoder, 1, "tanh", mean)
        total = math.log(sum(math.exp(logit) for logit in logits))
        fit_by_hand += sum(total - logits[item] for item in history)
        kl_by_hand += sum(math.exp(v) + m * m - 1 - v for m, v in zip(mean, log_variance, strict=True)) / 2
    assert loss["multinomial"].item() == pytest.approx(fit_by_hand / 3, rel=1e-9)
    assert loss["kl"].item() == pytest.approx(0.1 * kl_by_hand / 3, rel=1e-9)


@pytest.mark.parametrize("name", ["multvae", "sinkhorncf"])
def test_the_kl_weight_rises_with_the_steps_to_its_cap(name: str) -> None:
    model = model_of(name, **VAE, kl_cap=0.3, kl_steps=10).eval()
    model.batches(LOG, seed=0, device=CPU)
    kl = [model.loss(batch_of(HISTORIES, n_items=LOG.n_items, step=step))["kl"].item() for step in (0, 1, 2, 3, 4, 1000)]
    assert kl[0] == 0
    assert kl[1] > 0
    assert [value / kl[1] for value in kl] == pytest.approx([0, 1, 2, 3, 3, 3])
    off = model_of(name, **VAE, kl_cap=0.0).eval()
    off.batches(LOG, seed=0, device=CPU)
    assert off.loss(batch_of(HISTORIES, n_items=LOG.n_items, step=99))["kl"].item() == 0


def test_the_transport_part_follows_its_schedule_through_epochs() -> None:
    model = model_of("sinkhorncf", **(VAE | {"batch_size": 7}), l1_every=2, l1_start_epoch=1, k=4)
    batches = model.batches(LOG, seed=0, device=CPU)
    assert len(batches) == 3
    joined = [["sinkhorn" in model.loss(batch) for batch in batches(epoch)] for epoch in range(4)]
    assert joined == [[False] * 3, [False, True, False], [True, False, True], [False, True, False]]  # even steps from step 3 on
    always = model_of("sinkhorncf", **VAE)
    assert all("sinkhorn" in always.loss(batch) for batch in always.batches(LOG, seed=0, device=CPU)(0))


def test_the_transport_part_of_some_users_is_that_of_a_batch_of_them() -> None:
    model = model_of("sinkhorncf", **VAE, l1_max_users=6, k=5).eval()
    model.batches(LOG, seed=0, device=CPU)
    everybody, six = (batch_of(HISTORIES[:n], n_items=LOG.n_items) for n in (20, 6))
    assert model.loss(everybody)["sinkhorn"].item() == pytest.approx(model.loss(six)["sinkhorn"].item(), rel=1e-6)
    whole = model_of("sinkhorncf", **VAE, k=5).eval()
    whole.batches(LOG, seed=0, device=CPU)
    assert whole.loss(everybody)["sinkhorn"].item() != pytest.approx(model.loss(everybody)["sinkhorn"].item(), rel=1e-3)
    halved = model_of("sinkhorncf", **VAE, k=5, l1_weight=0.5).eval()
    halved.batches(LOG, seed=0, device=CPU)
    assert halved.loss(everybody)["sinkhorn"].item() == pytest.approx(whole.loss(everybody)["sinkhorn"].item() / 2, rel=1e-6)


def test_the_options_of_the_transport_arrive() -> None:
    options: dict[str, Any] = {"epsilon": 0.3, "n_iterations": 2, "shrink": 3.0}
    batch = batch_of(HISTORIES, n_items=LOG.n_items)
    cost = ItemCost.from_pairs(LOG.user, LOG.item, n_users=LOG.n_users, n_items=LOG.n_items, shrink=3.0)
    model = model_of("sinkhorncf", **VAE, **options, k=7, debias=True).eval()
    model.batches(LOG, seed=0, device=CPU)
    logits = model.decoder(model.posterior(batch.items, batch.row_of_item, len(batch))[0])
    expected = accelerated_sinkhorn(logits, batch.row_of_item, batch.items, cost, k=7, epsilon=0.3, n_iterations=2, debias=True)
    assert model.loss(batch)["sinkhorn"].item() == pytest.approx(expected.item(), rel=1e-6)
    expected = concentration(logits, batch.row_of_item, batch.items, alpha=0.03)
    assert model.loss(batch)["concentration"].item() == pytest.approx(expected.item(), rel=1e-6)
    for name, sizes in (("mf", {}), ("neumf", {}), ("neumf", {"form": "mlp"}), ("multvae", VAE)):
        other = model_of(name, **sizes, **options, observation="sinkhorn").eval()
        other.batches(LOG, seed=0, device=CPU)
        logits = untrained(other).scores(queries_of(HISTORIES, [[]] * len(HISTORIES), n_items=LOG.n_items).batch())
        expected = sinkhorn_loss(logits, batch.row_of_item, batch.items, cost, epsilon=0.3, n_iterations=2)
        assert other.loss(batch)["sinkhorn"].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("name", [*LIKELIHOODS])
def test_every_observation_is_a_sum_over_items_and_a_mean_over_users(name: Any) -> None:
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    histories = [[0, 3], [4], [1, 2, 3]]
    expected = 0.0
    for row, history in zip(logits.tolist(), histories, strict=True):
        total = math.log(sum(map(math.exp, row)))
        for item, logit in enumerate(row):
            x = float(item in history)
            rate = math.log1p(math.exp(logit))
            expected += {
                "gaussian": (x - logit) ** 2,
                "bernoulli": rate - x * logit,
                "poisson": rate - x * math.log(rate),
                "multinomial": x * (total - logit),
            }[name]
    config = MFConfig(observation=name)
    assert observation_loss(config, logits, batch_of(histories, n_items=5), None).item() == pytest.approx(expected / 3, rel=1e-9)


def test_the_sinkhorn_loss_prefers_a_near_miss() -> None:
    """The paper's Example: cross-entropy and squared error cannot tell the two outputs apart, transport can."""
    similarity = torch.full((4, 4), 0.1)
    for block in ([0, 1], [2, 3]):
        similarity[np.ix_(block, block)] = 0.8
    similarity.fill_diagonal_(1)
    cost = ItemCost.from_similarity(similarity)
    config = MFConfig(observation="sinkhorn")
    losses: dict[str, list[float]] = {"near": [], "far": []}
    for name, taken in (("near", [0, 1]), ("far", [0, 2])):
        logits = torch.full((1, 4), -40.0)
        logits[0, taken] = 0.0
        for one, prices in ((config, cost), (replace(config, observation="multinomial"), None)):
            losses[name].append(observation_loss(one, logits, batch_of([[0]], n_items=4), prices).item())
    assert losses["near"] == pytest.approx([0.1, math.log(2)], abs=1e-6)
    assert losses["far"] == pytest.approx([0.45, math.log(2)], abs=1e-6)


def test_neumf_scores_pairs_and_all_items_alike() -> None:
    for form in ("he2017", "mlp"):
        torch.manual_seed(0)
        model = NeuMF(NeuMFConfig(form=form, dim=3, hidden=5), n_users=4, n_items=9)
        for weight in model.parameters():
            weight.data = torch.randn_like(weight)
        users, items = torch.tensor([[2], [0], [2]]), torch.arange(9)
        torch.testing.assert_close(model.pair_logits(users, items), model.logits(users.squeeze(1)))


def test_neumf_is_gmf_beside_a_tower() -> None:
    """Section 3.4 by hand: h . [p^G * q^G; tower([p^M; q^M])] + b, three layers of widths 4f, 2f, f."""
    torch.manual_seed(0)
    model = NeuMF(NeuMFConfig(dim=2), n_users=3, n_items=4).double()
    for weight in model.parameters():
        weight.data = torch.randn_like(weight)
    assert [tuple(layer.weight.shape) for layer in (model.mlp.first, *model.mlp.layers)] == [(8, 8), (4, 8), (2, 4), (1, 2)]  # pyright: ignore
    tower = {name: value.numpy() for name, value in model.mlp.state_dict().items()}
    assert model.weight is not None
    expected = [
        [
            sum(w * p * q for w, p, q in zip(model.weight.tolist(), user[:2], item[:2], strict=True))
            + by_hand.pair_logit(tower, 3, user[2:], item[2:])
            for item in model.items().tolist()
        ]
        for user in model.users().tolist()
    ]
    np.testing.assert_allclose(model.logits(torch.arange(3)).detach().numpy(), expected, rtol=1e-10, atol=1e-10)


def test_neumfs_sampled_loss_is_cross_entropy_of_pairs() -> None:
    model = model_of("neumf", **FAST, dim=4, n_negatives=3)
    batch = next(iter(model.batches(LOG, seed=0, device=CPU)(0)))
    assert batch.negatives.shape == (20, 3)
    logits = model.logits(torch.arange(len(HISTORIES))).detach().double()
    probability = logits.sigmoid()
    expected = 0.0
    for user, positive, negatives in zip(batch.users.tolist(), batch.positives.tolist(), batch.negatives.tolist(), strict=True):
        expected -= math.log(probability[user, positive]) + sum(math.log(1 - probability[user, negative]) for negative in negatives)
    assert model.loss(batch)["bernoulli"].item() == pytest.approx(expected / 20, rel=1e-5)


@pytest.mark.parametrize("pieces", [1, 60])
def test_neumf_scores_in_blocks(pieces: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = untrained(model_of("neumf", form="mlp", hidden=10)).eval()
    queries = queries_of(HISTORIES, [[]] * 20, n_items=LOG.n_items).batch()
    with torch.inference_mode():
        whole = model.scores(queries)
        monkeypatch.setattr(parts, "PIECE", pieces)
        torch.testing.assert_close(model.scores(queries), whole)


@pytest.mark.parametrize("name", ["multvae", "sinkhorncf"])
def test_a_history_is_a_set(name: str) -> None:
    model = model_of(name, **VAE).eval()
    once, twice = ([[3, 1], [5]], [[1, 3, 3, 1, 1], [5, 5]])
    scores = [model.scores(queries_of(histories, [[], []], n_items=LOG.n_items, users=[-1, -1]).batch()) for histories in (once, twice)]
    torch.testing.assert_close(*scores)


@pytest.mark.parametrize(("cls", "config"), [(MF, MFConfig()), (MultVAE, MultVAEConfig(dim=2, hidden=3))])
def test_answers_do_not_depend_on_training_mode_noise(cls: Any, config: Any) -> None:
    model = untrained(cls(config, n_users=20, n_items=LOG.n_items)).eval()
    queries = queries_of(HISTORIES, [[]] * 20, n_items=LOG.n_items).batch()
    assert torch.equal(model.scores(queries), model.scores(queries))


def test_k_cannot_exceed_the_items() -> None:
    with pytest.raises(ConfigError, match=f"--k must be at most the number of items, {LOG.n_items}; got {LOG.n_items + 1}"):
        model_of("sinkhorncf", k=LOG.n_items + 1)
    model_of("sinkhorncf", k=LOG.n_items + 1, l1_weight=0.0)  # nothing is moved


def test_training_draws_from_the_posterior_and_evaluation_does_not() -> None:
    model = SinkhornCF(SinkhornCFConfig(**VAE, k=5), n_users=20, n_items=LOG.n_items)
    batch = batch_of(HISTORIES, n_items=LOG.n_items)

    def sample() -> Tensor:
        return model.posterior(batch.items, batch.row_of_item, 20)[0]

    assert not torch.equal(sample(), sample())
    model.eval()
    assert torch.equal(sample(), sample())
    assert isinstance(model.batches(LOG, seed=0, device=CPU), BagBatches)


def test_training_watches_the_mass_of_the_likeliest_items() -> None:
    def masses(alpha: float, l1_weight: float) -> list[float]:
        model = model_of("sinkhorncf", **VAE, k=3, alpha=alpha, l1_weight=l1_weight, epsilon=0.1)
        progress = fit(model, LOG, TrainingConfig(epochs=60))
        assert all(set(record.watched) == {"top-3 mass"} and "top-3 mass" not in record.loss for record in progress.records)
        return [record.watched["top-3 mass"] for record in progress.records]

    smoothed, sharp = masses(0.3, 1.0), masses(0.0, 1.0)
    assert sharp[-1] > sharp[0] + 0.1, "L2 raises it"
    assert smoothed[-1] < sharp[-1] - 0.1, "alpha leaves mass with what was not taken"
