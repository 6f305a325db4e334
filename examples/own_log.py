"""Your own CSV file, with your own column names: look, filter, split by time, train, measure, ask.

`python examples/own_log.py` writes such a file first (made-up readers of made-up articles), so it needs no download.
"""

import csv
import random
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import monge
from monge.api import open_log
from monge.data import describe
from monge.errors import DataError


def write_made_up_file(path: Path) -> None:
    """Readers have one of three favourite topics; article ids have leading zeros, which stay."""
    rng = random.Random(1)
    start = datetime(2024, 1, 1)
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["member", "article", "read_at", "stars"])
        for member in range(200):
            topic = member % 3
            for article in rng.sample(range(30), 10):
                article = 30 * topic + article if rng.random() < 0.9 else rng.randrange(90)
                when = start + timedelta(minutes=rng.randrange(200_000))
                writer.writerow([f"m{member}", f"{article:03}", when.isoformat(), rng.choice([3, 4, 5])])


def main() -> None:
    """Write the file, then do what one would do with one's own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reading.csv"
        write_made_up_file(path)

        # A column that cannot be found is one sentence, not a traceback.
        try:
            monge.read(path)
        except DataError as error:
            print("error:", str(error).replace(folder, "..."))

        # Name the columns; the filters run in a fixed order and go on record.
        log = open_log(
            path, user_column="member", item_column="article", time_column="read_at", weight_column="stars",
            rating_at_least=4, keep="first", k_core=3,
        )  # fmt: skip
        facts = describe(log)
        print(f"{facts.n_interactions} rows, {facts.n_users} users, {facts.n_items} items, density {facts.density:.3f}")
        for applied in log.provenance["filters"]:
            print("filter:", applied)

        # One point in time for everybody: what is older trains, what comes later is to be foretold.
        split = monge.make_split(log, "temporal", {"validation": 0.1, "test": 0.2})
        split.save(Path(folder) / "split.safetensors")  # one file: a colleague needs neither the log nor its reader
        for note in split.notes:
            print("note:", note)

        popular = monge.train("popular", split)
        knn = monge.train("itemknn", Path(folder) / "split.safetensors", out=Path(folder) / "knn", k=20)
        for name, run in (("popular", popular), ("itemknn", knn)):
            print(f"{name:8} ndcg@10 {run.result['test']['ndcg@10']['mean']:.3f} on {len(split.test)} test queries")
        assert knn.result["test"]["ndcg@10"]["mean"] > popular.result["test"]["ndcg@10"]["mean"]

        rows = knn.recommend(history=["001", "002", "003"], k=5, exclude=["004"])
        print("after 001, 002, 003:", [row["item_id"] for row in rows])
        assert all(int(row["item_id"]) < 30 for row in rows[:3]), "the first topic has the articles 000 to 029"
        assert "004" not in [row["item_id"] for row in rows]


if __name__ == "__main__":
    main()
