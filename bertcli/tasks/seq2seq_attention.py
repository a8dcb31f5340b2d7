"""attention in an encoder-decoder: among source tokens, among target tokens, and from target to source.

The decoder reads the target one place late: its first input is the start token, and with each input it writes the next
token. Position t of the decoder has the query of input t, and what it attends to decides about the token behind it,
`next`. In the decoder's self-attention a token sees itself and those before it; the weights of all later ones are 0,
because -∞ is added to their scores before the softmax:

    decoder   softmax(QKᵀ/√d + M)·V with M = -∞ above the diagonal, else 0; Q, K and V of the target
    cross     softmax(QKᵀ/√d)·V with Q of the target, K and V of the encoder's last layer

The target is a given text, or the model's own translation by greedy search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from bertcli.engines.seq2seq import PARTS, Generation, Part, PartAttention
from bertcli.engines.seq2seq.rules import make_rules
from bertcli.errors import RecordError
from bertcli.records import Window
from bertcli.tasks import EncodedRecord, Task
from bertcli.tasks.alignment import token_ends
from bertcli.tasks.attention import PARTS as VECTORS
from bertcli.tasks.attention import ROLLOUT, Which, counted, picked, rollout
from bertcli.tasks.translate import position_limit

if TYPE_CHECKING:
    from bertcli.engines import Array, Engine
    from bertcli.engines.seq2seq.eager import EagerTranslator
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.seq2seq_tokenizer import Languages, Seq2SeqTokenizer
    from bertcli.records import Record

Place = tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class TargetWindow(Window):
    """A source with its target, from the first generated token to the end; None where the model writes one."""

    target: tuple[int, ...] | None = None


class InsideParts(NamedTuple):
    """What an engine computes for a window: the target, whether the model ended it, and attention by part."""

    target: tuple[int, ...]
    is_finished: bool
    parts: Mapping[Part, PartAttention]


class Seq2SeqAttention(Task):
    """Attention in `part` of an encoder-decoder. `target` is the target of every text, None where the pair of a record
    has it or the model writes it. The other options are those of `Attention`; `prefix` goes before each text.

    `prepare` raises UsageError for a layer or a head that the model does not have, and EngineError for vectors that are
    not all there is to its weights.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokenizer: Seq2SeqTokenizer,
        languages: Languages,
        *,
        part: Part = "cross",
        layer: Which = -1,
        head: Which = "mean",
        rollout: bool = False,
        vectors: bool = False,
        whole: bool = False,
        target: str | None = None,
        is_target_given: bool = False,
        prefix: str = "",
        truncate: bool = False,
    ) -> None:
        self._name, self._tokenizer, self._languages = checkpoint.name, tokenizer, languages
        self._part, self._layer, self._head = part, layer, head
        self._rollout, self._vectors, self._whole = rollout, vectors, whole
        self._target, self._is_given = target, is_target_given or target is not None
        self._prefix = tuple(tokenizer.encode(prefix)) if prefix else ()
        self._truncate = truncate
        self._limit = position_limit(checkpoint)
        self._how = Generation(beam=1, first_token=languages.first_token, start_token=languages.start_token)
        self._rules = make_rules(
            checkpoint.generation, self._how, name=checkpoint.name, position_limit=self._limit
        )
        self._has_target = whole or part != "encoder"
        self.fields = ("translation",) if self._has_target and not self._is_given else ()
        self.fields += ("model", "rollout") if whole else ("part", "layer", "head")
        self.fields += ("tokens",) if whole or part != "decoder" else ()
        self.fields += ("target_tokens",) if self._has_target else ()
        self.fields += ("attention", *(VECTORS if vectors else ()))

    def prepare(self, engine: Engine) -> None:
        """Check layer and head on a text of one token."""
        ids, start = self._rules.ends[:1], (self._rules.start,)
        parts = cast("EagerTranslator", engine).attend(ids, start, vectors=self._vectors)
        if not self._whole:
            layers, heads = parts[self._part].weights.shape[:2]
            where = "encoder" if self._part == "encoder" else "decoder"
            self._layer = counted(self._layer, layers, f"{where} layer", self._name)
            self._head = counted(self._head, heads, "head", self._name)

    def encode(self, record: Record) -> EncodedRecord:
        before, after = (*self._languages.before, *self._prefix), self._languages.after
        text = self._tokenizer.encode(record.text or "")
        ids = self._fitting(text, len(before) + len(after), "text")
        source = (*before, *ids, *after)
        is_cut = len(ids) < len(text)
        target = places = None
        if self._has_target and self._is_given:
            given = (record.pair if self._target is None else self._target) or ""
            first = () if self._rules.first is None else (self._rules.first,)
            tokens = self._tokenizer.encode_target(given)
            kept = self._fitting(tokens, len(first) + 1, "target")
            is_cut = is_cut or len(kept) < len(tokens)
            target = (*first, *kept, self._rules.ends[0])
            places = [*[None] * len(first), *self._tokenizer.target_offsets(given)[: len(kept)], None]
        window = TargetWindow(source, fresh=(0, len(source)), target=target)
        return EncodedRecord([window], is_cut, places)

    def _fitting(self, ids: Sequence[int], around: int, noun: str) -> Sequence[int]:
        """As many tokens as fit the model beside `around` others. Raises RecordError where some do not and nothing is
        to be cut."""
        if self._limit is None or len(ids) + around <= self._limit:
            return ids
        if not self._truncate:
            raise RecordError(
                "too-long",
                f"the {noun} has {len(ids)} tokens, the model takes {self._limit - around}; --truncate cuts it",
            )
        return ids[: self._limit - around]

    def forward(self, engine: Engine, windows: Sequence[Window]) -> list[InsideParts]:
        eager = cast("EagerTranslator", engine)
        return [self._inside(eager, cast("TargetWindow", window)) for window in windows]

    def _inside(self, engine: EagerTranslator, window: TargetWindow) -> InsideParts:
        target, is_finished = window.target or (), True
        if self._has_target and window.target is None:
            [[hypothesis]] = engine.generate([window], self._how)
            target, is_finished = hypothesis.ids, hypothesis.is_finished
        inputs = (self._rules.start, *target[:-1])
        return InsideParts(target, is_finished, engine.attend(window.ids, inputs, vectors=self._vectors))

    def decode(
        self, record: Record, encoded: EncodedRecord, outputs: Sequence[InsideParts]
    ) -> Mapping[str, Any]:
        (window,), (inside,) = encoded.windows, outputs
        values: dict[str, Any] = {}
        if self._has_target and not self._is_given:
            values["translation"] = self._tokenizer.decode(inside.target)
        if self._whole:
            values |= {"model": self._name, "rollout": rollout(inside.parts["encoder"].weights)}
        else:
            values |= {"part": self._part, "layer": self._layer}
            values["head"] = ROLLOUT if self._rollout else self._head
        values["tokens"] = self._source_tokens(record, window)
        if self._has_target:
            values["target_tokens"] = self._target_tokens(inside.target, encoded.notes)
        values |= self._weights(inside.parts)
        values = {name: values[name] for name in self.fields}
        if not inside.is_finished:
            values["truncated"] = True
        return values

    def _weights(self, parts: Mapping[Part, PartAttention]) -> dict[str, Any]:
        if self._whole:
            values: dict[str, Any] = {"attention": {part: parts[part].weights for part in PARTS}}
            for number, name in enumerate(VECTORS if self._vectors else ()):
                values[name] = {part: _vectors(parts[part])[number] for part in PARTS}
            return values
        weights = parts[self._part].weights
        if self._rollout:
            values = {"attention": picked(rollout(weights), self._layer, axis=0)}
        else:
            values = {"attention": self._chosen(weights)}
        if self._vectors:
            values |= zip(VECTORS, map(self._chosen, _vectors(parts[self._part])), strict=True)
        return values

    def _chosen(self, array: Array) -> Array:
        """(layers, heads, …) of the layers and heads asked for."""
        return np.ascontiguousarray(picked(picked(array, self._head, axis=1), self._layer, axis=0))

    def _source_tokens(self, record: Record, window: Window) -> list[dict[str, Any]]:
        """Each token with its place in the text; special ones and the prefix have none."""
        before, after = len(self._languages.before) + len(self._prefix), len(self._languages.after)
        places = self._tokenizer.offsets(record.text or "")[: len(window) - before - after]
        return [
            _described(self._tokenizer.piece(token), 1, place)
            for token, place in zip(window.ids, [*[None] * before, *places, *[None] * after], strict=True)
        ]

    def _target_tokens(self, target: Sequence[int], places: Sequence[Place] | None) -> list[dict[str, Any]]:
        """Each input of the decoder with its place in the target text, and the token written behind it."""
        if places is None:
            places = self._places(target)
        pieces = [self._tokenizer.target_piece(token) for token in (self._rules.start, *target)]
        return [
            {**_described(piece, 2, place), "next": following}
            for piece, place, following in zip(pieces, [None, *places[:-1]], pieces[1:], strict=False)
        ]

    def _places(self, target: Sequence[int]) -> list[Place]:
        """The place of each token in the translation, without the blanks before it."""
        text, places, start = self._tokenizer.decode(target), [], 0
        for end in token_ends(target, self._tokenizer.decode):
            first = start + len(text[start:end]) - len(text[start:end].lstrip())
            places.append((first, end) if first < end else None)
            start = max(start, end)
        return places


def _vectors(attention: PartAttention) -> tuple[Array, Array, Array]:
    assert attention.vectors is not None
    return attention.vectors


def _described(piece: str, part: int, place: Place) -> dict[str, Any]:
    if place is None:
        return {"token": piece, "part": None, "start": None, "end": None}
    return {"token": piece, "part": part, "start": place[0], "end": place[1]}
