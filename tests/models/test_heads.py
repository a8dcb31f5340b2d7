"""Heads are those the file really holds: the oracle is what transformers misses when it loads them."""

from __future__ import annotations

from pathlib import Path

import pytest
import transformers
from safetensors.torch import load_file, save_file

from bertcli.errors import ModelError
from bertcli.models.check import quick_check
from bertcli.models.checkpoint import open_checkpoint
from bertcli.models.heads import problem_type
from tests.checkpoints import FAMILIES, KINDS, SKILLS, edit_json
from tests.conftest import Make

HEADS = [kind for kind in KINDS if kind != "base"]
EVERY = pytest.mark.parametrize(("family", "kind"), [(family, kind) for family in FAMILIES for kind in HEADS])


def _drop(path: Path, *names: str) -> None:
    file = path / "model.safetensors"
    kept = {name: tensor for name, tensor in load_file(file).items() if name not in names}
    save_file(kept, file, {"format": "pt"})


@EVERY
def test_a_trained_head_is_found_whole(family: str, kind: str, checkpoints: Make) -> None:
    checkpoint = open_checkpoint(checkpoints(family, kind))
    assert list(checkpoint.heads) == [kind]
    assert checkpoint.heads[kind].missing == ()


@pytest.mark.slow
@EVERY
def test_missing_weights_are_those_transformers_would_invent(
    family: str, kind: str, checkpoint_copy: Make
) -> None:
    """An encoder that claims to be a classifier: what transformers initialises at random is what we name."""
    path = checkpoint_copy(family)
    architecture = FAMILIES[family] + KINDS[kind]
    edit_json(path / "config.json", architectures=[architecture])
    missing = open_checkpoint(path).heads[kind].missing
    model = getattr(transformers, architecture)
    _, told = model.from_pretrained(path, output_loading_info=True)
    invented = set(told["missing_keys"])
    alternatives = {name for need in missing for name in need.split("|")}
    assert missing
    assert all(invented.intersection(need.split("|")) for need in missing)
    assert invented <= alternatives | {name for name in invented if name.endswith("decoder.weight")}


@pytest.mark.parametrize("kind", ["label", "tag", "fill"])
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_any_weight_of_a_head_is_missed(family: str, kind: str, checkpoint_copy: Make) -> None:
    path = checkpoint_copy(family, kind)
    names = sorted(load_file(path / "model.safetensors"))
    bias = next(name for name in reversed(names) if name.endswith(".bias") and not name.startswith(family))
    _drop(path, bias)
    missing = open_checkpoint(path).heads[kind].missing
    assert len(missing) == 1
    assert bias in missing[0]


def test_a_masked_lm_head_is_found_though_config_names_another(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "fill")
    edit_json(path / "config.json", architectures=["BertModel"])
    assert list(open_checkpoint(path).heads) == ["fill"]


def test_an_electra_discriminator_fills_no_masks(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("electra")
    edit_json(path / "config.json", architectures=["ElectraForPreTraining"])
    assert open_checkpoint(path).heads == {}


def test_a_label_head_is_no_fill_head_that_has_no_bias(checkpoints: Make) -> None:
    path = checkpoints("modernbert", "label", decoder_bias=False)
    assert list(open_checkpoint(path).heads) == ["label"]


def test_an_untied_projection_is_needed(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "fill", tie_word_embeddings=False)
    assert open_checkpoint(path).heads["fill"].missing == ()
    _drop(path, "cls.predictions.decoder.weight")
    assert open_checkpoint(path).heads["fill"].missing == ("cls.predictions.decoder.weight",)


@pytest.mark.parametrize(
    ("declared", "outputs", "expected"),
    [
        (None, 1, "regression"),
        (None, 2, "single_label_classification"),
        (None, 5, "single_label_classification"),
        ("multi_label_classification", 1, "multi_label_classification"),
        ("multi_label_classification", 5, "multi_label_classification"),
        ("regression", 3, "regression"),
    ],
)
def test_what_the_numbers_mean(declared: str | None, outputs: int, expected: str) -> None:
    assert problem_type(declared, outputs) == expected


def test_labels_are_ordered_by_number_and_not_as_text(checkpoint_copy: Make) -> None:
    names = [f"class {number}" for number in range(12)]
    path = checkpoint_copy("bert", "label", labels=names)
    edit_json(
        path / "config.json", id2label={str(n): names[n] for n in (10, 2, 0, 1, 11, 9, 8, 7, 6, 5, 4, 3)}
    )
    assert open_checkpoint(path).heads["label"].labels == tuple(names)


def test_without_names_the_classes_are_counted_in_the_file(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "label", labels=("a", "b", "c"))
    edit_json(path / "config.json", id2label=None, label2id=None)
    head = open_checkpoint(path).heads["label"]
    assert head.labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    assert not head.named


def test_names_that_are_not_as_many_as_num_labels_are_none(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "label", labels=("a", "b", "c"))
    edit_json(path / "config.json", id2label={"0": "LABEL_0", "1": "LABEL_1"}, label2id=None, num_labels=3)
    assert open_checkpoint(path).heads["label"].labels == ("LABEL_0", "LABEL_1", "LABEL_2")
    assert not [found for found in quick_check(open_checkpoint(path), "label") if found.refuses]
    edit_json(path / "config.json", id2label={"0": "x", "1": "y", "2": "z"}, num_labels=2)
    assert open_checkpoint(path).heads["label"].labels == ("x", "y", "z")


def test_skills_come_first_and_are_read_as_declared(checkpoints: Make) -> None:
    checkpoint = open_checkpoint(checkpoints("skills"))
    assert list(checkpoint.heads) == ["sentiment", "topics", "entities", "fill"]
    for name, skill in SKILLS.items():
        head = checkpoint.heads[name]
        assert head.skill
        assert head.kind == skill["kind"]
        assert head.labels == tuple(skill["labels"])
        assert head.missing == ()
    assert checkpoint.heads["topics"].pooling == "mean"
    assert checkpoint.heads["topics"].problem == "multi_label_classification"
    assert checkpoint.heads["sentiment"].problem == "single_label_classification"


def test_a_skill_lacks_what_is_not_in_the_file(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("skills")
    _drop(path, "heads.sentiment.dense.bias", "heads.entities.classifier.weight")
    heads = open_checkpoint(path).heads
    assert heads["sentiment"].missing == ("heads.sentiment.dense.bias",)
    assert heads["entities"].missing == ("heads.entities.classifier.weight",)


@pytest.mark.parametrize(
    "own",
    [
        "heads",
        {"heads": ["sentiment"]},
        {"heads": {"x": "label"}},
        {"heads": {"x": {"kind": "fill", "labels": ["a"]}}},
        {"heads": {"x": {"kind": "label"}}},
        {"heads": {"x": {"kind": "label", "labels": []}}},
        {"heads": {"x": {"kind": "label", "labels": ["a"], "pooling": "max"}}},
        {"heads": {"x": {"kind": "label", "labels": ["a"], "problem_type": "guess"}}},
    ],
)
def test_skills_that_make_no_sense_are_refused(own: object, checkpoint_copy: Make) -> None:
    path = checkpoint_copy("skills")
    edit_json(path / "config.json", bertcli=own)
    with pytest.raises(ModelError, match=r"bertcli\.heads"):
        open_checkpoint(path)


def test_the_head_for_a_task(checkpoints: Make) -> None:
    skills = open_checkpoint(checkpoints("skills"))
    assert skills.head("tag").name == "entities"
    assert skills.head("label", "topics").name == "topics"
    assert skills.head("label").name == "sentiment"
    assert [head.name for head in skills.heads_of("label")] == ["sentiment", "topics"]
    with pytest.raises(ModelError, match="'mood'") as unknown:
        skills.head("label", "mood")
    assert "sentiment, topics" in (unknown.value.hint or "")
    with pytest.raises(ModelError, match="without a head") as none:
        open_checkpoint(checkpoints("bert")).head("label")
    assert "--labels" in (none.value.hint or "")
