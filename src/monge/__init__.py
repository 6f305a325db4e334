"""Monge: top-N recommenders built on optimal transport and self-supervision.

>>> import monge
>>> log = monge.Interactions.from_columns(["a", "a", "a", "b", "b", "b"], ["x", "y", "z", "y", "x", "z"])
>>> run = monge.train("popular", log)
>>> [row["item_id"] for row in run.recommend(history=["x"], k=2)]
['y', 'z']
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monge.api import Run, Watch, load_run, make_split, train, tune
    from monge.data import Interactions, Queries, Split, Vocabulary, read
    from monge.errors import MongeError
    from monge.evaluation import evaluate
    from monge.models import find_model
    from monge.training.study import Study

_WHERE = {
    "Interactions": "monge.data",
    "MongeError": "monge.errors",
    "Queries": "monge.data",
    "Run": "monge.api",
    "Split": "monge.data",
    "Study": "monge.training.study",
    "Vocabulary": "monge.data",
    "Watch": "monge.api",
    "evaluate": "monge.evaluation",
    "find_model": "monge.models",
    "load_run": "monge.api",
    "make_split": "monge.api",
    "read": "monge.data",
    "train": "monge.api",
    "tune": "monge.api",
}

__all__ = [
    "Interactions",
    "MongeError",
    "Queries",
    "Run",
    "Split",
    "Study",
    "Vocabulary",
    "Watch",
    "evaluate",
    "find_model",
    "load_run",
    "make_split",
    "read",
    "train",
    "tune",
]


def __getattr__(name: str) -> Any:
    """Load a part of the API when it is first asked for: `import monge` itself stays fast."""
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'monge' has no attribute {name!r}")
