"""Models with a vector for each token of a text, which are compared token by token (ColBERT, Khattab and Zaharia 2020,
https://arxiv.org/abs/2004.12832), as sentence-transformers' MultiVectorEncoder, PyLate and the original ColBERT save
them.

The encoder's hidden states go through the model's own projection and are scaled to length 1. A query may be filled up
with mask tokens to a fixed length, which are compared too (query expansion); of a document some tokens are left out,
mostly punctuation.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertcli.models.jsonfile import read_optional
from bertcli.models.modules import TOKENS, Dense, Module, Normalize, UnsupportedError, read_module

if TYPE_CHECKING:
    from bertcli.models.prompts import Role
    from bertcli.models.weights import Weights

KIND = "MultiVectorEncoder"
MASK_MODULE = "MultiVectorMask"
COLBERT_ARCHITECTURE = "HF_ColBERT"
SIMILARITIES = ("maxsim", "meanmaxsim")

_PYLATE = "ColBERT"  # its model_type
_PYLATE_MARKS = (
    "query_length", "document_length", "query_expansion", "do_query_expansion", "attend_to_expansion_tokens",
    "attend_to_mask_tokens", "query_prefix", "document_prefix", "skiplist_words",
)  # fmt: skip
_EXPANDED_LENGTH = 32


@dataclass(frozen=True, slots=True)
class Expansion:
    """A query has at least `length` tokens, special tokens included: the rest of them are `token`, None for the
    tokenizer's mask token. `fixed` cuts longer queries; with `attend` the other tokens attend to those added."""

    length: int
    fixed: bool = True
    attend: bool = False
    token: str | None = None


@dataclass(frozen=True, slots=True)
class MultiVector:
    """What makes vectors of hidden states, and which tokens have one.

    `modules` compute on each hidden state. `skipped` are tokens that have no vector in texts of the roles in
    `skipped_in` (a text without a role is a document). `inserted` says that a prompt may begin with a token of the
    vocabulary that no text is read as. `mean` divides the similarity by the number of the query's vectors.
    """

    modules: tuple[Module, ...] = ()
    expansion: Expansion | None = None
    skipped: tuple[str, ...] = ()
    skipped_in: tuple[Role, ...] = ("document",)
    inserted: bool = False
    mean: bool = False


def is_multi_vector(directory: Path, kinds: Sequence[str]) -> bool:
    """Whether modules of these kinds, or the model's own files, make a vector for each token."""
    return MASK_MODULE in kinds or _own_config(directory).get("model_type") in (KIND, _PYLATE)


def read_multi_vector(
    directory: Path, modules: Sequence[tuple[str, Path]], encoder: Mapping[str, Any], unsupported: list[str]
) -> dict[str, Any]:
    """The settings of `Pooling` for such a model. `modules` are the kinds and folders of those behind the encoder,
    whose sentence_bert_config.json is `encoder`. What bertcli does not compute is added to `unsupported`."""
    own = _own_config(directory)
    made: list[Module] = []
    skipped: Sequence[str] = ()
    roles: Sequence[Any] = ("document",)
    for kind, folder in modules:
        if kind == MASK_MODULE:
            config = read_optional(folder / "config.json", dict) or {}
            skipped, roles = config.get("skiplist_words") or (), config.get("skiplist_tasks") or ("document",)
            if config.get("keep_only_token_ids"):
                unsupported.append("keep_only_token_ids")
            continue
        try:
            module = read_module(kind, folder, TOKENS)
        except UnsupportedError as error:
            unsupported.append(str(error))
        else:
            made += [] if module is None else [module]
    if own.get("model_type") == _PYLATE:
        listed = own.get("skiplist_words")
        skipped = list(string.punctuation) if listed is None else listed
        made.append(Normalize())
    settings = dict(own) if any(mark in own for mark in _PYLATE_MARKS) else {}
    lengths = {
        role: encoder.get(f"{role}_length", settings.get(f"{role}_length")) for role in ("query", "document")
    }
    expansion = _expansion(encoder.get("query_expansion") or settings.get("query_expansion"), unsupported)
    if "query_expansion" not in encoder and "query_expansion" not in settings and settings:
        expansion = _pylate_expansion(settings)
    if own.get("similarity_fn_name") not in (None, "cosine", "dot", *SIMILARITIES):
        unsupported.append(f"the similarity {own['similarity_fn_name']!r}")
    return {
        "multi": MultiVector(
            modules=tuple(made),
            expansion=expansion,
            skipped=tuple(map(str, skipped)),
            skipped_in=tuple(roles),
            inserted="query_prefix" in own or "document_prefix" in own,
            mean=own.get("similarity_fn_name") == "meanmaxsim",
        ),
        "role_lengths": {role: length for role, length in lengths.items() if type(length) is int},
    }


def prefixed_prompts(directory: Path, prompts: Mapping[str, str]) -> dict[str, str]:
    """The prompts with the prefixes that PyLate saves apart."""
    own, prefixed = _own_config(directory), dict(prompts)
    for role in ("query", "document"):
        prefix = own.get(f"{role}_prefix")
        if isinstance(prefix, str):
            prefixed[role] = prefix + prompts.get(role, "").removeprefix(prefix)
    return prefixed


def colbert_settings(folder: Path, weights: Weights) -> dict[str, Any]:
    """The settings of `Pooling` for a checkpoint of the original ColBERT: its projection is among the weights."""
    metadata = read_optional(folder / "artifact.metadata", dict) or {}
    length, attend = metadata.get("query_maxlen"), bool(metadata.get("attend_to_mask_tokens"))
    document = metadata.get("doc_maxlen")
    masked = metadata.get("mask_punctuation", True)
    return {
        "declared": True,
        "multi": MultiVector(
            modules=(Dense(weights, "Identity", False), Normalize()),
            expansion=Expansion(length if type(length) is int else _EXPANDED_LENGTH, attend=attend),
            skipped=tuple(string.punctuation) if masked else (),
            inserted=True,
        ),
        "prompts": {
            "query": f"{metadata.get('query_token_id') or '[unused0]'} ",
            "document": f"{metadata.get('doc_token_id') or '[unused1]'} ",
        },
        "role_lengths": {"document": document} if type(document) is int else {},
    }


def _own_config(directory: Path) -> dict[str, Any]:
    return read_optional(directory / "config_sentence_transformers.json", dict) or {}


def _expansion(config: Any, unsupported: list[str]) -> Expansion | None:
    if not config:
        return None
    length, strategy = (
        (config.get(key) for key in ("length", "strategy")) if isinstance(config, dict) else (None, None)
    )
    if type(length) is not int or length < 1 or strategy not in ("fixed", "min"):
        unsupported.append(f"query_expansion {config!r}")
        return None
    return Expansion(length, strategy == "fixed", bool(config.get("attend")), config.get("token"))


def _pylate_expansion(settings: Mapping[str, Any]) -> Expansion | None:
    if settings.get("do_query_expansion") is False:
        return None
    attend = settings.get("attend_to_expansion_tokens", settings.get("attend_to_mask_tokens"))
    return Expansion(settings.get("query_length") or _EXPANDED_LENGTH, attend=bool(attend))
