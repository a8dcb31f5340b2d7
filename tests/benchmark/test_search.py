"""The search finds what is fastest, and prefers what needs no settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bertcli.benchmark import search as module
from bertcli.benchmark.agreement import Agreement
from bertcli.benchmark.sample import Sample, Timed
from bertcli.benchmark.search import SettingsSearch
from bertcli.benchmark.trial import EngineSettings, Trial
from bertcli.benchmark.verdict import Verdict, verdict
from bertcli.benchmark.whole_run import WholeRun
from bertcli.errors import EngineError
from bertcli.records import Record
from tests.fakes import EchoEngine, LetterTask

Rate = Callable[[EngineSettings], float]

PACKED = {"float32": "float32", "auto": "bfloat16"}


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[SettingsSearch, list[Trial]]]:
    """A search on an engine whose tokens a second are `rate(choice)`."""

    def run(
        rate: Rate, dtypes: dict[str, str] = PACKED, threads: int = 4, agree: float | None = None
    ) -> tuple[SettingsSearch, list[Trial]]:
        def make(name: str, dtype: str) -> Any:
            if name == "packed" and dtype not in dtypes:
                raise EngineError(f"no {dtype}")
            resolved = dtypes[dtype] if name == "packed" else dtype
            return EchoEngine(name=name, dtype=resolved, workers=threads, batch_tokens=4096)

        def timed(sample: Any, task: Any, engine: Any, choice: EngineSettings, seconds: float) -> Trial:
            assert (engine.name, engine.dtype) == (choice.engine, choice.dtype)
            return Trial(choice, 1, rate(choice) / 5, rate(choice))

        monkeypatch.setattr(module, "timed", timed)
        sample = [Timed(Record(0, {"text": "abcde"}, "abcde"), 5)]
        search = SettingsSearch(sample, LetterTask(), make, seconds=60, agree=agree)  # type: ignore[arg-type]
        monkeypatch.setattr(module, "agreement", lambda reference, found: Agreement(10, 0.0, flips=1))
        return search, list(search.trials())

    return run


def by_dtype(choice: EngineSettings) -> float:
    return {"float32": 100.0, "bfloat16": 250.0}[choice.dtype] / (10 if choice.engine == "instant" else 1)


def test_engines_then_threads_then_batches(found: Any) -> None:
    search, trials = found(by_dtype)
    tried = [(t.choice.engine, t.choice.dtype, t.choice.threads, t.choice.batch_tokens) for t in trials]
    assert tried == [
        ("packed", "float32", 4, 4096),
        ("packed", "bfloat16", 4, 4096),
        ("instant", "float32", 4, 4096),
        *(("packed", "bfloat16", threads, 4096) for threads in (1, 2)),
        *(("packed", "bfloat16", 4, batch) for batch in (1024, 2048, 8192, 16384)),
    ]
    assert search.best.choice == search.default.choice == trials[1].choice


def test_a_dtype_that_is_there_already_is_not_tried_again(found: Any) -> None:
    _, trials = found(lambda choice: 1.0, {"float32": "float32", "auto": "float32"})
    assert [t.choice.engine for t in trials[:2]] == ["packed", "instant"]


def test_int8_is_told_and_never_taken(found: Any) -> None:
    search, trials = found(lambda c: 9.0 if c.dtype == "int8" else 1.0, PACKED | {"int8": "int8"})
    assert [t.choice.dtype for t in trials[:3]] == ["float32", "bfloat16", "int8"]
    assert trials[2].agreement is not None
    assert judged(search).settings == {}


def test_int8_is_taken_where_it_agrees_as_asked(found: Any) -> None:
    rate = {"float32": 1.0, "bfloat16": 2.0, "int8": 9.0}
    taken, _ = found(lambda c: rate[c.dtype], PACKED | {"int8": "int8"}, agree=0.9)
    assert judged(taken).settings["dtype"] == "int8"
    refused, _ = found(lambda c: rate[c.dtype], PACKED | {"int8": "int8"}, agree=0.91)
    assert judged(refused).settings == {}


def test_where_no_engine_can_be_made_the_first_says_why() -> None:
    def make(name: str, dtype: str) -> Any:
        raise EngineError(f"no {name} in {dtype}", hint="buy one")

    search = SettingsSearch([Timed(Record(0, {}, "abcde"), 5)], LetterTask(), make, seconds=60)  # type: ignore[arg-type]
    with pytest.raises(EngineError, match="no packed in float32") as caught:
        list(search.trials())
    assert caught.value.hint == "buy one"


@pytest.mark.parametrize(
    ("rate", "settings"),
    [
        (by_dtype, {}),
        (lambda c: by_dtype(c) * (1.02 if c.batch_tokens == 1024 else 1), {}),
        (lambda c: by_dtype(c) * (2 if c.batch_tokens == 1024 else 1), {"batch-tokens": "1024"}),
        (lambda c: float(c.engine == "packed") * (2 - (c.dtype == "bfloat16")), {"dtype": "float32"}),
        (lambda c: 9 / c.threads, {"threads": "1"}),
        (
            lambda c: {1: 3, 2: 9}.get(c.threads, 1) * c.batch_tokens,
            {"threads": "2", "batch-tokens": "16384"},
        ),
        (lambda c: 9.0 if c.engine == "instant" else 1.0, {"engine": "instant"}),
    ],
)
def test_only_what_is_clearly_better_becomes_a_setting(
    found: Any, rate: Rate, settings: dict[str, str]
) -> None:
    search, _ = found(rate)
    assert judged(search).settings == settings


def test_a_lucky_trial_is_found_out(found: Any) -> None:
    lucky = iter([5.0])
    search, _ = found(lambda c: next(lucky, 1.0) if c.batch_tokens == 8192 else 1.0)
    assert judged(search).settings == {}
    assert judged(search).gain == 1


@pytest.mark.parametrize("loading", [0.5, 4.0, 50.0])
@pytest.mark.parametrize("seconds", [1.0, 20.0, 60.0])
def test_a_search_ends_in_time_for_a_whole_run(
    seconds: float, loading: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def make(name: str, dtype: str) -> Any:
        nonlocal now
        now += loading
        return EchoEngine(name=name, dtype=dtype, workers=4, batch_tokens=4096)

    def timed(sample: Any, task: Any, engine: Any, choice: EngineSettings, seconds: float) -> Trial:
        nonlocal now
        assert seconds >= 0
        now += seconds + 0.01
        return Trial(choice, 1, float(choice.batch_tokens), float(choice.batch_tokens))

    monkeypatch.setattr(module, "timed", timed)
    monkeypatch.setattr(module, "agreement", lambda reference, found: Agreement(1, 0.0))
    sample = [Timed(Record(0, {"text": "abcde"}, "abcde"), 5)]
    search = SettingsSearch(sample, LetterTask(), make, seconds=seconds, clock=lambda: now)  # type: ignore[arg-type]
    trials = list(search.trials())
    assert search.loading == loading
    assert now <= max(seconds - loading, module.NEEDED * loading) + 0.2
    assert len(trials) >= module.NEEDED
    if seconds > 10 * loading:
        assert now == pytest.approx(seconds - module.START * loading, abs=0.5)
        assert search.best.choice.batch_tokens == 4 * 4096


def judged(search: SettingsSearch, whole: WholeRun | None = None) -> Verdict:
    timed = [Timed(Record(0, {}, "abcde"), 5)]
    sample = Sample(limit=8, read=10, duplicates=9, lengths=[5], share=0.1, timed=timed)
    return verdict(search, sample, whole, texts=1)


def test_a_whole_run_is_start_and_distinct_texts(found: Any) -> None:
    search, _ = found(lambda choice: 10.0)  # half a second a text
    told = judged(search, WholeRun(seconds=4.5, memory=7))
    assert (told.start, told.memory, told.records) == (4.0, 7, 100)
    assert told.seconds == 4 + 10 / 2  # 100 records, of which one in ten is seen by the engine
    assert judged(search).seconds is None
    assert replace(told, best=told.default).gain == 1
