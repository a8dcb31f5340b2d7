"""The directory a training run leaves: written beside its name, then given it whole."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from bertcli.errors import OutputError
from bertcli.training.export import write_tokenizer
from bertcli.training.fit import STATE


class Target:
    """A directory that does not exist until it is complete; `part` is where it grows.

    An interrupted run leaves its state in `part`, from which --resume continues.
    """

    def __init__(self, path: Path, *, force: bool, resume: bool) -> None:
        """Raises OutputError for a directory that must not be replaced, or without a run to continue."""
        if path.name in ("", ".."):  # "." and its like, which are no name to put something behind
            path = Path(os.path.abspath(path))
        self.path, self.part = path, path.parent / f"{path.name}.part"
        held = (self.part / STATE).is_file()
        if resume and not held:
            raise OutputError("there is no interrupted run to continue", where=str(self.part))
        if path.exists() and not (force or resume):
            raise OutputError("exists", where=str(path), hint="replace it with --force, or name another")
        if path.exists() and not ((path / "config.json").is_file() or _empty(path)):
            raise OutputError("is not a model directory, so it is not replaced", where=str(path))
        if held and not (force or resume):
            raise OutputError(
                "holds an interrupted run",
                where=str(self.part),
                hint="continue it with --resume, or drop it with --force",
            )
        if not resume:
            shutil.rmtree(self.part, ignore_errors=True)
        try:
            self.part.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot be made: {error.strerror}", where=str(self.part)) from error

    def abandon(self) -> None:
        """Leave nothing behind but a state to continue from."""
        if not (self.part / STATE).is_file():
            shutil.rmtree(self.part, ignore_errors=True)

    def write(self, model: Any, base: Path, card: str, *, keep_state: bool) -> None:
        """Write model, tokenizer and card as the directory; `keep_state` leaves the state for --resume."""
        whole = self.part / "whole"
        shutil.rmtree(whole, ignore_errors=True)
        model.save_pretrained(whole)
        write_tokenizer(base, whole)
        (whole / "README.md").write_text(card, encoding="utf-8")
        self.take(whole, keep_state=keep_state)

    def take(self, whole: Path, *, keep_state: bool) -> None:
        """Give the complete directory `whole` its name."""
        if self.path.exists():
            shutil.rmtree(self.path)
        whole.rename(self.path)
        if not keep_state:
            shutil.rmtree(self.part)


def _empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())
