"""Every error that Monge raises for a user's input: one tree, one clear sentence each.

A sentence says what is wrong, where (file, column, row), what was seen and the likely fix.
`ValueError` is kept for wrong arguments to numerical functions; `assert` for our own bugs.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MongeError(Exception):
    """Root of the tree. The command line prints its sentence and exits with 2."""


class DataError(MongeError):
    """A log, a table or a split cannot be used as it is."""


class ConfigError(MongeError):
    """An option has an unknown name or a value out of range."""


class UnknownNameError(ConfigError):
    """No model, metric, data set or option has that name."""


class QueryError(MongeError):
    """A model cannot answer a query: an unknown user or item, or a history that it needs and lacks."""


class RunError(MongeError):
    """A run directory is missing, damaged, unfinished, in the way, or of a newer format."""


class MissingExtraError(MongeError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}, which is not installed; run: pip install 'monge[{extra}]'")


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: `; did you mean 'x'?` where one is near, else the whole list.

    >>> nearest("sasrek", ["sasrec", "stosa"])
    "; did you mean 'sasrec'?"
    """
    known = {key.lower(): key for key in sorted(known)}
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    return f"; did you mean {known[close[0]]!r}?" if close else f"; there are: {', '.join(known.values())}"
