"""`models convert`: a model as a directory that needs nothing else, with the same answers.

Weights of a pickle become safetensors, an adapter is merged, an old vocabulary becomes tokenizer.json. The copy gets
its name after it has answered as the model does.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bertcli.errors import ModelError

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint

ALLOWED = 1e-4  # of the largest number: both are computed in float32
SOME_TEXTS = (
    "The quick brown fox, who never slept, jumps over 42 lazy dogs in Zürich; don't you see it?",
    "One more text (a short one).",
)
_COPIED = re.compile(r"[\w.-]+\.(json|txt|model|spm|md)|LICENSE[\w.-]*|NOTICE", re.ASCII)
_GENERATED = ("config.json", "tokenizer.json", "adapter_config.json")
_MODULE = re.compile(r"\d+_\w+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Conversion:
    """What was changed and what was compared, in words, and the largest difference, relative to the largest number."""

    path: Path
    changes: tuple[str, ...]
    compared: tuple[str, ...]
    difference: float


def convert(checkpoint: Checkpoint, path: Path, *, overwrite: bool) -> Conversion:
    """Write the model as the directory `path`, whole or not at all.

    Raises OutputError for a directory that must not be replaced, ModelError for a model whose copy answers differently.
    """
    from bertcli.models.checkpoint import open_checkpoint
    from bertcli.training.saving import Target

    target = Target(path, overwrite=overwrite, resume=False)
    try:
        with target.writing(keep_state=False) as folder:
            changes = tuple(_write(checkpoint, folder))
            copy = open_checkpoint(folder)
            differences = dict(_differences(checkpoint, copy))
            if worse := [what for what, found in differences.items() if not found <= ALLOWED]:
                raise ModelError(
                    f"the copy answers differently: {worse[0]} differ by {differences[worse[0]]:.1g}, so it is not"
                    " written",
                    where=str(checkpoint.directory),
                    hint="please report it",
                )
    finally:
        target.abandon()
    return Conversion(path, changes, tuple(differences), max(differences.values(), default=0.0))


def _write(checkpoint: Checkpoint, folder: Path) -> Iterator[str]:
    """Write everything, and say what differs from the files that were there."""
    from bertcli.engines.conversion import write_weights

    root, below = _root(checkpoint)
    _copy_files(root, folder)
    yield from _copy_modules(root, folder)
    if checkpoint.adapter is not None:
        if (checkpoint.directory / "modules.json").exists():
            below = Path()
        _copy_files(checkpoint.directory, folder)
        yield from _copy_modules(checkpoint.directory, folder)
    encoder = folder / below
    encoder.mkdir(exist_ok=True)
    _copy_files(checkpoint.path, encoder)
    _copy_files(checkpoint.tokenizer_path, encoder)
    config = json.dumps(dict(checkpoint.config), indent=2, ensure_ascii=False)
    (encoder / "config.json").write_text(config + "\n", encoding="utf-8")
    if checkpoint.weights.pickle:
        yield f"{', '.join(file.name for file in checkpoint.weights.files)} as safetensors"
    if checkpoint.adapter is not None:
        yield f"{checkpoint.adapter} merged"
    write_weights(checkpoint, encoder)
    yield from _write_tokenizer(checkpoint, encoder)


def _root(checkpoint: Checkpoint) -> tuple[Path, Path]:
    """The directory of the base model, and the encoder's folder in it: sentence-transformers may put it below."""
    if checkpoint.adapter is None:
        return checkpoint.directory, checkpoint.path.relative_to(checkpoint.directory)
    return checkpoint.path, Path()


def _copy_files(source: Path, folder: Path) -> None:
    """The small files of a directory, but for those that are generated and for indices of weights."""
    for file in sorted(source.iterdir()):
        generated = file.name in _GENERATED or file.name.endswith(".index.json")
        if file.is_file() and _COPIED.fullmatch(file.name) and not generated:
            shutil.copyfile(file, folder / file.name)


def _copy_modules(source: Path, folder: Path) -> Iterator[str]:
    """The folders of sentence-transformers' modules, with weights in safetensors."""
    from bertcli.engines.conversion import write_pickled

    for module in sorted(path for path in source.iterdir() if path.is_dir() and _MODULE.fullmatch(path.name)):
        copied = folder / module.name
        copied.mkdir(exist_ok=True)
        _copy_files(module, copied)
        if (module / "config.json").exists():
            shutil.copyfile(module / "config.json", copied / "config.json")
        if (module / "model.safetensors").exists():
            shutil.copyfile(module / "model.safetensors", copied / "model.safetensors")
        elif (pickle := module / "pytorch_model.bin").exists() and not (
            module / "tokenizer_config.json"
        ).exists():
            write_pickled([pickle], copied)
            yield f"{module.name}/{pickle.name} as safetensors"


def _write_tokenizer(checkpoint: Checkpoint, encoder: Path) -> Iterator[str]:
    """tokenizer.json, but for an encoder-decoder whose vocabularies cannot be in one."""
    from bertcli.models.seq2seq_tokenizer import has_own_vocabularies
    from bertcli.models.tokenizer_cache import converted_tokenizer

    if has_own_vocabularies(checkpoint):
        return
    found = checkpoint.tokenizer_path / "tokenizer.json"
    if found.exists():
        shutil.copyfile(found, encoder / "tokenizer.json")
        return
    (encoder / "tokenizer.json").write_bytes(converted_tokenizer(checkpoint.tokenizer_path))
    yield "the vocabulary as tokenizer.json"


def _differences(checkpoint: Checkpoint, copy: Checkpoint) -> Iterator[tuple[str, float]]:
    """(what is compared, the difference) of the model's answers and the copy's."""
    if checkpoint.config.get("is_encoder_decoder"):
        yield from _differences_in_text(checkpoint, copy)
        return
    from bertcli.engines.packed import Packed
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.verification import difference, possible_asks, probes

    tokenizers = [Tokenizer.of(each) for each in (checkpoint, copy)]
    yield _tokens_differ(*[tokenizer.encode for tokenizer in tokenizers])
    windows = probes(copy, tokenizers[1])
    engines = [Packed(each, device="cpu", dtype="float32") for each in (checkpoint, copy)]
    asks = [possible_asks(each) for each in (checkpoint, copy)]
    for what in (what for what in asks[0] if what in asks[1]):
        answers = [engine.forward(windows, ask[what]) for engine, ask in zip(engines, asks, strict=True)]
        yield what, difference(answers[1], answers[0])


def _differences_in_text(checkpoint: Checkpoint, copy: Checkpoint) -> Iterator[tuple[str, float]]:
    """The same of an encoder-decoder: the tokens it generates, and their log-probabilities."""
    from bertcli.engines.seq2seq import Generation
    from bertcli.engines.seq2seq.translator import open_translator
    from bertcli.models.seq2seq_tokenizer import Seq2SeqTokenizer
    from bertcli.records import Window

    tokenizers = [Seq2SeqTokenizer.of(each) for each in (checkpoint, copy)]
    yield _tokens_differ(*[tokenizer.encode for tokenizer in tokenizers])
    windows = [Window(list(ids), None, (0, len(ids))) for ids in map(tokenizers[1].encode, SOME_TEXTS)]
    how = Generation(beam=1, max_new_tokens=8)
    first, second = (
        [each[0] for each in open_translator(model, device="cpu", dtype="float32").generate(windows, how)]
        for model in (checkpoint, copy)
    )
    same = [one.ids for one in first] == [other.ids for other in second]
    scores = max(abs(one.log_prob - other.log_prob) for one, other in zip(first, second, strict=True))
    yield "generated tokens", scores if same else float("inf")


def _tokens_differ(*encoders: Callable[[str], Any]) -> tuple[str, float]:
    """Whether two tokenizers give the same tokens, as a difference of 0 or infinity."""
    first, second = ([_ids(encode(text)) for text in SOME_TEXTS] for encode in encoders)
    return "tokens", 0.0 if first == second else float("inf")


def _ids(tokens: Any) -> Sequence[int]:
    return list(getattr(tokens, "ids", tokens))
