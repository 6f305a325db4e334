"""What a text names: one file a domain, or one file (or data set)."""

from __future__ import annotations

import re
from pathlib import Path

from monge.errors import DataError

EXAMPLE = "books=books.csv,films=films.csv"


def files_of_domains(text: str) -> dict[str, str]:
    """The file of each domain where a text names one file a domain, spaces around `,` and `=` left out; else nothing.

    >>> files_of_domains("books=books.csv, films=films.csv"), files_of_domains("ratings.csv")
    ({'books': 'books.csv', 'films': 'films.csv'}, {})

    Raises:
        DataError: it is such a list, and one of its parts is wrong.
    """
    parts = [part.strip() for part in text.split(",")]
    if not _is_list(text, parts):
        return {}
    files: dict[str, str] = {}
    for part in parts:
        name, file = _named(part)
        if not part:
            raise DataError(f"{text}: nothing stands before or behind a comma; write {EXAMPLE}")
        if not name:
            raise DataError(f"{file or part} has no domain name before it; write NAME={file or 'FILE'}")
        if not file:
            raise DataError(f"domain {name!r} has no file behind it; write {name}=FILE")
        if name in files:
            raise DataError(
                f"domain {name!r} is named twice ({files[name]}, {file}); give each file a domain of its own, or join the files"
            )
        files[name] = file
    return files


def _is_list(text: str, parts: list[str]) -> bool:
    """Whether a text is meant as such a list: no file is called so, and a part has a name, or several parts look like files."""
    if "://" in text.partition("=")[0] or _exists(text):
        return False
    if _named(parts[0])[0]:
        return True
    return len(parts) > 1 and (any(_named(part)[0] for part in parts) or all(Path(part).suffix or _exists(part) for part in parts))


def _named(part: str) -> tuple[str, str]:
    """(domain, file); the domain is empty where there is none: what stands before `=` in a path is no name."""
    before, equals, behind = part.partition("=")
    if not equals or re.search(r"[/\\]", before):
        return "", part
    return before.strip(), behind.strip()


def _exists(path: str) -> bool:
    try:
        return bool(path) and Path(path).exists()
    except (OSError, ValueError):  # too long for a name, or with a zero byte
        return False
