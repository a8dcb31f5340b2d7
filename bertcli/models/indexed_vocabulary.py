"""The pieces of a large vocabulary by their content, found without reading tokenizer.json.

`tokenizers` needs a second for a vocabulary of 250 000 pieces, and a short text holds a few dozen of them. So the
vocabulary of a tokenizer.json is written once into the user's cache as a table that is searched where it lies; see
`lazy_tokenizer` for what is made of it. The table is named by the content of tokenizer.json.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from bertcli.models.native_tokenizer import KEYS
from bertcli.models.user_cache import cached_path, digest, has_place, read_cached, write_cached

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_BYTES = 500_000  # of a tokenizer.json: smaller ones are read in less time than their table
_END = "\0"  # behind each piece in the table
_ARRAYS = {"hashes": "<u4", "order": "<i4", "scores": "<f8", "merges": "<i4", "made": "<i4"}
_VERSION = 1
_CHANGES_PIECES = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")


class IndexedVocabulary(Mapping[str, int]):
    """Pieces and their ids, in a table. `settings` are the tokenizer.json object but for the vocabulary and the merges
    of its model; `source` is the whole file. `longest` counts the characters of the longest piece."""

    def __init__(self, table: bytes, source: bytes) -> None:
        """`table` is what `_table` made of `source`."""
        head, _, rest = table.partition(b"\n")
        header = orjson.loads(head)
        self.settings: dict[str, Any] = header["settings"]
        self.longest: int = header["longest"]
        self._source = source
        self._arrays: dict[str, NDArray[Any]] = {}
        start = 0
        for name, kind in _ARRAYS.items():
            self._arrays[name] = np.frombuffer(rest, kind, header["counts"][name], start)
            start += self._arrays[name].nbytes
        self._text = rest[start:]

    def find(self, pieces: Iterable[str]) -> dict[str, int]:
        """Those of `pieces` that the vocabulary has, with their ids."""
        encoded = [piece.encode(errors="replace") for piece in pieces]
        hashes, order = self._arrays["hashes"], self._arrays["order"]
        wanted = np.array([zlib.crc32(piece) for piece in encoded], np.uint32)
        starts, stops = (np.searchsorted(hashes, wanted, side).tolist() for side in ("left", "right"))
        found = {}
        for piece, start, stop in zip(encoded, starts, stops, strict=True):
            for number in order[start:stop].tolist():
                if self._encoded(number) == piece:
                    found[piece.decode()] = number
        return found

    def piece(self, number: int) -> str:
        """The piece of an id."""
        return self._encoded(number).decode()

    def scores(self, numbers: Sequence[int]) -> list[float]:
        """The scores of some pieces of a Unigram model."""
        found: list[float] = self._arrays["scores"][list(numbers)].tolist()
        return found

    @property
    def lowest_score(self) -> int:
        """The piece with the lowest score, by which `tokenizers` rates what it does not know."""
        return int(self._arrays["scores"].argmin())

    def merges(self, numbers: Sequence[int]) -> list[tuple[str, str]]:
        """The merges that make some pieces of others of them, in their order. (A piece that is known because it is
        decoded may be made of pieces that are not.)"""
        made = self._arrays["made"]  # sorted by the piece that is made
        order = self._arrays["merges"].reshape(-1, 3)  # (place, left, right) of each
        chosen = np.array(sorted(numbers), np.int32)
        starts, stops = (np.searchsorted(made, chosen, side) for side in ("left", "right"))
        rows = [order[start:stop] for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)]
        joined = np.concatenate([*rows, np.empty((0, 3), np.int32)])
        found = sorted(joined[np.isin(joined[:, 1:], chosen).all(1)].tolist())
        return [(self.piece(left), self.piece(right)) for _, left, right in found]

    def model(self) -> dict[str, Any]:
        """The model of the tokenizer.json object as the file has it, read now."""
        found: dict[str, Any] = orjson.loads(self._source)["model"]
        return found

    def __getitem__(self, piece: str) -> int:
        return self.find([piece])[piece]

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[str]:
        """The pieces by id."""
        return iter(self._text.decode().split(_END)[:-1])

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return np.flatnonzero(np.frombuffer(self._text, np.uint8) == 0)

    def _encoded(self, number: int) -> bytes:
        return self._text[0 if number == 0 else int(self._ends[number - 1]) + 1 : int(self._ends[number])]


def indexed_definition(source: bytes) -> dict[str, Any] | None:
    """The tokenizer.json object in `source` with an IndexedVocabulary for the vocabulary of its model; None where
    there is no table of it yet."""
    if len(source) < LEAST_BYTES:
        return None
    table = read_cached(_path(source))
    if table is None:
        return None
    vocabulary = IndexedVocabulary(table, source)
    return vocabulary.settings | {"model": vocabulary.settings["model"] | {"vocab": vocabulary}}


def write_table(definition: Mapping[str, Any], source: bytes) -> None:
    """Write the table of a tokenizer.json object, which `source` holds, for later runs. Does nothing for a small one,
    one of another kind, and where there is no place for it."""
    if len(source) >= LEAST_BYTES and has_place(path := _path(source)):
        table = _table(definition)
        if table is not None:
            write_cached(path, table)


def _path(source: bytes) -> Path:
    return cached_path("vocabularies", f"{digest(source)}.{_VERSION}")


def _table(definition: Mapping[str, Any]) -> bytes | None:
    """A line of JSON, the arrays of `_ARRAYS`, and the pieces by id. None for a vocabulary that has no such table."""
    try:
        model = definition["model"]
        pieces = _pieces(model)
        if pieces is None or sys.byteorder != "little":
            return None
        places = {piece: number for number, piece in enumerate(pieces)}
        pairs = (pair.split(" ") if isinstance(pair, str) else pair for pair in model.get("merges", ()))
        merges = [(places[left], places[right], places[left + right]) for left, right in pairs]
        hashes = np.array([zlib.crc32(piece.encode()) for piece in pieces], np.uint32)
        order = np.argsort(hashes, kind="stable")
        parts = np.array(merges, np.int32).reshape(-1, 3)
        made = np.argsort(parts[:, 2], kind="stable")
        scores = [0.0 + score for _, score in model["vocab"]] if model["type"] == "Unigram" else []
        arrays = {
            "hashes": hashes[order],
            "order": order,
            "scores": np.array(scores),
            "merges": np.column_stack([np.arange(len(parts)), parts[:, :2]])[made].ravel(),
            "made": parts[made, 2],
        }
        without = {key: value for key, value in model.items() if key not in ("vocab", "merges")}
        header = {
            "settings": {**definition, "model": without},
            "longest": max(map(len, pieces)),
            "counts": {name: len(array) for name, array in arrays.items()},
        }
        stored = [arrays[name].astype(kind).tobytes() for name, kind in _ARRAYS.items()]
        return b"".join(
            [orjson.dumps(header), b"\n", *stored, "".join(piece + _END for piece in pieces).encode()]
        )
    except (AttributeError, KeyError, ValueError, TypeError):
        return None  # a damaged file: making the tokenizer says so


def _pieces(model: Mapping[str, Any]) -> list[str] | None:
    """The pieces by id; None where ids leave out a number, or a piece cannot be stored. Raises what
    `_table` catches for a damaged file."""
    if not model.keys() <= KEYS.get(model["type"], set()):
        return None
    if model["type"] == "BPE" and any(model.get(key) for key in _CHANGES_PIECES):
        return None
    if model["type"] == "Unigram":
        pieces = [piece for piece, _ in model["vocab"]]
    else:
        pieces = sorted(model["vocab"], key=model["vocab"].__getitem__)
        if [model["vocab"][piece] for piece in pieces] != list(range(len(pieces))):
            return None
    return None if any(_END in piece for piece in pieces) or len(set(pieces)) < len(pieces) else pieces
