"""The click group, its commands in order, and the one error boundary."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

import click

from bertcli import __version__, console, interrupts
from bertcli.commands.completion import VARIABLE
from bertcli.errors import BertcliError, EngineError, FieldClashError, UsageError, one_line
from bertcli.options import DEBUG, debug_option, settings
from bertcli.options.command import CommandGroup, command_line
from bertcli.options.parameters import called

COMMANDS = MappingProxyType(
    {
        "label": "Label each text: with the model's own classes, or with any labels you name.",
        "fill": "Predict the words behind [MASK].",
        "embed": "Export embeddings, of texts or of their tokens, from any layer.",
        "tag": "Label the words of each text: named entities, parts of speech.",
        "score": "Score each text: how likely it is, and which words surprise the model.",
        "attention": "Show how much each token of a text attends to the others.",
        "answer": "Find the answer to a question in each text.",
        "search": "Find the texts nearest to a query, by the similarity of their embeddings.",
        "index": "Keep the embeddings of texts in a directory, to search millions of them at once.",
        "rerank": "Order texts by their relevance to a query, with a cross-encoder.",
        "translate": "Translate each text with an encoder-decoder: Marian, T5, BART, NLLB and the like.",
        "train": "Train a model of your own, from a file or from a recipe.",
        "evaluate": "Measure a model on a file with the right answers.",
        "sample": "Draw records to check from a labelled file, with weights that keep estimates unbiased.",
        "compare": "Compare two files of answers, or two models: what flipped, what drifted.",
        "merge": "Join the outputs of all shards of a run.",
        "models": "List, describe, check, download and convert models.",
        "bench": "Measure this machine on texts of your own, and find the settings that serve them best.",
        "completion": "Print the completion script for a shell.",
    }
)
"""The commands in the order of the help page, each with the first sentence of its help: listing imports none."""
MODULE = "bertcli.commands.{}"
"""Where a command is found, under its own name."""

INTERRUPTED = 130
LIBRARY_MEMORY_ERRORS = ("failed to map segment", "cannot allocate memory")
MEMORY_HINT = "a smaller --batch-tokens or --max-length needs less"


class Commands(CommandGroup):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        found = getattr(import_module(MODULE.format(cmd_name)), cmd_name)
        assert isinstance(found, click.Command)
        return found

    def summaries(self, ctx: click.Context) -> list[tuple[str, str]]:
        return list(COMMANDS.items())


@click.group(
    cls=Commands,
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
    no_args_is_help=True,
    examples="""
    $ bertcli fill -t "Paris is the [MASK] of France."
    $ bertcli label reviews.csv --text-field body -o labelled.csv
    $ tail -f app.log | bertcli label --labels "outage,login problem,other"
    $ bertcli embed docs.jsonl.zst -o docs.parquet
    """,
)
@click.version_option(__version__, message="bertcli %(version)s", help="Show the version.")
@click.option(
    "--config",
    metavar="FILE",
    envvar="BERTCLI_CONFIG",
    type=click.Path(path_type=Path),
    help="Settings file to use instead of bertcli.yaml.",
)
@click.option(
    "--show-settings",
    is_flag=True,
    help="Show every setting, of all commands or of one, and where it comes from.",
)
@debug_option("Options")
@click.pass_context
def cli(ctx: click.Context, config: Path | None, show_settings: bool) -> None:  # fmt: skip
    """Stream text through a BERT that lives on your disk.

    Text goes in as files or a pipe; labels, masked words or embeddings come out as a table for a person or as
    JSONL for the next program.
    """
    assert isinstance(ctx.command, CommandGroup)
    held = settings.read(config)
    settings.refuse_unknown_settings(held, ctx.command, ctx)
    settings.refuse_untrusted_settings(held)
    if held.local:
        console.hold(f"settings from {held.path} in the working directory")
    ctx.meta[settings.META] = held
    for name, near in settings.unknown_variables(ctx.command, ctx):
        if name.endswith("_FORCE"):
            raise UsageError(f"unknown variable {name}", hint=settings.INSTEAD_OF_FORCE)
        console.warn(f"unknown variable {name}" + (f": did you mean {near}?" if near else ""))
    if show_settings:
        lines = settings.shown_settings(ctx.command, ctx, only=ctx.invoked_subcommand)
        click.echo("\n".join(map(console.visible, lines)))
        ctx.exit()
    if ctx.invoked_subcommand is None:
        raise UsageError("no command given", hint="`bertcli --help` lists them")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run bertcli and return its exit code. Every error ends here, as a line or two on stderr."""
    try:
        code = _run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        code = INTERRUPTED
    _leave_stdout()
    return code


def _run(arguments: Sequence[str]) -> int:
    ctx: click.Context | None = None
    console.reset()
    try:
        instruction = os.environ.get(VARIABLE)
        if instruction:
            return _complete(instruction)
        ctx = cli.make_context("bertcli", list(arguments))
        with ctx:
            code: int = cli.invoke(ctx) or 0
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        for line in error.format_message().splitlines():
            console.say(line)
        return error.exit_code
    except BrokenPipeError:  # the reader has what it wanted
        return 0
    except Exception as error:
        if interrupts.seen():
            return INTERRUPTED
        if ctx is not None and ctx.meta.get(DEBUG):
            console.trace(error)
        problem = explained(error)
        if isinstance(problem, FieldClashError) and problem.prefix:
            whole = command_line(arguments, "--prefix", problem.prefix)
            problem.hint = f"give the results other names: {whole}"
        console.error(problem)
        return problem.exit_code


def _complete(instruction: str) -> int:
    from click.shell_completion import shell_complete

    return shell_complete(cli, {}, "bertcli", VARIABLE, instruction)


def _leave_stdout() -> None:
    """Flush stdout. Where its reader has closed, redirect it, so that the interpreter does not fail at exit."""
    console.release_stdout()
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def explained(error: Exception) -> BertcliError:
    """The error as a BertcliError that says what is wrong and what to do. One that no user can cause is a bug."""
    from bertcli.engines.memory import ran_out

    match error:
        case BertcliError():
            return error
        case click.ClickException():
            return _explained_usage(error)
        case OSError():
            return _explained_system(error)
        case _ if type(error).__name__ == "OutOfMemoryError":  # torch's, without importing torch for it
            return EngineError("the device is out of memory", hint=MEMORY_HINT)
        case _ if ran_out(error):
            return EngineError("out of memory", hint=MEMORY_HINT)
        case RuntimeError() if "can't start new thread" in str(error):
            return EngineError(
                "cannot start a thread", hint="`ulimit -u` and `ulimit -v` limit threads and their memory"
            )
        case ImportError() if any(sign in str(error) for sign in LIBRARY_MEMORY_ERRORS):
            return EngineError(
                f"no memory to load a library: {one_line(error)}", hint="`ulimit -v` limits it"
            )
        case ImportError() if not (error.name or "bertcli").startswith("bertcli"):
            return EngineError(f"cannot import {error.name}: {one_line(error)}", hint="install bertcli again")
    return BertcliError(
        f"this is a bug in bertcli: {type(error).__name__}: {one_line(error)}".rstrip(": "),
        hint="`bertcli --debug …` shows where it happened; please report it",
    )


def _explained_usage(error: click.ClickException) -> UsageError:
    context = getattr(error, "ctx", None)
    hint = f"`{context.command_path} --help` explains" if context else None
    match error:
        case click.NoSuchOption(option_name="--force"):
            return UsageError("no such option: --force", hint=settings.INSTEAD_OF_FORCE)
        case click.NoSuchOption():
            near = error.possibilities
            message = f"no such option: {error.option_name}"
            return UsageError(message, hint=f"did you mean {near[0]}?" if near else hint)
        case click.MissingParameter() if error.param is not None:
            message = f"missing {called(error.param)}"
            if isinstance(error.param.type, click.Choice):
                message += f": one of {', '.join(error.param.type.choices)}"
        case click.BadParameter() if error.param is not None:
            message = f"{called(error.param)}: {error.message}"
        case _:
            message = error.format_message()
    if not message[:2].isupper():  # the name of an argument, such as FILES
        message = message[0].lower() + message[1:]
    return UsageError(message.rstrip("."), hint=hint)


def _explained_system(error: OSError) -> BertcliError:
    hints = {
        errno.ENOSPC: "free some space, or write elsewhere",
        errno.EDQUOT: "free some space, or write elsewhere",
        errno.EMFILE: "`ulimit -n` says how many files may be open at once",
        errno.ENOMEM: MEMORY_HINT,
    }
    reason = error.strerror or one_line(error) or type(error).__name__
    where = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else None
    return BertcliError(reason[0].lower() + reason[1:], where=where, hint=hints.get(error.errno or 0))
