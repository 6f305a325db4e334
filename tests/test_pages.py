"""The tables in README and docs are what the stored records say."""

import pytest

from benchmarks import pages, reproduced


def test_no_table_was_changed_by_hand():
    differ = pages.stale()

    assert not differ, f"run python -m benchmarks.pages: {[str(page.relative_to(pages.ROOT)) for page in differ]}"


def test_a_changed_figure_is_seen():
    text = (pages.ROOT / "README.md").read_text()
    changed = text.replace("| Popular | 0.0", "| Popular | 0.9")

    assert changed != text
    assert pages.filled(changed) == text


def test_a_place_for_a_record_to_come_stays():
    text = "<!-- nothing:begin -->\n\nNot measured yet: `monge`.\n\n<!-- nothing:end -->"

    assert pages.filled(text) == text


def test_a_marker_without_a_record_is_refused():
    with pytest.raises(ValueError, match="no table 'nothing'"):
        pages.filled("<!-- nothing:begin -->\n<!-- nothing:end -->")


def test_a_run_whose_epochs_were_over_before_its_patience_is_named():
    def row(best: int, trained: int) -> dict[str, object]:
        return {"options": {"patience": 10}, "epochs": [{"best": best, "trained": trained}]}

    record = {
        "rows": {"stopped by itself": row(20, 30), "cut": row(35, 40), "solved": {"options": {}, "epochs": [{"best": None, "trained": 0}]}}
    }

    assert reproduced.cut_short(record) == "Not trained to the end, stopped by the number of epochs: cut (best epoch 35 of 40)."


def comparison(a: str, metric: str) -> dict[str, object]:
    return {"a": a, "b": "B", "metric": metric, "difference": 0.1, "low": 0.0, "high": 0.2, "p_t": 0.5, "gain_percent": 1.0} | {
        "paper_gain_percent": None
    }


def test_many_comparisons_are_folded_and_none_are_left_out():
    rows = {"A": {"options": {"select": "mrr"}}}
    few = {"rows": rows, "against": [comparison("A", "mrr")] * 3}
    many = {"rows": rows, "against": [comparison(f"A{n}", metric) for n in range(13) for metric in ("mrr", "hit@10")]}

    assert reproduced.comparisons({"rows": rows, "against": []}) == ""
    assert reproduced.comparisons(few).count("| A - B |") == 3
    assert "<details" not in reproduced.comparisons(few)
    shown, folded = reproduced.comparisons(many).split("<details markdown>")
    assert (shown.count(" - B | mrr |"), shown.count(" - B | hit@10 |")) == (13, 0)
    assert (folded.count(" - B | mrr |"), folded.count(" - B | hit@10 |")) == (13, 13)
    assert "All 26 comparisons" in folded


def test_what_was_chosen_is_shown_with_small_and_large_numbers():
    tuned = {"options": {"k": 100, "learning_rate": 0.00123456, "regularisation": 1000.0, "score": "raw"}, "trials": 4}
    record = {"rows": {"A": {"tuned": tuned}, "B": {"tuned": None}, "C": {}}}

    assert reproduced.chosen_table(record).splitlines()[2:] == ["| A | k 100, learning_rate 0.00123, regularisation 1000, score raw |"]
    assert reproduced.chosen_table({"rows": {"B": {"tuned": None}}}) == ""


def test_groups_are_shown_with_their_counts_and_means_over_the_seeds():
    def seed(*values: float) -> list[dict[str, object]]:
        labels = (("length", "<=4", 30), ("length", ">=5", 10), ("popularity", "<=3", 40))
        return [
            {"group": group, "label": label, "n_queries": n, "metrics": {"mrr": {"mean": value}, "hit@5": {"mean": 1 - value}}}
            for (group, label, n), value in zip(labels, values, strict=True)
        ]

    record = {"metrics": ["mrr", "hit@5"], "group_metrics": ["hit@5"]}
    record["rows"] = {"A": {"groups": [seed(0.1, 0.2, 0.5), seed(0.3, 0.2, 0.7)]}, "B": {"groups": [seed(0, 0, 0), seed(0, 0, 1)]}, "C": {}}

    lengths, popularity = reproduced.groups_tables(record).split("\n\n")
    assert lengths.splitlines() == [
        "| hit@5 by length (queries) | <=4 (30) | >=5 (10) |",
        "| --- | ---: | ---: |",
        "| A | 0.8000 | 0.8000 |",
        "| B | 1.0000 | 1.0000 |",
    ]
    assert popularity.splitlines()[2:] == ["| A | 0.4000 |", "| B | 0.5000 |"]
    assert reproduced.groups_tables(record | {"group_metrics": []}).count("mrr by") == 2
    assert reproduced.groups_tables(record | {"rows": {"C": {}}}) == ""


def test_columns_of_domains_make_a_table_each_with_the_printed_values_below() -> None:
    metrics = ["cloth all ndcg@10", "cloth cold-start ndcg@10", "sport all ndcg@10"]

    def row(*values: float, paper: dict[str, float] | None = None) -> dict[str, object]:
        means = dict(zip(metrics, values, strict=True))
        intervals = {metric: [value - 0.1, value + 0.1] for metric, value in means.items()}
        each = [means, {metric: value / 2 for metric, value in means.items()}]
        return {"mean": means, "by_seed": each, "interval": intervals, "paper": paper or {}, "n_queries": dict.fromkeys(metrics, 1234)}

    rows = {"A": row(0.5, 0.25, 0.125), "B": row(0.3, 0.2, 0.1, paper={"cloth all ndcg@10": 0.0252})}
    cloth, sport, folded = reproduced.domain_tables({"metrics": metrics, "rows": rows}).split("\n\n", 2)

    assert cloth.splitlines() == [
        "| cloth (queries, first seed) | all ndcg@10 (1,234) | cold-start ndcg@10 (1,234) |",
        "| --- | ---: | ---: |",
        "| A | 0.5000 | 0.2500 |",
        "| B | 0.3000 | 0.2000 |",
        "| *as printed* | *0.0252* |  |",
    ]
    assert sport.splitlines()[2:] == ["| A | 0.1250 |", "| B | 0.1000 |"]
    assert "| A | 0.4000 to 0.6000 | 0.1500 to 0.3500 | 0.0250 to 0.2250 |" in folded
    assert "| B | 0.3000, 0.1500 | 0.1000, 0.0500 |" in folded
    assert reproduced.by_domain(["ndcg@10", "mrr"]) == {}


def test_rows_with_more_or_fewer_seeds_than_the_table_are_named() -> None:
    def row(seeds: int, trained: int) -> dict[str, object]:
        return {"by_seed": [{}] * seeds, "epochs": [{"best": trained, "trained": trained}] * seeds}

    rows = {"Popular": row(1, 0), "A": row(2, 9), "B": row(5, 9), "C": row(1, 9)}

    assert reproduced.other_seeds({"seeds": 2, "rows": rows}) == ["B 5", "C 1"]
    assert reproduced.other_seeds({"seeds": 1, "rows": rows}) == ["A 2", "B 5"]


def test_of_many_comparisons_those_of_all_queries_of_a_domain_are_shown() -> None:
    rows = {"A": {"options": {"select": "mrr"}}}
    many = [comparison("A", f"cloth {group} mrr") for group in ("all", "cold-start") for _ in range(13)]
    shown = reproduced.comparisons({"rows": rows, "against": many}).split("<details markdown>")[0]

    assert (shown.count("cloth all mrr"), shown.count("cold-start")) == (13, 0)
