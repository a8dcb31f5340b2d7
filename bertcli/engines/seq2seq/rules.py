"""What generation_config.json demands of decoding, or config.json where older checkpoints have it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bertcli.engines.seq2seq.architecture import describe_seq2seq
from bertcli.errors import EngineError

if TYPE_CHECKING:
    from bertcli.engines.seq2seq import Generation
    from bertcli.models.checkpoint import Checkpoint

LONGEST = 512  # new tokens where a checkpoint declares no limit
# Settings that change greedy or beam search and are not implemented here, with the value that changes nothing.
_UNSUPPORTED: Mapping[str, Any] = {
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "encoder_no_repeat_ngram_size": 0,
    "diversity_penalty": 0.0,
    "num_beam_groups": 1,
    "guidance_scale": 1,
    "sequence_bias": None,
    "exponential_decay_length_penalty": None,
    "renormalize_logits": False,
    "remove_invalid_values": False,
    "penalty_alpha": None,
    "constraints": None,
    "force_words_ids": None,
    "watermarking_config": None,
    "stop_strings": None,
    "prompt_lookup_num_tokens": None,
    "dola_layers": None,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rules:
    """How one run decodes. Lengths count generated tokens, without the decoder's start token.

    `suppressed` are never generated, `begin_suppressed` not as the first token, `first` is the first token whatever
    the model says, `last` the token at the length limit. `minimum` tokens come before the end at least. No n-gram of
    the size `no_repeat` comes twice. `early_stopping` and `length_penalty` are those of transformers.
    """

    start: int
    ends: tuple[int, ...]
    pad: int
    longest: int
    minimum: int = 0
    first: int | None = None
    last: tuple[int, ...] = ()
    suppressed: tuple[int, ...] = ()
    begin_suppressed: tuple[int, ...] = ()
    no_repeat: int = 0
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False


def unknown_settings(settings: Mapping[str, Any]) -> list[str]:
    """The settings of a checkpoint that only transformers' own code obeys."""
    unknown = [
        key
        for key, neutral in _UNSUPPORTED.items()
        if settings.get(key) not in (None, neutral, float(neutral or 0))
    ]
    if any(len(words) != 1 for words in settings.get("bad_words_ids") or ()):
        unknown.append("bad_words_ids of several tokens")
    return unknown


def is_described(checkpoint: Checkpoint) -> bool:
    """Whether the architecture and all generation settings of a checkpoint are known here."""
    return describe_seq2seq(checkpoint.config) is not None and not unknown_settings(checkpoint.generation)


def make_rules(
    settings: Mapping[str, Any], how: Generation, *, name: str, position_limit: int | None
) -> Rules:
    """The rules of a run, of a checkpoint with these settings.

    Raises EngineError for a checkpoint that names no token to start from or to end with.
    """
    start = how.start_token
    if start is None:
        start = _first(settings, "decoder_start_token_id", "bos_token_id")
    ends = _tokens(settings.get("eos_token_id"))
    if start is None or not ends:
        missing = "decoder_start_token_id" if start is None else "eos_token_id"
        raise EngineError(
            f"{name} names no {missing}, without which it cannot generate text",
            hint="add it to generation_config.json",
        )
    pad = settings.get("pad_token_id")
    bad = [words[0] for words in settings.get("bad_words_ids") or () if words[0] not in ends]
    penalty = settings.get("length_penalty") if how.length_penalty is None else how.length_penalty
    first = how.first_token if how.first_token is not None else settings.get("forced_bos_token_id")
    minimum = max((settings.get("min_length") or 0) - 1, settings.get("min_new_tokens") or 0)
    return Rules(
        start=start,
        ends=ends,
        pad=ends[0] if pad is None else pad,
        longest=_longest(settings, how.max_new_tokens, position_limit),
        minimum=minimum,
        first=first,
        last=_tokens(settings.get("forced_eos_token_id")),
        suppressed=tuple(sorted({*bad, *(settings.get("suppress_tokens") or ()), *how.extra_suppressed})),
        begin_suppressed=tuple(settings.get("begin_suppress_tokens") or ()),
        no_repeat=settings.get("no_repeat_ngram_size") or 0,
        length_penalty=1.0 if penalty is None else float(penalty),
        early_stopping=settings.get("early_stopping") or False,
    )


def _longest(settings: Mapping[str, Any], asked: int | None, position_limit: int | None) -> int:
    declared = settings.get("max_new_tokens")
    if declared is None and settings.get("max_length") is not None:
        declared = settings["max_length"] - 1  # which counts the start token
    wanted = asked or declared or LONGEST
    return max(1, wanted if position_limit is None else min(wanted, position_limit))


def _first(settings: Mapping[str, Any], *keys: str) -> int | None:
    return next((settings[key] for key in keys if settings.get(key) is not None), None)


def _tokens(value: Any) -> tuple[int, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else (value,)
