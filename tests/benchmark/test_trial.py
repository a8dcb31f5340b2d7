from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli.benchmark.sample import Timed
from bertcli.benchmark.trial import EngineSettings, answers, timed
from tests.fakes import EchoEngine, LetterTask, records

CHOICE = EngineSettings("echo", "cpu", "float32", threads=2, batch_tokens=8)


@given(texts=st.lists(st.text("abc!", min_size=1, max_size=9), max_size=12), threads=st.integers(1, 3))
def test_answers_are_those_of_the_pipeline_in_order(texts: list[str], threads: int) -> None:
    choice = EngineSettings("echo", "cpu", "float32", threads, batch_tokens=8)
    found = answers(records(texts), LetterTask(), EchoEngine(), choice)  # type: ignore[arg-type]
    assert [result.values.get("echo") for result in found] == [
        None if "!" in text else text for text in texts
    ]


@pytest.mark.slow
@pytest.mark.parametrize("texts", [1, 3, 40, 1000])
@pytest.mark.parametrize("seconds", [0.0, 0.3, 3.0, 30.0])
def test_a_trial_takes_the_time_it_may_whatever_the_sample(texts: int, seconds: float) -> None:
    sample = [Timed(record, 100) for record in records(f"{number:0100}" for number in range(texts))]
    engine = EchoEngine(batch_tokens=8)
    clock = ticking(engine)
    trial = timed(sample, LetterTask(width=100), engine, CHOICE, seconds, clock.__next__)  # type: ignore[arg-type]
    assert trial.tokens_per_second == pytest.approx(2000)
    assert trial.texts_per_second == pytest.approx(20)
    took = sum(len(window) for call in engine.calls for window in call) / 2000
    assert took == pytest.approx(max(seconds, 0.1), rel=0.2, abs=0.1)  # two texts at least: 0.05 s each


def ticking(engine: EchoEngine) -> Iterator[float]:
    """A clock on which the engine takes a second for 2 000 tokens."""
    while True:
        yield sum(len(window) for call in engine.calls for window in call) / 2000
