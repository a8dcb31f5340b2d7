"""Parquet: typed columns in row groups. Numbers are binary, so none is rounded. A file that is complete is written
once more without the columns of remarks (`windows`, `truncated`, `error`) that no record has.

The types come from the first row group and hold for the whole file: vectors are fixed_size_list of what they
hold (float32, float16, int8, uint8), what is nested becomes struct and list. A row group ends when it is
full; between two blocks, from where a run can go on, when it is large enough. Not so the first: where blocks
end depends on the machine, and the types do not. The role and the prompt of embeddings go into
the metadata of the schema, as `bertcli.role` and `bertcli.prompt`.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from bertcli.errors import OutputError, UsageError, first_line
from bertcli.journal import FileOutput, Mark, Output, open_output, part_of
from bertcli.records import Result
from bertcli.sinks import REMARKS, Layout
from bertcli.sinks.arrow import MISFITS, as_arrow, fits, inferred, keeps, may_lose
from bertcli.sinks.numbers import Numbers
from bertcli.sinks.rowgroups import MAGIC, count_rows, pack_footer, pack_group

if TYPE_CHECKING:
    import pyarrow as pa

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
        self._output = output
        self._layout = layout
        self._numbers = Numbers(digits, binary=True)
        self._columns = layout.columns
        self._known = frozenset(layout.columns)
        self._rows: list[dict[str, Any]] = []
        self._places: list[str] = []
        self._bytes = 0
        self._schema: pa.Schema | None = None
        self._groups: list[bytes] = []  # what the footer will say of each
        self._told = 0  # of them, in marks
        if mark is not None:
            self._schema = _schema_of(mark.state["schema"])
            self._groups = [base64.b64decode(group) for group in mark.added]
            self._told = len(self._groups)

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
        row = self._numbers.row(result, self._layout.prefix)
        place = result.record.where or f"record {result.record.index + 1}"
        for name in row:
            if name not in self._known:
                raise OutputError(
                    f"field '{name}' is not among the columns, which are the first record's fields",
                    where=place,
                    hint=USE_JSONL,
                )
        self._rows.append(row)
        self._places.append(place)
        self._bytes += sum(map(_vector_bytes, result.values.values()))
        self._end_group(len(self._rows) % GROUP_ROWS == 0 or self._bytes >= GROUP_BYTES)

    def flush(self) -> None:
        """Nothing to show before a row group is full."""

    def mark(self) -> Mark | None:
        """Only the end of a row group can be gone on from."""
        if self._schema is not None:
            self._end_group(len(self._rows) >= MARK_ROWS or self._bytes >= MARK_BYTES)
        if self._rows or self._schema is None:
            return None
        told = [base64.b64encode(group).decode() for group in self._groups[self._told :]]
        self._told = len(self._groups)
        schema = base64.b64encode(self._schema.serialize()).decode()
        return Mark({**self._output.mark().state, "schema": schema}, tuple(told))

    def sync(self) -> None:
        self._output.sync()

    def close(self, complete: bool) -> None:
        """The rows of an interrupted file are finished properly, so that it can be read."""
        rest = b""
        try:
            if self._rows or (complete and self._schema is None):
                self._write_group()
        except (OSError, OutputError):
            if complete:
                self._output.close(complete=False)
                raise
        if self._schema is not None:
            rest = pack_footer(self._schema, self._groups)
        if complete and isinstance(self._output, FileOutput):
            self._output.write(rest)
            rest = b""
            self._drop_empty(self._output)
        self._output.close(complete, rest)

    def _drop_empty(self, output: FileOutput) -> None:
        """Leave out the columns of remarks that no record has: the file may be an input again."""
        from pyarrow import parquet

        output.sync()
        with parquet.ParquetFile(part_of(output.name)) as file:
            empty = [
                self._layout.prefix + name
                for name in REMARKS
                if name in self._layout.extras and _is_empty(file.metadata, self._layout.prefix + name)
            ]
        if not empty:
            return

        def write(part: Path, target: Path) -> None:
            with parquet.ParquetFile(part) as file:
                kept = [field.name for field in file.schema_arrow if field.name not in empty]
                schema = _schema_with(file.schema_arrow, kept)
                with parquet.ParquetWriter(target, schema) as writer:
                    for group in range(file.num_row_groups):
                        writer.write_table(file.read_row_group(group, columns=kept).select(kept))

        output.rewrite(write)

    def _end_group(self, enough: bool) -> None:
        if enough and (self._schema is not None or self._is_typed()):
            self._write_group()

    def _is_typed(self) -> bool:
        """Whether each result column has had a value that tells its type, or was waited for long enough."""
        if len(self._rows) >= PATIENCE * GROUP_ROWS:
            return True
        prefix, extras = self._layout.prefix, self._layout.extras
        answers = [prefix + name for name in self._layout.results if name not in extras]
        return all(any(row.get(name) is not None for row in self._rows) for name in answers)

    def _write_group(self) -> None:
        import pyarrow as pa

        schema = self._schema or self._new_schema()
        table = pa.Table.from_arrays([self._array(field.name, field.type) for field in schema], schema=schema)
        if self._schema is None:
            self._schema = schema
            self._output.write(MAGIC)
        if self._rows:
            data, group = pack_group(table, self._output.tell(), len(self._groups))
            self._output.write(data)
            self._groups.append(group)
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
            if not may_lose(kind) or all(keeps(value, kind) for value in values):
                return pa.array(values, type=kind)
        except MISFITS:
            pass  # found out below, with the record that is to blame
        rows = zip(self._places, values, strict=True)
        place = next((place for place, value in rows if not fits(value, kind)), None)
        first = count_rows(self._groups[0]) if self._groups else len(self._rows)
        raise OutputError(
            f"field '{name}' does not fit its column, {kind}",
            where=place,
            hint=f"the first {first} records fix the types; {USE_JSONL}",
        )


def _schema_with(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    """The fields of those names, with what the schema says about the file."""
    import pyarrow as pa

    return pa.schema([schema.field(name) for name in names], metadata=schema.metadata)


def _is_empty(metadata: Any, name: str) -> bool:
    """Whether a column of a file (all leaves of it) holds nulls alone."""
    for group in range(metadata.num_row_groups):
        columns = metadata.row_group(group)
        for place in range(columns.num_columns):
            column = columns.column(place)
            has_values = column.statistics is None or column.statistics.null_count < columns.num_rows
            if has_values and column.path_in_schema.partition(".")[0] == name:
                return False
    return True


def _vector_bytes(value: Any) -> int:
    """Bytes of the arrays in a result value: a vector, or a list of tokens with a vector each."""
    if hasattr(value, "nbytes"):
        return int(value.nbytes)
    if isinstance(value, list):
        return sum(_vector_bytes(item) for item in value)
    if isinstance(value, dict):
        return sum(_vector_bytes(item) for item in value.values())
    return 0


def _schema_of(text: str) -> pa.Schema:
    """A schema from the journal."""
    import pyarrow as pa

    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
