"""From a log to a split."""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np

from monge.data import PROTOCOLS, Interactions, Queries, Split, add_noise, attach_modality, filters, load, load_split, predefined
from monge.data.modalities import parse_modality
from monge.errors import ConfigError, DataError, UnknownNameError, nearest

LEAVE_ONE_OUT = "leave-one-out"
"""The protocol where none is named."""
PUBLISHED = "published"
"""What stands for a protocol where the split came with the data."""
OF_EVERY_PROTOCOL = ("known_users_only", "noise_ratio", "noise_seed")
"""Options of a split that every protocol takes beside its own."""
WITHOUT_NOISE = ("cold-items", "cross-domain", "released")
"""Protocols whose splits `monge.data.add_noise` refuses."""
NOT_OF_PUBLISHED = ("rating_at_least", "k_core", "keep", "min_length", "domain_column")
"""Options of `open_log` that a published split does not take."""


def open_log(
    data: Any,
    *,
    rating_at_least: float | None = None,
    k_core: int | None = None,
    keep: str | None = None,
    min_length: int | None = None,
    modality: Sequence[str] = (),
    echo: Callable[[str], Any] | None = None,
    **read_options: Any,
) -> Interactions:
    """Read a log, join item content to it, and filter it, in this order: ratings, duplicates, k-core, sequence length.

    Args:
        data: a known data set's name, a file, an address, or a data frame.
        rating_at_least: keep interactions with at least this rating.
        keep: of repeated (user, item) pairs keep the "first" or the "last" ("all": keep them all).
        k_core: keep users and items with at least so many interactions, repeatedly.
        min_length: keep users with at least so many interactions.
        modality: `NAME=FILE[:ID_COLUMN]` each, see `monge.data.attach_modality`; known data sets have some of their own.
        echo: gets a line that says which columns were taken.
        read_options: column names and format, see `monge.data.read`.
    """
    log = _with_content(load(data, echo=echo, **read_options), modality, echo)
    if rating_at_least is not None:
        log = filters.at_least(log, rating_at_least)
    if keep is not None:
        log = filters.deduplicate(log, keep)  # pyright: ignore[reportArgumentType] (checked there)
    if k_core is not None:
        log = filters.k_core(log, k_core, k_core)
    return log if min_length is None else filters.min_length(log, min_length)


def published_split(
    data: Any,
    options: Mapping[str, Any] | None = None,
    *,
    modality: Sequence[str] = (),
    echo: Callable[[str], Any] | None = None,
    **read: Any,
) -> Split:
    """The split that was published with a known data set, or that a file's `split_column` marks.

    Args:
        data: as in `open_log`.
        options: `test_history` ("train" or "train+validation"), and those that every protocol takes.
        modality: as in `open_log`.
        echo: gets a line that says which columns were taken.
        read: column names and format, `split_column` among them.

    Raises:
        DataError: there is no such split. UnknownNameError: no such option. ConfigError: an option that would change it.
    """
    if not isinstance(data, str | Path):
        raise ConfigError("a published split comes with a data set's name or a file; data that was read already needs another protocol")
    for name in NOT_OF_PUBLISHED:
        if read.get(name) is not None:
            option = name.replace("_", "-")
            raise ConfigError(f"--{option} does not go with a published split, which is taken as it is; leave it out, or take a protocol")
    options = dict(options or {})
    known = known_options(PUBLISHED)
    for name, value in options.items():
        if name not in known:
            raise UnknownNameError(f"a published split has no option {name!r}{nearest(name, known)}")
        _check_kind(PUBLISHED, name, value)
    split = load_split(data, test_history=options.pop("test_history", "train+validation"), echo=echo, **read)
    train = _with_content(split.train, modality, echo)
    return _finished(replace(split, train=train), options)


def read_for(protocol: str, data: Any, options: Mapping[str, Any], **reading: Any) -> Interactions | Split:
    """The log that a protocol is to split; of "published", the split itself.

    Args:
        protocol: a name in `monge.data.PROTOCOLS`, or "published".
        data: as in `open_log`.
        options: of the protocol.
        reading: options of `open_log` or of `published_split`.
    """
    return published_split(data, options, **reading) if protocol == PUBLISHED else open_log(data, **reading)


def _with_content(log: Interactions, modality: Sequence[str], echo: Callable[[str], Any] | None) -> Interactions:
    for name, source, id_column in [parse_modality(text) for text in modality]:
        log = attach_modality(log, name, source, id_column=id_column)
        made = log.modalities[name]
        if echo is not None:
            lacking = f", {made.n_missing:,} of {log.n_items:,} items without" if made.n_missing else ""
            echo(f"modality {name}: {source}, {made.width:,} {'numbers' if made.active is None else 'attributes'}{lacking}")
    return log


def make_split(log: Any, protocol: str, options: Mapping[str, Any] | None = None) -> Split:
    """Apply a protocol by its name.

    Args:
        log: the interactions, or what they can be read from: a known data set's name, a file, one file a domain, a data frame.
        protocol: a name in `monge.data.PROTOCOLS`, or "published" for what came with a known data set.
        options: its own, and those that every protocol takes: `noise_ratio` and `noise_seed` add pairs that nobody observed to the
            training part (see `monge.data.add_noise`), `known_users_only` leaves out queries of users without a training row.

    Raises:
        UnknownNameError: no such protocol or option. ConfigError: a value is wrong. DataError: a part would be empty.
    """
    if isinstance(log, Split) or (isinstance(log, str | Path) and str(log).endswith(".safetensors")):
        raise ConfigError("this is a split already: train on it as it is, or make another one of the log that it came from")
    if protocol == PUBLISHED:
        return published_split(log, options)
    if protocol not in PROTOCOLS:
        raise UnknownNameError(f"no protocol {protocol!r}{nearest(protocol, PROTOCOLS)}")
    options, known = dict(options or {}), known_options(protocol)
    for name, value in options.items():
        if name not in known and not (name in OF_EVERY_PROTOCOL and protocol in WITHOUT_NOISE):  # add_noise says why
            raise UnknownNameError(f"protocol {protocol} has no option {name!r}{nearest(name, known)}")
        _check_kind(protocol, name, value)
    common = {name: options.pop(name) for name in OF_EVERY_PROTOCOL if name in options}
    return _finished(PROTOCOLS[protocol](log if isinstance(log, Interactions) else load(log), **options), common)


def _function(protocol: str) -> Callable[..., Split]:
    return predefined if protocol == PUBLISHED else PROTOCOLS[protocol]


def known_options(protocol: str) -> list[str]:
    """Names of the options that a protocol, or a published split, can be asked for."""
    parameters = inspect.signature(_function(protocol)).parameters.values()
    own = [parameter.name for parameter in parameters if parameter.kind == parameter.KEYWORD_ONLY]
    common = [name for name in OF_EVERY_PROTOCOL if protocol not in WITHOUT_NOISE or not name.startswith("noise_")]
    return [*own, *common]


def _check_kind(protocol: str, name: str, value: Any) -> None:
    """Refuse a value of another kind than the option's: a number, a whole number, true or false.

    Raises:
        ConfigError: naming the option and the kind.
    """
    if name.startswith("noise_"):
        return  # add_noise checks these
    annotation = bool if name == "known_users_only" else get_type_hints(_function(protocol))[name]
    kinds = get_args(annotation) or (annotation,)
    if value is None and type(None) in kinds:
        return
    if bool in kinds:
        kind, fits = "true or false", isinstance(value, bool)
    elif float in kinds:
        kind, fits = "a number", isinstance(value, numbers.Real) and not isinstance(value, bool)
    elif int in kinds:
        kind, fits = "a whole number", isinstance(value, numbers.Integral) and not isinstance(value, bool)
    else:
        return  # a choice, which the protocol checks
    if name == "seed" and isinstance(value, int) and value < 0:
        kind, fits = "a whole number of at least 0", False
    if not fits:
        raise ConfigError(f"protocol {protocol}: {name} must be {kind}; got {value!r}")


def _finished(split: Split, options: Mapping[str, Any]) -> Split:
    """What every protocol's split can have done to it."""
    split = add_noise(split, ratio=options.get("noise_ratio", 0), seed=options.get("noise_seed", 0))
    return _known_users_only(split) if options.get("known_users_only", False) else split


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
