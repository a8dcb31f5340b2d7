"""How many texts a second `bertcli embed` and sentence-transformers take, in turn, on this machine.

    pip install '.[all]' sentence-transformers
    python tests/benchmarks/embed.py FILE --model DIR [--rounds 5]

Every run is a process of its own, from start to finished file, on the same texts with the same model. Prints
the medians, the ratio to sentence-transformers' defaults, and the median cosine with its vectors.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

PEER = """
import sys
import numpy as np
import torch
from sentence_transformers import SentenceTransformer
file, model, dtype, out = sys.argv[1:]
texts = [line.rstrip("\\n") for line in open(file, encoding="utf-8")]
encoder = SentenceTransformer(model, device="cpu", model_kwargs={"dtype": getattr(torch, dtype)})
np.save(out, encoder.encode(texts, convert_to_tensor=True).float().numpy())
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file")
    parser.add_argument("--model", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    count = len(Path(options.file).read_bytes().splitlines())
    with tempfile.TemporaryDirectory() as folder:
        runs = commands(options.file, options.model, Path(folder))
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(options.rounds):
            for name, command in runs.items():
                began = time.perf_counter()
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                seconds[name].append(time.perf_counter() - began)
        vectors = {name: np.load(command[-1]) for name, command in runs.items()}
    reference = next(iter(runs))
    base = statistics.median(seconds[reference])
    print("| | seconds | texts a second | ratio | median cosine |\n| --- | --- | --- | --- | --- |")
    for name, taken in seconds.items():
        median = statistics.median(taken)
        cosine = np.median((unit(vectors[name]) * unit(vectors[reference])).sum(axis=1))
        print(f"| {name} | {median:.1f} | {count / median:.0f} | {base / median:.1f} | {cosine:.5f} |")


def commands(file: str, model: str, folder: Path) -> dict[str, list[str]]:
    """What is compared; the last argument of each is the file of vectors it writes."""
    peer = [sys.executable, "-c", PEER, file, model]
    ours = [sys.executable, "-m", "bertcli", "embed", file, "-m", model, "--force"]
    truncated = [*ours, "--long", "truncate"]
    return {
        "sentence-transformers": [*peer, "float32", str(folder / "a.npy")],
        "sentence-transformers, bfloat16": [*peer, "bfloat16", str(folder / "b.npy")],
        "bertcli embed": [*ours, "-o", str(folder / "c.npy")],
        "bertcli embed --long truncate": [*truncated, "-o", str(folder / "d.npy")],
        "bertcli embed --long truncate --compute-dtype float32": [
            *truncated, "--compute-dtype", "float32", "-o", str(folder / "e.npy"),
        ],
    }  # fmt: skip


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


if __name__ == "__main__":
    main()
