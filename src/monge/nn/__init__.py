"""Blocks that models share."""

from monge.nn.dropout import Dropout
from monge.nn.latent import IAF, Decoder, GaussianEncoder, Inner, PairMLP, Table
from monge.nn.scoring import Scoring
from monge.nn.stochastic import StochasticEncoder
from monge.nn.transformer import SequenceEncoder

__all__ = [
    "IAF",
    "Decoder",
    "Dropout",
    "GaussianEncoder",
    "Inner",
    "PairMLP",
    "Scoring",
    "SequenceEncoder",
    "StochasticEncoder",
    "Table",
]
