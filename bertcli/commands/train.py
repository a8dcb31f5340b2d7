"""`bertcli train`: one head from labelled examples, or several at once from a recipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bertcli import console, requests
from bertcli.commands.train_translate import train_translate
from bertcli.errors import UsageError
from bertcli.options import (
    input_options,
    labelled_input_options,
    labelled_query_input_options,
    labelled_question_input_options,
    pair_field_option,
    recipe_options,
    train_options,
)
from bertcli.options.command import CommandGroup
from bertcli.options.parameters import whole_number

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Kind as HeadKind
    from bertcli.training.dataset import Example, Split
    from bertcli.training.run import Kind
    from bertcli.training.saving import Target

INTERRUPTED = 130
TYPED = "bertcli.train.typed"
"""Where the context's `meta` keeps the arguments as they were typed, for the model card."""


class TrainGroup(CommandGroup):
    """`train RECIPE.yaml` is `train recipe RECIPE.yaml`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        ctx.meta[TYPED] = list(args)
        if args[0].endswith((".yaml", ".yml")):
            args = ["recipe", *args]
        return super().resolve_command(ctx, args)


head_option = click.option(
    "--head",
    metavar="NAME",
    help="Start from this head of the base, which must have all labels of the data.",
)


@click.group(cls=TrainGroup, subcommand_metavar="COMMAND [ARGS]...")
def train() -> None:
    """Train a model of your own, from a file or from a recipe.

    The result is a Hugging Face directory: `bertcli -m DIR` uses it, and so does plain transformers. `train
    RECIPE.yaml -o DIR` is short for `train recipe RECIPE.yaml -o DIR`.
    """


@train.command(request=requests.TrainLabel, examples="""
    $ bertcli train label tickets.csv --text-field body --label-field team -o mine
    $ bertcli train label pairs.jsonl --pair-field other -o pairs --dev dev.jsonl
    """)  # fmt: skip
@click.option("--label-field", metavar="NAME", help="Field with the label, the labels or the number.")
@head_option
@labelled_input_options
@pair_field_option
@train_options
def label(request: requests.TrainLabel) -> int:
    """Train a model that labels texts.

    The classes are those of the file. Lists of labels train a multi-label model, numbers a regression. A handful
    of examples a class is enough to begin with.
    """
    from bertcli.training.reading import read_labelled

    return _learn("label", request, lambda files: read_labelled(files, request.label_field))


@train.command(request=requests.TrainTag, examples="""
    $ bertcli train tag entities.conll -o ./entities
    """)  # fmt: skip
@head_option
@labelled_input_options
@train_options
def tag(request: requests.TrainTag) -> int:
    """Train a model that tags words, from CoNLL columns or records with words and tags."""
    from bertcli.training.reading import read_tagged

    return _learn("tag", request, read_tagged)


@train.command(request=requests.TrainFill, examples="""
    $ bertcli train fill notes/*.txt -o ./my-words
    """)  # fmt: skip
@input_options
@train_options
def fill(request: requests.TrainFill) -> int:
    """Train masked-word prediction on your own texts."""
    from bertcli.training.reading import read_plain

    return _learn("fill", request, read_plain)


train.add_command(train_translate)


@train.command(request=requests.TrainAnswer, examples="""
    $ bertcli train answer squad.jsonl --context-field context -o ./answers
    """)  # fmt: skip
@labelled_question_input_options
@train_options
def answer(request: requests.TrainAnswer) -> int:
    """Train a model that finds the answer to a question in a text.

    Records are those of SQuAD: a context, a `question`, and `answers` with the lists `text` and `answer_start`, which
    are empty where the context has no answer.
    """
    from bertcli.training.reading import read_questions

    return _learn("answer", request, read_questions)


@train.command(request=requests.TrainRerank, examples="""
    $ bertcli train rerank judged.jsonl -o ./cross-encoder
    $ bertcli train rerank faq.csv --query-field q --text-field a -o faq
    """)  # fmt: skip
@click.option(
    "--label-field",
    metavar="NAME",
    show_default="relevance, label or score",
    help="Field with the relevance: 0, or a greater number.",
)
@click.option(
    "--negatives",
    metavar="N",
    type=whole_number(1, 100),
    help="Texts of other queries to learn from, for each text.",
)
@labelled_query_input_options
@train_options
def rerank(request: requests.TrainRerank) -> int:
    """Train a cross-encoder: a model that says how relevant a text is to a query.

    Each record has a `query` and a text; a number says how relevant the text is. Where every text is relevant, or
    there is no such field, texts of other queries are the negatives, near ones and random ones. The directory opens in
    CrossEncoder of sentence-transformers with the same answers.
    """
    from bertcli.runs.judged import judged_split

    return _train("rerank", request, lambda checkpoint: judged_split(request))


@train.command(request=requests.TrainRecipe, examples="""
    $ bertcli train recipe.yaml -o ./several
    """)  # fmt: skip
@click.argument("recipe", type=click.Path())
@recipe_options
def recipe(request: requests.TrainRecipe) -> int:
    """Train several heads on one encoder, as RECIPE says.

    The recipe is YAML: a base, a schedule, and heads (`skills`) with their data and weights.
    """
    begin_training(request)
    if is_trained(request, request.recipe):
        return 0
    from bertcli.training.recipe import open_base, read_recipe

    path = Path(request.recipe)
    plan = read_recipe(path)
    base = open_base(plan, path)
    with target_directory(request) as target, console.StepBar() as bar:
        console.say("loading torch and the data")
        from bertcli.training.run import Place, train_recipe

        place = Place(request.device, request.dtype, request.threads)
        outcome = train_recipe(
            plan,
            base,
            path,
            target,
            place,
            typed_arguments(),
            resume=request.resume,
            report=bar.show_step,
            on_validation=_note,
        )
    parts = [f"{request.output}: {outcome.step} steps", _figures(outcome.figures)]
    console.say(": ".join(filter(None, parts)))
    return interrupted(request) if outcome.interrupted else 0


def _learn(
    kind: HeadKind, request: requests.Train, read: Callable[[requests.InputOptions], list[Example]]
) -> int:
    """Train on the examples of the files, of which a share is held out."""
    from bertcli.training.dataset import check_labels, hold_out, share_to_hold_out, starts_from_probe

    def split_of(checkpoint: Checkpoint) -> Split:
        dev = None if request.dev is None else read(replace(request, files=(request.dev,), texts=()))
        examples = read(request)
        if request.head is not None:
            check_labels(checkpoint.head(kind, request.head), examples)
        has_probe = kind == "label" and request.head is None and starts_from_probe(checkpoint)
        share = share_to_hold_out(len(examples), request.dev_fraction, has_probe=has_probe)
        return hold_out(examples, dev, share, request.seed)

    return _train(kind, request, split_of)


def _train(kind: Kind, request: requests.Train, split_of: Callable[[Checkpoint], Split]) -> int:
    """Read, train, write, and report how good the model is."""
    begin_training(request)
    if is_trained(request, *request.files, request.dev):
        return 0
    if not request.files and not request.texts and sys.stdin is not None and sys.stdin.isatty():
        raise UsageError("there is no input", hint="name a file, or pipe one in")
    from bertcli.models.checkpoint import open_checkpoint
    from bertcli.models.library import resolve

    checkpoint = open_checkpoint(resolve(request.model))
    with target_directory(request) as target:
        console.say(f"reading {', '.join(map(console.visible, request.files)) or 'stdin'}")
        split = split_of(checkpoint)
        console.say(f"{len(split.train)} examples to learn from, {len(split.dev) or 'none'} held out")
        console.say(f"loading torch and {checkpoint.name}")
        from bertcli.training.run import HeadTraining, Place, train_objective

        training = HeadTraining(
            kind=kind,
            command=typed_arguments(),
            data=tuple(Path(name).name for name in request.files) or ("stdin",),
            seed=request.seed,
            epochs=request.epochs,
            learning_rate=request.learning_rate,
            batch_tokens=request.batch_tokens,
            max_length=request.max_length,
            place=Place(request.device, request.dtype, request.threads),
            head=request.head,
        )
        with console.StepBar() as bar:
            outcome = train_objective(
                training,
                checkpoint,
                split,
                target,
                resume=request.resume,
                report=bar.show_step,
                on_validation=_note,
                say=console.say,
            )
    by = "" if split.dev else "cross-validated on halves: "
    console.say(f"{request.output}: {by}{_figures(outcome.figures)}")
    return interrupted(request) if outcome.interrupted else 0


def begin_training(request: requests.TrainOptions) -> None:
    console.configure(quiet=request.quiet, verbose=request.verbose)
    console.claim_stdout()
    console.quiet_libraries(verbose=False)
    console.release()
    # Threads that spin while they wait for each other starve each other where others compute too.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if request.overwrite and request.resume:
        raise UsageError("--overwrite and --resume cannot go together")


def is_trained(request: requests.TrainOptions, *inputs: str | None) -> bool:
    """Whether --resume finds the model complete; says so. Raises OutputError when one of the inputs is newer."""
    if not request.resume:
        return False
    from bertcli.runs.resume import say_complete
    from bertcli.training.saving import is_complete

    if not is_complete(Path(request.output)):
        return False
    say_complete(request.output, [name for name in inputs if name is not None])
    return True


@contextmanager
def target_directory(request: requests.TrainOptions) -> Iterator[Target]:
    """The directory to make, which leaves no trace of a run that failed."""
    from bertcli.training.saving import Target

    target = Target(Path(request.output), overwrite=request.overwrite, resume=request.resume)
    try:
        yield target
    except KeyboardInterrupt:
        if target.holds_state:
            console.say(f"interrupted: --resume continues from {target.part}")
        else:
            console.say("interrupted before there was anything to keep: nothing is written")
        raise
    finally:
        target.abandon()


def _note(figures: Mapping[str, float]) -> None:
    """Report a validation, with --verbose."""
    console.note(_figures(figures))


def interrupted(request: requests.TrainOptions) -> int:
    console.say(
        f"interrupted: {request.output} is the best so far, and --resume continues from {request.output}.part"
    )
    return INTERRUPTED


def _figures(figures: Mapping[str, float]) -> str:
    return " · ".join(f"{name.replace('_', ' ')} {value:.6g}" for name, value in figures.items())


def typed_arguments() -> list[str]:
    """The command line behind `bertcli`, for the model card."""
    typed: list[str] = click.get_current_context().meta[TYPED]
    return ["train", *typed]
