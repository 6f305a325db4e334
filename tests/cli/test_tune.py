"""`monge tune`: what it prints, keeps, goes on with and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

import monge
from monge.cli import show
from monge.cli.show import StudyBars
from monge.models import MODELS
from monge.training.loop import EpochRecord, Progress, TrainingConfig
from monge.training.study import Trial
from tests.cli.command import Call, monge_cli, one_object

pytest.importorskip("optuna")

SMALL = ("--epochs", "2", "--max-length", "6", "--n-layers", "1", "--n-heads", "1", "--device", "cpu")
SPACE = ("--space", "learning-rate=1e-6..1e-1:log", "--space", "dim=4,8")


def test_a_study_prints_a_table_and_its_best_options_train(call: Call, write_cycle: Callable[..., Path]) -> None:
    data = write_cycle()
    done = call("tune", "sasrec", data, *SPACE, *SMALL, "--trials", "3", "--min-length", "6", "--protocol-option", "min_length=4")
    assert [line.partition(":")[0] for line in done.err.splitlines() if line.startswith("trial ")] == [
        "trial 1 of 3",
        "trial 2 of 3",
        "trial 3 of 3",
    ]
    for word in ("rank", "ndcg@10", "learning_rate", "3 trials: 3 finished", "validation", "train it: monge train sasrec"):
        assert word in done.out
    out = Path("runs/tune-sasrec-toy")
    kept = json.loads((out / "study.json").read_text())
    assert kept["command"].startswith("monge tune sasrec ")
    assert kept["data"] == str(data)
    best = yaml.safe_load((out / "best.yaml").read_text())
    assert (best["min_length"], best["protocol_options"], best["select"]) == (6, {"min_length": 4}, "ndcg@10")

    content = one_object(call("tune", "sasrec", data, *SPACE, *SMALL, "--trials", "3", "--min-length", "6",
                              "--protocol-option", "min_length=4", "--json").out)  # fmt: skip
    assert list(content) == ["study", "model", "data", "metric", "best", "importance", "trials"]
    assert [trial["number"] for trial in content["trials"]] == [1, 2, 3]  # those of the first call
    assert content["best"]["value"] == max(trial["value"] for trial in content["trials"])
    assert {name: best[name] for name in ("learning_rate", "dim")} == content["best"]["options"]

    trained = one_object(call("train", "sasrec", data, "--config", out / "best.yaml", "--out", "best", "--no-report", "--json").out)
    assert trained["validation"]["ndcg@10"]["mean"] == content["best"]["value"]
    split = ("--config", "own.yaml", "--out", "same", "--no-report", "--json")
    Path("own.yaml").write_text(yaml.safe_dump({name: value for name, value in best.items() if name != "min_length"}))
    again = one_object(call("train", "sasrec", out / "split.safetensors", *split).out)  # and on the very split of the study
    assert again["test"] == trained["test"]


def test_the_study_file_may_hold_everything(call: Call, write_cycle: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "space:\n  learning-rate: 1e-4..1e-1:log\n  dim: [4, 8]\n  regularisation: 0,0.1\nepochs: 1\ntrials: 2\n"
        "metric: mrr\nsampler: random\npruner: none\nseed: 7\nout: from-file\ndevice: cpu\nbatch_size: 64\n"
    )
    content = one_object(call("tune", "bprmf", write_cycle(), "--config", "s.yaml", "--trials", "3", "--space", "dim=2,3", "--json").out)
    assert (content["study"], content["metric"], len(content["trials"])) == ("from-file", "mrr", 3)
    kept = json.loads(Path("from-file/study.json").read_text())["identity"]
    assert kept["space"] == {"learning_rate": "0.0001..0.1:log", "dim": "2,3", "regularisation": "0.0,0.1"}
    assert (kept["sampler"], kept["pruner"], kept["seed"], kept["option"]["epochs"]) == ("random", "none", 7, 1)
    assert {trial["options"]["dim"] for trial in content["trials"]} <= {2, 3}


def test_a_model_is_searched_by_itself_without_a_space(call: Call, write_cycle: Callable[..., Path]) -> None:
    content = one_object(call("tune", "itemknn", write_cycle(), "--weighting", "bm25", "--trials", "2", "--json").out)
    assert list(content["trials"][0]["options"]) == ["k", "bm25_k1", "bm25_b"]  # what bm25 uses; the weighting itself is fixed


REFUSED = [
    (("--space", "dmi=8,16"), ("dmi", "did you mean 'dim'")),
    (("--space", "dim"), ("NAME=LOW..HIGH", "'dim'")),
    (("--space", "dim=8,16", "--space", "dim=4,8"), ("dim", "twice")),
    (("--space", "dim=8,16", "--dim", "8"), ("dim", "both searched and fixed")),
    (("--space", "dropout=0.1..1.5"), ("--dropout", "1.5")),
    (("--space", "learning_rate=1e-2..1e-4"), ("learning_rate=1e-2..1e-4",)),
    (("--space", "n_heads=3,5"), ("--n-heads must divide --dim",)),
    (("--space", "seed=0,1"), ("seed", "fix it with --seed")),
    (("--sampler", "bayes"), ("bayes", "tpe")),
    (("--sampler", "grid"), ("grid", "learning_rate")),
    (("--metric", "ndgc@10"), ("ndgc@10", "did you mean 'ndcg'")),
    (("--metric", "ndcg"), ("ndcg", "cut-off")),
    (("--trials", "0"), ("error: --trials must be at least 1; got 0",)),
    (("--seed", "-1"), ("error: --seed must be at least 0; got -1",)),
    (("--minutes", "0"), ("error: --minutes must be above 0; got 0.0",)),
    (("--trials", "many"), ("--trials", "many")),
    (("--select", "mrr"), ("--select", "say --metric mrr")),
    (("--device", "gpuu"), ("gpuu",)),
    (("--k-core", "99"), ("99",)),
    (("--protocol", "leave-two-out"), ("leave-two-out",)),
    (("--config", "no.yaml"), ("no.yaml", "no such file")),
    (("--config", "bad.yaml"), ("bad.yaml", "space holds lines")),
    (("--config", "select.yaml"), ("select", "metric of the study")),
    (("--out", "full"), ("full", "holds no study")),
]


@pytest.mark.parametrize(("arguments", "expected"), REFUSED, ids=lambda value: " ".join(value))
def test_what_is_wrong_is_one_sentence_and_leaves_nothing(
    arguments: tuple[str, ...],
    expected: tuple[str, ...],
    write_cycle: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = write_cycle()
    (tmp_path / "bad.yaml").write_text("space: dim\n")
    (tmp_path / "select.yaml").write_text("select: mrr\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    error = monge_cli(capsys, "tune", "sasrec", data, *arguments).error
    for word in expected:
        assert word in error
    assert sorted(tmp_path.rglob("*")) == before


def test_another_space_in_the_same_folder_is_refused(call: Call, write_cycle: Callable[..., Path], capsys: Any) -> None:
    data, fixed = write_cycle(), ("--epochs", "1", "--batch-size", "64", "--trials", "1", "--device", "cpu", "--out", "s")
    call("tune", "bprmf", data, "--space", "dim=4,8", *fixed)
    error = monge_cli(capsys, "tune", "bprmf", data, "--space", "dim=4,9", *fixed).error
    assert "s holds a study with space dim = 4,8, not 4,9" in error
    assert len(Path("s/trials.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("popular", "last-popular")])
def test_every_models_page_says_what_is_searched(name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    done = monge_cli(capsys, "tune", name, "--help")
    assert done.code == 0
    text = " ".join(done.out.replace("│", " ").split())
    config: Any = monge.find_model(name).Config()
    for option, values in config.space().items():
        assert f"{option}={values}" in text
    for word in ("Example: monge tune", "--space", "--trials", "--seed", "--epochs"):
        assert word in text
    assert "--select" not in text


def test_a_terminal_shows_trials_and_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(stderr=False, force_terminal=True, width=150, record=True, highlight=False, file=open("screen", "w"))  # noqa: SIM115
    monkeypatch.setattr(show, "stderr", console)
    with StudyBars() as bars:
        bars.trial(1, 4, {"dim": 8})
        bars.start(3, TrainingConfig(epochs=5, select="mrr"), Progress())
        bars.epoch(Progress(epoch=2, records=[EpochRecord(2, 0.1, {"total": 1.0}, {"mrr": 0.25})]))
        drawn = Console(width=150)
        with drawn.capture() as shown:
            drawn.print(bars.bars.get_renderable())
        assert "0/4" in shown.get()
        assert "2/5" in shown.get()
        assert "mrr 0.2500" in shown.get()
        first = Trial(number=1, state="finished", options={"dim": 8}, value=0.25, best_epoch=2, seconds=1.0)
        bars.tried(first, first)
        bars.tried(Trial(number=2, state="failed", options={"dim": 9}, note="it diverged"), first)
    console.file.close()
    text = console.export_text()
    assert "trial 1 of 4: dim 8 | finished, 0.2500 in epoch 2 | 1.0 s | best 0.2500 in trial 1" in text
    assert "trial 2 of 4: dim 9 | it diverged | 0.0 s | best 0.2500 in trial 1" in text
