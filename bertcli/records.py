"""The data of the pipeline: Record (input), Window (engine), Result (output).

Standard library only: every module may import this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DECISION_FIELD = "decision"
ACCEPTED, REVIEW = "accepted", "review"
"""The result field of `label --guarantee`, and its values."""

NUMBER_SIZE = 32
"""Bytes of a number among fields, and of its place in a list."""


class ExactNumber(float):
    """A number of an input file that no double represents exactly. `text` has its digits, for the output."""

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
    `fields`. `text` is None for a null field. `where` is `file:line` for messages. A malformed record has a
    `problem` and the fields that could be read. `words` are the words of the text where the input is already
    split: joined by blanks they are `text`.
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
        """Whether the text is null, empty or white space."""
        return self.problem is None and (not self.text or self.text.isspace())

    @property
    def size(self) -> int:
        """The approximate size of the fields in bytes."""
        size = 0
        for value in self.fields.values():
            size += len(value) if type(value) is str else size_of(value)
        return size


def query_of(record: Record) -> str | None:
    """The query that a record is a candidate for; None where it is malformed or blank, or has no query."""
    if record.problem is not None or record.blank or not record.pair or record.pair.isspace():
        return None
    return record.pair


@dataclass(frozen=True, slots=True)
class Window:
    """A slice of a record's tokens that fits the model, special tokens included.

    `ids` and `types` (token types; None means all 0) have the same length. `fresh` = (start, stop) are the
    positions that no earlier window of the record had, special tokens included where they count: the fresh
    ranges of a record contain each of its tokens once (of a pair in several windows, each token of the text that
    is cut; the other text is in every window). `masks` are the masked positions to predict. `before` is the
    number of positions of the text before the fresh ones, for weights by position. `offsets` are (start, end)
    characters of the original text for each position, if the task needs them ((0, 0) for special tokens). To the last
    `unattended` positions no token attends; the instant engine alone reads this.
    """

    ids: Sequence[int]
    types: Sequence[int] | None = None
    fresh: tuple[int, int] = (0, 0)
    masks: tuple[int, ...] = ()
    offsets: Sequence[tuple[int, int]] | None = None
    before: int = 0
    unattended: int = 0

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a record: the appended fields, or the problem, or neither (blank).

    `values` has every field of the task, in its order (null for blank records, empty for failed ones).
    `windows` is the number of windows of the record, `truncated` whether text was cut, `duplicate` whether an
    equal text came before it.
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
        """The output record: input fields in their order, results, then `windows`, `truncated` and `error`."""
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
    """The approximate size of a field's value in bytes."""
    if isinstance(value, str | bytes):
        return len(value)
    if type(value) is float:  # most results have one
        return NUMBER_SIZE
    if type(value) is dict:  # without the slow question whether it is a Mapping
        return sum(map(size_of, value.values()))
    if isinstance(value, Mapping):
        return sum(map(size_of, value.values()))
    if isinstance(value, list) and value and isinstance(value[0], str | bytes | list | Mapping):
        return sum(map(size_of, value))
    if isinstance(value, list):
        return NUMBER_SIZE * len(value)
    size: int = getattr(value, "nbytes", NUMBER_SIZE)
    return size
