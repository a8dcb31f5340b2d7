"""Commands with every shared option that do what a test tells them, in place of the real ones.

main = fake_cli(monkeypatch, act)      act(name, request) is what a command does; `models info` gives a dict
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import pytest

from bertcli import cli, requests
from bertcli.options import (
    cluster_options,
    embedding_model_options,
    input_options,
    long_options,
    model_options,
    output_options,
    pair_field_option,
    run_options,
    shard_option,
    split_words_option,
)
from bertcli.options.command import CommandGroup, command

Act = Callable[[str, Any], int | None]
_act: Act = lambda name, request: None  # noqa: E731


def fake_cli(monkeypatch: pytest.MonkeyPatch, act: Act) -> Callable[[list[str]], int]:
    """`cli.main` with the commands label, embed and `models info`, which call `act`."""
    monkeypatch.setattr(cli, "COMMANDS", dict.fromkeys(("label", "embed", "models"), "Do it."))
    monkeypatch.setattr(cli, "MODULE", __name__)
    monkeypatch.setitem(globals(), "_act", act)
    return cli.main


@command(requests.Label, examples="$ bertcli label reviews.csv")
@input_options
@pair_field_option
@split_words_option
@shard_option
@output_options
@model_options
@cluster_options
@long_options
@run_options
@click.option("-k", "k", type=int, help="Labels a text.")
@click.option("--labels", metavar="A,B", help="Labels to choose from.")
def label(request: requests.Label) -> int | None:
    """Label each text."""
    return _act("label", request)


@command(requests.Embed, examples="$ bertcli embed docs.txt")
@input_options
@output_options
@embedding_model_options
@run_options
@click.option("--dtype", "output_dtype", type=click.Choice(["float32", "int8"]), help="Dtype written.")
@click.option("--normalize/--no-normalize", help="Unit length.")
def embed(request: requests.Embed) -> int | None:
    """Embed each text."""
    return _act("embed", request)


@click.group(cls=CommandGroup)
def models() -> None:
    """What is on disk."""


@models.command(examples="$ bertcli models info ./model")
@click.option("--plain", is_flag=True, help="Go on.")
def info(**arguments: Any) -> int | None:
    """Say what a model is."""
    return _act("info", arguments)
