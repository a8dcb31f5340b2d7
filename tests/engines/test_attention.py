from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bertcli.engines import attention
from bertcli.engines.attention import Grouped, Varlen, arrange, attend_once
from bertcli.engines.device import ATTENTION_STEP
from bertcli.engines.grouped_attention import _SCORES, pieces
from bertcli.engines.rounding import rounded_count, rounded_length

HEADS, WIDTH = 3, 8
SCALE = WIDTH**-0.5


def make_pack(lengths: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, sum(lengths), HEADS, WIDTH, generator=generator)
    return query, key, value


def attend(query: Tensor, key: Tensor, value: Tensor, lengths: list[int], reach: int | None = None) -> Tensor:
    arranged = arrange(lengths, query.shape[1], query.dtype, torch.device("cpu"))
    return arranged.attend(torch.stack([query, key, value], 1), SCALE, reach)


def expect(query: Tensor, key: Tensor, value: Tensor, lengths: list[int], reach: int | None) -> Tensor:
    """Attention by its definition, sequence by sequence, in float64."""
    answers = []
    for q, k, v in zip(*(tensor.double().split(lengths) for tensor in (query, key, value)), strict=True):
        scores = torch.einsum("qhw,khw->hqk", q, k) * SCALE
        places = torch.arange(len(q))
        if reach is not None:
            scores[:, (places[:, None] - places).abs() >= reach] = -torch.inf
        answers.append(torch.einsum("hqk,khw->qhw", scores.softmax(-1), v))
    return torch.cat(answers)


def difference(
    lengths: list[int], dtype: torch.dtype = torch.float32, step: int = 1, reach: int | None = None
) -> float:
    """Between a pack's attention and that by definition, the largest anywhere."""
    query, key, value = (tensor.to(dtype) for tensor in make_pack(lengths))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ATTENTION_STEP, "cpu", step)
        answer = attend(query, key, value, lengths, reach)
    assert answer.shape == query.shape
    return float((answer.double() - expect(query, key, value, lengths, reach)).abs().max())


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=12).map(sorted),
    step=st.sampled_from([1, 4, 16, 100]),
    reach=st.sampled_from([None, 1, 2, 9]),
)
def test_every_sequence_sees_only_itself(lengths: list[int], step: int, reach: int | None) -> None:
    assert difference(lengths, step=step, reach=reach) < 1e-5


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=12).map(sorted),
    step=st.sampled_from([1, 16]),
    reach=st.sampled_from([None, 1, 9]),
)
def test_bfloat16_is_as_exact_as_its_digits(lengths: list[int], step: int, reach: int | None) -> None:
    assert difference(lengths, torch.bfloat16, step, reach) < 0.05


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    larger=st.sampled_from([1.0, 1000.0]),
    place=st.integers(0, 39),
)
def test_one_query_of_each_sequence_sees_what_it_sees_among_all(
    lengths: list[int], dtype: torch.dtype, larger: float, place: int
) -> None:
    query, key, value = (tensor.to(dtype) for tensor in make_pack(lengths))
    starts = torch.tensor([0, *lengths]).cumsum(0)[:-1]
    rows = starts + torch.tensor(lengths).sub(1).clamp(max=place)
    answer = attend_once(query[rows] * larger, key, value, lengths, SCALE)
    expected = expect(query * larger, key, value, lengths, None)[rows]
    if dtype == torch.float32:
        # Scores of thousands are themselves rounded by 1e-4.
        assert (answer - expected).abs().max() < (1e-4 if larger == 1 else 1e-3)
    elif larger == 1:
        assert (answer - expected).abs().max() < 0.05
    assert answer.isfinite().all()


@pytest.mark.parametrize("score", [20.0, 100.0, 3000.0])
def test_scores_too_large_for_powers_are_noticed(score: float) -> None:
    """Every token looks at itself alone."""
    lengths = [5, 5, WIDTH - 1, WIDTH]
    tokens = torch.cat([torch.eye(WIDTH)[:length] for length in lengths])[:, None].expand(-1, HEADS, -1)
    tokens = (tokens * (score / SCALE) ** 0.5).bfloat16()
    value = make_pack(lengths)[2].bfloat16()
    answer = attend(tokens, tokens, value, lengths)
    assert (answer - value).abs().max() < 0.02


@pytest.mark.parametrize("score", [-20.0, -100.0, -3000.0])
def test_scores_too_small_for_powers_are_noticed(score: float) -> None:
    """Every token looks at all of its sequence alike."""
    lengths = [5, 5, 33]
    query = torch.full((sum(lengths), HEADS, WIDTH), (-score / SCALE / WIDTH) ** 0.5).bfloat16()
    value = make_pack(lengths)[2].bfloat16()
    answer = attend(query, -query, value, lengths)
    means = [part.float().mean(0).expand(len(part), -1, -1) for part in value.split(lengths)]
    assert (answer - torch.cat(means)).abs().max() < 0.02


@pytest.mark.parametrize("larger", [1.0, 300.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_company_changes_no_bit(dtype: torch.dtype, larger: float) -> None:
    """Not even that of a sequence whose scores are too large for powers."""
    lengths = [9, 12, 12, 14, 16, 40]
    query, key, value = (tensor.to(dtype) for tensor in make_pack(lengths))
    query[9:21] *= larger
    together = attend(query, key, value, lengths).split(lengths)
    for place, length in enumerate(lengths):
        alone = [tensor.split(lengths)[place] for tensor in (query, key, value)]
        assert torch.equal(together[place], attend(*alone, [length])), f"sequence {place}"


@given(number=st.integers(1, 100_000))
def test_rounded_sizes_are_few_and_near(number: int) -> None:
    assert number <= rounded_count(number) <= max(number, number * 3 / 2)
    assert number <= rounded_length(number) < number + max(8, number / 4)


def test_so_few_sizes_that_their_kernels_can_be_kept() -> None:
    assert len({rounded_count(count) for count in range(1, 4097)}) < 25
    assert len({rounded_length(length) for length in range(1, 513)}) < 30


def test_more_sequences_than_fit_at_once() -> None:
    assert difference([300] * 9 + [310] * 2, torch.bfloat16) < 0.05


@given(matrices=st.integers(1, 7000), length=st.sampled_from([8, 24, 64, 256, 512, 8192]))
def test_pieces_hold_all_and_little_more(matrices: int, length: int) -> None:
    found = list(pieces(matrices, length))
    sizes = [piece.stop - piece.start for piece in found]
    assert [piece.start for piece in found] == [sum(sizes[:number]) for number in range(len(sizes))]
    assert all(size & (size - 1) == 0 and size * length**2 <= max(_SCORES, length**2) for size in sizes)
    assert matrices <= sum(sizes) <= matrices + max(0, (1 << 15) // length**2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_behind_the_last_sequence_come_out_as_zeros(dtype: torch.dtype) -> None:
    query, key, value = (tensor.to(dtype) for tensor in make_pack([3, 4, 5]))
    answer = attend(query, key, value, [3, 4])
    assert (answer[7:] == 0).all()
    assert (answer[:7] != 0).all()


class Operations(TorchDispatchMode):
    """Notes what makes the host wait for a GPU: sizes that depend on numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        by_mask = name.startswith("aten.index") and any(
            index is not None and index.dtype == torch.bool for index in args[1] if isinstance(args[1], list)
        )
        if by_mask or name.startswith(("aten.nonzero", "aten._local_scalar_dense", "aten.masked_select")):
            self.waiting.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("reach", [None, 9])
def test_padded_attention_never_waits_for_a_gpu(reach: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ATTENTION_STEP, "cpu", ATTENTION_STEP["cuda"])
    lengths = [3, 7, 7, 16, 17, 30]
    grouped = Grouped(lengths, torch.device("cpu"))
    qkv = torch.stack(make_pack(lengths), 1)
    with Operations() as seen:
        grouped.attend(qkv, SCALE, reach)
    assert seen.waiting == []


@pytest.mark.parametrize("reach", [None, 1, 9])
def test_one_call_of_flash_attention_sees_what_groups_see(
    reach: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch has no such kernel for a CPU: in its place is attention by definition, under torch's argument names."""
    lengths = [3, 7, 7, 16, 30]

    def by_definition(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        cu_seq_q: Tensor,
        cu_seq_k: Tensor,
        max_q: int,
        max_k: int,
        *,
        scale: float,
        window_size: tuple[int, int],
    ) -> Tensor:
        assert (max_q, max_k, scale) == (30, 30, SCALE)
        assert cu_seq_q.tolist() == cu_seq_k.tolist() == [0, 3, 10, 17, 33, 63]
        assert window_size[0] == window_size[1]
        sees = None if window_size[0] < 0 else window_size[0] + 1
        return expect(query, key, value, cu_seq_q.diff().tolist(), sees).to(query.dtype)

    monkeypatch.setattr(attention, "varlen_attn", by_definition)
    query, key, value = make_pack([*lengths, 5])
    found = Varlen(lengths, torch.device("cpu")).attend(torch.stack([query, key, value], 1), SCALE, reach)
    parts = [tensor[: sum(lengths)] for tensor in (query, key, value)]
    assert (found[: sum(lengths)] - attend(*parts, lengths, reach)).abs().max() < 1e-5
    assert not found[sum(lengths) :].any()
