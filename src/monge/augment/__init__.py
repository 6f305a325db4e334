"""Augmentations: views of sequences for contrastive learning, and the item similarities that inform them."""

from monge.augment.sequences import SHORT_SETS, Augmentation
from monge.augment.similarity import NearestItems, nearest_by_itemcf, nearest_by_vectors

__all__ = ["SHORT_SETS", "Augmentation", "NearestItems", "nearest_by_itemcf", "nearest_by_vectors"]
