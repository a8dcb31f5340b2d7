"""Directories that are nearly a checkpoint: each works, or gets one true sentence that says what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from bertcli.errors import ModelError
from bertcli.models.check import quick_check
from bertcli.models.checkpoint import open_checkpoint
from tests.conftest import Make

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab\nsize 12345\n"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_git_lfs_pointer_is_named(name: str, checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "label")
    (path / name).write_text(POINTER)
    if name == "config.json":
        with pytest.raises(ModelError, match="is a Git LFS pointer") as caught:
            open_checkpoint(path)
        assert "git lfs pull" in str(caught.value.hint)
    else:
        (finding,) = quick_check(open_checkpoint(path), "label")
        assert finding.refuses
        assert "is a Git LFS pointer" in finding.message
        assert "git lfs pull" in finding.message


def test_a_directory_above_the_model_names_it(checkpoints: Make, tmp_path: Path) -> None:
    shutil.copytree(checkpoints("bert", "label"), tmp_path / "checkpoint-500")
    with pytest.raises(ModelError, match="a directory in it does") as caught:
        open_checkpoint(tmp_path)
    assert str(tmp_path / "checkpoint-500") in str(caught.value.hint)


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "model."])
def test_a_wrapper_around_the_names_is_named(wrapper: str, checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "label")
    weights = load_file(path / "model.safetensors")
    save_file({wrapper + name: value for name, value in weights.items()}, path / "model.safetensors")
    (finding,) = quick_check(open_checkpoint(path), "label")
    assert finding.refuses
    assert f"begin with '{wrapper}'" in finding.message


@pytest.mark.parametrize("kind", ["label", "tag", "answer", "fill"])
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "electra", "albert"])
def test_a_config_without_architectures_has_the_head_that_the_weights_hold(
    family: str, kind: str, checkpoint_copy: Make
) -> None:
    path = checkpoint_copy(family, kind)
    before = open_checkpoint(path)
    config = json.loads((path / "config.json").read_text())
    del config["architectures"]
    (path / "config.json").write_text(json.dumps(config))
    assert [head.kind for head in open_checkpoint(path).heads.values()] == [kind]
    assert open_checkpoint(path).head(kind).labels == before.head(kind).labels  # type: ignore[arg-type]


def test_an_old_folder_of_sentence_transformers_has_its_encoder_inside(
    checkpoints: Make, tmp_path: Path
) -> None:
    source = checkpoints("sentence")
    shutil.copytree(source, tmp_path / "0_Transformer")
    shutil.copytree(source / "1_Pooling", tmp_path / "1_Pooling")
    modules = [
        {"idx": 0, "path": "0_Transformer", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "config.json").write_text('{"__version__": {"sentence_transformers": "2.0.0"}}')
    found = open_checkpoint(tmp_path)
    assert found.path == tmp_path / "0_Transformer"
    assert found.pooling.declared


@pytest.mark.parametrize(("above", "refuses"), [(1, False), (2, False), (3, True)])
def test_a_length_that_counts_positions_nobody_can_use_is_cut(
    above: int, refuses: bool, checkpoint_copy: Make
) -> None:
    path = checkpoint_copy("sentence")
    limit = open_checkpoint(path).position_limit
    (path / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": limit + above}))
    checkpoint = open_checkpoint(path)
    assert checkpoint.embed_max_length == limit
    (finding,) = quick_check(checkpoint, "embed")
    assert finding.refuses is refuses
    assert "max_seq_length" in finding.message
