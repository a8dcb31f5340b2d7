"""Parquet, read a small batch of rows at a time."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any

from bertcli.errors import InputError, quoted
from bertcli.sources.contents import Contents, Row
from bertcli.sources.encoding import too_big
from bertcli.sources.opening import Input, look

if TYPE_CHECKING:
    import pyarrow

BATCH_ROWS = 1024
BUFFER = 1 << 20
MAGIC = b"PAR1"
ANOTHER_FORM = "if it is whole but of another form, name that with --from: txt, jsonl, csv …"


def read_parquet(source: Input, chunks: Iterator[bytes], *, most: int) -> Contents:
    """The rows of a Parquet input; lines are counted as rows from 1.

    Parquet is read from its end: what is not a plain file (a pipe, a compressed file) is first copied from
    `chunks` to a temporary file. Values are Python's; times in nanoseconds become microseconds, or text where
    that would lose digits. A row whose texts have more than `most` characters is a record with a `too-big`
    problem. Raises InputError for data that is not Parquet and for names used twice.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise InputError(
            "reading Parquet needs the package pyarrow", hint="pip install 'bertcli[parquet]'"
        ) from error
    try:
        file = parquet.ParquetFile(_seekable(source, chunks), buffer_size=BUFFER)
    except (pyarrow.ArrowException, OSError, ValueError) as error:  # names may not be UTF-8
        raise InputError(f"cannot be read as Parquet: {_first_line(error)}", hint=ANOTHER_FORM) from error
    source.held.callback(file.close)
    schema: pyarrow.Schema = file.schema_arrow
    twice = sorted(name for name, count in Counter(schema.names).items() if count > 1)
    if twice:
        raise InputError("has several columns of the same name: " + quoted(twice))
    strings = tuple(field.name for field in schema if _is_string(field.type))
    return Contents(_rows(source, file, most), names=tuple(schema.names), strings=strings)


def _seekable(source: Input, chunks: Iterator[bytes]) -> str | IO[bytes]:
    """The path of a plain file, a copy of anything else."""
    if source.regular is not None:
        with open(source.regular, "rb") as file:
            if file.read(len(MAGIC)) == MAGIC:
                return source.regular
    head, chunks = look(chunks, lambda head: len(head) < len(MAGIC))
    if not head.startswith(MAGIC):  # a bomb should not fill the disk before it turns out to be none
        raise InputError("cannot be read as Parquet: it does not begin like it", hint=ANOTHER_FORM)
    copy = source.held.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    for chunk in chunks:
        copy.write(chunk)
    copy.seek(0)
    return copy


def _rows(source: Input, file: Any, most: int) -> Iterator[Row]:
    count = 0
    source.position = 0  # of what was read to find the form, nothing has been handed out
    try:
        for batch in file.iter_batches(batch_size=BATCH_ROWS):
            for fields in _to_python(batch):
                count += 1
                size = sum(len(value) for value in fields.values() if isinstance(value, str | bytes))
                problem = too_big(f"row {count}", most) if size > most else None
                yield count, fields if problem is None else {}, problem
            if source.size is not None:
                source.position = source.size * count // file.metadata.num_rows
    except (OSError, ValueError) as error:  # pyarrow.ArrowInvalid is a ValueError
        raise InputError(f"the Parquet data cannot be read on: {_first_line(error)}") from error
    finally:
        source.close()


def _to_python(batch: pyarrow.RecordBatch) -> list[dict[str, Any]]:
    import pyarrow

    columns = [_readable(column) for column in batch.columns]
    rows: list[dict[str, Any]] = pyarrow.RecordBatch.from_arrays(columns, batch.schema.names).to_pylist()
    return rows


def _readable(column: pyarrow.Array) -> pyarrow.Array:
    """The column without nanoseconds, which Python's times do not have."""
    import pyarrow

    fewer = _replace_times(column.type, _microseconds)
    if fewer == column.type:
        return column
    try:
        return column.cast(fewer)
    except pyarrow.ArrowInvalid:
        return column.cast(_replace_times(column.type, lambda _: pyarrow.string()))


def _replace_times(
    kind: pyarrow.DataType, replace: Callable[[pyarrow.DataType], pyarrow.DataType]
) -> pyarrow.DataType:
    """`kind` with all types that count nanoseconds, however deep, replaced."""
    import pyarrow
    from pyarrow import types

    if types.is_list(kind):
        return pyarrow.list_(_replace_times(kind.value_type, replace))
    if types.is_struct(kind):
        return pyarrow.struct([(part.name, _replace_times(part.type, replace)) for part in kind])
    return replace(kind) if getattr(kind, "unit", None) == "ns" else kind


def _microseconds(kind: pyarrow.DataType) -> pyarrow.DataType:
    import pyarrow
    from pyarrow import types

    if types.is_timestamp(kind):
        return pyarrow.timestamp("us", kind.tz)
    return pyarrow.time64("us") if types.is_time(kind) else pyarrow.duration("us")


def _is_string(kind: pyarrow.DataType) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        return _is_string(kind.value_type)
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")
