"""Where BERT and its kin keep their weights, and of what shape each must be: all that differs between BERT,
RoBERTa, XLM-R, CamemBERT, ELECTRA, DistilBERT and ALBERT, which share one encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint


def _or(number: int | None, default: int) -> int:
    """transformers' own default for a number that config.json leaves out or calls null."""
    return default if number is None else number


@dataclass(frozen=True, slots=True)
class Names:
    """Where an architecture keeps its parts: `layer` with the layer's number, the others inside a layer; `up`
    and `down` are the feed-forward. The heads are steps in their order: a layer's name, and behind a colon
    the activation that follows it (`act` is the encoder's own) or `norm` for a layer norm. `padding` tells
    the token for padding where positions are counted from behind its number. `heeds_eps`: whether config.json
    has a say in what keeps layer norms from dividing by 0."""

    label: tuple[str, ...]
    fill: tuple[str, ...]
    layer: str = "encoder.layer.{}."
    query: str = "attention.self.query"
    key: str = "attention.self.key"
    value: str = "attention.self.value"
    out: str = "attention.output.dense"
    attention_norm: str = "attention.output.LayerNorm"
    up: str = "intermediate.dense"
    down: str = "output.dense"
    norm: str = "output.LayerNorm"
    into: str = "embeddings_project"  # from the embeddings' width to the encoder's, where they differ
    projects: bool = False  # always, also where the widths are equal
    activation: str = "hidden_act"
    default_activation: str = "gelu"
    heeds_eps: bool = True
    padding: Callable[[Mapping[str, Any]], int | None] = lambda config: None


_BERT = Names(
    label=("{encoder}pooler.dense:tanh", "classifier"),
    fill=("cls.predictions.transform.dense:act", "cls.predictions.transform.LayerNorm:norm"),
)
_ROBERTA = Names(
    label=("classifier.dense:tanh", "classifier.out_proj"),
    fill=("lm_head.dense:gelu", "lm_head.layer_norm:norm"),
    padding=lambda config: _or(config.get("pad_token_id"), 1),
)
FAMILY: Mapping[str, Names] = {
    "bert": _BERT,
    **dict.fromkeys(("roberta", "xlm-roberta", "camembert"), _ROBERTA),
    "electra": Names(
        label=("classifier.dense:gelu", "classifier.out_proj"),
        fill=("generator_predictions.dense:gelu", "generator_predictions.LayerNorm:norm"),
    ),
    "distilbert": Names(
        label=("pre_classifier:relu", "classifier"),
        fill=("vocab_transform:act", "vocab_layer_norm:norm"),
        layer="transformer.layer.{}.",
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        out="attention.out_lin",
        attention_norm="sa_layer_norm",
        up="ffn.lin1",
        down="ffn.lin2",
        norm="output_layer_norm",
        activation="activation",
        heeds_eps=False,
    ),
    "albert": Names(
        label=("{encoder}pooler:tanh", "classifier"),
        fill=("predictions.dense:act", "predictions.LayerNorm:norm"),
        layer="encoder.albert_layer_groups.{}.albert_layers.0.",
        query="attention.query",
        key="attention.key",
        value="attention.value",
        out="attention.dense",
        attention_norm="attention.LayerNorm",
        up="ffn",
        down="ffn_output",
        norm="full_layer_layer_norm",
        into="encoder.embedding_hidden_mapping_in",
        projects=True,
        default_activation="gelu_new",
    ),
}
WORDS = "embeddings.word_embeddings.weight"
POSITIONS = "embeddings.position_embeddings.weight"
TYPES = "embeddings.token_type_embeddings.weight"
EMBEDDING_NORM = "embeddings.LayerNorm"


def groups(checkpoint: Checkpoint) -> int:
    """How many sets of weights there are: ALBERT's layers are cut into groups that share one, the others have
    one each."""
    if checkpoint.model_type == "albert":
        return _or(checkpoint.config.get("num_hidden_groups"), 1)
    return checkpoint.layers


def layer_places(checkpoint: Checkpoint, names: Names) -> Iterator[str]:
    """What stands before the names of each layer's weights, in the order they run."""
    layers = checkpoint.layers
    for number in range(layers):
        group = int(number / (layers / groups(checkpoint)))
        yield checkpoint.encoder_prefix + names.layer.format(group)


def encoder_shapes(checkpoint: Checkpoint) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the encoder's weights; of none for an architecture that is not of the family."""
    names = FAMILY.get(checkpoint.model_type)
    if names is None or groups(checkpoint) not in range(1, checkpoint.layers + 1):
        return
    prefix, hidden = checkpoint.encoder_prefix, checkpoint.hidden_size
    config, weights = checkpoint.config, checkpoint.weights
    rows = {table: weights.row_count(prefix + table) or 0 for table in (WORDS, POSITIONS)}
    words = prefix + WORDS
    width = weights.shape(words)[-1] if words in weights and weights.shape(words) else hidden
    for table, count in rows.items():
        yield prefix + table, (count, width)
    for part in ("weight", "bias"):
        yield f"{prefix}{EMBEDDING_NORM}.{part}", (width,)
    if names.projects or width != hidden:
        yield f"{prefix}{names.into}.weight", (hidden, width)
        yield f"{prefix}{names.into}.bias", (hidden,)
    inner = config.get("intermediate_size", config.get("hidden_dim", 4 * hidden))
    square, vector = (hidden, hidden), (hidden,)
    for group in range(groups(checkpoint)):
        place = prefix + names.layer.format(group)
        for name in (names.query, names.key, names.value, names.out):
            yield f"{place}{name}.weight", square
            yield f"{place}{name}.bias", vector
        for name in (names.attention_norm, names.norm):
            yield f"{place}{name}.weight", vector
            yield f"{place}{name}.bias", vector
        yield f"{place}{names.up}.weight", (inner, hidden)
        yield f"{place}{names.up}.bias", (inner,)
        yield f"{place}{names.down}.weight", (hidden, inner)
        yield f"{place}{names.down}.bias", vector
