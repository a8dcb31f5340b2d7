"""`bertcli train translate`: an encoder-decoder from pairs of texts."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import click

from bertcli import console
from bertcli.command import command
from bertcli.errors import UsageError
from bertcli.options import labelled_input_options, recipe_options
from bertcli.parameters import whole_number
from bertcli.requests import InputOptions, TrainOptions

MOST_HELD_OUT = 1000  # pairs, without --dev


@command(
    name="translate",
    examples="""
    $ bertcli train translate pairs.jsonl -o en-de
    $ bertcli train translate a.csv --text-field de --target-field en -o de-en
    """,
)
@click.option("--target-field", metavar="NAME", default="target", help="Field that holds the translation.")
@click.option(
    "--size",
    type=click.Choice(["tiny", "small", "base"]),
    default="tiny",
    help="tiny for some ten thousand pairs, small for some hundred thousand, base (the paper's) for millions.",
)
@click.option(
    "--vocab-size",
    metavar="N",
    type=whole_number(300, 1 << 18),
    default=8000,
    help="Word pieces of both languages.",
)
@click.option(
    "--dev",
    metavar="FILE",
    type=click.Path(),
    help="Pairs to measure with. Default: up to 1000 of the others.",
)
@click.option(
    "--epochs", metavar="N", type=whole_number(1), default=100, help="The most times each pair is seen."
)
@click.option(
    "--learning-rate",
    metavar="X",
    type=click.FloatRange(0, min_open=True),
    show_default="5e-3 (tiny), 1.5e-3 (small), 7e-4 (base)",
    help="The highest learning rate.",
)
@click.option(
    "--batch-tokens",
    metavar="N",
    type=whole_number(16),
    default=4096,
    help="Target tokens of a training step.",
)
@click.option("--seed", metavar="N", type=whole_number(0), default=7, help="Seed of everything random.")
@labelled_input_options
@recipe_options
def train_translate(
    *,
    target_field: str,
    size: str,
    vocab_size: int,
    dev: str | None,
    epochs: int,
    learning_rate: float | None,
    batch_tokens: int,
    seed: int,
    inputs: InputOptions,
    training: TrainOptions,
) -> int:  # fmt: skip
    """Train a Transformer to translate, from nothing but pairs of texts.

    Encoder, decoder, training and averaging are those of "Attention Is All You Need"; the vocabulary is made of the
    pairs. The result is a directory in Marian's layout: `bertcli translate -m DIR` and transformers read it.
    """
    from bertcli.commands.train import INTERRUPTED, configure, target_directory, typed_arguments
    from bertcli.runs.preflight import refuse_pairs
    from bertcli.training.reading import read_pairs

    refuse_pairs(inputs.pair_field, "`train translate`")
    configure(training)
    inputs = replace(inputs, bare_texts=False)
    if not inputs.files:
        raise UsageError("there is nothing to train on", hint="name a file of pairs")
    with target_directory(training) as target:
        console.say(f"reading {', '.join(map(console.visible, inputs.files))}")
        pairs = read_pairs(inputs, target_field)
        if dev is not None:
            held_out = read_pairs(replace(inputs, files=(dev,)), target_field)
        else:
            random.Random(seed).shuffle(pairs)
            count = min(MOST_HELD_OUT, len(pairs) // 10)
            held_out, pairs = pairs[:count], pairs[count:]
        console.say(f"{len(pairs)} pairs to train on, {len(held_out) or 'none'} held out; loading torch")
        from bertcli.training.translate import Request, TranslationTrainer, card_of

        request = Request(
            size=size,
            vocabulary=vocab_size,
            seed=seed,
            epochs=epochs,
            learning_rate=learning_rate,
            batch_tokens=batch_tokens,
            device=training.device,
            threads=training.threads,
        )
        with console.StepBar() as bar:
            trainer = TranslationTrainer(request, pairs, held_out, target.part, bar.tell)
            if trainer.left_out:
                console.warn(f"{trainer.left_out} pairs are left out: they are longer than the model")
            progress = trainer.run(resume=training.resume)
            loss = trainer.measure() if held_out else None
        names = [Path(name).name for name in inputs.files]
        trainer.write(target, card_of(trainer, ["train", *typed_arguments()], names, loss))
    measured = "" if loss is None else f": held-out loss {loss:.4g} nats per token"
    console.say(f"{training.output}: {progress.step} steps{measured}")
    if progress.interrupted:
        console.say(f"interrupted: --resume continues from {training.output}.part")
        return INTERRUPTED
    return 0
