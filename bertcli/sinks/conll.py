"""CoNLL: a word a line with its tag behind it, an empty line behind each sentence.

    Peter   B-PER   B-PER      the word; the tag the input had, if it had one; the tag that was found

The tag of the input is between the two, as conlleval wants it; other readers take the first column and the
last. A record without an answer is a comment: its words without tags would be taken for words of nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from bertcli.records import Result
from bertcli.sinks.text import TextSink

FIELD = "word_tags"
BREAKS = re.compile("[\t\n\r]+")  # what a column cannot hold


class ConllSink(TextSink):
    """The other fields of a record are for other formats."""

    def write(self, result: Result) -> None:
        if result.status == "done":
            lines = self._words(result)
        elif result.problem is not None:
            lines = [f"# error {result.problem.type}: {_cell(result.problem.message)}"]
        else:
            lines = ["# blank"]
        self._output.write("".join(f"{line}\n" for line in [*lines, ""]).encode("utf-8", "backslashreplace"))

    def _words(self, result: Result) -> list[str]:
        entries = result.values[FIELD]
        known = _known_tags(result, len(entries))
        rows = [[entry["word"], *tag, entry["tag"]] for entry, tag in zip(entries, known, strict=True)]
        return ["\t".join(map(_cell, row)) for row in rows]


def _known_tags(result: Result, words: int) -> Sequence[tuple[str, ...]]:
    """The tag of each word in the input: one each, or none at all."""
    tags = result.record.fields.get("tags")
    if result.record.words is None or not isinstance(tags, list) or len(tags) != words:
        return [()] * words
    return [(str(tag),) for tag in tags]


def _cell(text: str) -> str:
    return BREAKS.sub(" ", text)
