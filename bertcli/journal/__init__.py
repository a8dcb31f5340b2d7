"""What is on disk.

outputs    files that are written whole or not at all, and the other places results go to
"""

from bertcli.journal.outputs import (
    FileOutput,
    Output,
    is_regular,
    is_stdout,
    open_output,
    refuse_input,
)

__all__ = ["FileOutput", "Output", "is_regular", "is_stdout", "open_output", "refuse_input"]
