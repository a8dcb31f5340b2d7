"""What the sinks of text formats have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bertcli.journal import Mark
    from bertcli.sinks.compressed import ByteSink


class TextSink:
    """The methods of a sink that writes each result to `output` at once, except `write` itself."""

    def __init__(self, output: ByteSink) -> None:
        self._output = output

    def flush(self) -> None:
        self._output.flush()

    def mark(self) -> Mark | None:
        return self._output.mark()

    def sync(self) -> None:
        self._output.sync()

    def close(self, complete: bool) -> None:
        self._output.close(complete)
