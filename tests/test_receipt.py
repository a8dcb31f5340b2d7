"""The receipt adds up, and owns the exit code."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli.receipt import Receipt
from bertcli.records import Problem, Record, Result


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def done(**about: object) -> Result:
    return Result(Record(0, {"text": "a"}, "a"), {"label": "x"}, **about)  # type: ignore[arg-type]


BLANK = Result(Record(0, {"text": ""}, ""), {"label": None})
FAILED = Result(Record(0, {"text": "a"}, "a"), problem=Problem("no-mask", "no mask"))


def receipt(*results: Result, seconds: float = 8.1, interrupted: bool = False) -> Receipt:
    clock = Clock()
    account = Receipt("packed", "cpu", "bfloat16", clock=clock)
    for result in results:
        account.add(result)
    clock.now += seconds
    account.finish(interrupted=interrupted)
    return account


@given(st.lists(st.sampled_from([done(), BLANK, FAILED, done(windows=2), done(duplicate=True)])))
def test_the_line_adds_up(results: list[Result]) -> None:
    line = receipt(*results).line()
    total, terms = line.split(" · ")[0].split(" = ")
    assert int(total.removesuffix(" read").replace(" ", "")) == len(results)
    assert sum(map(int, re.findall(r"\d+", terms))) == len(results)


def test_the_line_in_full() -> None:
    account = receipt(
        *[done()] * 9783, *[done(windows=2)] * 212, done(truncated=True), BLANK, BLANK, BLANK, FAILED
    )
    account.duplicates = 1204
    assert account.line() == (
        "10 000 read = 9 996 done + 3 blank + 1 failed · 212 windowed · 1 truncated · 1 204 duplicates"
        " · 8.1 s · 1 235/s · packed cpu bfloat16"
    )


@pytest.mark.parametrize(
    ("account", "line"),
    [
        (receipt(done(), seconds=0.21), "1 read = 1 done · 0.2 s"),
        (receipt(FAILED, FAILED, seconds=1), "2 read = 0 done + 2 failed · 1.0 s · 2.0/s"),
        (receipt(seconds=75), "0 read = 0 done · 75 s"),
        (receipt(BLANK, interrupted=True), "interrupted · 1 read = 0 done + 1 blank · 8.1 s"),
    ],
)
def test_zero_parts_are_left_out(account: Receipt, line: str) -> None:
    assert account.line() == f"{line} · packed cpu bfloat16"


def test_a_run_that_answered_nothing_new_has_no_rate() -> None:
    clock = Clock()
    account = Receipt(clock=clock)
    account.resume({"done": 40})
    clock.now += 2
    account.finish()
    assert account.line() == "40 read = 40 done · 40 from before · 2.0 s"


def test_a_slow_run_has_a_rate_that_is_not_zero() -> None:
    assert " · 3.0/min" in receipt(done(), done(), done(), seconds=60).line()
    assert " · 2.0/h" in receipt(done(), done(), seconds=3600).line()


def test_exit_codes() -> None:
    assert receipt(done(), BLANK).exit_code == 0
    assert receipt(done(), FAILED).exit_code == 3
    assert receipt(FAILED, interrupted=True).exit_code == 130


def test_a_single_answer_on_a_terminal_needs_no_account() -> None:
    assert not receipt(done()).is_due(on_terminal=True, verbose=False)
    assert receipt(done()).is_due(on_terminal=False, verbose=False)
    assert receipt(done()).is_due(on_terminal=True, verbose=True)
    assert receipt(done(), done()).is_due(on_terminal=True, verbose=False)
    assert receipt(FAILED).is_due(on_terminal=True, verbose=False)
