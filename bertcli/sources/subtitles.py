"""Subtitles: a cue a record, with its times as they are.

    1                                  a name, which may be missing
    00:00:01,000 --> 00:00:04,000      when it is shown; WebVTT has points for commas, and settings behind the times
    Two lines of text                  the text: lines are joined by a blank, but for those that begin with a dash, a
    that are one.                      tag or a note: of several speakers, in italics, sung

Cues end at an empty line. WebVTT begins with a line `WEBVTT`, and has blocks that are no cues (NOTE, STYLE, REGION):
they come with the next cue, in its field `before`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from bertcli.records import Problem
from bertcli.sources.contents import Contents, Row
from bertcli.sources.encoding import too_big, undecodable
from bertcli.sources.lines import split_lines

TIMES = re.compile(r"(?:\d+:)?\d{1,2}:\d{2}[.,]\d{1,3}[ \t]*-->[ \t]*(?:\d+:)?\d{1,2}:\d{2}[.,]\d{1,3}.*")
_APART = re.compile("[-\u2010-\u2014<{\u266a]")  # begins a line that stays one


def read_subtitles(blocks: Iterator[bytes], *, vtt: bool, field: str, encoding: str, most: int) -> Contents:
    """Each cue of `blocks` (see `whole_lines`) as the fields `cue`, `times`, `before` (WebVTT alone) and `field`.

    A block that is no cue is a record with a `subtitles` problem and its lines as the text; in WebVTT it belongs to the
    next cue. One with undecodable bytes has an `encoding` problem, one of more than `most` bytes `too-big`.
    """
    names = ("cue", "times", *(("before",) if vtt else ()), field)
    return Contents(_rows(blocks, vtt, field, encoding, most), names=names, strings=(field,))


def _rows(blocks: Iterator[bytes], vtt: bool, field: str, encoding: str, most: int) -> Iterator[Row]:
    before: list[str] = []
    first = 1
    for first, data in _paragraphs(blocks):
        problem = next(filter(None, (undecodable(f"line {first}", line, encoding) for line in data)), None)
        if sum(map(len, data)) > most:
            problem = too_big(f"the cue of line {first}", most)
        if problem is not None:
            yield first, {}, problem
            continue
        lines = [line.decode() for line in data]
        place = next((place for place, line in enumerate(lines[:2]) if TIMES.fullmatch(line.strip())), None)
        if place is None and vtt:
            before.append("\n".join(lines))
            continue
        fields: dict[str, Any] = {"cue": lines[0] if place == 1 else None, "times": None}
        if place is not None:
            fields["times"] = lines[place].strip()
        if vtt:
            fields["before"] = _between(before)
            before.clear()
        fields[field] = _joined(lines if place is None else lines[place + 1 :])
        yield (
            first,
            fields,
            None if place is not None else Problem("subtitles", f"line {first} begins no cue"),
        )
    if before and _between(before) is not None:
        yield first, {"cue": None, "times": None, "before": _between(before), field: None}, None


def _paragraphs(blocks: Iterator[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """Lines between empty ones, with the number of the first."""
    lines: list[bytes] = []
    number = 0
    for block in blocks:
        for line in split_lines(block):
            number += 1
            line = line.removesuffix(b"\r")
            if line.strip(b" \t"):
                lines.append(line)
            elif lines:
                yield number - len(lines), lines
                lines = []
    if lines:
        yield number - len(lines) + 1, lines


def _between(blocks: list[str]) -> str | None:
    """Blocks that are no cues, without the header where it says nothing else."""
    kept = [block for block in blocks if block.strip() != "WEBVTT"]
    return "\n\n".join(kept) or None


def _joined(lines: list[str]) -> str:
    text = ""
    for line in lines:
        between = "" if not text else "\n" if _APART.match(line.strip()) else " "
        text += between + line.strip()
    return text
