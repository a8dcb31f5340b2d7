"""Whether a tokenizer can be loaded and gets through some texts: tried in a process of its own.

What the native code of `tokenizers` does to a process (an abort, a search without end) then happens to that
one. `models check` asks; a run does not, since it would begin a quarter of a second later.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SECONDS = 20.0
MOST_A_CHARACTER = 32  # tokens: bytes of the longest normalised texts
TEXTS = (
    "The quick brown fox jumps over 42 lazy dogs, doesn't it?",
    *(letter * 3000 for letter in "a1. \n\u00e9\u4e2d"),
    "aB1. " * 600,
    "".join(map(chr, range(32, 0x3000))),
)
_PROGRAM = """
import sys
from bertcli.models.trial import failure_of
failure = failure_of(sys.argv[1])
print(failure or "", end="")
sys.exit(failure is not None)
"""


def try_tokenizer(directory: Path) -> str | None:
    """How a process ends that uses the tokenizer of a checkpoint, in words; None where all is well,
    and where loading it ends in an error, which can be seen without harm."""
    command = [sys.executable, "-c", _PROGRAM, str(directory.absolute())]
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"needs more than {SECONDS:g} seconds for texts of {len(TEXTS[1])} characters"
    if done.returncode < 0:
        return f"ends the process that loads it (signal {-done.returncode})"
    if done.returncode:
        return done.stdout.decode(errors="replace").strip() or f"ends the process ({done.returncode})"
    return None


def failure_of(directory: str) -> str | None:
    """Load the tokenizer of a checkpoint, encode some texts and say what fails."""
    from bertcli.errors import ModelError
    from bertcli.models.checkpoint import open_checkpoint
    from bertcli.models.tokenizer import Tokenizer

    try:
        tokenizer = Tokenizer.of(open_checkpoint(Path(directory), allow_pickle=True))
    except ModelError:
        return None
    for text in TEXTS:
        try:
            tokens = tokenizer.encode(text)
        except ModelError as error:
            return error.message.removeprefix("the tokenizer ")
        if len(tokens) > MOST_A_CHARACTER * len(text):
            return f"makes {len(tokens)} tokens of {len(text)} characters"
    return None
