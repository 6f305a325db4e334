"""What is asked, held against what a split or a run is already: what differs is refused, not ignored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from monge.api.splitting import PUBLISHED, known_options, open_log, published_split
from monge.data import PROTOCOLS, Interactions, Queries, Split
from monge.errors import ConfigError, MongeError, RunError, UnknownNameError, nearest
from monge.training.run import RunDirectory

PREDEFINED = "predefined"
"""What a published split calls its protocol."""
NOT_RECORDED = {"known_users_only": False, "noise_ratio": 0, "noise_seed": 0}
"""Options of every protocol that a split does not record where they have these values."""
ANEW = "leave it out, or split the log anew with monge data split"
"""What to do about a split that is another than asked for."""
OF_DOMAINS = ("cross-domain", "released")
"""Protocols whose queries ask for one domain."""


def is_split(data: Any) -> bool:
    """Whether there is nothing left to split."""
    return isinstance(data, Split) or (isinstance(data, str | Path) and str(data).endswith(".safetensors"))


def check_protocol(what: str, made: Mapping[str, Any], protocol: str | None, options: Mapping[str, Any] | None, *, remedy: str) -> None:
    """Refuse a protocol or an option of one that was given although the split is there, and is another.

    Args:
        what: has the split.
        made: `name` and `options` of the split; where it is known what was `asked`, too.
        protocol, options: as given; None: not given.
        remedy: ends the sentence.

    Raises:
        UnknownNameError: no such protocol or option. ConfigError: one that differs.
    """
    then = PUBLISHED if made["name"] == PREDEFINED else made["name"]
    if protocol is not None:
        if protocol not in (*PROTOCOLS, PUBLISHED):
            raise UnknownNameError(f"no protocol {protocol!r}{nearest(protocol, [*PROTOCOLS, PUBLISHED])}")
        if protocol != then:
            raise ConfigError(f"{what} is split already, by --protocol {then}, not {protocol}; {remedy}")
    recorded = {**NOT_RECORDED, **made["options"]}
    asked: Mapping[str, Any] = made.get("asked", {})
    known = [*recorded, *asked, *(known_options(then) if then in (*PROTOCOLS, PUBLISHED) else ())]
    for name, value in (options or {}).items():
        if name not in known:
            raise UnknownNameError(f"{what} is split already, by {then}, which has no option {name!r}{nearest(name, dict.fromkeys(known))}")
        if name in asked and asked[name] == value:
            continue
        if name not in recorded:
            raise ConfigError(f"{what} is split already, and there is no record of its {name}; {remedy}")
        if recorded[name] != value:
            raise ConfigError(f"{what} is split already, with {name} = {recorded[name]}, not {value}; {remedy}")


def check_resumed(
    directory: RunDirectory,
    info: Mapping[str, Any],
    data: Any,
    name: str | None,
    protocol: str | None,
    protocol_options: Mapping[str, Any] | None,
    reading: Mapping[str, Any] | None,
) -> None:
    """Refuse data, a way to read them or a protocol that was given to a run which has others already.

    A log that is called as in the run's record is taken to be the same without being read; everything else is read and compared.

    Args:
        directory: of the run.
        info: its run.json.
        data, name, protocol, protocol_options: as in `train`; None: not given.
        reading: how data is read, as in `train`.

    Raises:
        RunError, ConfigError: naming what differs.
    """
    remedy = "resume with the same, or train anew with another --out"
    then = info["data"]
    given, recorded = dict(reading or {}), then.get("reading")
    if recorded is not None:
        for option, value in given.items():
            if recorded.get(option) != value:
                flag, before = f"--{option.replace('_', '-')}", recorded.get(option)
                began = f"without {flag}" if before is None else f"with {flag} {_shown(before)}, not {_shown(value)}"
                raise ConfigError(f"{directory.path} is a run on {then['name']} read {began}; {remedy}")
    by_name = isinstance(data, str | Path) and then["name"] in (name, str(data), Path(data).name if is_split(data) else None)
    trusted = by_name and not (given and recorded is None) and not (is_split(data) and Path(data).exists())
    if data is not None and not trusted:
        shown = name or (str(data) if isinstance(data, str | Path) else "other data")
        try:
            same = _same_data(directory, info, data, {**(recorded or {}), **given})
        except MongeError as error:
            raise RunError(f"{directory.path} is a run on {then['name']}, and {shown} cannot be compared with it: {error}") from error
        if not same:
            differs = f"another {then['name']} than the present one" if by_name else f"{then['name']}, not on {shown}"
            raise RunError(f"{directory.path} is a run on {differs}; {remedy}")
    check_protocol(str(directory.path), info["protocol"], protocol, protocol_options, remedy=remedy)


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _same_data(directory: RunDirectory, info: Mapping[str, Any], data: Any, reading: Mapping[str, Any]) -> bool:
    """Whether data holds what the run was made of: a split its split, a log its log."""
    if is_split(data):
        split, mine = data if isinstance(data, Split) else Split.load(data), directory.split()
        parts = ((split.validation, mine.validation), (split.test, mine.test))
        return split.train.fingerprint == mine.train.fingerprint and all(_same_queries(one, other) for one, other in parts)
    if info["protocol"]["name"] == PREDEFINED and isinstance(data, str | Path):
        options = {name: value for name, value in info["protocol"]["options"].items() if name in known_options(PUBLISHED)}
        return published_split(data, options, **reading).train.fingerprint == info["data"]["fingerprint"]
    log = data if isinstance(data, Interactions) else open_log(data, **reading)
    return log.fingerprint == info["data"]["fingerprint"]


def _same_queries(a: Queries, b: Queries) -> bool:
    pairs = ((a.user, b.user), (a.truth.values, b.truth.values), (a.history.values, b.history.values))
    return all(np.array_equal(one, other) for one, other in pairs)


def note_on_domains(model: str, cls: type, split: Split) -> str | None:
    """What to say where a model of domains learns from a split whose queries ask for none."""
    if not getattr(cls, "needs_domains", False) or split.protocol in OF_DOMAINS:
        return None
    protocol = PUBLISHED if split.protocol == PREDEFINED else split.protocol
    return (
        f"{model} is a model of domains, but --protocol is {protocol}, whose queries ask for no domain; "
        "use --protocol cross-domain to measure each domain by itself"
    )
