"""Full ranking in blocks of queries: a matrix product, a mask, a count. Memory is bounded by the block, never users x items.

The rank of a held-out item is 1 + the number of eligible items that score higher, plus the tied ones that a random order
(drawn per query from a fixed seed) puts before it. Items of the history are not eligible, nor those of another domain than the one
that a query asks for. Where queries bring negatives of their own, the rank among these is taken from the same scores; there every tie
counts against the held-out item.

Axes: B queries of a block, M items, K list length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from monge.data import Queries, Ragged
from monge.errors import QueryError
from monge.evaluation.metrics import Ints
from monge.models.contract import InnerProduct, Recommender

UNRANKED = np.iinfo(np.int64).max // 2
"""Stands in a rank table where a query has no further held-out item: beyond every cut-off."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """Where the held-out items came out."""

    ranks: Ints
    """(Q, G) 1-based ranks in the order of each query's truth; UNRANKED beyond a query's own."""
    n_truth: Ints
    """(Q,) held-out items of each query."""
    n_recommended: dict[int, int]
    """Cut-off -> number of distinct items that stand in somebody's first k (only the cut-offs asked for)."""
    sampled: Ints | None = None
    """(Q, G) the ranks among the query's own negatives instead, every tie lost; None: the queries have none."""


def block_size_for(n_items: int, budget_bytes: int = 256 * 2**20) -> int:
    """Queries in a block such that three float32 tables of block x items stay within the budget; 1 to 1024."""
    return max(1, min(1024, budget_bytes // (3 * 4 * max(n_items, 1))))


def score_blocks(
    model: Recommender, queries: Queries, *, block: int | None = None, progress: Callable[[int], Any] | None = None
) -> Iterator[tuple[Ints, Tensor]]:
    """(query numbers, scores (B, M)) block by block; seen items, non-candidates and items of other domains than the one asked for are
    at -inf. The scores' memory is reused.

    Queries are visited by the length of their history, so that sequence models read little padding.

    Raises:
        QueryError: a score is NaN.
    """
    module = model if isinstance(model, nn.Module) else None
    device = next(iter([*module.parameters(), *module.buffers()]), torch.empty(0)).device if module else torch.device("cpu")
    was_training = bool(module and module.training)
    if module:
        module.eval()
    try:
        with torch.inference_mode():
            block = block or block_size_for(queries.n_items)
            table = model.item_vectors() if isinstance(model, InnerProduct) else None
            buffer = torch.empty(min(block, len(queries)), queries.n_items, device=device) if table else None
            left_out = None
            if queries.eligible is not None:
                left_out = torch.ones(queries.n_items, dtype=torch.bool, device=device)
                left_out[torch.from_numpy(queries.eligible).to(device)] = False
            order = np.argsort(queries.history.lengths, kind="stable")
            domain_of_item = None if queries.domain_of_item is None else torch.from_numpy(queries.domain_of_item).to(device)
            for start in range(0, len(order), block):
                rows = order[start : start + block]
                part = queries.take(rows)
                batch = part.batch(device)
                if table is not None and buffer is not None and isinstance(model, InnerProduct):
                    vectors, bias = table
                    scores = buffer[: len(rows)]
                    query_vectors = model.query_vectors(batch)
                    if bias is None:
                        torch.mm(query_vectors, vectors.T, out=scores)
                    else:
                        torch.addmm(bias, query_vectors, vectors.T, out=scores)
                else:
                    scores = model.scores(batch).float().clone()
                if bool(scores.sum().isnan()) and bool(scores.isnan().any()):
                    raise QueryError("the model's scores are not numbers (NaN): its training diverged; try a smaller --learning-rate")
                scores[batch.row_of_item, batch.items] = -torch.inf
                if batch.domain is not None:
                    assert domain_of_item is not None
                    scores.masked_fill_(domain_of_item != batch.domain[:, None], -torch.inf)
                if left_out is not None:
                    scores.masked_fill_(left_out, -torch.inf)
                if part.candidates is not None:
                    allowed = torch.zeros_like(scores, dtype=torch.bool)
                    at = torch.from_numpy(part.candidates.row_of_value).to(device), torch.from_numpy(part.candidates.values).to(device)
                    allowed[at] = True
                    scores.masked_fill_(~allowed, -torch.inf)
                yield rows, scores
                if progress:
                    progress(len(rows))
    finally:
        if module:
            module.train(was_training)


class TieOrder:
    """A random order of the items for each query, from a fixed seed: one random permutation, begun at a place of the query's own.

    Keys are slices of that permutation written twice, so they cost a copy and no arithmetic.
    """

    def __init__(self, n_items: int, seed: int, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(seed)
        permutation = torch.randperm(n_items, generator=generator, dtype=torch.int32)
        self.n_items, self.seed = n_items, seed
        self.twice = torch.cat([permutation, permutation]).to(device)

    def _start(self, queries: Ints) -> Tensor:
        mixed = (queries.astype(np.uint64) + np.uint64(self.seed)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9)
        return torch.from_numpy(((mixed >> np.uint64(33)) % np.uint64(self.n_items)).astype(np.int64)).to(self.twice.device)

    def keys(self, queries: Ints) -> Tensor:
        """(R,) query numbers -> (R, M) int32: items of equal score stand by rising key."""
        return self.twice.unfold(0, self.n_items, 1)[self._start(queries)]

    def keys_of(self, queries: Ints, items: Tensor) -> Tensor:
        """(R,) query numbers, (R,) items -> (R, 1) int32, the keys of those items."""
        return self.twice[self._start(queries) + items][:, None]


def rank_truth(
    model: Recommender,
    queries: Queries,
    *,
    list_cutoffs: tuple[int, ...] = (),
    seed: int = 0,
    block: int | None = None,
    progress: Callable[[int], Any] | None = None,
) -> Ranking:
    """Rank every query's held-out items among all eligible items.

    Args:
        model: anything that scores.
        queries: each with at least one held-out item, none of them in its history.
        list_cutoffs: lengths of recommendation lists whose distinct items are counted (for coverage).
        seed: of the random order of ties.
        block: queries in a block; by default what fits 256 MiB.
        progress: called with the number of queries done.
    """
    lengths = queries.truth.lengths
    if len(queries) and lengths.min() == 0:
        raise ValueError("every query needs a held-out item to be ranked")
    ranks = np.full((len(queries), int(lengths.max(initial=0))), UNRANKED, dtype=np.int64)
    longest = min(max(list_cutoffs, default=0), queries.n_items)
    sampled = None if queries.negatives is None else np.full_like(ranks, UNRANKED)
    recommended = {k: np.zeros(queries.n_items, dtype=bool) for k in list_cutoffs}
    higher, ties = None, None
    for rows, scores in score_blocks(model, queries, block=block, progress=progress):
        if higher is None or ties is None:
            higher, ties = torch.empty_like(scores), TieOrder(queries.n_items, seed, scores.device)
        if sampled is not None:
            sampled[rows] = _sampled_ranks(scores, queries.take(rows), ranks.shape[1])
        _rank_block(ranks, rows, scores, queries, higher[: len(rows)], ties)
        if longest:
            top = top_items(scores, rows, longest, ties).cpu().numpy()
            for k, marks in recommended.items():
                found = top[:, :k]
                marks[found[found >= 0]] = True
    return Ranking(ranks, lengths, {k: int(marks.sum()) for k, marks in recommended.items()}, sampled)


def _sampled_ranks(scores: Tensor, queries: Queries, width: int) -> Ints:
    """(B, width) 1 + how many of a query's negatives score as high as the held-out item or higher."""
    assert queries.negatives is not None

    def padded(rows: Ragged, n: int) -> tuple[Tensor, Tensor]:
        place = torch.arange(n)[None]
        length = torch.from_numpy(rows.lengths)[:, None]
        start = torch.from_numpy(rows.offsets[:-1])[:, None]
        values = torch.from_numpy(rows.values) if len(rows.values) else torch.zeros(1, dtype=torch.int64)
        return values[(start + place).clamp(max=len(values) - 1)].to(scores.device), (place < length).to(scores.device)

    negatives_BN, drawn_BN = padded(queries.negatives, int(queries.negatives.lengths.max(initial=0)))
    truth_BG, real_BG = padded(queries.truth, width)
    rivals_BN = scores.gather(1, negatives_BN)
    ranks = torch.full(truth_BG.shape, UNRANKED, dtype=torch.int64, device=scores.device)
    for place in range(width):
        at_target_B1 = scores.gather(1, truth_BG[:, place : place + 1])
        ranks[:, place] = 1 + ((rivals_BN >= at_target_B1) & drawn_BN).sum(1)
    return ranks.masked_fill(~real_BG, UNRANKED).cpu().numpy()


def _rank_block(ranks: Ints, rows: Ints, scores: Tensor, queries: Queries, higher: Tensor, ties: TieOrder) -> None:
    """Fill the ranks of one block; the loop runs over places in the truth, on rows that have so many."""
    truth = queries.truth.take(rows)
    by_size = np.argsort(-truth.lengths, kind="stable")  # rows with many held-out items first: those left are a prefix
    if len(by_size) and truth.lengths.max() > 1:
        scores = scores[torch.from_numpy(by_size).to(scores.device)]
        truth, rows = truth.take(by_size), rows[by_size]
    starts, lengths = truth.offsets[:-1], truth.lengths
    for place in range(int(lengths.max(initial=0))):
        n = int((lengths > place).sum())
        target = torch.from_numpy(truth.values[starts[:n] + place]).to(scores.device)
        at_target = scores[:n].gather(1, target[:, None])
        count = torch.gt(scores[:n], at_target, out=higher[:n]).sum(1)  # float sums are exact below 2^24 items
        tied = torch.ge(scores[:n], at_target, out=higher[:n]).sum(1) - count
        rank = count.long() + 1
        again = (tied > 1).nonzero().squeeze(1)
        for some in again.split(256):  # ties are rare but for counting models: a few rows at a time
            numbers = rows[some.cpu().numpy()]
            before = ties.keys(numbers) < ties.keys_of(numbers, target[some])
            rank[some] += ((scores[some] == at_target[some]) & before).sum(1)
        ranks[rows[:n], place] = rank.cpu().numpy()


def top_items(scores: Tensor, rows: Ints, k: int, ties: TieOrder) -> Tensor:
    """(B, k) the best items of each row, best first; ties in the same random order as the ranks; -1 where none is left."""
    k = min(k, scores.shape[1])
    values, items = scores.topk(k, dim=1)
    crossing = (torch.ge(scores, values[:, -1:]).sum(1) > k) | (values[:, 1:] == values[:, :-1]).any(1)
    for some in crossing.nonzero().squeeze(1).split(256):
        bits = (scores[some] + 0.0).view(torch.int32).long()  # + 0.0 turns -0 into 0; int32 bits rise with the score ...
        rising = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)  # ... once negative numbers are flipped
        items[some] = ((rising << 31) - ties.keys(rows[some.cpu().numpy()])).topk(k, dim=1).indices
        values[some] = scores[some].gather(1, items[some])
    return items.masked_fill(values == -torch.inf, -1)
