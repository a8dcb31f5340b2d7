"""transformers with its defaults: on the CPU, with its own eager attention, one window at a time.

Slow, and shares no code with the engines that users get, which are compared with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bertcli.engines import Ask, Hidden, MaskLogits, SequenceLogits, TokenLogits
from bertcli.engines.device import DTYPES
from bertcli.engines.loading import as_configured, load_whole
from bertcli.errors import EngineError

if TYPE_CHECKING:
    from bertcli.engines import Array
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Head, Kind
    from bertcli.records import Window


class Reference:
    """Answers for hidden states of the last layer and for label, tag and fill heads, named ones too; raises
    EngineError for any other ask."""

    name = "transformers"
    device = "cpu"
    workers = 1
    batch_tokens = 1
    batch_invariant = True  # a window at a time

    def __init__(self, checkpoint: Checkpoint, dtype: str = "float32") -> None:
        self.dtype = dtype
        self._checkpoint = checkpoint
        self._models: dict[Kind | None, Any] = {}

    def forward(self, windows: Sequence[Window], ask: Ask) -> list[Array]:
        with torch.inference_mode():
            return [self._answer(window, ask) for window in windows]

    def forward_all(self, windows: Sequence[Window], asks: Sequence[Ask]) -> list[list[Array]]:
        return [self.forward(windows, ask) for ask in asks]

    def _answer(self, window: Window, ask: Ask) -> Array:
        match ask:
            case Hidden(-1):
                return _array(self._run(None, window).last_hidden_state)
            case SequenceLogits(head) | TokenLogits(head) if head.skill:
                return self._own_head(head, window)
            case TokenLogits(head) if head.kind == "answer":
                output = self._run(head.kind, window)
                return np.stack([_array(output.start_logits), _array(output.end_logits)], axis=-1)
            case SequenceLogits(head) | TokenLogits(head):
                return _array(self._run(head.kind, window).logits)
            case MaskLogits(head):
                return _array(self._run(head.kind, window).logits)[list(window.masks)]
        raise EngineError(f"there is no reference for {ask}")

    def _run(self, kind: Kind | None, window: Window) -> Any:
        if kind not in self._models:
            self._models[kind] = load_whole(self._checkpoint, kind, DTYPES[self.dtype])
        inputs = {"input_ids": torch.tensor([list(window.ids)])}
        if window.types is not None:
            inputs["token_type_ids"] = torch.tensor([list(window.types)])
        as_configured(self._models[kind].base_model)
        return self._models[kind](**inputs)

    def _own_head(self, head: Head, window: Window) -> Array:
        """What a named head makes of the hidden states: (labels,), or (tokens, labels) for tags."""
        weights, name = self._checkpoint.weights, f"heads.{head.name}"
        x = _array(self._run(None, window).last_hidden_state)
        if head.kind == "label":
            x = x[0] if head.pooling == "cls" else x.mean(axis=0)
            if f"{name}.dense.weight" in weights:
                x = np.tanh(weights.read(f"{name}.dense.weight") @ x + weights.read(f"{name}.dense.bias"))
        scores: Array = x @ weights.read(f"{name}.classifier.weight").T + weights.read(
            f"{name}.classifier.bias"
        )
        return scores


def _array(batch: Any) -> Array:
    """The only row of a batch."""
    array: Array = batch[0].float().numpy()
    return array
