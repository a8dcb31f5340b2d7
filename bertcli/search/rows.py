"""The records that vectors belong to, had one by one: of a million only those that were found are made."""

from __future__ import annotations

import pickle
import tempfile
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from itertools import accumulate
from typing import IO, Any, Protocol

import orjson

from bertcli.errors import InputError, first_line, quoted
from bertcli.records import Record
from bertcli.search.vectors import FIELD, open_parquet
from bertcli.sinks import REMARKS


class Rows(Protocol):
    """`names` are the fields of the records, `text_field` the one that is read."""

    names: tuple[str, ...]
    text_field: str

    def record(self, row: int) -> Record: ...

    def close(self) -> None: ...


class RecordSpool:
    """Records in a temporary file, which is removed when it is closed.

    Of `records` as many are read as it takes to reach a row that is asked for.
    """

    def __init__(self, names: tuple[str, ...], text_field: str, records: Iterable[Record] = ()) -> None:
        self.names = names
        self.text_field = text_field
        self._records = iter(records)
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._starts = array("q", [0])

    def __len__(self) -> int:
        """How many there are so far."""
        return len(self._starts) - 1

    def add(self, record: Record) -> None:
        kept = (record.index, dict(record.fields), record.text, record.where)
        self._file.seek(self._starts[-1])
        self._file.write(pickle.dumps(kept, pickle.HIGHEST_PROTOCOL))
        self._starts.append(self._file.tell())

    def record(self, row: int) -> Record:
        """Raises InputError where there are fewer."""
        while len(self) <= row:
            record = next(self._records, None)
            if record is None:
                raise InputError(
                    f"there is no record {row + 1}, only {len(self)}, to go with the embeddings",
                    hint="name the files they were made from, all of them and in the same order",
                )
            self.add(record)
        self._file.seek(self._starts[row])
        index, fields, text, where = pickle.loads(self._file.read(self._starts[row + 1] - self._starts[row]))
        return Record(index, fields, text, where=where)

    def load(self) -> None:
        """Set down all that are left: any of them may be asked for."""
        for record in self._records:
            self.add(record)

    def refuse_unless(self, count: int) -> None:
        """Raise InputError unless there are as many in all. Those not read so far are gone then."""
        total = len(self) + sum(1 for _ in self._records)
        if total != count:
            raise InputError(
                f"there are {total} records, and {count} embeddings to go with them",
                hint="name the files they were made from, all of them and in the same order",
            )

    def close(self) -> None:
        self._file.close()


class IdRows:
    """What lies beside an npy file, `NAME.ids.jsonl`: the id of each row, and nothing else of it.

    Raises InputError where a line that is asked for holds none.
    """

    names: tuple[str, ...] = ("id",)
    text_field = "id"

    def __init__(self, path: str, vectors: str) -> None:
        self._path = path
        self._vectors = vectors
        try:
            self._lines: IO[bytes] | None = open(path, "rb")  # noqa: SIM115
        except FileNotFoundError:
            self._lines = None
        self._starts = array("q", [0])
        if self._lines is not None:
            for line in self._lines:
                self._starts.append(self._starts[-1] + len(line))

    def record(self, row: int) -> Record:
        given: Any = row
        if self._lines is not None and row < len(self._starts) - 1:
            self._lines.seek(self._starts[row])
            given = self._id(self._lines.readline(), row)
        return Record(row, {"id": given}, str(given), where=f"{self._vectors}:{row + 1}")

    def _id(self, line: bytes, row: int) -> Any:
        try:
            read = orjson.loads(line)
            return read.get("id", read["row"])  # a shard leaves out ids that are the numbers of records
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                "is not what embed wrote beside the vectors",
                where=f"{self._path}:{row + 1}",
                hint="embed again, or name the files that the vectors were made from",
            ) from error

    def close(self) -> None:
        if self._lines is not None:
            self._lines.close()


class ParquetRows:
    """The other columns of a parquet file. The row group last read is kept: hits often lie together.

    Raises InputError for a file that is damaged, and for values that Python has no types for.
    """

    def __init__(self, path: str, text_field: str | None) -> None:
        self._path = path
        self._file = open_parquet(path)
        schema = self._file.schema_arrow
        twice = sorted(name for name, count in Counter(schema.names).items() if count > 1)
        if twice:
            raise InputError(
                "has several columns of the same name: " + quoted(twice),
                where=path,
                hint="rename the columns, or name the files that the vectors were made from",
            )
        self.names = tuple(name for name in schema.names if name != FIELD)
        strings = [name for name in self.names if str(schema.field(name).type) in ("string", "large_string")]
        usual = "text" if "text" in self.names else strings[0] if len(strings) == 1 else ""
        self.text_field = text_field or usual
        counts = [self._file.metadata.row_group(n).num_rows for n in range(self._file.num_row_groups)]
        self._starts = [0, *accumulate(counts)]
        self._group = -1
        self._table: Any = None

    def record(self, row: int) -> Record:
        try:
            columns = self._columns(row)
        except (OSError, ValueError, OverflowError) as error:  # pyarrow.ArrowInvalid is a ValueError
            raise InputError(
                f"cannot be read: {first_line(error)}",
                where=f"{self._path}:{row + 1}",
                hint="name the files that the vectors were made from",
            ) from error
        fields = {name: value for name, value in columns.items() if value is not None or name not in REMARKS}
        text = fields.get(self.text_field)
        return Record(row, fields, text if isinstance(text, str) else None, where=f"{self._path}:{row + 1}")

    def _columns(self, row: int) -> dict[str, Any]:
        group = bisect_right(self._starts, row) - 1
        if group != self._group:
            self._table = self._file.read_row_group(group, columns=list(self.names))
            self._group = group
        (columns,) = self._table.slice(row - self._starts[group], 1).to_pylist()
        named: dict[str, Any] = columns
        return named

    def close(self) -> None:
        self._file.close()
