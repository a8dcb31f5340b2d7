"""A tokenizer of the `tokenizers` library from the object in tokenizer.json.

`Tokenizer.from_buffer` takes twice as long for a large vocabulary as the constructors of its models take for
the same pieces in Python's own lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from tokenizers import AddedToken, Tokenizer, models

_UNIGRAM = {"type", "unk_id", "vocab", "byte_fallback"}
_BPE = {
    "type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
    "byte_fallback", "ignore_merges", "vocab", "merges",
}  # fmt: skip
_EMPTY = {"type": "WordLevel", "vocab": {}, "unk_token": ""}


def native_tokenizer(definition: Mapping[str, Any]) -> Tokenizer:
    """Raises Exception, or what `tokenizers` makes of it, for a definition that makes no tokenizer."""
    model = _model(definition["model"])
    if model is None:
        return Tokenizer.from_buffer(orjson.dumps(definition))
    parts = Tokenizer.from_buffer(orjson.dumps(dict(definition) | {"model": _EMPTY, "added_tokens": []}))
    native = Tokenizer(model)
    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        if (made := getattr(parts, part)) is not None:
            setattr(native, part, made)
    native.add_tokens(
        [
            AddedToken(**{key: value for key, value in token.items() if key != "id"})
            for token in definition["added_tokens"]
        ]
    )
    return native


def _model(stored: Mapping[str, Any]) -> models.Model | None:
    """The model with its vocabulary; None for one that only `from_buffer` reads."""
    pieces = stored["vocab"]
    match stored.get("type"):
        case "Unigram" if stored.keys() <= _UNIGRAM:
            fallback = bool(stored.get("byte_fallback"))
            return models.Unigram([tuple(piece) for piece in pieces], stored.get("unk_id"), fallback)
        case "BPE" if stored.keys() <= _BPE and _in_pairs(stored["merges"]):
            given = {key: value for key, value in stored.items() if key != "type" and value is not None}
            return models.BPE(**given | {"merges": [tuple(pair) for pair in stored["merges"]]})
        case _:
            return None


def _in_pairs(merges: Any) -> bool:
    """Whether the merges are pairs of pieces, and not strings with a blank between them as in older files."""
    return isinstance(merges, list) and not (merges and isinstance(merges[0], str))
