"""`bertcli evaluate`: how good a model is on a file with the right answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from bertcli import console, requests
from bertcli.options import (
    input_options,
    json_option,
    labelled_input_options,
    labelled_query_input_options,
    labelled_question_input_options,
    labels_options,
    language_options,
    long_options,
    model_options,
    no_answer_option,
    pair_field_option,
    pooling_option,
    prompt_name_option,
    run_options,
    threshold_options,
)
from bertcli.options.command import Command, CommandGroup, refuse_options_for_own_labels
from bertcli.options.parameters import whole_number

if TYPE_CHECKING:
    from bertcli.evaluation.report import Report


def count_or_file(text: str | int) -> int | str:
    """A click type: a number from 1 on, or else the path of a file."""
    return whole_number(1)(text) if isinstance(text, int) or text.lstrip("+-").isdigit() else text


def run_evaluation(request: requests.Evaluate, write_files: Callable[[Report], None] | None = None) -> int:
    """Measure, print the report, and return the exit code. `write_files` writes what else is asked for."""
    console.configure(quiet=request.quiet, verbose=request.verbose)
    console.claim_stdout()
    console.quiet_libraries(verbose=request.verbose)
    from bertcli.reports.evaluation import evaluation_page
    from bertcli.reports.lines import show
    from bertcli.runs.evaluate import evaluate

    report, receipt = evaluate(request)
    if report is not None:
        if write_files is not None:
            write_files(report)
        show([report.row()], "jsonl" if request.json else "table", lambda: evaluation_page(report))
    console.say(receipt.line())
    return receipt.exit_code


@click.group(cls=CommandGroup, subcommand_metavar="COMMAND [ARGS]...")
def evaluate() -> None:
    """Measure a model on a file with the right answers."""


@evaluate.command(cls=Command, request=requests.EvaluateLabel, examples="""
    $ bertcli evaluate label held-out.jsonl -m ./tickets-model
    $ bertcli evaluate label held-out.csv --label-field topic --suspects 20
    $ bertcli evaluate label dev.jsonl -m ./tickets-model --calibrate
    $ bertcli evaluate label checked.jsonl --guarantee 0.05 -o bound.json
    """)  # fmt: skip
@click.option("--head", metavar="NAME", help="Which of a model's several label heads.")
@click.option(
    "--label-field",
    metavar="NAME",
    show_default="label; labels of several",
    help="Field with the right answer.",
)
@labels_options
@threshold_options
@click.option("--calibrate", is_flag=True, help="Store with the model the temperature that fits this file.")
@click.option(
    "--suspects",
    metavar="N|FILE",
    type=count_or_file,
    help="Print the N labels of the file likeliest wrong, or write all to FILE (.jsonl, .csv, .tsv).",
)
@click.option(
    "--plot",
    metavar="FILE",
    type=click.Path(),
    help="Write the report to FILE.html, with diagrams of confusion and calibration.",
)
@click.option(
    "--guarantee",
    metavar="E",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="From a checked `sample`: the score above which labels need no check, for at most a share E wrong.",
)
@click.option(
    "--confidence",
    metavar="P",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="How surely the guarantee holds.",
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(readable=False),
    help="Write the guarantee to FILE, for `label --guarantee`.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing FILE.")
@json_option
@labelled_input_options
@pair_field_option
@model_options
@long_options
@run_options
def label(request: requests.EvaluateLabel) -> int:
    """Measure labels: accuracy, precision, recall, F1, calibration.

    The file has the right answer in a field: `label`, a list `labels` where a text may have several, or a number for
    a regression. Intervals are 95 % bootstrap intervals.
    """
    from bertcli.runs.measurements import write_label_files

    refuse_options_for_own_labels(request)
    return run_evaluation(request, lambda report: write_label_files(request, report))


@evaluate.command(cls=Command, request=requests.EvaluateTag, examples="""
    $ bertcli evaluate tag held-out.conll -m MODEL
    $ bertcli evaluate tag dev.jsonl --head pos --json | jq .metrics.accuracy
    """)  # fmt: skip
@click.option("--head", metavar="NAME", help="Which of a model's several tag heads.")
@click.option(
    "--tag-field",
    metavar="NAME",
    show_default="tags, else spans",
    help="Field with a tag for each word, or spans of the text.",
)
@click.option(
    "--aggregation",
    metavar="HOW",
    type=click.Choice(["first", "average", "max"]),
    help="How a word of several pieces gets its tag: first, average or max.",
)
@json_option
@labelled_input_options
@model_options
@long_options
@run_options
def tag(request: requests.EvaluateTag) -> int:
    """Measure tags: precision, recall and F1 of whole entities.

    The file is CoNLL, or has the lists `words` and `tags` in its records, or a text and its `spans`, as `tag`
    writes them. An entity is right when its type and its words are, as in seqeval. Of parts of speech, every word
    counts.
    """
    return run_evaluation(request)


@evaluate.command(cls=Command, request=requests.EvaluateFill, examples="""
    $ bertcli evaluate fill held-out.txt -m MODEL
    $ bertcli evaluate fill articles.jsonl.gz --limit 500 --max-length 128
    """)  # fmt: skip
@click.option(
    "--share",
    metavar="P",
    type=click.FloatRange(0, 1, min_open=True),
    help="Share of each text's tokens to mask, at least one.",
)
@click.option("--together", is_flag=True, help="Mask them all at once, as in training: faster.")
@click.option("--seed", metavar="N", type=whole_number(0), help="Seed of the choice of tokens.")
@json_option
@input_options
@model_options
@long_options
@run_options
def fill(request: requests.EvaluateFill) -> int:
    """Measure masked words: accuracy and perplexity on plain text.

    Masks random tokens of each text, one at a time, and checks whether the model predicts them from its whole
    vocabulary.
    """
    return run_evaluation(request)


@evaluate.command(cls=Command, request=requests.EvaluateEmbed, examples="""
    $ bertcli evaluate embed stsb.jsonl -m MODEL
    $ bertcli evaluate embed pairs.csv --text-field a --pair-field b
    """)  # fmt: skip
@click.option("--score-field", metavar="NAME", help="Field with the similarity of a pair.")
@pooling_option
@prompt_name_option
@json_option
@labelled_input_options
@pair_field_option
@model_options
@long_options
@run_options
def embed(request: requests.EvaluateEmbed) -> int:
    """Measure embeddings: the order of scored pairs.

    The file has two texts in each record (`text` and `text_pair`) and the `score` of their similarity; the
    cosine of their embeddings is compared with it, by Spearman's and Pearson's correlation.
    """
    return run_evaluation(request)


@evaluate.command(cls=Command, request=requests.EvaluateRerank, examples="""
    $ bertcli evaluate rerank judged.jsonl -m ./cross-encoder
    $ bertcli evaluate rerank a.tsv --query-field q --label-field grade -m M
    """)  # fmt: skip
@click.option(
    "--label-field",
    metavar="NAME",
    show_default="relevance, label or score",
    help="Field that says how relevant the text is: 0 is not, a greater number is more.",
)
@json_option
@labelled_query_input_options
@model_options
@long_options
@run_options
def rerank(request: requests.EvaluateRerank) -> int:
    """Measure a cross-encoder: nDCG@10, MRR@10 and MAP, as trec_eval defines them.

    Each record has a `query`, a text, and how relevant the text is to the query. All texts of a query are ordered, and
    the figures are means over queries.
    """
    return run_evaluation(request)


@evaluate.command(cls=Command, request=requests.EvaluateAnswer, examples="""
    $ bertcli evaluate answer squad-dev.jsonl --context-field context -m MODEL
    $ bertcli evaluate answer dev.jsonl -m MODEL --json | jq .metrics.f1.value
    """)  # fmt: skip
@click.option("--answers-field", metavar="NAME", help="Field that holds the right answers.")
@no_answer_option
@json_option
@labelled_question_input_options
@model_options
@long_options
@run_options
def answer(request: requests.EvaluateAnswer) -> int:
    """Measure answers to questions: exact match and F1, as SQuAD defines them.

    Records are those of SQuAD: a context, a `question`, and `answers` with a list `text` of right answers, which is
    empty where the context has none. Intervals are 95 % bootstrap intervals.
    """
    return run_evaluation(request)


@evaluate.command(cls=Command, request=requests.EvaluateTranslate, examples="""
    $ bertcli evaluate translate test.jsonl -m ./en-de
    $ bertcli evaluate translate a.csv --text-field en --target-field de -m en-de
    """)  # fmt: skip
@click.option("--target-field", metavar="NAME", help="Field with the right translation.")
@click.option("--beam", metavar="N", type=whole_number(1, 64), help="How many hypotheses to follow.")
@language_options()
@json_option
@labelled_input_options
@model_options
@run_options
def translate(request: requests.EvaluateTranslate) -> int:
    """Measure translations: BLEU and chrF, as sacrebleu computes them.

    Each text is translated as `bertcli translate` does it, and compared with the translation in the file.
    """
    return run_evaluation(request)
