"""CoNLL: a word a line with its tag, an empty line between sentences.

    EU      B-ORG            columns are separated by tabs, or by blanks where a line has no tab;
    rejects O                the first is the word, the last its tag; a file of one column has no tags

    # text = A comment       comments go before a sentence; -DOCSTART- lines divide documents
    Peter   B-PER

CoNLL-U, the form of Universal Dependencies, has ten columns between tabs: the word is the second, the tag
(UPOS) the fourth; lines for several words together (`1-2`) and for words left out (`5.1`) are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from bertcli.records import Problem
from bertcli.sources.contents import Contents, Row
from bertcli.sources.encoding import too_big, undecodable
from bertcli.sources.lines import split_lines

DOCUMENT = "-DOCSTART-"
WORD, UPOS = 1, 3  # columns of CoNLL-U
NO_WORD = re.compile(r"\d+[-.]\d+")  # as its first column has it


def read_conll(blocks: Iterator[bytes], *, universal: bool, encoding: str, most: int) -> Contents:
    """Each sentence of `blocks` (see `whole_lines`) as the fields `text` (its words joined by blanks),
    `words` and `tags`; without `tags` when the first line of all has none. `universal` is CoNLL-U.

    A sentence with a line that has no word, or no tag where the first has one, is a record with a `conll`
    problem and without tags; one with undecodable bytes has an `encoding` problem and no fields, and so has
    one of more than `most` bytes with `too-big`.
    """
    return Contents(_Sentences(universal, most).rows(_lines(blocks), encoding))


def _lines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    for block in blocks:
        for line in split_lines(block):
            yield line.removesuffix(b"\r")


class _Sentences:
    """Sentences from lines. `_width` is the number of columns of the file's first line with a word."""

    def __init__(self, universal: bool, most: int) -> None:
        self._universal = universal
        self._most = most
        self._width = 0
        self._begin()

    def _begin(self) -> None:
        self._start = 0
        self._size = 0
        self._words: list[str] = []
        self._tags: list[str] = []
        self._problem: Problem | None = None

    def rows(self, lines: Iterator[bytes], encoding: str) -> Iterator[Row]:
        for number, data in enumerate(lines, 1):
            if not data.strip(b" \t"):
                yield from self._end()
            elif problem := undecodable(f"line {number}", data, encoding):
                self._note(number, problem)
            elif self._fits(number, len(data)):
                self._add(number, data.decode())
        yield from self._end()

    def _fits(self, number: int, size: int) -> bool:
        """Whether the sentence with a line of `size` bytes more is still one to be read."""
        self._size += size + 1
        if self._size > self._most:
            self._note(number, too_big(f"the sentence of line {self._start or number}", self._most))
            self._words.clear()
            self._tags.clear()
        return self._size <= self._most

    def _add(self, number: int, line: str) -> None:
        columns = line.split("\t") if "\t" in line else re.split(" +", line.strip(" "))
        if self._is_no_word(line, columns):
            return
        self._width = self._width or len(columns)
        self._start = self._start or number
        word, tag = _word_and_tag(columns, self._universal)
        if not word or bool(tag) != (self._width > 1):
            self._note(number, self._misfit(number, columns))
        if word:
            self._words.append(word)
            self._tags.append(tag)

    def _is_no_word(self, line: str, columns: list[str]) -> bool:
        """Whether the line is a comment or only divides. `#` may also be a word: a line with a tab, or with
        as many columns as the file has, is no comment."""
        if columns[0] == DOCUMENT:
            return True
        if self._universal:
            return line.startswith("#") or NO_WORD.fullmatch(columns[0]) is not None
        comment = line.startswith("# ") and "\t" not in line and not self._words
        return comment and len(columns) != self._width

    def _misfit(self, number: int, columns: list[str]) -> Problem:
        if self._universal and len(columns) <= UPOS:
            return Problem(
                "conll", f"line {number} has {_counted(columns)}, and CoNLL-U has ten between tabs"
            )
        if (len(columns) == 1) != (self._width == 1):
            message = (
                f"line {number} has {_counted(columns)}, but the first line with a word has {self._width}"
            )
            return Problem("conll", message)
        return Problem("conll", f"line {number} has an empty column where its word or its tag should be")

    def _note(self, number: int, problem: Problem) -> None:
        self._start = self._start or number
        self._problem = self._problem or problem

    def _end(self) -> Iterator[Row]:
        """The sentence that is complete, if there is one."""
        if self._start:
            yield self._start, self._fields(), self._problem
        self._begin()

    def _fields(self) -> dict[str, Any]:
        if self._problem is not None and self._problem.type in ("encoding", "too-big"):
            return {}
        fields: dict[str, Any] = {"text": " ".join(self._words), "words": self._words}
        if self._problem is None and self._width > 1:
            fields["tags"] = self._tags
        return fields


def _word_and_tag(columns: list[str], universal: bool) -> tuple[str, str]:
    """The word of a line and its tag; an empty string for what the line does not have."""
    if universal:
        return (columns[WORD], columns[UPOS]) if len(columns) > UPOS else ("", "")
    return columns[0].strip(" "), columns[-1].strip(" ") if len(columns) > 1 else ""


def _counted(columns: list[str]) -> str:
    return "1 column" if len(columns) == 1 else f"{len(columns)} columns"
