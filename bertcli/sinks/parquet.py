"""Parquet: typed columns in row groups. Numbers are binary and never rounded.

A Parquet file has its index at its end, so it cannot be continued. Until a run is complete, NAME.part is
therefore an Arrow stream of one record batch for each row group, which can be cut behind any batch and
appended to. When the run is complete the batches become the row groups of NAME, without the columns of remarks
(`windows`, `truncated`, `error`) that no record has. A pipe gets the row groups as they are, with all columns.

The types come from the first row group and hold for the whole file: vectors are fixed_size_list of what they
contain (float32, float16, int8, uint8), nested values are struct and list. A row group ends when it is full, or
between two blocks, where a run can be resumed, when it is large enough. Only the first group ignores the ends of
blocks: these depend on the machine, and the types must not. The role and the prompt of embeddings are in the
metadata of the schema, as `bertcli.role` and `bertcli.prompt`.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from bertcli.errors import OutputError, UsageError, first_line
from bertcli.journal import FileOutput, Mark, Output, open_output, part_of
from bertcli.records import Result
from bertcli.sinks import REMARKS, Layout
from bertcli.sinks.arrow import MISFITS, as_arrow, fits, inferred, is_lossless, may_lose
from bertcli.sinks.numbers import Numbers

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet

ABOUT = "bertcli."  # before the names of what the schema's metadata says of all rows
GROUP_ROWS = 4096
GROUP_BYTES = 32 << 20  # of vectors: they are nearly all of a group that has them
MARK_ROWS = 1024  # rows of a group that ends with a mark, at least: small groups read slowly
MARK_BYTES = 8 << 20
PATIENCE = 16  # row groups to wait for a first value in each result column, before they are taken for text
USE_JSONL = "write .jsonl, where every record has types of its own"


class ParquetSink:
    """Raises OutputError for a field or value that the columns, fixed by the first row group, cannot hold."""

    def __init__(
        self, output: Output, layout: Layout, mark: Mark | None = None, digits: int | None = None
    ) -> None:
        import pyarrow as pa

        self._output = output
        self._layout = layout
        self._numbers = Numbers(digits, binary=True)
        self._columns = layout.columns
        self._known = frozenset(layout.columns)
        inputs = frozenset(layout.inputs)
        self._answers = [name for name in layout.columns if name not in inputs]
        self._rows: list[dict[str, Any]] = []
        self._places: list[str] = []
        self._bytes = 0
        self._schema: pa.Schema | None = None
        self._first_group = 0  # its rows
        self._remarks: set[str] = set()  # those that some record has
        self._writer: parquet.ParquetWriter | None = None  # of a pipe
        if mark is not None:
            self._first_group, self._remarks = mark.state["first_group"], set(mark.state["remarks"])
            with pa.OSFile(str(part_of(output.name))) as part, pa.ipc.open_stream(part) as stream:
                self._schema = stream.schema

    @classmethod
    def open(
        cls,
        path: str | None,
        layout: Layout,
        stdout: BinaryIO,
        *,
        overwrite: bool,
        mark: Mark | None = None,
        digits: int | None = None,
    ) -> ParquetSink:
        """Raises UsageError where pyarrow, an optional library, is missing."""
        try:
            import pyarrow  # noqa: F401 (asks whether it is there, before a file is made)
        except ImportError:
            raise UsageError(
                "pyarrow is not installed", where=path, hint="pip install 'bertcli[parquet]', or write .jsonl"
            ) from None
        return cls(open_output(path, stdout, overwrite=overwrite, mark=mark), layout, mark, digits)

    def write(self, result: Result) -> None:
        place = result.record.where or f"record {result.record.index + 1}"
        self.write_row(self._numbers.row(result, self._layout.prefix), place)

    def write_row(self, row: dict[str, Any], place: str) -> None:
        """Write an output record whose numbers are as they are to be written; `place` names it in messages."""
        for name in row:
            if name not in self._known:
                raise OutputError(
                    f"field '{name}' is not among the columns, which are the first record's fields",
                    where=place,
                    hint=USE_JSONL,
                )
        self._rows.append(row)
        self._places.append(place)
        self._bytes += sum(_vector_bytes(row.get(name)) for name in self._answers)
        self._end_group(len(self._rows) % GROUP_ROWS == 0 or self._bytes >= GROUP_BYTES)

    def flush(self) -> None:
        """Nothing to show before a row group is full."""

    def mark(self) -> Mark | None:
        """A run can be resumed behind a row group only."""
        if self._schema is not None:
            self._end_group(len(self._rows) >= MARK_ROWS or self._bytes >= MARK_BYTES)
        if self._rows or self._schema is None:
            return None
        state = {"first_group": self._first_group, "remarks": sorted(self._remarks)}
        return Mark({**self._output.mark().state, **state})

    def sync(self) -> None:
        self._output.sync()

    def close(self, complete: bool) -> None:
        try:
            if self._rows or (complete and self._schema is None):
                self._write_group()
            if self._writer is not None:
                self._writer.close()
            if complete and isinstance(self._output, FileOutput):
                self._output.rewrite(self._join)
        except (OSError, OutputError):
            self._output.close(complete=False)
            if complete:
                raise
        else:
            self._output.close(complete)

    def _join(self, part: Path, target: Path) -> None:
        """Write the batches of the part as the row groups of a Parquet file."""
        import pyarrow as pa

        absent = {
            self._layout.prefix + name for name in REMARKS if name in self._layout.extras
        } - self._remarks
        with pa.OSFile(str(part)) as file, pa.ipc.open_stream(file) as stream:
            names = [name for name in stream.schema.names if name not in absent]
            schema = pa.schema([stream.schema.field(name) for name in names], stream.schema.metadata)
            with _parquet_writer(str(target), schema) as writer:
                for batch in stream:
                    writer.write_batch(batch.select(names), row_group_size=batch.num_rows)

    def _end_group(self, enough: bool) -> None:
        if enough and (self._schema is not None or self._is_typed()):
            self._write_group()

    def _is_typed(self) -> bool:
        """Whether each result column has had a value that gives its type, or enough rows have passed."""
        if len(self._rows) >= PATIENCE * GROUP_ROWS:
            return True
        prefix, extras = self._layout.prefix, self._layout.extras
        answers = [prefix + name for name in self._layout.results if name not in extras]
        return all(any(row.get(name) is not None for row in self._rows) for name in answers)

    def _write_group(self) -> None:
        import pyarrow as pa

        schema = self._schema or self._new_schema()
        arrays = [self._array(field.name, field.type) for field in schema]
        batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
        is_file = isinstance(self._output, FileOutput)
        if self._schema is None:
            self._schema, self._first_group = schema, len(self._rows)
            if is_file:
                self._output.write(schema.serialize())
            else:
                self._writer = _parquet_writer(self._output, schema)
        if self._rows and is_file:
            self._output.write(_message(batch))
        elif self._rows and self._writer is not None:
            self._writer.write_batch(batch, row_group_size=batch.num_rows)
        names = {self._layout.prefix + name for name in REMARKS} - self._remarks
        self._remarks |= {name for row in self._rows for name in names if row.get(name) is not None}
        self._rows, self._places, self._bytes = [], [], 0

    def _new_schema(self) -> pa.Schema:
        import pyarrow as pa

        schema = pa.schema([(name, self._type_of(name)) for name in self._columns])
        about = {f"{ABOUT}{name}": text for name, text in self._layout.about.items()}
        return schema.with_metadata(about) if about else schema

    def _type_of(self, name: str) -> pa.DataType:
        import pyarrow as pa

        remarks = [self._layout.prefix + remark for remark in REMARKS]
        if name in remarks:
            error = pa.struct([("type", pa.string()), ("message", pa.string())])
            return (pa.int64(), pa.bool_(), error)[remarks.index(name)]
        try:
            return inferred([value for row in self._rows if (value := row.get(name)) is not None])
        except MISFITS as error:
            raise OutputError(
                f"field '{name}' has values that share no type: {first_line(error)}", hint=USE_JSONL
            ) from error

    def _array(self, name: str, kind: pa.DataType) -> pa.Array:
        import pyarrow as pa

        values = [as_arrow(row.get(name), kind) for row in self._rows]
        try:
            if not may_lose(kind) or all(is_lossless(value, kind) for value in values):
                return pa.array(values, type=kind)
        except MISFITS:
            pass  # found out below, with the record that is to blame
        rows = zip(self._places, values, strict=True)
        place = next((place for place, value in rows if not fits(value, kind)), None)
        first = self._first_group or len(self._rows)
        raise OutputError(
            f"field '{name}' does not fit its column, {kind}",
            where=place,
            hint=f"the first {first} records fix the types; {USE_JSONL}",
        )


def _parquet_writer(target: str | Output, schema: pa.Schema) -> parquet.ParquetWriter:
    import pyarrow as pa
    from pyarrow import parquet

    texts = [field.name for field in schema if pa.types.is_string(field.type)]
    return parquet.ParquetWriter(target, schema, compression="zstd", use_dictionary=texts)


def _message(batch: pa.RecordBatch) -> bytes:
    """A batch as it is in an Arrow stream, behind the schema."""
    import pyarrow as pa

    file = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(file, batch.schema, options=options) as stream:
        stream.write_batch(batch)
        return file.getvalue().removeprefix(batch.schema.serialize().to_pybytes())


def _vector_bytes(value: Any) -> int:
    """Bytes of the arrays in a result value: a vector, or a list of tokens with a vector each."""
    if hasattr(value, "nbytes"):
        return int(value.nbytes)
    if isinstance(value, list):
        return sum(_vector_bytes(item) for item in value)
    if isinstance(value, dict):
        return sum(_vector_bytes(item) for item in value.values())
    return 0
