"""The prompt on a terminal, with a stand-in and with a real (pseudo) terminal."""

from __future__ import annotations

import io
import os
import pty
import select
import subprocess
import sys

import pytest

from bertcli.errors import UsageError
from bertcli.requests import InputOptions
from bertcli.sources import Source, open_source
from bertcli.sources.prompt import PROMPT


def prompt(typed: bytes, **options: object) -> Source:
    return open_source(InputOptions(**options), stdin=io.BytesIO(typed), interactive=True)


def test_each_line_is_asked_for_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    source = prompt("first\n\n  \nzweite Zeile ü\n".encode())
    assert (source.live, source.prompt, source.size) == (True, True, None)
    assert source.field_names == ("text",)
    assert capfd.readouterr().err == ""  # nothing is asked before it can be answered
    records = iter(source)
    assert next(records).text == "first"
    assert capfd.readouterr().err.count(PROMPT) == 1
    assert next(records).text == "zweite Zeile ü"
    assert capfd.readouterr().err.count(PROMPT) == 3
    assert list(records) == []
    out, err = capfd.readouterr()
    assert (out, err) == ("", PROMPT + "\n")


def test_ctrl_c_leaves_the_next_prompt_a_line_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    class Interrupted(io.BytesIO):
        def readline(self, size: int | None = -1, /) -> bytes:
            raise KeyboardInterrupt

    source = open_source(InputOptions(), stdin=Interrupted(), interactive=True)
    with pytest.raises(KeyboardInterrupt):
        next(iter(source))
    assert capfd.readouterr().err.endswith(PROMPT + "\n")


def test_the_prompt_takes_other_forms_and_ignores_the_encoding_of_files() -> None:
    assert [r.text for r in prompt('{"body": "ü"}\n'.encode(), input_format="jsonl", encoding="utf-16")] == [
        "ü"
    ]
    assert [r.text for r in prompt(b"a\nb\n", null=True)] == ["a", "b"]
    with pytest.raises(UsageError, match="cannot be typed"):
        prompt(b"", input_format="parquet")


def test_json_typed_at_a_prompt_is_text() -> None:
    assert [record.text for record in prompt(b'{"text": "a"}\n')] == ['{"text": "a"}']


SESSION = """
from bertcli import console
stdout = console.claim_stdout()
from bertcli.requests import InputOptions
from bertcli.sources import open_source
for record in open_source(InputOptions()):
    stdout.write(record.text.encode() + b"\\n")
    stdout.flush()
"""


def test_a_terminal_edits_lines_remembers_them_and_keeps_stdout_clean() -> None:
    pytest.importorskip("readline")
    terminal, own_side = pty.openpty()

    def shown_until(end: bytes) -> bytes:
        shown = b""
        while not shown.endswith(end):
            assert select.select([terminal], [], [], 20)[0], shown
            shown += os.read(terminal, 1000)
        return shown

    environment = {**os.environ, "TERM": "xterm", "INPUTRC": os.devnull}
    process = subprocess.Popen(
        [sys.executable, "-c", SESSION],
        stdin=own_side,
        stderr=own_side,
        stdout=subprocess.PIPE,
        env=environment,
    )
    os.close(own_side)
    try:
        assert b"Ctrl-D" in shown_until(PROMPT.encode())
        os.write(terminal, b"good\n")
        assert process.stdout is not None
        assert process.stdout.readline() == b"good\n"
        shown_until(PROMPT.encode())
        os.write(terminal, b"\x1b[A\x7fd day\n")  # arrow up, backspace
        assert process.stdout.readline() == b"good day\n"
        shown_until(PROMPT.encode())
        os.write(terminal, b"\x04")
        assert process.stdout.read() == b""
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        os.close(terminal)
