"""What is common to learning labels, tags and masked words: a model, its texts, a loss, its figures."""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

# Read when huggingface_hub is first imported: nothing may be fetched.
os.environ["HF_HUB_OFFLINE"] = "1"
# torch makes this directory when transformers is imported: one that exists already is not left behind.
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", tempfile.gettempdir())

import torch
import transformers
from torch import Tensor, nn

from bertcli import interrupts
from bertcli.engines.device import choose_device, choose_dtype
from bertcli.errors import ModelError, UsageError, first_line
from bertcli.models.cross_encoder import DECLARED
from bertcli.training.batches import Ids, by_length, pad
from bertcli.training.examination import Examination

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint

MEASURE_TOKENS = 4096  # of a batch while measuring

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


class Lesson(Protocol):
    """What `fit` teaches. `lengths` are those of the training texts, in tokens.

    `is_watched` says that something is held out, by which the best state can be told.
    """

    model: Any
    lengths: Sequence[int]
    is_watched: bool

    def begin(self) -> None:
        """What is done once, before the first step."""

    def loss(self, chosen: Sequence[int], seed: int) -> Tensor: ...

    def examine(self) -> Examination:
        """Answers for the held-out part, measured; without one, whatever else can be said."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What computes: a device, and the dtype of the encoder's matrix products. Weights stay in float32, and
    heads compute in it (see `compute_in_float32`)."""

    device: torch.device
    dtype: torch.dtype
    pad_id: int

    @classmethod
    def choose(cls, device: str, dtype: str, pad_id: int | None) -> Machine:
        """Raises EngineError for a device that is not here, UsageError for float16: its gradients vanish."""
        if dtype == "float16":
            raise UsageError("float16 cannot be trained in", hint="use --dtype bfloat16, float32 or auto")
        place = choose_device(device)
        return cls(place, choose_dtype(dtype, place), pad_id or 0)

    def generators(self) -> list[Tensor]:
        """The states of what is drawn from: of the CPU, and of the device."""
        states = [torch.get_rng_state()]
        return [*states, torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else states

    def set_generators(self, states: Sequence[Tensor]) -> None:
        """Draw from here on as after `generators`."""
        torch.set_rng_state(states[0])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(states[1], self.device)

    def products(self) -> contextlib.AbstractContextManager[Any]:
        """Within it, matrices are multiplied in the machine's dtype."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def batch(self, chosen: Sequence[Ids]) -> dict[str, Tensor]:
        return pad(chosen, self.pad_id, self.device)

    def sweep(self, encoded: Sequence[Ids]) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
        """All texts once, in batches of like length: (indices, keyword arguments of the model)."""
        for indices in by_length([len(one) for one in encoded], MEASURE_TOKENS):
            interrupts.check()
            yield indices, self.batch([encoded[index] for index in indices])


def load_base(family: Any, checkpoint: Checkpoint, **settings: Any) -> Any:
    """The base as one of transformers' Auto classes in float32, a missing head drawn at random.

    Attention is the eager one: on CPU the backward pass of torch's flash attention makes a step 1.35 times as
    long. Raises ModelError when transformers cannot load it, or when weights of the encoder are missing.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model, report = family.from_pretrained(
                checkpoint.path,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                attn_implementation="eager",
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **settings,
            )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        raise ModelError(f"transformers cannot train {checkpoint.name}: {first_line(error)}") from error
    inside = f"{model.base_model_prefix}."
    holes = [n for n in sorted(report["missing_keys"]) if n.startswith(inside) and ".pooler." not in n]
    if holes:
        raise ModelError(f"{checkpoint.name} lacks weights of its encoder: {holes[0]}")
    for head in _heads_of(model):
        compute_in_float32(head, while_training=family is not transformers.AutoModelForMaskedLM)
    for key in ("bertcli", *DECLARED):  # what the base's heads are, which the new checkpoint does not have
        if hasattr(model.config, key):
            delattr(model.config, key)
    return model


def compute_in_float32(head: nn.Module, *, while_training: bool = True) -> None:
    """Make a head compute in float32 where `Machine.products` has the encoder compute in another dtype, as
    the engines do: three digits of bfloat16 are too few for an answer, and for what is measured of it. The product
    with the vocabulary takes as long as all else together: not so `while_training`."""
    forward = head.forward

    def exact(*inputs: Any, **settings: Any) -> Any:
        if torch.is_grad_enabled() and not while_training:
            return forward(*inputs, **settings)
        with torch.autocast(inputs[0].device.type, enabled=False):
            return forward(*(_wide(value) for value in inputs), **settings)

    head.forward = exact


def _wide(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


def _heads_of(model: Any) -> list[nn.Module]:
    """What stands between the encoder and the answer of one of transformers' models."""
    encoder = model.base_model
    if encoder is model:
        return []
    pooler = getattr(encoder, "pooler", None)
    heads = [part for part in model.children() if part is not encoder]
    return heads if pooler is None else [pooler, *heads]
