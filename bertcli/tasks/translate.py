"""translate: text to text with an encoder-decoder.

    split      the text into sentences (see `sentences`); each is translated alone, as models are trained to
    window     a sentence longer than the model is cut between words, without overlap: a translation has no place where
               two could be joined
    generate   the best target sequence of each window, by beam search; a second time, with a search that must write
               them, where terms of a glossary are missing
    write      the translations in the places of their sentences, everything between them as it was

The score is the log-probability per generated token, over all windows of a text.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

from bertcli.engines.seq2seq import DecoderEngine, Generation, Phrase
from bertcli.errors import ModelError, RecordError, UsageError
from bertcli.models.checkpoint import NO_LIMIT
from bertcli.records import Window
from bertcli.tasks import EncodedRecord, Task
from bertcli.tasks.alignment import align_words, shifted
from bertcli.tasks.glossary import contains, is_word_end
from bertcli.tasks.sentences import Sentence, split_sentences, whole_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bertcli.engines import Engine
    from bertcli.engines.seq2seq import Hypothesis, Seq2SeqEngine
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.seq2seq_tokenizer import Languages, Seq2SeqTokenizer
    from bertcli.records import Record
    from bertcli.requests import LongMode
    from bertcli.tasks.glossary import Glossary, Term

Output = tuple["list[Hypothesis]", "NDArray[np.float32] | None"]
Split = Literal["sentences", "none"]


@dataclass(frozen=True, slots=True)
class Piece:
    """A window's part in its text: the sentence that it belongs to, and which of the sentence's tokens it has."""

    sentence: Sentence
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class TermWindow(Window):
    """A window whose translation must have these target terms of a glossary."""

    terms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TextTranslation:
    """A translation of a whole text: its parts, the sum of their log-probabilities, and the number of tokens."""

    texts: tuple[str, ...]
    log_prob: float
    tokens: int
    is_finished: bool

    @property
    def score(self) -> float | None:
        """None where nothing was generated."""
        return self.log_prob / self.tokens if self.tokens else None


class Translate(Task):
    """Translates texts. `top` is how many translations a record gets, None for the best alone; `prefix` is put before
    every sentence (T5); `most` the tokens of a window, None for what the model takes;
    `align` adds where each word of the best translation comes from; the terms of `glossary` must come out.

    Raises UsageError for a term that the model's vocabulary cannot write."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokenizer: Seq2SeqTokenizer,
        languages: Languages,
        how: Generation,
        *,
        top: int | None = None,
        prefix: str = "",
        split: Split = "sentences",
        long: LongMode = "window",
        most: int | None = None,
        align: bool = False,
        glossary: Glossary | None = None,
    ) -> None:
        self.fields = ("translation", "score")
        self.fields += ("translations",) if top is not None else ()
        self.fields += ("alignment",) if align else ()
        self.optional = () if glossary is None else ("missing_terms",)
        self._name, self._align, self._glossary = checkpoint.name, align, glossary
        self._tokenizer, self._languages = tokenizer, languages
        self._how = replace(
            how, count=top or 1, first_token=languages.first_token, start_token=languages.start_token
        )
        self._phrases: dict[str, Phrase] = {}
        if glossary is not None:
            self._phrases = {term.target: self._phrase(term) for term in glossary.terms}
            self._how = replace(self._how, word_insides=tokenizer.word_insides)
        self._top = top
        self._split = split_sentences if split == "sentences" else whole_text
        self._long = long
        self._prefix = list(tokenizer.encode(prefix)) if prefix else []
        limit = position_limit(checkpoint)
        around = len(languages.before) + len(languages.after) + len(self._prefix)
        length = limit if most is None else most if limit is None else min(most, limit)
        self._capacity = None if length is None else length - around
        if self._capacity is not None and self._capacity < 1:
            raise UsageError(
                f"a window of {length} tokens has no room beside {around} special and prefix tokens",
                hint="raise --max-length, or shorten --prefix-text",
            )

    def _phrase(self, term: Term) -> Phrase:
        ids = self._tokenizer.encode_phrase(term.target)
        if self._tokenizer.decode(ids) != term.target:
            raise UsageError(
                f"the vocabulary of {self._name} cannot write {term.target}",
                where=term.where,
                hint="leave the term out, or spell it with characters that the model knows",
            )
        return Phrase(ids, is_word_end(term.target[-1]))

    @property
    def beam(self) -> int:
        """The number of hypotheses that are followed."""
        return max(self._how.beam, self._how.count)

    @property
    def needs_decoder(self) -> bool:
        """Whether only a DecoderEngine can do what is asked."""
        return self._align or self._glossary is not None

    def prepare(self, engine: Engine) -> None:
        """Refuse an engine that cannot do what is asked. Nothing is computed ahead of the records."""
        if not self.needs_decoder or isinstance(engine, DecoderEngine):
            return
        option = "--align" if self._align else "--glossary"
        if engine.name == "instant":
            raise UsageError(f"{option}: the instant engine does not support it", hint="leave --engine out")
        raise UsageError(
            f"{option}: {self._name} runs on transformers, which does not support it", hint="leave it out"
        )

    def encode(self, record: Record) -> EncodedRecord:
        text = record.text or ""
        windows: list[Window] = []
        pieces: list[Piece] = []
        truncated = False
        for sentence in self._split(text):
            ids = list(self._tokenizer.encode(text[sentence.start : sentence.stop]))
            capacity = len(ids) if self._capacity is None else self._capacity
            if len(ids) > capacity and self._long == "error":
                raise RecordError(
                    "too-long",
                    f"a sentence has {len(ids)} tokens, the model takes {capacity}; use --long window",
                )
            if len(ids) > capacity and self._long == "truncate":
                ids, truncated = ids[:capacity], True
            for start, stop in self._slices(ids, max(1, capacity)):
                pieces.append(Piece(sentence, start, stop))
                windows.append(self._window(ids[start:stop]))
            if self._glossary is not None:
                self._demand_terms(text[sentence.start : sentence.stop], pieces, windows)
        return EncodedRecord(windows, truncated=truncated, notes=pieces)

    def forward(self, engine: Engine, windows: Sequence[Window]) -> list[Output]:
        found = cast("Seq2SeqEngine", engine).generate(windows, self._how)
        if not isinstance(engine, DecoderEngine):
            return [(hypotheses, None) for hypotheses in found]
        found = [
            self._with_terms(engine, window, hypotheses)
            for window, hypotheses in zip(windows, found, strict=True)
        ]
        if not self._align:
            return [(hypotheses, None) for hypotheses in found]
        weights = engine.align(windows, [hypotheses[0].ids for hypotheses in found], self._how)
        return list(zip(found, weights, strict=True))

    def _demand_terms(self, text: str, pieces: Sequence[Piece], windows: list[Window]) -> None:
        """Make the windows of the last sentence, of this text, demand the terms that begin in them."""
        count = sum(piece.sentence is pieces[-1].sentence for piece in pieces)
        found = self._glossary.find(text) if self._glossary is not None else []
        if not found:
            return
        places = self._tokenizer.offsets(text)
        for number in range(len(windows) - count, len(windows)):
            piece, window = pieces[number], windows[number]
            first = 0 if piece.start == 0 else places[piece.start][0]
            end = places[piece.stop][0] if piece.stop < len(places) else len(text)
            terms = tuple(dict.fromkeys(each.term.target for each in found if first <= each.start < end))
            if terms:
                windows[number] = TermWindow(window.ids, fresh=window.fresh, terms=terms)

    def _with_terms(
        self, engine: DecoderEngine, window: Window, hypotheses: list[Hypothesis]
    ) -> list[Hypothesis]:
        """The hypotheses, if all have the terms that the window demands; else others, which must."""
        if not isinstance(window, TermWindow) or not any(self._missing(window, each) for each in hypotheses):
            return hypotheses
        return engine.constrain(window, [self._phrases[term] for term in window.terms], self._how)

    def _missing(self, window: Window, hypothesis: Hypothesis) -> list[str]:
        """The terms that a window demands and a hypothesis does not have."""
        if not isinstance(window, TermWindow):
            return []
        text = self._tokenizer.decode(hypothesis.ids)
        return [term for term in window.terms if not contains(text, term)]

    def decode(self, record: Record, encoded: EncodedRecord, outputs: Sequence[Output]) -> Mapping[str, Any]:
        pieces: list[Piece] = encoded.notes
        found = self._candidates([hypotheses for hypotheses, _ in outputs])
        best = found[0]
        values: dict[str, Any] = {
            "translation": self._joined(record, pieces, best.texts),
            "score": best.score,
        }
        if self._top is not None:
            values["translations"] = [
                {"text": self._joined(record, pieces, each.texts), "score": each.score} for each in found
            ]
        if self._align:
            values["alignment"] = self._alignment(record, pieces, outputs)
        missing = [
            term
            for window, (hypotheses, _) in zip(encoded.windows, outputs, strict=True)
            for term in self._missing(window, hypotheses[0])
        ]
        if missing:
            values["missing_terms"] = list(dict.fromkeys(missing))
        if not best.is_finished:
            values["truncated"] = True
        return values

    def _candidates(self, outputs: Sequence[list[Hypothesis]]) -> list[TextTranslation]:
        """The best translations of a text from those of its windows, the likeliest first."""
        found = [TextTranslation((), 0.0, 0, True)]
        for hypotheses in outputs:
            texts = [self._tokenizer.decode(each.ids) for each in hypotheses]
            longer = [
                TextTranslation(
                    (*before.texts, text),
                    before.log_prob + each.log_prob,
                    before.tokens + len(each.ids),
                    before.is_finished and each.is_finished,
                )
                for before in found
                for text, each in zip(texts, hypotheses, strict=True)
            ]
            found = heapq.nlargest(
                self._how.count, longer, key=lambda each: each.log_prob / max(1, each.tokens)
            )
        return found

    def _joined(self, record: Record, pieces: Sequence[Piece], texts: Sequence[str]) -> str:
        """The text with translations in the places of its sentences."""
        text, end, parts = record.text or "", 0, []
        for piece, translation in zip(pieces, texts, strict=True):
            if piece.start == 0:
                parts.append(text[end : piece.sentence.start])
                end = piece.sentence.stop
            else:
                parts.append(" ")
            parts.append(translation)
        return "".join([*parts, text[end:]])

    def _alignment(
        self, record: Record, pieces: Sequence[Piece], outputs: Sequence[Output]
    ) -> list[dict[str, Any]]:
        """Where each word of the best translation comes from."""
        text, decode = record.text or "", self._tokenizer.decode
        before = len(self._languages.before) + len(self._prefix)
        entries: list[dict[str, Any]] = []
        end = written = 0
        for piece, (hypotheses, weights) in zip(pieces, outputs, strict=True):
            sentence = text[piece.sentence.start : piece.sentence.stop]
            written += (
                piece.sentence.start - end if piece.start == 0 else 1
            )  # the blank between parts of a sentence
            end = piece.sentence.stop
            places = list(self._tokenizer.offsets(sentence))[piece.start : piece.stop]
            tokens = [*[None] * before, *places, *[None] * len(self._languages.after)]
            if weights is not None:
                found = align_words(sentence, tokens, hypotheses[0], decode, weights)
                entries += shifted(found, piece.sentence.start, written)
            written += len(decode(hypotheses[0].ids))
        return entries

    def _window(self, ids: Sequence[int]) -> Window:
        whole = (*self._languages.before, *self._prefix, *ids, *self._languages.after)
        return Window(whole, fresh=(0, len(whole)))

    def _slices(self, ids: Sequence[int], capacity: int) -> list[tuple[int, int]]:
        """Cuts of at most `capacity` tokens, before the last word that begins in the second half of each."""
        slices, start = [], 0
        while len(ids) - start > capacity:
            middle = start + max(1, capacity // 2)
            stop = next(
                (cut for cut in range(start + capacity, middle, -1) if self._tokenizer.starts_word(ids[cut])),
                start + capacity,
            )
            slices.append((start, stop))
            start = stop
        return [*slices, (start, len(ids))]


def position_limit(checkpoint: Checkpoint) -> int | None:
    """The tokens of a source that a checkpoint takes, None where positions are relative and the tokenizer names no
    limit."""
    limits = [
        checkpoint.config.get("max_position_embeddings"),
        checkpoint.tokenizer_config.get("model_max_length"),
    ]
    known = [int(limit) for limit in limits if isinstance(limit, int | float) and 0 < limit < NO_LIMIT]
    return min(known, default=None)


def check_model(checkpoint: Checkpoint) -> None:
    """Raise ModelError for a checkpoint that is no encoder-decoder."""
    if not checkpoint.config.get("is_encoder_decoder"):
        raise ModelError(
            f"{checkpoint.name} is no encoder-decoder ({checkpoint.architecture or checkpoint.model_type})",
            hint="use a translation model (Marian, T5, mBART, NLLB), or train one with `bertcli train translate`",
        )
