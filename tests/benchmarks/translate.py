"""`translate` beside CTranslate2 and transformers' generate: `python -m tests.benchmarks.translate FILE`.

FILE has sentences, one a line. The model is a Marian of base size (6+6 layers of 512) with random weights and a
vocabulary made of FILE, or `--model DIR`. With random weights a translation seldom ends by itself, so all generate
`--tokens` tokens. The peers are installed from the registry into --peers at the first run. Nothing else should run
on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from bertcli.engines.device import choose_dtype
from bertcli.training.marian import SIZES, build_model
from bertcli.training.subwords import train_subwords, write_subwords
from tests.benchmarks import environments
from tests.benchmarks.contest import Contestant, hold

BEAMS = (4, 1)
PIECES = 32000
SCALE = 3.0
"""Of the random output vectors: training makes next tokens differ in probability; without it nearly all are alike."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.translate", description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--model")
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=32, help="the most tokens of a translation")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", default="build/peers")
    parser.add_argument("--work", default=str(Path(tempfile.gettempdir(), "bertcli-benchmarks")))
    options = parser.parse_args()
    folder = Path(options.work)
    folder.mkdir(parents=True, exist_ok=True)
    lines = [line for line in Path(options.file).read_text(encoding="utf-8").splitlines() if line.strip()]
    model = Path(options.model) if options.model else random_model(lines, folder)
    python = environments.python_of("ctranslate2", Path(options.peers))
    for beam in BEAMS:
        settings = {"model": str(model), "folder": str(folder), "beam": beam, "tokens": options.tokens}
        outcomes = hold(list(contestants(settings, python)), lines[: options.texts], options.rounds, folder)
        base = next(each for each in outcomes if each.contestant.name == "CTranslate2, float32")
        if base.failed is not None:
            raise SystemExit(f"{base.contestant.name} did not work: {base.failed}")
        print(f"\n{f'beam {beam}' if beam > 1 else 'greedy'}, {options.texts} sentences\n")
        print("| | sentences/s | ratio to CTranslate2, float32 | CPU ratio | equal translations |")
        print("| --- | ---: | ---: | ---: | ---: |")
        for each in outcomes:
            if each.failed is not None:
                print(f"| {each.contestant.name} | did not work: {each.failed} | | | |")
                continue
            cpu = statistics.median(base.cpu) / statistics.median(each.cpu)
            alike = (each.likeness or [0.0])[0]
            print(
                f"| {each.contestant.name} | {options.texts / each.median:.1f} "
                f"| {base.median / each.median:.2f} | {cpu:.2f} | {alike:.3f} |",
                flush=True,
            )


def contestants(settings: dict[str, Any], python: Path) -> Iterator[Contestant]:
    """Who takes part; translations are compared with those of the first."""
    own = str(choose_dtype("auto", torch.device("cpu"))).removeprefix("torch.")
    lower = dict.fromkeys(("float32", own))
    for dtype in lower:
        yield Contestant(f"generate, {dtype}", python, settings | {"how": "generate", "dtype": dtype})
    for dtype in ("float32", "int8"):
        yield Contestant(f"CTranslate2, {dtype}", python, settings | {"how": "ctranslate2", "dtype": dtype})
    for dtype in lower:
        task = {"task": "translate", "dtype": dtype}
        yield Contestant(f"bertcli, {dtype}", Path(sys.executable), settings | task, ours=True)


def random_model(lines: list[str], folder: Path) -> Path:
    """A Marian of base size with random weights, in `folder`."""
    path = folder / "marian-base-random"
    if not path.exists():
        tokenizer = train_subwords(lines, PIECES)
        torch.manual_seed(0)
        model = build_model(SIZES["base"], tokenizer.get_vocab_size())
        with torch.no_grad():
            model.model.shared.weight *= SCALE
        model.generation_config.forced_eos_token_id = None  # CTranslate2 forces none
        part = folder / "marian-base-random.part"
        model.save_pretrained(part)
        write_subwords(tokenizer, part, 256)
        part.rename(path)
    return path


if __name__ == "__main__":
    main()
