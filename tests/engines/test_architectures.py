"""Every architecture that is described: what the engines compute from the description is what transformers says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
import transformers
from tokenizers import models, pre_tokenizers, processors

import bertcli
from bertcli.architectures import ARCHITECTURES
from bertcli.architectures.architecture import Disentangled, RelativeBias
from bertcli.architectures.positions import bias_buckets, distance_rows
from bertcli.engines import AttentionWeights, Hidden, MaskLogits, SequenceLogits, TokenLogits
from bertcli.engines.fused import FusedModel
from bertcli.engines.instant import Instant
from bertcli.engines.packed import Packed
from bertcli.models.check import quick_check
from bertcli.models.checkpoint import Checkpoint, open_checkpoint
from tests.checkpoints import AUTO_CLASSES, SEED, randomise
from tests.engines import oracle
from tests.engines.windows import make_windows

TOLERANCE = 1e-4
LENGTHS = (7, 3, 40, 7, 90)
ASKS = {"label": SequenceLogits, "tag": TokenLogits, "fill": MaskLogits}

SIZES = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 96,
    "pad_token_id": 0,
}
DISTILBERT = {"dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 48}
DISTANCES = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False}
V3 = DISTANCES | {"position_buckets": 16, "norm_rel_ebd": "layer_norm", "share_att_key": True}
LOCAL = ["full_attention", "sliding_attention", "sliding_attention"]
BIASES = {"attention_bias": True, "mlp_bias": True}

# (model type, head, settings): the first row of a type is as its checkpoints are, the others are what it can be
ROWS: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    ("albert", "fill", {"embedding_size": 16}),
    ("albert", "label", {"embedding_size": 16, "num_hidden_groups": 2}),
    ("bert", "label", {}),
    ("camembert", "tag", {"pad_token_id": 1}),
    ("data2vec-text", "fill", {"pad_token_id": 1}),
    ("deberta", "label", DISTANCES),
    (
        "deberta",
        "fill",
        DISTANCES | {"pos_att_type": ["p2c"], "type_vocab_size": 2, "max_relative_positions": 20},
    ),
    ("deberta-v2", "label", V3),
    ("deberta-v2", "fill", V3 | {"legacy": False, "pos_att_type": "c2p"}),
    ("deberta-v2", "tag", DISTANCES | {"embedding_size": 16, "type_vocab_size": 2}),
    ("distilbert", "fill", DISTILBERT | {"tie_word_embeddings": False}),
    ("electra", "fill", {"embedding_size": 16}),
    ("ernie", "label", {}),
    ("eurobert", "label", {"num_key_value_heads": 2}),
    ("eurobert", "fill", BIASES | {"head_dim": 12}),
    ("eurobert", "label", {"classifier_pooling": "bos"}),
    ("gte", "fill", {"type_vocab_size": 2}),
    ("gte", "label", {"type_vocab_size": 0}),
    ("megatron-bert", "fill", {}),
    ("modernbert", "label", {"layer_types": LOCAL, "local_attention": 8, "classifier_pooling": "mean"}),
    (
        "modernbert",
        "fill",
        BIASES | {"global_attn_every_n_layers": 2, "local_attention": 16, "decoder_bias": False},
    ),
    ("modernbert", "tag", {"norm_bias": True, "classifier_bias": True}),
    ("mpnet", "label", {"pad_token_id": 1}),
    ("nomic_bert", "label", {}),
    ("nomic_bert", "fill", {"head_dim": 12}),
    ("roberta", "label", {"pad_token_id": 1}),
    ("roberta-prelayernorm", "label", {"pad_token_id": 1}),
    ("roformer", "label", {"embedding_size": 16}),
    ("roformer", "fill", {"rotary_value": True}),
    ("xlm-roberta", "fill", {"pad_token_id": 1}),
    ("xlm-roberta-xl", "label", {"pad_token_id": 1}),
)


MORE_CLASSES = AUTO_CLASSES | {"answer": transformers.AutoModelForQuestionAnswering}
USUAL = {row[0]: row[2] for row in reversed(ROWS)}
NO_ANSWERS = ("eurobert", "gte", "nomic_bert")  # transformers has no such head


def test_every_architecture_has_a_row() -> None:
    assert {row[0] for row in ROWS} == ARCHITECTURES.keys()


def saved(
    path: Path, model_type: str, kind: str, settings: Mapping[str, Any], dtype: str = "float32"
) -> Checkpoint:
    sizes = SIZES | {"num_labels": 2 if kind == "answer" else 3} | dict(settings)
    config = transformers.AutoConfig.for_model(model_type, **sizes)
    model = MORE_CLASSES[kind].from_config(config)
    randomise(model, SEED)
    model.eval().to(getattr(torch, dtype)).save_pretrained(path)
    (path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n", encoding="utf-8")
    return open_checkpoint(path)


@pytest.mark.parametrize(
    ("model_type", "kind", "settings"), ROWS, ids=[f"{row[0]}-{number}" for number, row in enumerate(ROWS)]
)
def test_both_engines_are_transformers(
    model_type: str, kind: str, settings: Mapping[str, Any], tmp_path: Path
) -> None:
    checkpoint = saved(tmp_path, model_type, kind, settings)
    head = checkpoint.head(kind)  # type: ignore[arg-type]
    assert Instant.supports(checkpoint) is None
    assert [found.message for found in quick_check(checkpoint, head.kind, head) if found.refuses] == []
    assert head.missing == ()
    windows = make_windows(checkpoint, LENGTHS)
    asks = [Hidden(1), Hidden(), ASKS[kind](head), AttentionWeights()]
    first, last, logits, weights = Instant(checkpoint).forward_all(windows, asks)
    packed = Packed(checkpoint, dtype="float32", device="cpu", threads=1)
    assert type(packed._model) is FusedModel
    for found, expected in zip(packed.forward_all(windows, asks[:3]), (first, last, logits), strict=True):
        largest = max(1, *(np.abs(each).max() for each in expected))
        assert oracle.difference(found, expected) < TOLERANCE * largest
    for number, window in enumerate(windows):
        model = oracle.load(tmp_path, kind)
        said = oracle.ask(tmp_path, kind, window)
        with torch.inference_mode():
            inputs = {"input_ids": torch.tensor([list(window.ids)])}
            if window.types is not None:
                inputs["token_type_ids"] = torch.tensor([list(window.types)])
            states = model.base_model(**inputs).last_hidden_state[0].numpy()
            found = model(**inputs, output_attentions=True).attentions
        expected = said.logits[0].numpy()
        expected = expected[list(window.masks)] if kind == "fill" else expected
        assert oracle.difference([first[number]], [said.hidden_states[1][0].numpy()]) < TOLERANCE
        assert oracle.difference([last[number]], [states]) < TOLERANCE
        assert oracle.difference([logits[number]], [expected]) < TOLERANCE * max(1, np.abs(expected).max())
        assert oracle.difference([weights[number]], [torch.stack(found)[:, 0].numpy()]) < TOLERANCE


@pytest.mark.parametrize("kind", ["tag", "answer"])
@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_heads_on_tokens_in_float16_files_are_transformers(
    model_type: str, kind: str, tmp_path: Path
) -> None:
    if kind == "answer" and model_type in NO_ANSWERS:
        pytest.skip("transformers has no such head")
    checkpoint = saved(tmp_path, model_type, kind, USUAL[model_type], "float16")
    head = checkpoint.head(kind)  # type: ignore[arg-type]
    windows = make_windows(checkpoint, LENGTHS)
    model = MORE_CLASSES[kind].from_pretrained(tmp_path, attn_implementation="eager", dtype=torch.float32)
    expected = []
    for window in windows:
        types = {} if window.types is None else {"token_type_ids": torch.tensor([window.types])}
        with torch.inference_mode():
            said = model.eval()(input_ids=torch.tensor([window.ids]), **types)
        logits = said.logits if kind == "tag" else torch.stack([said.start_logits, said.end_logits], -1)
        expected.append(logits[0].numpy())
    largest = max(1, *(np.abs(each).max() for each in expected))
    for engine in (Instant(checkpoint), Packed(checkpoint, dtype="float32", device="cpu", threads=1)):
        found = engine.forward(windows, TokenLogits(head))
        assert oracle.difference(found, expected) < TOLERANCE * largest


WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{number}" for number in range(5, 60)))
WINDOW, OVERLAP, LONG = 32, 8, 74  # windows of 30 tokens and two special ones; 74 tokens fill three


def tokenizer_of_words(path: Path) -> None:
    """A tokenizer of `WORDS` between blanks, which gives token types."""
    native = tokenizers.Tokenizer(models.WordLevel({word: at for at, word in enumerate(WORDS)}, "[UNK]"))
    native.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    native.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=native,
        **{f"{role}_token": f"[{role.upper()}]" for role in ("pad", "unk", "cls", "sep", "mask")},
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(path)


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_several_labels_of_long_texts_and_pairs_are_those_of_transformers(
    model_type: str, tmp_path: Path
) -> None:
    settings = USUAL[model_type] | {"problem_type": "multi_label_classification"}
    checkpoint = saved(tmp_path, model_type, "label", settings)
    tokenizer_of_words(tmp_path)
    random = np.random.default_rng(0)
    first, second, long = (random.integers(5, 60, count).tolist() for count in (9, 14, LONG))
    model = MORE_CLASSES["label"].from_pretrained(tmp_path, attn_implementation="eager", dtype=torch.float32)

    def probabilities(a: list[int], b: list[int] | None = None) -> np.ndarray:
        ids = [2, *a, 3] if b is None else [2, *a, 3, *b, 3]
        types = [0] * (len(a) + 2) + [1] * (len(ids) - len(a) - 2)
        known = {"token_type_ids": torch.tensor([types])} if checkpoint.token_types > 1 else {}
        with torch.inference_mode():
            return model.eval()(input_ids=torch.tensor([ids]), **known).logits[0].sigmoid().numpy()

    # A window counts by its new tokens, the special ones at both ends of the text among them.
    windows = [probabilities(long[start : start + WINDOW - 2]) for start in (0, 22, 44)]
    expected = [probabilities(first), np.average(windows, axis=0, weights=(31, 22, 23))]
    paired = probabilities(first, second)
    a, b, c = (" ".join(WORDS[token] for token in ids) for ids in (first, second, long))
    for engine in ("instant", "packed"):
        found = bertcli.load(str(tmp_path), engine=engine, dtype="float32", device="cpu")
        options = {"all": True, "threshold": 0.0, "max_length": WINDOW, "overlap": OVERLAP}
        rows = [
            *found.label([a, c], **options),
            *found.label([{"text": a, "pair": b}], pair_field="pair", **options),
        ]
        assert [row.get("windows", 1) for row in rows] == [1, 3, 1]
        for row, numbers in zip(rows, [*expected, paired], strict=True):
            scores = {label["label"]: label["score"] for label in row["labels"]}
            assert scores == pytest.approx(
                {f"LABEL_{at}": number for at, number in enumerate(numbers)}, abs=TOLERANCE
            )


@pytest.mark.parametrize(("buckets", "distance"), [(16, 96), (256, 512), (32, 4096)])
def test_buckets_of_distances_are_those_of_deberta(buckets: int, distance: int) -> None:
    from transformers.models.deberta_v2.modeling_deberta_v2 import build_relative_position

    states = torch.zeros(1, 512, 1)
    expected = build_relative_position(states, states, buckets, distance)[0].numpy() + buckets
    scheme = Disentangled(span=buckets, buckets=buckets, distance=distance)
    assert np.array_equal(distance_rows(scheme, 512), np.clip(expected, 0, 2 * buckets - 1))


def test_buckets_of_distances_are_those_of_mpnet() -> None:
    from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

    positions = torch.arange(512)
    expected = MPNetEncoder.relative_position_bucket(positions - positions[:, None])
    assert np.array_equal(bias_buckets(RelativeBias(table=""), 512), expected.numpy())
