"""The first answer of a process: `python -m tests.benchmarks.first_answer [--sizes base small] [--models NAME ...]`.

One short text through `bertcli label` and `bertcli embed`, whole processes, for every architecture, beside a script
with transformers' pipeline of this environment. The models have random weights in float32 and vocabularies of the size
and kind that published models have (`vocabularies`); files are in the page cache. Each figure is the median of several
processes, which run in turn. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer

from tests.benchmarks.processes import in_turn
from tests.benchmarks.vocabularies import MANY, byte_level, unigram, wordpiece

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

TEXT = "The battery died after two days."
PIPELINE = f"""
import sys
from transformers import pipeline
print(pipeline("text-classification", sys.argv[1])({TEXT!r}))
"""
SIZES = {"base": (12, 768), "small": (6, 384)}  # layers and width
BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
DISTANCES = {
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "type_vocab_size": 0,
}


@dataclass(frozen=True, slots=True)
class Family:
    """A model type, its vocabulary, and what its settings are beside the sizes. `layers` are those of base size."""

    model_type: str
    tokenizer: Callable[..., Tokenizer]
    vocabulary: int
    specials: tuple[str, ...] = BERT
    settings: Mapping[str, Any] = field(default_factory=dict)
    layers: int = 12
    inner: float = 4.0  # times the width


FAMILIES: Mapping[str, Family] = {
    "BERT": Family("bert", wordpiece, 30_522),
    "RoBERTa": Family("roberta", byte_level, 50_265, ROBERTA, {"type_vocab_size": 1}),
    "DistilBERT": Family("distilbert", wordpiece, 30_522, layers=6),
    "MPNet": Family("mpnet", wordpiece, 30_527, ROBERTA),
    "XLM-R": Family("xlm-roberta", partial(unigram, letters=MANY), 250_002, ROBERTA, {"type_vocab_size": 1}),
    "DeBERTa-v3": Family("deberta-v2", unigram, 128_001, settings=DISTANCES),
    "ModernBERT": Family("modernbert", byte_level, 50_368, layers=22, inner=1.5),
    "ELECTRA": Family("electra", wordpiece, 30_522),
    "ALBERT": Family("albert", unigram, 30_000, settings={"embedding_size": 128}),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.first_answer", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-pipeline", action="store_true", help="measure bertcli alone")
    parser.add_argument("--work", default=str(Path(tempfile.gettempdir(), "bertcli-benchmarks")))
    options = parser.parse_args()
    folder = Path(options.work)
    folder.mkdir(parents=True, exist_ok=True)
    print("| seconds | vocabulary | pipeline | label | ratio | embed |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    show("`python -c pass`", {"pass": [sys.executable, "-c", "pass"]}, options.rounds, folder)
    for size in options.sizes:
        for name in options.models:
            path = str(classifier(FAMILIES[name], *SIZES[size], folder))
            ours = [sys.executable, "-m", "bertcli"]
            commands = {"pipeline": [sys.executable, "-c", PIPELINE, path]}
            if options.no_pipeline:
                commands = {}
            commands |= {task: [*ours, task, "-m", path, "-t", TEXT] for task in ("label", "embed")}
            show(f"{name}, {size}", commands, options.rounds, folder, FAMILIES[name].vocabulary)


def show(
    name: str, commands: Mapping[str, list[str]], rounds: int, folder: Path, vocabulary: int = 0
) -> None:
    """Print a row of the table."""
    medians = {found.name: found.median for found in in_turn(commands, rounds, folder)}
    columns = [
        f"{medians[column]:.2f}" if column in medians else "" for column in ("pipeline", "label", "embed")
    ]
    ratio = f"{medians['pipeline'] / medians['label']:.1f}" if "pipeline" in medians else ""
    own = f"{medians['pass']:.3f}" if "pass" in medians else columns[1]
    size = f"{vocabulary:,}".replace(",", " ") if vocabulary else ""
    print(f"| {name} | {size} | {columns[0]} | {own} | {ratio} | {columns[2]} |", flush=True)


def classifier(family: Family, layers: int, width: int, folder: Path) -> Path:
    """A classifier with random weights, in `folder`."""
    path = folder / f"first-{family.model_type}-{width}"
    if path.exists():
        return path
    torch.manual_seed(0)
    layers = family.layers if layers == 12 else layers
    native = family.tokenizer(family.vocabulary, family.specials, TEXT.rstrip(".").split())
    roles = {"pad": "pad", "unk": "unk", "mask": "mask", "cls": "s", "sep": "/s"}
    tokens = {
        f"{role}_token": next(
            token for token in family.specials if token.lower().strip("<[]>") in (role, spelled)
        )
        for role, spelled in roles.items()
    }
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=native,
        model_max_length=512,
        model_input_names=["input_ids", "attention_mask"],
        **tokens,
    )
    sizes = {
        "vocab_size": len(tokenizer),
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": 12,
        "intermediate_size": int(family.inner * width),
        "max_position_embeddings": 514,
    } | {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("pad", "cls", "sep")}
    if family.model_type == "distilbert":
        sizes |= {"dim": width, "n_layers": layers, "n_heads": 12, "hidden_dim": 4 * width}
    config = transformers.AutoConfig.for_model(family.model_type, **sizes | dict(family.settings))
    model = transformers.AutoModelForSequenceClassification.from_config(config)
    part = folder / f"{path.name}.part"
    model.save_pretrained(part)
    tokenizer.save_pretrained(part)
    part.rename(path)
    return path


if __name__ == "__main__":
    main()
