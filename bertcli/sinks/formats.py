"""The format of an output, and opening its sink. Libraries of a format are imported only when it is used."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

from bertcli.console import Terminal
from bertcli.errors import UsageError
from bertcli.journal import Mark, damaged_journal, is_regular, is_stdout, open_output
from bertcli.sinks import LastingSink, Layout
from bertcli.sinks.compressed import SUFFIXES as COMPRESSIONS
from bertcli.sinks.compressed import ByteSink, CompressedOutput, open_codec
from bertcli.storage import is_remote

if TYPE_CHECKING:
    from bertcli.requests import OutputOptions

SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".npy": "npy",
    ".conll": "conll",
    ".html": "html",
    ".srt": "srt",
    ".vtt": "vtt",
}
BINARY = ("parquet", "npy")


def open_in_format(
    options: OutputOptions, layout: Layout, stdout: BinaryIO, terminal: Terminal, mark: Mark | None
) -> LastingSink:
    """See `open_sink`."""
    try:
        return _open_in_format(options, layout, stdout, terminal, mark)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        if mark is None or options.output is None:
            raise
        raise damaged_journal(options.output) from error


def _open_in_format(
    options: OutputOptions, layout: Layout, stdout: BinaryIO, terminal: Terminal, mark: Mark | None
) -> LastingSink:
    file_format, compression = choose_format(options, terminal)
    _check(file_format, options, layout, terminal)
    if file_format in BINARY:
        return _open_binary(file_format, options, layout, stdout, terminal, mark)
    to_stdout = is_stdout(options.output)
    codec = open_codec(compression) if compression else None  # may be missing: found out before the file is
    plain = open_output(
        options.output, stdout, overwrite=options.overwrite, eager=to_stdout and terminal.is_tty, mark=mark
    )
    output: ByteSink = CompressedOutput(plain, codec, mark) if codec else plain
    if file_format == "table":
        from bertcli.sinks.table import TableSink

        shown_on = terminal if to_stdout else Terminal(color=options.color == "always")
        return TableSink(output, layout, shown_on, options.digits)
    shown = to_stdout and terminal.is_tty
    return _text_sink(file_format, output, options, layout, shown=shown, begun=mark is not None)


def _check(file_format: str, options: OutputOptions, layout: Layout, terminal: Terminal) -> None:
    """Raise UsageError for a format that cannot hold these results, or cannot go there."""
    if file_format not in layout.formats:
        raise UsageError(
            f"`{layout.task}` does not write {file_format}", hint=f"write one of {', '.join(layout.formats)}"
        )
    if file_format in ("srt", "vtt"):
        from bertcli.sinks.subtitles import check_subtitle_layout

        check_subtitle_layout(layout)
    if file_format == "plain":
        from bertcli.sinks.plain import answer_field

        answer_field(layout)
    if file_format == "html":
        _refuse_terminal(file_format, options, terminal)


def _text_sink(
    file_format: str, output: ByteSink, options: OutputOptions, layout: Layout, *, shown: bool, begun: bool
) -> LastingSink:
    """The sink of a text format; `begun` says that an earlier run has written its beginning."""
    if file_format == "jsonl":
        from bertcli.sinks.jsonl import JsonlSink

        return JsonlSink(output, layout, options.digits)
    if file_format == "json":
        from bertcli.sinks.json_array import JsonArraySink

        return JsonArraySink(output, layout, options.digits, begun=begun)
    if file_format == "conll":
        from bertcli.sinks.conll import ConllSink

        return ConllSink(output)
    if file_format == "plain":
        from bertcli.sinks.plain import PlainSink

        return PlainSink(output, layout, options.digits, shown=shown)
    if file_format in ("srt", "vtt"):
        from bertcli.sinks.subtitles import SubtitleSink

        return SubtitleSink(output, layout, vtt=file_format == "vtt", begun=begun)
    if file_format == "html":
        from bertcli.sinks.page import PageSink

        return PageSink(output)
    from bertcli.sinks.delimited import DelimitedSink

    delimiter = "\t" if file_format == "tsv" else ","
    return DelimitedSink(
        output, layout, options.digits, delimiter=delimiter, safe=options.csv_safe, begun=begun
    )


def choose_format(options: OutputOptions, terminal: Terminal) -> tuple[str, str]:
    """The format and the compression suffix (or an empty string) of an output."""
    path = options.output
    if path is None or is_stdout(path):
        return options.format or ("table" if terminal.is_tty else "jsonl"), ""
    stem, compression = _split_compression(path)
    file_format = options.format or SUFFIXES.get(os.path.splitext(stem)[1].lower())
    if file_format is None and not is_regular(path) and not is_remote(path):
        file_format = "jsonl"  # a fifo or device: whatever reads it is a program
    if file_format is None:
        raise UsageError(
            "the suffix names no output format",
            where=path,
            hint=f"use one of {' '.join(SUFFIXES)} (text formats also with .gz or .zst), or -f FORMAT",
        )
    if compression and file_format in BINARY:
        raise UsageError(
            f"{file_format} is not compressed as a whole", where=path, hint=f"leave out {compression}"
        )
    return file_format, compression


def files_written(options: OutputOptions) -> tuple[str, ...]:
    """The files that get a name when the output is complete, the one that was named first; none for standard
    output."""
    if options.output is None or is_stdout(options.output):
        return ()
    if choose_format(options, Terminal())[0] == "npy":
        from bertcli.sinks.npy import ids_path

        return options.output, ids_path(options.output)
    return (options.output,)


def _split_compression(path: str) -> tuple[str, str]:
    stem, suffix = os.path.splitext(path)
    suffix = suffix.lower()
    return (stem, suffix) if suffix in COMPRESSIONS else (path, "")


def _open_binary(
    file_format: str,
    options: OutputOptions,
    layout: Layout,
    stdout: BinaryIO,
    terminal: Terminal,
    mark: Mark | None,
) -> LastingSink:
    _refuse_terminal(file_format, options, terminal)
    if file_format == "npy":
        from bertcli.sinks.npy import NpySink

        return NpySink.open(options.output, layout, overwrite=options.overwrite, mark=mark)
    from bertcli.sinks.parquet import ParquetSink

    return ParquetSink.open(
        options.output, layout, stdout, overwrite=options.overwrite, mark=mark, digits=options.digits
    )


def _refuse_terminal(file_format: str, options: OutputOptions, terminal: Terminal) -> None:
    if is_stdout(options.output) and terminal.is_tty:
        raise UsageError(
            f"{file_format} is not for a terminal", hint=f"write it to a file: -o NAME.{file_format}"
        )
