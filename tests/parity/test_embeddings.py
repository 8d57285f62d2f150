"""Embeddings against sentence-transformers': the embedded encoder on German texts, with equal weights, in fp32."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling as TheirPooling

from matryoshka.encoder import Encoder, Pooling, Pretrained
from matryoshka.encoder.encoder import Prompt
from tests.parity.conftest import Parity, release
from tests.parity.german_texts import BLANK, UNUSUAL, long_texts, texts_of
from tests.parity.two_encoders import ALLOWED, POOLINGS, PROMPTS, saved_and_loaded

AREA = "Embeddings"
THEIRS = release("sentence-transformers")
ASKED: list[Prompt | None] = [None, "query", "document"]

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # transformers warns of its own code


@dataclass
class Sides:
    """The same weights on both sides; pooling and length are exchanged, so that they are loaded once."""

    ours: Encoder
    theirs: SentenceTransformer

    def pool(self, pooling: str) -> None:
        self.ours.pooling = Pooling(POOLINGS[pooling])
        self.theirs[1] = TheirPooling(self.ours.backbone.config.hidden_size, tuple(POOLINGS[pooling]))

    def cut_at(self, tokens: int) -> None:
        self.ours.max_seq_length = self.theirs.max_seq_length = tokens

    def encode(self, texts: list[str], prompt: Prompt | None = None, dim: int | None = None) -> tuple[Any, Any]:
        theirs = self.theirs.encode(texts, prompt_name=prompt, truncate_dim=dim, normalize_embeddings=True)
        return self.ours.encode(texts, prompt=prompt, dim=dim), theirs

    def tokens(self, texts: list[str], prompt: Prompt | None) -> tuple[list[list[int]], list[list[int]]]:
        """Token ids of both sides, those of theirs without the padding."""
        features = self.theirs.preprocess(texts, prompt=PROMPTS[prompt] if prompt else None)
        rows = zip(features["input_ids"], features["attention_mask"].bool(), strict=True)
        return self.ours.tokenize(texts, prompt), [ids[mask].tolist() for ids, mask in rows]


@pytest.fixture(scope="module")
def loaded() -> Sides:
    encoder = Pretrained("embedded:e5_small", prompts=PROMPTS).load(Pooling(["cls", "mean"]))
    with tempfile.TemporaryDirectory() as folder:  # half a gigabyte: not to be kept for later, as pytest would
        return Sides(encoder, saved_and_loaded(encoder, Path(folder)))


@pytest.fixture
def sides(loaded: Sides) -> Iterator[Sides]:
    """Both sides as they were saved, whatever an earlier test made of them."""
    loaded.pool("cls + mean")
    loaded.cut_at(512)
    yield loaded


def test_tokens(sides: Sides, parity: Parity) -> None:
    texts = [*texts_of("evaluation", "anchor", 500), *texts_of("evaluation", "positive", 500), *BLANK, *UNUSUAL]
    for prompt in ASKED:
        parity.equal("token ids", THEIRS, *sides.tokens(texts, prompt))
    for length in (3, 16, 128, 512):
        sides.cut_at(length)
        ours, theirs = sides.tokens(long_texts(), "document")
        parity.equal("token ids of texts cut at 3, 16, 128, 512", THEIRS, ours, theirs)
        assert max(map(len, ours)) == length


@pytest.mark.parametrize("pooling", POOLINGS)
def test_poolings_and_prompts(pooling: str, sides: Sides, parity: Parity) -> None:
    sides.pool(pooling)
    texts = texts_of("evaluation", "anchor", 5) + texts_of("documents", "positive", 3)
    for prompt in ASKED:
        parity.within(f"{pooling} pooling, each prompt and none", THEIRS, *sides.encode(texts, prompt), ALLOWED)


@pytest.mark.parametrize("length", [16, 128, 512])
def test_cut_texts(length: int, sides: Sides, parity: Parity) -> None:
    sides.cut_at(length)
    for pooling in POOLINGS:
        sides.pool(pooling)
        ours, theirs = sides.encode(long_texts(), "document")
        parity.within(f"long texts, cut at {length} tokens", THEIRS, ours, theirs, ALLOWED)
    np.testing.assert_allclose(ours[-1], ours[-2], atol=1e-5)  # both are cut, at every length, and begin alike


@pytest.mark.parametrize("pooling", POOLINGS)
def test_texts_without_words(pooling: str, sides: Sides, parity: Parity) -> None:
    sides.pool(pooling)
    for prompt in ASKED:
        ours, theirs = sides.encode(BLANK, prompt)
        parity.within("empty and blank texts", THEIRS, ours, theirs, ALLOWED)
        ours, theirs = sides.encode(UNUSUAL, prompt)
        parity.within("unusual characters", THEIRS, ours, theirs, ALLOWED)


def test_a_shuffled_batch_keeps_its_order(sides: Sides, parity: Parity) -> None:
    """Both sides sort by length inside; ours encodes each distinct text once besides."""
    texts = [*texts_of("documents", "positive", 10), *BLANK[:3], *UNUSUAL[:4], *long_texts()[:2]]
    sides.cut_at(128)  # theirs fills every text up to the longest
    texts += texts[::3]
    random.Random(0).shuffle(texts)
    parity.within("texts of all lengths, shuffled, some twice", THEIRS, *sides.encode(texts), ALLOWED)


@pytest.mark.parametrize("dim", [768, 512, 256, 128, 64])
def test_cut_embeddings(dim: int, sides: Sides, parity: Parity) -> None:
    ours, theirs = sides.encode(texts_of("evaluation", "positive", 4), "document", dim)
    parity.within("embeddings cut to 768, 512, 256, 128, 64", THEIRS, ours, theirs, ALLOWED)
    assert ours.shape == (4, dim)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-6)
