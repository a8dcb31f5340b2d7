"""Subtitles: the translation of each cue at the times of the cue.

A cue without a translation (blank, or failed) keeps its own text: none is ever lost. Long lines are broken in two or
more of about one length.
"""

from __future__ import annotations

import re
import textwrap

from bertcli.errors import UsageError
from bertcli.records import Result
from bertcli.sinks import Layout
from bertcli.sinks.compressed import ByteSink
from bertcli.sinks.text import TextSink

WIDTH = 42  # characters of a line, as broadcasters have it
HEADER = "WEBVTT"
_TIME = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{2})[.,](\d{1,3})")


def check_subtitle_layout(layout: Layout) -> None:
    """Raise UsageError where records are not cues."""
    if "times" not in layout.inputs:
        raise UsageError(
            "subtitles hold translations of subtitles", hint="translate a .srt or .vtt file, or write .jsonl"
        )


class SubtitleSink(TextSink):
    """`begun` says that the header of WebVTT is there already."""

    def __init__(self, output: ByteSink, layout: Layout, *, vtt: bool, begun: bool) -> None:
        super().__init__(output)
        self._text_field = layout.text_field
        self._vtt = vtt
        self._needs_header = vtt and not begun

    def write(self, result: Result) -> None:
        fields = result.record.fields
        before = fields.get("before") if self._vtt else None
        blocks = [] if before is None else [str(before)]
        if self._needs_header:
            self._needs_header = False
            if not blocks or not blocks[0].startswith(HEADER):
                blocks.insert(0, HEADER)
        if (times := fields.get("times")) is not None:
            text = result.values.get("translation") or fields.get(self._text_field) or ""
            blocks.append("\n".join([*self._name(result), self._spelled(str(times)), *_wrapped(str(text))]))
        self._output.write("".join(f"{block}\n\n" for block in blocks).encode("utf-8", "backslashreplace"))

    def close(self, complete: bool) -> None:
        if complete and self._needs_header:
            self._output.write(f"{HEADER}\n\n".encode())
        self._output.close(complete)

    def _name(self, result: Result) -> list[str]:
        name = result.record.fields.get("cue")
        if name is not None:
            return [str(name)]
        return [] if self._vtt else [str(result.record.index + 1)]  # SubRip numbers every cue

    def _spelled(self, times: str) -> str:
        """The times with the points, commas and hours of the format; SubRip has no settings behind them."""
        found = list(_TIME.finditer(times))
        if len(found) < 2:
            return times
        point = "." if self._vtt else ","
        start, stop = (
            f"{int(each[1] or 0):02}:{int(each[2]):02}:{each[3]}{point}{each[4]:0<3}" for each in found[:2]
        )
        settings = times[found[1].end() :] if self._vtt else ""
        return f"{start} --> {stop}{settings}"


def _wrapped(text: str) -> list[str]:
    """The lines of a cue, none of them empty: an empty line would end it."""
    lines = []
    for line in text.splitlines():
        count = -(-len(line) // WIDTH)
        width = WIDTH if count < 2 else max(WIDTH // 2, -(-len(line) // count) + 4)
        lines += textwrap.wrap(line, min(width, WIDTH), break_long_words=False, break_on_hyphens=False)
    return lines
