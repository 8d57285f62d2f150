"""Of T5 and its like the encoder is read, whether the files hold both halves or one; other kinds are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from sentence_transformers import SentenceTransformer

from matryoshka.encoder import Encoder, Pooling, Pretrained
from matryoshka.encoder.encoder_half import UNREADABLE
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from tests.tiny import tiny_tokenizer

TEXTS = ["Wer zahlt?", "Die Schule und das Haus, ein längerer Text", "x"]
# longer than the relative positions that are told apart, and than the 64 tokens of the tiny tokenizer
LONG = "und die Schule " * 40


def both_halves(folder: Path, kind: str) -> Path:
    """A random model of a kind as it is published: with its decoder."""
    tokenizer = tiny_tokenizer(10**30)
    numbers = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "initializer_factor": 20.0}
    tokens = {"vocab_size": len(tokenizer), "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = getattr(transformers, f"{kind}Config")(**numbers, **tokens)
        getattr(transformers, f"{kind}ForConditionalGeneration")(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def encoder_alone(folder: Path, kind: str) -> list[np.ndarray]:
    """The mean of the encoder's hidden states, text by text, straight from transformers."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = getattr(transformers, f"{kind}EncoderModel").from_pretrained(folder).eval()
    with torch.inference_mode():
        means = [model(**tokenizer(text, return_tensors="pt"))[0][0].mean(0) for text in [*TEXTS, LONG]]
    return [torch.nn.functional.normalize(mean, dim=0).numpy() for mean in means]


@pytest.mark.parametrize("kind", ["T5", "MT5", "UMT5", "LongT5"])
def test_the_encoder_of_both_halves_is_read_and_saved_alone(kind: str, tmp_path: Path) -> None:
    folder = both_halves(tmp_path / "both", kind)
    pretrained = Pretrained(str(folder), max_seq_length=1000)
    assert list(pretrained.problems()) == []  # relative positions have no end

    encoder = pretrained.load(Pooling(["mean"]))
    assert (encoder.width, encoder.packed) == (32, False)
    ours = encoder.encode([*TEXTS, LONG])
    np.testing.assert_allclose(ours, encoder_alone(folder, kind), rtol=0, atol=1e-5)

    saved = SentenceTransformersFolder().save(encoder, tmp_path / "saved")
    assert json.loads((saved / "config.json").read_text())["architectures"] == [f"{kind}EncoderModel"]
    np.testing.assert_array_equal(Encoder.load(str(saved)).encode(TEXTS), encoder.encode(TEXTS))
    theirs = SentenceTransformer(str(saved), device="cpu")
    np.testing.assert_allclose(theirs.encode([*TEXTS, LONG]), ours, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", UNREADABLE)
def test_other_encoders_with_a_decoder_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))

    ((key, message),) = Pretrained(str(tmp_path)).problems()
    assert key == "model"
    assert f"{kind} is an encoder with a decoder, of which only t5, mt5, umt5, longt5 are read" in message


def test_a_width_is_d_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5", "d_model": 0}))

    ((_, message),) = Pretrained(str(tmp_path)).problems()
    assert "d_model is 0, not a number from 1" in message
