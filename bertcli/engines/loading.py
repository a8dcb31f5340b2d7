"""A checkpoint as transformers' modules: loaded silently and offline, and only when every weight is there.

A model with a head comes apart into its encoder, which runs batches, and its head, which is transformers' own
code whatever the architecture: a `Relay` in the encoder's place hands it chosen hidden states.
"""

from __future__ import annotations

import copy
import inspect
import os
import tempfile
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

# Read when huggingface_hub is first imported: nothing may be fetched.
os.environ["HF_HUB_OFFLINE"] = "1"
# torch makes this directory when transformers is imported: one that exists already is not left behind.
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", tempfile.gettempdir())

import torch
import transformers
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from bertcli.engines import lacking
from bertcli.errors import EngineError, first_line

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Kind

_CLASSES: dict[Kind | Literal["translate"] | None, Any] = {
    None: transformers.AutoModel,
    "label": transformers.AutoModelForSequenceClassification,
    "tag": transformers.AutoModelForTokenClassification,
    "fill": transformers.AutoModelForMaskedLM,
    "answer": transformers.AutoModelForQuestionAnswering,
    "translate": transformers.AutoModelForSeq2SeqLM,
}

OF_LOADING = frozenset(
    [
        "attn_implementation", "dtype", "ignore_mismatched_sizes", "local_files_only", "trust_remote_code",
        "weights_only",
    ]
)  # fmt: skip
"""Arguments of `from_pretrained` that are no settings of config.json."""

PROBE_ALLOWED = 1e-3  # of the largest number

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


class RelayOutput(BaseModelOutputWithPooling):
    """What an encoder gives; whatever else a head passes on (a cache, attention weights) is None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


class Relay(nn.Module):
    """Stands in for an encoder under a head: what it is given as embeddings comes out as hidden states, with
    the pooler's vector of them where the architecture has one."""

    def __init__(self, encoder: Any, kind: Kind) -> None:
        super().__init__()
        if kind == "fill":
            self.embeddings = getattr(
                encoder, "embeddings", None
            )  # DeBERTa's masked-LM head reads the word embeddings
        self.pooler = getattr(encoder, "pooler", None)
        self.pooler_activation = getattr(encoder, "pooler_activation", None)  # ALBERT keeps it apart

    def forward(self, *ignored: Any, inputs_embeds: Tensor, **kwargs: Any) -> RelayOutput:
        pooled = None
        if self.pooler is not None:
            if self.pooler_activation is not None:
                pooled = self.pooler_activation(self.pooler(inputs_embeds[:, 0]))
            else:
                pooled = self.pooler(inputs_embeds)
        return RelayOutput(last_hidden_state=inputs_embeds, pooler_output=pooled)


def load_encoder_and_head(
    checkpoint: Checkpoint, kind: Kind | None, dtype: torch.dtype, device: torch.device, attention: str | None
) -> tuple[nn.Module, Any]:
    """The encoder in `dtype`, and the head of `kind` (None: no head) in float32, which takes hidden states as
    `inputs_embeds`.

    `attention` is the attention function's name, None for transformers' own choice. Raises EngineError when
    transformers cannot load the model, or would make up weights that the files do not have.
    """
    if kind is None:
        model = _load_quietly(checkpoint, None, dtype, attention)
        return model.eval().requires_grad_(False).to(device), None
    model = _load_quietly(checkpoint, kind, torch.float32, attention)
    model.eval().requires_grad_(False).to(device)
    encoder = model.base_model
    whole = copy.copy(model)  # which keeps its encoder
    whole._modules = dict(model._modules)
    setattr(model, model.base_model_prefix, Relay(encoder, kind))
    if attention is None:
        _refuse_other_answers(checkpoint, whole, encoder, model)
    if dtype != torch.float32:
        model = copy.deepcopy(model)  # a pooler and word embeddings belong to the encoder too
        for parameter in encoder.parameters():  # and no buffers: transformers keeps those in float32
            parameter.data = parameter.data.to(dtype)
    return encoder, model


def probe(checkpoint: Checkpoint, device: torch.device) -> dict[str, Tensor]:
    """A short text of seven tokens to try a model on, none of them padding."""
    pad = checkpoint.config.get("pad_token_id")
    first = pad + 1 if type(pad) is int and pad >= 0 else 1
    ids = torch.tensor([[(first + 2 * place) % checkpoint.vocab_size for place in range(7)]], device=device)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _refuse_other_answers(checkpoint: Checkpoint, whole: Any, encoder: Any, head: Any) -> None:
    """Raise EngineError for a model whose head makes other answers of hidden states alone than of the text: as that
    of Longformer, which changes what the encoder attends to, or one that needs more than text."""
    inputs = probe(checkpoint, next(encoder.parameters()).device)
    more = f"the head of a {checkpoint.model_type} model reads more than hidden states"
    hint = "use another model for this task; `bertcli embed` has this one's embeddings"
    try:
        with torch.inference_mode():
            expected = _answers(whole(**inputs))
            states = encoder(**inputs).last_hidden_state
    except Exception as error:  # of any kind, as the code of an architecture may have it
        raise EngineError(
            f"transformers cannot run a {checkpoint.model_type} model on a short text alone: {first_line(error)}",
            hint="use a model that reads nothing but text, such as a BERT or RoBERTa",
        ) from error
    try:
        with torch.inference_mode():
            found = _answers(head(inputs_embeds=states))
    except Exception as error:
        raise EngineError(f"{more}: {first_line(error)}", hint=hint) from error
    largest = max(1.0, float(expected.abs().max()))
    if found.shape != expected.shape or not float((found - expected).abs().max()) <= PROBE_ALLOWED * largest:
        raise EngineError(f"{more}: its answers would be others", hint=hint)


def _answers(output: Any) -> Tensor:
    """All numbers of an output, in one row."""
    if getattr(output, "start_logits", None) is not None:
        return torch.cat([output.start_logits, output.end_logits], -1).flatten()
    logits: Tensor = output.logits
    return logits.flatten()


def load_whole(checkpoint: Checkpoint, kind: Kind | None, dtype: torch.dtype) -> Any:
    """The model as transformers makes it, on the CPU with transformers' plainest attention.

    Raises EngineError as `load_encoder_and_head` does.
    """
    return _load_quietly(checkpoint, kind, dtype, "eager").eval()


def load_generator(checkpoint: Checkpoint, dtype: torch.dtype, attention: str | None) -> Any:
    """An encoder-decoder as transformers makes it, on the CPU. Arguments and errors are
    those of `load_encoder_and_head`."""
    return _load_quietly(checkpoint, "translate", dtype, attention).eval()


def takes_types(encoder: Any) -> bool:
    """Whether token types change what an encoder of transformers gives: it asks for them and has several."""
    parameters = inspect.signature(type(encoder).forward).parameters
    return "token_type_ids" in parameters and getattr(encoder.config, "type_vocab_size", 0) > 1


def as_configured(encoder: Any) -> None:
    """Give BigBird the attention of its configuration: at a short text transformers changes the model itself
    to full attention, for all texts that come after. Does nothing to other encoders."""
    if hasattr(encoder, "set_attention_type"):
        encoder.set_attention_type(encoder.config.attention_type)


def _load_quietly(
    checkpoint: Checkpoint,
    kind: Kind | Literal["translate"] | None,
    dtype: torch.dtype,
    attention: str | None,
) -> Any:
    if checkpoint.weights.faults:  # transformers would follow an index that leads out of the directory
        raise EngineError(f"{checkpoint.name}: {checkpoint.weights.faults[0]}", hint="take another copy")
    settings = {} if attention is None else {"attn_implementation": attention}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model, report = from_checkpoint(
                _CLASSES[kind], checkpoint, dtype=dtype, weights_only=True, **settings
            )
    except Exception as error:  # what a nonsense config.json makes transformers raise is of any kind
        raise EngineError(
            f"transformers cannot load {checkpoint.name}: {first_line(error)}",
            hint="see what is wrong with the files by `bertcli models check`",
        ) from error
    _refuse_holes(checkpoint, kind, report)
    return model


def from_checkpoint(auto_class: Any, checkpoint: Checkpoint, **settings: Any) -> tuple[Any, dict[str, Any]]:
    """A model of one of the Auto classes of transformers, and what it reports of loading: from the files, or where an
    adapter changes them from the weights that it makes of them."""
    # Without trust_remote_code=False transformers asks whether to run code beside the weights.
    if checkpoint.adapter is None and not checkpoint.weights.updates:
        safe = None if checkpoint.weights.pickle else True
        settings |= {"use_safetensors": safe, "return_dict": True}  # which config.json can turn off
        return auto_class.from_pretrained(  # type: ignore[no-any-return]
            checkpoint.path,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            **settings,
        )
    facts = {**checkpoint.config, "return_dict": True}
    # Of a model that is loaded from files, transformers sets these itself.
    own = {name: settings.pop(name) for name in settings.keys() - OF_LOADING}
    config = transformers.CONFIG_MAPPING[checkpoint.model_type].from_dict(facts, **own)
    with torch.device("meta"):
        model_class = type(auto_class.from_config(config))
    weights = checkpoint.weights
    state = {name: torch.from_numpy(weights.read(name).copy()) for name in weights.floats}
    return model_class.from_pretrained(  # type: ignore[no-any-return]
        None,
        config=config,
        state_dict=state,
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
        **settings,
    )


def _refuse_holes(
    checkpoint: Checkpoint, kind: Kind | Literal["translate"] | None, report: dict[str, Iterable[Any]]
) -> None:
    """Weights that are missing or of the wrong shape have been drawn at random by now."""
    holes = sorted(str(name) for name in report["missing_keys"])
    if kind is None:  # the vector of a bare encoder's pooler is not among what an engine is asked for
        holes = [name for name in holes if not name.startswith("pooler")]
    holes += sorted(str(entry[0]) for entry in report["mismatched_keys"])
    if holes:
        raise lacking(checkpoint.name, holes)
