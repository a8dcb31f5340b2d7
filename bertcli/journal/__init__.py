"""What is on disk, and what of it can be resumed.

outputs    files that are written whole or not at all, and the other places results go to
points     positions from which an interrupted run can be resumed
journal    how far a run has come, beside its output
"""

from bertcli.journal.journal import Journal
from bertcli.journal.outputs import (
    FileOutput,
    Output,
    damaged_journal,
    is_regular,
    is_stdout,
    journal_of,
    open_output,
    part_of,
    reason_of,
    refuse_input,
)
from bertcli.journal.points import Mark, Point

__all__ = [
    "FileOutput",
    "Journal",
    "Mark",
    "Output",
    "Point",
    "damaged_journal",
    "is_regular",
    "is_stdout",
    "journal_of",
    "open_output",
    "part_of",
    "reason_of",
    "refuse_input",
]
