from __future__ import annotations

import os
import sys
import time

from bertcli.benchmark.whole_run import run_watched

GREEDY = "import time; room = bytearray(80_000_000); time.sleep(0.2)"


def test_memory_and_time_are_those_of_the_process_alone() -> None:
    ours = bytearray(200_000_000)  # which a parent's figures for its children would hold
    ours[::4096] = b"x" * len(ours[::4096])
    told = run_watched([sys.executable, "-c", GREEDY], os.environ, 60)
    assert told is not None
    assert told.seconds > 0.2
    if sys.platform == "linux":
        assert told.memory is not None
        assert 80_000_000 < told.memory < 120_000_000


def test_a_process_that_fails_tells_nothing() -> None:
    assert run_watched([sys.executable, "-c", "raise SystemExit(3)"], os.environ, 60) is None


def test_a_run_that_takes_too_long_is_ended() -> None:
    began = time.monotonic()
    assert run_watched([sys.executable, "-c", "import time; time.sleep(30)"], os.environ, 0.2) is None
    assert time.monotonic() - began < 10
