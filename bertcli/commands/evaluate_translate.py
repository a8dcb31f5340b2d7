"""`bertcli evaluate translate`: BLEU and chrF on texts with their translations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bertcli.command import command
from bertcli.options import labelled_input_options, model_options, run_options
from bertcli.parameters import whole_number
from bertcli.requests import InputOptions, ModelOptions, RunOptions, Translate, options_of
from bertcli.runs.evaluate import Evaluation
from bertcli.runs.evaluate import evaluate as run_evaluation
from bertcli.runs.preflight import OpenModel, refuse_pairs
from bertcli.runs.translate import make_translation, open_tokenizer, translation_engine

if TYPE_CHECKING:
    from bertcli.evaluation import Measurement
    from bertcli.sources import Source


@command(
    name="translate",
    examples="""
    $ bertcli evaluate translate test.jsonl -m ./en-de
    $ bertcli evaluate translate a.csv --text-field en --target-field de -m en-de
    """,
)
@click.option(
    "--target-field", metavar="NAME", default="target", help="Field that holds the right translation."
)
@click.option(
    "--beam", metavar="N", type=whole_number(1, 64), default=4, help="How many hypotheses to follow."
)
@click.option("--source-lang", metavar="CODE", help="Language of the texts, for models of many languages.")
@click.option("--target-lang", metavar="CODE", help="Language to translate into, likewise.")
@click.option(
    "--prefix-text",
    metavar="TEXT",
    default="",
    show_default=False,
    help="Put TEXT before each sentence (T5).",
)
@click.option("--json", "as_json", is_flag=True, help="The report as one JSON object.")
@labelled_input_options
@model_options
@run_options
def evaluate_translate(
    *,
    target_field: str,
    beam: int,
    source_lang: str | None,
    target_lang: str | None,
    prefix_text: str,
    as_json: bool,
    inputs: InputOptions,
    model: ModelOptions,
    run: RunOptions,
) -> int:  # fmt: skip
    """Measure translations: BLEU and chrF, as sacrebleu computes them.

    Each text is translated as `bertcli translate` does it, and compared with the translation in the file.
    """
    refuse_pairs(inputs.pair_field, "`evaluate translate`")
    request = Translate(
        **options_of(inputs, model),
        beam=beam,
        source_lang=source_lang,
        target_lang=target_lang,
        prefix_text=prefix_text,
    )

    def measure(opened: OpenModel, source: Source) -> Measurement:
        from bertcli.evaluation.gold import gold_field
        from bertcli.evaluation.translations import Translations

        where = ", ".join(inputs.files) or "stdin"
        field = gold_field(source.field_names, target_field, where=where, option="--target-field")
        return Translations(make_translation(request, opened), field, facts={"beam": beam})

    return run_evaluation(
        Evaluation(
            measure,
            inputs,
            model,
            run,
            as_json,
            open_tokenizer=open_tokenizer,
            open_engine=translation_engine,
        )
    )
