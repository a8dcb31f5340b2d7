"""Sources turn files, pipes and literal texts into Records. They never see tokens.

`open_source(options)` builds one Source over all inputs; each format has a module:

    opening      what was named on the command line -> counted blocks of bytes
    compression  gzip, bzip2, xz, Zstandard -> the bytes inside
    encoding     any encoding -> UTF-8, undecodable bytes marked
    lines        blocks of bytes -> blocks of whole lines
    text, jsonl, delimited, parquet, conll    a format -> rows (formats chooses among them)
    fields       which field is the text; rows -> Records
    parts        the bytes of files that a shard reads
    stream       all inputs as one Source
    prompt       a terminal, asked line by line
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, BinaryIO, Protocol

from bertcli.errors import UsageError
from bertcli.records import Record

if TYPE_CHECKING:
    from bertcli.requests import InputOptions
    from bertcli.sources.opening import Input


class Source(Protocol):
    """An iterable of Records in input order, read once.

    `live` says that the input may pause (a pipe, a fifo, a terminal): the pipeline then answers what it has
    instead of waiting for more. `prompt` says that a person types it: the next record is asked for when it
    is taken. `size` is the number of bytes on disk, None when it cannot be known; `position` the number of
    those bytes read so far (compressed bytes for compressed files): both for the progress bar and for
    choosing an engine. `start` is the `position` behind the records that are skipped, and `limit` the most
    records that are taken, None for all. `field_names` are the field names of the first record (the header of
    a CSV file), known before the first record is taken: a name clash stops the run before it starts.
    `text_field` is the field whose text is read.
    """

    live: bool
    prompt: bool
    size: int | None
    start: int
    limit: int | None

    @property
    def position(self) -> int: ...

    @property
    def field_names(self) -> tuple[str, ...]: ...

    @property
    def text_field(self) -> str: ...

    def __iter__(self) -> Iterator[Record]: ...

    def close(self) -> None: ...


def open_source(
    options: InputOptions, *, stdin: BinaryIO | None = None, interactive: bool | None = None
) -> Source:
    """One Source over the literal texts, then the files, of `options`; over stdin when there are neither.

    `stdin` is the process's own by default; `interactive` says whether a person sits at it (default: it is a
    terminal). All paths are looked at before anything is read; each file is opened when its turn comes.

    Raises InputError for a path that cannot be read, UsageError for options that contradict each other or
    name an encoding that does not exist. Reading raises InputError where a file turns out to be damaged,
    after the records before the damage; asking for `field_names`, `text_field` or the first record raises
    UsageError when the first record has no field to read.
    """
    from bertcli.sources.encoding import check_encoding
    from bertcli.sources.formats import check_formats
    from bertcli.sources.opening import file_input, prompt_input, stream_input
    from bertcli.sources.stream import Stream

    check_formats(options)
    check_encoding(options.encoding)

    def standard_input() -> Input:
        stream = _own_stdin() if stdin is None else stdin
        if stream.isatty() if interactive is None else interactive:
            if options.input_format == "parquet":
                raise UsageError("Parquet cannot be typed", hint="name a file")
            return prompt_input(stream, b"\0" if options.null else b"\n")
        return stream_input(stream)

    named = options.files or (() if options.texts else ("-",))
    inputs = [
        standard_input() if path == "-" else file_input(path, bare_texts=options.bare_texts) for path in named
    ]
    return Stream(inputs, options)


def count_bytes(options: InputOptions) -> int | None:
    """The number of bytes of all files, where `open_part` can begin at any of them: in text and JSONL that is not
    compressed. None elsewhere."""
    from bertcli.sources.formats import is_divisible

    if options.texts or options.skip or options.limit is not None:
        return None
    inputs = _files(options)
    return (
        sum(each.size or 0 for each in inputs)
        if all(is_divisible(each, options) for each in inputs)
        else None
    )


def count_records(options: InputOptions) -> int:
    """The number of records. Reads them all, but for those of Parquet files."""
    from bertcli.sources.stream import Stream

    with closing(Stream(_files(options), options)) as source:
        return source.count()


def open_part(options: InputOptions, first: int, last: int) -> Source:
    """One Source over the records whose lines begin at bytes `first` to `last` (exclusive) of all files together:
    see `count_bytes`. Fields and text are chosen by the first record of the whole input."""
    from bertcli.sources.formats import line_end
    from bertcli.sources.parts import divide
    from bertcli.sources.stream import Stream

    parts = divide(_files(options), first, last, line_end(options))
    return Stream(parts, options, whole=open_source(options))


def _files(options: InputOptions) -> list[Input]:
    from bertcli.sources.opening import file_input

    return [file_input(path, bare_texts=options.bare_texts) for path in options.files]


def _own_stdin() -> BinaryIO:
    if sys.stdin is None:
        raise UsageError("there is no standard input to read", hint="name a file, or give a --text")
    return sys.stdin.buffer
