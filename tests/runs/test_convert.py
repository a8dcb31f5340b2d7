"""`models convert`: a directory that needs nothing else, with the same answers, or no directory at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoTokenizer, MarianConfig, MarianMTModel

from bertcli import cli
from bertcli.models.checkpoint import open_checkpoint
from bertcli.runs import convert as module
from tests.checkpoints import edit_json
from tests.conftest import Make

Capture = pytest.CaptureFixture[str]
TEXT = "The capital of France is Paris."


def pickled(path: Path) -> dict[str, torch.Tensor]:
    """Make the weights of a directory a pickle, with the tied projection in it, as they once were saved."""
    model = AutoModelForMaskedLM.from_pretrained(path)
    state = model.state_dict()
    torch.save(state, path / "pytorch_model.bin")
    (path / "model.safetensors").unlink()
    return state


def converted(capsys: Capture, *arguments: str, code: int = 0) -> Any:
    assert cli.main(["models", "convert", *arguments, "-f", "jsonl"]) == code
    out = capsys.readouterr()
    return out.err if code else json.loads(out.out)


def test_a_pickle_with_an_old_vocabulary(
    checkpoint_copy: Make, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path, new = checkpoint_copy("bert", "fill"), tmp_path / "new"
    expected = AutoTokenizer.from_pretrained(path)(TEXT)["input_ids"]
    vocabulary = json.loads((path / "tokenizer.json").read_text())["model"]["vocab"]
    (path / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=lambda word: vocabulary[word])))
    (path / "tokenizer.json").unlink()
    state = pickled(path)
    assert "a pickle" in converted(capsys, str(path), "-o", str(new), code=1)
    assert not new.exists()
    row = converted(capsys, str(path), "-o", str(new), "--allow-pickle")
    assert row["changes"] == ["pytorch_model.bin as safetensors", "the vocabulary as tokenizer.json"]
    assert row["compared"] == ["tokens", "hidden states", "masked words"]
    assert row["difference"] < 1e-4
    assert AutoTokenizer.from_pretrained(new)(TEXT)["input_ids"] == expected
    written = load_file(new / "model.safetensors")
    assert "cls.predictions.decoder.weight" not in written  # the word embeddings, which are there
    assert all(torch.equal(state[name], tensor) for name, tensor in written.items())
    with safe_open(new / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_modules_of_sentence_transformers_and_their_pickles(
    checkpoint_copy: Make, tmp_path: Path, capsys: Capture
) -> None:
    path, new = checkpoint_copy("sentence"), tmp_path / "new"
    modules = json.loads((path / "modules.json").read_text())
    dense = {"idx": 9, "name": "9", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    (path / "modules.json").write_text(json.dumps([*modules, dense]))
    (path / "2_Dense").mkdir()
    settings = {"in_features": 32, "out_features": 8, "activation_function": "torch.nn.Tanh"}
    (path / "2_Dense" / "config.json").write_text(json.dumps(settings))
    weights = {"linear.weight": torch.randn(8, 32), "linear.bias": torch.randn(8)}
    torch.save(weights, path / "2_Dense" / "pytorch_model.bin")
    assert open_checkpoint(path).pooling.unsupported
    row = converted(capsys, str(path), "-o", str(new))
    assert row["changes"] == ["2_Dense/pytorch_model.bin as safetensors"]
    pooling = open_checkpoint(new).pooling
    assert pooling.declared
    assert not pooling.unsupported
    assert torch.equal(
        load_file(new / "2_Dense" / "model.safetensors")["linear.weight"], weights["linear.weight"]
    )


def test_an_existing_directory_is_kept(checkpoints: Make, tmp_path: Path, capsys: Capture) -> None:
    path, new = checkpoints("bert", "label"), tmp_path / "new"
    new.mkdir()
    (new / "mine.txt").write_text("mine")
    assert "exists" in converted(capsys, str(path), "-o", str(new), code=1)
    assert "is not a model directory" in converted(capsys, str(path), "-o", str(new), "--overwrite", code=1)
    assert [file.name for file in new.iterdir()] == ["mine.txt"]
    assert converted(capsys, str(path), "-o", str(tmp_path / "other"))["changes"] == []
    assert converted(capsys, str(path), "-o", str(tmp_path / "other"), "--overwrite")["difference"] == 0


def test_a_copy_that_answers_differently_is_not_written(
    checkpoints: Make, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = module._write

    def write_damaged(checkpoint: Any, folder: Path) -> Any:
        yield from write(checkpoint, folder)
        edit_json(folder / "config.json", layer_norm_eps=0.5)

    monkeypatch.setattr(module, "_write", write_damaged)
    error = converted(capsys, str(checkpoints("bert", "label")), "-o", str(tmp_path / "new"), code=1)
    assert "the copy answers differently" in error
    assert list(tmp_path.iterdir()) == []


def test_a_pickle_of_anything_else_is_refused(checkpoint_copy: Make, tmp_path: Path, capsys: Capture) -> None:
    path = checkpoint_copy("bert", "fill")
    pickled(path)
    for content in ({"epoch": 3}, [1], Path("a program")):
        torch.save(content, path / "pytorch_model.bin")
        error = converted(capsys, str(path), "-o", str(tmp_path / "new"), "--allow-pickle", code=1)
        assert "pytorch_model.bin" in error
        assert not (tmp_path / "new").exists()


def test_an_encoder_decoder(tmp_path: Path, capsys: Capture, checkpoints: Make) -> None:
    torch.manual_seed(2)
    sizes = {
        "d_model": 16,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_ffn_dim": 16,
        "decoder_ffn_dim": 16,
    }
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 64}
    tokens = {"vocab_size": 200, "pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": 2}
    MarianMTModel(MarianConfig(**sizes, **heads, **tokens)).save_pretrained(tmp_path / "marian")
    AutoTokenizer.from_pretrained(checkpoints("bert", "fill")).save_pretrained(tmp_path / "marian")
    row = converted(capsys, str(tmp_path / "marian"), "-o", str(tmp_path / "new"))
    assert row["compared"] == ["tokens", "generated tokens"]
    assert row["difference"] == 0
