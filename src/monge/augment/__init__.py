"""Augmentations: views of sequences and of graphs for contrastive learning, and the item similarities that inform them."""

from monge.augment.edges import drop_edges
from monge.augment.sequences import SHORT_SETS, Augmentation
from monge.augment.similarity import NearestItems, nearest_by_itemcf, nearest_by_vectors

__all__ = ["SHORT_SETS", "Augmentation", "NearestItems", "drop_edges", "nearest_by_itemcf", "nearest_by_vectors"]
