"""Write docs/models.md from the models themselves: their docstrings and their config dataclasses.

python docs/generate_models.py           writes the page
python docs/generate_models.py --check   says whether the page is up to date (exit code 1 if not)
"""

from __future__ import annotations

import sys
import typing
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from monge.models import MODELS, find_model
from monge.options import describe_options
from monge.training.loop import TrainingConfig

PAGE = Path(__file__).parent / "models.md"
FAMILIES = {
    "collaborative": "Collaborative models: who took what, without order",
    "multimodal": "Multi-modal models: what items are like, beside who took them",
    "sequential": "Sequential models: the order of a history",
    "crossdomain": "Cross-domain models: what one domain tells of another",
}
HEAD = """<!-- Made by docs/generate_models.py. Change the docstrings and config dataclasses instead. -->

# Models

Every model with what it is, where it comes from, where it differs from its source, and its options with their defaults. `monge models NAME`
shows the same in a terminal.
"""
TRAINING = """## Options of training

Every model that learns by gradient steps also takes these.
"""


def page() -> str:
    """The whole page."""
    names = list(MODELS)
    parts = [HEAD, table(("Model", "What it is", "Fitted", "Answers anybody with a history"), [overview(name) for name in names])]
    for family, title in FAMILIES.items():
        own = [name for name in names if MODELS[name].split(".")[2] == family]
        parts += [f"## {title}\n", *(section(name) for name in own)]
    unplaced = {MODELS[name].split(".")[2] for name in names} - set(FAMILIES)
    if unplaced:
        raise SystemExit(f"docs/generate_models.py: give the family {sorted(unplaced)[0]!r} a title in FAMILIES")
    return "\n".join([*parts, TRAINING, options(TrainingConfig)])


def docstring(name: str) -> tuple[str, str, str]:
    """The model's proper name, its one sentence, and everything after that."""
    text = (sys.modules[find_model(name).__module__].__doc__ or "").strip()
    first, _, rest = text.partition("\n\n")
    proper, _, sentence = " ".join(first.split()).partition(": ")
    return proper, sentence[:1].upper() + sentence[1:], rest.strip("\n")


def overview(name: str) -> tuple[str, str, str, str]:
    """One row of the table at the top."""
    cls = find_model(name)
    sentence = docstring(name)[1]
    fitted = "computed in one go" if hasattr(cls, "solve") else "by gradient steps"
    return f"[`{name}`](#{name})", sentence, fitted, "yes" if cls.answers_unknown_users else "no, training users only"


def section(name: str) -> str:
    """One model."""
    cls = find_model(name)
    proper, sentence, rest = docstring(name)
    vectors = "Its scores are inner products, so it has vectors of queries and items.\n" if hasattr(cls, "item_vectors") else ""
    parts = [f"### {proper} {{ #{name} }}\n", f"{sentence}\n", f"    monge train {name} DATA --out runs/{name}\n", f"{rest}\n", vectors]
    listed = options(cls.Config)
    return "\n".join([*(part for part in parts if part.strip()), listed])


def options(config: type) -> str:
    """Options with their defaults, or a sentence where there is none."""
    rows = [
        (f"`--{option.name.replace('_', '-')}`", kind(option.type), f"`{default(option.default)}`", option.help)
        for option in describe_options(config)
    ]
    return table(("Option", "Value", "Default", "What it does"), rows) if rows else "It has no options.\n"


def kind(annotation: Any) -> str:
    """A type as a reader of a command line understands it."""
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if get_origin(annotation) is typing.Union:
        return ", ".join(map(kind, get_args(annotation)))
    return {int: "whole number", float: "number", bool: "on or off (`--no-` in front of the name)", str: "text"}.get(
        annotation, str(annotation)
    )


def default(value: Any) -> str:
    """A default as one would type it."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def main() -> None:
    """Write the page, or compare it."""
    made = page()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(made)
    elif not PAGE.exists() or PAGE.read_text() != made:
        raise SystemExit("docs/models.md is not up to date: run python docs/generate_models.py")


if __name__ == "__main__":
    main()
