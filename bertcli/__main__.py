"""`python -m bertcli` and the `bertcli` script."""

from __future__ import annotations

import os
import sys

from bertcli import interrupts


def main() -> None:
    """Run bertcli and exit with its code."""
    interrupts.watch()
    try:
        from bertcli.cli import main as run  # inside the try: Ctrl-C while it is imported stays quiet too

        code = run()
    except KeyboardInterrupt:
        code = 130
    interrupts.let_go()
    if interrupts.seen():
        os._exit(code)  # everything is written, and the arithmetic that still runs is waited for by nobody
    sys.exit(code)


if __name__ == "__main__":
    main()
