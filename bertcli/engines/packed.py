"""The engine for bulk: batches of windows end to end, without padding, on torch.

The encoder gives the hidden states of a batch, (tokens, hidden); a head sees only the positions it reads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from bertcli.engines import Ask, Pooled, available_cores, depth_of
from bertcli.engines.device import BATCH_TOKENS, choose_device, choose_dtype, keep_freed_memory
from bertcli.engines.fused import FusedModel
from bertcli.engines.int8 import has_int8_products
from bertcli.engines.linear import onednn_adds_in_one_order
from bertcli.engines.packed_batch import ONE_OF_EACH, PackedBatch
from bertcli.engines.packed_heads import PackedHeads
from bertcli.errors import EngineError

if TYPE_CHECKING:
    from bertcli.engines import Array
    from bertcli.engines.int8 import Observer, Roundings
    from bertcli.engines.packed_batch import Reading
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Kind
    from bertcli.records import Window


class Model(Protocol):
    """An encoder in `dtype` and its heads in float32: a `FusedModel`, or a `TransformersModel` for all that is not
    described."""

    dtype: torch.dtype

    def encode(
        self, batch: PackedBatch, depth: int, rows: Sequence[int] | None, *, one_of_each: bool = False
    ) -> Tensor: ...

    def head(self, kind: Kind) -> Callable[[Tensor], Tensor]: ...


class Packed:
    """The engine on torch. Raises EngineError for a device, dtype or checkpoint it cannot use.

    `threads` is the number of CPU cores to use, None for all that this process may run on; `batch_tokens` the
    size of a batch, None for what suits the device. The dtype int8 needs `roundings`, which come from an engine in
    float32 that has shown a sample of texts to `observer` (engines/int8.py).
    """

    name = "packed"

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        device: str = "auto",
        dtype: str = "auto",
        threads: int | None = None,
        batch_tokens: int | None = None,
        roundings: Roundings | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._checkpoint = checkpoint
        where = choose_device(device)
        number_format = choose_dtype(dtype, where)
        self.device = str(where)
        self._on_cpu = where.type == "cpu"
        self.workers = (threads or available_cores()) if self._on_cpu else 1
        self.batch_tokens = batch_tokens or BATCH_TOKENS[where.type]
        keep_freed_memory()
        if dtype == "int8" or observer is not None:
            refuse_int8(checkpoint)
            self._model: Model = FusedModel(
                checkpoint, number_format, where, roundings=roundings, observer=observer
            )
        else:
            self._model = _open(checkpoint, number_format, where, or_float32=dtype == "auto")
        self.dtype = "int8" if dtype == "int8" else str(self._model.dtype).removeprefix("torch.")
        description = checkpoint.description
        invariant = isinstance(self._model, FusedModel) and description is not None and description.like_bert
        self.batch_invariant = invariant and onednn_adds_in_one_order(number_format, where)
        self._heads = PackedHeads(checkpoint, where, self._model.head)

    def forward(self, windows: Sequence[Window], ask: Ask) -> list[Array]:
        """Answer `ask` for each window, in order. May be called from several threads at once."""
        return self.forward_all(windows, [ask])[0]

    def forward_all(self, windows: Sequence[Window], asks: Sequence[Ask]) -> list[list[Array]]:
        """Answer several asks, each as `forward` does, with one pass of the encoder for each depth."""
        if not windows:
            return [[] for _ in asks]
        if self._on_cpu and torch.get_num_threads() != 1:
            torch.set_num_threads(1)  # workers with a core each are faster than all cores on one batch
        parts = [ask.parts if isinstance(ask, Pooled) else (ask,) for ask in asks]
        found = iter(self._answer_single(windows, list(chain.from_iterable(parts))))
        return [_side_by_side([next(found) for _ in each]) for each in parts]

    def _answer_single(self, windows: Sequence[Window], asks: Sequence[Ask]) -> list[list[Array]]:
        """The answers to asks for one array a window."""
        order = sorted(range(len(windows)), key=lambda number: len(windows[number]))
        batch = PackedBatch([windows[number] for number in order])
        depths = [depth_of(ask, self._checkpoint.layers) for ask in asks]
        answers: dict[int, list[Array]] = {}
        with torch.inference_mode():
            for depth in set(depths):
                same = [number for number, each in enumerate(depths) if each == depth]
                found = self._answer(batch, depth, [asks[number] for number in same])
                answers |= zip(same, found, strict=True)
        places = np.argsort(order)
        return [[answers[number][place] for place in places] for number in range(len(asks))]

    def _answer(self, batch: PackedBatch, depth: int, asks: Sequence[Ask]) -> list[list[Array]]:
        """The answers to asks of one depth, each in the batch's order."""
        readings = [self._heads.reads(ask) for ask in asks]
        together: Reading = readings[0] if len(set(readings)) == 1 else "all"
        one_of_each = together in ONE_OF_EACH
        states = self._model.encode(batch, depth, batch.read(together)[0], one_of_each=one_of_each)
        answers = []
        for ask, reading in zip(asks, readings, strict=True):
            rows, counts = batch.read(reading)
            chosen = states if reading == together or rows is None else states[rows]
            answers.append(self._heads.answer(ask, chosen, counts, batch.windows))
        return answers


def _side_by_side(answers: Sequence[list[Array]]) -> list[Array]:
    """Several arrays of each window as one."""
    if len(answers) == 1:
        return answers[0]
    return [np.concatenate(each) for each in zip(*answers, strict=True)]


def refuse_int8(checkpoint: Checkpoint) -> None:
    """Raise EngineError where int8 is not for a checkpoint, or not for this processor."""
    description = checkpoint.description
    if not (description and description.like_bert and FusedModel.supports(checkpoint)):
        raise EngineError(
            f"int8 is for architectures like BERT, and {checkpoint.name} is a {checkpoint.model_type} model",
            hint="use bfloat16 or float32",
        )
    if not has_int8_products():
        raise EngineError("int8 needs a processor with AVX-512 VNNI", hint="use bfloat16 or float32")


def _open(checkpoint: Checkpoint, dtype: torch.dtype, device: torch.device, *, or_float32: bool) -> Model:
    """The model in `dtype`, or in float32 where its own code cannot compute in that and it may."""
    if FusedModel.supports(checkpoint):
        return FusedModel(checkpoint, dtype, device)
    from bertcli.engines.transformers_backend import (
        open_transformers_model,  # brings transformers, which takes longer than torch
    )

    return open_transformers_model(checkpoint, dtype, device, or_float32=or_float32)
