"""A sound checkpoint passes without a word, and each way of answering wrongly in silence is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from transformers import AutoConfig

from bertcli.models.check import Finding, full_check, quick_check
from bertcli.models.checkpoint import open_checkpoint
from tests.checkpoints import FAMILIES, KINDS, bare, edit_json, gamma_beta
from tests.conftest import Make

Edit = Callable[[Path], None]
CLASSIFIER = ("classifier.weight", "classifier.bias")


def _weights(change: Callable[[dict[str, np.ndarray]], None]) -> Edit:
    def edit(path: Path) -> None:
        weights = load_file(path / "model.safetensors")
        change(weights)
        save_file(weights, path / "model.safetensors", {"format": "pt"})

    return edit


def _without(name: str) -> Edit:
    return _weights(lambda weights: weights.__delitem__(name))


def _config(**changes: object) -> Edit:
    return lambda path: edit_json(path / "config.json", **changes)


def _json(file: str, **changes: object) -> Edit:
    return lambda path: edit_json(path / file, **changes)


def _one_class(path: Path) -> None:
    """As transformers refuses to build it."""
    rows = {name: load_file(path / "model.safetensors")[name][:1] for name in CLASSIFIER}
    _weights(lambda weights: weights.update(rows))(path)
    edit_json(path / "config.json", id2label={"0": "only"}, problem_type="single_label_classification")
    with pytest.raises(Exception, match="single_label_classification"):
        AutoConfig.from_pretrained(path)


def _cut(path: Path) -> None:
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _refusals(findings: list[Finding]) -> list[str]:
    return [found.message for found in findings if found.refuses]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_sound_checkpoint_passes(family: str, kind: str, checkpoints: Make) -> None:
    assert full_check(open_checkpoint(checkpoints(family, kind))) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"dtype": "float16"},
        {"dtype": "bfloat16"},
        {"shards": True},
        {"rename": gamma_beta},
        {"rename": bare},
        {"num_hidden_layers": 12},
        {"labels": ["a", "b", "c", "d", "e"], "problem_type": "multi_label_classification"},
        {"labels": ["grade"]},
    ],
)
def test_a_sound_checkpoint_of_another_kind_passes(settings: dict[str, object], checkpoints: Make) -> None:
    assert full_check(open_checkpoint(checkpoints("bert", "label", **settings))) == []


def test_sound_skills_and_sentences_pass(checkpoints: Make) -> None:
    assert full_check(open_checkpoint(checkpoints("skills"))) == []
    assert full_check(open_checkpoint(checkpoints("sentence"))) == []


# name -> (kind of checkpoint, what is done to it, words of the refusal)
HARM: dict[str, tuple[str, Edit, str]] = {
    "cut short": ("label", _cut, "cut short"),
    "head never trained": ("label", _without("classifier.weight"), "never trained"),
    "pooler never trained": (
        "label", _without("bert.pooler.dense.bias"), "bert.pooler.dense.bias",
    ),
    "mask head never trained": (
        "fill", _without("cls.predictions.transform.dense.weight"), "never trained",
    ),
    "a layer too many": ("label", _config(num_hidden_layers=1), "1 layers, the weights 2"),
    "no small number": ("label", _config(layer_norm_eps="tiny"), "layer_norm_eps is 'tiny'"),
    "a large small number": ("label", _config(layer_norm_eps=1e5), "layer_norm_eps is 100000.0"),
    "relative positions": (
        "label", _config(position_embedding_type="relative_key"), "neither engine has relative positions",
    ),
    "a layer too few": ("label", _config(num_hidden_layers=3), "3 layers"),
    "a part of a layer missing": (
        "label",
        _without("bert.encoder.layer.1.attention.self.key.bias"),
        "layer 1 lacks attention.self.key.bias",
    ),
    "other hidden size": ("label", _config(hidden_size=64), "width of 64"),
    "other inner size": ("label", _config(intermediate_size=65), "intermediate_size 65"),
    "heads that do not divide": ("label", _config(num_attention_heads=5), "divide"),
    "other vocabulary": ("label", _config(vocab_size=9999), "vocab_size 9999"),
    "other positions": ("label", _config(max_position_embeddings=128), "max_position_embeddings 128"),
    "other token types": ("label", _config(type_vocab_size=4), "type_vocab_size 4"),
    "no word embeddings": (
        "label",
        _without("bert.embeddings.word_embeddings.weight"),
        "no table of word embeddings",
    ),
    "a gap in id2label": ("label", _config(id2label={"0": "a", "2": "b"}), "from 0 up: 0, 2"),
    "names as keys of id2label": ("label", _config(id2label={"a": 0, "b": 1}), "from 0 up: a, b"),
    "id2label as a list": ("label", _config(id2label=["a", "b"]), "from 0 up"),
    "a label too many": ("tag", _config(id2label={"0": "a", "1": "b", "2": "c"}), "makes it 3 by 32"),
    "a label too few": ("label", _config(id2label={"0": "a"}), "makes it 1 by 32"),
    "three ends of an answer": (
        "answer",
        _weights(lambda w: w.update({"qa_outputs.weight": np.zeros((3, 32), np.float32)})),
        "an answer has two ends",
    ),
    "one class to choose from": (
        "label",
        _one_class,
        "single_label_classification of one class",
    ),
    "no such problem": ("label", _config(problem_type="guessing"), "guessing"),
    "length of nothing": ("label", _json("tokenizer_config.json", model_max_length=0), "model_max_length"),
    "length of no number": ("label", _json("tokenizer_config.json", model_max_length="9"), "is '9'"),
    "quantised": (
        "label",
        _weights(lambda w: w.update({"bert.pooler.dense.weight": np.zeros((32, 32), np.int8)})),
        "I8",
    ),
}  # fmt: skip


def _reshaped(name: str, shape: tuple[int, ...]) -> Edit:
    return _weights(lambda w: w.update({name: np.ones(shape, np.float32)}))


@pytest.mark.parametrize(
    ("family", "kind", "name", "shape"),
    [
        ("bert", "label", "classifier.bias", (1,)),
        ("bert", "label", "bert.pooler.dense.bias", (1,)),
        ("bert", "label", "bert.embeddings.LayerNorm.weight", (1,)),
        ("bert", "label", "bert.embeddings.LayerNorm.bias", (31,)),
        ("bert", "tag", "bert.encoder.layer.1.output.LayerNorm.bias", (64,)),
        ("bert", "fill", "cls.predictions.transform.LayerNorm.weight", (1,)),
        ("bert", "fill", "cls.predictions.bias", (1,)),
        ("bert", "fill", "cls.predictions.decoder.weight", (1, 32)),
        ("bert", "answer", "qa_outputs.bias", (1,)),
        ("skills", "base", "heads.sentiment.dense.bias", (1,)),
        ("skills", "base", "heads.topics.classifier.bias", (1,)),
        ("roberta", "label", "classifier.dense.bias", (1,)),
        ("distilbert", "label", "pre_classifier.bias", (1,)),
        ("electra", "fill", "generator_predictions.dense.bias", (1,)),
        ("albert", "fill", "predictions.LayerNorm.bias", (32,)),
        ("modernbert", "fill", "decoder.bias", (1,)),
    ],
)
def test_a_weight_of_another_shape_is_refused(
    family: str, kind: str, name: str, shape: tuple[int, ...], checkpoint_copy: Make
) -> None:
    """NumPy and torch would stretch a single number over all."""
    path = checkpoint_copy(family, kind)
    _reshaped(name, shape)(path)
    (message,) = _refusals(full_check(open_checkpoint(path)))
    assert f"{name} is {' by '.join(map(str, shape))}, where " in message


@pytest.mark.parametrize("harm", HARM)
def test_harm_is_refused_before_a_run(harm: str, checkpoint_copy: Make) -> None:
    kind, edit, words = HARM[harm]
    path = checkpoint_copy("bert", kind)
    edit(path)
    checkpoint = open_checkpoint(path)
    quick = quick_check(checkpoint, kind)  # type: ignore[arg-type]
    assert any(words in message for message in _refusals(quick))
    assert all(found.hint and not found.hint.endswith(".") for found in quick)
    assert {found.message for found in quick} <= {found.message for found in full_check(checkpoint)}


def test_what_writes_text_is_refused(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "base")
    edit_json(path / "config.json", architectures=["GPT2LMHeadModel"])
    assert "made to write text" in _refusals(quick_check(open_checkpoint(path), "embed"))[0]


SENTENCE_HARM: dict[str, tuple[Edit, str]] = {
    "another pooling": (_json("1_Pooling/config.json", pooling_mode="median"), "median pooling"),
    "vectors of another size": (
        _json("1_Pooling/config.json", word_embedding_dimension=768),
        "vectors of 768",
    ),
    "too long": (_json("sentence_bert_config.json", max_seq_length=100), "max_seq_length is 100"),
    "negative": (_json("sentence_bert_config.json", max_seq_length=-1), "max_seq_length is -1"),
    "no such prompt": (_json("config_sentence_transformers.json", default_prompt_name="ask"), "'ask'"),
}


@pytest.mark.parametrize("harm", SENTENCE_HARM)
def test_embeddings_other_than_the_models_own_are_refused(harm: str, checkpoint_copy: Make) -> None:
    path = checkpoint_copy("sentence")
    edit, words = SENTENCE_HARM[harm]
    edit(path)
    (message,) = _refusals(quick_check(open_checkpoint(path), "embed"))
    assert words in message


def test_pooling_that_contradicts_the_files_is_refused(checkpoints: Make) -> None:
    declared, silent = open_checkpoint(checkpoints("sentence")), open_checkpoint(checkpoints("bert"))
    assert quick_check(declared, "embed", pooling="mean") == []
    assert "cls" in _refusals(quick_check(declared, "embed", pooling="cls"))[0]
    assert quick_check(silent, "embed", pooling="cls") == []


def test_a_task_without_a_head_is_refused_with_the_reason(checkpoints: Make) -> None:
    (finding,) = quick_check(open_checkpoint(checkpoints("bert", "fill")), "label")
    assert finding.refuses
    assert "BertForMaskedLM" in finding.message
    assert "--labels" in finding.hint


def test_classes_without_names_are_a_warning(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "label")
    edit_json(path / "config.json", id2label={"0": "LABEL_0", "1": "LABEL_1"})
    (finding,) = quick_check(open_checkpoint(path), "label")
    assert not finding.refuses
    assert "LABEL_0 to LABEL_1" in finding.message
    assert "--labels-file" in finding.hint


def test_two_classes_of_one_name_are_a_warning(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "label")
    edit_json(path / "config.json", id2label={"0": "good", "1": "good"})
    (finding,) = quick_check(open_checkpoint(path), "label")
    assert not finding.refuses
    assert "'good'" in finding.message


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_numbers_are_named(number: float, checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "label")
    name = "bert.encoder.layer.1.output.dense.weight"
    _weights(lambda weights: weights[name].__setitem__((31, 63), number))(path)
    (message,) = _refusals(full_check(open_checkpoint(path)))
    assert name in message
    assert quick_check(open_checkpoint(path), "label") == []


def test_a_projection_that_is_not_what_it_is_tied_to_is_a_warning(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "fill")
    name = "cls.predictions.decoder.weight"
    _weights(lambda w: w.update({name: w["bert.embeddings.word_embeddings.weight"] + 1}))(path)
    (finding,) = full_check(open_checkpoint(path))
    assert name in finding.message
    assert not finding.refuses
    edit_json(path / "config.json", tie_word_embeddings=False)
    assert full_check(open_checkpoint(path)) == []


def test_a_pickle_is_refused_and_not_opened(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "label")
    (path / "model.safetensors").unlink()
    (path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch harm'\ntR.")
    checkpoint = open_checkpoint(path, allow_pickle=True)
    (message,) = _refusals(full_check(checkpoint))
    assert "pickle" in message
    assert quick_check(checkpoint, "label") == []


def _tokenizer_file(change: Callable[[dict[str, object]], None]) -> Edit:
    def edit(path: Path) -> None:
        content = json.loads((path / "tokenizer.json").read_text())
        change(content)
        (path / "tokenizer.json").write_text(json.dumps(content))

    return edit


TOKENIZERS: dict[str, tuple[Edit, str, bool]] = {
    "no tokenizer": (lambda path: (path / "tokenizer.json").unlink(), "no tokenizer", True),
    "no special tokens": (
        _tokenizer_file(lambda d: d.update(post_processor=None)),
        "no special tokens",
        True,
    ),
    "two minds": (_json("tokenizer_config.json", do_lower_case=False), "has do_lower_case False", False),
    "wrong decoder": (_tokenizer_file(lambda d: d.update(decoder={"type": "Fuse"})), "come back", False),
}


@pytest.mark.parametrize("harm", TOKENIZERS)
def test_a_tokenizer_that_does_not_fit_is_found(harm: str, checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "label")
    edit, words, refuses = TOKENIZERS[harm]
    edit(path)
    (finding,) = full_check(open_checkpoint(path))
    assert words in finding.message
    assert finding.refuses == refuses


def test_a_masked_lm_without_a_mask_token_is_refused(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "fill")
    content = json.loads((path / "tokenizer.json").read_text())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] != "[MASK]"]
    (path / "tokenizer.json").write_text(json.dumps(content))
    (path / "tokenizer_config.json").unlink()
    assert "mask token" in _refusals(full_check(open_checkpoint(path)))[0]


@pytest.mark.parametrize("family", ["marian", "t5", "mt5", "bart", "pegasus", "m2m_100", "mbart"])
def test_an_encoder_decoder_is_for_translations(seq2seq: Make, family: str) -> None:
    checkpoint = open_checkpoint(seq2seq(family))
    assert not _refusals(full_check(checkpoint))
    [refused] = [found for found in quick_check(checkpoint, "embed") if "no encoder" in found.message]
    assert "`bertcli translate` runs this one" in refused.hint
