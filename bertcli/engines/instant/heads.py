"""From the hidden states of one window, (length, hidden), to an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bertcli.architectures.architecture import DenseStep, Step
from bertcli.engines import Hidden, MaskLogits, OfStates, Pooled, SequenceLogits, TokenLogits
from bertcli.engines.instant.arithmetic import ACTIVATIONS

if TYPE_CHECKING:
    from bertcli.engines import Array
    from bertcli.engines.instant.encoder import Encoder
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Head
    from bertcli.records import Window


class InstantHeads:
    def __init__(self, checkpoint: Checkpoint, encoder: Encoder) -> None:
        self._checkpoint, self._encoder = checkpoint, encoder

    def answer(self, ask: OfStates, states: Array, window: Window) -> Array:
        match ask:
            case Hidden():
                return states
            case Pooled():
                return np.concatenate([_pool_window(states, str(part.mode), window) for part in ask.parts])
            case SequenceLogits(head):
                return self._classify(head, states)
            case TokenLogits(head):
                return self._run(self._steps(head), states)  # (length, labels)
            case MaskLogits(head):
                return self._project(self._run(self._steps(head), states[list(window.masks)]))

    def _classify(self, head: Head, states: Array) -> Array:
        """Logits of the classes, usually from one vector of the text: (labels,)"""
        reads = self._encoder.description.heads.label_reads
        if not head.skill and reads == "each":
            mean: Array = self._run(self._steps(head), states).mean(axis=0)
            return mean
        pooling = head.pooling if head.skill else "mean" if reads == "mean" else "cls"
        return self._run(self._steps(head), _pool(states, pooling, (0, len(states))))

    def _steps(self, head: Head) -> Sequence[Step]:
        """Those of the description, or of a named head."""
        if not head.skill:
            return self._encoder.description.heads.steps(head.kind, self._encoder.prefix)
        dense, classifier = (
            DenseStep(f"heads.{head.name}.dense", "tanh"),
            DenseStep(f"heads.{head.name}.classifier"),
        )
        has_dense = head.kind == "label" and f"{dense.name}.weight" in self._checkpoint.weights
        return (dense, classifier) if has_dense else (classifier,)

    def _run(self, steps: Sequence[Step], x: Array) -> Array:
        for step in steps:
            if isinstance(step, DenseStep):
                x = self._encoder.linear(step.name, x, bias=step.bias)
                x = ACTIVATIONS[step.activation](x) if step.activation else x
            else:
                x = self._encoder.normalise(step.name, x, bias=step.bias)
        return x

    def _project(self, x: Array) -> Array:
        """Masked-LM logits: (masks, width) -> (masks, vocabulary)."""
        y = self._encoder.product(x, self._checkpoint.projection)
        biases = self._encoder.description.heads.projection.biases
        for name in [name for name in biases if name in self._checkpoint.weights][:1]:
            y += self._encoder.read(name)
        return y


def _pool(states: Array, mode: str, fresh: tuple[int, int]) -> Array:
    """(length, hidden) -> (hidden,): position 0, or the mean or maximum over the positions `fresh`."""
    chosen = states[:1] if mode == "cls" else states[slice(*fresh)]
    vector: Array = chosen.max(axis=0) if mode == "max" else chosen.mean(axis=0)
    return vector


def _pool_window(states: Array, mode: str, window: Window) -> Array:
    """(length, hidden) -> (hidden,), as `Pooled` says."""
    start, stop = window.fresh
    match mode:
        case "first" | "last":
            row: Array = states[start if mode == "first" else stop - 1]
            return row
        case "weightedmean":
            places = np.arange(1, stop - start + 1, dtype=np.float32) + np.float32(window.before)
            mean: Array = places @ states[start:stop] / places.sum()
            return mean
        case _:
            return _pool(states, mode, window.fresh)
