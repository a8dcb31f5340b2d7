"""`--shard I/N`: a run over a part of its input, and the receipt that lets `merge` join the outputs.

A shard is a range of consecutive records, so that joined outputs are in input order. Files of lines are divided by
bytes and Parquet files by the number of rows in their index, so a shard reads its own part only. Other inputs are
divided by the number of records, which each shard counts before it runs.
"""

from __future__ import annotations

import io
import json
import os
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal

from bertcli.console import Terminal
from bertcli.errors import OutputError, UsageError
from bertcli.journal import is_regular, open_output, reason_of
from bertcli.records import query_of
from bertcli.sinks.formats import choose_format, files_written
from bertcli.sinks.npy import ids_path
from bertcli.sources import count_bytes, count_records, open_part, open_source
from bertcli.storage import exists, is_remote, open_file

if TYPE_CHECKING:
    from bertcli.receipt import Receipt
    from bertcli.requests import InputOptions, ModelOptions, OutputFormat, OutputOptions
    from bertcli.sinks import Layout
    from bertcli.sources import Source

FORMATS = ("jsonl", "json", "csv", "tsv", "parquet", "npy", "conll", "plain")
RECEIPT_BEGINS = b'{"shard":'
BLOCK = 1 << 20  # bytes read at a time


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `index` of `count`, from 1, of what `whole` reads: the records `first` to `last` (exclusive, from 0) of
    `total`, or those whose lines begin at these bytes."""

    index: int
    count: int
    unit: Literal["bytes", "records"]
    first: int
    last: int
    total: int
    whole: InputOptions

    def open(self) -> Source:
        """The records of this part."""
        if self.unit == "bytes":
            return open_part(self.whole, self.first, self.last)
        return open_source(
            replace(self.whole, skip=self.whole.skip + self.first, limit=self.last - self.first)
        )


@dataclass(frozen=True, slots=True)
class ShardReceipt:
    """What is known of a shard's output: `facts` that decide the results, the `layout` of the output, and the
    `counts` and `seconds` of its run."""

    output: str
    shard: tuple[int, int]
    part: tuple[str, int, int, int]
    format: OutputFormat
    facts: dict[str, Any]
    layout: dict[str, Any]
    engine: tuple[str, str, str]
    counts: dict[str, int]
    seconds: float


def shard_of(inputs: InputOptions) -> Shard:
    """The part of the input that `inputs.shard` names. Raises UsageError for an input that cannot be read twice."""
    _require_files(inputs)
    assert inputs.shard is not None
    index, count = inputs.shard
    whole = replace(inputs, shard=None)
    size = count_bytes(whole)
    total = count_records(whole) if size is None else size
    unit: Literal["bytes", "records"] = "records" if size is None else "bytes"
    return Shard(index, count, unit, total * (index - 1) // count, total * index // count, total, whole)


def shard_of_queries(inputs: InputOptions) -> Shard:
    """The same, where consecutive records with the same query stay together: a part begins with the first query that
    begins where the records are divided, or behind it. Reads all records."""
    _require_files(inputs)
    assert inputs.shard is not None
    index, count = inputs.shard
    whole = replace(inputs, shard=None)
    begins, total = array("q"), 0
    before = None
    with closing(open_source(whole)) as source:
        for total, record in enumerate(source, 1):
            query = query_of(record)
            if query is not None and query != before:
                begins.append(total - 1)
                before = query

    def border(part: int) -> int:
        place = bisect_left(begins, total * part // count)
        return begins[place] if place < len(begins) else total

    first = 0 if index == 1 else border(index - 1)
    return Shard(index, count, "records", first, border(index), total, whole)


def _require_files(inputs: InputOptions) -> None:
    """Raise UsageError for an input that cannot be read twice."""
    for path in inputs.files or (() if inputs.texts else ("-",)):
        if path == "-" or not (is_remote(path) or is_regular(path)):
            raise UsageError(
                "--shard reads its input twice, which a pipe does not allow", hint="name files as input"
            )


def check_shard_options(outputs: OutputOptions, model: ModelOptions) -> None:
    """Raise UsageError for options that do not go with --shard, OutputError for a receipt that exists."""
    if not files_written(outputs) or outputs.output is None:
        raise UsageError("--shard writes a file for `bertcli merge`", hint="name it by -o FILE")
    file_format = choose_format(outputs, Terminal())[0]
    if file_format not in FORMATS:
        raise UsageError(
            f"--shard: outputs in {file_format} cannot be merged", hint=f"write {', '.join(FORMATS)}"
        )
    if model.dtype == "int8" and model.calibration is None:
        raise UsageError(
            "--shard: int8 is calibrated on the first texts of a run, which differ in each shard",
            hint="name texts for all shards with --calibration FILE, or use --dtype bfloat16",
        )
    path = receipt_path(outputs.output)
    try:
        if not (exists(path) if is_remote(path) else os.path.lexists(path)):
            return
        with open_file(path) as file:
            begin = file.read(len(RECEIPT_BEGINS))
    except OSError as error:
        raise OutputError(
            f"cannot be read: {reason_of(error)}", where=path, hint="name another -o"
        ) from error
    if not outputs.overwrite and not outputs.resume:
        raise OutputError("exists already", where=path, hint="--overwrite replaces it")
    if begin != RECEIPT_BEGINS:
        raise OutputError(
            "is no receipt of a shard, so it is never replaced",
            where=path,
            hint="move it, or name another -o",
        )


def receipt_path(output: str) -> str:
    """The path of the receipt beside a shard's output."""
    return f"{output}.receipt.json"


def write_shard_receipt(
    shard: Shard, outputs: OutputOptions, facts: Mapping[str, Any], layout: Layout, receipt: Receipt
) -> None:
    """Write the receipt beside the complete output of a shard."""
    path = outputs.output
    assert path is not None
    content = {
        "shard": [shard.index, shard.count],
        "part": [shard.unit, shard.first, shard.last, shard.total],
        "format": choose_format(outputs, Terminal())[0],
        "facts": {**facts, "options": {k: v for k, v in facts["options"].items() if k != "--shard"}},
        "layout": asdict(layout),
        "engine": [receipt.engine, receipt.device, receipt.dtype],
        "counts": receipt.counts(),
        "seconds": receipt.elapsed,
        "files": [digest_of(file) for file in files_written(outputs)],
    }
    file = open_output(receipt_path(path), io.BytesIO(), overwrite=True)
    file.close(True, json.dumps(content, separators=(",", ":")).encode() + b"\n")


def read_shard_receipt(output: str) -> ShardReceipt:
    """The receipt beside an output. Raises OutputError where it is missing or damaged, or the output is not the
    one that it was written for."""
    path = receipt_path(output)
    try:
        with open_file(path) as file:
            content = json.loads(file.read())
        receipt = ShardReceipt(
            output,
            _integers(content["shard"], 2),
            (content["part"][0], *_integers(content["part"][1:], 3)),
            content["format"],
            content["facts"],
            content["layout"],
            tuple(content["engine"]),
            content["counts"],
            content["seconds"],
        )
        files = [output, ids_path(output)] if receipt.format == "npy" else [output]
        expected = dict(zip(files, map(tuple, content["files"]), strict=True))
    except OSError as error:
        raise OutputError(
            f"cannot be read: {reason_of(error)}",
            where=path,
            hint="a shard writes it when it is complete: run the shard again with --overwrite",
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError("is no receipt of a shard", where=path, hint="run the shard again") from error
    for name, digest in expected.items():
        try:
            found = digest_of(name)
        except OSError as error:
            raise OutputError(
                f"cannot be read: {reason_of(error)}", where=name, hint="check the path"
            ) from error
        if found != digest:
            raise OutputError("has changed since its run", where=name, hint="run the shard again")
    return receipt


def digest_of(path: str) -> tuple[int, str]:
    """The size of a file and a hash of all its bytes."""
    digest = blake2b(digest_size=16)
    size = 0
    for data in blocks_of(path):
        size += len(data)
        digest.update(data)
    return size, digest.hexdigest()


def blocks_of(path: str) -> Iterator[bytes]:
    """The bytes of a file, block by block."""
    with open_file(path) as file:
        while data := file.read(BLOCK):
            yield data


def _integers(values: Any, count: int) -> Any:
    if len(values) != count or not all(type(value) is int for value in values):
        raise ValueError(values)
    return tuple(values)
