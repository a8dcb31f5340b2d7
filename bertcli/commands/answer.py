"""`bertcli answer`: the words of a context that answer a question."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bertcli.command import command
from bertcli.commands.streaming import Job, refuse_or_warn, stream
from bertcli.errors import UsageError
from bertcli.options import long_options, model_options, output_options, question_input_options, run_options
from bertcli.parameters import whole_number
from bertcli.requests import InputOptions, LongOptions, ModelOptions, OutputOptions, RunOptions

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.tasks.answer import Answer


@command(
    examples="""
    $ bertcli answer -m MODEL --question "Who wrote it?" -t "Ada wrote the notes."
    $ bertcli answer mails.txt -m MODEL --question "When is the meeting?"
    $ bertcli answer squad.jsonl -m MODEL --question-field question \\
        --context-field context | jq -r .answer
    """
)
@click.option("--question", metavar="TEXT", help="The question, where all contexts are asked the same.")
@click.option(
    "--max-answer-tokens",
    metavar="N",
    type=whole_number(1),
    default=30,
    help="The most tokens of an answer.",
)
@click.option(
    "--no-answer-threshold",
    metavar="X",
    type=float,
    default=0.0,
    help="How much likelier no answer must be (in logits) to be believed; inf always answers.",
)
@question_input_options
@output_options
@model_options
@long_options
@run_options
def answer(
    *,
    question: str | None,
    max_answer_tokens: int,
    no_answer_threshold: float,
    inputs: InputOptions,
    outputs: OutputOptions,
    model: ModelOptions,
    long: LongOptions,
    run: RunOptions,
) -> int:  # fmt: skip
    """Find the answer to a question in each text.

    Adds `answer`, its `score`, and where it stands: `start` and `end` in characters of the text. All but the
    score are null when the text does not hold an answer. Needs a model fine-tuned for extractive question
    answering, as on SQuAD; one trained with unanswerable questions knows best when there is none.
    """
    _refuse_other_than_one_question(question, inputs.pair_field)

    def task(checkpoint: Checkpoint, tokenizer: Tokenizer) -> Answer:
        from bertcli.tasks.answer import Answer

        head = checkpoint.head("answer")
        refuse_or_warn(checkpoint, "answer", unsafe=model.unsafe_model, head=head)
        return Answer(
            checkpoint,
            tokenizer,
            head,
            long,
            question=question,
            longest=max_answer_tokens,
            threshold=no_answer_threshold,
        )

    return stream(Job("answer", task, inputs, outputs, model, run))


def _refuse_other_than_one_question(question: str | None, field: str | None) -> None:
    if question is None and field is None:
        raise UsageError(
            "there is no question", hint="give --question, or name its field by --question-field"
        )
    if question is not None and field is not None:
        raise UsageError("--question and --question-field cannot go together", hint="leave one of them out")
    if question is not None and not question.strip():
        raise UsageError("--question is blank", hint='ask something: --question "Who wrote it?"')
