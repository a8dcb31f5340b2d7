"""bertcli beside what people run on a GPU: `python -m tests.benchmarks.gpu FILE --model DIR`.

FILE holds mixed texts, one a line; DIR is a sentence-transformers model (all-MiniLM-L6-v2). Its encoder, and one
of BERT-base's size with random weights, get random heads. All contestants run in this process, one after the
other, each with a warm-up; peers compute in float16 with the batch that is best for them. Every line is printed
when it is known, a contest that fails prints its error, and what does not fit into --seconds is named at the end.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported

import numpy as np
import torch
import transformers

from bertcli.engines.attention import Grouped
from bertcli.engines.packed import Packed
from bertcli.models.checkpoint import open_checkpoint
from bertcli.records import Record, Window
from tests.benchmarks import checkpoints, ours, texts

TASKS = ("embed", "label", "fill", "tag")
PIPELINES = {"label": "text-classification", "fill": "fill-mask", "tag": "token-classification"}
ATTENTIONS = (None, "sdpa", "flash_attention_2")
BATCHES = (32, 128, 512, 1024)
FILL_BATCHES = (8, 32)  # the pipeline keeps the scores of the whole vocabulary for every token
TRIED = {"embed": 2048, "label": 512, "fill": 64, "tag": 512}  # texts on which batches are compared
COMPARED = 256  # texts whose answers are compared with those of the peer in float32
ROUNDS, ROUND_SECONDS, MOST_SECONDS = (
    3,
    1.0,
    5.0,
)  # the seconds of a round at least (ours), of all rounds at most
CHECKED = {("embed", "small"), ("fill", "small"), ("label", "base")}

Answer = Callable[[Sequence[str]], Any]


class Contest:
    """The contestants of one task and one model; `tokens` are those of each text as bertcli cuts it."""

    def __init__(self, task: str, model: Path, lines: Sequence[str], options: argparse.Namespace) -> None:
        self.task, self.model, self.device = task, model, options.device
        self.texts = texts.masked(lines, "[MASK]") if task == "fill" else list(lines)
        self.seconds_left: Callable[[], float] = options.seconds_left
        self.say: Callable[[str], None] = options.say
        # so that all of this can be tried where there is no GPU
        self.peer_dtype = torch.float32 if options.device == "cpu" else torch.float16
        self.reference: Any = None
        self.checkpoint = open_checkpoint(model)
        encode = ours.task_of(self.checkpoint, task).encode
        records = [Record(number, {"text": text}, text) for number, text in enumerate(self.texts)]
        began = time.perf_counter()
        self.windows: list[Window] = [encode(record).windows[0] for record in records]
        seconds = time.perf_counter() - began
        self.tokens = [len(window) for window in self.windows]
        self.say(f"\n### {task}, {model.name}: {len(lines)} texts, {sum(self.tokens)} tokens\n")
        self.say(f"* tokenising alone, one thread: {sum(self.tokens) / seconds:,.0f} tokens/s")

    def hold(self) -> None:
        self.attempt("reference in float32", self.refer)
        for dtype in ("float16", "bfloat16"):
            self.attempt(f"bertcli, {dtype}", lambda: self.race(f"bertcli, {dtype}", self.load_ours(dtype)))  # noqa: B023
            if self.task == "embed":
                self.attempt(f"engine alone, {dtype}", lambda: self.engine_alone(dtype))  # noqa: B023
        for attention in ATTENTIONS if self.task in ("embed", "label") else ATTENTIONS[:1]:
            for load in (embedder,) if self.task == "embed" else (pipeline, by_length):
                if load is by_length and self.task != "label":
                    continue
                name = f"{load.__name__}, {str(self.peer_dtype)[6:]}, {attention or 'default attention'}"
                self.attempt(name, lambda: self.race_best(name, load, attention))  # noqa: B023

    def attempt(self, name: str, run: Callable[[], None]) -> None:
        """Run a contestant, unless the time is up; say what went wrong."""
        if self.seconds_left() <= 0:
            self.say(f"* {name}: left out, the time is up")
            return
        try:
            run()
        except Exception as error:
            self.say(f"* {name}: failed: {type(error).__name__}: {str(error).strip()[:300]}")
        gc.collect()
        if self.device != "cpu":
            torch.cuda.empty_cache()

    def refer(self) -> None:
        answer = (embedder if self.task == "embed" else pipeline)(self, None, torch.float32)
        self.reference = answer(self.texts[:COMPARED], FILL_BATCHES[-1])

    def load_ours(self, dtype: str) -> Answer:
        return ours.load({"task": self.task, "model": str(self.model), "device": self.device, "dtype": dtype})

    def race_best(self, name: str, load: Any, attention: str | None) -> None:
        """A peer with its best batch."""
        answer = load(self, attention, self.peer_dtype)
        tried = self.texts[: TRIED[self.task]]
        answer(tried[: FILL_BATCHES[-1]], FILL_BATCHES[-1])
        took = {
            batch: seconds_of(lambda: answer(tried, batch))  # noqa: B023
            for batch in (FILL_BATCHES if self.task == "fill" else BATCHES)
            if batch <= max(len(tried), BATCHES[0])
        }
        best = min(took, key=lambda batch: took[batch])
        self.race(f"{name}, batch {best}", lambda asked: answer(asked, best))

    def race(self, name: str, answer: Answer) -> None:
        """The median rate: on all texts as often as they fill a round, or on as many as there is time for."""
        likeness = self.likeness(answer(self.texts[:COMPARED]))
        asked = self.texts[: TRIED[self.task]]
        once = seconds_of(lambda: answer(asked)) / len(asked)
        count = min(len(self.texts), max(len(asked), int(MOST_SECONDS / ROUNDS / once)))
        seconds: list[float] = []
        while len(seconds) < ROUNDS and (not seconds or sum(seconds) < MOST_SECONDS):
            seconds.append(seconds_of(lambda: answer(self.texts[:count])))
        median = statistics.median(seconds)
        spread = f"{len(seconds)} rounds of {min(seconds):.2f} to {max(seconds):.2f} s on {count} texts"
        short = "; too few texts" if median < ROUND_SECONDS and count == len(self.texts) else ""
        rate = sum(self.tokens[:count]) / median
        self.say(
            f"* {name}: {rate:,.0f} tokens/s, {count / median:,.0f} texts/s ({spread}{short}); {likeness}"
        )

    def likeness(self, found: Any) -> str:
        if self.reference is None:
            return "nothing to compare with"
        if self.task == "embed":
            one, other = (np.asarray(each, np.float64) for each in (self.reference, found))
            products = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
            return f"least cosine {products.min():.6f}"
        equal = [one == other for one, other in zip(self.reference, found, strict=True)]
        return f"equal answers {sum(equal) / len(equal):.4f}"

    def engine_alone(self, dtype: str) -> None:
        """Batches of windows that are there already, and how often the host waits for the device in one."""
        from bertcli.engines import Pooled

        engine = Packed(self.checkpoint, device=self.device, dtype=dtype)
        batches: list[list[Window]] = [[]]
        for window in sorted(self.windows, key=len):
            if sum(map(len, batches[-1])) + len(window) > engine.batch_tokens:
                batches.append([])
            batches[-1].append(window)
        ask = Pooled("mean")
        rounds = [
            seconds_of(lambda: [engine.forward(batch, ask) for batch in batches]) for _ in range(ROUNDS + 1)
        ]
        waits = (
            waits_of(lambda: engine.forward(batches[len(batches) // 2], ask)) if "cuda" in self.device else 0
        )
        rate = sum(self.tokens) / statistics.median(rounds[1:])
        self.say(
            f"* engine alone, {dtype}: {rate:,.0f} tokens/s in {len(batches)} batches, "
            f"{waits} waits for the device in one"
        )


def seconds_of(run: Callable[[], Any]) -> float:
    """Answers are on the host when a contestant returns: nothing is left to wait for."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def waits_of(run: Callable[[], Any]) -> int:
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(each.message) for each in found)


def embedder(contest: Contest, attention: str | None, dtype: torch.dtype) -> Any:
    """sentence-transformers."""
    from sentence_transformers import SentenceTransformer

    settings: dict[str, Any] = {"dtype": dtype} | ({"attn_implementation": attention} if attention else {})
    model = SentenceTransformer(str(contest.model), device=contest.device, model_kwargs=settings)
    model.max_seq_length = contest.checkpoint.embed_max_length
    return lambda asked, batch: model.encode(list(asked), batch_size=batch, show_progress_bar=False)


def pipeline(contest: Contest, attention: str | None, dtype: torch.dtype) -> Any:
    """transformers' pipeline."""
    task = contest.task
    settings: dict[str, Any] = {"aggregation_strategy": "first"} if task == "tag" else {}
    run = transformers.pipeline(
        PIPELINES[task],
        str(contest.model),
        device=contest.device,
        dtype=dtype,
        model_kwargs={"attn_implementation": attention} if attention else {},
        **settings,
    )
    more: dict[str, Any] = {"label": {"truncation": True}, "fill": {"tokenizer_kwargs": {"truncation": True}}}
    return lambda asked, batch: [
        len(each) if task == "tag" else each["label"] if task == "label" else each[0]["token_str"].strip()
        for each in run(list(asked), batch_size=batch, **more.get(task, {}))
    ]


def by_length(contest: Contest, attention: str | None, dtype: torch.dtype) -> Any:
    """A loop over batches in order of length, as somebody writes it who knows how."""
    settings = {"attn_implementation": attention} if attention else {}
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        contest.model, dtype=dtype, **settings
    )
    model = model.to(contest.device).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(contest.model)

    @torch.inference_mode()
    def answer(asked: Sequence[str], batch: int) -> list[str]:
        order = np.argsort([len(text) for text in asked])
        found = []
        for start in range(0, len(order), batch):
            part = [asked[number] for number in order[start : start + batch]]
            inputs = tokenizer(part, padding=True, truncation=True, return_tensors="pt").to(contest.device)
            found.append(model(**inputs).logits.argmax(-1))
        labels = torch.cat(found).cpu()[torch.from_numpy(np.argsort(order))]
        return [model.config.id2label[int(label)] for label in labels]

    return answer


def attention(contest: Contest) -> None:
    """One batch's attention as it runs, and by torch's own function for sequences end to end."""
    from torch.nn.attention.varlen import varlen_attn  # torch 2.10

    heads, width = contest.checkpoint.attention_heads, contest.checkpoint.hidden_size
    batch = sorted(contest.tokens[:400])
    device = torch.device(contest.device)
    qkv = torch.randn(sum(batch), 3, heads, width // heads, device=device, dtype=torch.float16)
    stops = torch.tensor([0, *np.cumsum(batch)], dtype=torch.int32, device=device)
    scale = (width // heads) ** -0.5
    grouped = Grouped(batch, device)
    runs = {
        "grouped": lambda: grouped.attend(qkv, scale),
        "varlen": lambda: varlen_attn(*qkv.unbind(1), stops, stops, batch[-1], batch[-1], scale=scale),
    }
    with torch.inference_mode():
        difference = float((runs["grouped"]() - runs["varlen"]()).abs().max())
        took = {}
        for name, run in runs.items():
            torch.cuda.synchronize()
            took[name] = seconds_of(lambda: ([run() for _ in range(20)], torch.cuda.synchronize())) / 20  # noqa: B023
    times = ", ".join(f"{name} {1e3 * seconds:.2f} ms" for name, seconds in took.items())
    contest.say(f"* attention of {sum(batch)} tokens: {times}; they differ by {difference:.1g}")


def check(contest: Contest) -> None:
    """`models check --deep` as a user runs it."""
    command = ["models", "check", str(contest.model), "--deep", "--device", contest.device, "-f", "jsonl"]
    done = subprocess.run(
        [sys.executable, "-m", "bertcli", *command],
        capture_output=True,
        text=True,
        timeout=max(10, contest.seconds_left()),
    )
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    proved = sum(each.get("severity") == "proved" for each in found)
    contest.say(f"* models check --deep {contest.model.name}: exit code {done.returncode}, {proved} proved")
    for each in found:
        contest.say(f"  * {each.get('severity')}: {each.get('message')}")
    if not found:
        contest.say(f"  * {done.stderr.strip()[-500:]}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gpu", description=__doc__)
    parser.add_argument("file", type=Path, help="mixed texts, one a line")
    parser.add_argument("--model", type=Path, required=True, help="an all-MiniLM-L6-v2 directory")
    parser.add_argument("--texts", type=int, default=12_000)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=90, help="nothing is begun after that")
    parser.add_argument("--report", type=Path, help="a Markdown file to write to as well")
    options = parser.parse_args()
    end = time.monotonic() + options.seconds
    options.seconds_left = lambda: end - time.monotonic()
    lines = texts.read(options.file)[: options.texts]

    def say(line: str) -> None:
        print(line, flush=True)
        if options.report:
            with options.report.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    options.say = say
    name = torch.cuda.get_device_name(options.device) if "cuda" in options.device else "the CPU"
    say(f"{name}; torch {torch.__version__}, transformers {transformers.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        for size in ("small", "base"):
            for task in options.tasks:
                if options.seconds_left() <= 0:
                    say(f"\n### {task}, {size}: left out, the time is up")
                    continue
                try:
                    source = (
                        options.model if size == "small" else checkpoints.base(options.model, Path(folder))
                    )
                    contest = Contest(task, checkpoints.with_head(source, task, Path(folder)), lines, options)
                except Exception as error:
                    say(f"\n### {task}, {size}: failed: {type(error).__name__}: {error}")
                    continue
                if task == "embed":
                    contest.attempt("attention", lambda: attention(contest))  # noqa: B023
                contest.hold()
                if (task, size) in CHECKED:
                    contest.attempt("models check --deep", lambda: check(contest))  # noqa: B023


if __name__ == "__main__":
    main()
