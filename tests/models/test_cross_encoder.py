"""Cross-encoders: the scores of `label --pair-field` are those of CrossEncoder.predict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from sentence_transformers import CrossEncoder

from bertcli import cli
from bertcli.models.check import quick_check
from bertcli.models.checkpoint import open_checkpoint
from tests.checkpoints import TEXTS, edit_json
from tests.conftest import Make

PAIRS = [(TEXTS[0], TEXTS[3]), (TEXTS[1], TEXTS[6]), ("a bank", "the moon")]
Files = dict[str, dict[str, Any]]
SIGMOID, TANH = "torch.nn.modules.activation.Sigmoid", "torch.nn.modules.activation.Tanh"
IDENTITY = "torch.nn.modules.linear.Identity"
OWN = "config_sentence_transformers.json"


def _rows(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> list[Any]:
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps({"text": a, "other": b}) + "\n" for a, b in PAIRS))
    capsys.readouterr()
    code = cli.main(
        ["label", str(file), "-m", str(path), "--pair-field", "other", "--long", "truncate", *options]
    )
    seen = capsys.readouterr()
    assert code == 0, seen.err
    return [json.loads(line) for line in seen.out.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize(
    "files",
    [
        {},
        {"config.json": {"sentence_transformers": {"activation_fn": SIGMOID, "version": "5.0"}}},
        {"config.json": {"sentence_transformers": {"activation_fn": IDENTITY, "version": "5.0"}}},
        {"config.json": {"sentence_transformers": {"activation_fn": "torch.nn.Tanh"}}},
        {"config.json": {"sentence_transformers": {"version": "5.0"}}},
        {"config.json": {"sbert_ce_default_activation_function": IDENTITY}},
        {"config.json": {"sbert_ce_default_activation_function": SIGMOID, "problem_type": "regression"}},
        {OWN: {"activation_fn": TANH}, "config.json": {"sbert_ce_default_activation_function": IDENTITY}},
        {OWN: {"activation_fn": IDENTITY}},
        {OWN: {}},
        {OWN: {"prompts": {"query": "the bank "}, "default_prompt_name": "query"}},
        {"tokenizer_config.json": {"truncation_side": "left", "model_max_length": 16}},
    ],
    ids=str,
)  # fmt: skip
def test_one_output_is_the_score_of_the_cross_encoder(
    files: Files, checkpoint_copy: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoint_copy("bert", "label", labels=["LABEL_0"])
    if OWN in files:
        CrossEncoder(str(path), device="cpu").save_pretrained(str(path))
        edit_json(path / OWN, activation_fn=None)
    for name, changes in files.items():
        edit_json(path / name, **changes)
    expected = CrossEncoder(str(path), device="cpu").predict(PAIRS)
    scores = [row["score"] for row in _rows(path, tmp_path, capsys)]
    assert scores == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_regression_that_says_so_stays_one(
    checkpoints: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoints("bert", "label", labels=["LABEL_0"], problem_type="regression")
    logits = CrossEncoder(str(path), device="cpu").predict(PAIRS, activation_fn=lambda logits: logits)
    assert [row["score"] for row in _rows(path, tmp_path, capsys)] == pytest.approx(logits.tolist(), abs=1e-5)


@pytest.mark.parametrize("activation", [IDENTITY, SIGMOID])
def test_several_outputs_are_probabilities(
    activation: str, checkpoint_copy: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoint_copy("bert", "label", labels=["no", "yes", "perhaps"])
    edit_json(path / "config.json", sentence_transformers={"activation_fn": activation})
    peer = CrossEncoder(str(path), device="cpu")
    expected = peer.predict(PAIRS, apply_softmax=activation == IDENTITY)
    rows = _rows(path, tmp_path, capsys, "--all")
    names = ("no", "yes", "perhaps")
    found = [
        [each["score"] for name in names for each in row["labels"] if each["label"] == name] for row in rows
    ]
    assert np.array(found) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("labels", "problem_type", "activation"),
    [
        (["LABEL_0"], None, "torch.nn.modules.activation.Softplus"),
        (["LABEL_0"], None, "my.own.Function"),
        (["a", "b"], None, TANH),
        (["a", "b"], "multi_label_classification", IDENTITY),
    ],
)
def test_an_activation_that_is_not_computed_is_refused_by_name(
    labels: list[str], problem_type: str | None, activation: str, checkpoint_copy: Make
) -> None:
    path = checkpoint_copy("bert", "label", labels=labels, problem_type=problem_type)
    edit_json(path / "config.json", sentence_transformers={"activation_fn": activation})
    found = [each.message for each in quick_check(open_checkpoint(path), "label") if each.refuses]
    assert len(found) == 1
    assert "activation_fn" in found[0]


def test_a_fine_tuned_cross_encoder_forgets_the_activation_of_its_base(checkpoint_copy: Make) -> None:
    from bertcli.training.network import load_base  # imports torch

    path = checkpoint_copy("bert", "label", labels=["LABEL_0"])
    edit_json(path / "config.json", sentence_transformers={"activation_fn": SIGMOID})
    model = load_base(transformers.AutoModelForSequenceClassification, open_checkpoint(path))
    assert "sentence_transformers" not in model.config.to_dict()
