"""Which attention a GPU's call takes, tried with made-up GPUs, and that it is called as it asks."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from matryoshka.data.packing import PackedBatch
from matryoshka.encoder import buckets, packed_attention
from matryoshka.encoder.buckets import Reach
from matryoshka.encoder.varlen_attention import efficient_attention, flash_attention, kernel_name, varlen_kernel
from tests.encoder.test_packed_attention import backbone, encoder, gradients, row_of, sequences
from tests.tiny import tiny_encoder

GPU = torch.device("cuda", 0)
BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
KERNELS = {"flash": flash_attention, "efficient": efficient_attention, "buckets": None}
SIGNATURES = {
    "_flash_attention_forward": "query, key, value, cum_seq_q, cum_seq_k, max_q, max_k, dropout_p, is_causal, "
    "return_debug_mask, scale, window_size_left, window_size_right",
    "_efficient_attention_forward": "query, key, value, bias, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, "
    "dropout_p, custom_mask_type, compute_log_sumexp, scale",
}


def varlen_by_loop(
    q_THD: Tensor,
    k_THD: Tensor,
    v_THD: Tensor,
    cu_seqlens_Z: Tensor,
    longest: int,
    scaling: float | None,
    dropout: float,
) -> Tensor:
    """What a kernel computes, one sequence at a time, with what it demands of its arguments."""
    assert {x.dtype for x in (q_THD, k_THD, v_THD)} <= {BF16, FP16}
    assert cu_seqlens_Z.dtype == torch.int32 and type(longest) is int and dropout == 0
    lengths, scale = cu_seqlens_Z.diff().tolist(), scaling or q_THD.shape[2] ** -0.5
    assert longest == max(lengths)
    attended = []
    for q_LHD, k_LHD, v_LHD in zip(*(x.split(lengths) for x in (q_THD, k_THD, v_THD)), strict=True):
        scores_HLL = torch.einsum("ihd,jhd->hij", q_LHD.float(), k_LHD.float()) * scale
        attended.append(torch.einsum("hij,jhd->ihd", scores_HLL.softmax(-1), v_LHD.float()))
    return torch.cat(attended).to(q_THD.dtype)


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """An A100 with a torch built for it, unless a test says otherwise."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: True)
    varlen_kernel.cache_clear()
    yield monkeypatch
    varlen_kernel.cache_clear()


@pytest.mark.parametrize("operation", SIGNATURES)
def test_torchs_operations_take_what_they_are_given(operation: str) -> None:
    """They are not public: another torch that changes them fails here, not on a GPU."""
    arguments = getattr(torch.ops.aten, operation).default._schema.arguments
    expected = SIGNATURES[operation].split(", ")
    assert [argument.name for argument in arguments[: len(expected)]] == expected


class Calls(TorchDispatchMode):
    """Every operation by name, with its arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[str, tuple[Any, ...]] = {}
        self.named: dict[str, dict[str, Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.made[func.overloadpacket.__name__], self.named[func.overloadpacket.__name__] = args, kwargs or {}
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("name", "dtype"), [("flash", BF16), ("efficient", FP32)])
def test_each_kernel_is_one_call_with_its_dropout(name: str, dtype: torch.dtype) -> None:
    """On the device that has no numbers both operations say what shapes they give, flash's gradient too."""
    qkv_T3HD = torch.zeros(10, 3, 4, 8, dtype=dtype, device="meta", requires_grad=True)
    where = torch.zeros(3, dtype=torch.int32, device="meta")
    kernel = KERNELS[name]
    assert kernel is not None
    with Calls() as calls:
        attended_THD = kernel(*qkv_T3HD.unbind(1), where, 6, 0.5, 0.1)
        if name == "flash":
            attended_THD.sum().backward()
    assert attended_THD.shape == (10, 4, 8)
    made = calls.made[f"_{name}_attention_forward"]
    numbers = [x for x in made if not isinstance(x, Tensor)]
    assert 0.1 in numbers and numbers.count(6) == 2 and sum(x is where for x in made) == 2
    if name == "flash":
        assert 0.1 in [x for x in calls.made["_flash_attention_backward"] if not isinstance(x, Tensor)]
        assert qkv_T3HD.grad is not None and qkv_T3HD.grad.shape == qkv_T3HD.shape


@pytest.mark.parametrize(
    ("reach", "seen"),
    [
        (Reach(), {}),
        (Reach(causal=True), {"causal": True}),
        (Reach(window=3), {"window": 3}),
        (Reach(causal=True, window=3), {"causal": True, "window": 3}),
        (Reach(causal=True, window=6), {"causal": True}),  # of sequences that are no longer
    ],
)
def test_a_kernel_is_told_how_far_tokens_see(gpu: pytest.MonkeyPatch, reach: Reach, seen: dict[str, Any]) -> None:
    asked: list[Any] = []

    def chosen(*call: Any) -> Any:
        def kernel(q_THD: Tensor, *others: Any, **options: Any) -> Tensor:
            asked.append((call[3], options))
            return q_THD

        return kernel

    gpu.setattr(packed_attention, "varlen_kernel", chosen)
    packed_attention.attend(torch.zeros(10, 3, 4, 8), row_of([6, 4]), reach=reach)
    assert asked == [("window" in seen, seen)]
    asked.clear()
    attended_THD = packed_attention.attend(torch.zeros(10, 3, 4, 8), row_of([6, 4]), bias_HLL=torch.zeros(4, 6, 6))
    assert attended_THD.shape == (10, 4, 8) and not asked  # no kernel takes a bias


@pytest.mark.parametrize(
    ("options", "causal", "sides"),
    [
        ({}, False, (None, None)),
        ({"causal": True}, True, (None, None)),
        ({"window": 3}, False, (2, 2)),
        ({"causal": True, "window": 3}, True, (2, 0)),
    ],
)
def test_flash_attention_counts_a_window_to_both_sides(options: Any, causal: bool, sides: Any) -> None:
    """Its gradient too; on the device that has no numbers."""
    qkv_T3HD = torch.zeros(10, 3, 4, 8, dtype=BF16, device="meta", requires_grad=True)
    where = torch.zeros(3, dtype=torch.int32, device="meta")
    with Calls() as calls:
        flash_attention(*qkv_T3HD.unbind(1), where, 6, 0.5, 0.0, **options).sum().backward()
    for way in ("forward", "backward"):
        made, named = calls.made[f"_flash_attention_{way}"], calls.named[f"_flash_attention_{way}"]
        assert next(x for x in made if isinstance(x, bool)) is causal
        assert (named.get("window_size_left"), named.get("window_size_right")) == sides


@pytest.mark.parametrize("causal", [False, True])
def test_the_efficient_kernel_has_a_mask_of_causality(causal: bool) -> None:
    qkv_T3HD, where = torch.zeros(10, 3, 4, 8, device="meta"), torch.zeros(3, dtype=torch.int32, device="meta")
    with Calls() as calls:
        efficient_attention(*qkv_T3HD.unbind(1), where, 6, 0.5, 0.0, **({"causal": True} if causal else {}))
    assert calls.made["_efficient_attention_forward"][9] == int(causal)


@pytest.mark.parametrize(("dtype", "expected"), [(BF16, "flash"), (FP32, "buckets")])
def test_a_window_takes_flash_attention_or_buckets(dtype: Any, expected: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="matryoshka"):
        assert varlen_kernel(GPU, dtype, 64, True) is KERNELS[expected]

    assert "heads of 64, a window): " in caplog.messages[0]
    assert varlen_kernel(GPU, FP32, 64, False) is efficient_attention


@pytest.mark.parametrize(("needed", "keeps"), [(True, True), (False, False)])
def test_the_efficient_kernel_keeps_what_a_gradient_needs(
    monkeypatch: pytest.MonkeyPatch, needed: bool, keeps: bool
) -> None:
    seen: list[bool] = []

    def operation(*args: Any, **options: Any) -> tuple[Tensor, None]:
        seen.append(args[10])
        return args[0], None

    monkeypatch.setattr(torch.ops.aten, "_efficient_attention_forward", operation)
    q_THD = torch.zeros(3, 2, 8, requires_grad=needed)
    efficient_attention(q_THD, q_THD, q_THD, torch.tensor([0, 3], dtype=torch.int32), 3, None, 0.0)
    assert seen == [keeps]


@pytest.mark.parametrize(
    ("dtype", "capability", "head_size", "expected"),
    [
        (BF16, (8, 0), 64, "flash"),
        (FP16, (12, 0), 192, "flash"),
        (FP32, (9, 0), 64, "efficient"),
        (FP16, (7, 5), 64, "efficient"),
        (BF16, (9, 0), 256, "efficient"),
        (BF16, (9, 0), 12, "buckets"),
        (FP32, (9, 0), 12, "buckets"),
    ],
)
def test_the_choice_follows_what_the_gpu_and_the_call_allow(
    gpu: pytest.MonkeyPatch, dtype: Any, capability: tuple[int, int], head_size: int, expected: str
) -> None:
    gpu.setattr(torch.cuda, "get_device_capability", lambda device: capability)

    assert varlen_kernel(GPU, dtype, head_size) is KERNELS[expected]
    assert kernel_name(GPU, dtype, head_size).startswith(expected)


def test_a_torch_built_without_flash_attention_takes_the_other(gpu: pytest.MonkeyPatch) -> None:
    gpu.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: False)
    assert varlen_kernel(GPU, BF16, 64) is efficient_attention


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        (BF16, "attention on cuda:0 (bfloat16, heads of 32): flash attention"),
        (
            FP32,
            "attention on cuda:0 (float32, heads of 32): memory-efficient attention, since flash attention is for fp16 "
            "and bf16",
        ),
    ],
)
def test_the_choice_and_its_reason_are_said_once(caplog: pytest.LogCaptureFixture, dtype: Any, message: str) -> None:
    with caplog.at_level(logging.INFO, logger="matryoshka"):
        for _ in range(3):
            varlen_kernel(GPU, dtype, 32)

    assert caplog.messages == [message]


def test_a_cpu_has_no_such_kernel_and_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="matryoshka"):
        assert varlen_kernel(torch.device("cpu"), BF16, 32) is None

    assert caplog.messages == []


def test_a_model_through_a_kernel_equals_the_model_through_buckets(gpu: pytest.MonkeyPatch) -> None:
    """The kernels themselves need a GPU; here a loop stands in for them, under autocast as in training."""
    batch = PackedBatch.from_ids([sequences()])
    found = []
    for kernel in (None, varlen_by_loop):
        gpu.setattr(packed_attention, "varlen_kernel", lambda *call, kernel=kernel: kernel)
        model = encoder(backbone("xlm-roberta"))
        with torch.autocast("cpu", torch.bfloat16):
            embeddings_SD = model(batch)
        found.append((embeddings_SD, gradients(embeddings_SD, model.backbone)))

    (expected_SD, expected), (embeddings_SD, with_kernel) = found
    torch.testing.assert_close(embeddings_SD, expected_SD, rtol=0.05, atol=0.05)
    for name, gradient in expected.items():
        if not name.endswith("key.bias"):  # its gradient is 0 but for rounding
            error = (with_kernel[name] - gradient).norm() / gradient.norm()
            assert error < 0.05, f"{name}: {error}"


@pytest.mark.parametrize("training", [True, False])
def test_training_and_evaluation_reach_the_kernel_and_make_no_buckets(gpu: pytest.MonkeyPatch, training: bool) -> None:
    def unwanted(*_: Any) -> None:
        raise AssertionError("buckets were made")

    rates: list[float] = []

    def kernel(q_THD: Tensor, *others: Any) -> Tensor:
        rates.append(others[-1])
        return q_THD

    gpu.setattr(buckets.Buckets, "of", unwanted)
    gpu.setattr(packed_attention, "varlen_kernel", lambda *call: kernel)
    model = tiny_encoder(dropout=0.1).train(training)

    assert model(PackedBatch.from_ids([sequences()])).shape == (len(sequences()), 32)
    assert rates == [0.1 if training else 0.0] * 2
