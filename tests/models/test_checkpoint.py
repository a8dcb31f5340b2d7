"""What a directory says about itself, and what happens when it says nonsense."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from transformers import AutoModel, AutoTokenizer

from bertcli.errors import ModelError
from bertcli.models.check import quick_check
from bertcli.models.checkpoint import name_of, open_checkpoint
from bertcli.models.pooling import Pooling
from tests.checkpoints import FAMILIES, MAX_LENGTH, bare, edit_json, write_json
from tests.conftest import Make


@pytest.mark.parametrize("family", FAMILIES)
def test_sizes_and_limits_of_every_family(family: str, checkpoints: Make) -> None:
    checkpoint = open_checkpoint(checkpoints(family))
    model = AutoModel.from_pretrained(checkpoints(family))
    assert checkpoint.model_type == family
    assert checkpoint.hidden_size == model.config.hidden_size
    assert checkpoint.layers == model.config.num_hidden_layers
    assert checkpoint.attention_heads == model.config.num_attention_heads
    assert checkpoint.vocab_size == model.config.vocab_size
    assert checkpoint.position_limit == MAX_LENGTH
    assert checkpoint.max_length == checkpoint.embed_max_length == MAX_LENGTH
    assert checkpoint.parameters() == sum(weight.numel() for weight in model.state_dict().values())


@pytest.mark.parametrize("family", ["roberta", "bert", "mpnet"])
def test_the_position_limit_is_the_last_length_that_runs(family: str, checkpoints: Make) -> None:
    import torch

    path = checkpoints(family)
    checkpoint, model = open_checkpoint(path), AutoModel.from_pretrained(path)
    ids = torch.full((1, checkpoint.position_limit), 7)
    model(input_ids=ids)
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.cat([ids, ids[:, :1]], dim=1))


def test_the_least_limit_holds(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("sentence")
    edit_json(path / "tokenizer_config.json", model_max_length=40)
    checkpoint = open_checkpoint(path)
    assert (checkpoint.position_limit, checkpoint.max_length, checkpoint.embed_max_length) == (
        MAX_LENGTH,
        40,
        32,
    )
    edit_json(path / "sentence_bert_config.json", max_seq_length=50)
    assert open_checkpoint(path).embed_max_length == 50
    edit_json(path / "sentence_bert_config.json", max_seq_length=10_000)
    assert open_checkpoint(path).embed_max_length == MAX_LENGTH


def test_a_tokenizer_without_limit_has_none(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert")
    edit_json(path / "tokenizer_config.json", model_max_length=int(1e30))
    assert open_checkpoint(path).max_length == MAX_LENGTH
    (path / "tokenizer_config.json").unlink()
    assert open_checkpoint(path).max_length == MAX_LENGTH


def test_weights_with_and_without_prefix(checkpoints: Make) -> None:
    assert open_checkpoint(checkpoints("bert")).encoder_prefix == ""
    with_prefix = open_checkpoint(checkpoints("bert", "fill"))
    without = open_checkpoint(checkpoints("bert", "fill", rename=bare))
    assert with_prefix.encoder_prefix == "bert."
    assert without.encoder_prefix == ""
    assert without.heads == with_prefix.heads
    name = "embeddings.word_embeddings.weight"
    np.testing.assert_array_equal(without.weights.read(name), with_prefix.weights.read(f"bert.{name}"))


def test_pooling_as_sentence_transformers_declares_it(checkpoints: Make) -> None:
    path = checkpoints("sentence", mode="cls", prompts={"query": "query: "}, default_prompt="query")
    pooling = open_checkpoint(path).pooling
    assert pooling.declared
    assert (pooling.mode, pooling.normalize, pooling.max_length) == ("cls", True, 32)
    assert (pooling.prompts, pooling.default_prompt) == ({"query": "query: "}, "query")
    assert pooling.unsupported == ()
    assert not open_checkpoint(checkpoints("sentence", normalize=False)).pooling.normalize
    assert open_checkpoint(checkpoints("bert")).pooling == Pooling()


def test_pooling_as_sentence_transformers_writes_it_today(checkpoints: Make, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    path = checkpoints("sentence", mode="max", prompts={"query": "query: "})
    SentenceTransformer(str(path), device="cpu", local_files_only=True).save_pretrained(
        str(tmp_path / "saved")
    )
    before, after = open_checkpoint(path), open_checkpoint(tmp_path / "saved")
    assert after.pooling.mode == "max"
    assert after.pooling.normalize
    assert after.pooling.prompts["query"] == "query: "
    assert after.pooling.unsupported == ()
    assert after.embed_max_length == before.embed_max_length


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ({"pooling_mode": "median"}, "median pooling"),
        ({"pooling_mode": ["mean", "median", "attention"]}, "median, attention pooling"),
        ({"pooling_mode": 7}, "7 pooling"),
    ],
)
def test_pooling_we_do_not_compute_is_named(
    edit: dict[str, object], words: str, checkpoint_copy: Make
) -> None:
    path = checkpoint_copy("sentence")
    edit_json(path / "1_Pooling" / "config.json", **edit)
    (unsupported,) = open_checkpoint(path).pooling.unsupported
    assert words in unsupported


def test_vectors_that_are_normalised_before_they_are_pooled_are_named(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("sentence")
    encoder, pooling, normalize = json.loads((path / "modules.json").read_text())
    write_json(path / "modules.json", [encoder, normalize, pooling])
    (unsupported,) = open_checkpoint(path).pooling.unsupported
    assert unsupported == "a Normalize module before the pooling"
    (finding,) = quick_check(open_checkpoint(path), "embed")
    assert finding.refuses


def test_a_dense_module_is_named(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("sentence")
    modules = json.loads((path / "modules.json").read_text())
    dense = {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    write_json(path / "modules.json", [*modules[:2], dense])
    assert "Dense" in open_checkpoint(path).pooling.unsupported[0]


def test_an_encoder_in_a_folder_of_its_own(checkpoint_copy: Make) -> None:
    """As sentence-transformers saved models before 2021."""
    path = checkpoint_copy("sentence")
    (path / "0_Transformer").mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "sentence_bert_config.json"):
        (path / name).rename(path / "0_Transformer" / name)
    modules = json.loads((path / "modules.json").read_text())
    write_json(path / "modules.json", [modules[0] | {"path": "0_Transformer"}, *modules[1:]])
    checkpoint = open_checkpoint(path)
    assert checkpoint.path == path / "0_Transformer"
    assert checkpoint.name == path.name
    assert checkpoint.pooling.normalize
    assert checkpoint.embed_max_length == 32


@pytest.mark.parametrize("folder", ["../elsewhere", "/etc", 7])
def test_modules_stay_inside_the_checkpoint(folder: object, checkpoint_copy: Make) -> None:
    path = checkpoint_copy("sentence")
    modules = json.loads((path / "modules.json").read_text())
    write_json(path / "modules.json", [modules[0], modules[1] | {"path": folder}])
    with pytest.raises(ModelError, match="outside"):
        open_checkpoint(path)


def test_the_fingerprint_follows_the_content_and_nothing_else(checkpoint_copy: Make, tmp_path: Path) -> None:
    path = checkpoint_copy("bert", "label")
    before = open_checkpoint(path).fingerprint()
    copy = Path(shutil.copytree(path, tmp_path / "copy"))
    os.utime(copy / "model.safetensors", (1, 1))
    (copy / "notes.md").write_text("hello")
    assert open_checkpoint(copy).fingerprint() == before
    edit_json(copy / "config.json", problem_type="multi_label_classification")
    assert open_checkpoint(copy).fingerprint() != before


@pytest.mark.parametrize("name", ["classifier.bias", "bert.encoder.layer.1.output.dense.weight"])
def test_the_fingerprint_sees_other_weights_of_the_same_shape(name: str, checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "label")
    before = open_checkpoint(path).fingerprint()
    weights = load_file(path / "model.safetensors")
    weights[name] = weights[name] + np.float32(0.001)
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    assert open_checkpoint(path).fingerprint() != before


def test_heads_are_not_sought_in_a_pickle(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "fill")
    edit_json(path / "config.json", architectures=["OwnClass"])
    assert open_checkpoint(path).head("fill").missing == ()
    (path / "model.safetensors").rename(path / "pytorch_model.bin")  # is not opened
    with pytest.raises(ModelError, match="heads are not sought") as error:
        open_checkpoint(path, allow_pickle=True).head("fill")
    assert "models convert" in (error.value.hint or "")


def test_a_pickle_needs_leave(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "label")
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickle") as error:
        open_checkpoint(path)
    assert "--allow-pickle" in (error.value.hint or "")
    checkpoint = open_checkpoint(path, allow_pickle=True)
    assert checkpoint.heads["label"].missing == ()
    assert checkpoint.hidden_size == 32
    assert checkpoint.token_types == 2
    assert len(checkpoint.fingerprint()) == 16


def test_snapshots_of_the_cache_have_their_name() -> None:
    assert name_of(Path("/cache/models--owner--name/snapshots/0123abc")) == "owner/name"
    assert name_of(Path("/somewhere/my-model")) == "my-model"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b"null", b"[" * 100_000, b"{}", b'{"model_type": 3}']
)
def test_a_configuration_that_is_none(content: bytes, checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert")
    (path / "config.json").write_bytes(content)
    with pytest.raises(ModelError):
        open_checkpoint(path)


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": "32"},
        {"hidden_size": 0},
        {"num_hidden_layers": -1},
        {"num_attention_heads": True},
        {"vocab_size": 2.5},
        {"max_position_embeddings": []},
    ],
)
def test_sizes_that_are_none(change: dict[str, object], checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert")
    edit_json(path / "config.json", **change)
    with pytest.raises(ModelError, match=next(iter(change))):
        open_checkpoint(path)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("modules.json", {}),
        ("modules.json", [{"path": ""}]),
        ("1_Pooling/config.json", []),
        ("sentence_bert_config.json", {"max_seq_length": "128"}),
        ("config_sentence_transformers.json", 7),
        ("config_sentence_transformers.json", {"truncate_dim": 0}),
        ("config_sentence_transformers.json", {"truncate_dim": "8"}),
        ("tokenizer_config.json", "text"),
    ],
)
def test_other_files_that_are_not_what_they_should_be(
    file: str, content: object, checkpoint_copy: Make
) -> None:
    path = checkpoint_copy("sentence")
    write_json(path / file, content)
    with pytest.raises(ModelError):
        open_checkpoint(path)


def test_a_missing_directory_a_file_and_an_empty_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for name, words in (
        ("none", "does not exist"),
        ("file", "not a directory"),
        ("empty", r"config\.json is missing"),
    ):
        with pytest.raises(ModelError, match=words):
            open_checkpoint(tmp_path / name)


def test_a_fifo_is_not_waited_for(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert")
    for name in ("config.json", "model.safetensors"):
        (path / name).unlink()
        os.mkfifo(path / name)
    with pytest.raises(ModelError, match="not a file"):
        open_checkpoint(path)


def test_twelve_layers(checkpoints: Make) -> None:
    path = checkpoints("bert", "base", num_hidden_layers=12, num_attention_heads=2)
    checkpoint = open_checkpoint(path)
    assert (checkpoint.layers, checkpoint.attention_heads) == (12, 2)
    assert AutoTokenizer.from_pretrained(path).model_max_length == checkpoint.max_length
