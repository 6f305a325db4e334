"""Spaces are read as they are written; a study finds what is better, by validation alone, and goes on where it was stopped."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import monge
from monge.api import InterruptedRunError, make_split
from monge.data import Interactions, Queries, Ragged
from monge.errors import ConfigError, MissingExtraError, MongeError, RunError, UnknownNameError
from monge.models import MODELS, find_model
from monge.options import build_config
from monge.training.loop import EpochRecord, Progress, Stop, TrainingConfig
from monge.training.space import Choices, Range, find_allowed, grid, nearest_setting, parse_space
from monge.training.study import Trial, best_of
from monge.training.tuning import Search
from monge.training.watch import Watch

pytest.importorskip("optuna")

CONFIGS = (find_model("sasrec").Config, TrainingConfig)
NAMES = ("dim", "n_layers", "dropout", "learning_rate", "bucketed", "loss", "clip", "n_heads")


def parse(**given: Any) -> dict[str, Range | Choices]:
    return parse_space(given, CONFIGS, allowed=NAMES)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("learning_rate", "1e-4..1e-2:log", Range(low=1e-4, high=1e-2, log=True)),
        ("dropout", "0.1..0.5", Range(low=0.1, high=0.5)),
        ("dropout", "0..0.5:0.2", Range(low=0, high=0.4, step=0.2)),  # the high end is the last step
        ("n_layers", "1..3", Range(low=1, high=3, whole=True)),
        ("dim", "32..128:32", Range(low=32, high=128, whole=True, step=32)),
        ("dim", "32, 64,128,64", Choices((32, 64, 128))),
        ("dim", [16, 32], Choices((16, 32))),
        ("learning_rate", "1e-3,1e-4", Choices((1e-3, 1e-4))),
        ("bucketed", "true,false", Choices((True, False))),
        ("loss", "bpr,full_ce", Choices(("bpr", "full_ce"))),
        ("clip", "0,1", Choices((0.0, 1.0))),
    ],
)
def test_a_space_is_read_by_the_type_of_its_option(name: str, text: Any, expected: Range | Choices) -> None:
    (found,) = parse(**{name: text}).values()
    assert found == expected
    assert [type(value) for value in found.ends] == [type(value) for value in expected.ends] or name == "dropout"


@given(
    st.one_of(
        st.builds(lambda a, b: Range(low=min(a, b), high=max(a, b) + 1.0), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)),
        st.builds(lambda a, n: Range(low=a, high=a * n, log=True), st.floats(1e-9, 1e3), st.floats(1.5, 1e6)),
        st.lists(st.floats(0, 1), min_size=2, unique=True).map(lambda values: Choices(tuple(values))),
    )
)
def test_what_is_written_is_read_again(option: Range | Choices) -> None:
    assert parse(learning_rate=str(option)) == {"learning_rate": option}


@pytest.mark.parametrize(
    ("given_space", "words"),
    [
        ({"learning_rat": "1..2"}, ("learning_rat", "did you mean 'learning_rate'")),
        ({"epochs": "1..9"}, ("epochs", "fix it with --epochs")),
        ({"learning_rate": "1e-2..1e-4:log"}, ("learning_rate=1e-2..1e-4:log", "below the high end")),
        ({"learning_rate": "0..1:log"}, ("log scale", "above 0")),
        ({"learning_rate": "small..1"}, ("learning_rate=small..1", "low..high:log")),
        ({"learning_rate": "0..inf"}, ("finite",)),
        ({"learning_rate": "0..1:nan"}, ("step",)),
        ({"dim": "1.5..3"}, ("whole numbers", "dim=1.5..3")),
        ({"dim": "32..64:100"}, ("step", "at most 32")),
        ({"dim": "32,wide"}, ("dim=32,wide", "'wide'")),
        ({"dim": "64"}, ("one value", "--dim")),
        ({"loss": "bpr,hinge"}, ("hinge", "bce_1neg")),
    ],
)
def test_what_cannot_be_searched_is_one_sentence(given_space: dict[str, str], words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as error:
        parse(**given_space)
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_a_grid_lists_every_setting() -> None:
    space = parse(n_layers="1..2", dropout="0..0.2:0.1", bucketed="true,false")
    settings = grid(space)
    assert len(settings) == 2 * 3 * 2 == len({tuple(setting.values()) for setting in settings})
    assert {setting["dropout"] for setting in settings} == {0.0, 0.1, 0.2}
    with pytest.raises(ConfigError, match="write learning_rate as choices"):
        grid(parse(learning_rate="1e-4..1e-2:log"))
    with pytest.raises(ConfigError, match="10,201,000 settings"):
        grid(parse(dim="1..10100", n_layers="1..1010"))


def test_values_that_no_other_makes_allowed_are_refused_and_others_are_not() -> None:
    def build(setting: Mapping[str, Any]) -> Any:
        return build_config(CONFIGS[0], setting)

    space = parse(dim="30,32", n_heads="3,4")  # the default width is 64, which 3 does not divide; 30 and 3 go together
    found = find_allowed(space, build)
    assert found["dim"] % found["n_heads"] == 0
    with pytest.raises(ConfigError, match=r"^--n-heads must divide --dim; got 7 heads"):
        find_allowed(parse(dim="30,32", n_heads="2,7"), build)
    with pytest.raises(ConfigError, match=r"^--dropout must be between 0 and 0.99; got 1.5"):
        find_allowed(parse(dropout="0.1..1.5", dim="32,64"), build)


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("popular", "last-popular")])
def test_every_models_own_space_is_one_that_it_allows(name: str) -> None:
    cls: Any = find_model(name).Config
    for options in ({}, {"loss": "full_ce"}, {"loss": "bpr"}, {"weighting": "bm25"}):
        if set(options) <= set(vars(cls())):
            config = cls(**options)
            space = parse_space(config.space(), (cls,), allowed=list(vars(config)))
            assert find_allowed(space, lambda setting, options=options: build_config(cls, options | dict(setting))).keys() == space.keys()
            if "loss" in vars(config):
                assert ("temperature" in space) == (options.get("loss") == "full_ce")


SMALL: dict[str, Any] = {"dim": 8, "max_length": 6, "n_layers": 1, "epochs": 3, "device": "cpu"}
MATRIX: dict[str, Any] = {"batch_size": 64, "epochs": 1, "device": "cpu"}
RATES = {"learning_rate": "1e-6,1e-2"}


def records(study: monge.Study) -> list[dict[str, Any]]:
    """The trials without their times."""
    return [{key: value for key, value in asdict(trial).items() if key != "seconds"} for trial in study.trials]


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "trials.jsonl").read_text().splitlines()]


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_better_learning_rate_is_found_and_kept(cycle: Interactions, tmp_path: Path) -> None:
    study: Any = monge.tune("sasrec", cycle, space=RATES, sampler="grid", out=tmp_path / "s", **SMALL)
    assert study.best.options == {"learning_rate": 1e-2}
    assert [trial.state for trial in study.trials] == ["finished"] * 2  # the grid has no third
    worse = next(trial for trial in study.trials if trial is not study.best)
    assert study.best.value > worse.value
    for trial in study.trials:
        assert [entry["epoch"] for entry in trial.validation] == [1, 2, 3]
        assert trial.value == max(entry["ndcg@10"] for entry in trial.validation)
        assert trial.validation[trial.best_epoch - 1]["ndcg@10"] == trial.value
    run = monge.train("sasrec", cycle, **SMALL, learning_rate=1e-2, select="ndcg@10")
    assert run.result["validation"]["ndcg@10"]["mean"] == study.best.value
    assert run.result["best_epoch"] == study.best.best_epoch
    assert study.best_options == {**run.info["model"]["config"], **run.info["training"]}
    assert {path.name for path in (tmp_path / "s").iterdir()} == {
        "study.json",
        "study.sqlite",
        "split.safetensors",
        "trials.jsonl",
        "best.yaml",
    }
    assert [Trial(**line) for line in lines(tmp_path / "s")] == [
        replace(trial, validation=list(trial.validation)) for trial in study.trials
    ]
    table = study.table()
    assert table["rank"].to_list() == [1, 2]
    assert table["learning_rate"].to_list() == [1e-2, 1e-6]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_first_trial_takes_the_defaults(sampler: str, cycle: Interactions) -> None:
    space = {"learning_rate": "1e-4..1e-2:log", "dim": "8,16", "dropout": "0..0.1"}
    study = monge.tune("sasrec", cycle, space=space, trials=2, sampler=sampler, epochs=1, max_length=6, n_layers=1)
    first, second = sorted(study.trials, key=lambda trial: trial.number)
    assert first.options == {"learning_rate": 1e-3, "dim": 8, "dropout": 0.1}  # 64 is no choice, .5 above the range
    assert second.options != first.options


def test_the_first_trial_takes_what_it_is_told_to(cycle: Interactions, tmp_path: Path) -> None:
    space = {"learning_rate": "1e-4..1e-2:log", "dim": "8,16"}
    fixed: dict[str, Any] = {"space": space, "trials": 1, "max_length": 6, "n_layers": 1, "epochs": 1, "out": tmp_path / "s"}
    study = monge.tune("sasrec", cycle, start={"dim": 16}, **fixed)
    assert study.trials[0].options == {"learning_rate": 1e-3, "dim": 16}
    with pytest.raises(RunError, match=r"start = \{.dim.: 16\}, not nothing"):
        monge.tune("sasrec", cycle, **fixed)
    with pytest.raises(UnknownNameError, match="start: sasrec has no option 'dims'"):
        monge.tune("sasrec", cycle, start={"dims": 16}, **fixed)


def test_a_solved_model_is_searched_too_and_nothing_need_be_kept(cycle: Interactions, tmp_path: Path) -> None:
    study: Any = monge.tune("itemknn", cycle, trials=6, metric="mrr", read_options={})
    assert study.path is None
    assert not list(tmp_path.iterdir())
    assert set(study.space) == {"weighting", "k", "shrink"}
    run = monge.train("itemknn", cycle, **study.best.options)
    assert run.result["validation"]["mrr"]["mean"] == study.best.value == max(trial.value for trial in study.trials)


class Poisoned(Queries):
    """Cannot be asked."""

    def batch(self, device: Any = "cpu") -> Any:
        raise AssertionError("the test part was ranked")


def poisoned(queries: Queries) -> Queries:
    """Other held-out items, and nobody may rank for them."""
    parts = {part: getattr(queries, part) for part in ("n_items", "user", "history", "candidates", "groups")}
    return Poisoned(truth=Ragged.from_lists([[0]] * len(queries)), **parts)


@pytest.mark.parametrize(("model", "options"), [("sasrec", SMALL), ("itemknn", {})])
def test_the_test_part_is_never_looked_at(model: str, options: dict[str, Any], cycle: Interactions, tmp_path: Path) -> None:
    split = make_split(cycle, "leave-one-out")
    changed = replace(split, test=poisoned(split.test))
    space = {"shrink": "0,50", "k": "1,9"} if model == "itemknn" else RATES
    with pytest.raises(AssertionError, match="was ranked"):
        monge.train(model, changed, **options)  # so the poison works
    whole = monge.tune(model, split, space=space, trials=3, **options)
    without = monge.tune(model, changed, space=space, trials=3, out=tmp_path / "s", **options)
    assert records(whole) == records(without)
    text = (tmp_path / "s" / "trials.jsonl").read_text() + (tmp_path / "s" / "study.json").read_text()
    assert "test" not in text.replace(str(tmp_path), "")


def by_hand(option: str, n_epochs: int = 12) -> Any:
    """An objective whose metric grows evenly up to the option's value."""

    def objective(tried: Mapping[str, Any], watch: Watch) -> Progress:
        progress = Progress()
        for epoch in range(1, n_epochs + 1):
            value = tried[option] * epoch / n_epochs
            progress.epoch, progress.best_epoch, progress.best_value = epoch, epoch, value
            progress.records.append(EpochRecord(epoch, 0.0, {"total": 1.0}, {"mrr": value}))
            try:
                watch.epoch(progress)
            except Stop:
                break
        return progress

    return objective


def test_the_same_seed_gives_the_same_trials(cycle: Interactions, tmp_path: Path) -> None:
    space = {"learning_rate": "1e-4..1e-1:log", "dim": "2..8", "regularisation": "0,0.1"}

    def tune(out: str | None, trials: int, **other: Any) -> Any:
        return monge.tune("bprmf", cycle, space=space, trials=trials, out=out and tmp_path / out, **{"seed": 3, **MATRIX, **other})

    whole = tune(None, 4)
    assert [trial.number for trial in whole.trials] == [1, 2, 3, 4]
    assert len({trial.options["learning_rate"] for trial in whole.trials}) == 4
    assert records(tune("cut", 1)) == records(whole)[:1]
    assert records(tune("cut", 4)) == records(whole)
    assert len(lines(tmp_path / "cut")) == 4
    assert records(tune("cut", 2)) == records(whole)  # fewer than there are: nothing is lost
    assert [trial.options for trial in tune(None, 2, seed=4).trials] != [trial.options for trial in whole.trials[:2]]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_study_that_is_cut_tries_what_a_whole_one_tries(sampler: str, tmp_path: Path) -> None:
    """Sixteen trials, so that TPE has something to learn from: it begins with ten random ones."""
    space = {"quality": Range(low=0.0, high=1.0), "colour": Choices(("red", "blue")), "size": Range(low=1, high=9, whole=True)}

    def options(*ends: int, database: Path | None) -> list[Mapping[str, Any]]:
        tried: list[Mapping[str, Any]] = []
        for end in ends:
            search = Search(space, metric="mrr", sampler=sampler, pruner="median", seed=5, build=lambda setting: setting)
            with search.opened(database):
                tried += [trial.options for trial in search.run(by_hand("quality", 8), end, watch=Watch())]
        return tried

    whole = options(16, database=None)
    assert len(whole) == 16 == len({tried["quality"] for tried in whole})
    assert options(3, 12, 16, database=tmp_path / "odd?%20#name.sqlite") == whole
    assert [path.name for path in tmp_path.iterdir()] == ["odd?%20#name.sqlite"]
    other = Search(space, metric="mrr", sampler="random", pruner="median", seed=5, build=lambda setting: setting)
    with other.opened(None):
        drawn = [trial.options for trial in other.run(by_hand("quality", 8), 16, watch=Watch())]
    assert drawn[:10] == whole[:10]
    assert (drawn == whole) == (sampler == "random")


@pytest.mark.parametrize(
    "quality", [Choices((0.1, 0.2, 0.3)), Range(low=0.1, high=0.3, step=0.1), Range(low=1, high=3, whole=True, log=True)]
)
@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_no_setting_is_tried_twice_and_a_study_ends_with_the_last_one(sampler: str, quality: Choices | Range, tmp_path: Path) -> None:
    space: dict[str, Any] = {"quality": quality, "colour": Choices(("red", "blue"))}

    def build(setting: Mapping[str, Any]) -> Any:
        if setting["quality"] == 0.3 and setting["colour"] == "blue":
            raise ConfigError("these two do not go together")

    said: list[str] = []

    class Heard(Watch):
        def message(self, text: str) -> None:
            said.append(text)

    def options(*ends: int, database: Path | None) -> list[Mapping[str, Any]]:
        tried: list[Mapping[str, Any]] = []
        for end in ends:
            search = Search(space, metric="mrr", sampler=sampler, pruner="none", seed=1, build=build)
            with search.opened(database):
                tried += [trial.options for trial in search.run(by_hand("quality", 2), end, watch=Heard())]
        return tried

    whole = options(12, database=None)
    tried = [tuple(nearest_setting(space, setting).values()) for setting in whole]
    assert len(tried) == len(set(tried))
    assert {tuple(setting.values()) for setting in grid(space)} - {(0.3, "blue")} <= set(tried)
    assert said == [f"all {len(whole)} settings of the space are tried"]
    assert options(4, 12, database=tmp_path / "study.sqlite") == whole


def test_a_person_hears_where_the_study_stands(cycle: Interactions, tmp_path: Path) -> None:
    class Heard(Watch):
        def __init__(self) -> None:
            self.messages: list[str] = []

        def message(self, text: str) -> None:
            self.messages.append(text)

    def heard(n_trials: int, **other: Any) -> list[str]:
        watch = Heard()
        space = {"dim": "2,4,6"}
        monge.tune("bprmf", cycle, space=space, trials=n_trials, watch=watch, **MATRIX, **other)
        return watch.messages

    assert heard(1, sampler="grid", out=tmp_path / "s") == ["the grid has 3 settings, of which 1 are tried, in a random order"]
    assert heard(9, sampler="grid", out=tmp_path / "s") == ["going on after trial 1", "the grid has 3 settings"]
    assert heard(9, sampler="grid", out=tmp_path / "s")[-1] == "all 3 trials are made"
    heard(1, out=tmp_path / "t")
    assert heard(1, out=tmp_path / "t") == ["going on after trial 1", "all 1 trials are made; a larger --trials adds more"]


class CtrlC(Watch):
    """Sends Ctrl-C after the first batch of a trial."""

    def __init__(self, number: int) -> None:
        self.at, self.now, self.seen = number, 0, list[int]()

    def trial(self, number: int, n_trials: int, options: Mapping[str, Any]) -> None:
        self.now = number

    def batch(self, n_done: int) -> None:
        if self.now == self.at:
            signal.raise_signal(signal.SIGINT)

    def tried(self, trial: Trial, best: Trial | None) -> None:
        self.seen.append(trial.number)


def test_ctrl_c_keeps_finished_trials(cycle: Interactions, tmp_path: Path) -> None:
    space = {"learning_rate": "1e-4..1e-1:log"}
    before = signal.getsignal(signal.SIGINT)
    watch = CtrlC(3)
    with pytest.raises(InterruptedRunError, match=r"finished trials are kept in .*, and the same command goes on"):
        monge.tune("bprmf", cycle, space=space, trials=4, out=tmp_path / "s", watch=watch, **MATRIX)
    assert signal.getsignal(signal.SIGINT) is before
    assert watch.seen == [1, 2]
    assert len(lines(tmp_path / "s")) == 2
    on = CtrlC(99)
    study = monge.tune("bprmf", cycle, space=space, trials=4, out=tmp_path / "s", watch=on, **MATRIX)
    assert on.seen == [3, 4]
    assert records(study) == records(monge.tune("bprmf", cycle, space=space, trials=4, **MATRIX))


KILLED = """
import os, signal, sys
import monge
from monge.training.watch import Watch
from tests.conftest import cycle_sequences, log_of

class Killed(Watch):
    def trial(self, number, n_trials, options):
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)

monge.tune("bprmf", log_of(cycle_sequences()), space={"learning_rate": "1e-4..1e-1:log"}, trials=4, out=sys.argv[1],
           watch=Killed(), batch_size=64, epochs=1, device="cpu")
"""


def test_killed_in_the_middle_of_a_trial(cycle: Interactions, tmp_path: Path) -> None:
    out = tmp_path / "s"
    paths = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run([sys.executable, "-c", KILLED, out], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths})
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(lines(out)) == 2
    assert states(out) == ["COMPLETE", "COMPLETE", "RUNNING"]
    study = monge.tune("bprmf", cycle, space={"learning_rate": "1e-4..1e-1:log"}, trials=4, out=out, **MATRIX)
    assert states(out) == ["COMPLETE", "COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert records(study) == records(monge.tune("bprmf", cycle, space={"learning_rate": "1e-4..1e-1:log"}, trials=4, **MATRIX))
    assert [line["number"] for line in lines(out)] == [1, 2, 3, 4]


def states(out: Path) -> list[str]:
    connection = sqlite3.connect(out / "study.sqlite")
    found = [row[0] for row in connection.execute("SELECT state FROM trials ORDER BY number")]
    connection.close()
    return found


def test_another_study_is_refused_and_nothing_is_lost(cycle: Interactions, tmp_path: Path) -> None:
    out = tmp_path / "s"
    study: dict[str, Any] = {"space": RATES, "trials": 2, "out": out, **MATRIX}
    monge.tune("bprmf", cycle, **study)
    before = listing(out)
    others = [
        ("sasrec", cycle, {"epochs": 1}, "model = bprmf, not sasrec"),
        ("bprmf", replace(cycle, time=None), {}, r"data = \w{12}\.\.\., not \w{12}\.\.\."),
        ("bprmf", cycle, {"protocol": "ratio"}, "protocol name = leave-one-out, not ratio"),
        ("bprmf", cycle, {"metric": "mrr"}, "metric = ndcg@10, not mrr"),
        ("bprmf", cycle, {"sampler": "random"}, "sampler = tpe, not random"),
        ("bprmf", cycle, {"seed": 1}, "seed = 0, not 1"),
        ("bprmf", cycle, {"epochs": 2}, "option epochs = 1, not 2"),
        ("bprmf", cycle, {"space": {"learning_rate": "1e-6,1e-1"}}, r"space learning_rate = 1e-06,0.01, not 1e-06,0.1"),
        ("bprmf", cycle, {"space": {**RATES, "dim": "4,8"}}, "space dim = nothing, not 4,8"),
    ]
    for model, log, other, sentence in others:
        options = {**study, **other}
        if model == "sasrec":
            options.pop("batch_size")
        with pytest.raises(RunError, match=f"holds a study with ({sentence})") as error:
            monge.tune(model, log, **options)
        assert "\n" not in str(error.value)
        assert listing(out) == before
    about = json.loads((out / "study.json").read_text())
    del about["identity"]["option"]["regularisation"]  # as if the study were older than this option
    (out / "study.json").write_text(json.dumps(about))
    with pytest.raises(RunError, match=r"option regularisation = .*, not 0.5"):
        monge.tune("bprmf", cycle, **study, regularisation=0.5)
    study["trials"] = 3
    assert len(monge.tune("bprmf", cycle, **study).trials) == 2  # no third setting


def test_folders_that_hold_no_study_or_a_damaged_one(cycle: Interactions, tmp_path: Path) -> None:
    def tune(out: Path, **other: Any) -> Any:
        return monge.tune("bprmf", cycle, space=RATES, trials=2, out=out, **MATRIX, **other)

    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="exists and holds no study"):
        tune(tmp_path / "other")
    out = tmp_path / "s"
    tune(out)
    kept = (out / "study.json").read_text()
    for text, sentence in (("{", "damaged"), ("[]", "damaged"), (json.dumps({**json.loads(kept), "format": 99}), "upgrade Monge")):
        (out / "study.json").write_text(text)
        with pytest.raises(RunError, match=sentence):
            tune(out)
    (out / "study.json").write_text(kept)
    with (out / "study.json").open() as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(RunError, match="another process works on this study"):
            tune(out)
    database = (out / "study.sqlite").read_bytes()
    (out / "study.sqlite").write_bytes(b"no database at all" * 99)
    with pytest.raises(RunError, match=r"study.sqlite: damaged or cannot be written \(file is not a database\)"):
        tune(out)
    (out / "study.sqlite").unlink()
    with pytest.raises(RunError, match=r"study.sqlite: no such file"):
        tune(out)
    (out / "study.sqlite").write_bytes(database)
    assert len(tune(out).trials) == 2


def test_a_trial_that_diverges_fails_and_the_study_goes_on(cycle: Interactions, tmp_path: Path) -> None:
    space = {"learning_rate": "1e30,1e-2"}
    study = monge.tune("sasrec", cycle, space=space, sampler="grid", out=tmp_path / "s", **SMALL)
    failed = next(trial for trial in study.trials if trial.state == "failed")
    assert failed.options == {"learning_rate": 1e30}
    assert failed.value is None
    assert "diverged" in str(failed.note)
    assert study.best.options == {"learning_rate": 1e-2}
    assert study.table()["rank"].to_list() == [1, None]
    with pytest.raises(RunError, match=r"none of 2 trials came to a result; the last one: .*diverged"):
        monge.tune("sasrec", cycle, space={"learning_rate": "1e30,1e31"}, trials=2, **SMALL)


def test_settings_that_do_not_go_together_fail_alone_and_are_no_part_of_a_grid(cycle: Interactions) -> None:
    space = {"dim": "6,8", "n_heads": "2,3"}
    fixed = {name: value for name, value in SMALL.items() if name != "dim"}
    study = monge.tune("sasrec", cycle, space=space, sampler="grid", **fixed)
    assert {tuple(trial.options.values()) for trial in study.trials} == {(6, 2), (6, 3), (8, 2)}
    assert {trial.state for trial in study.trials} == {"finished"}
    fixed["epochs"] = 1
    drawn = monge.tune("sasrec", cycle, space=space, trials=8, sampler="random", **fixed)
    assert {trial.state == "failed" for trial in drawn.trials if tuple(trial.options.values()) == (8, 3)} == {True}
    assert all("divide" in str(trial.note) for trial in drawn.trials if trial.state == "failed")


@pytest.mark.parametrize("pruner", ["median", "none"])
def test_trials_below_the_median_end_early(pruner: str) -> None:
    space = {"quality": Range(low=0.0, high=1.0)}
    search = Search(space, metric="mrr", sampler="random", pruner=pruner, seed=1, build=lambda setting: setting)
    with search.opened(None):
        trials = list(search.run(by_hand("quality"), 25, watch=Watch()))
    pruned = [trial for trial in trials if trial.state == "pruned"]
    assert bool(pruned) == (pruner == "median")
    assert all(trial.number > 5 and len(trial.validation) == 6 for trial in pruned)
    for trial in trials[5:]:  # a growth rate below the median of the finished trials before, all of which reached epoch 6
        finished = [before.options["quality"] for before in trials[: trial.number - 1] if before.state == "finished"]
        assert (trial.state == "pruned") == (pruner == "median" and trial.options["quality"] < np.median(finished))
    best = best_of(trials)
    assert best is not None
    assert best.options["quality"] == max(trial.options["quality"] for trial in trials)


def test_importance_tells_what_matters_from_what_does_not() -> None:
    space = {"quality": Range(low=0.0, high=1.0), "colour": Choices(("red", "blue"))}
    search = Search(space, metric="mrr", sampler="random", pruner="none", seed=0, build=lambda setting: setting)
    with search.opened(None):
        list(search.run(by_hand("quality", 1), 3, watch=Watch()))
        assert search.importance() == {}
        list(search.run(by_hand("quality", 1), 40, watch=Watch()))
        shares = search.importance()
    assert list(shares) == ["quality", "colour"]
    assert shares["quality"] > 0.9
    assert sum(shares.values()) == pytest.approx(1)


def test_no_trial_begins_after_the_time(cycle: Interactions, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="the time was over before the first one"):
        monge.tune("bprmf", cycle, space=RATES, trials=3, out=tmp_path / "s", minutes=1e-9, **MATRIX)
    monge.tune("bprmf", cycle, space=RATES, trials=2, out=tmp_path / "s", **MATRIX)
    assert len(monge.tune("bprmf", cycle, space=RATES, trials=9, out=tmp_path / "s", minutes=1e-9, **MATRIX).trials) == 2


REFUSED = [
    ({"space": {"dmi": "8,16"}}, UnknownNameError, ("dmi", "did you mean 'dim'")),
    ({"space": {"dropout": "0.5..1.5"}}, ConfigError, ("--dropout", "1.5")),
    ({"space": {"dim": "8,16"}}, ConfigError, ("dim", "both searched and fixed")),
    ({"dmi": 8}, UnknownNameError, ("dmi", "did you mean 'dim'")),
    ({"dropout": 1.5}, ConfigError, ("--dropout", "1.5")),
    ({"sampler": "tpa"}, UnknownNameError, ("tpa", "did you mean 'tpe'")),
    ({"pruner": "medain"}, UnknownNameError, ("medain", "did you mean 'median'")),
    ({"sampler": "grid", "space": {"dropout": "0..0.5"}}, ConfigError, ("dropout", "low..high:step")),
    ({"metric": "ndgc@10"}, UnknownNameError, ("ndgc", "did you mean 'ndcg'")),
    ({"metric": "coverage@10"}, ConfigError, ("--metric coverage",)),
    ({"trials": 0}, ConfigError, ("--trials", "got 0")),
    ({"minutes": float("nan")}, ConfigError, ("--minutes", "nan")),
    ({"select": "mrr"}, ConfigError, ("select", "metric")),
    ({"protocol": "ratoi"}, UnknownNameError, ("ratoi", "did you mean 'ratio'")),
    ({"device": "gpuu"}, UnknownNameError, ("gpuu",)),
]


@pytest.mark.parametrize(("other", "kind", "words"), REFUSED, ids=lambda value: " ".join(value) if isinstance(value, dict | tuple) else "")
def test_what_is_wrong_is_said_before_anything_is_made(
    other: dict[str, Any], kind: type[MongeError], words: tuple[str, ...], cycle: Interactions, tmp_path: Path
) -> None:
    with pytest.raises(kind) as error:
        monge.tune("sasrec", cycle, out=tmp_path / "s", **{"space": RATES, **SMALL, **other})
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_model_without_options_or_a_space(cycle: Interactions, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="popular declares no space to search"):
        monge.tune("popular", cycle)
    everything: dict[str, Any] = {"learning_rate": 1e-3, "dim": 8, "regularisation": 0.0}
    with pytest.raises(ConfigError, match="bprmf has no option left to search"):
        monge.tune("bprmf", cycle, **everything)
    everything |= {"dim": 4, **MATRIX}
    study = monge.tune("bprmf", cycle, trials=1, space={"weight_decay": "0,1e-3"}, **everything)
    assert study.best_options["dim"] == 4
    outside = monge.tune("tests.models.outside:Transitions", cycle, trials=2, epochs=1, space=RATES, device="cpu")
    assert outside.best.value is not None


def test_without_optuna_the_sentence_says_what_to_install(cycle: Interactions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"monge tune needs Optuna, which is not installed; run: pip install 'monge\[tune\]'"):
        monge.tune("bprmf", cycle, space=RATES, out=tmp_path / "s")
    assert not list(tmp_path.iterdir())
