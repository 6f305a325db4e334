"""Tables in README.md and the docs, written from the stored records: `python -m benchmarks.pages`; with `--check` it only compares.

A table stands between `<!-- NAME:begin -->` and `<!-- NAME:end -->`. What is between is replaced; everything else is prose. A place
kept for a record that is still to come begins with "Not measured yet" and stays as it is.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import beauty_table, loss_study, reproduced, table
from monge.data.files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
BLOCKS: dict[str, Callable[[], str]] = {
    "speed": table.block,
    "beauty": beauty_table.overview,
    "beauty-published": beauty_table.published,
    "loss-study-settings": beauty_table.loss_settings,
    "loss-study": loss_study.block,
    "mmssl-views": lambda: table.listed("mmssl-views"),
    **{name: lambda name=name: reproduced.block(name) for name in reproduced.names()},
}
MARKER = re.compile(r"<!-- ([\w-]+):begin -->\n(.*?)<!-- \1:end -->", re.DOTALL)


def pages() -> list[Path]:
    """Every page that may hold a marker."""
    return [ROOT / "README.md", ROOT / "benchmarks" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def filled(text: str) -> str:
    """A page's text with the tables of today's records.

    Raises:
        ValueError: a marker that no record can fill.
    """

    def block(found: re.Match[str]) -> str:
        name = found[1]
        if name not in BLOCKS and found[2].strip().startswith("Not measured yet"):
            return found[0]
        if name not in BLOCKS:
            raise ValueError(f"there is no table {name!r}; there are: {', '.join(sorted(BLOCKS))}")
        return f"<!-- {name}:begin -->\n\n{BLOCKS[name]()}\n\n<!-- {name}:end -->"

    return MARKER.sub(block, text)


def stale() -> dict[Path, str]:
    """The pages that differ from the records, with the text they should have."""
    wanted = {page: filled(page.read_text()) for page in pages()}
    return {page: text for page, text in wanted.items() if text != page.read_text()}


def main() -> int:
    """Write or check; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description="Write the tables from the stored records.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page differs from the records")
    check = parser.parse_args().check
    differ = stale()
    for page, text in differ.items():
        if not check:
            write_atomically(page, text)
        print(f"{page.relative_to(ROOT)}: {'differs from the records; run python -m benchmarks.pages' if check else 'written'}")
    return int(check and bool(differ))


if __name__ == "__main__":
    sys.exit(main())
