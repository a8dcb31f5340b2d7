"""SentencePiece models (`.spm`, `.model`) as definitions that the `tokenizers` library runs.

The file is a protocol buffer (sentencepiece_model.proto): pieces with scores and types, the settings of the trainer and
of the normalizer. Unigram models become Unigram; byte-pair models become BPE, whose merges are found in their scores.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertcli.errors import ModelError
from bertcli.models.jsonfile import ANOTHER_COPY, read_small

NORMAL, UNKNOWN, CONTROL = 1, 2, 3  # types of pieces
UNIGRAM, BYTE_PAIRS = 1, 2  # types of models
SPACE = "▁"


@dataclass(frozen=True, slots=True)
class SentencePiece:
    """A model's pieces, each with a score and a type; `precompiled` is its table of characters to replace."""

    pieces: tuple[tuple[str, float, int], ...]
    kind: int
    precompiled: bytes
    adds_prefix: bool
    trims: bool

    def definition(self) -> dict[str, Any]:
        """A tokenizer.json object without special tokens, whose ids are the places in `pieces`."""
        unknown = next((place for place, (_, _, kind) in enumerate(self.pieces) if kind == UNKNOWN), None)
        if self.kind == BYTE_PAIRS:
            unknown_piece = None if unknown is None else self.pieces[unknown][0]
            model = {"type": "BPE", "unk_token": unknown_piece, "fuse_unk": True, **self._merges()}
        else:
            vocabulary = [[piece, score] for piece, score, _ in self.pieces]
            model = {"type": "Unigram", "unk_id": unknown, "vocab": vocabulary, "byte_fallback": False}
        normalizers: list[dict[str, Any]] = []
        if self.precompiled:
            table = base64.b64encode(self.precompiled).decode("ascii")
            normalizers.append({"type": "Precompiled", "precompiled_charsmap": table})
        if self.trims:
            normalizers.append({"type": "Strip", "strip_left": True, "strip_right": True})
            normalizers.append({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "})
        scheme = "always" if self.adds_prefix else "never"
        metaspace = {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": True}
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [],
            "normalizer": {"type": "Sequence", "normalizers": normalizers} if normalizers else None,
            "pre_tokenizer": metaspace,
            "post_processor": None,
            "decoder": metaspace,
            "model": model,
        }

    def _merges(self) -> dict[str, Any]:
        """Vocabulary and merges of a byte-pair model: a piece is made of any two, the best scores first."""
        vocabulary = {piece: place for place, (piece, _, _) in enumerate(self.pieces)}
        merges = []
        for piece, score, _ in self.pieces:
            splits = [
                (piece[:cut], piece[cut:])
                for cut in range(1, len(piece))
                if piece[:cut] in vocabulary and piece[cut:] in vocabulary
            ]
            splits.sort(key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))
            merges += [(score, pair) for pair in splits]
        merges.sort(key=lambda merge: merge[0], reverse=True)
        return {"vocab": vocabulary, "merges": [list(pair) for _, pair in merges]}


def read_sentencepiece(path: Path) -> SentencePiece:
    """Raises ModelError for a file that is not a SentencePiece model."""
    try:
        return _parse(read_small(path) or b"")
    except (ValueError, IndexError, struct.error) as error:
        raise ModelError("is not a SentencePiece model", where=str(path), hint=ANOTHER_COPY) from error


def _parse(data: bytes) -> SentencePiece:
    pieces, kind, precompiled, adds_prefix, trims = [], UNIGRAM, b"", True, True
    for field, value in _fields(data):
        if field == 1:
            piece, score, piece_kind = "", 0.0, NORMAL
            for part, content in _fields(value):
                if part == 1:
                    piece = content.decode()
                elif part == 2:
                    (score,) = struct.unpack("<f", content)
                elif part == 3:
                    piece_kind = content
            pieces.append((piece, score, piece_kind))
        elif field == 2:
            kind = dict(_fields(value)).get(3, UNIGRAM)
        elif field == 3:
            settings = dict(_fields(value))
            precompiled = settings.get(2, b"")
            adds_prefix, trims = bool(settings.get(3, 1)), bool(settings.get(4, 1))
    if not pieces or kind not in (UNIGRAM, BYTE_PAIRS):
        raise ValueError
    return SentencePiece(tuple(pieces), kind, precompiled, adds_prefix, trims)


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a protocol buffer message: numbers, or bytes."""
    place = 0
    while place < len(data):
        key, place = _number(data, place)
        match key & 7:
            case 0:
                value, place = _number(data, place)
                yield key >> 3, value
                continue
            case 1:
                length = 8
            case 2:
                length, place = _number(data, place)
            case 5:
                length = 4
            case _:
                raise ValueError
        if place + length > len(data):
            raise ValueError
        yield key >> 3, data[place : place + length]
        place += length


def _number(data: bytes, place: int) -> tuple[int, int]:
    """A variable-length integer, and the place behind it."""
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
        if shift > 63:
            raise ValueError
