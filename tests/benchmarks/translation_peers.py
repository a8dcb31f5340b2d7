"""The peers of `translate`, each as its own documentation runs it. Imported by `peers`: imports nothing of ours.

generate       transformers' generate, padded batches by length of the best size
ctranslate2    Translator.translate_batch, with the best batch and division of the threads
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Texts = Sequence[str]
GENERATE_BATCHES = (8, 32, 64)
CTRANSLATE2_BATCHES = (16, 32, 64)
TRIED = 64  # texts, to find the best batch


def generate(options: dict[str, Any]) -> Callable[[Texts], list[str]]:
    import torch
    import transformers

    dtype = getattr(torch, options["dtype"])
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(options["model"], dtype=dtype).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(options["model"])
    settings = {"num_beams": options["beam"], "max_length": None, "max_new_tokens": options["tokens"]}

    def translate(texts: Texts, batch: int) -> list[str]:
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        found = [""] * len(texts)
        for start in range(0, len(order), batch):
            numbers = order[start : start + batch]
            inputs = tokenizer([texts[number] for number in numbers], padding=True, return_tensors="pt")
            with torch.inference_mode():
                ids = model.generate(**inputs, **settings)
            for number, text in zip(
                numbers, tokenizer.batch_decode(ids, skip_special_tokens=True), strict=True
            ):
                found[number] = text
        return found

    return _best(translate, GENERATE_BATCHES)


def ctranslate2(options: dict[str, Any]) -> Callable[[Texts], list[str]]:
    import ctranslate2
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(options["model"])
    folder = Path(options["folder"], f"{Path(options['model']).name}-ctranslate2")
    if not folder.exists():
        ctranslate2.converters.TransformersConverter(options["model"]).convert(str(folder))
    cores = len(os.sched_getaffinity(0))
    translators = {
        inter: ctranslate2.Translator(
            str(folder),
            compute_type=options["dtype"],
            inter_threads=inter,
            intra_threads=cores // inter,
        )
        for inter in {1, cores}
    }

    def translate(texts: Texts, how: tuple[int, int]) -> list[str]:
        inter, batch = how
        tokens = [tokenizer.convert_ids_to_tokens(ids) for ids in tokenizer(list(texts))["input_ids"]]
        found = translators[inter].translate_batch(
            tokens,
            beam_size=options["beam"],
            max_decoding_length=options["tokens"],
            max_batch_size=batch,
            disable_unk=True,
        )
        ids = [tokenizer.convert_tokens_to_ids(each.hypotheses[0]) for each in found]
        return list(tokenizer.batch_decode(ids, skip_special_tokens=True))

    return _best(translate, list(itertools.product(translators, CTRANSLATE2_BATCHES)))


def _best(translate: Callable[[Texts, Any], list[str]], ways: Sequence[Any]) -> Callable[[Texts], list[str]]:
    """`translate` in that one of `ways` that is the fastest on the first texts it gets."""
    chosen: list[Any] = []

    def run(texts: Texts) -> list[str]:
        if not chosen:
            translate(texts[:TRIED], ways[0])  # the first call prepares kernels
            chosen.append(min(ways, key=lambda way: _seconds(translate, texts[:TRIED], way)))
        return translate(texts, chosen[0])

    return run


def _seconds(translate: Callable[[Texts, Any], list[str]], texts: Texts, way: Any) -> float:
    began = time.perf_counter()
    translate(texts, way)
    return time.perf_counter() - began
