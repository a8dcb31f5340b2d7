"""`bertcli attention`: how much each token of a text looks at each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bertcli.command import command
from bertcli.commands.streaming import Job, refuse_or_warn, stream
from bertcli.errors import UsageError
from bertcli.options import input_options, model_options, output_options, run_options
from bertcli.requests import InputOptions, LongOptions, ModelOptions, OutputOptions, RunOptions

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.tasks.attention import Attention, Which


def which(text: str | int) -> Which:
    """A click type: a layer or head by its number, `mean`, or `all`."""
    if text == "mean":
        return "mean"
    if text == "all":
        return "all"
    try:
        number = int(text)
    except ValueError:
        raise click.BadParameter(f"'{text}' is no number, and neither mean nor all") from None
    if number == 0:
        raise click.BadParameter("they count from 1; -1 is the last")
    return number


@command(
    examples="""
    $ bertcli attention -m MODEL -t "The cat sat on the mat." --layer 2 --head 3
    $ bertcli attention -m MODEL -t "The cat sat on the mat." -o cat.html
    $ bertcli attention -m MODEL -t "The cat sat on the mat." --rollout
    $ bertcli attention pairs.jsonl --pair-field answer -m MODEL | jq .attention
    """
)
@click.option(
    "--layer", metavar="N", type=which, default="-1", help="A layer from 1 (-1 is the last), mean or all."
)
@click.option(
    "--head",
    metavar="N",
    type=which,
    default=None,
    show_default="mean",
    help="A head from 1, mean or all.",
)
@click.option("--rollout", is_flag=True, help="What the layers up to --layer do together, instead of a head.")
@click.option(
    "--show",
    metavar="WHAT",
    type=click.Choice(["weights", "qkv"]),
    default="weights",
    help="weights, or qkv: also the queries, keys and values behind them.",
)
@click.option("--truncate", is_flag=True, help="Cut a text that is longer than the model takes.")
@input_options
@output_options
@model_options
@run_options
def attention(
    *,
    layer: Which,
    head: Which | None,
    rollout: bool,
    show: str,
    truncate: bool,
    inputs: InputOptions,
    outputs: OutputOptions,
    model: ModelOptions,
    run: RunOptions,
) -> int:  # fmt: skip
    """Show how much each token of a text looks at each other.

    Adds the `tokens` of each text (or pair) and their `attention`, softmax(QKᵀ/√d): a row a token, a column
    for each it looks at, summing to 1. On a terminal it is a heat map; `-o page.html` makes a page with all
    layers and heads to choose from, which needs no network.
    """
    whole = _is_page(outputs)
    _refuse_contradictions(layer, head, rollout, show, whole)

    def task(checkpoint: Checkpoint, tokenizer: Tokenizer) -> Attention:
        from bertcli.tasks.attention import Attention

        refuse_or_warn(checkpoint, "attention", unsafe=model.unsafe_model)
        return Attention(
            checkpoint,
            tokenizer,
            LongOptions(long="truncate" if truncate else "error"),
            layer=layer,
            head=head or "mean",
            rollout=rollout,
            parts=show == "qkv",
            whole=whole,
        )

    return stream(Job("attention", task, inputs, outputs, model, run, tells_attention=True))


def _is_page(outputs: OutputOptions) -> bool:
    from bertcli.console import Terminal
    from bertcli.sinks.formats import choose_format

    return choose_format(outputs, Terminal())[0] == "html"


def _refuse_contradictions(layer: Which, head: Which | None, rollout: bool, show: str, whole: bool) -> None:
    """Raise UsageError for options that cannot be meant together."""
    if rollout and head is not None:
        raise UsageError("--rollout and --head cannot go together", hint="a rollout is of all heads at once")
    if rollout and layer == "mean":
        raise UsageError("--rollout has no mean over layers", hint="name the --layer that it goes up to")
    if show == "qkv" and rollout:
        raise UsageError("a rollout has no queries, keys and values", hint="leave out --rollout or --show")
    if show == "qkv" and not whole and (head in (None, "mean") or layer == "mean"):
        raise UsageError(
            "every head has queries, keys and values of its own",
            hint="name one with --head (and --layer), or all",
        )
