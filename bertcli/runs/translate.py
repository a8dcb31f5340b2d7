"""What translations have of their own: a tokenizer with languages, and an engine that generates."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from bertcli.errors import UsageError

if TYPE_CHECKING:
    from bertcli import requests
    from bertcli.engines import Engine
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.seq2seq_tokenizer import Seq2SeqTokenizer
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.runs.preflight import OpenModel
    from bertcli.tasks.translate import Translate


def open_tokenizer(checkpoint: Checkpoint) -> Tokenizer:
    """The tokenizer of an encoder-decoder. Raises ModelError for another model."""
    from bertcli.models.seq2seq_tokenizer import Seq2SeqTokenizer
    from bertcli.tasks.translate import check_model

    check_model(checkpoint)
    return cast("Tokenizer", Seq2SeqTokenizer.of(checkpoint))


def make_translation(request: requests.Translate, model: OpenModel) -> Translate:
    """The task. Raises UsageError for languages that the model does not have."""
    from bertcli.engines.seq2seq import Generation
    from bertcli.tasks.translate import Translate

    tokenizer = cast("Seq2SeqTokenizer", model.tokenizer)
    known = model.checkpoint.generation.get("forced_bos_token_id") is not None
    return Translate(
        model.checkpoint,
        tokenizer,
        tokenizer.speak(request.source_lang, request.target_lang, is_target_known=known),
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
    )


def translation_engine(checkpoint: Checkpoint, options: requests.ModelOptions) -> Engine:
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
