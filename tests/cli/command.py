"""Calls the command line in this process, as `monge ARGUMENTS` would, and reads what it printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from monge.cli import main


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one error line, which must be the last one on standard error and the only one."""
        lines = self.err.splitlines()
        assert self.code == 2, (self.code, self.out, self.err)
        assert self.out == ""
        assert "Traceback" not in self.err
        assert [line.startswith("error: ") for line in lines].count(True) == 1, self.err
        assert lines[-1].startswith("error: "), self.err
        return lines[-1]


Call = Callable[..., Done]
"""What the fixture `call` gives."""


def monge_cli(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Done:
    capsys.readouterr()
    with mock.patch.object(sys, "argv", ["monge", *map(str, arguments)]), pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    code = ended.value.code
    return Done(code if isinstance(code, int) else 0 if code is None else 1, out, err)


def one_object(text: str) -> Any:
    """The one JSON document on standard output, without NaN, and nothing else."""
    assert text.endswith("\n")
    assert text.count("\n") == 1

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)
