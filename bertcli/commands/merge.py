"""`bertcli merge`: the outputs of all shards as one file."""

from __future__ import annotations

import click

from bertcli import console
from bertcli.options.command import command
from bertcli.requests import OutputOptions


@command(
    examples="""
    $ bertcli label all.jsonl --shard 1/2 -o part1.jsonl
    $ bertcli label all.jsonl --shard 2/2 -o part2.jsonl
    $ bertcli merge part1.jsonl part2.jsonl -o labelled.jsonl
    """
)
@click.argument("outputs", metavar="OUT...", nargs=-1, required=True, type=click.Path(readable=False))
@click.option(
    "-o", "--output", metavar="FILE", required=True, type=click.Path(readable=False),
    help="File to write.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace an existing output file.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only.")
def merge(*, outputs: tuple[str, ...], output: str, overwrite: bool, quiet: bool) -> int:  # fmt: skip
    """Join the outputs of all shards of a run.

    Checks that model, options, input and engine were the same and that no shard is missing or double. Writes
    the file that a run without --shard writes, and the sum of the receipts.
    """
    from bertcli.distributed.merge import merge as join
    from bertcli.distributed.merge import read_receipts
    from bertcli.journal import refuse_input
    from bertcli.runs.resume import differences

    console.configure(quiet=quiet, verbose=False, color="auto")
    refuse_input((output,), console.claim_stdout(), outputs)
    receipts = read_receipts(outputs, differences)
    total = join(receipts, OutputOptions(output=output, overwrite=overwrite))
    console.say(total.line())
    return total.exit_code
