"""A batch in parts against sentence-transformers' CachedMultipleNegativesRankingLoss, and against the plain loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss as TheirMatryoshkaLoss
from torch import Tensor

from matryoshka.data.packing import PackedBatch
from matryoshka.encoder import Encoder
from matryoshka.losses import MatryoshkaLoss, NestedLoss, RankingLoss
from matryoshka.losses.ranking import Direction
from matryoshka.training.accumulation import add_gradients
from tests.parity.conftest import Parity, release
from tests.parity.german_texts import german_pairs
from tests.parity.two_encoders import backbone_of, saved_and_loaded
from tests.tiny import tiny_encoder

AREA = "Loss"
THEIRS = f"{release('sentence-transformers')}, its cached loss"
DIMS = [32, 16, 8]
WEIGHTS = [1.0, 0.5, 2.0]
PAIRS = 13
Gradients = dict[str, Tensor]


def ours(encoder: Encoder, direction: Direction, pairs_at_once: int | None) -> tuple[Tensor, Gradients]:
    """The loss of the pairs and the gradient of every weight; None: plainly, the whole batch at once."""
    batch = PackedBatch.from_ids([encoder.tokenize(column) for column in zip(*german_pairs(PAIRS), strict=True)])
    loss = MatryoshkaLoss(RankingLoss(20.0, direction), DIMS, WEIGHTS)

    def loss_of(embeddings_SD: Tensor) -> NestedLoss:
        nested: NestedLoss = loss(*embeddings_SD.split(PAIRS), one_dim_at_a_time=pairs_at_once is not None)
        return nested

    if pairs_at_once is None:
        total = loss_of(encoder(batch)).total
        total.backward()
    else:
        total = add_gradients(encoder, [batch], lambda _, x: loss_of(x), pairs_at_once=pairs_at_once)[0].total
    return total, {name: p.grad for name, p in encoder.backbone.named_parameters() if p.grad is not None}


def theirs(encoder: Encoder, direction: Direction, pairs_at_once: int, folder: Path) -> tuple[Tensor, Gradients]:
    model: Any = saved_and_loaded(encoder, folder).double()
    columns = list(zip(*german_pairs(PAIRS), strict=True))
    options: dict[str, Any] = {}
    if direction == "both":
        options = {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"}
    elif direction == "positive_to_anchor":
        columns.reverse()
    inner = CachedMultipleNegativesRankingLoss(model, 20.0, mini_batch_size=pairs_at_once, **options)
    loss = TheirMatryoshkaLoss(model, inner, DIMS, WEIGHTS)
    model.train()
    total = loss([model.preprocess(list(column)) for column in columns], None)
    total.backward()
    return total, {name: p.grad for name, p in backbone_of(model).named_parameters() if p.grad is not None}


@pytest.fixture(autouse=True)
def fp64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our encoder gives embeddings in fp32, whatever its weights; here they stay what they are."""
    monkeypatch.setattr(Tensor, "float", lambda x: x)


@pytest.mark.parametrize("pairs_at_once", [1, 4, 13])
@pytest.mark.parametrize("direction", ["anchor_to_positive", "positive_to_anchor", "both"])
def test_a_batch_in_parts(parity: Parity, tmp_path: Path, direction: Direction, pairs_at_once: int) -> None:
    cached, plain = (tiny_encoder(seed=3).double().train() for _ in range(2))
    loss, gradients = ours(cached, direction, pairs_at_once)
    sides = {
        THEIRS: theirs(tiny_encoder(seed=3), direction, pairs_at_once, tmp_path),
        "the whole batch at once": ours(plain, direction, None),
    }
    for against, (other, others) in sides.items():
        assert gradients.keys() == others.keys()
        parity.within(f"loss in parts of a batch, {direction}, fp64", against, loss, other, 1e-10)
        found, expected = (torch.cat([side[name].flatten() for name in gradients]) for side in (gradients, others))
        unit = expected.norm()
        shown = f"gradient of all weights over its norm, parts of a batch, {direction}, fp64"
        parity.within(shown, against, found / unit, expected / unit, 1e-10)
