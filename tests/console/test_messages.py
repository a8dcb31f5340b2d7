"""What is said on stderr, and when."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator

import pytest

from bertcli import console
from bertcli.errors import BertcliError, InputError


@pytest.fixture(autouse=True)
def plain() -> Iterator[None]:
    console.reset()  # of a command that another test ran in this process
    yield
    console.reset()


def say_all() -> None:
    console.error(InputError("is broken", where="a.csv:3", hint="mend it"))
    console.warn("beware")
    console.note("because")
    console.say("done")


ERROR = "bertcli: a.csv:3: is broken\n  mend it\n"


@pytest.mark.parametrize(
    ("manner", "said"),
    [
        ({}, ERROR + "bertcli: warning: beware\ndone\n"),
        ({"verbose": True}, ERROR + "bertcli: warning: beware\nbertcli: because\ndone\n"),
        ({"quiet": True}, ERROR),
    ],
)
def test_how_much_is_said(manner: dict[str, bool], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    console.configure(**manner)  # type: ignore[arg-type]
    say_all()
    assert capsys.readouterr() == ("", said)


def test_what_is_held_is_shown_when_the_work_begins(capsys: pytest.CaptureFixture[str]) -> None:
    console.hold("head one")
    assert capsys.readouterr().err == ""
    console.release()
    console.release()
    assert capsys.readouterr().err == "head one\n"


def test_what_is_held_is_lost_with_a_run_that_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    console.hold("head one")
    console.reset()  # the next run of this process
    console.release()
    assert capsys.readouterr().err == ""


def test_an_error_without_place_and_hint(capsys: pytest.CaptureFixture[str]) -> None:
    console.error(BertcliError("no luck"))
    assert capsys.readouterr().err == "bertcli: no luck\n"


def test_no_name_steers_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console.configure(color="always")
    console.error(InputError("cannot read\x1b[2J", where="evil\x1b]0;x\x07\n.csv"))
    shown = capsys.readouterr().err
    assert r"evil\x1b]0;x\x07\n.csv: cannot read\x1b[2J" in shown
    assert shown.startswith("\x1b[1;31mbertcli: \x1b[0m")


@pytest.mark.parametrize("stream", [None, "closed"])
def test_a_closed_stderr_is_no_trouble(stream: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = None if stream is None else open(os.devnull, "w")  # noqa: SIM115 (closed in the next line)
    if broken is not None:
        broken.close()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", broken)
        say_all()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ünïcödé 日本 👩‍👧", "plain ünïcödé 日本 👩‍👧"),
        ("\x1b[31m\r\n\t\0\x7f\x9b", r"\x1b[31m\r\n\t\x00\x7f\x9b"),
        ("\u202e\u2028\ufeff\ud800", r"\u202e\u2028\ufeff\ud800"),
        ("[bold]a[/bold]", "[bold]a[/bold]"),
    ],
)
def test_visible(text: str, shown: str) -> None:
    assert console.visible(text) == shown


def test_libraries_are_kept_quiet(monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder) -> None:
    environment: dict[str, str] = {}
    monkeypatch.setattr(os, "environ", environment)
    with warnings.catch_warnings():
        console.quiet_libraries(verbose=True, offline=False)
        assert environment["TOKENIZERS_PARALLELISM"] == "false"
        assert "TRANSFORMERS_VERBOSITY" not in environment
        assert "HF_HUB_OFFLINE" not in environment
        console.quiet_libraries()
        assert environment["TRANSFORMERS_VERBOSITY"] == "error"
        assert environment["HF_HUB_OFFLINE"] == "1"
        warnings.warn("a library warns", stacklevel=1)
    assert not recwarn
