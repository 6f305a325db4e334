"""Logs, known data sets, filters, protocols, splits and queries. Nothing here imports torch or Polars before it is needed."""

from monge.data.catalogue import has_published_split, known_datasets, load, load_split
from monge.data.convert import write
from monge.data.cross_domain import cross_domain
from monge.data.describe import Description, describe
from monge.data.domains import Domains
from monge.data.examples import examples_of
from monge.data.filters import at_least, deduplicate, k_core, min_length
from monge.data.interactions import Interactions, Vocabulary
from monge.data.known import KnownDataset
from monge.data.leaks import check_leaks
from monge.data.modalities import Modality, attach_modality
from monge.data.noise import add_noise
from monge.data.protocols import PROTOCOLS, cold_items, leave_one_out, predefined, ratio, strong_generalisation, temporal
from monge.data.queries import Queries, QueryBatch
from monge.data.ragged import Ragged
from monge.data.read import attach_items, read, read_domains, read_items
from monge.data.released import read_released, released
from monge.data.split import Split

__all__ = [
    "PROTOCOLS",
    "Description",
    "Domains",
    "Interactions",
    "KnownDataset",
    "Modality",
    "Queries",
    "QueryBatch",
    "Ragged",
    "Split",
    "Vocabulary",
    "add_noise",
    "at_least",
    "attach_items",
    "attach_modality",
    "check_leaks",
    "cold_items",
    "cross_domain",
    "deduplicate",
    "describe",
    "examples_of",
    "has_published_split",
    "k_core",
    "known_datasets",
    "leave_one_out",
    "load",
    "load_split",
    "min_length",
    "predefined",
    "ratio",
    "read",
    "read_domains",
    "read_items",
    "read_released",
    "released",
    "strong_generalisation",
    "temporal",
    "write",
]
