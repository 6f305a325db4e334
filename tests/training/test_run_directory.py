"""Run directories that are missing, damaged, truncated, newer, in the way, or on a full disk."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import nn

import monge
from monge.data.files import write_atomically
from monge.errors import MongeError, RunError
from monge.training.checkpoint import load_model_tensors, model_tensors, read_tensors, save_tensors
from monge.training.run import FORMAT, RunDirectory
from tests.conftest import cycle_sequences, log_of

PATHS = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
"""Where a process of its own finds this package of tests."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run"
    monge.train("sasrec", log_of(cycle_sequences()), out=out, epochs=2, dim=8, max_length=6, n_layers=1, device="cpu")
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy that may be spoiled."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def open_and_ask(path: Path) -> Any:
    loaded = monge.load_run(path)
    return loaded.recommend("u1", k=3), loaded.evaluate(["mrr"]).to_dict(), loaded.result


def assert_one_sentence(error: BaseException) -> None:
    text = str(error)
    assert text
    assert "\n" not in text
    assert "Traceback" not in text


def test_a_run_directory_holds_what_its_page_says(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    expected = {"run.json", "result.json", "metrics.jsonl", "split.safetensors", "weights.safetensors"}
    assert names == expected | {"users.parquet", "items.parquet", "histories.parquet"}
    info = json.loads((finished / "run.json").read_text())
    assert (info["format"], info["state"], info["model"]["name"]) == (FORMAT, "finished", "sasrec")
    assert info["model"]["config"]["dim"] == 8
    assert info["training"]["epochs"] == 2
    assert info["model"]["n_parameters"] > 0
    assert {"python", "torch", "date", "cores"} <= set(info["environment"])
    result = json.loads((finished / "result.json").read_text())
    for part in ("validation", "test"):
        assert {"mean", "low", "high"} == set(result[part]["ndcg@10"])
    assert result["seconds"]["training"] > 0
    mask = os.umask(0)
    os.umask(mask)
    assert {path.stat().st_mode & 0o777 for path in finished.iterdir()} == {0o666 & ~mask}  # readable like any other file of this user


def test_what_is_known_of_a_user_is_the_whole_log(finished: Path) -> None:
    run = monge.load_run(finished)
    assert run.histories[3].tolist() == cycle_sequences()[3]
    seen = {f"i{item}" for item in cycle_sequences()[3]}
    assert {row["item_id"] for row in run.recommend("u3", k=10)} == {f"i{item}" for item in range(10)} - seen
    assert len(run.recommend("u3", k=10, include_seen=True)) == 10


@pytest.mark.parametrize("protocol", ["leave-one-out", "ratio", "temporal", "strong-generalisation"])
def test_a_split_file_knows_the_same_of_each_user_as_the_log(protocol: str, tmp_path: Path) -> None:
    log = log_of(cycle_sequences())
    monge.make_split(log, protocol).save(tmp_path / "split.safetensors")
    run = monge.train("popular", str(tmp_path / "split.safetensors"), out=tmp_path / "run")
    loaded = monge.load_run(tmp_path / "run")
    for user, sequence in enumerate(cycle_sequences()):
        number = int(run.users.number(f"u{user}"))
        expected = [f"i{item}" for item in sequence]  # oldest first, whichever part each item fell into
        assert run.items.decode(run.histories[number]).tolist() == expected
        assert loaded.items.decode(loaded.histories[number]).tolist() == expected


@pytest.mark.parametrize("name", ["users.parquet", "items.parquet", "histories.parquet", "split.safetensors", "weights.safetensors"])
@pytest.mark.parametrize("how", ["missing", "empty", "truncated", "text"])
def test_a_spoiled_file_is_named_in_one_sentence(name: str, how: str, run: Path) -> None:
    path = run / name
    content = path.read_bytes()
    path.unlink()
    if how != "missing":
        path.write_bytes({"empty": b"", "truncated": content[: 2 * len(content) // 3], "text": b"user,item\n1,2\n"}[how])
    with pytest.raises(RunError) as error:
        open_and_ask(run)
    assert_one_sentence(error.value)
    assert name in str(error.value) or "no weights yet" in str(error.value)


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", '"run"', '{"format": null}', '{"format": "new"}', "{}", "\x00\x01"])
def test_a_spoiled_description_is_damaged(content: str, run: Path) -> None:
    (run / "run.json").write_text(content)
    with pytest.raises(RunError, match=r"run.json: damaged"):
        open_and_ask(run)


@pytest.mark.parametrize("keys", [("model",), ("model", "config"), ("model", "name"), ("training",), ("training", "seed")])
def test_a_description_without_its_parts_is_damaged(keys: tuple[str, ...], run: Path) -> None:
    info = json.loads((run / "run.json").read_text())
    part = info
    for key in keys[:-1]:
        part = part[key]
    del part[keys[-1]]
    (run / "run.json").write_text(json.dumps(info))
    with pytest.raises(RunError, match="damaged"):
        open_and_ask(run)


def test_binary_in_place_of_json_is_damaged(run: Path) -> None:
    for name in ("run.json", "result.json"):
        content = (run / name).read_bytes()
        (run / name).write_bytes(b"\xff\xfe\x80" + content)
        with pytest.raises(RunError, match="damaged"):
            open_and_ask(run)
        (run / name).write_bytes(content)


def test_a_newer_format_says_upgrade(run: Path) -> None:
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**info, "format": FORMAT + 1, "model": "changed"}))
    with pytest.raises(RunError, match=rf"run format {FORMAT + 1} is newer than this Monge reads \({FORMAT}\); upgrade Monge"):
        monge.load_run(run)


def test_one_flipped_byte_of_the_weights_is_noticed(run: Path) -> None:
    path = run / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"weights.safetensors: damaged \(its checksum"):
        monge.load_run(run)


def test_weights_without_a_checksum_are_damaged(run: Path) -> None:
    path = run / "weights.safetensors"
    path.write_bytes(save(load(path.read_bytes()), metadata={"monge": "{}"}))
    with pytest.raises(RunError, match=r"weights.safetensors: damaged \(its checksum"):
        monge.load_run(run)


def test_tensors_of_every_kind_come_back(tmp_path: Path) -> None:
    tensors = {
        "scalar": torch.tensor(2.5),
        "half": torch.ones(2, 3, dtype=torch.bfloat16),
        "none": torch.empty(0, 4),
        "flags": torch.tensor([True]),
    }
    save_tensors(tmp_path / "x.safetensors", tensors, {"epoch": 3})
    found, header = read_tensors(tmp_path / "x.safetensors")
    assert header == {"epoch": 3}
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype for name, tensor in tensors.items())


def test_what_a_model_has_under_two_names_is_stored_once_and_stays_one(tmp_path: Path) -> None:
    def tied() -> nn.ModuleDict:
        heads = nn.ModuleList([nn.Linear(3, 2)])
        return nn.ModuleDict({"first": heads, "second": heads, "other": nn.BatchNorm1d(2)})

    model, again = tied(), tied()
    save_tensors(tmp_path / "x.safetensors", model_tensors(model))
    found, _ = read_tensors(tmp_path / "x.safetensors")
    assert sorted(name for name in found if not name.startswith("other.")) == ["first.0.bias", "first.0.weight"]
    load_model_tensors(again, found)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert again["second"] is again["first"]
    with pytest.raises(RunError, match=r"do not fit the model: first\.0\.bias"):
        load_model_tensors(again, {name: tensor for name, tensor in found.items() if name != "first.0.bias"})


def test_weights_of_another_width_do_not_fit(run: Path) -> None:
    info = json.loads((run / "run.json").read_text())
    info["model"]["config"]["dim"] = 16
    (run / "run.json").write_text(json.dumps(info))
    with pytest.raises(RunError, match="do not fit the model"):
        monge.load_run(run)


def test_any_flipped_byte_gives_an_error_of_ours_or_a_run(run: Path) -> None:
    """No file of a run, however spoiled, ends in a foreign exception."""
    rng = np.random.default_rng(0)
    paths = sorted(path for path in run.iterdir() if path.name != "metrics.jsonl")
    n_refused = 0
    for _ in range(120):
        path = paths[rng.integers(len(paths))]
        content = path.read_bytes()
        spoiled = bytearray(content)
        spoiled[rng.integers(len(spoiled))] ^= 1 << rng.integers(8)
        path.write_bytes(spoiled)
        try:
            open_and_ask(run)
        except MongeError as error:
            n_refused += 1
            assert_one_sentence(error)
        path.write_bytes(content)
    assert n_refused > 20
    assert open_and_ask(run)


def test_places_that_hold_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such run directory"):
        monge.load_run(tmp_path / "nothing")
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="no such run directory"):
        monge.load_run(tmp_path / "file")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError, match=r"it has no run\.json"):
        monge.load_run(tmp_path / "folder")


def test_a_training_that_fails_before_it_learnt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "implicit", None)  # as if it were not installed
    monkeypatch.setitem(sys.modules, "implicit.cpu.als", None)
    with pytest.raises(MongeError, match=r"pip install 'monge\[baselines\]'"):
        monge.train("wmf", log_of(cycle_sequences()), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(MongeError, match="no user has two training items"):
        monge.train("sasrec", log_of([[0, 1, 2], [3, 4, 5], [6, 7, 8]]), out=tmp_path / "run", dim=8, epochs=1)
    assert not (tmp_path / "run").exists()


def test_a_folder_in_use_is_left_alone(run: Path, tmp_path: Path) -> None:
    log = log_of(cycle_sequences())
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(RunError, match="already holds a run; choose another --out, go on with it by --resume"):
        monge.train("popular", log, out=run)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("x")
    with pytest.raises(RunError, match="exists and is not empty"):
        monge.train("popular", log, out=tmp_path / "notes")
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="file"):
        monge.train("popular", log, out=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "x"
    (tmp_path / "empty").mkdir()
    assert monge.train("popular", log, out=tmp_path / "empty").path == tmp_path / "empty"


def test_wrong_options_leave_nothing_behind(tmp_path: Path) -> None:
    log = log_of(cycle_sequences())
    for options in ({"dim": 0}, {"dmi": 4}, {"epochs": 0}, {"select": "ndgc@10"}, {"metrics": ["recal@3"]}, {"protocol": "leave-two-out"}):
        with pytest.raises(MongeError):
            monge.train("sasrec", log, out=tmp_path / "run", **options)
    assert list(tmp_path.iterdir()) == []


def test_ids_come_back_with_their_type(tmp_path: Path) -> None:
    for ids in ([10, 7, 30], ["10", "7", "x\ny"]):
        log = monge.Interactions.from_columns([1, 1, 1, 2, 2, 2], [*ids, *ids[::-1]])
        out = tmp_path / str(type(ids[0]).__name__)
        monge.train("popular", log, out=out)
        users, items, _ = RunDirectory(out).vocabulary()
        assert users.ids.tolist() == [1, 2]
        assert items.ids.tolist() == ids
        assert items.ids.dtype == log.items.ids.dtype


def limited(command: list[str], n_bytes: int) -> subprocess.CompletedProcess[str]:
    """Run with a limit on the size of any file: writing beyond it fails with EFBIG, as a full disk fails with ENOSPC."""
    return subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": PATHS, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes)),
        timeout=120,
    )


def contents(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


def test_a_disk_that_fills_up_while_training(write_cycle: Callable[..., Path], tmp_path: Path) -> None:
    """The weights of width 64 do not fit into 64 KiB; what was there stays whole, and --resume goes on once there is space."""
    data, out = write_cycle(), tmp_path / "run"
    train = [
        sys.executable,
        "-m",
        "monge",
        "train",
        "sasrec",
        str(data),
        "--out",
        str(out),
        "--epochs",
        "2",
        "--no-report",
        "--device",
        "cpu",
    ]
    failed = limited(train, 64 * 1024)
    assert failed.returncode == 2, failed.stderr
    assert failed.stdout == ""
    errors = [line for line in failed.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert failed.stderr.splitlines()[-1] == errors[0]
    assert "no space left" in errors[0]
    assert "--resume" in errors[0]
    assert "Traceback" not in failed.stderr
    assert contents(out) == ["histories.parquet", "items.parquet", "metrics.jsonl", "run.json", "split.safetensors", "users.parquet"]
    assert json.loads((out / "run.json").read_text())["state"] == "training"
    done = limited([*train, "--resume"], 64 * 2**20)
    assert done.returncode == 0, done.stderr
    whole = monge.train("sasrec", str(data), out=tmp_path / "whole", epochs=2, device="cpu")
    loaded: Any = monge.load_run(out).model
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in whole.model.state_dict().items())  # pyright: ignore[reportAttributeAccessIssue]


def test_a_disk_that_is_full_from_the_start_leaves_no_folder(write_cycle: Callable[..., Path], tmp_path: Path) -> None:
    data, out = write_cycle(n_users=200), tmp_path / "run"
    failed = limited([sys.executable, "-m", "monge", "train", "popular", str(data), "--out", str(out), "--no-report"], 6000)
    assert failed.returncode == 2, failed.stderr
    last = failed.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert "no space left" in last
    assert "--resume" not in last  # there is nothing to go on with
    assert not out.exists()


@pytest.mark.parametrize("n_written", range(5))
def test_a_folder_that_cannot_be_filled_is_taken_away(n_written: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever file of a new run does not fit any more: nothing stays, and the same call works once there is space."""
    written = []

    def write(path: Path, content: bytes | str) -> None:
        if len(written) == n_written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path.name)
        write_atomically(path, content)

    log = log_of(cycle_sequences())
    with monkeypatch.context() as patched:
        patched.setattr("monge.training.run.write_atomically", write)
        with pytest.raises(RunError, match=r"no space left to write it; free some and try again"):
            monge.train("popular", log, out=tmp_path / "run")
    assert len(written) == n_written
    assert list(tmp_path.iterdir()) == []
    assert monge.train("popular", log, out=tmp_path / "run").result


def test_a_report_that_does_not_fit_leaves_the_run(write_cycle: Callable[..., Path], tmp_path: Path) -> None:
    pytest.importorskip("plotly")
    command = [sys.executable, "-m", "monge", "train", "popular", str(write_cycle()), "--out", str(tmp_path / "run"), "--report"]
    failed = limited(command, 64 * 1024)
    assert failed.returncode == 2, failed.stderr
    last = failed.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert "report.html" in last
    assert "Traceback" not in failed.stderr
    assert "report.html" not in contents(tmp_path / "run")
    assert not [name for name in contents(tmp_path / "run") if name.startswith(".")]
    assert monge.load_run(tmp_path / "run").result["test"]


def test_a_split_that_does_not_fit_is_not_half_written(write_cycle: Callable[..., Path], tmp_path: Path) -> None:
    data = write_cycle(n_users=200)
    before = contents(tmp_path)
    failed = limited([sys.executable, "-m", "monge", "data", "split", str(data), "--out", str(tmp_path / "s.safetensors")], 6000)
    assert failed.returncode == 2, failed.stderr
    last = failed.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert "no space left" in last
    assert "--resume" not in last
    assert contents(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(RunError, match="cannot be written"):
        monge.train("popular", log_of(cycle_sequences()), out=tmp_path / "locked" / "run")
