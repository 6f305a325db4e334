"""Several domains on the command line: training, asking, and what is said where it cannot work."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

import monge
from monge.api.asking import compare_runs
from monge.data import Ragged, leave_one_out
from monge.errors import RunError
from tests.cli.command import monge_cli
from tests.conftest import log_of

OPTIONS = ("--protocol", "cross-domain", "--protocol-option", "validation=0.2", "--protocol-option", "test=0.2")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Two domains with the same ids, joined by users; users 0 to 7 have one alone."""
    monkeypatch.chdir(tmp_path)
    for shift, name in enumerate(("books", "films")):
        rows = [
            f"{user},{(user + step + shift) % 6},{10 * step + shift}"
            for user in range(40)
            for step in range(4)
            if name == "books" or user >= 8
        ]
        Path(f"{name}.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(rows) + "\n")
    return "books=books.csv,films=films.csv"


def test_a_run_answers_in_each_domain(files: str, capsys: pytest.CaptureFixture[str]) -> None:
    done = monge_cli(capsys, "train", "c2dsr", files, *OPTIONS, "--epochs", "1", "--dim", "8", "--out", "run", "--no-report")
    assert done.code == 0, done.err
    assert "truths 0 stand in a training row of the same user" in " ".join(done.err.split())
    assert "cold-start" in done.out
    assert "sampled_ndcg@10" in done.out
    for arguments in (("--user", "3"), ("--history", "books=1,2", "--history", "films=4"), ("--history", "books:1,films:4")):
        rows = json.loads(monge_cli(capsys, "recommend", "run", *arguments, "--domain", "films", "--json").out)
        assert rows
        assert {row["item_id"].split(":")[0] for row in rows} == {"films"}
    assert monge_cli(capsys, "recommend", "run", "--user", "3", "--domain", "film").error == (
        "error: no domain 'film'; did you mean 'films'?"
    )
    assert (
        "item films:4 is of domain 'films', not 'books'"
        in monge_cli(capsys, "recommend", "run", "--history", "books=films:4", "--domain", "films").error
    )
    assert (
        "k must be between 1 and the number of items of books, 6; got 7"
        in monge_cli(capsys, "recommend", "run", "--user", "3", "--domain", "books", "--k", "7").error
    )
    assert monge_cli(capsys, "evaluate", "run", "--metrics", "sampled_hit@10", "--json").code == 0
    for arguments, expected in {
        ("recommend", "--history", "books=3", "--history", "books=4"): "--history books=... is given twice",
        ("recommend", "--history", "books=3,films=4"): "takes its own --history: --history books=... --history films=4",
        ("recommend", "--history", "3,77"): "items 3, 77; there are books:3 and films:3 (in a history also --history books=3)",
        ("similar", "--item", "5"): "item 5; there are books:5 and films:5",
        ("similar", "--item", "77"): "item 77",
        (
            "similar",
            "--item",
            "books:5",
            "--domain",
            "books",
            "--k",
            "6",
        ): "k must be between 1 and the number of other items of books, 5; got 6",
        ("similar", "--item", "films:5", "--domain", "books", "--k", "7"): "of books, 6; got 7",
        ("similar", "--item", "films:5", "--domain", "book"): "no domain 'book'; did you mean 'books'?",
    }.items():
        assert expected in monge_cli(capsys, arguments[0], "run", *arguments[1:]).error
    assert "there" not in monge_cli(capsys, "similar", "run", "--item", "77").error
    for item, n in (("books:5", 6), ("films:5", 5)):
        rows = json.loads(monge_cli(capsys, "similar", "run", "--item", item, "--domain", "films", "--json").out)
        assert {row["item_id"].split(":")[0] for row in rows} == {"films"}
        assert (len(rows), item in {row["item_id"] for row in rows}) == (n, False)
    everywhere = json.loads(monge_cli(capsys, "similar", "run", "--item", "films:5", "--json").out)
    assert {row["item_id"].split(":")[0] for row in everywhere} == {"books", "films"}


def test_a_model_of_domains_by_another_protocol_is_noted_once(files: str, capsys: pytest.CaptureFixture[str]) -> None:
    note = "c2dsr is a model of domains, but --protocol is leave-one-out"
    small = ("--epochs", "1", "--dim", "8")
    done = monge_cli(capsys, "train", "c2dsr", files, *small, "--out", "a", "--no-report")
    assert done.code == 0, done.err
    assert " ".join(done.err.split()).count(note) == 1
    assert "use --protocol cross-domain" in " ".join(done.err.split())
    pytest.importorskip("optuna")
    tuned = monge_cli(capsys, "tune", "c2dsr", files, "--epochs", "1", "--space", "dim=8,16", "--trials", "1", "--out", "t")
    assert " ".join(tuned.err.split()).count(note) == 1
    for arguments in (("c2dsr", *OPTIONS, *small), ("popular",)):
        done = monge_cli(capsys, "train", arguments[0], files, *arguments[1:], "--out", arguments[0], "--no-report")
        assert done.code == 0, done.err
        assert "is a model of domains" not in done.err


def test_what_cannot_work_is_told(files: str, capsys: pytest.CaptureFixture[str]) -> None:
    one = monge_cli(capsys, "train", "i2vae", "books.csv", "--epochs", "1", "--out", "x").error
    assert "items have no domain; name the column with --domain-column NAME, or give one file a domain" in one
    assert "needs two files or more" in monge_cli(capsys, "data", "describe", "books=books.csv").error
    assert (
        "released: this log has no rows of released files"
        in monge_cli(capsys, "data", "split", files, "--protocol", "released", "--out", "s.safetensors").error
    )
    assert (
        "sampled_ndcg@10 ranks among a query's negatives, and this split has none; use ndcg@10"
        in monge_cli(capsys, "train", "popular", "books.csv", "--select", "sampled_ndcg@10", "--out", "x").error
    )
    assert not Path("x").exists()


def test_a_split_says_what_may_leak(files: str, capsys: pytest.CaptureFixture[str]) -> None:
    done = monge_cli(capsys, "data", "split", files, *OPTIONS, "--out", "s.safetensors")
    assert "note: leak check, order in books: of" in done.out
    assert "have fewer than the 999 negatives asked for" in done.out


def test_runs_are_compared_on_sampled_metrics_only_where_the_negatives_are_the_same(files: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name, n_negatives in (("two", "2"), ("one", "1")):
        options = ("--protocol", "cross-domain", "--protocol-option", f"n_negatives={n_negatives}", "--no-report")
        assert monge_cli(capsys, "train", "popular", files, *options, "--out", name).code == 0
    assert monge_cli(capsys, "compare", "two", "one", "--metrics", "sampled_ndcg@5").error == (
        "error: one was not tested on the same negatives as two; train both on one split (monge data split)"
    )
    assert monge_cli(capsys, "compare", "two", "one", "--metrics", "ndcg@5").code == 0


def test_examples_of_a_report_name_their_domains(files: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert monge_cli(capsys, "train", "popular", files, *OPTIONS, "--report").code == 0
    run = Path("runs/popular-books-films")
    examples = json.loads((run / "result.json").read_text())["examples"]
    assert {example["domain"] for example in examples} <= {"books", "films"}
    for example in examples:
        assert {entry["domain"] for entry in (*example["truth"], *example["recommendations"])} == {example["domain"]}
        assert {entry["domain"] for entry in example["history"]} <= {"books", "films"}
    html = (run / "report.html").read_text()
    assert f"User {examples[0]['user']}, {examples[0]['domain']}: " in html
    shown = Counter(entry["domain"] for example in examples for entry in example["history"])
    assert shown
    for domain in ("books", "films"):
        assert html.count(f'<span class="note">{domain}</span>') == shown[domain]


def test_runs_are_compared_only_where_the_same_items_were_ranked(tmp_path: Path) -> None:
    split = leave_one_out(log_of([[user % 4, 4, 5, (user + 1) % 4] for user in range(8)]))
    everything = Ragged.from_lists([list(range(6))] * len(split.test))
    for name, candidates in (("all", None), ("listed", everything)):
        test = replace(split.test, candidates=candidates)
        monge.train("popular", replace(split, test=test), out=tmp_path / name)
    assert compare_runs([tmp_path / "listed", tmp_path / "listed"], ["ndcg@5"])[1][0]["difference"] == 0
    with pytest.raises(RunError, match="listed was not tested on the same candidates as"):
        compare_runs([tmp_path / "all", tmp_path / "listed"], ["ndcg@5"])
