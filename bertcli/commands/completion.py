"""`bertcli completion`: the script that lets a shell complete commands, options, values and file names."""

from __future__ import annotations

import click

from bertcli.options.command import command

VARIABLE = "_BERTCLI_COMPLETE"
"""The environment variable through which the script asks bertcli for completions."""


@command(
    examples="""
    $ bertcli completion bash > ~/.local/share/bash-completion/completions/bertcli
    $ echo 'eval "$(bertcli completion zsh)"' >> ~/.zshrc
    $ bertcli completion fish > ~/.config/fish/completions/bertcli.fish
    """
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for a shell.

    Put it where the shell looks for completions (see the examples) and open a new shell.
    """
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)
    if complete is None:
        raise click.UsageError(f"click knows no completion for {shell}")
    click.echo(complete(ctx.find_root().command, {}, "bertcli", VARIABLE).source())
