"""The whole pipeline against figures from elsewhere: slow, and only where the data is."""

import os

import pytest

import monge

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.environ.get("MONGE_DATA"), reason="MONGE_DATA names no folder with amazon-beauty"),
]
SOFTMAX = {
    "loss": "sampled_softmax",
    "n_negatives": 1024,
    "normalise": True,
    "n_layers": 1,
    "n_heads": 1,
    "max_length": 50,
    "dropout": 0.2,
    "batch_size": 256,
    "learning_rate": 2e-3,
    "select": "ndcg@10",
    "epochs": 10,
}


@pytest.mark.parametrize(("model", "temperature"), [("sasrec", 0.1), ("stosa", 0.2)])
def test_ten_epochs_of_sampled_softmax_are_ahead_of_the_papers_mstein(model: str, temperature: float) -> None:
    run = monge.train(model, "amazon-beauty", temperature=temperature, attention_dropout=0.2 if model == "sasrec" else 0.0, **SOFTMAX)
    test = run.result["test"]
    assert test["ndcg@10"]["mean"] > 0.0463  # MStein in its paper, Table 1
    assert test["recall@10"]["mean"] > 0.0774


def test_itemknn_reaches_what_was_measured_elsewhere() -> None:
    run = monge.train("itemknn", "amazon-beauty", metrics=["recall@10", "ndcg@10"])
    assert run.result["test"]["recall@10"]["mean"] == pytest.approx(0.0592, abs=5e-4)
    assert run.result["test"]["ndcg@10"]["mean"] == pytest.approx(0.0340, abs=5e-4)
