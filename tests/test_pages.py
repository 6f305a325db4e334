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
