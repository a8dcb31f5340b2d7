"""One module for each command: its options, and the request they become."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bertcli import console

if TYPE_CHECKING:
    from bertcli.requests import StreamRequest
    from bertcli.runs.preflight import OpenModel

_opened: list[OpenModel] = []
"""The model of the last run. To free a large vocabulary takes as long as to load it, and the process ends anyway."""


def run_request(request: StreamRequest) -> int:
    """Run a request with results on stdout where it names no output, and return the exit code."""
    console.configure(quiet=request.quiet, verbose=request.verbose, color=request.color)
    stdout = console.claim_stdout()
    console.quiet_libraries(verbose=request.verbose)
    from bertcli.runs.run import run

    _opened.clear()
    return run(request, stdout, _opened).exit_code
