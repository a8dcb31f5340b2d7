"""tag: a label for each word, and spans of words that belong together.

The head gives a logit for every class and token; softmax makes probabilities p of them. A span has to consist
of whole words, but the head sees word pieces. `aggregation` says how a word gets its label (the names and
rules are those of transformers):

    first     that of its first piece, which is the one most models were trained on
    average   the likeliest by the mean of p over its pieces
    max       that of the piece with the largest p
    simple    none: every piece is tagged by itself, and a span may begin inside a word

A head may score which tag follows which: then the tags of all words are chosen together (see `tag_path`), but with
`simple`. See `tagset` for how labels form spans, and `word_alignment` for what a word is. The score of a span is the
mean of its words' scores, a word's score the p of its label.

A text longer than the model is read window by window. Where two windows overlap, each token is decided where
it has more context: by the earlier window up to the middle of the overlap, then by the later one. The border
is moved to the nearest beginning of a word, so that no word is decided half by each.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from bertcli.engines import TokenLogits
from bertcli.engines.instant.arithmetic import softmax
from bertcli.models.heads import transitions_tensor
from bertcli.tasks import EncodedRecord, Task
from bertcli.tasks.tag_path import best_path
from bertcli.tasks.tagset import OUTSIDE, Tagset
from bertcli.tasks.windowing import Slice, Windowing, borders
from bertcli.tasks.word_alignment import Words, each_token, found_words, given_words, places_of, within
from bertcli.tasks.word_shapes import token_types

if TYPE_CHECKING:
    from bertcli.engines import Array, Engine
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Head
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.models.tokens import Tokens
    from bertcli.records import Record, Window
    from bertcli.requests import LongOptions

Aggregation = Literal["simple", "first", "average", "max"]
Shape = Literal["spans", "tokens", "words"]
FIELDS: Mapping[Shape, str] = {"spans": "spans", "tokens": "tokens", "words": "word_tags"}
LEAST_P = 1e-9  # added to probabilities before their logarithm is taken
WORD = re.compile(r"\S+")


class TagNotes(NamedTuple):
    """What `decode` needs again: a text's tokens, how they were cut into windows, and its words, if these had to be
    found already."""

    tokens: Tokens
    slices: list[Slice]
    words: Words | None


class Tag(Task):
    """The tags of one head.

    `shape` is what a record gets: `spans`; `tokens`, each with its own tag; or for CoNLL `word_tags`, a word
    and a tag in BIO each. With `split_words` the words of a text are separated by blanks; records that
    bring their `words` are always taken at their word.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokenizer: Tokenizer,
        head: Head,
        long: LongOptions,
        *,
        aggregation: Aggregation = "first",
        shape: Shape = "spans",
        split_words: bool = False,
    ) -> None:
        self._tokenizer = tokenizer
        self._windowing = Windowing.of(checkpoint, tokenizer, long)
        self.head = head
        self._ask = TokenLogits(head)
        self._first_shape = checkpoint.token_types if head.shapes else None
        self._transitions = (
            checkpoint.weights.read(transitions_tensor(head.name)) if head.transitions else None
        )
        self.tagset = Tagset(head.labels)
        self._aggregation = aggregation
        self._shape = shape
        self._split_words = split_words
        self.fields = (FIELDS[shape],)

    def encode(self, record: Record) -> EncodedRecord:
        text = record.text or ""
        tokens = self._tokenizer.encode(text)
        slices, truncated = self._windowing.slices(len(tokens), self._windowing.capacity)
        windows = [self._windowing.window(tokens.ids, cut) for cut in slices]
        words = None
        if self._first_shape is not None:
            words = self._whole_words(record, text, tokens)
            types = token_types(text, words, len(tokens), self._first_shape)
            windows = [
                self._windowing.with_types(window, types, cut)
                for window, cut in zip(windows, slices, strict=True)
            ]
        return EncodedRecord(windows, truncated, TagNotes(tokens, slices, words))

    def forward(self, engine: Engine, windows: Sequence[Window]) -> list[Array]:
        """Logits (tokens, labels) of each window, special tokens included."""
        return engine.forward(windows, self._ask)

    def decode(self, record: Record, encoded: EncodedRecord, outputs: Sequence[Array]) -> Mapping[str, Any]:
        text = record.text or ""
        tokens, slices, found = encoded.notes
        words = self._words(record, text, tokens, found)
        logits = self._stitched(slices, outputs, words.firsts)  # (tokens, labels)
        p = softmax(logits)
        start, stop = slices[0][0], slices[-1][1]
        if self._shape == "tokens":
            return {"tokens": self._token_tags(tokens, slice(start, stop), p)}
        if encoded.truncated:
            words = Words(within(words, start, stop))
        spans = self._spans(text, words, aggregated(p, words, self._aggregation))
        if self._shape == "words":
            return {"word_tags": self._word_tags(text, self._places(record, text, tokens), spans)}
        return {"spans": spans}

    def _words(self, record: Record, text: str, tokens: Tokens, found: Words | None) -> Words:
        """What gets a label together. `found` are the words, if they are known."""
        if self._aggregation == "simple" or self._shape == "tokens":
            return each_token(text, tokens)
        return self._whole_words(record, text, tokens) if found is None else found

    def _whole_words(self, record: Record, text: str, tokens: Tokens) -> Words:
        places = self._given(record, text)
        if places is None:
            return found_words(text, tokens, self._tokenizer)
        return given_words(text, tokens, self._tokenizer, places)

    def _given(self, record: Record, text: str) -> list[tuple[int, int]] | None:
        """The places of the words that the input has split itself; None where it has not."""
        if record.words is not None:
            return list(places_of(record.words))
        return [found.span() for found in WORD.finditer(text)] if self._split_words else None

    def _places(self, record: Record, text: str, tokens: Tokens) -> list[tuple[int, int]]:
        """The places of all words, those without a token included."""
        places = self._given(record, text)
        if places is not None:
            return places
        return [(word.start, word.end) for word in found_words(text, tokens, self._tokenizer)]

    def _stitched(self, slices: Sequence[Slice], outputs: Sequence[Array], begins: Sequence[int]) -> Array:
        """Of each token what the window says that decides it: (tokens, labels)."""
        leading = self._windowing.leading
        parts = [
            output[leading + first - start : leading + stop - start]
            for (start, _, _), output, (first, stop) in zip(
                slices, outputs, pairwise(borders(slices, begins)), strict=True
            )
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _spans(self, text: str, words: Words, p: Array) -> list[dict[str, Any]]:
        """The spans of words with probabilities p (words, labels)."""
        best = p.argmax(axis=1)
        if self._transitions is not None and self._aggregation != "simple":
            best = np.array(best_path(np.log(p + LEAST_P), self._transitions), np.int64)
        scores, starts, ends = p[np.arange(len(p)), best].tolist(), words.starts, words.ends
        spans = []
        for first, stop, label in self.tagset.spans(best.tolist()):
            start, end = starts[first], ends[stop - 1]
            start += len(text[start:end]) - len(text[start:end].lstrip())
            if start < end:
                score = sum(scores[first:stop]) / (stop - first)
                spans.append(
                    {"label": label, "start": start, "end": end, "text": text[start:end], "score": score}
                )
        return spans

    def _token_tags(self, tokens: Tokens, kept: slice, p: Array) -> list[dict[str, Any]]:
        """Each of the `kept` tokens with the likeliest of its tags."""
        best, scores = p.argmax(axis=1).tolist(), p.max(axis=1).tolist()
        return [
            {
                "token": self._tokenizer.piece(token),
                "start": start,
                "end": end,
                "label": self.tagset.tags[tag],
                "score": score,
            }
            for token, (start, end), tag, score in zip(
                tokens.ids[kept], tokens.offsets[kept], best, scores, strict=True
            )
        ]

    def _word_tags(
        self, text: str, places: Sequence[tuple[int, int]], spans: Sequence[dict[str, Any]]
    ) -> list[dict[str, str]]:
        """The words at `places` with their tags. A word that spans touch belongs to the first of them."""
        tags = [OUTSIDE] * len(places)
        free = 0
        for span in spans:
            free = bisect_right(places, span["start"], lo=free, key=lambda place: place[1])
            touched = range(free, bisect_left(places, span["end"], lo=free, key=lambda place: place[0]))
            for number in touched:
                tags[number] = self.tagset.spelled(span["label"], begins=number == free)
            free = touched.stop
        return [{"word": text[start:end], "tag": tag} for (start, end), tag in zip(places, tags, strict=True)]


def aggregated(p: Array, words: Words, how: Aggregation) -> Array:
    """Probabilities of words (words, labels) from those of tokens (tokens, labels)."""
    rows: Array = p[np.array(words.firsts, np.int64)]
    if how in ("simple", "first"):
        return rows
    for row, word in enumerate(words):
        if word.stop - word.first > 1:
            pieces = p[word.first : word.stop]
            rows[row] = pieces.mean(axis=0) if how == "average" else pieces[pieces.max(axis=1).argmax()]
    return rows
