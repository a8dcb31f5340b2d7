"""Whether the weights are those of the model that config.json describes, by names and shapes alone."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from bertcli.engines.names import encoder_shapes
from bertcli.models.checkpoint import Checkpoint
from bertcli.models.floats import FLOATS
from bertcli.models.heads import Head, needed
from bertcli.models.weights import Weights

# One of a stack of equal layers. ALBERT's layers are shared, and its names (`albert_layers.0`) do not match.
_LAYER = re.compile(r"^(?P<stack>.*?\blayers?)\.(?P<number>\d+)\.(?P<part>.+)$")
_IN_LAYER = re.compile(r"layers?\.\d+\.")
# ModernBERT's first layer needs none: the embeddings are normalised already.
_NOT_IN_LAYER_0 = frozenset({"attn_norm.weight", "attn_norm.bias"})
_TABLES = (
    ("embeddings.word_embeddings.weight", "vocab_size"),
    ("embeddings.tok_embeddings.weight", "vocab_size"),
    ("embeddings.position_embeddings.weight", "max_position_embeddings"),
    ("embeddings.token_type_embeddings.weight", "type_vocab_size"),
)
FAMILIES = (
    "bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra", "albert", "mpnet", "modernbert",
    "deberta-v2",
)  # fmt: skip
_WIDTHS = {"electra": 256, "albert": 4096, "deberta-v2": 1536}  # of transformers, where they are not 768


def contradictions(checkpoint: Checkpoint) -> Iterator[str]:
    """Each contradiction in words. Nothing is known of the shapes in a pickle, nor of the weights that another
    architecture has: transformers says what it misses when it loads them."""
    if checkpoint.weights.pickle or checkpoint.model_type not in FAMILIES:
        return
    if checkpoint.hidden_size % checkpoint.attention_heads:
        heads = f"{checkpoint.attention_heads} attention heads"
        yield f"hidden_size {checkpoint.hidden_size} does not divide by {heads}"
    found = [
        *_unsaid(checkpoint),
        *_tables(checkpoint),
        *_layer_count(checkpoint),
        *_incomplete_layers(checkpoint),
        *_widths(checkpoint),
    ]
    yield from found or _shapes(checkpoint)


def head_contradictions(checkpoint: Checkpoint, head: Head) -> Iterator[str]:
    """Weights of a head that fit neither the encoder nor the head's own outputs, in words."""
    weights, hidden = checkpoint.weights, checkpoint.hidden_size
    needs = needed(head, checkpoint.config, checkpoint.encoder_prefix)
    if head.kind == "fill":
        last, words = checkpoint.decoder_weight, checkpoint.word_embeddings
        table = weights.shape(words) if words in weights else ()
        outputs, width = table if len(table) == 2 else (checkpoint.vocab_size, hidden)
        needs += [last] if last and last not in needs else []
    else:
        last, width = head.outputs, hidden
        outputs = weights.row_count(last) or len(head.labels)
    for name in (name for need in needs for name in need.split("|") if name in weights):
        matrix = f"{name.removesuffix('.bias')}.weight" if name.endswith(".bias") else name
        whole = (outputs, width) if matrix == last or matrix not in needs else (width, hidden)
        shape = whole[:1] if name.endswith(".bias") or "norm" in name.lower() else whole
        if weights.shape(name) != shape:
            yield f"{name} is {spelled(weights.shape(name))}, where {spelled(shape)} is needed"


def _unsaid(checkpoint: Checkpoint) -> Iterator[str]:
    """Sizes that config.json leaves out, for which transformers takes its own."""
    config = checkpoint.config
    if checkpoint.model_type not in FAMILIES or "hidden_size" in config or "dim" in config:
        return
    default = _WIDTHS.get(checkpoint.model_type, 768)
    if checkpoint.hidden_size != default:
        yield f"config.json has no hidden_size, for which transformers takes {default}"


def unreadable(weights: Weights) -> list[str]:
    """Names of the weights that are not stored as floating-point numbers: those of quantised checkpoints."""
    return [
        name
        for name in weights.names
        if name.endswith((".weight", ".bias")) and weights.dtype(name) not in FLOATS
    ]


def _tables(checkpoint: Checkpoint) -> Iterator[str]:
    """The embedding tables: a row for each number there can be, as wide as config.json says."""
    weights, config = checkpoint.weights, checkpoint.config
    width = config.get("embedding_size", checkpoint.hidden_size)
    found = False
    for table, key in _TABLES:
        name = checkpoint.encoder_prefix + table
        if name not in weights:
            continue
        found = found or key == "vocab_size"
        shape = weights.shape(name)
        if len(shape) != 2 or shape[1] != width:
            yield f"{name} is {spelled(shape)}, config.json asks for a width of {width}"
        elif key in config and shape[0] != config[key]:
            yield f"{name} has {shape[0]} rows, config.json has {key} {config[key]}"
    if not found:
        yield "the weights hold no table of word embeddings"


def _layers(checkpoint: Checkpoint) -> dict[int, set[str]]:
    """The encoder's layers by number, each with the names of its parts."""
    layers: dict[int, set[str]] = defaultdict(set)
    for name in checkpoint.weights.names:
        match = _LAYER.match(name) if name.startswith(checkpoint.encoder_prefix) else None
        if match:
            layers[int(match["number"])].add(match["part"])
    return layers


def _layer_count(checkpoint: Checkpoint) -> Iterator[str]:
    layers = _layers(checkpoint)
    held = sum(number < checkpoint.layers for number in layers)
    if layers and held < checkpoint.layers:
        yield f"config.json has {checkpoint.layers} layers, the weights only {held} of them"
    elif len(layers) > checkpoint.layers and checkpoint.model_type in FAMILIES:
        yield f"config.json has {checkpoint.layers} layers, the weights {len(layers)}"


def _incomplete_layers(checkpoint: Checkpoint) -> Iterator[str]:
    """Parts that one layer has and another lacks: transformers would fill them with random numbers."""
    layers = _layers(checkpoint)
    parts = set().union(*layers.values())
    for number, held in sorted(layers.items()):
        lost = sorted(parts - held - (_NOT_IN_LAYER_0 if number == 0 else frozenset()))
        if lost:
            yield f"layer {number} lacks {lost[0]}" + (f" and {len(lost) - 1} more" if len(lost) > 1 else "")


def _widths(checkpoint: Checkpoint) -> Iterator[str]:
    """The first weight of a layer that is not made of the widths of config.json."""
    if checkpoint.model_type not in FAMILIES:
        return
    hidden, config = checkpoint.hidden_size, checkpoint.config
    inner = config.get("intermediate_size", config.get("hidden_dim"))
    if type(inner) is not int:
        return
    # Three and two at once: ModernBERT's query, key and value are one matrix, and so are halves of its GLU.
    widths = {hidden, inner, 3 * hidden, 2 * inner}
    for name in checkpoint.weights.names:
        shape = checkpoint.weights.shape(name)
        if name.endswith((".weight", ".bias")) and _IN_LAYER.search(name) and not widths.issuperset(shape):
            sizes = f"hidden_size {hidden} and intermediate_size {inner}"
            yield f"{name} is {spelled(shape)}, config.json has {sizes}"
            return


def _shapes(checkpoint: Checkpoint) -> Iterator[str]:
    """The first weight of an encoder of BERT's family that is not of the shape the engines take it for: NumPy
    would stretch a single number over all."""
    for name, shape in encoder_shapes(checkpoint):
        if name not in checkpoint.weights:
            return
        if checkpoint.weights.shape(name) != shape:
            found = spelled(checkpoint.weights.shape(name))
            yield f"{name} is {found}, where {spelled(shape)} is needed"
            return


def spelled(shape: tuple[int, ...]) -> str:
    """`2 by 384`."""
    return " by ".join(map(str, shape)) or "a single number"
