"""`bertcli evaluate`: how good a model is on a file that holds the right answers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bertcli.command import Command, Group, refuse_options_for_own_labels
from bertcli.commands.evaluate_translate import evaluate_translate
from bertcli.options import (
    input_options,
    judging_options,
    labelled_input_options,
    labels_options,
    long_options,
    model_options,
    pooling_option,
    prompt_name_option,
    run_options,
)
from bertcli.parameters import whole_number
from bertcli.requests import (
    InputOptions,
    Label,
    LabelOptions,
    LongOptions,
    ModelOptions,
    RunOptions,
    options_of,
)
from bertcli.runs.evaluate import Evaluation, LabelEvaluation, first_input
from bertcli.runs.evaluate import evaluate as run_evaluation
from bertcli.runs.preflight import OpenModel, refuse_pairs

if TYPE_CHECKING:
    from collections.abc import Callable

    from bertcli.evaluation import Measurement
    from bertcli.models.pooling import Mode
    from bertcli.sources import Source
    from bertcli.tasks.tag import Aggregation

PAIR_FIELD = "text_pair"


def count_or_file(text: str | int) -> int | str:
    """A click type: a number from 1 on, or else the path of a file."""
    return whole_number(1)(text) if isinstance(text, int) or text.lstrip("+-").isdigit() else text


F = TypeVar("F", bound="Callable[..., Any]")


def json_option(callback: F) -> F:
    """--json: hands the command `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="The report as one JSON object.")(callback)


@click.group(cls=Group, subcommand_metavar="COMMAND [ARGS]...")
def evaluate() -> None:
    """Measure a model on a file that holds the right answers."""


evaluate.add_command(evaluate_translate)


@evaluate.command(cls=Command, examples="""
    $ bertcli evaluate label held-out.jsonl -m ./tickets-model
    $ bertcli evaluate label held-out.csv --label-field topic --suspects 20
    $ bertcli evaluate label dev.jsonl -m ./tickets-model --calibrate
    $ bertcli evaluate label dev.jsonl --json | jq .metrics.macro_f1.value
    $ bertcli evaluate label dev.jsonl --labels "praise,complaint"
    """)  # fmt: skip
@click.option("--head", metavar="NAME", help="Which of a model's several label heads.")
@click.option(
    "--label-field",
    metavar="NAME",
    show_default="label; labels where several may hold",
    help="Field that holds the right answer.",
)
@labels_options
@judging_options
@click.option("--calibrate", is_flag=True, help="Store with the model the temperature that fits this file.")
@click.option(
    "--suspects",
    metavar="N|FILE",
    type=count_or_file,
    help="Name the N labels of the file likeliest wrong, or write all of them to FILE (.jsonl, .csv, .tsv).",
)
@click.option(
    "--plot",
    metavar="FILE",
    type=click.Path(),
    help="Write the report to FILE.html, with diagrams of confusion and calibration.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing FILE.")
@json_option
@labelled_input_options
@model_options
@long_options
@run_options
def label(
    *,
    head: str | None,
    label_field: str | None,
    calibrate: bool,
    suspects: int | str | None,
    plot: str | None,
    overwrite: bool,
    as_json: bool,
    labelling: LabelOptions,
    inputs: InputOptions,
    model: ModelOptions,
    long: LongOptions,
    run: RunOptions,
) -> int:  # fmt: skip
    """Measure labels: accuracy, precision, recall, F1, calibration.

    The file has the right answer in a field: `label`, a list `labels` where several may hold, or a number for
    a regression. Intervals are 95 % bootstrap intervals.
    """
    refuse_options_for_own_labels(labelling)
    inputs = replace(inputs, bare_texts=False)
    labels = replace(labelling, head=head)
    request = Label(**options_of(inputs, model, long, labels), all=True)
    label = LabelEvaluation(request, label_field, suspects, calibrate, plot, overwrite)
    return run_evaluation(Evaluation(label.measure, inputs, model, run, as_json, label.finish))


@evaluate.command(cls=Command, examples="""
    $ bertcli evaluate tag held-out.conll -m MODEL
    $ bertcli evaluate tag dev.jsonl --head pos --json | jq .metrics.accuracy
    """)  # fmt: skip
@click.option("--head", metavar="NAME", help="Which of a model's several tag heads.")
@click.option(
    "--tag-field",
    metavar="NAME",
    show_default="tags, else spans",
    help="Field that holds a tag for each word, or spans of the text.",
)
@click.option(
    "--aggregation",
    metavar="HOW",
    type=click.Choice(["first", "average", "max"]),
    default="first",
    help="How a word of several pieces gets its tag: first, average or max.",
)
@json_option
@labelled_input_options
@model_options
@long_options
@run_options
def tag(
    *,
    head: str | None,
    tag_field: str | None,
    aggregation: Aggregation,
    as_json: bool,
    inputs: InputOptions,
    model: ModelOptions,
    long: LongOptions,
    run: RunOptions,
) -> int:  # fmt: skip
    """Measure tags: precision, recall and F1 of whole entities.

    The file is CoNLL, or has the lists `words` and `tags` in its records, or a text and its `spans`, as `tag`
    writes them. An entity is right when its type
    and its words are, as in seqeval. Of parts of speech, every word counts.
    """
    refuse_pairs(inputs.pair_field, "`evaluate tag`")

    def measure(opened: OpenModel, source: Source) -> Measurement:
        from bertcli.evaluation.gold import TAG_FIELDS, gold_field
        from bertcli.evaluation.tags import TagAnswers
        from bertcli.tasks.tag import Tag
        from bertcli.tasks.tagset import Tagset

        chosen = opened.checkpoint.head("tag", head)
        opened.check("tag", chosen)
        fields = TAG_FIELDS if tag_field is None else ()
        field = gold_field(
            source.field_names, tag_field, *fields, option="--tag-field", where=first_input(inputs)
        )
        task = Tag(opened.checkpoint, opened.tokenizer, chosen, long, aggregation=aggregation, shape="words")
        return TagAnswers(task, Tagset(chosen.labels), field, facts={"head": chosen.name})

    inputs = replace(inputs, split_words=True, bare_texts=False)
    return run_evaluation(Evaluation(measure, inputs, model, run, as_json))


@evaluate.command(cls=Command, examples="""
    $ bertcli evaluate fill held-out.txt -m MODEL
    $ bertcli evaluate fill articles.jsonl.gz --limit 500 --max-length 128
    """)  # fmt: skip
@click.option(
    "--share",
    metavar="P",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.15,
    help="Share of each text's word pieces to hide, at least one.",
)
@click.option("--together", is_flag=True, help="Hide them all at once, as in training: harder and faster.")
@click.option("--seed", metavar="N", type=whole_number(0), default=0, help="Which pieces are drawn.")
@json_option
@input_options
@model_options
@long_options
@run_options
def fill(
    *,
    share: float,
    together: bool,
    seed: int,
    as_json: bool,
    inputs: InputOptions,
    model: ModelOptions,
    long: LongOptions,
    run: RunOptions,
) -> int:  # fmt: skip
    """Measure masked words: accuracy and perplexity on plain text.

    Draws word pieces of each text, hides them one at a time with the rest of the text to see, and looks
    whether the model finds them in its whole vocabulary.
    """
    refuse_pairs(inputs.pair_field, "`evaluate fill`")

    def measure(opened: OpenModel, source: Source) -> Measurement:
        from bertcli.evaluation.masked_words import MaskedWordAnswers, MaskedWords

        head = opened.checkpoint.head("fill")
        opened.check("fill", head)
        task = MaskedWords(
            opened.checkpoint, opened.tokenizer, head, long, share=share, together=together, seed=seed
        )
        masking = f"{share:.3g} of the pieces hidden {'together' if together else 'one at a time'}"
        return MaskedWordAnswers(task, facts={"masking": masking, "seed": seed})

    return run_evaluation(Evaluation(measure, inputs, model, run, as_json))


@evaluate.command(cls=Command, examples="""
    $ bertcli evaluate embed stsb.jsonl -m MODEL
    $ bertcli evaluate embed pairs.csv --text-field a --pair-field b
    """)  # fmt: skip
@click.option("--score-field", metavar="NAME", default="score", help="Field that says how alike a pair is.")
@pooling_option
@prompt_name_option
@json_option
@labelled_input_options
@model_options
@long_options
@run_options
def embed(
    *,
    score_field: str,
    pooling: Mode | None,
    prompt_name: str | None,
    as_json: bool,
    inputs: InputOptions,
    model: ModelOptions,
    long: LongOptions,
    run: RunOptions,
) -> int:  # fmt: skip
    """Measure embeddings: the order of scored pairs.

    The file has two texts in each record (`text` and `text_pair`) and a `score` of how alike they are; the
    cosine of their embeddings is compared with it, by Spearman's and Pearson's correlation.
    """

    def measure(opened: OpenModel, source: Source) -> Measurement:
        from bertcli.evaluation.gold import gold_field
        from bertcli.evaluation.numbers import NumberAnswers
        from bertcli.evaluation.similarity import SimilarityPairs

        opened.check("embed", pooling=pooling)
        field = gold_field(source.field_names, score_field, option="--score-field", where=first_input(inputs))
        task = SimilarityPairs(
            opened.checkpoint, opened.tokenizer, long, pooling=pooling, prompt_name=prompt_name
        )
        facts = {"pooling": f"{pooling or opened.checkpoint.pooling.mode} pooling"}
        return NumberAnswers(task, "cosine", field, errors=False, facts=facts)

    inputs = replace(inputs, pair_field=inputs.pair_field or PAIR_FIELD, bare_texts=False)
    return run_evaluation(Evaluation(measure, inputs, model, run, as_json))
