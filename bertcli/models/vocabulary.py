"""The definition of a checkpoint's tokenizer, as tokenizer.json has it, from whichever files there are."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import orjson

from bertcli.errors import ModelError
from bertcli.models.classes import BYTE_LEVEL, WORD_PIECE, class_of
from bertcli.models.jsonfile import ANOTHER_COPY, read_object, read_optional, read_small
from bertcli.models.treatment import follow

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
_SAVE_ANEW = "AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR) of transformers writes one"


def read_definition(directory: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """A tokenizer.json object.

    tokenizer.json, else vocab.txt (WordPiece), else vocab.json with merges.txt (byte-level BPE). `config` is
    tokenizer_config.json, some of whose settings win over tokenizer.json (see `treatment`). Raises ModelError
    when there is no file it can read, or the class that is named makes something else of the files there are.
    """
    path = directory / "tokenizer.json"
    if path.exists():
        definition = _read_json(path)
        follow(definition, config)
    elif (directory / "vocab.txt").exists():
        _require_class(config, WORD_PIECE, directory)
        definition = _wordpiece(directory / "vocab.txt", config)
    elif (directory / "vocab.json").exists() and (directory / "merges.txt").exists():
        _require_class(config, BYTE_LEVEL, directory)
        definition = _byte_level(directory, config)
    else:
        raise _no_tokenizer(directory)
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
    return names | told_names(directory, config)


def told_names(directory: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """The special tokens by role that tokenizer_config.json or special_tokens_map.json names."""
    names: dict[str, str] = {}
    for told in (read_optional(directory / "special_tokens_map.json", dict) or {}, config):
        names |= {role: token for role in SPECIAL_NAMES if (token := _content(told.get(role)))}
    return names


def additional_tokens(directory: Path, config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The special tokens that have no part to play and are meant to stand in texts, with their flags."""
    for told in (config, read_optional(directory / "special_tokens_map.json", dict) or {}):
        found = told.get("extra_special_tokens") or told.get("additional_special_tokens")
        if found:
            each = found.values() if isinstance(found, dict) else found if isinstance(found, list) else ()
            named = ((_content(token), token) for token in each)
            return {name: token if isinstance(token, dict) else {} for name, token in named if name}
    return {}


def pieces_of(definition: Mapping[str, Any]) -> dict[str, int]:
    """Pieces and their ids; a Unigram model lists pieces with their scores instead."""
    vocabulary = definition["model"]["vocab"]
    if isinstance(vocabulary, dict):
        return dict(vocabulary)
    return {piece: number for number, (piece, _) in enumerate(vocabulary)}


def contradictions(directory: Path, config: Mapping[str, Any]) -> list[str]:
    """Where tokenizer_config.json and tokenizer.json ask for different treatment of the same text."""
    path = directory / "tokenizer.json"
    return follow(_read_json(path), config) if path.exists() else []


def _read_json(path: Path) -> dict[str, Any]:
    try:
        definition: dict[str, Any] = orjson.loads(read_small(path) or b"")
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


def _wordpiece(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """BERT's own tokenizer: a piece a line, its number the line's."""
    try:
        pieces = (read_small(path) or b"").decode().split("\n")
    except UnicodeDecodeError as error:
        raise ModelError(f"cannot be read as UTF-8: {error}", where=str(path), hint=ANOTHER_COPY) from error
    vocabulary = {
        piece.rstrip("\r"): number for number, piece in enumerate(pieces) if piece or number < len(pieces) - 1
    }
    names = _named(_BERT_NAMES, config)
    start, stop = names["cls_token"], names["sep_token"]
    _expect_tokens(vocabulary, (start, stop, names["unk_token"]), path)
    return {
        "version": "1.0",
        "added_tokens": _added(names, vocabulary, ()),
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": config.get("tokenize_chinese_chars", True),
            "strip_accents": config.get("strip_accents"),
            "lowercase": config.get("do_lower_case", True),
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "BertProcessing",
            "sep": [stop, vocabulary[stop]],
            "cls": [start, vocabulary[start]],
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": names["unk_token"],
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocabulary,
        },
    }


def _byte_level(directory: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """RoBERTa's tokenizer: byte-level BPE with a file of pieces and one of merges."""
    vocabulary = read_object(directory / "vocab.json")
    path = directory / "merges.txt"
    try:
        lines = (read_small(path) or b"").decode().split("\n")
    except UnicodeDecodeError as error:
        raise ModelError(f"cannot be read as UTF-8: {error}", where=str(path), hint=ANOTHER_COPY) from error
    names = _named(_ROBERTA_NAMES, config)
    start, stop = names["cls_token"], names["sep_token"]
    _expect_tokens(vocabulary, (start, stop), directory / "vocab.json")
    spaced = config.get("add_prefix_space") is True
    return {
        "version": "1.0",
        "added_tokens": _added(names, vocabulary, (names["mask_token"],)),
        "normalizer": None,
        "pre_tokenizer": {
            "type": "ByteLevel",
            "add_prefix_space": spaced,
            "trim_offsets": True,
            "use_regex": True,
        },
        "post_processor": {
            "type": "RobertaProcessing",
            "sep": [stop, vocabulary[stop]],
            "cls": [start, vocabulary[start]],
            "trim_offsets": True,
            "add_prefix_space": spaced,
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "vocab": vocabulary,
            "merges": [line.rstrip("\r") for line in lines if line and not line.startswith("#version")],
        },
    }


def _named(usual: Mapping[str, str], config: Mapping[str, Any]) -> dict[str, str]:
    return {role: _content(config.get(role)) or token for role, token in usual.items()}


def _content(token: Any) -> str | None:
    """A special token is written as a string, or as an object with its content."""
    found = token.get("content") if isinstance(token, dict) else token
    return found if isinstance(found, str) and found else None


def _added(
    names: Mapping[str, str], vocabulary: Mapping[str, int], eat_space: tuple[str, ...]
) -> list[dict[str, Any]]:
    """The special tokens as tokenizer.json lists them; those of `eat_space` take the space before them."""
    return [
        {
            "id": vocabulary[token],
            "content": token,
            "single_word": False,
            "lstrip": token in eat_space,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for token in dict.fromkeys(names.values())
        if token in vocabulary
    ]


def _expect_tokens(vocabulary: Mapping[str, int], tokens: tuple[str, ...], path: Path) -> None:
    lost = [token for token in tokens if token not in vocabulary]
    if lost:
        raise ModelError(
            f"lacks the special tokens {', '.join(lost)}",
            where=str(path),
            hint="download the tokenizer's files again",
        )


def _require_class(config: Mapping[str, Any], known: Container[str], directory: Path) -> None:
    """Refuse files whose class makes something else of them: Japanese is cut by a dictionary first, say."""
    name = class_of(config)
    if name is not None and name not in known:
        raise ModelError(
            f"there is no tokenizer.json, and bertcli does not make a {name} of the other files",
            hint=f"{_SAVE_ANEW}, if transformers has a fast tokenizer of that kind",
            where=str(directory),
        )


def _no_tokenizer(directory: Path) -> ModelError:
    pieces = [path.name for form in ("*.model", "*.spm") for path in sorted(directory.glob(form))]
    if pieces:
        return ModelError(
            f"the tokenizer is only a SentencePiece model ({pieces[0]}), which bertcli does not read",
            hint=_SAVE_ANEW,
            where=str(directory),
        )
    return ModelError(
        "the directory holds no tokenizer (tokenizer.json or vocab.txt)",
        where=str(directory),
        hint="copy the tokenizer's files into it, or save them there with transformers' save_pretrained",
    )
