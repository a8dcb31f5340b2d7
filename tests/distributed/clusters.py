"""A Ray cluster of processes on this machine for tests: a head with its client server, and further nodes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RAY = [sys.executable, "-m", "ray.scripts.scripts"]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class LocalCluster:
    """A head of `cpus` cores. `url` is for Ray's client, `address` for processes on this machine (RAY_ADDRESS)."""

    def __init__(self, cpus: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))  # a socket's path must be short
        self._nodes: list[subprocess.Popen[bytes]] = []
        self.port, self.client_port = free_port(), free_port()
        self.address, self.url = f"127.0.0.1:{self.port}", f"ray://127.0.0.1:{self.client_port}"
        self.environment = os.environ | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        self._start(
            "--head",
            f"--port={self.port}",
            f"--ray-client-server-port={self.client_port}",
            f"--temp-dir={self.folder}",
            "--include-dashboard=false",
            cpus=cpus,
        )
        self._wait()

    def add_node(self, cpus: int) -> int:
        """Start another node and return its number."""
        self._start(f"--address={self.address}", cpus=cpus)
        return len(self._nodes) - 1

    def kill_node(self, number: int) -> None:
        """Kill all processes of a node; 0 is the head."""
        node = self._nodes[number]
        if node.poll() is None:
            os.killpg(node.pid, signal.SIGKILL)
            node.wait()

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

    def _wait(self) -> None:
        deadline = time.monotonic() + 90
        for port in (self.port, self.client_port):
            while time.monotonic() < deadline:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.2)
        assert time.monotonic() < deadline, (self.folder / "node0.log").read_text()
