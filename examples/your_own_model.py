"""A model that is not part of Monge: one class, named by its import path, and it gets everything that the built-in ones get.

FactorisedMarkov: the next item depends on the last one alone, through two vectors an item.

    s(last, i) = <a_last, b_i>          loss = -mean log softmax_i s(last, i)   over all items

Source: the item-to-item part of FPMC (Rendle et al., WWW 2010), with a full softmax in place of its pairwise loss.

Run it here with `python examples/your_own_model.py`, or on any log with
`PYTHONPATH=examples monge train your_own_model:FactorisedMarkov ml-100k --dim 32`.
"""

from __future__ import annotations

import random
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

import monge
from monge.data import Interactions, QueryBatch
from monge.losses import full_cross_entropy
from monge.models.contract import Batches, check_positive, check_ranges, inner_product_scores, require_history
from monge.sampling import NextItemBatch, NextItemBatches


@dataclass(frozen=True, kw_only=True)
class FactorisedMarkovConfig:
    """Its options: they become command-line options, with these texts as help."""

    dim: int = 32
    """Width of an item's two vectors."""
    batch_size: int = 256
    """Users in a training batch."""
    learning_rate: float = 1e-2
    """Adam's step size."""
    weight_decay: float = 0.0
    """Coupled L2 penalty."""

    def __post_init__(self) -> None:
        check_ranges(self, dim=(1, float("inf")), batch_size=(1, float("inf")), weight_decay=(0, float("inf")))
        check_positive(self, "learning_rate")


class FactorisedMarkov(nn.Module):
    """Two vectors an item: one for being the last, one for being the next."""

    Config: ClassVar = FactorisedMarkovConfig
    answers_unknown_users: ClassVar = True  # it reads the history, so it needs to know nobody

    def __init__(self, config: FactorisedMarkovConfig, *, n_users: int, n_items: int) -> None:
        super().__init__()
        self.config = config
        self.last = nn.Embedding(n_items + 1, config.dim, padding_idx=n_items)  # items 0..n_items-1, then the padding row
        self.next = nn.Embedding(n_items, config.dim)
        nn.init.normal_(self.last.weight, std=0.1)
        nn.init.normal_(self.next.weight, std=0.1)

    def batches(self, train: Interactions, *, seed: int, device: torch.device) -> Batches:
        """Every user once an epoch, every position a target, no negatives."""
        return NextItemBatches(train, batch_size=self.config.batch_size, max_length=50, seed=seed, device=device)

    def loss(self, batch: NextItemBatch) -> dict[str, Tensor]:
        """Cross-entropy over all items, in nats a position."""
        real_BT = batch.targets != batch.n_items
        return {"full_ce": full_cross_entropy(self.last(batch.sequences[real_BT]), self.next.weight, None, batch.targets[real_BT])}

    def query_vectors(self, queries: QueryBatch) -> Tensor:
        """(B, D): the vector of the newest item."""
        require_history(queries, "FactorisedMarkov")
        return self.last(queries.padded(1)[:, -1])

    def item_vectors(self) -> tuple[Tensor, Tensor | None]:
        """(n_items, D), no bias."""
        return self.next.weight, None

    def scores(self, queries: QueryBatch) -> Tensor:
        """(B, n_items), higher is better."""
        return inner_product_scores(self, queries)


def main() -> None:
    """Train it on a log with a hidden rule, and see that it found the rule."""
    rng = random.Random(2)
    after = list(range(40))
    rng.shuffle(after)  # the hidden rule: item i is followed by item after[i], eight times in ten
    users, items = [], []
    for user in range(300):
        item = rng.randrange(40)
        for _ in range(10):
            users.append(user)
            items.append(item)
            item = after[item] if rng.random() < 0.8 else rng.randrange(40)
    log = monge.Interactions.from_columns(users, items)

    name = "your_own_model:FactorisedMarkov"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "markov"
        run = monge.train(name, log, out=out, dim=16, epochs=20, patience=5, select="mrr")
        recall = run.result["test"]["recall@1"]["mean"]
        print(f"best epoch {run.result['best_epoch']}, test recall@1 {recall:.2f}")
        assert recall > 0.5
        again = monge.load_run(out, trusted=[name])
        assert again.recommend(history=[3], k=5) == run.recommend(history=[3], k=5)
        print("after item 3:", again.recommend(history=[3], k=1)[0]["item_id"], "and the hidden rule says", after[3])


if __name__ == "__main__":
    main()
