"""What is asked of a split or of a run that is gone on with: the same passes, what differs is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import monge
from monge.data import Split
from monge.errors import ConfigError, MongeError, RunError
from tests.cli.command import Call, monge_cli
from tests.conftest import cycle_sequences, log_of

Say = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Say:
    return lambda *arguments: monge_cli(capsys, *arguments).error


@pytest.fixture
def data(write_cycle: Callable[..., Path]) -> str:
    """A log by a relative name."""
    return write_cycle().name


RATIO = ("--protocol", "ratio", "--protocol-option", "seed=3")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (("--protocol", "leave-one-out"), "s.safetensors is split already, by --protocol ratio, not leave-one-out; leave it out, or"),
        (("--protocol-option", "seed=4"), "s.safetensors is split already, with seed = 3, not 4; leave it out, or split the log anew"),
        (("--protocol", "ratio", "--protocol-option", "test=0.3"), "with test = 0.1, not 0.3"),
        (("--protocol-option", "known_users_only=true"), "with known_users_only = False, not True"),
        (("--noise-ratio", "0.1"), "with noise_ratio = 0, not 0.1"),
        (("--protocol-option", "sed=3"), "s.safetensors is split already, by ratio, which has no option 'sed'; did you mean 'seed'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
@pytest.mark.parametrize("command", [("train", "itemknn"), ("tune", "itemknn", "--trials", "1", "--space", "k=3,5")], ids=lambda c: c[0])
def test_another_protocol_than_that_of_a_split_is_refused(
    command: tuple[str, ...], asked: tuple[str, ...], expected: str, data: str, call: Call, refused: Say
) -> None:
    call("data", "split", data, *RATIO, "--out", "s.safetensors")
    assert expected in refused(*command[:2], "s.safetensors", *command[2:], *asked)
    assert not Path("runs").exists()


def test_the_protocol_of_a_split_may_be_given(data: str, call: Call) -> None:
    call("data", "split", data, *RATIO, "--noise-ratio", "0.2", "--out", "s.safetensors")
    call("train", "popular", "s.safetensors", *RATIO, "--noise-ratio", "0.2", "--protocol-option", "test=0.1", "--out", "a", "--no-report")
    call("tune", "itemknn", "s.safetensors", *RATIO, "--trials", "1", "--space", "k=3,5", "--out", "study")
    assert json.loads(Path("a/run.json").read_text())["protocol"]["name"] == "ratio"
    assert json.loads(Path("a/result.json").read_text())["test"]
    assert Path("study/best.yaml").exists()


def test_python_refuses_it_too() -> None:
    log = log_of(cycle_sequences())
    split = monge.make_split(log, "leave-one-out")
    with pytest.raises(ConfigError, match="split is split already, by --protocol leave-one-out, not ratio"):
        monge.train("popular", split, protocol="ratio")
    with pytest.raises(ConfigError, match="with min_length = 3, not 4"):
        monge.tune("itemknn", split, protocol_options={"min_length": 4}, space={"k": [3, 5]}, trials=1)
    with pytest.raises(ConfigError, match="no protocol 'ratoi'; did you mean 'ratio'"):
        monge.train("popular", split, protocol="ratoi")
    assert monge.train("popular", split, protocol="leave-one-out", protocol_options={"min_length": 3}).info["protocol"]["notes"] == []


def unfinished(out: str) -> None:
    """As if the run had been stopped."""
    path = Path(out) / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "state": "training"}))


@pytest.mark.parametrize("state", ["finished", "stopped"])
def test_a_run_goes_on_with_its_own_data_and_protocol_alone(state: str, data: str, call: Call, refused: Say) -> None:
    command = ("train", "popular", data, *RATIO, "--min-length", "4", "--noise-ratio", "0.1", "--out", "run", "--no-report")
    call(*command)
    Path("other.csv").write_text("".join(f"{line}\n" for line in Path(data).read_text().splitlines()[:-1]))
    Path("sub").mkdir()
    shutil.copy(data, "sub/again.csv")
    if state == "stopped":
        unfinished("run")
    before = Path("run/run.json").read_text()
    resume = ("--out", "run", "--no-report", "--resume")
    for arguments, expected in {
        ("other.csv",): f"run is a run on {data}, not on other.csv; resume with the same, or train anew with another --out",
        ("nothing.csv",): f"run is a run on {data}, and nothing.csv cannot be compared with it: ",
        (data, "--protocol", "leave-one-out"): "run is split already, by --protocol ratio, not leave-one-out; resume with the same",
        (data, "--protocol-option", "seed=4"): "run is split already, with seed = 3, not 4",
        (data, "--noise-ratio", "0.2"): "with noise_ratio = 0.1, not 0.2",
        (data, "--min-length", "5"): f"run is a run on {data} read with --min-length 4, not 5",
        (data, "--k-core", "2"): f"run is a run on {data} read without --k-core",
    }.items():
        assert expected in refused("train", "popular", *arguments, *resume)
    assert Path("run/run.json").read_text() == before
    for same in (data, f"./{data}", Path(data).absolute(), "sub/again.csv"):
        call("train", "popular", same, *resume)
    call(*command, "--resume")
    assert json.loads(Path("run/run.json").read_text())["state"] == "finished"


def test_a_run_of_a_split_file_or_of_a_log_in_python_goes_on(data: str, call: Call, refused: Say) -> None:
    call("data", "split", data, "--out", "s.safetensors")
    call("data", "split", data, *RATIO, "--out", "t.safetensors")
    call("train", "popular", "s.safetensors", "--out", "run", "--no-report")
    call("train", "popular", "s.safetensors", "--out", "run", "--no-report", "--resume")
    assert "run is a run on s.safetensors, not on t.safetensors" in refused("train", "popular", "t.safetensors", "--out", "run", "--resume")
    shutil.move("t.safetensors", "s.safetensors")
    error = refused("train", "popular", "s.safetensors", "--out", "run", "--resume")
    assert "run is a run on another s.safetensors than the present one" in error

    log, options = log_of(cycle_sequences()), {"protocol": "temporal", "protocol_options": {"test": 0.2}}
    monge.train("popular", log, out="python", **options)
    assert monge.train("popular", log, out="python", resume=True, **options).info["state"] == "finished"
    monge.train("popular", None, out="python", resume=True)
    monge.train("popular", None, out="python", resume=True, **options)
    monge.train("popular", Split.load("python/split.safetensors"), out="python", resume=True)
    with pytest.raises(RunError, match="python is a run on Interactions, not on other data"):
        monge.train("popular", log_of(cycle_sequences()[:-1]), out="python", resume=True)
    with pytest.raises(ConfigError, match="python is split already, and there is no record of its validation"):
        monge.train("popular", None, out="python", resume=True, protocol_options={"validation": 0.2})


def test_a_run_that_is_older_than_the_record_of_how_its_log_was_read_is_compared(data: str, call: Call, refused: Say) -> None:
    command = ("train", "popular", data, "--min-length", "6", "--out", "run", "--no-report")
    call(*command)
    path = Path("run/run.json")
    info = json.loads(path.read_text())
    del info["data"]["reading"], info["protocol"]["asked"]
    path.write_text(json.dumps(info))
    call(*command, "--resume")
    error = refused("train", "popular", data, "--min-length", "7", "--out", "run", "--resume")
    assert f"run is a run on another {data} than the present one" in error


def test_a_published_split_goes_on(tmp_path: Path, call: Call) -> None:
    rows = [f"u{user},i{(user + place) % 7},{place},{max(place - 2, 0)}" for user in range(9) for place in range(5)]
    Path("log.csv").write_text("user_id,item_id,timestamp,part\n" + "\n".join(rows) + "\n")
    command = ("train", "popular", "log.csv", "--protocol", "published", "--split-column", "part", "--out", "run", "--no-report")
    call(*command)
    result = Path("run/result.json").read_text()
    call(*command, "--resume")
    call("train", "popular", tmp_path / "log.csv", *command[3:], "--resume")
    assert json.loads(result)["test"]
    assert Path("run/result.json").read_text() == result  # finished: left as it is


def test_options_of_a_protocol_have_kinds() -> None:
    log = log_of(cycle_sequences())
    for protocol, options, expected in (
        ("ratio", {"test": "abc"}, "protocol ratio: test must be a number; got 'abc'"),
        ("ratio", {"seed": 1.5}, "protocol ratio: seed must be a whole number; got 1.5"),
        ("ratio", {"seed": -1}, "protocol ratio: seed must be a whole number of at least 0; got -1"),
        ("temporal", {"keep_unseen_items": "perhaps"}, "keep_unseen_items must be true or false; got 'perhaps'"),
        ("temporal", {"test_time": "noon"}, "test_time must be a whole number; got 'noon'"),
        ("leave-one-out", {"known_users_only": "perhaps"}, "known_users_only must be true or false; got 'perhaps'"),
        ("cross-domain", {"overlap": "abc"}, "protocol cross-domain: overlap must be a number; got 'abc'"),
    ):
        with pytest.raises(ConfigError) as told:
            monge.make_split(log, protocol, options)
        assert expected in str(told.value)
    with pytest.raises(MongeError, match="has no option 'cold'; there are: cold_start") as told:
        monge.make_split(log, "cross-domain", {"cold": 0.2})
    assert "noise" not in str(told.value)
    with pytest.raises(ConfigError, match="noise_ratio cannot go with cold-items"):
        monge.make_split(log, "cold-items", {"noise_ratio": 0.1})
