"""Joins the outputs of all shards into the file that one run would have written."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from bertcli.distributed.shards import ShardReceipt, blocks_of, read_shard_receipt
from bertcli.errors import OutputError, UsageError
from bertcli.journal import FileOutput, Output, is_regular, is_stdout, open_output, part_of
from bertcli.receipt import Receipt
from bertcli.records import Problem, Record, Result
from bertcli.sinks import REMARKS, Layout
from bertcli.sinks.compressed import SUFFIXES as COMPRESSIONS
from bertcli.sinks.compressed import CompressedOutput, open_codec
from bertcli.sinks.delimited import joined_cells
from bertcli.sinks.formats import SUFFIXES, files_written
from bertcli.sinks.npy import NpySink, ids_path
from bertcli.sinks.parquet import ParquetSink
from bertcli.sources.jsonl import parse_object
from bertcli.storage import is_remote

if TYPE_CHECKING:
    from bertcli.requests import OutputOptions

DELIMITERS = {"csv": ",", "tsv": "\t"}

Differences = Callable[[dict[str, Any], dict[str, Any]], list[str]]


def read_receipts(outputs: Sequence[str], differences: Differences) -> list[ShardReceipt]:
    """The receipts of the outputs in input order. Raises OutputError unless they are all the shards of one run:
    the same model, options, input and engine, nothing missing and nothing double."""
    receipts = sorted(map(read_shard_receipt, outputs), key=lambda receipt: receipt.shard)
    first = receipts[0]
    for other in receipts[1:]:
        if other.shard[1] != first.shard[1]:
            raise OutputError(
                f"is one of {other.shard[1]} shards, and {first.output} is one of {first.shard[1]}",
                where=other.output,
                hint="merge the outputs of one run",
            )
        found = differences(first.facts, other.facts)
        if found:
            raise OutputError(
                f"differs from {first.output}: {'; '.join(found)}",
                where=other.output,
                hint="run the shard again with the same model, options and input",
            )
    for before, after in pairwise(receipts):
        if before.shard == after.shard:
            raise OutputError(
                f"is shard {after.shard[0]}, and so is {before.output}",
                where=after.output,
                hint="name each shard once",
            )
    missing = sorted(set(range(1, first.shard[1] + 1)) - {receipt.shard[0] for receipt in receipts})
    if missing:
        noun = "shard" if len(missing) == 1 else "shards"
        verb = "is" if len(missing) == 1 else "are"
        raise OutputError(
            f"{noun} {', '.join(map(str, missing))} of {first.shard[1]} {verb} missing",
            hint="name the outputs of all shards",
        )
    end = 0
    for receipt in receipts:
        unit, begin, _, total = receipt.part
        if begin != end or (unit, total) != (first.part[0], first.part[3]):
            raise OutputError(
                "does not begin where the shard before it ends",
                where=receipt.output,
                hint="the input has changed between the runs: run all shards again",
            )
        end = receipt.part[2]
    return receipts


def merge(receipts: Sequence[ShardReceipt], options: OutputOptions) -> Receipt:
    """Write the joined file and return the sum of the receipts. Raises UsageError for an output of another
    format, OutputError for one that cannot be written."""
    path, first = options.output, receipts[0]
    if path is None or is_stdout(path) or not (is_regular(path) or is_remote(path)):
        raise UsageError("merge writes a file", hint="name it by -o FILE")
    stem, compression = os.path.splitext(path)
    if compression.lower() not in COMPRESSIONS:
        stem, compression = path, ""
    wanted = SUFFIXES.get(os.path.splitext(stem)[1].lower(), first.format)
    if wanted != first.format and first.facts["options"].get("--format") is None:
        raise UsageError(
            f"the shards are {first.format}, and -o names {wanted}",
            hint=f"give -o the suffix of the shards' outputs, as in merged.{first.format}",
        )
    sink: Output | CompressedOutput | ParquetSink | NpySink
    write: Callable[[], None]
    if first.format == "parquet":
        sink = ParquetSink.open(path, _layout_of(first), io.BytesIO(), overwrite=options.overwrite)
        write = partial(_write_rows, receipts, sink)
    elif first.format == "npy":
        sink = NpySink.open(path, _layout_of(first), overwrite=options.overwrite)
        write = partial(_write_vectors, receipts, sink)
    else:
        codec = open_codec(compression.lower()) if compression else None
        output = open_output(path, io.BytesIO(), overwrite=options.overwrite)
        sink = CompressedOutput(output, codec) if codec else output
        write = partial(_write_text, receipts, sink)
    try:
        write()
        sink.close(True)
    except BaseException:
        if is_regular(path):
            for file in files_written(replace(options, format=first.format)):
                part_of(file).unlink(missing_ok=True)  # a merge is run again, not resumed
        sink.close(False)
        raise
    return _sum(receipts)


def _layout_of(receipt: ShardReceipt) -> Layout:
    """The layout of a run without --shard."""
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in receipt.layout.items()
    }
    return Layout(**{**given, "is_shard": False})


def _write_rows(receipts: Sequence[ShardReceipt], sink: ParquetSink) -> None:
    """Write the rows of Parquet files as if they came from one run: their types may be narrower in one shard."""
    from bertcli.sinks.arrow import written_rows

    for receipt in receipts:
        for number, row in enumerate(written_rows(receipt.output), 1):
            sink.write_row(row, f"{receipt.output}, row {number}")


def _write_vectors(receipts: Sequence[ShardReceipt], sink: NpySink) -> None:
    """Write the rows of npy files and their ids."""
    import numpy as np

    id_field = receipts[0].layout["id_field"]
    row = 0
    for receipt in receipts:
        vectors = np.load(receipt.output, mmap_mode="r")
        with open(ids_path(receipt.output), "rb") as ids:
            for vector, line in zip(vectors, ids, strict=True):
                known, _ = parse_object(line, f"line {row + 1}", "utf-8")
                fields = {} if id_field is None else {id_field: known.get("id")}
                error = known.get("error")
                problem = None if error is None else Problem(error["type"], error["message"])
                text = None if known.get("blank") else "text"
                values = {"embedding": vector} if text and problem is None else {}
                sink.write(Result(Record(row, fields, text), values, problem))
                row += 1


def _write_text(receipts: Sequence[ShardReceipt], sink: Output | CompressedOutput) -> None:
    for data in _joined(receipts, _columns(receipts, drops_empty=isinstance(sink, FileOutput))):
        sink.write(data)


def _joined(receipts: Sequence[ShardReceipt], columns: Sequence[str]) -> Iterator[bytes]:
    match receipts[0].format:
        case "json":
            yield from _joined_arrays(receipts)
        case "csv" | "tsv" as kind:
            yield from _joined_rows(receipts, columns, DELIMITERS[kind])
        case _:
            for receipt in receipts:
                yield from _text_of(receipt.output)


def _joined_arrays(receipts: Sequence[ShardReceipt]) -> Iterator[bytes]:
    """One JSON array, a record a line, of several."""
    lead = b"[\n"
    for receipt in receipts:
        lines = _lines_of(receipt.output)
        if next(lines) != b"[\n":
            continue  # `[]`: no record
        for line in lines:
            if line != b"]\n":
                yield lead + line.removesuffix(b"\n").removesuffix(b",")
                lead = b",\n"
    yield b"[]\n" if lead == b"[\n" else b"\n]\n"


def _columns(receipts: Sequence[ShardReceipt], *, drops_empty: bool) -> list[str]:
    """The columns of the joined file. `drops_empty`: it is one that leaves out remarks that no record has."""
    layout = _layout_of(receipts[0])
    columns = list(layout.columns)
    for remark, count in zip(REMARKS, ("windowed", "truncated", "failed"), strict=True):
        name = layout.prefix + remark
        if drops_empty and name in columns and not _has_remark(receipts, name, count):
            columns.remove(name)
    return columns


def _has_remark(receipts: Sequence[ShardReceipt], name: str, count: str) -> bool:
    """Whether a record of the outputs has a remark. Of records that were ranked, not all that are counted are there."""
    if receipts[0].layout["view"] != "hits" or receipts[0].format not in DELIMITERS:
        return any(receipt.counts[count] for receipt in receipts)
    for receipt in receipts:
        rows = _rows_of(receipt.output, DELIMITERS[receipt.format])
        header = next(rows)
        if name in header and any(row[header.index(name)] for row in rows):
            return True
    return False


def _joined_rows(receipts: Sequence[ShardReceipt], columns: Sequence[str], delimiter: str) -> Iterator[bytes]:
    """The rows below one header."""
    yield joined_cells(list(columns), delimiter).encode()
    for receipt in receipts:
        rows = _rows_of(receipt.output, delimiter)
        place_of = {name: place for place, name in enumerate(next(rows))}
        places = [place_of.get(name) for name in columns]
        for row in rows:
            cells = ["" if place is None else row[place] for place in places]
            yield joined_cells(cells, delimiter).encode()


def _rows_of(path: str, delimiter: str) -> Iterator[list[str]]:
    text = io.TextIOWrapper(io.BufferedReader(_Text(path)), encoding="utf-8", newline="")
    limit = csv.field_size_limit(sys.maxsize)  # one for the whole process
    try:
        with text:
            yield from csv.reader(text, delimiter=delimiter)
    finally:
        csv.field_size_limit(limit)


def _lines_of(path: str) -> Iterator[bytes]:
    with io.BufferedReader(_Text(path)) as file:
        yield from file


class _Text(io.RawIOBase):
    """The uncompressed bytes of an output as a file."""

    def __init__(self, path: str) -> None:
        self._blocks = _text_of(path)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            data = next(self._blocks, None)
            if data is None:
                return 0
            self._rest = memoryview(data)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def _text_of(path: str) -> Iterator[bytes]:
    """The bytes of an output, uncompressed."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in COMPRESSIONS:
        yield from blocks_of(path)
        return
    decompressor = open_codec(suffix).decompressor
    for data in blocks_of(path):
        yield decompressor.decompress(data)


def _sum(receipts: Sequence[ShardReceipt]) -> Receipt:
    """The receipts added up; the time is the sum of the shards' times."""
    engine, device, dtype = receipts[0].engine
    total = Receipt(engine, device, dtype)
    counts: Counter[str] = Counter()
    for receipt in receipts:
        counts.update(receipt.counts)
    total.resume(counts)
    total.before = 0
    total.elapsed = sum(receipt.seconds for receipt in receipts)
    return total
