"""TASKS: what each streaming request asks of a model. Whoever needs a task takes it from here.

A new task is a file in `tasks/`, a request in `requests`, an entry here, and a file in `commands/`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bertcli import console, requests
from bertcli.errors import ModelError, UsageError
from bertcli.runs.preflight import read_text, refuse_pairs
from bertcli.runs.translate import (
    TRANSLATOR,
    is_encoder_decoder,
    make_seq2seq_attention,
    make_translation,
    open_tokenizer,
)

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.heads import Head
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.runs.own_engine import OwnEngine
    from bertcli.runs.preflight import OpenModel
    from bertcli.sinks import ViewName
    from bertcli.tasks import Task
    from bertcli.tasks.candidates import Candidate
    from bertcli.tasks.choice import Top
    from bertcli.tasks.label import Label
    from bertcli.tasks.pooling import TextVector
    from bertcli.tasks.rerank import Rerank
    from bertcli.tasks.tag import Tag
    from bertcli.tasks.zero_shot import ByEntailment, ByNearness

    LabelTask = Label | ByEntailment | ByNearness


@dataclass(frozen=True, slots=True)
class TaskEntry:
    """How a task is made from its request and an open model. Making it refuses a model that would answer wrongly.

    `reads_pairs`: the task reads a second text of a record. `reads_many_times`: it runs the model many times on
    each text, so that its windows and not its characters say how much work there is. `needs_attention`: it asks
    for attention weights, which not every engine has. `answers` are the result fields of which the first that there is
    can stand alone in a line; `view` names its view in a table where the names of the results do not say which it is.
    `open_tokenizer` and `own_engine` open what only this task has.
    """

    request: type[requests.StreamRequest]
    make: Callable[[Any, OpenModel], Task]
    reads_pairs: bool = False
    reads_many_times: bool = False
    needs_attention: bool = False
    answers: tuple[str, ...] = ()
    view: ViewName | None = None
    open_tokenizer: Callable[[Checkpoint], Tokenizer] | None = None
    own_engine: OwnEngine | None = None


def task_name(request: requests.StreamRequest) -> str:
    """The name of the task that a request is for."""
    return next(name for name, entry in TASKS.items() if type(request) is entry.request)


def make_task(request: requests.StreamRequest, model: OpenModel) -> Task:
    """The task of a request. Raises UsageError for options that contradict the model, ModelError for a model that
    cannot do it."""
    return TASKS[task_name(request)].make(request, model)


def refuse_unread_pairs(request: requests.StreamRequest) -> None:
    """Raise UsageError for a pair field that the task of the request would ignore."""
    name = task_name(request)
    if not TASKS[name].reads_pairs:
        refuse_pairs(request.pair_field, f"`{name}`")


def _label(request: requests.Label, model: OpenModel) -> Task:
    from bertcli.runs.guarantee import with_decision
    from bertcli.tasks.commas import comma_separated

    heads = [None] if request.head is None else list(dict.fromkeys(comma_separated(request.head)))
    tasks = [make_label_task(request, model, head) for head in heads]
    plain = len(tasks) == 1 and request.emit == ("label",)
    if request.guarantee is not None:
        if not plain:
            raise UsageError(
                "--guarantee is for the label of one head", hint="leave --guarantee or --emit out"
            )
        return with_decision(tasks[0], request.guarantee, request, model)
    if plain:
        return tasks[0]
    return _emitting(tasks, request, model)


def make_label_task(request: requests.Label, model: OpenModel, head_name: str | None) -> LabelTask:
    """Labels by one head of the model, unless the request names labels that no head has."""
    from bertcli.models.cross_encoder import as_ranking
    from bertcli.tasks.label import Label
    from bertcli.tasks.zero_shot import zero_shot

    top: Top = "all" if request.all else request.k
    head = _own_head(request, model, head_name)
    if head is not None:
        model.check("label", head)
        if request.pair_field is not None:
            head = as_ranking(head)
        return Label(model.checkpoint, model.tokenizer, head, request, top=top, threshold=request.threshold)
    refuse_pairs(request.pair_field, "`label` with labels of your own")
    model.check("embed")
    return zero_shot(
        model.checkpoint,
        model.tokenizer,
        _candidates(request),
        request,
        template=request.template,
        multi_label=request.multi_label,
        top=top,
        threshold=request.threshold,
        head=head_name,
    )


def _own_head(request: requests.Label, model: OpenModel, head_name: str | None) -> Head | None:
    """The model's label head, with its classes named; None where the labels are the user's own."""
    if request.labels is not None and request.labels_file is not None:
        raise UsageError("--labels and --labels-file cannot go together", hint="leave one of them out")
    if request.labels is None and request.labels_file is None:
        return model.choose_head("label", head_name)
    nameless = [head for head in model.checkpoint.heads_of("label") if not head.named]
    if request.labels_file is None or not nameless:
        return None
    from bertcli.tasks.label import rename

    head = model.checkpoint.head("label", head_name)
    return rename(head, read_text(request.labels_file), request.labels_file)


def _candidates(request: requests.Label) -> tuple[Candidate, ...]:
    from bertcli.tasks.candidates import candidates_from_lines, candidates_from_option

    if request.labels is not None:
        return candidates_from_option(request.labels)
    assert request.labels_file is not None  # _own_head has asked
    return candidates_from_lines(read_text(request.labels_file).splitlines(), request.labels_file)


def _emitting(tasks: Sequence[LabelTask], request: requests.Label, model: OpenModel) -> Task:
    """Several answers from one pass, of the model's own heads or of the user's own labels."""
    from bertcli.tasks.label import Label
    from bertcli.tasks.several import EmittingZeroShot, Several

    heads = [task for task in tasks if isinstance(task, Label)]
    if len(heads) == len(tasks):
        vector = _text_vector(request, model) if "embedding" in request.emit else None
        return Several(heads, request.emit, vector)
    (task, *others) = tasks
    if others or isinstance(task, Label):
        raise UsageError(
            "--head with several names is for the model's own classes",
            hint="leave out --labels and --labels-file, or name one head",
        )
    return EmittingZeroShot(task, request.emit)


def _text_vector(request: requests.Label, model: OpenModel) -> TextVector:
    from bertcli.tasks.pooling import TextVector

    refuse_pairs(request.pair_field, "an embedding")
    model.check("embed")
    return TextVector(model.checkpoint, model.tokenizer, request)


def _fill(request: requests.Fill, model: OpenModel) -> Task:
    from bertcli.tasks.commas import comma_separated
    from bertcli.tasks.fill import Fill

    return Fill(
        model.checkpoint,
        model.tokenizer,
        model.checked_head("fill"),
        request,
        top=request.k,
        beam=request.beam,
        targets=() if request.targets is None else comma_separated(request.targets),
        words_only=request.words_only,
        mask=request.mask,
    )


def _embed(request: requests.Embed, model: OpenModel) -> Task:
    from bertcli.tasks.embed import Embed

    if model.checkpoint.pooling.routed and request.role is None:
        console.warn(
            f"{model.checkpoint.name} has an encoder for each role: say --role query or --role document"
        )
    if request.sparse:
        return _sparse_embed(request, model)
    if request.multi:
        return _multi_embed(request, model)
    model.check("embed", pooling=request.pooling)
    return Embed(
        model.checkpoint,
        model.tokenizer,
        request,
        pooling=request.pooling,
        normalize=request.normalize,
        layer=request.layer,
        tokens=request.tokens,
        dim=request.dim,
        prompt_name=request.prompt_name,
        prompt=request.prompt,
        role=request.role,
        dtype=request.output_dtype,
    )


def _sparse_embed(request: requests.Embed, model: OpenModel) -> Task:
    from bertcli.tasks.sparse import SparseEmbed, SparseVector

    name, splade = model.checkpoint.name, model.checkpoint.pooling.sparse
    if splade is None:
        raise UsageError(
            f"{name} makes no sparse embeddings", hint="leave out --sparse, or name a SPLADE model"
        )
    model.check("sparse")
    vector = SparseVector(
        model.checkpoint,
        model.tokenizer,
        model.checked_head("fill"),
        splade,
        request,
        prompt_name=request.prompt_name,
        prompt=request.prompt,
        role=request.role,
    )
    return SparseEmbed(vector, model.tokenizer)


def _multi_embed(request: requests.Embed, model: OpenModel) -> Task:
    from bertcli.tasks.multi import MultiEmbed, TokenVectors

    multi = model.checkpoint.pooling.multi
    if multi is None:
        raise UsageError(
            f"{model.checkpoint.name} makes one vector a text",
            hint="leave out --multi, or name a ColBERT model; --tokens gives the hidden states of tokens",
        )
    model.check("multi")
    vectors = TokenVectors(
        model.checkpoint,
        model.tokenizer,
        multi,
        request,
        prompt_name=request.prompt_name,
        prompt=request.prompt,
        role=request.role,
    )
    return MultiEmbed(vectors)


def _tag(request: requests.Tag, model: OpenModel) -> Tag:
    from bertcli.tasks.tag import Shape, Tag

    shape: Shape = "tokens" if request.tokens else "spans"
    if _output_format(request) == "conll":
        if request.tokens:
            raise UsageError("CoNLL holds words, not tokens", hint="leave out --tokens, or write .jsonl")
        shape = "words"
    task = Tag(
        model.checkpoint,
        model.tokenizer,
        model.checked_head("tag", request.head),
        request,
        aggregation=request.aggregation,
        shape=shape,
        split_words=request.split_words,
    )
    if task.tagset.doubt is not None:
        console.warn(task.tagset.doubt)
    return task


def _score(request: requests.Score, model: OpenModel) -> Task:
    from bertcli.tasks.score import Score

    return Score(
        model.checkpoint,
        model.tokenizer,
        model.checked_head("fill"),
        request,
        method=request.method,
        words=request.words,
        pair=request.pair_field is not None,
    )


def _attention(request: requests.Attention, model: OpenModel) -> Task:
    from bertcli.tasks.attention import Attention

    whole = _output_format(request) == "html"
    several = request.head in (None, "mean") or request.layer == "mean"
    if request.show == "qkv" and several and not whole:
        raise UsageError(
            "every head has queries, keys and values of its own",
            hint="name one with --head (and --layer), or all",
        )
    if is_encoder_decoder(model.checkpoint):
        return make_seq2seq_attention(request, model, whole=whole)
    _refuse_decoder_options(request, model)
    model.check("attention")
    return Attention(
        model.checkpoint,
        model.tokenizer,
        requests.LongOptions(long="truncate" if request.truncate else "error"),
        layer=request.layer,
        head=request.head or "mean",
        rollout=request.rollout,
        parts=request.show == "qkv",
        whole=whole,
    )


def _refuse_decoder_options(request: requests.Attention, model: OpenModel) -> None:
    asked = {
        "--part": request.part not in (None, "encoder"),
        "--target": request.target is not None,
        "--source-lang": request.source_lang is not None,
        "--target-lang": request.target_lang is not None,
        "--prefix-text": bool(request.prefix_text),
    }
    if wrong := [name for name, is_asked in asked.items() if is_asked]:
        raise UsageError(
            f"{wrong[0]}: {model.checkpoint.name} is an encoder-only model, without a decoder",
            hint="leave it out, or name a translation model",
        )


def _attention_tokenizer(checkpoint: Checkpoint) -> Tokenizer:
    from bertcli.models.tokenizer import Tokenizer

    return open_tokenizer(checkpoint) if is_encoder_decoder(checkpoint) else Tokenizer.of(checkpoint)


def _answer(request: requests.Answer, model: OpenModel) -> Task:
    from bertcli.tasks.answer import Answer

    return Answer(
        model.checkpoint,
        model.tokenizer,
        model.checked_head("answer"),
        request,
        question=request.question,
        longest=request.max_answer_tokens,
        threshold=request.no_answer_threshold,
    )


def make_rerank_task(request: requests.Rerank, model: OpenModel) -> Rerank:
    """Relevance by the model's first head with one output."""
    from bertcli.models.cross_encoder import as_reranker
    from bertcli.tasks.rerank import Rerank

    heads = model.checkpoint.heads_of("label")
    head = next((head for head in heads if len(head.labels) == 1), None)
    if head is None:
        raise ModelError(
            f"{model.checkpoint.name} has no head with one output, which says how relevant a text is",
            hint="name a cross-encoder, such as cross-encoder/ms-marco-MiniLM-L6-v2",
        )
    head = as_reranker(head)
    model.check("label", head)
    return Rerank(model.checkpoint, model.tokenizer, head, request, query=request.query)


def _output_format(request: requests.StreamRequest) -> str:
    from bertcli.console import Terminal
    from bertcli.sinks.formats import choose_format

    return choose_format(request, Terminal())[0]


TASKS = {
    "label": TaskEntry(requests.Label, _label, reads_pairs=True, answers=("label", "score")),
    "fill": TaskEntry(requests.Fill, _fill, answers=("fills",)),
    "embed": TaskEntry(requests.Embed, _embed, view="vectors"),
    "tag": TaskEntry(requests.Tag, _tag, view="tags"),
    "score": TaskEntry(
        requests.Score, _score, reads_pairs=True, reads_many_times=True, answers=("score",), view="scores"
    ),
    "attention": TaskEntry(
        requests.Attention,
        _attention,
        reads_pairs=True,
        needs_attention=True,
        open_tokenizer=_attention_tokenizer,
    ),
    "answer": TaskEntry(requests.Answer, _answer, reads_pairs=True, answers=("answer",)),
    "rerank": TaskEntry(requests.Rerank, make_rerank_task, reads_pairs=True, view="hits"),
    "translate": TaskEntry(
        requests.Translate,
        make_translation,
        answers=("translation",),
        open_tokenizer=open_tokenizer,
        own_engine=TRANSLATOR,
    ),
}
