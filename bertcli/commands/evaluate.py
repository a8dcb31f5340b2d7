"""`bertcli evaluate`: how good a model is on a file that holds the right answers."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bertcli import console
from bertcli.command import Command, Group
from bertcli.commands.evaluate_translate import evaluate_translate
from bertcli.commands.evaluating import Evaluation
from bertcli.commands.evaluating import evaluate as run_evaluation
from bertcli.commands.labelling import Labelling, judging_options, labels_options
from bertcli.commands.streaming import refuse_or_warn, refuse_pairs
from bertcli.errors import OutputError, UsageError
from bertcli.options import (
    input_options,
    labelled_input_options,
    long_options,
    model_options,
    pooling_option,
    prompt_name_option,
    run_options,
)
from bertcli.parameters import MOST, whole_number
from bertcli.requests import InputOptions, LongOptions, ModelOptions, RunOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from bertcli.evaluation import Measurement
    from bertcli.evaluation.calibration import Calibration
    from bertcli.evaluation.report import Report
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Head
    from bertcli.models.pooling import Mode
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.sources import Source
    from bertcli.tasks import Task
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
    """, bundles={"labelling": Labelling})  # fmt: skip
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
    labelling: Labelling,
    inputs: InputOptions,
    model: ModelOptions,
    long: LongOptions,
    run: RunOptions,
) -> int:  # fmt: skip
    """Measure labels: accuracy, precision, recall, F1, calibration.

    The file has the right answer in a field: `label`, a list `labels` where several may hold, or a number for
    a regression. Intervals are 95 % bootstrap intervals.
    """
    request = replace(
        labelling, top="all", head=head, long=long, unsafe=model.unsafe_model, pair_field=inputs.pair_field
    )
    examination = LabelExamination(
        request, label_field, suspects, calibrate, plot, _where(inputs), overwrite, inputs.id_field
    )
    return run_evaluation(
        Evaluation(
            examination.measure, replace(inputs, bare_texts=False), model, run, as_json, examination.finish
        )
    )


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

    def measure(checkpoint: Checkpoint, tokenizer: Tokenizer, source: Source) -> Measurement:
        from bertcli.evaluation.gold import TAG_FIELDS, gold_field
        from bertcli.evaluation.tags import TagAnswers
        from bertcli.tasks.tag import Tag
        from bertcli.tasks.tagset import Tagset

        chosen = checkpoint.head("tag", head)
        refuse_or_warn(checkpoint, "tag", unsafe=model.unsafe_model, head=chosen)
        fields = TAG_FIELDS if tag_field is None else ()
        field = gold_field(source.field_names, tag_field, *fields, option="--tag-field", where=_where(inputs))
        task = Tag(checkpoint, tokenizer, chosen, long, aggregation=aggregation, shape="words")
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

    def measure(checkpoint: Checkpoint, tokenizer: Tokenizer, source: Source) -> Measurement:
        from bertcli.evaluation.masked_words import MaskedWordAnswers, MaskedWords

        head = checkpoint.head("fill")
        refuse_or_warn(checkpoint, "fill", unsafe=model.unsafe_model, head=head)
        task = MaskedWords(checkpoint, tokenizer, head, long, share=share, together=together, seed=seed)
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

    def measure(checkpoint: Checkpoint, tokenizer: Tokenizer, source: Source) -> Measurement:
        from bertcli.evaluation.gold import gold_field
        from bertcli.evaluation.numbers import NumberAnswers
        from bertcli.evaluation.similarity import SimilarityPairs

        refuse_or_warn(checkpoint, "embed", unsafe=model.unsafe_model, pooling=pooling)
        field = gold_field(source.field_names, score_field, option="--score-field", where=_where(inputs))
        task = SimilarityPairs(checkpoint, tokenizer, long, pooling=pooling, prompt_name=prompt_name)
        facts = {"pooling": f"{pooling or checkpoint.pooling.mode} pooling"}
        return NumberAnswers(task, "cosine", field, errors=False, facts=facts)

    inputs = replace(inputs, pair_field=inputs.pair_field or PAIR_FIELD, bare_texts=False)
    return run_evaluation(Evaluation(measure, inputs, model, run, as_json))


@dataclass(slots=True)
class LabelExamination:
    """What `evaluate label` asks for; remembers which head it was about."""

    request: Labelling
    label_field: str | None
    suspects: int | str | None
    calibrate: bool
    plot: str | None
    where: str
    overwrite: bool
    id_field: str | None
    _checkpoint: Checkpoint | None = field(default=None, init=False)
    _head: Head | None = field(default=None, init=False)

    def measure(self, checkpoint: Checkpoint, tokenizer: Tokenizer, source: Source) -> Measurement:
        from bertcli.evaluation.gold import LABEL_FIELDS, SEVERAL_FIELDS
        from bertcli.evaluation.labels import AnyLabels, OneLabel
        from bertcli.tasks.label import Label

        task = self.request.task(checkpoint, tokenizer)
        self._checkpoint, self._head = checkpoint, task.head if isinstance(task, Label) else None
        if self._head is not None and self._head.problem == "regression":
            return self._numbers(task, self._head, source)
        self._refuse(checkpoint)
        settings: dict[str, Any] = {
            "field": self._gold_field(source, *(SEVERAL_FIELDS if task.choice.several else LABEL_FIELDS)),
            "suspects": MOST if isinstance(self.suspects, str) else self.suspects or 0,
            "id_field": self.id_field,
            "temperature": self._head.temperature if self._head else 1.0,
            "facts": {"head": self._head.name if self._head else "zero-shot"},
        }
        if task.choice.several:
            return AnyLabels(task, task.choice.names, threshold=task.choice.threshold, **settings)
        return OneLabel(task, task.choice.names, **settings)

    def finish(self, report: Report) -> None:
        """Draw, write and store what was asked for."""
        if isinstance(self.suspects, str):
            from bertcli.commands.suspects import write_suspects

            write_suspects(self.suspects, report.suspects or (), overwrite=self.overwrite)
        if self.plot is not None:
            from bertcli.evaluation.html import document
            from bertcli.journal import open_output

            output = open_output(self.plot, console.claim_stdout(), overwrite=self.overwrite)
            output.close(True, document(report).encode())
        if self.calibrate and report.calibration is not None:
            self._store(report.calibration)

    def _store(self, calibration: Calibration) -> None:
        from bertcli.models.temperature import store_temperature

        assert self._checkpoint is not None  # measure has set both
        assert self._head is not None
        if calibration.is_at_limit:
            console.warn(
                "these answers fit no temperature, for they are all right or all chance: none is stored"
            )
            return
        path = store_temperature(self._checkpoint, self._head.name, calibration.temperature)
        console.say(f"the temperature {calibration.temperature:.4g} of {self._head.name} is stored in {path}")

    def _refuse(self, checkpoint: Checkpoint) -> None:
        """Refuse before the run what could not be finished after it."""
        if self.plot is not None:
            if not self.plot.lower().endswith(".html"):
                raise UsageError("a report is an HTML page", where=self.plot, hint="name the file .html")
            if os.path.exists(self.plot) and not self.overwrite:
                raise OutputError("exists already", where=self.plot, hint="--overwrite replaces it")
        if isinstance(self.suspects, str):
            from bertcli.commands.suspects import check_suspects

            check_suspects(self.suspects, overwrite=self.overwrite)
        if self.calibrate:
            from bertcli.models.temperature import refuse_shared

            if self._head is None:
                raise UsageError(
                    "labels of your own have no temperature to store", hint="leave out --calibrate"
                )
            refuse_shared(checkpoint)

    def _numbers(self, task: Task, head: Head, source: Source) -> Measurement:
        from bertcli.evaluation.gold import NUMBER_FIELDS
        from bertcli.evaluation.numbers import NumberAnswers

        if len(head.labels) > 1:
            raise UsageError(
                f"{head.name} gives {len(head.labels)} numbers for a text, and one can be measured"
            )
        for option, value in {
            "--calibrate": self.calibrate,
            "--suspects": self.suspects,
            "--plot": self.plot,
        }.items():
            if value:
                raise UsageError(f"{option} is for labels, and {head.name} gives a number")
        field = self._gold_field(source, *NUMBER_FIELDS)
        return NumberAnswers(task, "score", field, errors=True, facts={"head": head.name})

    def _gold_field(self, source: Source, *usual: str) -> str:
        from bertcli.evaluation.gold import gold_field

        return gold_field(
            source.field_names, self.label_field, *usual, option="--label-field", where=self.where
        )


def _where(inputs: InputOptions) -> str:
    """The first input, for messages about its fields."""
    return inputs.files[0] if inputs.files else "-"
