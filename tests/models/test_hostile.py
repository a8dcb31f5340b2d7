"""A model from a stranger runs nothing, reads nothing outside its directory, and is not believed."""

from __future__ import annotations

import ast
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from bertcli import cli
from bertcli.engines.loading import load_encoder_and_head
from bertcli.errors import EngineError, ModelError
from bertcli.models.check import ACTIVATIONS, full_check, quick_check
from bertcli.models.checkpoint import open_checkpoint
from bertcli.models.jsonfile import MOST_BYTES
from bertcli.models.tokenizer import Tokenizer
from tests.checkpoints import edit_json
from tests.conftest import Make

Capture = pytest.CaptureFixture[str]
PACKAGE = Path(cli.__file__).parent


class Program:
    """Unpickling it makes a directory."""

    def __init__(self, canary: Path) -> None:
        self._canary = str(canary)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self._canary,)


def _label(path: Path, *options: str) -> int:
    return cli.main(["label", "-m", str(path), "-t", "some text", *options])


@pytest.mark.slow
@pytest.mark.parametrize("saved_by", ["pickle", "torch", "torch, the old way"])
@pytest.mark.parametrize(
    "options", [[], ["--unsafe-model"], ["--allow-pickle"], ["--allow-pickle", "--unsafe-model"]]
)
def test_a_pickle_runs_nothing(
    saved_by: str, options: list[str], checkpoint_copy: Make, tmp_path: Path, capsys: Capture
) -> None:
    path = checkpoint_copy("bert", "label")
    canary = tmp_path / "canary"
    weights = load_file(path / "model.safetensors") | {"x": Program(canary)}
    (path / "model.safetensors").unlink()
    if saved_by == "pickle":
        (path / "pytorch_model.bin").write_bytes(pickle.dumps(weights))
    else:
        torch.save(weights, path / "pytorch_model.bin", _use_new_zipfile_serialization=saved_by == "torch")
    assert _label(path, *options) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) <= 3
    assert not canary.exists()
    for command in ("info", "check"):
        cli.main(["models", command, str(path)])
    assert not canary.exists()
    os.mkdir(canary)  # the program would have worked
    with pytest.raises(FileExistsError):
        pickle.loads(pickle.dumps(Program(canary)))


@pytest.mark.parametrize("model_type", ["evil", "bert"])
def test_code_beside_the_weights_is_never_run(
    model_type: str, checkpoint_copy: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even when whatever asks for leave is answered with yes."""
    path = checkpoint_copy("bert", "label")
    canary = tmp_path / "canary"
    edit_json(
        path / "config.json",
        model_type=model_type,
        auto_map={
            name: f"evil.{name}" for name in ("AutoConfig", "AutoModel", "AutoModelForSequenceClassification")
        },
    )
    edit_json(path / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", "evil.T"]})
    (path / "evil.py").write_text(f"import os\nos.mkdir({str(canary)!r})\n")
    monkeypatch.setattr("builtins.input", lambda *asked: "yes")
    assert _label(path, "--engine", "packed", "--unsafe-model") == (1 if model_type == "evil" else 0)
    assert not canary.exists()


def test_transformers_is_never_left_to_ask_or_to_fetch() -> None:
    calls = [
        (file.name, {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords})
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "from_pretrained"
    ]
    assert calls
    for name, keywords in calls:
        assert keywords.get("trust_remote_code") == "False", name
        assert keywords.get("local_files_only") == "True", name


@pytest.mark.parametrize(
    "place", ["../outside.safetensors", "/outside.safetensors", "a/../../outside.safetensors"]
)
def test_an_index_does_not_lead_out_of_the_directory(
    place: str, checkpoint_copy: Make, tmp_path: Path, capsys: Capture
) -> None:
    path = checkpoint_copy("bert", "label", shards=True)
    index = path / "model.safetensors.index.json"
    placed = json.loads(index.read_text())
    name, file = next(iter(placed["weight_map"].items()))
    shutil.copy(path / file, tmp_path / "outside.safetensors")
    target = str(tmp_path) + place if place.startswith("/") else place
    edit_json(index, weight_map=placed["weight_map"] | {name: target})
    weights = open_checkpoint(path).weights
    assert any("outside the directory" in fault for fault in weights.faults)
    assert {file.parent for file in weights.files} == {path}
    assert _label(path, "--engine", "instant") == 1
    assert _label(path, "--engine", "packed", "--unsafe-model") == 1
    assert "outside the directory" in capsys.readouterr().err


def test_links_inside_a_cache_are_followed(checkpoints: Make, tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--a--b"
    snapshot, blobs = repository / "snapshots" / "0123", repository / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(sorted(checkpoints("bert", "label", shards=True).iterdir())):
        shutil.copy(file, blobs / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    checkpoint = open_checkpoint(snapshot)
    assert full_check(checkpoint) == []
    assert checkpoint.name == "a/b"
    load_encoder_and_head(checkpoint, "label", torch.float32, torch.device("cpu"), None)


def test_both_engines_read_the_same_file_where_there_are_several(checkpoint_copy: Make) -> None:
    """transformers takes model.safetensors before an index."""
    path = checkpoint_copy("bert", "label", shards=True)
    placed = json.loads((path / "model.safetensors.index.json").read_text())["weight_map"]
    whole = {name: tensor for file in set(placed.values()) for name, tensor in load_file(path / file).items()}
    save_file(
        {name: tensor * 0.5 for name, tensor in whole.items()}, path / "model.safetensors", {"format": "pt"}
    )
    checkpoint = open_checkpoint(path)
    model, _ = load_encoder_and_head(checkpoint, None, torch.float32, torch.device("cpu"), None)
    words = model.embeddings.word_embeddings.weight
    assert torch.equal(words, torch.tensor(checkpoint.weights.read(checkpoint.word_embeddings)))
    edit_json(path / "config.json", transformers_weights="other.safetensors")
    assert _messages(path, "label")[0].startswith("config.json names other weights")


def test_a_file_beyond_reason_is_not_read(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "label")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        content = (path / name).read_bytes()
        os.truncate(path / name, MOST_BYTES + 1)  # a hole: it takes no room on the disk
        with pytest.raises(ModelError, match="too large"):
            Tokenizer.of(open_checkpoint(path))
        (path / name).write_bytes(content)


@pytest.mark.parametrize("name", ["stray.json", "vocab.txt", "caf\udce9.json"])
@pytest.mark.parametrize("kind", ["fifo", "device", "hole", "folder"])
def test_a_fingerprint_waits_for_no_file_and_takes_no_memory_for_one(
    kind: str, name: str, checkpoint_copy: Make
) -> None:
    path = checkpoint_copy("bert", "label")
    before = open_checkpoint(path).fingerprint()
    match kind:
        case "fifo":
            os.mkfifo(path / name)
        case "device":
            (path / name).symlink_to("/dev/zero")
        case "hole":
            (path / name).touch()
            os.truncate(path / name, 1 << 40)
        case "folder":
            (path / name).mkdir()
    assert open_checkpoint(path).fingerprint() != before


def _messages(path: Path, kind: Any = "label") -> list[str]:
    return [found.message for found in quick_check(open_checkpoint(path), kind) if found.refuses]


def _found(path: Path) -> list[str]:
    return [found.message for found in full_check(open_checkpoint(path)) if found.refuses]


def test_activations_are_those_of_transformers() -> None:
    from transformers.activations import ACT2FN

    assert set(ACT2FN) == ACTIVATIONS


@pytest.mark.parametrize("value", ["sine", 3, None, ["gelu"]])
def test_an_activation_that_does_not_exist_is_named(value: Any, checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "label")
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"hidden_act": value}))
    assert _messages(path) == [f"hidden_act is {value!r}, which is no activation"]


def test_a_type_that_nobody_knows_is_named(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "label")
    edit_json(path / "config.json", model_type="evil")
    assert "model_type is 'evil', which transformers does not know" in _found(path)


def test_a_size_that_is_left_out_is_named(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "label")
    edit_json(path / "config.json", hidden_size=None)
    assert any(
        "has no hidden_size, for which transformers takes 768" in message for message in _messages(path)
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]},
        {"model_type": "gpt2", "architectures": None},
        {"architectures": ["BertLMHeadModel"]},
        {"is_decoder": True},
    ],
)
def test_a_model_that_writes_is_no_encoder(changes: dict[str, Any], checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert")
    edit_json(path / "config.json", **changes)
    assert any("made to write text" in message for message in _found(path))
    with pytest.raises(ModelError, match="a model that writes text, and no encoder"):
        open_checkpoint(path).head("label")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("bert.encoder.layer.1.output.dense.weight", 0.0, "is all zeros"),
        ("bert.encoder.layer.1.output.LayerNorm.weight", 0.0, "is all zeros"),
        ("bert.encoder.layer.0.attention.self.query.weight", float("nan"), "holds NaN or infinite numbers"),
        ("classifier.bias", float("inf"), "holds NaN or infinite numbers"),
    ],
)
def test_weights_that_are_not_weights_are_named(
    name: str, value: float, message: str, checkpoint_copy: Make
) -> None:
    path = checkpoint_copy("bert", "label")
    weights = load_file(path / "model.safetensors")
    weights[name] = torch.full_like(weights[name], value)
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    assert _found(path) == [f"{name} {message}"]


def test_a_bias_may_be_zero(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "label")
    weights = load_file(path / "model.safetensors")
    weights["classifier.bias"] = torch.zeros_like(weights["classifier.bias"])
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    assert _found(path) == []


def test_damaged_weights_are_never_handed_to_transformers(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "label")
    os.truncate(path / "model.safetensors", 5000)
    with pytest.raises(EngineError, match=r"not a whole safetensors file|cut short"):
        load_encoder_and_head(open_checkpoint(path), "label", torch.float32, torch.device("cpu"), None)


@pytest.mark.parametrize("name", ["x" * 5000, "\ud800", "a\0b"])
def test_names_that_no_file_can_have_are_refused(name: str, checkpoint_copy: Make) -> None:
    """Found by fuzzing."""
    path = checkpoint_copy("sentence")
    modules = json.loads((path / "modules.json").read_text())
    modules[1]["path"] = name
    (path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match="names a folder that cannot be"):
        open_checkpoint(path)


@pytest.mark.parametrize("name", ["x" * 5000, "\ud800", "a\0b"])
def test_an_index_with_names_that_no_file_can_have_is_a_fault(name: str, checkpoint_copy: Make) -> None:
    """Found by fuzzing."""
    path = checkpoint_copy("bert", "label", shards=True)
    edit_json(path / "model.safetensors.index.json", weight_map={"a": name})
    assert open_checkpoint(path).weights.faults


def test_an_index_nested_beyond_reason_is_a_fault(checkpoint_copy: Make) -> None:
    """Found by fuzzing."""
    path = checkpoint_copy("bert", "label", shards=True)
    (path / "model.safetensors.index.json").write_bytes(b"[" * 100_000)
    assert open_checkpoint(path).weights.faults
