"""What a few tokens tell of a large batch, against the large batch itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest
import torch
from torch import nn

from matryoshka.encoder import Encoder, Pooling
from matryoshka.losses import MatryoshkaLoss, RankingLoss
from matryoshka.memory.measured import EncoderMemory, Growth, loss_bytes, measured_peaks, optimizer_bytes
from matryoshka.memory.peak import PeakBytes
from tests.architectures import tiny_backbone
from tests.tiny import tiny_encoder, tiny_tokenizer, with_checkpointing


def test_peak_counts_what_is_alive_at_once() -> None:
    before = torch.ones(100)
    with PeakBytes() as peak:
        first = torch.ones(1000)
        view = first.view(10, 100)[2:].add_(before)  # the same storage, and one from before
        assert (peak.now, peak.peak) == (4000, 4000)
        del first
        assert peak.now == 4000
        del view
        assert peak.now == 0
        second = before + 1
        assert (peak.now, peak.peak) == (400, 4000)
        assert peak.restart() == 4000
        assert peak.peak == 400
        del second


def test_peak_sees_the_backward_pass() -> None:
    weight = torch.ones(50, 50, requires_grad=True)
    with PeakBytes() as peak:
        (weight * weight).exp().sum().backward()
        assert peak.peak >= 3 * 10_000
        assert peak.now == 10_000  # the gradient


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("lengths", [[32] * 12, [5, 9, 31, 17], [1]], ids=["equal", "mixed", "one"])
def test_a_large_batch_is_known_from_small_ones(
    dropout: float, checkpointing: bool, packed: bool, lengths: Sequence[int]
) -> None:
    encoder = tiny_encoder(dropout=dropout)
    if not packed:
        encoder.first_position = None
        encoder.backbone.set_attn_implementation("sdpa")
    if checkpointing:
        with_checkpointing(encoder)
    known = EncoderMemory.measured(encoder, bf16=False, fused_attention=False).training(encoder, lengths)
    assert known == pytest.approx(max(measured_peaks(encoder, lengths, bf16=False)), rel=0.15, abs=5_000)


@pytest.mark.parametrize("name", ["modernbert", "mpnet", "qwen3", "gemma3_text, bidirectional"])
def test_windows_causality_and_a_bias_are_measured_too(name: str) -> None:
    encoder = Encoder(tiny_backbone(name), tiny_tokenizer(), Pooling(["mean"]), max_seq_length=40)
    lengths = [33, 5, 9, 31, 17, 32, 32, 32]
    known = EncoderMemory.measured(encoder, bf16=False, fused_attention=False).training(encoder, lengths)
    assert known == pytest.approx(max(measured_peaks(encoder, lengths, bf16=False)), rel=0.15, abs=5_000)


@pytest.mark.parametrize(("name", "grows"), [("qwen3", False), ("mpnet", True)])
def test_a_bias_costs_the_square_on_a_gpu_too(name: str, grows: bool) -> None:
    encoder = Encoder(tiny_backbone(name), tiny_tokenizer(), Pooling(["mean"]), max_seq_length=40)
    measured = EncoderMemory.measured(encoder, bf16=False, fused_attention=True)
    assert [growth.per_square > 0 for growth in (measured.forward, measured.evaluation)] == [grows] * 2


def test_checkpointing_needs_less() -> None:
    plain, checkpointed = tiny_encoder(layers=6), with_checkpointing(tiny_encoder(layers=6))
    needed = [EncoderMemory.measured(e, False, False).training(e, [32] * 8) for e in (plain, checkpointed)]
    assert needed[1] < 0.5 * needed[0]


def test_measuring_leaves_the_encoder_and_random_numbers_as_they_were() -> None:
    encoder = tiny_encoder(dropout=0.3).eval()
    state = torch.get_rng_state()
    weights = [p.clone() for p in encoder.parameters()]
    EncoderMemory.measured(encoder, bf16=False, fused_attention=True)
    assert torch.equal(torch.get_rng_state(), state)
    assert not encoder.training
    assert all(p.grad is None for p in encoder.parameters())
    assert all(torch.equal(p, q) for p, q in zip(encoder.parameters(), weights, strict=True))
    assert not encoder.backbone.get_input_embeddings()._forward_hooks


def test_frozen_embeddings_and_an_unusual_place_of_the_pad_token_can_be_measured() -> None:
    encoder = tiny_encoder()
    table = encoder.backbone.get_input_embeddings()
    assert table is not None
    table.requires_grad_(False)
    encoder.backbone.embeddings.requires_grad_(False)
    encoder.tokenizer.pad_token = encoder.tokenizer.convert_ids_to_tokens(len(encoder.tokenizer) - 1)  # the last row

    assert EncoderMemory.measured(encoder, False, False).forward.per_token > 0


def test_fused_attention_keeps_no_weights() -> None:
    encoder = tiny_encoder()
    kept, fused = (EncoderMemory.measured(encoder, False, fused_attention=way) for way in (False, True))
    assert kept.backward.per_square > 0 == fused.backward.per_square
    assert kept.backward.per_token == fused.backward.per_token
    assert fused.evaluation.per_square == 0


def test_growth_goes_through_its_three_batches() -> None:
    growth = Growth.of([100 + 3 * 8 + 2 * 64, 100 + 3 * 16 + 2 * 128, 100 + 3 * 16 + 2 * 256])
    assert (growth.constant, growth.per_token, growth.per_square) == (100, 3, 2)
    assert growth.at(40, 500) == 100 + 120 + 1000


@pytest.mark.parametrize(
    ("make", "kept"),
    [
        (partial(torch.optim.AdamW, fused=True), 2.0),
        (partial(torch.optim.AdamW, amsgrad=True), 3.0),
        (partial(torch.optim.SGD, lr=0.1), 0.0),
        (partial(torch.optim.SGD, lr=0.1, momentum=0.9), 1.0),
    ],
)
def test_what_an_optimizer_keeps(make: partial[torch.optim.Optimizer], kept: float) -> None:
    assert optimizer_bytes(make)[0] == pytest.approx(kept, abs=0.01)


@pytest.mark.parametrize("one_dim_at_a_time", [False, True])
@pytest.mark.parametrize(("rows", "others"), [(400, 1), (300, 2)])
def test_the_loss_of_many_rows_is_known_from_few(one_dim_at_a_time: bool, rows: int, others: int) -> None:
    loss = MatryoshkaLoss(RankingLoss(direction="both"), [32, 16, 8], dims_per_step=2)
    state = loss.drawn_dims.random.getstate()
    known = loss_bytes(loss, rows, others, 32, True, one_dim_at_a_time)
    assert loss.drawn_dims.random.getstate() == state

    inputs = [nn.Parameter(torch.ones(count, 32)) for count in (rows, rows * others)]
    mask_BN = torch.zeros(rows, rows * others, dtype=torch.bool)
    with PeakBytes() as peak:
        total = loss(*inputs, mask_BN, one_dim_at_a_time=one_dim_at_a_time).total
        torch.autograd.grad(total, inputs)
    assert known == pytest.approx(peak.peak, rel=0.1)
