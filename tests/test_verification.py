"""`models check --deep`: sound engines are proved sound, and an engine that is wrong by little is not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest

from bertcli import cli
from bertcli.engines import Ask, Hidden
from bertcli.engines.packed import Packed
from bertcli.engines.reference import Reference
from bertcli.models.checkpoint import open_checkpoint
from bertcli.models.tokenizer import Tokenizer
from bertcli.records import Window
from bertcli.verification import difference, probes, prove
from tests.conftest import Make


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "kind", "asks"),
    [
        ("skills", "base", 5),
        ("roberta", "fill", 2),
        ("xlm-roberta", "tag", 2),
        ("deberta-v2", "label", 2),
        ("modernbert", "label", 2),
        ("sentence", "base", 1),
    ],
)
def test_the_engines_are_proved_for_every_head(
    family: str, kind: str, asks: int, checkpoints: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoints(family, kind)
    assert cli.main(["models", "check", str(path), "--deep", "--device", "cpu"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["severity"] for row in rows} == {"proved"}
    for engine in [
        "packed cpu float32",
        *(["instant cpu float32"] if family in ("skills", "sentence") else []),
    ]:
        assert sum(row["message"].startswith(engine) for row in rows) == 2 * asks


class Wrong:
    """A sound engine, whose windows see a little of their neighbours, or whose numbers are a little off."""

    name, device, dtype, workers, batch_tokens = "wrong", "cpu", "float32", 1, 64

    def __init__(self, engine: Any, how: str) -> None:
        self._engine = engine
        self._how = how

    def forward_all(self, windows: Sequence[Window], asks: Sequence[Ask]) -> list[list[Any]]:
        return [self.forward(windows, ask) for ask in asks]

    def forward(self, windows: Sequence[Window], ask: Ask) -> list[Any]:
        answers = self._engine.forward(windows, ask)
        if self._how == "leaks" and len(answers) > 1:
            return [answer + 0.01 * answers[0].mean() for answer in answers]
        return [answer * 1.001 for answer in answers] if self._how == "off" else answers


@pytest.mark.parametrize(
    ("how", "failing"),
    [
        ("sound", []),
        ("leaks", ["one at a time", "transformers in float32"]),
        ("off", ["transformers in float32"]),
    ],
)
def test_a_wrong_engine_is_found_out(how: str, failing: list[str], checkpoints: Make) -> None:
    checkpoint = open_checkpoint(checkpoints("bert"))
    engine = Wrong(Packed(checkpoint, device="cpu", dtype="float32"), how)
    steps: list[tuple[str, float]] = []

    def tell(what: str, share: float) -> None:
        steps.append((what, share))

    proofs = list(prove(checkpoint, Tokenizer.of(checkpoint), [engine], partial(Reference, checkpoint), tell))
    assert [step for step, _ in steps] == [
        "loading transformers float32",
        "transformers float32, hidden states",
        "wrong cpu float32, hidden states, together",
        "wrong cpu float32, hidden states, one at a time",
    ]
    assert [share for _, share in steps] == [0, 0.25, 0.5, 0.75]
    assert [proof.other for proof in proofs if not proof.holds] == failing
    assert all(("≠" in proof.message) is not proof.holds for proof in proofs)


def test_probes_are_of_many_lengths_and_within_the_model(checkpoints: Make) -> None:
    checkpoint = open_checkpoint(checkpoints("bert", "fill"))
    windows = probes(checkpoint, Tokenizer.of(checkpoint))
    lengths = [len(window) for window in windows]
    assert max(lengths) == checkpoint.max_length
    assert lengths != sorted(lengths)
    assert len(set(lengths)) >= 6
    assert all(window.masks for window in windows)


def test_a_number_that_is_none_is_no_small_difference() -> None:
    one, nan = np.ones(3, np.float32), np.full(3, np.nan, np.float32)
    assert difference([one], [one]) == 0
    assert difference([nan], [one]) == float("inf")
    assert difference([one], [one[:2]]) == float("inf")


def test_the_reference_has_no_part_in_the_engines(checkpoints: Make) -> None:
    """It is transformers' own model with its own attention."""
    reference = Reference(open_checkpoint(checkpoints("bert")))
    reference.forward([Window([2, 5, 3])], Hidden())
    (model,) = reference._models.values()
    assert model.config._attn_implementation == "eager"
    assert type(model).__module__.startswith("transformers.")
