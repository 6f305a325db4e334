"""The protocol for logs whose items have domains: users go to the parts, and each domain's latest item is to be foretold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from monge.data.domains import Domains, sequence_lengths
from monge.data.examples import history_lengths, keep_values, last_items, without_own_history
from monge.data.interactions import Interactions, ObjectArray
from monge.data.leaks import check_leaks
from monge.data.queries import Queries
from monge.data.ragged import IntArray, Ragged
from monge.data.split import Split
from monge.errors import ConfigError, DataError

BoolArray = npt.NDArray[np.bool_]
SHORT = 0.8
"""Share of the sequences whose mean length is the bound of the long-tailed ones."""


def cross_domain(
    log: Interactions,
    *,
    validation: float = 0.1,
    test: float = 0.1,
    cold_start: float = 0.2,
    n_negatives: int = 999,
    overlap: float = 1.0,
    density: float = 1.0,
    seed: int = 0,
) -> Split:
    """Users are split; each domain of a held-out user is one query, whose truth is the user's latest item there.

    A query's history holds the earlier items of its domain and what the other domains have from before the truth; see
    `monge.data.examples`. Training users' rows train, and their examples, made in the same way, are `train.examples`. The truth is ranked
    among all items of its domain, and for the metrics `sampled_...` among seeded negatives that all models share. A run on more than two
    domains has a query for each of a user's domains.

    Groups: `all`, `long-tailed` (sequences of at most the mean length of the shorter 80 % of those longer than 2, with the truth) and
    `cold-start` (nothing known in the domain, something in another); the label is the domain.

    Args:
        log: interactions whose items have domains; without times the order of a user's rows is the time order.
        validation, test: shares of the users.
        cold_start: share of the held-out queries with both histories whose history in their own domain is taken away.
        n_negatives: per query, items of the domain that the user never took; 0: no sampled ranking.
        overlap: share of the training users with several domains that is kept (the others go).
        density: share of the input items that is kept, in all parts; at least one of each history; truths stay.
        seed: of all drawings.

    Raises:
        DataError: the items are of one domain, or a part would be empty.
    """
    for name, share in (("validation", validation), ("test", test)):
        if not 0 < share < 1:
            raise ConfigError(f"{name} must lie between 0 and 1; got {share}")
    _check_shares(cold_start=cold_start)
    check_thinning(overlap, density)
    if validation + test >= 1:
        raise ConfigError(f"validation and test must leave something to train; got {validation} + {test}")
    if n_negatives < 0:
        raise ConfigError(f"n_negatives must be at least 0; got {n_negatives}")
    domains = Domains.of(log.item_columns)
    domains.require_several("the cross-domain protocol")
    notes: list[str] = []
    lengths = sequence_lengths(log, domains)  # (users, domains)
    n_overlapping = int(((lengths > 0).sum(1) > 1).sum())
    if not n_overlapping:
        notes.append("no user has items of two domains: nothing can be carried over from one to another")
    found = last_items(log, domains)
    input_lengths = np.bincount(found.example_of_input, minlength=len(found.user)).astype(np.int64)
    queries = Queries(
        n_items=log.n_items,
        user=found.user,
        history=Ragged.from_lengths(log.item[found.input_row], input_lengths),
        truth=Ragged.from_lengths(log.item[found.target_row], np.ones(len(found.user), dtype=np.int64)),
        domain=found.domain,
        domain_of_item=domains.of_item,
        groups=groups_of(lengths[found.user, found.domain], found.domain, domains, [long_tail_bound(some) for some in lengths.T]),
    ).take(np.flatnonzero(input_lengths))
    if n_overlapping:
        notes += _told_of_nothing_before(log, queries, domains)
    if len(queries) < len(found.user):
        notes.append(f"{len(found.user) - len(queries):,} first items with nothing known before them are no example")
    part = _parts(np.unique(queries.user), log.n_users, validation, test, seed)
    parts = {
        name: queries.take(np.flatnonzero(part[queries.user] == number)) for number, name in enumerate(("train", "validation", "test"))
    }
    for name, some in parts.items():
        if not len(some):
            raise DataError(
                f"cross-domain: {name} would be empty: only {len(np.unique(queries.user)):,} users have an example; raise its share"
            )
    taken = Ragged.from_lengths(log.item, log.sequences.lengths)
    for number, name in ((1, "validation"), (2, "test")):
        parts[name] = made_cold(parts[name], domains, share=cold_start, seed=(seed, number))
        if n_negatives:
            pool = np.arange(log.n_items, dtype=np.int64)
            parts[name], said = with_negatives(parts[name], taken, pool, domains, n=n_negatives, seed=(seed, 10 + number), part=name)
            notes += said
    train = replace(log.select(part[log.user] == 0), examples=replace(parts["train"], groups={}))
    split = Split(
        train=train,
        validation=parts["validation"],
        test=parts["test"],
        protocol="cross-domain",
        options={
            "validation": validation,
            "test": test,
            "cold_start": cold_start,
            "n_negatives": n_negatives,
            "overlap": overlap,
            "density": density,
            "seed": seed,
        },
        histories=log.sequences,
    )
    split = thinned(split, overlap=overlap, density=density, seed=seed)
    fold_in = known_of_every_query(log, split.validation, split.test)
    return replace(split, fold_in=fold_in, notes=(*notes, *census(split, domains), *check_leaks(split)))


def long_tail_bound(lengths: IntArray) -> int:
    """The mean length of the shorter 80 % of the sequences longer than 2, rounded down; 0 where there are none.

    Source: the code of i2VAE's authors; lengths are with the truth.
    """
    longer = np.sort(lengths[lengths > 2])
    shorter = longer[: max(1, int(len(longer) * SHORT))]
    return int(shorter.mean()) if len(longer) else 0


def groups_of(length: IntArray, domain: IntArray, domains: Domains, bounds: Sequence[int]) -> dict[str, ObjectArray]:
    """The labels `all` and `long-tailed` of queries; `made_cold` adds `cold-start`.

    Args:
        length: (Q,) items of a query's user in its domain, with the truth.
        domain: (Q,) what the queries ask for.
        domains: their names are the labels.
        bounds: of each domain, the length up to which a sequence is long-tailed.
    """
    name = np.array([*domains.names, None], dtype=object)[:-1][domain]
    return {"all": name, "long-tailed": labelled(name, length <= np.asarray(bounds, dtype=np.int64)[domain])}


def labelled(name: ObjectArray, chosen: BoolArray, otherwise: ObjectArray | None = None) -> ObjectArray:
    """(Q,) the names of the chosen queries, elsewhere what they had, or None."""
    labels: ObjectArray = np.full(len(name), None, dtype=object) if otherwise is None else otherwise.copy()
    labels[chosen] = name[chosen]
    return labels


def made_cold(queries: Queries, domains: Domains, *, share: float, seed: tuple[int, ...]) -> Queries:
    """Take the own domain's history from a share of the queries that have both, and mark all queries that have the other's alone."""
    rng = np.random.default_rng(seed)
    own, other = history_lengths(queries)
    both = np.flatnonzero((own > 0) & (other > 0))
    chosen = np.zeros(len(queries), dtype=bool)
    chosen[rng.permutation(both)[: int(np.floor(share * len(both) + 0.5))]] = True
    queries = replace(queries, history=without_own_history(queries, chosen))
    own, other = history_lengths(queries)
    cold = (own == 0) & (other > 0)
    name = queries.groups["all"]
    groups = {**queries.groups, "cold-start": labelled(name, cold)}
    groups["long-tailed"] = labelled(name, cold, groups["long-tailed"])
    return replace(queries, groups=groups)


def with_negatives(
    queries: Queries, taken: Ragged, pool: IntArray, domains: Domains, *, n: int, seed: tuple[int, ...], part: str
) -> tuple[Queries, list[str]]:
    """Give each query n distinct items of its domain that its user never took, uniformly drawn from a pool.

    Args:
        queries: whose domain decides.
        taken: (n_users rows) all that a user ever took.
        pool: items that may be drawn.
        domains: of the items.
        n: how many; where fewer are left, all of them, and a note says so.
        seed: of the drawing; it does not depend on a model.
        part: for the note.
    """
    assert queries.domain is not None
    rng = np.random.default_rng(seed)
    pools = [pool[domains.of_item[pool] == number] for number in range(len(domains))]
    drawn: list[IntArray] = []
    free = np.ones(queries.n_items, dtype=bool)
    for user, domain, truth in zip(queries.user.tolist(), queries.domain.tolist(), queries.truth.values.tolist(), strict=True):
        mine = taken[user]
        free[mine], free[truth] = False, False
        some = pools[domain]
        few = rng.choice(some, size=min(len(some), n + len(mine) + 1), replace=False)
        drawn.append(few[free[few]][:n])
        free[mine], free[truth] = True, True
    negatives = Ragged.from_lists(drawn)  # pyright: ignore[reportArgumentType] (arrays are sequences)
    short = int((negatives.lengths < n).sum())
    notes: list[str] = []
    if short:
        fewest = int(negatives.lengths.min())
        notes.append(
            f"{part}: {short:,} of {len(queries):,} queries have fewer than the {n} negatives asked for (at least {fewest}): "
            "their domain has no more items that the user did not take"
        )
    return replace(queries, negatives=negatives), notes


def thinned(split: Split, *, overlap: float, density: float, seed: int) -> Split:
    """A split with fewer overlapping training users, or fewer input items; see `cross_domain` for both."""
    examples = split.train.examples
    assert examples is not None
    if overlap < 1:
        rng = np.random.default_rng((seed, 20))
        domains = Domains.of(split.train.item_columns)
        several = np.flatnonzero((sequence_lengths(split.train, domains) > 0).sum(1) > 1)
        gone = np.zeros(split.train.n_users, dtype=bool)
        gone[rng.permutation(several)[int(np.floor(overlap * len(several) + 0.5)) :]] = True
        examples = examples.take(np.flatnonzero(~gone[examples.user]))
        split = replace(split, train=replace(split.train.select(~gone[split.train.user]), examples=examples))
    if density < 1:
        rng = np.random.default_rng((seed, 21))
        parts = {name: _sparser(some, density, rng) for name, some in (("validation", split.validation), ("test", split.test))}
        examples = _sparser(examples, density, rng)
        pairs = np.unique(np.concatenate([_pairs(examples, examples.history), _pairs(examples, examples.truth)]))
        kept = np.isin(split.train.user * np.int64(split.train.n_items) + split.train.item, pairs)
        split = replace(split, **parts, train=replace(split.train.select(kept), examples=examples))
    return split


def known_of_every_query(log: Interactions, *parts: Queries) -> Interactions:
    """The rows that stand in the history of all queries of their user.

    A model of users, which has one vector for all of a user's queries, may learn from these and from no others: what one query knows
    may be later than another's truth, or the history that was taken away to make another one cold-start.
    """
    n_items = np.int64(log.n_items)
    n_queries = np.bincount(np.concatenate([some.user for some in parts]), minlength=log.n_users)
    pairs: list[IntArray] = []
    for some in parts:
        once = np.unique(some.history.row_of_value * n_items + some.history.values)
        pairs.append(some.user[once // n_items] * n_items + once % n_items)
    pair, n = np.unique(np.concatenate(pairs), return_counts=True)
    return log.select(np.isin(log.user * n_items + log.item, pair[n == n_queries[pair // n_items]]))


def census(split: Split, domains: Domains) -> list[str]:
    """How many queries each part has in each domain, and how many of them know what; one line a part."""
    lines: list[str] = []
    for name, queries in (("train", split.train.examples), ("validation", split.validation), ("test", split.test)):
        if queries is None:
            continue
        own, other = history_lengths(queries)
        known = 2 * (own > 0) + (other > 0)
        told: list[str] = []
        for number, domain in enumerate(domains.names):
            neither, cold, alone, both = np.bincount(known[queries.domain == number], minlength=4).tolist()
            kinds = f"{both:,} with both histories, {alone:,} with their own domain's alone, {cold:,} cold-start"
            if neither:
                kinds += f", {neither:,} with no history at all"
            told.append(f"{both + alone + cold + neither:,} for {domain} ({kinds})")
        lines.append(f"{name}: {len(queries):,} queries: {'; '.join(told)}")
    return lines


def _told_of_nothing_before(log: Interactions, queries: Queries, domains: Domains) -> list[str]:
    """A note where some domain's queries know nothing of other domains, though users have items there: the order of the log is to blame."""
    assert queries.domain is not None
    _, other = history_lengths(queries)
    known = np.bincount(queries.domain[other > 0], minlength=len(domains))
    lacking = [name for name, n in zip(domains.names, known.tolist(), strict=True) if not n]
    if not lacking:
        return []
    names, it = " or ".join(lacking), lacking[0] if len(lacking) == 1 else "the domain"
    if log.time is None:
        return [
            f"no times: no query for {names} has a history in another domain, since every row of {it} stands before the user's others; "
            "give times (--time-column) or rows in the order in which they happened"
        ]
    return [
        f"no query for {names} has a history in another domain, since no user's row of another domain is earlier than the latest of {it}: "
        f"nothing can be carried over to {names}; are the times right?"
    ]


def _check_shares(**shares: float) -> None:
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ConfigError(f"{name} must lie between 0 and 1; got {share}")


def check_thinning(overlap: float, density: float) -> None:
    """Shares of `thinned` that make sense.

    Raises:
        ConfigError: they do not.
    """
    _check_shares(overlap=overlap)
    if not 0 < density <= 1:
        raise ConfigError(f"density must be greater than 0 and at most 1; got {density}")


def _parts(users: IntArray, n_users: int, validation: float, test: float, seed: int) -> IntArray:
    """(n_users,) 0 train, 1 validation, 2 test; users without an example train."""
    part = np.zeros(n_users, dtype=np.int64)
    shuffled = np.random.default_rng(seed).permutation(users)
    n_test, n_validation = (int(np.floor(share * len(users) + 0.5)) for share in (test, validation))
    part[shuffled[:n_test]] = 2
    part[shuffled[n_test : n_test + n_validation]] = 1
    return part


def _sparser(queries: Queries, density: float, rng: np.random.Generator) -> Queries:
    """Of the n items that a history has of the domain asked for ceil(density n), in their order; of those of the others likewise."""
    assert queries.domain is not None
    assert queries.domain_of_item is not None
    rows = queries.history
    side = 2 * rows.row_of_value + (queries.domain_of_item[rows.values] == queries.domain[rows.row_of_value])
    length = np.bincount(side, minlength=2 * len(rows))
    draw = rng.random(len(rows.values))
    order = np.lexsort((draw, side))
    rank = np.empty(len(draw), dtype=np.int64)
    rank[order] = np.arange(len(draw)) - (np.cumsum(length) - length)[side[order]]
    return replace(queries, history=keep_values(rows, rank < np.ceil(density * length - 1e-9)[side]))


def _pairs(queries: Queries, rows: Ragged) -> IntArray:
    return queries.user[rows.row_of_value] * np.int64(queries.n_items) + rows.values
