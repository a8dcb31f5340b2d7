"""The click command that every subcommand is: settings bound, options made a request, help under headings.

    @command(requests.Label, examples="$ bertcli label reviews.csv --text-field body")
    @click.option("-k", …)
    @input_options
    @run_options
    def label(request: requests.Label) -> int:
        '''Label each text.'''

Without a request, a command takes its options as keyword arguments. A command returns its exit code; None means 0.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from types import MappingProxyType
from typing import Any

import click
from click.core import ParameterSource

from bertcli.errors import UsageError
from bertcli.options import settings
from bertcli.options.parameters import RareOption, SharedParameter, called, or_list
from bertcli.requests import LabelOptions, Options

HEADINGS = ("Input", "Output", "Training", "Model", "Long texts", "Run")
"""Headings of shared options in the order of the help page; a command's own options come before them."""

COMMON = frozenset(
    {
        *("--text", "--text-field", "--pair-field", "--output", "--format", "--overwrite", "--resume"),
        *("--model", "--long", "--max-errors", "--quiet", "--labels", "--threshold"),
    }
)
"""The shared options that `--help` shows; `--help-all` shows the others, too."""

SHORT_HEADINGS = MappingProxyType({"Model": "Run", "Long texts": "Run"})
"""Headings that `--help` merges, for it shows one option of each."""

SHOW_ALL = "bertcli.show_all"
"""Where the context's `meta` says that the help page lists every option."""

TERM_WIDTH = 25
"""Columns of the option names in a help page; longer ones get a line of their own."""

STRENGTH = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT, ParameterSource.DEFAULT_MAP)


class Command(click.Command):
    """A command whose callback takes a request: each parameter fills the field of its name, whose default it has.
    Where `request` is None, the callback takes the parameters themselves.

    `examples` are lines for the end of the help page, printed as they are.
    """

    def __init__(
        self, *args: Any, request: type[Options] | None = None, examples: str = "", **attributes: Any
    ) -> None:
        context = {"show_default": True, "help_option_names": ["-h", "--help"]}
        super().__init__(*args, **{"context_settings": context, **attributes})
        self.help = self.help or _docstring(self.callback)
        self.examples = inspect.cleandoc(examples)
        self.request = request
        defaults = {} if request is None else {field.name: field.default for field in fields(request)}  # type: ignore[arg-type]
        for param in self.params:
            if param.name in defaults and not param.required:
                param.default = defaults[param.name]
            if param.name == "format" and isinstance(param, click.Option):
                formats = request.formats  # type: ignore[union-attr]  # a request with a format says which it has
                param.type = click.Choice(formats)
                param.help = f"Format of the output: {or_list(formats)}.  {param.help}"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            settings.bind(ctx)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        for param in self.params:
            if isinstance(param, SharedParameter) and param.rival:
                _choose(ctx, param, next(other for other in self.params if other.name == param.rival))
            if isinstance(number := ctx.params.get(param.name or ""), float) and math.isnan(number):
                raise UsageError(f"{called(param)}: nan is not a number", hint="give a number")
            if param.type is click.STRING and isinstance(text := ctx.params.get(param.name or ""), str):
                ctx.params[param.name or ""] = _decoded(text, param)
        if self.request is not None:
            values = dict(ctx.params)
            if values.pop("strict", False):
                values["max_errors"] = 1
            ctx.params = {"request": self.request(**values)}
        return super().invoke(ctx)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), HELP_ALL]

    def format_arguments(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Nothing: arguments are listed under their headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own = "Options" if ctx.command.name is None else ctx.command.name.capitalize()
        sections: dict[str, list[tuple[str, str]]] = {heading: [] for heading in (own, *HEADINGS)}
        hidden = 0
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None or not record[1]:  # an argument that the text above explains
                continue
            if not ctx.meta.get(SHOW_ALL) and _is_for_few(param):
                hidden += 1
                continue
            if param is HELP_ALL and not ctx.meta.get(SHOW_ALL):
                record = (record[0], f"Show {hidden} more options and exit.")
            if "--help" in param.opts or param is HELP_ALL:
                last = next((h for h in reversed(sections) if sections[h]), own)
                sections[last].append(record)
            else:
                heading = getattr(param, "heading", own)
                if not ctx.meta.get(SHOW_ALL):
                    heading = SHORT_HEADINGS.get(heading, heading)
                sections[heading].append(record)
        for heading, records in sections.items():
            _write_section(formatter, heading, records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_examples(formatter, self.examples)


def _show_all(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        ctx.meta[SHOW_ALL] = True
        click.echo(ctx.get_help())
        ctx.exit()


HELP_ALL = click.Option(
    ["--help-all"], is_flag=True, is_eager=True, expose_value=False, callback=_show_all,
    help="Show all options and exit.",
)  # fmt: skip


def _is_for_few(param: click.Parameter) -> bool:
    """Whether `--help` leaves a parameter out. Those of training are all shown."""
    if isinstance(param, RareOption):
        return True
    shared = isinstance(param, SharedParameter) and not isinstance(param, click.Argument)
    return shared and getattr(param, "heading", "") != "Training" and COMMON.isdisjoint(param.opts)


class CommandGroup(click.Group):
    """A group of commands: suggests what a mistyped command was meant to be."""

    command_class = Command

    def __init__(self, *args: Any, examples: str = "", **attributes: Any) -> None:
        context = {"help_option_names": ["-h", "--help"]}
        super().__init__(*args, **{"context_settings": context, **attributes})
        self.help = self.help or _docstring(self.callback)
        self.examples = inspect.cleandoc(examples)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order they were added."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        commands = self.list_commands(ctx)
        if args[0] in commands or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        near = settings.nearest_name(args[0], set(commands))
        hint = f"did you mean '{near}'?" if near else f"the commands are {', '.join(commands)}"
        raise UsageError(f"no such command: {args[0]}", hint=hint)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(self.summaries(ctx))

    def summaries(self, ctx: click.Context) -> list[tuple[str, str]]:
        """The commands with their first sentence in full, which click would cut to a line."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        return [(name, found.get_short_help_str(200)) for name, found in commands if found]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        records = [param.get_help_record(ctx) for param in self.get_params(ctx)]
        _write_section(formatter, "Options", [record for record in records if record is not None])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_examples(formatter, self.examples)


def command(
    request: type[Options] | None = None, *, examples: str, **attributes: Any
) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a Command; its docstring is the help text."""
    return click.command(cls=Command, request=request, examples=examples, **attributes)


def typed() -> dict[str, click.Parameter]:
    """The parameters that the command line itself names, and not a setting, by flag."""
    ctx = click.get_current_context()
    return {
        max(param.opts, key=len): param
        for param in ctx.command.params
        if ctx.get_parameter_source(param.name or "") is ParameterSource.COMMANDLINE
    }


def refuse_options_for_own_labels(options: LabelOptions) -> None:
    """Raise UsageError for options without effect where no labels are named. A setting without effect is ignored."""
    if options.labels is None and options.labels_file is None:
        for flag in ("--multi-label", "--template"):
            if flag in typed():
                raise UsageError(f"{flag} is for labels of your own", hint="name them with --labels")


def command_line(words: Sequence[str], *more: str) -> str:
    """The command line of `words`, with the words `more` among its options, quoted for a shell."""
    place = words.index("--") if "--" in words else len(words)  # all words behind it are files
    return " ".join(map(shell_quoted, ["bertcli", *words[:place], *more, *words[place:]]))


def shell_quoted(word: str) -> str:
    """The word, quoted for a shell. Characters that a terminal does not show are escaped as in bash: `$'a\\nb'`."""
    import shlex

    if word.isprintable():
        return shlex.quote(word)
    escaped = "".join(
        character if character.isprintable() and character not in "\\'" else _escaped(character)
        for character in word
    )
    return f"$'{escaped}'"


def _escaped(character: str) -> str:
    if character in "\\'":
        return "\\" + character
    data = character.encode(
        "utf-8", "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"
    )
    return "".join(f"\\x{byte:02x}" for byte in data)


def _choose(ctx: click.Context, first: click.Parameter, second: click.Parameter) -> None:
    """Of two options that cannot be given together, keep the one from the stronger source."""
    one, other = _strength(ctx, first), _strength(ctx, second)
    if one is None or other is None:
        return
    if one == other:
        raise UsageError(
            f"{first.opts[-1]} and {second.opts[-1]} cannot go together", hint="leave one of them out"
        )
    weaker = first if one > other else second
    ctx.params[weaker.name] = weaker.default


def _decoded(text: str, param: click.Parameter) -> str:
    """An argument decoded as UTF-8, in every locale. Paths keep their bytes."""
    try:
        return text.encode("utf-8", "surrogateescape").decode()
    except UnicodeError:
        raise UsageError(
            f"{called(param)}: this is not UTF-8 text",
            hint="check the encoding of the terminal or script it comes from",
        ) from None


def _strength(ctx: click.Context, param: click.Parameter) -> int | None:
    """Where the parameter got its value, 0 the strongest; None for its default."""
    source = ctx.get_parameter_source(param.name)
    return STRENGTH.index(source) if source in STRENGTH and ctx.params[param.name] else None


def _docstring(callback: Callable[..., Any] | None) -> str | None:
    """The docstring of a function that `python -OO` has stripped of it, from its source."""
    if callback is None or callback.__doc__ is not None:
        return None
    import ast
    import textwrap

    tree = ast.parse(textwrap.dedent(inspect.getsource(callback)))
    found = tree.body[0]
    return ast.get_docstring(found) if isinstance(found, ast.FunctionDef) else None


def _write_section(formatter: click.HelpFormatter, heading: str, records: list[tuple[str, str]]) -> None:
    if not records:
        return
    # Long names are aligned, with or without a short one before them.
    terms = [f"    {term}" if term.startswith("--") else term for term, _ in records]
    with formatter.section(heading):
        formatter.write_dl(
            [(term.ljust(TERM_WIDTH), text) for term, (_, text) in zip(terms, records, strict=True)],
            col_max=TERM_WIDTH,
        )


def _write_examples(formatter: click.HelpFormatter, examples: str) -> None:
    if examples:
        with formatter.section("Examples"):
            formatter.write("".join(f"  {line}".rstrip() + "\n" for line in examples.splitlines()))
