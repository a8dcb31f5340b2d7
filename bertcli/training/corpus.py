"""Large texts as tokens end to end, tokenised once a run, and the blocks that can be cut from them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bertcli.records import Window
from bertcli.training.recipe_data import records_of

if TYPE_CHECKING:
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.models.tokens import Frame
    from bertcli.training.recipe import DataSource

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class TokenFile:
    """The tokens of a source's records end to end, uint16 or uint32, where each starts, [records + 1], and
    which record of the input it is, [records]."""

    tokens: NDArray[np.unsignedinteger]
    starts: Ints
    records: Ints


def tokenise(source: DataSource, tokenizer: Tokenizer, cache: Path) -> TokenFile:
    """The tokens of each record of a source, without special tokens; cached in `cache`, which is for one
    tokenizer, for a run that is resumed."""
    stat = source.path.stat()
    identity = f"{source} {stat.st_size} {stat.st_mtime_ns}"
    key = hashlib.sha256(identity.encode()).hexdigest()[:16]
    files = [cache / f"{key}.{part}.npy" for part in ("tokens", "starts", "records")]
    if not all(file.exists() for file in files):
        width = np.uint16 if len(tokenizer) <= 2**16 else np.uint32
        parts: list[NDArray[np.unsignedinteger]] = [np.zeros(0, width)]
        records = []
        for record in records_of(source):
            parts.append(np.array(tokenizer.encode(record.text or "").ids, width))
            records.append(record.index)
        cache.mkdir(parents=True, exist_ok=True)
        np.save(files[1], np.cumsum([len(part) for part in parts], dtype=np.int64))
        np.save(files[2], np.array(records, np.int64))
        np.save(files[0], np.concatenate(parts))
    return TokenFile(np.load(files[0], mmap_mode="r"), np.load(files[1]), np.load(files[2]))


def blocks(files: Sequence[TokenFile], size: int, wanted: Callable[[int], bool]) -> Ints:
    """Where blocks of `size` tokens begin in the records that are `wanted` by number: the number of the file
    and the place of the first token, [2, blocks].

    The last block of a text is moved back, so that its end is used too, unless it is less than half new.
    """
    places: list[Ints] = [np.zeros((2, 0), np.int64)]
    for number, file in enumerate(files):
        spans = zip(file.records, file.starts[:-1], file.starts[1:], strict=True)
        for record, start, end in spans:
            if end - start < size or not wanted(int(record)):
                continue
            tiles = np.arange(start, end - size + 1, size)
            if end - size - tiles[-1] > size // 2:
                tiles = np.append(tiles, end - size)
            places.append(np.stack([np.full_like(tiles, number), tiles]))
    return np.concatenate(places, axis=1)


class Blocks(Sequence[Window]):
    """Blocks of `size` tokens between special tokens, read from token files when they are asked for.

    `starts` [2, blocks] are those of `blocks`.
    """

    def __init__(self, files: Sequence[TokenFile], starts: Ints, size: int, frame: Frame) -> None:
        self._files, self._starts, self._size, self._frame = files, starts, size, frame

    def __len__(self) -> int:
        return int(self._starts.shape[1])

    def __getitem__(self, index: int) -> Window:  # type: ignore[override]
        file, start = self._starts[:, index]
        tokens = self._files[file].tokens[start : start + self._size].tolist()
        ids, types, _, _ = self._frame.build(tokens)
        return Window(ids, types)

    @property
    def lengths(self) -> Sequence[int]:
        """The tokens of each block, special ones included."""
        return [self._size + len(self._frame)] * len(self)
