"""Parts of a Ray cluster die while a run uses it: no record is lost, doubled or reordered."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Make
from tests.distributed.clusters import (
    LocalCluster,
    command,
    finish,
    free_port,
    skip_without_ray,
    start,
    write_texts,
)

pytestmark = pytest.mark.slow
StartCluster = Callable[..., LocalCluster]

# `bertcli` with slow workers and a fault: PROGRAM FAULT FLAG ARGUMENTS. FLAG is a file that the run creates in its
# middle, once.
PROGRAM = """
import itertools, os, signal, sys, time
from pathlib import Path

import numpy as np

from bertcli.cli import main
from bertcli.distributed import cluster
from bertcli.distributed.actor import Actor
from bertcli.journal import journal
from bertcli.sinks.jsonl import JsonlSink

FAULT, FLAG = sys.argv[1], Path(sys.argv[2])
del sys.argv[1:3]
journal.REST, journal.SHARE = 0.0, 0  # every block is noted


def is_first():
    try:
        FLAG.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


class SlowActor(Actor):
    batches = 0

    def __init__(self):
        if FAULT == "kill -9 of a new process" and is_first():
            os.kill(os.getpid(), signal.SIGKILL)
        super().__init__()

    def compute(self, method, arguments):
        time.sleep(0.1)
        self.batches += 1
        if FAULT == "kill -9" and self.batches == 3 and is_first():
            os.kill(os.getpid(), signal.SIGKILL)
        if FAULT == "memory" and self.batches == 3 and is_first():
            try:
                np.ones(1 << 50)
            except MemoryError as error:
                return {"error": error}
        if FAULT == "memory monitor" and self.batches == 3 and is_first():
            held = np.ones(int(3.0 * 2**30 / 8))
            time.sleep(30)  # Ray looks at the memory several times a second
        return super().compute(method, arguments)

    def open(self, *arguments):
        if FAULT == "kill -9 while the model is opened" and is_first():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().open(*arguments)


class FaultyFleet(cluster.RayFleet):
    batches = 0
    opened = []

    def start(self, number, done):
        if FAULT != "two workers":
            return super().start(number, done)

        def opened(facts):
            self.opened.append(lambda: done(facts))
            for call in self.opened if len(self.opened) > 1 else ():
                call()

        super().start(number, opened if len(self.opened) < 2 else done)

    def submit(self, number, *arguments):
        super().submit(number, *arguments)
        self.batches += 1
        if self.batches == 10 and is_first() and FAULT == "ray.kill":
            self._ray.kill(self._actors[number])


def write(self, result):
    if FAULT == "interrupt" and next(results) == 150:
        raise KeyboardInterrupt
    write_jsonl(self, result)


results, write_jsonl = itertools.count(), JsonlSink.write
cluster.Actor, cluster.RayFleet, JsonlSink.write = SlowActor, FaultyFleet, write
sys.exit(main())
"""


class FaultyRun:
    """`label` of 400 texts to `output`, on a cluster whose parts die. It must have the bytes of a run without one."""

    def __init__(self, shared: Sequence[Any], expected: bytes, folder: Path) -> None:
        self.folder, self.output, self.flag = folder, folder / "out.jsonl", folder / "flag"
        self.arguments, self.expected = [*shared, "-o", self.output], expected
        self.program = folder / "program.py"
        self.program.write_text(PROGRAM)
        self.processes: list[subprocess.Popen[str]] = []

    def start(
        self, cluster: LocalCluster | None, fault: str, *more: Any, on: str = "ray://"
    ) -> subprocess.Popen[str]:
        program = (self.program, fault, self.flag)
        self.processes.append(start(cluster, *self.arguments, *more, on=on, program=program))
        return self.processes[-1]

    def wait_for_flag(self, process: subprocess.Popen[str]) -> None:
        wait_until(lambda: self.flag.exists() or process.poll() is not None)
        assert process.poll() is None, finish(process).stderr

    def check(self, process: subprocess.Popen[str]) -> str:
        """Wait for the end of a run, and return what it wrote to stderr."""
        found = finish(process)
        assert found.returncode == 3, found.stderr
        assert found.stdout == ""
        assert self.output.read_bytes() == self.expected
        return found.stderr

    def resume_here(self) -> str:
        """Continue the run without a cluster to its end."""
        return self.check(self.start(None, "none", "--resume"))


def wait_until(done: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def local(checkpoints: Make, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], bytes]:
    """The arguments of a run, and what it writes without a cluster."""
    skip_without_ray()
    folder = tmp_path_factory.mktemp("local")
    write_texts(folder / "texts.jsonl")
    shared = ["label", folder / "texts.jsonl", "-m", checkpoints("bert", "label"), "--engine", "packed"]
    shared += ["--dtype", "float32", "--batch-tokens", 256]
    found = command(None, *shared, "-o", folder / "out.jsonl")
    assert found.returncode == 3, found.stderr  # the malformed line
    return shared, (folder / "out.jsonl").read_bytes()


@pytest.fixture
def faulty(local: tuple[list[Any], bytes], tmp_path: Path) -> Iterator[FaultyRun]:
    run = FaultyRun(*local, tmp_path)
    yield run
    for process in run.processes:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("on", ["ray://", "auto"])
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("ray.kill", "it was killed by ray.kill"),
        ("kill -9", "its process or its machine ended"),
        ("kill -9 while the model is opened", "its process or its machine ended"),
        ("kill -9 of a new process", "its process or its machine ended"),
    ],
)
def test_a_worker_that_dies_is_replaced(
    fault: str, reason: str, on: str, cluster: LocalCluster, faulty: FaultyRun
) -> None:
    stderr = faulty.check(faulty.start(cluster, fault, "--workers", 2, on=on))
    assert f"a worker died, and another one is started: {reason}" in stderr
    assert "on 1 node" in stderr
    assert ("retr" in stderr) == (fault in ("ray.kill", "kill -9"))


def test_a_worker_out_of_memory_gets_smaller_batches(cluster: LocalCluster, faulty: FaultyRun) -> None:
    stderr = faulty.check(faulty.start(cluster, "memory", "--workers", 2))
    assert "memory ran out; from here on at most" in stderr
    assert "died" not in stderr


def test_a_worker_that_ray_kills_for_its_memory_is_replaced(
    start_cluster: StartCluster, faulty: FaultyRun
) -> None:
    sizes = dict(line.split()[:2] for line in Path("/proc/meminfo").read_text().splitlines())
    total, available = int(sizes["MemTotal:"]), int(sizes["MemAvailable:"])
    if available < 6 * 2**20:
        pytest.skip("needs 6 GiB of memory")
    threshold = 1 - (available - 1.5 * 2**20) / total
    cluster = start_cluster(2, RAY_memory_usage_threshold=f"{threshold:.3f}")
    stderr = faulty.check(faulty.start(cluster, "memory monitor", "--workers", 1))
    assert "a worker died, and another one is started: its machine ran out of memory" in stderr
    assert "retr" in stderr


def test_a_node_that_is_lost_costs_its_batches_alone(start_cluster: StartCluster, faulty: FaultyRun) -> None:
    cluster = start_cluster(1)
    node = cluster.add_node(1)
    process = faulty.start(cluster, "two workers", "--workers", 2)
    faulty.wait_for_flag(process)
    cluster.kill_node(node)
    stderr = faulty.check(process)
    assert "a worker died, and another one is started: its" in stderr
    assert "2 workers on 2 nodes" in stderr
    assert "retr" in stderr


def test_a_node_that_is_added_later_gets_work(start_cluster: StartCluster, faulty: FaultyRun) -> None:
    cluster = start_cluster(0)
    process = faulty.start(cluster, "none", "--workers", 1)
    assert process.stderr is not None
    warning = process.stderr.readline()
    assert "waiting for the cluster to start a worker with 1 CPU" in warning
    cluster.add_node(1)
    assert "1 worker on 1 node" in faulty.check(process)


def test_a_head_that_is_lost_ends_the_run_and_resume_continues_it(
    start_cluster: StartCluster, faulty: FaultyRun
) -> None:
    cluster = start_cluster(2)
    process = faulty.start(cluster, "none", "--workers", 1)
    faulty.wait_for_flag(process)
    cluster.kill_node(0)
    found = finish(process)
    assert found.returncode == 1
    assert "Traceback" not in found.stderr
    assert "--resume continues" in found.stderr
    assert not faulty.output.exists()
    assert "from before" in faulty.resume_here()


@pytest.mark.parametrize("on", ["ray://", "auto"])
def test_a_head_that_does_not_answer_ends_the_run_before_it_starts(
    on: str, cluster: LocalCluster, faulty: FaultyRun
) -> None:
    gone = copy(cluster)
    gone.address = f"127.0.0.1:{free_port()}"
    gone.url = f"ray://{gone.address}"
    process = faulty.start(gone, "none", on=on)
    began = time.monotonic()
    found = finish(process)
    assert time.monotonic() - began < 30  # most of it is importing
    assert found.returncode == 1
    assert "nothing answers there" in found.stderr
    assert not list(faulty.folder.glob("out.jsonl*"))


def test_a_run_is_resumed_on_a_cluster_and_back(cluster: LocalCluster, faulty: FaultyRun) -> None:
    for where, more in ((None, ()), (cluster, ("--workers", 2, "--resume"))):
        found = finish(faulty.start(where, "interrupt", *more))
        assert found.returncode == 130, found.stderr
        assert not faulty.output.exists()
    assert "from before" in faulty.resume_here()


@pytest.mark.parametrize("on", ["ray://", "auto"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_actor_is_left_by_a_run_that_is_ended(
    number: signal.Signals, on: str, start_cluster: StartCluster, faulty: FaultyRun
) -> None:
    cluster = start_cluster(2)
    process = faulty.start(cluster, "none", "--workers", 2, on=on)
    faulty.wait_for_flag(process)
    assert len(cluster.actors()) == 2
    process.send_signal(number)
    found = finish(process)
    if number == signal.SIGINT:
        assert found.returncode == 130
        assert "interrupted" in found.stderr
    wait_until(lambda: not cluster.actors(), seconds=60)
