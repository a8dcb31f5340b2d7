"""The network that is trained: a model of transformers, and any number of named heads on its encoder."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

# Read when huggingface_hub is first imported: nothing may be fetched.
os.environ["HF_HUB_OFFLINE"] = "1"
# torch makes this directory when transformers is imported: one that exists already is not left behind.
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", tempfile.gettempdir())

import torch
import transformers
from torch import Tensor, nn

from bertcli.engines.loading import from_checkpoint
from bertcli.errors import ModelError, first_line
from bertcli.models.cross_encoder import DECLARED
from bertcli.models.heads import WORD_SHAPES, token_types_tensor
from bertcli.training.adapter import HeadAdapter

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Head, ProblemType

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

FAMILIES = {
    "label": transformers.AutoModelForSequenceClassification,
    "tag": transformers.AutoModelForTokenClassification,
    "fill": transformers.AutoModelForMaskedLM,
    "answer": transformers.AutoModelForQuestionAnswering,
    "rerank": transformers.AutoModelForSequenceClassification,
}


@dataclass(frozen=True)
class HeadSpec:
    """What a head predicts, as config.json has it. `problem_type`, `pooling` and `dense` are for label heads. `adapter`
    is the rank of its own changes to the encoder, 0 for none. `shapes` says that a tag head reads the shapes of words,
    as token types of its own. `transitions` are the scores of tags that follow each other (see `tasks.tag_path`),
    empty for none."""

    kind: Literal["label", "tag", "answer"]
    labels: tuple[str, ...]
    problem_type: ProblemType | None = None
    pooling: Literal["cls", "mean"] | None = None
    dense: bool = False
    adapter: int = 0
    shapes: bool = False
    transitions: tuple[tuple[float, ...], ...] = ()

    @property
    def outputs(self) -> int:
        """Logits of a text or a token: one a label, or of an answer that it begins there and that it ends there."""
        return 2 if self.kind == "answer" else len(self.labels)

    def as_config(self) -> dict[str, Any]:
        """The entry of config.json; whether there is a dense layer is seen from the tensors."""
        entry = {key: value for key, value in asdict(self).items() if value and key != "dense"}
        if self.transitions:
            entry["transitions"] = True
        return entry | {"labels": list(self.labels)} if self.labels else entry


class NamedHead(nn.Module):
    """A head beside others: hidden states -> optional pooling -> optional dense + tanh (BERT's pooler) -> logits."""

    def __init__(self, spec: HeadSpec, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.pooling = spec.pooling
        self.dense = nn.Linear(hidden, hidden) if spec.dense else None
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden, spec.outputs)
        if spec.transitions:
            self.register_buffer("transitions", torch.tensor(spec.transitions))

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """states [rows, length, hidden], mask [rows, length] -> logits [rows, labels], or without pooling
        [rows, length, labels]."""
        if self.pooling is not None:
            states = states[:, 0] if self.pooling == "cls" else mean_pool(states, mask)  # [rows, hidden]
        if self.dense is not None:
            states = torch.tanh(self.dense(states))
        logits: Tensor = self.classifier(self.dropout(states))
        return logits


class Network(nn.Module):
    """A model of transformers, whose own head is used unless a named one is asked for.

    `dropout` is that of the named heads, `encoder_dropout` that of the encoder while it reads for them; without it the
    encoder has what the configuration of its model says.
    """

    def __init__(
        self,
        model: Any,
        heads: Mapping[str, HeadSpec] | None = None,
        dropout: Mapping[str, float] | None = None,
        encoder_dropout: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.heads = nn.ModuleDict()
        for name, spec in (heads or {}).items():
            head = NamedHead(spec, model.config.hidden_size, (dropout or {}).get(name, 0.0))
            head.apply(model._init_weights)
            compute_in_float32(head)
            self.heads[name] = head
        self.adapters = nn.ModuleDict(
            {
                name: HeadAdapter(model.base_model, spec.adapter, WORD_SHAPES if spec.shapes else 0)
                for name, spec in (heads or {}).items()
                if spec.adapter or spec.shapes
            }
        )
        self._encoder_dropout = encoder_dropout
        self._dropouts = [one for one in model.base_model.modules() if isinstance(one, nn.Dropout)]

    def states(self, inputs: Mapping[str, Tensor], head: str = "") -> Tensor:
        """Hidden states [rows, length, hidden] of the encoder, as the named head reads them."""
        adapter = self.adapter(head)
        if self._encoder_dropout is not None:
            for dropout in self._dropouts:
                dropout.p = self._encoder_dropout.get(head, 0.0)
        with nullcontext() if adapter is None else adapter.applied():
            states: Tensor = self.model.base_model(**inputs).last_hidden_state
        return states

    def adapter(self, head: str) -> HeadAdapter | None:
        """What the named head alone adds to the encoder."""
        return cast(HeadAdapter, self.adapters[head]) if head in self.adapters else None

    def logits(self, name: str, inputs: Mapping[str, Tensor]) -> Tensor:
        """Logits of a head in float32: [rows, labels], or [rows, length, labels] of a head that reads tokens."""
        if name in self.heads:
            logits: Tensor = self.heads[name](self.states(inputs, name), inputs["attention_mask"]).float()
            return logits
        output = self.model(**inputs)
        if "start_logits" in output:
            return torch.stack([output.start_logits, output.end_logits], 2).float()
        return output.logits.float()  # type: ignore[no-any-return]

    def vocabulary_logits(self, inputs: Mapping[str, Tensor], positions: Tensor) -> Tensor:
        """Logits [masked, vocabulary] at flat positions [masked]: the vocabulary is as wide as all else together, so
        only these are projected onto it."""
        states = self.states(inputs).flatten(0, 1)[positions]  # [masked, hidden]
        logits: Tensor = self.model.get_submodule(_masked_lm_head(self.model))(states)
        return logits.float()

    def weights(self) -> dict[str, Tensor]:
        """A copy of the weights on the CPU. Names that share a tensor share its copy."""
        copies: dict[tuple[int, torch.Size], Tensor] = {}
        weights = {}
        for name, value in self.state_dict().items():
            key = value.data_ptr(), value.shape
            if key not in copies:
                copies[key] = torch.empty_like(value, device="cpu").copy_(value.detach())
            weights[name] = copies[key]
        return weights


def one_head_network(kind: str, head: HeadSpec | None, checkpoint: Checkpoint) -> Network:
    """The base with one head, as plain transformers has it."""
    settings: dict[str, Any] = {}
    if head is not None and head.labels:
        settings["num_labels"] = len(head.labels)
        settings["id2label"] = dict(enumerate(head.labels))
        settings["label2id"] = {name: number for number, name in enumerate(head.labels)}
    if head is not None and head.problem_type is not None:
        settings["problem_type"] = head.problem_type
    return Network(load_base(FAMILIES[kind], checkpoint, **settings))


def head_spec(head: Head) -> HeadSpec:
    """What a head of a checkpoint predicts."""
    assert head.kind in ("label", "tag")
    return HeadSpec("label" if head.kind == "label" else "tag", head.labels, head.problem)


def copy_head(checkpoint: Checkpoint, head: Head, network: Network) -> None:
    """Give a network with one head the weights of a named head; the only head of a checkpoint is loaded already."""
    if not head.skill:
        return
    modules = {"classifier": network.model.classifier}
    if head.kind == "label":
        modules["dense"] = network.model.bert.pooler.dense
    parts = {
        f"heads.{head.name}.{name}.{part}": getattr(module, part)
        for name, module in modules.items()
        for part in ("weight", "bias")
    }
    _copy(checkpoint, parts)


def continue_heads(checkpoint: Checkpoint, specs: Mapping[str, HeadSpec], network: Network) -> None:
    """Give heads of a Network the weights of the heads of a checkpoint that have the same names and predict the same,
    and their adapters the factors and token types of those that are as large."""
    entries = checkpoint.config.get("bertcli", {}).get("heads", {})
    for name, spec in specs.items():
        new, old = spec.as_config(), entries.get(name, {})
        if any(new.get(key) != old.get(key) for key in ("kind", "labels", "problem_type", "pooling")):
            continue
        adapter = network.adapter(name)
        head = {f"heads.{name}.{part}": value for part, value in network.heads[name].named_parameters()}
        for parts in (head, {} if adapter is None else adapter.tensors(name, checkpoint.encoder_prefix)):
            if all(
                key in checkpoint.weights and checkpoint.weights.shape(key) == value.shape
                for key, value in parts.items()
            ):
                _copy(checkpoint, parts)


def begin_from(base: Checkpoint, source: Checkpoint, name: str, network: Network) -> None:
    """Give a head the weights that it has in `source`, a model whose encoder is that of `base` trained further, and its
    adapter the best approximation of what has changed in the encoder. Raises ModelError where the two encoders differ
    in their sizes."""
    adapter = network.adapter(name)
    assert adapter is not None
    changes = {}
    for weight in adapter.weight_names():
        old, new = (one.weights.read(one.encoder_prefix + weight) for one in (base, source))
        if old.shape != new.shape:
            raise ModelError(f"{weight} is {new.shape} in {source.name}, and {old.shape} in the base")
        changes[weight] = torch.from_numpy(new - old)
    adapter.begin_as(changes)
    parts = {f"heads.{name}.{part}": value for part, value in network.heads[name].named_parameters()}
    if adapter.token_types is not None:
        parts[token_types_tensor(name)] = adapter.token_types
    _copy(source, parts)


def _copy(checkpoint: Checkpoint, parts: Mapping[str, Tensor]) -> None:
    """Give tensors the weights of a checkpoint, by their names there."""
    with torch.no_grad():
        for name, value in parts.items():
            value.copy_(torch.from_numpy(checkpoint.weights.read(name).copy()))


def mean_pool(states: Tensor, mask: Tensor) -> Tensor:
    """The mean of states [rows, length, hidden] where mask [rows, length] is 1: float32 [rows, hidden]."""
    weights = mask[:, :, None].to(torch.float32)
    return (states.float() * weights).sum(1) / weights.sum(1)


def load_base(auto_class: Any, checkpoint: Checkpoint, **settings: Any) -> Any:
    """The base as one of the Auto classes of transformers in float32; a missing head is initialised at random.

    Attention is the eager one: on CPU the backward pass of torch's flash attention makes a step 1.35 times as
    long. Raises ModelError when transformers cannot load it, or when weights of the encoder are missing.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model, report = from_checkpoint(
                auto_class,
                checkpoint,
                dtype=torch.float32,
                attn_implementation="eager",
                ignore_mismatched_sizes=True,
                **settings,
            )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        raise ModelError(f"transformers cannot train {checkpoint.name}: {first_line(error)}") from error
    prefix = f"{model.base_model_prefix}."
    missing = [n for n in sorted(report["missing_keys"]) if n.startswith(prefix) and ".pooler." not in n]
    if missing:
        raise ModelError(f"{checkpoint.name} lacks weights of its encoder: {missing[0]}")
    for head in _heads_of(model):
        compute_in_float32(head, while_training=auto_class is not transformers.AutoModelForMaskedLM)
    for key in ("bertcli", *DECLARED):  # the heads of the base, which the new model does not have
        if hasattr(model.config, key):
            delattr(model.config, key)
    return model


def compute_in_float32(head: nn.Module, *, while_training: bool = True) -> None:
    """Make a head compute in float32 where `Machine.forward_pass` has the encoder compute in another dtype, as the
    engines do: the three digits of bfloat16 are too few for an answer. The product with the vocabulary takes as long as
    all else together: it is excepted by `while_training`."""
    forward = head.forward

    def exact(*inputs: Any, **settings: Any) -> Any:
        if torch.is_grad_enabled() and not while_training:
            return forward(*inputs, **settings)
        with torch.autocast(inputs[0].device.type, enabled=False):
            return forward(*(_in_float32(value) for value in inputs), **settings)

    head.forward = exact


def _in_float32(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


def _heads_of(model: Any) -> list[nn.Module]:
    """The modules between the encoder of a transformers model and its answer."""
    encoder = model.base_model
    if encoder is model:
        return []
    pooler = getattr(encoder, "pooler", None)
    heads = [part for part in model.children() if part is not encoder]
    return heads if pooler is None else [pooler, *heads]


def _masked_lm_head(model: nn.Module) -> str:
    """The name of the masked-LM head beside the encoder (`cls`, `lm_head` …). Raises ModelError for an architecture
    whose head is in several parts."""
    names = [name for name, _ in model.named_children() if name in ("cls", "lm_head", "predictions")]
    if len(names) != 1:
        raise ModelError(
            f"the masked-LM head of {type(model).__name__} cannot be trained",
            hint="take a BERT, RoBERTa, CamemBERT, XLM-R, MPNet or ALBERT",
        )
    return names[0]
