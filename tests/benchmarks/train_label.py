"""`bertcli train label` against what else one could do with the same examples.

    python tests/benchmarks/train_label.py banking77.train.jsonl --shots 8 32 all --seeds 3 \
        --base MODEL --embedder all-MiniLM-L6-v2

Peers: a logistic regression (scikit-learn's defaults) on sentence-transformers' embeddings, and with
`--tune` the same base fine-tuned by plain transformers. Without `--test` a fifth of the file, the same for
all, is what accuracy is measured on. `--shots` are examples a class, or a share such as 0.2, or all. A line a
method: accuracy, mean over the seeds (each of them in brackets), and seconds of learning and answering.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]
Method = Callable[[Rows, Rows], list[str]]
"""Learns from the first rows, and answers for the second."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("train")
    parser.add_argument("--test")
    parser.add_argument("--most", type=int, default=2000, help="rows to measure on")
    parser.add_argument("--shots", nargs="+", default=["8", "32", "all"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--base", required=True)
    parser.add_argument("--embedder", required=True)
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--tune-epochs", type=int, default=10)
    parser.add_argument("--tune-rate", type=float, default=5e-4)
    options = parser.parse_args()
    train, test = split(read(options.train), read(options.test) if options.test else None, options.most)
    methods: dict[str, Method] = {
        "logistic regression": lambda a, b: regress(a, b, options.embedder),
        "bertcli train label": lambda a, b: bertcli(a, b, options.base),
    }
    if options.tune:
        methods["transformers"] = lambda a, b: tune(
            a, b, options.base, options.tune_epochs, options.tune_rate
        )
    for shots in options.shots:
        for name, method in methods.items():
            figures, seconds = [], []
            for seed in range(options.seeds):
                chosen = choose(train, shots, seed)
                began = time.monotonic()
                answers = method(chosen, test)
                seconds.append(time.monotonic() - began)
                hits = sum(a == str(row["label"]) for a, row in zip(answers, test, strict=True))
                figures.append(hits / len(test))
            each = " ".join(f"{figure:.3f}" for figure in figures)
            print(
                f"{Path(options.train).stem} {shots:>4} {name:20} {statistics.fmean(figures):.3f} ({each})"
                f" {statistics.median(seconds):.0f} s",
                flush=True,
            )


def read(path: str) -> Rows:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def split(rows: Rows, test: Rows | None, most: int) -> tuple[Rows, Rows]:
    rng = random.Random(0)
    if test is None:
        rng.shuffle(rows)
        test, rows = rows[: len(rows) // 5], rows[len(rows) // 5 :]
    rng.shuffle(test)
    return rows, test[:most]


def choose(rows: Rows, shots: str, seed: int) -> Rows:
    """So many of each class, or a share of all, in an order of the seed's."""
    rng = random.Random(seed)
    shuffled = rng.sample(rows, len(rows))
    if shots == "all":
        return shuffled
    if "." in shots:
        return shuffled[: round(float(shots) * len(rows))]
    counts: dict[str, int] = {}
    chosen = []
    for row in shuffled:
        counts[row["label"]] = counts.get(row["label"], 0) + 1
        if counts[row["label"]] <= int(shots):
            chosen.append(row)
    return chosen


def regress(train: Rows, test: Rows, embedder: str) -> list[str]:
    from sentence_transformers import SentenceTransformer
    from sklearn.linear_model import LogisticRegression

    model = SentenceTransformer(embedder, device="cpu")
    seen, unseen = (
        model.encode([row["text"] for row in rows], show_progress_bar=False) for rows in (train, test)
    )
    regression = LogisticRegression(max_iter=1000).fit(seen, [str(row["label"]) for row in train])
    return list(regression.predict(unseen))


def bertcli(train: Rows, test: Rows, base: str) -> list[str]:
    from bertcli.cli import main as run

    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{name}.jsonl" for name in ("train", "test", "said")}
        for name, rows in (("train", train), ("test", test)):
            kept = [
                {key: row[key] for key in ("text", "label") if name == "train" or key == "text"}
                for row in rows
            ]
            files[name].write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        model = f"{folder}/model"
        assert run(["train", "label", str(files["train"]), "-m", base, "-o", model, "-q"]) == 0
        assert run(["label", str(files["test"]), "-m", model, "-o", str(files["said"]), "-q"]) == 0
        return [row["label"] for row in read(str(files["said"]))]


def tune(train: Rows, test: Rows, base: str, epochs: int, rate: float, rows: int = 32) -> list[str]:
    """As transformers' examples do it: AdamW, warm-up and linear decay, batches padded to their longest."""
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        get_linear_schedule_with_warmup,
    )

    torch.manual_seed(0)
    classes = sorted({str(row["label"]) for row in train})
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=len(classes), dtype=torch.float32, attn_implementation="eager"
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    steps = epochs * -(-len(train) // rows)
    schedule = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)

    def logits(chosen: Sequence[dict[str, Any]]) -> Any:
        texts = [row["text"] for row in chosen]
        inputs = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
        with torch.autocast("cpu", torch.bfloat16):
            return model(**inputs).logits.float()

    model.train()
    for epoch in range(epochs):
        order = random.Random(epoch).sample(range(len(train)), len(train))
        for start in range(0, len(order), rows):
            chosen = [train[i] for i in order[start : start + rows]]
            targets = torch.tensor([classes.index(str(row["label"])) for row in chosen])
            torch.nn.functional.cross_entropy(logits(chosen), targets).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    model.eval()
    with torch.inference_mode():
        found = [logits(test[start : start + 64]).argmax(1).tolist() for start in range(0, len(test), 64)]
    return [classes[number] for part in found for number in part]


if __name__ == "__main__":
    main()
