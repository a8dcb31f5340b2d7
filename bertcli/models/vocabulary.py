"""The definition of a checkpoint's tokenizer, as tokenizer.json has it, and its special tokens by role."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from bertcli.errors import ModelError
from bertcli.models.indexed_vocabulary import IndexedVocabulary, indexed_definition, write_table
from bertcli.models.jsonfile import ANOTHER_COPY, read_optional, read_small
from bertcli.models.tokenizer_cache import converted_tokenizer
from bertcli.models.tokenizer_overrides import apply_overrides

SPECIAL_NAMES = ("pad_token", "unk_token", "cls_token", "sep_token", "bos_token", "eos_token", "mask_token")
_BERT_NAMES = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
_ROBERTA_NAMES = {
    "bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>",
    "cls_token": "<s>", "sep_token": "</s>", "mask_token": "<mask>",
}  # fmt: skip


def read_definition(directory: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """A tokenizer.json object.

    From tokenizer.json, else converted by transformers from an older vocabulary (see `tokenizer_cache`).
    `config` is tokenizer_config.json, some of whose settings win over tokenizer.json (see `tokenizer_overrides`).
    Raises ModelError where there is no tokenizer, or its files make no sense.
    """
    path = directory / "tokenizer.json"
    if not path.exists():
        return _parsed(converted_tokenizer(directory), path)
    source = read_small(path) or b""
    definition = indexed_definition(source)
    if definition is None:
        definition = _parsed(source, path)
        write_table(definition, source)
    apply_overrides(definition, config)
    return definition


def cuts_left(config: Mapping[str, Any], definition: Mapping[str, Any]) -> bool:
    """Whether a text that is too long loses its beginning: as `truncation_side` of tokenizer_config.json
    says, else tokenizer.json."""
    if config.get("truncation_side") is not None:
        return bool(config["truncation_side"] == "left")
    truncation = definition.get("truncation")
    return isinstance(truncation, dict) and truncation.get("direction") == "Left"


def special_names(
    directory: Path, config: Mapping[str, Any], definition: Mapping[str, Any]
) -> dict[str, str]:
    """The special tokens by role (`mask_token` …): from tokenizer_config.json, special_tokens_map.json, else
    the usual spellings that are among the tokenizer's added tokens."""
    added = {token["content"] for token in definition["added_tokens"]}
    names: dict[str, str] = {}
    for usual in (_ROBERTA_NAMES, _BERT_NAMES):
        names |= {role: token for role, token in usual.items() if token in added}
    return names | declared_names(directory, config)


def declared_names(directory: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """The special tokens by role that tokenizer_config.json or special_tokens_map.json names."""
    names: dict[str, str] = {}
    for declared in (read_optional(directory / "special_tokens_map.json", dict) or {}, config):
        names |= {role: token for role in SPECIAL_NAMES if (token := _content(declared.get(role)))}
    return names


def additional_tokens(directory: Path, config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The special tokens that have no part to play and are meant for texts, with their flags."""
    for declared in (config, read_optional(directory / "special_tokens_map.json", dict) or {}):
        found = declared.get("extra_special_tokens") or declared.get("additional_special_tokens")
        if found:
            each = found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
            named = ((_content(token), token) for token in each)
            return {name: token if isinstance(token, dict) else {} for name, token in named if name}
    return {}


def vocabulary_of(definition: Mapping[str, Any]) -> Mapping[str, int]:
    """Pieces and their ids; a Unigram model lists pieces with their scores instead."""
    vocabulary = definition["model"]["vocab"]
    if isinstance(vocabulary, Mapping):
        return vocabulary
    return {piece: number for number, (piece, _) in enumerate(vocabulary)}


def pieces_of(definition: Mapping[str, Any]) -> dict[str, int]:
    """The same in a dict of its own."""
    vocabulary = vocabulary_of(definition)
    if isinstance(vocabulary, IndexedVocabulary):  # does not look each of them up
        return {piece: number for number, piece in enumerate(vocabulary)}
    return dict(vocabulary)


def piece_of(definition: Mapping[str, Any], number: int) -> str:
    """The piece with an id of a Unigram model."""
    vocabulary = definition["model"]["vocab"]
    piece: str = (
        vocabulary.piece(number) if isinstance(vocabulary, IndexedVocabulary) else vocabulary[number][0]
    )
    return piece


def highest_id(definition: Mapping[str, Any]) -> int:
    """The highest id of a piece, -1 without one."""
    vocabulary = definition["model"]["vocab"]
    return max(vocabulary.values(), default=-1) if isinstance(vocabulary, dict) else len(vocabulary) - 1


def setting_conflicts(directory: Path, config: Mapping[str, Any]) -> list[str]:
    """Where tokenizer_config.json and tokenizer.json ask for different treatment of the same text."""
    path = directory / "tokenizer.json"
    return apply_overrides(_parsed(read_small(path) or b"", path), config) if path.exists() else []


def _parsed(content: bytes, path: Path) -> dict[str, Any]:
    """The tokenizer.json object in `content`; `path` is where errors say it is."""
    try:
        definition: dict[str, Any] = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ModelError(f"is not JSON: {error}", where=str(path), hint=ANOTHER_COPY) from error
    if not _is_definition(definition):
        raise ModelError("is not the definition of a tokenizer", where=str(path), hint=ANOTHER_COPY)
    definition["added_tokens"] = definition.get("added_tokens") or []
    return definition


def _is_definition(found: Any) -> bool:
    """Whether the parts that are read here are what they should be; `tokenizers` looks at the others."""
    if not isinstance(found, dict) or not isinstance(found.get("model"), dict):
        return False
    added = found.get("added_tokens") or []
    return isinstance(added, list) and all(
        isinstance(token, dict) and type(token.get("id")) is int and isinstance(token.get("content"), str)
        for token in added
    )


def _content(token: Any) -> str | None:
    """A special token is written as a string, or as an object with its content."""
    found = token.get("content") if isinstance(token, dict) else token
    return found if isinstance(found, str) and found else None
