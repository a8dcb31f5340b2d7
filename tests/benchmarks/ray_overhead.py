"""What Ray adds to a run on this machine, and how many cores one driver can feed (docs/scale.md).

    python -m tests.benchmarks.ray_overhead [--texts 40000] [--model DIRECTORY]

`embed` of texts of mixed lengths, in float32, into a pipe:

threads   two threads in one process, without Ray
ray       two local workers of one core
driver    the same workers, which return zeros: all that is left is the driver's work, and Ray's
alone     64 simulated workers that return zeros at once, without Ray: the driver's work alone, also of `label`
fleet     100 simulated workers in one process that take 0.2 s for a batch, without Ray
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bertcli
from tests.distributed.clusters import WORDS
from tests.distributed.test_fleet import FakeFleet, compute, open_engine

ZERO = """
import sys
import numpy as np
from bertcli.cli import main
from bertcli.distributed import cluster
from bertcli.distributed.actor import Actor

class ZeroActor(Actor):
    def compute(self, method, arguments):
        windows, asks = arguments
        if not hasattr(self, "answers"):
            self.answers = super().compute(method, (windows[:1], asks))["answers"]
        shapes = [(len(windows), *answer.array.shape[1:]) for answer in self.answers]
        answers = zip(self.answers, shapes, strict=True)
        return {"answers": [answer._replace(array=np.zeros(shape, np.float32)) for answer, shape in answers]}

cluster.Actor = ZeroActor
sys.exit(main())
"""

ALONE = """
import sys
import numpy as np
from bertcli.cli import main
from bertcli.distributed import cluster
from bertcli.distributed.fleet import Facts, RemoteEngine

class InstantFleet:
    def start(self, number, done):
        done(Facts("packed", "cpu", "float32", 8192, True, 1, "node"))

    def submit(self, number, method, arguments, done):
        windows, asks = arguments
        widths = [len(ask.head.labels) if hasattr(ask, "head") else 384 for ask in asks]
        done([list(np.full((len(windows), width), 0.1234567, np.float32)) for width in widths])

    def stop(self, number):
        pass

    def is_reachable(self):
        return True

    def close(self):
        pass

cluster.open_remote_engine = lambda *_: RemoteEngine(InstantFleet(), 64, "1 CPU")
sys.exit(main())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--texts", type=int, default=40_000)
    parser.add_argument("--model", default=None)
    parser.add_argument("--runs", nargs="*", help="only these of the runs above")
    options = parser.parse_args()
    model = ["-m", options.model] if options.model else []
    with tempfile.TemporaryDirectory() as folder:
        texts, fewer, zero, alone = (
            Path(folder, name) for name in ("texts.jsonl", "fewer.jsonl", "zero.py", "alone.py")
        )
        zero.write_text(ZERO)
        alone.write_text(ALONE)
        tokens = _write(texts, options.texts, options.model)
        few = _write(fewer, options.texts // 4, options.model)
        shared = [*model, "--engine", "packed", "--format", "jsonl"]
        embed, ray = ["embed", *shared, "--compute-dtype", "float32"], ["--on", "ray", "--workers", "2"]
        runs = {
            "threads": ["-m", "bertcli", *embed, "--threads", "2"],
            "ray": ["-m", "bertcli", *embed, *ray],
            "driver": [str(zero), *embed, *ray],
            "alone": [str(alone), *embed, "--on", "ray"],
            "label": [str(alone), "label", *shared, "--on", "ray"],
        }
        print(f"{options.texts} texts, {tokens} tokens")
        for name in options.runs or runs:
            first, total = _timed([*runs[name], str(texts)])
            if name in ("alone", "label"):  # whose first block is most of the work
                seconds = total - _timed([*runs[name], str(fewer)])[1]
                each = seconds / (options.texts - options.texts // 4) * 1e6
                print(f"{name:8} {each:6.1f} us a text, {(tokens - few) / seconds:8.0f} tokens/s")
            else:
                rate = tokens / (total - first)
                print(
                    f"{name:8} {total:6.1f} s, first result after {first:4.1f} s, then {rate:8.0f} tokens/s"
                )
    _simulate()


def _write(path: Path, count: int, model: str | None) -> int:
    """Write different texts of 1 to 60 words, most of them short, and return how many tokens they have."""
    chosen = random.Random(7)
    lengths = (min(60, 1 + int(chosen.expovariate(1 / 18))) for _ in range(count))
    texts = [f"{' '.join(chosen.choices(WORDS, k=length))} {number}" for number, length in enumerate(lengths)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    tokenizer = bertcli.load(model)._encoder.tokenizer
    return sum(len(tokenizer.encode(text).ids) for text in texts)


def _timed(arguments: list[str]) -> tuple[float, float]:
    """Seconds from the start of a process to its first byte, and to its end."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read(1)
    first = time.monotonic() - began
    while process.stdout.read(1 << 20):
        pass
    assert process.wait() == 0
    return first, time.monotonic() - began


def _simulate() -> None:
    seconds, workers, batches = 0.2, 100, 5000
    engine = open_engine(FakeFleet(seconds=seconds), workers)
    began = time.monotonic()
    assert compute(engine, batches) == list(range(batches))
    elapsed = time.monotonic() - began
    engine.close()
    busy = batches * seconds / workers / elapsed
    print(
        f"fleet    {elapsed:6.1f} s for {batches} batches of {seconds} s, workers busy {busy:.0%} of the time"
    )


if __name__ == "__main__":
    main()
