"""`train translate`: the Transformer of "Attention Is All You Need" (Vaswani et al. 2017) from pairs of texts.

Post-norm layers, sinusoidal positions and one table of word pieces for source, target and output, as in the paper; so
are Adam with warm-up and inverse square root decay, label smoothing, and the average of the last checkpoints. The model
is transformers' Marian, so that the directory it leaves is one that transformers opens. With a base, its model and
tokenizer take the place of these: the trainer asks a `StartingPoint`, a `NewModel` here or a `BaseModel` in
`fine_tuning`.

A run is a function of its seed and data on one machine: batches are drawn by epoch number, and `state.pt` has what an
interrupted run continues from.
"""

from __future__ import annotations

import hashlib
import math
import random
import shlex
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from bertcli import __version__, interrupts
from bertcli.engines.seq2seq.positions import marian_positions
from bertcli.errors import UsageError
from bertcli.training.linear_cross_entropy import linear_cross_entropy
from bertcli.training.machine import Machine
from bertcli.training.saving import STATE
from bertcli.training.subwords import SPECIAL, train_subwords, write_subwords

if TYPE_CHECKING:
    from bertcli.training.saving import Target

SMOOTHING = 0.1
BETAS, EPSILON = (0.9, 0.98), 1e-9
CLIP = 1.0
AVERAGED = 10  # checkpoints, one an epoch
PATIENCE = 10  # epochs without a lower loss on the held-out pairs
SAVE_SECONDS = 120.0
MAX_LENGTH = 256  # tokens of a source or a target; longer pairs are left out
CHECKPOINTS = "checkpoints"


@dataclass(frozen=True, slots=True)
class Size:
    """A model: layers of encoder and decoder each, width, heads, inner width; and how it is trained best."""

    layers: int
    width: int
    heads: int
    inner: int
    dropout: float
    learning_rate: float
    warm_up: int


SIZES: Mapping[str, Size] = {
    # for some ten thousand pairs (Wu et al. 2021, "Good for Misconceived Reasons")
    "tiny": Size(layers=4, width=128, heads=4, inner=256, dropout=0.3, learning_rate=5e-3, warm_up=2000),
    "small": Size(layers=6, width=256, heads=4, inner=1024, dropout=0.2, learning_rate=1.5e-3, warm_up=4000),
    # the paper's
    "base": Size(layers=6, width=512, heads=8, inner=2048, dropout=0.1, learning_rate=7e-4, warm_up=4000),
}


@dataclass(frozen=True, slots=True)
class TranslationTraining:
    """What to train; `learning_rate` is the highest, None for the size's own. `base` is a checkpoint to start from,
    which has a size and a vocabulary of its own; languages and prefix are those of requests.Translate."""

    size: str = "tiny"
    vocabulary: int = 8000
    seed: int = 7
    epochs: int = 100
    learning_rate: float | None = None
    batch_tokens: int = 4096
    device: str = "auto"
    dtype: str = "auto"
    threads: int | None = None
    base: str | None = None
    source_lang: str | None = None
    target_lang: str | None = None
    prefix_text: str = ""


@dataclass
class Progress:
    """Where a run is; all of it is saved. `history` has a line an epoch: step, epoch and the held-out loss."""

    step: int = 0
    best: float = math.inf
    best_epoch: int = -1
    history: list[dict[str, float]] = field(default_factory=list)
    interrupted: bool = False


Pair = tuple[str, str]
Ids = tuple[list[int], list[int]]


class StartingPoint(Protocol):
    """An encoder-decoder before training: its model and tokenizer, the token that its decoder starts from (`start`),
    the most tokens of a text (`limit`), the learning rate and the warm-up that suit it, and `kind`, which its card
    says."""

    model: Any
    pad: int
    start: int
    limit: int
    learning_rate: float
    warm_up: int
    kind: str

    def encode(self, pairs: Sequence[Pair]) -> list[Ids]:
        """The token ids of sources and targets."""
        ...

    def loss(self, inputs: Mapping[str, Tensor], target: Tensor, real: Tensor, smoothing: float) -> Tensor:
        """The cross-entropy summed over those target positions, (S, T), that are `real`."""
        ...

    def write_tokenizer(self, folder: Path) -> None:
        """Write the files from which transformers makes the tokenizer."""
        ...


class NewModel:
    """A Transformer with random weights, and a vocabulary made of its training pairs."""

    limit = MAX_LENGTH

    def __init__(self, training: TranslationTraining, pairs: Sequence[Pair]) -> None:
        size = SIZES[training.size]
        self.learning_rate, self.warm_up = size.learning_rate, size.warm_up
        self.kind = (
            f"A Transformer of {size.layers}+{size.layers} layers, width {size.width}, trained from nothing"
        )
        self._tokenizer = train_subwords((text for pair in pairs for text in pair), training.vocabulary)
        self.model = build_model(size, self._tokenizer.get_vocab_size())
        self.pad, self.start = self.model.config.pad_token_id, self.model.config.decoder_start_token_id

    def encode(self, pairs: Sequence[Pair]) -> list[Ids]:
        sources, targets = (self._tokenizer.encode_batch(list(texts)) for texts in zip(*pairs, strict=True))
        return [(source.ids, target.ids) for source, target in zip(sources, targets, strict=True)]

    def loss(self, inputs: Mapping[str, Tensor], target: Tensor, real: Tensor, smoothing: float) -> Tensor:
        hidden = self.model.model(**inputs).last_hidden_state[real]
        return linear_cross_entropy(hidden, self.model.lm_head.weight, target[real], smoothing)

    def write_tokenizer(self, folder: Path) -> None:
        write_subwords(self._tokenizer, folder, self.limit)


class TranslationTrainer:
    """A run over pairs of texts in `folder`. `report(step, steps, loss)` is called after every step, `say` with a line
    about every epoch."""

    def __init__(
        self,
        training: TranslationTraining,
        train: Sequence[Pair],
        dev: Sequence[Pair],
        folder: Path,
        report: Callable[[int, int, float], None],
        say: Callable[[str], None],
    ) -> None:
        if training.threads is not None:
            torch.set_num_threads(training.threads)
        self.training, self.folder, self.report, self.say = training, folder, report, say
        torch.manual_seed(training.seed)
        self.origin = starting_point(training, train)
        self.model = self.origin.model
        self.train, self.left_out = self._encoded(train)
        self.dev, _ = self._encoded(dev)
        self.machine = Machine.choose(training.device, training.dtype, self.origin.pad)
        self.device = self.machine.device
        self.model.to(self.device)
        if self.device.type == "cpu":
            # torch's fused attention has a slow backward pass on CPUs, in bfloat16 a very slow one (torch 2.13).
            self.model.set_attn_implementation("eager")
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.rate = training.learning_rate or self.origin.learning_rate
        self.optimizer = torch.optim.Adam(
            self.parameters, lr=self.rate, betas=BETAS, eps=EPSILON, fused=self.device.type in ("cpu", "cuda")
        )
        self.progress = Progress()
        self.epoch_steps = len(self.batches(0))
        self.steps = self.epoch_steps * training.epochs
        described = repr((asdict(training), list(train), list(dev)))
        self.key = hashlib.sha256(described.encode()).hexdigest()

    def run(self, *, resume: bool) -> Progress:
        """Train until the epochs are over, nothing gets better, or Ctrl-C; leave the average of the last checkpoints
        in the model."""
        checkpoints = self.folder / CHECKPOINTS
        if resume:
            self.load()
        else:
            shutil.rmtree(checkpoints, ignore_errors=True)
        checkpoints.mkdir(exist_ok=True)
        progress, saved = self.progress, time.monotonic()
        progress.interrupted = False
        with interrupts.deferred() as asked:
            while progress.step < self.steps and not self.is_stale() and not asked():
                epoch, index = divmod(progress.step, self.epoch_steps)
                batches = self.batches(epoch)
                loss = self.learn(batches[index])
                self.report(progress.step, self.steps, loss)
                if progress.step % self.epoch_steps == 0:
                    self.end_epoch(epoch)
                if time.monotonic() - saved > SAVE_SECONDS:
                    self.save()
                    saved = time.monotonic()
            progress.interrupted = asked()
            if progress.interrupted:
                self.save()
        self.average()
        return progress

    def is_stale(self) -> bool:
        return len(self.progress.history) - 1 - self.progress.best_epoch >= PATIENCE

    def batches(self, epoch: int) -> list[list[int]]:
        """The pairs of each batch of an epoch: of about one length, at most `batch_tokens` in the target padded, in an
        order of the epoch's own. As many batches every epoch."""
        draw = random.Random(f"{self.training.seed} {epoch}")
        numbers = list(range(len(self.train)))
        draw.shuffle(numbers)
        lengths = [max(len(source), len(target)) for source, target in self.train]
        numbers.sort(key=lambda number: lengths[number])
        batches: list[list[int]] = [[]]
        for number in numbers:
            if batches[-1] and lengths[number] * (len(batches[-1]) + 1) > self.training.batch_tokens:
                batches.append([])
            batches[-1].append(number)
        draw.shuffle(batches)
        return batches

    def learn(self, numbers: Sequence[int]) -> float:
        """One step of the optimizer; the loss per target token."""
        progress = self.progress
        progress.step += 1
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * schedule(progress.step, self.origin.warm_up)
        torch.manual_seed(self.training.seed * 1_000_003 + progress.step)  # of dropout
        loss, tokens = self.loss([self.train[number] for number in numbers], SMOOTHING)
        (loss / tokens).backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach()) / tokens

    def loss(self, pairs: Sequence[Ids], smoothing: float) -> tuple[Tensor, int]:
        """Cross-entropy summed over the target tokens of pairs, and how many tokens these are."""
        pad = self.origin.pad
        source = padded([source for source, _ in pairs], pad).to(self.device)
        target = padded([target for _, target in pairs], pad).to(self.device)
        start = torch.full_like(target[:, :1], self.origin.start)
        real = target != pad
        inputs = {
            "input_ids": source,
            "attention_mask": (source != pad).long(),
            "decoder_input_ids": torch.cat([start, target[:, :-1]], 1),
        }
        with self.machine.forward_pass():
            loss = self.origin.loss(inputs, target, real, smoothing)
        return loss, int(real.sum())

    def end_epoch(self, epoch: int) -> None:
        """Measure, and keep a checkpoint."""
        progress = self.progress
        self.model.eval()
        held_out = self.measure() if self.dev else 0.0
        progress.history.append({"step": progress.step, "epoch": epoch + 1, "loss": held_out})
        measured = f": held-out loss {held_out:.4g} nats per token" if self.dev else ""
        self.say(f"epoch {epoch + 1} of {self.training.epochs}{measured}")
        if not self.dev or held_out < progress.best:
            progress.best, progress.best_epoch = held_out, len(progress.history) - 1
        weights = {
            name: value.detach().cpu().contiguous()
            for name, value in self.model.named_parameters()
            if value.requires_grad
        }
        folder = self.folder / CHECKPOINTS
        save_file(weights, folder / f"{epoch + 1}.safetensors")
        for old in checkpoints_in(folder)[:-AVERAGED]:
            old.unlink()

    def measure(self) -> float:
        """The loss per token on the held-out pairs, in nats, without smoothing."""
        total, count = 0.0, 0
        order = sorted(range(len(self.dev)), key=lambda number: len(self.dev[number][1]))
        with torch.inference_mode():
            for start in range(0, len(order), 64):
                loss, tokens = self.loss([self.dev[number] for number in order[start : start + 64]], 0.0)
                total, count = total + float(loss), count + tokens
        return total / max(1, count)

    def average(self) -> None:
        """Give the model the mean of the last checkpoints (Vaswani et al. 2017, section 6.1)."""
        files = checkpoints_in(self.folder / CHECKPOINTS)
        if not files:
            return
        mean: dict[str, Tensor] = {}
        for file in files:
            for name, value in load_file(file).items():
                mean[name] = mean[name] + value / len(files) if name in mean else value / len(files)
        self.model.load_state_dict(mean, strict=False)

    def save(self) -> None:
        """Write state.pt whole or not at all."""
        part = self.folder / f"{STATE}.part"
        torch.save(
            {
                "key": self.key,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "progress": asdict(self.progress),
            },
            part,
        )
        part.replace(self.folder / STATE)

    def load(self) -> None:
        """Take everything from state.pt. Raises UsageError where it belongs to another run."""
        state = torch.load(self.folder / STATE, weights_only=True, map_location="cpu")
        if state["key"] != self.key:
            raise UsageError(
                "the interrupted run had other data or other options",
                hint="give the same ones, or start again with --overwrite",
                where=str(self.folder),
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(**state["progress"])

    def write(self, target: Target, card: str) -> None:
        """Write model, tokenizer and card as a directory that transformers opens."""
        with target.writing(keep_state=self.progress.interrupted) as folder:
            self.model.save_pretrained(folder)
            self.origin.write_tokenizer(folder)
            (folder / "README.md").write_text(card, encoding="utf-8")

    def _encoded(self, pairs: Sequence[Pair]) -> tuple[list[Ids], int]:
        """The token ids of pairs, and how many pairs are too long and left out."""
        found = self.origin.encode(pairs) if pairs else []
        kept = [pair for pair in found if max(map(len, pair)) <= self.origin.limit]
        return kept, len(found) - len(kept)


def build_model(size: Size, vocabulary: int) -> Any:
    """A Marian model with random weights, as the paper draws them. The decoder starts from a padding token, whose
    embedding is zero in Marian and stays so: CTranslate2 relies on it."""
    end, unknown = range(len(SPECIAL))
    pad = vocabulary - 1
    config = transformers.MarianConfig(
        vocab_size=vocabulary,
        decoder_vocab_size=vocabulary,
        d_model=size.width,
        encoder_layers=size.layers,
        decoder_layers=size.layers,
        encoder_attention_heads=size.heads,
        decoder_attention_heads=size.heads,
        encoder_ffn_dim=size.inner,
        decoder_ffn_dim=size.inner,
        activation_function="relu",
        dropout=size.dropout,
        attention_dropout=0.0,
        activation_dropout=0.0,
        max_position_embeddings=2 * MAX_LENGTH,
        scale_embedding=True,
        share_encoder_decoder_embeddings=True,
        pad_token_id=pad,
        bos_token_id=None,
        eos_token_id=end,
        decoder_start_token_id=pad,
        forced_eos_token_id=end,
    )
    model = transformers.MarianMTModel(config)
    for name, weight in model.named_parameters():
        if name.endswith("shared.weight"):
            torch.nn.init.normal_(weight, 0.0, size.width**-0.5)
            weight.data[pad] = 0
            weight.register_hook(partial(without_row, pad))
        elif "embed_positions" in name:
            weight.data = torch.from_numpy(marian_positions(*weight.shape))
        elif weight.dim() > 1:
            torch.nn.init.xavier_uniform_(weight, initial_gain(name, size.layers))
    settings = model.generation_config
    settings.max_length, settings.bad_words_ids = MAX_LENGTH, [[pad], [unknown]]
    settings.decoder_start_token_id, settings.forced_eos_token_id = pad, end
    settings.pad_token_id, settings.eos_token_id = pad, end
    return model


def initial_gain(name: str, layers: int) -> float:
    """The factor of a matrix's initial weights. What a sublayer adds to its input begins small (Zhang et al. 2019,
    "Improving Deep Transformer with Depth-Scaled Initialization", and Radford et al. 2019, section 2.3): else the
    states of all positions become equal in the first hundred steps, and the decoder learns without the source."""
    if name.endswith(("out_proj.weight", "fc2.weight")):
        return float((2 * layers) ** -0.5)
    return 0.5**0.5 if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight")) else 1.0


def without_row(row: int, gradient: Tensor) -> Tensor:
    """A gradient that leaves a row of its weight as it is."""
    gradient = gradient.clone()
    gradient[row] = 0
    return gradient


def starting_point(training: TranslationTraining, pairs: Sequence[Pair]) -> StartingPoint:
    """The checkpoint that is trained further, or a new model for the pairs."""
    if training.base is None:
        return NewModel(training, pairs)
    from bertcli.training.fine_tuning import BaseModel

    return BaseModel(training)


def schedule(step: int, warm_up: int) -> float:
    """The share of the highest learning rate: linear up over the warm-up, then falling with the inverse square root."""
    return min(step / warm_up, math.sqrt(warm_up / step))


def padded(sequences: Sequence[Sequence[int]], pad: int) -> Tensor:
    longest = max(map(len, sequences))
    return torch.tensor([[*sequence, *[pad] * (longest - len(sequence))] for sequence in sequences])


def checkpoints_in(folder: Path) -> list[Path]:
    """The checkpoints of a run, in the order they were made."""
    return sorted(folder.glob("*.safetensors"), key=lambda file: int(file.stem))


def card_of(
    trainer: TranslationTrainer, command: Sequence[str], files: Sequence[str], loss: float | None
) -> str:
    """The model card: Markdown with the front matter that Hugging Face reads."""
    origin, progress = trainer.origin, trainer.progress
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: translation",
        "---",
        "",
        "# A translation model trained by bertcli",
        "",
        f"{origin.kind} by bertcli {__version__}"
        f" on {len(trainer.train)} pairs of texts ({', '.join(f'`{name}`' for name in files)}) in"
        f" {progress.step} steps; {len(trainer.dev) or 'none'} were held out. Its weights are the average of the last"
        f" {AVERAGED} epochs.",
        "" if loss is None else f"\nLoss on the held-out pairs: {loss:.4f} nats per token.\n",
        "```console",
        f"$ bertcli {shlex.join(command)}",
        '$ bertcli translate -m . -t "…"',
        "```",
        "",
        "It knows best the words and the kind of sentences of its training pairs.",
        "",
    ]
    return "\n".join(lines)
