"""Messages on stderr: errors, warnings, notes, the receipt."""

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
from typing import TYPE_CHECKING, Protocol, TextIO

from bertcli.console.drawing import BOLD, DIM, RED, YELLOW, When, painted, visible, wants_color

if TYPE_CHECKING:
    from bertcli.errors import BertcliError


class Overlay(Protocol):
    """Something drawn on the screen that is cleared before a message is written."""

    def clear(self) -> None: ...


screen_lock = threading.RLock()
"""Held while something is written to the screen: a bar is drawn by a thread of its own."""


class Console:
    """Messages on stderr. `quiet` leaves only errors, `verbose` adds notes.

    A message given to `hold` is printed when the work begins (`release`), and not at all where the run is refused
    before: an error should be the only thing that the user reads.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = False, color: When = "auto") -> None:
        self.quiet, self.verbose, self.color = quiet, verbose, color
        self._overlays: list[Overlay] = []
        self.held: list[str] = []

    def error(self, problem: BertcliError) -> None:
        place = f"{problem.where}: " if problem.where else ""
        self._print([("bertcli: ", f"{BOLD};{RED}"), (f"{place}{problem.message}", "")])
        if problem.hint:
            self._print([("  ", ""), (problem.hint, DIM)])

    def warn(self, message: str) -> None:
        if not self.quiet:
            self._print([("bertcli: warning: ", YELLOW), (message, "")])

    def note(self, message: str) -> None:
        if self.verbose:
            self._print([("bertcli: ", DIM), (message, DIM)])

    def say(self, message: str) -> None:
        if not self.quiet:
            self._print([(message, "")])

    def hold(self, message: str) -> None:
        self.held.append(message)

    def release(self) -> None:
        for message in self.held:
            self.say(message)
        self.held.clear()

    def add(self, overlay: Overlay) -> None:
        self._overlays.append(overlay)

    def remove(self, overlay: Overlay) -> None:
        self._overlays.remove(overlay)

    def _print(self, parts: list[tuple[str, str]]) -> None:
        stream = sys.stderr
        if stream is None:
            return
        with screen_lock, contextlib.suppress(OSError, ValueError):  # stderr is closed: nobody reads it
            for overlay in self._overlays:
                overlay.clear()
            color = wants_color(stream.isatty(), self.color)
            line = "".join(painted(visible(text), style if color else "") for text, style in parts)
            write_patiently(stream, line + "\n")


class LoggerConsole(Console):
    """The same messages to the logger `bertcli`, where a program uses the library."""

    def __init__(self) -> None:
        super().__init__(quiet=True)

    def warn(self, message: str) -> None:
        logging.getLogger("bertcli").warning("%s", message)

    def note(self, message: str) -> None:
        logging.getLogger("bertcli").debug("%s", message)

    def say(self, message: str) -> None:
        logging.getLogger("bertcli").info("%s", message)

    def hold(self, message: str) -> None:
        self.say(message)


_console: contextvars.ContextVar[Console] = contextvars.ContextVar("console", default=Console())  # noqa: B039


def current() -> Console:
    """The console of this context. A thread has it where it was started by `contextvars.copy_context().run`."""
    return _console.get()


def configure(*, quiet: bool = False, verbose: bool = False, color: When = "auto") -> None:
    """Begin a console with these settings. It keeps the messages that the last one held."""
    console = Console(quiet=quiet, verbose=verbose, color=color)
    console.held = current().held
    _console.set(console)


def reset() -> None:
    """Begin a console that knows nothing of the commands that ran before in this process."""
    _console.set(Console())


@contextlib.contextmanager
def to_logger() -> Iterator[None]:
    """Within it, messages go to the logger `bertcli` and not to stderr."""
    token = _console.set(LoggerConsole())
    try:
        yield
    finally:
        _console.reset(token)


def is_quiet() -> bool:
    return current().quiet


def is_watched() -> bool:
    """Whether messages are read on a terminal, and not silenced by -q."""
    return sys.stderr is not None and sys.stderr.isatty() and not is_quiet()


def error(problem: BertcliError) -> None:
    """Print an error, always: `bertcli: file:line: message`, and its hint on a line of its own."""
    current().error(problem)


def warn(message: str) -> None:
    """Print what may make an answer worse than it looks; silent with -q."""
    current().warn(message)


def note(message: str) -> None:
    """Print why something is done the way it is; only with -v."""
    current().note(message)


def say(message: str) -> None:
    """Print a plain line, such as the receipt; silent with -q."""
    current().say(message)


def hold(message: str) -> None:
    """Have a plain line printed when the work begins."""
    current().hold(message)


def release() -> None:
    """The work begins: print the lines that were held."""
    current().release()


def trace(problem: Exception) -> None:
    """Print the traceback of an error; only with --debug."""
    import traceback

    traceback.print_exception(problem)


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
    """Silence libraries; to be called before they are imported.

    No progress bars, no advice, no telemetry, no thread warnings, and (`offline`) no socket for model files.
    Their warnings are dropped unless `verbose`. NumPy's matrix products stay in the calling thread: batches are what
    runs in parallel, and OpenBLAS's own threads wait for each other in busy loops, which on a machine with other work
    makes a short answer ten times slower.
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
