"""The documentation agrees with the code and with itself (`make docs` builds it, and is stricter)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "benchmarks" / "README.md"])


def test_the_page_of_models_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, "docs/generate_models.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"https?://|#", link):
            assert (page.parent / link.partition("#")[0]).exists(), link


def test_every_option_that_the_guide_names_exists() -> None:
    from monge.models import MODELS, find_model
    from monge.options import option_names
    from monge.training.loop import TrainingConfig

    configs = [TrainingConfig, *(find_model(name).Config for name in MODELS)]
    known = {name.replace("_", "-") for config in configs for name in option_names(config)}
    code = "".join(path.read_text() for path in (ROOT / "src" / "monge" / "cli").glob("*.py"))
    known |= set(re.findall(r'"--([a-z-]+)', code)) | {"no-report", "help", "debug"} | set(re.findall(r"--([a-z-]+)/--", code))
    for page in [ROOT / "README.md", *(ROOT / "docs" / "guide").glob("*.md"), *(ROOT / "docs" / "findings").glob("*.md")]:
        for option in re.findall(r"(?<![\w-])--([a-z][a-z0-9-]+)", page.read_text()):
            assert option in known or option.removeprefix("no-") in known, f"{page.name}: --{option}"
