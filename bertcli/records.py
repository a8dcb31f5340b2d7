"""What travels through the house: a Record in, Windows through the engine, a Result out.

Standard library only: every room may import this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

NUMBER_SIZE = 32
"""Bytes of a number among fields, and of its place in a list."""


class ExactNumber(float):
    """A number of an input file that is not the double nearest to it: its own digits are kept for the output.

    `text` is how JSON spells it.
    """

    text: str

    def __new__(cls, text: str) -> ExactNumber:
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a record has no answer; written as `"error": {"type", "message"}`."""

    type: str
    message: str


@dataclass(frozen=True, slots=True)
class Record:
    """One input unit with all its fields.

    `index` counts records of the run from 0. `text` (and `pair`) is what a task reads; it is also among
    `fields`. `text` is None for a null field. `where` is `file:line` for messages. A record its source could
    not make sense of carries the `problem` and whatever fields could be saved. `words` are the text's words
    where the input has it split already: joined by blanks they are `text`.
    """

    index: int
    fields: Mapping[str, Any]
    text: str | None
    pair: str | None = None
    where: str = ""
    problem: Problem | None = None
    words: tuple[str, ...] | None = None

    @property
    def blank(self) -> bool:
        """No text to answer for: null, empty or white space."""
        return self.problem is None and (self.text is None or not self.text.strip())

    @property
    def size(self) -> int:
        """About how many bytes its fields take."""
        size = 0
        for value in self.fields.values():
            size += len(value) if type(value) is str else size_of(value)
        return size


@dataclass(frozen=True, slots=True)
class Window:
    """A slice of a record's tokens that the model can take in one go, special tokens included.

    `ids` and `types` (token types; None means all 0) have the same length. `fresh` = (start, stop) are the
    positions in this window that no earlier window of the record had, special tokens included where they
    count: over a record the fresh ranges hold each of its tokens once (of a pair in several windows, each
    token of the text that is cut; the other text stands in every window). `masks` are positions whose word
    is asked for. `before` is how many positions of the text come before the fresh ones, for what is weighted
    by position. `offsets` are (start, end) characters of the original text for each position, when the task
    wants them ((0, 0) for special tokens).
    """

    ids: Sequence[int]
    types: Sequence[int] | None = None
    fresh: tuple[int, int] = (0, 0)
    masks: tuple[int, ...] = ()
    offsets: Sequence[tuple[int, int]] | None = None
    before: int = 0

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a record: the appended fields, or the problem, or neither (blank).

    `values` holds every field the task promises, in its order (null for blank records, empty for failed
    ones). `windows` is the number of windows the record took; `truncated` says that text was cut;
    `duplicate` that an equal text came before it.
    """

    record: Record
    values: Mapping[str, Any] = field(default_factory=dict)
    problem: Problem | None = None
    windows: int = 1
    truncated: bool = False
    duplicate: bool = False

    @property
    def status(self) -> str:
        """`done`, `blank` or `failed`."""
        if self.problem is not None:
            return "failed"
        return "blank" if self.record.blank else "done"

    def row(self, prefix: str = "") -> dict[str, Any]:
        """The output record: input fields in their order, then results, then what must be said about them."""
        row = dict(self.record.fields)
        for name, value in self.values.items():
            row[prefix + name] = value
        if self.windows > 1:
            row[prefix + "windows"] = self.windows
        if self.truncated:
            row[prefix + "truncated"] = True
        if self.problem is not None:
            row[prefix + "error"] = {"type": self.problem.type, "message": self.problem.message}
        return row


def size_of(value: Any) -> int:
    """About how many bytes a value among fields takes."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(size_of, value.values()))
    if isinstance(value, list) and value and isinstance(value[0], str | bytes | list | Mapping):
        return sum(map(size_of, value))
    if isinstance(value, list):
        return NUMBER_SIZE * len(value)
    size: int = getattr(value, "nbytes", NUMBER_SIZE)
    return size
