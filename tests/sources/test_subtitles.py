"""Subtitles: what a cue becomes, and what is no cue."""

from __future__ import annotations

from typing import Any

from bertcli.records import Problem
from bertcli.sources.lines import whole_lines
from bertcli.sources.subtitles import read_subtitles

SRT = """1
00:00:01,000 --> 00:00:04,000
Two lines of text
that are one.

2\r
00:00:05,500 --> 00:00:06,000\r
- Who is it?\r
- Me.\r
\r

no cue at all
"""
VTT = """WEBVTT

NOTE a remark
of two lines

intro
00:01.000 --> 00:04.000 align:start
Hello.

05:00:05.500 --> 05:00:06.000
World.

STYLE
::cue { color: red }
"""


def rows(text: str, *, vtt: bool) -> list[tuple[int, dict[str, Any], Problem | None]]:
    pieces = [text.encode()[start : start + 7] for start in range(0, len(text.encode()), 7)]
    blocks = whole_lines(iter(pieces), most=1000)
    return list(read_subtitles(blocks, vtt=vtt, field="text", encoding="utf-8", most=1000).rows)


def test_subrip() -> None:
    first, second, third = rows(SRT, vtt=False)
    assert first == (
        1, {"cue": "1", "times": "00:00:01,000 --> 00:00:04,000", "text": "Two lines of text that are one."}, None,
    )  # fmt: skip
    assert second[1] == {"cue": "2", "times": "00:00:05,500 --> 00:00:06,000", "text": "- Who is it?\n- Me."}
    assert third[0] == 12
    assert third[2] == Problem("subtitles", "line 12 begins no cue")


def test_webvtt_keeps_what_is_no_cue() -> None:
    first, second, last = rows(VTT, vtt=True)
    assert first[1] == {
        "cue": "intro",
        "times": "00:01.000 --> 00:04.000 align:start",
        "before": "NOTE a remark\nof two lines",
        "text": "Hello.",
    }
    assert second[1]["cue"] is None
    assert second[1]["before"] is None
    assert last[1] == {"cue": None, "times": None, "before": "STYLE\n::cue { color: red }", "text": None}


def test_bytes_that_are_no_text_and_cues_that_are_too_large() -> None:
    blocks = [
        b"1\n00:00:01,000 --> 00:00:02,000\n\xff\xfe\n\n",
        b"2\n00:00:03,000 --> 00:00:04,000\n" + b"a" * 99,
    ]
    found = read_subtitles(iter(blocks), vtt=False, field="text", encoding="utf-8", most=60).rows
    assert [problem.type for _, _, problem in found if problem] == ["encoding", "too-big"]
