"""Text to token ids and back: the checkpoint's own tokenizer, on the `tokenizers` library alone.

Texts are encoded bare, without special tokens and without a limit; a Frame then builds the model's input
around any slice of them. The frame is learned from the tokenizer's own post-processor.

A text is only ever text. `[SEP]` or `</s>` written by a user is spelled out in ordinary tokens (unknown ones
where the vocabulary knows no other spelling), so that a line of a file cannot pose as the end of itself;
transformers would take it for the separator. The mask token is read as what it is where a task asks for it,
and so are, always, the additional special tokens of a model: these are made for texts.
"""

from __future__ import annotations

import os
import re
import threading
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tokenizers

from bertcli.errors import ModelError, first_line
from bertcli.models.added import add_tokens
from bertcli.models.classes import (
    contradiction_of_ends,
    contradiction_of_kind,
    gives_token_types,
    takes_unknown_token,
)
from bertcli.models.hazards import find_hazard
from bertcli.models.indexed_vocabulary import IndexedVocabulary
from bertcli.models.jsonfile import ANOTHER_COPY
from bertcli.models.lazy_tokenizer import LazyTokenizer
from bertcli.models.native_tokenizer import native_tokenizer
from bertcli.models.split_points import SplitPoints
from bertcli.models.tokens import Encoding, Frame, Places, Tokens
from bertcli.models.vocabulary import (
    additional_tokens,
    cuts_left,
    declared_names,
    highest_id,
    piece_of,
    pieces_of,
    read_definition,
    special_names,
)

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint

os.environ["RUST_BACKTRACE"] = "0"  # a panic of `tokenizers` becomes a message of ours

WORD_STARTS = ("Ġ", "▁")  # byte-level BPE and SentencePiece mark the first piece of a word
CONTINUATION = "##"  # WordPiece marks all others
_NONSENSE = (ValueError, KeyError, TypeError, IndexError)  # what a definition that makes none leads to
PROBE = "a 1"  # some text to learn the frame from
MOST_AT_ONCE = 65_536  # characters of a text that is not cut: `tokenizers` takes 20 MB for them
BYTES_A_CHARACTER = 300  # that `tokenizers` takes at most

Native = tokenizers.Tokenizer | LazyTokenizer


class _Ahead(threading.local):
    """Texts that were tokenised together, in each thread."""

    tokens: Mapping[str, Tokens] = {}


class Tokenizer:
    """A checkpoint's tokenizer; `mask_token`, `mask_id`, `pad_id`, `unknown_id` are None where it has none.
    `cuts_left` says that a text that is too long loses its beginning and not its end.

    `Tokenizer.of(checkpoint)` makes one. Encoding may run in several threads. Texts of more than
    `most_at_once` characters are encoded piece by piece (see `split_points`).
    """

    def __init__(
        self,
        definition: dict[str, Any],
        names: Mapping[str, str],
        *,
        additional: Collection[str] = (),
        token_types: bool,
    ) -> None:
        """`definition` is a tokenizer.json object, `names` its special tokens by role, `additional` those
        that are read in texts unless they have a role after all. Raises ValueError when the definition is not
        one that `tokenizers` understands."""
        self._definition = definition
        self._read: frozenset[str] = frozenset()
        self._added = {token["content"]: token["id"] for token in definition["added_tokens"]}
        self._token_types = token_types
        self.cuts_left = False
        self._ahead = _Ahead()
        self.most_at_once = MOST_AT_ONCE
        self.mask_token = names.get("mask_token")
        self._native = self._build(self.mask_token)
        self.mask_id = self._id(names, "mask_token")
        self.pad_id = self._id(names, "pad_token")
        self.unknown_id = self._id(names, "unk_token")
        self._special = frozenset(token["id"] for token in definition["added_tokens"] if token.get("special"))
        self._size: int = 1 + max(highest_id(definition), *self._added.values(), -1)
        self._single_frame = self._learn_frame(self._native.encode(PROBE))
        self._pair_frame = self._learn_frame(self._native.encode(PROBE, PROBE))
        self._read = self._harmless_ones(additional, names.values())
        if self._read:
            self._native = self._build(self.mask_token)
        self._armed = self._special - {self._added[token] for token in self._read}
        self._leaks = self._specials_leak()

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Tokenizer:
        """The tokenizer of a checkpoint, lower-casing where its sentence-transformers files ask for it.

        Raises ModelError when its files are missing or make no sense.
        """
        definition = read_definition(checkpoint.tokenizer_path, checkpoint.tokenizer_config)
        if checkpoint.pooling.lower_case:
            lower = [{"type": "Lowercase"}, *filter(None, [definition.get("normalizer")])]
            definition["normalizer"] = {"type": "Sequence", "normalizers": lower}
        where = str(checkpoint.tokenizer_path / "tokenizer.json")
        if hazard := find_hazard(definition):
            raise ModelError(f"is not loaded: {hazard}", where=where, hint=ANOTHER_COPY)
        try:
            add_tokens(definition, checkpoint.tokenizer_path, checkpoint.tokenizer_config)
            names = special_names(checkpoint.tokenizer_path, checkpoint.tokenizer_config, definition)
            additional = additional_tokens(checkpoint.tokenizer_path, checkpoint.tokenizer_config)
            given = gives_token_types(checkpoint.tokenizer_config, checkpoint.model_type)
            types = given and checkpoint.token_types > 1
            tokenizer = cls(definition, names, additional=additional, token_types=types)
            _require_agreement(tokenizer, definition, checkpoint)
        except BaseException as error:
            if not isinstance(error, _NONSENSE) and not _is_panic(error):
                raise
            raise ModelError(
                f"is not a tokenizer: {error}", where=where, hint="download the model again"
            ) from error
        if checkpoint.pooling.static:
            tokenizer.leave_out_specials()
        tokenizer.cuts_left = cuts_left(checkpoint.tokenizer_config, definition)
        around = len(tokenizer.frame(False))
        if around >= checkpoint.position_limit:
            message = f"puts {around} tokens around a text, and the model takes {checkpoint.position_limit}"
            raise ModelError(message, where=where, hint=ANOTHER_COPY)
        if len(tokenizer) > checkpoint.vocab_size:
            raise ModelError(
                f"the tokenizer has {len(tokenizer)} pieces, the model knows {checkpoint.vocab_size}",
                hint="the tokenizer is another model's, or tokens were added without resizing the embeddings",
                where=str(checkpoint.tokenizer_path),
            )
        return tokenizer

    def encode(self, text: str, *, mask: bool = False) -> Tokens:
        """The tokens of a text, all of them, without special tokens around.

        Special tokens spelled out in the text are text, but for the mask token with `mask`.

        Raises MemoryError for a text without a place to cut that does not fit into memory as a whole,
        ModelError where the tokenizer itself fails.
        """
        if not mask and (tokens := self._ahead.tokens.get(text)) is not None:
            return tokens
        masked = self.mask_token is not None and self.mask_token in text
        native = self._native if mask or not masked else self._plain
        if len(text) > self.most_at_once:
            return self._encode_long(native, text, mask)
        encoding = _encoded(native, text)
        return Tokens(self._harmless(encoding.ids, mask), encoding, text)

    @contextmanager
    def tokenized(self, texts: Sequence[str]) -> Iterator[None]:
        """Within it, in this thread, `encode` has the tokens of `texts` ready. They are computed at once, in native
        code that does not hold Python's lock."""
        self._ahead.tokens = self._encode_all(texts)
        try:
            yield
        finally:
            self._ahead.tokens = {}

    def _encode_all(self, texts: Sequence[str]) -> dict[str, Tokens]:
        """The tokens of those texts that need no care of their own; of none where the tokenizer fails."""
        native = self._native.whole if isinstance(self._native, LazyTokenizer) else self._native
        if native is None:
            return {}
        plain = [
            text
            for text in dict.fromkeys(texts)
            if len(text) <= self.most_at_once and (self.mask_token is None or self.mask_token not in text)
        ]
        try:
            encodings = native.encode_batch(plain, add_special_tokens=False)
        except BaseException as error:  # each text by itself shows which one it is
            if not isinstance(error, Exception) and not _is_panic(error):
                raise
            return {}
        return {
            text: Tokens(self._harmless(encoding.ids, False), encoding, text)
            for text, encoding in zip(plain, encodings, strict=True)
        }

    def _encode_long(self, native: Native, text: str, mask: bool) -> Tokens:
        """The same piece by piece, each with the last character of the one before it at its beginning."""
        ids, places = array("i"), Places(text)
        for start, stop in self._split_points.pieces(text, self.most_at_once):
            if stop - start > 2 * self.most_at_once:
                _require_memory(stop - start)
            begin = max(0, start - 1)
            known = len(_encoded(native, text[begin:start]).ids)
            encoding = _encoded(native, text[begin:stop])
            ids.extend(self._harmless(encoding.ids[known:], mask))
            places.add(encoding.offsets[known:], begin)
        return Tokens(ids, places, text)

    def _harmless(self, ids: list[int], mask: bool) -> list[int]:
        """The ids without special tokens that were made from text, but for the mask token with `mask`."""
        if self._leaks and not self._armed.isdisjoint(ids):
            return self._disarm(ids, self.mask_id if mask else None)
        return ids

    def leave_out_specials(self) -> None:
        """Put no special tokens around texts."""
        self._single_frame = self._pair_frame = Frame((), (), (), None)

    def frame(self, pair: bool) -> Frame:
        """The special tokens around a text, or around two."""
        return self._pair_frame if pair else self._single_frame

    def id_of(self, token: str, *, added: bool = False) -> int | None:
        """The id of a token as the vocabulary spells it, None where it has none; with `added` of one of those that
        were added to the vocabulary alone."""
        if added:
            return self._added.get(token)
        number: int | None = self._native.token_to_id(token)
        return number

    def piece(self, token: int) -> str:
        """A token as the vocabulary spells it, with the marks of its kind (`##ing`, `Ġthe`)."""
        piece: str | None = self._native.id_to_token(token)
        return piece or ""

    @cached_property
    def _style(self) -> str:
        return _word_style(self._definition)

    @property
    def marks_insides(self) -> bool:
        """Whether pieces inside a word are marked (`##ing`). With vocabularies that do so (WordPiece) words
        never hold punctuation; others know only blanks."""
        return self._style == CONTINUATION

    def starts_word(self, token: int) -> bool:
        """Whether the vocabulary marks the token as the beginning of a word (always, where it marks none)."""
        piece = self.piece(token)
        if self._style == "":
            return True
        return (
            not piece.startswith(CONTINUATION)
            if self._style == CONTINUATION
            else piece.startswith(self._style)
        )

    def is_special(self, token: int) -> bool:
        return token in self._special

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some tokens, special ones included."""
        text: str = self._native.decode(list(ids), skip_special_tokens=False)
        return text

    def __len__(self) -> int:
        """One more than the highest id."""
        return self._size

    @cached_property
    def pieces(self) -> list[str]:
        """The vocabulary by id; empty strings where an id has no piece."""
        known = pieces_of(self._definition) | self._added
        pieces = [""] * self._size
        for piece, number in known.items():
            pieces[number] = piece
        return pieces

    @cached_property
    def _split_points(self) -> SplitPoints:
        read = [
            token
            for token in self._definition["added_tokens"]
            if token["content"] in (self.mask_token, *self._read) or not token.get("special")
        ]
        return SplitPoints(self._definition, self._native.normalizer, read)

    @cached_property
    def _plain(self) -> Native:
        """Reads no special token but the additional ones."""
        return self._build(None)

    def _build(self, mask_token: str | None) -> Native:
        """A native tokenizer that reads `mask_token` and the additional special tokens in a text, no others.

        `encode_special_tokens` makes text of special tokens; those not called special are left alone.
        """
        added = [
            token | {"special": False} if token["content"] in (mask_token, *self._read) else token
            for token in self._definition["added_tokens"]
        ]
        _require_unknown_token(self._definition["model"])
        try:
            bare = {"added_tokens": added, "truncation": None, "padding": None}  # these would cut in silence
            definition = self._definition | bare
            if isinstance(definition["model"]["vocab"], IndexedVocabulary):
                return LazyTokenizer(definition)
            native = native_tokenizer(definition)
        except Exception as error:  # tokenizers raises bare Exception for every definition it cannot read
            raise ValueError(str(error)) from error
        native.encode_special_tokens = True
        return native

    def _id(self, names: Mapping[str, str], role: str) -> int | None:
        return self._native.token_to_id(names[role]) if role in names else None

    def _specials_leak(self) -> bool:
        """Whether the model itself, and not only the search for special tokens, makes them from text: a
        Unigram vocabulary lists them among its pieces."""
        spelled = [token["content"] for token in self._definition["added_tokens"] if token.get("special")]
        return any(not self._armed.isdisjoint(self._plain_ids(f"a {token}")) for token in spelled)

    def _plain_ids(self, text: str) -> list[int]:
        ids = self._native.encode(text, add_special_tokens=False).ids
        return [token for token in ids if token not in (self.mask_id, self.unknown_id)]

    def _disarm(self, ids: list[int], welcome: int | None) -> list[int]:
        """Special tokens made from text, other than `welcome`, become unknown ones."""
        armed = self._armed - {welcome}
        if self.unknown_id is None:
            return [token for token in ids if token not in armed]
        return [self.unknown_id if token in armed else token for token in ids]

    def _harmless_ones(self, additional: Collection[str], roles: Collection[str]) -> frozenset[str]:
        """Those of the additional special tokens that no text can pose as its own end with."""
        frames = (self._single_frame, self._pair_frame)
        framing = {token for frame in frames for token in (*frame.before, *frame.between, *frame.after)}
        return frozenset(
            token for token in additional if token not in roles and self._added[token] not in framing
        )

    def _learn_frame(self, probe: Encoding) -> Frame:
        """Take apart an encoding: its sequence ids are None for special tokens, 0 for a, 1 for b."""
        sequences = probe.sequence_ids
        if 0 not in sequences:
            raise ValueError(f"it finds no token in {PROBE!r}")
        first_a, last_a = sequences.index(0), len(sequences) - sequences[::-1].index(0)
        paired = 1 in sequences
        first_b = sequences.index(1) if paired else len(sequences)
        last_b = len(sequences) - sequences[::-1].index(1) if paired else last_a
        between = slice(last_a, first_b if paired else last_a)
        ids, types = probe.ids, probe.type_ids
        return Frame(
            before=tuple(ids[:first_a]),
            between=tuple(ids[between]),
            after=tuple(ids[last_b:]),
            types=(
                tuple(types[:first_a]),
                types[first_a],
                tuple(types[between]),
                types[first_b] if paired else 0,
                tuple(types[last_b:]),
            )
            if self._token_types
            else None,
        )


def _encoded(native: Native, text: str) -> Encoding:
    """The tokens of a text. Raises ModelError where `tokenizers` panics."""
    try:
        return native.encode(text, add_special_tokens=False)
    except BaseException as error:
        if not _is_panic(error):
            raise
        message = f"the tokenizer failed on a text: {first_line(error)}"
        raise ModelError(message, hint="see what is wrong with it by `bertcli models check`") from error


def _is_panic(error: BaseException) -> bool:
    """Whether the Rust of `tokenizers` panicked: its error is no Exception and has no name to import."""
    return type(error).__name__ == "PanicException"


def _require_agreement(tokenizer: Tokenizer, definition: Mapping[str, Any], checkpoint: Checkpoint) -> None:
    """Raise ModelError where transformers follows another file than tokenizer.json and makes other tokens."""
    config, model = checkpoint.tokenizer_config, definition["model"]
    named = declared_names(checkpoint.tokenizer_path, config)
    wrong = contradiction_of_kind(config, str(model.get("type")))
    frame = tokenizer.frame(False)
    if wrong is None and frame.before and frame.after:
        ends = tokenizer.piece(frame.before[0]), tokenizer.piece(frame.after[-1])
        wrong = contradiction_of_ends(config, named, ends)
    if wrong is None and model.get("type") == "Unigram" and takes_unknown_token(config):
        unknown = piece_of(definition, model["unk_id"])
        if named.get("unk_token", unknown) != unknown:
            wrong = f"unk_token is {named['unk_token']!r}, and tokenizer.json has {unknown!r}"
    if wrong is not None:
        raise ModelError(
            wrong, hint=f"make the files agree, or {ANOTHER_COPY}", where=str(checkpoint.tokenizer_path)
        )


def _require_memory(characters: int) -> None:
    """Raise MemoryError for a part that does not fit into memory: `tokenizers` would end the process."""
    available = available_memory()
    if available is not None and characters * BYTES_A_CHARACTER > available:
        raise MemoryError(f"{characters} characters without a place to cut")


def available_memory() -> int | None:
    """The bytes that can be taken without swapping, None where the system does not report it."""
    with suppress(OSError):
        found = re.search(r"^MemAvailable: *(\d+) kB", Path("/proc/meminfo").read_text("ascii"), re.MULTILINE)
        return int(found[1]) * 1024 if found else None
    return None


def _word_style(definition: Mapping[str, Any]) -> str:
    """The mark this vocabulary puts on pieces: `##` inside words, `Ġ` or `▁` at their beginning, or none."""
    model = definition["model"]
    if model.get("continuing_subword_prefix"):
        return CONTINUATION
    pieces = "\n".join(["", *pieces_of(definition)])
    counts = {mark: pieces.count(f"\n{mark}") for mark in WORD_STARTS}
    mark = max(WORD_STARTS, key=counts.__getitem__)
    return mark if counts[mark] else ""


def _require_unknown_token(model: Mapping[str, Any]) -> None:
    """Without its token for what it does not know, a model fails in the middle of a run."""
    unknown = model.get("unk_token")
    if unknown is not None and unknown not in model["vocab"]:
        raise ValueError(f"its token for unknown pieces, {unknown!r}, is not in its vocabulary")
    if model.get("type") == "Unigram" and model.get("unk_id") is None:
        raise ValueError("it has no token for unknown pieces")
