"""Tokenizers of encoder-decoders against sentencepiece and transformers."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import transformers

from bertcli.errors import ModelError, UsageError
from bertcli.models.checkpoint import open_checkpoint
from bertcli.models.sentencepiece import read_sentencepiece
from bertcli.models.seq2seq_tokenizer import Seq2SeqTokenizer
from tests.checkpoints import TEXTS

STRANGE = ["Héllo  wörld ½ ﬁne …", "  a b  ", "日本 x", "x\ty", "“q” don’t"]  # noqa: RUF001


def train(folder: Path, name: str, kind: str) -> Path:
    texts = folder / "texts.txt"
    texts.write_text("\n".join(TEXTS), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(texts), model_prefix=str(folder / name), vocab_size=120, model_type=kind, minloglevel=2,
        hard_vocab_limit=False, character_coverage=0.98,
    )  # fmt: skip
    return folder / f"{name}.model"


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_reads_sentencepiece_models(tmp_path: Path, kind: str) -> None:
    import orjson
    import tokenizers

    path = train(tmp_path, kind, kind)
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(path))
    ours = tokenizers.Tokenizer.from_buffer(orjson.dumps(read_sentencepiece(path).definition()))
    for text in [*TEXTS, *STRANGE]:
        assert ours.encode(text).ids == theirs.encode(text)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "source.spm").write_bytes(b"\x0a\xff\xff nonsense")
    with pytest.raises(ModelError, match="not a SentencePiece model"):
        read_sentencepiece(tmp_path / "source.spm")


def write_model(path: Path, family: str, **settings: Any) -> None:
    sizes = {
        "d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8, "max_position_embeddings": 64,
    }  # fmt: skip
    config = getattr(transformers, f"{family}Config")(**(sizes | settings))
    kind = "MarianMTModel" if family == "Marian" else f"{family}ForConditionalGeneration"
    getattr(transformers, kind)(config).save_pretrained(path)


@pytest.fixture(scope="module")
def marian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in the layout of opus-mt, with two target languages."""
    path = tmp_path_factory.mktemp("marian")
    pieces = ["</s>", "<unk>", ">>deu<<", ">>nld<<"]
    for name, kind in (("source", "unigram"), ("target", "unigram")):
        model = train(path, name, kind)
        model.rename(path / f"{name}.spm")
        processor = sentencepiece.SentencePieceProcessor(model_file=str(path / f"{name}.spm"))
        pieces += [processor.id_to_piece(number) for number in range(3, len(processor))]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys([*pieces, "<pad>"]))}
    (path / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "MarianTokenizer", "source_lang": "en", "target_lang": "de"})
    )
    pad = vocabulary["<pad>"]
    write_model(
        path,
        "Marian",
        vocab_size=len(vocabulary),
        pad_token_id=pad,
        eos_token_id=0,
        decoder_start_token_id=pad,
    )
    return path


def test_marian_is_read_as_transformers_reads_it(marian: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sacremoses is recommended
        theirs = transformers.AutoTokenizer.from_pretrained(marian)
    ours = Seq2SeqTokenizer.of(open_checkpoint(marian))
    spoken = ours.speak(None, "deu", is_target_known=False)
    for text in [*TEXTS, *STRANGE]:
        expected = theirs(">>deu<<" + text)["input_ids"]
        assert [*spoken.before, *ours.encode(text), *spoken.after] == expected
        assert ours.decode(expected[1:]) == theirs.decode(expected[1:], skip_special_tokens=True)


def test_language_codes(marian: Path) -> None:
    tokenizer = Seq2SeqTokenizer.of(open_checkpoint(marian))
    with pytest.raises(UsageError, match="no language fr") as error:
        tokenizer.speak(None, "fr", is_target_known=False)
    assert "deu, nld" in str(error.value.hint)
    with pytest.raises(UsageError, match="no codes of sources"):
        tokenizer.speak("en", "deu", is_target_known=False)


def test_m2m_100_is_read_as_transformers_reads_it(tmp_path: Path) -> None:
    from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES

    model = train(tmp_path, "m2m", "bpe")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    pieces = ["<s>", "<pad>", "</s>", "<unk>"] + [processor.id_to_piece(n) for n in range(3, len(processor))]
    source, path = tmp_path / "source", tmp_path / "m2m"
    source.mkdir()
    (source / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
    theirs = transformers.M2M100Tokenizer(
        vocab_file=str(source / "vocab.json"), spm_file=str(model), src_lang="en", tgt_lang="fr"
    )
    write_model(path, "M2M100", vocab_size=len(pieces) + len(FAIRSEQ_LANGUAGE_CODES["m2m100"]) + 8)
    theirs.save_pretrained(path)
    ours = Seq2SeqTokenizer.of(open_checkpoint(path))
    spoken = ours.speak("de", "fr", is_target_known=False)
    theirs.src_lang = "de"
    assert spoken.first_token == theirs.get_lang_id("fr")
    for text in [*TEXTS, *STRANGE]:
        expected = theirs(text)["input_ids"]
        assert [*spoken.before, *ours.encode(text), *spoken.after] == expected
        assert ours.decode(expected) == theirs.decode(expected[1:], skip_special_tokens=True)
    with pytest.raises(UsageError, match="which one"):
        ours.speak(None, None, is_target_known=False)
