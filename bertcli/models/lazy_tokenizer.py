"""A tokenizer that begins with the pieces of the texts it is given, and reads its whole vocabulary when these are many.

A model of `tokenizers` makes the same tokens of a word whether it knows its whole vocabulary or only those pieces that
are somewhere in the word. These are found in an `IndexedVocabulary`. What words there are, behind the normalizer, the
pre-tokenizer and the search for added tokens, is seen by running `tokenizers` with a model that knows nothing: it gives
each word as it is. Ids are then those of the small vocabulary, and are translated.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from tokenizers import Encoding, Tokenizer, models

from bertcli.models.indexed_vocabulary import IndexedVocabulary
from bertcli.models.native_tokenizer import Parts, constructed, native_tokenizer

LEAST_EFFORT = 30_000  # pieces looked for or put into a tokenizer before all are read
SHARE = 2  # of the vocabulary: looking for a piece takes half the time of reading one
NOTHING = "\U0010ffff"  # a noncharacter, rare in texts: the only piece of the model that knows nothing


class TranslatedEncoding:
    """An encoding with the ids of the whole vocabulary."""

    __slots__ = ("_encoding", "ids")

    def __init__(self, encoding: Encoding, numbers: Sequence[int]) -> None:
        self._encoding = encoding
        # A special token around a text is part of no sequence, and its id is that of tokenizer.json already.
        self.ids = [
            token if sequence is None else numbers[token]
            for token, sequence in zip(encoding.ids, encoding.sequence_ids, strict=True)
        ]

    @property
    def offsets(self) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = self._encoding.offsets
        return found

    @property
    def sequence_ids(self) -> list[int | None]:
        found: list[int | None] = self._encoding.sequence_ids
        return found

    @property
    def type_ids(self) -> list[int]:
        found: list[int] = self._encoding.type_ids
        return found


class LazyTokenizer:
    """What is used here of `tokenizers.Tokenizer`, with the same answers. May be used in several threads.

    `definition` is a tokenizer.json object whose vocabulary is an IndexedVocabulary. Special tokens in texts are
    text.
    """

    def __init__(self, definition: Mapping[str, Any]) -> None:
        """Raises Exception, or what `tokenizers` makes of it, for a definition that makes no tokenizer."""
        self._definition = definition
        self._stored = definition["model"]
        self._vocabulary: IndexedVocabulary = self._stored["vocab"]
        self._parts = Parts(definition)
        self._added = dict(self._numbered())
        self._words = self._parts.tokenizer(models.Unigram([(NOTHING, 0.0)], 0, False))
        self._words.encode_special_tokens = True
        self._seen: frozenset[str] = frozenset()
        self._effort = 0
        self._most_effort = max(LEAST_EFFORT, len(self._vocabulary) // SHARE)
        self._lock = threading.Lock()
        self._known = self._vocabulary.find(self._always())
        self._whole: Tokenizer | None = None
        self._small = self._made()

    @property
    def normalizer(self) -> Any:
        return self._words.normalizer

    @property
    def whole(self) -> Tokenizer | None:
        """The tokenizer with the whole vocabulary, where that has been read."""
        return self._whole

    def encode(
        self, text: str, pair: str | None = None, add_special_tokens: bool = True
    ) -> Encoding | TranslatedEncoding:
        if self._whole is None:
            words = set(self._words.encode(text, pair, add_special_tokens=False).tokens)
            if not words <= self._seen:
                with self._lock:
                    self._learn_words(words)
        if self._whole is not None:
            return self._whole.encode(text, pair, add_special_tokens=add_special_tokens)
        small, numbers = self._small
        return TranslatedEncoding(small.encode(text, pair, add_special_tokens=add_special_tokens), numbers)

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        with self._lock:
            native, places = self._learn_ids(ids)
        text: str = native.decode(places, skip_special_tokens=skip_special_tokens)
        return text

    def id_to_token(self, number: int) -> str | None:
        if number in self._added.values():
            small, numbers = self._small
            token: str | None = small.id_to_token(numbers.index(number))
            return token
        return self._vocabulary.piece(number) if 0 <= number < len(self._vocabulary) else None

    def token_to_id(self, token: str) -> int | None:
        return self._added[token] if token in self._added else self._vocabulary.get(token)

    def _learn_words(self, words: set[str]) -> None:
        """Make a tokenizer that also knows the pieces of some words, unless another thread has made it."""
        new = words - self._seen
        if self._whole is not None or not new:
            return
        candidates = {part for word in new for part in self._substrings(word)}
        self._learn(candidates, complete=not any(NOTHING in word for word in new))
        self._seen |= new

    def _learn_ids(self, ids: Sequence[int]) -> tuple[Tokenizer, Sequence[int]]:
        """A tokenizer that knows the pieces of some ids, and what these are in it."""
        if self._whole is None:
            unknown = set(ids).difference(self._small[1])
            pieces = {
                self._vocabulary.piece(number) for number in unknown if 0 <= number < len(self._vocabulary)
            }
            if pieces:
                self._learn(pieces)
        if self._whole is not None:
            return self._whole, ids
        small, numbers = self._small
        places = {number: place for place, number in enumerate(numbers)}
        return small, [places[number] for number in ids if number in places]

    def _learn(self, candidates: Collection[str], *, complete: bool = True) -> None:
        """Make a tokenizer that also knows those of `candidates` that are pieces, or one that knows all pieces where
        that takes no longer, or where `candidates` are not `complete`."""
        self._effort += len(candidates) + len(self._known)
        if self._effort > self._most_effort or not complete:
            whole = native_tokenizer(dict(self._definition) | {"model": self._vocabulary.model()})
            whole.encode_special_tokens = True
            self._whole = whole
        else:
            self._known |= self._vocabulary.find(candidates)
            self._small = self._made()

    def _substrings(self, word: str) -> Iterator[str]:
        """What may be a piece of a word. Too many are left out, and the whole vocabulary is read."""
        longest, prefix = self._vocabulary.longest, self._stored.get("continuing_subword_prefix") or ""
        if len(word) * min(len(word), longest) > 2 * self._most_effort:
            self._effort = self._most_effort + 1
            return
        for start in range(len(word)):
            for stop in range(start + 1, min(len(word), start + longest) + 1):
                yield word[start:stop]
                if prefix and start:
                    yield prefix + word[start:stop]

    def _always(self) -> Iterator[str]:
        """The pieces that a model has whatever the text is."""
        if self._stored.get("unk_token") is not None:
            yield self._stored["unk_token"]
        if self._stored["type"] == "Unigram":
            yield self._vocabulary.piece(self._stored["unk_id"])
            yield self._vocabulary.piece(self._vocabulary.lowest_score)
        if self._stored.get("byte_fallback"):
            yield from (f"<0x{byte:02X}>" for byte in range(256))

    def _made(self) -> tuple[Tokenizer, list[int]]:
        """A tokenizer of the known pieces, and the ids of the whole vocabulary by its own."""
        pieces, numbers = list(self._known), list(self._known.values())
        model: dict[str, Any] = dict(self._stored)
        if model["type"] == "Unigram":
            scores = self._vocabulary.scores(numbers)
            model |= {
                "vocab": list(zip(pieces, scores, strict=True)),
                "unk_id": numbers.index(model["unk_id"]),
            }
        else:
            model["vocab"] = {piece: place for place, piece in enumerate(pieces)}
        if model["type"] == "BPE":
            model["merges"] = self._vocabulary.merges(numbers)
        made = constructed(model)
        assert made is not None  # or it would have no table
        small = self._parts.tokenizer(made)
        small.encode_special_tokens = True
        by_place = {small.token_to_id(token): number for token, number in self._added.items()}
        behind = range(len(numbers), small.get_vocab_size(with_added_tokens=True))
        return small, numbers + [by_place[place] for place in behind]

    def _numbered(self) -> Iterator[tuple[str, int]]:
        """The added tokens and the ids that `tokenizers` gives them: their own in the vocabulary, else the next one
        behind it."""
        free = len(self._vocabulary)
        own = self._vocabulary.find(token["content"] for token in self._parts.added)
        for content in dict.fromkeys(token["content"] for token in self._parts.added):
            number = own.get(content, free)
            free = max(free, number + 1)
            yield content, number
