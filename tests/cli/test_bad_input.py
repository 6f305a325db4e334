"""Every wrong input: exit code 2, one sentence, no traceback, nothing left behind."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.command import Done, monge_cli

HEADER = "user_id,item_id,timestamp\n"
GOOD = "".join(f"u{user},i{(user + place) % 7},{place}\n" for user in range(9) for place in range(4))


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()} | {
        f"{path.relative_to(folder)}/": b"" for path in folder.rglob("*") if path.is_dir()
    }


@pytest.fixture
def refused(tmp_path: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Call a command that must be refused; gives its sentence. Neither the working directory nor the runs may change."""

    def call(*arguments: str | Path) -> str:
        before = listing(tmp_path), listing(runs)
        error = monge_cli(capsys, *arguments).error
        assert (listing(tmp_path), listing(runs)) == before
        return error

    return call


FILES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "empty": (b"", ("bad.csv",)),
    "header only": (HEADER.encode(), ("bad.csv",)),
    "binary": (bytes(range(256)) * 20, ("bad.csv",)),
    "no item column": (b"user_id,thing,timestamp\n1,2,3\n1,3,4\n1,4,5\n", ("bad.csv", "item", "thing", "user_id", "timestamp")),
    "no known column": (b"a,b,c\n1,2,3\n", ("bad.csv", "a", "b", "c")),
    "null user": ((HEADER + GOOD + ",i1,5\n").encode(), ("bad.csv", "user_id")),
    "null item": ((HEADER + GOOD + "u1,,5\n").encode(), ("bad.csv", "item_id")),
    "NaN id": ((HEADER + "1.0,5,1\nNaN,6,2\n1.0,7,3\n1.0,8,4\n").encode(), ("bad.csv", "user_id")),
    "unparsable time": ((HEADER + GOOD + "u1,i2,yesterday\n").encode(), ("bad.csv", "timestamp", "yesterday")),
    "too short": ((HEADER + "u1,i1,1\nu1,i2,2\nu2,i1,1\n").encode(), ("leave-one-out", "empty")),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("command", ["train", "describe", "split", "convert"])
def test_files_that_are_no_log(name: str, command: str, refused: Callable[..., str], tmp_path: Path) -> None:
    content, expected = FILES[name]
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    if name == "too short" and command in ("describe", "convert"):
        return
    if name == "header only" and command == "describe":
        expected = ()
    arguments = {
        "train": ("train", "popular", path, "--out", "run"),
        "describe": ("data", "describe", path),
        "split": ("data", "split", path, "--out", "s.safetensors"),
        "convert": ("data", "convert", path, "new.parquet"),
    }[command]
    error = refused(*arguments)
    for word in expected:
        assert word in error


DATA = [
    (("train", "popular", "nothing.csv"), ("nothing.csv",)),
    (("train", "popular", "nothing.safetensors"), ("nothing.safetensors", "no such split file")),
    (("data", "describe", "nothing.csv"), ("nothing.csv",)),
    (("train", "popular", "amazon-beautty"), ("amazon-beauty",)),
    (("train", "popular", "toy.csv", "--user-column", "usr"), ("toy.csv", "'usr'", "user_id")),
    (("train", "popular", "toy.csv", "--item-column", "itm"), ("toy.csv", "'itm'", "item_id")),
    (("train", "popular", "toy.csv", "--time-column", "when"), ("toy.csv", "'when'", "timestamp")),
    (("train", "popular", "toy.csv", "--weight-column", "rating"), ("toy.csv", "'rating'")),
    (("train", "popular", "toy.csv", "--rating-at-least", "4"), ("--weight-column",)),
    (("train", "popular", "toy.csv", "--format", "exel"), ("exel",)),
    (("train", "popular", "toy.csv", "--k-core", "99"), ("99",)),
    (("train", "popular", "toy.csv", "--k-core", "x"), ("'x'",)),
    (("train", "popular", "toy.csv", "--min-length", "99"), ("99",)),
    (("train", "popular", "toy.csv", "--protocol", "leave-two-out"), ("leave-two-out", "leave-one-out")),
    (
        ("data", "split", "toy.csv", "--protocol", "leave-one-uot", "--out", "s.safetensors"),
        ("leave-one-uot", "did you mean 'leave-one-out'"),
    ),
    (("train", "popular", "toy.csv", "--protocol", "temporal", "--protocol-option", "test_time=99999999"), ("temporal", "empty")),
    (("train", "popular", "toy.csv", "--protocol", "ratio", "--protocol-option", "tst=0.2"), ("tst",)),
    (("train", "popular", "toy.csv", "--protocol", "ratio", "--protocol-option", "test"), ("NAME=VALUE", "test")),
    (("train", "popular", "toy.csv", "--protocol", "ratio", "--protocol-option", "test=2"), ("test",)),
    (("train", "popular", "toy.csv", "--protocol", "ratio", "--protocol-option", "test=much"), ("test", "much")),
    (("train", "popular", "toy.csv", "--protocol-option", "min_length=2"), ("min_length",)),
    (("train", "popular", "toy.csv", "--protocol-option", "noise_ratio=-0.1"), ("noise_ratio", "-0.1")),
    (("train", "popular", "toy.csv", "--protocol-option", "noise_ratio=much"), ("noise_ratio", "much")),
    (("train", "popular", "toy.csv", "--protocol-option", "noise_ratio=9"), ("noise_ratio 9", "162 pairs", "lower noise_ratio")),
    (("train", "popular", "toy.csv", "--protocol-option", "noise_ratio=0.1", "--protocol-option", "noise_seed=x"), ("noise_seed", "'x'")),
    (("train", "popular", "toy.csv", "--noise-ratio", "-0.1"), ("noise_ratio", "-0.1")),
    (("train", "popular", "toy.csv", "--noise-ratio", "much"), ("--noise-ratio", "much")),
    (("train", "popular", "toy.csv", "--noise-ratio", "nan"), ("noise_ratio", "nan")),
    (("train", "popular", "toy.csv", "--noise-ratio", "9"), ("noise_ratio 9", "162 pairs", "lower noise_ratio")),
    (("train", "popular", "toy.csv", "--noise-ratio", "0.1", "--noise-seed", "-1"), ("noise_seed", "-1")),
    (("data", "split", "toy.csv", "--noise-ratio", "9", "--out", "s.safetensors"), ("noise_ratio 9", "lower noise_ratio")),
    (("tune", "bprmf", "toy.csv", "--noise-ratio", "-1"), ("noise_ratio", "-1")),
    (("train", "popular", "there.safetensors", "--k-core", "3"), ("--k-core", "there.safetensors is split already")),
    (("train", "popular", "toy.csv", "--protocol", "crossdomain"), ("cross-domain", "Did you mean 'cross-domain'?")),
    (("train", "popular", "toy.csv", "--protocol", "ratio", "--protocol-option", "test=abc"), ("test must be a number; got 'abc'",)),
    (("train", "clrec", "toy.csv", "--protocol", "ratio", "--tau", "0"), ("--tau", "greater than 0", "0.0")),
    (("train", "sclrec", "toy.csv", "--protocol", "ratio", "--tau", "-1"), ("--tau", "greater than 0", "-1.0")),
    (("train", "sclrec", "toy.csv", "--protocol", "ratio", "--entropy", "0"), ("--entropy", "greater than 0", "0.0")),
    (("train", "sclrec", "toy.csv", "--protocol", "ratio", "--alpha", "1.5"), ("--alpha", "between 0 and 1", "1.5")),
    (("train", "sclrec", "toy.csv", "--protocol", "ratio", "--alpha", "-0.5"), ("--alpha", "between 0 and 1", "-0.5")),
    (("train", "sclrec", "toy.csv", "--protocol", "ratio", "--batch-size", "1"), ("--batch-size", "at least 2", "1")),
    (("data", "split", "toy.csv", "--out", "split.json"), (".safetensors",)),
    (("data", "split", "toy.csv", "--out", "no/such/s.safetensors"), ("no such folder",)),
    (("data", "split", "toy.csv", "--out", "there.safetensors"), ("exists already",)),
    (("data", "split", "toy.csv"), ("--out",)),
    (("data", "convert", "toy.csv", "toy.csv"), ("exists already",)),
    (("data", "convert", "toy.csv", "toy.xyz"), ("xyz",)),
    (("data", "convert", "toy.csv", "no/such/toy.parquet"), ("no/such",)),
]


@pytest.mark.parametrize(("arguments", "expected"), DATA, ids=lambda value: " ".join(value))
def test_data_that_cannot_be_had(
    arguments: tuple[str, ...], expected: tuple[str, ...], refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "toy.csv").write_text(HEADER + GOOD)
    (tmp_path / "there.safetensors").write_text("mine")
    error = refused(*arguments)
    for word in expected:
        assert word in error


SHORT = {
    "users of two rows": (HEADER + "".join(f"u{user},i{(user + place) % 4},{place}\n" for user in range(9) for place in range(2)), "empty"),
    "one pair to train on": (HEADER + "u1,i1,1\nu1,i2,2\nu1,i3,3\n", "1 training pair, and a batch needs at least 2"),
}


@pytest.mark.parametrize("model", ["sclrec", "clrec", "directau", "buir"])
@pytest.mark.parametrize("name", SHORT)
def test_too_little_for_a_ratio_or_for_a_batch(name: str, model: str, refused: Callable[..., str], tmp_path: Path) -> None:
    content, expected = SHORT[name]
    (tmp_path / "short.csv").write_text(content)
    assert expected in refused(
        "train", model, "short.csv", "--protocol", "ratio", "--protocol-option", "train=0.34", "--protocol-option", "validation=0.33",
        "--protocol-option", "test=0.33", "--out", "run",
    )  # fmt: skip


NAMES = [
    (("tarin", "popular", "toy.csv"), ("tarin", "did you mean 'train'")),
    (("data", "descrbe", "toy.csv"), ("descrbe", "describe")),
    (("train", "sasrek", "toy.csv"), ("sasrek", "did you mean 'sasrec'")),
    (("train", "nothing.at.all:Model", "toy.csv"), ("nothing",)),
    (("models", "mstien"), ("mstien", "did you mean 'mstein'")),
    (("train", "sasrec", "toy.csv", "--dmi", "8"), ("--dmi", "--dim")),
    (("train", "popular", "toy.csv", "--dim", "8"), ("--dim",)),
    (("train", "sasrec", "toy.csv", "--dim", "wide"), ("--dim", "wide")),
    (("train", "sasrec", "toy.csv", "--dim", "0"), ("--dim", "0")),
    (("train", "sasrec", "toy.csv", "--dropout", "1.5"), ("--dropout", "1.5")),
    (("train", "sasrec", "toy.csv", "--learning-rate", "nan"), ("--learning-rate", "nan")),
    (("train", "sasrec", "toy.csv", "--loss", "hinge"), ("hinge", "bce_1neg")),
    (("train", "sasrec", "toy.csv", "--epochs", "0"), ("--epochs", "0")),
    (("train", "sasrec", "toy.csv", "--select", "ndgc@10"), ("ndgc@10", "did you mean 'ndcg'")),
    (("train", "sasrec", "toy.csv", "--select", "ndcg"), ("ndcg", "cut-off")),
    (("train", "popular", "toy.csv", "--metrics", "recal@10"), ("recal@10", "did you mean 'recall'")),
    (("train", "popular", "toy.csv", "--metrics", "recall@0"), ("recall@0", "at least 1")),
    (("train", "popular", "toy.csv", "--track", "mlfow"), ("mlfow", "did you mean 'mlflow'")),
    (("train", "sasrec", "toy.csv", "--device", "gpuu"), ("gpuu",)),
    (("train", "sasrec", "toy.csv", "--device", "cuda"), ("cuda",)),
    (("train", "sasrec", "toy.csv", "--resume", "--out", "nothing"), ("nothing", "no such run directory")),
    (("train", "sasrec"), ("DATA",)),
    (("train", "sasrec", "toy.csv", "--learning-rate", "1e30", "--dim", "8", "--out", "run"), ("diverged", "--learning-rate")),
]


@pytest.mark.parametrize(("arguments", "expected"), NAMES, ids=lambda value: " ".join(value))
def test_names_and_values_that_are_wrong(
    arguments: tuple[str, ...], expected: tuple[str, ...], tmp_path: Path, refused: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    (tmp_path / "toy.csv").write_text(HEADER + GOOD)
    error = monge_cli(capsys, *arguments).error if "diverged" in expected else refused(*arguments)
    for word in expected:
        assert word in error


ASKED = [
    (("recommend", "sasrec", "--user", "u999"), ("u999", "unknown")),
    (("recommend", "sasrec", "--history", "i1,i77,i88"), ("i77, i88", "unknown")),
    (("recommend", "sasrec", "--history", "i1", "--exclude", "i77"), ("i77",)),
    (("recommend", "sasrec", "--history", ""), ("history",)),
    (("recommend", "sasrec"), ("user", "history")),
    (("recommend", "sasrec", "--user", "u1", "--history", "i1"), ("either",)),
    (("recommend", "sasrec", "--user", "u1", "--k", "0"), ("--k", "between 1 and", "10", "got 0")),
    (("recommend", "sasrec", "--user", "u1", "--k", "-3"), ("--k", "got -3")),
    (("recommend", "sasrec", "--user", "u1", "--k", "11"), ("--k", "10", "got 11")),
    (("recommend", "sasrec", "--user", "u1", "--k", "many"), ("--k", "many")),
    (("recommend", "bprmf", "--history", "i1"), ("bprmf",)),
    (("recommend", "sasrec", "--user", "u1", "--domain", "films"), ("sasrec was trained on a log without domains; leave --domain out",)),
    (("recommend", "sasrec", "--history", "films=i1"), ("without domains; give --history as items, without DOMAIN=",)),
    (("recommend", "sasrec", "--history", "i1", "--history", "i2"), ("--history is given once",)),
    (("similar", "sasrec", "--item", "i1", "--domain", "films"), ("sasrec was trained on a log without domains; leave --domain out",)),
    (("similar", "sasrec", "--item", "i77"), ("i77", "unknown")),
    (("similar", "sasrec", "--item", "i1", "--k", "0"), ("--k", "got 0")),
    (("similar", "sasrec", "--item", "i1", "--k", "10"), ("--k", "9", "got 10")),
    (("similar", "sasrec"), ("--item",)),
    (("evaluate", "sasrec", "--metrics", "ndgc@10"), ("ndgc@10", "did you mean 'ndcg'")),
    (("evaluate", "sasrec", "--metrics", "ndcg@0"), ("ndcg@0",)),
    (("evaluate", "sasrec", "--part", "train"), ("train", "test", "validation")),
    (("evaluate", "sasrec", "--per-query", "no/such/x.parquet"), ("no such folder",)),
    (("compare", "sasrec", "popular", "--metrics", "mrrr"), ("mrrr", "did you mean 'mrr'")),
    (("compare", "popular", "other"), ("other", "not tested on the same queries")),
    (("compare",), ("RUNS",)),
    (("show", "nothing"), ("no such run directory",)),
    (("recommend", "nothing", "--user", "u1"), ("no such run directory",)),
]


@pytest.mark.parametrize(("arguments", "expected"), ASKED, ids=lambda value: " ".join(value))
def test_questions_that_a_run_cannot_answer(
    arguments: tuple[str, ...], expected: tuple[str, ...], refused: Callable[..., str], runs: Path
) -> None:
    names = {path.name: path for path in runs.iterdir()} | {"nothing": runs / "nothing"}
    error = refused(*[names.get(argument, argument) for argument in arguments])
    for word in expected:
        assert word in error


def spoil(path: Path, how: str) -> None:
    if how == "weights":
        content = bytearray((path / "weights.safetensors").read_bytes())
        content[-9] ^= 4
        (path / "weights.safetensors").write_bytes(content)
    elif how == "truncated":
        content = (path / "weights.safetensors").read_bytes()
        (path / "weights.safetensors").write_bytes(content[:-20])
    elif how == "newer":
        info = json.loads((path / "run.json").read_text())
        (path / "run.json").write_text(json.dumps({**info, "format": 99}))
    elif how == "description":
        (path / "run.json").write_text("{")
    elif how == "untrusted":
        info = json.loads((path / "run.json").read_text())
        info["model"]["name"] = "tests.models.outside:Transitions"
        (path / "run.json").write_text(json.dumps(info))


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("weights", "damaged"),
        ("truncated", "damaged or truncated"),
        ("newer", "upgrade Monge"),
        ("description", "damaged"),
        ("untrusted", "--trust"),
    ],
)
@pytest.mark.parametrize("command", ["recommend", "evaluate", "similar", "compare"])
def test_runs_that_cannot_be_opened(how: str, expected: str, command: str, runs: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    path = Path(shutil.copytree(runs / "sasrec", tmp_path / "copy"))
    spoil(path, how)
    extra = {"recommend": ["--user", "u1"], "similar": ["--item", "i1"]}.get(command, [])
    error = refused(command, path, *extra)
    assert expected in error
    assert "copy" in error


def test_show_refuses_what_is_newer_or_damaged(runs: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    for how, expected in (("newer", "upgrade Monge"), ("description", "damaged")):
        path = Path(shutil.copytree(runs / "sasrec", tmp_path / how))
        spoil(path, how)
        assert expected in refused("show", path)
    assert "no run.json" in refused("show", tmp_path)


@pytest.mark.parametrize("keep", [("model",), ("model", "data"), ("model", "data", "environment")])
def test_show_refuses_a_description_without_its_parts(
    keep: tuple[str, ...], runs: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    path = Path(shutil.copytree(runs / "sasrec", tmp_path / "copy"))
    info = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps({"format": 1, **{name: info[name] for name in keep}}))
    assert "damaged" in refused("show", path)


def test_an_output_folder_that_holds_a_run_is_refused_before_the_data_are_read(
    runs: Path, refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "toy.csv").write_text(HEADER + GOOD)
    error = refused("train", "popular", "toy.csv", "--out", runs / "sasrec")
    assert "already holds a run" in error
    assert "--resume" in error
    (tmp_path / "file").write_text("x")
    assert "file" in refused("train", "popular", "toy.csv", "--out", "file")


CONFIGS = [
    ("dmi: 8\n", ("dmi", "did you mean 'dim'", "c.yaml")),
    ("dim: wide\n", ("--dim", "wide")),
    ("dim: [8]\n", ("--dim",)),
    ("dim: 0\n", ("--dim", "0")),
    ("- dim\n", ("c.yaml", "name: value")),
    ("dim: 8: 9\n", ("c.yaml", "YAML")),
    ("\t{", ("c.yaml", "YAML")),
    ("3: 4\n", ("c.yaml", "name: value")),
    ("metrics: 7\n", ("no metric '7'",)),
    ("metrics: [recal@10]\n", ("recal@10", "did you mean 'recall'")),
    ("protocol: leave-two-out\n", ("leave-two-out",)),
    ("protocol_options: 3\n", ("protocol", "3")),
    ("protocol_options: {nim_length: 3}\n", ("nim_length",)),
    ("out: [1]\n", ("out",)),
    ("track: mlfow\n", ("mlfow", "did you mean 'mlflow'")),
    ("rating_at_least: many\n", ("rating", "many")),
    ("k_core: many\n", ("k-core", "many")),
    ("device: 3\n", ("device", "3")),
    ("resume: perhaps\n", ("resume", "perhaps")),
]


@pytest.mark.parametrize(("text", "expected"), CONFIGS, ids=lambda value: value if isinstance(value, str) else "")
def test_option_files_that_are_wrong(text: str, expected: tuple[str, ...], tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "toy.csv").write_text(HEADER + GOOD)
    (tmp_path / "c.yaml").write_text(text)
    error = refused("train", "sasrec", "toy.csv", "--config", "c.yaml")
    for word in expected:
        assert word in error


def test_an_option_file_that_is_not_there(tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "toy.csv").write_text(HEADER + GOOD)
    assert "c.yaml: no such file" in refused("train", "sasrec", "toy.csv", "--config", "c.yaml")
    (tmp_path / "c.yaml").write_bytes(b"\xff\xfe\x00\x80")
    assert "c.yaml" in refused("train", "sasrec", "toy.csv", "--config", "c.yaml")
    (tmp_path / "d.yaml").mkdir()
    assert "d.yaml" in refused("train", "sasrec", "toy.csv", "--config", "d.yaml")


def test_the_same_from_a_shell(tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("user_id,thing,timestamp\n1,2,3\n")
    done = subprocess.run([sys.executable, "-m", "monge", "train", "popular", "bad.csv"], capture_output=True, text=True, cwd=tmp_path)
    assert "thing" in Done(done.returncode, done.stdout, done.stderr).error
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]


def test_debug_shows_where_an_error_came_from(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "monge", "--debug", "show", "nothing"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "RunError: nothing: no such run directory" in done.stderr
