"""What the commands print and leave behind."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

import monge
from monge.data import Split, read
from tests.cli.command import Call, one_object
from tests.conftest import cycle_sequences

SMALL = ("--epochs", "2", "--dim", "8", "--max-length", "6", "--n-layers", "1", "--device", "cpu", "--no-report")


@pytest.mark.parametrize("model", [("popular",), ("sasrec", *SMALL)], ids=lambda value: value[0])
def test_train_prints_one_json_object(model: tuple[str, ...], call: Call, write_cycle: Callable[..., Path]) -> None:
    data = write_cycle()
    done = call("train", model[0], data, "--json", "--metrics", "ndcg@10, recall@5,coverage@3", "--out", "run", *model[1:])
    content = one_object(done.out)
    assert list(content) == ["run", "model", "data", "validation", "test"]
    assert (content["run"], content["model"], content["data"]) == ("run", model[0], str(data))
    for part in ("validation", "test"):
        assert list(content[part]) == ["ndcg@10", "recall@5", "coverage@3"]
        for estimate in content[part].values():
            assert list(estimate) == ["mean", "low", "high"]
            assert 0 <= estimate["low"] <= estimate["mean"] <= estimate["high"] <= 1
    assert json.loads(Path("run/result.json").read_text())["test"] == content["test"]
    assert "toy.csv" in done.err  # progress goes to standard error
    if model[0] == "sasrec":
        assert [line.partition(":")[0] for line in done.err.splitlines() if line.startswith("epoch ")] == ["epoch 1", "epoch 2"]


def test_train_prints_a_table_and_writes_a_report(call: Call, write_cycle: Callable[..., Path]) -> None:
    pytest.importorskip("plotly")
    done = call("train", "popular", write_cycle())
    assert "ndcg@10" in done.out
    assert Path("runs/popular-toy/report.html").stat().st_size > 1000
    assert "report.html" in done.out
    info = json.loads(Path("runs/popular-toy/run.json").read_text())
    assert info["command"].startswith("monge train popular ")


def test_options_reach_the_run(call: Call, write_cycle: Callable[..., Path]) -> None:
    extra = ("--no-bucketed", "--seed", "5", "--select", "recall@5", "--protocol", "ratio", "--protocol-option", "seed=3")
    call("train", "sasrec", write_cycle(), "--out", "run", *SMALL, *extra, "--min-length", "6")
    info = json.loads(Path("run/run.json").read_text())
    assert info["model"]["config"]["bucketed"] is False
    assert (info["model"]["config"]["dim"], info["training"]["seed"], info["training"]["select"]) == (8, 5, "recall@5")
    assert (info["protocol"]["name"], info["protocol"]["options"]["seed"]) == ("ratio", 3)
    assert info["data"]["describe"]["n_users"] == sum(len(row) >= 6 for row in cycle_sequences())


def test_an_option_without_effect_is_told(call: Call, write_cycle: Callable[..., Path]) -> None:
    done = call(
        "train", "stosa", write_cycle(), *SMALL, "--loss", "full_ce", "--pvn-weight", "0.1", "--n-negatives", "4", "--temperature", "2"
    )
    told = [line for line in done.err.splitlines() if "has no effect" in line]
    assert sorted(told) == ["--n-negatives has no effect with --loss full_ce", "--pvn-weight has no effect with --loss full_ce"]


def test_defaults_give_way_to_the_file_and_the_file_to_the_command_line(
    call: Call, write_cycle: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "c.yaml").write_text(
        "dim: 12\nn-heads: 3\nepochs: 1\nseed: 4\nno_report: true\n".replace("no_report: true", "report: false")
        + "max_length: 6\nn_layers: 1\nbucketed: false\nlearning_rate: 1e-2\nmetrics: [mrr, recall@3]\nprotocol: leave-one-out\n"
        "protocol_options: {min_length: 6}\nmin_length: 6\nout: from-file\ndevice: cpu\n"
    )
    call("train", "sasrec", write_cycle(), "--config", "c.yaml", "--seed", "9", "--dim", "6")
    info, result = (json.loads((tmp_path / "from-file" / name).read_text()) for name in ("run.json", "result.json"))
    config = info["model"]["config"]
    assert (config["dim"], config["n_heads"], config["learning_rate"], config["bucketed"]) == (6, 3, 0.01, False)
    assert config["dropout"] == 0.5  # the default
    assert (info["training"]["seed"], info["training"]["epochs"]) == (9, 1)
    assert info["protocol"]["options"]["min_length"] == 6
    assert list(result["test"]) == ["mrr", "recall@3"]
    assert not (tmp_path / "from-file" / "report.html").exists()


def test_a_flag_may_be_turned_round_on_the_command_line(call: Call, write_cycle: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("bucketed: false\nnormalise: true\n")
    call("train", "sasrec", write_cycle(), "--config", "c.yaml", "--bucketed", "--no-normalise", "--out", "run", *SMALL)
    config = json.loads(Path("run/run.json").read_text())["model"]["config"]
    assert (config["bucketed"], config["normalise"]) == (True, False)


def test_noise_is_the_same_for_every_model_and_lies_with_the_run(call: Call, write_cycle: Callable[..., Path]) -> None:
    data, noise = write_cycle(), ("--protocol", "ratio", "--noise-ratio", "0.2", "--noise-seed", "4")
    call("train", "popular", data, *noise, "--out", "a", "--no-report")
    call("train", "clrec", data, *noise, "--out", "b", "--no-report", "--epochs", "1", "--dim", "4")
    call("data", "split", data, *noise, "--out", "c.safetensors")
    call("train", "popular", data, "--protocol", "ratio", "--out", "clean", "--no-report")
    splits = [Split.load(path) for path in ("a/split.safetensors", "b/split.safetensors", "c.safetensors", "clean/split.safetensors")]
    rows = [list(zip(split.train.user.tolist(), split.train.item.tolist(), strict=True)) for split in splits]
    assert rows[0] == rows[1] == rows[2]
    assert len(rows[0]) == len(rows[3]) + round(0.2 * len(rows[3]))
    assert set(rows[3]) < set(rows[0])
    options = json.loads(Path("a/run.json").read_text())["protocol"]["options"]
    assert (options["noise_ratio"], options["noise_seed"]) == (0.2, 4)
    for split in splits:
        assert split.test.truth.values.tolist() == splits[3].test.truth.values.tolist()
    Path("c.yaml").write_text("noise_ratio: 0.3\nprotocol: ratio\n")
    call("train", "popular", data, "--config", "c.yaml", "--out", "from-file", "--no-report")
    call("train", "popular", data, "--config", "c.yaml", "--noise-ratio", "0", "--out", "none", "--no-report")
    assert json.loads(Path("from-file/run.json").read_text())["protocol"]["options"]["noise_ratio"] == 0.3
    assert "noise_ratio" not in json.loads(Path("none/run.json").read_text())["protocol"]["options"]
    call("tune", "itemknn", data, *noise, "--out", "study", "--trials", "1", "--space", "k=3,5")
    assert Split.load("study/split.safetensors").train.item.tolist() == splits[0].train.item.tolist()


def test_split_once_train_twice(call: Call, write_cycle: Callable[..., Path]) -> None:
    done = call("data", "split", write_cycle(), "--out", "s.safetensors")
    assert "50 validation and 50 test queries" in done.out
    assert len(Split.load("s.safetensors").test) == 50
    call("train", "popular", "s.safetensors", "--out", "a", "--no-report")
    call("train", "itemknn", "s.safetensors", "--out", "b", "--k", "3", "--no-report")
    done = call("compare", "a", "b", "--metrics", "mrr,ndcg@5", "--json")
    content = one_object(done.out)
    assert list(content["results"]) == ["a", "b"]
    (mrr, ndcg) = content["against_first"]
    assert (mrr["run"], mrr["first"], mrr["metric"], ndcg["metric"], mrr["n_queries"]) == ("b", "a", "mrr", "ndcg@5", 50)
    difference = content["results"]["b"]["mrr"]["mean"] - content["results"]["a"]["mrr"]["mean"]
    assert mrr["difference"] == pytest.approx(difference)
    assert mrr["low"] <= mrr["difference"] <= mrr["high"]
    text = call("compare", "a", "b", "--metrics", "mrr").out
    assert "b against a, mrr:" in text
    assert "paired t-test p = " in text


@pytest.mark.parametrize("name", ["popular", "sasrec", "bprmf"])
def test_recommend_for_a_user(name: str, call: Call, runs: Path) -> None:
    rows = one_object(call("recommend", runs / name, "--user", "u3", "-k", "4", "--json").out)
    seen = {f"i{item}" for item in cycle_sequences()[3]}
    assert [row["rank"] for row in rows] == [1, 2, 3, 4]
    assert {row["user_id"] for row in rows} == {"u3"}
    assert not seen & {row["item_id"] for row in rows}
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    everything = one_object(call("recommend", runs / name, "--user", "u3", "--include-seen", "--json").out)
    assert {row["item_id"] for row in everything} == {f"i{item}" for item in range(10)}
    assert rows == monge.load_run(runs / name).recommend("u3", k=4)


def test_without_k_a_small_catalogue_gives_what_it_has(call: Call, runs: Path) -> None:
    rows = one_object(call("recommend", runs / "popular", "--history", "i1,i2,i3,i4,i5,i6,i7,i8", "--json").out)
    assert {row["item_id"] for row in rows} == {"i0", "i9"}
    assert len(one_object(call("similar", runs / "popular", "--item", "i4", "--json").out)) == 9


def test_nothing_left_to_recommend_is_said(call: Call, runs: Path) -> None:
    everything = ",".join(f"i{item}" for item in range(10))
    assert call("recommend", runs / "popular", "--history", everything).out.startswith("Nothing is left to recommend")


@pytest.mark.parametrize("name", ["popular", "sasrec"])
def test_recommend_for_somebody_unknown(name: str, call: Call, runs: Path) -> None:
    rows = one_object(call("recommend", runs / name, "--history", "i1, i2,i3", "--exclude", "i4,i5", "--json").out)
    assert {row["item_id"] for row in rows} == {"i0", "i6", "i7", "i8", "i9"}
    assert {row["user_id"] for row in rows} == {None}
    first = rows[0]["item_id"]
    again = one_object(call("recommend", runs / name, "--history", "i1,i2,i3", "--exclude", f"i4,i5,{first}", "--json").out)
    assert [row["item_id"] for row in again] == [row["item_id"] for row in rows[1:]]
    table = call("recommend", runs / name, "--history", "i1,i2,i3", "--k", "2").out
    assert "a history of 3 items" in table
    assert "i4" in table or first in table


def test_similar(call: Call, runs: Path) -> None:
    rows = one_object(call("similar", runs / "sasrec", "--item", "i4", "--k", "9", "--json").out)
    assert {row["item_id"] for row in rows} == {f"i{item}" for item in range(10)} - {"i4"}
    assert all(-1.0001 <= row["score"] <= 1.0001 for row in rows)  # cosines
    assert "i4" in call("similar", runs / "popular", "--item", "i4", "--k", "2").out


def test_evaluate_again(call: Call, runs: Path) -> None:
    stored = json.loads((runs / "sasrec" / "result.json").read_text())
    for part in ("test", "validation"):
        content = one_object(call("evaluate", runs / "sasrec", "--json", "--part", part).out)
        assert content[part] == stored[part]
        assert (content["model"], content["run"]) == ("sasrec", str(runs / "sasrec"))
    assert "ndcg@3" in call("evaluate", runs / "sasrec", "--metrics", "ndcg@3, mrr").out


def test_one_row_a_query(call: Call, runs: Path) -> None:
    call("evaluate", runs / "sasrec", "--metrics", "mrr,recall@5,coverage@5", "--per-query", "rows.parquet")
    frame = pl.read_parquet("rows.parquet")
    assert frame.columns == ["user_id", "mrr", "recall@5"]
    assert frame["user_id"].to_list() == [f"u{number}" for number in range(50)]
    stored = json.loads((runs / "sasrec" / "result.json").read_text())["test"]
    assert frame["mrr"].mean() == pytest.approx(stored["mrr"]["mean"])


def test_show(call: Call, runs: Path) -> None:
    content = one_object(call("show", runs / "sasrec", "--json").out)
    assert list(content) == ["run", "info", "result"]
    assert content["info"]["model"]["name"] == "sasrec"
    text = call("show", runs / "sasrec").out
    for word in ("sasrec", "dim", "leave-one-out", "torch", "ndcg@10"):
        assert word in text


def test_models(call: Call) -> None:
    rows = one_object(call("models", "--json").out)
    assert {row["name"] for row in rows} == set(monge.models.MODELS)  # pyright: ignore[reportAttributeAccessIssue]
    assert all(row["description"] for row in rows)
    assert "arXiv:2301.12197" in next(row["paper"] for row in rows if row["name"] == "mstein")
    options = one_object(call("models", "mstein", "--json").out)
    assert options["cl_weight"]["default"] == 0.005
    assert "cl_weight" in call("models", "mstein").out
    assert "mstein" in call("models").out


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_page_of_a_model_keeps_its_formulas_and_fills_its_paragraphs(width: int, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monge.cli.show.stdout", Console(highlight=False, width=width))
    text = (sys.modules[monge.find_model("i2vae").__module__].__doc__ or "").strip()
    lines = call("models", "i2vae").out.partition("options and defaults")[0].splitlines()
    formulas = [line for line in text.splitlines() if line.startswith(" ")]
    assert [line for line in lines if line.startswith(" ")] == formulas
    prose = [line.rstrip() for line in lines if line[:1] not in ("", " ")]
    assert " ".join(prose).split() == [word for line in text.splitlines() if line[:1] != " " for word in line.split()]
    assert max(map(len, prose)) <= width
    for line, following in itertools.pairwise(line.rstrip() for line in lines):
        if line[:1] not in ("", " ") and following[:1] not in ("", " "):
            assert len(line) + 1 + len(following.split()[0]) > width  # not a word more would have fitted


def test_a_narrow_list_of_models_leaves_room_for_words(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    for width, longest in ((80, 40), (140, 40)):
        monkeypatch.setattr("monge.cli.show.stdout", Console(highlight=False, width=width))
        text = call("models").out
        assert max(len(line.rstrip()) for line in text.splitlines()) <= width
        assert max(len(line.rstrip()[33:]) for line in text.splitlines()) > longest
        assert ("description, paper" in text) == (width == 80)
        assert "arXiv:2301.12197" in text


def test_data_describe(call: Call, write_cycle: Callable[..., Path]) -> None:
    data = write_cycle()
    content = one_object(call("data", "describe", data, "--json").out)
    n_rows = sum(map(len, cycle_sequences()))
    assert (content["n_users"], content["n_items"], content["n_interactions"]) == (50, 10, n_rows)
    assert f"{n_rows}" in call("data", "describe", data).out
    fewer = one_object(call("data", "describe", data, "--min-length", "8", "--json").out)
    assert fewer["n_users"] == sum(len(row) >= 8 for row in cycle_sequences())


@pytest.mark.parametrize("suffix", ["parquet", "csv", "inter"])
def test_data_convert(suffix: str, call: Call, write_cycle: Callable[..., Path], tmp_path: Path) -> None:
    data = write_cycle()
    done = call("data", "convert", data, f"new.{suffix}")
    assert "50 users with 10 items" in done.out
    assert read(tmp_path / f"new.{suffix}").fingerprint == read(data).fingerprint


def test_data_list(call: Call) -> None:
    text = call("data", "list").out
    for name in ("ml-100k", "amazon-beauty"):
        assert name in text


def test_an_outside_model_is_trained_by_its_path_and_asked_when_trusted(call: Call, write_cycle: Callable[..., Path]) -> None:
    name = "tests.models.outside:Transitions"
    call("train", name, write_cycle(), "--epochs", "2", "--device", "cpu", "--no-report")
    (out,) = Path("runs").iterdir()
    rows = one_object(call("recommend", out, "--history", "i1", "--k", "3", "--json", "--trust", name).out)
    assert len(rows) == 3


def test_a_reader_who_leaves_early_is_no_error() -> None:
    """`monge data list | head -1`: no traceback when the pipe closes."""
    command = f"{sys.executable} -m monge data list | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, env={**os.environ, "COLUMNS": "80"})
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
