"""Several domains on the command line: training, asking, and what is said where it cannot work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.command import monge_cli

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
    assert "leak check, test: 0 of" in done.err
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
