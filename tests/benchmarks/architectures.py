"""Every architecture beside transformers' pipeline in the same dtype: `python -m tests.benchmarks.architectures FILE`.

FILE has mixed texts, one a line. The models are classifiers of six layers of 768 with random weights and the vocabulary
of the bundled model. The pipeline runs with its best batch; start-up is left out. The peers are installed from the
registry into --peers at the first run. Nothing else should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers

from bertcli.engines.device import choose_dtype
from bertcli.models.library import BUNDLED
from tests.benchmarks import environments, texts
from tests.benchmarks.contest import Contestant, hold

transformers.utils.logging.set_verbosity_error()

SIZE = {"num_hidden_layers": 6, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
ARCHITECTURES: Mapping[str, Mapping[str, Any]] = {
    "bert": SIZE,
    "xlm-roberta": SIZE | {"max_position_embeddings": 514, "type_vocab_size": 1},
    "mpnet": SIZE | {"max_position_embeddings": 514},
    "modernbert": SIZE | {"intermediate_size": 1152},  # gated: three products instead of two
    "deberta-v2": SIZE
    | {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "position_buckets": 256,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "type_vocab_size": 0,
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.architectures", description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--types", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES))
    parser.add_argument("--texts", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", default="build/peers")
    parser.add_argument("--work", default=str(Path(tempfile.gettempdir(), "bertcli-benchmarks")))
    options = parser.parse_args()
    folder = Path(options.work)
    folder.mkdir(parents=True, exist_ok=True)
    lines = texts.shaped(texts.read(Path(options.file)), "mixed", options.texts)
    peer = environments.python_of("peers", Path(options.peers))
    dtype = str(choose_dtype("auto", torch.device("cpu"))).removeprefix("torch.")
    print(
        f"| {dtype} | pipeline, best batch: texts/s | bertcli: texts/s | ratio | CPU ratio | equal labels |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for model_type in options.types:
        shared = {"task": "label", "model": str(classifier(model_type, folder)), "dtype": dtype}
        theirs, ours = hold(
            [
                Contestant("pipeline", peer, shared | {"how": "pipeline", "batch": "best"}),
                Contestant("bertcli", Path(sys.executable), shared, ours=True),
            ],
            lines,
            options.rounds,
            folder,
        )
        for each in (theirs, ours):
            if each.failed is not None:
                raise SystemExit(f"{model_type}, {each.contestant.name}: {each.failed}")
        cpu = statistics.median(theirs.cpu) / statistics.median(ours.cpu)
        rates = " | ".join(f"{len(lines) / each.median:.1f}" for each in (theirs, ours))
        alike = (ours.likeness or [0.0])[0]
        print(
            f"| {model_type} | {rates} | {theirs.median / ours.median:.1f} | {cpu:.1f} | {alike:.3f} |",
            flush=True,
        )


def classifier(model_type: str, folder: Path) -> Path:
    """A classifier with random weights and a spread of answers, in `folder`."""
    path = folder / f"{model_type}-random"
    if not path.exists():
        torch.manual_seed(0)
        tokenizer = transformers.AutoTokenizer.from_pretrained(BUNDLED)
        tokenizer.model_max_length = 512
        settings = dict(ARCHITECTURES[model_type]) | {
            name: getattr(tokenizer, name) for name in ("pad_token_id", "cls_token_id", "sep_token_id")
        }
        if model_type != "bert":
            tokenizer.model_input_names = ["input_ids", "attention_mask"]
        config = transformers.AutoConfig.for_model(model_type, vocab_size=len(tokenizer), **settings)
        model = transformers.AutoModelForSequenceClassification.from_config(config)
        torch.nn.init.normal_([p for p in model.parameters() if p.dim() > 1][-1], std=0.5)
        part = folder / f"{model_type}-random.part"
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
        part.rename(path)
    return path


if __name__ == "__main__":
    main()
