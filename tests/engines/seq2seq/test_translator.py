"""Generation against transformers' `generate`: the same tokens and scores, for a batch of one and of many."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from bertcli.engines.choosing import open_seq2seq
from bertcli.engines.finite import NotFiniteError
from bertcli.engines.instant.translator import InstantTranslator
from bertcli.engines.seq2seq import Generation
from bertcli.engines.seq2seq.architecture import describe_seq2seq
from bertcli.engines.seq2seq.search import best_columns
from bertcli.engines.seq2seq.translator import Translator, even_batches, open_translator
from bertcli.errors import EngineError
from bertcli.models.checkpoint import open_checkpoint
from bertcli.records import Window
from bertcli.requests import ModelOptions

VOCABULARY = 97
BART_SIZES = {
    "vocab_size": VOCABULARY, "d_model": 32, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 40, "max_position_embeddings": 40,
    "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2,
}  # fmt: skip
T5_SIZES = {
    "vocab_size": VOCABULARY, "d_model": 32, "d_kv": 12, "d_ff": 48, "num_layers": 2, "num_decoder_layers": 2,
    "num_heads": 4, "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 2,
    "relative_attention_num_buckets": 8, "relative_attention_max_distance": 12,
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
SOURCES = [
    [5, 9, 44, 2],
    [17, 8, 61, 23, 96, 14, 30, 2],
    [3, 2],
    [70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 2],
]
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {"max_length": 16},
    "early": {"max_length": 16, "early_stopping": True, "length_penalty": 0.6},
    "never": {"max_length": 16, "early_stopping": "never", "length_penalty": 1.4},
    "forced": {"max_length": 12, "forced_bos_token_id": 11, "forced_eos_token_id": 2},
    "suppressed": {
        "max_length": 12, "bad_words_ids": [[7], [1]], "suppress_tokens": [13, 21], "begin_suppress_tokens": [30, 31],
    },
    "lengths": {"max_length": 12, "min_length": 6, "no_repeat_ngram_size": 2},
}  # fmt: skip
ONE_OF_EACH = ["marian", "t5"]  # names and blocks; rules are the same for all


@pytest.fixture(scope="session")
def directories(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A random model of each architecture, which ends its answers now and then."""

    @cache
    def make(name: str) -> Path:
        family, sizes = MODELS[name]
        torch.manual_seed(3)
        config = getattr(transformers, f"{family}Config")(**sizes)
        kind = "MarianMTModel" if family == "Marian" else f"{family}ForConditionalGeneration"
        model = getattr(transformers, kind)(config)
        with torch.no_grad():
            for key, weight in model.named_parameters():
                if "embed_positions" not in key:
                    weight.add_(torch.randn_like(weight) * (0.3 if weight.dim() > 1 else 0.2))
            if "final_logits_bias" in dict(model.named_buffers()):
                model.final_logits_bias.normal_(0, 0.5)
                model.final_logits_bias[0, 2] = 1.5
        path = tmp_path_factory.mktemp(name)
        model.save_pretrained(path)
        return path

    return make


def expected(path: Path, settings: dict[str, Any], beam: int) -> list[tuple[tuple[int, ...], float | None]]:
    """What transformers generates for each source alone: its tokens and, of a beam, the score."""
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(path).eval()
    if beam == 1:
        settings = {
            key: value for key, value in settings.items() if key not in ("early_stopping", "length_penalty")
        }
    found = []
    for ids in SOURCES:
        with torch.inference_mode():
            out = model.generate(
                input_ids=torch.tensor([ids]), num_beams=beam, do_sample=False, output_scores=True,
                return_dict_in_generate=True, **settings,
            )  # fmt: skip
        score = float(out.sequences_scores[0]) if beam > 1 else None
        found.append((tuple(out.sequences[0].tolist()[1:]), score))
    return found


def configured(path: Path, settings: dict[str, Any], copy: Path) -> Path:
    """A copy of a model directory with other generation settings."""
    copy.mkdir()
    for file in path.iterdir():
        (copy / file.name).symlink_to(file)
    declared = json.loads((path / "generation_config.json").read_text())
    (copy / "generation_config.json").unlink()
    (copy / "generation_config.json").write_text(json.dumps(declared | settings))
    return copy


CASES = [(name, "plain") for name in MODELS] + [
    (name, rule) for name in ONE_OF_EACH for rule in SETTINGS if rule != "plain"
]


@pytest.mark.parametrize("beam", [1, 4])
@pytest.mark.parametrize(("name", "rule"), CASES)
def test_generates_what_transformers_does(
    directories: Callable[[str], Path], tmp_path: Path, name: str, rule: str, beam: int
) -> None:
    settings = SETTINGS[rule]
    path = configured(directories(name), settings, tmp_path / "model")
    engine = open_translator(open_checkpoint(path), dtype="float32")
    assert type(engine) is Translator
    windows = [Window(ids) for ids in SOURCES]
    how = Generation(beam=beam)
    together = engine.generate(windows, how)
    alone = [engine.generate([window], how)[0] for window in windows]
    instant = InstantTranslator(open_checkpoint(path)).generate(windows, how)
    for [found], [single], [numpy], (ids, score) in zip(
        together, alone, instant, expected(directories(name), settings, beam), strict=True
    ):
        assert found.ids == single.ids == numpy.ids == ids
        assert numpy.log_prob == pytest.approx(found.log_prob, abs=1e-3)
        assert numpy.is_finished == found.is_finished
        if len(ids) < settings["max_length"] - 1:
            assert found.is_finished
        elif ids[-1] != 2 or rule == "forced":
            assert not found.is_finished
        if score is not None:
            rank = found.log_prob / len(found.ids) ** settings.get("length_penalty", 1.0)
            assert rank == pytest.approx(score, abs=1e-3)


def test_the_best_of_several_hypotheses_come_first(directories: Callable[[str], Path]) -> None:
    engine = open_translator(open_checkpoint(directories("bart")), dtype="float32")
    how = Generation(beam=4, count=4, max_new_tokens=10)
    [found] = engine.generate([Window(SOURCES[1])], how)
    [numpy] = InstantTranslator(open_checkpoint(directories("bart"))).generate([Window(SOURCES[1])], how)
    assert [each.ids for each in numpy] == [each.ids for each in found]
    assert len({hypothesis.ids for hypothesis in found}) == 4
    assert [hypothesis.score for hypothesis in found] == sorted((each.score for each in found), reverse=True)


def test_unknown_settings_run_on_transformers(directories: Callable[[str], Path], tmp_path: Path) -> None:
    settings = {"repetition_penalty": 1.3, "max_length": 10}
    path = configured(directories("marian"), settings, tmp_path / "model")
    engine = open_translator(open_checkpoint(path), dtype="float32")
    assert engine.name == "transformers"
    found = engine.generate([Window(ids) for ids in SOURCES], Generation(beam=3))
    theirs = expected(directories("marian"), settings, 3)
    assert [each[0].ids for each in found] == [ids for ids, _ in theirs]


def test_alignment_is_a_distribution_over_the_source(directories: Callable[[str], Path]) -> None:
    engine = open_translator(open_checkpoint(directories("marian")), dtype="float32")
    [weights] = engine.align([Window(SOURCES[1])], [[9, 8, 2]], Generation())
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(
        directories("marian"), attn_implementation="eager"
    )
    with torch.inference_mode():
        out = model(
            input_ids=torch.tensor([SOURCES[1]]),
            decoder_input_ids=torch.tensor([[1, 9, 8]]),
            output_attentions=True,
        )
    theirs = torch.stack([layer[0].mean(0) for layer in out.cross_attentions])
    torch.testing.assert_close(torch.from_numpy(weights), theirs, atol=1e-4, rtol=0)


def test_batches_hold_windows_of_about_one_length() -> None:
    lengths = [3, 40, 4, 38, 19, 3]
    assert list(even_batches(lengths, 1)) == [[1, 3, 4], [2, 0, 5]]
    assert list(even_batches(lengths, 5)) == [[1, 3, 4, 2, 0], [5]]


@pytest.mark.parametrize("columns", [5, 97, 256, 1000, 9685])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_best_columns_are_those_of_topk(columns: int, count: int) -> None:
    scores = torch.randn((7, columns), generator=torch.Generator().manual_seed(columns))
    scores[2] = scores[2].round()  # many are equal
    scores[3, : columns - count] = -torch.inf
    best, found = best_columns(scores, count)
    assert torch.equal(best, scores.topk(count).values)
    assert torch.equal(scores.gather(1, found), best)
    assert all(len(set(row)) == count for row in found.tolist())


def test_declines_what_it_does_not_describe() -> None:
    assert describe_seq2seq({"model_type": "prophetnet"}) is None
    assert describe_seq2seq({"model_type": "marian"}) is None


def damaged(path: Path, copy: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    """A copy of a model directory with other weights."""
    from safetensors.torch import load_file, save_file

    copy.mkdir()
    for file in path.iterdir():
        if file.suffix != ".safetensors":
            (copy / file.name).symlink_to(file)
    weights = load_file(path / "model.safetensors")
    change(weights)
    save_file(weights, copy / "model.safetensors")
    return copy


@pytest.mark.parametrize("engine", ["instant", "packed"])
def test_weights_that_are_not_numbers_are_an_error(
    directories: Callable[[str], Path], tmp_path: Path, engine: Any
) -> None:
    def change(weights: dict[str, torch.Tensor]) -> None:
        weights["model.decoder.layers.1.fc1.weight"][0, 0] = torch.nan

    path = damaged(directories("bart"), tmp_path / "model", change)
    opened = open_seq2seq(open_checkpoint(path), ModelOptions(engine=engine, dtype="float32"))
    with pytest.raises(NotFiniteError):
        opened.generate([Window(SOURCES[0])], Generation(max_new_tokens=4))


@pytest.mark.parametrize("engine", ["instant", "packed"])
@pytest.mark.parametrize(
    "name", ["model.encoder.layers.0.fc2.weight", "model.decoder.layers.2.encoder_attn.k_proj.weight"]
)
def test_weights_of_another_shape_are_an_error(
    directories: Callable[[str], Path], tmp_path: Path, engine: Any, name: str
) -> None:
    def change(weights: dict[str, torch.Tensor]) -> None:
        weights[name] = weights[name][:-1].clone()

    path = damaged(directories("bart"), tmp_path / "model", change)
    with pytest.raises(EngineError, match=f"{name} has the shape .* contradicts config.json"):
        open_seq2seq(open_checkpoint(path), ModelOptions(engine=engine))
