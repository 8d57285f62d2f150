"""An evaluation of the same weights on the same texts comes from the cache; any difference measures anew."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from matryoshka.encoder import Encoder, Pooling
from matryoshka.retrieval.cached import cached_evaluation
from matryoshka.retrieval.evaluation import Evaluator
from matryoshka.retrieval.result import EvaluationResult
from tests.retrieval.small import small_set
from tests.tiny import tiny_encoder

Options = dict[str, Any]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MATRYOSHKA_CACHE", str(tmp_path))
    return tmp_path / "evaluations"


def measured(log: list[Options], encoder: Encoder | None = None, **changed: Any) -> EvaluationResult:
    """A cached evaluation; what was measured and not found is in the log."""
    options = {"data": small_set(), "dims": [32, 8], "evaluator": Evaluator(), "precision": "fp32"} | changed
    encoder = encoder or tiny_encoder()

    def measure() -> EvaluationResult:
        log.append(options)
        evaluator: Evaluator = options["evaluator"]
        return evaluator.evaluate(encoder, options["data"], options["dims"], precision=options["precision"])

    return cached_evaluation(encoder, *options.values(), measure)


def test_a_second_evaluation_is_not_measured(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    log: list[Options] = []
    first = measured(log)
    with caplog.at_level(logging.INFO, logger="matryoshka"):
        second = measured(log)

    assert len(log) == 1
    assert second == first
    assert second.seconds == 0.0 < first.seconds  # no speed can be told from it
    assert len(list(cache.iterdir())) == 1
    assert caplog.messages == ["base evaluation: these weights were measured on these texts before"]


def perturbed() -> Encoder:
    encoder = tiny_encoder()
    with torch.no_grad():
        encoder.backbone.encoder.layer[1].output.dense.bias[3] += 1e-6
    return encoder


def with_attribute(name: str, value: Any) -> Encoder:
    encoder = tiny_encoder()
    setattr(encoder, name, value)
    return encoder


def with_tokens() -> Encoder:
    encoder = tiny_encoder()
    encoder.tokenizer.backend_tokenizer.normalizer = None
    return encoder


def with_pooling_of_its_own() -> Encoder:
    class Squared(Pooling):
        def forward(self, hidden_TH: Tensor, lengths_S: Tensor) -> Tensor:
            embeddings_SD: Tensor = super().forward(hidden_TH, lengths_S).square()
            return embeddings_SD

    return with_attribute("pooling", Squared(["cls"]))


@pytest.mark.parametrize(
    "other",
    [
        perturbed,
        with_pooling_of_its_own,
        lambda: tiny_encoder(seed=1),
        lambda: tiny_encoder(modes=("mean",)),
        lambda: tiny_encoder(prompts={"query": "q "}),
        lambda: with_attribute("max_seq_length", 9),
        lambda: with_attribute("name", "another"),
        with_tokens,
    ],
)
def test_another_encoder_is_measured(other: Callable[[], Encoder]) -> None:
    log: list[Options] = []
    measured(log)
    measured(log, other())

    assert len(log) == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"data": small_set("another name")},
        {"data": replace(small_set(), corpus={**small_set().corpus, "d00": "anders"})},
        {"data": replace(small_set(), relevant={**small_set().relevant, "q3": frozenset({"d04"})})},
        {"dims": [32, 16, 8]},
        {"dims": [32]},
        {"evaluator": Evaluator(map_at=(50,))},
        {"evaluator": Evaluator(mrr_at=())},
        {"precision": "bf16"},
    ],
)
def test_another_measurement_is_made(changed: Options) -> None:
    log: list[Options] = []
    measured(log)
    measured(log, **changed)

    assert len(log) == 2


def test_what_does_not_decide_a_result_finds_it() -> None:
    log: list[Options] = []
    first = measured(log)

    assert measured(log, evaluator=Evaluator(token_budget=77, select="map@100")) == first
    assert len(log) == 1


def test_a_tokenizer_that_was_used_finds_the_result_too() -> None:
    """Whether the pairs were tokenized in this run or found in a cache must not matter."""
    log: list[Options] = []
    measured(log)
    encoder = tiny_encoder()
    encoder.tokenizer(["a", "b c d"], truncation=True, max_length=4, padding=True)

    measured(log, encoder)
    assert len(log) == 1


def test_an_evaluation_that_fails_leaves_nothing(cache: Path) -> None:
    def measure() -> EvaluationResult:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        cached_evaluation(tiny_encoder(), small_set(), [32], Evaluator(), "fp32", measure)
    assert not cache.exists()


def test_weights_of_every_kind_have_a_key() -> None:
    encoder = tiny_encoder()
    encoder.register_buffer("steps", torch.tensor(3))
    encoder.register_buffer("columns", torch.eye(3).T[:, 1:])
    encoder.register_buffer("flags", torch.tensor([True, False]))
    encoder.register_buffer("halves", torch.ones(3, dtype=torch.bfloat16))
    log: list[Options] = []

    measured(log, encoder)
    measured(log, encoder)
    encoder.steps += 1  # type: ignore[operator]
    measured(log, encoder)
    assert len(log) == 2
