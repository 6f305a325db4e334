"""How fast this machine multiplies float32 matrices: the ceiling for full ranking.

Ranking is a product of (B, d) states with (n_items, d) items; its ceiling is not the rate of a big square product but that of
this skinny shape, where writing B x n_items scores costs as much as the arithmetic. Both are given.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch


def matmul_rate(n_rows: int, inner: int, n_columns: int, *, repeats: int = 9, shortest_seconds: float = 0.05) -> float:
    """Rate of (n_rows, inner) @ (inner, n_columns) in float32 on the CPU, into an output made beforehand.

    Each of `repeats` measurements multiplies for at least `shortest_seconds`; the median of them counts. The right-hand
    side is stored as (n_columns, inner), as item embeddings are. Threads: as torch is set.

    Returns:
        1e9 floating-point operations a second, a multiplication and an addition counted as two.
    """
    left = torch.randn(n_rows, inner)
    right = torch.randn(n_columns, inner).T
    out = torch.empty(n_rows, n_columns)

    def seconds(count: int) -> float:
        begun = time.perf_counter()
        for _ in range(count):
            torch.mm(left, right, out=out)
        return time.perf_counter() - begun

    count = 1
    while (elapsed := seconds(count)) < shortest_seconds:  # also warms up
        count = max(count + 1, int(count * min(10.0, 1.2 * shortest_seconds / max(elapsed, 1e-9))))
    median = statistics.median(seconds(count) / count for _ in range(repeats))
    return 2e-9 * n_rows * inner * n_columns / median


def main() -> None:
    """Print the rates of the square and of the ranking shape as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.matmul_rate", description="This machine's float32 matrix-product rates.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1024, help="B of the ranking shape")
    parser.add_argument("--width", type=int, default=64, help="d of the ranking shape")
    parser.add_argument("--items", type=int, default=12_101, help="n_items of the ranking shape")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    shapes = {"square": (2048, 2048, 2048), "ranking": (arguments.batch, arguments.width, arguments.items)}
    rates = {name: {"shape": shape, "gflop_per_second": round(matmul_rate(*shape), 1)} for name, shape in shapes.items()}
    print(json.dumps({"threads": torch.get_num_threads(), **rates}))


if __name__ == "__main__":
    main()
