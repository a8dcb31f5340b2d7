"""Tiny encoder-decoders with random weights and a tokenizer, saved as their users save them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from tokenizers import decoders, models, pre_tokenizers, processors

from tests.checkpoints import TEXTS, make_unigram

BART_SIZES: Mapping[str, Any] = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 40, "max_position_embeddings": 80,
    "pad_token_id": 0, "bos_token_id": 3, "eos_token_id": 1, "decoder_start_token_id": 1,
}  # fmt: skip
T5_SIZES: Mapping[str, Any] = {
    "d_model": 32, "d_kv": 12, "d_ff": 48, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4,
    "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1, "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 12,
}  # fmt: skip
# family -> what its class names begin with, and its settings
FAMILIES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "marian": ("Marian", {**BART_SIZES, "decoder_start_token_id": 0, "scale_embedding": True,
                          "activation_function": "swish"}),
    "bart": ("Bart", {**BART_SIZES, "forced_bos_token_id": 3}),
    "mbart": ("MBart", {**BART_SIZES, "scale_embedding": True}),
    "m2m_100": ("M2M100", BART_SIZES),
    "pegasus": ("Pegasus", {**BART_SIZES, "scale_embedding": True}),
    "t5": ("T5", T5_SIZES),
    "mt5": ("MT5", {**T5_SIZES, "tie_word_embeddings": False}),
    "prophetnet": ("ProphetNet", {"hidden_size": 32, "num_encoder_layers": 2, "num_decoder_layers": 2,
                                  "num_encoder_attention_heads": 4, "num_decoder_attention_heads": 4,
                                  "encoder_ffn_dim": 48, "decoder_ffn_dim": 40, "ngram": 1,
                                  "pad_token_id": 0, "bos_token_id": 3, "eos_token_id": 1,
                                  "decoder_start_token_id": 0, "max_position_embeddings": 80}),
}  # fmt: skip
SPECIALS = ["<pad>", "</s>", "<unk>", "<s>"]
LANGUAGES = ["en_XX", "de_DE", "fr_XX"]


def build_seq2seq(
    family: str, path: Path, *, languages: bool = False, seed: int = 5, **settings: Any
) -> Path:
    """Save a checkpoint of `family` in `path`; with `languages` its tokenizer has codes of three languages."""
    tokenizer = make_tokenizer(languages)
    tokenizer.save_pretrained(path)
    name, sizes = FAMILIES[family]
    config = getattr(transformers, f"{name}Config")(**{"vocab_size": len(tokenizer), **sizes, **settings})
    torch.manual_seed(seed)
    kind = "MarianMTModel" if name == "Marian" else f"{name}ForConditionalGeneration"
    model = getattr(transformers, kind)(config)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if "embed_positions" not in key:
                weight.add_(torch.randn_like(weight) * (0.3 if weight.dim() > 1 else 0.2))
    model.generation_config.max_length = 24
    model.eval().save_pretrained(path)
    return path


def make_tokenizer(languages: bool) -> transformers.PreTrainedTokenizerFast:
    """SentencePiece's pieces, `</s>` behind each text."""
    codes = LANGUAGES if languages else []
    native = tokenizers.Tokenizer(models.Unigram(make_unigram([*SPECIALS, *codes]), unk_id=2))
    native.pre_tokenizer = pre_tokenizers.Metaspace()
    native.decoder = decoders.Metaspace()
    native.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=native,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        bos_token="<s>",
        extra_special_tokens=codes,
        model_max_length=80,
        model_input_names=["input_ids", "attention_mask"],
    )


SENTENCES = [TEXTS[0].split(",")[0] + ".", TEXTS[6], "Naïve café owners!"]
