"""One model on several devices, each a worker."""

from __future__ import annotations

from collections.abc import Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bertcli.engines import Array, Ask, Engine
    from bertcli.records import Window


class Replicas:
    """Engines that differ in their device alone; a batch goes to whichever is free."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self.name, self.dtype = engines[0].name, engines[0].dtype
        self.device = ",".join(engine.device for engine in engines)
        self.batch_tokens = engines[0].batch_tokens
        self.batch_invariant = all(engine.batch_invariant for engine in engines)
        self.workers = sum(engine.workers for engine in engines)
        self._free: SimpleQueue[Engine] = SimpleQueue()
        for engine in engines:
            for _ in range(engine.workers):
                self._free.put(engine)

    def forward(self, windows: Sequence[Window], ask: Ask) -> list[Array]:
        return self.forward_all(windows, [ask])[0]

    def forward_all(self, windows: Sequence[Window], asks: Sequence[Ask]) -> list[list[Array]]:
        engine = self._free.get()
        try:
            return engine.forward_all(windows, asks)
        finally:
            self._free.put(engine)
