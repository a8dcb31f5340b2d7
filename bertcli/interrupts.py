"""Ctrl-C, and the other signals that end a run in the same way.

Python raises KeyboardInterrupt wherever the program is. In a finaliser or an import callback the exception is printed
and dropped; a bare `except` of a library swallows it and leaves a module half imported, which then fails with other
errors. So the signal is recorded here.
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
    """From now on, record every Ctrl-C, and repeat one that Python drops. SIGTERM and SIGHUP are handled alike unless
    they are ignored."""
    signal.signal(signal.SIGINT, _remember)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _remember)
    sys.unraisablehook = _unraisable


def seen() -> bool:
    """Whether there was a Ctrl-C, which is then the cause of later errors."""
    return _seen


class Deferred(KeyboardInterrupt):
    """Raised by `check`: long work ends because an interrupt is waiting."""


_waiting = threading.local()


def check() -> None:
    """Raise Deferred where an interrupt waits in `deferred`. To be called between the steps of long work."""
    asked = getattr(_waiting, "asked", None)
    if asked is not None and asked():
        raise Deferred


@contextlib.contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
    """Within it, a signal that would raise KeyboardInterrupt only makes the yielded function return True, so that work
    ends between two steps; a second Ctrl-C interrupts at once. A second SIGHUP does not: a terminal that closes sends
    one, and so does the shell in it."""
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


def restore_default() -> None:
    """There is nothing left to finish: Ctrl-C may end the process at once, without a message."""
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
