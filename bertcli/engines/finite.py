"""An engine whose answers are numbers: NaN and infinity end in an error instead of in somebody's table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bertcli.errors import EngineError

if TYPE_CHECKING:
    from bertcli.engines import Array, Ask, Engine
    from bertcli.records import Window


class NotFiniteError(EngineError, ArithmeticError):
    """What a model computed is not finite: its weights are damaged, or too large for the dtype."""


def not_finite() -> NotFiniteError:
    """The error of an answer that holds NaN or infinity."""
    return NotFiniteError(
        "the model's answer is not a finite number",
        hint="`bertcli models check` looks for damaged weights; --dtype float32 has the widest range",
    )


class Finite:
    """Another engine, with a look at each of its answers. Raises NotFiniteError for a batch that holds one
    that is not finite. `calibration` is the digest of what int8 was calibrated to."""

    def __init__(self, engine: Engine, *, calibration: str = "") -> None:
        self._engine = engine
        self.name = engine.name
        self.device = engine.device
        self.dtype = engine.dtype
        self.workers = engine.workers
        self.batch_tokens = engine.batch_tokens
        self.batch_invariant = engine.batch_invariant
        self.calibration = calibration
        self.usage = getattr(engine, "usage", None)  # of a cluster
        self.workers_here: int = getattr(engine, "workers_here", engine.workers)  # likewise

    def forward(self, windows: Sequence[Window], ask: Ask) -> list[Array]:
        return _checked(self._engine.forward(windows, ask))

    def forward_all(self, windows: Sequence[Window], asks: Sequence[Ask]) -> list[list[Array]]:
        return [_checked(answers) for answers in self._engine.forward_all(windows, asks)]

    def close(self) -> None:
        """Let go of what the engine has outside this process."""
        if (close := getattr(self._engine, "close", None)) is not None:
            close()


def _checked(answers: list[Array]) -> list[Array]:
    # by sums, which NaN and infinity do not leave: one pass, and no second array; vectors together
    with np.errstate(invalid="ignore", over="ignore"):
        if answers and answers[0].ndim == 1:
            finite = bool(np.isfinite(np.concatenate(answers)).all())
        else:
            finite = all(math.isfinite(np.add.reduce(answer, axis=None)) for answer in answers)
    if not finite:
        raise not_finite()
    return answers
