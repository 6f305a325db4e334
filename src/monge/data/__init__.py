"""Interaction logs, splits and queries."""

from monge.data.interactions import Interactions, Vocabulary
from monge.data.queries import Queries, QueryBatch
from monge.data.ragged import Ragged
from monge.data.split import Split

__all__ = ["Interactions", "Queries", "QueryBatch", "Ragged", "Split", "Vocabulary"]
