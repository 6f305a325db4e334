"""From a log to a split."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from monge.data import PROTOCOLS, Interactions, Queries, Split, add_noise, filters, load
from monge.errors import ConfigError, DataError, UnknownNameError, nearest

OF_EVERY_PROTOCOL = ("known_users_only", "noise_ratio", "noise_seed")
"""Options of a split that every protocol takes beside its own."""


def open_log(
    data: Any,
    *,
    rating_at_least: float | None = None,
    k_core: int | None = None,
    keep: str | None = None,
    min_length: int | None = None,
    echo: Callable[[str], Any] | None = None,
    **read_options: Any,
) -> Interactions:
    """Read a log and filter it, in this order: ratings, duplicates, k-core, sequence length.

    Args:
        data: a known data set's name, a file, an address, or a data frame.
        rating_at_least: keep interactions with at least this rating.
        keep: of repeated (user, item) pairs keep the "first" or the "last" ("all": keep them all).
        k_core: keep users and items with at least so many interactions, repeatedly.
        min_length: keep users with at least so many interactions.
        echo: gets a line that says which columns were taken.
        read_options: column names and format, see `monge.data.read`.
    """
    log = load(data, echo=echo, **read_options)
    if rating_at_least is not None:
        log = filters.at_least(log, rating_at_least)
    if keep is not None:
        log = filters.deduplicate(log, keep)  # pyright: ignore[reportArgumentType] (checked there)
    if k_core is not None:
        log = filters.k_core(log, k_core, k_core)
    return log if min_length is None else filters.min_length(log, min_length)


def make_split(log: Interactions, protocol: str, options: Mapping[str, Any] | None = None) -> Split:
    """Apply a protocol by its name.

    Args:
        log: the interactions.
        protocol: a name in `monge.data.PROTOCOLS`.
        options: its own, and those that every protocol takes: `noise_ratio` and `noise_seed` add pairs that nobody observed to the
            training part (see `monge.data.add_noise`), `known_users_only` leaves out queries of users without a training row.

    Raises:
        UnknownNameError: no such protocol or option. ConfigError: a value is wrong. DataError: a part would be empty.
    """
    if protocol not in PROTOCOLS:
        raise UnknownNameError(f"no protocol {protocol!r}{nearest(protocol, PROTOCOLS)}")
    options = dict(options or {})
    known = [*list(inspect.signature(PROTOCOLS[protocol]).parameters)[1:], *OF_EVERY_PROTOCOL]  # the first is the log
    for name in options:
        if name not in known:
            raise UnknownNameError(f"protocol {protocol} has no option {name!r}{nearest(name, known)}")
    only_known = bool(options.pop("known_users_only", False))
    noise = {"ratio": options.pop("noise_ratio", 0), "seed": options.pop("noise_seed", 0)}
    try:
        split = PROTOCOLS[protocol](log, **options)
    except TypeError as error:
        given = ", ".join(f"{name} = {value!r}" for name, value in options.items())
        raise ConfigError(f"protocol {protocol}: an option has a value of the wrong kind ({given})") from error
    split = add_noise(split, **noise)
    return _known_users_only(split) if only_known else split


def _known_users_only(split: Split) -> Split:
    """The split without queries of users who have no training interaction (or fold-in history), counted in its notes."""
    known = split.train.sequences.lengths > 0
    if split.fold_in is not None:
        known = known | (split.fold_in.sequences.lengths > 0)
    parts: dict[str, Queries] = {}
    notes = list(split.notes)
    for name, queries in (("validation", split.validation), ("test", split.test)):
        rows = np.flatnonzero(known[queries.user] & (queries.history.lengths > 0))
        if not len(rows):
            raise DataError(f"known_users_only leaves no {name} query: none of its users has a training interaction")
        notes.append(f"{name}: {len(queries) - len(rows)} queries of users without training interactions left out (known_users_only)")
        parts[name] = queries.take(rows)
    return replace(split, **parts, options={**split.options, "known_users_only": True}, notes=notes)
