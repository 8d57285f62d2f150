"""An evaluation after every epoch and after the last update, of the weights as they are then."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from matryoshka.evaluation.result import EvaluationResult
from matryoshka.training import schedulers
from matryoshka.training.callbacks.evaluation import EpochEvaluation
from matryoshka.training.callbacks.metrics_file import MetricsFile
from tests.training.callbacks.small import AT_EPOCH_ENDS, LIGHTNINGS_ADVICE, UPDATES, fit, small_module

pytestmark = pytest.mark.filterwarnings(*LIGHTNINGS_ADVICE)

VALUES = [0.25, 0.75, 0.5]  # best after the second epoch
SELECTED = "ndcg@10/dim_8"


class Measure:
    """Gives VALUES one after the other, and keeps the weights that it was called at."""

    def __init__(self, encoder: torch.nn.Module) -> None:
        self.encoder = encoder
        self.weights: list[dict[str, Tensor]] = []

    def __call__(self) -> EvaluationResult:
        value = VALUES[len(self.weights)]
        self.weights.append({name: tensor.clone() for name, tensor in self.encoder.state_dict().items()})
        metrics = {32: {"ndcg@10": 1 - value}, 8: {"ndcg@10": value}}
        return EvaluationResult("tiny", "letters", 1, 1, 32, metrics)


def test_every_epoch_is_evaluated_and_shown_with_its_update(tmp_path: Path) -> None:
    module, data = small_module()
    assert module.plan.updates == UPDATES
    measure, shown = Measure(module.encoder), []
    evaluation = EpochEvaluation(measure, SELECTED, lambda result, epoch, update: shown.append((result, epoch, update)))
    fit(module, data, tmp_path, [evaluation])

    assert [update for _, _, update in shown] == AT_EPOCH_ENDS
    assert [epoch for _, epoch, _ in shown] == pytest.approx([2 * update / 7 for update in AT_EPOCH_ENDS])
    assert [result.metrics[8]["ndcg@10"] for result, _, _ in shown] == VALUES


def test_it_measures_the_weights_of_that_moment(tmp_path: Path) -> None:
    module, data = small_module()
    measure = Measure(module.encoder)
    fit(module, data, tmp_path, [EpochEvaluation(measure, SELECTED)])

    final = module.encoder.state_dict()
    assert all(torch.equal(measure.weights[-1][name], final[name]) for name in final)
    name = "backbone.embeddings.word_embeddings.weight"
    assert not torch.equal(measure.weights[0][name], measure.weights[1][name])
    assert not torch.equal(measure.weights[1][name], measure.weights[2][name])


def test_every_logger_gets_every_metric_at_its_update(tmp_path: Path) -> None:
    module, data = small_module()
    logs = [MetricsFile(tmp_path / "one.jsonl"), MetricsFile(tmp_path / "other.jsonl")]
    fit(module, data, tmp_path, [EpochEvaluation(Measure(module.encoder), SELECTED)], logs)

    for log in logs:
        assert [row for row in log.rows if SELECTED in row] == [
            {
                "step": update,
                "ndcg@10/dim_32": 1 - value,
                "ndcg@10/dim_8": value,
                "epoch": round(2 * update / 7, 4),
            }
            for update, value in zip(AT_EPOCH_ENDS, VALUES, strict=True)
        ]


def test_a_checkpoint_keeps_the_weights_of_the_best_evaluation(tmp_path: Path) -> None:
    module, data = small_module()
    measure = Measure(module.encoder)
    checkpoint = ModelCheckpoint(
        dirpath=tmp_path,
        filename="best",
        monitor=SELECTED,
        mode="max",
        save_weights_only=True,
        save_on_train_epoch_end=True,
    )
    fit(module, data, tmp_path, [EpochEvaluation(measure, SELECTED), checkpoint])

    saved = torch.load(checkpoint.best_model_path, weights_only=True)
    assert saved["global_step"] == AT_EPOCH_ENDS[1]
    assert float(checkpoint.best_model_score) == VALUES[1]  # type: ignore[arg-type]
    for name, tensor in measure.weights[1].items():
        assert torch.equal(saved["state_dict"][f"encoder.{name}"], tensor)


def test_a_plateau_of_the_selecting_metric_halves_the_rate_of_the_next_epoch(tmp_path: Path) -> None:
    module, data = small_module(log_every=1)
    module.make_scheduler = partial(schedulers.reduce_on_plateau, warmup=2)
    values = iter([0.5, 0.4, 0.6])

    def measure() -> EvaluationResult:
        value = next(values)
        return EvaluationResult("tiny", "letters", 1, 1, 32, {32: {"ndcg@10": 1 - value}, 8: {"ndcg@10": value}})

    log = MetricsFile(tmp_path / "metrics.jsonl")
    fit(module, data, tmp_path, [EpochEvaluation(measure, SELECTED)], [log])

    used = [row["train/learning_rate"] for row in log.rows if "train/loss" in row]
    assert AT_EPOCH_ENDS == [3, 7, 9]
    assert used == pytest.approx([0.0, 5e-4, *[1e-3] * 5, *[5e-4] * 2], rel=1e-12)


def test_time_of_evaluations_is_not_training_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each forward takes a second of this clock and each evaluation a thousand: 4 pairs a second throughout."""
    now = [0.0]
    monkeypatch.setattr("matryoshka.training.log_rows.time", SimpleNamespace(perf_counter=lambda: now[0]))
    module, data = small_module(log_every=1)
    module.encoder.register_forward_hook(lambda *_: now.__setitem__(0, now[0] + 1))
    measure = Measure(module.encoder)

    def slow() -> EvaluationResult:
        now[0] += 1000
        return measure()

    log = MetricsFile(tmp_path / "metrics.jsonl")
    fit(module, data, tmp_path, [EpochEvaluation(slow, SELECTED)], [log])

    speeds = [row["train/pairs_per_second"] for row in log.rows if "train/loss" in row]
    assert speeds == pytest.approx([4.0] * UPDATES)
    tokens = [row["train/tokens_per_second"] for row in log.rows if "train/loss" in row]
    assert tokens == pytest.approx([4.0 * 9] * UPDATES)  # 4 + 5 tokens a pair
