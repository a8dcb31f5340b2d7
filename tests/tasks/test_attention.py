"""What attention does in a text, as it is handed on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from bertcli.engines.choosing import choose_for_attention
from bertcli.errors import RecordError, UsageError
from bertcli.requests import LongOptions, ModelOptions
from bertcli.tasks.attention import Attention, rollout
from tests.conftest import Make
from tests.tasks.reference import answer, opened

TEXT = "Naïve café owners in München don't sell crème brûlée anymore!"
PAIR = "The capital of France is [MASK]."
TOLERANCE = 1e-4


def ask(
    path: Path, text: str, pair: str | None = None, mode: Any = "error", **options: Any
) -> dict[str, Any]:
    checkpoint, tokenizer = opened(path)
    task = Attention(checkpoint, tokenizer, LongOptions(long=mode), **options)
    return answer(task, choose_for_attention(checkpoint, ModelOptions()), text, pair)


def expected(path: Path, *texts: str) -> tuple[list[str], np.ndarray]:
    """Tokens and weights (layers, heads, tokens, tokens) by transformers."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    model = transformers.AutoModel.from_pretrained(path, attn_implementation="eager", dtype="float32").eval()
    inputs = tokenizer(*texts, return_tensors="pt")
    with torch.inference_mode():
        found = model(**inputs, output_attentions=True).attentions
    return tokenizer.convert_ids_to_tokens(inputs["input_ids"][0]), torch.cat(found).numpy()


@pytest.mark.parametrize("texts", [(TEXT,), (TEXT, PAIR)], ids=["text", "pair"])
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "modernbert", "deberta-v2"])
def test_weights_are_those_of_transformers(checkpoints: Make, family: str, texts: tuple[str, ...]) -> None:
    path = checkpoints(family)
    texts = tuple(text.replace("[MASK]", opened(path)[1].mask_token or "") for text in texts)
    tokens, weights = expected(path, *texts)
    found = ask(path, *texts, layer="all", head="all")
    assert [one["token"] for one in found["tokens"]] == tokens
    assert np.abs(found["attention"] - weights).max() < TOLERANCE
    assert np.abs(found["attention"].sum(-1) - 1).max() < 1e-5


@pytest.mark.parametrize("layer", [1, 2, -1, -2, "mean", "all"])
@pytest.mark.parametrize("head", [1, 4, -3, "mean", "all"])
def test_any_choice_is_a_part_of_all_weights(checkpoints: Make, layer: Any, head: Any) -> None:
    path = checkpoints("bert")
    every = ask(path, TEXT, layer="all", head="all")["attention"]

    def chosen(array: np.ndarray, which: Any, axis: int) -> np.ndarray:
        if which == "all":
            return array
        return array.mean(axis) if which == "mean" else array.take(which - 1 if which > 0 else which, axis)

    found = ask(path, TEXT, layer=layer, head=head)
    assert np.abs(found["attention"] - chosen(chosen(every, head, 1), layer, 0)).max() < 1e-6
    assert found["layer"] == {-1: 2, -2: 1}.get(layer, layer)
    assert found["head"] == {-3: 2}.get(head, head)


@pytest.mark.parametrize("layer", [2, "all"])
@pytest.mark.parametrize("head", [3, "all"])
def test_weights_follow_from_the_queries_and_keys_beside_them(
    checkpoints: Make, layer: Any, head: Any
) -> None:
    found = ask(checkpoints("bert"), TEXT, layer=layer, head=head, parts=True)
    assert found["query"].shape == found["key"].shape == found["value"].shape
    assert found["query"].shape[:-1] == found["attention"].shape[:-1]
    scores = found["query"] @ found["key"].swapaxes(-1, -2) / np.sqrt(found["query"].shape[-1])
    powers = np.exp(scores)
    assert np.abs(powers / powers.sum(-1, keepdims=True) - found["attention"]).max() < TOLERANCE


def test_a_page_gets_all_there_is(checkpoints: Make) -> None:
    path = checkpoints("bert")
    found = ask(path, TEXT, whole=True, parts=True)
    assert found["model"] == path.name
    assert (found["attention"] == ask(path, TEXT, layer="all", head="all")["attention"]).all()
    assert (found["rollout"] == ask(path, TEXT, layer="all", rollout=True)["attention"]).all()
    assert (found["key"] == ask(path, TEXT, layer="all", head="all", parts=True)["key"]).all()


# Rollout


def test_rollout_goes_through_the_layers(checkpoints: Make) -> None:
    path = checkpoints("bert", num_hidden_layers=3)
    every = ask(path, TEXT, layer="all", head="all")["attention"].astype(np.float64)
    flow = np.eye(every.shape[-1])
    for number, layer in enumerate(every, 1):
        mixed = 0.5 * layer.mean(axis=0) + 0.5 * np.eye(len(flow))
        flow = np.array(
            [[sum(row[k] * flow[k][j] for k in range(len(flow))) for j in range(len(flow))] for row in mixed]
        )
        found = ask(path, TEXT, layer=number, rollout=True)
        assert found["head"] == "rollout"
        assert np.abs(found["attention"] - flow).max() < 1e-5


@settings(max_examples=30)
@given(layers=st.integers(1, 4), heads=st.integers(1, 3), tokens=st.integers(1, 6), seed=st.integers(0, 99))
def test_a_row_of_rollout_is_a_share_of_the_words(layers: int, heads: int, tokens: int, seed: int) -> None:
    weights = np.random.default_rng(seed).random((layers, heads, tokens, tokens)).astype(np.float32)
    weights /= weights.sum(-1, keepdims=True)
    flow = rollout(weights)
    assert flow.shape == (layers, tokens, tokens)
    assert (flow >= 0).all()
    assert np.abs(flow.sum(-1) - 1).max() < 1e-5


def test_tokens_that_look_only_at_themselves_stay_what_they_are() -> None:
    assert (rollout(np.eye(4, dtype=np.float32)[None, None].repeat(3, 0)) == np.eye(4)).all()


# Tokens and their places


def test_every_token_has_its_place(checkpoints: Make) -> None:
    for family in ("bert", "roberta"):
        path = checkpoints(family)
        tokens = ask(path, TEXT, "Crème brûlée")["tokens"]
        texts = {1: TEXT, 2: "Crème brûlée"}
        for part, text in texts.items():
            places = [(one["start"], one["end"]) for one in tokens if one["part"] == part]
            said = {place for start, end in places for place in range(start, end)}
            assert said == {place for place, character in enumerate(text) if character != " "}
        specials = [one for one in tokens if one["part"] is None]
        assert {(one["start"], one["end"]) for one in specials} == {(None, None)}
        assert len(specials) == len(opened(path)[1].frame(True))


@pytest.mark.parametrize("pair", [None, "a short one", TEXT * 3])
def test_a_long_text_is_an_error_or_is_cut(checkpoints: Make, pair: str | None) -> None:
    path, text = checkpoints("bert"), TEXT * 4
    with pytest.raises(RecordError, match="tokens") as caught:
        ask(path, text, pair)
    assert caught.value.type == "too-long"
    found = ask(path, text, pair, "truncate")
    assert found["attention"].shape == (64, 64)
    assert len(found["tokens"]) == 64
    for part, said in ((1, text), (2, pair)):
        ends = [(one["start"], one["end"], one["token"]) for one in found["tokens"] if one["part"] == part]
        whole = opened(path)[1].encode(said or "").offsets
        assert [(start, end) for start, end, _ in ends] == whole[: len(ends)]
        assert bool(ends) == (said is not None)


@pytest.mark.parametrize("options", [{"layer": 3}, {"layer": -3}, {"head": 5}, {"head": -5}])
def test_what_the_model_does_not_have(checkpoints: Make, options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=r"has no (layer|head)"):
        ask(checkpoints("bert"), TEXT, **options)
