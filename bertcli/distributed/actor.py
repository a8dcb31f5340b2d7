"""What runs in a Ray actor: it opens the model of a run and computes batches.

A `Job` comes as a dict, and answers go as dicts, so that a driver and an actor of different versions can tell.
"""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertcli import __version__, console
from bertcli.distributed.fleet import Facts, PackedWindows, stacked
from bertcli.engines.choosing import choose, open_seq2seq
from bertcli.errors import BertcliError, EngineError
from bertcli.models.checkpoint import Checkpoint, open_checkpoint

if TYPE_CHECKING:
    from bertcli.engines import Engine
    from bertcli.engines.seq2seq import Seq2SeqEngine
    from bertcli.models.heads import Head
    from bertcli.requests import ModelOptions

CHUNK = 64 << 20  # bytes of an object in the object store
SMALL_FILES = ("*.json", "vocab.txt", "merges.txt", "*.model", "*.spm", "[0-9]*_*/*.json")
"""What a fingerprint is made of, besides weights."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is to open: the model in the directory `base`, with the LoRA adapter in `adapter`, the encoder as
    `head` reads it, if the fingerprint is this one; or an encoder-decoder, which `generates`. `options.engine` of an
    encoder is never `auto`, but for static embeddings."""

    base: str
    adapter: str | None
    fingerprint: str
    head: Head | None
    options: ModelOptions
    generates: bool = False
    version: str = __version__

    @classmethod
    def of(
        cls, checkpoint: Checkpoint, head: Head | None, options: ModelOptions, *, generates: bool = False
    ) -> Job:
        if head is not None and head.changes_encoder:  # the worker compares the checkpoint as it is on disk
            checkpoint = replace(checkpoint, weights=checkpoint.weights.as_stored())
        with_adapter = checkpoint.adapter is not None
        base = checkpoint.path if with_adapter else checkpoint.directory
        adapter = os.path.abspath(checkpoint.directory) if with_adapter else None
        return cls(os.path.abspath(base), adapter, checkpoint.fingerprint(), head, options, generates)


class Actor:
    """Holds the engine of a run. Calls of `compute` may come from several threads at once."""

    def __init__(self) -> None:
        console.quiet_libraries()
        self._engine: Engine | Seq2SeqEngine | None = None

    def open(self, job: Mapping[str, Any], files: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Open the engine for a Job given as a dict. `files` are the model's, from the object store.

        Returns the `facts`, why it was `refused` (a message and a hint), or `absent` where the model is not on this
        machine and its files are needed.
        """
        if job["version"] != __version__:
            return _refused(
                f"the driver has bertcli {job['version']}, and a worker has {__version__}",
                f'install it on all machines: pip install "bertcli[ray]=={job["version"]}"',
            )
        try:
            if files is None:
                checkpoint = self._find(job)
                return {"absent": True} if checkpoint is None else {"facts": self._choose(checkpoint, job)}
            with tempfile.TemporaryDirectory(prefix="bertcli-") as folder:
                write_files(files, Path(folder))
                names = [str(Path(folder, part)) if part in files else None for part in ("base", "adapter")]
                checkpoint = _open(names[0], names[1], job)
                found = checkpoint.fingerprint()
                if found != job["fingerprint"]:
                    return _refused(
                        f"the model is another one than the driver's: its fingerprint is {found}, not"
                        f" {job['fingerprint']}",
                        "do not change the model while a run starts",
                    )
                return {"facts": self._choose(checkpoint, job)}
        except BertcliError as error:
            return _refused(error.message, error.hint)

    def compute(self, method: str, arguments: Sequence[Any]) -> dict[str, Any]:
        """The `answers` of a method of the engine, or the `error` that it raised. (Ray's client raises an exception
        that is returned by itself, so that it looks like one of Ray.)"""
        assert self._engine is not None
        try:
            if isinstance(arguments[0], PackedWindows):
                arguments = (arguments[0].windows(), *arguments[1:])
            answers = getattr(self._engine, method)(*arguments)
            is_stackable = method == "forward_all" and arguments[0]
            return {"answers": list(map(stacked, answers)) if is_stackable else answers}
        except Exception as error:
            return {"error": portable(error)}

    def _find(self, job: Mapping[str, Any]) -> Checkpoint | None:
        """The driver's model on this machine, if it is there."""
        try:
            checkpoint = _open(job["base"], job["adapter"], job)
            return checkpoint if checkpoint.fingerprint() == job["fingerprint"] else None
        except (BertcliError, OSError):
            return None

    def _choose(self, checkpoint: Checkpoint, job: Mapping[str, Any]) -> dict[str, Any]:
        import ray

        if job["head"] is not None:
            checkpoint = checkpoint.for_head(job["head"])
        engine: Engine | Seq2SeqEngine
        if job["generates"]:
            engine = open_seq2seq(checkpoint, job["options"])
        else:
            engine = choose(checkpoint, job["options"], tokens_ahead=None)
        self._engine = engine
        facts = Facts(
            name=engine.name,
            device=engine.device,
            dtype=engine.dtype,
            batch_tokens=engine.batch_tokens,
            batch_invariant=engine.batch_invariant,
            concurrency=engine.workers,
            node=ray.get_runtime_context().get_node_id(),
        )
        return asdict(facts)


def portable(error: Exception) -> Exception:
    """The error, or a RuntimeError of the same words where it cannot be sent to another process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def files_of(checkpoint: Checkpoint) -> dict[str, tuple[Path, list[Path]]]:
    """The files from which a model can be opened elsewhere: the directory that they are in and their paths, of the
    `base` and, where there is one, of the `adapter`."""
    weights = [
        *checkpoint.weights.files,
        *(file for each in checkpoint.pooling.weights() for file in each.files),
    ]
    if checkpoint.adapter is None:
        files = [*_small_files(checkpoint.directory), *_small_files(checkpoint.path), *weights]
        return {"base": (checkpoint.directory, files)}
    of_adapter = [*_small_files(checkpoint.directory), *checkpoint.directory.rglob("*.safetensors")]
    of_base = [*_small_files(checkpoint.path), *checkpoint.weights.files]
    return {
        "base": (checkpoint.path, of_base),
        "adapter": (checkpoint.directory, of_adapter),
    }


def read_chunks(file: Path) -> Iterator[bytes]:
    with open(file, "rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def write_files(files: Mapping[str, Any], folder: Path) -> None:
    """Write {part: {name: (time of change in ns, references to chunks)}} below `folder`. Times are kept: the
    fingerprint of a pickle has them."""
    import ray

    for part, named in files.items():
        for name, (changed, chunks) in named.items():
            path = folder / part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "wb") as stream:
                for chunk in chunks:
                    stream.write(ray.get(chunk))
            os.utime(path, ns=(changed, changed))


def _small_files(folder: Path) -> list[Path]:
    return [file for pattern in SMALL_FILES for file in sorted(folder.glob(pattern)) if file.is_file()]


def _open(base: str | None, adapter: str | None, job: Mapping[str, Any]) -> Checkpoint:
    if base is None or not os.path.isdir(base):
        raise EngineError("the model is not on this machine")
    return open_checkpoint(
        Path(base),
        allow_pickle=job["options"].allow_pickle,
        adapter=None if adapter is None else Path(adapter),
        role=getattr(job["options"], "role", None),
    )


def _refused(message: str, hint: str | None) -> dict[str, Any]:
    return {"refused": (message, hint)}
