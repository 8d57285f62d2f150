"""Each architecture against sentence-transformers: read from its folder, trained here, saved, and read there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling as TheirPooling

from matryoshka.data.packing import PackedBatch
from matryoshka.encoder import Encoder, Pretrained
from matryoshka.encoder.pooling import Mode
from matryoshka.losses import MatryoshkaLoss, RankingLoss
from tests.architectures import PACKED, tiny_backbone
from tests.parity.models_page import ALLOWED, MODELS, Measured
from tests.parity.two_encoders import saved_and_loaded
from tests.tiny import tiny_tokenizer

LENGTH = 40
TEXTS = ["Wer zahlt?", "der Notar", "und die Steuer der Gemeinde", "ß", "das Haus " * 12, "a b c d e f g h i"]
PASSAGES = ["der zahlt, und die da", "ein Amt " * 7, "das", "kein Wort davon", "ja", "das Alphabet der Schule " * 3]
NAME_THERE = {"last": "lasttoken"}

pytestmark = pytest.mark.filterwarnings("default")  # transformers warns of its own code


def theirs_of(name: str, modes: list[Mode], folder: Path) -> SentenceTransformer:
    """A random model as sentence-transformers puts it together."""
    tokenizer = tiny_tokenizer(LENGTH)
    backbone = tiny_backbone(name, vocab_size=len(tokenizer))
    backbone.save_pretrained(folder), tokenizer.save_pretrained(folder)
    transformer = Transformer(str(folder), max_seq_length=LENGTH)
    pooling = TheirPooling(backbone.config.hidden_size, pooling_mode=[NAME_THERE.get(mode, mode) for mode in modes])
    return SentenceTransformer(modules=[transformer, pooling], device="cpu")


def difference(ours: Encoder, theirs: SentenceTransformer) -> float:
    """The largest of the embeddings of all texts, which one batch of theirs fills up to the longest."""
    texts = [*TEXTS, *PASSAGES]
    found = np.abs(ours.encode(texts) - theirs.encode(texts, normalize_embeddings=True)).max()
    return float(found)


def train(encoder: Encoder, updates: int = 3) -> None:
    """Some updates on the pairs."""
    loss = MatryoshkaLoss(RankingLoss(), [encoder.width, 8])
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-3)
    batch = PackedBatch.from_ids([encoder.tokenize(TEXTS), encoder.tokenize(PASSAGES)])
    encoder.train()
    for _ in range(updates):
        loss(*encoder(batch).split(len(TEXTS))).total.backward()
        optimizer.step(), optimizer.zero_grad()
    encoder.eval()


@pytest.mark.parametrize("name", MODELS)
def test_a_model_reads_trains_and_saves_as_there(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    theirs = theirs_of(name, MODELS[name], tmp_path / "plain")
    theirs.save(str(tmp_path / "theirs"))
    ours = Pretrained(str(tmp_path / "theirs")).load()
    assert ours.packed == (name in PACKED)
    assert ours.pooling.modes == MODELS[name] and ours.max_seq_length == LENGTH
    read = difference(ours, theirs)
    assert read <= ALLOWED

    before = np.asarray(ours.encode(TEXTS))
    assert len(np.unique(before.round(2), axis=0)) == len(TEXTS)
    train(ours)
    assert np.abs(ours.encode(TEXTS) - before).max() > 100 * ALLOWED
    trained = difference(ours, saved_and_loaded(ours, tmp_path))
    assert trained <= ALLOWED
    request.node.user_properties.append(("model", Measured(name, ours.packed, read, trained).as_dict()))
