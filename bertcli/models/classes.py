"""What transformers' class of a tokenizer decides, where its files leave it open.

The class is named in tokenizer_config.json, else in config.json, else goes with the type of the model. Names
end in `Fast` or not; that has no meaning any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# These have `token_type_ids` among their inputs. ALBERT's has not in transformers 5, but had before, and its
# models were trained with them: it is here all the same.
_GIVE_TYPES = frozenset(
    [
        "AlbertTokenizer", "BertTokenizer", "ConvBertTokenizer", "DebertaTokenizer", "DebertaV2Tokenizer",
        "ElectraTokenizer", "FNetTokenizer", "LayoutLMTokenizer", "LxmertTokenizer", "MobileBertTokenizer",
        "SqueezeBertTokenizer",
    ]
)  # fmt: skip
# Types of models that have a table of token types, and a class of tokenizer without them.
_WITHOUT_TYPES = frozenset(
    [
        "big_bird", "funnel", "nystromformer", "rembert", "roc_bert", "roformer", "splinter", "xlnet", "yoso",
    ]
)  # fmt: skip
# Those of WordPiece, and of byte-level BPE.
WORD_PIECE = frozenset(
    [
        "BertTokenizer", "ConvBertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "LayoutLMTokenizer",
        "LxmertTokenizer", "MobileBertTokenizer", "SqueezeBertTokenizer",
    ]
)  # fmt: skip
BYTE_LEVEL = frozenset(["BartTokenizer", "LongformerTokenizer", "RobertaTokenizer"])

# What transformers makes of tokenizer.json in these classes, and the two tokens that it puts around a text.
_UNIGRAM = frozenset(["AlbertTokenizer", "CamembertTokenizer", "DebertaV2Tokenizer", "XLMRobertaTokenizer"])
_KINDS = {
    **dict.fromkeys(WORD_PIECE | {"MPNetTokenizer"}, "WordPiece"),
    **dict.fromkeys(BYTE_LEVEL, "BPE"),
    **dict.fromkeys(_UNIGRAM, "Unigram"),
}
_ENDS = {
    **dict.fromkeys(_KINDS, ("cls_token", "sep_token")),
    **dict.fromkeys(["CamembertTokenizer", "XLMRobertaTokenizer"], ("bos_token", "eos_token")),
}


def contradiction_of_kind(config: Mapping[str, Any], kind: str) -> str | None:
    """Why a tokenizer.json with a model of this `kind` is none of the class that is named; None where it is.
    transformers makes a tokenizer of the class's own kind from its vocabulary, and other tokens with it."""
    name = class_of(config)
    expected = _KINDS.get(name or "", kind)
    if kind == expected:
        return None
    return f"tokenizer_class is {name}, which is {expected}, and tokenizer.json is {kind}"


def contradiction_of_ends(
    config: Mapping[str, Any], named: Mapping[str, str], ends: tuple[str, str]
) -> str | None:
    """Why the tokens around a text cannot be `ends`, those of tokenizer.json; None where they can. `named`
    are the special tokens that the other files name: transformers puts these around a text."""
    for role, found in zip(_ENDS.get(class_of(config) or "", ()), ends, strict=False):
        if named.get(role, found) != found:
            return f"{role} is {named[role]!r}, and tokenizer.json puts {found!r} there"
    return None


def class_of(config: Mapping[str, Any]) -> str | None:
    """The class that tokenizer_config.json names, without `Fast`; None where it names none."""
    found = config.get("tokenizer_class")
    return found.removesuffix("Fast") if isinstance(found, str) else None


def takes_unknown_token(config: Mapping[str, Any]) -> bool:
    """Whether the token for unknown pieces is the one that the files name, whatever tokenizer.json has."""
    return class_of(config) in _UNIGRAM


def gives_token_types(config: Mapping[str, Any], model_type: str) -> bool:
    """Whether texts are given token types; without them a model takes them all for 0."""
    inputs = config.get("model_input_names")
    if isinstance(inputs, list):
        return "token_type_ids" in inputs
    name = class_of(config)
    return name in _GIVE_TYPES if name is not None else model_type not in _WITHOUT_TYPES
