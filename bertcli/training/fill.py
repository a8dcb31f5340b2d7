"""Learn words: continued masked-LM training on one's own text (Devlin et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModelForMaskedLM

from bertcli.errors import ModelError
from bertcli.evaluation.masked_words import Sums, piece_sums
from bertcli.training.batches import Ids
from bertcli.training.examination import Examination, of_pieces
from bertcli.training.lessons import Machine, load_base
from bertcli.training.masking import Masking, inside

if TYPE_CHECKING:
    from bertcli.models.checkpoint import Checkpoint
    from bertcli.models.tokenizer import Tokenizer
    from bertcli.training.examples import Example, Held

Ints = NDArray[np.int64]

RATE = 0.15  # of the tokens are guessed; of these one in ten stays, one in ten becomes a random token
KEPT, SWAPPED = 0.1, 0.1
FEWEST = 3  # tokens of a text worth guessing in


class FillLesson:
    """A masked-LM on the base's encoder."""

    def __init__(
        self, checkpoint: Checkpoint, tokenizer: Tokenizer, held: Held, machine: Machine, length: int
    ) -> None:
        self._masking = Masking.of(tokenizer, RATE, KEPT, SWAPPED)
        self._measured = Masking.of(tokenizer, RATE)
        self._frame = tokenizer.frame(False)
        self.machine = machine
        self.is_watched = True
        self.train = _pieces(tokenizer, held.train, length)
        self.dev = _pieces(tokenizer, held.dev, length)
        self.lengths: Sequence[int] = [len(one) for one in self.train]
        self.model = load_base(AutoModelForMaskedLM, checkpoint).to(machine.device)

    def begin(self) -> None:
        """The head is the base's own."""

    def loss(self, chosen: Sequence[int], seed: int) -> Tensor:
        logits, words, _ = self._guessed([self.train[i] for i in chosen], seed, self._masking)
        return torch.nn.functional.cross_entropy(logits, words)

    def examine(self) -> Examination:
        """With every chosen token behind the mask, the same ones each time."""
        sums: list[Sums] = []
        for indices, _ in self.machine.sweep(self.dev):
            logits, words, counts = self._guessed([self.dev[i] for i in indices], indices[0], self._measured)
            found = ranks_and_log_p(logits, words)  # [guessed, 2]
            sums += [piece_sums(part) for part in np.split(found, np.cumsum(counts)[:-1])]
        pieces, _, _, surprise = np.sum(sums, axis=0)
        return of_pieces(sums, float(surprise / pieces))

    def _guessed(self, texts: Sequence[Ids], seed: int, masking: Masking) -> tuple[Tensor, Tensor, Ints]:
        """Logits [guessed, vocabulary] at the chosen places, the words there [guessed], and how many of them
        each text has [rows]."""
        inputs = self.machine.batch(texts)
        ids = inputs["input_ids"].cpu().numpy()  # [rows, length]
        maskable = inside(np.array([len(one) for one in texts]), ids.shape[1], self._frame)
        counts = masking.counts(maskable)
        hidden = masking.hide(ids, maskable, counts, np.random.default_rng(seed))
        device = self.machine.device
        inputs["input_ids"] = torch.from_numpy(hidden.ids).to(device)
        states = self.model.base_model(**inputs).last_hidden_state.flatten(0, 1)  # [rows * length, hidden]
        states = states[torch.from_numpy(hidden.positions).to(device)]
        head = self.model.get_submodule(_head_name(self.model))
        logits = head(states).float()
        return logits, torch.from_numpy(hidden.targets).to(device), counts


def ranks_and_log_p(logits: Tensor, words: Tensor) -> NDArray[np.float32]:
    """The rank from 0 and the log-probability of each word [guessed, 2]; logits are [guessed, vocabulary]."""
    own = logits.gather(1, words[:, None])  # [guessed, 1]
    ranks = (logits > own).sum(1, keepdim=True)
    found: NDArray[np.float32] = torch.cat([ranks, own - logits.logsumexp(1, keepdim=True)], 1).cpu().numpy()
    return found


def _head_name(model: torch.nn.Module) -> str:
    """The masked-LM head beside the encoder (`cls`, `lm_head` …): only guessed places are projected onto the
    vocabulary. Raises ModelError for an architecture whose head is in several parts."""
    names = [name for name, _ in model.named_children() if name in ("cls", "lm_head", "predictions")]
    if len(names) != 1:
        raise ModelError(
            f"train fill does not know the head of {type(model).__name__}",
            hint="take a BERT, RoBERTa, CamemBERT, XLM-R, MPNet or ALBERT",
        )
    return names[0]


def _pieces(tokenizer: Tokenizer, examples: Sequence[Example], length: int) -> list[Ids]:
    """Every text whole, in pieces of at most `length` tokens; scraps of a few tokens are left out."""
    frame = tokenizer.frame(False)
    room = length - len(frame)
    found = []
    for example in examples:
        ids = tokenizer.encode(example.text).ids
        for start in range(0, len(ids), room):
            if len(ids) - start >= FEWEST:
                built, types, _, _ = frame.build(ids[start : start + room])
                found.append(Ids(np.array(built, np.int32), types))  # type: ignore[arg-type]
    if not found:
        raise ModelError("the texts are too short to guess words in", hint="give whole sentences, one a line")
    return found
