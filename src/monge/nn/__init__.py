"""Blocks that models share."""

from monge.nn.dropout import Dropout
from monge.nn.scoring import Scoring
from monge.nn.stochastic import StochasticEncoder
from monge.nn.transformer import SequenceEncoder

__all__ = ["Dropout", "Scoring", "SequenceEncoder", "StochasticEncoder"]
