"""The engine for little input: encoders and their heads in NumPy, float32, without torch.

`encoder` is the encoder, to be read beside the papers, `positions` what attention knows of positions, `heads`
what is made of hidden states. Windows of equal length run together, so that nothing is ever padded. Weights
are read when they are needed, and of the embeddings only the rows in use: a short question is answered
before torch would have been imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bertcli.architectures.architecture import Architecture, DenseStep
from bertcli.engines import Ask, AttentionWeights, OfAttention, available_cores, depth_of, more_than_formula
from bertcli.engines.instant.arithmetic import ACTIVATIONS
from bertcli.engines.instant.encoder import Encoder, LayerAttention
from bertcli.engines.instant.heads import InstantHeads
from bertcli.errors import EngineError
from bertcli.models.shapes import undescribed

if TYPE_CHECKING:
    from bertcli.engines import Array
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.records import Window

BATCH_TOKENS = 512  # activations of more would not stay in a core's cache


class Instant:
    """Raises EngineError for a checkpoint that `supports` speaks against.

    `threads` is the number of CPU cores to use, None for all that this process may run on; `batch_tokens` the
    size of a batch.
    """

    name = "instant"
    device = "cpu"
    dtype = "float32"
    batch_invariant = False  # a BLAS may add up in another order for another number of rows

    def __init__(
        self, checkpoint: Checkpoint, *, threads: int | None = None, batch_tokens: int | None = None
    ) -> None:
        reason, description = self.supports(checkpoint), checkpoint.description
        if reason is not None or description is None:
            raise EngineError(
                f"the instant engine cannot run {checkpoint.name}: {reason}", hint="use --engine packed"
            )
        self.workers = threads or available_cores()
        self.batch_tokens = batch_tokens or BATCH_TOKENS
        self._checkpoint, self._description = checkpoint, description
        self._encoder = Encoder(checkpoint, description)
        self._heads = InstantHeads(checkpoint, self._encoder)

    @staticmethod
    def supports(checkpoint: Checkpoint) -> str | None:
        """Why this engine cannot run the checkpoint, or None."""
        reason = undescribed(checkpoint)
        if reason is not None or checkpoint.description is None:
            return reason
        others = [name for name in _activations(checkpoint.description) if name not in ACTIVATIONS]
        return f"its activation is {others[0]}" if others else None

    def forward(self, windows: Sequence[Window], ask: Ask) -> list[Array]:
        """Answer `ask` for each window, in order."""
        return self.forward_all(windows, [ask])[0]

    def forward_all(self, windows: Sequence[Window], asks: Sequence[Ask]) -> list[list[Array]]:
        """Answer several asks for each window, with one pass of the encoder for each depth."""
        depths = [depth_of(ask, self._checkpoint.layers) for ask in asks]
        answers: list[dict[int, Array]] = [{} for _ in asks]
        looks = any(isinstance(ask, OfAttention) for ask in asks)
        for length in sorted({len(window) for window in windows}):
            same = [number for number, window in enumerate(windows) if len(window) == length]
            group = [windows[number] for number in same]
            for depth in set(depths):
                seen: list[LayerAttention] = []
                states = self._encoder.encode(group, depth, seen if looks else None)  # (n, length, hidden)
                for ask, each, found in zip(asks, depths, answers, strict=True):
                    if each == depth:
                        found |= zip(same, self._answers(ask, states, seen, group), strict=True)
        return [[found[number] for number in range(len(windows))] for found in answers]

    def _answers(
        self, ask: Ask, states: Array, seen: Sequence[LayerAttention], windows: Sequence[Window]
    ) -> list[Array]:
        """What is asked for of each of n windows: from their hidden states (n, length, hidden), or from what
        was seen of attention."""
        if not isinstance(ask, OfAttention):
            return [self._heads.answer(ask, *each) for each in zip(states, windows, strict=True)]
        layers = seen if ask.layer is None else seen[-1:]
        if isinstance(ask, AttentionWeights):
            return [np.stack([layer.weights[n] for layer in layers]) for n in range(len(windows))]
        if not self._description.layer.attention.plain:
            raise more_than_formula(self._checkpoint.model_type)
        return [np.stack([[part[n] for part in layer[:3]] for layer in layers]) for n in range(len(windows))]


def _activations(description: Architecture) -> Iterator[str]:
    """The names of all activations in an encoder and its heads."""
    yield description.layer.feed_forward.activation
    heads = description.heads
    for step in (*heads.label, *heads.tag, *heads.answer, *heads.fill):
        if isinstance(step, DenseStep) and step.activation is not None:
            yield step.activation
