"""The tasks on the engine of one-off questions give what they give on transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bertcli.engines.instant import Instant
from bertcli.requests import LongOptions
from bertcli.tasks import Task
from bertcli.tasks.candidates import candidates_from_option
from bertcli.tasks.embed import Embed
from bertcli.tasks.fill import Fill
from bertcli.tasks.label import Label
from bertcli.tasks.zero_shot import zero_shot
from tests.tasks.reference import Reference, answers, opened

TEXTS = ("The capital of [MASK] is [MASK].", "[MASK]", "She walked [MASK] along the river, thinking. " * 5)
LONG = LongOptions(max_length=24)
Make = Callable[..., Path]


def agree(task: Task, path: Path, kind: str) -> None:
    found = answers(task, Instant(opened(path)[0]), TEXTS)
    expected = answers(task, Reference(path, kind), TEXTS)
    for one, other in zip(found, expected, strict=True):
        assert flat(one) == pytest.approx(flat(other), abs=1e-4)


def flat(values: Any) -> list[Any]:
    """All numbers of a result in order; words and labels as the numbers of their letters."""
    if isinstance(values, str):
        return [ord(letter) for letter in values]
    if isinstance(values, dict):
        return [number for value in values.values() for number in flat(value)]
    if isinstance(values, list):
        return [number for value in values for number in flat(value)]
    return list(values) if hasattr(values, "__len__") else [values]


def test_fill(checkpoints: Make) -> None:
    path = checkpoints("bert", "fill")
    checkpoint, tokenizer = opened(path)
    agree(Fill(checkpoint, tokenizer, checkpoint.head("fill"), LONG), path, "ModelForMaskedLM")


def test_label(checkpoints: Make) -> None:
    path = checkpoints("bert", "label")
    checkpoint, tokenizer = opened(path)
    task = Label(checkpoint, tokenizer, checkpoint.head("label"), LONG, top="all")
    agree(task, path, "ModelForSequenceClassification")


@pytest.mark.parametrize("options", [{}, {"tokens": True}, {"layer": 1, "pooling": "max", "dim": 7}])
def test_embed(checkpoints: Make, options: dict[str, Any]) -> None:
    path = checkpoints("sentence")
    agree(Embed(*opened(path), LONG, **options), path, "Model")


def test_zero_shot(checkpoints: Make) -> None:
    path = checkpoints("sentence")
    task = zero_shot(*opened(path), candidates_from_option("praise,complaint"), LONG, top="all")
    agree(task, path, "Model")
