"""Contestants in turn: each is a process that keeps its model, and while one computes the others wait."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Contestant:
    """`python` runs the program `options` are for; `reference` is what answers are compared with."""

    name: str
    python: Path
    options: dict[str, Any]
    ours: bool = False


@dataclass(slots=True)
class Outcome:
    """`seconds` of each round, and those of all cores together (`cpu`); `likeness` is the least cosine, that of one in
    100 texts and the median, or the share of equal answers, with those of the first contestant. `failed` says why there
    is neither."""

    contestant: Contestant
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    likeness: list[float] | None = None
    failed: str | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


class Served:
    """A contestant's process."""

    def __init__(self, contestant: Contestant) -> None:
        program = ["-m", "tests.benchmarks.ours"] if contestant.ours else [str(HERE / "peers.py")]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}
        self.process = subprocess.Popen(
            [contestant.python, *program, json.dumps(contestant.options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd=HERE.parent.parent,
            text=True,
        )
        self.failed: str | None = self._hear().get("failed")

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def ask(self, texts: Path, answers: Path | None = None) -> tuple[float, float] | None:
        """The seconds it took, by the clock and of all cores; None, and `failed`, when it failed."""
        assert self.process.stdin is not None
        asked = {"texts": str(texts), "answers": None if answers is None else str(answers)}
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        heard = self._hear()
        self.failed = heard.get("failed")
        return None if self.failed is not None else (heard["seconds"], heard["cpu"])

    def _hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        heard: dict[str, Any] = json.loads(line) if line else {"failed": "it ended"}
        return heard


def hold(contestants: Sequence[Contestant], texts: Sequence[str], rounds: int, folder: Path) -> list[Outcome]:
    """One round that is not timed, whose answers are compared, and then `rounds` in turn."""
    asked = folder / "texts.json"
    asked.write_text(json.dumps(list(texts)), encoding="utf-8")
    outcomes = [Outcome(contestant) for contestant in contestants]
    with ExitStack() as stack:
        served = [stack.enter_context(Served(outcome.contestant)) for outcome in outcomes]
        reference: Any = None
        for number, (outcome, process) in enumerate(zip(outcomes, served, strict=True)):
            found = folder / f"answers-{number}.json"
            if process.failed is None and process.ask(asked, found) is not None:
                answers = json.loads(found.read_text(encoding="utf-8"))
                reference = reference or answers
                outcome.likeness = likeness(reference, answers)
            outcome.failed = process.failed
            print(f"  {outcome.contestant.name}: {outcome.failed or 'ready'}", file=sys.stderr)
        for _ in range(rounds):
            for outcome, process in zip(outcomes, served, strict=True):
                if outcome.failed is None:
                    taken = process.ask(asked)
                    outcome.failed = process.failed
                    if taken is not None:
                        outcome.seconds.append(taken[0])
                        outcome.cpu.append(taken[1])
    return outcomes


def likeness(reference: list[Any], answers: list[Any]) -> list[float]:
    """The least, the one in 100 and the median cosine of vectors; the share of other answers that are equal."""
    if isinstance(reference[0], list):
        one, other = np.array(reference), np.array(answers)
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        cosines = (one * other).sum(axis=1) / lengths
        quantiles: list[float] = np.quantile(cosines, [0, 0.01, 0.5], method="lower").tolist()
        return quantiles
    return [float(np.mean([a == b for a, b in zip(reference, answers, strict=True)]))]
