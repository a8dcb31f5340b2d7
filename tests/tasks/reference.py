"""An engine that asks transformers, one window at a time in float32: what tasks are measured against here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers

from bertcli.engines import Ask, Hidden, MaskLogits, Pooled, SequenceLogits, TokenLogits
from bertcli.models.checkpoint import Checkpoint, open_checkpoint
from bertcli.models.tokenizer import Tokenizer
from bertcli.records import Record, Window
from bertcli.tasks import Task

if TYPE_CHECKING:
    from bertcli.engines import Array

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()


class Reference:
    """`calls` counts the windows of each call of `forward`."""

    name, device, dtype, workers = "reference", "cpu", "float32", 1

    def __init__(self, path: Path, kind: str = "Model", batch_tokens: int = 100_000) -> None:
        loader = getattr(transformers, f"AutoModel{kind.removeprefix('Model')}")
        self._model = loader.from_pretrained(path, dtype=torch.float32).eval()
        self.batch_tokens = batch_tokens
        self.calls: list[int] = []

    def forward(self, windows: Sequence[Window], ask: Ask) -> list[Array]:
        self.calls.append(len(windows))
        return [self._answer(window, ask) for window in windows]

    @torch.no_grad()
    def _answer(self, window: Window, ask: Ask) -> Array:
        inputs: dict[str, Any] = {"input_ids": torch.tensor([list(window.ids)])}
        if window.types is not None:
            inputs["token_type_ids"] = torch.tensor([list(window.types)])
        output = self._model(**inputs, output_hidden_states=True)
        match ask:
            case SequenceLogits() | TokenLogits():
                return output.logits[0].numpy()
            case MaskLogits():
                return output.logits[0, list(window.masks)].numpy()
            case Hidden(layer):
                return output.hidden_states[layer][0].numpy()
            case Pooled("cls", layer):
                return output.hidden_states[layer][0, 0].numpy()
            case Pooled(mode, layer):
                fresh = output.hidden_states[layer][0, slice(*window.fresh)]
                return (fresh.mean(0) if mode == "mean" else fresh.max(0).values).numpy()
        raise NotImplementedError(ask)


def opened(path: Path) -> tuple[Checkpoint, Tokenizer]:
    checkpoint = open_checkpoint(path)
    return checkpoint, Tokenizer.of(checkpoint)


def answer(task: Task, engine: Any, text: str, pair: str | None = None) -> dict[str, Any]:
    """The result fields of one text."""
    return answers(task, engine, [text], pair)[0]


def answers(task: Task, engine: Any, texts: Sequence[str], pair: str | None = None) -> list[dict[str, Any]]:
    """The result fields of texts whose windows run in one batch."""
    task.prepare(engine)
    records = [Record(index, {"text": text}, text, pair) for index, text in enumerate(texts)]
    encoded = [task.encode(record) for record in records]
    outputs = iter(task.forward(engine, [window for one in encoded for window in one.windows]))
    results = []
    for record, one in zip(records, encoded, strict=True):
        values = task.decode(record, one, [next(outputs) for _ in one.windows])
        assert tuple(values) == task.fields
        results.append(dict(values))
    return results
