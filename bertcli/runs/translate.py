"""What encoder-decoders have of their own: a tokenizer with languages, an engine that generates, and attention in two
stacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from bertcli.errors import UsageError
from bertcli.runs.own_engine import OwnEngine

if TYPE_CHECKING:
    from bertcli import requests
    from bertcli.engines import Engine
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.seq2seq_tokenizer import Languages, Seq2SeqTokenizer
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.runs.preflight import OpenModel
    from bertcli.tasks.glossary import Glossary
    from bertcli.tasks.seq2seq_attention import Seq2SeqAttention
    from bertcli.tasks.translate import Translate


def open_tokenizer(checkpoint: Checkpoint) -> Tokenizer:
    """The tokenizer of an encoder-decoder. Raises ModelError for another model."""
    from bertcli.models.seq2seq_tokenizer import Seq2SeqTokenizer
    from bertcli.tasks.translate import check_model

    check_model(checkpoint)
    return cast("Tokenizer", Seq2SeqTokenizer.of(checkpoint))


def is_encoder_decoder(checkpoint: Checkpoint) -> bool:
    return checkpoint.config.get("is_encoder_decoder") is True


def make_translation(request: requests.Translate, model: OpenModel) -> Translate:
    """The task. Raises UsageError for languages that the model does not have."""
    from bertcli.engines.seq2seq import Generation
    from bertcli.tasks.translate import Translate

    return Translate(
        model.checkpoint,
        cast("Seq2SeqTokenizer", model.tokenizer),
        _languages(request, model),
        Generation(
            beam=1 if request.greedy else request.beam,
            max_new_tokens=request.max_new_tokens,
            length_penalty=request.length_penalty,
        ),
        top=request.k,
        prefix=request.prefix_text,
        split=request.split,
        long=request.long,
        most=request.max_length,
        align=request.align,
        glossary=None if request.glossary is None else _glossary(request.glossary),
    )


def _glossary(path: str) -> Glossary:
    """The terms of a file. Raises InputError for one that cannot be read."""
    from bertcli.runs.preflight import read_text
    from bertcli.tasks.glossary import Glossary, parse_terms

    return Glossary(parse_terms(read_text(path), path))


def _languages(request: requests.Translate | requests.Attention, model: OpenModel) -> Languages:
    known = model.checkpoint.generation.get("forced_bos_token_id") is not None
    tokenizer = cast("Seq2SeqTokenizer", model.tokenizer)
    return tokenizer.speak(request.source_lang, request.target_lang, is_target_known=known)


def make_seq2seq_attention(request: requests.Attention, model: OpenModel, *, whole: bool) -> Seq2SeqAttention:
    """The task `attention` for an encoder-decoder; `whole` gives all parts, layers and heads. Raises UsageError for
    languages that the model does not have, and for a rollout of what is no stack of square maps."""
    from bertcli.tasks.seq2seq_attention import Seq2SeqAttention

    part = request.part or "cross"
    if request.rollout and part != "encoder":
        raise UsageError(
            "--rollout follows attention within one text",
            hint="ask for that of the encoder: --part encoder",
        )
    return Seq2SeqAttention(
        model.checkpoint,
        cast("Seq2SeqTokenizer", model.tokenizer),
        _languages(request, model),
        part=part,
        layer=request.layer,
        head=request.head or "mean",
        rollout=request.rollout,
        vectors=request.show == "qkv",
        whole=whole,
        target=request.target,
        is_target_given=request.pair_field is not None,
        prefix=request.prefix_text,
        truncate=request.truncate,
    )


def _choose_translator(
    checkpoint: Checkpoint, options: requests.ModelOptions, task: Translate, tokens: int | None
) -> requests.EngineName:
    from bertcli.engines.choosing import translator_name

    if task.needs_decoder and options.engine == "auto":
        return "packed"
    return translator_name(checkpoint, options, tokens_ahead=tokens, beam=task.beam)


def _open_translator(
    checkpoint: Checkpoint, options: requests.ModelOptions, cluster: requests.ClusterOptions | None
) -> Engine:
    """Raises UsageError for a dtype that translations do not have, EngineError for an engine that cannot run the
    model."""
    from bertcli.engines.choosing import open_seq2seq

    if options.dtype == "int8":
        raise UsageError(
            "--dtype int8: translations are computed in float32 or bfloat16", hint="leave it out"
        )
    if cluster is not None and cluster.on is not None:
        from bertcli.distributed.cluster import open_remote_translator

        return cast("Engine", open_remote_translator(checkpoint, options, cluster))
    return cast("Engine", open_seq2seq(checkpoint, options))


TRANSLATOR = OwnEngine(_choose_translator, _open_translator)


def seq2seq_attention_engine(checkpoint: Checkpoint, options: requests.ModelOptions) -> Engine:
    """The engine that generates and returns attention weights. Raises UsageError for an engine or dtype that has none
    of an encoder-decoder."""
    from bertcli.engines.seq2seq.eager import EagerTranslator

    if options.engine == "instant":
        raise UsageError("the instant engine runs encoders alone", hint="leave --engine out")
    if options.dtype == "int8":
        raise UsageError("attention is never computed in int8", hint="use float32 or bfloat16")
    engine = EagerTranslator(checkpoint, device=options.device, dtype=options.dtype, threads=options.threads)
    return cast("Engine", engine)
