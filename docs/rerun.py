"""Run the commands of a page again and write what they print: `python docs/rerun.py docs/attention.md`.

Every `$ ` line of a console block is run by bash, in one folder for the whole page, as on a terminal of 80
columns without colours; `BERTCLI_MODEL` names the model, as ever. Messages on stderr are not part of a page.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import tempfile
from pathlib import Path

BLOCK = re.compile(r"(?<=```console\n).*?(?=```)", re.DOTALL)
ANSI = re.compile("\x1b\\[[0-9;]*m")


def rerun(page: str, folder: str) -> str:
    """The page with new outputs below its commands."""
    return BLOCK.sub(lambda block: "".join(answered(command, folder) for command in commands(block[0])), page)


def commands(block: str) -> list[str]:
    """The commands of a block, each with the lines it goes on in: behind a backslash, or inside quotes."""
    found: list[str] = []
    goes_on = False
    for line in block.splitlines():
        if goes_on:
            found[-1] += f"\n{line}"
        elif line.startswith("$ "):
            found.append(line)
        else:
            continue
        goes_on = line.endswith("\\") or found[-1].count("'") % 2 == 1
    return found


def answered(command: str, folder: str) -> str:
    """A command and what it prints."""
    return f"{command}\n{shown(command.removeprefix('$ '), folder)}"


def shown(command: str, folder: str) -> str:
    """What a command prints on a terminal of 80 columns. Raises SystemExit when it fails."""
    reader, terminal = pty.openpty()
    environment = os.environ | {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
    with subprocess.Popen(
        ["bash", "-o", "pipefail", "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=terminal,
        stderr=subprocess.PIPE,
        cwd=folder,
        env=environment,
    ) as process:
        os.close(terminal)
        printed = b""
        while chunk := read(reader):
            printed += chunk
        os.close(reader)
        assert process.stderr is not None
        complaints = process.stderr.read().decode()
    if process.returncode:
        raise SystemExit(f"{command}\n{complaints}")
    return ANSI.sub("", printed.decode()).replace("\r\n", "\n")


def read(reader: int) -> bytes:
    """The next bytes; none when the other end of the terminal is closed, which Linux calls an error."""
    try:
        return os.read(reader, 1 << 16)
    except OSError:
        return b""


if __name__ == "__main__":
    for name in sys.argv[1:]:
        path = Path(name)
        with tempfile.TemporaryDirectory() as scratch:
            path.write_text(rerun(path.read_text(encoding="utf-8"), scratch), encoding="utf-8")
