"""`make bench`: everything measured, one thing after another, peers in turns with Monge. Needs MONGE_DATA and a quiet machine.

`python -m benchmarks.run [PART ...]` with parts of: startup, bprmf, bprmf-gowalla, lightgcn, multvae, sasrec, beauty, collaborative,
sclrec, mmssl, i2vae, sasrec-beauty, ranking, attention, propagation.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import monge
from benchmarks.attention import measure_attention
from benchmarks.crossdomain import measure_pseudo
from benchmarks.exchange import write_split
from benchmarks.matmul_rate import matmul_rate
from benchmarks.measure import median_after_first
from benchmarks.peers import run_peer
from benchmarks.propagation import measure_propagation
from benchmarks.record import Comparison, record
from monge.api import open_log

THREADS = 2
MIB = 2**20


def child(**asked: Any) -> dict[str, Any]:
    """Measure Monge in a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": str(THREADS)}
    command = [sys.executable, "-m", "benchmarks.measure", json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    say(f"{asked}: epochs {[round(s, 3) for s in found.get('epoch_seconds', [])]}, others {found.get('others_share', 0):.0%}")
    return found


def say(text: str) -> None:
    """To standard error."""
    print(text, file=sys.stderr, flush=True)


def in_turns(
    name: str, script: str, arguments: list[Any], asked: dict[str, Any], *, times: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Start Monge and a peer alternately."""
    ours, theirs = [], []
    for _ in range(times):
        ours.append(child(**asked))
        theirs.append(run_peer(name, script, arguments, threads=THREADS))
        say(f"{name}: epochs {[round(s, 3) for s in theirs[-1]['epoch_seconds']]}, others {theirs[-1]['others_share']:.0%}")
    return ours, theirs


def compared(what: str, peer: str, ours: list[dict[str, Any]], theirs: list[dict[str, Any]], *, metrics: bool = True) -> list[Comparison]:
    """Rows of the table: epoch, ranking, memory, metrics; medians over processes of medians over epochs."""

    def middle(runs: list[dict[str, Any]], key: str) -> float:
        return statistics.median(median_after_first(run[key]) for run in runs)

    def most(runs: list[dict[str, Any]], key: str) -> float:
        return statistics.median(run[key] for run in runs) / MIB

    rows = [
        Comparison(what=f"{what}: one epoch", unit="s", monge=middle(ours, "epoch_seconds"), peers={peer: middle(theirs, "epoch_seconds")}),
        Comparison(
            what=f"{what}: full ranking", unit="s", monge=middle(ours, "ranking_seconds"), peers={peer: middle(theirs, "ranking_seconds")}
        ),
        Comparison(
            what=f"{what}: peak memory", unit="MiB", monge=most(ours, "peak_memory_bytes"), peers={peer: most(theirs, "peak_memory_bytes")}
        ),
    ]
    if metrics and theirs[0].get("metrics"):
        for metric in ("recall@10", "ndcg@10"):
            mean = statistics.mean(run["metrics"][metric] for run in ours)
            other = statistics.mean(run["metrics"][metric] for run in theirs)
            rows.append(
                Comparison(
                    what=f"{what}: test {metric} after the last epoch", unit="", monge=mean, peers={peer: other}, smaller_is_better=False
                )
            )
    return rows


def startup() -> None:
    """`monge --help` and `import monge`."""

    def seconds(*command: str) -> float:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run(command, capture_output=True, check=True)
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    figures = {
        "monge --help, s": seconds(sys.executable, "-m", "monge", "--help"),
        "import monge, s": seconds(sys.executable, "-c", "import monge"),
    }
    record("startup", figures, command="python -m benchmarks.run startup", threads=THREADS)


def bprmf(folder: Path) -> None:
    """BPRMF beside RecBole's BPR on ml-100k."""
    split = monge.make_split(open_log("ml-100k"), "ratio", {"test_history": "train+validation"})
    split.save(folder / "ratio.safetensors")
    write_split(split, folder / "ratio")
    asked = {"model": "bprmf", "data": str(folder / "ratio.safetensors"), "epochs": 30}
    ours, theirs = in_turns("recbole", "recbole_run.py", ["--data", folder / "ratio", "--epochs", 30, "--metrics"], asked, times=3)
    record(
        "bprmf-ml-100k",
        {"comparisons": compared("BPRMF, ml-100k, batch 2048, 30 epochs", "recbole", ours, theirs), "monge": ours, "recbole": theirs},
        command="python -m benchmarks.run bprmf",
        threads=THREADS,
        peer_versions={"recbole": "1.2.1"},
        notes=[
            "random 8:1:1 per user, both libraries on the same rows and queries; RecBole's BPR with its defaults (width 64, Adam 0.001)"
        ],
    )


# RecBole's defaults but for the layers; it draws Xavier's uniform where ours is normal, and has the same penalty.
LIKE_RECBOLE = {"dim": 64, "n_layers": 2, "batch_size": 2048, "learning_rate": 1e-3, "regularisation": 1e-5, "init": "xavier"}


def beside_recbole(
    folder: Path, data: str, ours: str, theirs: str, *, epochs: int, times: int, options: dict[str, Any], settings: list[str]
) -> dict[str, Any]:
    """A model of users and items with its `options` beside RecBole's with `settings`, on one random split of a data set."""
    split = monge.make_split(open_log(data), "ratio", {"test_history": "train+validation"})
    split.save(folder / f"{data}.safetensors")
    write_split(split, folder / data)
    large = data == "gowalla"
    n_rankings = 1 if large else 5
    asked = {"model": ours, "data": str(folder / f"{data}.safetensors"), "epochs": epochs, "rankings": n_rankings, "options": options}
    arguments = ["--data", folder / data, "--model", theirs, "--epochs", epochs, "--rankings", n_rankings, "--metrics"]
    arguments += [part for setting in settings for part in ("--set", setting)]
    if large:  # it ranks a user at a time else
        arguments += ["--set", "eval_batch_size=40000000"]
    by_monge, by_recbole = in_turns("recbole", "recbole_run.py", arguments, asked, times=times)
    what = f"{theirs}, {data}, batch 2048, {epochs} epochs"
    rows = compared(what, "recbole", by_monge, by_recbole, metrics=not large)
    return {"comparisons": rows, f"monge {data}": by_monge, f"recbole {data}": by_recbole}


BESIDE_RECBOLE = "random 8:1:1 per user, both libraries on the same rows and queries"


def lightgcn(folder: Path, *, epochs: int = 30, times: int = 3) -> None:
    """LightGCN with 2 layers beside RecBole's on ml-100k, and one epoch of both on gowalla."""
    both: dict[str, Any] = {"options": LIKE_RECBOLE, "settings": ["n_layers=2", "reg_weight=1e-05"]}
    small = beside_recbole(folder, "ml-100k", "lightgcn", "LightGCN", epochs=epochs, times=times, **both)
    large = beside_recbole(folder, "gowalla", "lightgcn", "LightGCN", epochs=2, times=1, **both)
    record(
        "lightgcn",
        {**small, **large, "comparisons": small["comparisons"] + large["comparisons"]},
        command="python -m benchmarks.run lightgcn",
        threads=THREADS,
        peer_versions={"recbole": "1.2.1"},
        notes=[f"{BESIDE_RECBOLE}; 2 layers; on gowalla one process each, its second epoch"],
    )


def bprmf_gowalla(folder: Path) -> None:
    """BPRMF beside RecBole's BPR on gowalla."""
    record(
        "bprmf-gowalla",
        beside_recbole(folder, "gowalla", "bprmf", "BPR", epochs=3, times=1, options={}, settings=[]),
        command="python -m benchmarks.run bprmf-gowalla",
        threads=THREADS,
        peer_versions={"recbole": "1.2.1"},
        notes=[f"{BESIDE_RECBOLE}; one process each, the median of its second and third epoch"],
    )


def sclrec(*, epochs: int = 6, times: int = 3) -> None:
    """SCLRec's epoch beside CLRec's, by turns; training's memory, and gowalla's full ranking with its memory above the model."""
    figures: dict[str, Any] = {}
    for data, n_epochs, n_times in (("ml-100k", epochs, times), ("gowalla", 3, 1)):
        found: dict[str, list[dict[str, Any]]] = {"clrec": [], "sclrec": []}
        for _ in range(n_times):
            for model, runs in found.items():
                runs.append(child(model=model, data=data, protocol="ratio", epochs=n_epochs, rankings=1))
        epoch = {model: statistics.median(median_after_first(run["epoch_seconds"]) for run in runs) for model, runs in found.items()}
        figures |= {f"{data}: {model}, one epoch, s": seconds for model, seconds in epoch.items()}
        figures[f"{data}: sclrec's epoch over clrec's"] = epoch["sclrec"] / epoch["clrec"]
        run = found["sclrec"][0]
        figures[f"{data}: sclrec, memory while training, MiB"] = run["training_memory_bytes"] / MIB
        figures[f"{data}: sclrec, full ranking of {run['n_queries']:,} users over {run['n_items']:,} items, s"] = run["ranking_seconds"][0]
        figures[f"{data}: sclrec, memory that ranking needed beyond training's, MiB"] = (
            run["peak_memory_bytes"] - run["training_memory_bytes"]
        ) / MIB
        figures[f"{data}: share of the processors that other programs had"] = max(
            one["others_share"] or 0.0 for runs in found.values() for one in runs
        )
    record(
        "sclrec",
        figures,
        command="python -m benchmarks.run sclrec",
        threads=THREADS,
        notes=[
            "batch 1024, width 64: a step of CLRec has matrix products of 0.40 GFLOP (scores, and a gradient for each side), one of "
            "SCLRec has 0.27 GFLOP more (the teacher's similarities), before any scaling"
        ],
    )


# RecTools' own defaults: pre-norm layers and dropout 0.2; 2 blocks, 4 heads, width 64, learning rate 0.001, batch 128.
LIKE_RECTOOLS = {
    "loss": "full_ce", "dim": 64, "n_layers": 2, "n_heads": 4, "dropout": 0.2, "attention_dropout": 0.2, "batch_size": 128,
    "max_length": 50,
}  # fmt: skip


def sasrec(folder: Path) -> None:
    """SASRec with the softmax over all items beside RecTools on ml-100k."""
    split = monge.make_split(open_log("ml-100k"), "leave-one-out")
    split.save(folder / "loo.safetensors")
    write_split(split, folder / "loo")
    asked = {"model": "sasrec", "data": str(folder / "loo.safetensors"), "epochs": 20, "options": LIKE_RECTOOLS}
    ours, theirs = in_turns("rectools", "rectools_run.py", ["--data", folder / "loo", "--epochs", 20, "--metrics"], asked, times=2)
    record(
        "sasrec-ml-100k",
        {
            "comparisons": compared("SASRec, softmax over all items, ml-100k, 20 epochs", "rectools", ours, theirs),
            "monge": ours,
            "rectools": theirs,
        },
        command="python -m benchmarks.run sasrec",
        threads=THREADS,
        peer_versions={"rectools": "0.19.0"},
    )


def sasrec_beauty(folder: Path) -> None:
    """The same on Beauty; RecTools needs minutes for its one epoch."""
    split = monge.make_split(open_log("amazon-beauty"), "leave-one-out")
    split.save(folder / "beauty.safetensors")
    write_split(split, folder / "beauty")
    asked = {"model": "sasrec", "data": str(folder / "beauty.safetensors"), "epochs": 2, "options": LIKE_RECTOOLS, "rankings": 3}
    ours = [child(**asked)]
    theirs = [run_peer("rectools", "rectools_run.py", ["--data", folder / "beauty", "--epochs", 1, "--rankings", 1], threads=THREADS)]
    record(
        "sasrec-beauty",
        {
            "comparisons": compared("SASRec, softmax over all items, Beauty", "rectools", ours, theirs, metrics=False),
            "monge": ours,
            "rectools": theirs,
        },
        command="python -m benchmarks.run sasrec-beauty",
        threads=THREADS,
        peer_versions={"rectools": "0.19.0"},
        notes=["one epoch of RecTools, its first; Monge's second of two"],
    )


PUBLISHED = {
    "stosa": ("stosa", {}),
    "coserec": ("coserec", {}),
    "coserec, all padding in the view": ("coserec", {"cl_padding": "full"}),
    "mstein, cl_readout last": ("mstein", {"cl_readout": "last"}),
    "mstein, cl_readout flatten": ("mstein", {}),
    "mstein, flatten, all padding in the view": ("mstein", {"cl_padding": "full"}),
}
# Measured earlier on a machine of the same kind (2 cores, torch 2.13, 2 threads), one epoch + one ranking of 22,363 users, seconds
# and peak memory in GB; not in the same session, so no ratio of these goes into a table.
AUTHORS = {"mstein": (115, 13.7, 5.1), "stosa": (58, 23, 1.6), "coserec": (87, 11, 2.0)}


def beauty() -> None:
    """Our epochs and rankings at the published settings."""
    figures: dict[str, Any] = {}
    for name, (model, options) in PUBLISHED.items():
        found = child(model=model, data="amazon-beauty", epochs=3, rankings=3, options=options)
        figures[f"{name}: one epoch, s"] = median_after_first(found["epoch_seconds"])
        figures[f"{name}: full ranking of 22,363 users, s"] = median_after_first(found["ranking_seconds"])
        figures[f"{name}: peak memory, MiB"] = found["peak_memory_bytes"] / MIB
    authors = {f"authors' {name}": dict(zip(("epoch_s", "ranking_s", "peak_gb"), row, strict=True)) for name, row in AUTHORS.items()}
    record(
        "beauty-epochs",
        {**figures, "measured_earlier": authors},
        command="python -m benchmarks.run beauty",
        threads=THREADS,
        notes=["published settings of MStein, STOSA and CoSeRec; measured_earlier: the authors' code on another machine of the same kind"],
    )


# RecBole halves its latent dimension of 128 into means and variances.
LIKE_MULTIVAE = {"dim": 64, "hidden": 600, "batch_size": 2048, "dropout": 0.5, "kl_cap": 0.2, "kl_steps": 200_000}


def multvae(folder: Path) -> None:
    """MultVAE beside RecBole's MultiVAE on ml-100k."""
    split = monge.make_split(open_log("ml-100k"), "ratio", {"test_history": "train+validation"})
    split.save(folder / "ratio.safetensors")
    write_split(split, folder / "ratio")
    asked = {"model": "multvae", "data": str(folder / "ratio.safetensors"), "epochs": 30, "options": LIKE_MULTIVAE}
    arguments = ["--data", folder / "ratio", "--model", "MultiVAE", "--epochs", 30, "--metrics", "--set", "train_neg_sample_args=null"]
    ours, theirs = in_turns("recbole", "recbole_run.py", arguments, asked, times=3)
    record(
        "multvae-ml-100k",
        {"comparisons": compared("MultVAE, ml-100k, batch 2048, 30 epochs", "recbole", ours, theirs), "monge": ours, "recbole": theirs},
        command="python -m benchmarks.run multvae",
        threads=THREADS,
        peer_versions={"recbole": "1.2.1"},
        notes=["random 8:1:1 per user, same rows and queries for both; RecBole's defaults (64 latents, 600 hidden, tanh)"],
    )


COLLABORATIVE = ("itemknn", "p3alpha", "rp3beta", "slim", "ease", "wmf", "bpf", "mf", "neumf", "multvae", "sinkhorncf")
ON_GOWALLA = ("sinkhorncf", "itemknn", "rp3beta", "slim")


def collaborative() -> None:
    """SinkhornCF's epoch beside MultVAE's, rankings of ml-1m-ge4 by every collaborative model, memory on gowalla."""
    figures: dict[str, Any] = {}
    for name in COLLABORATIVE:
        found = child(model=name, data="ml-1m-ge4", protocol="ratio", epochs=3, rankings=3)
        figures[f"ml-1m-ge4, {name}: one epoch or solve, s"] = median_after_first(found["epoch_seconds"])
        figures[f"ml-1m-ge4, {name}: full ranking of {found['n_queries']:,} users, s"] = median_after_first(found["ranking_seconds"])
        figures[f"ml-1m-ge4, {name}: peak memory, MiB"] = found["peak_memory_bytes"] / MIB
    epoch = "ml-1m-ge4, {}: one epoch or solve, s"
    figures["SinkhornCF's epoch over MultVAE's"] = figures[epoch.format("sinkhorncf")] / figures[epoch.format("multvae")]
    for name in ON_GOWALLA:
        found = child(model=name, data="gowalla", protocol="ratio", epochs=1, rankings=1)
        figures[f"gowalla, {name}: one epoch or solve, s"] = found["epoch_seconds"][0]
        figures[f"gowalla, {name}: peak memory, MiB"] = found["peak_memory_bytes"] / MIB
    record("collaborative", figures, command="python -m benchmarks.run collaborative", threads=THREADS)


def ranking() -> None:
    """What part of the machine's matrix-product rate full ranking reaches, and its memory over a million items."""
    found = child(model="sasrec", data="amazon-beauty", epochs=1, rankings=5, options={"n_layers": 1})
    seconds = median_after_first(found["ranking_seconds"])
    rate = 2e-9 * found["n_queries"] * found["n_items"] * found["width"] / seconds
    shape, square = matmul_rate(1024, found["width"], found["n_items"]), matmul_rate(2048, 2048, 2048)
    large = child(model="million")
    figures = {
        "full ranking of 22,363 users over 12,101 items, s": seconds,
        "its matrix product alone, GFLOP/s reached": rate,
        "this machine, product of that shape, GFLOP/s": shape,
        "this machine, square product, GFLOP/s": square,
        "share of the product of that shape": rate / shape,
        "1,000 queries over 1,000,000 items, s": large["seconds"],
        "1,000 queries over 1,000,000 items, MiB above the item table": large["above_table_bytes"] / MIB,
    }
    record("ranking", figures, command="python -m benchmarks.run ranking", threads=THREADS)


def mmssl(*, epochs: int = 3) -> None:
    """MMSSL's epoch and peak memory at batch 1024 on published splits, and the parts of a step; some steps of mm-sports stand for all."""
    figures: dict[str, Any] = {}
    for matmul in ("default", "medium"):
        found = child(model="mmssl", data="mm-tiktok", protocol="published", epochs=epochs, rankings=1, training={"matmul": matmul})
        figures[f"mm-tiktok, --matmul {matmul}: one epoch, s"] = median_after_first(found["epoch_seconds"])
        figures[f"mm-tiktok, --matmul {matmul}: peak memory, MiB"] = found["peak_memory_bytes"] / MIB
        figures[f"mm-tiktok, --matmul {matmul}: share of the processors that other programs had"] = found["others_share"] or 0.0
    for data in ("mm-tiktok", "mm-sports"):
        found = child(model="mmssl, steps", data=data)
        figures[f"{data}: steps in an epoch"] = found["steps_in_an_epoch"]
        figures[f"{data}: one epoch by the medians of 7 steps, s"] = found["epoch_by_steps_seconds"]
        figures[f"{data}: peak memory in 8 steps, MiB"] = found["peak_memory_bytes"] / MIB
        figures[f"{data}: share of the processors that other programs had in these steps"] = found["others_share"]
        figures |= {f"{data}: a step: {what}, s": seconds for what, seconds in found["parts"].items()}
    record(
        "mmssl",
        figures,
        command="python -m benchmarks.run mmssl",
        threads=THREADS,
        notes=[
            "options: the defaults; the limits are 60 s an epoch and 3 GiB on mm-tiktok, 6 GiB on mm-sports",
            "an epoch of mm-sports is not run: its steps are all alike, so 8 of them tell memory and time",
        ],
    )


def i2vae(*, epochs: int = 3) -> None:
    """I2VAE's epoch at batch 512, the sampled ranking of its test queries, its memory, and the pseudo-sequences before it."""
    figures: dict[str, Any] = {}
    for data in ("i2vae-cloth-sport", "i2vae-phone-elec"):
        sampled = ["sampled_hit@10", "sampled_ndcg@10"]
        found = child(model="i2vae", data=data, protocol="released", epochs=epochs, rankings=3, metrics=sampled)
        figures[f"{data}: one epoch, s"] = median_after_first(found["epoch_seconds"])
        figures[f"{data}: {found['n_queries']:,} test queries of 1,000 candidates, s"] = median_after_first(found["ranking_seconds"])
        figures[f"{data}: peak memory, MiB"] = found["peak_memory_bytes"] / MIB
        figures[f"{data}: share of the processors that other programs had"] = found["others_share"] or 0.0
        figures |= {f"{data}: pseudo-sequences: {what}": seconds for what, seconds in measure_pseudo(data, threads=THREADS).items()}
    record(
        "i2vae",
        figures,
        command="python -m benchmarks.run i2vae",
        threads=THREADS,
        notes=[
            "options: the defaults; the limits are 60 s an epoch, 5 s for the queries, 60 s for pseudo-sequences and 2 GiB on cloth-sport"
        ],
    )


def main(parts: list[str]) -> None:
    """Run the named parts, or all."""
    wanted = parts or [
        "startup",
        "bprmf",
        "bprmf-gowalla",
        "lightgcn",
        "multvae",
        "sasrec",
        "beauty",
        "collaborative",
        "sclrec",
        "mmssl",
        "i2vae",
        "ranking",
        "attention",
        "propagation",
        "sasrec-beauty",
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        actions: dict[str, Any] = {
            "startup": startup,
            "bprmf": lambda: bprmf(folder),
            "bprmf-gowalla": lambda: bprmf_gowalla(folder),
            "lightgcn": lambda: lightgcn(folder),
            "sasrec": lambda: sasrec(folder),
            "multvae": lambda: multvae(folder),
            "collaborative": collaborative,
            "sclrec": sclrec,
            "mmssl": mmssl,
            "i2vae": i2vae,
            "beauty": beauty,
            "sasrec-beauty": lambda: sasrec_beauty(folder),
            "ranking": ranking,
            "attention": lambda: record("attention", measure_attention(), command="python -m benchmarks.run attention", threads=THREADS),
            "propagation": lambda: record("propagation", measure_propagation(), command="python -m benchmarks.run propagation", threads=1),
        }
        for part in wanted:
            say(f"== {part}")
            actions[part]()


if __name__ == "__main__":
    main(sys.argv[1:])
