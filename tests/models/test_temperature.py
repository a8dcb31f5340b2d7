"""Temperatures in config.json: read, refused, written whole and only where they may be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bertcli.errors import ModelError
from bertcli.models import library
from bertcli.models.checkpoint import open_checkpoint
from bertcli.models.temperature import read_temperatures, refuse_shared, store_temperature
from bertcli.models.tokenizer import Tokenizer
from bertcli.requests import LongOptions
from bertcli.tasks.label import Label
from tests.checkpoints import TEXTS, edit_json
from tests.conftest import Make
from tests.tasks.reference import Reference, answer


def test_what_is_stored_is_read_and_nothing_else_changes(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("skills")
    before = json.loads((path / "config.json").read_text())
    store_temperature(open_checkpoint(path), "sentiment", 1.25)
    store_temperature(open_checkpoint(path), "topics", 0.5)
    heads = open_checkpoint(path).heads
    assert {name: head.temperature for name, head in heads.items()} == {
        "sentiment": 1.25,
        "topics": 0.5,
        "entities": 1.0,
        "fill": 1.0,
    }
    after = json.loads((path / "config.json").read_text())
    assert after["bertcli"].pop("temperature") == {"sentiment": 1.25, "topics": 0.5}
    assert after == before
    assert not list(path.glob("*.part"))


@pytest.mark.parametrize("problem", ["single_label_classification", "multi_label_classification"])
def test_scores_are_those_of_logits_divided_by_it(problem: str, checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "label", labels=["a", "b", "c"], problem_type=problem)
    engine = Reference(path, "ModelForSequenceClassification")

    def logits() -> np.ndarray:
        checkpoint = open_checkpoint(path)
        task = Label(checkpoint, Tokenizer.of(checkpoint), checkpoint.head("label"), LongOptions(), top="all")
        ranked = answer(task, engine, TEXTS[1])["labels"]
        p = np.array([entry["score"] for entry in sorted(ranked, key=lambda entry: entry["label"])])
        return np.log(p) - np.log1p(-p) if problem.startswith("multi") else np.log(p) - np.log(p).mean()

    plain = logits()
    store_temperature(open_checkpoint(path), "label", 2.5)
    np.testing.assert_allclose(logits(), plain / 2.5, atol=1e-4)


def test_a_regression_has_no_temperature(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "label", labels=["LABEL_0"], problem_type="regression")
    engine = Reference(path, "ModelForSequenceClassification")

    def number() -> float:
        checkpoint = open_checkpoint(path)
        task = Label(checkpoint, Tokenizer.of(checkpoint), checkpoint.head("label"), LongOptions())
        return float(answer(task, engine, TEXTS[1])["score"])

    plain = number()
    store_temperature(open_checkpoint(path), "label", 2.5)
    assert number() == plain


@pytest.mark.parametrize(
    "declared", [[1.5], {"label": 0}, {"label": -1}, {"label": "1.5"}, {"label": True}, {"label": None}, 2]
)
def test_nonsense_is_refused(declared: object) -> None:
    with pytest.raises(ModelError, match="temperature"):
        read_temperatures({"bertcli": {"temperature": declared}})


def test_models_of_others_are_refused(
    checkpoint_copy: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkpoint_copy("bert", "label")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(library, "BUNDLED", tmp_path / "bundled")
    refuse_shared(open_checkpoint(path))
    monkeypatch.setattr(library, "BUNDLED", path)
    with pytest.raises(ModelError, match="bertcli itself") as caught:
        refuse_shared(open_checkpoint(path))
    assert caught.value.hint is not None
    assert "cp -rL" in caught.value.hint
    monkeypatch.setattr(library, "BUNDLED", tmp_path / "bundled")
    monkeypatch.setenv("HF_HUB_CACHE", str(path.parent))
    with pytest.raises(ModelError, match="cache"):
        refuse_shared(open_checkpoint(path))


def test_a_model_that_cannot_be_written_says_so_and_stays_as_it_is(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "label")
    before = (path / "config.json").read_bytes()
    (path / "config.json.part").mkdir()
    with pytest.raises(ModelError, match="cannot be written"):
        store_temperature(open_checkpoint(path), "label", 2.0)
    assert (path / "config.json").read_bytes() == before


def test_a_temperature_for_a_head_that_is_not_there_is_passed_over(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "label")
    edit_json(path / "config.json", bertcli={"temperature": {"mood": 2.0}})
    assert open_checkpoint(path).head("label").temperature == 1.0
