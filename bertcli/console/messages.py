"""The words on stderr: errors, warnings, notes, the receipt."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import os
import select
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TextIO

from bertcli.console.drawing import BOLD, DIM, RED, YELLOW, When, painted, visible, wants_color

if TYPE_CHECKING:
    from bertcli.errors import BertcliError


@dataclass(slots=True)
class _Manner:
    quiet: bool = False
    verbose: bool = False
    color: When = "auto"


class Screen(Protocol):
    """Something on the screen that makes room for a message."""

    def clear(self) -> None: ...


screen_lock = threading.RLock()
"""Held while something is written to the screen: a bar is drawn by a thread of its own."""

_manner = _Manner()
_in_library: contextvars.ContextVar[bool] = contextvars.ContextVar("in_library", default=False)
_drawn: list[Screen] = []
_held: list[str] = []


def configure(*, quiet: bool = False, verbose: bool = False, color: When = "auto") -> None:
    """How much to say: `quiet` leaves only errors, `verbose` adds notes."""
    _manner.quiet, _manner.verbose, _manner.color = quiet, verbose, color


@contextlib.contextmanager
def to_logger() -> Iterator[None]:
    """Within it, messages of this thread go to the logger `bertcli` and not to stderr: a program uses the library."""
    token = _in_library.set(True)
    try:
        yield
    finally:
        _in_library.reset(token)


def is_quiet() -> bool:
    return _manner.quiet or _in_library.get()


def is_watched() -> bool:
    """Whether messages are read on a terminal, and not silenced by -q."""
    return sys.stderr is not None and sys.stderr.isatty() and not is_quiet()


def make_room(screen: Screen) -> None:
    """From now on, clear `screen` before a message is written."""
    _drawn.append(screen)


def forget(screen: Screen) -> None:
    """`screen` is no longer on screen."""
    _drawn.remove(screen)


def error(problem: BertcliError) -> None:
    """Show an error, always: `bertcli: file:line: message`, and its hint on a line of its own."""
    place = f"{problem.where}: " if problem.where else ""
    _print([("bertcli: ", f"{BOLD};{RED}"), (f"{place}{problem.message}", "")])
    if problem.hint:
        _print([("  ", ""), (problem.hint, DIM)])


def warn(message: str) -> None:
    """Show what may make an answer worse than it looks; silent with -q."""
    if _in_library.get():
        logging.getLogger("bertcli").warning("%s", message)
    elif not _manner.quiet:
        _print([("bertcli: warning: ", YELLOW), (message, "")])


def note(message: str) -> None:
    """Show why something is done the way it is; only with -v."""
    if _in_library.get():
        logging.getLogger("bertcli").debug("%s", message)
    elif _manner.verbose:
        _print([("bertcli: ", DIM), (message, DIM)])


def say(message: str) -> None:
    """Show a plain line, such as the receipt; silent with -q."""
    if _in_library.get():
        logging.getLogger("bertcli").info("%s", message)
    elif not _manner.quiet:
        _print([(message, "")])


def trace(problem: Exception) -> None:
    """Show where an error happened; only with --debug."""
    import traceback

    traceback.print_exception(problem)


def hold(message: str) -> None:
    """Have a plain line shown when the work begins (`release`), and not at all where it is refused before:
    nothing should stand between a command and what is wrong with it."""
    if _in_library.get():
        say(message)
    else:
        _held.append(message)


def forget_held() -> None:
    """Another command begins: what the last one held is not shown any more."""
    _held.clear()


def release() -> None:
    """The work begins: show what was held."""
    for message in _held:
        say(message)
    _held.clear()


def _print(parts: list[tuple[str, str]]) -> None:
    stream = sys.stderr
    if stream is None:
        return
    with screen_lock, contextlib.suppress(OSError, ValueError):  # stderr is closed: there is nobody to tell
        for drawn in _drawn:
            drawn.clear()
        color = wants_color(stream.isatty(), _manner.color)
        line = "".join(painted(visible(text), style if color else "") for text, style in parts)
        write_patiently(stream, line + "\n")


def write_patiently(stream: TextIO, text: str) -> None:
    """Write to a stream that may not block: what it does not take at once, it takes when it is ready."""
    try:
        stream.write(text)
        stream.flush()
    except BlockingIOError:
        while True:
            select.select([], [stream], [], 1.0)
            try:
                return stream.flush()
            except BlockingIOError:
                continue


def quiet_libraries(*, verbose: bool = False, offline: bool = True) -> None:
    """Keep libraries to themselves; to be called before they are imported.

    No progress bars, no advice, no telemetry, no thread warnings, and (`offline`) no socket for model files.
    Their warnings are dropped unless `verbose`. NumPy's matrix products stay in the thread that asks:
    packs are what runs side by side, and OpenBLAS's own threads wait for each other in busy loops, which on a
    machine with other work makes a short answer ten times slower.
    """
    os.environ.update(
        OPENBLAS_NUM_THREADS="1",
        TOKENIZERS_PARALLELISM="false",
        HF_HUB_DISABLE_TELEMETRY="1",
        HF_HUB_DISABLE_PROGRESS_BARS="1",
        DO_NOT_TRACK="1",
        TQDM_DISABLE="1",
    )
    if offline:
        os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    if not verbose:
        os.environ.update(
            TRANSFORMERS_VERBOSITY="error", TRANSFORMERS_NO_ADVISORY_WARNINGS="1", TORCH_CPP_LOG_LEVEL="ERROR"
        )
        warnings.simplefilter("ignore")
