"""npy: the vectors of all records as one array of shape (records, dim), and their ids in a file beside it.

A record without a vector has a row of NaN (of zeros in integer arrays). `NAME.ids.jsonl` has a line a row:
`row`, `id` (the id field, else the record's number from 0), `role` where the vectors have one, and `blank` or
`error` where there is no vector. In a shard, an id that is the record's number is left out. The first line also
has the `prompt` that went before each text, and the `similarity` function of the model where it is not the cosine.
The ids get their name first: where the array is, they are too.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

from bertcli.errors import OutputError, UsageError
from bertcli.journal import FileOutput, Mark, is_regular, is_stdout
from bertcli.records import Result
from bertcli.sinks import Layout
from bertcli.sinks.jsontext import to_json

if TYPE_CHECKING:
    import numpy as np

FIELD = "embedding"
IDS_BEGIN = b'{"row":'


def ids_path(path: str) -> str:
    """`docs.ids.jsonl` for `docs.npy`."""
    return path.removesuffix(".npy") + ".ids.jsonl"


class NpySink:
    """Rows before the first vector wait as a count: only then is it known how wide they are."""

    def __init__(self, output: FileOutput, ids: FileOutput, layout: Layout, mark: Mark | None = None) -> None:
        self._output = output
        self._ids = ids
        self._id_field = layout.id_field
        self._about = layout.about
        self._is_shard = layout.is_shard
        self._rows = 0
        self._waiting = 0
        self._filler: np.ndarray[Any, Any] | None = None  # the row of a record without a vector
        if mark is not None:
            self._rows, self._waiting = mark.state["rows"], mark.state["waiting"]
            if mark.state["vector"] is not None:
                self._filler = _filler(*mark.state["vector"])

    @classmethod
    def open(cls, path: str | None, layout: Layout, *, overwrite: bool, mark: Mark | None = None) -> NpySink:
        """Raises UsageError for vectors of tokens, and where there is no file to complete."""
        if FIELD not in layout.results:
            raise UsageError(
                "npy holds one vector a record, and --tokens gives many", hint="write .jsonl or .parquet"
            )
        if path is None or is_stdout(path) or not is_regular(path):
            raise UsageError(
                "npy needs a file on this machine: its header is completed at the end, and ids are beside it",
                hint="-o NAME.npy; .parquet can be written anywhere",
            )
        if overwrite and mark is None:
            _refuse_other_ids(ids_path(path))
        output = FileOutput(path, overwrite=overwrite, mark=mark)
        ids_mark = None if mark is None else Mark({"size": mark.state["ids"]})
        try:
            ids = FileOutput(ids_path(path), overwrite=overwrite, mark=ids_mark, owner=path)
            return cls(output, ids, layout, mark)
        except OutputError:
            output.close(complete=False)
            raise

    def write(self, result: Result) -> None:
        vector = result.values.get(FIELD)
        if vector is None:
            self._write_filler()
        else:
            self._write_vector(vector, result)
        self._ids.write(self._id_line(result))
        self._rows += 1

    def flush(self) -> None:
        self._output.flush()
        self._ids.flush()

    def mark(self) -> Mark:
        vector = None if self._filler is None else [self._filler.dtype.str, len(self._filler)]
        state = {"rows": self._rows, "waiting": self._waiting, "vector": vector}
        return Mark({**self._output.mark().state, "ids": self._ids.mark().state["size"], **state})

    def sync(self) -> None:
        self._output.sync()
        self._ids.sync()

    def close(self, complete: bool) -> None:
        """The header of an interrupted file is completed too, so that it can be read."""
        try:
            if self._filler is not None:
                self._output.overwrite_start(self._header())
            elif complete or self._rows:
                self._output.write(self._header())
            self._ids.close(complete)
        except (OSError, OutputError):
            self._ids.close(complete=False)
            self._output.close(complete=False)
            if complete:
                raise
        else:
            self._output.close(complete)

    def _id_line(self, result: Result) -> bytes:
        given = None if self._id_field is None else result.record.fields.get(self._id_field)
        line: dict[str, Any] = {"row": self._rows}
        if given is not None or not self._is_shard:
            line["id"] = result.record.index if given is None else given
        if "role" in self._about:
            line["role"] = self._about["role"]
        if self._rows == 0:
            line |= self._about
        if result.status == "blank":
            line["blank"] = True
        if result.problem is not None:
            line["error"] = {"type": result.problem.type, "message": result.problem.message}
        return to_json(line, newline=True)

    def _write_vector(self, vector: np.ndarray[Any, Any], result: Result) -> None:
        if self._filler is None:
            self._start(vector)
        elif vector.shape != self._filler.shape or vector.dtype != self._filler.dtype:
            raise OutputError(
                f"a vector of {vector.shape} {vector.dtype} among vectors of "
                f"{self._filler.shape} {self._filler.dtype}",
                where=result.record.where or None,
                hint="write .jsonl, which holds vectors of any length",
            )
        self._output.write(vector.tobytes())

    def _start(self, vector: np.ndarray[Any, Any]) -> None:
        self._filler = _filler(vector.dtype.str, len(vector))
        self._output.write(self._header())
        for _ in range(self._waiting):
            self._output.write(self._filler.tobytes())

    def _write_filler(self) -> None:
        if self._filler is None:
            self._waiting += 1
        else:
            self._output.write(self._filler.tobytes())

    def _header(self) -> bytes:
        """The header for the rows written so far; NumPy pads it to the same length for any number."""
        import numpy as np

        like = np.empty(0, np.float32) if self._filler is None else self._filler
        header = io.BytesIO()
        shape = (self._rows, *like.shape)
        np.lib.format.write_array_header_1_0(
            header, {"descr": like.dtype.str, "fortran_order": False, "shape": shape}
        )
        return header.getvalue()


def _refuse_other_ids(path: str) -> None:
    """Raise OutputError for a file of that name that holds no ids: only `-o` names what may be replaced."""
    if not os.path.exists(path) or not os.path.getsize(path):
        return
    with open(path, "rb") as file:
        begin = file.read(len(IDS_BEGIN))
    if begin != IDS_BEGIN:
        raise OutputError(
            "holds no ids of embeddings, so it is never replaced",
            where=path,
            hint="move it, or name another -o",
        )


def _filler(dtype: str, length: int) -> np.ndarray[Any, Any]:
    """NaN where there is one, else zeros: (length,)"""
    import numpy as np

    kind = np.dtype(dtype)
    return np.full(length, np.nan if kind.kind == "f" else 0, kind)
