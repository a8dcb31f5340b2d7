"""A tokenizer of the `tokenizers` library from the object in tokenizer.json.

`Tokenizer.from_buffer` takes twice as long for a large vocabulary as the constructors of its models take for
the same pieces in Python's own lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from tokenizers import AddedToken, Tokenizer, models

KEYS = {
    "Unigram": {"type", "unk_id", "vocab", "byte_fallback"},
    "BPE": {
        "type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
        "byte_fallback", "ignore_merges", "vocab", "merges",
    },
    "WordPiece": {"type", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab"},
}  # fmt: skip
"""What the constructors of the models take, by the type of the model."""

_EMPTY = {"type": "WordLevel", "vocab": {}, "unk_token": ""}


class Parts:
    """What a tokenizer has beside its model: what makes words of a text, and the added tokens."""

    def __init__(self, definition: Mapping[str, Any]) -> None:
        """Raises Exception for parts that `tokenizers` cannot read."""
        self.added: list[dict[str, Any]] = definition["added_tokens"]
        bare = orjson.dumps(dict(definition) | {"model": _EMPTY, "added_tokens": []})
        self._parts = Tokenizer.from_buffer(bare)

    def tokenizer(self, model: models.Model) -> Tokenizer:
        """A tokenizer of a model and these parts."""
        native = Tokenizer(model)
        for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
            if (made := getattr(self._parts, part)) is not None:
                setattr(native, part, made)
        native.add_tokens(
            [
                AddedToken(**{key: value for key, value in token.items() if key != "id"})
                for token in self.added
            ]
        )
        return native


def native_tokenizer(definition: Mapping[str, Any]) -> Tokenizer:
    """Raises Exception, or what `tokenizers` makes of it, for a definition that makes no tokenizer."""
    model = constructed(definition["model"])
    if model is None:
        return Tokenizer.from_buffer(orjson.dumps(definition))
    return Parts(definition).tokenizer(model)


def constructed(stored: Mapping[str, Any]) -> models.Model | None:
    """The model with its vocabulary; None for one that only `from_buffer` reads."""
    pieces = stored["vocab"]
    match stored.get("type"):
        case "Unigram" if stored.keys() <= KEYS["Unigram"]:
            fallback = bool(stored.get("byte_fallback"))
            return models.Unigram([tuple(piece) for piece in pieces], stored.get("unk_id"), fallback)
        case "BPE" if stored.keys() <= KEYS["BPE"] and _in_pairs(stored["merges"]):
            given = {key: value for key, value in stored.items() if key != "type" and value is not None}
            return models.BPE(**given | {"merges": [tuple(pair) for pair in stored["merges"]]})
        case "WordPiece" if stored.keys() <= KEYS["WordPiece"]:
            return models.WordPiece(**{key: value for key, value in stored.items() if key != "type"})
        case _:
            return None


def _in_pairs(merges: Any) -> bool:
    """Whether the merges are pairs of pieces, and not strings with a blank between them as in older files."""
    return isinstance(merges, list) and not (merges and isinstance(merges[0], str))
