"""An interrupt that arrives while a run measures its model."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from bertcli.records import Window
from bertcli.training.machine import Machine


def interrupt_in_measurement(number: int, patch: pytest.MonkeyPatch) -> None:
    """Send SIGINT at the start of the sweep `number` over a dataset, counted from 1."""
    count = itertools.count(1)
    original = Machine.sweep

    def sweep(self: Machine, windows: Sequence[Window]) -> Iterator[Any]:
        if next(count) == number:
            signal.raise_signal(signal.SIGINT)
        yield from original(self, windows)

    patch.setattr(Machine, "sweep", sweep)
