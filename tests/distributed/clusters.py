"""A Ray cluster of processes on this machine for tests: a head with its client server, and further nodes."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

WORDS = ["the", "a", "good", "bad", "camera", "phone", "battery", "broke", "after", "London", "Paris", "John"]
STARTS = 3  # of a head
RAY = [sys.executable, "-m", "ray.scripts.scripts"]


def skip_without_ray() -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip('needs Ray: pip install "bertcli[ray]"')


def write_texts(path: Path) -> None:
    """Write 400 texts of 1 to 40 words; some are equal, one is blank and one is malformed."""
    texts = (
        " ".join(WORDS[number * step % len(WORDS)] for step in range(number % 40 + 1))
        for number in range(398)
    )
    lines = [json.dumps({"id": number, "text": text}) for number, text in enumerate(texts)]
    lines[100:100] = ['{"id": "blank", "text": " "}', '{"id": broken']
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _session(leader: int) -> Iterator[tuple[int, str]]:
    """The processes of a session, with what they are called: a worker of Ray has a process group of its own."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getsid(int(folder.name)) == leader:
                yield int(folder.name), (folder / "cmdline").read_text(errors="replace")


class LocalCluster:
    """A head of `cpus` cores. `url` is for Ray's client, `address` for processes on this machine (RAY_ADDRESS)."""

    def __init__(self, cpus: int, **environment: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))  # a socket's path must be short
        self._nodes: list[subprocess.Popen[bytes]] = []
        self.port, self.client_port = free_port(), free_port()
        self.address, self.url = f"127.0.0.1:{self.port}", f"ray://127.0.0.1:{self.client_port}"
        self.environment = os.environ | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
            "RAY_USAGE_STATS_ENABLED": "0",
            **environment,
        }
        for _ in range(STARTS):
            self._start(
                "--head",
                f"--port={self.port}",
                f"--ray-client-server-port={self.client_port}",
                f"--temp-dir={self.folder}",
                "--include-dashboard=false",
                cpus=cpus,
            )
            if self._answers():
                return
            self.kill_node(0)
            self._nodes.clear()
        raise TimeoutError((self.folder / "node0.log").read_text())

    def add_node(self, cpus: int) -> int:
        """Start another node and return its number."""
        self._start(f"--address={self.address}", cpus=cpus)
        return len(self._nodes) - 1

    def kill_node(self, number: int) -> None:
        """Kill all processes of a node; 0 is the head."""
        node = self._nodes[number]
        if node.poll() is None:
            for pid, _ in _session(node.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            node.wait()

    def actors(self) -> list[int]:
        """The processes of all actors."""
        return [pid for node in self._nodes for pid, title in _session(node.pid) if "Actor" in title]

    def close(self) -> None:
        for number in reversed(range(len(self._nodes))):
            self.kill_node(number)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, *arguments: str, cpus: int) -> None:
        # 10002 to 19999 are for workers, where the free ports found above may be
        command = [*RAY, "start", "--block", f"--num-cpus={cpus}", *arguments]
        command += ["--min-worker-port=0", "--max-worker-port=0", "--disable-usage-stats"]
        log = open(self.folder / f"node{len(self._nodes)}.log", "wb")  # noqa: SIM115
        process = subprocess.Popen(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        self._nodes.append(process)

    def _answers(self) -> bool:
        """Wait for the head. False where it has ended (Ray gives up on a busy machine) or takes too long."""
        deadline = time.monotonic() + 90
        for port in (self.port, self.client_port):
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    if self._nodes[0].poll() is not None or time.monotonic() > deadline:
                        return False
                    time.sleep(0.2)
        return True


def start(
    cluster: LocalCluster | None,
    *arguments: Any,
    on: str = "ray://",
    program: Sequence[Any] = ("-m", "bertcli"),
) -> subprocess.Popen[str]:
    """Start `bertcli ARGUMENTS` on the cluster: by Ray's client, or with `auto` as a process of its machine."""
    environment = dict(os.environ)
    if cluster is not None:
        environment = cluster.environment | ({"RAY_ADDRESS": cluster.address} if on == "auto" else {})
        arguments = (*arguments, "--on", "auto" if on == "auto" else cluster.url)
    return subprocess.Popen(
        [sys.executable, *map(str, program), *map(str, arguments)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """Wait for a process, and end it where it takes too long."""
    try:
        stdout, stderr = process.communicate(timeout=300)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def command(*arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run what `start` starts to its end."""
    return finish(start(*arguments, **options))
