"""Vectors of texts and tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from bertcli.engines import Ask, Hidden, Pooled
from bertcli.errors import RecordError, UsageError
from bertcli.models.modules import Normalize
from bertcli.records import Record, Window
from bertcli.requests import LongOptions
from bertcli.tasks.embed import Embed
from tests.checkpoints import edit_json
from tests.tasks.reference import Reference, answer, answers, opened

TEXTS = ("I loved every minute of it.", "Naïve café owners in München", "x", "Is the server down again?")
LONG = "The quick brown fox jumps over the lazy dog while 1234567890 birds are singing. " * 4
Make = Callable[..., Path]


def embed(path: Path, long: LongOptions | None = None, **options: Any) -> Embed:
    return Embed(*opened(path), long or LongOptions(), **options)


def hidden(path: Path, text: str, layer: int = -1) -> Any:
    """Hidden states (tokens, hidden) of transformers."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    model = transformers.AutoModel.from_pretrained(path).eval()
    output = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True)
    return output.hidden_states[layer][0].detach().numpy()


def test_the_models_files_say_how_and_options_overrule(checkpoints: Make) -> None:
    path = checkpoints("sentence", mode="cls", normalize=True)
    states = hidden(path, TEXTS[0])
    wanted = {
        (): states[0] / np.linalg.norm(states[0]),
        (("normalize", False),): states[0],
        (("normalize", False), ("pooling", "mean")): states.mean(0),
        (("normalize", False), ("pooling", "max")): states.max(0),
    }
    for options, expected in wanted.items():
        found = answer(embed(path, **dict(options)), Reference(path), TEXTS[0])["embedding"]
        assert found.dtype == np.float32
        assert found == pytest.approx(expected, abs=1e-5)


def test_without_files_it_is_the_mean(checkpoints: Make) -> None:
    path = checkpoints("roberta", "base")
    found = answers(embed(path), Reference(path), TEXTS)
    for text, one in zip(TEXTS, found, strict=True):
        assert one["embedding"] == pytest.approx(hidden(path, text).mean(0), abs=1e-5)


@pytest.mark.parametrize(("layer", "index"), [(0, 0), (1, 1), (2, 2), (-1, 2), (-2, 1), (-3, 0)])
def test_layers_count_from_the_embeddings_or_from_the_last(checkpoints: Make, layer: int, index: int) -> None:
    path = checkpoints("bert", "base")
    found = answer(embed(path, layer=layer), Reference(path), TEXTS[0])["embedding"]
    assert found == pytest.approx(hidden(path, TEXTS[0], index).mean(0), abs=1e-5)


@pytest.mark.parametrize("layer", [3, -4])
def test_a_layer_that_is_not_there_is_refused(checkpoints: Make, layer: int) -> None:
    with pytest.raises(UsageError, match=f"no layer {layer}") as caught:
        embed(checkpoints("bert", "base"), layer=layer)
    assert "1 to 2" in str(caught.value.hint)


def test_prompts_stand_before_the_text(checkpoints: Make) -> None:
    prompts = {"query": "the query: ", "passage": "a passage: "}
    path = checkpoints("sentence", normalize=False, prompts=prompts, default_prompt="query")
    for name, prompt in ((None, prompts["query"]), ("passage", prompts["passage"])):
        found = answer(embed(path, prompt_name=name), Reference(path), TEXTS[0])["embedding"]
        assert found == pytest.approx(hidden(path, prompt + TEXTS[0]).mean(0), abs=1e-5)
    with pytest.raises(UsageError, match="no prompt named other") as caught:
        embed(path, prompt_name="other")
    assert caught.value.hint == "its prompts: passage, query"


def test_a_prompt_may_be_left_out_of_the_mean(checkpoint_copy: Make) -> None:
    from tests.checkpoints import edit_json

    prompt = "the query: "
    path = checkpoint_copy("sentence", normalize=False, prompts={"q": prompt}, default_prompt="q")
    edit_json(path / "1_Pooling" / "config.json", include_prompt=False)
    states = hidden(path, prompt + TEXTS[0])
    skipped = len(hidden(path, prompt)) - 1  # without its closing special token
    found = answer(embed(path), Reference(path), TEXTS[0])["embedding"]
    assert found == pytest.approx(states[skipped:].mean(0), abs=1e-5)


# What is written


def test_dimensions_are_cut_and_normalised_again(checkpoints: Make) -> None:
    path = checkpoints("sentence")
    whole = answer(embed(path), Reference(path), TEXTS[0])["embedding"]
    cut = answer(embed(path, dim=10), Reference(path), TEXTS[0])["embedding"]
    assert cut == pytest.approx(whole[:10] / np.linalg.norm(whole[:10]), abs=1e-6)
    raw = answer(embed(path, dim=10, normalize=False), Reference(path), TEXTS[0])["embedding"]
    full = answer(embed(path, normalize=False), Reference(path), TEXTS[0])["embedding"]
    assert np.array_equal(raw, full[:10])


@pytest.mark.parametrize("own", [8, 99])
def test_the_models_files_say_how_many_dimensions_are_kept(own: int, checkpoint_copy: Make) -> None:
    from sentence_transformers import SentenceTransformer

    path = checkpoint_copy("sentence", normalize=False)
    edit_json(path / "config_sentence_transformers.json", truncate_dim=own)
    expected = SentenceTransformer(str(path), device="cpu", local_files_only=True).encode(TEXTS[0])
    found = answer(embed(path), Reference(path), TEXTS[0])["embedding"]
    assert found.shape == (min(own, 32),)
    assert found == pytest.approx(expected, abs=1e-5)
    assert len(answer(embed(path, dim=10), Reference(path), TEXTS[0])["embedding"]) == 10
    assert answer(embed(path, normalize=True), Reference(path), TEXTS[0])["embedding"] == pytest.approx(
        expected / np.linalg.norm(expected), abs=1e-5
    )
    tokens = answer(embed(path, tokens=True), Reference(path), TEXTS[0])["tokens"]
    assert {len(token["embedding"]) for token in tokens} == {32}


@pytest.mark.parametrize("dim", [0, -1, 33])
def test_dimensions_that_are_not_there_are_refused(checkpoints: Make, dim: int) -> None:
    with pytest.raises(UsageError, match="not in the vectors"):
        embed(checkpoints("sentence"), dim=dim)


def test_written_forms_keep_what_they_promise(checkpoints: Make) -> None:
    path = checkpoints("sentence")
    engine = Reference(path)
    forms = ("float32", "float16", "int8", "binary")
    found = {
        form: np.stack([one["embedding"] for one in answers(embed(path, dtype=form), engine, TEXTS)])
        for form in forms
    }
    assert [str(found[form].dtype) for form in forms] == ["float32", "float16", "int8", "uint8"]
    exact = found["float32"]
    assert found["float16"] == pytest.approx(exact, rel=1e-3, abs=1e-6)
    cosines = found["int8"].astype(int) @ found["int8"].astype(int).T / 127**2
    assert cosines == pytest.approx(exact @ exact.T, abs=0.02)
    assert np.array_equal(np.unpackbits(found["binary"], axis=1), exact > 0)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "binary"])
@pytest.mark.parametrize("dim", [None, 5])
def test_decoding_together_changes_no_bit(checkpoints: Make, dtype: str, dim: int | None) -> None:
    path = checkpoints("sentence", mode="mean", normalize=True)
    task = embed(path, dtype=dtype, dim=dim)
    records = [Record(index, {}, text) for index, text in enumerate(TEXTS)]
    encoded = [task.encode(record) for record in records]
    outputs = task.forward(Reference(path), [each.windows[0] for each in encoded])
    together = task.decode_all(outputs)
    assert together is not None
    for record, each, output, found in zip(records, encoded, outputs, together, strict=True):
        alone = task.decode(record, each, [output])
        assert alone["embedding"].dtype == found["embedding"].dtype
        assert alone["embedding"].tobytes() == found["embedding"].tobytes()


def test_modules_and_tokens_are_not_decoded_together(checkpoints: Make) -> None:
    vectors = [np.ones(32, np.float32)] * 2
    task = embed(checkpoints("sentence", mode="mean"))
    assert task.decode_all(vectors)
    task._text._modules = (Normalize(),)
    assert task.decode_all(vectors) is None
    assert embed(checkpoints("bert"), tokens=True).decode_all(vectors) is None


def test_int8_needs_vectors_of_length_one(checkpoints: Make) -> None:
    path = checkpoints("bert", "base")
    with pytest.raises(UsageError, match="not normalised"):
        embed(path, dtype="int8")
    assert (
        answer(embed(path, dtype="int8", normalize=True), Reference(path), "x")["embedding"].dtype == np.int8
    )


@pytest.mark.parametrize("normalize", [False, True])
def test_what_modules_make_of_a_vector_must_be_finite(checkpoints: Make, normalize: bool) -> None:
    path = checkpoints("bert", "base")
    with pytest.raises(RecordError, match="the embedding holds nan"):
        embed(path, dtype="float32", normalize=normalize)._finish(np.full(8, np.nan, np.float32))


@pytest.mark.parametrize("tokens", [False, True])
def test_a_vector_beyond_float16_is_a_failed_record(checkpoint_copy: Make, tokens: bool) -> None:
    path = checkpoint_copy("bert", "base")
    weights = load_file(path / "model.safetensors")
    weights["encoder.layer.1.output.LayerNorm.weight"] *= 1e5
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    for dtype in ("float32", "binary"):
        answer(embed(path, dtype=dtype, tokens=tokens), Reference(path), TEXTS[0])
    with pytest.raises(RecordError, match="beyond the range of float16: use --dtype float32") as caught:
        answer(embed(path, dtype="float16", tokens=tokens), Reference(path), TEXTS[0])
    assert caught.value.type == "overflow"
    found = answer(embed(path, dtype="float16", normalize=True, tokens=tokens), Reference(path), TEXTS[0])
    assert found


# Tokens


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta"])
def test_tokens_have_the_characters_they_stand_for(checkpoints: Make, family: str) -> None:
    path = checkpoints(family, "base")
    text = "Naïve  café, unbelievable!"
    found = answer(embed(path, tokens=True), Reference(path), text)["tokens"]
    states = hidden(path, text)[1:-1]
    assert len(found) == len(states)
    for entry, state in zip(found, states, strict=True):
        assert entry["embedding"] == pytest.approx(state, abs=1e-5)
        assert text[entry["start"] : entry["end"]].strip() == text[entry["start"] : entry["end"]]
    covered = {place for entry in found for place in range(entry["start"], entry["end"])}
    assert covered == {place for place, letter in enumerate(text) if not letter.isspace()}


def test_a_prompt_is_no_token_of_the_text(checkpoints: Make) -> None:
    prompt = "the query: "
    path = checkpoints("sentence", prompts={"q": prompt}, default_prompt="q")
    found = answer(embed(path, tokens=True), Reference(path), TEXTS[0])["tokens"]
    assert (found[0]["start"], found[-1]["end"]) == (0, len(TEXTS[0]))
    assert found[0]["embedding"] == pytest.approx(
        hidden(path, prompt + TEXTS[0])[len(hidden(path, prompt)) - 1], abs=1e-5
    )


# Long texts


class Table:
    """An engine without context: the vector of a token is a row of a table. What then depends on windows
    is the task's own doing."""

    name, device, dtype, workers, batch_tokens = "table", "cpu", "float32", 1, 10_000
    rows = np.random.default_rng(0).normal(size=(2000, 32)).astype(np.float32)

    def forward(self, windows: Sequence[Window], ask: Ask) -> list[Any]:
        return [self._answer(self.rows[list(window.ids)], window, ask) for window in windows]

    def _answer(self, states: Any, window: Window, ask: Ask) -> Any:
        match ask:
            case Hidden():
                return states
            case Pooled("cls"):
                return states[0]
            case Pooled("mean"):
                return states[slice(*window.fresh)].mean(0)
        return states[slice(*window.fresh)].max(0)


windows = st.integers(3, 60).flatmap(
    lambda length: st.builds(
        LongOptions, max_length=st.just(length), overlap=st.one_of(st.none(), st.integers(0, length - 3))
    )
)


@settings(max_examples=60)
@given(long=windows, words=st.integers(1, 80), mode=st.sampled_from(["mean", "max", "cls"]))
def test_windows_of_any_size_give_the_vector_of_the_whole_text(
    checkpoints: Make, long: LongOptions, words: int, mode: Any
) -> None:
    path = checkpoints("bert", "base")
    text = " ".join(LONG.split()[:words])
    _, tokenizer = opened(path)
    whole = Table.rows[tokenizer.frame(False).build(tokenizer.encode(text).ids)[0]]
    expected = {"mean": whole.mean(0), "max": whole.max(0), "cls": whole[0]}[mode]
    found = answer(embed(path, long, pooling=mode), Table(), text)
    assert found["embedding"] == pytest.approx(expected, abs=1e-5)


@settings(max_examples=60)
@given(long=windows, words=st.integers(1, 80))
def test_windows_of_any_size_give_each_token_once(checkpoints: Make, long: LongOptions, words: int) -> None:
    path = checkpoints("bert", "base")
    text = " ".join(LONG.split()[:words])
    _, tokenizer = opened(path)
    tokens = tokenizer.encode(text)
    found = answer(embed(path, long, tokens=True), Table(), text)["tokens"]
    assert [(entry["start"], entry["end"]) for entry in found] == list(tokens.offsets)
    assert np.array_equal(np.stack([entry["embedding"] for entry in found]), Table.rows[tokens.ids])


def test_windows_have_the_length_the_model_was_made_for_unless_asked(checkpoints: Make) -> None:
    path = checkpoints("sentence", max_length=32)
    record = Record(0, {}, LONG)
    assert max(map(len, embed(path).encode(record).windows)) == 32
    assert max(map(len, embed(path, LongOptions(max_length=64)).encode(record).windows)) == 64
    with pytest.raises(UsageError, match="more than the model takes"):
        embed(path, LongOptions(max_length=65))
