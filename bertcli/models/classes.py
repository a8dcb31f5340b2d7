"""What transformers' class of a tokenizer decides, where its files leave it open.

The class is named in tokenizer_config.json, else in config.json, else goes with the type of the model. Names
end in `Fast` or not; that has no meaning any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# These have `token_type_ids` among their inputs. ALBERT's has not in transformers 5, but had before, and its
# models were trained with them: it stands here all the same.
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
# Those whose tokenizers are made here of vocab.txt, and of vocab.json with merges.txt.
WORD_PIECE = frozenset(
    [
        "BertTokenizer", "ConvBertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "LayoutLMTokenizer",
        "LxmertTokenizer", "MobileBertTokenizer", "SqueezeBertTokenizer",
    ]
)  # fmt: skip
BYTE_LEVEL = frozenset(["BartTokenizer", "LongformerTokenizer", "RobertaTokenizer"])


def class_of(config: Mapping[str, Any]) -> str | None:
    """The class that tokenizer_config.json names, without `Fast`; None where it names none."""
    found = config.get("tokenizer_class")
    return found.removesuffix("Fast") if isinstance(found, str) else None


def gives_token_types(config: Mapping[str, Any], model_type: str) -> bool:
    """Whether texts are given token types; without them a model takes them all for 0."""
    inputs = config.get("model_input_names")
    if isinstance(inputs, list):
        return "token_type_ids" in inputs
    name = class_of(config)
    return name in _GIVE_TYPES if name is not None else model_type not in _WITHOUT_TYPES
