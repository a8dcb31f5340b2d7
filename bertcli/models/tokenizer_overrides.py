"""How a text is treated before it is cut into pieces, where tokenizer_config.json and tokenizer.json differ.

tokenizer.json is taken as it is, but for the settings that transformers follows against it:

    do_lower_case             BERT and models like it, ALBERT, DeBERTa-v2
    strip_accents,
    tokenize_chinese_chars    BERT and models like it
    keep_accents              ALBERT
    split_by_punct            DeBERTa-v2
    add_prefix_space          byte-level tokenizers, ALBERT, CamemBERT, DeBERTa-v2, XLM-RoBERTa

A setting that tokenizer_config.json leaves out changes nothing, whatever its default in transformers is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from bertcli.models.classes import class_of

Part = dict[str, Any]
"""A normalizer or pre-tokenizer."""

# Classes of transformers that take tokenizer.json as it is, whatever tokenizer_config.json says.
_TAKE_AS_IT_STANDS = ("PreTrainedTokenizer", "TokenizersBackend")
_OF_BERT = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
# What Metaspace does where `add_prefix_space` is false.
_WITHOUT_PREFIX = {
    "AlbertTokenizer": "never",
    "CamembertTokenizer": "never",
    "DebertaV2Tokenizer": "first",
    "XLMRobertaTokenizer": "never",
}


class _Step(NamedTuple):
    """A setting that asks for `parts` of a row when it is `when`; they go before those of `before`, or
    before all others."""

    row: str
    setting: str
    when: bool
    parts: tuple[Part, ...]
    before: tuple[str, ...] = ()


_STEPS = {
    "AlbertTokenizer": (
        _Step("normalizer", "do_lower_case", True, ({"type": "Lowercase"},), ("Precompiled",)),
        _Step(
            "normalizer",
            "keep_accents",
            False,
            ({"type": "NFKD"}, {"type": "StripAccents"}),
            ("Lowercase", "Precompiled"),
        ),
    ),
    "DebertaV2Tokenizer": (
        _Step("normalizer", "do_lower_case", True, ({"type": "Lowercase"},)),
        _Step("pre_tokenizer", "split_by_punct", True, ({"type": "Punctuation", "behavior": "Isolated"},)),
    ),
}
_INSIDE = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers"}


def apply_overrides(definition: dict[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Change a tokenizer.json object to what tokenizer_config.json asks for; gives what they differ in, in
    words."""
    name = class_of(config)
    if name in _TAKE_AS_IT_STANDS:
        return []
    changes = [*_of_bert(definition, config), *_byte_level(definition, config)]
    if name in _WITHOUT_PREFIX:
        changes += _metaspace(definition, config, _WITHOUT_PREFIX[name])
    for step in _STEPS.get(name or "", ()):
        changes += _stepped(definition, config, step)
    return [
        f"tokenizer_config.json has {setting} {config[setting]}, which wins over tokenizer.json"
        for setting in changes
    ]


def _of_bert(definition: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[str]:
    normalizer = definition.get("normalizer")
    if not isinstance(normalizer, dict) or normalizer.get("type") != "BertNormalizer":
        return
    for setting, key in _OF_BERT.items():
        if setting in config and normalizer.get(key) != config[setting]:
            normalizer[key] = config[setting]
            yield setting


def _byte_level(definition: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[str]:
    spaced = config.get("add_prefix_space")
    part = definition.get("pre_tokenizer")
    if not isinstance(spaced, bool) or not isinstance(part, dict) or part.get("type") != "ByteLevel":
        return
    if part.get("add_prefix_space", True) is not spaced:
        part["add_prefix_space"] = spaced
        post = definition.get("post_processor")
        if isinstance(post, dict) and post.get("type") in ("RobertaProcessing", "ByteLevel"):
            post["add_prefix_space"] = spaced  # places in the text are counted by it
        yield "add_prefix_space"


def _metaspace(definition: dict[str, Any], config: Mapping[str, Any], without: str) -> Iterator[str]:
    if not isinstance(config.get("add_prefix_space"), bool):
        return
    scheme = "always" if config["add_prefix_space"] else without
    for part in _row(definition, "pre_tokenizer"):
        if part.get("type") == "Metaspace" and _scheme(part) != scheme:
            part.pop("add_prefix_space", None)  # an older spelling of the same
            part["prepend_scheme"] = scheme
            yield "add_prefix_space"


def _scheme(part: Part) -> str:
    return str(part.get("prepend_scheme", "always" if part.get("add_prefix_space", True) else "never"))


def _stepped(definition: dict[str, Any], config: Mapping[str, Any], step: _Step) -> Iterator[str]:
    if not isinstance(config.get(step.setting), bool):
        return
    kinds = [part["type"] for part in step.parts]
    row = _row(definition, step.row)
    others = [part for part in row if part.get("type") not in kinds]
    wanted = config[step.setting] is step.when
    if wanted is (len(others) < len(row)):
        return
    if wanted:
        places = (at for at, part in enumerate(others) if part.get("type") in step.before)
        at = next(places, len(others)) if step.before else 0
        others[at:at] = step.parts
    definition[step.row] = {"type": "Sequence", _INSIDE[step.row]: others}
    yield step.setting


def _row(definition: Mapping[str, Any], name: str) -> list[Part]:
    """The parts of a sequence, or the only one; none where there are none, or where they make no sense."""
    whole = definition.get(name)
    if not isinstance(whole, dict):
        return []
    parts = whole.get(_INSIDE[name]) if whole.get("type") == "Sequence" else [whole]
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
