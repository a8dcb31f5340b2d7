"""One vector for a text, whatever its length.

A model gives a vector h_i for every token i of its input. The vector of the text is

    mean   (1/n) Σ h_i over all positions, special tokens included
    max    the largest h_i in every dimension
    cls    h_0, what the first special token has gathered

and, where the model asks for it, that vector v divided by its length |v|, so that the dot product of two such
vectors is the cosine of the angle between them.

A text in several windows has the same mean: the engine averages each window over the positions no earlier
one had (`Window.fresh`), and the average of those averages, weighted by how many positions each had, is the
mean over the whole text with every token once. `max` is the maximum over the windows, `cls` that of the
first one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bertcli.engines import Pooled
from bertcli.errors import UsageError
from bertcli.models.prompts import choose_prompt
from bertcli.tasks.windowing import Windowing, fresh_shares

if TYPE_CHECKING:
    from bertcli.engines import Array
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.pooling import Mode
    from bertcli.models.prompts import Role
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.options import LongOptions
    from bertcli.records import Window
    from bertcli.tasks import Encoded


class TextVector:
    """How one model turns a text into a vector: as its sentence-transformers files say (mean without them),
    unless `pooling` and `normalize` say otherwise.

    Windows have the length the model makes vectors from, unless `--max-length` asks for more, up to what
    its positions allow. `prompt` goes before every text: the one given, else the one called `prompt_name`,
    else that of the `role`, else the model's default (see `models.prompts`). `dim` is how many of the
    vector's numbers the model's files keep.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokenizer: Tokenizer,
        long: LongOptions,
        *,
        pooling: Mode | None = None,
        normalize: bool | None = None,
        layer: int = -1,
        prompt_name: str | None = None,
        prompt: str | None = None,
        role: Role | None = None,
    ) -> None:
        own = checkpoint.pooling
        self.mode = pooling or own.mode
        self.normalize = own.normalize if normalize is None else normalize
        self.ask = Pooled(self.mode, layer)
        self.dim = min(own.dim or checkpoint.hidden_size, checkpoint.hidden_size)
        self.prompt = choose_prompt(own, name=prompt_name, text=prompt, role=role)
        self._prompt_counts = own.include_prompt
        self._tokenizer = tokenizer
        most = checkpoint.position_limit
        length = min(most, own.role_lengths.get(role or "", checkpoint.embed_max_length))
        self._windowing = Windowing(tokenizer, long, length=length, most=most)
        self._require_room()

    def encode(self, text: str, *, offsets: bool = False) -> Encoded:
        """The windows of a text. `offsets` are into prompt + text."""
        tokens = self._tokenizer.encode(self.prompt + text)
        encoded = self._windowing.single(tokens, offsets=offsets)
        if not self.prompt or self._prompt_counts:
            return encoded
        return self._without_prompt(encoded, sum(end <= len(self.prompt) for _, end in tokens.offsets))

    def _require_room(self) -> None:
        """Raise UsageError for a prompt that leaves a window no token of the text."""
        taken = len(self._tokenizer.encode(self.prompt)) if self.prompt else 0
        if taken >= self._windowing.room:
            raise UsageError(
                f"the prompt has {taken} tokens, and a window of the model {self._windowing.room}",
                hint="give a shorter one with --prompt, or one of the model's with --prompt-name",
            )

    def fresh_tokens(self, window: Window) -> range:
        """The positions of a window that hold tokens no earlier one had, special tokens left out."""
        return self._windowing.fresh_tokens(window)

    def _without_prompt(self, encoded: Encoded, prompt_tokens: int) -> Encoded:
        """Take the prompt, and the special token before it, out of what is pooled."""
        first, *others = encoded.windows
        start = min(prompt_tokens + self._windowing.leading, len(first) - 1)
        return replace(encoded, windows=[replace(first, fresh=(start, first.fresh[1])), *others])

    def combine(self, windows: Sequence[Window], vectors: Sequence[Array]) -> Array:
        """The text's vector (hidden,), before normalisation, from those of its windows."""
        if len(vectors) == 1 or self.mode == "cls":
            return vectors[0]
        stacked: Array = np.stack(vectors)
        if self.mode == "max":
            largest: Array = stacked.max(axis=0)
            return largest
        weights = np.array(fresh_shares(windows), dtype=np.float32)
        mean: Array = weights @ stacked / weights.sum()
        return mean


def unit(vectors: Array) -> Array:
    """Vectors (…, hidden) divided by their lengths; a zero vector stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    shortened: Array = vectors / np.maximum(lengths, np.float32(1e-12))
    return shortened
