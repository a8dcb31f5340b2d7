"""embed: one vector a text, or one a token.

See `pooling` for how a text becomes a vector. What is written:

    dim N      the first N dimensions, normalised again where the whole vector was (models trained for it keep
               most of their meaning there)
    float32    as computed
    float16    rounded; a record with a number beyond ±65504, the largest of float16, fails
    int8       round(127 x) for vectors of length 1: dividing a dot product of two by 127² gives their cosine.
               One fixed scale for all texts, so that files can be compared with each other
    binary     one bit a dimension, 1 where x > 0, eight to a byte with the first dimension in the highest bit
               (numpy.packbits, what sentence-transformers calls ubinary); compared by Hamming distance

`tokens` gives each token's own vector with its characters in the original text, special
tokens left out; in a long text each token is taken from the first window that holds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bertcli.engines import Hidden
from bertcli.errors import RecordError, UsageError
from bertcli.tasks import BulkTask, EncodedRecord, TokenizedTask
from bertcli.tasks.pooling import TextVector, unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bertcli.engines import Array, Engine
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.pooling import Mode
    from bertcli.models.prompts import Role
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.records import Record, Window
    from bertcli.requests import LongOptions

Written = Literal["float32", "float16", "int8", "binary"]


class Embed(TokenizedTask, BulkTask):
    """Embeddings of texts, or of their tokens.

    `layer` counts hidden states from 0 (the embeddings) to the last layer, or from -1 backwards. With
    `tokens`, vectors are normalised only when `normalize` is True: the model's own setting is for whole
    texts, and so is the number of dimensions its files keep. `dim` is how many numbers an embedding has, `about` what a
    later search must know of the embeddings: the `role` and the `prompt` they were made with.
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
        tokens: bool = False,
        dim: int | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        role: Role | None = None,
        dtype: Written = "float32",
    ) -> None:
        layer = _layer(layer, checkpoint.layers)
        self.fields = ("tokens",) if tokens else ("embedding",)
        self.tokenizer = tokenizer
        self._text = TextVector(
            checkpoint,
            tokenizer,
            long,
            pooling=pooling,
            normalize=normalize,
            layer=layer,
            prompt_name=prompt_name,
            prompt=prompt,
            role=role,
        )
        self.about = _about(checkpoint, self._text.prompt, role)
        self._ask = Hidden(layer) if tokens else self._text.ask
        self._tokens = tokens
        self._normalize = normalize is True if tokens else self._text.normalize
        own, most = (self._text.dim, self._text.width) if not tokens else (checkpoint.hidden_size,) * 2
        self.dim = own if dim is None else _dim(dim, most)
        self._dtype = _written(dtype, self._normalize)

    def texts(self, record: Record) -> tuple[str, ...]:
        return (self._text.prompt + (record.text or ""),)

    def encode(self, record: Record) -> EncodedRecord:
        return self._text.encode(record.text or "", offsets=self._tokens)

    def forward(self, engine: Engine, windows: Sequence[Window]) -> list[Array]:
        """A vector (hidden,) a window; with `tokens`, the vectors (tokens, hidden)."""
        return engine.forward(windows, self._ask)

    def decode(self, record: Record, encoded: EncodedRecord, outputs: Sequence[Array]) -> Mapping[str, Any]:
        if not self._tokens:
            return {"embedding": self._finish(self._text.combine(encoded.windows, outputs))}
        found = []
        for window, vectors in zip(encoded.windows, outputs, strict=True):
            found += self._tokens_of(window, vectors)
        return {"tokens": found}

    def decode_all(self, outputs: Sequence[Array]) -> Sequence[Mapping[str, Any]] | None:
        if self._tokens or not self._text.is_output:
            return None
        return [{"embedding": vector} for vector in self._finish(np.stack(outputs))]

    def _tokens_of(self, window: Window, vectors: Array) -> list[dict[str, Any]]:
        """The window's fresh tokens. A token of the prompt is no token of the text."""
        skipped = len(self._text.prompt)
        offsets = window.offsets or ()
        places = [i for i in self._text.fresh_tokens(window) if offsets[i][1] > skipped or not skipped]
        finished = self._finish(vectors[places])
        return [
            {
                "token": self.tokenizer.piece(window.ids[place]),
                "start": max(0, offsets[place][0] - skipped),
                "end": offsets[place][1] - skipped,
                "embedding": vector,
            }
            for place, vector in zip(places, finished, strict=True)
        ]

    def _finish(self, vectors: Array) -> NDArray[Any]:
        """Vectors (…, hidden) as they are written."""
        vectors = vectors[..., : self.dim]
        if self._normalize:
            vectors = unit(vectors)
        if self._dtype == "binary":
            return np.packbits(vectors > 0, axis=-1)
        if self._dtype == "int8":
            return np.round(vectors * 127).astype(np.int8)
        with np.errstate(over="ignore"):
            written = vectors.astype(self._dtype, copy=False)
        if not np.isfinite(written).all():
            raise RecordError(
                "overflow",
                f"the embedding holds {vectors.ravel()[np.abs(vectors).argmax()]:g}, beyond the range of "
                f"{self._dtype}: use --dtype float32, or --normalize",
            )
        return written


def _about(checkpoint: Checkpoint, prompt: str, role: Role | None) -> dict[str, str]:
    about = {"role": role, "prompt": prompt, "similarity": checkpoint.pooling.similarity}
    return {name: text for name, text in about.items() if text and text != "cosine"}


def _layer(asked: int, layers: int) -> int:
    if not -layers - 1 <= asked <= layers:
        raise UsageError(
            f"the model has no layer {asked}",
            hint=f"0 is the embeddings, 1 to {layers} its layers; -1 to {-layers - 1} count from the last",
        )
    return asked if asked in (-1, *range(layers + 1)) else asked + layers + 1


def _dim(asked: int, hidden: int) -> int:
    if not 1 <= asked <= hidden:
        raise UsageError(f"--dim {asked} is not in the vectors", hint=f"they have {hidden} dimensions")
    return asked


def _written(dtype: Written, normalized: bool) -> Written:
    if dtype == "int8" and not normalized:
        raise UsageError(
            "int8 holds vectors of length 1 only, and these are not normalised", hint="add --normalize"
        )
    return dtype
