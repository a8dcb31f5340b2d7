"""Whether a checkpoint can be trusted: what would make it answer wrongly without a word.

`quick_check` runs before every run and looks at headers and configuration only; `full_check` also reads every
weight and tries the tokenizer. A finding that refuses stops a run unless the user insists with --unsafe-model.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bertcli.errors import ModelError
from bertcli.models import cross_encoder, refusals, shapes, vocabulary
from bertcli.models.checkpoint import NO_LIMIT, Checkpoint
from bertcli.models.heads import PROBLEM_TYPES, Head, Kind
from bertcli.models.jsonfile import ANOTHER_COPY
from bertcli.models.pooling import Mode
from bertcli.models.prompts import MOST_CHARACTERS
from bertcli.models.tokenizer import Tokenizer
from bertcli.models.weights import SINGLE

OFFSET = 2  # positions that RoBERTa and models like it cannot use, and that max_seq_length often counts
SHORTEST = 3  # tokens of the shortest window: two special ones and one of text
# What transformers knows as `hidden_act`, and the names it has in other families.
ACTIVATIONS = frozenset(
    [
        "gelu", "gelu_10", "gelu_accurate", "gelu_fast", "gelu_new", "gelu_python", "gelu_python_tanh",
        "gelu_pytorch_tanh", "hardswish", "laplace", "leaky_relu", "linear", "mish",
        "prelu", "quick_gelu", "relu", "relu2",
        "relu6", "sigmoid", "silu", "sqrtsoftplus", "swish", "tanh", "xielu",
    ]
)  # fmt: skip
Embeddings = Literal["embed", "sparse", "multi"]
"""What a model makes of a text: a vector, the weights of terms, or a vector for each token."""

_MAY_BE_ZERO = ("token_type_embeddings", "pooler")  # by design of the model, or because nothing reads them
_BLOCK = 4_000_000  # numbers checked together
_LAYER = re.compile(r".*encoder\.layer\.\d+\.")
_PROBE = "The quick brown fox jumps over 42 lazy dogs, doesn't it?"
_CONFIG = "config.json and the weights are not of one model: take another copy, or correct config.json"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, and what to do about it, or one that was proved right; without a full stop,
    like an error."""

    severity: Literal["refuse", "warn", "proved"]
    message: str
    hint: str

    @property
    def refuses(self) -> bool:
        return self.severity == "refuse"


def embeddings_of(checkpoint: Checkpoint) -> Embeddings:
    """What the model makes of a text."""
    if checkpoint.pooling.multi is not None:
        return "multi"
    return "embed" if checkpoint.pooling.sparse is None else "sparse"


def quick_check(
    checkpoint: Checkpoint,
    kind: Kind | Embeddings | Literal["attention"],
    head: Head | None = None,
    *,
    pooling: Mode | None = None,
) -> list[Finding]:
    """What speaks against running a task of `kind` on this checkpoint, the gravest first.

    `head` is the head that will answer (the checkpoint's only one when None), `pooling` the one a user asks
    for. Reads nothing but what `open_checkpoint` has read already.
    """
    if checkpoint.weights.faults:  # nothing else can be said of damaged files
        return [_refuse(f"{checkpoint.name}: {fault}", ANOTHER_COPY) for fault in checkpoint.weights.faults]
    if wrapped := list(_wrapper(checkpoint)):
        return wrapped
    findings = [*_weights(checkpoint), *_design(checkpoint), *_limits(checkpoint), *_sides(checkpoint)]
    findings += _refusal(checkpoint, kind)
    match kind:
        case "embed":
            findings += _pooling(checkpoint, pooling)
            if checkpoint.pooling.sparse is not None:
                message = f"{checkpoint.name} makes sparse embeddings, the weights of terms"
                findings.append(_refuse(message, "`embed --sparse` and `search` give them"))
            if checkpoint.pooling.multi is not None:
                message = f"{checkpoint.name} makes a vector for each token"
                findings.append(_refuse(message, "`embed --multi` and `search` give them"))
        case "multi":
            findings += _pooling(checkpoint, pooling)
        case "sparse":
            findings += [*_pooling(checkpoint, pooling), *_head(checkpoint, "fill", head)]
        case "attention":
            if checkpoint.pooling.static:
                message = f"{checkpoint.name} is a table of token vectors and has no attention"
                findings.append(_refuse(message, "take an encoder"))
        case _:
            findings += _head(checkpoint, kind, head)
    return _gravest_first(findings)


def full_check(checkpoint: Checkpoint, *, tokenizer_failure: str | None = None) -> list[Finding]:
    """All that can be found without running the model: every head, every weight, the tokenizer.

    `tokenizer_failure` says how the tokenizer ended a process that tried it (see `trial`): it is not loaded
    here then.
    """
    weights = checkpoint.weights
    embeddings = embeddings_of(checkpoint)
    if weights.faults:
        return quick_check(checkpoint, embeddings)
    findings = []
    if weights.pickle:
        name = weights.files[0].name
        message = f"the weights are a pickle ({name}), which can hold any program and is not looked into"
        findings.append(
            _refuse(message, "use the safetensors version, or trust this file with --allow-pickle")
        )
    findings += _weights(checkpoint) if checkpoint.translates else quick_check(checkpoint, embeddings)
    for head in checkpoint.heads.values():
        findings += (found for found in quick_check(checkpoint, head.kind, head) if found not in findings)
    findings += [
        *_type(checkpoint),
        *_numbers(checkpoint),
        *_untied(checkpoint),
        *_prompts(checkpoint),
    ]
    if tokenizer_failure is not None:
        findings.append(_refuse(f"the tokenizer {tokenizer_failure}", ANOTHER_COPY))
    else:
        findings += _tokenizer(checkpoint)
    return _gravest_first(findings)


def _refuse(message: str, hint: str) -> Finding:
    return Finding("refuse", message, hint)


def _warn(message: str, hint: str) -> Finding:
    return Finding("warn", message, hint)


def _gravest_first(findings: list[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: not finding.refuses)


WRAPPERS = ("module.", "_orig_mod.", "model.", "base_model.model.")
"""What DataParallel, torch.compile, trainers and PEFT put before the names of a model's weights."""


def _wrapper(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Weights that were saved from inside a wrapper: transformers would find none of them."""
    if checkpoint.description is None or checkpoint.description.prefix in WRAPPERS:
        return
    for wrapper in WRAPPERS:
        if checkpoint.weights.names and all(name.startswith(wrapper) for name in checkpoint.weights.names):
            message = f"the names of all weights begin with '{wrapper}': they were saved with a wrapper"
            yield _refuse(message, "save the model inside it with save_pretrained, as in `model.module`")


def _weights(checkpoint: Checkpoint) -> Iterator[Finding]:
    unreadable = shapes.unreadable(checkpoint.weights)
    if unreadable:
        dtype = checkpoint.weights.dtype(unreadable[0])
        yield _refuse(
            f"some weights are stored as {dtype}, such as {unreadable[0]}",
            "quantised checkpoints are not supported: use one in float32, float16 or bfloat16",
        )
    for contradiction in shapes.contradictions(checkpoint):
        yield _refuse(f"{checkpoint.name}: {contradiction}", _CONFIG)


def _refusal(checkpoint: Checkpoint, kind: str) -> Iterator[Finding]:
    """A type of model, or a head of one, that is known not to run."""
    if checkpoint.writes or (reason := refusals.refusal(checkpoint.model_type, kind)) is None:
        return
    what = f"{checkpoint.name} is a {checkpoint.model_type} model, which does not run here: {reason}"
    if (checkpoint.model_type, kind) in refusals.HEADS:
        yield _refuse(what, "use another model for this task; `bertcli embed` has this one's embeddings")
    else:
        yield _refuse(what, "use a model that reads nothing but text, such as a BERT or RoBERTa")


def _design(checkpoint: Checkpoint) -> Iterator[Finding]:
    """What is no encoder, and settings that no encoder has."""
    config = checkpoint.config
    if checkpoint.writes:
        kind = checkpoint.architecture or checkpoint.model_type
        if config.get("is_decoder") is True:
            kind += ", is_decoder is true in config.json"
        message = f"{checkpoint.name} is made to write text ({kind}): it is no encoder"
        hint = "use a model of BERT's kind, which reads a text as a whole"
        yield _refuse(
            message, f"{hint}; `bertcli translate` runs this one" if checkpoint.translates else hint
        )
    description = checkpoint.description
    key = description.activation_key if description else "hidden_act"
    if key in config and (not isinstance(config[key], str) or config[key] not in ACTIVATIONS):
        yield _refuse(f"{key} is {config[key]!r}, which is no activation", "correct config.json, as in gelu")
    positions = config.get("position_embedding_type")
    if description is not None and description.absolute and positions not in (None, "absolute"):
        # transformers 5 runs such a model without a word as if its positions were absolute
        message = f"position_embedding_type is {positions!r}: neither engine has relative positions"
        yield _refuse(message, "use a checkpoint with absolute positions; transformers 4 runs this one")
    if config.get("transformers_weights") not in (None, *(file.name for file in checkpoint.weights.files)):
        message = f"config.json names other weights than {SINGLE}: {config['transformers_weights']!r}"
        yield _refuse(message, "remove transformers_weights from config.json")
    if (checkpoint.path / "adapter_config.json").exists():
        message = f"{checkpoint.path} holds a model and an adapter: it is not clear whether one is to change the other"
        yield _refuse(
            message, "remove adapter_config.json if they are merged, or move the adapter: --adapter DIR"
        )
    for key in ("num_hidden_groups", "inner_group_num"):  # of ALBERT
        value = config.get(key)
        if value is not None and (type(value) is not int or value < 1):
            yield _refuse(f"{key} is {value!r}, not a whole number of at least 1", "correct config.json")
    for key in ("layer_norm_eps", "norm_eps"):
        value = config.get(key)
        if value is not None and not (type(value) in (int, float) and 0 < value < 1):
            yield _refuse(f"{key} is {value!r}, not a small number above 0", "correct config.json")


def _limits(checkpoint: Checkpoint) -> Iterator[Finding]:
    if checkpoint.position_limit < SHORTEST:
        message = f"max_position_embeddings leaves room for {checkpoint.position_limit} tokens"
        yield _refuse(message, "correct config.json")
    declared = checkpoint.tokenizer_config.get("model_max_length")
    if declared is not None and not _is_length(declared):
        message = f"the tokenizer's model_max_length is {declared!r}"
        yield _refuse(message, "correct tokenizer_config.json, where it counts the tokens a text may have")


def _is_length(declared: object) -> bool:
    """Whether `declared` is a number of tokens; transformers writes 1e30 for no limit."""
    if not isinstance(declared, int | float) or isinstance(declared, bool):
        return False
    return declared >= NO_LIMIT or (declared >= SHORTEST and declared == int(declared))


def _sides(checkpoint: Checkpoint) -> Iterator[Finding]:
    side = checkpoint.tokenizer_config.get("truncation_side")
    if side not in (None, "left", "right"):
        message = f"the tokenizer's truncation_side is {side!r}, which is neither left nor right"
        yield _refuse(message, "correct tokenizer_config.json")


def _pooling(checkpoint: Checkpoint, asked: Mode | None) -> Iterator[Finding]:
    """What would make embeddings others than those the model was trained for."""
    own = checkpoint.pooling
    for feature in own.unsupported:
        message = f"the model's own embeddings need {feature}, which bertcli does not compute"
        yield _refuse(message, "use another model for embeddings")
    if asked is not None and own.declared and asked != own.mode and not own.unsupported:
        message = f"{asked} pooling contradicts the model's own files, which ask for {own.mode}"
        yield _refuse(message, "leave --pooling out")
    if own.width is not None and own.width != checkpoint.hidden_size:
        message = (
            f"the pooling files are for vectors of {own.width}, the model's have {checkpoint.hidden_size}"
        )
        yield _refuse(message, ANOTHER_COPY)
    limit = checkpoint.position_limit
    if own.max_length is not None and limit < own.max_length <= limit + OFFSET:
        message = f"max_seq_length is {own.max_length}, the model's positions allow {limit}: {limit} is used"
        yield _warn(message, f"correct it in {checkpoint.path / 'sentence_bert_config.json'}")
    elif own.max_length is not None and not SHORTEST <= own.max_length <= limit:
        message = f"max_seq_length is {own.max_length}, the model's positions allow {limit}"
        yield _refuse(message, f"correct it in {checkpoint.path / 'sentence_bert_config.json'}")
    if own.default_prompt is not None and own.default_prompt not in own.prompts:
        message = f"default_prompt_name is {own.default_prompt!r}, which is none of the model's prompts"
        yield _refuse(message, "choose one with --prompt-name, or correct config_sentence_transformers.json")


def _prompts(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Prompts that no run would put before a text."""
    for name, text in checkpoint.pooling.prompts.items():
        if len(text) > MOST_CHARACTERS:
            message = f"the prompt {name!r} has {len(text)} characters, and {MOST_CHARACTERS} are the most"
            yield _refuse(message, "shorten it in config_sentence_transformers.json")


def _head(checkpoint: Checkpoint, kind: Kind, head: Head | None) -> Iterator[Finding]:
    if head is None:
        try:
            head = checkpoint.head(kind)
        except ModelError as error:
            yield _refuse(error.message, error.hint or "")
            return
    if head.missing:
        reason = f"the file lacks {', '.join(head.missing[:2])}{' and more' if len(head.missing) > 2 else ''}"
        message = f"the {head.name} head of {checkpoint.name} was never trained: {reason}"
        yield _refuse(message, "its answers would be random: use a model fine-tuned for this task")
    for contradiction in shapes.head_contradictions(checkpoint, head):
        yield _refuse(f"{checkpoint.name}: {contradiction}", _CONFIG)
    if kind == "answer":
        yield from _ends(checkpoint, head)
    elif head.labels:
        yield from _labels(checkpoint, head)


def _ends(checkpoint: Checkpoint, head: Head) -> Iterator[Finding]:
    """A question-answering head has two outputs: for the beginning of an answer and for its end."""
    rows = checkpoint.weights.row_count(head.outputs)
    if rows not in (None, 2):
        message = f"{head.outputs} has {rows} rows, and an answer has two ends"
        yield _refuse(message, "use a model fine-tuned for extractive question answering")


def _labels(checkpoint: Checkpoint, head: Head) -> Iterator[Finding]:
    """Where the names of the classes cannot be those of the classifier's outputs."""
    weights, config = checkpoint.weights, checkpoint.config
    if not head.skill:
        yield from _numbering(config.get("id2label"))
        declared = config.get("problem_type")
        if declared is not None and declared not in PROBLEM_TYPES:
            yield _refuse(f"problem_type is {declared!r}", f"config.json knows {', '.join(PROBLEM_TYPES)}")
    shape = weights.shape(head.outputs) if head.outputs and head.outputs in weights else ()
    expected = (len(head.labels), *shape[1:])
    if shape and shape != expected:
        message = (
            f"{head.outputs} is {shapes.spelled(shape)}, config.json makes it {shapes.spelled(expected)}"
        )
        yield _refuse(message, "correct the labels in config.json: one name for each output")
    if wrong := cross_encoder.contradiction(head):
        yield _refuse(wrong, "correct the file that declares it, or use another model")
    if head.problem == "single_label_classification" and len(head.labels) == 1:
        message = f"{head.name} is a single_label_classification of one class, whose score is always 1"
        yield _refuse(message, "make its problem_type regression, or multi_label_classification")
    twice = [label for label, count in Counter(head.labels).items() if count > 1]
    if twice:
        yield _warn(f"several classes of {head.name} are called {twice[0]!r}", "give each a name of its own")
    if head.problem != "regression" and not head.named:
        message = f"the classes have no names but {head.labels[0]} to {head.labels[-1]}"
        yield _warn(
            message, "name them with --labels-file" if head.kind == "label" else "name them in config.json"
        )


def _numbering(names: object) -> Iterator[Finding]:
    """id2label must be an object whose keys are 0, 1, 2 …"""
    if names is None:
        return
    keys = list(names) if isinstance(names, dict) else []
    if not keys or sorted(keys, key=lambda key: (len(key), key)) != [
        str(number) for number in range(len(keys))
    ]:
        shown = ", ".join(keys[:4]) or repr(names)
        yield _refuse(f"id2label does not number the classes from 0 up: {shown}", "correct it in config.json")


def _type(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Whether transformers knows the type at all: asked only of types that are not known here."""
    if checkpoint.description is not None or checkpoint.pooling.static:
        return
    from bertcli.models.types import is_known

    if not is_known(checkpoint.model_type):
        message = f"model_type is {checkpoint.model_type!r}, which transformers does not know"
        yield _refuse(message, "correct config.json; code that a model brings along is never run")


def _numbers(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Weights that are not numbers (a training that diverged, a conversion that overflowed), or are all 0 (a
    file that was never filled)."""
    unreadable = set(shapes.unreadable(checkpoint.weights))
    for name in checkpoint.weights.names:
        if name in unreadable or not name.endswith((".weight", ".bias")):
            continue
        finite, zero = _looked_at(checkpoint, name)
        if not finite:
            message = f"{name} holds NaN or infinite numbers"
            yield _refuse(message, "every answer would be NaN: take another copy, or one in float32")
        elif zero and name.endswith(".weight") and not _is_of_mean_layer(checkpoint, name):
            may_be = any(part in name for part in _MAY_BE_ZERO)
            yield (_warn if may_be else _refuse)(f"{name} is all zeros", ANOTHER_COPY)


def _is_of_mean_layer(checkpoint: Checkpoint, name: str) -> bool:
    """Whether a weight belongs to a layer that hands on the mean of all tokens, as `train label` appends one:
    it has zeros for queries, keys and feed-forward, and the identity for values."""
    layer = _LAYER.match(name)
    values = f"{layer.group()}attention.self.value.weight" if layer else ""
    if values not in checkpoint.weights:
        return False
    return np.array_equal(checkpoint.weights.read(values), np.eye(checkpoint.hidden_size))


def _looked_at(checkpoint: Checkpoint, name: str) -> tuple[bool, bool]:
    """Whether all numbers of a weight are finite, and whether all are 0, checked in blocks of rows."""
    shape = checkpoint.weights.shape(name)
    rows = shape[0] if shape and 0 not in shape else 0
    step = max(1, _BLOCK * rows // max(1, int(np.prod(shape))))
    zero = rows > 0
    for start in range(0, rows, step):
        block = checkpoint.weights.rows(name, range(start, min(start + step, rows)))
        if not np.isfinite(block).all():
            return False, False
        zero = zero and not block.any()
    return bool(np.isfinite(checkpoint.weights.read(name)).all()) if not shape else True, zero


def _untied(checkpoint: Checkpoint) -> Iterator[Finding]:
    """A projection onto the vocabulary that differs from the word embeddings though config.json ties the two:
    one of them says something wrong of the model."""
    weights, name = checkpoint.weights, checkpoint.decoder_weight
    words = checkpoint.word_embeddings
    if name is None or name not in weights or words not in weights:
        return
    description = checkpoint.description
    if description is None or not description.heads.projection.tied or shapes.unreadable(weights):
        return
    if not np.array_equal(weights.read(name), weights.read(words)):
        message = f"{name} is used, which differs from the word embeddings that config.json ties it to"
        yield _warn(message, "remove it from the file if the model was trained with the two as one")


def _tokenizer(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Whether the tokenizer can be built, frames a text, and comes back from its own tokens."""
    try:
        tokenizer = Tokenizer.of(checkpoint)
    except ModelError as error:
        message = error.message if error.where is None else f"{error.where}: {error.message}"
        yield _refuse(message, error.hint or ANOTHER_COPY)
        return
    for contradiction in vocabulary.setting_conflicts(checkpoint.tokenizer_path, checkpoint.tokenizer_config):
        yield _warn(contradiction, "make the two files agree")
    if not len(tokenizer.frame(False)) and not checkpoint.pooling.static:
        message = "the tokenizer puts no special tokens around a text"
        yield _refuse(message, "the model was trained with some: take tokenizer.json from its source")
    if tokenizer.mask_id is None and any(head.kind == "fill" for head in checkpoint.heads.values()):
        yield _refuse("the tokenizer has no mask token", "name one in tokenizer_config.json as mask_token")
    ids = tokenizer.encode(_PROBE).ids
    if tokenizer.encode(tokenizer.decode(ids)).ids != ids and tokenizer.unknown_id not in ids:
        yield _warn(
            f"the tokenizer does not come back from its own tokens: {tokenizer.decode(ids)!r}",
            "its decoder does not fit its model: take tokenizer.json from the model's source",
        )
