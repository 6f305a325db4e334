"""Is one model better than another on the same queries? Paired tests over per-query values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from monge.evaluation.metrics import Floats, bootstrap_interval


@dataclass(frozen=True)
class PairedComparison:
    """Mean difference (a - b) over queries, its 95 % bootstrap interval, and two-sided p-values."""

    difference: float
    low: float
    high: float
    p_t: float
    """Paired t-test."""
    p_wilcoxon: float
    """Wilcoxon signed-rank test (zero differences split)."""
    n_queries: int


def compare_paired(a: Floats, b: Floats, *, seed: int = 0) -> PairedComparison:
    """Compare two models query by query: (Q,), (Q,) values of one metric on the same queries.

    Raises:
        ValueError: the two have different numbers of queries.
    """
    if len(a) != len(b):
        raise ValueError(f"both sides must answer the same queries; got {len(a)} and {len(b)}")
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    low, high = bootstrap_interval(difference, seed=seed)
    if not difference.any():
        return PairedComparison(0.0, low, high, 1.0, 1.0, len(difference))
    p_t = float(stats.ttest_1samp(difference, 0.0).pvalue)
    p_wilcoxon = float(stats.wilcoxon(difference, zero_method="zsplit").pvalue)
    return PairedComparison(float(difference.mean()), low, high, p_t, p_wilcoxon, len(difference))
