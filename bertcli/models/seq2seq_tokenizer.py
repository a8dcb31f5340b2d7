"""Source text to token ids and generated ids to text, for encoder-decoders.

Most checkpoints have one tokenizer.json for both languages. Marian (opus-mt) has a SentencePiece model for each
language and a vocabulary that numbers the pieces of both; M2M-100 has one model and such a vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import orjson
import tokenizers

from bertcli.errors import ModelError, UsageError
from bertcli.models.jsonfile import ANOTHER_COPY, read_object
from bertcli.models.sentencepiece import SPACE, read_sentencepiece
from bertcli.models.tokenizer import Tokenizer

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint

# Language codes as tokens: en_XX and eng_Latn, __en__, >>fra<<.
LANGUAGE = re.compile(r"[a-z]{2,3}_[A-Z][A-Za-z]{1,3}|__[a-z]{2,3}__|>>[\w-]+<<", re.ASCII)
_BLANKS = (SPACE, "\u0120")  # what begins a word in SentencePiece's and in byte-level vocabularies
MANY_LANGUAGES = 8  # listed in a message
# Their decoder starts from the language's token; of all others it is the first token that is generated.
_START_FROM_LANGUAGE = frozenset(["MBartTokenizer", "MBartTokenizerFast"])


class TokenCodec(Protocol):
    """Text to ids without special tokens, and ids to text without special tokens."""

    def encode(self, text: str) -> Sequence[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def starts_word(self, token: int) -> bool: ...

    def offsets(self, text: str) -> Sequence[tuple[int, int]]:
        """(start, stop) of each token of `encode(text)` in characters of the text."""
        ...

    def encode_target(self, text: str) -> Sequence[int]:
        """Ids of a text in the target language."""
        ...

    def target_offsets(self, text: str) -> Sequence[tuple[int, int]]:
        """(start, stop) of each token of `encode_target(text)`."""
        ...

    def piece(self, token: int) -> str:
        """A source token as the vocabulary spells it."""
        ...

    def target_piece(self, token: int) -> str:
        """A target token as the vocabulary spells it."""
        ...

    def target_pieces(self) -> Iterable[tuple[int, str]]:
        """All target tokens but special ones."""
        ...


@dataclass(frozen=True, slots=True)
class Languages:
    """What two language codes do: tokens before and after the source, and the first token of the target or the one that
    its decoder starts from."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    first_token: int | None = None
    start_token: int | None = None


class Seq2SeqTokenizer:
    """The tokenizer of an encoder-decoder. `languages` are the tokens of language codes, by token."""

    def __init__(
        self,
        codec: TokenCodec,
        before: tuple[int, ...],
        after: tuple[int, ...],
        languages: Mapping[str, int],
        name: str,
        *,
        starts_from_language: bool = False,
    ) -> None:
        self._codec = codec
        self._before, self._after = before, after
        self._starts_from_language = starts_from_language
        self._name = name
        self.languages = languages
        self.encode = codec.encode
        self.decode = codec.decode
        self.starts_word = codec.starts_word
        self.offsets = codec.offsets
        self.encode_target = codec.encode_target
        self.target_offsets = codec.target_offsets
        self._language_tokens = {token: piece for piece, token in languages.items()}

    def piece(self, token: int) -> str:
        """A source token as the vocabulary spells it, that of a language included."""
        return self._language_tokens.get(token) or self._codec.piece(token)

    def target_piece(self, token: int) -> str:
        """The same of a target token."""
        return self._language_tokens.get(token) or self._codec.target_piece(token)

    def encode_phrase(self, text: str) -> tuple[int, ...]:
        """Ids of a text inside a target sentence, with a blank before it where words have one."""
        ids = tuple(self.encode_target(text))
        if ids and not self.target_piece(ids[0]).startswith(_BLANKS):
            ids = tuple(self.encode_target(f" {text}"))  # a byte-level vocabulary adds no blank by itself
        return ids

    @cached_property
    def word_insides(self) -> tuple[int, ...]:
        """The target tokens that continue the word before them, parts of letters in bytes included."""
        return tuple(
            token
            for token, piece in self._codec.target_pieces()
            if piece[:1].isalnum() or piece[:1] == "_" or piece.startswith(("##", "<0x"))
        )

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Seq2SeqTokenizer:
        """Raises ModelError where the tokenizer's files are missing or make no sense."""
        if has_own_vocabularies(checkpoint):
            is_marian = (checkpoint.tokenizer_path / "source.spm").exists()
            return _marian(checkpoint) if is_marian else _m2m_100(checkpoint)
        tokenizer = Tokenizer.of(checkpoint)
        frame = tokenizer.frame(False)
        pieces = enumerate(tokenizer.pieces)
        languages = {piece: number for number, piece in pieces if LANGUAGE.fullmatch(piece)}
        if len(languages) < 2:  # a word that looks like a code
            languages = {}
        return cls(
            _Native(tokenizer),
            frame.before,
            frame.after,
            languages,
            checkpoint.name,
            starts_from_language=checkpoint.tokenizer_config.get("tokenizer_class") in _START_FROM_LANGUAGE,
        )

    def speak(self, source: str | None, target: str | None, *, is_target_known: bool) -> Languages:
        """What the codes of a source and a target language do, as users spell them.

        `is_target_known` says that the checkpoint's generation settings name the target themselves. Raises UsageError
        for a code that the model does not have, or where it needs one that is not given.
        """
        if not self.languages:
            for option, code in (("--source-lang", source), ("--target-lang", target)):
                if code is not None:
                    raise UsageError(f"{option}: {self._name} has no language codes", hint="leave it out")
            return Languages(self._before, self._after)
        before, after = self._before, self._after
        marks_source = any(token.startswith(">>") for token in self.languages)
        if marks_source:  # the target's code begins the source
            if source is not None:
                raise UsageError(f"--source-lang: {self._name} has no codes of sources", hint="leave it out")
            return Languages(
                before if target is None else (self._id(target, "--target-lang"), *before), after
            )
        if source is not None:
            token = self._id(source, "--source-lang")
            known = set(self.languages.values())
            swapped = [tuple(token if each in known else each for each in side) for side in (before, after)]
            before, after = swapped if known & {*before, *after} else ((token, *before), after)
        if target is None and not is_target_known:
            raise UsageError(
                f"{self._name} writes many languages: which one?", hint=f"--target-lang takes {self._some()}"
            )
        spoken = None if target is None else self._id(target, "--target-lang")
        if self._starts_from_language:
            return Languages(before, after, start_token=spoken)
        return Languages(before, after, first_token=spoken)

    def _id(self, code: str, option: str) -> int:
        for spelling in (code, f"__{code}__", f">>{code}<<"):
            if spelling in self.languages:
                return self.languages[spelling]
        near = [token for token in self.languages if token.startswith(f"{code}_")]
        if len(near) == 1:  # en for en_XX
            return self.languages[near[0]]
        raise UsageError(f"{option}: {self._name} has no language {code}", hint=f"it takes {self._some()}")

    def _some(self) -> str:
        names = sorted(token.strip("_<>") for token in self.languages)
        more = f" and {len(names) - MANY_LANGUAGES} more" if len(names) > MANY_LANGUAGES else ""
        return ", ".join(names[:MANY_LANGUAGES]) + more


def has_own_vocabularies(checkpoint: Checkpoint) -> bool:
    """Whether SentencePiece models and a vocabulary that numbers their pieces are the tokenizer, as Marian and M2M-100
    have it, and not one tokenizer.json."""
    path = checkpoint.tokenizer_path
    models = (path / "source.spm", path / "sentencepiece.bpe.model")
    numbered = (path / "vocab.json").exists() and any(model.exists() for model in models)
    return numbered and not (path / "tokenizer.json").exists()


class _Native:
    """A checkpoint's own tokenizer.json."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def encode(self, text: str) -> Sequence[int]:
        return self._tokenizer.encode(text).ids

    def decode(self, ids: Sequence[int]) -> str:
        tokenizer = self._tokenizer
        return tokenizer.decode(
            [number for number in ids if number < len(tokenizer) and not tokenizer.is_special(number)]
        ).strip()

    def starts_word(self, token: int) -> bool:
        return self._tokenizer.starts_word(token)

    def offsets(self, text: str) -> Sequence[tuple[int, int]]:
        return self._tokenizer.encode(text).offsets

    encode_target = encode
    target_offsets = offsets

    def piece(self, token: int) -> str:
        return self._tokenizer.piece(token)

    target_piece = piece

    def target_pieces(self) -> Iterable[tuple[int, str]]:
        special = self._tokenizer.is_special
        return ((token, piece) for token, piece in enumerate(self._tokenizer.pieces) if not special(token))


class _Numbered:
    """SentencePiece models for source and target, whose pieces vocab.json numbers."""

    def __init__(
        self, source: tokenizers.Tokenizer, target: tokenizers.Tokenizer, vocabulary: Mapping[str, int],
        target_vocabulary: Mapping[str, int], special: frozenset[str], unknown: int,
    ) -> None:  # fmt: skip
        self._source, self._target = source, target
        self._vocabulary, self._target_vocabulary = vocabulary, target_vocabulary
        self._unknown = unknown
        self._special = special
        self._pieces = {number: piece for piece, number in target_vocabulary.items()}
        self._source_pieces = {number: piece for piece, number in vocabulary.items()}

    def encode(self, text: str) -> Sequence[int]:
        return self._numbers(self._source, self._vocabulary, text)

    def encode_target(self, text: str) -> Sequence[int]:
        return self._numbers(self._target, self._target_vocabulary, text)

    def _numbers(
        self, model: tokenizers.Tokenizer, vocabulary: Mapping[str, int], text: str
    ) -> Sequence[int]:
        tokens = model.encode(text, add_special_tokens=False).tokens
        unknown = self._unknown
        return [unknown if token in self._special else vocabulary.get(token, unknown) for token in tokens]

    def decode(self, ids: Sequence[int]) -> str:
        pieces = (self._pieces.get(number, "") for number in ids)
        joined = "".join(piece for piece in pieces if piece not in self._special)
        return joined.replace(SPACE, " ").strip()

    def starts_word(self, token: int) -> bool:
        return self._source_pieces.get(token, "").startswith(SPACE)

    def offsets(self, text: str) -> Sequence[tuple[int, int]]:
        return _places(self._source, text)

    def target_offsets(self, text: str) -> Sequence[tuple[int, int]]:
        return _places(self._target, text)

    def piece(self, token: int) -> str:
        return self._source_pieces.get(token, "")

    def target_piece(self, token: int) -> str:
        return self._pieces.get(token, "")

    def target_pieces(self) -> Iterable[tuple[int, str]]:
        return ((token, piece) for token, piece in self._pieces.items() if piece not in self._special)


def _places(model: tokenizers.Tokenizer, text: str) -> Sequence[tuple[int, int]]:
    """(start, stop) of each token without the blanks before it."""
    places = model.encode(text, add_special_tokens=False).offsets
    return [(start + len(text[start:stop]) - len(text[start:stop].lstrip()), stop) for start, stop in places]


def _marian(checkpoint: Checkpoint) -> Seq2SeqTokenizer:
    path, settings = checkpoint.tokenizer_path, checkpoint.tokenizer_config
    vocabulary = _vocabulary(checkpoint, "vocab.json")
    separate = settings.get("separate_vocabs") is True
    target_vocabulary = _vocabulary(checkpoint, "target_vocab.json") if separate else vocabulary
    names = {role: settings.get(role) or usual for role, usual in _MARIAN.items()}
    end, unknown = (
        _required(vocabulary, names["eos_token"], path),
        _required(vocabulary, names["unk_token"], path),
    )
    source = _sentencepiece(checkpoint, "source.spm")
    target = _sentencepiece(checkpoint, "target.spm")
    codec = _Numbered(source, target, vocabulary, target_vocabulary, frozenset(names.values()), unknown)
    languages = {
        token: number for token, number in vocabulary.items() if LANGUAGE.fullmatch(token) and token[0] == ">"
    }
    return Seq2SeqTokenizer(codec, (), (end,), languages, checkpoint.name)


_MARIAN = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


# The languages of M2M-100 and of its successor for WMT 2021, in the order of their embeddings behind the vocabulary's.
_LANGUAGES: Mapping[str, str] = {
    "m2m100": (
        "af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu ha he hi "
        "hr ht hu hy id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne nl no ns "
        "oc or pa pl ps pt ro ru sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi yo zh "
        "zu"
    ),
    "wmt21": ("en ha is ja cs ru zh de"),
}


def _m2m_100(checkpoint: Checkpoint) -> Seq2SeqTokenizer:
    path, settings = checkpoint.tokenizer_path, checkpoint.tokenizer_config
    vocabulary = _vocabulary(checkpoint, "vocab.json")
    end, unknown = _required(vocabulary, "</s>", path), _required(vocabulary, "<unk>", path)
    codes = _LANGUAGES.get(settings.get("language_codes") or "m2m100", "").split()
    languages = {f"__{code}__": len(vocabulary) + place for place, code in enumerate(codes)}
    model = _sentencepiece(checkpoint, "sentencepiece.bpe.model")
    special = frozenset(["<s>", "</s>", "<unk>", "<pad>"])
    codec = _Numbered(model, model, vocabulary, vocabulary, special, unknown)
    source = settings.get("src_lang") or "en"
    before = (languages[f"__{source}__"],) if f"__{source}__" in languages else ()
    return Seq2SeqTokenizer(codec, before, (end,), languages, checkpoint.name)


def _vocabulary(checkpoint: Checkpoint, file: str) -> dict[str, int]:
    found = read_object(checkpoint.tokenizer_path / file)
    if not all(type(number) is int for number in found.values()):
        raise ModelError(
            "does not number pieces", where=str(checkpoint.tokenizer_path / file), hint=ANOTHER_COPY
        )
    return dict(found)


def _required(vocabulary: Mapping[str, int], token: Any, path: Any) -> int:
    if token not in vocabulary:
        raise ModelError(f"vocab.json has no {token}", where=str(path), hint=ANOTHER_COPY)
    return vocabulary[token]


def _sentencepiece(checkpoint: Checkpoint, file: str) -> tokenizers.Tokenizer:
    path = checkpoint.tokenizer_path / file
    definition = read_sentencepiece(path).definition()
    try:
        return tokenizers.Tokenizer.from_buffer(orjson.dumps(definition))
    except Exception as error:  # tokenizers raises bare Exception for every definition it cannot read
        raise ModelError(f"makes no tokenizer: {error}", where=str(path), hint=ANOTHER_COPY) from error
