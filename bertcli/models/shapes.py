"""Whether the weights are those of the model that config.json describes, by names and shapes alone."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from bertcli.architectures.architecture import Architecture, Embeddings
from bertcli.architectures.tensors import Sizes, encoder_tensors
from bertcli.models.checkpoint import Checkpoint
from bertcli.models.floats import FLOATS
from bertcli.models.heads import Head, needed
from bertcli.models.weights import Weights

# One of a stack of equal layers. ALBERT's layers are shared, and its names (`albert_layers.0`) do not match.
_LAYER = re.compile(r"^(?P<stack>.*?\blayers?)\.(?P<number>\d+)\.(?P<part>.+)$")


def contradictions(checkpoint: Checkpoint) -> Iterator[str]:
    """Each contradiction in words. Nothing is known of the shapes in a pickle, nor of the weights that another
    architecture has: transformers says what it misses when it loads them."""
    if checkpoint.weights.pickle or checkpoint.description is None:
        return
    if checkpoint.hidden_size % checkpoint.attention_heads:
        heads = f"{checkpoint.attention_heads} attention heads"
        yield f"hidden_size {checkpoint.hidden_size} does not divide by {heads}"
    found = [
        *_unsaid(checkpoint),
        *_tables(checkpoint),
        *_layer_count(checkpoint),
        *_incomplete_layers(checkpoint),
    ]
    yield from found or _shapes(checkpoint)


def head_contradictions(checkpoint: Checkpoint, head: Head) -> Iterator[str]:
    """Weights of a head that fit neither the encoder nor the head's own outputs, in words."""
    weights, hidden = checkpoint.weights, checkpoint.hidden_size
    needs = needed(head, checkpoint.description, checkpoint.encoder_prefix)
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
    """A width that config.json leaves out, for which transformers takes its own."""
    config, description = checkpoint.config, checkpoint.description
    if description is None or "hidden_size" in config or "dim" in config:
        return
    if checkpoint.hidden_size != description.hidden_size:
        yield f"config.json has no hidden_size, for which transformers takes {description.hidden_size}"


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
    names = checkpoint.description.embeddings if checkpoint.description else Embeddings()
    width = config.get("embedding_size") or checkpoint.hidden_size
    tables = (
        (names.words, "vocab_size"),
        (names.positions, "max_position_embeddings"),
        (names.types, "type_vocab_size"),
    )
    for table, key in tables:
        name = f"{checkpoint.encoder_prefix}{table}.weight"
        if name not in weights:
            continue
        shape = weights.shape(name)
        if len(shape) != 2 or shape[1] != width:
            yield f"{name} is {spelled(shape)}, config.json asks for a width of {width}"
        elif key in config and shape[0] != config[key]:
            yield f"{name} has {shape[0]} rows, config.json has {key} {config[key]}"
    if checkpoint.word_embeddings not in weights:
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
    stored = sum(number < checkpoint.layers for number in layers)
    if layers and stored < checkpoint.layers:
        yield f"config.json has {checkpoint.layers} layers, the weights only {stored} of them"
    elif len(layers) > checkpoint.layers:
        yield f"config.json has {checkpoint.layers} layers, the weights {len(layers)}"


def _incomplete_layers(checkpoint: Checkpoint) -> Iterator[str]:
    """Parts that one layer has and another lacks: transformers would fill them with random numbers."""
    layers = _layers(checkpoint)
    parts = set().union(*layers.values())
    layer = checkpoint.description.layer if checkpoint.description else None
    not_in_first = set() if layer is None or layer.first_norm else _parts(layer.attention_norm)
    for number, stored in sorted(layers.items()):
        lost = sorted(parts - stored - (not_in_first if number == 0 else set()))
        if lost:
            yield f"layer {number} lacks {lost[0]}" + (f" and {len(lost) - 1} more" if len(lost) > 1 else "")


def _parts(name: str) -> set[str]:
    return {f"{name}.weight", f"{name}.bias"}


def _shapes(checkpoint: Checkpoint) -> Iterator[str]:
    """The first weight of the encoder that is not of the shape the engines take it for: NumPy would stretch a
    single number over all."""
    if checkpoint.description is None:
        return
    for name, shape in encoder_shapes(checkpoint):
        if name not in checkpoint.weights:
            return
        if checkpoint.weights.shape(name) != shape:
            found, inner = (
                spelled(checkpoint.weights.shape(name)),
                checkpoint.description.layer.feed_forward.width,
            )
            sizes = f"hidden_size {checkpoint.hidden_size} and intermediate_size {inner}"
            yield f"{name} is {found}, where {spelled(shape)} is needed: config.json has {sizes}"
            return


def encoder_shapes(checkpoint: Checkpoint) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the encoder's weights; of none for an architecture that is not described, or whose
    layers cannot be cut into as many groups as config.json says."""
    description, weights = checkpoint.description, checkpoint.weights
    if description is None or not _has_groups(description, checkpoint.layers):
        return
    words, hidden = checkpoint.word_embeddings, checkpoint.hidden_size
    positions = f"{checkpoint.encoder_prefix}{description.embeddings.positions}.weight"
    table = weights.shape(words) if words in weights else ()
    sizes = Sizes(
        layers=checkpoint.layers,
        heads=checkpoint.attention_heads,
        hidden=hidden,
        width=table[-1] if table else hidden,
        words=table[0] if table else 0,
        positions=weights.row_count(positions) or 0,
    )
    yield from encoder_tensors(description, sizes, checkpoint.encoder_prefix)


def undescribed(checkpoint: Checkpoint) -> str | None:
    """Why only transformers can run the checkpoint, in words; None where its description is all there is to it."""
    description, weights = checkpoint.description, checkpoint.weights
    if description is None:
        return f"it is a {checkpoint.model_type} model"
    if description.unsupported is not None:
        return description.unsupported
    if weights.pickle:
        return "its weights are a pickle"
    if weights.faults:
        return weights.faults[0]
    if not _has_groups(description, checkpoint.layers):
        return f"its {checkpoint.layers} layers are in {description.layer.groups} groups"
    if checkpoint.hidden_size % checkpoint.attention_heads:
        return f"its width does not divide by {checkpoint.attention_heads} heads"
    for name, shape in encoder_shapes(checkpoint):
        if name not in weights:
            return f"it lacks {name}"
        if weights.shape(name) != shape:
            return f"{name} is {spelled(weights.shape(name))}, not {spelled(shape)}"
    return None


def _has_groups(description: Architecture, layers: int) -> bool:
    groups = description.layer.groups
    return groups is None or groups in range(1, layers + 1)


def spelled(shape: tuple[int, ...]) -> str:
    """`2 by 384`."""
    return " by ".join(map(str, shape)) or "a single number"
