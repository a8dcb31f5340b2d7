"""How many labels rounding a model's weights to float16 can change, where the float32 weights are not at hand.

    python -m tests.benchmarks.float16 texts.txt

Float32 weights are drawn at random, uniformly among those that round to the float16 weights in the file. Each label
head answers each line of the file with both, computed in float32.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

import bertcli
from bertcli.models.checkpoint import open_checkpoint
from bertcli.models.library import BUNDLED

WEIGHTS = "model.safetensors"
WITHIN = 0.999  # of half the distance to the next float16 number


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", help="texts, one a line")
    parser.add_argument("--model", default=str(BUNDLED), help="a directory with label heads, in float16")
    parser.add_argument("--draws", type=int, default=3)
    options = parser.parse_args()
    lines = Path(options.file).read_text(encoding="utf-8").splitlines()
    heads = [head.name for head in open_checkpoint(Path(options.model)).heads_of("label")]
    stored = [labels(options.model, lines, head) for head in heads]
    for draw in range(options.draws):
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder, "model")
            shutil.copytree(options.model, model)
            weights = load_file(model / WEIGHTS)
            generator = np.random.default_rng(draw)
            save_file({name: drawn(array, generator) for name, array in weights.items()}, model / WEIGHTS)
            other = [labels(str(model), lines, head) for head in heads]
        for head, one, two in zip(heads, stored, other, strict=True):
            flips = sum(a != b for a, b in zip(one, two, strict=True))
            print(f"draw {draw + 1}, {head}: {flips} of {len(lines)} labels are others", flush=True)


def drawn(weights: NDArray[np.float16], generator: np.random.Generator) -> NDArray[np.float32]:
    """Float32 numbers that round to these."""
    half = np.spacing(np.abs(weights)).astype(np.float32) / 2
    exact = weights.astype(np.float32)
    near = exact + half * generator.uniform(-WITHIN, WITHIN, weights.shape).astype(np.float32)
    return np.where(near.astype(np.float16) == weights, near, exact)  # at powers of two the distance is less


def labels(model: str, lines: list[str], head: str) -> list[str]:
    rows = bertcli.load(model, dtype="float32", engine="packed").label(lines, head=head)
    return [str(row.get("label")) for row in rows]


if __name__ == "__main__":
    main()
