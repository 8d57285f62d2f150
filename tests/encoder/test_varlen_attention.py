"""Which attention a GPU's call takes, tried with made-up GPUs, and that it is called as it asks."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from matryoshka.data.packing import PackedBatch
from matryoshka.encoder import packed_attention
from matryoshka.encoder.varlen_attention import flash_attn_varlen_attention, torch_varlen_attention, varlen_kernel
from tests.encoder.test_packed_attention import backbone, encoder, gradients, sequences
from tests.tiny import tiny_encoder

GPU = torch.device("cuda", 0)
BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
KERNELS = {"torch": torch_varlen_attention, "flash": flash_attn_varlen_attention, "buckets": None}


def varlen_by_loop(q_THD: Tensor, k_THD: Tensor, v_THD: Tensor, *where: Any, scale: float) -> Tensor:
    """What both libraries' functions compute, one sequence at a time, with what they demand of their arguments."""
    assert {x.dtype for x in (q_THD, k_THD, v_THD)} <= {BF16, FP16}
    cu_seqlens_Z, cu_seqlens_k_Z, longest, longest_k = where
    assert cu_seqlens_Z.dtype == cu_seqlens_k_Z.dtype == torch.int32
    assert type(longest) is type(longest_k) is int
    assert longest == longest_k == max(cu_seqlens_Z.diff().tolist())
    attended = []
    lengths = cu_seqlens_Z.diff().tolist()
    for q_LHD, k_LHD, v_LHD in zip(*(x.split(lengths) for x in (q_THD, k_THD, v_THD)), strict=True):
        scores_HLL = torch.einsum("ihd,jhd->hij", q_LHD.float(), k_LHD.float()) * scale
        attended.append(torch.einsum("hij,jhd->ihd", scores_HLL.softmax(-1), v_LHD.float()))
    return torch.cat(attended).to(q_THD.dtype)


def flash_attn_by_loop(*inputs: Any, dropout_p: float, softmax_scale: float, deterministic: bool) -> Tensor:
    assert (dropout_p, deterministic) == (0.0, False)
    return varlen_by_loop(*inputs, scale=softmax_scale)


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """An A100 with a torch built for it and without flash-attn, unless a test says otherwise."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: True)
    monkeypatch.setitem(sys.modules, "flash_attn", None)
    varlen_kernel.cache_clear()
    yield monkeypatch
    varlen_kernel.cache_clear()


def install_flash_attn(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("flash_attn")
    module.__spec__ = ModuleSpec("flash_attn", None)
    module.flash_attn_varlen_func = flash_attn_by_loop  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "flash_attn", module)


def test_a_flash_attn_without_the_function_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Version 4 installs the same name for something else."""
    monkeypatch.setitem(sys.modules, "flash_attn", ModuleType("flash_attn"))

    assert varlen_kernel(torch.device("cuda"), torch.bfloat16, 64, dropout=True) is None


@pytest.mark.parametrize(
    ("dtype", "capability", "dropout", "flash_attn", "expected"),
    [
        (BF16, (8, 0), False, False, "torch"),
        (FP16, (8, 6), False, False, "torch"),
        (BF16, (9, 0), False, True, "torch"),
        (BF16, (12, 0), True, True, "flash"),
        (BF16, (9, 0), True, False, "buckets"),
        (FP32, (9, 0), False, True, "buckets"),
        (FP16, (7, 5), False, True, "buckets"),
    ],
)
def test_the_choice_follows_what_the_gpu_and_the_call_allow(
    gpu: pytest.MonkeyPatch, dtype: Any, capability: tuple[int, int], dropout: bool, flash_attn: bool, expected: str
) -> None:
    gpu.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    if flash_attn:
        install_flash_attn(gpu)

    assert varlen_kernel(GPU, dtype, 32, dropout) is KERNELS[expected]


@pytest.mark.parametrize("head_size", [12, 200, 256])
def test_heads_that_the_kernels_do_not_take_go_through_buckets(head_size: int) -> None:
    assert varlen_kernel(GPU, BF16, head_size, False) is None


def test_a_torch_without_the_kernel_goes_on_to_flash_attn(gpu: pytest.MonkeyPatch) -> None:
    install_flash_attn(gpu)
    gpu.setitem(sys.modules, "torch.nn.attention.varlen", None)

    assert varlen_kernel(GPU, BF16, 32, False) is flash_attn_varlen_attention


def test_a_torch_whose_kernel_has_no_scale_is_passed_over(gpu: pytest.MonkeyPatch) -> None:
    varlen = importlib.import_module("torch.nn.attention.varlen")
    gpu.setattr(varlen, "varlen_attn", lambda query, key, value, cu_seq_q, cu_seq_k, max_q, max_k: query)

    assert varlen_kernel(GPU, BF16, 32, False) is None


@pytest.mark.parametrize(
    ("dtype", "dropout", "flash_attn", "message"),
    [
        (BF16, False, False, "attention on cuda:0 (bfloat16, heads of 32, no dropout): torch's varlen_attn"),
        (
            BF16,
            True,
            False,
            "attention on cuda:0 (bfloat16, heads of 32, dropout): SDPA over length buckets, since "
            "torch's varlen_attn has no dropout; flash-attn is not installed",
        ),
        (
            BF16,
            True,
            True,
            "attention on cuda:0 (bfloat16, heads of 32, dropout): flash-attn's flash_attn_varlen_func, since "
            "torch's varlen_attn has no dropout",
        ),
        (
            FP32,
            False,
            True,
            "attention on cuda:0 (float32, heads of 32, no dropout): SDPA over length buckets, since "
            "variable-length kernels are for fp16 and bf16",
        ),
    ],
)
def test_the_choice_and_its_reason_are_said_once(
    gpu: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    dtype: Any,
    dropout: bool,
    flash_attn: bool,
    message: str,
) -> None:
    if flash_attn:
        install_flash_attn(gpu)
    with caplog.at_level(logging.INFO, logger="matryoshka"):
        for _ in range(3):
            varlen_kernel(GPU, dtype, 32, dropout)

    assert caplog.messages == [message]


def test_a_cpu_has_no_such_kernel_and_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="matryoshka"):
        assert varlen_kernel(torch.device("cpu"), BF16, 32, False) is None

    assert caplog.messages == []


@pytest.mark.parametrize("library", ["torch", "flash"])
def test_a_model_through_the_kernel_equals_the_model_through_buckets(gpu: pytest.MonkeyPatch, library: str) -> None:
    """The kernels themselves need a GPU; here a loop stands in for them, under autocast as in training."""
    install_flash_attn(gpu)
    varlen = importlib.import_module("torch.nn.attention.varlen")
    gpu.setattr(varlen, "varlen_attn", varlen_by_loop)
    batch = PackedBatch.from_ids([sequences()])
    found = []
    for kernel in (None, KERNELS[library]):
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


def test_buckets_are_only_made_where_they_are_used(gpu: pytest.MonkeyPatch) -> None:
    def unwanted(*_: Any) -> None:
        raise AssertionError("buckets were made")

    gpu.setattr(packed_attention.Buckets, "of", unwanted)
    gpu.setattr(packed_attention, "varlen_kernel", lambda *call: lambda q_THD, *_: q_THD)

    assert tiny_encoder().encode(["der", "die das"]).shape == (2, 32)
