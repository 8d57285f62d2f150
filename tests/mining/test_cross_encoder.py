"""A cross-encoder with random weights, small enough for any test: its scores, its place in a run, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

from matryoshka.mining.cross_encoder import CrossEncoder
from matryoshka.mining.cross_encoder_folder import cross_encoder_problems
from matryoshka.mining.scorers import CrossEncoderScorer
from tests.tiny import tiny_tokenizer

CPU = torch.device("cpu")
ANCHORS = ["wer zahlt", "wann", "eine etwas längere frage nach dem amt", "was"]
PASSAGES = ["die kasse zahlt alles", "am ersten", "x " * 100, "der wald"]


def save_cross_encoder(folder: Path, labels: int = 1) -> Path:
    tokenizer = tiny_tokenizer()
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=66,
        initializer_range=0.5,
    )
    config.num_labels = labels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        XLMRobertaForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_pair_has_the_logit_that_the_model_gives_it_alone(tmp_path: Path) -> None:
    cross_encoder = CrossEncoder.load(str(save_cross_encoder(tmp_path)), CPU)

    scores_P = cross_encoder.scores(ANCHORS, PASSAGES)

    assert scores_P.dtype == np.float32
    for anchor, passage, score in zip(ANCHORS, PASSAGES, scores_P, strict=True):
        one = cross_encoder.tokenizer(anchor, passage, truncation=True, max_length=64, return_tensors="pt")
        with torch.inference_mode():
            assert score == pytest.approx(float(cross_encoder.model(**one).logits), abs=1e-5)
    assert len(set(scores_P.tolist())) == 4
    assert cross_encoder.scores([], []).shape == (0,)


def test_thresholds_see_a_sigmoid(tmp_path: Path) -> None:
    cross_encoder = CrossEncoder.load(str(save_cross_encoder(tmp_path)), CPU)
    scorer = CrossEncoderScorer("tiny", cross_encoder, ANCHORS, PASSAGES)

    scores_P = scorer.scores([0, 1], [3, 2])

    assert scores_P == pytest.approx(cross_encoder.scores([ANCHORS[0], ANCHORS[1]], [PASSAGES[3], PASSAGES[2]]))
    assert scorer.rescaled(scores_P) == pytest.approx(1 / (1 + np.exp(-scores_P)))


def test_models_that_do_not_score_pairs_are_refused(tmp_path: Path) -> None:
    two = save_cross_encoder(tmp_path / "two", labels=2)
    headless = save_cross_encoder(tmp_path / "headless")
    config = json.loads((headless / "config.json").read_text(encoding="utf-8"))
    (headless / "config.json").write_text(json.dumps({**config, "architectures": ["XLMRobertaModel"]}))

    assert [message.partition("; ")[0] for message in cross_encoder_problems(str(two))] == [
        f"{two} tells 2 labels apart and has not one score"
    ]
    assert "has no head that scores pairs" in next(cross_encoder_problems(str(headless)))
    assert list(cross_encoder_problems(str(save_cross_encoder(tmp_path / "one")))) == []
