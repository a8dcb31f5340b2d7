"""Models with a head for each task: the encoder of a given one, or one of BERT-base's size; heads are random.

What a head says does not matter to its speed. Its weights are larger than those of training's beginning, so
that answers differ and can be compared.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
import transformers

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

BASE = "BERT-base, random weights"
CLASSES = {"label": 2, "label-77": 77, "tag": 9}
_FAMILY = {
    "embed": transformers.AutoModel,
    "fill": transformers.AutoModelForMaskedLM,
    "label": transformers.AutoModelForSequenceClassification,
    "label-77": transformers.AutoModelForSequenceClassification,
    "tag": transformers.AutoModelForTokenClassification,
}


def with_head(source: Path, task: str, folder: Path) -> Path:
    """A checkpoint of `source`'s encoder with a head for `task`, in `folder`; `source` itself to embed."""
    if task == "embed":
        return source
    path = folder / f"{source.name}-{task}"
    if not path.exists():
        model = _with_names(_FAMILY[task], task, source)
        _save(model, transformers.AutoTokenizer.from_pretrained(source), path)
    return path


def base(tokenizer_of: Path, folder: Path) -> Path:
    """A checkpoint of BERT-base's size with random weights, and the tokenizer of another."""
    path = folder / "bert-base-random"
    if not path.exists():
        torch.manual_seed(0)
        tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizer_of)
        model = transformers.BertModel(transformers.BertConfig(vocab_size=len(tokenizer)))
        tokenizer.model_max_length = 512
        _save(model, tokenizer, path)
    return path


def _with_names(family: Any, task: str, source: Path) -> Any:
    torch.manual_seed(0)
    settings: dict[str, Any] = {}
    if task in CLASSES:
        names = {number: f"class {number}" for number in range(CLASSES[task])}
        if task == "tag":
            names = {0: "O"} | {number: f"B-{number}" for number in range(1, CLASSES[task])}
        settings = {"id2label": names, "label2id": {name: number for number, name in names.items()}}
    model = family.from_pretrained(source, dtype=torch.float32, **settings)
    for name, weight in model.named_parameters():
        if name.startswith(("classifier.weight", "cls.predictions.transform.dense.weight")):
            torch.nn.init.normal_(weight, std=0.5)
    return model


def _save(model: Any, tokenizer: Any, path: Path) -> None:
    part = path.with_name(path.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    model.save_pretrained(part)
    tokenizer.save_pretrained(part)
    part.rename(path)
