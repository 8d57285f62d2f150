"""The card of a projection: what was fitted, and nothing of a training that never was."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import yaml

from matryoshka.report.card.card import model_card
from matryoshka.report.record import TrainingRecord
from tests.report.records import CONFIG, DIMS, METRICS, metadata_of, record, result, tables

GROUP = {"_target_": "matryoshka.projection.learned.Learned", "strength": 0.1, "steps": 100, "lr": 1e-4}
STEPS = tuple({"step": step, "train/loss": 80 / step, "epoch": 0.0} for step in (10, 20, 100))


def fitted(**changes: Any) -> TrainingRecord:
    values = {"config": CONFIG | {"projection": GROUP, "projections": ["pca"]}, "history": STEPS, "saved_step": 100}
    return record(**{"updates": 0, "selected": "ndcg@10/mean", **values, **changes})


def test_the_card_says_that_the_encoder_stayed_as_it_was() -> None:
    card = model_card(fitted())

    for fact in (
        "the encoder [BAAI/bge-m3](https://huggingface.co/BAAI/bge-m3) as it was, with a projection behind its pooling",
        "fitted on 4,957 pairs of letters. It maps texts to 32 numbers",
        "32 dimensions, fitted to be cut to 32, 16, 8",
        "the best projection by mean ndcg@10 over all dims on the test queries",
        "### Base → Projection\n",
        "* Fitted in 100 steps; the loss was 8.0000 at step 10, 0.8000 at the last.",
        "- `kind`: learned\n- `strength`: 0.1\n- `steps`: 100\n\n",
    ):
        assert fact in card
    assert not re.search(r"finetun|Tuned|trained|step 100 of 0|Epoch|Hyperparameters|learning_rate|optim", card)
    config = yaml.safe_load(card.split("```yaml\n")[1].split("```")[0])
    assert config["projection"] == GROUP and not {"optimizer", "scheduler", "batch_size"} & set(config)
    _, *by_dim, lengths, samples = tables(card)
    for dim, table in zip(DIMS, by_dim, strict=True):
        assert table[0] == ["Metric", "Base", "Projection"]
        before, after = result(0.1).metrics[dim], result(0.2).metrics[dim]
        assert table[1:] == [[f"cosine_{n}", f"{before[n]:.4f}", f"{after[n]:.4f}"] for n in METRICS]
    assert (lengths[0], samples[0]) == (["", "anchor", "positive"], ["anchor", "positive"])


@pytest.mark.parametrize("steps", [STEPS, ()])
def test_only_a_fit_by_steps_has_a_loss(steps: tuple[dict[str, float], ...]) -> None:
    card = model_card(fitted(history=steps, saved_step=100 if steps else 0))

    for sign in ("with these parameters", "henderson2017efficient", "Fitted in 100 steps"):
        assert (sign in card) == bool(steps)
    assert ("* Computed in closed form" in card) != bool(steps)
    assert ("loss:MatryoshkaLoss" in metadata_of(card)["tags"]) == bool(steps)


def test_values_of_a_kind_that_was_not_kept_are_not_listed() -> None:
    other = replace(result(0.15), model="projection (learned)")
    assert "- `strength`" not in model_card(fitted(baselines=(other,)))
    assert "### Projection" not in model_card(fitted(config=CONFIG | {"projection": {}}))


def test_a_training_says_what_the_projection_alone_gave() -> None:
    projected = replace(result(0.175), model="projection (learned)")
    changes = {"projected": projected, "baselines": (projected,), "config": CONFIG | {"projection": GROUP}}
    card = model_card(record(**changes))

    says = "Of +0.100 nDCG@10 on average over the dims, the projection gave +0.075 and training +0.025."
    assert f"then it was trained together with the encoder. {says}\n\n| Dim |" in card
    assert "- `steps`: 100\n- `lr`: 0.0001\n" in card
    assert "projection gave" not in model_card(record())
