"""An index: records with their vectors in a directory, to be searched, added to and removed from.

    index.sqlite    the records, what the vectors were made by, and how far everything has come
    vectors.N       float32, a vector a row
    ids.N           int64, the id in index.sqlite of each row
    codes.N         the vectors in short codes (see `codes`); the rows behind the last of them are compared as they are
    words           the texts by their words (see `words`)

A transaction of index.sqlite makes rows count: what was appended to the files without one is cut off by the next
writer. A record that is removed leaves a row without a record, until the files are written again without such rows
under another N. So a process that is killed, and a machine that loses power, leave the index of the last transaction.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bertcli.errors import InputError, UsageError, first_line
from bertcli.records import Record
from bertcli.search.codes import CODED, Codes, write_codes
from bertcli.search.words import WordIndex
from bertcli.tasks.similarity import Similarity, similarities

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bertcli.engines import Array

DATABASE, WORDS = "index.sqlite", "words"
FORMAT = 1
UNCODED = 50_000
"""Rows that are compared as they are before codes are worth their time."""

MOST_REMOVED = 1000
"""Rows without a record before the files are written again."""

CANDIDATES = 200
CANDIDATES_PER_HIT = 8
"""For k hits as many candidates are compared exactly as the larger of the first, and the second for each."""

WAIT = 30.0  # seconds for another process that writes
BLOCK = 1 << 16  # rows that are copied, or compared, at once
QUERIES = 64  # that are searched for at once

_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE removed (id INTEGER PRIMARY KEY);
CREATE TABLE records (id INTEGER PRIMARY KEY, key TEXT UNIQUE NOT NULL, place TEXT NOT NULL, fields BLOB NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class State:
    """How far an index has come: the number of records, rows of the files and how many of them have codes, the id of
    the next record and of the next whose words are indexed, and the numbers in the names of the files. `run` is what an
    unfinished run depends on and how far it has come."""

    dim: int
    records: int = 0
    rows: int = 0
    coded: int = 0
    next_id: int = 0
    next_worded: int = 0
    number: int = 0
    codes_number: int = 0
    run: dict[str, Any] | None = None


class Match(NamedTuple):
    """A record of the index and how near it is."""

    record: Record
    score: float


def is_index(path: str | os.PathLike[str]) -> bool:
    """Whether a directory holds an index."""
    return os.path.isfile(os.path.join(path, DATABASE))


class Store:
    """An index that exists. `facts` are what its vectors depend on: `model`, `options`, `similarity`, `text_field`,
    `id_field`, `names` of fields. `decode` reads the JSON of a record. Raises UsageError for a directory without an
    index, InputError for a damaged one."""

    def __init__(self, path: str, *, decode: Callable[[bytes], dict[str, Any]] = json.loads) -> None:
        if not is_index(path):
            raise UsageError("is no index", where=path, hint="make one: bertcli index FILES -o DIR")
        self.path, self._decode = path, decode
        try:
            self._database = sqlite3.connect(
                os.path.join(path, DATABASE), timeout=WAIT, isolation_level=None, check_same_thread=False
            )
            self.facts: dict[str, Any] = self._read_fact("facts")
            self.state = State(**self._read_fact("state"))
        except (sqlite3.Error, TypeError, ValueError) as error:
            raise self._damaged(first_line(error)) from error
        if self.facts.get("format") != FORMAT:
            raise self._damaged("it was made by another version of bertcli")
        self.similarity: Similarity = self.facts["similarity"]
        self._codes: Codes | None = None
        if self.state.rows:
            shape = (self.state.rows, self.state.dim)
            self._vectors: NDArray[np.float32] = self._mapped("vectors", np.float32, shape)
            self._ids: NDArray[np.int64] = self._mapped("ids", np.int64, shape[:1])
            if self.state.coded:
                self._codes = Codes(self._file("codes", self.state.codes_number), self.similarity)

    def __len__(self) -> int:
        """The number of records."""
        return self.state.records

    @property
    def size(self) -> int:
        """The bytes of its files."""
        return sum(entry.stat().st_size for entry in Path(self.path).rglob("*") if entry.is_file())

    def nearest(
        self, queries: Array, *, most: int, least: float = -math.inf, threads: int = 1
    ) -> list[list[Match]]:
        """For each of `queries` (queries, dim) its `most` nearest records, best first, with a similarity of `least` or
        more. Similarities are those of the vectors as they are."""
        if not self.state.rows:
            return [[] for _ in queries]
        found = []
        for start in range(0, len(queries), QUERIES):
            found += self._nearest(queries[start : start + QUERIES], most, least, threads)
        return found

    def _nearest(self, queries: Array, most: int, least: float, threads: int) -> list[list[Match]]:
        count = max(CANDIDATES, CANDIDATES_PER_HIT * most) + self.state.rows - self.state.records
        coded = self._coded_candidates(queries, count, threads)
        tails = self._uncoded_candidates(queries, count)
        found = []
        for query, near, tail in zip(queries, coded, tails, strict=True):
            rows = np.concatenate([near, tail])
            rows = np.sort(rows[rows >= 0])
            scores = similarities(self._vectors[rows], query[None], self.similarity)[:, 0]
            order = np.argsort(-scores, kind="stable")
            best = order[scores[order] >= least]  # not those that have none
            found.append(list(self._hits(rows[best].tolist(), scores[best].tolist(), most)))
        return found

    def _coded_candidates(self, queries: Array, count: int, threads: int) -> Iterable[NDArray[np.int64]]:
        if self._codes is None:
            return [np.empty(0, np.int64)] * len(queries)
        return self._codes.nearest(queries, min(count, self.state.coded), threads=threads)

    def _uncoded_candidates(self, queries: Array, count: int) -> list[NDArray[np.int64]]:
        """The nearest rows behind those with codes."""
        found: list[list[NDArray[np.int64]]] = [[] for _ in queries]
        for start in range(self.state.coded, self.state.rows, BLOCK):
            scores = similarities(self._vectors[start : start + BLOCK], queries, self.similarity).T
            for rows, column in zip(found, np.nan_to_num(scores, nan=-np.inf), strict=True):
                rows.append(start + np.argpartition(-column, min(count, len(column)) - 1)[:count])
        return [np.concatenate(rows) if rows else np.empty(0, np.int64) for rows in found]

    def _hits(self, rows: list[int], scores: list[float], most: int) -> Iterator[Match]:
        """The first records of rows that have one."""
        for row, score in zip(rows, scores, strict=True):
            record = self.record(int(self._ids[row]))
            if record is not None:
                yield Match(record, score)
                most -= 1
                if not most:
                    return

    def nearest_by_words(self, query: str, most: int) -> list[Match]:
        """The `most` records with the highest BM25 scores for a query, best first."""
        words = WordIndex(self._words)
        found = ((self.record(match.number), match.score) for match in words.nearest(query, most))
        return [Match(record, score) for record, score in found if record is not None]

    @property
    def _words(self) -> str:
        return os.path.join(self.path, WORDS)

    def record(self, number: int) -> Record | None:
        """The record with an id; None where it was removed."""
        query = "SELECT place, fields FROM records WHERE id = ?"
        found = self._database.execute(query, (number,)).fetchone()
        if found is None:
            return None
        fields = self._decode(found[1])
        return Record(number, fields, fields.get(self.facts["text_field"]), where=found[0])

    def close(self) -> None:
        self._database.close()

    def _mapped(self, name: str, dtype: type, shape: tuple[int, ...]) -> NDArray[Any]:
        path = self._file(name, self.state.number)
        try:
            return np.memmap(path, dtype=dtype, mode="r", shape=shape)
        except (OSError, ValueError) as error:
            raise self._damaged(f"{os.path.basename(path)}: {first_line(error)}") from error

    def _file(self, name: str, number: int) -> str:
        return os.path.join(self.path, f"{name}.{number}")

    def _read_fact(self, name: str) -> dict[str, Any]:
        found = self._database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        value: dict[str, Any] = json.loads(found[0])
        return value

    def _damaged(self, reason: str) -> InputError:
        return InputError(
            f"the index cannot be read: {reason}", where=self.path, hint="index the texts again"
        )


def create_store(path: str, facts: Mapping[str, Any], dim: int) -> None:
    """Make an empty index in a directory, which is made too where it is not there."""
    os.makedirs(path, exist_ok=True)
    connection = sqlite3.connect(os.path.join(path, DATABASE), isolation_level=None)
    with contextlib.closing(connection) as database, _transaction(database):
        for statement in filter(None, map(str.strip, _SCHEMA.split(";"))):
            database.execute(statement)
        _write_fact(database, "facts", {"format": FORMAT, **facts})
        _write_fact(database, "state", asdict(State(dim)))


class StoreWriter(Store):
    """Adds records to an index and removes them. One process writes at a time: the caller has a lock.

    What `add` gets lasts with `commit`. `encode` writes the JSON of a record. `replaced` counts the records that took
    the place of one with the same key.
    """

    def __init__(self, path: str, *, encode: Callable[[Mapping[str, Any]], bytes]) -> None:
        super().__init__(path)
        self._encode = encode
        self._pending: list[tuple[str, str, bytes, NDArray[np.float32]]] = []
        self._marked = 0
        self.replaced = 0
        self._remove_strays()
        self._vector_file = self._appended("vectors", self.state.dim * 4)
        self._id_file = self._appended("ids", 8)

    def add(self, record: Record, vector: NDArray[np.float32]) -> None:
        """A record with its vector (dim,). Its key is its id field, else where it is."""
        id_field = self.facts["id_field"]
        key = record.fields.get(id_field) if id_field else None
        key = record.where if key is None else str(key)
        self._pending.append((_storable(key), _storable(record.where), self._encode(record.fields), vector))

    def mark(self) -> None:
        """What was added so far may be committed."""
        self._marked = len(self._pending)

    def commit(self, run: Mapping[str, Any] | None, *, names: Iterable[str] = ()) -> None:
        """Make everything up to the last mark last, with how far the run has come, None when it is complete. `names`
        are fields of the records."""
        added, self._pending = self._pending[: self._marked], self._pending[self._marked :]
        self._marked = 0
        ids = range(self.state.next_id, self.state.next_id + len(added))
        if added:
            _append(self._vector_file, np.stack([vector for *_, vector in added]).astype(np.float32))
            _append(self._id_file, np.array(ids, np.int64))
        with self._transaction():
            replaced = 0
            for number, (key, place, fields, _) in zip(ids, added, strict=True):
                replaced += self._delete(key)
                self._database.execute(
                    "INSERT INTO records VALUES (?, ?, ?, ?)", (number, key, place, fields)
                )
            self._set(
                replace(
                    self.state,
                    records=self.state.records + len(added) - replaced,
                    rows=self.state.rows + len(added),
                    next_id=ids.stop,
                    run=None if run is None else dict(run),
                )
            )
            self.facts["names"] = list(dict.fromkeys([*self.facts["names"], *names]))
            _write_fact(self._database, "facts", self.facts)
        self.replaced += replaced

    def remove(self, keys: Iterable[str]) -> int:
        """Remove records by their keys, and return how many there were."""
        with self._transaction():
            count = sum(self._delete(_storable(key)) for key in keys)
            self._set(replace(self.state, records=self.state.records - count))
        return count

    def finish(self, *, threads: int, compact: bool = False) -> None:
        """Index the words of new records. Write the files again where too many rows have no record, or for `compact`
        any; then the codes of rows that have none, where these are many."""
        self._index_words()
        if self.state.rows - self.state.records > (0 if compact else MOST_REMOVED):
            self._compact()
        state = self.state
        if state.rows - state.coded <= UNCODED or self.similarity not in CODED:
            return
        number = state.codes_number + 1
        before = self._file("codes", state.codes_number) if state.coded else None
        vectors = self._mapped("vectors", np.float32, (state.rows, state.dim))
        path = self._file("codes", number)
        write_codes(path, vectors, self.similarity, threads=threads, extended=before)
        with self._transaction():
            self._set(replace(state, coded=state.rows, codes_number=number))
        self._remove_strays()

    def close(self) -> None:
        self._vector_file.close()
        self._id_file.close()
        super().close()

    def _index_words(self) -> None:
        """Add the words of new records, and remove those of records that are gone. What an interrupted run has done of
        this is done again."""
        state = self.state
        removed = [row[0] for row in self._database.execute("SELECT id FROM removed")]
        if not removed and state.next_worded == state.next_id:
            return
        words = WordIndex(self._words)
        words.remove(removed)
        words.remove_from(state.next_worded)
        query = "SELECT id, fields FROM records WHERE id >= ? ORDER BY id"
        for number, fields in self._database.execute(query, (state.next_worded,)):
            words.add(number, self._decode(fields)[self.facts["text_field"]])
        words.commit()
        with self._transaction():
            self._database.execute("DELETE FROM removed")
            self._set(replace(state, next_worded=state.next_id))

    def _compact(self) -> None:
        """Copy the rows that have a record to new files."""
        state = self.state
        query = "SELECT id FROM records ORDER BY id"
        kept = np.fromiter((row[0] for row in self._database.execute(query)), np.int64)
        ids = self._mapped("ids", np.int64, (state.rows,))
        vectors = self._mapped("vectors", np.float32, (state.rows, state.dim))
        rows = np.flatnonzero(np.isin(ids, kept, assume_unique=True))
        self._vector_file.close()
        self._id_file.close()
        new = replace(state, number=state.number + 1, rows=len(rows), coded=0)
        self._vector_file, self._id_file = (
            open(self._file(name, new.number), "wb")  # noqa: SIM115
            for name in ("vectors", "ids")
        )
        for start in range(0, len(rows), BLOCK):
            part = rows[start : start + BLOCK]
            _append(self._vector_file, vectors[part])
            _append(self._id_file, ids[part])
        with self._transaction():
            self._set(new)
        self._remove_strays()

    def _delete(self, key: str) -> int:
        self._database.execute("INSERT INTO removed SELECT id FROM records WHERE key = ?", (key,))
        return self._database.execute("DELETE FROM records WHERE key = ?", (key,)).rowcount

    def _set(self, state: State) -> None:
        _write_fact(self._database, "state", asdict(state))
        self.state = state

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of what is written inside, or nothing of it."""
        before = self.state
        with _transaction(self._database):
            try:
                yield
            except BaseException:
                self.state = before
                raise

    def _appended(self, name: str, width: int) -> IO[bytes]:
        """A file of rows, open behind the last one that counts."""
        file = open(self._file(name, self.state.number), "ab")  # noqa: SIM115
        file.truncate(self.state.rows * width)
        return file

    def _remove_strays(self) -> None:
        """Remove files of another number: of an earlier state, or of a run that was killed."""
        state = self.state
        numbers = {
            "vectors": state.number,
            "ids": state.number,
            "codes": state.codes_number if state.coded else -1,
        }
        for name, number in numbers.items():
            for path in Path(self.path).glob(f"{name}.*"):
                if path.name != f"{name}.{number}":
                    path.unlink()


def _append(file: IO[bytes], rows: NDArray[Any]) -> None:
    file.write(rows.tobytes())
    file.flush()
    os.fsync(file.fileno())


def _storable(text: str) -> str:
    """The text as SQLite takes it: half a surrogate pair, as a name of a file may have, in another spelling."""
    return text.encode("utf-8", "backslashreplace").decode()


def _write_fact(database: sqlite3.Connection, name: str, value: Mapping[str, Any]) -> None:
    database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))


@contextlib.contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")
