"""Help pages, and what is loaded for them."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from monge.data import PROTOCOLS
from monge.models import MODELS, find_model
from monge.options import describe_options
from monge.training.loop import TrainingConfig
from tests.cli.command import monge_cli

COMMANDS = [
    (),
    ("train",),
    ("tune",),
    ("evaluate",),
    ("recommend",),
    ("similar",),
    ("compare",),
    ("show",),
    ("models",),
    ("data",),
    ("data", "describe"),
    ("data", "split"),
    ("data", "convert"),
    ("data", "list"),
]


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "220")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command_has_a_page_with_an_example(command: tuple[str, ...], flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    done = monge_cli(capsys, *command, flag)
    assert done.code == 0
    assert done.err == ""
    assert len(re.findall(r"Example: ", done.out)) == 1
    assert f"Usage: monge {' '.join(command)}".rstrip() in done.out
    assert "[bold]" not in done.out


@pytest.mark.parametrize("name", [*MODELS, "tests.models.outside:Transitions"])
def test_every_models_page_has_its_options_with_types_and_defaults(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    done = monge_cli(capsys, "train", name, "--help")
    assert done.code == 0
    assert len(re.findall(r"Example: ", done.out)) == 1
    text = " ".join(done.out.replace("│", " ").split())
    for option in (*describe_options(find_model(name).Config), *describe_options(TrainingConfig)):
        flag = f"--{option.name.replace('_', '-')}"
        assert f"{flag} " in text or f"{flag}/" in text
        assert f"[default: {option.default}]" in text
    for kind in ("INTEGER", "FLOAT"):
        assert kind in text
    assert "[32-true|bf16-mixed|16-mixed]" in text


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", MODELS)
def test_no_option_or_choice_is_broken_where_the_terminal_is_narrow(
    name: str, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = monge_cli(capsys, "train", name, "--help").out
    words = set(text.replace("│", " ").split())
    for option in (*describe_options(find_model(name).Config), *describe_options(TrainingConfig)):
        flag = option.name.replace("_", "-")
        assert f"--{flag}" in words
        assert option.type is not bool or f"--no-{flag}" in words
    choices = {part for word in words for part in re.split(r"[\[\]|]", word)}
    assert {*PROTOCOLS, "published", "bf16-mixed", "NAME=FILE", "--no-report"} <= choices
    assert "…" not in text
    assert all(len(line) <= width for line in text.splitlines())


@pytest.mark.parametrize("command", ["train", "tune"])
@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("popular", "last-popular")])
def test_the_example_of_a_model_fits_it(command: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"Example: (monge .*)", monge_cli(capsys, command, name, "--help").out)
    data = "i2vae-cloth-sport --protocol released" if getattr(find_model(name), "needs_domains", False) else "ml-100k"
    assert example.startswith(f"monge {command} {name} {data} ")


def test_the_page_of_commands_names_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    done = monge_cli(capsys, "--help")
    for command in {command[0] for command in COMMANDS if command}:
        assert re.search(rf"│ {command} +[A-Z]", done.out)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    done = monge_cli(capsys, "--version")
    assert done.code == 0
    assert re.search(r"\d+\.\d+", done.out)


HEAVY = "{'torch', 'polars', 'scipy', 'lightning_fabric', 'pandas', 'plotly'}"


@pytest.mark.parametrize(
    "code",
    ["import monge", "import sys; sys.argv = ['monge', '--help']\nfrom monge.cli import main\ntry: main()\nexcept SystemExit: pass"],
    ids=["import monge", "monge --help"],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    check = f"{code}\nimport sys\nheavy = {HEAVY} & set(sys.modules)\nassert not heavy, heavy\n"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stderr


def test_python_m_monge_is_monge() -> None:
    done = subprocess.run([sys.executable, "-m", "monge", "evaluate"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
