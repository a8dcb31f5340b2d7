"""MEASUREMENTS: what each evaluate request measures, and what is done with the report."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from bertcli import console, requests
from bertcli.errors import OutputError, UsageError
from bertcli.runs.guarantee import ZERO_SHOT, guarantee_text
from bertcli.runs.preflight import refuse_pairs
from bertcli.runs.tasks import make_label_task, make_rerank_task, make_task
from bertcli.runs.translate import TRANSLATOR, make_translation, open_tokenizer

if TYPE_CHECKING:
    from bertcli.evaluation import Measurement
    from bertcli.evaluation.report import Report
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Head
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.requests import Evaluate, EvaluateLabel, InputOptions
    from bertcli.runs.own_engine import OwnEngine
    from bertcli.runs.preflight import OpenModel
    from bertcli.sources import Source

ALL = 10**15  # suspects, more than any file has


@dataclass(frozen=True, slots=True)
class MeasurementEntry:
    """How a measurement is made from its request, an open model and an open source. Making it refuses a model that
    would answer wrongly, and a source without gold answers. `open_tokenizer` and `own_engine` open what only this
    task has."""

    make: Callable[[Any, OpenModel, Source], Measurement]
    open_tokenizer: Callable[[Checkpoint], Tokenizer] | None = None
    own_engine: OwnEngine | None = None


def _label(request: EvaluateLabel, model: OpenModel, source: Source) -> Measurement:
    from bertcli.evaluation.gold import DRAWS_FIELD, LABEL_FIELDS, SEVERAL_FIELDS, WEIGHT_FIELD
    from bertcli.evaluation.labels import AnyLabels, OneLabel

    parts = (requests.InputOptions, requests.ModelOptions, requests.LongOptions, requests.LabelOptions)
    task = make_label_task(
        requests.Label(**requests.fields_of(request, *parts), all=True), model, request.head
    )
    head: Head | None = getattr(task, "head", None)
    if head is not None and head.problem == "regression":
        return _numbers(request, task, head, source)
    _refuse_outputs(request, model.checkpoint, head)
    usual = SEVERAL_FIELDS if task.choice.several else LABEL_FIELDS
    settings: dict[str, Any] = {
        "field": _gold_field(request, source, request.label_field, *usual, option="--label-field"),
        "suspects": ALL if isinstance(request.suspects, str) else request.suspects or 0,
        "id_field": request.id_field,
        "temperature": head.temperature if head else 1.0,
        "weighted": WEIGHT_FIELD in source.field_names and DRAWS_FIELD in source.field_names,
        "facts": {"head": head.name if head else ZERO_SHOT},
    }
    if task.choice.several:
        if request.guarantee is not None:
            raise UsageError(
                "--guarantee is for one label a text, and here a text may have several",
                hint="leave --guarantee out",
            )
        return AnyLabels(task, task.choice.names, threshold=task.choice.threshold, **settings)
    guaranteed = None if request.guarantee is None else (request.guarantee, request.confidence)
    return OneLabel(task, task.choice.names, guaranteed=guaranteed, **settings)


def _numbers(request: EvaluateLabel, task: Any, head: Head, source: Source) -> Measurement:
    from bertcli.evaluation.gold import NUMBER_FIELDS
    from bertcli.evaluation.numbers import NumberAnswers

    if len(head.labels) > 1:
        raise UsageError(f"{head.name} gives {len(head.labels)} numbers for a text, and one can be measured")
    for name in ("calibrate", "suspects", "plot", "guarantee"):
        if getattr(request, name):
            raise UsageError(f"--{name} is for labels, and {head.name} gives a number")
    field = _gold_field(request, source, request.label_field, *NUMBER_FIELDS, option="--label-field")
    return NumberAnswers(task, "score", field, errors=True, facts={"head": head.name})


def _refuse_outputs(request: EvaluateLabel, checkpoint: Checkpoint, head: Head | None) -> None:
    """Raise before the run for what could not be written after it."""
    if request.plot is not None:
        if not request.plot.lower().endswith(".html"):
            raise UsageError("a report is an HTML page", where=request.plot, hint="name the file .html")
        if os.path.exists(request.plot) and not request.overwrite:
            raise OutputError("exists already", where=request.plot, hint="--overwrite replaces it")
    if request.output is not None and os.path.exists(request.output) and not request.overwrite:
        raise OutputError("exists already", where=request.output, hint="--overwrite replaces it")
    if isinstance(request.suspects, str):
        from bertcli.reports.suspects import check_suspects

        check_suspects(request.suspects, overwrite=request.overwrite)
    if request.calibrate:
        from bertcli.models.temperature import refuse_shared

        if head is None:
            raise UsageError("labels of your own have no temperature to store", hint="leave out --calibrate")
        refuse_shared(checkpoint)


def _tag(request: requests.EvaluateTag, model: OpenModel, source: Source) -> Measurement:
    from bertcli.evaluation.gold import TAG_FIELDS
    from bertcli.evaluation.tags import TagAnswers
    from bertcli.tasks.tag import Tag
    from bertcli.tasks.tagset import Tagset

    refuse_pairs(request.pair_field, "`evaluate tag`")
    head = model.checkpoint.head("tag", request.head)
    model.check("tag", head)
    usual = TAG_FIELDS if request.tag_field is None else ()
    field = _gold_field(request, source, request.tag_field, *usual, option="--tag-field")
    task = Tag(
        model.checkpoint, model.tokenizer, head, request, aggregation=request.aggregation, shape="words"
    )
    return TagAnswers(task, Tagset(head.labels), field, facts={"head": head.name})


def _fill(request: requests.EvaluateFill, model: OpenModel, source: Source) -> Measurement:
    from bertcli.evaluation.masked_words import MaskedWordAnswers, MaskedWords

    refuse_pairs(request.pair_field, "`evaluate fill`")
    head = model.checkpoint.head("fill")
    model.check("fill", head)
    task = MaskedWords(
        model.checkpoint,
        model.tokenizer,
        head,
        request,
        share=request.share,
        together=request.together,
        seed=request.seed,
    )
    masking = (
        f"{request.share:.3g} of the pieces hidden {'together' if request.together else 'one at a time'}"
    )
    return MaskedWordAnswers(task, facts={"masking": masking, "seed": request.seed})


def _embed(request: requests.EvaluateEmbed, model: OpenModel, source: Source) -> Measurement:
    from bertcli.evaluation.numbers import NumberAnswers
    from bertcli.evaluation.similarity import SimilarityPairs

    model.check("embed", pooling=request.pooling)
    field = _gold_field(request, source, request.score_field, option="--score-field")
    task = SimilarityPairs(
        model.checkpoint,
        model.tokenizer,
        request,
        pooling=request.pooling,
        prompt_name=request.prompt_name,
    )
    facts = {"pooling": f"{request.pooling or model.checkpoint.pooling.mode} pooling"}
    return NumberAnswers(task, "cosine", field, errors=False, facts=facts)


def _rerank(request: requests.EvaluateRerank, model: OpenModel, source: Source) -> Measurement:
    from bertcli.evaluation.rankings import RELEVANCE_FIELDS, Rankings

    field = _gold_field(request, source, request.label_field, *RELEVANCE_FIELDS, option="--label-field")
    parts = (requests.InputOptions, requests.ModelOptions, requests.LongOptions)
    task = make_rerank_task(requests.Rerank(**requests.fields_of(request, *parts)), model)
    return Rankings(task, field, facts={})


def _answer(request: requests.EvaluateAnswer, model: OpenModel, source: Source) -> Measurement:
    from bertcli.evaluation.answers import SquadAnswers

    field = _gold_field(request, source, request.answers_field, option="--answers-field")
    parts = (requests.InputOptions, requests.ModelOptions, requests.LongOptions)
    asked = requests.Answer(
        **requests.fields_of(request, *parts), no_answer_threshold=request.no_answer_threshold
    )
    return SquadAnswers(make_task(asked, model), field, {})


def _translate(request: requests.EvaluateTranslate, model: OpenModel, source: Source) -> Measurement:
    from bertcli.evaluation.translations import Translations

    refuse_pairs(request.pair_field, "`evaluate translate`")
    field = _gold_field(request, source, request.target_field, option="--target-field")
    asked = requests.Translate(
        **requests.fields_of(request, requests.InputOptions, requests.ModelOptions),
        beam=request.beam,
        source_lang=request.source_lang,
        target_lang=request.target_lang,
        prefix_text=request.prefix_text,
    )
    return Translations(make_translation(asked, model), field, facts={"beam": request.beam})


def _gold_field(inputs: InputOptions, source: Source, named: str | None, *usual: str, option: str) -> str:
    from bertcli.evaluation.gold import gold_field

    where = inputs.files[0] if inputs.files else "-"
    return gold_field(source.field_names, named, *usual, option=option, where=where)


MEASUREMENTS: Mapping[type[Evaluate], MeasurementEntry] = MappingProxyType(
    {
        requests.EvaluateLabel: MeasurementEntry(_label),
        requests.EvaluateTag: MeasurementEntry(_tag),
        requests.EvaluateFill: MeasurementEntry(_fill),
        requests.EvaluateEmbed: MeasurementEntry(_embed),
        requests.EvaluateRerank: MeasurementEntry(_rerank),
        requests.EvaluateAnswer: MeasurementEntry(_answer),
        requests.EvaluateTranslate: MeasurementEntry(_translate, open_tokenizer, TRANSLATOR),
    }
)


def write_label_files(request: EvaluateLabel, report: Report) -> None:
    """Write the files that the request asks for, and store the temperature with the model."""
    if isinstance(request.suspects, str):
        from bertcli.reports.suspects import write_suspects

        write_suspects(request.suspects, report.suspects or (), overwrite=request.overwrite)
    if request.plot is not None:
        from bertcli.evaluation.html import document

        _write_file(request.plot, document(report), overwrite=request.overwrite)
    if request.output is not None and report.guarantee is not None:
        _write_file(request.output, guarantee_text(request, report), overwrite=request.overwrite)
        console.say(f"the guarantee is in {request.output}: bertcli label FILE --guarantee {request.output}")
    if request.calibrate and report.calibration is not None:
        _store_temperature(request, report)


def _write_file(path: str, text: str, *, overwrite: bool) -> None:
    from bertcli.journal import open_output

    stdout = cast(Any, console.ClosedStdout())  # the file always has a name
    open_output(path, stdout, overwrite=overwrite).close(True, text.encode())


def _store_temperature(request: EvaluateLabel, report: Report) -> None:
    from bertcli.models.checkpoint import open_checkpoint
    from bertcli.models.library import resolve
    from bertcli.models.temperature import store_temperature

    assert report.calibration is not None  # the caller has asked
    if report.calibration.is_at_limit:
        console.warn("these answers fit no temperature, for they are all right or all chance: none is stored")
        return
    checkpoint = open_checkpoint(resolve(request.model), allow_pickle=request.allow_pickle)
    name, temperature = report.facts["head"], report.calibration.temperature
    path = store_temperature(checkpoint, name, temperature)
    console.say(f"the temperature {temperature:.4g} of {name} is stored in {path}")
