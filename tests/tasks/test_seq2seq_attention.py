"""Attention in encoder-decoders, against transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import bertcli
from bertcli.cli import main
from bertcli.errors import EngineError, UsageError
from tests.conftest import Make
from tests.seq2seq_checkpoints import SENTENCES

FAMILIES = ["marian", "bart", "mbart", "m2m_100", "pegasus", "t5", "mt5", "prophetnet"]
TEXT, TARGET = SENTENCES[0], "The story moved nobody"
TOLERANCE = 1e-4


def ask(path: Path, *texts: Any, **options: Any) -> list[dict[str, Any]]:
    return list(bertcli.load(str(path)).attention(texts, **options))


def opened(path: Path) -> tuple[Any, Any]:
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(path, attn_implementation="eager").eval()
    return transformers.AutoTokenizer.from_pretrained(path), model


def expected(path: Path, text: str, decoder_ids: list[int]) -> dict[str, np.ndarray]:
    """Weights (layers, heads, rows, columns) of each part by transformers."""
    tokenizer, model = opened(path)
    with torch.inference_mode():
        out = model(
            **tokenizer(text, return_tensors="pt"),
            decoder_input_ids=torch.tensor([decoder_ids]),
            output_attentions=True,
        )
    return {
        "encoder": torch.cat(out.encoder_attentions).numpy(),
        "decoder": torch.cat(out.decoder_attentions).numpy(),
        "cross": torch.cat(out.cross_attentions).numpy(),
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_of_a_given_target_are_those_of_transformers(seq2seq: Make, family: str) -> None:
    path = seq2seq(family)
    tokenizer, model = opened(path)
    ids = tokenizer(TARGET, add_special_tokens=False).input_ids
    first = model.generation_config.forced_bos_token_id
    inputs = [model.config.decoder_start_token_id, *([] if first is None else [first]), *ids]
    weights = expected(path, TEXT, inputs)
    for part, theirs in weights.items():
        [found] = ask(path, TEXT, part=part, layer="all", head="all", target=TARGET)
        assert np.abs(found["attention"] - theirs).max() < TOLERANCE
        assert found["part"] == part
        if part != "decoder":
            pieces = tokenizer.convert_ids_to_tokens(tokenizer(TEXT).input_ids)
            assert [token["token"] for token in found["tokens"]] == pieces
        if part != "encoder":
            pieces = tokenizer.convert_ids_to_tokens([*inputs, 1])
            assert [token["token"] for token in found["target_tokens"]] == pieces[:-1]
            assert [token["next"] for token in found["target_tokens"]] == pieces[1:]
        assert "translation" not in found


@pytest.mark.parametrize("family", ["marian", "t5", "bart"])
def test_without_a_target_it_is_the_greedy_translation(seq2seq: Make, family: str) -> None:
    path = seq2seq(family)
    tokenizer, model = opened(path)
    ids = model.generate(**tokenizer(TEXT, return_tensors="pt"), num_beams=1, do_sample=False, max_length=24)[
        0
    ].tolist()
    [found] = ask(path, TEXT, part="cross", layer="all", head="all")
    assert np.abs(found["attention"] - expected(path, TEXT, ids[:-1])["cross"]).max() < TOLERANCE
    assert [token["token"] for token in found["target_tokens"]] == tokenizer.convert_ids_to_tokens(ids[:-1])
    [translated] = bertcli.load(str(path), dtype="float32").translate([TEXT], greedy=True, split="none")
    assert found["translation"] == translated["translation"]
    assert found.get("truncated") == translated.get("truncated")
    for token in found["target_tokens"]:
        if token["part"] is not None:
            piece = found["translation"][token["start"] : token["end"]]
            assert piece == token["token"].replace("▁", " ").strip()


def test_the_decoder_sees_nothing_that_comes_later(seq2seq: Make) -> None:
    [found] = ask(seq2seq("marian"), TEXT, part="decoder", layer=2, head=1, target=TARGET)
    weights = found["attention"]
    assert (np.triu(weights, 1) == 0).all()
    assert np.abs(weights.sum(-1) - 1).max() < 1e-5
    pieces = [one for one in found["target_tokens"] if one["part"]]
    said = [TARGET[one["start"] : one["end"]].strip() for one in pieces]
    assert said == [one["token"].replace("▁", "") for one in pieces]


@pytest.mark.parametrize("part", ["encoder", "decoder", "cross"])
def test_weights_follow_from_queries_and_keys(seq2seq: Make, part: str) -> None:
    options = {"layer": "all", "head": "all", "target": TARGET, "show": "qkv"}
    [found] = ask(seq2seq("marian"), TEXT, part=part, **options)
    scores = found["query"] @ found["key"].swapaxes(-1, -2) / np.sqrt(found["query"].shape[-1])
    if part == "decoder":
        scores += np.triu(np.full(scores.shape[-2:], -np.inf), 1)
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    assert np.abs(powers / powers.sum(-1, keepdims=True) - found["attention"]).max() < TOLERANCE
    assert found["key"].shape == found["value"].shape


def test_a_bias_is_more_than_queries_and_keys(seq2seq: Make) -> None:
    with pytest.raises(EngineError, match="more than softmax"):
        ask(seq2seq("t5"), TEXT, head=1, show="qkv")


def test_records_have_targets_of_their_own(seq2seq: Make, tmp_path: Path) -> None:
    rows = [{"text": TEXT, "en": TARGET}, {"text": TEXT, "en": "lazy dog"}, {"text": "", "en": "x"}]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    options = ["-m", str(seq2seq("bart")), "--pair-field", "en", "--part", "decoder", "-q"]
    assert main(["attention", str(tmp_path / "in.jsonl"), *options, "-o", str(tmp_path / "o.jsonl")]) == 0
    found = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    for row, target in zip(found[:2], (TARGET, "lazy dog"), strict=True):
        [alone] = ask(seq2seq("bart"), TEXT, target=target, part="decoder")
        assert np.abs(np.array(row["attention"]) - alone["attention"]).max() < 1e-5
    assert found[2]["attention"] is None


def test_languages_choose_the_first_target_token(seq2seq: Make) -> None:
    path = seq2seq("m2m_100", languages=True)
    [found] = ask(path, TEXT, target_lang="de", target=TARGET)
    assert found["target_tokens"][0]["next"] == "de_DE"
    with pytest.raises(UsageError, match="writes many languages"):
        ask(path, TEXT)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 4}, "has no decoder layer 4"),
        ({"layer": 3, "part": "encoder"}, "has no encoder layer 3"),
        ({"head": 5}, "has no head 5"),
        ({"rollout": True}, "within one text"),
        ({"target": "x", "pair_field": "y"}, "cannot go together"),
        ({"target": " "}, "--target is blank"),
    ],
)
def test_what_cannot_be_shown(seq2seq: Make, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ask(seq2seq("marian"), TEXT, **options)


@pytest.mark.parametrize("options", [{"part": "cross"}, {"target": "x"}, {"target_lang": "de"}])
def test_an_encoder_has_no_decoder(checkpoints: Make, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="encoder-only"):
        ask(checkpoints("bert"), TEXT, **options)


def test_rollout_of_the_encoder(seq2seq: Make) -> None:
    [found] = ask(seq2seq("t5"), TEXT, part="encoder", rollout=True)
    assert np.abs(found["attention"].sum(-1) - 1).max() < 1e-5
    assert found["head"] == "rollout"


def test_long_texts_and_targets(seq2seq: Make) -> None:
    path = seq2seq("marian")
    long = TEXT * 12
    for options in ({"target": TARGET}, {"target": long}):
        text = long if options["target"] is TARGET else TEXT
        [found] = ask(path, text, **options)
        assert found["error"]["type"] == "too-long"
        [cut] = ask(path, text, truncate=True, **options)
        assert cut["truncated"] is True
        assert max(cut["attention"].shape) == 80


def test_a_table_names_rows_by_the_token_that_is_written(
    seq2seq: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    options = ["-m", str(seq2seq("marian")), "-t", TEXT, "--target", "lazy", "-f", "table", "-q"]
    assert main(["attention", *options, "--layer", "1", "--head", "2"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "decoder to encoder, layer 1, head 2"
    assert any(line.startswith("→ </s>") for line in lines)
    assert main(["attention", *options, "--part", "decoder"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "decoder, layer 3, mean of the heads"
    assert any(line.startswith("<pad>") for line in lines)
