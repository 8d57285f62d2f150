"""What must hold on a CUDA device. Its part is deselected by default; `make test-gpu` runs it.

Where a test makes sense on a CPU too, it runs there as well, so that what it is written with is known to work.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from matryoshka.data.packing import PackedBatch
from matryoshka.data.tokens import TokenIds
from matryoshka.encoder import Encoder, buckets
from matryoshka.encoder.varlen_attention import varlen_kernel
from matryoshka.losses import MatryoshkaLoss, NestedLoss, RankingLoss
from matryoshka.training import nonfinite, schedulers
from matryoshka.training.accumulation import add_gradients
from matryoshka.training.callbacks.metrics_file import MetricsFile
from matryoshka.training.clipping import clip_gradients
from matryoshka.training.module import EmbeddingModule
from matryoshka.training.plan import TrainingPlan
from matryoshka.training.precision import choose_precision
from tests.architectures import tiny_backbone
from tests.calls import Calls
from tests.encoder import test_architectures
from tests.encoder.test_packed_attention import backbone, encoder, gradients, padded_embeddings, sequences
from tests.tiny import tiny_encoder

ON_EACH = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
TEXTS = ["der die das", "und", "ein langer text mit vielen worten und noch mehr"] * 5
DIMS = [32, 8]
CONF = Path(__file__).parent.parent / "conf"


@pytest.fixture(autouse=True)
def same_seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def batch_for(model: Encoder, device: str) -> PackedBatch:
    ids = model.tokenize(TEXTS[:6])
    return PackedBatch.from_ids([ids, ids[::-1]]).sent(torch.device(device))


def loss_of(embeddings_SD: Tensor) -> NestedLoss:
    nested: NestedLoss = MatryoshkaLoss(RankingLoss(), DIMS)(*embeddings_SD.tensor_split([6]))
    return nested


def grads(model: Encoder) -> dict[str, Tensor]:
    return {name: p.grad.cpu() for name, p in model.named_parameters() if p.grad is not None}


@ON_EACH
@pytest.mark.parametrize("budget", [20, 8192])
def test_embeddings_equal_those_of_the_cpu(device: str, budget: int) -> None:
    """A small budget makes many batches, of which two are under way at a time."""
    here, there = tiny_encoder(modes=("cls", "mean")), tiny_encoder(modes=("cls", "mean")).to(device)
    texts = [f"{text} {i}" for i, text in enumerate(TEXTS)]

    found = there.encode(texts, token_budget=budget, normalize=False, as_tensor=True)
    assert not found.is_cuda
    expected = here.encode(texts, normalize=False, as_tensor=True)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@ON_EACH
def test_embeddings_in_bf16_are_near_those_in_fp32(device: str) -> None:
    model = tiny_encoder(modes=("cls", "mean")).to(device)

    narrow, wide = (torch.from_numpy(model.encode(TEXTS, precision=p)) for p in ("bf16", "fp32"))  # type: ignore[arg-type]
    torch.testing.assert_close(narrow, wide, atol=0.05, rtol=0)


@ON_EACH
def test_loss_and_gradients_equal_those_of_the_cpu(device: str) -> None:
    found = []
    for where in ("cpu", device):
        model = tiny_encoder().to(where)
        loss_of(model(batch_for(model, where))).total.backward()
        found.append(grads(model))
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-4, rtol=1e-3)


@ON_EACH
@pytest.mark.parametrize("kind", ["xlm-roberta", "bert", "mpnet"])
def test_fp32_equals_the_padded_model(device: str, kind: str) -> None:
    """Packed models go through buckets here, padded ones through transformers' own attention."""
    expected_model = backbone(kind)
    expected_SD = padded_embeddings(expected_model)
    model = encoder(backbone(kind)).to(device)
    embeddings_SD = model(PackedBatch.from_ids([sequences()]).sent(torch.device(device)))

    torch.testing.assert_close(embeddings_SD.cpu(), expected_SD, atol=1e-4, rtol=0)
    expected, found = gradients(expected_SD, expected_model), gradients(embeddings_SD.cpu(), model.backbone)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name].cpu(), gradient, atol=1e-4, rtol=0)


@ON_EACH
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(
    "name", ["modernbert", "mistral", "qwen3", "gemma3_text", "gemma3_text, bidirectional", "mpnet"]
)
def test_causality_windows_and_a_bias_are_those_of_the_padded_model(device: str, name: str, bf16: bool) -> None:
    """In bf16 windows go through flash attention where heads allow it, in fp32 through buckets; a bias always does."""
    expected_SD = test_architectures.padded_embeddings(tiny_backbone(name))
    model = test_architectures.encoder(tiny_backbone(name)).to(device)
    with torch.autocast(device, torch.bfloat16, enabled=bf16):
        embeddings_SD = model(PackedBatch.from_ids([sequences()]).sent(torch.device(device)))
    embeddings_SD.sum().backward()

    assert (embeddings_SD.cpu() - expected_SD).norm() < (0.02 if bf16 else 1e-4) * expected_SD.norm()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@ON_EACH
@pytest.mark.parametrize("kind", ["xlm-roberta", "bert"])
def test_bf16_equals_the_padded_model(device: str, kind: str) -> None:
    """On a GPU of capability 8.0 or newer this is the variable-length kernel, which the test insists on."""
    if device == "cuda":
        assert torch.cuda.get_device_capability() < (8, 0) or varlen_kernel(
            torch.device("cuda", 0), torch.bfloat16, 8, False
        )
    expected_model = backbone(kind)
    expected_SD = padded_embeddings(expected_model)
    model = encoder(backbone(kind)).to(device)
    with torch.autocast(device, torch.bfloat16):
        embeddings_SD = model(PackedBatch.from_ids([sequences()]).sent(torch.device(device))).cpu()

    assert (embeddings_SD - expected_SD).norm() < 0.02 * expected_SD.norm()
    expected, found = gradients(expected_SD, expected_model), gradients(embeddings_SD, model.backbone)
    for name, gradient in expected.items():
        if not name.endswith("key.bias"):  # its gradient is 0 but for rounding
            assert (found[name].cpu() - gradient).norm() < 0.1 * gradient.norm(), name


@ON_EACH
def test_training_the_rows_that_occur_is_bit_for_bit_the_same(device: str) -> None:
    def trained(model: Encoder) -> Encoder:
        optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-2, weight_decay=0.0, fused=True)
        for _ in range(3):
            with sdpa_kernel(SDPBackend.MATH):  # the others may add in any order
                loss_of(model(batch_for(model, device))).total.backward()
            clip_gradients(model.parameters(), 0.1)
            optimizer.step()
            optimizer.zero_grad()
        return model

    whole, compact = tiny_encoder().to(device), tiny_encoder().to(device)
    compact.compact_vocabulary(TokenIds.of(compact.tokenize(TEXTS)).distinct())
    trained(whole)
    trained(compact).whole_vocabulary()
    for name, weight in whole.state_dict().items():
        assert torch.equal(compact.state_dict()[name], weight), name


@ON_EACH
def test_a_batch_in_parts_with_dropout_equals_its_parts_kept(device: str) -> None:
    """With dropout the whole batch would draw other masks; the same parts, all graphs kept, draw the same."""
    kept, cached = (tiny_encoder(dropout=0.3).to(device).train() for _ in range(2))
    batch = batch_for(kept, device)

    torch.manual_seed(5)
    parts = list(batch.in_parts(2))
    encoded = torch.cat([kept(part) for part, _ in parts])
    order = torch.tensor([row for _, rows in parts for row in rows]).argsort()
    loss_of(encoded[order.to(device)]).total.backward()
    torch.manual_seed(5)
    add_gradients(cached, [batch], lambda _, x_SD: loss_of(x_SD), pairs_at_once=2)
    for name, gradient in grads(kept).items():
        torch.testing.assert_close(grads(cached)[name], gradient, atol=1e-4, rtol=1e-3)


@ON_EACH
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("pairs_at_once", [None, 2])
def test_between_rows_one_flag_an_update_alone_waits_for_the_device(
    tmp_path: Path, device: str, precision: str, pairs_at_once: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = EmbeddingModule(
        tiny_encoder(dropout=0.1).to(device),
        MatryoshkaLoss(RankingLoss(), DIMS),
        TrainingPlan([6], 1),
        partial(torch.optim.AdamW, lr=1e-3, fused=True),
        schedulers.linear,
        log_every=3,
        pairs_at_once=pairs_at_once,
    )
    (optimizer,), (scheduler,) = module.configure_optimizers()
    for name, stand_in in {  # what a Trainer gives
        "optimizers": lambda: optimizer,
        "lr_schedulers": lambda: scheduler,
        "manual_backward": lambda loss: loss.backward(),
    }.items():
        monkeypatch.setattr(module, name, stand_in)
    log = MetricsFile(tmp_path / "metrics.jsonl")
    monkeypatch.setattr(EmbeddingModule, "loggers", [log])
    reads: list[bool] = []

    def read(flag: Tensor) -> bool:
        torch.cuda.set_sync_debug_mode("default") if device == "cuda" else None
        reads.append(bool(flag))
        torch.cuda.set_sync_debug_mode("error" if between else "default") if device == "cuda" else None
        return reads[-1]

    monkeypatch.setattr(nonfinite, "read", read)
    for i in range(6):
        batch = batch_for(module.encoder, device)
        between = device == "cuda" and i in (1, 3, 4)  # not the first, which sets things up, nor those with a row
        torch.cuda.set_sync_debug_mode("error" if between else "default") if device == "cuda" else None
        try:
            with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
                module.training_step(batch, i)
        finally:
            torch.cuda.set_sync_debug_mode("default") if device == "cuda" else None
    assert [row["step"] for row in log.rows] == [3, 6]
    assert reads == [False] * 6


@ON_EACH
def test_the_optimizer_as_configured_is_one_fused_kernel(device: str) -> None:
    make = instantiate(OmegaConf.load(CONF / "optimizer" / "adamw.yaml"))
    weights = [nn.Parameter(torch.ones(3, device=device)) for _ in range(2)]
    optimizer = make(weights)
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    with Calls() as calls:
        optimizer.step()
    assert calls.count["_fused_adamw_"] == 1
    assert "_local_scalar_dense" not in calls.count


@pytest.mark.gpu
def test_pinned_batches_come_without_waiting() -> None:
    batch = batch_for(tiny_encoder(), "cpu").pin_memory()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        sent = batch.to("cuda", non_blocking=True)
        buckets.Buckets.of(batch.lengths, torch.device("cuda"))
        sent.padded(1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert sent.input_ids_T.tolist() == batch.input_ids_T.tolist()


@pytest.mark.gpu
def test_bf16_is_chosen_where_the_gpu_has_it() -> None:
    expected = "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    assert choose_precision(torch.device("cuda")).precision == expected
