"""A run, and what one asks of it: recommendations, similar items, metrics; runs side by side."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from monge.data import Domains, Queries, Ragged, Vocabulary
from monge.data.domains import DOMAIN_COLUMN
from monge.data.files import write_atomically
from monge.data.interactions import ObjectArray
from monge.errors import ConfigError, DataError, QueryError, RunError
from monge.evaluation import DEFAULT_METRICS, Evaluation, compare_paired, evaluate, parse_metric, top_items
from monge.evaluation.metrics import SAMPLED
from monge.evaluation.ranking import TieOrder, score_blocks
from monge.models import MODELS, ItemVectors, Recommender, find_model, make_model
from monge.options import build_config
from monge.training.run import RunDirectory, disk_errors
from monge.training.watch import Watch

NOTHING = Ragged.from_lists([[]])
"""The truth of one live query."""
FEW = 10
"""How many items are answered where nobody says."""


@dataclass(frozen=True, eq=False)
class Run:
    """A trained model with what it needs to answer."""

    directory: RunDirectory | None
    model: Recommender
    users: Vocabulary
    items: Vocabulary
    item_columns: Mapping[str, ObjectArray]
    histories: Ragged
    info: Mapping[str, Any]
    result: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path | None:
        """Where the run lives, if it was kept."""
        return self.directory.path if self.directory else None

    def recommend(
        self,
        user: int | str | None = None,
        *,
        history: Sequence[int | str] | Mapping[str, Sequence[int | str]] | None = None,
        domain: str | None = None,
        k: int | None = None,
        exclude: Sequence[int | str] = (),
        include_seen: bool = False,
    ) -> list[dict[str, Any]]:
        """The best k items for one user, or for somebody with the given history (oldest first); without k 10, or all where there are fewer.

        Args:
            user: of the run's log. history: of anybody: items in the order in which they were taken, or those of each domain by its name
                (then items may be called as the domain's file called them).
            domain: only items of this domain, for runs whose items have domains; None: of all.
            k, exclude, include_seen: how many, items that must not come, whether seen items may.

        Returns:
            Rows of user_id, item_id, score, rank (and title where items have one), best first. What was seen is left out, so there may be
            fewer than k.

        Raises:
            QueryError: an unknown user or item, or neither a user nor a history. ConfigError: k is out of range. UnknownNameError: no such
                domain. DataError: a domain is asked for, and the run's items have none.
        """
        if (user is None) == (history is None):
            raise QueryError("give either a user or a history")
        domains = None if domain is None else self._domains("leave --domain out (in Python: domain=)")
        here = None if domains is None or domain is None else domains.of_item == domains.number(domain)
        n_items = len(self.items) if here is None else int(here.sum())
        k = min(FEW, n_items) if k is None else k
        if not 1 <= k <= n_items:
            of_what = "items" if domain is None else f"items of {domain}"
            raise ConfigError(f"--k must be between 1 and the number of {of_what}, {n_items}; got {k}")
        number = -1
        if user is not None:
            number = self.users.number(user)
            if number < 0:
                raise QueryError(f"user {user!r} is unknown to this run; give --history with items instead")
            known = self.histories[number]
        else:
            known = self._known(history or ())
        left_out = np.concatenate([self._item_numbers(exclude), known if not include_seen else known[:0]])
        query = Queries(
            n_items=len(self.items),
            user=np.array([number]),
            history=Ragged.from_lists([known.tolist()]),
            truth=NOTHING,
            domain=None if domains is None or domain is None else np.array([domains.number(domain)]),
            domain_of_item=None if domains is None else domains.of_item,
        )
        assert isinstance(self.model, nn.Module)
        self.model.eval()
        with torch.inference_mode():
            batch = query.batch(next(iter([*self.model.parameters(), *self.model.buffers()])).device)
            scores = self.model.scores(batch).float().clone()
            scores[0, torch.from_numpy(left_out)] = -torch.inf
            if here is not None:
                scores[0, torch.from_numpy(~here)] = -torch.inf
            best = top_items(scores, np.array([0]), k, TieOrder(len(self.items), 0, scores.device))[0].tolist()
        titles = self.item_columns.get("title")
        rows: list[dict[str, Any]] = []
        for rank, item in enumerate((item for item in best if item >= 0), start=1):
            row = {
                "user_id": None if number < 0 else self.users.ids.tolist()[number],
                "item_id": self.items.decode([item]).tolist()[0],
                "score": float(scores[0, item]),
                "rank": rank,
            }
            rows.append(row if titles is None else {**row, "title": titles[item]})
        return rows

    def similar(self, item: int | str, *, k: int | None = None, domain: str | None = None) -> list[dict[str, Any]]:
        """The k items most like one item: by the model's item vectors (cosine), else by how it scores them after that item alone.

        Args:
            item: of the run's log.
            k: how many; None: 10, or all others where there are fewer.
            domain: only items of this domain, for runs whose items have domains; None: of all.

        Raises:
            QueryError: an unknown item. ConfigError: k is out of range. UnknownNameError: no such domain. DataError: a domain is asked
                for, and the run's items have none.
        """
        domains = None if domain is None else self._domains("leave --domain out (in Python: domain=)")
        number = int(self._item_numbers([item])[0])
        listed = np.ones(len(self.items), dtype=bool)
        if domains is not None and domain is not None:
            listed = domains.of_item == domains.number(domain)
        listed[number] = False
        n_others = int(listed.sum())
        if not n_others:
            raise QueryError(f"there is no other item{'' if domain is None else f' of {domain}'} than {item}")
        k = min(FEW, n_others) if k is None else k
        if not 1 <= k <= n_others:
            of_what = "other items" if domain is None else f"other items of {domain}"
            raise ConfigError(f"--k must be between 1 and the number of {of_what}, {n_others}; got {k}")
        with torch.inference_mode():
            if isinstance(self.model, ItemVectors):
                vectors = torch.nn.functional.normalize(self.model.item_vectors()[0], dim=-1)
                scores = (vectors[number] @ vectors.T)[None].clone()
            else:
                one = Queries(
                    n_items=len(self.items),
                    user=np.array([-1]),
                    history=Ragged.from_lists([[number]]),
                    truth=NOTHING,
                    domain=None if domains is None or domain is None else np.array([domains.number(domain)]),
                    domain_of_item=None if domains is None else domains.of_item,
                )
                scores = self.model.scores(one.batch()).float().clone()
            scores[0, torch.from_numpy(~listed)] = -torch.inf
            best = top_items(scores, np.array([0]), k, TieOrder(len(self.items), 0, scores.device))[0].tolist()
        titles = self.item_columns.get("title")
        rows: list[dict[str, Any]] = []
        for rank, other in enumerate((other for other in best if other >= 0), start=1):
            row = {"item_id": self.items.decode([other]).tolist()[0], "score": float(scores[0, other]), "rank": rank}
            rows.append(row if titles is None else {**row, "title": titles[other]})
        return rows

    def evaluate(self, metrics: Sequence[str] = DEFAULT_METRICS, *, part: str = "test", watch: Watch | None = None) -> Evaluation:
        """Measure the model again on a part of the run's own split."""
        if self.directory is None:
            raise RunError("this run was not kept on disk, so it has no split to evaluate on; train with out=...")
        for metric in metrics:
            parse_metric(metric)
        queries = getattr(self.directory.split(), part)
        seed = int(self.info["training"]["seed"])
        progress = watch.evaluating(part, len(queries)) if watch else None
        return evaluate(self.model, queries, metrics, seed=seed, progress=progress)

    def write_per_query(self, evaluation: Evaluation, path: str | Path, *, part: str = "test") -> None:
        """Write one row a query to a Parquet file: user_id and one column a metric.

        Raises:
            RunError: the file cannot be written.
        """
        import polars as pl

        if self.directory is None:
            raise RunError("this run was not kept on disk, so it has no split")
        queries = getattr(self.directory.split(), part)
        users = self.users.decode(np.maximum(queries.user, 0)).tolist()
        frame = pl.DataFrame({"user_id": users, **evaluation.values})
        path = Path(path)
        if not path.parent.is_dir():
            raise RunError(f"{path.parent}: no such folder")
        with disk_errors(path):
            buffer = io.BytesIO()
            frame.write_parquet(buffer)
            write_atomically(path, buffer.getvalue())

    def _known(self, history: Sequence[int | str] | Mapping[str, Sequence[int | str]]) -> np.ndarray[Any, Any]:
        """The item numbers of a history, or of a history a domain, one domain after the other."""
        if not isinstance(history, Mapping):
            return self._item_numbers(history)
        domains = self._domains("give --history as items, without DOMAIN=")
        found: list[np.ndarray[Any, Any]] = []
        for name, ids in history.items():
            number = domains.number(name)
            full = [item if self.items.number(item) >= 0 else f"{name}:{item}" for item in ids]
            for item, tried in zip(ids, full, strict=True):
                other, equals, _ = str(item).partition("=")
                if equals and other in domains.names and self.items.number(tried) < 0:
                    raise QueryError(f"each domain takes its own --history: --history {name}=... --history {item}")
            numbers = self._item_numbers(full)
            for item, at in zip(ids, numbers.tolist(), strict=True):
                if domains.of_item[at] != number:
                    raise QueryError(f"item {item} is of domain {domains.names[domains.of_item[at]]!r}, not {name!r}")
            found.append(numbers)
        return np.concatenate(found) if found else np.empty(0, dtype=np.int64)

    def _domains(self, remedy: str) -> Domains:
        """The domains of the items; where they have none, an error that ends with the remedy."""
        if DOMAIN_COLUMN not in self.item_columns:
            raise DataError(f"{self.path or 'this run'} was trained on a log without domains; {remedy}")
        return Domains.of(self.item_columns)

    def _item_numbers(self, ids: Sequence[int | str]) -> np.ndarray[Any, Any]:
        numbers = self.items.encode(list(ids))
        if (numbers < 0).any():
            unknown = [str(identifier) for identifier, number in zip(ids, numbers, strict=True) if number < 0]
            some = f"item{'s' if len(unknown) > 1 else ''} {', '.join(unknown[:5])}"
            raise QueryError(f"unknown to this run: {some}{self._in_domains(unknown)}")
        return numbers

    def _in_domains(self, unknown: Sequence[str]) -> str:
        """A hint for ids that the run knows as DOMAIN:ID."""
        if DOMAIN_COLUMN not in self.item_columns:
            return ""
        names = Domains.of(self.item_columns).names
        there = [f"{name}:{item}" for item in unknown for name in names if self.items.number(f"{name}:{item}") >= 0]
        if not there:
            return ""
        more = "there are " if len(there) > 1 else "there is "
        return f"; {more}{' and '.join(there[: len(names)])} (in a history also --history {there[0].replace(':', '=', 1)})"


def load_run(path: str | Path, *, trusted: Collection[str] = ()) -> Run:
    """Open a run directory. Nothing in it is executed, and no module that it names is imported unless you say so.

    Args:
        path: the run directory.
        trusted: outside models ('package.module:Class') that may be imported if the run is of one of them.

    Raises:
        RunError: missing, damaged, newer than this Monge, without weights yet, or of an outside model that is not trusted.
    """
    directory = RunDirectory(path)
    info = directory.info()
    if not (directory.path / "weights.safetensors").exists():
        raise RunError(f"{path}: the run has no weights yet (state: {info.get('state')}); go on with --resume")
    users, items, columns = directory.vocabulary()
    histories = directory.histories()
    try:
        name = info["model"]["name"]
        if name not in MODELS and name not in trusted:
            raise RunError(
                f"{path} is of the outside model {name!r}, and opening it would import that module; "
                f"if you trust it: --trust {name} (in Python: load_run(..., trusted=[{name!r}]))"
            )
        cls = find_model(name)
        config = build_config(cls.Config, info["model"]["config"])
        int(info["training"]["seed"])
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path}: run.json is damaged ({type(error).__name__}: {error}); restore it from a copy or train again") from error
    if len(histories) != len(users):
        raise RunError(f"{path}: damaged: {len(histories)} histories for {len(users)} users")
    modalities = directory.split().train.modalities if getattr(cls, "uses_modalities", False) else {}
    model = make_model(cls, config, n_users=len(users), n_items=len(items), item_columns=columns, modalities=modalities)
    directory.load_weights(model)
    model.eval()
    assert isinstance(model, Recommender)
    result = directory.read_json("result.json") if (directory.path / "result.json").exists() else {}
    return Run(directory, model, users, items, columns, histories, info, result)


def compare_runs(
    paths: Sequence[str | Path], metrics: Sequence[str], *, trusted: Collection[str] = ()
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Evaluate runs on their common test queries, and test each against the first.

    Returns:
        Run -> metrics, and one row per (run, metric) with the paired difference, its interval and p-values.

    Raises:
        RunError: the runs were not tested on the same queries.
    """
    results: dict[str, Any] = {}
    tests: list[dict[str, Any]] = []
    first: tuple[str, Queries, Evaluation] | None = None
    for path in map(str, paths):
        run = load_run(path, trusted=trusted)
        assert run.directory is not None
        queries = run.directory.split().test
        found = run.evaluate(metrics)
        results[path] = found.to_dict()
        if first is None:
            first = (path, queries, found)
            continue
        differs = _difference(queries, first[1], sampled=any(name.startswith(SAMPLED) for name in found.values))
        if differs:
            raise RunError(f"{path} was not tested on the same {differs} as {first[0]}; train both on one split (monge data split)")
        for metric, values in found.values.items():
            compared = compare_paired(values, first[2].values[metric])
            tests.append({"run": path, "first": first[0], "metric": metric, **asdict(compared)})
    return results, tests


def _difference(queries: Queries, others: Queries, *, sampled: bool) -> str | None:
    """What two sets of queries do not share of what their metrics are counted on; None: they may be compared one by one."""

    def same(a: Ragged | None, b: Ragged | None) -> bool:
        return a is b or (a is not None and b is not None and all(map(np.array_equal, (a.offsets, a.values), (b.offsets, b.values))))

    asked = np.array_equal(queries.user, others.user) and same(queries.history, others.history) and same(queries.truth, others.truth)
    if not asked:
        return "queries"
    if not same(queries.candidates, others.candidates):
        return "candidates"
    return "negatives" if sampled and not same(queries.negatives, others.negatives) else None


def examples(run: Run, test: Queries, n: int = 3, k: int = 10) -> list[dict[str, Any]]:
    """Recommendations for a few test queries, beside what was held out; with the domains where queries ask for one."""
    titles = run.item_columns.get("title")
    domains = None if test.domain is None else Domains.of(run.item_columns)

    def shown(item: int) -> dict[str, Any]:
        entry = {"item": str(run.items.decode([item])[0]), "title": None if titles is None else titles[item]}
        return entry if domains is None else {**entry, "domain": domains.names[domains.of_item[item]]}

    rows: list[dict[str, Any]] = []
    chosen = np.unique(np.linspace(0, len(test) - 1, min(n, len(test))).astype(np.int64))
    queries = test.take(chosen)
    for numbers, scores in score_blocks(run.model, queries):
        top = top_items(scores, numbers, k, TieOrder(queries.n_items, 0, scores.device))
        for row, number in enumerate(numbers.tolist()):
            best = [item for item in top[row].tolist() if item >= 0]
            rows.append(
                {
                    "user": str(run.users.decode(queries.user[[number]])[0]),
                    "domain": None if domains is None or queries.domain is None else domains.names[queries.domain[number]],
                    "history": [shown(item) for item in queries.history[number][-10:].tolist()],
                    "recommendations": [
                        {**shown(item), "score": float(scores[row, item]), "rank": rank} for rank, item in enumerate(best, start=1)
                    ],
                    "truth": [shown(item) for item in queries.truth[number].tolist()],
                }
            )
    return rows
