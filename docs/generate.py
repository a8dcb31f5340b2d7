"""Write docs/cli.md, the help page of every command: `python docs/generate.py`. A test keeps it current."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from bertcli.cli import cli
from bertcli.command import SHOW_ALL

PAGE = Path(__file__).with_name("cli.md")

HEAD = """\
# Command line

<!-- Written by docs/generate.py from the help pages. -->

What `--help-all` says, for every command. What the options mean together is told in the [guide](guide.md); how to
set their defaults, in [settings](settings.md).
"""


def commands(
    command: click.Command, name: str, parent: click.Context | None = None
) -> Iterator[click.Context]:
    """A context for the command and for each one below it, in the order of the help page."""
    # 78 columns are what a terminal of 80 gets.
    ctx = click.Context(command, parent, name, terminal_width=78, **command.context_settings)
    ctx.meta[SHOW_ALL] = True
    yield ctx
    if isinstance(command, click.Group):
        for below in command.list_commands(ctx):
            found = command.get_command(ctx, below)
            if found is not None:
                yield from commands(found, below, ctx)


def page() -> str:
    """The text of docs/cli.md."""
    parts = [
        f"## {ctx.command_path}\n\n```text\n{ctx.command.get_help(ctx)}\n```\n"
        for ctx in commands(cli, "bertcli")
    ]
    return "\n".join([HEAD, *parts])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
