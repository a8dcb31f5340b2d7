"""What a person sees beside the results: warnings, errors, progress, the receipt. Nothing else writes stderr.

    configure(quiet, verbose, color)   the console of a command, before anything is printed
    error, warn, note, say             lines on stderr
    hold, release                      a line for when the work begins
    progress(source, stdout)           a bar while a run lasts; StepBar, one for training;
                                       StatusLine, for work that has no records
    to_logger                          the same lines to a logger, where a program uses the library
    claim_stdout, terminal             stdout, for results alone, and what it is
    quiet_libraries                    before anything heavy is imported

Whatever is shown goes through `visible`, so that no text can steer the terminal.
"""

from bertcli.console.drawing import visible
from bertcli.console.messages import (
    configure,
    error,
    hold,
    is_watched,
    note,
    quiet_libraries,
    release,
    reset,
    say,
    to_logger,
    trace,
    warn,
)
from bertcli.console.progress import StatusLine, StepBar, progress
from bertcli.console.stdout import (
    ClosedStdout,
    Terminal,
    claim_stdout,
    release_stdout,
    silence_descriptors,
    terminal,
)

__all__ = [
    "ClosedStdout",
    "StatusLine",
    "StepBar",
    "Terminal",
    "claim_stdout",
    "configure",
    "error",
    "hold",
    "is_watched",
    "note",
    "progress",
    "quiet_libraries",
    "release",
    "release_stdout",
    "reset",
    "say",
    "silence_descriptors",
    "terminal",
    "to_logger",
    "trace",
    "visible",
    "warn",
]
