"""T5, decoders without a pad token, and DeBERTa with a lone spm.model: as published, and as saved here."""

from __future__ import annotations

from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling as TheirPooling

from matryoshka.encoder import Encoder, Pooling, Pretrained
from matryoshka.encoder.pooling import Mode
from tests.encoder.test_encoder_half import both_halves
from tests.encoder.test_tokenizer_files import folder as with_a_lone_vocabulary
from tests.export.test_trial import decoder
from tests.parity.conftest import Parity, release
from tests.parity.german_texts import UNUSUAL, long_texts, texts_of
from tests.parity.two_encoders import saved_and_loaded

__all__ = ["with_a_lone_vocabulary"]
AREA = "Saved model"
THEIRS = release("sentence-transformers")
TEXTS = [*texts_of("evaluation", "anchor", 6), *texts_of("evaluation", "positive", 3), *UNUSUAL, *long_texts()[:1]]
CLOSE = 1e-6

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # transformers warns of its own code


def published(folder: Path, length: int) -> SentenceTransformer:
    """A folder of transformers alone, as sentence-transformers itself reads it, with the mean of the tokens."""
    transformer = Transformer(str(folder), max_seq_length=length)
    return SentenceTransformer(modules=[transformer, TheirPooling(32, "mean"), Normalize()], device="cpu")


def agree(parity: Parity, item: str, encoder: Encoder, folder: Path, tmp_path: Path) -> None:
    read = f"{item}, as published"
    parity.within(read, THEIRS, encoder.encode(TEXTS), published(folder, encoder.max_seq_length).encode(TEXTS), CLOSE)
    theirs = saved_and_loaded(encoder, tmp_path)
    parity.within(f"{item}, saved here", THEIRS, encoder.encode(TEXTS), theirs.encode(TEXTS), CLOSE)


@pytest.mark.parametrize("kind", ["T5", "MT5", "UMT5", "LongT5"])
def test_the_encoder_of_both_halves(kind: str, parity: Parity, tmp_path: Path) -> None:
    folder = both_halves(tmp_path / "both", kind)
    encoder = Pretrained(str(folder), max_seq_length=200).load(Pooling(["mean"]))
    agree(parity, "encoder of T5, mT5, UMT5, LongT5", encoder, folder, tmp_path)


@pytest.mark.parametrize("modes", [("last",), ("mean",), ("cls", "max")], ids="+".join)
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_decoders_without_a_pad_token(kind: str, modes: tuple[Mode, ...], parity: Parity, tmp_path: Path) -> None:
    encoder = decoder(kind, modes)
    theirs = saved_and_loaded(encoder, tmp_path)
    item = "decoders without a pad token, saved here"
    parity.within(item, THEIRS, encoder.encode(TEXTS), theirs.encode(TEXTS), CLOSE)


def test_a_lone_vocabulary(with_a_lone_vocabulary: Path, parity: Parity, tmp_path: Path) -> None:
    encoder = Pretrained(str(with_a_lone_vocabulary), max_seq_length=60).load(Pooling(["mean"]))
    agree(parity, "DeBERTa with spm.model alone", encoder, with_a_lone_vocabulary, tmp_path / "again")
