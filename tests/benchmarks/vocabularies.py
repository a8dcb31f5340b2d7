"""Tokenizers of random pieces: as many as published models have, of about the same lengths and in the same scripts.

What a vocabulary of random pieces makes of a text does not matter to the time that it takes to load.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterator, Sequence

import sentencepiece
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

LATIN = "etaoinshrdlcumwfgypbvkjxqz"
MANY = LATIN + "еоаинтсрвлкмдпуябыгзчйхжшюцщэфαοιετσνηρκπλμυابتثجحخدकरनतसमहलアイウエオカ的一是不了人我在有他"
LENGTHS, SHARES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12), (1, 4, 9, 13, 16, 16, 14, 11, 8, 5, 3)  # characters
START = "▁"


def wordpiece(size: int, specials: Sequence[str], words: Sequence[str]) -> Tokenizer:
    """As BERT's: `specials` are (padding, unknown, first, last, mask), `words` are among the pieces."""
    pieces = [*specials, *LATIN, *(f"##{letter}" for letter in LATIN), *".,!?", *map(str.lower, words)]
    pieces = _filled(pieces, size, ("", "", "", "##"), LATIN)
    native = Tokenizer(
        models.WordPiece({piece: at for at, piece in enumerate(pieces)}, unk_token=specials[1])
    )
    native.normalizer = normalizers.BertNormalizer(lowercase=True)
    native.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    native.decoder = decoders.WordPiece()
    return _framed(native, specials)


def byte_level(size: int, specials: Sequence[str], words: Sequence[str]) -> Tokenizer:
    """As RoBERTa's, and as ModernBERT's."""
    draw = random.Random(0)
    pieces = [*specials, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    known, merges = set(pieces), []
    short = [*LATIN, "Ġ"]
    wanted = iter([pair for word in words for pair in _chain(f"Ġ{word}")])
    while len(pieces) < size:
        left, right = next(wanted, None) or (draw.choice(short), draw.choice(short))
        if (made := left + right) not in known and "Ġ" not in right:
            known.add(made)
            pieces.append(made)
            merges.append((left, right))
            if len(made) < 6:
                short.append(made)
    native = Tokenizer(models.BPE({piece: at for at, piece in enumerate(pieces)}, merges))
    native.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    native.decoder = decoders.ByteLevel()
    return _framed(native, specials)


def unigram(size: int, specials: Sequence[str], words: Sequence[str], *, letters: str = LATIN) -> Tokenizer:
    """As those of SentencePiece, with its table of normalised characters: XLM-R's, DeBERTa-v3's, ALBERT's."""
    draw = random.Random(1)
    pieces = _filled(
        [*specials, START, *letters, *".,!?", *(START + word for word in words)],
        size,
        (START, START, ""),
        letters,
    )
    scored = [
        (piece, 0.0 if at < len(specials) else -3 - 12 * draw.random()) for at, piece in enumerate(pieces)
    ]
    native = Tokenizer(models.Unigram(scored, unk_id=specials.index(_unknown(specials)), byte_fallback=False))
    native.normalizer = normalizers.Sequence(
        [normalizers.Precompiled(_charsmap()), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    native.pre_tokenizer = pre_tokenizers.Metaspace()
    native.decoder = decoders.Metaspace()
    return _framed(native, specials)


def _filled(pieces: Sequence[str], size: int, beginnings: Sequence[str], letters: str) -> list[str]:
    """`size` different pieces: the given ones, then random ones."""
    draw = random.Random(2)
    weights = [1 / (place % len(LATIN) + 2) for place in range(len(letters))]
    found = dict.fromkeys(pieces)
    while len(found) < size:
        length = draw.choices(LENGTHS, SHARES)[0]
        found[draw.choice(beginnings) + "".join(draw.choices(letters, weights, k=length))] = None
    return list(found)


def _chain(word: str) -> Iterator[tuple[str, str]]:
    """The merges that make a word, a letter at a time."""
    return ((word[:at], word[at]) for at in range(1, len(word)))


def _unknown(specials: Sequence[str]) -> str:
    return next(token for token in specials if "unk" in token.lower())


def _framed(native: Tokenizer, specials: Sequence[str]) -> Tokenizer:
    """The special tokens, and the two of them around a text."""
    native.add_special_tokens(
        [AddedToken(token, lstrip="mask" in token.lower(), special=True) for token in specials]
    )
    first, last = ("<s>", "</s>") if "<s>" in specials else ("[CLS]", "[SEP]")
    native.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B {last}",
        special_tokens=[(token, native.token_to_id(token)) for token in (first, last)],
    )
    return native


def _charsmap() -> bytes:
    """SentencePiece's own table (nmt_nfkc), from a model that is trained on a line."""
    from sentencepiece import sentencepiece_model_pb2

    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([LATIN] * 9),
        model_writer=file,
        vocab_size=40,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(file.getvalue())
    table: bytes = model.normalizer_spec.precompiled_charsmap
    return table
