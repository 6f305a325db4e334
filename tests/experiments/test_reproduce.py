"""Experiments: their data, and the runner on a toy table."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console

import monge
from monge.api import Watch
from monge.data import Split, add_noise
from monge.errors import ConfigError, DataError, RunError, UnknownNameError
from monge.evaluation import compare_paired
from monge.experiments import EXPERIMENTS, Experiment, Variant, reproduce
from monge.experiments.elsewhere import take_over
from monge.experiments.papers import find_experiment
from monge.experiments.reproduce import SeedValues, _of_column, _same_queries
from monge.models import find_model
from monge.options import build_config, option_names
from monge.reporting import experiment_table
from monge.training.loop import TrainingConfig
from tests.conftest import cycle_sequences, queries_of

TOY = Experiment(
    title="A toy",
    source="nobody, Table 0",
    data="toy.csv",
    protocol="leave-one-out",
    metrics=("ndcg@5", "mrr"),
    options={"epochs": 2, "dim": 8, "max_length": 6, "n_layers": 1, "select": "mrr"},
    variants=(
        Variant(label="Popular", model="popular", seeded=False, paper={"ndcg@5": 0.1}),
        Variant(label="SASRec, slow", model="sasrec", options={"learning_rate": 1e-5}, paper={"ndcg@5": 0.2}),
        Variant(label="SASRec", model="sasrec", options={"learning_rate": 1e-2}),
    ),
    against=(("SASRec, slow", "Popular"), ("SASRec", "SASRec, slow")),
)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(EXPERIMENTS, "toy/table", TOY)
    rows = [(f"u{user}", f"i{item}", time) for user, items in enumerate(cycle_sequences()) for time, item in enumerate(items)]
    pl.DataFrame(rows, schema=["user", "item", "time"], orient="row").write_csv("toy.csv")
    return tmp_path / "out"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_row_of_every_paper_can_be_built(name: str) -> None:
    experiment = find_experiment(name)
    training = option_names(TrainingConfig)
    for option in experiment.options:
        assert option in training or any(option in option_names(find_model(v.model).Config) for v in experiment.variants), option
    for variant in experiment.variants:
        cls = find_model(variant.model)
        chosen = {**experiment.options, **variant.options}
        build_config(cls.Config, {key: value for key, value in chosen.items() if key in option_names(cls.Config)})
        assert {*variant.options, *variant.untuned} <= {*option_names(cls.Config), *training}, variant.label
        assert set(variant.paper) <= set(experiment.metrics), variant.label


def test_rows_are_means_over_seeds_and_pairs_are_tested_query_by_query(toy: Path) -> None:
    record = reproduce("toy/table", out=toy, seeds=2)
    assert json.loads((toy / "record.json").read_text())["rows"] == record["rows"]
    assert list(record["rows"]) == ["Popular", "SASRec, slow", "SASRec"]
    assert [len(row["by_seed"]) for row in record["rows"].values()] == [1, 2, 2]
    assert [one["trained"] for row in record["rows"].values() for one in row["epochs"]] == [0, 2, 2, 2, 2]
    lines = (toy / "SASRec" / "seed1" / "metrics.jsonl").read_text().splitlines()
    row = record["rows"]["SASRec"]
    assert row["losses"][1] == json.loads(lines[row["epochs"][1]["best"] - 1])["loss"]
    assert record["rows"]["Popular"]["losses"] == [{}]
    runs = {label: [monge.load_run(toy / folder / f"seed{seed}") for seed in (0, 1)] for label, folder in FOLDERS.items()}
    assert [run.info["training"]["seed"] for run in runs["SASRec"]] == [0, 1]
    assert runs["SASRec"][0].info["model"]["config"]["learning_rate"] == 1e-2
    values = {label: np.mean([run.evaluate(["mrr"]).values["mrr"] for run in pair], axis=0) for label, pair in runs.items()}
    for label, mean in values.items():
        assert record["rows"][label]["mean"]["mrr"] == pytest.approx(float(mean.mean()))
    row = next(one for one in record["against"] if (one["a"], one["metric"]) == ("SASRec", "mrr"))
    expected = compare_paired(values["SASRec"], values["SASRec, slow"])
    assert (row["difference"], row["p_t"]) == pytest.approx((expected.difference, expected.p_t))
    assert row["gain_percent"] == pytest.approx(100 * expected.difference / values["SASRec, slow"].mean())
    assert row["paper_gain_percent"] is None
    printed = next(one for one in record["against"] if (one["a"], one["metric"]) == ("SASRec, slow", "ndcg@5"))
    assert printed["paper_gain_percent"] == pytest.approx(100)


FOLDERS = {"SASRec": "SASRec", "SASRec, slow": "SASRec-slow"}


def test_it_goes_on_where_it_stopped(toy: Path) -> None:
    reproduce("toy/table", out=toy, seeds=1, only=["SASRec"])
    weights = toy / "SASRec" / "seed0" / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    record = reproduce("toy/table", out=toy, seeds=2, only=["SASRec"])
    assert weights.stat().st_mtime_ns == before
    assert list(record["rows"]) == ["SASRec"]
    assert len(record["rows"]["SASRec"]["by_seed"]) == 2
    assert record["against"] == []


def test_trials_choose_the_options_on_validation(toy: Path) -> None:
    record = reproduce("toy/table", out=toy, seeds=2, trials=3, only=["Popular", "SASRec, slow"])
    assert record["trials"] == 3
    assert record["rows"]["Popular"]["tuned"] is None
    row = record["rows"]["SASRec, slow"]
    tuned = row["tuned"]
    assert tuned["trials"] == 3
    assert "learning_rate" not in tuned["space"]  # the row fixes it
    lines = [json.loads(line) for line in (toy / "SASRec-slow" / "study" / "trials.jsonl").read_text().splitlines()]
    best = max((line for line in lines if line["state"] == "finished"), key=lambda line: line["value"])
    assert (tuned["options"], tuned["validation"]) == (best["options"], best["value"])
    for seed in (0, 1):
        config = monge.load_run(toy / "SASRec-slow" / f"seed{seed}").info["model"]["config"]
        assert {option: config[option] for option in tuned["options"]} == tuned["options"]
        assert config["learning_rate"] == 1e-5
    assert row["validation"]["mrr"][0] == pytest.approx(tuned["validation"])  # seed 0 is the trial once more
    with pytest.raises(RunError, match="trials or --options-from; choose another --out"):
        reproduce("toy/table", out=toy, seeds=2, trials=0)


def test_what_authors_chose_for_their_data_is_searched_elsewhere(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variant = Variant(label="BPRMF", model="bprmf", untuned={"learning_rate": 5e-3, "regularisation": 0.02, "batch_size": 7})
    monkeypatch.setitem(EXPERIMENTS, "toy/table", replace(TOY, variants=(variant,), against=(), options={"epochs": 1, "select": "mrr"}))
    row = reproduce("toy/table", out=toy, seeds=1)["rows"]["BPRMF"]
    assert (row["options"]["learning_rate"], row["options"]["regularisation"]) == (5e-3, 0.02)
    tuned = reproduce("toy/table", out=toy.with_name("tuned"), seeds=1, trials=2)["rows"]["BPRMF"]["tuned"]
    assert "learning_rate" in tuned["space"]
    assert monge.load_run(toy.with_name("tuned") / "BPRMF" / "seed0").info["model"]["config"]["batch_size"] == 7  # nobody searches it
    lines = (toy.with_name("tuned") / "BPRMF" / "study" / "trials.jsonl").read_text().splitlines()
    first, second = (json.loads(line)["options"] for line in lines)
    assert first["learning_rate"] == 5e-3
    assert second != first


def test_a_row_may_have_more_seeds_and_runs_may_come_from_elsewhere(toy: Path) -> None:
    record = reproduce("toy/table", out=toy, seeds=1, seeds_of={"SASRec": 3})
    assert {label: len(row["by_seed"]) for label, row in record["rows"].items()} == {"Popular": 1, "SASRec, slow": 1, "SASRec": 3}
    assert record["against"]
    again = toy.with_name("again")
    copied = reproduce("toy/table", out=again, seeds=2, runs_from=[toy.parent, toy])["rows"]
    runs = {path.relative_to(toy): path.read_text() for path in toy.glob("*/seed*/run.json")}
    taken = {path.relative_to(again): path.read_text() for path in again.glob("*/seed*/run.json")}
    assert {place: taken[place] for place in runs if place in taken} == {place: runs[place] for place in runs if place in taken}
    assert set(taken) - set(runs) == {Path("SASRec-slow/seed1/run.json")}  # trained here
    assert copied["SASRec"]["by_seed"] == record["rows"]["SASRec"]["by_seed"][:2]
    assert json.loads((again / "SASRec" / "seed0" / "result.json").read_text())["run"] == str(again / "SASRec" / "seed0")
    split = Split.load(toy / "split.safetensors")
    harder = replace(split, test=replace(split.test, truth=split.validation.truth))
    watch = Watch()
    for given, expected in ((split, True), (harder, False)):
        place = toy.with_name(f"taken-{expected}") / "seed0"
        place.parent.mkdir()
        options = {**TOY.options, "learning_rate": 1e-2, "seed": 0}
        take_over([toy], place, "sasrec", options, given, watch)
        assert place.exists() == expected  # other queries: another run


def test_each_seed_may_have_a_split_of_its_own(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"train": 0.5, "validation": 0.2, "test": 0.3}
    table = replace(
        TOY, protocol="ratio", protocol_options=options, split_by_seed=True, variants=TOY.variants[::2], against=[("SASRec", "Popular")]
    )
    monkeypatch.setitem(EXPERIMENTS, "toy/splits", table)
    record = reproduce("toy/splits", out=toy, seeds=2, seeds_of={"SASRec": 3}, options={"learning_rate": 1e-2})
    assert {label: len(row["by_seed"]) for label, row in record["rows"].items()} == {"Popular": 2, "SASRec": 3}
    assert record["rows"]["Popular"]["by_seed"][0] != record["rows"]["Popular"]["by_seed"][1]
    splits = [Split.load(path) for path in (toy / "split.safetensors", toy / "split-seed-1.safetensors")]
    assert [split.options["seed"] for split in splits] == [0, 1]
    runs = {
        label: [monge.load_run(toy / label / f"seed{seed}").evaluate(["mrr"]).values["mrr"] for seed in (0, 1)]
        for label in ("SASRec", "Popular")
    }
    assert not _same_queries(splits[0].test, splits[1].test, "mrr")  # the same users, other truths
    assert splits[0].test.user.tolist() == splits[1].test.user.tolist()
    by_hand = compare_paired(*(np.mean(runs[label], axis=0) for label in ("SASRec", "Popular")))  # the seeds that both have
    found = next(one for one in record["against"] if one["metric"] == "mrr")
    assert (found["difference"], found["p_t"]) == (pytest.approx(by_hand.difference), pytest.approx(by_hand.p_t))


def test_groups_that_differ_by_seed_are_averaged_user_by_user() -> None:
    queries = queries_of([[0]] * 3, [[1], [2], [1]], n_items=3, users=[0, 1, 2])
    first, second = (
        replace(queries, groups={"all": np.array(["a"] * 3, dtype=object), "clean": np.array(labels, dtype=object)})
        for labels in (["a", None, "a"], ["a", "a", "a"])
    )
    same = {column: _same_queries(first, second, column) for column in ("mrr", "a all mrr", "a clean mrr")}
    assert same == {"mrr": True, "a all mrr": True, "a clean mrr": False}
    by_seed = [{"a all mrr": np.array([1.0, 2, 3]), "a clean mrr": np.array(clean)} for clean in ([1.0, 3], [1.0, 5, 9])]
    users = [{column: queries.user[_of_column(queries, column)] for column in by_seed[0]} for queries in (first, second)]
    values = SeedValues(by_seed, users, same)
    assert values.over("a all mrr").tolist() == [1, 2, 3]
    assert values.over("a clean mrr").tolist() == [1, 5, 6]
    assert values.over("a clean mrr", 1).tolist() == [1, 3]
    unknown = [{"a clean mrr": np.where(one["a clean mrr"] == 0, -1, one["a clean mrr"])} for one in users]
    assert sorted(SeedValues(by_seed, unknown, same).over("a clean mrr").tolist()) == [1, 1, 5, 6]
    assert not _same_queries(first, replace(first, user=np.array([0, 1, 1])), "mrr")


def test_a_search_may_leave_out_what_its_row_has(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variant = Variant(label="deep", model="sasrec", options={"n_layers": 2}, searched_with={"n_layers": 1, "dropout": 0.0})
    monkeypatch.setitem(EXPERIMENTS, "toy/search", replace(TOY, variants=(variant,), against=()))
    row = reproduce("toy/search", out=toy, seeds=1, trials=2)["rows"]["deep"]
    searched = json.loads((toy / "deep" / "study" / "study.json").read_text())["identity"]
    trained = json.loads((toy / "deep" / "seed0" / "run.json").read_text())["model"]["config"]
    assert (searched["option"]["n_layers"], searched["option"]["dropout"]) == (1, 0.0)
    assert "dropout" not in row["tuned"]["space"]
    assert trained["n_layers"] == 2
    assert trained["dropout"] == build_config(find_model("sasrec").Config, {}).dropout
    assert row["tuned"]["with"] == variant.searched_with
    assert {option: trained[option] for option in row["tuned"]["options"]} == row["tuned"]["options"]


def test_options_that_another_table_chose(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tuned = reproduce("toy/table", out=toy, seeds=1, trials=2, only=["SASRec, slow", "SASRec"])["rows"]["SASRec"]["tuned"]["options"]
    place = toy.with_name("again")
    own = Variant(label="wide", model="sasrec", options={"dim": 16, "dropout": 0.3})
    assert "dropout" in tuned
    variants = (Variant(label="Popular", model="popular"), Variant(label="as chosen", model="sasrec", like="SASRec"), own)
    monkeypatch.setitem(EXPERIMENTS, "toy/other", replace(TOY, variants=variants, against=()))
    record = reproduce("toy/other", out=place, seeds=1, options_from=toy)
    assert {option: record["rows"]["as chosen"]["options"][option] for option in tuned} == tuned
    assert record["rows"]["as chosen"]["options"]["learning_rate"] == 1e-2
    assert record["rows"]["wide"]["options"]["learning_rate"] == 1e-5  # no row of its name, so the first of its model
    assert own.options.items() <= record["rows"]["wide"]["options"].items()  # what a row is about stays
    assert record["options_from"] == str(toy)
    kept = toy.with_name("kept.json")
    kept.write_text((toy / "record.json").read_text())
    of_file = reproduce("toy/other", out=toy.with_name("of-file"), seeds=1, options_from=kept, only=["as chosen"])
    assert of_file["rows"]["as chosen"]["options"] == record["rows"]["as chosen"]["options"]
    runs = {label: (place / label / "seed0" / "run.json").read_text() for label in ("as-chosen", "wide")}
    assert runs["as-chosen"] == (toy / "SASRec" / "seed0" / "run.json").read_text()  # the very same run is not trained again
    assert runs["wide"] not in [about.read_text() for about in toy.glob("*/seed0/run.json")]
    assert not list(place.glob("*/.seed*"))
    more = reproduce("toy/other", out=place, seeds=2, options_from=toy)["rows"]["as chosen"]["by_seed"]
    assert (more[0], len(more)) == (record["rows"]["as chosen"]["by_seed"][0], 2)  # a seed that is not there is trained
    with pytest.raises(RunError, match="--options-from; choose another --out"):
        reproduce("toy/other", out=place, seeds=1)
    pl.read_csv("toy.csv").filter(pl.col("user") != "u0").write_csv("fewer.csv")
    third = toy.with_name("third")
    fast = replace(variants[1], like="SASRec, fast")
    monkeypatch.setitem(EXPERIMENTS, "toy/fast", replace(TOY, variants=(fast,), against=()))
    with pytest.raises(RunError, match="no tuned row 'SASRec, fast', which 'as chosen' takes its options from"):
        reproduce("toy/fast", out=third, seeds=1, options_from=toy)
    for other, sentence in (
        ({"options_from": place}, "no row was tuned"),
        (
            {"options_from": toy / "none"},
            "not there; --options-from needs a folder that monge reproduce filled or its record.json, --runs-from a folder",
        ),
        ({"options_from": toy.parent}, "no record of an experiment"),
        ({"runs_from": [toy, toy / "none"]}, "not there; --options-from needs"),
        ({"options_from": toy, "data": "fewer.csv"}, "chosen on another training part"),
    ):
        with pytest.raises(RunError, match=sentence) as error:
            reproduce("toy/other", out=third, seeds=1, **other)
        assert "\n" not in str(error.value)
        assert not third.exists()
    with pytest.raises(ConfigError, match="leave out --options-from, or --trials"):
        reproduce("toy/other", out=toy.with_name("third"), trials=2, options_from=toy)


def test_rows_with_noise_share_the_false_pairs_and_are_tested_on_the_clean_part(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variants = [
        Variant(label=f"{model} {ratio:g}", model=model, noise_ratio=ratio, seeded=False)
        for model in ("popular", "itemknn")
        for ratio in (0.0, 0.2)
    ]
    monkeypatch.setitem(EXPERIMENTS, "toy/noise", replace(TOY, variants=variants, against=[("popular 0.2", "popular 0")]))
    record = reproduce("toy/noise", out=toy, seeds=1)
    assert [row["noise_ratio"] for row in record["rows"].values()] == [0, 0.2, 0, 0.2]
    splits = {label: Split.load(toy / label.replace(" ", "-") / "seed0" / "split.safetensors") for label in record["rows"]}
    rows = {label: split.train.item.tolist() for label, split in splits.items()}
    clean = Split.load(toy / "split.safetensors")
    assert rows["popular 0"] == rows["itemknn 0"] == clean.train.item.tolist()
    assert rows["popular 0.2"] == rows["itemknn 0.2"] == add_noise(clean, ratio=0.2).train.item.tolist() != rows["popular 0"]
    assert all(split.test.truth.values.tolist() == clean.test.truth.values.tolist() for split in splits.values())
    means = {label: row["mean"]["mrr"] for label, row in record["rows"].items()}
    assert means["itemknn 0.2"] != means["itemknn 0"]
    assert reproduce("toy/noise", out=toy, seeds=1)["rows"] == record["rows"]


def test_a_row_that_does_not_fit_is_left_out_where_the_table_allows_it(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"max_gigabytes": 1e-9}
    variants = [
        Variant(label="EASE", model="ease", seeded=False, options=small, may_not_fit=True),
        Variant(label="Popular", model="popular", seeded=False),
    ]
    monkeypatch.setitem(EXPERIMENTS, "toy/large", replace(TOY, variants=variants, against=[("EASE", "Popular")]))
    record = reproduce("toy/large", out=toy, seeds=1)
    assert (list(record["rows"]), record["against"]) == (["Popular"], [])
    assert "EASE is left out: ease keeps a dense table of items x items: 10 items" in record["notes"][-1]
    monkeypatch.setitem(EXPERIMENTS, "toy/large", replace(TOY, variants=[replace(variants[0], may_not_fit=False)], against=[]))
    with pytest.raises(ConfigError, match="ease keeps a dense table"):
        reproduce("toy/large", out=toy, seeds=1)


TINY: dict[str, Any] = {"epochs": 1, "dim": 4, "batch_size": 64}
PART: dict[str, list[str]] = {
    "sclrec/table2": [],
    "sclrec/table3": ["SCLRec", "CLRec", "without teacher"],
    "sclrec/temperature": ["CLRec, tau 0.2", "SCLRec, tau 0.2", "CLRec, tau 0.2, raw score"],
    "sclrec/noise": ["Popular, 0%", "SCLRec, 0%", "SCLRec, 20%", "CLRec, 20%"],
}


@pytest.mark.parametrize("name", PART)
def test_sclrecs_tables_run_from_end_to_end(name: str, toy: Path) -> None:
    experiment = find_experiment(name)
    record = reproduce(name, data="toy.csv", out=toy, seeds=1, only=PART[name], options=TINY)
    expected = PART[name] or [variant.label for variant in experiment.variants]
    assert list(record["rows"]) == [variant.label for variant in experiment.variants if variant.label in expected]
    assert record["against"]
    assert (record["protocol"]["name"], record["protocol"]["options"]["train"]) == ("ratio", 0.8)
    for label, row in record["rows"].items():
        assert all(0 <= row["mean"][metric] <= 1 for metric in experiment.metrics), label
        assert set(row["options"]) >= {"select"}
    if name == "sclrec/noise":
        assert [row["noise_ratio"] for row in record["rows"].values()] == [0, 0.2, 0, 0.2]
        clean, noisy = (len(Split.load(toy / folder / "seed0" / "split.safetensors").train) for folder in ("SCLRec-0", "SCLRec-20"))
        assert noisy == clean + round(0.2 * clean)


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name.startswith("sclrec/")])
def test_every_table_of_sclrec_has_the_trivial_baseline_and_equal_terms(name: str) -> None:
    experiment = find_experiment(name)
    assert any(variant.model == "popular" for variant in experiment.variants)
    taus = {variant.label: variant.options.get("tau", 0.2) for variant in experiment.variants if variant.model in ("clrec", "sclrec")}
    assert name == "sclrec/temperature" or set(taus.values()) == {0.2}
    pairs = [(a, b) for a, b in experiment.against if a.startswith("SCLRec") and b.startswith("CLRec")]
    assert pairs
    assert all(taus[a] == taus[b] for a, b in pairs)


def test_what_is_asked_wrongly_is_told(toy: Path) -> None:
    with pytest.raises(UnknownNameError, match="no experiment 'toy/tabel'; did you mean 'toy/table'"):
        reproduce("toy/tabel")
    with pytest.raises(UnknownNameError, match="has no variant 'SASrec'; did you mean 'SASRec'"):
        reproduce("toy/table", out=toy, only=["SASrec"])
    with pytest.raises(ConfigError, match="--seeds must be at least 1"):
        reproduce("toy/table", out=toy, seeds=0)
    with pytest.raises(ConfigError, match="--trials must be at least 0; got -1"):
        reproduce("toy/table", out=toy, trials=-1)
    assert not toy.exists()
    reproduce("toy/table", out=toy, seeds=1, only=["Popular"])
    with pytest.raises(
        RunError, match=r"holds toy/table on toy\.csv, or other data options, trials or --options-from; choose another --out"
    ):
        reproduce("toy/table", out=toy, data_options={"min_length": 5})


def test_the_table_on_the_command_line(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.cli.command import monge_cli

    done = monge_cli(
        capsys, "reproduce", "toy/table", "--out", toy, "--seeds", "1", "--seeds-of", "SASRec, slow=2", "--option", "epochs=1", "--json"
    )
    assert len(json.loads(done.out)["rows"]["SASRec, slow"]["by_seed"]) == 2
    done = monge_cli(capsys, "reproduce", "toy/table", "--out", toy, "--seeds", "2", "--option", "epochs=1", "--json")
    record: dict[str, Any] = json.loads(done.out)
    assert record["command"].startswith("monge reproduce toy/table")
    assert record["rows"]["SASRec"]["options"]["epochs"] == 1
    shown = monge_cli(capsys, "reproduce", "toy/table", "--out", toy, "--seeds", "2", "--option", "epochs=1").out
    assert f"{record['rows']['SASRec']['mean']['mrr']:.4f}" in shown
    assert "+100.0 %" in shown  # the paper's gain
    assert "sinkhorncf/comparison" in monge_cli(capsys, "reproduce").out


def test_a_published_split_with_groups_of_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        (f"u{user}", f"i{item}", "test" if place == 4 else "valid" if place == 3 else "train")
        for user, sequence in enumerate(cycle_sequences())
        for place, item in enumerate(sequence)
    ]
    pl.DataFrame(rows, schema=["user_id", "item_id", "x_label"], orient="row").write_csv(tmp_path / "log.csv")
    table = Experiment(
        title="A toy",
        source="nobody",
        data=str(tmp_path / "log.csv"),
        protocol="published",
        protocol_options={"known_users_only": True, "test_history": "train"},
        metrics=("recall@3", "ndcg_found@3"),
        user_bounds=(4, 5),
        variants=(Variant(label="Popular", model="popular", seeded=False),),
    )
    monkeypatch.setitem(EXPERIMENTS, "toy/published", table)
    record = reproduce("toy/published", out=tmp_path / "out", seeds=1, data_options={"split_column": "x_label"})
    groups = [group for group in record["rows"]["Popular"]["groups"][0] if group["group"] == "training interactions of the user"]
    assert [(group["label"], group["n_queries"]) for group in groups] == [("<=4", 30), ("5-5", 10), (">=6", 10)]
    assert set(groups[0]["metrics"]) == {"recall@3", "ndcg_found@3"}
    console = Console(width=120, file=io.StringIO(), force_terminal=False)
    console.print(experiment_table(record))
    shown = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert "recall@3 by training interactions of the user (queries)" in shown
    assert "<=4 (30)" in shown
    assert f"{groups[0]['metrics']['recall@3']['mean']:.4f}" in shown
    with pytest.raises(DataError, match="no split was published"):
        monge.api.published_split("ml-100k")


def test_data_without_a_published_split_are_split_by_the_protocol_that_the_table_names(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = replace(
        TOY,
        protocol="published",
        protocol_otherwise="ratio",
        protocol_options={"test_history": "train"},
        variants=TOY.variants[:1],
        against=(),
    )
    monkeypatch.setitem(EXPERIMENTS, "toy/otherwise", table)
    assert reproduce("toy/otherwise", out=toy, seeds=1)["protocol"]["name"] == "ratio"
    monkeypatch.setitem(EXPERIMENTS, "toy/strict", replace(table, protocol_otherwise=""))
    with pytest.raises(DataError, match="which column marks the parts"):
        reproduce("toy/strict", out=toy / "strict", seeds=1)


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name.startswith("mmssl/")])
def test_mmssls_tables_run_on_data_without_a_published_split(name: str, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    items = sorted(set(pl.read_csv("toy.csv")["item"]))
    pl.DataFrame({"item": items, "text": rng.normal(size=(len(items), 5)).astype(np.float32)}).write_parquet("text.parquet")
    quick = {"epochs": 1, "dim": 4, "batch_size": 32}
    reading = {"modality": ["text=text.parquet"]}
    labels = [variant.label for variant in find_experiment(name).variants]
    record = reproduce(name, data="toy.csv", out=toy, seeds=1, options=quick, data_options=reading)
    assert list(record["rows"]) == labels
    assert all(np.isfinite(row["mean"]["recall@20"]) for row in record["rows"].values())
