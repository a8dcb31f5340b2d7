"""Every encoder that is not described, as transformers' own modules.

Where the architecture lets its attention be handed a function, batches run as one long sequence as they do in
the fused model. What cannot be packed (relative positions) runs padded, in batches of near-equal length, if a
token is known to see padding through the attention mask alone. In every other encoder windows of one length
run together and nothing is padded: FNet's Fourier transform and ConvBERT's convolutions mix whatever is
side by side. The arrangement of the batch that is running reaches it through a context variable, so that
several threads can run batches of their own at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface

from bertcli.engines.attention import Attention, arrange
from bertcli.engines.device import ROUND_ROWS, UNEVEN
from bertcli.engines.linear import prepack
from bertcli.engines.loading import as_configured, load_encoder_and_head, probe, takes_types
from bertcli.engines.rounding import rounded_count, rounded_length
from bertcli.errors import EngineError, first_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bertcli.engines.packed_batch import Numbers, PackedBatch
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Kind

_ATTENTION = "bertcli_packed"
# Architectures whose attention can be handed a function, and the token for padding where positions are
# counted from behind its number.
_PACKED: Mapping[str, Callable[[Any], int | None]] = {
    **dict.fromkeys(("bert", "electra", "distilbert", "albert", "modernbert"), lambda config: None),
    **dict.fromkeys(("roberta", "xlm-roberta", "camembert"), lambda config: config.pad_token_id),
}
# Architectures that are padded: all that the attention mask hides is hidden, as the tests hold of each.
_PADDED = frozenset(
    [
        "deberta-v2", "esm", "ibert", "jina_embeddings_v3", "layoutlm", "markuplm", "roc_bert", "squeezebert", "tapas",
        "xmod",
    ]
)  # fmt: skip


def open_transformers_model(
    checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device, *, or_float32: bool
) -> TransformersModel:
    """The encoder in `dtype`, or in float32 where its code cannot compute in `dtype` and `or_float32` allows:
    FNet's Fourier transform has no bfloat16, and DeBERTa adds float32 to it.

    Raises EngineError for a checkpoint that transformers cannot load, or that does not compute in `dtype`.
    """
    model = TransformersModel(checkpoint, dtype, device)
    failure = model.failure()
    if failure is None:
        return model
    wide = model if dtype == torch.float32 else TransformersModel(checkpoint, torch.float32, device)
    if (reason := wide.failure()) is not None:  # the dtype is not to blame
        raise EngineError(
            f"transformers cannot run a {checkpoint.model_type} model on a short text alone: {first_line(reason)}",
            hint="use a model that reads nothing but text, such as a BERT or RoBERTa",
        ) from reason
    if or_float32:
        return wide
    name = str(dtype).removeprefix("torch.")
    raise EngineError(f"a {checkpoint.model_type} model does not compute in {name}", hint="use float32")


class TransformersModel:
    """An encoder and its heads. Raises EngineError for a checkpoint that transformers cannot load."""

    def __init__(self, checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device) -> None:
        self._checkpoint = checkpoint
        self.dtype, self._device = dtype, device
        self._runs_packed = checkpoint.model_type in _PACKED
        self._pads = checkpoint.model_type in _PADDED
        self._heads: dict[Kind, Any] = {}
        self._encoder = self._load_encoder()
        prepack(self._encoder)
        # BigBird is changed by what it runs: no two threads may run it at once
        self._alone = threading.Lock() if hasattr(self._encoder, "set_attention_type") else nullcontext()
        self._takes_types = takes_types(self._encoder)

    def encode(
        self, batch: PackedBatch, depth: int, rows: Sequence[int] | None, *, one_of_each: bool = False
    ) -> Tensor:
        """float32 hidden states after `depth` layers, in the rows that are read or in all: (rows, hidden)."""
        states = (
            self._encode_packed(batch, depth) if self._runs_packed else self._encode_batches(batch, depth)
        )
        return (states if rows is None else states[rows]).float()

    def failure(self) -> Exception | None:
        """What keeps the encoder from running: tried on a short text, but for those that are packed, which all
        can; None where it runs."""
        if self._runs_packed:
            return None
        inputs = probe(self._checkpoint, self._device)
        ids = inputs["input_ids"].cpu().numpy()
        try:
            with torch.inference_mode():
                states = self._run(
                    ids, np.zeros_like(ids), self._checkpoint.layers, attention_mask=inputs["attention_mask"]
                )
        except Exception as error:  # of any kind, as the code of an architecture may have it
            return error
        if states.shape[:2] != ids.shape:
            return ValueError("it gives no hidden state for each token")
        return None

    def head(self, kind: Kind) -> Callable[[Tensor], Tensor]:
        """The ordinary head of `kind`: hidden states (texts, positions, hidden) -> logits, both float32; those of
        a label head are for each text, those of the others for each position.

        Raises EngineError when weights are missing.
        """
        model = self._heads.pop(kind, None) or self._load(kind, torch.float32)[1]
        if kind == "answer":
            return lambda states: _both_ends(model(inputs_embeds=states))
        return lambda states: _logits(model(inputs_embeds=states))

    def _load_encoder(self) -> Any:
        """The encoder, and the ordinary head with it if there is one, which saves loading twice where the encoder
        is float32 as the head."""
        whole = [head for head in self._checkpoint.heads.values() if not head.skill and not head.missing]
        kind = whole[0].kind if whole and self.dtype == torch.float32 else None
        if kind is not None:
            with suppress(EngineError):  # a head that does not run says so when it is asked for
                encoder, self._heads[kind] = self._load(kind, self.dtype)
                return encoder
        return self._load(None, self.dtype)[0]

    def _load(self, kind: Kind | None, dtype: torch.dtype) -> tuple[Any, Any]:
        attention = _ATTENTION if self._runs_packed else None
        return load_encoder_and_head(self._checkpoint, kind, dtype, self._device, attention)

    def _encode_packed(self, batch: PackedBatch, depth: int) -> Tensor:
        spare = (0, -batch.tokens % ROUND_ROWS[self._device.type])
        padding = _PACKED[self._checkpoint.model_type](self._encoder.config)
        positions = np.pad(batch.positions(padding), spare)
        heads = self._checkpoint.attention_heads
        with _running(arrange(batch.lengths, heads, self.dtype, self._device)):
            states = self._run(
                np.pad(batch.ids(), spare)[None],
                np.pad(batch.types(), spare)[None],
                depth,
                position_ids=self._tensor(positions[None]),
            )[0]
        return states[: batch.tokens]

    def _encode_batches(self, batch: PackedBatch, depth: int) -> Tensor:
        ids, types = batch.ids(), batch.types()
        states = []
        for first, stop in batch.groups(UNEVEN[self._device.type] if self._pads else 0.0):
            lengths = np.array(batch.lengths[first:stop])
            real = np.arange(lengths[-1]) < lengths[:, None]  # (windows, longest)
            tokens = slice(batch.starts[first], batch.starts[first] + lengths.sum())
            texts, longest = real.shape
            shape = (rounded_count(texts), rounded_length(longest)) if self._pads else real.shape
            real = np.pad(real, [(0, most - size) for most, size in zip(shape, real.shape, strict=True)])
            padded = np.full(shape, self._encoder.config.pad_token_id if self._pads else 0)
            padded[real] = ids[tokens]
            kinds = np.zeros_like(padded)
            kinds[real] = types[tokens]
            seen = real.copy()
            seen[texts:, 0] = True  # a spare text that sees nothing would be NaN
            out = self._run(padded, kinds, depth, attention_mask=self._tensor(seen).long())
            states.append(out[self._tensor(real)])
        return torch.cat(states)

    def _run(self, ids: Numbers, types: Numbers, depth: int, **inputs: Tensor) -> Tensor:
        """Hidden states after `depth` layers for a batch: (texts, length) -> (texts, length, hidden)."""
        if self._takes_types:
            inputs["token_type_ids"] = self._tensor(types)
        partly = depth < self._checkpoint.layers
        with self._alone:
            as_configured(self._encoder)
            out = self._encoder(input_ids=self._tensor(ids), output_hidden_states=partly, **inputs)
        states: Tensor = out.hidden_states[depth] if partly else out.last_hidden_state
        return states[:, : ids.shape[1]]  # BigBird's layers fill up the last block

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self._device)


def _logits(output: Any) -> Tensor:
    logits: Tensor = output.logits
    return logits


def _both_ends(output: Any) -> Tensor:
    return torch.stack([output.start_logits, output.end_logits], dim=-1)


_attention: ContextVar[Attention] = ContextVar("attention")


@contextmanager
def _running(attention: Attention) -> Iterator[None]:
    """Make `attention` that of the batch which runs in this thread."""
    token = _attention.set(attention)
    try:
        yield
    finally:
        _attention.reset(token)


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """What transformers calls: (1, heads, tokens, width) -> (1, tokens, heads, width)."""
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    qkv = torch.stack([tensor[0].transpose(0, 1) for tensor in (query, key, value)], 1)
    return _attention.get().attend(qkv, scale, sliding_window)[None], None


def _no_mask(**kwargs: Any) -> None:
    """A batch needs no mask: its arrangement says it all."""


AttentionInterface.register(_ATTENTION, packed_attention)
AttentionMaskInterface.register(_ATTENTION, _no_mask)
