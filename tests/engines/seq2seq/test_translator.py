"""Generation against transformers' `generate`: the same tokens and scores, for a batch of one and of many."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from bertcli.engines.seq2seq import Generation, Hypothesis
from bertcli.engines.seq2seq.translator import Translator, even_batches, open_translator
from bertcli.models.checkpoint import open_checkpoint
from bertcli.records import Window

VOCABULARY = 97
BART_SIZES = {
    "vocab_size": VOCABULARY, "d_model": 32, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 40, "max_position_embeddings": 40,
    "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2,
}  # fmt: skip
T5_SIZES = {
    "vocab_size": VOCABULARY, "d_model": 32, "d_kv": 12, "d_ff": 48, "num_layers": 2, "num_decoder_layers": 2,
    "num_heads": 4, "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 2, "relative_attention_num_buckets": 8, "relative_attention_max_distance": 12,
}  # fmt: skip
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "marian": ("Marian", BART_SIZES | {"decoder_start_token_id": 1, "scale_embedding": True,
                                       "activation_function": "swish", "share_encoder_decoder_embeddings": True}),
    "bart": ("Bart", BART_SIZES | {"forced_bos_token_id": 0}),
    "mbart": ("MBart", BART_SIZES | {"scale_embedding": True}),
    "m2m_100": ("M2M100", BART_SIZES),
    "pegasus": ("Pegasus", BART_SIZES | {"scale_embedding": True}),
    "t5": ("T5", T5_SIZES),
    "t5-gated": ("T5", T5_SIZES | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "mt5": ("MT5", T5_SIZES | {"tie_word_embeddings": False}),
}  # fmt: skip
SOURCES = [[5, 9, 44, 2], [17, 8, 61, 23, 96, 14, 30, 2], [3, 2], [70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 2]]
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "early": {"early_stopping": True, "length_penalty": 0.6},
    "never": {"early_stopping": "never", "length_penalty": 1.4},
    "forced": {"forced_bos_token_id": 11, "forced_eos_token_id": 2},
    "suppressed": {"bad_words_ids": [[7], [1]], "suppress_tokens": [13, 21], "begin_suppress_tokens": [30, 31]},
    "lengths": {"min_length": 6, "no_repeat_ngram_size": 2},
}


@pytest.fixture(scope="session", params=MODELS)
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of each architecture, whose decoder ends now and then."""
    family, sizes = MODELS[request.param]
    torch.manual_seed(3)
    config = getattr(transformers, f"{family}Config")(**sizes)
    name = "M2M100ForConditionalGeneration" if family == "M2M100" else f"{family}ForConditionalGeneration"
    model = getattr(transformers, "MarianMTModel" if family == "Marian" else name)(config)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if "embed_positions" in key:
                continue
            spread = 0.3 if weight.dim() > 1 else 0.2
            weight.add_(torch.randn_like(weight) * spread)
        if "final_logits_bias" in dict(model.named_buffers()):
            model.final_logits_bias.normal_(0, 0.5)
            model.final_logits_bias[0, 2] = 1.5
    path: Path = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(path)
    return path


def expected(path: Path, sources: list[list[int]], **settings: Any) -> list[Hypothesis]:
    """What transformers generates, one source at a time; `log_prob` is its score, over length**length_penalty."""
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(path).eval()
    found = []
    for ids in sources:
        with torch.inference_mode():
            out = model.generate(
                input_ids=torch.tensor([ids]), output_scores=True, return_dict_in_generate=True, do_sample=False,
                **settings,
            )  # fmt: skip
        sequence = out.sequences[0].tolist()[1:]
        score = float(out.sequences_scores[0]) if settings["num_beams"] > 1 else 0.0
        found.append(Hypothesis(tuple(sequence), score, 2 in sequence))
    return found


def configure(path: Path, settings: dict[str, Any]) -> None:
    config = json.loads((path / "generation_config.json").read_text())
    (path / "generation_config.json").write_text(json.dumps(config | settings))


@pytest.mark.parametrize("beam", [1, 4])
@pytest.mark.parametrize("name", SETTINGS)
def test_generates_what_transformers_does(directory: Path, tmp_path: Path, name: str, beam: int) -> None:
    path = tmp_path / "model"
    shutil.copytree(directory, path)
    settings = SETTINGS[name] | {"max_length": 16}
    if beam == 1:
        settings = {key: value for key, value in settings.items() if key not in ("early_stopping", "length_penalty")}
    configure(path, settings)
    theirs = expected(path, SOURCES, num_beams=beam)
    engine = open_translator(open_checkpoint(path), dtype="float32")
    assert type(engine) is Translator
    windows = [Window(ids) for ids in SOURCES]
    how = Generation(beam=beam)
    together = engine.generate(windows, how)
    alone = [engine.generate([window], how)[0] for window in windows]
    for found, single, want in zip(together, alone, theirs, strict=True):
        assert found[0].ids == single[0].ids == want.ids
        assert found[0].is_finished == want.is_finished
        if beam > 1:
            rank = found[0].log_prob / len(found[0].ids) ** settings.get("length_penalty", 1.0)
            assert rank == pytest.approx(want.log_prob, abs=1e-3)


def test_batches_hold_windows_of_about_one_length() -> None:
    batches = list(even_batches([3, 40, 4, 38, 9, 3]))
    assert batches == [[1, 3], [4, 2], [0, 5]] or sorted(sum(batches, [])) == list(range(6))
