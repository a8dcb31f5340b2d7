"""Kill bertcli at random moments, go on with it until it is done, and compare every byte.

    python tests/kill/kill.py --kills 100

Each output form is written once without interruption. Then the same command with --resume is started over
and over and killed (SIGKILL, after a random part of the time it takes) until it comes to its end; its files
and the counts of its receipt must be those of the first run. Ends with exit code 1 at the first difference.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests import checkpoints  # noqa: E402

OUTPUTS = {
    "label.jsonl": ("label", "--all"),
    "label.csv": ("label",),
    "label.tsv.gz": ("label",),
    "label.jsonl.zst": ("label",),
    "tag.parquet": ("tag",),
    "fill.jsonl.gz": ("fill",),
    "embed.npy": ("embed",),
    "embed.parquet": ("embed",),
}
MODELS = {"label": "label", "tag": "tag", "fill": "fill", "embed": "base"}


@dataclass
class Job:
    """A command, the folder it writes to, and what came of it when nobody interrupted it."""

    arguments: list[str]
    folder: Path
    seconds: float = 0.0
    files: dict[str, bytes] | None = None
    account: str = ""

    def start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "bertcli", *self.arguments]
        return subprocess.Popen(command, cwd=self.folder, stderr=subprocess.PIPE, text=True)

    def written(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}

    def clear(self) -> None:
        for path in self.folder.iterdir():
            path.unlink()


def account(said: str) -> str:
    """The counts of a receipt: what does not depend on time, nor on interruptions."""
    line = next(line for line in reversed(said.splitlines()) if " read = " in line)
    parts = [part for part in line.split(" · ") if not part.endswith(("/s", " s", "from before"))]
    return " · ".join(parts)


def write_input(path: Path, records: int, draw: random.Random) -> None:
    """Texts of all lengths, some equal, some blank, some broken."""
    words = " ".join(checkpoints.TEXTS).split()
    with path.open("w") as file:
        for number in range(records):
            length = draw.choice((0, 1, 3, 3, 5, 8, 8, 13, 21, 90))
            text = " ".join(draw.choices(words, k=length)) + " [MASK]" * (draw.random() < 0.9)
            fields = {"id": number, "text": text if draw.random() < 0.97 else None}
            file.write("{broken" if draw.random() < 0.01 else json.dumps(fields))
            file.write("\n")


def uninterrupted(job: Job) -> None:
    began = time.monotonic()
    with job.start() as process:
        said = process.stderr.read() if process.stderr else ""
    if process.returncode not in (0, 3):
        sys.exit(f"{' '.join(job.arguments)}: exit code {process.returncode}\n{said}")
    job.seconds = time.monotonic() - began
    job.files, job.account = job.written(), account(said)
    job.clear()


def killed_until_done(job: Job, most: int, draw: random.Random) -> tuple[int, int]:
    """Kill the job again and again, at most `most` times, and let it end; how often it was killed, and how
    often it had something to go on with."""
    kills = went_on = 0
    while True:
        went_on += any(path.name.endswith(".journal") for path in job.folder.iterdir())
        with job.start() as process:
            try:
                process.wait(draw.uniform(0, job.seconds) if kills < most else None)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
            said = process.stderr.read() if process.stderr else ""
        if process.returncode != -signal.SIGKILL:
            break
        kills += 1
    told = "is complete" in said or account(said) == job.account
    if process.returncode not in (0, 3) or job.written() != job.files or not told:
        sys.exit(f"DIFFERENT after {kills} kills: {' '.join(job.arguments)} in {job.folder}\n{said}")
    job.clear()
    return kills, went_on


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--records", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    folder = Path(tempfile.mkdtemp(prefix="bertcli-kill-"))
    write_input(folder / "in.jsonl", options.records, draw)
    for kind in set(MODELS.values()):
        checkpoints.build("bert", kind, folder / kind)
    jobs = []
    for name, (command, *rest) in OUTPUTS.items():
        model = folder / MODELS[command]
        place = folder / f"out-{name}"
        place.mkdir()
        arguments = [command, "../in.jsonl", "-m", str(model), "--engine", "instant", *rest, "-o", name]
        jobs.append(Job([*arguments, "--resume"], place))
        uninterrupted(jobs[-1])
        print(f"{name}: {jobs[-1].seconds:.1f} s, {jobs[-1].account}", flush=True)
    kills = went_on = done = 0
    while kills < options.kills:
        job = jobs[done % len(jobs)]
        more, again = killed_until_done(job, min(25, options.kills - kills), draw)
        kills, went_on, done = kills + more, went_on + again, done + 1
        print(f"{kills} kills, {done} outputs the same byte for byte, gone on {went_on} times", flush=True)


if __name__ == "__main__":
    main()
