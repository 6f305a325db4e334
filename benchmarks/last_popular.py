"""How far a count of last items gets on i2VAE's released files, and what ties and the pool of negatives do to it.

    python -m benchmarks.last_popular

For each pair of domains, tie rule and pool: HR@10 and NDCG@10 in percent, mean and standard deviation over five draws of 999 negatives,
of all training rows (no validation part is needed: nothing is chosen). Beside them: what i2VAE's paper prints for its model.
"""

from __future__ import annotations

import argparse

import numpy as np
import numpy.typing as npt

from benchmarks.record import record
from monge.data import Queries, load, released

DRAWS = 5
DATA = ("i2vae-cloth-sport", "i2vae-phone-elec")
GROUPS = ("all", "long-tailed", "cold-start")
I2VAE = {"cloth": "5.00/2.59", "sport": "8.53/4.40", "phone": "8.88/4.67 (inferred)", "elec": "15.28/9.33"}
TIES = ("against", "at random")
POOLS = ("test", "domain")


def ranks(counts: npt.NDArray[np.int64], test: Queries, ties: str, seed: int) -> npt.NDArray[np.int64]:
    """(Q,) the rank of each truth among its negatives, 0 for the first."""
    assert test.negatives is not None
    truth = counts[test.truth.values][test.negatives.row_of_value]
    drawn = counts[test.negatives.values]
    higher = np.bincount(test.negatives.row_of_value[drawn > truth], minlength=len(test))
    tied = np.bincount(test.negatives.row_of_value[drawn == truth], minlength=len(test))
    return higher + (tied if ties == "against" else np.random.default_rng(seed).integers(0, tied + 1))


def main() -> None:
    """Measure and write the record."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    figures: dict[str, object] = {"i2VAE as printed, all, HR@10/NDCG@10": I2VAE}
    for name in DATA:
        log = load(name)
        rows = log.examples
        assert rows is not None
        training = rows.take(np.flatnonzero(rows.groups["file"] == "train"))
        lists = {"LastPopular": training.truth.values, "Popular": np.concatenate([training.truth.values, training.history.values])}
        for pool in POOLS:
            tests = [released(log, pool=pool, seed=draw).test for draw in range(DRAWS)]  # pyright: ignore[reportArgumentType]
            for label, items in lists.items():
                counts = np.bincount(items, minlength=log.n_items)
                for ties in TIES:
                    found: dict[str, list[tuple[float, float]]] = {}
                    for draw, test in enumerate(tests):
                        rank = ranks(counts, test, ties, draw)
                        gain = np.where(rank < 10, 1 / np.log2(rank + 2), 0.0)
                        for group in GROUPS:
                            of_group = test.groups[group]
                            for domain in sorted({one for one in of_group.tolist() if one}):
                                here = of_group == domain
                                found.setdefault(f"{domain} {group} ({int(here.sum())})", []).append(
                                    (100 * float((rank[here] < 10).mean()), 100 * float(gain[here].mean()))
                                )
                    figures[f"{name}, {label}, ties {ties}, negatives of the {pool}'s items"] = {
                        key: {
                            metric: {"mean": round(float(np.mean(column)), 3), "std": round(float(np.std(column)), 3)}
                            for metric, column in zip(("hit@10", "ndcg@10"), np.array(values).T, strict=True)
                        }
                        for key, values in found.items()
                    }
    print(record("last-popular-i2vae", figures, command="python -m benchmarks.last_popular", threads=1))


if __name__ == "__main__":
    main()
