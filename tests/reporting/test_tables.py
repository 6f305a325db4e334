import io
from typing import Any

import pytest
from made_up_run import METRICS, metrics, result_content, run_content
from rich.console import Console, RenderableType

from monge.errors import UnknownNameError
from monge.reporting import (
    description_table,
    experiment_table,
    metrics_table,
    models_table,
    options_table,
    recommendations_table,
    run_summary,
)
from monge.reporting.values import MISSING


def printed(renderable: RenderableType, width: int = 80, *, styled: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=styled, color_system="standard" if styled else None)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_every_number_and_its_half_interval_is_whole_at_every_width(width: int) -> None:
    results = {"mstein": metrics(1.0), "stosa": metrics(0.7)}
    text = printed(metrics_table(results, title="Test"), width)
    for values in results.values():
        for metric, value in values.items():
            assert metric in text.split()
            assert f"{value['mean']:.4f}" in text
            assert f"±{(value['high'] - value['low']) / 2:.4f}" in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert "…" not in text


def test_few_metrics_stand_on_one_line_and_many_in_blocks() -> None:
    two = printed(metrics_table({"mstein": metrics(1.0)}, metrics=["ndcg@10", "mrr"], title="Test"))
    assert "mstein   0.0992 ±0.0045   0.1238 ±0.0056" in two
    assert printed(metrics_table({"m": metrics(1.0)}, title="Test"), 50).count("model") > 1
    assert printed(metrics_table({"m": metrics(1.0)}, title="Test"), 200).count("model") == 1


def test_metrics_come_in_the_order_asked_for_and_no_others() -> None:
    head = printed(metrics_table({"mstein": metrics(1.0)}, metrics=["mrr", "recall@5"], title="Test")).splitlines()[1]
    assert head.split() == ["model", "mrr", "recall@5"]


def test_the_best_of_each_column_is_bold_ties_too() -> None:
    results = {
        "a": {"ndcg@10": 0.25, "mrr": {"mean": 0.1, "low": 0.05, "high": 0.2}},
        "b": {"ndcg@10": 0.125, "mrr": 0.1},
        "c": {"ndcg@10": None},
    }
    rows = {row[0]: row for row in printed(metrics_table(results, title="Test"), styled=True).splitlines() if row[:1] in results}
    bold = "\x1b[1m"
    assert f"{bold}0.2500" in rows["a"]
    assert f"{bold}0.1250" not in rows["b"]
    assert f"{bold}0.1000" in rows["a"]
    assert f"{bold}0.1000" in rows["b"]
    assert rows["c"].count(MISSING) == 2


def test_one_model_alone_is_not_the_best() -> None:
    text = printed(metrics_table({"a": {"ndcg@10": 0.25}}, title="Test"), styled=True)
    assert "0.2500" in text
    assert "\x1b[1m0.2500" not in text
    assert "best of the column" not in text


def test_an_unknown_metric_is_an_error_that_names_the_near_one() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'ndcg@10'"):
        metrics_table({"mstein": metrics(1.0)}, metrics=["ndgc@10"], title="Test")


@pytest.mark.parametrize("width", [80, 120])
def test_description_shows_counts_quantiles_and_warnings(width: int) -> None:
    text = printed(description_table(run_content()["data"]["describe"]), width)
    for expected in (
        "22,363",
        "12,101",
        "198,502",
        "0.07335 %",
        "204",
        "431",
        "95%",
        "median",
        "8.876",
        "2014-07-23 (1406073600)",
        "warning: 14 %",
    ):
        assert expected in text
    assert text.index("431") < text.index("warning:")


@pytest.mark.parametrize("width", [80, 120])
def test_recommendations_show_rank_item_title_and_score(width: int) -> None:
    text = printed(recommendations_table(result_content()["examples"][0]["recommendations"], title="For user 196"), width)
    row = next(line for line in text.splitlines() if "Heat" in line)
    assert row.split() == ["3", "242", "Heat", "(1995)", "6.2800"]


def test_recommendations_without_titles_have_no_title_column() -> None:
    text = printed(recommendations_table([{"item": "b7", "score": 1.5}, {"item": "c3", "score": 0.5}]))
    assert text.splitlines()[0].split() == ["rank", "item", "score"]
    assert text.splitlines()[-1].split() == ["2", "c3", "0.5000"]


def test_text_from_the_data_is_neither_markup_nor_terminal_control() -> None:
    text = printed(recommendations_table([{"item": "[bold]x[/bold]", "title": "a\x1b[2Jb\nc\u202ed", "score": 1.0}]))
    assert "[bold]x[/bold]" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "b cd" in text


def test_models_and_options_show_their_values() -> None:
    models = [
        {"name": "mstein", "family": "sequential", "description": "Mutual Wasserstein discrepancy " * 4, "paper": "Fan et al., WWW 2023"}
    ]
    text = printed(models_table(models))
    assert all(word in text for word in ("mstein", "sequential", "discrepancy", "WWW 2023"))
    rows = printed(options_table({"dim": 64, "tied": True, "cutoffs": [5, 10], "init": None, "note": ""})).splitlines()
    assert [row.strip().split(maxsplit=1) for row in rows[2:]] == [
        ["dim", "64"],
        ["tied", "true"],
        ["cutoffs", "5, 10"],
        ["init", "none"],
        ["note"],
    ]


def test_summary_of_a_run_names_it_and_gives_both_sets_of_metrics() -> None:
    text = printed(run_summary(run_content(), result_content()))
    for expected in (
        "mstein on amazon-beauty, leave-one-out",
        "1,603,456 parameters",
        "best epoch 12",
        "training 2 min 15 s",
        "runs/mstein",
    ):
        assert expected in text
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.split() and line.split()[0] in METRICS}
    assert list(rows) == list(METRICS)
    assert rows["ndcg@10"] == ["0.0992", "±0.0045", "0.1091", "±0.0049"]
    assert "best epoch" not in printed(run_summary(run_content(), {**result_content(), "best_epoch": None}))


def experiment_record(n_metrics: int) -> dict[str, Any]:
    """A reproduced table: two rows, two seeds, metrics named by domain and group."""
    columns = [f"{'books' if place % 2 else 'films'} long-tailed metric_{place}@10" for place in range(n_metrics)]
    rows = {
        label: {
            "by_seed": [{column: start + place / 1000 for place, column in enumerate(columns)} for start in (first, first + 0.01)],
            "mean": {column: first + 0.005 + place / 1000 for place, column in enumerate(columns)},
            "paper": {columns[0]: 0.4321},
            "seconds": [60.0, 60.0],
        }
        for label, first in (("A model with a name of some length", 0.1), ("another", 0.2))
    }
    against = [
        {"a": "another", "b": "A model with a name of some length", "metric": column, "difference": 0.1, "low": 0.05, "high": 0.15}
        | {"p_t": 1e-9, "gain_percent": 95.0, "paper_gain_percent": None}
        for column in columns
    ]
    head = {"title": "Toy", "data": "made-up", "protocol": {"name": "cross-domain"}, "source": "nobody", "seeds": 2, "notes": []}
    return {**head, "metrics": columns, "rows": rows, "against": against}


@pytest.mark.parametrize("width", [80, 120, 200])
def test_a_reproduced_table_shows_every_number_whole_at_every_width(width: int) -> None:
    record = experiment_record(12)
    text = printed(experiment_table(record), width)
    words = text.split()
    for column in record["metrics"]:
        assert words.count(column.split()[-1]) == 2  # in the table, and with the comparison
    for row in record["rows"].values():
        assert all(f"{value:.4f}" in words for value in row["mean"].values())
    assert " ".join(words).count("another - A model with a name of some length") == 1  # above its comparisons
    assert " ".join(words).count("+0.1000 +0.0500 to +0.1500 1e-09 +95.0 %") == 12
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert "…" not in text
    assert "paper's" not in text  # no comparison has a printed gain


def test_a_reproduced_table_that_fits_is_one_block() -> None:
    assert printed(experiment_table(experiment_record(2)), 120).count("row  ") == 1
    assert printed(experiment_table(experiment_record(12)), 80).count("row  ") > 1
