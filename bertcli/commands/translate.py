"""`bertcli translate`: each text in another language."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import click

from bertcli.command import command
from bertcli.commands.streaming import Job, refuse_pairs, stream
from bertcli.errors import UsageError
from bertcli.options import input_options, model_options, output_options, run_options
from bertcli.parameters import whole_number
from bertcli.requests import InputOptions, LongMode, ModelOptions, OutputOptions, RunOptions

if TYPE_CHECKING:
    from bertcli.engines import Engine
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.seq2seq_tokenizer import Seq2SeqTokenizer
    from bertcli.tasks.translate import Split, Translate


@dataclass(frozen=True, slots=True)
class Decoding:
    """What a user asks of a translation."""

    beam: int = 4
    count: int | None = None
    max_new_tokens: int | None = None
    length_penalty: float | None = None
    source_lang: str | None = None
    target_lang: str | None = None
    prefix: str = ""
    split: Split = "sentences"
    long: LongMode = "window"
    most: int | None = None
    align: bool = False


@command(
    examples="""
    $ bertcli translate -m opus-mt-en-de -t "A dog runs."
    $ bertcli translate reviews.csv --text-field body -m en-de -o reviews.de.csv
    $ bertcli translate notes.md --whole-files -m en-fr -f plain
    $ bertcli translate a.txt -m m2m --source-lang en --target-lang de
    """
)
@click.option(
    "--beam", metavar="N", type=whole_number(1, 64), default=4, help="How many hypotheses to follow."
)
@click.option("--greedy", is_flag=True, help="Take the likeliest token each time: --beam 1.")
@click.option("-k", "count", metavar="N", type=whole_number(1, 64), help="Give the N best translations.")
@click.option("--source-lang", metavar="CODE", help="Language of the texts, for models of many languages.")
@click.option("--target-lang", metavar="CODE", help="Language to translate into, likewise.")
@click.option(
    "--prefix-text",
    metavar="TEXT",
    default="",
    show_default=False,
    help="Put TEXT before each sentence: what T5 is to do.",
)
@click.option(
    "--split",
    type=click.Choice(["sentences", "none"]),
    default="sentences",
    help="Translate sentence by sentence, or each text as a whole.",
)
@click.option(
    "--max-new-tokens",
    metavar="N",
    type=whole_number(1),
    show_default="the model's own limit",
    help="Tokens of a sentence's translation at most.",
)
@click.option(
    "--length-penalty",
    metavar="X",
    type=click.FloatRange(-10, 10),
    show_default="the model's own, else 1",
    help="Above 0, beam search prefers longer translations.",
)
@click.option(
    "--long",
    "mode",
    type=click.Choice(["window", "truncate", "error"]),
    default="window",
    help="What becomes of a sentence that is too long.",
)
@click.option(
    "--max-length",
    metavar="N",
    type=whole_number(3),
    show_default="the model's own limit",
    help="Tokens of a window of a sentence.",
)
@click.option(
    "--align", is_flag=True, help="Add the source word that each word of the translation comes from."
)
@input_options
@output_options
@model_options
@run_options
def translate(
    *,
    beam: int,
    greedy: bool,
    count: int | None,
    source_lang: str | None,
    target_lang: str | None,
    prefix_text: str,
    split: str,
    max_new_tokens: int | None,
    length_penalty: float | None,
    mode: str,
    max_length: int | None,
    align: bool,
    inputs: InputOptions,
    outputs: OutputOptions,
    model: ModelOptions,
    run: RunOptions,
) -> int:  # fmt: skip
    """Translate each text with an encoder-decoder.

    Adds `translation` and its `score`, the log-probability per token. Texts are translated sentence by sentence; line
    ends, blanks, tabs and Markdown marks stay as they are. Where a translation reached the limit of tokens, the record
    says `truncated`.
    """
    refuse_pairs(inputs.pair_field, "`translate`")
    if greedy and count is not None and count > 1:
        raise UsageError("--greedy finds one translation, and -k asks for more", hint="leave one of them out")

    decoding = Decoding(
        beam=1 if greedy else beam,
        count=count,
        max_new_tokens=max_new_tokens,
        length_penalty=length_penalty,
        source_lang=source_lang,
        target_lang=target_lang,
        prefix=prefix_text,
        split=cast("Split", split),
        long=cast("LongMode", mode),
        most=max_length,
        align=align,
    )

    def task(checkpoint: Checkpoint, tokenizer: Any) -> Translate:
        return make_task(checkpoint, tokenizer, decoding)

    return stream(
        Job(
            "translate",
            task,
            inputs,
            outputs,
            model,
            run,
            open_engine=open_engine,
            open_tokenizer=open_tokenizer,
        )
    )


def open_tokenizer(checkpoint: Checkpoint) -> Seq2SeqTokenizer:
    """The tokenizer of an encoder-decoder. Raises ModelError for another model."""
    from bertcli.models.seq2seq_tokenizer import Seq2SeqTokenizer
    from bertcli.tasks.translate import check_model

    check_model(checkpoint)
    return Seq2SeqTokenizer.of(checkpoint)


def make_task(checkpoint: Checkpoint, tokenizer: Seq2SeqTokenizer, decoding: Decoding) -> Translate:
    """The task. Raises UsageError for languages that the model does not have."""
    from bertcli.engines.seq2seq import Generation
    from bertcli.tasks.translate import Translate

    known = checkpoint.generation.get("forced_bos_token_id") is not None
    return Translate(
        checkpoint,
        tokenizer,
        tokenizer.speak(decoding.source_lang, decoding.target_lang, is_target_known=known),
        Generation(
            beam=decoding.beam,
            max_new_tokens=decoding.max_new_tokens,
            length_penalty=decoding.length_penalty,
        ),
        top=decoding.count,
        prefix=decoding.prefix,
        split=decoding.split,
        long=decoding.long,
        most=decoding.most,
        align=decoding.align,
    )


def open_engine(checkpoint: Checkpoint, options: ModelOptions) -> Engine:
    """The engine that generates. Raises UsageError for an engine or dtype that translations do not have."""
    from bertcli.engines.seq2seq.translator import open_translator

    if options.engine == "instant":
        raise UsageError("the instant engine does not translate", hint="leave --engine out")
    if options.dtype == "int8":
        raise UsageError(
            "--dtype int8: translations are computed in float32 or bfloat16", hint="leave it out"
        )
    translator = open_translator(
        checkpoint,
        device=options.device,
        dtype=options.dtype,
        threads=options.threads,
        batch_tokens=options.batch_tokens,
    )
    return cast("Engine", translator)
