"""`bertcli train translate`: an encoder-decoder from pairs of texts."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

import click

from bertcli import console, requests
from bertcli.errors import UsageError
from bertcli.options import labelled_input_options, language_options, recipe_options
from bertcli.options.command import command
from bertcli.options.parameters import RareOption, whole_number

MOST_HELD_OUT = 1000  # pairs, without --dev


@command(
    requests.TrainTranslate,
    name="translate",
    examples="""
    $ bertcli train translate pairs.jsonl -o en-de
    $ bertcli train translate a.csv --text-field de --target-field en -o de-en
    $ bertcli train translate pairs.jsonl --base opus-mt-en-de --epochs 3 -o ours
    """,
)
@click.option("--target-field", metavar="NAME", help="Field with the translation.")
@click.option(
    "--size",
    type=click.Choice(["tiny", "small", "base"]),
    help="tiny for some ten thousand pairs, small for some hundred thousand, base (the paper's) for millions.",
)
@click.option(
    "--base",
    metavar="MODEL",
    help="A translation model to train further, instead of one from nothing.",
)
@language_options(RareOption)
@click.option(
    "--vocab-size",
    metavar="N",
    type=whole_number(300, 1 << 18),
    help="Word pieces of both languages.",
)
@click.option(
    "--dev",
    metavar="FILE",
    type=click.Path(),
    help="Pairs to measure with. Default: up to 1000 of the others.",
)
@click.option("--epochs", metavar="N", type=whole_number(1), help="The most times each pair is seen.")
@click.option(
    "--learning-rate",
    metavar="X",
    type=click.FloatRange(0, min_open=True),
    show_default="5e-3 (tiny), 1.5e-3 (small), 7e-4 (base), 1e-4 (--base)",
    help="The highest learning rate.",
)
@click.option(
    "--batch-tokens",
    metavar="N",
    type=whole_number(16),
    help="Target tokens of a training step.",
)
@click.option("--seed", metavar="N", type=whole_number(0), help="Seed of everything random.")
@labelled_input_options
@recipe_options
def train_translate(request: requests.TrainTranslate) -> int:
    """Train a Transformer to translate, from nothing but pairs of texts, or a model further.

    Encoder, decoder, training and averaging are those of "Attention Is All You Need"; the vocabulary is made of the
    pairs. The result is a directory in Marian's layout: `bertcli translate -m DIR` and transformers read it.
    """
    from bertcli.commands.train import (
        begin_training,
        interrupted,
        is_trained,
        target_directory,
        typed_arguments,
    )
    from bertcli.training.reading import read_pairs

    begin_training(request)
    if is_trained(request, *request.files, request.dev):
        return 0
    if not request.files:
        raise UsageError("there is nothing to train on", hint="name a file of pairs")
    with target_directory(request) as target:
        console.say(f"reading {', '.join(map(console.visible, request.files))}")
        pairs = read_pairs(request, request.target_field)
        if request.dev is not None:
            held_out = read_pairs(replace(request, files=(request.dev,)), request.target_field)
        else:
            random.Random(request.seed).shuffle(pairs)
            count = min(MOST_HELD_OUT, len(pairs) // 10)
            held_out, pairs = pairs[:count], pairs[count:]
        console.say(f"{len(pairs)} pairs to train on, {len(held_out) or 'none'} held out; loading torch")
        from bertcli.training.translate import train_translation

        def on_validation(figures: Mapping[str, float]) -> None:
            loss = f": held-out loss {figures['loss']:.4g} nats per token" if "loss" in figures else ""
            if loss or figures["epoch"]:
                console.say(f"epoch {figures['epoch']} of {request.epochs}{loss}")

        with console.StepBar() as bar:
            outcome = train_translation(
                request, pairs, held_out, target, typed_arguments(), bar.show_step, on_validation
            )
    loss = outcome.figures.get("loss")
    measured = "" if loss is None else f": held-out loss {loss:.4g} nats per token"
    console.say(f"{request.output}: {outcome.step} steps{measured}")
    return interrupted(request) if outcome.interrupted else 0
