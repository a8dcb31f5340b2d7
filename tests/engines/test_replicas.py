from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bertcli.engines import Hidden
from bertcli.engines.choosing import choose
from bertcli.engines.packed import Packed
from bertcli.engines.replicas import Replicas
from bertcli.models.checkpoint import open_checkpoint
from bertcli.requests import ModelOptions
from tests.conftest import Make
from tests.engines import oracle
from tests.engines.windows import make_windows


def test_packs_are_answered_as_by_one_engine(checkpoints: Make) -> None:
    checkpoint = open_checkpoint(checkpoints("bert"))
    one, other = (Packed(checkpoint, dtype="float32", threads=1) for _ in range(2))
    replicas = Replicas([one, other])
    assert (replicas.name, replicas.device, replicas.workers) == ("packed", "cpu,cpu", 2)
    packs = [make_windows(checkpoint, range(3, 3 + size), size) for size in range(1, 12)]
    with ThreadPoolExecutor(replicas.workers) as pool:
        answers = list(pool.map(lambda pack: replicas.forward(pack, Hidden()), packs))
    for pack, answer in zip(packs, answers, strict=True):
        assert oracle.difference(answer, one.forward(pack, Hidden())) < 1e-5


class Meeting:
    """An engine that answers when as many packs run as `together` waits for, with the name of its device."""

    name, dtype, workers, batch_tokens, batch_invariant = "packed", "float16", 1, 64, False

    def __init__(self, device: str, together: threading.Barrier) -> None:
        self.device, self.together, self.running = device, together, 0

    def forward_all(self, windows: Any, asks: Any) -> Any:
        self.running += 1
        assert self.running == 1, "two packs on one device"
        self.together.wait(timeout=10)
        self.running -= 1
        return [[self.device] for _ in asks]

    def forward(self, windows: Any, ask: Any) -> Any:
        return self.forward_all(windows, [ask])[0]


def test_every_device_runs_one_pack_at_a_time() -> None:
    together = threading.Barrier(3)
    devices = [f"cuda:{number}" for number in range(3)]
    replicas = Replicas([Meeting(device, together) for device in devices])
    assert replicas.device == "cuda:0,cuda:1,cuda:2"
    with ThreadPoolExecutor(replicas.workers) as pool:
        answers = list(pool.map(lambda _: replicas.forward([], Hidden()), range(12)))
    assert sorted(answer for (answer,) in answers) == sorted(devices * 4)


def test_a_device_that_fails_is_free_again() -> None:
    class Failing(Meeting):
        def forward_all(self, windows: Any, asks: Any) -> Any:
            raise MemoryError

    replicas = Replicas([Failing("cuda:0", threading.Barrier(1))])
    for _ in range(2):
        with pytest.raises(MemoryError):
            replicas.forward([], Hidden())


def test_a_list_of_devices_gets_an_engine_on_each(checkpoints: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def make(checkpoint: Any, device: str, **_: Any) -> Meeting:
        made.append(device)
        return Meeting(device, threading.Barrier(1))

    monkeypatch.setattr("bertcli.engines.packed.Packed", make)
    options = ModelOptions(device="cuda:0,cuda:1")
    engine = choose(open_checkpoint(checkpoints("bert")), options, tokens_ahead=1)
    assert made == ["cuda:0", "cuda:1"]
    assert engine.workers == 2
