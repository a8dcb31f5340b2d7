"""The format of an input, and its reader."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from bertcli.errors import UsageError
from bertcli.sources.binary import refuse_binary
from bertcli.sources.compression import SUFFIXES as COMPRESSED
from bertcli.sources.compression import sniff_compression
from bertcli.sources.contents import Contents, look
from bertcli.sources.encoding import MARKS, is_utf8, sniff_encoding, to_utf8
from bertcli.sources.lines import LineNumbers, whole_lines
from bertcli.sources.opening import Input
from bertcli.sources.parts import count_lines, has_byte
from bertcli.storage import open_file

if TYPE_CHECKING:
    from bertcli.requests import InputOptions

SUFFIXES = {
    ".txt": "txt",
    ".text": "txt",
    ".log": "txt",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".conll": "conll",
    ".iob": "conll",
    ".bio": "conll",
    ".conllu": "conllu",
    ".srt": "srt",
    ".vtt": "vtt",
}
DELIMITERS = {"csv": ",", "tsv": "\t"}
PARQUET = b"PAR1\x15"  # its magic bytes, and the first of the structure that follows
MOST_LOOKED = 4096
MOST_FIRST_LINE = 1 << 20

# an object with a name or nothing in it, or an array of objects; and what may still become one of them
JSON = re.compile(rb'\s*(\{\s*["}]|\[\s*\{)')
ARRAY = re.compile(rb"\s*\[")
MAY_BECOME_JSON = re.compile(rb"\s*([{\[]\s*)?")


def check_formats(options: InputOptions) -> None:
    """Raise UsageError for options that cannot go together."""
    if options.whole_files and options.input_format is not None:
        raise UsageError(
            f"--whole-files reads a file as one text, not as {options.input_format}", hint="choose one"
        )
    if options.whole_files and options.null:
        raise UsageError("--whole-files and --null contradict each other", hint="choose one")
    if options.null and options.input_format not in (None, "txt"):
        raise UsageError(
            f"--null separates plain texts, not {options.input_format}", hint="leave one of them out"
        )


def open_contents(source: Input, options: InputOptions) -> Contents:
    """Begin to read an input.

    The form is what `--from` says (`--null` implies txt), else what the suffix says, else txt. Parquet is
    also known by its first bytes. A pipe without a telling name (stdin, a fifo) is jsonl when it begins like
    JSON: a brace, followed by a quote or another brace; `--from txt` reads such lines as they are. Raises
    UsageError for what would be read as lines and begins with a line of columns that has the text field.
    """
    field = options.text_field or "text"
    if source.begin is not None:
        return _open_part(source, options)
    if options.whole_files:
        from bertcli.sources.text import read_whole

        encoding, chunks = sniff_encoding(refuse_binary(source.unpacked(), source.label), options.encoding)
        return read_whole(
            to_utf8(chunks, encoding),
            path=source.path,
            field=field,
            encoding=encoding,
            most=options.max_record_bytes,
        )
    file_format: str | None = "txt" if options.null else options.input_format
    if source.prompt:
        return _read(file_format or "txt", source.chunks(), options, encoding="utf-8", label=source.label)
    if file_format is None and source.path.lower().endswith(".npy"):
        hint = f"`bertcli search QUERY --embeddings {source.path}` searches among them"
        raise UsageError("holds vectors and no text", where=source.path, hint=hint)
    chunks = source.unpacked()
    if file_format is None:
        head, chunks = look(chunks, _may_become_parquet)
        file_format = "parquet" if head.startswith(PARQUET) else _format_of(source.path)
    if file_format == "parquet":
        from bertcli.sources.parquet import read_parquet

        return read_parquet(source, chunks, most=options.max_record_bytes)
    if not options.null:
        chunks = refuse_binary(chunks, source.label)
    encoding, chunks = sniff_encoding(chunks, options.encoding)
    chunks = to_utf8(chunks, encoding)
    if file_format is None and (options.delimiter is not None or options.no_header):
        file_format = "csv"
    if file_format is None and source.regular is None:
        head, chunks = look(chunks, _may_become_json)
        file_format = "json" if JSON.match(head) else None
    if file_format == "json" and options.input_format is None:
        file_format, chunks = _lines_or_document(chunks)
    if file_format in (None, "txt") and options.input_format is None and options.text_field is not None:
        head, chunks = look(chunks, _may_become_line)
        _refuse_columns(head, options.text_field, source.path)
    return _read(file_format or "txt", chunks, options, encoding=encoding, label=source.label)


def is_divisible(source: Input, options: InputOptions) -> bool:
    """Whether each line of an input is a record (or none) whatever is before it, but for a header, so that parts of
    it can be read from any line on."""
    if options.whole_files or source.regular is None or not is_utf8(options.encoding):
        return False
    file_format = _lines_format(source, options)
    with open_file(source.regular) as file:
        head = file.read(MOST_FIRST_LINE)
        if sniff_compression(head) is not None or head.startswith((PARQUET, *MARKS)):
            return False
        if file_format not in DELIMITERS:
            return file_format in ("txt", "jsonl")
        if options.no_header or _header_size(head, file_format, options) is None:
            return False
        # without quotes, no cell has more than one line
        return options.quoting == "none" or not has_byte(file, b'"')


def _header_size(head: bytes, file_format: str, options: InputOptions) -> int | None:
    from bertcli.sources.delimited import header_size

    delimiter = options.delimiter or DELIMITERS[file_format]
    return header_size(head, delimiter=delimiter, given=options.delimiter is not None)


def _open_part(source: Input, options: InputOptions) -> Contents:
    """Begin to read a part of a file that is divisible."""
    assert source.begin is not None
    assert source.regular is not None
    assert source.size is not None
    file_format, end = _lines_format(source, options), line_end(options)
    header = b""
    if file_format in DELIMITERS:
        with open_file(source.regular) as file:
            header = file.read(MOST_FIRST_LINE)
        header = header[: _header_size(header, file_format, options)]
        last = source.begin + source.size
        source.begin = max(source.begin, len(header))
        source.size = max(last, len(header)) - source.begin
    chunks = chain([header] if header else (), source.chunks())
    return _read(
        file_format,
        to_utf8(chunks, options.encoding) if header or source.begin == 0 else chunks,
        options,
        encoding=options.encoding,
        label=source.label,
        numbers=LineNumbers(partial(count_lines, source, end)),
        begun=source.begin > 0,
        skipped=count_lines(source, end) - header.count(end) if header else 0,
    )


def _lines_format(source: Input, options: InputOptions) -> str:
    """The format of a file that is made of lines."""
    if options.null:
        return "txt"
    if (known := options.input_format or _format_of(source.path)) is not None:
        return known
    return "csv" if options.delimiter is not None or options.no_header else "txt"


def line_end(options: InputOptions) -> bytes:
    """What ends a record of plain text."""
    return b"\0" if options.null else b"\n"


def _read(
    file_format: str,
    chunks: Iterator[bytes],
    options: InputOptions,
    *,
    encoding: str,
    label: str,
    numbers: LineNumbers | None = None,
    begun: bool = False,
    skipped: int = 0,
) -> Contents:
    """The contents of a form made of lines; `chunks` are UTF-8."""
    end, most = line_end(options), options.max_record_bytes
    if file_format == "json":
        from bertcli.sources.json_document import read_json

        return read_json(chunks, field=options.text_field or "text", encoding=encoding, most=most)
    blocks = whole_lines(chunks, end, most=most)
    if file_format == "jsonl":
        from bertcli.sources.jsonl import read_jsonl

        return read_jsonl(blocks, encoding=encoding, numbers=numbers, begun=begun)
    if file_format in DELIMITERS:
        from bertcli.sources.delimited import read_delimited

        return read_delimited(
            blocks,
            delimiter=options.delimiter or DELIMITERS[file_format],
            encoding=encoding,
            most=most,
            label=label,
            quoting=options.quoting,
            header=not options.no_header,
            given=options.delimiter is not None,
            skipped=skipped,
        )
    if file_format in ("conll", "conllu"):
        from bertcli.sources.conll import read_conll

        return read_conll(blocks, universal=file_format == "conllu", encoding=encoding, most=most)
    if file_format in ("srt", "vtt"):
        from bertcli.sources.subtitles import read_subtitles

        return read_subtitles(
            blocks, vtt=file_format == "vtt", field=options.text_field or "text", encoding=encoding, most=most
        )
    from bertcli.sources.text import read_lines

    return read_lines(blocks, field=options.text_field or "text", encoding=encoding, end=end, numbers=numbers)


def _lines_or_document(chunks: Iterator[bytes]) -> tuple[str, Iterator[bytes]]:
    """Whether JSON is an object a line or one document, by its first line that is not blank; and all chunks."""
    head, chunks = look(chunks, _may_become_object)
    line = next((line for line in head.splitlines() if line.strip()), b"")
    if ARRAY.match(line):
        return "json", chunks
    try:
        json.loads(line)
    except ValueError:
        spread = line.strip() == b"{" or not line.rstrip().endswith(b"}")
        return "json" if spread else "jsonl", chunks
    return "jsonl", chunks


def _may_become_object(head: bytes) -> bool:
    """Whether more bytes are needed to have the first line that is not blank."""
    text = head.lstrip()
    return not text.startswith(b"[") and b"\n" not in text and len(head) < MOST_FIRST_LINE


def _format_of(path: str) -> str | None:
    root, suffix = os.path.splitext(path)
    if suffix.lower() in COMPRESSED:
        suffix = os.path.splitext(root)[1]
    return SUFFIXES.get(suffix.lower())


def _may_become_parquet(head: bytes) -> bool:
    return len(head) < len(PARQUET) and PARQUET.startswith(head)


def _may_become_line(head: bytes) -> bool:
    return b"\n" not in head and len(head) < MOST_LOOKED


def _refuse_columns(head: bytes, field: str, path: str) -> None:
    """Raise UsageError where the first line names columns, `field` among them: its lines are no texts."""
    line = head.partition(b"\n")[0].decode("utf-8", "replace").strip()
    if any(field in (cell.strip().strip('"') for cell in line.split(delimiter)) for delimiter in ",;\t"):
        raise UsageError(
            f"the first line has a column '{field}', and nothing says that these are columns",
            hint="add --from csv or --from tsv; --from txt reads the lines as they are",
            where=path,
        )


def _may_become_json(head: bytes) -> bool:
    return len(head) < MOST_LOOKED and MAY_BECOME_JSON.fullmatch(head) is not None
