"""What is particular to the next-item models: W2 scores, the contrastive part, its switches, buckets."""

import math
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from monge.augment import NearestItems
from monge.models import find_model
from monge.models.sequential.mstein import MStein, MSteinConfig
from monge.models.sequential.next_item import NextItemConfig, next_item_batches
from monge.models.sequential.sasrec import SASRec, SASRecConfig
from monge.models.sequential.stosa import STOSA, STOSAConfig
from monge.models.sequential.views import TwoViewBatch, two_view_batches
from monge.sampling import NextItemBatch
from tests.conftest import cycle_sequences, log_of, queries_of
from tests.reference.wasserstein import w2

SMALL: dict[str, Any] = {"dim": 8, "max_length": 6, "n_heads": 2, "batch_size": 50}
CPU = torch.device("cpu")
N_ITEMS = 10


def mstein(seed: int = 0, **options: Any) -> MStein:
    torch.manual_seed(seed)
    return MStein(MSteinConfig(**(SMALL | options)), n_users=50, n_items=N_ITEMS)


def first_batch(model: Any) -> Any:
    return next(iter(model.batches(log_of(cycle_sequences()), seed=0, device=CPU)(0)))


@pytest.mark.parametrize(("temperature", "normalise"), [(1.0, False), (0.5, False), (1.0, True)])
def test_stosa_scores_are_minus_w2_up_to_a_constant(temperature: float, normalise: bool) -> None:
    torch.manual_seed(0)
    model = STOSA(STOSAConfig(**SMALL, temperature=temperature, normalise=normalise), n_users=5, n_items=N_ITEMS).eval().double()
    histories = [[1], [3, 4, 5], [9, 8, 7, 6, 5, 4, 3, 2]]
    asked = queries_of(histories, [[]] * 3, n_items=N_ITEMS).batch()
    with torch.inference_mode():
        scores = model.scores(asked)
        states, items = model.encoder.states(asked.padded(6))[:, -1], model.encoder.item_gaussians()

    def split(row: Tensor) -> tuple[list[float], list[float]]:
        """Mean and variance; each half scaled to length 1 where scores are normalised."""
        mean, deviation = row.tolist()[:8], row.tolist()[8:]
        if normalise:
            mean, deviation = ([x / math.sqrt(sum(y * y for y in half)) for x in half] for half in (mean, deviation))
        return mean, [x * x for x in deviation]

    for q in range(3):
        distance = [-w2(*split(states[q]), *split(items[i])) / temperature for i in range(N_ITEMS)]
        shift = float(scores[q, 0]) - distance[0]
        assert scores[q].tolist() == pytest.approx([value + shift for value in distance], abs=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_sasrec_scores_are_inner_products_with_the_newest_state(temperature: float) -> None:
    torch.manual_seed(0)
    model = SASRec(SASRecConfig(**SMALL, temperature=temperature), n_users=5, n_items=N_ITEMS).eval()
    asked = queries_of([[2, 3]], [[]], n_items=N_ITEMS).batch()
    with torch.inference_mode():
        state = model.encoder(asked.padded(6))[0, -1].tolist()
        expected = [sum(a * b for a, b in zip(state, model.encoder.items.weight[i].tolist(), strict=True)) for i in range(N_ITEMS)]
        assert model.scores(asked)[0].tolist() == pytest.approx([score / temperature for score in expected], abs=1e-5)


@pytest.mark.parametrize("name", ["sasrec", "stosa", "mstein", "coserec"])
def test_only_the_newest_items_are_read(name: str) -> None:
    torch.manual_seed(0)
    cls = find_model(name)
    model: Any = cls(cls.Config(**SMALL), n_users=5, n_items=N_ITEMS)  # pyright: ignore[reportCallIssue]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5)  # fresh weights are so small that histories hardly matter
    model.eval()
    with torch.inference_mode():
        long, short, other = (
            model.scores(queries_of([history], [[]], n_items=N_ITEMS).batch())
            for history in ([9, 9, 1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6], [0, 2, 3, 4, 5, 6])
        )
    torch.testing.assert_close(long, short, rtol=1e-5, atol=1e-5)
    assert (short - other).abs().max() > 1e-3


@pytest.mark.parametrize("cl_sim", ["neg_w2", "inv_w2"])
@pytest.mark.parametrize("cl_readout", ["flatten", "last"])
@pytest.mark.parametrize("cl_padding", ["trimmed", "full"])
def test_the_contrastive_part_is_there_and_teaches(cl_sim: str, cl_readout: str, cl_padding: str) -> None:
    model = mstein(cl_sim=cl_sim, cl_readout=cl_readout, cl_padding=cl_padding)
    batch = first_batch(model)
    assert isinstance(batch, TwoViewBatch)
    assert batch.views.shape[0] == 2 * len(batch.next_item.users)
    assert (batch.views.shape[1] == 6) or (cl_padding == "trimmed" or cl_readout == "last")
    parts = model.loss(batch)
    assert set(parts) == {"bpr", "pvn", "cl"}
    assert all(part.shape == () and part.isfinite() for part in parts.values())
    assert parts["cl"] > 0
    parts["cl"].backward()
    items, position = model.backbone.encoder.items.weight.grad, model.backbone.encoder.positions.weight.grad
    assert items is not None
    assert position is not None
    assert items.isfinite().all()
    assert items[:-1].abs().sum(1).gt(0).all()
    assert items[-1].abs().sum() == 0  # the padding row is fixed
    assert position.abs().sum() > 0


def test_the_contrastive_weight_scales_its_part_only() -> None:
    parts = []
    for weight in (0.005, 0.5):
        torch.manual_seed(1)
        model = mstein(cl_weight=weight, dropout=0.0)
        parts.append(model.loss(first_batch(model)))
    assert parts[1]["cl"].item() == pytest.approx(100 * parts[0]["cl"].item(), rel=1e-5)
    assert parts[1]["bpr"].item() == parts[0]["bpr"].item()


def test_the_contrastive_part_is_the_loss_between_the_two_views() -> None:
    """The L_MStein of four users by hand: -W2 of the flattened Gaussians, both directions."""
    model = mstein(dropout=0.0, cl_weight=1.0, batch_size=4)
    batch = first_batch(model)
    with torch.no_grad():
        states = model.backbone.encoder.states(batch.views).double()
        got = model.loss(batch)["cl"].item()
    rows = states.flatten(1).tolist()
    total = 0.0
    for i, row in enumerate(rows):
        similarity = [-sum((a - b) ** 2 for a, b in zip(row, other, strict=True)) for other in rows]
        highest = max(value for j, value in enumerate(similarity) if j != i)
        partner = (i + 4) % 8
        total += highest + math.log(sum(math.exp(v - highest) for j, v in enumerate(similarity) if j != i)) - similarity[partner]
    assert got == pytest.approx(total / 8, rel=1e-3)


@pytest.mark.parametrize("name", ["mstein", "coserec"])
def test_a_bucket_of_many_users_is_contrasted_in_groups_of_at_most_the_batch_size(name: str) -> None:
    """Each user of a group has the others of that group as negatives, and counts once in the mean."""
    cls: Any = find_model(name)
    torch.manual_seed(0)
    model = cls(cls.Config(**(SMALL | {"batch_size": 4}), dropout=0.0, attention_dropout=0.0, cl_weight=1.0), n_users=50, n_items=N_ITEMS)
    many_short = log_of([[user % 9, user % 9 + 1] for user in range(40)] + [[0, 1, 2, 3, 4, 5, 6]] * 10)
    batch = max(model.batches(many_short, seed=0, device=CPU)(0), key=lambda batch: len(batch.next_item.users))
    n = len(batch.next_item.users)
    assert n > 4
    a, b = batch.views.chunk(2)
    groups = torch.arange(n).tensor_split(-(-n // 4))
    assert max(map(len, groups)) <= 4
    with torch.no_grad():
        got = model.loss(batch)["cl"].item()
        parts = [model.loss(TwoViewBatch(batch.next_item, torch.cat([a[rows], b[rows]])))["cl"].item() for rows in groups]
    assert got == pytest.approx(sum(part * len(rows) for part, rows in zip(parts, groups, strict=True)) / n, rel=1e-5)


def test_trimmed_views_leave_out_padding_alone() -> None:
    """Without dropout, positions that are padding in every view are equal in all rows and add nothing to any distance."""
    values = []
    for padding in ("trimmed", "full"):
        torch.manual_seed(3)
        model = mstein(cl_padding=padding, dropout=0.0, max_length=20)
        values.append(model.loss(first_batch(model))["cl"].item())
    assert values[0] == pytest.approx(values[1], rel=1e-4)


def test_passthrough_leaves_the_mean_alone() -> None:
    model = mstein(mean_stream="passthrough")
    sum(model.loss(first_batch(model)).values(), torch.zeros(())).backward()
    layer: Any = model.backbone.encoder.layers[0]
    assert layer.value_mean.weight.grad is None
    assert layer.out_mean.weight.grad is None
    assert layer.query_key_mean.weight.grad is not None


@pytest.mark.parametrize("name", ["sasrec", "stosa"])
@pytest.mark.parametrize("loss", ["bce_1neg", "bpr", "gbce", "sampled_softmax", "full_ce"])
def test_a_user_has_the_same_loss_in_a_bucket_as_anywhere(name: str, loss: str) -> None:
    """Buckets change who shares a batch and how much padding it has, not what is computed for a user."""
    cls: Any = find_model(name)
    torch.manual_seed(0)
    model = cls(cls.Config(**SMALL, loss=loss, dropout=0.0, attention_dropout=0.0), n_users=50, n_items=N_ITEMS)
    model.train()
    log = log_of(cycle_sequences())

    def by_user(bucketed: bool, batch_size: int) -> dict[int, float]:
        config: NextItemConfig = cls.Config(**(SMALL | {"batch_size": batch_size}), loss=loss, bucketed=bucketed)
        found: dict[int, float] = {}
        for batch in next_item_batches(config, log, seed=0, device=CPU)(0):
            for row, user in enumerate(batch.users.tolist()):
                one = slice(row, row + 1)
                drawn = torch.tensor([5]) if batch.shared else torch.full((1, batch.targets.shape[1], 1), 5)
                drawn = drawn[:0] if loss == "full_ce" else drawn
                alone = NextItemBatch(batch.users[one], batch.sequences[one], batch.targets[one], drawn, batch.shared, N_ITEMS)
                with torch.no_grad():
                    found[user] = float(sum(model.loss(alone).values()))
        return found

    bucketed, loose = by_user(True, 8), by_user(False, 8)
    assert sorted(bucketed) == sorted(loose) == list(range(50))
    assert [bucketed[user] for user in range(50)] == pytest.approx([loose[user] for user in range(50)], rel=1e-4, abs=1e-6)
    assert len({round(value, 4) for value in bucketed.values()}) > 10  # a loss that tells users apart


@pytest.mark.parametrize("bucketed", [True, False])
def test_a_whole_epoch_has_one_loss_whatever_the_batches(bucketed: bool) -> None:
    """One batch of all users: with dropout off, full softmax and the same users, buckets make no difference at all."""
    torch.manual_seed(0)
    config = SASRecConfig(**SMALL, loss="full_ce", dropout=0.0, attention_dropout=0.0, bucketed=bucketed)
    model = SASRec(config, n_users=50, n_items=N_ITEMS)
    batches = list(model.batches(log_of(cycle_sequences()), seed=0, device=CPU)(0))
    assert len(batches) == 1
    torch.manual_seed(0)
    reference = SASRec(SASRecConfig(**SMALL, loss="full_ce", dropout=0.0, attention_dropout=0.0), n_users=50, n_items=N_ITEMS)
    expected = reference.loss(next(iter(reference.batches(log_of(cycle_sequences()), seed=9, device=CPU)(4))))
    assert model.loss(batches[0])["full_ce"].item() == pytest.approx(expected["full_ce"].item(), rel=1e-5)


def test_after_the_warm_up_embeddings_say_what_is_alike() -> None:
    """Asked once an epoch, and never before; their nearest items reach the views where they score higher."""
    log, asked = log_of(cycle_sequences()), []

    def online() -> NearestItems:
        asked.append(1)
        return NearestItems(torch.full((N_ITEMS,), 7), torch.full((N_ITEMS,), 2.0))

    config = MSteinConfig(**(SMALL | {"batch_size": 10}), similarity_warmup=2, short_set="SI")
    batches = two_view_batches(config, log, seed=0, device=CPU, online=online)
    share = []
    for epoch in range(4):
        views = torch.cat([batch.views.flatten() for batch in batches(epoch)])
        share.append(float((views == 7).sum() / (views != N_ITEMS).sum()))
        assert len(asked) == max(0, epoch - 1)
    assert max(share[:2]) < 0.2
    assert min(share[2:]) > 0.3


@pytest.mark.parametrize("name", ["coserec", "mstein"])
def test_online_similarity_follows_the_embeddings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the two models hand over as `online` is the nearest item by their own current item table."""
    cls: Any = find_model(name)
    model = cls(cls.Config(**SMALL), n_users=50, n_items=N_ITEMS)
    taken: dict[str, Any] = {}
    monkeypatch.setattr(sys.modules[cls.__module__], "two_view_batches", lambda *args, **options: taken.update(options))
    model.batches(log_of(cycle_sequences()), seed=0, device=CPU)
    with torch.no_grad():
        table = model.backbone.encoder.items.weight
        table[:-1] = torch.randn(N_ITEMS, table.shape[1]).abs()  # row 10 is padding
        table[4] = table[1] * (1.001 if name == "mstein" else 5)
        if name == "coserec":
            table[4] = table[:-1].sum(0)
    nearest = taken["online"]()
    assert nearest.neighbour[1] == 4
    assert nearest.score.max() <= 1
