"""From files to batches: texts and their tokens, masking, labels, tags and pairs, in length buckets.

Every stream is a pure function of the batch number: `stream.batch(n)` needs no state but the seed. That is
what lets a resumed run see exactly the batches an uninterrupted one would have seen.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from bertcli.training.recipe import LabelSkill, Source, TagSkill

IGNORED = -100
"""The target of a token that carries no tag (torch's cross_entropy leaves it out)."""

T = TypeVar("T")
Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
SENTENCE_END = re.compile(r"(?<=[.!?])[\"')]? +(?=[\"'(]?[A-Z])")


@dataclass(frozen=True)
class Batch:
    """What one micro-batch carries.

    ids [rows, length]; mask [rows, length] of 0/1, or None where nothing is padded; types [rows, length]: the
    segments; seed: what dropout draws from. Targets by kind:

    fill: token ids [masked] at the flat `positions` [masked];
    label: classes [rows] int64, or [rows, labels] float32, or numbers [rows] float32;
    tag: [rows, length], IGNORED at all but the first pieces of words;
    embed: teacher vectors [rows, hidden], or for scored pairs cosines [rows / 2], the first half of the rows
    being the first texts and the second half their partners.
    """

    ids: Tensor
    mask: Tensor | None
    types: Tensor | None
    targets: Tensor
    positions: Tensor | None = None
    seed: int = 0


@dataclass(frozen=True)
class Encoded:
    """A tokenised text or pair: ids with special tokens, and which segment each belongs to."""

    ids: list[int]
    types: list[int]


@dataclass(frozen=True)
class Example:
    """A labelled text or pair.

    `target` is a class name, a list of names where several may hold, or a number for regression.
    """

    text: str
    pair: str | None
    target: object


@dataclass(frozen=True)
class Sentence:
    """Words with their tags."""

    words: list[str]
    tags: list[str]


# --- Reading --------------------------------------------------------------------------------------


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a text file, `.xz` or plain, without their ends."""
    opener = lzma.open if path.suffix == ".xz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield line.rstrip("\r\n")


def read_texts(
    source: Source, unit: str, seed: int, held_out: Callable[[int], bool] = lambda line: False
) -> list[str]:
    """The lines of a text file or the texts of a JSONL file; with `unit` "sentence", cut at sentence ends.

    Sentences keep to 25 to 260 characters. `source.limit` takes a seeded sample, spread over the file.
    """
    texts: list[str] = []
    structured = source.path.suffix == ".jsonl"
    for number, line in enumerate(read_lines(source.path)):
        if not line or (held_out(number) and not structured):
            continue
        record = json.loads(line) if structured else {"text": line}
        for text in (record["text"], record.get("text_pair")):
            if not text:
                continue
            if unit == "sentence":
                texts.extend(" ".join(s.split()) for s in SENTENCE_END.split(text) if 25 <= len(s) <= 260)
            else:
                texts.append(" ".join(text.split()) if structured else text)
    if source.limit is not None and source.limit < len(texts):
        kept = np.random.default_rng(seed).choice(len(texts), source.limit, replace=False)
        texts = [texts[i] for i in np.sort(kept)]
    return texts


def read_examples(sources: Sequence[Source], seed: int) -> list[Example]:
    """Records of JSONL files with `text`, maybe `text_pair`, and a target: `label`, `labels` or `score`."""
    examples = []
    for source in sources:
        found = []
        for line in read_lines(source.path):
            record = json.loads(line)
            target = next(record[key] for key in ("labels", "label", "score") if key in record)
            found.append(Example(record["text"], record.get("text_pair"), target))
        if source.limit is not None and source.limit < len(found):
            kept = np.random.default_rng(seed).choice(len(found), source.limit, replace=False)
            found = [found[i] for i in np.sort(kept)]
        examples.extend(found)
    return examples


def read_scored_pairs(sources: Sequence[Source]) -> list[Example]:
    """Records of JSONL files with `text`, `text_pair` and the number `score` as the target."""
    examples = []
    for source in sources:
        for line in read_lines(source.path):
            record = json.loads(line)
            examples.append(Example(record["text"], record["text_pair"], record["score"]))
    return examples


def read_conll(sources: Sequence[Source]) -> list[Sentence]:
    """Sentences of CoNLL files: `word<TAB>…<TAB>tag` a line, a blank line between sentences."""
    sentences = []
    for source in sources:
        words: list[str] = []
        tags: list[str] = []
        for line in [*read_lines(source.path), ""]:
            if line.strip():
                columns = line.split("\t")
                words.append(columns[0])
                tags.append(columns[-1])
            elif words:
                sentences.append(Sentence(words, tags))
                words, tags = [], []
    return sentences


def label_examples(skill: LabelSkill, seed: int) -> tuple[list[Example], list[Example]]:
    """(train, dev) of a label skill: the dev files, or else a seeded share of the distinct texts is held out.

    Equal texts go to the same side, so that no dev text is trained on.
    """
    examples = read_examples(skill.data, seed)
    if skill.dev:
        return examples, read_examples(skill.dev, seed)
    distinct = sorted({example.text for example in examples})
    chosen = np.random.default_rng(seed).permutation(len(distinct))[
        : round(len(distinct) * skill.dev_fraction)
    ]
    dev = {distinct[i] for i in chosen}
    return [e for e in examples if e.text not in dev], [e for e in examples if e.text in dev]


def tag_sentences(skill: TagSkill, seed: int) -> tuple[list[Sentence], list[Sentence]]:
    """(train, dev) of a tag skill: the dev files, or else a seeded share of the sentences is held out."""
    sentences = read_conll(skill.data)
    if skill.dev:
        return sentences, read_conll(skill.dev)
    order = np.random.default_rng(seed).permutation(len(sentences))
    cut = round(len(sentences) * skill.dev_fraction)
    return [sentences[i] for i in order[cut:]], [sentences[i] for i in order[:cut]]


# --- Tokens ---------------------------------------------------------------------------------------


def load_tokenizer(directory: Path) -> Tokenizer:
    """The fast tokenizer of a checkpoint, with the padding and truncation stored in its file switched off."""
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def encode_texts(
    tokenizer: Tokenizer, texts: Sequence[str], pairs: Sequence[str] | None, length: int
) -> list[Encoded]:
    """Each text (or pair) with special tokens, cut to `length` tokens, the longer of a pair first."""
    tokenizer.enable_truncation(length)
    encoded: list[Encoded] = []
    for start in range(0, len(texts), 4096):
        part = texts[start : start + 4096]
        inputs = (
            list(zip(part, pairs[start : start + 4096], strict=True)) if pairs is not None else list(part)
        )
        encoded.extend(Encoded(e.ids, e.type_ids) for e in tokenizer.encode_batch_fast(inputs))
    tokenizer.no_truncation()
    return encoded


def encode_words(
    tokenizer: Tokenizer, sentences: Sequence[Sentence], length: int
) -> tuple[list[Encoded], list[list[int]]]:
    """Pre-split words with special tokens, and the token index of the first piece of each word.

    Words beyond `length` tokens have no index: the list of firsts is then shorter than the words.
    """
    tokenizer.enable_truncation(length)
    encoded, firsts = [], []
    for found in tokenizer.encode_batch([s.words for s in sentences], is_pretokenized=True):
        encoded.append(Encoded(found.ids, found.type_ids))
        first: dict[int, int] = {}
        for index, word in enumerate(found.word_ids):
            if word is not None:
                first.setdefault(word, index)
        # A word of unknown control characters may have no piece; stop there, as at truncation.
        whole = next((n for n in range(len(first)) if n not in first), len(first))
        firsts.append([first[n] for n in range(whole)])
    tokenizer.no_truncation()
    return encoded, firsts


def pad(encoded: Sequence[Encoded], length: int) -> tuple[Tensor, Tensor, Tensor]:
    """(ids, mask, types), each [rows, length]; 0 is BERT's [PAD]."""
    ids, mask, types = (np.zeros((len(encoded), length), np.int64) for _ in range(3))
    for row, one in enumerate(encoded):
        size = len(one.ids)
        ids[row, :size], mask[row, :size], types[row, :size] = one.ids, 1, one.types
    return torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(types)


@dataclass(frozen=True)
class TokenFile:
    """The tokens of a text file end to end, uint16 or uint32, and where each line starts: [texts + 1]."""

    tokens: NDArray[np.unsignedinteger]
    starts: Ints


def tokenize_file(path: Path, tokenizer: Tokenizer, cache: Path) -> TokenFile:
    """The tokens of each line of `path`, without special tokens; kept under `cache` for the next start."""
    stat = path.stat()
    identity = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns} {tokenizer.to_str()}"
    key = hashlib.sha256(identity.encode()).hexdigest()[:16]
    files = cache / f"{key}.tokens.npy", cache / f"{key}.starts.npy"
    if not all(file.exists() for file in files):
        width = np.uint16 if tokenizer.get_vocab_size() < 2**16 else np.uint32
        parts: list[NDArray[np.unsignedinteger]] = []
        lines: list[str] = []

        def flush() -> None:
            found = tokenizer.encode_batch_fast(lines, add_special_tokens=False)
            parts.extend(np.array(one.ids, width) for one in found)
            lines.clear()

        for line in read_lines(path):
            lines.append(line)
            if len(lines) == 64:
                flush()
        flush()
        cache.mkdir(parents=True, exist_ok=True)
        np.save(files[0], np.concatenate([np.zeros(0, width), *parts]))
        np.save(files[1], np.cumsum([0, *(len(part) for part in parts)], dtype=np.int64))
    return TokenFile(np.load(files[0], mmap_mode="r"), np.load(files[1]))


# --- Order ----------------------------------------------------------------------------------------


class BucketedOrder:
    """Shuffled batches of examples of like length, as (indices, padded length), for any batch number.

    An epoch sorts its permutation into buckets and cuts full batches of `batch_tokens // length` rows. What
    is left in a bucket moves to the next longer one; the last batch of the longest is filled up from its
    beginning. So the shapes are few and fixed (a compiled graph each).
    """

    def __init__(self, lengths: Sequence[int], buckets: Sequence[int], batch_tokens: int, seed: int) -> None:
        if not lengths:
            raise ValueError("there are no examples to train on")
        self.lengths = np.array(lengths)
        self.buckets = [b for b in buckets if b < max(lengths)]
        self.buckets.append(next((b for b in buckets if b >= max(lengths)), max(lengths)))
        self.batch_tokens = batch_tokens
        self.seed = seed
        self._epoch: tuple[int, list[tuple[Ints, int]]] = (-1, [])
        self.batches_an_epoch = len(self._batches(0))

    def __call__(self, number: int) -> tuple[Ints, int]:
        """The indices of batch `number` [rows] and the length to pad them to."""
        epoch, index = divmod(number, self.batches_an_epoch)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._batches(epoch))
        return self._epoch[1][index]

    def _batches(self, epoch: int) -> list[tuple[Ints, int]]:
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.lengths))
        batches: list[tuple[Ints, int]] = []
        left = np.zeros(0, np.int64)
        shorter = 0
        for bucket in self.buckets:
            fitting = (self.lengths[order] > shorter) & (self.lengths[order] <= bucket)
            members = np.concatenate([left, order[fitting]])
            rows = max(2, self.batch_tokens // bucket // 2 * 2)
            if bucket == self.buckets[-1] and len(members) % rows:
                members = np.resize(members, -(-len(members) // rows) * rows)
            full = len(members) // rows
            batches.extend((members[i * rows : (i + 1) * rows], bucket) for i in range(full))
            left, shorter = members[full * rows :], bucket
        return [batches[i] for i in rng.permutation(len(batches))]


# --- Streams --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SpecialTokens:
    """The ids a stream of blocks needs."""

    cls: int
    sep: int
    mask: int
    vocabulary: int

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> SpecialTokens:
        """Looked up under BERT's names in the tokenizer's vocabulary."""
        size = tokenizer.get_vocab_size()
        ids = [tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]", "[MASK]")]
        found = [one for one in ids if one is not None]
        if len(found) < len(ids):
            raise ValueError("the tokenizer has no [CLS], [SEP] and [MASK] tokens")
        return cls(found[0], found[1], found[2], size)


@dataclass(frozen=True)
class Masking:
    """Which tokens to guess (`rate`), and how many of these stay as they are or become a random token.

    Devlin et al. 2018 keep 10 % and replace 10 %, so that every position is worth a thought when no text has
    masks.
    """

    rate: float
    keep: float = 0.0
    random: float = 0.0

    def hide(
        self,
        ids: Ints,
        maskable: NDArray[np.bool_],
        count: int,
        special: SpecialTokens,
        rng: np.random.Generator,
    ) -> tuple[Ints, Ints, Ints]:
        """Hide `count` maskable tokens of every row of ids [rows, length].

        Returns (new ids, flat positions [rows * count], what was there). A fixed count a row keeps the shapes
        fixed.
        """
        order = np.where(maskable, rng.random(ids.shape), 2.0).argpartition(count - 1, axis=1)[:, :count]
        flat = (np.arange(len(ids))[:, None] * ids.shape[1] + np.sort(order, axis=1)).ravel()
        targets = ids.ravel()[flat]
        fate = rng.random(len(flat))
        shown = np.where(fate < self.keep, targets, special.mask)
        swapped = (fate >= self.keep) & (fate < self.keep + self.random)
        shown[swapped] = rng.integers(0, special.vocabulary, int(swapped.sum()))
        hidden = ids.copy()
        hidden.ravel()[flat] = shown
        return hidden, flat, targets


class BlockStream:
    """Masked language modelling on full blocks of `length` tokens, none padded."""

    def __init__(
        self,
        files: Sequence[TokenFile],
        special: SpecialTokens,
        length: int,
        rows: int,
        masking: Masking,
        seed: int,
        held_out: Callable[[int], bool],
        *,
        train: bool,
    ) -> None:
        self.files = files
        self.special = special
        self.length, self.rows, self.seed = length, rows, seed
        self.masking = masking
        self.count = max(1, round(masking.rate * (length - 2)))
        body = length - 2
        places: list[Ints] = []
        for number, file in enumerate(files):
            for line, (start, end) in enumerate(zip(file.starts[:-1], file.starts[1:], strict=True)):
                if held_out(line) == train or end - start < body:
                    continue
                # Tiles, the last one moved back so that the end of a text is used too.
                tiles = np.arange(start, end - body + 1, body)
                if tiles[-1] != end - body and end - body - tiles[-1] > body // 2:
                    tiles = np.append(tiles, end - body)
                places.append(np.stack([np.full_like(tiles, number), tiles]))
        if not places:
            raise ValueError(f"no text of the corpus fills a block of {length} tokens")
        self.places = np.concatenate(places, axis=1)  # [2, blocks]: file, first token
        self._epoch: tuple[int, Ints] = (-1, np.zeros(0, np.int64))

    @property
    def batches_an_epoch(self) -> int:
        return max(1, int(self.places.shape[1]) // self.rows)

    def batch(self, number: int) -> Batch:
        """Batch `number`, the same on every call."""
        epoch, index = divmod(number, self.batches_an_epoch)
        if self._epoch[0] != epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(self.places.shape[1])
            self._epoch = (epoch, order)
        chosen = self._epoch[1][index * self.rows : (index + 1) * self.rows]
        ids = np.empty((len(chosen), self.length), np.int64)
        ids[:, 0], ids[:, -1] = self.special.cls, self.special.sep
        for row, (file, start) in enumerate(self.places[:, chosen].T):
            ids[row, 1:-1] = self.files[file].tokens[start : start + self.length - 2]
        maskable = np.ones(ids.shape, np.bool_)
        maskable[:, [0, -1]] = False
        rng = np.random.default_rng([self.seed, 1, number])
        hidden, positions, targets = self.masking.hide(ids, maskable, self.count, self.special, rng)
        return Batch(
            torch.from_numpy(hidden), None, None, torch.from_numpy(targets), torch.from_numpy(positions)
        )


class TextFillStream:
    """Masked language modelling on single texts, as a user would type them.

    [CLS] text [SEP], padded in buckets.
    """

    def __init__(
        self, encoded: Sequence[Encoded], special: SpecialTokens, order: BucketedOrder, masking: Masking
    ) -> None:
        self.encoded, self.special, self.order, self.masking = encoded, special, order, masking

    def batch(self, number: int) -> Batch:
        """Batch `number`, the same on every call."""
        indices, length = self.order(number)
        ids, mask, types = pad([self.encoded[i] for i in indices], length)
        maskable = mask.numpy().astype(bool)
        maskable[:, 0] = False
        maskable[np.arange(len(indices)), maskable.sum(1)] = (
            False  # [SEP], the last token that is not padding
        )
        # A row of a bucket fills three quarters or more of it, hardly ever less.
        count = max(1, round(self.masking.rate * 0.75 * length))
        count = min(count, int(maskable.sum(1).min()))
        rng = np.random.default_rng([self.order.seed, 1, number])
        hidden, positions, targets = self.masking.hide(ids.numpy(), maskable, count, self.special, rng)
        return Batch(
            torch.from_numpy(hidden), mask, types, torch.from_numpy(targets), torch.from_numpy(positions)
        )


class LabelStream:
    """Texts or pairs with a target each: class indices int64 [rows], or float32 [rows] or [rows, labels]."""

    def __init__(self, encoded: Sequence[Encoded], targets: Tensor, order: BucketedOrder) -> None:
        self.encoded, self.targets, self.order = encoded, targets, order

    def batch(self, number: int) -> Batch:
        """Batch `number`, the same on every call."""
        indices, length = self.order(number)
        ids, mask, types = pad([self.encoded[i] for i in indices], length)
        return Batch(ids, mask, types, self.targets[torch.from_numpy(indices)])


class VectorStream:
    """Texts with the teacher's vector each: float32 [rows, hidden] from an array of any float type."""

    def __init__(
        self, encoded: Sequence[Encoded], vectors: NDArray[np.floating], order: BucketedOrder
    ) -> None:
        self.encoded, self.vectors, self.order = encoded, vectors, order

    def batch(self, number: int) -> Batch:
        """Batch `number`, the same on every call."""
        indices, length = self.order(number)
        ids, mask, types = pad([self.encoded[i] for i in indices], length)
        return Batch(ids, mask, types, torch.from_numpy(self.vectors[indices].astype(np.float32)))


class PairStream:
    """Scored pairs: the rows are all first texts, then all second texts.

    The targets are the wished cosines [rows / 2].
    """

    def __init__(
        self, first: Sequence[Encoded], second: Sequence[Encoded], scores: Tensor, order: BucketedOrder
    ) -> None:
        self.first, self.second, self.scores, self.order = first, second, scores, order

    def batch(self, number: int) -> Batch:
        """Batch `number`, the same on every call."""
        indices, length = self.order(number)
        indices = indices[: len(indices) // 2]
        ids, mask, types = pad([self.first[i] for i in indices] + [self.second[i] for i in indices], length)
        return Batch(ids, mask, types, self.scores[torch.from_numpy(indices)])


class TagStream:
    """Sentences with tag indices int64 [rows, length] at the first piece of each word, IGNORED elsewhere."""

    def __init__(self, encoded: Sequence[Encoded], targets: Sequence[Ints], order: BucketedOrder) -> None:
        self.encoded, self.targets, self.order = encoded, targets, order

    def batch(self, number: int) -> Batch:
        """Batch `number`, the same on every call."""
        indices, length = self.order(number)
        ids, mask, types = pad([self.encoded[i] for i in indices], length)
        targets = np.full(ids.shape, IGNORED, np.int64)
        for row, i in enumerate(indices):
            targets[row, : len(self.targets[i])] = self.targets[i]
        return Batch(ids, mask, types, torch.from_numpy(targets))


Stream = BlockStream | TextFillStream | LabelStream | VectorStream | PairStream | TagStream


# --- Targets --------------------------------------------------------------------------------------


def label_names(examples: Sequence[Example], problem_type: str) -> tuple[str, ...]:
    """The classes found in the data, sorted; one name for regression."""
    if problem_type == "regression":
        return ("score",)
    if problem_type == "multi_label_classification":
        return tuple(sorted({str(label) for e in examples for label in _several(e.target)}))
    return tuple(sorted({str(e.target) for e in examples}))


def label_targets(examples: Sequence[Example], labels: Sequence[str], problem_type: str) -> Tensor:
    """The targets as the loss wants them.

    int64 [examples]; float32 [examples, labels] for several labels; float32 [examples] for regression.
    """
    if problem_type == "regression":
        return torch.tensor([float(str(e.target)) for e in examples])
    index = {label: number for number, label in enumerate(labels)}
    if problem_type == "multi_label_classification":
        targets = torch.zeros(len(examples), len(labels))
        for row, example in enumerate(examples):
            for label in _several(example.target):
                targets[row, index[str(label)]] = 1.0
        return targets
    return torch.tensor([index[str(e.target)] for e in examples])


def _several(target: object) -> list[object]:
    return target if isinstance(target, list) else [target]


def encode_examples(tokenizer: Tokenizer, examples: Sequence[Example], length: int) -> list[Encoded]:
    """Texts, or pairs where every example has a partner."""
    pairs = [e.pair for e in examples if e.pair is not None]
    whole = pairs if len(pairs) == len(examples) and examples else None
    return encode_texts(tokenizer, [e.text for e in examples], whole, length)


def sample(items: list[T], limit: int) -> list[T]:
    """At most `limit` of the items, spread evenly over them; all of them when `limit` is 0."""
    if not limit or len(items) <= limit:
        return items
    return [items[i * len(items) // limit] for i in range(limit)]
