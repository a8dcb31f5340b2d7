"""Training in bfloat16: the encoder multiplies in it, heads compute in float32."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from bertcli.models.checkpoint import open_checkpoint
from bertcli.models.tokenizer import Tokenizer
from bertcli.training.batches import encode, truncation
from bertcli.training.export import encoder_weights, head_tensors
from bertcli.training.machine import Machine
from bertcli.training.network import FAMILIES as AUTO
from bertcli.training.network import HeadSpec, Network, load_base
from tests.checkpoints import FAMILIES, TEXTS
from tests.conftest import Make


def opened(path: Any, kind: str) -> tuple[Any, Machine, dict[str, torch.Tensor]]:
    checkpoint = open_checkpoint(path)
    tokenizer = Tokenizer.of(checkpoint)
    machine = Machine.choose("cpu", "bfloat16", tokenizer.pad_id)
    texts = [f"{number} {text}" for number, text in enumerate(TEXTS * 3)]
    windowing = truncation(checkpoint, tokenizer, 40)
    batch = machine.inputs([encode(tokenizer, windowing, text, None) for text in texts])
    return load_base(AUTO[kind], checkpoint).eval(), machine, batch


@pytest.mark.parametrize("family", FAMILIES)
def test_a_regression_keeps_its_digits_in_validation(checkpoints: Make, family: str) -> None:
    """Years, as in tests/engines/test_dtypes.py."""
    path = checkpoints(family, "label", labels=("year",), problem_type="regression")
    model, machine, batch = opened(path, "label")
    (last,) = [part for part in model.modules() if getattr(part, "out_features", 0) == 1]
    with torch.no_grad():
        last.weight *= 30
        last.bias.fill_(1950)
        expected = model(**batch).logits[:, 0]
        with machine.forward_pass():
            answers = model(**batch).logits[:, 0]
    assert answers.dtype == torch.float32
    assert len(set(answers.tolist())) == len(set(expected.tolist())) == len(answers)


@pytest.mark.parametrize("kind", ["tag", "fill"])
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_float32(checkpoints: Make, family: str, kind: str) -> None:
    model, machine, batch = opened(checkpoints(family, kind), kind)
    with torch.no_grad(), machine.forward_pass():
        logits = model(**batch).logits
    assert logits.dtype == torch.float32
    assert (logits != logits.bfloat16().float()).any()


def test_named_heads_compute_in_float32(checkpoints: Make) -> None:
    masked_lm, machine, batch = opened(checkpoints("bert", "fill"), "fill")
    specs = {
        "year": HeadSpec("label", ("year",), "regression", "cls", dense=True),
        "tags": HeadSpec("tag", ("O", "B-X", "I-X")),
    }
    network = Network(masked_lm, specs).eval()
    with torch.no_grad(), machine.forward_pass():
        for head in network.heads.values():
            logits = head(network.states(batch), batch["attention_mask"])
            assert logits.dtype == torch.float32
            assert (logits != logits.bfloat16().float()).any()


def test_the_encoder_has_the_dropout_of_the_head_it_reads_for(checkpoints: Make) -> None:
    masked_lm, _, batch = opened(checkpoints("bert", "fill"), "fill")
    specs = {name: HeadSpec("label", ("a", "b"), pooling="cls") for name in ("with", "without")}
    network = Network(masked_lm, specs, encoder_dropout={"with": 0.5}).train()
    with torch.no_grad():
        for head, varies in (("with", True), ("without", False), ("", False), ("with", True)):
            first, second = network.states(batch, head), network.states(batch, head)
            assert (not torch.equal(first, second)) == varies, head


def test_the_encoder_is_saved_in_float16_where_its_numbers_are_numbers_of_float16() -> None:
    weights = {
        "model.bert.encoder.x.weight": torch.tensor([0.1]),
        "model.bert.encoder.y.weight": torch.tensor([70000.0]),
        "heads.year.classifier.bias": torch.tensor([1950.4]),
    }
    saved = encoder_weights(weights, fill=False)
    assert {name: tensor.dtype for name, tensor in saved.items()} == {
        "bert.encoder.x.weight": torch.float16,
        "bert.encoder.y.weight": torch.float32,
    }
    assert all(tensor.isfinite().all() for tensor in saved.values())


def test_heads_are_saved_in_float32(checkpoints: Make) -> None:
    """A bias of 1950.4 is not a number of float16."""
    masked_lm, _, _ = opened(checkpoints("bert", "fill"), "fill")
    network = Network(masked_lm, {"year": HeadSpec("label", ("year",), "regression", "cls")})
    torch.nn.init.constant_(network.heads["year"].classifier.bias, 1950.4)
    assert head_tensors(network, "bert.")["heads.year.classifier.bias"].item() == pytest.approx(1950.4)
