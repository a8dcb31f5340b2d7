"""Click parameters that several commands share, and the types of their values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, get_args

import click

F = TypeVar("F", bound=Callable[..., Any])


class SharedParameter(click.Parameter):
    """A click parameter that several commands have.

    `heading` is where the help page lists it. `rival` is the parameter that cannot be given at the same time.
    `general` is the name by which settings for all commands reach the option, where a command's own option may have
    taken its usual name; `settable` is False for what belongs to one run only and has no place in settings.
    """

    heading: str
    rival: str | None
    general: str | None
    settable: bool

    def __init__(
        self,
        *decls: Any,
        heading: str,
        rival: str | None = None,
        general: str | None = None,
        settable: bool = True,
        **attributes: Any,
    ) -> None:
        super().__init__(*decls, **attributes)
        self.heading = heading
        self.rival, self.general, self.settable = rival, general, settable


class SharedOption(SharedParameter, click.Option):
    """An option that several commands have."""


class SharedArgument(SharedParameter, click.Argument):
    """A positional argument that several commands have; `about` is its line in the help page."""

    def __init__(self, *decls: Any, about: str, **attributes: Any) -> None:
        super().__init__(*decls, settable=False, **attributes)
        self.about = about

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        return f"{(self.name or '').upper()}...", self.about


class RareOption(click.Option):
    """An option of one command that only `--help-all` shows."""


def called(param: click.Parameter) -> str:
    """What users know a parameter by: `-o/--output`, or `QUERY`."""
    return "/".join(param.opts) if isinstance(param, click.Option) else param.human_readable_name.upper()


class OptionSection:
    """Makes the shared options that the help page lists under `heading`."""

    def __init__(self, heading: str) -> None:
        self.heading = heading

    def option(self, field: str, *names: str, unset: str = "", **attributes: Any) -> Callable[[F], F]:
        """The option that fills `field` of a request. `unset` says in the help page what holds without the option,
        where the default itself does not say it."""
        if unset:
            attributes |= {"help": f"{attributes['help']}  [default: {unset}]", "show_default": False}
        return click.option(*names, field, cls=SharedOption, heading=self.heading, **attributes)

    def flag(self, field: str, *names: str, **attributes: Any) -> Callable[[F], F]:
        """An option without a value."""
        return self.option(field, *names, is_flag=True, **attributes)

    def choice(self, field: str, kind: Any, *names: str, about: str, **attributes: Any) -> Callable[[F], F]:
        """An option with the values of the Literal `kind`, which the help text lists."""
        values = get_args(kind)
        return self.option(
            field, *names, type=click.Choice(values), help=f"{about}: {or_list(values)}.", **attributes
        )


def or_list(values: Sequence[str]) -> str:
    """`a, b or c`."""
    return f"{', '.join(values[:-1])} or {values[-1]}"


MOST = 10**15
"""More than any count of records, tokens or bytes; larger numbers are slips, and overflow what counts in 64 bits."""


def whole_number(least: int, most: int = MOST) -> Callable[[str | int], int]:
    """A click type: whole numbers from `least` to `most`."""

    def parse(text: str | int) -> int:
        try:
            number = int(text)
        except ValueError:
            raise click.BadParameter(f"'{text}' is not a whole number") from None
        if number < least:
            raise click.BadParameter(f"must be {least} or more, not {number}")
        if number > most:
            raise click.BadParameter(f"must be {most} or less, not {str(number)[:30]}")
        return number

    return parse


def shard(text: str) -> tuple[int, int]:
    """A click type: `I/N`, part I of N, counted from 1."""
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count) <= MOST):
        raise click.BadParameter(f"'{text}' is not I/N, with I from 1 to N")
    return int(index), int(count)


def one_or_more(values: Sequence[str]) -> Callable[[str | Sequence[str]], tuple[str, ...]]:
    """A click type: some of `values` between commas, each once, in the order given."""

    def parse(text: str | Sequence[str]) -> tuple[str, ...]:
        names = [name.strip() for name in text.split(",")] if isinstance(text, str) else text
        for name in names:
            if name not in values:
                raise click.BadParameter(f"'{name}' is not one of {', '.join(values)}")
        return tuple(dict.fromkeys(names))

    return parse


def encoding(name: str) -> str:
    """A click type: an encoding that Python knows."""
    import codecs

    try:
        codecs.lookup(name)
    except LookupError:
        raise click.BadParameter(
            f"'{name}' is not an encoding Python knows (utf-8, latin-1, cp1252, utf-16 …)"
        ) from None
    return name


def delimiter(text: str) -> str:
    """A click type: one character that may separate cells; a tab may be written as `tab` or `\\t`."""
    character = "\t" if text in ("tab", "\\t") else text
    if len(character) != 1 or character in '"\r\n\\ ' or (not character.isprintable() and character != "\t"):
        raise click.BadParameter(f"'{text}' is not one character, such as ; or | or tab")
    return character


def cluster(name: str) -> str:
    """A click type: ray, auto, or ray://HOST:PORT."""
    host, colon, port = name.removeprefix("ray://").rpartition(":")
    if name not in ("ray", "auto") and not (
        name.startswith("ray://") and host and colon and port.isdecimal() and int(port) < 1 << 16
    ):
        raise click.BadParameter(f"'{name}' is not one of ray, auto, ray://HOST:PORT")
    return name


def device(name: str) -> str:
    """A click type: auto, cpu, cuda, cuda:N or mps; whether this machine has it is for the engine to say."""
    kind, colon, number = name.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (colon and not (kind == "cuda" and number.isdecimal())):
        raise click.BadParameter(f"'{name}' is not one of auto, cpu, cuda, cuda:N, mps")
    return name


def devices(name: str) -> str:
    """A click type: a `device`, or several GPUs as cuda:N,cuda:N…, each once."""
    several = name.split(",")
    if len(several) == 1:
        return device(name)
    for one in several:
        if not one.startswith("cuda:") or several.count(one) > 1:
            raise click.BadParameter(f"'{name}' is not a list of different GPUs, such as cuda:0,cuda:1")
        device(one)
    return name
