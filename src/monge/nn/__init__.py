"""Blocks that models share."""

from monge.nn.dropout import Dropout
from monge.nn.embeddings import Embeddings
from monge.nn.graph import BipartiteGraph, GraphTables, propagate
from monge.nn.latent import IAF, Decoder, GaussianEncoder, Inner, PairMLP, Table
from monge.nn.scoring import Scoring
from monge.nn.stochastic import StochasticEncoder
from monge.nn.teacher import follow, teacher_of
from monge.nn.transformer import SequenceEncoder

__all__ = [
    "IAF",
    "BipartiteGraph",
    "Decoder",
    "Dropout",
    "Embeddings",
    "GaussianEncoder",
    "GraphTables",
    "Inner",
    "PairMLP",
    "Scoring",
    "SequenceEncoder",
    "StochasticEncoder",
    "Table",
    "follow",
    "propagate",
    "teacher_of",
]
