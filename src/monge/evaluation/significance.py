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
    p_wilcoxon = float(stats.wilcoxon(difference, zero_method="zsplit").pvalue)
    return PairedComparison(float(difference.mean()), low, high, _p_of_t(difference), p_wilcoxon, len(difference))


def _p_of_t(difference: Floats) -> float:
    """Two-sided p of the paired t-test; 1 for a single query, 0 where all queries differ by the same amount (scipy: NaN, a warning)."""
    n = len(difference)
    if n == 1:
        return 1.0
    standard_error = float(difference.std(ddof=1)) / n**0.5
    return float(2 * stats.t.sf(abs(float(difference.mean())) / standard_error, n - 1)) if standard_error else 0.0
