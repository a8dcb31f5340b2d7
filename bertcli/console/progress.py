"""Progress: one line on stderr, which is removed when the run ends."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import threading
import time
from collections.abc import Callable
from typing import BinaryIO, Protocol, cast

from bertcli.console import messages
from bertcli.console.drawing import duration, grouped, meter, rate, terminal_width, visible


class Progressing(Protocol):
    """What a bar is drawn from; every Source is one."""

    live: bool
    size: int | None
    start: int
    limit: int | None

    @property
    def position(self) -> int: ...


class Bar:
    """One line on stderr that counts records, with their rate and, where the size is known, time left.

    `taken` returns how many records have been read, some of which are not answered yet.

    It is drawn when records are answered, and by a thread of its own where none is for a while (a huge text is being
    tokenised). It leaves the screen as it found it, also when the run is interrupted. The
    cursor is never hidden.
    """

    interval = 0.1  # seconds between two drawings
    idle = 0.5  # seconds between two drawings while no record is answered
    patience = 0.5  # seconds before the first: a short run shows no bar
    settled = 2.0  # seconds before the time left is shown: at first an engine warms up
    enough = 0.02  # of the work, which gives the time left; less gives it only after `late`
    late = 10.0  # seconds

    def __init__(
        self,
        source: Progressing,
        *,
        shown: bool,
        taken: Callable[[], int] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._shown = shown
        self._console = messages.current()
        self._clock = clock
        self._began = clock()
        self._due = self._began
        self._on_screen = False
        self._start = 0
        self._taken = taken
        self._before = 0
        self._done = 0.0
        self._records = 0
        self._ended = threading.Event()

    def __enter__(self) -> Bar:
        self._console.add(self)
        self._began = self._clock()
        self._due = self._began + self.patience
        self._before = self._taken() if self._taken is not None else 0
        # What was read only to see how much there is has not been answered.
        self._start = self._source.position if self._before or self._taken is None else 0
        if self._shown:
            threading.Thread(target=self._keep_drawing, name="bar", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with messages.screen_lock:
            self._ended.set()
            self._console.remove(self)
            self.clear()

    def show(self, records: int) -> None:
        """Show how many records are answered; cheap enough to be called after each."""
        if not self._shown:
            return
        self._records = records
        if self._clock() >= self._due:
            self._draw()

    def _keep_drawing(self) -> None:
        while not self._ended.wait(self.idle):
            with messages.screen_lock:
                if not self._ended.is_set() and self._clock() >= self._due:
                    self._draw()

    def _draw(self) -> None:
        with messages.screen_lock:
            now = self._clock()
            self._due = now + self.interval
            line = self.line(self._records, now - self._began, terminal_width(2))
            self._on_screen = True
            _write(f"\r{line}\x1b[K")

    def line(self, records: int, seconds: float, width: int) -> str:
        """The bar as text of at most `width` - 1 cells (the last one would make some terminals wrap)."""
        known = self._before + records  # those of the run that this one resumes count, too
        parts = [f"{grouped(known)} {'record' if known == 1 else 'records'}"]
        if records:
            parts.append(rate(records / seconds if seconds > 0 else 0.0))
        if self._source.size and not self._source.live:
            start, done = self._share(records)
            # texts are of different lengths, so reading on may make this smaller: a bar never goes back
            self._done = done = max(self._done, done)
            share = start + done
            parts.append(f"{share:4.0%}")
            if done > 0 and seconds >= (self.settled if done >= self.enough else self.late):
                parts.append(f"{duration(seconds * (1 - share) / done)} left")
            drawn = f"  {meter(share, 24):24}  "
            if len(drawn) + len(" · ".join(parts)) < width:
                return drawn + " · ".join(parts)
        return "  "[: max(0, width - 1)] + " · ".join(parts)[: max(0, width - 3)]

    def _share(self, records: int) -> tuple[float, float]:
        """Which share of the work was done when the bar began, and which has been since. The end is that of
        the input, or --limit where that comes first."""
        source = self._source
        size = max(1, (source.size or 0) - source.start)
        start = max(0, self._start - source.start) / size
        done = (min(max(0, source.position - source.start) / size, 1.0) - start) * self._answered(records)
        if source.limit:
            start_by_limit, done_by_limit = self._before / source.limit, records / source.limit
            if start_by_limit + done_by_limit > start + done:
                return start_by_limit, min(done_by_limit, 1 - start_by_limit)
        return start, done

    def _answered(self, records: int) -> float:
        """Which part of the records that were read since the bar began has been answered."""
        read = self._taken() - self._before if self._taken is not None else records
        return min(records / read, 1.0) if read > 0 else 1.0

    def clear(self) -> None:
        """Take the bar off the screen."""
        if self._on_screen:
            self._on_screen = False
            _write("\r\x1b[K")


class StatusLine:
    """One line on stderr that says what is being done, on a terminal and without -q; removed at the end."""

    def __init__(self) -> None:
        self._shown = messages.is_watched()
        self._console = messages.current()

    def __enter__(self) -> StatusLine:
        self._console.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._console.remove(self)
        self.clear()

    def show(self, what: str, share: float | None = None) -> None:
        """Replace the line. `share` is how much of the whole is done."""
        if self._shown:
            percent = "" if share is None else f"{share:4.0%} · "
            _write(f"\r{_fitting('  ' + percent + visible(what), terminal_width(2))}\x1b[K")

    def clear(self) -> None:
        if self._shown:
            _write("\r\x1b[K")


def _fitting(line: str, width: int) -> str:
    """The line in at most `width` - 1 cells: the last one would make some terminals wrap."""
    return line[: max(0, width - 1)]


def _write(text: str) -> None:
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):  # the terminal was closed
            messages.write_patiently(sys.stderr, text)


def progress(source: Progressing, stdout: BinaryIO | None, taken: Callable[[], int] | None = None) -> Bar:
    """A bar over the records of a source, of which `taken` have been read; `stdout` is where results go, None
    when that is a file (-o).

    Shown when stderr is a terminal and nothing else writes there: not when results go to a terminal or a pipe (whose
    reader may print to the same terminal), not at the prompt, and not with -q.
    """
    busy = (stdout is not None and not _is_storage(stdout)) or (source.live and _isatty(sys.stdin))
    return Bar(source, shown=_isatty(sys.stderr) and not messages.is_quiet() and not busy, taken=taken)


def _isatty(stream: object) -> bool:
    return stream is not None and cast(BinaryIO, stream).isatty()


def _is_storage(stdout: BinaryIO) -> bool:
    """Whether stdout is a regular file or the null device, where nobody reads along."""
    try:
        kind = os.fstat(stdout.fileno())
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(kind.st_mode) or os.path.samestat(kind, os.stat(os.devnull))


class StepBar(Bar):
    """One line on stderr that counts the steps of a training run, with its loss and time left."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.size: int | None = None
        self.start = 0
        self.limit: int | None = None
        self.position = 0
        self.live = False
        self._loss: float | None = None
        super().__init__(self, shown=_isatty(sys.stderr) and not messages.is_quiet(), clock=clock)

    def show_step(self, step: int, steps: int, loss: float) -> None:
        """Step `step` of `steps` is done; the loss is shown as a running mean."""
        self.position, self.size = step, steps
        self._loss = loss if self._loss is None else 0.95 * self._loss + 0.05 * loss
        self.show(step)

    def __enter__(self) -> StepBar:
        super().__enter__()
        return self

    def line(self, records: int, seconds: float, width: int) -> str:
        """The bar as text of at most `width` - 1 cells."""
        size = self.size or 1
        share = min(records / size, 1.0)
        left = duration(seconds * (1 - share) / share) if share else "?"
        parts = [
            f"step {grouped(records)} of {grouped(size)}",
            f"loss {self._loss or 0.0:.3f}",
            f"{left} left",
        ]
        drawn = f"  {meter(share, 24):24}  "
        words = " · ".join(parts)
        return drawn + words if len(drawn) + len(words) < width else ("  " + words)[: max(0, width - 1)]
