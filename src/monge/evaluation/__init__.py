"""Full ranking, metrics, groups and paired tests. Needs a model's scores, or only somebody's ranks."""

from monge.evaluation.evaluate import Estimate, Evaluation, evaluate, labels_between, standard_groups
from monge.evaluation.metrics import DEFAULT_METRICS, METRICS, bootstrap_interval, parse_metric, per_query
from monge.evaluation.ranking import Ranking, rank_truth, score_blocks, top_items
from monge.evaluation.significance import PairedComparison, compare_paired

__all__ = [
    "DEFAULT_METRICS",
    "METRICS",
    "Estimate",
    "Evaluation",
    "PairedComparison",
    "Ranking",
    "bootstrap_interval",
    "compare_paired",
    "evaluate",
    "labels_between",
    "parse_metric",
    "per_query",
    "rank_truth",
    "score_blocks",
    "standard_groups",
    "top_items",
]
