"""Parquet, read a small batch of rows at a time."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import IO, TYPE_CHECKING, Any

from bertcli.errors import InputError, first_line, quoted
from bertcli.sources.contents import Contents, Row, look
from bertcli.sources.encoding import too_big
from bertcli.sources.opening import Input
from bertcli.storage import is_remote, open_file

if TYPE_CHECKING:
    import pyarrow

BATCH_ROWS = 1024
TIMES = 1 << 16  # looked at together
BUFFER = 1 << 20
MAGIC = b"PAR1"
CONVERT = "if it is complete but has another format, name it with --from: txt, jsonl, csv …"


def read_parquet(source: Input, chunks: Iterator[bytes], *, most: int) -> Contents:
    """The rows of a Parquet input; lines are counted as rows from 1.

    Parquet is read from its end: what is not a plain file (a pipe, a compressed file) is first copied from
    `chunks` to a temporary file. Values are Python's, whose times end at microseconds: a column in which one
    has more digits becomes text as a whole. A row whose texts have more than `most` characters is a record
    with a `too-big` problem. Raises InputError for data that is not Parquet and for names used twice.
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
        raise InputError(f"cannot be read as Parquet: {first_line(error)}", hint=CONVERT) from error
    source.resources.callback(file.close)
    schema: pyarrow.Schema = file.schema_arrow
    twice = sorted(name for name, count in Counter(schema.names).items() if count > 1)
    if twice:
        raise InputError(
            "has several columns of the same name: " + quoted(twice),
            hint="rename the columns: each needs a name of its own",
        )
    strings = tuple(field.name for field in schema if _is_string(field.type))
    return Contents(
        _rows(source, file, most, 0),
        names=tuple(schema.names),
        strings=strings,
        count=file.metadata.num_rows,
        rows_from=lambda first: _rows(source, file, most, first),
    )


def _seekable(source: Input, chunks: Iterator[bytes]) -> str | IO[bytes]:
    """The path of a plain file, a copy of anything else."""
    if source.regular is not None:
        with open_file(source.regular) as file:
            is_parquet = file.read(len(MAGIC)) == MAGIC
        if is_parquet and is_remote(source.regular):
            return source.resources.enter_context(open_file(source.regular))
        if is_parquet:
            return source.regular
    head, chunks = look(chunks, lambda head: len(head) < len(MAGIC))
    if not head.startswith(MAGIC):  # a bomb should not fill the disk before it turns out to be none
        raise InputError("cannot be read as Parquet: it does not begin like it", hint=CONVERT)
    copy = source.resources.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    for chunk in chunks:
        copy.write(chunk)
    copy.seek(0)
    return copy


def _rows(source: Input, file: Any, most: int, first: int) -> Iterator[Row]:
    """The rows from `first` on (from 0), without reading the row groups before."""
    sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    ends = list(accumulate(sizes))
    groups = [number for number, end in enumerate(ends) if end > first]
    count = ends[groups[0]] - sizes[groups[0]] if groups else first
    # of what was read to find the format, nothing has been handed out
    source.position = (source.size or 0) * first // max(1, file.metadata.num_rows)
    try:
        finer = _finer_than_python(file)
        for batch in _batches(file, groups):
            passed = min(first - count, batch.num_rows)
            if passed > 0:
                count, batch = count + passed, batch.slice(passed)
            for fields in _to_python(batch, finer):
                count += 1
                size = sum(len(value) for value in fields.values() if isinstance(value, str | bytes))
                problem = too_big(f"row {count}", most) if size > most else None
                yield count, fields if problem is None else {}, problem
            if source.size is not None:
                source.position = source.size * count // file.metadata.num_rows
    except (OSError, ValueError, OverflowError) as error:  # pyarrow.ArrowInvalid is a ValueError
        raise InputError(
            f"the Parquet data cannot be read on: {first_line(error)}",
            hint="the file is damaged: make or copy it again",
        ) from error
    finally:
        source.close()


def _batches(file: Any, groups: Sequence[int]) -> Iterator[pyarrow.RecordBatch]:
    """The batches of row groups, each of which is read when it is needed."""
    for group in groups:
        yield from file.iter_batches(batch_size=BATCH_ROWS, row_groups=[group])


def _finer_than_python(file: Any) -> frozenset[str]:
    """The columns in which a time has digits beyond microseconds. All that could have some are read for it
    beforehand: the type of a column must not change half-way."""
    import pyarrow

    names = [field.name for field in file.schema_arrow if _in_microseconds(field.type) != field.type]
    finer: set[str] = set()
    try:
        for batch in file.iter_batches(batch_size=TIMES, columns=names) if names else ():
            for name in set(names) - finer:
                column = batch.column(name)
                try:
                    column.cast(_in_microseconds(column.type))
                except pyarrow.ArrowInvalid:
                    finer.add(name)
            if len(finer) == len(names):
                break
    except (OSError, ValueError):
        pass  # damage, behind which no row is reached either
    return frozenset(finer)


def _to_python(batch: pyarrow.RecordBatch, finer: frozenset[str]) -> list[dict[str, Any]]:
    import pyarrow

    columns = []
    for field, column in zip(batch.schema, batch.columns, strict=True):
        kind = (_as_counts if field.name in finer else _in_microseconds)(field.type)
        columns.append(column if kind == field.type else column.cast(kind))
    rows: list[dict[str, Any]] = pyarrow.RecordBatch.from_arrays(columns, batch.schema.names).to_pylist()
    for field in batch.schema:
        if field.name in finer:
            for row in rows:
                row[field.name] = _spelled(row[field.name], field.type)
    return rows


def _in_microseconds(kind: pyarrow.DataType) -> pyarrow.DataType:
    """The type with microseconds in the place of nanoseconds, which Python's times do not have."""
    import pyarrow
    from pyarrow import types

    def fewer(kind: pyarrow.DataType) -> pyarrow.DataType:
        if types.is_timestamp(kind):
            return pyarrow.timestamp("us", kind.tz)
        return pyarrow.time64("us") if types.is_time(kind) else pyarrow.duration("us")

    return _replace_times(kind, fewer)


def _as_counts(kind: pyarrow.DataType) -> pyarrow.DataType:
    """The type with whole numbers in the place of times in nanoseconds."""
    import pyarrow

    return _replace_times(kind, lambda _: pyarrow.int64())


def _replace_times(
    kind: pyarrow.DataType, replace: Callable[[pyarrow.DataType], pyarrow.DataType]
) -> pyarrow.DataType:
    """`kind` with all types that count nanoseconds, however deep, replaced."""
    import pyarrow
    from pyarrow import types

    if types.is_struct(kind):
        return pyarrow.struct([part.with_type(_replace_times(part.type, replace)) for part in kind])
    if types.is_map(kind):
        key, item = (_replace_times(part, replace) for part in (kind.key_type, kind.item_type))
        return pyarrow.map_(key, item, kind.keys_sorted)
    if types.is_fixed_size_list(kind):
        return pyarrow.list_(_replace_times(kind.value_type, replace), kind.list_size)
    if types.is_large_list(kind):
        return pyarrow.large_list(_replace_times(kind.value_type, replace))
    if types.is_list(kind):
        return pyarrow.list_(_replace_times(kind.value_type, replace))
    return replace(kind) if getattr(kind, "unit", None) == "ns" else kind


def _spelled(value: Any, kind: pyarrow.DataType) -> Any:
    """A value of type `_as_counts(kind)` with its counts of nanoseconds as text."""
    from pyarrow import types

    if value is None:
        return None
    if types.is_struct(kind):
        return {part.name: _spelled(value[part.name], part.type) for part in kind}
    if types.is_map(kind):
        return [(_spelled(key, kind.key_type), _spelled(item, kind.item_type)) for key, item in value]
    if isinstance(value, list):
        return [_spelled(item, kind.value_type) for item in value]
    return _time(value, kind) if getattr(kind, "unit", None) == "ns" else value


def _time(count: int, kind: pyarrow.DataType) -> str:
    """Nanoseconds as Python spells times, with nine digits behind the point: since 1970 as in
    2020-01-31T23:59:59.000000001+01:00, since midnight 23:59:59.000000001, between two moments
    1 day, 0:00:00.000000001."""
    from pyarrow import lib, types

    seconds, rest = divmod(count, 10**9)
    if types.is_duration(kind):
        return f"{timedelta(seconds=seconds)}.{rest:09}"
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    if types.is_time(kind):
        return f"{moment:%H:%M:%S}.{rest:09}"
    zone = None if kind.tz is None else lib.string_to_tzinfo(kind.tz)
    moment = moment.replace(tzinfo=None) if zone is None else moment.astimezone(zone)
    whole = moment.isoformat()
    return f"{whole[:19]}.{rest:09}{whole[19:]}"


def _is_string(kind: pyarrow.DataType) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        return _is_string(kind.value_type)
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))
