"""Frozen config dataclasses from plain values, and what a command line needs to know of them."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import textwrap
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from monge.errors import ConfigError, UnknownNameError, nearest

ConfigT = TypeVar("ConfigT")


def build_config(cls: type[ConfigT], values: Mapping[str, Any]) -> ConfigT:
    """A config from values that may be text; unknown names and wrong values are errors.

    Raises:
        UnknownNameError: a name is no option. ConfigError: a value has the wrong type or is out of range.
    """
    names = option_names(cls)
    for name in values:
        if name not in names:
            raise UnknownNameError(f"no option {name!r} in {cls.__name__}{nearest(name, names)}")
    try:
        return _adapter(cls).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("_", "-") if first["loc"] else "?"
        raise ConfigError(f"--{option}: {first['msg'].lower()}; got {first['input']!r}") from error


@cache
def _adapter(cls: type[ConfigT]) -> TypeAdapter[ConfigT]:
    return TypeAdapter(cls)  # a millisecond to make: a search builds thousands of configs


def option_names(cls: type) -> list[str]:
    """Names of a config's options."""
    return [field.name for field in dataclasses.fields(cls)]  # pyright: ignore[reportArgumentType]


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a config, for help texts."""

    name: str
    type: Any
    default: Any
    help: str


@cache
def describe_options(cls: type) -> tuple[Option, ...]:
    """Options with type, default and the text that stands under each field."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            texts |= _field_texts(base)
    hints = get_type_hints(cls)
    fields = dataclasses.fields(cls)  # pyright: ignore[reportArgumentType]
    return tuple(Option(f.name, hints[f.name], f.default, texts.get(f.name, "")) for f in fields)


def defaults_of(cls: type) -> dict[str, Any]:
    """Option -> its default, of those that have one."""
    return {option.name: option.default for option in describe_options(cls) if option.default is not dataclasses.MISSING}


def _field_texts(cls: type) -> dict[str, str]:
    """Field name -> the string literal that follows it in the source."""
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    except OSError:
        return {}
    texts: dict[str, str] = {}
    statements = getattr(body, "body", [])
    for field, text in itertools.pairwise(statements):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            value = getattr(text.value, "value", None)
            if isinstance(value, str):
                texts[field.target.id] = " ".join(value.split())
    return texts
