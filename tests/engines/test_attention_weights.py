"""Attention weights, queries and keys: both engines that give them agree with transformers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bertcli.engines import AttentionWeights, Hidden, QueriesKeysValues
from bertcli.engines.choosing import choose_for_attention
from bertcli.engines.eager import EagerEncoder
from bertcli.engines.instant import Instant
from bertcli.engines.packed import Packed
from bertcli.errors import EngineError
from bertcli.models.checkpoint import open_checkpoint
from bertcli.requests import ModelOptions
from tests.checkpoints import FAMILIES
from tests.conftest import Make
from tests.engines import oracle
from tests.engines.windows import make_windows

pytestmark = pytest.mark.slow

TOLERANCE = 1e-4
LENGTHS = (7, 3, 12, 7, 40)
FORMULA = ("bert", "roberta", "xlm-roberta", "camembert", "electra", "albert", "distilbert")


def attentions(path, window) -> np.ndarray:
    """transformers' output_attentions: (layers, heads, tokens, tokens)"""
    inputs = {"input_ids": torch.tensor([list(window.ids)])}
    if window.types is not None:
        inputs["token_type_ids"] = torch.tensor([list(window.types)])
    with torch.inference_mode():
        found = oracle.load(path, "base")(**inputs, output_attentions=True).attentions
    return torch.stack(found)[:, 0].numpy()


def engines(path):
    checkpoint = open_checkpoint(path)
    made = [EagerEncoder(checkpoint)]
    if Instant.supports(checkpoint) is None:
        made.append(Instant(checkpoint))
    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_those_of_transformers(checkpoints: Make, family: str) -> None:
    path = checkpoints(family)
    windows = make_windows(open_checkpoint(path), LENGTHS)
    expected = [attentions(path, window) for window in windows]
    for engine in engines(path):
        assert oracle.difference(engine.forward(windows, AttentionWeights()), expected) < TOLERANCE
        second = [layers[1:2] for layers in expected]
        assert oracle.difference(engine.forward(windows, AttentionWeights(2)), second) < TOLERANCE
        first = [layers[:1] for layers in expected]
        assert oracle.difference(engine.forward(windows, AttentionWeights(1)), first) < TOLERANCE


@pytest.mark.parametrize("family", FORMULA)
def test_weights_are_the_softmax_of_queries_and_keys(checkpoints: Make, family: str) -> None:
    path = checkpoints(family)
    windows = make_windows(open_checkpoint(path), LENGTHS)
    for engine in engines(path):
        weights = engine.forward(windows, AttentionWeights())
        for found, parts in zip(weights, engine.forward(windows, QueriesKeysValues()), strict=True):
            query, key, _ = parts.swapaxes(0, 1)  # (layers, heads, tokens, d) each
            scores = query @ key.swapaxes(-1, -2) / np.sqrt(query.shape[-1])
            powers = np.exp(scores - scores.max(-1, keepdims=True))
            assert np.abs(powers / powers.sum(-1, keepdims=True) - found).max() < TOLERANCE
        (one,) = engine.forward(windows[:1], QueriesKeysValues(2))
        assert np.abs(one[0] - engine.forward(windows[:1], QueriesKeysValues())[0][1]).max() < 1e-6


def test_both_engines_tell_the_same_values(checkpoints: Make) -> None:
    path = checkpoints("bert")
    windows = make_windows(open_checkpoint(path), LENGTHS)
    eager, instant = (engine.forward(windows, QueriesKeysValues()) for engine in engines(path))
    assert oracle.difference(instant, eager) < TOLERANCE


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - set(FORMULA)))
def test_weights_that_are_more_than_the_formula_are_not_explained_by_it(
    checkpoints: Make, family: str
) -> None:
    engine = EagerEncoder(open_checkpoint(checkpoints(family)))
    with pytest.raises(EngineError, match="more than softmax"):
        engine.forward(make_windows(open_checkpoint(checkpoints(family)), [5]), QueriesKeysValues())


def test_watching_changes_no_hidden_state(checkpoints: Make) -> None:
    checkpoint = open_checkpoint(checkpoints("bert"))
    windows = make_windows(checkpoint, LENGTHS)
    engine = Instant(checkpoint)
    before = engine.forward(windows, Hidden())
    engine.forward(windows, AttentionWeights())
    assert oracle.difference(engine.forward(windows, Hidden()), before) == 0.0


def test_engines_refuse_what_they_cannot_tell(checkpoints: Make) -> None:
    checkpoint = open_checkpoint(checkpoints("bert"))
    windows = make_windows(checkpoint, [5])
    with pytest.raises(EngineError, match="does not keep"):
        Packed(checkpoint).forward(windows, AttentionWeights())
    with pytest.raises(EngineError, match="nothing else"):
        EagerEncoder(checkpoint).forward(windows, Hidden())


def test_options_reach_the_engine_that_tells(checkpoints: Make) -> None:
    checkpoint = open_checkpoint(checkpoints("big_bird"))
    with pytest.raises(EngineError, match="never computed in int8"):
        choose_for_attention(checkpoint, ModelOptions(dtype="int8"))
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            choose_for_attention(checkpoint, ModelOptions(threads=threads))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("family", "options", "name"),
    [
        ("bert", {}, "instant"),
        ("bert", {"engine": "packed"}, "eager"),
        ("bert", {"dtype": "bfloat16"}, "eager"),
        ("roberta", {}, "instant"),
        ("big_bird", {}, "eager"),
    ],
)
def test_described_architectures_are_told_by_numpy_and_others_by_torch(
    checkpoints: Make, family: str, options: dict[str, str], name: str
) -> None:
    checkpoint = open_checkpoint(checkpoints(family))
    engine = choose_for_attention(checkpoint, ModelOptions(**options))
    assert engine.name == name
    assert engine.dtype == options.get("dtype", "float32")
    with pytest.raises(EngineError, match="no dtype bfloat16"):
        choose_for_attention(checkpoint, ModelOptions(engine="instant", dtype="bfloat16"))
