"""One vector for a text, whatever its length.

A model gives a vector h_i for every token i of its input. The vector of the text is

    mean                  (1/n) Σ h_i over all positions, special tokens included
    mean_sqrt_len_tokens  (1/√n) Σ h_i
    weightedmean          Σ i·h_i / Σ i, positions counted from 1
    max                   the largest h_i in every dimension
    cls                   h_0, what the first special token has gathered
    lasttoken             h_n, the last special token's

or several of these side by side. The model's own modules (Dense, LayerNorm) compute on with that, and where
the model asks for it, the vector v is divided by its length |v|, so that the dot product of two such vectors
is the cosine of the angle between them.

A text in several windows has the same mean: the engine averages each window over the positions no earlier
one had (`Window.fresh`), and the average of those averages, weighted by how many positions each had, is the
mean over the whole text with every token once. The same holds for a weighted mean, where positions are
counted through the whole text. `max` is the maximum over the windows, `cls` that of the first one,
`lasttoken` that of the last. Modules compute once, on the vector of the whole text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from bertcli.engines import Pooled
from bertcli.errors import UsageError
from bertcli.models.modules import Normalize
from bertcli.models.prompts import choose_prompt
from bertcli.tasks.batching import forward_in_batches
from bertcli.tasks.modules import apply, unit
from bertcli.tasks.windowing import Windowing, fresh_shares

__all__ = ["TextVector", "unit"]

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bertcli.engines import Array, Engine, PoolingMode
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.modules import Module
    from bertcli.models.pooling import Mode
    from bertcli.models.prompts import Role
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.records import Window
    from bertcli.requests import LongOptions
    from bertcli.tasks import EncodedRecord


class TextVector:
    """How one model turns a text into a vector: as its sentence-transformers files say (mean without them),
    unless `pooling` and `normalize` say otherwise. The model's modules compute on the vector of the last
    layer, not on that of another `layer`.

    Windows have the length the model makes vectors from, unless `--max-length` asks for more, up to what
    its positions allow. `prompt` goes before every text: the one given, else the one called `prompt_name`,
    else that of the `role`, else the model's default (see `models.prompts`). `width` is how many numbers the
    vector has, `dim` how many of them the model's files keep.

    Raises UsageError for a `pooling` that does not fit the model's modules.
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
        self.modes = own.modes if pooling is None else (pooling,)
        self._modules = own.modules if layer in (-1, checkpoint.layers) else ()
        self.normalize = own.normalize if normalize is None else normalize
        self.width = _width(self._modules, len(self.modes) * checkpoint.hidden_size)
        self.dim = min(own.dim or self.width, self.width)
        self.prompt = choose_prompt(own, name=prompt_name, text=prompt, role=role)
        self._prompt_counts = own.include_prompt or not self.prompt
        asked = tuple(_asked(mode, self._prompt_counts) for mode in self.modes)
        self.ask = Pooled(asked[0] if len(asked) == 1 else asked, layer)
        self._tokenizer = tokenizer
        most = checkpoint.position_limit
        length = min(most, own.role_lengths.get(role or "", checkpoint.embed_max_length))
        self._windowing = Windowing(tokenizer, long, length=length, most=most)
        self._require_capacity()

    def encode(self, text: str, *, offsets: bool = False) -> EncodedRecord:
        """The windows of a text. `offsets` are into prompt + text."""
        tokens = self._tokenizer.encode(self.prompt + text)
        encoded = self._windowing.single(tokens, offsets=offsets)
        if not self._prompt_counts:
            prompt_tokens = sum(end <= len(self.prompt) for _, end in tokens.offsets)
            encoded = self._without_prompt(encoded, prompt_tokens)
        if "weightedmean" in self.modes:
            encoded = replace(encoded, windows=list(_counted(encoded.windows)))
        return encoded

    def _require_capacity(self) -> None:
        """Raise UsageError for a prompt that leaves a window no token of the text."""
        taken = len(self._tokenizer.encode(self.prompt)) if self.prompt else 0
        if taken >= self._windowing.capacity:
            raise UsageError(
                f"the prompt has {taken} tokens, and a window of the model {self._windowing.capacity}",
                hint="give a shorter one with --prompt, or one of the model's with --prompt-name",
            )

    @property
    def is_output(self) -> bool:
        """Whether the vector of a text of one window is what the engine gives for it."""
        return not self._modules and "mean_sqrt_len_tokens" not in self.modes

    def fresh_tokens(self, window: Window) -> range:
        """The positions of a window that hold tokens no earlier one had, special tokens left out."""
        return self._windowing.fresh_tokens(window)

    def _without_prompt(self, encoded: EncodedRecord, prompt_tokens: int) -> EncodedRecord:
        """Take the prompt, and the special token before it, out of what is pooled."""
        first, *others = encoded.windows
        start = min(prompt_tokens + self._windowing.leading, len(first) - 1)
        return replace(encoded, windows=[replace(first, fresh=(start, first.fresh[1])), *others])

    def forward(self, engine: Engine, windows: Sequence[Window]) -> list[Array]:
        """The vector (hidden,) of each window."""
        return list(forward_in_batches(engine, windows, self.ask))

    def combine(self, windows: Sequence[Window], vectors: Sequence[Array]) -> Array:
        """The text's vector (width,), before normalisation, from those of its windows."""
        if len(vectors) == 1 and "mean_sqrt_len_tokens" not in self.modes:
            return apply(self._modules, vectors[0])
        stacked: Array = np.stack(vectors)
        parts = np.split(stacked, len(self.modes), axis=1)
        pooled = [_combined(mode, windows, part) for mode, part in zip(self.modes, parts, strict=True)]
        return apply(self._modules, np.concatenate(pooled))


def _combined(mode: Mode, windows: Sequence[Window], vectors: Array) -> Array:
    """The vector (hidden,) of a text, pooled in one way, from those of its windows (windows, hidden)."""
    match mode:
        case "cls" | "lasttoken":
            one: Array = vectors[0 if mode == "cls" else -1]
            return one
        case "max":
            largest: Array = vectors.max(axis=0)
            return largest
        case "weightedmean":
            weights = np.array([_places(window).sum() for window in windows], dtype=np.float32)
        case _:
            weights = np.array(fresh_shares(windows), dtype=np.float32)
    mean: Array = weights @ vectors / weights.sum()
    return mean * np.sqrt(weights.sum()) if mode == "mean_sqrt_len_tokens" else mean


def _counted(windows: Sequence[Window]) -> Iterator[Window]:
    """The windows of a text, which know how many of its positions come before them."""
    before = windows[0].fresh[0]
    for window in windows:
        yield replace(window, before=before)
        before += window.fresh[1] - window.fresh[0]


def _places(window: Window) -> NDArray[np.int64]:
    """The places in the text of a window's fresh positions, counted from 1."""
    return np.arange(1, window.fresh[1] - window.fresh[0] + 1) + window.before


def _asked(mode: Mode, prompt_counts: bool) -> PoolingMode:
    """What the engine is asked for, to pool in a way."""
    match mode:
        case "cls":
            return "cls" if prompt_counts else "first"
        case "lasttoken":
            return "last"
        case "mean_sqrt_len_tokens":
            return "mean"
        case _:
            return mode


def _width(modules: Sequence[Module], width: int) -> int:
    """How many numbers a vector of `width` has after the modules."""
    for module in modules:
        if isinstance(module, Normalize):
            continue
        out, into = module.shape
        if into != width:
            raise UsageError(
                f"the model's {type(module).__name__} module takes vectors of {into}, and these have {width}",
                hint="leave --pooling out",
            )
        width = out
    return width
