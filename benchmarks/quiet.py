"""Whether the machine was ours alone while we measured.

Two libraries with two threads each on two cores do not take twice as long: OpenMP's threads wait for each other by
spinning, and an epoch of 0.1 s was seen to take 10 s. So each measurement says how much of the processors went elsewhere.
"""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from types import TracebackType

TOLERATED_SHARE = 0.05
"""A measurement during which others had more of the processors than this should be made again."""


class OtherWork:
    """Measures, within a `with` block, the share of the processors that went to others.

    Others are all processes but this one and the children that ended within the block, and other guests of the same host
    where it tells (steal). Known on Linux only.
    """

    share: float | None = None
    """0 to 1 after the block: others' processor seconds over seconds x cores; None where it cannot be known."""

    def __enter__(self) -> OtherWork:
        self._begun, self._machine, self._own = time.perf_counter(), _machine_seconds(), _own_seconds()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        machine = _machine_seconds()
        if self._machine is None or machine is None:
            return
        available = (time.perf_counter() - self._begun) * (os.cpu_count() or 1)
        others = (machine - self._machine) - (_own_seconds() - self._own)
        self.share = min(1.0, max(0.0, others / available)) if available else None


def _machine_seconds() -> float | None:
    """Processor seconds spent on anything since the start: user, nice, system, irq, softirq and steal of /proc/stat."""
    stat = Path("/proc/stat")
    if not stat.is_file():
        return None
    fields = [int(word) for word in stat.read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields[:3]) + sum(fields[5:8])) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
