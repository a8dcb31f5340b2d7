"""`python -m bertcli` and the `bertcli` script."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # what `signal` is made of: there at once
import atexit
import os
import threading


def main() -> None:
    """Run bertcli and exit with its code."""
    # Until it can be caught, Ctrl-C ends the process without a traceback.
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    from bertcli import interrupts

    interrupts.watch()
    try:
        from bertcli.cli import main as run  # inside the try: Ctrl-C while it is imported stays quiet too

        code = run()
    except KeyboardInterrupt:
        code = 130
    interrupts.restore_default()
    if not interrupts.seen():  # else nothing waits for the computation that still runs
        _finish()
    os._exit(code)  # everything is written: freeing a large vocabulary takes as long as loading it


def _finish() -> None:
    """What an interpreter does at its end, but for freeing memory."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()


if __name__ == "__main__":
    main()
