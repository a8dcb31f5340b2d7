"""A run as a process of its own, which measures what this process cannot."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LOOK = 0.02  # seconds between two looks at the memory
_HIGH_WATER = re.compile(rb"^VmHWM:\s+(\d+) kB", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class WholeRun:
    """`seconds` from start to end; `memory` in bytes at most, None where the system does not report it."""

    seconds: float
    memory: int | None


def run_watched(
    command: Sequence[str], environment: Mapping[str, str], most_seconds: float
) -> WholeRun | None:
    """Run a command and watch it; None if it fails, or is ended because it takes longer than `most_seconds`.
    Its output goes nowhere.

    The memory is the process's own high-water mark, as Linux keeps it: what a parent learns of a child that
    has ended counts the memory of the parent, too.
    """
    began = time.perf_counter()
    memory = None
    with subprocess.Popen(
        command,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        while process.poll() is None:
            memory = _high_water(process.pid) or memory
            if time.perf_counter() - began > most_seconds:
                process.kill()
            time.sleep(LOOK)
    seconds = time.perf_counter() - began
    return WholeRun(seconds, memory) if process.returncode == 0 else None


def _high_water(pid: int) -> int | None:
    try:
        found = _HIGH_WATER.search(Path(f"/proc/{pid}/status").read_bytes())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
