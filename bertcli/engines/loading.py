"""A checkpoint as transformers' modules: loaded silently and offline, and only when every weight is there.

A model with a head comes apart into its encoder, which runs packs, and its head, which is transformers' own
code whatever the architecture: a `Relay` in the encoder's place hands it chosen hidden states.
"""

from __future__ import annotations

import copy
import inspect
import os
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

# Read when huggingface_hub is first imported: nothing may be fetched.
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from bertcli.engines import lacking
from bertcli.errors import EngineError, first_line

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Kind

_CLASSES: dict[Kind | None, Any] = {
    None: transformers.AutoModel,
    "label": transformers.AutoModelForSequenceClassification,
    "tag": transformers.AutoModelForTokenClassification,
    "fill": transformers.AutoModelForMaskedLM,
    "answer": transformers.AutoModelForQuestionAnswering,
}

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


class Relay(nn.Module):
    """Stands in for an encoder under a head: what it is given as embeddings comes out as hidden states, with
    the pooler's vector of them where the architecture has one."""

    def __init__(self, encoder: Any, kind: Kind) -> None:
        super().__init__()
        if kind == "fill":
            self.embeddings = encoder.embeddings  # DeBERTa's masked-LM head reads the word embeddings
        self.pooler = getattr(encoder, "pooler", None)
        self.pooler_activation = getattr(encoder, "pooler_activation", None)  # ALBERT keeps it apart

    def forward(self, *ignored: Any, inputs_embeds: Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        pooled = None
        if self.pooler is not None:
            if self.pooler_activation is not None:
                pooled = self.pooler_activation(self.pooler(inputs_embeds[:, 0]))
            else:
                pooled = self.pooler(inputs_embeds)
        return BaseModelOutputWithPooling(last_hidden_state=inputs_embeds, pooler_output=pooled)


def load(
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
    setattr(model, model.base_model_prefix, Relay(encoder, kind))
    if dtype != torch.float32:
        model = copy.deepcopy(model)  # a pooler and word embeddings belong to the encoder too
        for parameter in encoder.parameters():  # and no buffers: transformers keeps those in float32
            parameter.data = parameter.data.to(dtype)
    return encoder, model


def load_whole(checkpoint: Checkpoint, kind: Kind | None, dtype: torch.dtype) -> Any:
    """The model as transformers makes it, on the CPU with transformers' plainest attention.

    Raises EngineError as `load` does.
    """
    return _load_quietly(checkpoint, kind, dtype, "eager").eval()


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
    checkpoint: Checkpoint, kind: Kind | None, dtype: torch.dtype, attention: str | None
) -> Any:
    if checkpoint.weights.faults:  # transformers would follow an index that leads out of the directory
        raise EngineError(f"{checkpoint.name}: {checkpoint.weights.faults[0]}", hint="take another copy")
    settings: dict[str, Any] = {"return_dict": True}  # which config.json can turn off
    if attention is not None:
        settings["attn_implementation"] = attention
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model, report = _CLASSES[kind].from_pretrained(
                checkpoint.path,
                local_files_only=True,
                trust_remote_code=False,  # else transformers asks stdin whether to run it
                dtype=dtype,
                use_safetensors=None if checkpoint.weights.pickle else True,
                weights_only=True,
                output_loading_info=True,
                **settings,
            )
    except Exception as error:  # what a nonsense config.json makes transformers raise is of any kind
        raise EngineError(
            f"transformers cannot load {checkpoint.name}: {first_line(error)}",
            hint="see what is wrong with the files by `bertcli models check`",
        ) from error
    _refuse_holes(checkpoint, kind, report)
    return model


def _refuse_holes(checkpoint: Checkpoint, kind: Kind | None, report: dict[str, Iterable[Any]]) -> None:
    """Weights that are missing or of the wrong shape have been drawn at random by now."""
    holes = sorted(str(name) for name in report["missing_keys"])
    if kind is None:  # the vector of a bare encoder's pooler is not among what an engine is asked for
        holes = [name for name in holes if not name.startswith("pooler")]
    holes += sorted(str(entry[0]) for entry in report["mismatched_keys"])
    if holes:
        raise lacking(checkpoint.name, holes)
