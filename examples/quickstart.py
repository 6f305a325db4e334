"""From a log to recommendations, on made-up data: `python examples/quickstart.py` (some seconds, no download).

300 people walk around a circle of 40 items: whoever took item 7 takes item 8 next, with few exceptions. A list of popular
items cannot know that; a model that reads the order of a history can.
"""

import random
import tempfile
from pathlib import Path

import monge

N_USERS, N_ITEMS, LENGTH = 300, 40, 12


def made_up_log() -> monge.Interactions:
    """One row a visit: who, what; the rows are in time order."""
    rng = random.Random(0)
    rows = []
    for user in range(N_USERS):
        item = rng.randrange(N_ITEMS)
        for _ in range(LENGTH):
            rows.append((f"user-{user}", f"item-{item}"))
            item = (item + 1) % N_ITEMS if rng.random() < 0.9 else rng.randrange(N_ITEMS)
    users, items = zip(*rows, strict=True)
    return monge.Interactions.from_columns(users, items)


def main() -> None:
    """Train two models, compare them, ask the better one."""
    log = made_up_log()
    with tempfile.TemporaryDirectory() as folder:
        popular = monge.train("popular", log, out=Path(folder) / "popular")
        sasrec = monge.train(
            "sasrec", log, out=Path(folder) / "sasrec",
            dim=32, n_layers=1, dropout=0.1, attention_dropout=0.1, loss="full_ce", batch_size=64, learning_rate=0.005,
            epochs=15, patience=5, select="ndcg@10",
        )  # fmt: skip

        for run in (popular, sasrec):
            name, recall = run.info["model"]["name"], run.result["test"]["recall@1"]
            print(f"{name:8} recall@1 {recall['mean']:.2f} (95 % interval {recall['low']:.2f} to {recall['high']:.2f})")
        assert sasrec.result["test"]["recall@1"]["mean"] > popular.result["test"]["recall@1"]["mean"] + 0.3

        run = monge.load_run(Path(folder) / "sasrec")  # a run is read back from its folder, and nothing in it is executed
        print("for user-0:", [row["item_id"] for row in run.recommend("user-0", k=3)])
        after_7 = [row["item_id"] for row in run.recommend(history=["item-5", "item-6", "item-7"], k=3)]
        print("after items 5, 6, 7:", after_7)
        assert after_7[0] == "item-8"
        print("like item-7:", [row["item_id"] for row in run.similar("item-7", k=3)])


if __name__ == "__main__":
    main()
