"""The bar shows up late, leaves no trace, and never mixes with anything else."""

from __future__ import annotations

import io
import os
import pty
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertcli import console
from bertcli.console.drawing import duration, grouped, meter
from bertcli.console.progress import Bar


@dataclass
class Reading:
    size: int | None = 1000
    position: int = 250
    live: bool = False
    start: int = 0
    limit: int | None = None


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Make stderr a terminal of 80 cells. (Not a fixture: pytest puts its own in place after those.)"""
    screen = Screen()
    console.configure()
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "stderr", screen)
    return screen


def test_the_line_in_full() -> None:
    bar = Bar(Reading(), shown=True)
    assert bar.line(1204, 2.0, 80) == "  ━━━━━━                    1 204 records · 602/s ·  25% · 6.0 s left"
    assert bar.line(1204, 2.0, 50) == "  1 204 records · 602/s ·  25% · 6.0 s left"
    assert Bar(Reading(size=None), shown=True).line(1, 0.0, 80) == "  1 record · 0.0/s"
    assert Bar(Reading(live=True), shown=True).line(9, 2.0, 80) == "  9 records · 4.5/s"


def test_what_is_read_ahead_is_not_done() -> None:
    reading = Reading(position=0)
    read = 0
    with Bar(reading, shown=False, taken=lambda: read) as bar:
        reading.position, read = reading.size or 0, 4000
        assert bar.line(1000, 2.0, 50) == "  1 000 records · 500/s ·  25% · 6.0 s left"
        assert " 100% " in bar.line(4000, 8.0, 50)


def test_what_is_skipped_and_what_is_behind_the_limit_is_no_work() -> None:
    reading = Reading(position=900, start=800, limit=50)
    with Bar(reading, shown=False, taken=lambda: 100) as bar:
        bar._before, bar._start = 0, 0
        assert bar.line(10, 2.0, 50) == "  10 records · 5.0/s ·  20% · 8.0 s left"
        reading.limit = None
        reading.position = 1000
        assert bar.line(50, 10.0, 50) == "  50 records · 5.0/s ·  50% · 10 s left"


def test_the_time_left_is_told_when_it_is_known() -> None:
    reading = Reading(position=10)
    with Bar(reading, shown=False) as bar:
        bar._start = 0
        assert "left" not in bar.line(10, 1.9, 80)
        assert "left" not in bar.line(10, 9.0, 80)  # 1 % is little to go by
        assert "17 min 29 s left" in bar.line(10, 10.6, 80)
        reading.position = 100
        assert "18 s left" in bar.line(100, 2.0, 80)


def test_a_run_that_goes_on_counts_what_is_there() -> None:
    reading = Reading(position=500)
    read = 500
    with Bar(reading, shown=False, taken=lambda: read) as bar:
        reading.position, read = 750, 750
        assert bar.line(250, 2.0, 50) == "  750 records · 125/s ·  75% · 2.0 s left"


def test_a_bar_never_goes_back() -> None:
    reading = Reading(position=0)
    read = 0
    with Bar(reading, shown=False, taken=lambda: read) as bar:
        reading.position, read = 500, 10  # long texts first
        assert " 50%" in bar.line(10, 1.0, 50)
        reading.position, read = 1000, 1000
        assert " 50%" in bar.line(20, 2.0, 50)
        assert " 90% " in bar.line(900, 4.0, 50)


@given(st.integers(0, 10**9), st.just(0.0) | st.floats(0.1, 1e6), st.integers(1, 120), st.integers(0, 2000))
def test_the_line_never_wraps(records: int, seconds: float, width: int, position: int) -> None:
    line = Bar(Reading(position=position), shown=True).line(records, seconds, width)
    assert len(line) < max(width, 1) or line == ""


def test_a_bar_comes_late_and_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = on_screen(monkeypatch)
    clock = Clock()
    with Bar(Reading(), shown=True, clock=clock) as bar:
        bar.show(1)
        clock.now = 0.4
        bar.show(2)
        assert screen.getvalue() == ""
        clock.now = 0.6
        bar.show(3)
        clock.now = 0.65
        bar.show(4)
        assert screen.getvalue().count("\r") == 1
        console.warn("beware")
        clock.now = 0.8
        bar.show(5)
    assert screen.getvalue().split("\r\x1b[K")[1] == (
        "bertcli: warning: beware\n".replace("bertcli: warning: ", "\x1b[33mbertcli: warning: \x1b[0m")
        + f"\r{bar.line(5, 0.8, 80)}\x1b[K"
    )
    assert screen.getvalue().endswith("\r\x1b[K")


def test_an_interrupted_bar_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = on_screen(monkeypatch)
    clock = Clock()

    def run() -> None:
        with Bar(Reading(), shown=True, clock=clock) as bar:
            clock.now = 1
            bar.show(1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run()
    console.say("interrupted")
    assert screen.getvalue().endswith("\r\x1b[Kinterrupted\n")


def drawn(bar: Bar, screen: Screen) -> bool:
    bar.patience = 0.0
    with bar:
        bar.show(1)
    return screen.getvalue() != ""


def test_a_bar_is_shown_while_a_file_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    screen = on_screen(monkeypatch)
    assert drawn(console.progress(Reading(), None), screen)
    for path in (tmp_path / "out", Path(os.devnull)):
        screen.truncate(0)
        with open(path, "wb") as stdout:
            assert drawn(console.progress(Reading(), stdout), screen)


def test_no_bar_where_results_may_be_read_along(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = on_screen(monkeypatch)
    reading, writing = os.pipe()
    os.close(reading)
    leader, follower = pty.openpty()
    for descriptor in (writing, follower):
        with os.fdopen(descriptor, "wb") as stdout:
            assert not drawn(console.progress(Reading(), stdout), screen)
    os.close(leader)
    assert not drawn(console.progress(Reading(), io.BytesIO()), screen)


def test_no_bar_when_quiet_at_the_prompt_or_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = on_screen(monkeypatch)
    console.configure(quiet=True)
    assert not drawn(console.progress(Reading(), None), screen)
    console.configure()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", Screen())
        assert not drawn(console.progress(Reading(live=True), None), screen)
    with monkeypatch.context() as patch:
        patch.setattr(screen, "isatty", lambda: False)
        assert not drawn(console.progress(Reading(), None), screen)


@given(st.floats(0, 1), st.integers(0, 40))
def test_a_meter_is_as_long_as_its_share(share: float, cells: int) -> None:
    drawn = meter(share, cells)
    assert len(drawn) <= cells
    assert abs(drawn.count("━") + drawn.count("╸") / 2 - share * cells) <= 0.25


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.0 s"),
        (8.14, "8.1 s"),
        (9.96, "10 s"),
        (119.4, "119 s"),
        (119.6, "2 min 00 s"),
        (185, "3 min 05 s"),
        (7620, "2 h 07 min"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_grouped() -> None:
    assert [grouped(number) for number in (0, 999, 1000, 1234567)] == ["0", "999", "1 000", "1 234 567"]


def test_a_bar_is_drawn_while_no_record_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """As while a huge text is cut into tokens."""
    screen = on_screen(monkeypatch)
    with Bar(Reading(position=0), shown=True, taken=lambda: 0) as bar:
        bar.idle = bar.patience = 0.01
        bar._due = 0.0
        deadline = time.monotonic() + 10
        while "0 records" not in screen.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    assert "0 records" in screen.getvalue()
    assert screen.getvalue().endswith("\r\x1b[K")
