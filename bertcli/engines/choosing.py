"""Which engine runs, decided once a run.

The instant engine begins at once and computes slowly; the packed engine begins after torch has been imported
and computes fast. So little input goes to the first: as long as NumPy would be done before torch had begun.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from bertcli.engines import available_cores
from bertcli.engines.instant import Instant
from bertcli.engines.instant.translator import InstantTranslator
from bertcli.engines.static import Static
from bertcli.errors import EngineError

if TYPE_CHECKING:
    from bertcli.engines import Engine
    from bertcli.engines.int8 import Observer, Roundings
    from bertcli.engines.seq2seq import Seq2SeqEngine
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.requests import EngineName, ModelOptions

# Measured on two cores, with 10 to 85 million weights in the layers: most of the start is torch's import, and all
# architectures compute at nearly one rate (BERT 61e9, DeBERTa 45e9).
PACKED_START = 2.0  # seconds to import torch and to load a model
NUMPY_RATE = 50e9  # float32 operations a second of the instant engine on one core
NUMPY_WEIGHTS = 2.5e9  # weights a second that a decoder of at most FEW hypotheses reads on one core
FEW = 8
BREAK_EVEN_TOKENS = 20_000  # more is never little, whatever the model


def choose(
    checkpoint: Checkpoint,
    options: ModelOptions,
    *,
    tokens_ahead: int | None,
    roundings: Roundings | None = None,
) -> Engine:
    """The engine for a run over about `tokens_ahead` tokens (None: unknown or many); int8 needs `roundings`.

    Raises EngineError for an engine, device or dtype that is not available.
    """
    if checkpoint.pooling.static:
        return _static(checkpoint, options)
    if options.engine == "instant":
        return _asked_instant(checkpoint, options)
    if engine_name(checkpoint, options, tokens_ahead=tokens_ahead) == "instant":
        return _instant(checkpoint, options)
    devices = options.device.split(",")
    if len(devices) == 1:
        return _packed(checkpoint, options, options.device, roundings)
    from bertcli.engines.replicas import Replicas

    return Replicas([_packed(checkpoint, options, device) for device in devices])


def engine_name(checkpoint: Checkpoint, options: ModelOptions, *, tokens_ahead: int | None) -> EngineName:
    """The engine that `choose` takes; `auto` for static embeddings, which have one of their own."""
    if checkpoint.pooling.static or options.engine != "auto":
        return options.engine
    cores = options.threads or available_cores()
    little = tokens_ahead is not None and tokens_ahead <= break_even(checkpoint, cores)
    is_instant = little and not _refusal(options) and Instant.supports(checkpoint) is None
    return "instant" if is_instant else "packed"


def engines_for(checkpoint: Checkpoint) -> list[str]:
    """The names of the engines that run a checkpoint."""
    if checkpoint.pooling.static:
        return [Static.name]
    return ["packed"] if Instant.supports(checkpoint) else ["instant", "packed"]


def choose_for_attention(checkpoint: Checkpoint, options: ModelOptions) -> Engine:
    """The engine for a run that asks what attention does: NumPy for BERT, else transformers' own code.

    Raises EngineError for an engine, device or dtype that is not available.
    """
    if options.engine == "instant":
        return _asked_instant(checkpoint, options)
    if options.engine == "auto" and not _refusal(options) and Instant.supports(checkpoint) is None:
        return _instant(checkpoint, options)
    if options.dtype == "int8":
        raise EngineError("attention is never computed in int8", hint="use float32 or bfloat16")
    from bertcli.engines.eager import EagerEncoder

    return EagerEncoder(checkpoint, device=options.device, dtype=options.dtype, threads=options.threads)


def break_even(checkpoint: Checkpoint, cores: int) -> int:
    """The number of tokens up to which NumPy is done before torch has begun."""
    description, hidden = checkpoint.description, checkpoint.hidden_size
    inner = 8 * hidden  # rows of the products of the feed-forward
    if description is not None:
        feed_forward = description.layer.feed_forward
        inner = (3 if feed_forward.gated else 2) * feed_forward.width
    weights = checkpoint.layers * hidden * (4 * hidden + inner)
    return min(BREAK_EVEN_TOKENS, int(PACKED_START * cores * NUMPY_RATE / (2 * weights)))


def translator_name(
    checkpoint: Checkpoint, options: ModelOptions, *, tokens_ahead: int | None, beam: int
) -> EngineName:
    """The engine that `open_seq2seq` is to open for a run over about `tokens_ahead` tokens (None: unknown or many) that
    follows `beam` hypotheses."""
    if options.engine != "auto":
        return options.engine
    # Each token that is generated takes a pass over most weights, and as many are generated as are read, about.
    weights = sum(prod(checkpoint.weights.shape(name)) for name in checkpoint.weights)
    work = weights * max(1, beam / FEW)
    little = tokens_ahead is not None and tokens_ahead * work <= PACKED_START * NUMPY_WEIGHTS
    is_instant = little and not _refusal(options) and InstantTranslator.supports(checkpoint) is None
    return "instant" if is_instant else "packed"


def open_seq2seq(checkpoint: Checkpoint, options: ModelOptions) -> Seq2SeqEngine:
    """The engine of that name for an encoder-decoder; `auto` is packed, which has all features.

    Raises EngineError for an engine, device or dtype that is not available.
    """
    if options.engine == "instant":
        if refused := _refusal(options):
            raise EngineError(f"the instant engine has no {refused}", hint="leave --engine out")
        return InstantTranslator(checkpoint, threads=options.threads, batch_tokens=options.batch_tokens)
    from bertcli.engines.seq2seq.translator import open_translator  # brings torch

    return open_translator(
        checkpoint,
        device=options.device,
        dtype=options.dtype,
        threads=options.threads,
        batch_tokens=options.batch_tokens,
    )


def _asked_instant(checkpoint: Checkpoint, options: ModelOptions) -> Engine:
    refused = _refusal(options)
    if refused:
        raise EngineError(f"the instant engine has no {refused}", hint="use --engine packed")
    return _instant(checkpoint, options)


def _static(checkpoint: Checkpoint, options: ModelOptions) -> Engine:
    """A table of token vectors, which no other engine runs."""
    if options.engine == "packed" or (refused := _refusal(options)):
        asked = "--engine packed" if options.engine == "packed" else refused
        raise EngineError(
            f"{checkpoint.name} is a table of token vectors, which the instant engine runs in float32 on the CPU",
            hint=f"leave out {asked}",
        )
    return Static(checkpoint, threads=options.threads, batch_tokens=options.batch_tokens)


def observed_engine(checkpoint: Checkpoint, options: ModelOptions) -> tuple[Engine, Observer]:
    """An engine in float32, and what it sees of the texts that it runs: `roundings()` are those for int8.

    Raises EngineError for a checkpoint or a processor that int8 is not for.
    """
    from bertcli.engines.device import choose_device, choose_dtype
    from bertcli.engines.int8 import Observer
    from bertcli.engines.packed import Packed

    choose_dtype("int8", choose_device(options.device))
    observer = Observer()
    tokens = options.batch_tokens
    engine = Packed(
        checkpoint, dtype="float32", threads=options.threads, batch_tokens=tokens, observer=observer
    )
    return engine, observer


def _packed(
    checkpoint: Checkpoint, options: ModelOptions, device: str, roundings: Roundings | None = None
) -> Engine:
    from bertcli.engines.packed import Packed  # brings torch

    return Packed(
        checkpoint,
        device=device,
        dtype=options.dtype,
        threads=options.threads,
        batch_tokens=options.batch_tokens,
        roundings=roundings,
    )


def _instant(checkpoint: Checkpoint, options: ModelOptions) -> Engine:
    return Instant(checkpoint, threads=options.threads, batch_tokens=options.batch_tokens)


def _refusal(options: ModelOptions) -> str | None:
    """What the options ask for that the instant engine does not have."""
    if options.device not in ("auto", "cpu"):
        return f"device {options.device}"
    if options.dtype not in ("auto", "float32"):
        return f"dtype {options.dtype}"
    return None
