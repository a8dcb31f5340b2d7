"""tokenizer.json for checkpoints that have none: transformers converts their vocabulary once, and the result
is cached by the content of the files it was made from.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import orjson

from bertcli import console
from bertcli.errors import ModelError, first_line
from bertcli.models.jsonfile import ANOTHER_COPY, read_object, read_small
from bertcli.models.user_cache import cached_path, digest, read_cached, write_cached

TEXT_VOCABULARIES = ("vocab.txt", "vocab.json")
SENTENCEPIECE = ("*.model", "*.spm")
SETTINGS = ("config.json", "tokenizer_config.json")
OTHERS = ("merges.txt", "special_tokens_map.json", "added_tokens.json")
SAVE = "AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR) of transformers writes tokenizer.json"


def holds_tokenizer(directory: Path) -> bool:
    """Whether a directory has a tokenizer.json, or a vocabulary that one can be made of."""
    names = ("tokenizer.json", *TEXT_VOCABULARIES)
    return any((directory / name).exists() for name in names) or any(
        next(directory.glob(pattern), None) for pattern in SENTENCEPIECE
    )


def converted_tokenizer(directory: Path) -> bytes:
    """The tokenizer.json that transformers makes of the vocabulary in `directory`.

    Raises ModelError where there is no vocabulary, or where transformers cannot convert it.
    """
    texts = [name for name in TEXT_VOCABULARIES if (directory / name).exists()]
    models = [path.name for pattern in SENTENCEPIECE for path in sorted(directory.glob(pattern))]
    if not texts and not models:
        raise ModelError(
            "the directory holds no tokenizer (tokenizer.json or vocab.txt)",
            where=str(directory),
            hint="copy the tokenizer's files into it, or save them there with transformers' save_pretrained",
        )
    found = {name: read_small(directory / name) for name in [*texts, *models, *OTHERS, *SETTINGS]}
    files = {name: data for name, data in found.items() if data is not None}
    key = digest(*(part for name, data in files.items() for part in (os.fsencode(name), data)))
    cached = cached_path("tokenizers", f"{key}.json")
    content = read_cached(cached)
    if content is None:
        if not texts and None in map(find_spec, ("sentencepiece", "google")):
            raise ModelError(
                f"the tokenizer is a SentencePiece model ({models[0]}), and the package that reads it is missing",
                where=str(directory),
                hint="pip install 'bertcli[sentencepiece]'",
            )
        content = _convert(files, directory)
        where = f", cached in {cached.parent}" if write_cached(cached, content) else ""
        console.say(f"converted {directory / (texts + models)[0]} to tokenizer.json{where}")
    return content


def _convert(files: Mapping[str, bytes], directory: Path) -> bytes:
    """Have transformers convert a copy of the files, so that nothing else is read than they are."""
    console.quiet_libraries()
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as copy:
        for name, data in files.items():
            (Path(copy) / name).write_bytes(data)
        for name in SETTINGS:
            _remove_references(Path(copy) / name)
        try:
            tokenizer = AutoTokenizer.from_pretrained(copy, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # each class of transformers raises errors of its own
            raise _cannot_convert(directory, first_line(error).replace(copy, str(directory))) from error
    if not tokenizer.is_fast:
        raise _cannot_convert(directory, f"{type(tokenizer).__name__} is not a fast tokenizer")
    native, settings = tokenizer.backend_tokenizer, tokenizer.init_kwargs
    vocabulary = native.get_vocab(with_added_tokens=False)
    if vocabulary.keys() <= set(tokenizer.all_special_tokens):
        hint = (
            'if it is a BERT vocabulary, write "tokenizer_class": "BertTokenizer" into tokenizer_config.json'
        )
        name = type(tokenizer).__name__
        is_other = "vocab.txt" in files and not name.startswith("Bert")
        raise _cannot_convert(directory, f"{name} reads other files", hint if is_other else None)
    # Special tokens that the vocabulary lacks are added behind it, where the model has no embeddings.
    framing = tokenizer.convert_ids_to_tokens(tokenizer("")["input_ids"])
    if lost := sorted(set(framing) - vocabulary.keys()):
        raise _cannot_convert(directory, f"the vocabulary lacks {', '.join(lost)}")
    definition = orjson.loads(native.to_str())
    if (
        "merges.txt" in files
        and isinstance(settings.get("mask_token"), str)
        and not settings.get("added_tokens_decoder")
    ):
        # RoBERTa's mask token includes the blank before it; transformers 5 lost that where no file says so.
        for token in definition["added_tokens"]:
            token["lstrip"] |= token["content"] == tokenizer.mask_token
    return orjson.dumps(definition)


def _remove_references(path: Path) -> None:
    """Remove the settings that name code, or files that would be read instead of the copied ones."""
    if path.exists():
        settings = read_object(path).items()
        safe = {key: value for key, value in settings if key != "auto_map" and not key.endswith("_file")}
        path.write_bytes(orjson.dumps(safe))


def _cannot_convert(directory: Path, reason: str, hint: str | None = None) -> ModelError:
    return ModelError(
        f"there is no tokenizer.json, and transformers cannot make one: {reason}",
        where=str(directory),
        hint=hint or f"{SAVE}, where it has a fast tokenizer of that class; or {ANOTHER_COPY}",
    )
