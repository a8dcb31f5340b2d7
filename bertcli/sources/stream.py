"""All inputs of a run as one Source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import chain, islice
from threading import Lock
from typing import TYPE_CHECKING

from bertcli.errors import InputError
from bertcli.records import Record
from bertcli.sources.contents import Contents
from bertcli.sources.fields import PlacedRow, choose_text_field, make_records
from bertcli.sources.formats import open_contents
from bertcli.sources.opening import Input
from bertcli.sources.text import read_texts

if TYPE_CHECKING:
    from bertcli.requests import InputOptions
    from bertcli.sources import Source


class Stream:
    """A Source: the literal texts of `options`, then `inputs`, one after the other.

    What the first record is decides about the text field of all: a later record without it has a problem.
    `skip` and `limit` count records, and nothing is read behind the limit. `whole` is the source over the whole
    files where the inputs are parts of them: it has the first record.
    """

    def __init__(
        self, inputs: Sequence[Input], options: InputOptions, *, whole: Source | None = None
    ) -> None:
        self._inputs = inputs
        self._options = options
        self._whole = whole
        self._texts_size = sum(len(text.encode("utf-8", "surrogateescape")) for text in options.texts)
        self._contents: Iterator[tuple[str, Contents]] = self._open_all()
        self._peeked: list[tuple[str, Contents]] | None = None
        self._peeking = Lock()
        self._names: tuple[str, ...] = ()
        self._text_field = options.text_field or "text"
        self.start = 0
        self.limit = options.limit
        self.live = any(source.live for source in inputs)
        self.prompt = any(source.prompt for source in inputs)
        sizes = [source.size for source in inputs]
        self.size = None if None in sizes else self._texts_size + sum(size or 0 for size in sizes)

    @property
    def position(self) -> int:
        return sum(source.position for source in self._inputs) + self._texts_size

    @property
    def field_names(self) -> tuple[str, ...]:
        self._peek()
        return self._names

    @property
    def text_field(self) -> str:
        self._peek()
        return self._text_field

    def __iter__(self) -> Iterator[Record]:
        # a generator: what may have to wait for input waits in the thread that takes the records
        self._peek()
        rows: Iterator[PlacedRow] = islice(self._rows(self._options.skip), self.limit)
        if self._options.skip:
            first = list(islice(rows, 1))
            self.start = self.position
            rows = chain(first, rows)
        yield from make_records(
            rows,
            self._text_field,
            self._options.pair_field,
            split_words=self._options.split_words,
        )

    def count(self) -> int:
        """The number of records. Reads all of them, but for those of formats with an index."""
        self._peek()
        total = 0
        for label, contents in chain(self._peeked or (), self._contents):
            try:
                total += sum(1 for _ in contents.rows) if contents.count is None else contents.count
            except InputError as error:
                raise _placed(error, label) from error.__cause__
        total = max(0, total - self._options.skip)
        return total if self.limit is None else min(total, self.limit)

    def close(self) -> None:
        for source in self._inputs:
            source.close()
        if self._whole is not None:
            self._whole.close()

    def _open_all(self) -> Iterator[tuple[str, Contents]]:
        if self._options.texts:
            yield "--text", read_texts(self._options.texts, field=self._options.text_field or "text")
        for source in self._inputs:
            try:
                contents = open_contents(source, self._options)
            except InputError as error:
                raise _placed(error, source.label) from error.__cause__
            yield source.label, contents

    def _peek(self) -> None:
        """Open inputs until one has names of fields (an empty one may not), and choose the text."""
        with self._peeking:  # one thread takes the records, another may ask for their names
            if self._peeked is not None:
                return
            self._peeked = []
            if self._whole is not None:
                with closing(self._whole) as whole:
                    self._names, self._text_field = whole.field_names, whole.text_field
                return
            for label, contents in self._contents:
                try:
                    contents.peek()
                except InputError as error:
                    raise _placed(error, label) from error.__cause__
                self._peeked.append((label, contents))
                if contents.names is not None:
                    self._names = contents.names
                    self._text_field = choose_text_field(
                        contents.names, contents.strings, self._options, label
                    )
                    break

    def _rows(self, skip: int) -> Iterator[PlacedRow]:
        """The rows of all inputs behind the first `skip`."""
        for label, contents in chain(self._peeked or (), self._contents):
            where = label
            skip -= contents.skip(skip)
            try:
                for line, fields, problem in contents.rows:
                    where = f"{label}:{line}" if line else label
                    if skip:
                        skip -= 1
                    else:
                        yield where, fields, problem
            except InputError as error:  # the damage lies behind the last record
                raise _placed(error, where) from error.__cause__


def _placed(error: InputError, where: str) -> InputError:
    """The error, saying where it happened if it did not know more exactly."""
    error.where = error.where or where
    return error
