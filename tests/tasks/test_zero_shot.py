"""Labels a user names: by entailment as transformers' pipeline does it, by nearness as documented."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from bertcli.errors import ModelError, UsageError
from bertcli.records import Record
from bertcli.requests import LongOptions
from bertcli.tasks.candidates import TEMPLATE, candidates_from_lines, candidates_from_option
from bertcli.tasks.zero_shot import ByEntailment, ByNearness, adapted, zero_shot
from tests.tasks.reference import Reference, answer, answers, opened

NAMES = "praise,complaint,a much longer label"
TEXTS = ("I loved every minute of it.", "The server is down again?", "Shares fell sharply on Monday")
Make = Callable[..., Path]


def asking(path: Path, names: str = NAMES, long: LongOptions | None = None, **options: Any) -> Any:
    return zero_shot(*opened(path), candidates_from_option(names), long or LongOptions(), **options)


def scores_of(found: dict[str, Any]) -> list[float]:
    by_name = {entry["label"]: entry["score"] for entry in found["labels"]}
    return [by_name[candidate.label] for candidate in candidates_from_option(NAMES)]


# By entailment


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize(
    ("family", "classes"),
    [
        ("bert", ("contradiction", "neutral", "entailment")),
        ("bert", ("ENTAILMENT", "neutral", "contradiction")),
        ("roberta", ("not_entailment", "entailment")),
    ],
)
def test_entailment_is_that_of_transformers(
    checkpoints: Make, family: str, classes: tuple[str, ...], multi_label: bool
) -> None:
    path = checkpoints(family, "label", labels=classes)
    pipeline = transformers.pipeline("zero-shot-classification", str(path), device="cpu")
    task = asking(path, multi_label=multi_label, top="all")
    assert isinstance(task, ByEntailment)
    engine = Reference(path, "ModelForSequenceClassification")
    for text, found in zip(TEXTS, answers(task, engine, TEXTS), strict=True):
        expected = pipeline(
            text, NAMES.split(","), hypothesis_template="This text is about {}.", multi_label=multi_label
        )
        wanted = dict(zip(expected["labels"], expected["scores"], strict=True))
        assert scores_of(found) == pytest.approx([wanted[name] for name in NAMES.split(",")], abs=1e-6)


def test_all_labels_see_the_same_slices_of_a_long_text(checkpoints: Make) -> None:
    path = checkpoints("bert", "label", labels=("contradiction", "neutral", "entailment"))
    task = asking(path, long=LongOptions(max_length=40), top="all")
    engine = Reference(path, "ModelForSequenceClassification")
    encoded = task.encode(Record(0, {}, " ".join(TEXTS * 3)))
    assert encoded.slices > 1
    assert len(encoded.windows) == 3 * encoded.slices
    assert all(len(window) <= 40 for window in encoded.windows)
    firsts = [window.ids[slice(*window.fresh)] for window in encoded.windows]
    assert firsts[0::3] == firsts[1::3] == firsts[2::3]
    assert sum(scores_of(answer(task, engine, " ".join(TEXTS * 3)))) == pytest.approx(1, abs=1e-6)


def test_labels_that_leave_no_room_are_refused(checkpoints: Make) -> None:
    path = checkpoints("bert", "label", labels=("contradiction", "neutral", "entailment"))
    with pytest.raises(UsageError, match="leaves no room for text in 12"):
        asking(path, long=LongOptions(max_length=12))


# By nearness


def vectors(path: Path, texts: list[str]) -> np.ndarray[Any, Any]:
    """Mean-pooled unit vectors, straight from transformers."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    model = transformers.AutoModel.from_pretrained(path).eval()
    pooled = [
        model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0).detach().numpy()
        for text in texts
    ]
    return np.stack([vector / np.linalg.norm(vector) for vector in pooled])


@pytest.mark.parametrize("template", ["This text is about {}.", "It is {}"])
def test_nearness_is_a_softmax_of_cosines(checkpoints: Make, template: str) -> None:
    path = checkpoints("sentence", max_length=48)
    names = NAMES.split(",")
    directions = vectors(path, [template.replace("{}", name) for name in names])
    if template == TEMPLATE:  # between this and the words of the label
        directions = directions + vectors(path, names)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    cosines = vectors(path, list(TEXTS)) @ directions.T
    powers = np.exp(cosines / 0.05)
    task = asking(path, top="all", template=template)
    assert isinstance(task, ByNearness)
    for found, expected in zip(answers(task, Reference(path), TEXTS), powers, strict=True):
        assert scores_of(found) == pytest.approx(expected / expected.sum(), abs=1e-4)


def test_several_labels_are_each_weighed_against_none(checkpoints: Make) -> None:
    path = checkpoints("sentence", max_length=48)
    sentences = [f"This text is about {name}." for name in (*NAMES.split(","), "")]
    cosines = vectors(path, list(TEXTS)) @ vectors(path, sentences).T
    task = asking(path, top="all", multi_label=True)
    for found, near in zip(answers(task, Reference(path), TEXTS), cosines, strict=True):
        expected = 1 / (1 + np.exp(-(near[:-1] - near[-1]) / 0.05))
        assert scores_of(found) == pytest.approx(expected, abs=1e-4)


def test_a_label_among_several_does_not_depend_on_the_others(checkpoints: Make) -> None:
    path = checkpoints("sentence", max_length=48)
    engine = Reference(path)
    alone = answer(asking(path, "praise", multi_label=True, top="all"), engine, TEXTS[0])
    among = answer(asking(path, multi_label=True, top="all"), engine, TEXTS[0])
    assert alone["labels"][0]["score"] == pytest.approx(scores_of(among)[0], abs=1e-5)


def test_labels_are_embedded_once_in_packs(checkpoints: Make) -> None:
    path = checkpoints("sentence", max_length=48)
    engine = Reference(path, batch_tokens=60)
    task = asking(path, ",".join(f"label {number}" for number in range(12)))
    task.prepare(engine)
    assert sum(engine.calls) == 2 * 12
    assert len(engine.calls) > 1
    engine.calls.clear()
    answer(task, engine, TEXTS[0])
    assert sum(engine.calls) == 2 * 12 + 1


def test_descriptions_stand_in_for_labels_and_labels_are_the_answer(checkpoints: Make) -> None:
    path = checkpoints("sentence", max_length=48)
    lines = ["good\tI loved every minute of it.\n", "\n", "bad\tThe server is down again?\n"]
    candidates = candidates_from_lines(lines, "labels.txt")
    task = zero_shot(*opened(path), candidates, LongOptions(), template="{}")
    found = answers(task, Reference(path), TEXTS[:2])
    assert [one["label"] for one in found] == ["good", "bad"]


# What is asked for


def test_a_checkpoint_that_can_do_neither_is_refused(checkpoints: Make) -> None:
    for kind in ("fill", "label"):
        with pytest.raises(ModelError, match="neither judge entailment nor compare sentences") as caught:
            asking(checkpoints("bert", kind))
        assert caught.value.hint


@pytest.mark.parametrize("template", ["no place", "{} and {}", "", "{0}"])
def test_a_template_has_one_place_for_the_label(checkpoints: Make, template: str) -> None:
    with pytest.raises(UsageError, match="exactly once"):
        asking(checkpoints("sentence", max_length=48), template=template)


def test_other_braces_in_a_template_are_text(checkpoints: Make) -> None:
    path = checkpoints("sentence", max_length=48)
    assert answer(asking(path, template="{topic: {}}"), Reference(path), TEXTS[0])["label"]


def test_one_label_is_no_choice(checkpoints: Make) -> None:
    with pytest.raises(UsageError, match="always the answer"):
        asking(checkpoints("sentence", max_length=48), "praise")


@pytest.mark.parametrize(
    ("value", "labels"),
    [("a,b", ["a", "b"]), (' a , "b, c" ,d', ["a", "b, c", "d"]), ('"say ""hi""",x', ['say "hi"', "x"])],
)
def test_labels_are_separated_by_commas(value: str, labels: list[str]) -> None:
    assert [candidate.label for candidate in candidates_from_option(value)] == labels


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "an empty label"),
        ("a,,b", "an empty label"),
        ("a, ", "an empty label"),
        ("a,b,a", "a is there twice"),
        ('"a,b', "not a list"),
        ("a\nb", "not a list"),
    ],
)
def test_labels_that_cannot_be_meant_are_refused(value: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        candidates_from_option(value)


def test_a_file_without_labels_is_refused() -> None:
    with pytest.raises(UsageError, match="no labels"):
        candidates_from_lines(["\n", "  \n"], "labels.txt")


# Adapted to the texts


def sphere_means(directions: np.ndarray[Any, Any], texts: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The rounds of `adapted`, written out."""

    def unit(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return x / np.linalg.norm(x)

    moved = directions
    for _ in range(20):
        nearest = [max(range(len(moved)), key=lambda label: moved[label] @ text) for text in texts]
        moved = np.stack([
            unit(direction + unit(own.mean(axis=0))) if len(own) else direction
            for label, direction in enumerate(directions)
            for own in [texts[np.array(nearest) == label]]
        ])  # fmt: skip
    return moved


def test_directions_move_towards_their_texts() -> None:
    rng = np.random.default_rng(0)
    made = rng.standard_normal((203, 8)).astype(np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    directions, texts = made[:3], made[3:]
    np.testing.assert_allclose(adapted(directions, texts), sphere_means(directions, texts), atol=1e-5)
    far = np.stack([directions[0], -directions[0]])  # no text is nearest to the second
    np.testing.assert_allclose(adapted(far, directions[:1])[1], far[1], atol=1e-6)


def test_groups_of_texts_are_found_from_a_hint_of_each() -> None:
    rng = np.random.default_rng(1)
    centres = np.eye(3, 16, dtype=np.float32)
    groups = rng.integers(0, 3, 600)
    texts = centres[groups] + np.float32(0.3) * rng.standard_normal((600, 16)).astype(np.float32)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    hints = centres + np.float32(0.8) * rng.standard_normal((3, 16)).astype(np.float32) * (np.arange(16) >= 3)
    hints /= np.linalg.norm(hints, axis=1, keepdims=True)
    before = ((texts @ hints.T).argmax(axis=1) == groups).mean()
    after = ((texts @ adapted(hints, texts).T).argmax(axis=1) == groups).mean()
    assert before < 0.9 < after
