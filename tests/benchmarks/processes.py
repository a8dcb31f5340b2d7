"""Whole processes, from start to end: files in the page cache, output to a file or nowhere."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

TEXT = "The capital of France is [MASK]."
FILL = f"""
import sys
from transformers import pipeline
print(pipeline("fill-mask", sys.argv[1])({TEXT!r}))
"""
EMBED = """
import sys
import numpy as np
from sentence_transformers import SentenceTransformer
file, model, out = sys.argv[1:]
texts = [line.rstrip("\\n") for line in open(file, encoding="utf-8")]
np.save(out, SentenceTransformer(model, device="cpu").encode(texts))
"""


@dataclass(frozen=True, slots=True)
class Process:
    """`median` and `cpu` (user and system) in seconds; `ratio` to what it is compared with."""

    name: str
    median: float
    cpu: float
    ratio: float


def measured(
    fill: Path, embed: Path, texts: Path, peers: Path, rounds: int, folder: Path
) -> Iterator[Process]:
    """A first answer, a file embedded, and a help page, each beside its peer. All run in `folder`, so that
    it is the installed bertcli that runs, compiled as a user's is."""
    fill, embed, texts, peers = (path.absolute() for path in (fill, embed, texts, peers))
    ours = [sys.executable, "-m", "bertcli"]
    out = str(folder.absolute() / "out.npy")
    groups: Sequence[dict[str, list[str]]] = (
        {
            "a script with transformers' pipeline": [str(peers), "-c", FILL, str(fill)],
            f'`bertcli fill -t "{TEXT}"`': [*ours, "fill", "-m", str(fill), "-t", TEXT],
        },
        {
            "a script with sentence-transformers": [str(peers), "-c", EMBED, str(texts), str(embed), out],
            "`bertcli embed --long truncate`": [
                *ours, "embed", str(texts), "-m", str(embed), "--long", "truncate", "-o", out, "--overwrite",
            ],
            "`bertcli embed`": [*ours, "embed", str(texts), "-m", str(embed), "-o", out, "--overwrite"],
        },
        {"`python -c pass`": [sys.executable, "-c", "pass"], "`bertcli --help`": [*ours, "--help"]},
    )  # fmt: skip
    for group in groups:
        yield from in_turn(group, rounds, folder)


def in_turn(commands: Mapping[str, list[str]], rounds: int, folder: Path) -> Iterator[Process]:
    """The commands one after another in each of several rounds; ratios are to the first of them."""
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            seconds = _run(command, folder)
            if number:  # the first fills the page cache
                runs[name].append(seconds)
    base: float | None = None
    for name, found in runs.items():
        wall, cpu = (statistics.median(column) for column in zip(*found, strict=True))
        base = base or wall
        yield Process(name, wall, cpu, base / wall)


def _run(command: list[str], folder: Path) -> tuple[float, float]:
    """(wall, CPU) seconds."""
    before, began = os.times(), perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
    wall, after = perf_counter() - began, os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return wall, cpu
