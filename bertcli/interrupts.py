"""Ctrl-C that is neither lost nor loud, and other signals that end a run the same way.

Python turns it into a KeyboardInterrupt wherever the program happens to be. Inside a finaliser or an import
callback that is printed and forgotten; inside a library's bare `except` it vanishes, and a module stays half
imported, whose errors are then not ours. So it is remembered here.
"""

from __future__ import annotations

import _thread
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_seen = False


def watch() -> None:
    """From here on, remember every Ctrl-C, and repeat one that Python would drop. To be asked to end
    (SIGTERM), and to lose the terminal (SIGHUP), are the same unless somebody has them ignored."""
    signal.signal(signal.SIGINT, _remember)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _remember)
    sys.unraisablehook = _unraisable


def seen() -> bool:
    """Whether there was a Ctrl-C: whatever fails after it failed because of it."""
    return _seen


class Deferred(KeyboardInterrupt):
    """Work that takes long ends at `check`, because an interrupt waits for it."""


_waiting = threading.local()


def check() -> None:
    """Raise Deferred where an interrupt waits in `deferred`: for work between two of its steps that takes long."""
    asked = getattr(_waiting, "asked", None)
    if asked is not None and asked():
        raise Deferred


@contextlib.contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
    """Within it, a signal that would raise KeyboardInterrupt only makes the yielded function say True, so
    that work ends between two steps; a second Ctrl-C interrupts at once. The others may well come twice
    without more haste: a terminal that closes sends SIGHUP, and so does the shell that ran in it."""
    asked = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            _remember(number, frame)
        asked = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: asked
        return
    raising = (_remember, signal.default_int_handler)
    before = {number: handler for number in ENDING if (handler := signal.getsignal(number)) in raising}
    for number in before:
        signal.signal(number, note)
    outer, _waiting.asked = getattr(_waiting, "asked", None), lambda: asked
    try:
        yield lambda: asked
    finally:
        _waiting.asked = outer
        for number, handler in before.items():
            signal.signal(number, handler)


def let_go() -> None:
    """There is nothing left to finish: Ctrl-C may end the process where it stands, without a word."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _remember(number: int, frame: FrameType | None) -> None:
    global _seen
    _seen = True
    raise KeyboardInterrupt


def _unraisable(dropped: Any) -> None:
    if issubclass(dropped.exc_type, KeyboardInterrupt):
        _thread.start_new_thread(_interrupt_soon, (_thread.get_ident(),))
    else:
        sys.__unraisablehook__(dropped)


def _interrupt_soon(thread: int) -> None:
    time.sleep(0.05)  # long enough for the finaliser to have ended
    signal.pthread_kill(thread, signal.SIGINT)
