"""How often a guarantee holds, by simulation: `python docs/simulate_guarantee.py LABELLED.jsonl...`

Each file has the right label of every record in `label`, and in `x_label` and `x_score` what
`bertcli label --prefix x_` answered. The share of the whole file that is wrong is known then, so that it can be
compared with the guarantee from each of 1 000 samples. Prints a row for each file, way of drawing and number of draws:
how often the bound holds, and which share of the file is accepted (mean over the samples).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertcli.errors import InputError
from bertcli.evaluation.guarantee import find
from bertcli.evaluation.sampling import UNIFORM_SHARE, uncertainty


def simulate(
    scores: NDArray[Any], wrong: NDArray[Any], way: str, count: int, *, samples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """How often at most 5 % of the file is wrong, over samples of `count` draws, and the mean share of the file that is
    accepted. Where there is no guarantee, nothing is accepted."""
    random = np.random.default_rng(seed)
    sizes = np.array([uncertainty(score) for score in scores.tolist()])
    chances = UNIFORM_SHARE / len(scores) + (1 - UNIFORM_SHARE) * sizes / sizes.sum()
    held = accepted = 0.0
    for _ in range(samples):
        weights = draws = None
        if way == "random":
            places = random.choice(len(scores), size=count, replace=False)
        else:
            drawn = random.choice(len(scores), size=count, p=chances)
            places, draws = np.unique(drawn, return_counts=True)
            weights = 1 / (len(scores) * chances[places])
        try:
            found = find(
                scores[places], wrong[places], error=0.05, confidence=0.95, weights=weights, draws=draws
            )
        except InputError:
            held += 1
            continue
        taken = scores > found.above
        held += float((taken & wrong).mean() <= 0.05)
        accepted += float(taken.mean())
    return held / samples, accepted / samples


def main() -> None:
    write = sys.stdout.write
    write("file          right  draws  by           holds  accepted\n")
    for path in map(Path, sys.argv[1:]):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        scores = np.array([row["x_score"] for row in rows])
        wrong = np.array([row["x_label"] != row["label"] for row in rows])
        for count in (100, 200, 500):
            for way in ("random", "uncertainty"):
                holds, accepted = simulate(scores, wrong, way, count)
                share = f"{1 - wrong.mean():.3f}"
                write(f"{path.stem:12}  {share}  {count:5}  {way:11}  {holds:.3f}     {accepted:.3f}\n")


if __name__ == "__main__":
    main()
