"""No answer that is not a number gets past an engine, and a pack without one passes as it is."""

from __future__ import annotations

import numpy as np
import pytest

from bertcli.engines import Hidden
from bertcli.engines.finite import Finite, NotFiniteError
from bertcli.feed import Feed
from bertcli.pipeline import run
from bertcli.planning import Plan
from bertcli.records import Window
from tests.fakes import Count, EchoEngine, LetterTask, ListSink, records


class Numbers(EchoEngine):
    """Answers with one number a token: the id, and `odd` in place of the letter z."""

    odd = np.nan

    def forward(self, windows, ask):
        return [
            np.array([self.odd if token == ord("z") else token for token in window.ids], np.float32)
            for window in windows
        ]


class NumberTask(LetterTask):
    def decode(self, record, encoded, outputs):
        return {"echo": float(sum(output.sum() for output in outputs))}


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(odd: float) -> None:
    engine = Numbers()
    engine.odd = odd
    finite = Finite(engine)
    sound = Window([1, 2, 3])
    assert [list(answer) for answer in finite.forward([sound], Hidden())] == [[1, 2, 3]]
    with pytest.raises(NotFiniteError, match="not a finite number") as refused:
        finite.forward([sound, Window([1, ord("z")]), sound], Hidden())
    assert refused.value.hint


def test_infinities_that_cancel_are_refused_without_a_warning() -> None:
    class Both(EchoEngine):
        def forward(self, windows, ask):
            return [np.array([np.inf, -np.inf], np.float32)]

    with pytest.raises(NotFiniteError):
        Finite(Both()).forward([Window([1])], Hidden())


def test_only_the_records_concerned_fail() -> None:
    sink = ListSink()
    engine = Finite(Numbers())
    assert (engine.name, engine.device, engine.dtype, engine.workers) == ("echo", "cpu", "float32", 1)
    run(
        Feed(records(["ab", "z", "cd", "zz", "e"])),
        task=NumberTask(),
        engine=engine,
        plan=Plan(16),
        sink=sink,
        receipt=Count(),
    )
    assert [result.status for result in sink.results] == ["done", "failed", "done", "failed", "done"]
    assert {r.problem.message for r in sink.results if r.problem} == {
        "the model's answer is not a finite number"
    }
