"""The peers, each as its own documentation runs it. Run by the peers' interpreters: imports nothing of ours.

sentence-transformers    encode(texts), with its defaults
pipeline                 pipeline(texts, batch_size=…): 1 by default, else the best of some
onnxruntime              a session, batches of 32 by length, padded
openvino                 requests side by side, padded batches by length of the best size; int8 is
                         NNCF's static quantisation on 200 texts, with bfloat16 around it
generate, ctranslate2    see translation_peers
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import translation_peers  # type: ignore[import-not-found]
from serving import Answer, serve  # type: ignore[import-not-found]

BATCHES = (1, 8, 32, 128)
TRIED = 64  # texts, to find the best batch
ONNX_BATCH = 32
OPENVINO_BATCHES = (1, 4, 8, 16, 32)


def load(options: dict[str, Any]) -> Answer:
    kinds = {
        "sentence-transformers": sentence_transformers,
        "pipeline": pipeline,
        "onnxruntime": onnxruntime,
        "openvino": openvino,
        "generate": translation_peers.generate,
        "ctranslate2": translation_peers.ctranslate2,
    }
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
            inputs = _tokens(tokenizer, [texts[number] for number in numbers], limit)
            (out, *_) = session.run(None, {name: inputs[name] for name in names})
            if options["task"] == "embed":
                out = _mean(out, inputs["attention_mask"])
            for number, row in zip(numbers, out, strict=True):
                found[number] = row
        if options["task"] == "embed":
            return np.stack(found)
        return [labels[int(row.argmax())] for row in found]

    return answer


def openvino(options: dict[str, Any]) -> Answer:
    import openvino as ov
    from transformers import AutoConfig, AutoTokenizer

    model = ov.Core().compile_model(
        _converted(options), "CPU", {"INFERENCE_PRECISION_HINT": "bf16", "PERFORMANCE_HINT": "THROUGHPUT"}
    )
    tokenizer = AutoTokenizer.from_pretrained(options["model"])
    names = [each.get_any_name() for each in model.inputs]
    labels = AutoConfig.from_pretrained(options["model"]).id2label
    size = 0

    def run(texts: Sequence[str], size: int) -> list[Any]:
        found: list[Any] = [None] * len(texts)
        queue = ov.AsyncInferQueue(model)

        def take(request: Any, asked: tuple[list[int], Any]) -> None:
            numbers, mask = asked
            out = request.get_output_tensor(0).data
            rows = _mean(out, mask) if options["task"] == "embed" else out.copy()
            for number, row in zip(numbers, rows, strict=True):
                found[number] = row

        queue.set_callback(take)
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        for start in range(0, len(order), size):
            numbers = order[start : start + size]
            inputs = _tokens(tokenizer, [texts[number] for number in numbers], options["length"])
            queue.start_async({name: inputs[name] for name in names}, (numbers, inputs["attention_mask"]))
        queue.wait_all()
        return found

    def answer(texts: Sequence[str]) -> Any:
        nonlocal size
        if not size:
            run(texts[:TRIED], OPENVINO_BATCHES[0])  # the first call prepares kernels
            size = min(OPENVINO_BATCHES, key=lambda each: _seconds(lambda: run(texts[:TRIED], each)))
        found = run(texts, size)
        return np.stack(found) if options["task"] == "embed" else [labels[int(row.argmax())] for row in found]

    return answer


def _converted(options: dict[str, Any]) -> Path:
    """The model as OpenVINO has it, converted once."""
    import nncf
    import openvino as ov
    import transformers

    model, task = options["model"], options["task"]
    folder = Path(options["folder"], f"{Path(model).name}-{task}-openvino")
    whole, small = folder / "model.xml", folder / "model.int8.xml"
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    if not whole.exists():
        kind = "AutoModel" if task == "embed" else "AutoModelForSequenceClassification"
        network = getattr(transformers, kind).from_pretrained(model).eval()
        example = dict(tokenizer(["one text", "another"], padding=True, return_tensors="pt"))
        ov.save_model(ov.convert_model(network, example_input=example), whole, compress_to_fp16=False)
    if options["dtype"] == "bfloat16":
        return whole
    if not small.exists():
        texts = Path(options["calibration"]).read_text(encoding="utf-8").splitlines()
        data = nncf.Dataset(texts, lambda text: dict(_tokens(tokenizer, [text], options["length"])))
        quantised = nncf.quantize(
            ov.Core().read_model(whole), data, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(texts)
        )
        ov.save_model(quantised, small)
    return small


def _tokens(tokenizer: Any, texts: Sequence[str], limit: int) -> Any:
    return tokenizer(list(texts), padding=True, truncation=True, max_length=limit, return_tensors="np")


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
