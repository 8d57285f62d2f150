"""Dense layers are trained like the rest of the encoder, by every path."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from matryoshka.data.packing import PackedBatch
from matryoshka.data.tokens import TokenIds
from matryoshka.encoder import Encoder
from matryoshka.encoder.dense import Dense
from matryoshka.losses import MatryoshkaLoss, RankingLoss
from matryoshka.training.accumulation import add_gradients
from matryoshka.training.checkpoints.folder import write_checkpoint
from tests.tiny import tiny_encoder

TEXTS = ["der die das", "und der", "haus", "das da", "x"]
ANSWERS = ["schule", "die und der", "da", "das", "und"]
LOSS = MatryoshkaLoss(RankingLoss(), [24, 8])


def with_dense(seed: int = 0) -> Encoder:
    """32 -> 40 -> 24."""
    encoder = tiny_encoder()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder.dense = nn.Sequential(Dense(32, 40, bias=True, activation=nn.Tanh()), Dense(40, 24))
    return encoder.train()


def batch_of(encoder: Encoder) -> PackedBatch:
    return PackedBatch.from_ids([encoder.tokenize(TEXTS), encoder.tokenize(ANSWERS)])


def step(encoder: Encoder) -> None:
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-2)
    LOSS(*encoder(batch_of(encoder)).tensor_split([len(TEXTS)])).total.backward()
    optimizer.step()


def test_gradients_reach_every_layer_and_what_is_before() -> None:
    encoder, before = with_dense(), with_dense()
    step(encoder)

    for name, parameter in encoder.named_parameters():
        if name.startswith("dense.") or name == "backbone.encoder.layer.0.output.dense.weight":
            assert parameter.grad is not None and bool((parameter.grad != 0).any()), name
            assert not torch.equal(parameter, before.get_parameter(name)), name


@pytest.mark.parametrize("pairs", [1, 2, 4])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(pairs: int) -> None:
    whole, cached = with_dense(), with_dense()
    batch = batch_of(whole)
    LOSS(*whole(batch).tensor_split([len(TEXTS)])).total.backward()

    add_gradients(cached, [batch], lambda _, x_SD: LOSS(*x_SD.tensor_split([len(TEXTS)])), pairs_at_once=pairs)
    for (name, parameter), other in zip(whole.named_parameters(), cached.parameters(), strict=True):
        torch.testing.assert_close(other.grad, parameter.grad, rtol=1e-4, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}")


def test_a_compact_vocabulary_trains_to_the_same_bits() -> None:
    whole, compact = with_dense(), with_dense()
    compact.compact_vocabulary(TokenIds.of(compact.tokenize(TEXTS + ANSWERS)).distinct())
    step(whole)
    step(compact)

    compact.whole_vocabulary()
    dense = {name for name in whole.state_dict() if name.startswith("dense.")}
    assert dense == {"dense.0.linear.weight", "dense.0.linear.bias", "dense.1.linear.weight"}
    for name in dense:
        assert torch.equal(whole.state_dict()[name], compact.state_dict()[name]), name


def test_checkpoints_hold_them(tmp_path: Path) -> None:
    encoder, other = with_dense(), with_dense(seed=1)
    assert not torch.equal(encoder(batch_of(encoder)), other(batch_of(encoder)))

    write_checkpoint(tmp_path / "best-1", 1, "hash", encoder.state_dict()).load_weights(other)
    assert torch.equal(encoder(batch_of(encoder)), other(batch_of(encoder)))
