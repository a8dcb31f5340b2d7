"""Work for an hour while everything goes wrong, and account for every record.

    python tests/soak/soak.py --minutes 60

One run reads a pipe all the time, with pauses, and writes a file; its memory is watched. Beside it job after
job reads files of all forms and writes files of all forms, each with faults: killed, asked to end, a file
that may not grow, an input that vanishes, an output directory that is moved away, a rival for the output.
After its faults the job is resumed until it is done. Then its output must hold each record of its input
once, in order, and its receipt must add up to them. Ends with exit code 1 at the first that does not.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests import checkpoints  # noqa: E402

COMMANDS = {"label": "label", "tag": "tag", "fill": "fill", "embed": "base"}
INPUTS = ("in.jsonl", "in.jsonl.gz", "in.csv", "in.txt")
OUTPUTS = ("out.jsonl", "out.jsonl.gz", "out.jsonl.zst", "out.csv", "out.parquet")
WORDS = " ".join(checkpoints.TEXTS).split()


@dataclass
class Tally:
    """What the hour amounted to."""

    jobs: int = 0
    records: int = 0
    failed: int = 0
    blank: int = 0
    streamed: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    memory: list[int] = field(default_factory=list)  # kilobytes


@dataclass
class Job:
    """A command over an input whose every record is known: its id, None for one that is broken."""

    command: str
    folder: Path
    source: str
    output: str
    ids: list[str | None]
    blank: int
    model: Path

    def arguments(self) -> list[str]:
        return [
            sys.executable, "-m", "bertcli", self.command, self.source, "-m", str(self.model),
            "--engine", "instant", "--text-field", "text", "-o", f"out/{self.output}", "--resume",
        ]  # fmt: skip

    def start(self, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.arguments(), cwd=self.folder, stderr=subprocess.PIPE, text=True, **options
        )


def make_job(folder: Path, draw: random.Random) -> Job:
    folder.mkdir()
    (folder / "out").mkdir()
    source, count = draw.choice(INPUTS), draw.randrange(0, 2500)
    broken_allowed = "json" in source
    ids: list[str | None] = []
    lines: list[dict[str, str] | None] = []
    blank = 0
    for number in range(count):
        length = draw.choice((0, 1, 3, 5, 8, 13, 21, 90))
        text = " ".join(draw.choices(WORDS, k=length)) + (" [MASK]" if length else "")
        if broken_allowed and draw.random() < 0.02:
            ids.append(None)
            lines.append(None)
        else:
            ids.append(str(number) if source != "in.txt" else text)
            lines.append({"id": str(number), "text": text})
            blank += not text
    write_input(folder / source, lines)
    command = draw.choice(tuple(COMMANDS))
    output = draw.choice((*OUTPUTS, "out.npy")) if command == "embed" else draw.choice(OUTPUTS)
    return Job(command, folder, source, output, ids, blank, folder.parent / COMMANDS[command])


def write_input(path: Path, lines: list[dict[str, str] | None]) -> None:
    if path.suffix == ".txt":
        path.write_text("".join(f"{line['text']}\n" for line in lines if line))
    elif path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ("id", "text"))
            writer.writeheader()
            writer.writerows(line for line in lines if line)
    else:
        data = "".join((json.dumps(line) if line else "{broken") + "\n" for line in lines).encode()
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The records of an output, read by other programs than bertcli."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        yield from pq.read_table(path).to_pylist()
    elif path.suffix == ".npy":
        import numpy as np

        ids = [json.loads(line) for line in path.with_name("out.ids.jsonl").read_text().splitlines()]
        if len(np.load(path)) != len(ids):
            sys.exit(f"LOST: {path} and its ids differ in length")
        yield from ids
    elif path.suffix == ".csv":
        with path.open(newline="") as file:
            yield from csv.DictReader(file)
    else:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        elif path.suffix == ".zst":
            import zstandard

            data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
        yield from map(json.loads, data.splitlines())


# --- faults -------------------------------------------------------------------------------------------------


def signalled(number: signal.Signals) -> Callable[[Job, random.Random], None]:
    def fault(job: Job, draw: random.Random) -> None:
        with job.start() as process:
            try:
                process.wait(draw.uniform(0.1, 5))
            except subprocess.TimeoutExpired:
                process.send_signal(number)

    return fault


def no_room(job: Job, draw: random.Random) -> None:
    size = draw.randrange(0, 200_000)
    with job.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))) as process:
        expect(process, 0, 1, 3)


def input_vanished(job: Job, draw: random.Random) -> None:
    with job.start() as process:
        try:
            process.wait(draw.uniform(0.1, 3))
        except subprocess.TimeoutExpired:
            process.kill()
    path = job.folder / job.source
    path.rename(path.with_suffix(".away"))
    with job.start() as process:
        finished = (job.folder / "out" / job.output).exists()
        expect(process, 0 if finished else 1)
    path.with_suffix(".away").rename(path)


def output_moved(job: Job, draw: random.Random) -> None:
    with job.start() as process:
        try:
            process.wait(draw.uniform(0.5, 4))
        except subprocess.TimeoutExpired:
            (job.folder / "out").rename(job.folder / "away")
            expect(process, 0, 1, 3)
            (job.folder / "away").rename(job.folder / "out")


def rival(job: Job, draw: random.Random) -> None:
    with job.start() as first, job.start() as second:
        codes = sorted((first.wait(), second.wait()))
    if codes not in ([0, 1], [1, 3], [0, 0], [0, 3]):  # one refused, or one that came when all was done
        sys.exit(f"TWO RUNS on one output ended with {codes}")


FAULTS: dict[str, Callable[[Job, random.Random], None]] = {
    "SIGKILL": signalled(signal.SIGKILL),
    "SIGTERM": signalled(signal.SIGTERM),
    "SIGINT": signalled(signal.SIGINT),
    "a file that may not grow": no_room,
    "an input that vanishes": input_vanished,
    "an output directory that is moved away": output_moved,
    "a second run on the same output": rival,
}


def expect(process: subprocess.Popen[str], *codes: int) -> str:
    said = process.stderr.read() if process.stderr else ""
    if process.wait() not in codes or "bug in bertcli" in said or "Traceback" in said:
        sys.exit(f"EXIT CODE {process.returncode}, not of {codes}:\n{said}")
    return said


# --- accounts -----------------------------------------------------------------------------------------------


def finish(job: Job) -> str:
    """Go on with a job until it is done; its receipt, empty when it was done before."""
    with job.start() as process:
        said = expect(process, 0, 3)
    return next((line for line in said.splitlines() if " read = " in line), "")


def check(job: Job, receipt: str) -> None:
    """Every record once, in order; a receipt that adds up to them."""
    field_of_id = "text" if job.source == "in.txt" and job.output != "out.npy" else "id"
    found = [row.get(field_of_id) for row in rows(job.folder / "out" / job.output)]
    expected: list[Any] = list(job.ids)
    if job.output == "out.npy":
        expected = list(range(len(job.ids)))
    if job.output == "out.csv":
        expected = [given or "" for given in expected]
    if found != expected:
        sys.exit(f"LOST OR DUPLICATED: {job}\n{receipt}")
    if receipt:
        counts = counts_of(receipt)
        if counts["read"] != len(job.ids) or counts["read"] != sum(
            counts[name] for name in ("done", "blank", "failed")
        ):
            sys.exit(f"A RECEIPT THAT DOES NOT ADD UP: {job.folder}\n{receipt}")
    left = {path.name for path in (job.folder / "out").iterdir()} - {job.output, "out.ids.jsonl"}
    if left:
        sys.exit(f"LEFT BEHIND in {job.folder}: {left}")


def counts_of(receipt: str) -> Counter[str]:
    """`10 000 read = 9 996 done + 3 blank + 1 failed · …` as numbers by name."""
    counts: Counter[str] = Counter()
    for term in receipt.replace("=", "·").replace("+", "·").split("·"):
        number, _, name = term.strip().rpartition(" ")
        digits = "".join(number.split())
        if digits.isdecimal():
            counts[name] = int(digits)
    return counts


# --- a run without an end -----------------------------------------------------------------------------------


class Flow(threading.Thread):
    """A run that is fed through a pipe, with pauses, until `stop`; what it weighs is noted."""

    def __init__(self, folder: Path, model: Path, tally: Tally) -> None:
        super().__init__(daemon=True)
        self.stopping = threading.Event()
        self.sent = 0
        self.output = folder / "flow.jsonl"
        self._tally = tally
        command = [sys.executable, "-m", "bertcli", "label", "-m", str(model), "--from", "jsonl",
                   "--engine", "instant", "-o", str(self.output)]  # fmt: skip
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self) -> None:
        draw = random.Random(7)
        assert self.process.stdin is not None
        noted = 0.0
        while not self.stopping.is_set():
            for _ in range(draw.choice((1, 5, 50, 200))):
                text = " ".join(draw.choices(WORDS, k=draw.choice((0, 3, 8, 21, 90))))
                self.process.stdin.write(json.dumps({"id": self.sent, "text": text}).encode() + b"\n")
                self.sent += 1
            self.process.stdin.flush()
            if time.monotonic() - noted > 10:
                noted = time.monotonic()
                self._tally.memory.append(resident(self.process.pid))
            time.sleep(draw.choice((0, 0.01, 0.2, 1.5)))

    def stop(self) -> None:
        self.stopping.set()
        self.join()
        assert self.process.stdin is not None
        assert self.process.stderr is not None
        self.process.stdin.close()
        said = self.process.stderr.read().decode()
        if self.process.wait() != 0 or counts_of(said.splitlines()[-1])["read"] != self.sent:
            sys.exit(f"THE FLOW: {said}")
        with self.output.open() as file:
            if [json.loads(line)["id"] for line in file] != list(range(self.sent)):
                sys.exit("LOST OR DUPLICATED in the flow")
        self._tally.streamed = self.sent


def resident(process: int) -> int:
    """Kilobytes of memory a process has."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def soak(minutes: float, seed: int, folder: Path) -> Tally:
    draw = random.Random(seed)
    tally = Tally()
    for kind in set(COMMANDS.values()):
        checkpoints.build("bert", kind, folder / kind)
    flow = Flow(folder, folder / "label", tally)
    flow.start()
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        job = make_job(folder / f"job-{tally.jobs}", draw)
        for name in draw.choices(tuple(FAULTS), k=draw.randrange(1, 4)):
            FAULTS[name](job, draw)
            tally.faults[name] += 1
        check(job, finish(job))
        tally.jobs += 1
        tally.records += len(job.ids)
        tally.failed += job.ids.count(None)
        tally.blank += job.blank
        if tally.jobs % 10 == 0:
            print(
                f"{tally.jobs} jobs, {tally.records} records, {sum(tally.faults.values())} faults", flush=True
            )
    flow.stop()
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bertcli-soak-"))
    tally = soak(options.minutes, options.seed, folder)
    quarter = max(1, len(tally.memory) // 4)
    print(f"jobs {tally.jobs} · records {tally.records} ({tally.failed} broken, {tally.blank} blank)")
    for name, count in sorted(tally.faults.items()):
        print(f"  {name}: {count}")
    print(f"through the pipe: {tally.streamed} records; its memory, MB: "
          f"{max(tally.memory[:quarter]) // 1024} at most in the first quarter, "
          f"{max(tally.memory[-quarter:]) // 1024} in the last")  # fmt: skip
    print("lost 0 · duplicated 0")


if __name__ == "__main__":
    main()
