"""Gradient checkpointing computes a layer again for its gradient: the same values, gradients and dropout."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from matryoshka.data.packing import PackedBatch
from matryoshka.data.tokens import TokenIds
from matryoshka.encoder import Encoder
from matryoshka.losses import MatryoshkaLoss, NestedLoss, RankingLoss
from matryoshka.training.accumulation import add_gradients
from tests.tiny import tiny_encoder, with_checkpointing

LOSS = MatryoshkaLoss(RankingLoss(), [32, 8])
ANCHORS = ["der", "die das", "das haus", "ein rad"]
POSITIVES = ["die schule", "ein langes haus mit rad", "z und", "das und"]


def trained(
    encoder: Encoder, compact: bool, bf16: bool, pairs_at_once: int | None
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """The loss of a batch, the gradients of all weights, and the state of the random numbers afterwards."""
    batch = PackedBatch.from_ids([encoder.tokenize(ANCHORS), encoder.tokenize(POSITIVES)])
    if compact:
        encoder.compact_vocabulary(TokenIds.of([batch.input_ids_T.tolist()]).distinct())

    def loss_of(embeddings_SD: Tensor) -> NestedLoss:
        nested: NestedLoss = LOSS(*embeddings_SD.split(4))
        return nested

    encoder.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            if pairs_at_once:
                total = add_gradients(encoder, [batch], lambda _, x: loss_of(x), pairs_at_once=pairs_at_once)[0].total
            else:
                total = loss_of(encoder(batch)).total
                total.backward()
        state = torch.get_rng_state()
    return total.detach(), {n: p.grad for n, p in encoder.named_parameters() if p.grad is not None}, state


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("pairs_at_once", [None, 2])
@pytest.mark.parametrize(("packed", "compact"), [(True, False), (True, True), (False, False)])
def test_the_same_to_the_last_bit(
    dropout: float, compact: bool, bf16: bool, pairs_at_once: int | None, packed: bool
) -> None:
    encoders = tiny_encoder(dropout=dropout), with_checkpointing(tiny_encoder(dropout=dropout))
    if not packed:
        for encoder in encoders:
            encoder.first_position = None
            encoder.backbone.set_attn_implementation("sdpa")
    (plain, gradients, state), (loss, other, after) = (trained(e, compact, bf16, pairs_at_once) for e in encoders)
    assert torch.equal(loss, plain)
    assert torch.equal(after, state)
    assert other.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert torch.equal(other[name], gradient), name
