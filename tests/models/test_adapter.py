"""LoRA adapters: equal to PEFT's merge_and_unload, or refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from bertcli.engines import Engine, Hidden, MaskLogits, SequenceLogits, TokenLogits
from bertcli.engines.instant import Instant
from bertcli.engines.packed import Packed
from bertcli.engines.reference import Reference
from bertcli.errors import ModelError
from bertcli.models.check import quick_check
from bertcli.models.checkpoint import Checkpoint, open_checkpoint
from bertcli.models.tokenizer import Tokenizer
from bertcli.requests import ModelOptions
from bertcli.runs.convert import convert
from bertcli.runs.preflight import open_model
from bertcli.training.network import load_base
from tests.checkpoints import AUTO_CLASSES, edit_json
from tests.conftest import Make
from tests.engines.windows import make_windows

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore")

# family, the base's kind, the adapter's kind, settings of LoraConfig
CASES: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "lora": ("bert", "label", "label", {"task_type": "SEQ_CLS"}),
    "rslora": ("roberta", "fill", "label", {"task_type": "SEQ_CLS", "use_rslora": True}),
    "dora": (
        "distilbert", "fill", "tag",
        {"task_type": "TOKEN_CLS", "use_dora": True, "target_modules": ["q_lin", "lin1"]},
    ),
    "embeddings": (
        "bert", "fill", "fill",
        {
            "target_modules": ["query", "word_embeddings"],
            "rank_pattern": {"layer.1.*.query": 2}, "alpha_pattern": {"query": 3},
        },
    ),
    "biases": ("mpnet", "fill", "label", {"task_type": "SEQ_CLS", "target_modules": ["q", "v"], "bias": "all"}),
    "whole modules": (
        "modernbert", "fill", "label",
        {"task_type": "SEQ_CLS", "target_modules": "all-linear", "modules_to_save": ["head", "classifier"]},
    ),
    "no head": ("electra", "fill", "base", {"task_type": "FEATURE_EXTRACTION"}),
}  # fmt: skip
ASKS: dict[str, Callable[[Checkpoint], Any]] = {
    "label": lambda checkpoint: SequenceLogits(checkpoint.head("label")),
    "tag": lambda checkpoint: TokenLogits(checkpoint.head("tag")),
    "fill": lambda checkpoint: MaskLogits(checkpoint.head("fill")),
    "base": lambda checkpoint: Hidden(),
}


def train(base: Path, kind: str, path: Path, settings: dict[str, Any]) -> Path:
    """An adapter with random numbers, as PEFT saves it: `path`; and what PEFT makes of it: `path.merged`."""
    outputs = {"num_labels": 5, "ignore_mismatched_sizes": True} if kind in ("label", "tag") else {}

    def opened() -> Any:
        return AUTO_CLASSES[kind].from_pretrained(base, **outputs)

    settings = {"target_modules": ["query", "value"], "r": 4, "lora_alpha": 8} | settings
    torch.manual_seed(3)
    model = peft.get_peft_model(opened(), peft.LoraConfig(**settings))
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight), alpha=0.3)
    model.save_pretrained(path)
    merged = path.with_name(f"{path.name}.merged")
    peft.PeftModel.from_pretrained(opened(), path).merge_and_unload().save_pretrained(merged)
    transformers.AutoTokenizer.from_pretrained(base).save_pretrained(merged)
    return merged


@pytest.fixture(scope="module")
def trained(checkpoints: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained")
    train(checkpoints("bert", "label"), "label", path / "adapter", {"task_type": "SEQ_CLS"})
    return path


@pytest.fixture
def adapter(trained: Path, tmp_path: Path) -> Path:
    """An adapter that a test may change."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path / "adapter"


def engines(checkpoint: Checkpoint) -> list[Engine]:
    """Every engine that can run it; the reference runs transformers' modules."""
    found: list[Engine] = [Packed(checkpoint, dtype="float32", threads=1), Reference(checkpoint, "float32")]
    return found + ([Instant(checkpoint)] if Instant.supports(checkpoint) is None else [])


@pytest.mark.parametrize("case", CASES)
def test_an_adapter_equals_what_peft_merges(case: str, checkpoints: Make, tmp_path: Path) -> None:
    family, base_kind, kind, settings = CASES[case]
    merged = open_checkpoint(train(checkpoints(family, base_kind), kind, tmp_path / "adapter", settings))
    checkpoint = open_checkpoint(tmp_path / "adapter")
    head = None if kind == "base" else checkpoint.head(kind)  # type: ignore[arg-type]
    assert not [
        found for found in quick_check(checkpoint, head.kind if head else "embed", head) if found.refuses
    ]
    assert checkpoint.name == "adapter"
    assert len(head.labels if head else ()) == (5 if kind in ("label", "tag") else 0)
    windows = make_windows(checkpoint)
    expected = Reference(merged, "float32").forward(windows, ASKS[kind](merged))
    for engine in engines(checkpoint):
        for answer, other in zip(engine.forward(windows, ASKS[kind](checkpoint)), expected, strict=True):
            np.testing.assert_allclose(answer, other, rtol=1e-4, atol=1e-4 * np.abs(other).max())


def test_the_base_may_be_named(adapter: Path, checkpoints: Make, tmp_path: Path) -> None:
    found = open_checkpoint(adapter).fingerprint()
    named = open_model(ModelOptions(model=str(checkpoints("bert", "label")), adapter=str(adapter)))
    alone = open_model(ModelOptions(adapter=str(adapter)))
    assert named.checkpoint.fingerprint() == alone.checkpoint.fingerprint() == found
    edit_json(adapter / "adapter_config.json", base_model_name_or_path=None)
    with pytest.raises(ModelError, match="names no base model"):
        open_checkpoint(adapter)


def test_the_fingerprint_changes_with_each_part(adapter: Path, checkpoints: Make) -> None:
    found = {
        open_checkpoint(checkpoints("bert", "label")).fingerprint(),
        open_checkpoint(adapter).fingerprint(),
    }
    weights = load_file(adapter / "adapter_model.safetensors")
    part = next(name for name in weights if "lora_A" in name)
    weights[part][1, 1] += 0.01
    save_file(weights, adapter / "adapter_model.safetensors")
    found.add(open_checkpoint(adapter).fingerprint())
    edit_json(adapter / "adapter_config.json", lora_alpha=9)
    found.add(open_checkpoint(adapter).fingerprint())
    assert len(found) == 4


def test_the_tokenizer_of_the_adapter_wins(adapter: Path, checkpoints: Make) -> None:
    base = checkpoints("bert", "label")
    assert open_checkpoint(adapter).tokenizer_path == base
    text = json.loads((base / "tokenizer.json").read_text())
    text["normalizer"] = None
    (adapter / "tokenizer.json").write_text(json.dumps(text))
    (adapter / "tokenizer_config.json").write_bytes((base / "tokenizer_config.json").read_bytes())
    tokens = [Tokenizer.of(open_checkpoint(path)).encode("The Film").ids for path in (base, adapter)]
    assert tokens[0] != tokens[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"peft_type": "IA3"}, "bertcli applies LoRA adapters, and this is IA3"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa', which changes the base model"),
        ({"lora_bias": True}, "lora_bias is set"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "layer_replication is set"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices is set"),
        ({"setting_of_the_future": 1}, "setting_of_the_future is set"),
        ({"r": 3}, "has rank 4, adapter_config.json gives it 3"),
        ({"r": "4"}, "r is '4', not a number above 0"),
        ({"alpha_pattern": {"(a+)+b": 1}}, r"alpha_pattern has the pattern '\(a\+\)\+b', which is not a name"),
        ({"rank_pattern": {"a.*b.*c.*d.*e": 1}}, "rank_pattern has the pattern"),
        ({"base_model_name_or_path": "nobody/no-such-model"}, "is an adapter for nobody/no-such-model, which is"),
    ],
)  # fmt: skip
def test_what_is_not_applied_is_named(settings: dict[str, Any], message: str, adapter: Path) -> None:
    edit_json(adapter / "adapter_config.json", **settings)
    with pytest.raises(ModelError, match=message) as caught:
        open_checkpoint(adapter)
    assert caught.value.hint


def test_an_adapter_of_another_model_is_refused(adapter: Path, checkpoints: Make) -> None:
    with pytest.raises(ModelError, match="does not fit: it changes bert"):
        open_checkpoint(checkpoints("roberta", "label"), adapter=adapter)
    with pytest.raises(ModelError, match=r"does not fit: bert.*its update has the shape"):
        open_checkpoint(checkpoints("bert", "label", hidden_size=16), adapter=adapter)
    with pytest.raises(ModelError, match="is an adapter, and so no base"):
        open_checkpoint(adapter, adapter=adapter)


def test_convert_writes_what_peft_merges(adapter: Path, tmp_path: Path, checkpoints: Make) -> None:
    done = convert(open_checkpoint(adapter), tmp_path / "new", overwrite=False)
    assert done.changes == (f"{adapter} merged",)
    assert done.difference == 0
    expected = load_file(tmp_path / "adapter.merged" / "model.safetensors")
    written = load_file(tmp_path / "new" / "model.safetensors")
    assert written.keys() == expected.keys()
    assert all(torch.allclose(written[name], expected[name], atol=1e-6) for name in written)
    model = AUTO_CLASSES["label"].from_pretrained(tmp_path / "new")
    assert model.config.num_labels == 5
    assert not (tmp_path / "new" / "adapter_config.json").exists()


def test_training_starts_from_the_adapted_weights(adapter: Path) -> None:
    merged = AUTO_CLASSES["label"].from_pretrained(adapter.with_name("adapter.merged"))
    model = load_base(AUTO_CLASSES["label"], open_checkpoint(adapter), num_labels=2)
    name = "bert.encoder.layer.1.attention.self.query.weight"
    assert torch.allclose(model.state_dict()[name], merged.state_dict()[name], atol=1e-6)
    assert model.config.num_labels == model.classifier.out_features == 2


def test_a_pickle_is_refused(adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(ModelError, match="are a pickle"):
        open_checkpoint(adapter)


def test_a_damaged_adapter_is_refused(adapter: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    found = [finding for finding in quick_check(open_checkpoint(adapter), "label") if finding.refuses]
    assert "is cut short" in found[0].message
