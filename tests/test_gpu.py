"""What must hold on a CUDA device; deselected by default, `make test-gpu` runs it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from matryoshka.data.packing import PackedBatch
from matryoshka.losses import MatryoshkaLoss, RankingLoss
from matryoshka.precision import choose_precision
from tests.tiny import tiny_encoder

pytestmark = pytest.mark.gpu
TEXTS = ["der die das", "und", "ein langer text mit vielen worten und noch mehr"] * 5


def test_embeddings_equal_those_of_the_cpu() -> None:
    here, there = tiny_encoder(modes=("cls", "mean")), tiny_encoder(modes=("cls", "mean")).cuda()
    torch.testing.assert_close(
        torch.from_numpy(there.encode(TEXTS)), torch.from_numpy(here.encode(TEXTS)), atol=1e-5, rtol=0
    )


def test_loss_and_gradients_equal_those_of_the_cpu() -> None:
    gradients = []
    for device in ("cpu", "cuda"):
        encoder = tiny_encoder().to(device)
        ids = encoder.tokenize(TEXTS[:3])
        embeddings = encoder(PackedBatch.from_ids([ids, ids[::-1]]).to(device))
        MatryoshkaLoss(RankingLoss(), [32, 8])(*embeddings.tensor_split([3])).total.backward()
        gradients.append({n: p.grad.cpu() for n, p in encoder.named_parameters() if p.grad is not None})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-4, rtol=1e-3)


def test_a_step_reads_nothing_back_from_the_device(tmp_path: Path) -> None:
    encoder = tiny_encoder().cuda().train()
    loss = MatryoshkaLoss(RankingLoss(), [32, 8])
    ids = encoder.tokenize(TEXTS[:4])
    batch = PackedBatch.from_ids([ids, ids]).pin_memory().to("cuda", non_blocking=True)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss(*encoder(batch).tensor_split([4])).total.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_bf16_is_chosen_where_the_gpu_has_it() -> None:
    expected = "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    assert choose_precision(torch.device("cuda")).precision == expected
