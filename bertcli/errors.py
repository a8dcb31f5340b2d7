"""Errors, and the exit code of each.

    BertcliError                 exit 1: could not run
    ├── UsageError               exit 2: the command line (or a settings file) asks for something impossible
    │   └── FieldClashError      an input field has the name of a result field
    ├── InputError               a file that cannot be opened or read at all
    ├── OutputError              a file that cannot be written, or must not be overwritten
    ├── ModelError               a checkpoint that is missing, damaged, unsafe or would answer wrongly
    ├── EngineError              an engine, device or dtype this machine or model cannot use
    └── StoppedEarlyError        exit 3: --strict or --max-errors ended the run early
    RecordError                  caught by the pipeline, becomes the `error` of one output record

An error has a message (what is wrong) and a hint (what to do). It is printed in one place, `cli.main`.
"""

from __future__ import annotations

from collections.abc import Iterable

LONGEST_MESSAGE = 300  # characters of a library's message


def quoted(names: Iterable[str]) -> str:
    """Names from a file, for a message: `'text', 'first name'`."""
    return ", ".join(f"'{name}'" for name in names)


def first_line(error: BaseException) -> str:
    """The first line of a library's error without the full stop, or the name of its class."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def one_line(error: BaseException) -> str:
    """The message of a library's error in one line of at most LONGEST_MESSAGE characters."""
    line = " ".join(str(error).split())
    return line if len(line) <= LONGEST_MESSAGE else line[: LONGEST_MESSAGE - 1] + "…"


class BertcliError(Exception):
    """An error a user can do something about.

    `message` says what is wrong in one line, `hint` what to do about it; both are plain text without a full
    stop at the end. `where` is a `file:line` or a path, shown in front of the message.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None, where: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where = where


class UsageError(BertcliError):
    exit_code = 2


class FieldClashError(UsageError):
    """An input field has the name of a result field; `prefix` before the result fields would set them apart."""

    def __init__(
        self, message: str, *, hint: str | None = None, where: str | None = None, prefix: str = ""
    ) -> None:
        super().__init__(message, hint=hint, where=where)
        self.prefix = prefix


class InputError(BertcliError):
    pass


class OutputError(BertcliError):
    pass


class ModelError(BertcliError):
    pass


class EngineError(BertcliError):
    pass


class StoppedEarlyError(BertcliError):
    exit_code = 3


class RecordError(Exception):
    """One record cannot be processed; `type` is a short stable word for programs, such as `no-mask`.

    Types in use: `json`, `encoding`, `csv`, `conll`, `too-big`, `field`, `file`, `no-mask`, `no-question`,
    `too-long`, `clash`, `overflow`, `engine`.
    """

    def __init__(self, type: str, message: str) -> None:  # noqa: A002 - the name it has in the output
        super().__init__(message)
        self.type = type
        self.message = message
