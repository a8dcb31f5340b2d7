"""Several answers from one pass: each must be what it is alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import entropy as scipy_entropy

from bertcli.engines.instant import Instant
from bertcli.errors import UsageError
from bertcli.models.checkpoint import Checkpoint
from bertcli.models.tokenizer import Tokenizer
from bertcli.requests import LongOptions
from bertcli.tasks.candidates import candidates_from_option
from bertcli.tasks.choice import entropy, margin
from bertcli.tasks.embed import Embed
from bertcli.tasks.label import Label
from bertcli.tasks.pooling import TextVector
from bertcli.tasks.several import EmittingZeroShot, Several
from bertcli.tasks.zero_shot import zero_shot
from tests.conftest import Make
from tests.tasks.reference import answers, opened

TEXTS = ("I loved every minute of it.", "no", "Is the server down again? " * 12)


@pytest.fixture
def skills(checkpoints: Make) -> tuple[Checkpoint, Tokenizer]:
    return opened(checkpoints("skills"))


def head(skills: tuple[Checkpoint, Tokenizer], name: str) -> Label:
    checkpoint, tokenizer = skills
    return Label(checkpoint, tokenizer, checkpoint.head("label", name), LongOptions(), top="all")


def alone(name: str, values: dict[str, Any]) -> dict[str, Any]:
    return {f"{name}_{field}": value for field, value in values.items()}


def test_each_head_answers_as_it_does_alone(skills: tuple[Checkpoint, Tokenizer]) -> None:
    sentiment, topics = head(skills, "sentiment"), head(skills, "topics")
    engine = Instant(skills[0])
    together = answers(Several([sentiment, topics]), engine, TEXTS)
    for found, one, other in zip(
        together, answers(sentiment, engine, TEXTS), answers(topics, engine, TEXTS), strict=True
    ):
        assert found == alone("sentiment", one) | alone("topics", other)


@pytest.mark.parametrize("dim", [None, 8])
def test_the_embedding_is_the_one_of_embed(dim: int | None, skills: tuple[Checkpoint, Tokenizer]) -> None:
    checkpoint, tokenizer = skills
    checkpoint = replace(checkpoint, pooling=replace(checkpoint.pooling, dim=dim))
    engine = Instant(checkpoint)
    task = Several([head(skills, "topics")], ("embedding",), TextVector(checkpoint, tokenizer, LongOptions()))
    assert task.fields == ("embedding",)
    expected = answers(Embed(checkpoint, tokenizer, LongOptions()), engine, TEXTS)
    for found, one in zip(answers(task, engine, TEXTS), expected, strict=True):
        np.testing.assert_allclose(found["embedding"], one["embedding"], atol=1e-6)


def test_entropy_and_margin_are_of_the_scores(skills: tuple[Checkpoint, Tokenizer]) -> None:
    task = Several([head(skills, "sentiment")], ("margin", "label", "entropy"))
    for found in answers(task, Instant(skills[0]), TEXTS):
        scores = [entry["score"] for entry in found["labels"]]
        assert found["margin"] == pytest.approx(scores[0] - scores[1])
        assert found["entropy"] == pytest.approx(scipy_entropy(scores), abs=1e-6)


@given(arrays(np.float64, st.integers(2, 20), elements=st.floats(0, 1)).filter(lambda x: x.sum() > 1e-3))
def test_entropy_is_scipys_and_margin_is_within_one(weights: np.ndarray) -> None:
    shares = (weights / weights.sum()).astype(np.float32)
    assert entropy(shares) == pytest.approx(scipy_entropy(shares.astype(np.float64)), abs=1e-5)
    first, second, *_ = sorted(shares.tolist(), reverse=True)
    assert margin(shares) == pytest.approx(first - second, abs=1e-6)


def test_nothing_is_undecided_about_a_sure_answer() -> None:
    assert str(entropy(np.array([1, 0], np.float32))) == "0.0"


@pytest.mark.parametrize("what", ["entropy", "margin"])
def test_labels_that_do_not_exclude_each_other_have_no_entropy(
    skills: tuple[Checkpoint, Tokenizer], what: Any
) -> None:
    with pytest.raises(UsageError, match=what):
        Several([head(skills, "sentiment"), head(skills, "topics")], ("label", what))


@pytest.mark.parametrize(
    ("family", "kind", "options"),
    [("sentence", "base", {}), ("bert", "label", {"labels": ("contradiction", "entailment")})],
    ids=["nearness", "entailment"],
)
def test_labels_of_ones_own_tell_how_undecided_they_are(
    family: str, kind: str, options: dict[str, Any], checkpoints: Make
) -> None:
    checkpoint, tokenizer = opened(checkpoints(family, kind, **options))
    task = zero_shot(
        checkpoint, tokenizer, candidates_from_option("praise,complaint,other"), LongOptions(), top="all"
    )
    engine = Instant(checkpoint)
    expected = answers(task, engine, TEXTS)
    emitting = EmittingZeroShot(task, ("margin", "label", "entropy"))
    for found, alone in zip(answers(emitting, engine, TEXTS), expected, strict=True):
        scores = [entry["score"] for entry in alone["labels"]]
        assert {name: found[name] for name in alone} == alone
        assert found["margin"] == pytest.approx(scores[0] - scores[1], abs=1e-6)
        assert found["entropy"] == pytest.approx(scipy_entropy(scores), abs=1e-5)
    if kind == "base":
        embedded = answers(EmittingZeroShot(task, ("embedding",)), engine, TEXTS)
        alone = answers(Embed(checkpoint, tokenizer, LongOptions()), engine, TEXTS)
        for found, one in zip(embedded, alone, strict=True):
            np.testing.assert_allclose(found["embedding"], one["embedding"], atol=1e-6)
    else:
        with pytest.raises(UsageError, match="no embedding of the text alone"):
            EmittingZeroShot(task, ("label", "embedding"))


def test_labels_of_ones_own_that_may_hold_together_have_no_entropy(checkpoints: Make) -> None:
    checkpoint, tokenizer = opened(checkpoints("sentence"))
    labels = candidates_from_option("praise,complaint")
    task = zero_shot(checkpoint, tokenizer, labels, LongOptions(), multi_label=True)
    with pytest.raises(UsageError, match="margin needs labels that exclude each other, and with --multi"):
        EmittingZeroShot(task, ("label", "margin"))


def test_a_vector_that_needs_a_prompt_is_refused(skills: tuple[Checkpoint, Tokenizer]) -> None:
    checkpoint, tokenizer = skills
    vector = TextVector(checkpoint, tokenizer, LongOptions())
    vector.prompt = "query: "
    with pytest.raises(UsageError, match="query: "):
        Several([head(skills, "topics")], ("embedding",), vector)
