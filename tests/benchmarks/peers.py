"""The peers, each as its own documentation runs it. Run by the peers' interpreters: imports nothing of ours.

sentence-transformers    encode(texts), with its defaults
pipeline                 pipeline(texts, batch_size=…): 1 by default, else the best of some
onnxruntime              a session, batches of 32 by length, padded
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from serving import Answer, serve  # type: ignore[import-not-found]

BATCHES = (1, 8, 32, 128)
TRIED = 64  # texts, to find the best batch
ONNX_BATCH = 32


def load(options: dict[str, Any]) -> Answer:
    kinds = {"sentence-transformers": sentence_transformers, "pipeline": pipeline, "onnxruntime": onnxruntime}
    return kinds[options["how"]](options)


def sentence_transformers(options: dict[str, Any]) -> Answer:
    import torch
    from sentence_transformers import SentenceTransformer

    settings: dict[str, Any] = {"device": "cpu"}
    if "dtype" in options:
        settings["model_kwargs"] = {"dtype": getattr(torch, options["dtype"])}
    if "backend" in options:
        settings["backend"] = options["backend"]
    model = SentenceTransformer(options["model"], **settings)
    return lambda texts: model.encode(list(texts), convert_to_tensor=True).float().cpu().numpy()


def pipeline(options: dict[str, Any]) -> Answer:
    import torch
    import transformers

    kind = {"label": "text-classification", "fill": "fill-mask", "tag": "token-classification"}
    task = options["task"].partition("-")[0]
    settings: dict[str, Any] = {"dtype": getattr(torch, options["dtype"])} if "dtype" in options else {}
    if task == "tag":
        settings["aggregation_strategy"] = "first"
    run = transformers.pipeline(kind[task], options["model"], device="cpu", **settings)
    more = {"label": {"truncation": True}, "fill": {"tokenizer_kwargs": {"truncation": True}}, "tag": {}}[
        task
    ]
    batch = None if options.get("batch") == "best" else 1

    def answer(texts: Sequence[str]) -> list[Any]:
        nonlocal batch
        if batch is None:
            run(texts[:TRIED], batch_size=1, **more)  # the first call prepares kernels
            batch = min(
                BATCHES, key=lambda size: _seconds(lambda: run(texts[:TRIED], batch_size=size, **more))
            )
        found = run(list(texts), batch_size=batch, **more)
        return [_said(task, each) for each in found]

    return answer


def _seconds(call: Any) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _said(task: str, found: Any) -> Any:
    """What is compared of an answer: the label, the likeliest word, the number of spans."""
    if task == "tag":
        return len(found)
    return found["label"] if task == "label" else found[0]["token_str"].strip()


def onnxruntime(options: dict[str, Any]) -> Answer:
    import onnxruntime as ort
    from transformers import AutoConfig, AutoTokenizer

    session = ort.InferenceSession(str(_exported(options)), providers=["CPUExecutionProvider"])
    tokenizer = AutoTokenizer.from_pretrained(options["model"])
    names = {each.name for each in session.get_inputs()}
    labels = AutoConfig.from_pretrained(options["model"]).id2label
    limit = options["length"]

    def answer(texts: Sequence[str]) -> Any:
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        found: list[Any] = [None] * len(texts)
        for start in range(0, len(order), ONNX_BATCH):
            numbers = order[start : start + ONNX_BATCH]
            inputs = tokenizer(
                [texts[number] for number in numbers],
                padding=True, truncation=True, max_length=limit, return_tensors="np",
            )  # fmt: skip
            (out, *_) = session.run(None, {name: inputs[name] for name in names})
            if options["task"] == "embed":
                out = _mean(out, inputs["attention_mask"])
            for number, row in zip(numbers, out, strict=True):
                found[number] = row
        if options["task"] == "embed":
            return np.stack(found)
        return [labels[int(row.argmax())] for row in found]

    return answer


def _mean(states: Any, mask: Any) -> Any:
    vectors = (states * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _exported(options: dict[str, Any]) -> Path:
    """The model in ONNX, exported once; for int8 with dynamically quantised products."""
    model, task = options["model"], options["task"]
    folder = Path(options["folder"], f"{Path(model).name}-{task}-onnx")
    whole, small = folder / "model.onnx", folder / "model.int8.onnx"
    if not whole.exists():
        from optimum.exporters.onnx import main_export

        kind = "feature-extraction" if task == "embed" else "text-classification"
        main_export(model, output=folder, task=kind, library_name="transformers")
    if options["dtype"] == "float32":
        return whole
    if not small.exists():
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(whole, small, weight_type=QuantType.QInt8)
    return small


if __name__ == "__main__":
    serve(load)
