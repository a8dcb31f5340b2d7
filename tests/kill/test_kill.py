"""A few kills of `kill.py`, which has the place and time for hundreds."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.conftest import Make
from tests.kill import kill

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["label.jsonl.zst", "embed.npy"])
def test_what_is_killed_and_gone_on_with_is_the_same(name: str, checkpoints: Make, tmp_path: Path) -> None:
    draw = random.Random(name)
    kill.write_input(tmp_path / "in.jsonl", 400, draw)
    command, *rest = kill.OUTPUTS[name]
    folder = tmp_path / "out"
    folder.mkdir()
    model = str(checkpoints("bert", kill.MODELS[command]))
    job = kill.Job(
        [command, "../in.jsonl", "-m", model, "--engine", "instant", *rest, "-o", name, "--resume"], folder
    )
    kill.uninterrupted(job)
    kills, _ = kill.killed_until_done(job, 3, draw)
    assert kills <= 3
