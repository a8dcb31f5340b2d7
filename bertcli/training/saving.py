"""The directory a training run leaves: written beside its name, then given it whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bertcli import console, interrupts
from bertcli.errors import OutputError
from bertcli.journal.locks import try_lock

STATE = "state.pt"
OWN = frozenset([STATE, f"{STATE}.part", "checkpoints", "whole", "old", "growing", "cache", "metrics.jsonl"])
"""What a run makes in its directory; one that holds anything else is somebody's own."""


class Target:
    """A directory that does not exist until it is complete; `part` is where it grows.

    An interrupted run leaves its state in `part`, from which --resume continues. A complete model that cannot
    have its name stays there too. While a run lasts, it holds a lock on `part`. Made before torch is loaded: what
    cannot be written is refused at once.
    """

    def __init__(self, path: Path, *, overwrite: bool, resume: bool) -> None:
        """Raises OutputError for a directory that must not be replaced, that cannot be made or that another run has,
        and without a run to continue."""
        path, self.part = _places(path)
        self.path = path
        self._whole, self._old = self.part / "whole", self.part / "old"
        has_state = (self.part / STATE).is_file()
        self._lock = -1
        self._refuse_strange_part()
        if resume and not has_state:
            raise OutputError("there is no interrupted run to continue", where=str(self.part))
        if path.exists() and not (overwrite or resume):
            raise OutputError("exists", where=str(path), hint="replace it with --overwrite, or name another")
        if path.exists() and not ((path / "config.json").is_file() or _empty(path)):
            raise OutputError("is not a model directory, so it is not replaced", where=str(path))
        if has_state and not (overwrite or resume):
            raise OutputError(
                "holds an interrupted run",
                where=str(self.part),
                hint="continue it with --resume, or drop it with --overwrite",
            )
        if self._whole.exists() and not (overwrite or resume):
            raise OutputError(
                "is a finished model that did not get its name",
                where=str(self._whole),
                hint="give it one yourself, or drop it with --overwrite",
            )
        self._take_lock()
        if not resume:
            for entry in self.part.iterdir():
                shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink()

    def _refuse_strange_part(self) -> None:
        """Raise OutputError for what no run has made under the name that is needed."""
        if self.part.is_symlink() or (self.part.exists() and not self.part.is_dir()):
            problem = "is no directory that a run has made"
        elif self.part.is_dir() and (strange := {entry.name for entry in self.part.iterdir()} - OWN):
            problem = f"holds {min(strange)}, which no run has made, so it is never replaced"
        else:
            return
        raise OutputError(problem, where=str(self.part), hint="move it away, or name another -o")

    def _take_lock(self) -> None:
        """Make the directory, and have it to oneself."""
        try:
            self.part.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            (self.part / "growing").mkdir(exist_ok=True)  # whether it can be written to
        except OSError as error:
            raise OutputError(f"cannot be made: {error.strerror}", where=str(self.part)) from error
        if not try_lock(self._lock):
            os.close(self._lock)
            raise OutputError(
                "is being written by another run",
                where=str(self.path),
                hint="wait for its end, or name another directory",
            )

    def abandon(self) -> None:
        """Leave nothing behind but a state to continue from, and a model that is complete."""
        if self._whole.exists():
            console.say(f"{self._whole} holds the finished model")
        elif not (self.part / STATE).is_file():
            shutil.rmtree(self.part, ignore_errors=True)
        else:
            shutil.rmtree(self.part / "growing", ignore_errors=True)
        os.close(self._lock)

    @property
    def holds_state(self) -> bool:
        """Whether there is something that --resume continues from."""
        return (self.part / STATE).is_file()

    @contextmanager
    def writing(self, *, keep_state: bool) -> Iterator[Path]:
        """A folder to write everything into; what is there in the end is complete, and gets the name."""
        folder = self.part / "growing"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        yield folder
        _share(folder)
        shutil.rmtree(self._whole, ignore_errors=True)
        folder.rename(self._whole)
        self._take()
        shutil.rmtree(self._old if keep_state else self.part, ignore_errors=True)

    def _take(self) -> None:
        """Give the complete directory its name. What had it until then moves out of its way and is removed
        only afterwards: at every moment one of the two is whole."""
        with interrupts.deferred():  # between two steps neither would have the name
            if self.path.exists():
                shutil.rmtree(self._old, ignore_errors=True)
                self.path.rename(self._old)
            try:
                self._whole.rename(self.path)
            except OSError:
                if self._old.exists():
                    self._old.rename(self.path)
                raise


def is_complete(path: Path) -> bool:
    """Whether a directory holds a model, and no run that could be continued is beside it."""
    path, part = _places(path)
    return (path / "config.json").is_file() and not part.exists()


def _places(path: Path) -> tuple[Path, Path]:
    """The directory of a model, and that of the run which makes it. A link stays one; "." and its like are no name to
    put something behind."""
    if path.is_symlink() or path.name in ("", ".."):
        path = Path(os.path.realpath(path))
    return path, path.parent / f"{path.name}.part"


def _share(folder: Path) -> None:
    """Let users who may read the other files read the weights: safetensors makes them for their owner alone."""
    for file in folder.glob("*.safetensors"):
        file.chmod((folder / "config.json").stat().st_mode)


def _empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
