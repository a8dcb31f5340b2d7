"""Ray: joining a cluster or starting one on this machine, and its actors as a fleet of workers.

Ray is kept quiet and on its own: it collects no statistics, prints nothing, and a cluster started here takes a token
that nobody else has.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bertcli import __version__, console
from bertcli.distributed.actor import Actor, Job, files_of, read_chunks
from bertcli.distributed.fleet import (
    Done,
    Facts,
    RemoteDecoder,
    RemoteEngine,
    RemoteGenerator,
    WorkerDiedError,
    owned,
    packed,
)
from bertcli.engines import available_cores
from bertcli.engines.seq2seq.rules import is_described
from bertcli.errors import EngineError, UsageError, first_line

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Head
    from bertcli.requests import ClusterOptions, ModelOptions

R = TypeVar("R", bound=RemoteEngine)

CONNECTING = 5.0  # seconds until an address that does not answer is given up
JOINS = 3  # where the head, which starts a process for each client, did not start one in time
NO_CLIENT_SERVER = "Starting Ray client server failed"
REST = 1.0  # seconds between two of them
CLOSING = 5.0  # seconds for leaving a cluster that may be gone
RAY_FOLDER = "/tmp/ray"  # where `ray start` notes the address of the cluster of this machine
INSTALL = f'pip install "bertcli[ray]=={__version__}"'


def open_remote_engine(
    checkpoint: Checkpoint, head: Head | None, options: ModelOptions, cluster: ClusterOptions
) -> RemoteEngine:
    """An engine on the workers that `cluster` asks for. `options.engine` is the engine that they open; `head` the one
    whose encoder they compute. Raises UsageError for options that make no sense there, EngineError for a cluster that
    cannot be used."""
    return _open(RemoteEngine, checkpoint, head, options, cluster)


def open_remote_translator(
    checkpoint: Checkpoint, options: ModelOptions, cluster: ClusterOptions
) -> RemoteGenerator:
    """The same for an encoder-decoder, which the workers open as `choosing.open_seq2seq` does."""
    has_decoder = is_described(checkpoint) and options.engine != "instant"
    kind = RemoteDecoder if has_decoder else RemoteGenerator
    return _open(kind, checkpoint, None, options, cluster)


def _open(
    kind: type[R], checkpoint: Checkpoint, head: Head | None, options: ModelOptions, cluster: ClusterOptions
) -> R:
    if options.dtype == "int8":
        raise UsageError(
            "--on: int8 is calibrated and computed in one process",
            hint="use --dtype bfloat16 or float32",
        )
    if options.device.startswith("cuda:"):
        raise UsageError(
            f"--device {options.device} names GPUs of one machine",
            hint="use --device cuda: each worker gets a GPU",
        )
    threads = options.threads or 1
    joined = Cluster(cluster.on or "", (cluster.workers or 1) * threads)
    try:
        resources = joined.resources()
        has_gpu = options.device == "cuda" or (options.device == "auto" and resources.get("GPU", 0) >= 1)
        unit, share = ("GPU", 1) if has_gpu and options.engine != "instant" else ("CPU", threads)
        count = cluster.workers or max(1, int(resources.get(unit, 0) // share))
        device = options.device if options.device != "auto" else "cuda" if unit == "GPU" else "cpu"
        generates = issubclass(kind, RemoteGenerator)
        job = Job.of(checkpoint, head, _with(options, device, threads), generates=generates)
        fleet = RayFleet(joined, job, checkpoint, cpus=threads, gpus=int(unit == "GPU"))
    except BaseException:
        joined.close()
        raise
    cores = f"{threads} CPU{'s' if threads > 1 else ''}"
    return kind(fleet, count, f"{cores} and a GPU" if unit == "GPU" else cores)


def _with(options: ModelOptions, device: str, threads: int) -> ModelOptions:
    """The options of the model alone, for a worker with so many threads."""
    from bertcli import requests

    values = requests.fields_of(options, requests.ModelOptions)
    return requests.ModelOptions(**values | {"device": device, "threads": threads})


class Cluster:
    """A Ray cluster: `ray` starts one on this machine for at least `cpus` workers' cores, `auto` joins the one of this
    machine, `ray://HOST:PORT` another. Raises UsageError without Ray, EngineError for one that does not answer."""

    def __init__(self, on: str, cpus: int) -> None:
        self._address = _address_of(on)
        if self._address is not None and not _answers(self._address):
            raise _unreachable(on, "nothing answers there")
        with _quiet():
            self.ray: Any = _import_ray(on)
            self._joined_before = self.ray.is_initialized()
            if not self._joined_before:
                self._join(on, cpus)
            if not on.startswith("ray://"):
                self._address = _parse(self.ray.get_runtime_context().gcs_address)

    def _join(self, on: str, cpus: int) -> None:
        settings: dict[str, Any] = {"address": on, "log_to_driver": False, "logging_level": "CRITICAL"}
        if on == "ray":
            cores = max(cpus, available_cores())
            settings |= {"address": "local", "num_cpus": cores, "include_dashboard": False}
        elif on == "auto" and os.environ.get("RAY_ADDRESS"):
            settings["address"] = os.environ["RAY_ADDRESS"]
        for left in reversed(range(JOINS)):
            try:
                self.ray.init(**settings)
                return
            except Exception as error:
                if not left or NO_CLIENT_SERVER not in str(error):
                    raise _unreachable(on, _first_reason(error)) from error
                self.ray.shutdown()
            time.sleep(REST)

    def resources(self) -> dict[str, float]:
        found: dict[str, float] = self.ray.cluster_resources()
        return found

    def is_reachable(self) -> bool:
        return self._address is None or _answers(self._address)

    def close(self) -> None:
        """Leave the cluster, or end one that was started here. One that is gone is given up after some seconds."""
        if self._joined_before:
            return
        leaving = threading.Thread(target=self.ray.shutdown, daemon=True)
        leaving.start()
        leaving.join(CLOSING)


class RayFleet:
    """Workers that are Ray actors, with `cpus` cores and `gpus` GPUs each."""

    def __init__(self, cluster: Cluster, job: Job, checkpoint: Checkpoint, *, cpus: int, gpus: int) -> None:
        self._cluster, self._ray = cluster, cluster.ray
        self._job, self._checkpoint = _job_fields(job), checkpoint
        self._files: dict[str, Any] | None = None
        self._lock = threading.Lock()
        self._actors: dict[int, Any] = {}
        self._actor = self._ray.remote(Actor).options(
            num_cpus=cpus, num_gpus=gpus, max_concurrency=cpus, max_restarts=0
        )

    def start(self, number: int, done: Done) -> None:
        actor = self._actors[number] = self._actor.remote()

        def send_files() -> None:
            try:
                self._when_done(actor.open.remote(self._job, self._sent_files()), opened)
            except Exception as error:
                done(_worker_error(error))

        def opened(answer: Any) -> None:
            if isinstance(answer, dict) and "absent" in answer:
                # not here: this is a thread of Ray, which carries what is sent
                threading.Thread(target=send_files, daemon=True).start()
            else:
                done(_facts(answer))

        self._when_done(actor.open.remote(self._job), opened)

    def submit(self, number: int, method: str, arguments: Sequence[Any], done: Done) -> None:
        def computed(answer: Any) -> None:
            if isinstance(answer, Exception):
                done(answer)
            else:
                done(answer["error"] if "error" in answer else owned(answer["answers"]))

        if method == "forward_all":
            windows, asks = arguments
            arguments = packed(windows), asks
        self._when_done(self._actors[number].compute.remote(method, arguments), computed)

    def stop(self, number: int) -> None:
        with suppress(Exception):  # it has died, or the cluster has
            self._ray.kill(self._actors.pop(number))

    def is_reachable(self) -> bool:
        return self._cluster.is_reachable()

    def close(self) -> None:
        self._cluster.close()

    def _when_done(self, reference: Any, done: Done) -> None:
        def report(future: Any) -> None:
            error = future.exception()
            done(_worker_error(error) if error is not None else future.result())

        reference.future().add_done_callback(report)

    def _sent_files(self) -> dict[str, Any]:
        """The files of the model in the object store, put there when the first worker needs them."""
        with self._lock:
            if self._files is None:
                self._files = {
                    part: {os.path.relpath(file, root): self._sent(file) for file in files}
                    for part, (root, files) in files_of(self._checkpoint).items()
                }
            return self._files

    def _sent(self, file: Path) -> tuple[int, list[Any]]:
        return file.stat().st_mtime_ns, [self._ray.put(chunk) for chunk in read_chunks(file)]


def _job_fields(job: Job) -> dict[str, Any]:
    return {name: getattr(job, name) for name in Job.__slots__}


def _facts(answer: Any) -> Facts | Exception:
    if isinstance(answer, Exception):
        return answer
    if "refused" in answer:
        message, hint = answer["refused"]
        return EngineError(f"a worker cannot compute: {message}", hint=hint)
    return Facts(**answer["facts"])


def _worker_error(error: BaseException) -> Exception:
    """What an error of Ray means: a worker that died, or one that cannot work."""
    from ray import exceptions

    text = " ".join(str(error).split())
    if "No module named 'bertcli" in text:
        return EngineError("a worker has no bertcli of this version", hint=f"on all machines: {INSTALL}")
    if "owner has died" in text or isinstance(error, ConnectionError):
        return EngineError(
            "the connection to the Ray cluster is lost", hint="--resume continues a run with -o FILE"
        )
    if isinstance(error, exceptions.OutOfMemoryError) or "memory pressure" in text:
        return WorkerDiedError("its machine ran out of memory", short=True)
    if isinstance(error, exceptions.RayActorError) and not error.actor_init_failed:
        return WorkerDiedError(_reason(text))
    if isinstance(error, exceptions.ObjectLostError | exceptions.NodeDiedError):
        return WorkerDiedError("its machine was lost")
    return EngineError(f"a worker failed: {text[-300:]}")


def _first_reason(error: Exception) -> str:
    """Why a cluster cannot be joined, in a line."""
    reason = first_line(error)
    if reason.endswith(":"):  # a traceback of the head follows
        return f"{reason} {str(error).strip().splitlines()[-1]}"
    return reason


def _reason(text: str) -> str:
    """Why an actor died, in a few words."""
    if "ray.kill" in text:
        return "it was killed by ray.kill"
    if "node" in text and ("died" in text or "terminated" in text) and "process" not in text:
        return "its machine was lost"
    return "its process or its machine ended"


def _import_ray(on: str) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if on == "ray":
        if "RAY_AUTH_MODE" not in os.environ:  # ports of Ray are open to the network
            os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    elif (Path.home() / ".ray" / "auth_token").exists():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray
    except ImportError:
        raise UsageError("--on needs Ray, which is not installed", hint=f"{INSTALL}") from None
    return ray


def _address_of(on: str) -> tuple[str, int] | None:
    """Where the cluster answers, as far as it is known before joining it."""
    if on == "ray":
        return None
    if on.startswith("ray://"):
        return _parse(on.removeprefix("ray://"))
    if address := os.environ.get("RAY_ADDRESS", "").removeprefix("ray://"):
        return _parse(address)
    with suppress(OSError):
        folder = Path(os.environ.get("RAY_TMPDIR", RAY_FOLDER))
        return _parse((folder / "ray_current_cluster").read_text(encoding="utf-8").strip())
    return None


def _parse(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    try:
        return host.strip("[]"), int(port)
    except ValueError:
        raise UsageError(f"'{address}' is not HOST:PORT", hint="as in --on ray://head:10001") from None


def _answers(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=CONNECTING).close()
    except OSError:
        return False
    return True


def _unreachable(on: str, reason: str) -> EngineError:
    if on == "ray":
        return EngineError(f"Ray cannot be started on this machine: {reason}", hint="leave --on out")
    where = "no Ray cluster on this machine can be joined" if on == "auto" else f"{on} cannot be joined"
    return EngineError(
        f"{where}: {reason}", hint="`ray status` on the head says whether it runs; --on ray starts one here"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Within it, Ray may be imported and started: it prints nothing, now or later, and changes no handler of a
    signal."""
    console.silence_descriptors()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        logging.getLogger("ray").setLevel(logging.CRITICAL + 1)  # importing and joining set it
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)
