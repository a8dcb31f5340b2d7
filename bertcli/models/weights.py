"""The weights of a checkpoint: safetensors files read in place, tensor by tensor, as float32.

The format (https://github.com/huggingface/safetensors#format) is 8 bytes of header length, a JSON header,
then the tensors end to end. It is read here and not by the library because the promises of the header are
checked before anything is believed, bfloat16 has no NumPy type of its own, and an embedding table is worth
reading only where words were used. Pickle files are never opened here.
"""

from __future__ import annotations

import json
import math
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertcli.errors import ModelError
from bertcli.models.floats import FLOATS, as_float32
from bertcli.models.jsonfile import A_POINTER, FETCH_POINTERS, LFS_POINTER, WHOLE, read_small
from bertcli.models.low_rank import LowRankUpdate

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_HEADER = 100_000_000  # the reference implementation's own limit

_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E5M2": 1, "F8_E4M3": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip

INTEGERS = {"I32": "<i4", "I64": "<i8"}


class DamagedFileError(Exception):
    """A file does not keep the promises of its format; the message says which."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a tensor is: `start` counts bytes from the beginning of `file`."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * _BYTES[self.dtype]


@dataclass(frozen=True, slots=True)
class Weights:
    """All tensors of a checkpoint by name, read when asked for.

    `faults` are promises that the files break, in words: a damaged file contributes no tensors. `files` are
    the weight files; `pickle` says that they are pickles, which have no tensors here. `updates` are applied to
    tensors whenever they are read; `replaced` are the names of tensors that are read in place of others.
    """

    tensors: Mapping[str, Stored]
    files: tuple[Path, ...]
    faults: tuple[str, ...] = ()
    pickle: bool = False
    updates: Mapping[str, LowRankUpdate] = field(default_factory=dict)
    replaced: Mapping[str, str] = field(default_factory=dict)
    _maps: dict[Path, mmap.mmap] = field(default_factory=dict, repr=False, compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.tensors)

    @property
    def floats(self) -> tuple[str, ...]:
        """Names of the tensors of floating-point numbers, which can be read."""
        return tuple(name for name in self if self.dtype(name) in FLOATS)

    @property
    def converted(self) -> tuple[str, ...]:
        """Names of the tensors that become float32 only when they are read."""
        return tuple(name for name in self if self.dtype(name) in FLOATS.keys() - {"F32"})

    def __contains__(self, name: object) -> bool:
        return name in self.tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def as_stored(self) -> Weights:
        """The tensors as the files have them."""
        return replace(self, updates={}, replaced={})

    def shape(self, name: str) -> tuple[int, ...]:
        return self._find(name).shape

    def row_count(self, name: str | None) -> int | None:
        """The length of the tensor's first dimension, None where there is no such tensor or it has none."""
        shape = self.shape(name) if name is not None and name in self.tensors else ()
        return shape[0] if shape else None

    def dtype(self, name: str) -> str:
        """The stored type as safetensors spells it: F32, F16, BF16, F64, I64 …; F32 of a tensor with an update."""
        return "F32" if name in self.updates else self._find(name).dtype

    def read(
        self, name: str, buffer: NDArray[np.float32] | None = None, rows: slice | None = None
    ) -> NDArray[np.float32]:
        """The tensor, or some of its rows, as float32. A float32 tensor without an update is a read-only view of the
        file, everything else a copy, in `buffer` (flat, of the same size) where that is given for one that is
        `converted`."""
        stored = self._find(name)
        raw = self._raw(stored)
        if name in self.updates:
            chosen = slice(None) if rows is None else rows
            return self.updates[name].apply(as_float32(raw[chosen], stored.dtype), chosen)
        return as_float32(raw if rows is None else raw[rows], stored.dtype, buffer)

    def rows(self, name: str, ids: Sequence[int] | NDArray[Any]) -> NDArray[np.float32]:
        """The rows `ids`, of any shape, as float32: (*ids.shape, ...). Other rows are not read."""
        stored = self._find(name)
        chosen = np.asarray(ids, dtype=np.intp)
        values = as_float32(self._raw(stored)[chosen], stored.dtype)
        return self.updates[name].apply(values, chosen) if name in self.updates else values

    def integers(self, name: str) -> NDArray[np.int64]:
        """A tensor of whole numbers. Raises ModelError for one of another type."""
        stored = self._find(name)
        if stored.dtype not in INTEGERS:
            raise ModelError(
                f"{name} is stored as {stored.dtype}, and holds no whole numbers", where=str(stored.file)
            )
        count = math.prod(stored.shape)
        flat = np.frombuffer(
            self._map(stored.file), dtype=INTEGERS[stored.dtype], count=count, offset=stored.start
        )
        return flat.reshape(stored.shape).astype(np.int64)

    def bytes_of(self, name: str, most: int) -> bytes:
        """The first and last bytes of the tensor as stored, `most` in all, and all of its update: enough to tell two
        apart."""
        stored = self._find(name)
        update = self.updates[name].bytes() if name in self.updates else b""
        raw = memoryview(self._map(stored.file))[stored.start : stored.start + stored.bytes]
        ends = bytes(raw) if len(raw) <= most else bytes(raw[: most // 2]) + bytes(raw[-(most // 2) :])
        return ends + update

    def _find(self, name: str) -> Stored:
        try:
            return self.tensors[self.replaced.get(name, name)]
        except KeyError:
            raise ModelError(
                f"the weights have no tensor {name}",
                hint="bertcli models check reports what is in the file",
                where=", ".join(file.name for file in self.files) or None,
            ) from None

    def _map(self, file: Path) -> mmap.mmap:
        if file not in self._maps:
            with file.open("rb") as opened:
                self._maps[file] = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        return self._maps[file]

    def _raw(self, stored: Stored) -> NDArray[Any]:
        """The tensor in its stored type (bfloat16 as its 16 bits), a view of the file."""
        if stored.dtype not in FLOATS:
            raise ModelError(
                f"a weight is stored as {stored.dtype}, which is not a floating-point type bertcli reads",
                hint="quantised checkpoints are not supported; use one in float32, float16 or bfloat16",
                where=str(stored.file),
            )
        flat: NDArray[Any] = np.frombuffer(
            self._map(stored.file),
            dtype=FLOATS[stored.dtype],
            count=math.prod(stored.shape),
            offset=stored.start,
        )
        return flat.reshape(stored.shape)


def has_weights(directory: Path) -> bool:
    """Whether a directory holds weights that `open_weights` finds."""
    return any((directory / name).exists() for name in (SINGLE, INDEX)) or bool(_pickles(directory))


def open_weights(directory: Path) -> Weights:
    """Find and check the weight files of a checkpoint directory, without reading the tensors.

    safetensors wins over everything else. Raises ModelError when there are no weights at all, or only in a
    form bertcli does not read.
    """
    if (directory / SINGLE).exists():  # goes before an index, as in transformers
        return open_files([directory / SINGLE])
    if (directory / INDEX).exists():
        return _open_shards(directory)
    if pickles := _pickles(directory):
        return Weights({}, tuple(pickles), pickle=True)
    others = [
        file.name
        for form in ("*.h5", "*.msgpack", "*.onnx", "*.gguf", "*.ckpt*")
        for file in directory.glob(form)
    ]
    if others:
        raise ModelError(
            f"the weights are in a form bertcli does not read: {', '.join(sorted(others))}",
            hint=f"save the model with transformers' save_pretrained, which writes {SINGLE}",
            where=str(directory),
        )
    raise ModelError(f"the directory holds no weights ({SINGLE})", where=str(directory), hint=WHOLE)


def _open_shards(directory: Path) -> Weights:
    """Tensors of the files an index names. Only plain names beside the index are followed."""
    try:
        placed = json.loads(read_small(directory / INDEX) or b"")["weight_map"]
        if not isinstance(placed, dict) or not all(isinstance(file, str) for file in placed.values()):
            raise TypeError
    except (ValueError, KeyError, TypeError, ModelError, RecursionError):
        return Weights({}, (), (f"{INDEX} is not a JSON object with a weight_map of file names",))
    faults, files = [], []
    for name in sorted(set(placed.values())):
        if Path(name).name != name or "\\" in name or name in (".", ".."):
            faults.append(f"{INDEX} names a file outside the directory: {name}")
        elif not os.path.isfile(directory / name):  # false too for a name that no file can have
            faults.append(f"{INDEX} names a file that is missing: {name}")
        else:
            files.append(directory / name)
    weights = open_files(files, faults)
    if not weights.faults:
        lost = [
            name
            for name, file in placed.items()
            if _plain(name) not in weights or weights.tensors[_plain(name)].file.name != file
        ]
        if lost:
            return Weights(
                weights.tensors,
                weights.files,
                (f"{INDEX} places {len(lost)} tensors where they are not, such as {lost[0]}",),
            )
    return weights


def _pickles(directory: Path) -> list[Path]:
    return sorted(directory.glob("pytorch_model*.bin"))


def open_files(files: Iterable[Path], faults: Iterable[str] = ()) -> Weights:
    """The tensors of safetensors files, checked; `faults` are what is wrong with them already."""
    tensors: dict[str, Stored] = {}
    found = list(faults)
    opened = tuple(files)
    for file in opened:
        try:
            if not file.is_file():
                raise DamagedFileError("is not a file")
            for name, stored in read_header(file):
                if _plain(name) in tensors:
                    raise DamagedFileError(f"holds the tensor {name} a second time")
                tensors[_plain(name)] = stored
        except DamagedFileError as fault:
            found.append(f"{file.name} {fault}")
        except OSError as error:
            found.append(f"{file.name} cannot be read: {error.strerror}")
    return Weights(tensors, opened, tuple(found))


def _plain(name: str) -> str:
    """TensorFlow's spelling of LayerNorm weights, as old BERT files have it, in today's."""
    head, _, last = name.rpartition(".")
    if head.endswith("LayerNorm") and last in ("gamma", "beta"):
        return f"{head}.{'weight' if last == 'gamma' else 'bias'}"
    return name


def read_header(file: Path) -> list[tuple[str, Stored]]:
    """The tensors a safetensors file promises, every promise checked against the file's size.

    Raises DamagedFileError with the first promise that is broken: the tensors must fill the file exactly,
    without overlap or hole.
    """
    size = file.stat().st_size
    with file.open("rb") as opened:
        head = opened.read(8)
        if LFS_POINTER.startswith(head) and head:
            raise DamagedFileError(f"is {A_POINTER}; {FETCH_POINTERS}")
        length = int.from_bytes(head, "little")
        if len(head) < 8 or length > min(MAX_HEADER, size - 8):
            raise DamagedFileError(f"is not a whole safetensors file: {size} bytes, header of {length}")
        header = _parse_header(opened.read(length))
    tensors = sorted(
        ((name, _entry(file, name, entry, 8 + length)) for name, entry in header.items()), key=_start
    )
    end = 8 + length
    for name, stored in tensors:
        if stored.start != end:
            raise DamagedFileError(f"has a wrong header: {name} begins at byte {stored.start}, not at {end}")
        end += stored.bytes
    if end != size:
        raise DamagedFileError(
            f"is {'cut short' if size < end else 'too long'}: {size} bytes, its header promises {end}"
        )
    return tensors


def _start(item: tuple[str, Stored]) -> tuple[int, int]:
    return item[1].start, item[1].bytes


def _parse_header(text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError
        return dict(pairs)

    try:
        header = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError):
        raise DamagedFileError("has a header that is not JSON, or that names a tensor twice") from None
    if not isinstance(header, dict):
        raise DamagedFileError("has a header that is not a JSON object")
    header.pop("__metadata__", None)
    return header


def _entry(file: Path, name: str, entry: Any, data: int) -> Stored:
    """One tensor of the header; `data` is the byte where tensors begin."""
    try:
        dtype, shape, (start, stop) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        whole = all(type(number) is int and number >= 0 for number in (*shape, start, stop))
    except (TypeError, KeyError, ValueError):
        raise DamagedFileError(f"has a header entry for {name} that is not one of safetensors") from None
    if not whole or not isinstance(dtype, str) or dtype not in _BYTES:
        raise DamagedFileError(f"has a header entry for {name} with an impossible type, shape or offset")
    stored = Stored(file, dtype, shape, data + start)
    if stored.bytes != stop - start:
        raise DamagedFileError(
            f"has a wrong header: {name} is {stored.bytes} bytes by shape, {stop - start} by offsets"
        )
    return stored
