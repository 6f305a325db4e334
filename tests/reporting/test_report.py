import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from made_up_run import ATTACK, METRICS, epochs_content, metrics, result_content, run_content, write_run

from monge.errors import MissingExtraError, RunError
from monge.evaluation.metrics import METRICS as METRICS_OF_THE_EVALUATION
from monge.reporting import write_report
from monge.reporting.definitions import DEFINITIONS, definition
from monge.reporting.values import MISSING

pytest.importorskip("plotly", reason="the report is in the extra 'report'")
pytest.importorskip("jinja2", reason="the report is in the extra 'report'")


class Page(HTMLParser):
    """What a browser would see: elements, what they load, scripts by id, rows of tables, and all text outside scripts and styles."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.text = ""
        self.rows: list[list[str]] = []
        self.row_classes: list[str | None] = []
        self._within = ""
        self._script = ""
        self._in_cell = False
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._within = tag
            self._script = dict(attrs).get("id") or f"script-{len(self.scripts)}"
        if tag == "tr":
            self.rows.append([])
            self.row_classes.append(dict(attrs).get("class"))
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag == self._within:
            self._within = ""
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._within == "script":
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
        elif not self._within:
            self.text = " ".join(f"{self.text} {data}".split())
            if self._in_cell:
                self.rows[-1][-1] = f"{self.rows[-1][-1]} {' '.join(data.split())}".strip()

    def chart(self, name: str) -> dict[str, Any]:
        return json.loads(self.scripts[f"chart-{name}"])

    @property
    def charts(self) -> list[str]:
        return [name.removeprefix("chart-") for name in self.scripts if name.startswith("chart-")]


def page_of(folder: Path, **contents: Any) -> Page:
    return Page(write_report(write_run(folder, **contents)).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page_of(tmp_path_factory.mktemp("run"))


def test_the_report_is_written_beside_the_run_and_nothing_else_is_left(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    assert write_report(run) == run / "report.html"
    assert sorted(path.name for path in run.iterdir()) == ["metrics.jsonl", "report.html", "result.json", "run.json"]


def test_headline_names_the_run_and_gives_the_main_metric_with_its_interval(page: Page) -> None:
    for expected in ("mstein on amazon-beauty", "leave-one-out", "2026-11-21 04:10 UTC", "EPYC 7763, cpu", "12 of 22", "2 min 15 s"):
        assert expected in page.text
    assert "ndcg@10, test queries" in page.text
    assert "95 % interval 0.0952 to 0.1042" in page.text


def test_every_metric_stands_in_the_table_for_test_and_validation(page: Page) -> None:
    rows = {row[0]: row[1:] for row in page.rows if row and row[0] in METRICS}
    for metric in METRICS:
        test, validation = metrics(1.0)[metric], metrics(1.1)[metric]
        assert rows[metric] == [
            f"{test['mean']:.4f}",
            f"{test['low']:.4f} to {test['high']:.4f}",
            f"{validation['mean']:.4f}",
            f"{validation['low']:.4f} to {validation['high']:.4f}",
        ]


def test_learning_curves_hold_every_epoch_and_mark_the_best_one(page: Page) -> None:
    validation, loss = page.chart("validation"), page.chart("loss")
    line, best = validation["data"]
    assert line["x"] == list(range(2, 23, 2))
    assert (best["x"], best["y"]) == ([12], [pytest.approx(0.1)])
    assert line["y"][line["x"].index(12)] == max(line["y"])
    for figure in (validation, loss):
        assert [note["text"] for note in figure["layout"]["annotations"]] == ["best: epoch 12"]
        assert figure["layout"]["shapes"][0]["x0"] == 12
    assert [trace["name"] for trace in loss["data"]] == ["total", "rec", "cl"]
    total, rec, cl = (trace["y"] for trace in loss["data"])
    assert len(total) == 22
    assert total == pytest.approx([a + b for a, b in zip(rec, cl, strict=True)])
    assert ["12 (best)", "1.4167", "0.3167", "1.7333", "0.1000"] in page.rows


def test_a_loss_that_is_not_a_number_is_a_gap(tmp_path: Path) -> None:
    epochs = epochs_content(4)
    epochs[2]["loss"] = {"rec": float("nan"), "cl": 1.0, "total": float("nan")}
    total, rec, cl = page_of(tmp_path, epochs=epochs).chart("loss")["data"]
    assert (total["y"][2], rec["y"][2], cl["y"][2]) == (None, None, 1.0)


def test_the_only_part_of_a_loss_is_drawn_once(tmp_path: Path) -> None:
    epochs = [{"epoch": epoch, "seconds": 1.0, "loss": {"softmax": 3 / epoch, "total": 3 / epoch}} for epoch in (1, 2)]
    page = page_of(tmp_path, epochs=epochs)
    assert [(trace["name"], trace["y"]) for trace in page.chart("loss")["data"]] == [("softmax", [3.0, 1.5])]
    assert "No epoch was validated." in page.text


@pytest.mark.parametrize(("smallest", "kind", "step"), [(0.01, "log", 1), (1.0, None, None)])
def test_losses_far_apart_have_an_axis_of_powers_of_ten(smallest: float, kind: str | None, step: int | None, tmp_path: Path) -> None:
    epochs = [{"epoch": 1, "seconds": 1.0, "loss": {"kl": smallest, "bce": 2.0, "total": 2.0 + smallest}}]
    axis = page_of(tmp_path, epochs=epochs).chart("loss")["layout"]["yaxis"]
    assert (axis.get("type"), axis.get("dtick")) == (kind, step)


def test_groups_have_bars_with_intervals_and_counts_and_a_table(page: Page) -> None:
    for name, title, n_groups in (("group-0", "history length", 4), ("group-1", "training interactions of the held-out item", 5)):
        figure = page.chart(name)
        (bar,) = figure["data"]
        assert f"Test ndcg@10 by {title}" in page.text
        assert len(bar["x"]) == len(bar["y"]) == n_groups
    bar = page.chart("group-0")["data"][0]
    mean = 0.9 * 0.0992
    assert bar["y"][0] == "4-7<br>n = 10,078"
    assert bar["x"][0] == pytest.approx(mean)
    assert bar["error_x"]["array"][0] == pytest.approx(0.05 * mean)
    assert bar["error_x"]["arrayminus"][0] == pytest.approx(0.04 * mean)
    assert bar["customdata"][0][1] == "10,078"
    row = next(row for row in page.rows if row[:2] == ["4-7", "10,078"])
    assert len(row) == 2 + len(METRICS)
    assert row[2] == "0.0893 ±0.0040"  # the main metric comes first


def test_domains_have_a_table_and_groups_of_queries_are_by_domain_and_a_grouping_of_one_is_left_out(tmp_path: Path) -> None:
    run = run_content()
    run["data"]["describe"] |= {"domains": {"books": {"n_interactions": 1200, "n_users": 34, "n_items": 56}}}
    groups = [("all", "books"), ("all", "films"), ("cold-start", "books"), ("training interactions of the user", "<=3")]
    made = [{"group": group, "label": label, "n_queries": 7, "metrics": metrics(1.0)} for group, label in groups]
    page = page_of(tmp_path, run=run, result=result_content() | {"groups": made})
    assert ["books", "1,200", "34", "56"] in page.rows
    assert [name for name in page.charts if name.startswith("group-")] == ["group-0", "group-1"]
    assert "Test ndcg@10 by domain (all queries)" in page.text
    assert "Test ndcg@10 by domain (cold-start queries)" in page.text
    assert "training interactions of the user" not in page.text


def test_figures_are_valid_plotly(page: Page) -> None:
    graph_objects = pytest.importorskip("plotly.graph_objects")
    assert page.charts == ["validation", "loss", "group-0", "group-1"]
    for name in page.charts:
        graph_objects.Figure(page.chart(name))  # raises on an unknown or wrong property


def test_examples_mark_hits_against_the_truth(page: Page) -> None:
    hits = [row for row, style in zip(page.rows, page.row_classes, strict=True) if style == "hit"]
    assert hits == [["3", "Heat (1995) 242 ✓ hit", "6.2800"]]
    assert "User 196: 1 of 1 found" in page.text
    assert "✓ rank 3" in page.text
    assert "User 186: 0 of 1 found" in page.text
    assert "9999 not in the list" in page.text
    assert "3 earlier not shown" in page.text
    assert "Film 15 (1995)" in page.text
    assert "Film 3 (1983)" not in page.text


def test_data_protocol_options_environment_and_definitions_are_there(page: Page) -> None:
    for expected in (
        "22,363",
        "0.07335 %",
        "14 % of interactions share",
        "The last item of each user is the test",
        "2.6.0",
        "9f86d0818",
    ):
        assert expected in page.text
    for row in (
        ["dropout", "0.3"],
        ["bidirectional", "false"],
        ["learning_rate", "0.001"],
        ["min_length", "3"],
        ["licence", "research use"],
        ["commit", "1f2e3d4"],
    ):
        assert row in page.rows
    assert ["interactions per user", "5", "5", "6", "9", "20", "204", "8.876"] in page.rows
    for expected in ("True items in the top k / |truth|.", "ideal DCG@k", "fixed random order", "are not queried"):
        assert expected in page.text
    assert "monge train mstein ratings<1>.csv --set dim=64 --seed 7" in page.text


def test_every_metric_of_the_evaluation_is_defined() -> None:
    assert set(DEFINITIONS) == set(METRICS_OF_THE_EVALUATION)
    assert definition("sampled_ndcg@10") == f"{definition('ndcg@10')} Here " + (
        "the list holds the true item and the query's own drawn negatives only, and every tie counts against the true item."
    )
    assert definition("sampled_joy@10") is None


def test_nothing_is_loaded_from_the_network(page: Page) -> None:
    for tag, attributes in page.elements:
        for name in ("src", "srcset", "href", "data", "poster", "action", "background"):
            value = attributes.get(name)
            assert value is None or value.startswith("#"), f"<{tag} {name}={value!r}>"
        assert tag not in ("link", "iframe", "object", "embed", "base")
    policy = next(attributes["content"] for tag, attributes in page.elements if attributes.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_text_from_the_data_never_becomes_an_element_or_a_script(tmp_path: Path, page: Page) -> None:
    run, result, epochs = run_content(), result_content(), epochs_content()
    for content, keys in (
        (run, ("command", "monge")),
        (run["model"], ("name",)),
        (run["data"], ("name", "fingerprint")),
        (run["protocol"], ("name",)),
        (result, ("run",)),
        (result["examples"][0], ("user",)),
        (result["examples"][0]["history"][14], ("item", "title")),
        (result["examples"][0]["truth"][0], ("item",)),
        *((group, ("group", "label")) for group in result["groups"]),
    ):
        for key in keys:
            content[key] = f"{key}-{ATTACK}"
    run["model"]["config"][ATTACK] = ATTACK
    run["environment"][ATTACK] = run["environment"]["processor"] = ATTACK
    run["protocol"]["notes"] = run["data"]["describe"]["warnings"] = [ATTACK]
    run["data"]["describe"][ATTACK] = {ATTACK: 1}
    run["training"]["select"] = ATTACK
    result["test"] = {ATTACK: {"mean": 0.5, "low": 0.4, "high": 0.6}}
    for group in result["groups"]:
        group["metrics"] = result["test"]
    for epoch in epochs:
        epoch["loss"], epoch["validation"] = {ATTACK: 1.0, "</script><b>": 2.0}, {ATTACK: 0.5}
    attacked = page_of(tmp_path, run=run, result=result, epochs=epochs)

    def shape(page: Page) -> list[str | None]:
        """Every kind of element that the page has, and the ids of its scripts."""
        return [*sorted({tag for tag, _ in page.elements}), *(a.get("id") for tag, a in page.elements if tag == "script")]

    expected = [name for name in shape(page) if name != "chart-group-1"]  # all groups have one name here
    assert shape(attacked) == expected
    assert attacked.text.count(ATTACK) > 20
    for name in attacked.charts:
        assert "<" not in attacked.scripts[f"chart-{name}"], "no text can end the script element that holds the JSON"
        assert "<script" not in json.dumps(attacked.chart(name)), "Plotly reads HTML in its texts"
        assert "&lt;script&gt;" in json.dumps(attacked.chart(name))


def test_a_model_solved_in_closed_form_has_no_curve(tmp_path: Path) -> None:
    page = page_of(tmp_path, epochs=[], result={**result_content(), "best_epoch": None})
    assert "Solved in closed form: no curve." in page.text
    assert page.charts == ["group-0", "group-1"]
    assert "best epoch" not in page.text


def test_a_solved_run_without_a_metrics_file_is_whole(tmp_path: Path) -> None:
    run = write_run(tmp_path, result={**result_content(), "best_epoch": None, "epochs": 0})
    (run / "metrics.jsonl").unlink()
    assert "Solved in closed form: no curve." in Page(write_report(run).read_text(encoding="utf-8")).text


def test_a_result_with_only_means_and_no_groups_or_examples_is_still_a_report(tmp_path: Path) -> None:
    run = {"format": 1, "state": "finished", "model": {"name": "ease"}, "data": {"name": "toy"}, "protocol": {"name": "ratio"}}
    page = page_of(
        tmp_path, run=run, epochs=[], result={"test": {"ndcg@10": {"mean": 0.25}, "surprise": {"mean": 0.5, "low": 0.5, "high": 0.5}}}
    )
    assert page.charts == []
    assert ["ndcg@10", "0.2500", *3 * [MISSING]] in page.rows
    assert ["surprise", "0.5000", *3 * [MISSING]] in page.rows
    assert "without groups" in page.text
    assert "kept no examples" in page.text
    assert "none: it was trained from Python" in page.text
    assert "Not one of Monge's own metrics" in page.text


def test_the_main_metric_is_the_first_where_the_selecting_one_was_not_tested(tmp_path: Path) -> None:
    run = run_content()
    run["training"]["select"] = "auc"
    page = page_of(tmp_path, run=run)
    assert "recall@5, test queries" in page.text
    assert "selected the best epoch" not in page.text


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl", "result.json"])
def test_a_missing_file_is_one_clear_sentence(tmp_path: Path, name: str) -> None:
    run = write_run(tmp_path)
    (run / name).unlink()
    with pytest.raises(RunError) as caught:
        write_report(run)
    assert str(caught.value) == f"{run / name}: the file is missing; the run is unfinished or was copied in part"
    assert not (run / "report.html").exists()


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere: there is no such run directory"):
        write_report(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("run.json", "{", r"run\.json: this is not JSON"),
        ("run.json", "[]", r"run\.json: a JSON object was expected, not list"),
        ("run.json", json.dumps({**run_content(), "format": 2}), "its format is 2, and this version reads up to 1"),
        ("run.json", json.dumps({**run_content(), "state": "training"}), r"not finished \(its state is 'training'\)"),
        ("run.json", json.dumps({**run_content(), "model": {}}), r"there is no 'model\.name' in it"),
        ("metrics.jsonl", '{"epoch": 1}\n{"epo', r"metrics\.jsonl, line 2: this is not JSON"),
        ("metrics.jsonl", '{"loss": {}}\n', "entry 1 has no epoch number"),
        ("result.json", "{}", r"result\.json: there is no 'test' in it"),
        ("result.json", '{"test": {}}', "'test' holds no metric"),
    ],
)
def test_a_damaged_or_unfinished_run_is_refused(tmp_path: Path, name: str, content: str, sentence: str) -> None:
    run = write_run(tmp_path)
    (run / name).write_text(content, encoding="utf-8")
    with pytest.raises(RunError, match=sentence):
        write_report(run)


def test_a_missing_plotly_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path)
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(MissingExtraError, match=r"needs Plotly.*pip install 'monge\[report\]'"):
        write_report(run)


def test_tables_need_neither_torch_nor_plotly() -> None:
    code = "import sys, monge.reporting; print({'torch', 'plotly', 'jinja2', 'monge.models'} & set(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "set()\n"
