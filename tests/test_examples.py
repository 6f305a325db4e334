"""Every file in examples/ runs by itself and prints what it promises; so do the Python lines of the README."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROMISED = {
    "quickstart.py": r"^after items 5, 6, 7: \['item-8'",
    "own_log.py": r"^error: .*reading\.csv: no user column \(found: member, article, read_at, stars\)",
    "your_own_model.py": r"^after item 3: (\d+) and the hidden rule says \1$",
}


def run(arguments: list[str], folder: Path) -> str:
    """Standard output of a Python of its own, with this checkout's Monge; few threads, no data sets, no colours."""
    kept = {name: value for name, value in os.environ.items() if name != "MONGE_DATA"}
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), kept.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**kept, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_has_a_promise() -> None:
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(PROMISED)


@pytest.mark.parametrize("name", PROMISED)
def test_example(name: str, tmp_path: Path) -> None:
    assert re.search(PROMISED[name], run([str(ROOT / "examples" / name)], tmp_path), re.MULTILINE)
    assert not list(tmp_path.iterdir()), "an example leaves nothing behind"


def test_python_lines_of_the_readme(tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert 'train("sasrec", "ml-100k"' in block
    films = [50, 172, 181, *range(1, 40)]
    rows = [f"{user},{films[(user + step) % len(films)]},{step}" for user in range(150, 250) for step in range(8)]
    (tmp_path / "log.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    (tmp_path / "lines.py").write_text(block.replace('"ml-100k"', '"log.csv"'))
    printed = run(["lines.py"], tmp_path)
    assert len(printed.splitlines()) == block.count("print("), printed


def test_an_own_model_on_the_command_line(tmp_path: Path) -> None:
    rows = [f"{user},{(user + step) % 20},{step}" for user in range(60) for step in range(8)]
    (tmp_path / "log.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    (tmp_path / "your_own_model.py").write_text((ROOT / "examples" / "your_own_model.py").read_text())
    options = "--dim 8 --epochs 2 --no-report --out run"
    run(["-m", "monge", "train", "your_own_model:FactorisedMarkov", "log.csv", *options.split()], tmp_path)
    assert '"item_id"' in run(
        ["-m", "monge", "recommend", "run", "--history", "3,4", "--k", "2", "--json", "--trust", "your_own_model:FactorisedMarkov"],
        tmp_path,
    )
