"""stdout carries results alone, whatever else prints in the process."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from typing import BinaryIO

import pytest

from bertcli import console
from bertcli.console.drawing import When

PRINTING = """
import os, subprocess, sys
from bertcli import console
out = console.claim_stdout()
assert console.claim_stdout() is out
print("a library prints")
os.write(1, b"native code prints\\n")
subprocess.run(["echo", "a child prints"])
try:
    out.write(b"result\\n")
    out.flush()
except OSError as error:
    console.warn(f"failed: {error}")
"""
NOISE = {"a library prints", "native code prints", "a child prints"}


def run(redirections: str = "") -> subprocess.CompletedProcess[str]:
    command = f'"$0" -c "$1" {redirections}'
    return subprocess.run(["sh", "-c", command, sys.executable, PRINTING], capture_output=True, text=True)


def test_only_results_reach_stdout() -> None:
    process = run()
    assert process.stdout == "result\n"
    assert set(process.stderr.splitlines()) == NOISE


def test_a_closed_stderr_swallows_the_noise() -> None:
    process = run("2>&-")
    assert (process.returncode, process.stdout, process.stderr) == (0, "result\n", "")


def test_a_closed_stdout_fails_when_written() -> None:
    process = run(">&-")
    assert process.returncode == 0
    assert set(process.stderr.splitlines()) == NOISE | {"bertcli: warning: failed: [Errno 9] it is closed"}


def test_everything_closed_is_quiet() -> None:
    process = run("<&- >&- 2>&-")
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "")


@pytest.fixture
def released() -> Iterator[None]:
    yield
    console.release_stdout()


@pytest.mark.usefixtures("released")
def test_stdout_comes_back(capfd: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 (as in a program: pytest has put its own there)
    mine = sys.stdout
    try:
        out = console.claim_stdout()
        os.write(1, b"noise\n")
        out.write(b"result\n")
        console.release_stdout()
        assert sys.stdout is mine
        os.write(1, b"after\n")
    finally:
        sys.stdout = before
        mine.close()
    assert capfd.readouterr() == ("result\nafter\n", "noise\n")


@pytest.mark.usefixtures("released")
def test_a_host_with_its_own_stdout_gets_the_results(monkeypatch: pytest.MonkeyPatch) -> None:
    host = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", host)
    out = console.claim_stdout()
    assert sys.stdout is sys.stderr
    out.write(b"result")
    console.release_stdout()
    assert sys.stdout is host
    assert out is host.buffer
    assert isinstance(out, io.BytesIO)
    assert out.getvalue() == b"result"


@pytest.fixture
def screen() -> Iterator[BinaryIO]:
    """A terminal that does not know its width."""
    leader, follower = pty.openpty()
    with os.fdopen(leader), os.fdopen(follower, "wb") as stream:
        yield stream


@pytest.mark.parametrize(
    ("environment", "when", "color"),
    [
        ({}, "auto", True),
        ({}, "never", False),
        ({"NO_COLOR": "1"}, "auto", False),
        ({"NO_COLOR": ""}, "auto", True),
        ({"NO_COLOR": "1"}, "always", True),
        ({"TERM": "dumb"}, "auto", False),
    ],
)
def test_colour_on_a_terminal(
    environment: dict[str, str], when: When, color: bool, screen: BinaryIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "TERM", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert console.terminal(screen, when) == console.Terminal(is_tty=True, width=80, color=color)


def test_columns_win(screen: BinaryIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "123")
    assert console.terminal(screen).width == 123


def test_a_pipe_is_plain_and_of_any_width() -> None:
    assert console.terminal(io.BytesIO()) == console.Terminal(is_tty=False, width=None, color=False)
    assert console.terminal(io.BytesIO(), "always").color
