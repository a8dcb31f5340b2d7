"""What is known of each architecture: where its weights lie in the file, how its layers and heads compute,
and what transformers takes for a setting that config.json leaves out.

`describe` gives the description of a checkpoint; `models` checks files against it, and both engines compute
from it. An architecture without a description runs on transformers' own modules. To add one, write a
function from its settings to an `Architecture` and enter it in `ARCHITECTURES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from bertcli.architectures.albert import albert
from bertcli.architectures.architecture import Architecture
from bertcli.architectures.bert import bert, ernie, megatron_bert
from bertcli.architectures.config import Config
from bertcli.architectures.deberta import deberta, deberta_v2
from bertcli.architectures.distilbert import distilbert
from bertcli.architectures.electra import electra
from bertcli.architectures.gated import eurobert, gte, nomic_bert
from bertcli.architectures.modernbert import modernbert
from bertcli.architectures.mpnet import mpnet
from bertcli.architectures.roberta import roberta, roberta_prelayernorm, xlm_roberta_xl
from bertcli.architectures.roformer import roformer

ARCHITECTURES: Mapping[str, Callable[[Config], Architecture]] = {
    "albert": albert,
    "bert": bert,
    "camembert": roberta,
    "data2vec-text": roberta,
    "deberta": deberta,
    "deberta-v2": deberta_v2,
    "distilbert": distilbert,
    "electra": electra,
    "ernie": ernie,
    "eurobert": eurobert,
    "gte": gte,
    "megatron-bert": megatron_bert,
    "modernbert": modernbert,
    "mpnet": mpnet,
    "nomic_bert": nomic_bert,
    "roberta": roberta,
    "roberta-prelayernorm": roberta_prelayernorm,
    "roformer": roformer,
    "xlm-roberta": roberta,
    "xlm-roberta-xl": xlm_roberta_xl,
}
"""By `model_type` of config.json."""


def describe(config: Mapping[str, Any]) -> Architecture | None:
    """The architecture that a config.json describes; None for a model type that is not known here."""
    model_type = config.get("model_type")
    make = ARCHITECTURES.get(model_type) if isinstance(model_type, str) else None
    if make is None:
        return None
    read = Config(config)
    architecture = make(read)
    reason = read.fault or _other(config, architecture) or architecture.unsupported
    return replace(architecture, unsupported=reason)


def _other(config: Mapping[str, Any], architecture: Architecture) -> str | None:
    """What a setting that any config.json may have makes of an architecture."""
    if config.get("is_decoder") or config.get("add_cross_attention"):
        return "it is a decoder"
    positions = config.get("position_embedding_type") or "absolute"
    if architecture.absolute and positions != "absolute":
        return f"its positions are relative ({positions})"
    return None
