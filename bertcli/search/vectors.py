"""Vectors in a file, read a block at a time: memory does not grow with their number.

An npy file is read in place. A parquet file's column `embedding`, and the vectors of a run, are first
written to a temporary file.
"""

from __future__ import annotations

import math
import os
import tempfile
import tokenize
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import orjson

from bertcli.errors import InputError, UsageError, first_line, quoted
from bertcli.sinks.npy import ids_path
from bertcli.sinks.parquet import ABOUT
from bertcli.tasks.similarity import SIMILARITIES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[Any]

FIELD = "embedding"
BATCH_ROWS = 4096
REPORTED = ("role", "prompt", "similarity")
MOST_BYTES = 1 << 20  # of the first line beside an npy file
COMPARABLE = "fi"  # kinds of dtype: floats and integers
DAMAGE = (ValueError, EOFError, MemoryError, RecursionError, tokenize.TokenError)  # what NumPy raises for it
CUT = "ends before its last vector"
BITS = "holds bits (--dtype binary), which have no cosine"


class Vectors:
    """Rows of numbers in a file, from `offset` on: `vectors[a:b]` reads some of them. Several threads may.

    `shape` is (rows, dim). Raises InputError where the file ends too early.
    """

    def __init__(self, file: IO[bytes], shape: tuple[int, int], dtype: Any, offset: int = 0) -> None:
        self.shape = shape
        self._file = file
        self._dtype = np.dtype(dtype)
        self._offset = offset

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Rows:
        start, stop, _ = rows.indices(len(self))
        width = self.shape[1] * self._dtype.itemsize
        size = max(0, stop - start) * width
        data = os.pread(self._file.fileno(), size, self._offset + start * width)
        if len(data) < size:
            raise InputError(CUT, where=str(self._file.name), hint="embed the texts again")
        return np.frombuffer(data, self._dtype).reshape(-1, self.shape[1])


class VectorSpool:
    """Vectors that are written to a temporary file, which is removed when it is closed."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._shape = (0, 0)
        self._missing = 0

    def add(self, vectors: Rows) -> None:
        """The next rows (rows, dim). Raises ValueError for others than those before."""
        rows, dim = self._shape
        if rows and vectors.shape[1] != dim:
            raise ValueError(f"a vector of {vectors.shape[1]} among vectors of {dim}")
        self._shape = (rows, vectors.shape[1])
        missing, self._missing = self._missing, 0
        self._write(np.full((missing, vectors.shape[1]), np.nan))
        self._write(vectors)

    def skip(self, rows: int = 1) -> None:
        """The next rows have no vector: they will be NaN."""
        self._missing += rows

    def vectors(self) -> Vectors:
        """All rows, as float32."""
        missing, self._missing = self._missing, 0
        self._write(np.full((missing, self._shape[1]), np.nan))
        self._file.flush()
        return Vectors(self._file, self._shape, np.float32)

    def close(self) -> None:
        self._file.close()

    def _write(self, vectors: Rows) -> None:
        self._file.write(np.asarray(vectors, dtype=np.float32).tobytes())
        self._shape = (self._shape[0] + len(vectors), self._shape[1])


def open_vectors(path: str, held: ExitStack) -> Vectors:
    """The vectors (rows, dim) of a file that `embed` wrote; `held` closes what they need.

    Raises UsageError for another kind of file, InputError for one that cannot be read or holds no vectors to
    compare.
    """
    if path.endswith(".npy"):
        vectors = _read_npy(path, held)
    elif path.endswith(".parquet"):
        vectors = _read_parquet(path, held)
    else:
        raise UsageError(
            "embeddings are read from .npy and .parquet files", where=path, hint="bertcli embed -o NAME.npy"
        )
    if len(vectors) and not vectors.shape[1]:
        raise InputError(
            "holds no vectors: each record was blank, or failed",
            where=path,
            hint="embed texts that are not blank",
        )
    return vectors


def about_vectors(path: str) -> dict[str, str]:
    """What `embed` wrote about the vectors of a file: `role`, `prompt`, `similarity`, those that there were.
    Nothing for a file of another origin. Raises InputError for a similarity function that is unknown."""
    if path.endswith(".parquet"):
        found = {
            key.decode(errors="replace").removeprefix(ABOUT): value.decode(errors="replace")
            for key, value in (open_parquet(path).schema_arrow.metadata or {}).items()
            if key.startswith(ABOUT.encode())
        }
    else:
        found = _first_line(ids_path(path))
    about = {name: found[name] for name in REPORTED if isinstance(found.get(name), str)}
    if about.get("similarity", "cosine") not in SIMILARITIES:
        raise InputError(f"asks for an unknown similarity: {about['similarity']!r}", where=path)
    return about


def _first_line(path: str) -> dict[str, Any]:
    """The object in the first line of a file; nothing where there is none."""
    try:
        with open(path, "rb") as file:
            found = orjson.loads(file.readline(MOST_BYTES))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _read_npy(path: str, held: ExitStack) -> Vectors:
    try:
        file = held.enter_context(open(path, "rb"))  # noqa: SIM115 (held closes it)
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, by_columns, dtype = read(file)
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror or error}",
            where=path,
            hint="check the path, and who may read the file",
        ) from error
    except DAMAGE as error:
        raise InputError(
            f"is not an npy file: {first_line(error)}",
            where=path,
            hint="name a file that `bertcli embed -o FILE` wrote",
        ) from error
    if dtype == np.uint8:
        raise InputError(BITS, where=path, hint="embed with another --dtype")
    if len(shape) != 2 or min(shape) < 0 or dtype.kind not in COMPARABLE or by_columns:
        spelled = " by ".join(map(str, shape)) or "one"
        raise InputError(
            f"holds {spelled} {dtype}, where a vector a row is wanted",
            where=path,
            hint="name a file that `bertcli embed -o FILE` wrote",
        )
    if os.fstat(file.fileno()).st_size < file.tell() + math.prod(shape) * dtype.itemsize:
        raise InputError(CUT, where=path, hint="embed the texts again")
    return Vectors(file, shape, dtype, file.tell())


def _read_parquet(path: str, held: ExitStack) -> Vectors:
    """The column `embedding` in a temporary file."""
    file = open_parquet(path)
    held.callback(file.close)
    names = file.schema_arrow.names
    if FIELD not in names:
        raise InputError(f"has no column {FIELD}", where=path, hint=f"its columns: {quoted(names)}")
    spool = VectorSpool()
    held.callback(spool.close)
    try:
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=[FIELD]):
            _set_down(batch.column(0), spool)
    except (ValueError, TypeError, NotImplementedError, OSError) as error:  # pyarrow's errors are of these
        raise InputError(
            f"the column {FIELD} holds no vectors: {first_line(error)}",
            where=path,
            hint="embed texts that are not blank",
        ) from error
    return spool.vectors()


def _set_down(column: Any, spool: VectorSpool) -> None:
    """A part of a column of lists, of which some may be null."""
    from pyarrow import compute

    if column.null_count == len(column):  # they need not be lists then
        spool.skip(len(column))
        return
    lengths = compute.list_value_length(column).drop_null().unique().to_pylist()
    if len(lengths) > 1:
        raise ValueError(f"lists of {lengths[0]} and {lengths[1]} numbers")
    numbers = column.flatten().to_numpy(zero_copy_only=False)
    if numbers.dtype == np.uint8:
        raise ValueError(BITS)
    rows = np.full((len(column), lengths[0]), np.nan, dtype=np.float32)
    rows[column.is_valid().to_numpy(zero_copy_only=False)] = numbers.reshape(-1, lengths[0])
    spool.add(rows)


def open_parquet(path: str) -> Any:
    """A pyarrow.parquet.ParquetFile. Raises InputError for one that cannot be read."""
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise InputError(
            "reading Parquet needs the package pyarrow", hint="pip install 'bertcli[parquet]'"
        ) from error
    try:
        return parquet.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot be read as Parquet: {first_line(error)}",
            where=path,
            hint="name a file that `bertcli embed -o FILE` wrote",
        ) from error
