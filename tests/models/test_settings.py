"""Every setting of a checkpoint that changes an answer: followed as by transformers and
sentence-transformers, or refused by name. A row of a table is a key, changed on a tiny checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from sentence_transformers import SentenceTransformer

from bertcli.engines import Hidden, SequenceLogits
from bertcli.engines.instant import Instant
from bertcli.engines.packed import Packed
from bertcli.errors import ModelError
from bertcli.models.check import quick_check
from bertcli.models.checkpoint import Checkpoint, open_checkpoint
from bertcli.models.tokenizer import Tokenizer
from bertcli.records import Record
from bertcli.requests import LongOptions
from bertcli.tasks.embed import Embed
from bertcli.tasks.pooling import TextVector
from bertcli.tasks.search import text_vectors
from bertcli.tasks.windowing import Windowing
from tests.checkpoints import TEXTS, edit_json, write_json
from tests.conftest import Make

REFUSED: Any = "refused"
FOLLOWED: Any = "followed"
ASKED = [TEXTS[0], TEXTS[7], "HE said: naïve 中国 (42)", " ".join(TEXTS)]
CUT = LongOptions(long="truncate")


def _refusals(checkpoint: Checkpoint, kind: Any) -> list[str]:
    return [found.message for found in quick_check(checkpoint, kind) if found.refuses]


# Of config.json. What is not listed here changes nothing: dropouts, ids of tokens that no encoder reads.
CONFIG: list[tuple[str, str, Any, Any]] = [
    ("bert", "hidden_act", "relu", FOLLOWED),
    ("bert", "hidden_act", "gelu_new", FOLLOWED),
    ("bert", "hidden_act", "nonsense", REFUSED),
    ("bert", "layer_norm_eps", 0.1, FOLLOWED),
    ("bert", "layer_norm_eps", 0, REFUSED),
    ("bert", "num_attention_heads", 2, FOLLOWED),
    ("bert", "position_embedding_type", "relative_key", REFUSED),
    ("bert", "is_decoder", True, REFUSED),
    ("bert", "problem_type", "nonsense", REFUSED),
    ("bert", "vocab_size", 300, REFUSED),
    ("bert", "intermediate_size", 128, REFUSED),
    ("bert", "max_position_embeddings", 32, REFUSED),
    ("bert", "type_vocab_size", 3, REFUSED),
    ("bert", "chunk_size_feed_forward", 1, FOLLOWED),
    ("bert", "return_dict", False, FOLLOWED),
    ("bert", "output_hidden_states", True, FOLLOWED),
    ("roberta", "pad_token_id", 3, FOLLOWED),
    ("distilbert", "activation", "relu", FOLLOWED),
    ("albert", "num_hidden_groups", 0, REFUSED),
    ("mpnet", "relative_attention_num_buckets", 32, FOLLOWED),
    ("mpnet", "return_dict", False, FOLLOWED),
    ("deberta-v2", "pos_att_type", ["c2p"], FOLLOWED),
    ("deberta-v2", "pooler_hidden_act", "relu", FOLLOWED),
    ("modernbert", "classifier_pooling", "mean", FOLLOWED),
    ("modernbert", "classifier_activation", "relu", FOLLOWED),
    ("modernbert", "hidden_activation", "relu", FOLLOWED),
    ("modernbert", "local_attention", 2, FOLLOWED),
    ("modernbert", "global_attn_every_n_layers", 1, FOLLOWED),
    ("modernbert", "norm_eps", 0.1, FOLLOWED),
]


@pytest.mark.slow
@pytest.mark.parametrize(("family", "key", "value", "outcome"), CONFIG)
def test_config_json_is_followed_or_refused(
    family: str, key: str, value: Any, outcome: str, checkpoint_copy: Make
) -> None:
    path = checkpoint_copy(family, "label")
    edit_json(path / "config.json", **{key: value})
    checkpoint = open_checkpoint(path)
    refusals = _refusals(checkpoint, "label")
    if outcome == REFUSED:
        assert any(key in message for message in refusals), refusals
        return
    assert not refusals
    tokenizer = Tokenizer.of(checkpoint)
    windowing = Windowing.of(checkpoint, tokenizer, CUT)
    windows = [windowing.single(tokenizer.encode(text)).windows[0] for text in ASKED[:3]]
    model = transformers.AutoModelForSequenceClassification.from_pretrained(path, return_dict=True).eval()
    peer = transformers.AutoTokenizer.from_pretrained(path)
    with torch.no_grad():
        inputs = [peer(text, truncation=True, return_tensors="pt") for text in ASKED[:3]]
        expected = np.concatenate([model(**each).logits.numpy() for each in inputs])
    engines: list[Any] = [Packed(checkpoint, device="cpu", dtype="float32")]
    if Instant.supports(checkpoint) is None:
        engines.append(Instant(checkpoint))
    for engine in engines:
        found = engine.forward(windows, SequenceLogits(checkpoint.head("label")))
        assert np.stack(found) == pytest.approx(expected, abs=1e-4)


# Of tokenizer_config.json.
TOKENIZER: list[tuple[str, str, Any, Any]] = [
    ("bert", "do_lower_case", False, FOLLOWED),
    ("bert", "strip_accents", False, FOLLOWED),
    ("bert", "tokenize_chinese_chars", False, FOLLOWED),
    ("bert", "padding_side", "left", FOLLOWED),
    ("bert", "truncation_side", "left", FOLLOWED),
    ("bert", "truncation_side", "middle", REFUSED),
    ("bert", "model_max_length", 16, FOLLOWED),
    ("bert", "model_max_length", True, REFUSED),
    ("bert", "model_input_names", ["input_ids", "attention_mask"], FOLLOWED),
    ("bert", "never_split", ["of"], FOLLOWED),
    ("bert", "clean_up_tokenization_spaces", False, FOLLOWED),
    ("bert", "split_special_tokens", True, FOLLOWED),
    ("bert", "cls_token", "the", REFUSED),
    ("bert", "sep_token", "the", REFUSED),
    ("bert", "tokenizer_class", "RobertaTokenizer", REFUSED),
    ("roberta", "add_prefix_space", True, FOLLOWED),
    ("roberta", "trim_offsets", False, FOLLOWED),
    ("roberta", "truncation_side", "left", FOLLOWED),
    ("roberta", "cls_token", "</s>", REFUSED),
    ("xlm-roberta", "add_prefix_space", False, FOLLOWED),
    ("xlm-roberta", "bos_token", "</s>", REFUSED),
    ("xlm-roberta", "eos_token", "<s>", REFUSED),
    ("xlm-roberta", "unk_token", "<s>", REFUSED),
    ("albert", "do_lower_case", False, FOLLOWED),
    ("albert", "keep_accents", True, FOLLOWED),
    ("deberta-v2", "split_by_punct", True, FOLLOWED),
    ("deberta-v2", "do_lower_case", True, FOLLOWED),
]


@pytest.mark.parametrize("in_tokenizer_json", [False, True])
def test_tokenizer_json_may_say_which_side_is_cut(in_tokenizer_json: bool, checkpoint_copy: Make) -> None:
    path = checkpoint_copy("bert", "tag")
    if in_tokenizer_json:
        cut = {"direction": "Left", "max_length": 16, "strategy": "LongestFirst", "stride": 0}
        edit_json(path / "tokenizer.json", truncation=cut)
    else:
        edit_json(path / "tokenizer_config.json", truncation_side="left")
    _require_ids(path)


@pytest.mark.parametrize(("family", "key", "value", "outcome"), TOKENIZER)
def test_tokenizer_config_json_is_followed_or_refused(
    family: str, key: str, value: Any, outcome: str, checkpoint_copy: Make
) -> None:
    path = checkpoint_copy(family, "base")
    edit_json(path / "tokenizer_config.json", **{key: value})
    if outcome == FOLLOWED:
        _require_ids(path)
        return
    checkpoint = open_checkpoint(path)
    try:
        Tokenizer.of(checkpoint)
        messages = _refusals(checkpoint, "embed")
    except ModelError as error:
        messages = [error.message]
    assert any(key in message for message in messages), messages


def _require_ids(path: Path) -> None:
    """The windows of texts and pairs are what AutoTokenizer makes of them, cut where it cuts."""
    checkpoint = open_checkpoint(path)
    assert not _refusals(checkpoint, "embed")
    tokenizer, peer = Tokenizer.of(checkpoint), transformers.AutoTokenizer.from_pretrained(path)
    windowing = Windowing.of(checkpoint, tokenizer, CUT)
    for text in ASKED:
        for pair in (None, "a bank"):
            expected = peer(text, pair, truncation=True)["input_ids"]
            first = tokenizer.encode(text)
            encoded = (
                windowing.single(first) if pair is None else windowing.pair(first, tokenizer.encode(pair))
            )
            assert list(encoded.windows[0].ids) == expected


# Of sentence-transformers' files.
SENTENCES: list[tuple[str, str, Any, Any]] = [
    ("sentence_bert_config.json", "max_seq_length", 12, FOLLOWED),
    ("sentence_bert_config.json", "max_seq_length", None, FOLLOWED),
    ("sentence_bert_config.json", "do_lower_case", True, FOLLOWED),
    ("sentence_bert_config.json", "unpad_inputs", False, FOLLOWED),
    ("sentence_bert_config.json", "query_length", 8, FOLLOWED),
    ("sentence_bert_config.json", "document_length", 8, FOLLOWED),
    ("sentence_bert_config.json", "query_expansion", {"length": 32, "strategy": "fixed"}, REFUSED),
    ("sentence_bert_config.json", "processing_kwargs", {"text": {"max_length": 8}}, REFUSED),
    ("sentence_bert_config.json", "transformer_task", "fill-mask", REFUSED),
    ("sentence_bert_config.json", "module_output_name", "sentence_embedding", REFUSED),
    ("sentence_bert_config.json", "tokenizer_args", {"model_max_length": 9}, REFUSED),
    ("sentence_bert_config.json", "config_args", {"num_hidden_layers": 1}, REFUSED),
    ("sentence_bert_config.json", "model_args", {"trust_remote_code": True}, FOLLOWED),
    ("config_sentence_transformers.json", "default_prompt_name", "query", FOLLOWED),
    ("config_sentence_transformers.json", "default_prompt_name", "nonsense", REFUSED),
    ("config_sentence_transformers.json", "prompts", {"query": "the ", "document": "a "}, FOLLOWED),
    ("config_sentence_transformers.json", "similarity_fn_name", "dot", FOLLOWED),
    ("1_Pooling/config.json", "include_prompt", False, FOLLOWED),
]


@pytest.mark.parametrize(("file", "key", "value", "outcome"), SENTENCES)
def test_sentence_transformers_files_are_followed_or_refused(
    file: str, key: str, value: Any, outcome: str, checkpoint_copy: Make
) -> None:
    path = checkpoint_copy("sentence", prompts={"query": "the bank ", "passage": "in 1969 "})
    edit_json(path / "tokenizer_config.json", do_lower_case=False)
    edit_json(path / file, **{key: value})
    checkpoint = open_checkpoint(path)
    refusals = _refusals(checkpoint, "embed")
    if outcome == REFUSED:
        assert any(key in message for message in refusals), refusals
        return
    assert not refusals
    peer = SentenceTransformer(str(path), device="cpu")
    engine, tokenizer = Instant(checkpoint), Tokenizer.of(checkpoint)
    passage = {} if key == "prompts" else {"prompt_name": "passage"}  # see models.prompts
    for role, expected in (
        (None, peer.encode(ASKED)),
        ("query", peer.encode_query(ASKED)),
        ("document", peer.encode_document(ASKED, **passage)),
    ):
        found = Embed(checkpoint, tokenizer, CUT, role=role)  # type: ignore[arg-type]
        encoded = [found.encode(Record(0, {}, text)) for text in ASKED]
        outputs = [found.forward(engine, each.windows) for each in encoded]
        vectors = [
            found.decode(Record(0, {}, ""), each, output)["embedding"]
            for each, output in zip(encoded, outputs, strict=True)
        ]
        assert np.stack(vectors) == pytest.approx(expected, abs=1e-5)


def test_a_router_is_followed_where_its_routes_are_one(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("sentence")
    (path / "router").mkdir()
    for name in path.iterdir():
        if name.is_file():
            (path / "router" / "0_Transformer").mkdir(exist_ok=True)
            name.rename(path / "router" / "0_Transformer" / name.name)
    (path / "1_Pooling").rename(path / "router" / "1_Pooling")
    kind = "sentence_transformers.models."
    write_json(
        path / "router" / "router_config.json",
        {
            "types": {"0_Transformer": f"{kind}Transformer", "1_Pooling": f"{kind}Pooling"},
            "structure": {key: ["0_Transformer", "1_Pooling"] for key in ("query", "document")},
            "parameters": {"default_route": "document"},
        },
    )
    write_json(path / "modules.json", [{"idx": 0, "name": "0", "path": "router", "type": f"{kind}Router"}])
    checkpoint = open_checkpoint(path)
    assert not checkpoint.pooling.routed
    assert not _refusals(checkpoint, "embed")
    vector = TextVector(checkpoint, Tokenizer.of(checkpoint), CUT, role="query")
    peer = SentenceTransformer(str(path), device="cpu")
    assert text_vectors(ASKED, vector, Instant(checkpoint)) == pytest.approx(
        peer.encode_query(ASKED), abs=1e-5
    )


def test_hidden_states_do_not_depend_on_the_form_of_outputs(checkpoint_copy: Make) -> None:
    path = checkpoint_copy("deberta-v2", "base")
    edit_json(path / "config.json", return_dict=False)
    checkpoint = open_checkpoint(path)
    tokenizer = Tokenizer.of(checkpoint)
    window = Windowing.of(checkpoint, tokenizer, CUT).single(tokenizer.encode(TEXTS[0])).windows[0]
    (found,) = Packed(checkpoint, device="cpu", dtype="float32").forward([window], Hidden())
    assert found.shape == (len(window), checkpoint.hidden_size)
