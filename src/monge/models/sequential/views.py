"""Two augmented views of every training sequence, beside the next-item batch: for contrastive models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from monge.augment import SHORT_SETS, Augmentation, NearestItems, nearest_by_itemcf
from monge.data import Interactions
from monge.errors import UnknownNameError, nearest
from monge.models.contract import INFINITY, Batches, check_positive, check_ranges, epochs_of
from monge.models.sequential.next_item import NextItemConfig, next_item_batches
from monge.sampling import NextItemBatch, generator_for

Readout = Literal["flatten", "last"]
Padding = Literal["trimmed", "full"]


@dataclass(frozen=True, kw_only=True)
class ContrastiveConfig(NextItemConfig):
    """Options of models that contrast two augmented views."""

    cl_weight: float = 0.1
    """Weight of the contrastive loss."""
    cl_temperature: float = 1.0
    """Temperature of the contrastive loss."""
    cl_readout: Readout = "flatten"
    """What stands for a view: all positions' outputs one after another, or the newest position's."""
    cl_padding: Padding = "trimmed"
    """flatten only. full: all max_length positions, as the authors' code; trimmed: up to the batch's longest view (what is left out are
    padded rows that differ by dropout noise alone)."""
    crop_ratio: float = 0.2
    """Share of a sequence that a crop keeps."""
    mask_ratio: float = 0.7
    """Share of items that a mask empties."""
    reorder_ratio: float = 0.2
    """Share of a sequence that is shuffled (the authors' code passes the mask ratio instead: 0.7)."""
    substitute_ratio: float = 0.1
    """Share of items replaced by their most similar item."""
    insert_ratio: float = 0.4
    """Share of items that get their most similar item put before them."""
    length_threshold: int = 4
    """Sequences up to this length use the short set of operators; -1: every operator for every sequence."""
    short_set: str = "SIM"
    """Operators for short sequences by initials: S ubstitute, I nsert, M ask, R eorder, C rop."""
    similarity_warmup: int = 160
    """Epochs in which ItemCF-IUF alone says which items are alike; afterwards the better of it and the current embeddings."""

    def __post_init__(self) -> None:
        super().__post_init__()
        ratios = ("crop_ratio", "mask_ratio", "reorder_ratio", "substitute_ratio", "insert_ratio")
        check_ranges(self, **dict.fromkeys(ratios, (0, 1)), cl_weight=(0, INFINITY), length_threshold=(-1, INFINITY))
        check_ranges(self, similarity_warmup=(0, INFINITY))
        check_positive(self, "cl_temperature")
        if self.short_set not in SHORT_SETS:
            raise UnknownNameError(f"--short-set {self.short_set!r} is unknown{nearest(self.short_set, SHORT_SETS)}")

    def unused(self) -> dict[str, str]:
        """Options that this configuration does not read -> the option that makes it so."""
        return super().unused() | ({"cl_padding": "--cl-readout last"} if self.cl_readout == "last" else {})

    def space(self) -> dict[str, str]:
        """The paper's grid, with the weight of the contrast and what the authors vary of the augmentation."""
        return {
            **super().space(),
            "cl_weight": "0.001..0.1:log",
            "substitute_ratio": "0.1,0.3,0.5",
            "insert_ratio": "0.1,0.3,0.5",
            "length_threshold": "4,12,16",
        }


@dataclass(frozen=True, eq=False)
class TwoViewBatch:
    """A next-item batch and two augmented views of its sequences."""

    next_item: NextItemBatch
    views: Tensor  # (2B, T') int64: view a of every user, then view b; n_items where empty


def two_view_batches(
    config: ContrastiveConfig, train: Interactions, *, seed: int, device: torch.device, online: Callable[[], NearestItems]
) -> Batches:
    """Next-item batches with views; similarities are refreshed at the start of each epoch.

    Args:
        config: rates, threshold and warm-up.
        train: the training part.
        seed: of the run.
        device: where batches live.
        online: the nearest items by the model's current vectors, asked for once an epoch after the warm-up.
    """
    sampler = next_item_batches(config, train, seed=seed, device=device)
    offline = nearest_by_itemcf(train, device=device)
    augmentation = Augmentation(
        crop=config.crop_ratio,
        mask=config.mask_ratio,
        reorder=config.reorder_ratio,
        substitute=config.substitute_ratio,
        insert=config.insert_ratio,
        threshold=config.length_threshold,
        short_set=config.short_set,
    )
    fixed_length = config.max_length if config.cl_readout == "flatten" and config.cl_padding == "full" else 1

    def run(epoch: int) -> Iterator[TwoViewBatch]:
        similar = offline if epoch < config.similarity_warmup else offline.better_of(online())
        generator = generator_for(seed, epoch, device, purpose="augmentation")
        for batch in sampler(epoch):
            a, b = (
                augmentation.view(batch.sequences, empty=batch.n_items, nearest=similar, generator=generator, max_length=config.max_length)
                for _ in range(2)
            )
            width = max(a.shape[1], b.shape[1], fixed_length)
            views = torch.cat([F.pad(view, (width - view.shape[1], 0), value=batch.n_items) for view in (a, b)])
            yield TwoViewBatch(batch, views)

    return epochs_of(len(sampler), run)


def contrast(config: ContrastiveConfig, views: Tensor, encode: Callable[[Tensor], Tensor], loss: Callable[[Tensor], Tensor]) -> Tensor:
    """The contrastive loss of the two views, times `cl_weight`.

    Bucketed batches of short sequences hold more than `batch_size` users. They are encoded and contrasted in groups of at most
    `batch_size`, so that an anchor has no more negatives than the option promises, and tables stay small.

    Args:
        config: the readout, the weight and the group's size.
        views: (2B, T) view a of every user, then view b.
        encode: (2G, T) -> (2G, T, V) states.
        loss: (2G, W) stacked views of G users -> () the mean over 2G anchors.
    """
    a, b = views.chunk(2)
    n_groups = -(-len(a) // config.batch_size)
    total = views.new_zeros((), dtype=torch.float32)
    for part_a, part_b in zip(a.tensor_split(n_groups), b.tensor_split(n_groups), strict=True):
        states_GTV = encode(torch.cat([part_a, part_b]))
        total = total + len(part_a) * loss(states_GTV.flatten(1) if config.cl_readout == "flatten" else states_GTV[:, -1])
    return config.cl_weight * total / len(a)
