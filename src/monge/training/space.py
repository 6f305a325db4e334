"""What a search may try: for each option a range or a few choices, written as one would type them.

| text                 | what is tried                                              |
|----------------------|------------------------------------------------------------|
| `0.1..0.5`           | any number from 0.1 to 0.5; of an option in whole numbers: any of them, both ends included |
| `1e-4..1e-2:log`     | the same, as likely between 0.0001 and 0.001 as between 0.001 and 0.01 |
| `0..0.5:0.1`         | 0, 0.1, 0.2, ... 0.5                                       |
| `32,64,128`          | one of these                                               |
"""

from __future__ import annotations

import itertools
import math
import random
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from monge.errors import ConfigError, UnknownNameError, nearest
from monge.options import describe_options

DRAWS = 200
"""How many settings of the other options may be refused before a value counts as one that fits with none."""
LARGEST_GRID = 100_000


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float
    whole: bool = False
    """Whole numbers only."""
    log: bool = False
    """Drawn evenly on a log scale."""
    step: float | None = None

    def __str__(self) -> str:
        return f"{self.low}..{self.high}" + (":log" if self.log else "" if self.step is None else f":{self.step}")

    @property
    def ends(self) -> tuple[float, ...]:
        """The two that a config must allow."""
        return self.low, self.high

    @property
    def points(self) -> tuple[float, ...] | None:
        """All of them, for a grid; None where they cannot be listed."""
        if self.step is None and not self.whole:
            return None
        return _in_steps(self.low, self.high, self.step or 1)


@dataclass(frozen=True)
class Choices:
    """A few values, without an order."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        return ",".join(str(value).lower() if isinstance(value, bool) else str(value) for value in self.values)

    @property
    def ends(self) -> tuple[Any, ...]:
        """All of them: a config must allow each."""
        return self.values

    @property
    def points(self) -> tuple[Any, ...]:
        """All of them, for a grid."""
        return self.values


Space = Mapping[str, Range | Choices]


def parse_space(given: Mapping[str, Any], configs: Iterable[type], *, allowed: Iterable[str]) -> dict[str, Range | Choices]:
    """A space from text (see the module) or lists of choices, by option.

    Args:
        given: option -> text or list, e.g. {"learning_rate": "1e-4..1e-2:log", "dim": [32, 64]}.
        configs: the dataclasses whose fields the options are.
        allowed: names of the options that may be searched.

    Raises:
        UnknownNameError: no such option. ConfigError: not a range or choices of the option's type, or nothing to choose from.
    """
    types_of = {option.name: option.type for config in configs for option in describe_options(config)}
    allowed = list(allowed)
    space: dict[str, Range | Choices] = {}
    for name, value in ((name.replace("-", "_"), value) for name, value in given.items()):
        if name not in types_of:
            raise UnknownNameError(f"--space: there is no option {name!r} to search{nearest(name, allowed)}")
        if name not in allowed:
            raise ConfigError(f"--space: {name} is nothing to search, it says how a trial is run; fix it with --{name.replace('_', '-')}")
        space[name] = _parse(name, value, types_of[name])
    return space


def _parse(name: str, value: Any, annotation: Any) -> Range | Choices:
    place = f"--space {name}={value}"
    kinds = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    if isinstance(value, str) and ".." in value and (int in kinds or float in kinds):
        return _range(place, value, whole=float not in kinds)
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list | tuple) else [value]
    adapter: TypeAdapter[Any] = TypeAdapter(annotation)  # pyright: ignore[reportArgumentType] (a type of any form)
    try:
        values = tuple(dict.fromkeys(adapter.validate_python(part.strip() if isinstance(part, str) else part) for part in parts))
    except ValidationError as error:
        raise ConfigError(f"{place}: {error.errors()[0]['msg'].lower()}; got {error.errors()[0]['input']!r}") from error
    if len(values) < 2:
        raise ConfigError(f"{place}: one value is nothing to search; fix it with --{name.replace('_', '-')}")
    return Choices(values)


def _range(place: str, text: str, *, whole: bool) -> Range:
    number = int if whole else float
    ends, _, how = text.partition(":")
    low_text, _, high_text = ends.partition("..")
    try:
        low, high = number(low_text), number(high_text)
        step = None if how in ("", "log") else number(how)
    except ValueError:
        kind = "whole numbers" if whole else "numbers"
        raise ConfigError(f"{place}: a range of {kind} is written low..high, low..high:log or low..high:step") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(f"{place}: the low end must be below the high end, and both finite")
    if how == "log" and low <= 0:
        raise ConfigError(f"{place}: a log scale needs a low end above 0")
    if step is not None and not 0 < step <= high - low:
        raise ConfigError(f"{place}: the step must be above 0 and at most {high - low:g}")
    if step is not None:
        high = _in_steps(low, high, step)[-1]
    return Range(low=low, high=high, whole=whole, log=how == "log", step=step)


def _in_steps(low: float, high: float, step: float) -> tuple[float, ...]:
    """
    >>> _in_steps(0.1, 0.45, 0.1), _in_steps(1, 3, 1)
    ((0.1, 0.2, 0.3, 0.4), (1, 2, 3))
    """
    return tuple(round(low + place * step, 12) for place in range(math.floor((high - low) / step + 1e-9) + 1))


def find_allowed(space: Space, build: Callable[[Mapping[str, Any]], Any]) -> dict[str, Any]:
    """One setting that a config allows, after making sure that each end and choice is allowed together with some of the others.

    Args:
        space: what shall be searched.
        build: makes the config of a setting; a `ConfigError` means that it is not allowed.

    Raises:
        ConfigError: a value is never allowed; the sentence is the config's own.
    """
    rng = random.Random(0)
    found: dict[str, Any] = {}
    for name, option in space.items():
        for value in option.ends:
            refused: ConfigError | None = None
            for _ in range(DRAWS):
                setting = {other: rng.choice(space[other].ends) for other in space} | {name: value}
                try:
                    build(setting)
                except ConfigError as error:
                    refused = refused or error
                else:
                    found = setting
                    break
            else:
                assert refused is not None
                raise refused
    return found


def nearest_setting(space: Space, values: Mapping[str, Any]) -> dict[str, Any]:
    """The setting of a space that is nearest to the given values: the first choice where a value is none of them, the low end for None.

    >>> space = {"dropout": Range(low=0.0, high=0.5, step=0.1), "dim": Choices((32, 64))}
    >>> nearest_setting(space, {"dropout": 0.72, "dim": 64})
    {'dropout': 0.5, 'dim': 64}
    """
    found: dict[str, Any] = {}
    for name, option in space.items():
        value = values[name]
        if isinstance(option, Choices):
            found[name] = value if value in option.values else option.values[0]
        elif not isinstance(value, int | float):
            found[name] = option.low
        else:
            inside = min(max(value, option.low), option.high)
            found[name] = min(option.points, key=lambda point: abs(point - inside)) if option.points else inside
    return found


def grid(space: Space) -> list[dict[str, Any]]:
    """Every setting of a space whose values can be listed.

    Raises:
        ConfigError: a range has no end of values, or there are too many settings to list.
    """
    points: list[tuple[Any, ...]] = []
    for name, option in space.items():
        if option.points is None:
            raise ConfigError(
                f"--sampler grid needs values that can be listed: write {name} as choices (a,b,c) or in steps (low..high:step)"
            )
        points.append(option.points)
    n_settings = math.prod(map(len, points))
    if n_settings > LARGEST_GRID:
        raise ConfigError(f"the grid has {n_settings:,} settings, more than the {LARGEST_GRID:,} that are listed; take --sampler random")
    return [dict(zip(space, setting, strict=True)) for setting in itertools.product(*points)]
