"""An update that is not finite: the run stops with what is known, or leaves it out and goes on."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from matryoshka.data.packing import PackedBatch
from matryoshka.losses import MatryoshkaLoss, RankingLoss
from matryoshka.training import module as module_of_training
from matryoshka.training.callbacks.metrics_file import MetricsFile
from matryoshka.training.module import EmbeddingModule
from matryoshka.training.nonfinite import NonFiniteGuard, NotFiniteError, Policy
from tests.tiny import tiny_encoder
from tests.training.callbacks.small import LIGHTNINGS_ADVICE, UPDATES, fit, small_module

pytestmark = pytest.mark.filterwarnings(*LIGHTNINGS_ADVICE)


class Poisoned(nn.Module):
    """A ranking loss that is spoilt at its calls of these numbers, from 0; every micro-batch calls it once a dim."""

    def __init__(self, spoil: Callable[[Tensor], Tensor], *calls: int) -> None:
        super().__init__()
        self.inner, self.spoil, self.calls, self.call = RankingLoss(), spoil, calls, -1

    def forward(self, similarity_BN: Tensor, mask_BN: Tensor | None = None) -> Tensor:
        self.call += 1
        loss: Tensor = self.inner(similarity_BN, mask_BN)
        return self.spoil(loss) if self.call in self.calls else loss


class OnlyGradient(torch.autograd.Function):
    """The number itself, with a gradient of infinity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * math.inf


Weights = list[dict[str, Tensor]]


def run(
    folder: Path, poison: Poisoned, policy: Policy = "stop", at_most: int = 10
) -> tuple[EmbeddingModule, list[dict[str, float]], Weights]:
    """The module, its rows, one an update, and its weights before each. Dims 8 and 32, two micro-batches an update."""
    module, data = small_module(log_every=1)
    module.loss, module.nonfinite = MatryoshkaLoss(poison, [32, 8]), NonFiniteGuard(policy, at_most)
    log, weights, update = MetricsFile(folder / "metrics.jsonl"), Weights(), module.update

    def keeping() -> None:
        weights.append(copy.deepcopy(module.encoder.state_dict()))
        update()

    module.update = keeping  # type: ignore[method-assign]
    fit(module, data, folder, loggers=[log])
    return module, log.rows, weights


def nan(loss: Tensor) -> Tensor:
    return loss * math.nan


def test_a_loss_that_is_nan_ends_the_run_with_update_dims_and_rows(tmp_path: Path) -> None:
    module, data = small_module(log_every=1)
    module.loss = MatryoshkaLoss(Poisoned(nan, 2 * 5), [32, 8])  # the second micro-batch of update 3, at dim 8
    with pytest.raises(NotFiniteError) as caught:
        fit(module, data, tmp_path)

    evidence = caught.value.evidence
    assert (evidence.update, evidence.epoch, evidence.bad) == (3, 1, [1])
    data.sampler.set_epoch(0)
    assert [list(micro.rows) for micro in evidence.window] == data.sampler.batches()[4:6]
    told = str(caught.value)
    assert told.startswith("update 3 in epoch 1 was not made: the loss of micro-batch 2 of 2 is nan at dim 8; ")
    assert (
        evidence.first_parameter == "backbone.encoder.layer.1.output.LayerNorm.bias"
        and evidence.first_parameter in told
    )
    assert all(torch.isfinite(p).all() for p in module.encoder.parameters())
    assert module.updates == 2


def test_an_infinite_gradient_of_a_finite_loss_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotFiniteError, match=r"every loss is finite, but the gradient of backbone.*LayerNorm.bias"):
        run(tmp_path, Poisoned(OnlyGradient.apply, 0))


def test_gradients_whose_squares_together_overflow_nothing_are_let_through(tmp_path: Path) -> None:
    """Squares are summed in fp64: 1e30 is large, but finite."""
    module, rows, _ = run(tmp_path, Poisoned(lambda loss: 1e30 * loss, 4))
    assert max(row["train/gradient_norm"] for row in rows) > 1e28
    assert len(rows) == UPDATES and all(torch.isfinite(p).all() for p in module.encoder.parameters())


def test_weights_that_were_broken_before_are_named(tmp_path: Path) -> None:
    module, data = small_module()
    with torch.no_grad():
        module.encoder.backbone.encoder.layer[0].output.dense.bias[3] = math.inf
    with pytest.raises(NotFiniteError, match=r"before it, backbone.encoder.layer.0.output.dense.bias first") as caught:
        fit(module, data, tmp_path)
    assert caught.value.evidence.bad == [0, 1]


def test_a_skipped_update_changes_no_weight_and_no_average_and_the_schedule_goes_on(tmp_path: Path) -> None:
    module, rows, weights = run(tmp_path, Poisoned(nan, 2 * 5), "skip")
    _, expected, _ = run(tmp_path, Poisoned(nan))

    for name, value in weights[2].items():
        assert torch.equal(value, weights[3][name]), name
    assert any(not torch.equal(value, weights[4][name]) for name, value in weights[3].items())
    states = module.trainer.optimizers[0].state.values()
    assert {int(state["step"]) for state in states} == {UPDATES - 1}
    assert module.updates == module.trainer.global_step == UPDATES
    assert [row["train/skipped_updates"] for row in rows] == [0, 0] + [1] * (UPDATES - 2)
    assert [row["train/learning_rate"] for row in rows] == [row["train/learning_rate"] for row in expected]
    assert "train/loss" not in rows[2] and "train/gradient_norm" not in rows[2]
    assert not any("train/skipped_updates" in row for row in expected)
    assert all(math.isfinite(value) for row in rows for value in row.values())


def test_the_mean_loss_of_a_row_leaves_skipped_updates_out(tmp_path: Path) -> None:
    module, data = small_module(log_every=2)
    module.loss, module.nonfinite = MatryoshkaLoss(Poisoned(nan, 0), [32, 8]), NonFiniteGuard("skip", 10)
    log = MetricsFile(tmp_path / "metrics.jsonl")
    fit(module, data, tmp_path, loggers=[log])
    _, each, _ = run(tmp_path, Poisoned(nan, 0), "skip")
    assert log.rows[0]["train/loss"] == each[1]["train/loss"]


def test_more_skipped_updates_than_allowed_end_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(NotFiniteError, match="the last of 3 such updates, where skipped_at_most=2"):
        run(tmp_path, Poisoned(nan, *range(100)), "skip", at_most=2)
    first, second = (record.getMessage() for record in caplog.records if record.name == "matryoshka")
    assert first.startswith("update 1 in epoch 1 was not made: the loss of") and "(skipped so far: 1)" in first
    assert "(skipped so far: 2)" in second


@pytest.mark.parametrize("whole", [True, False])
def test_embeddings_of_zeros_give_no_nan(whole: bool) -> None:
    """Not a number of the whole batch, or of one text alone, has a length to be divided by."""
    embeddings_SD = torch.randn(8, 32, generator=torch.Generator().manual_seed(0))
    embeddings_SD[slice(None) if whole else 2] = 0
    embeddings_SD.requires_grad_()
    for one_dim_at_a_time in (False, True):
        loss = MatryoshkaLoss(RankingLoss(direction="both"), [32, 8])
        total = loss(*embeddings_SD.tensor_split([4]), one_dim_at_a_time=one_dim_at_a_time).total
        (gradient_SD,) = torch.autograd.grad(total, embeddings_SD)
        assert torch.isfinite(total) and torch.isfinite(gradient_SD).all()


def test_a_batch_knows_its_rows_wherever_it_goes() -> None:
    _, data = small_module()
    batch: PackedBatch = data.collate([5, 2])
    assert batch.to("cpu").rows == (5, 2)
    assert tiny_encoder()(batch).isfinite().all()


@pytest.fixture
def read_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: whether an update was finite is read when the next one is due."""
    monkeypatch.setattr(module_of_training, "known_at_once", lambda step: False)


def fused(module: EmbeddingModule) -> EmbeddingModule:
    module.make_optimizer = partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.1, fused=True)
    return module


@pytest.mark.usefixtures("read_later")
def test_an_update_that_is_read_late_has_changed_nothing_and_the_next_is_not_made(tmp_path: Path) -> None:
    module, data = small_module(log_every=100)
    module.loss, weights, update = MatryoshkaLoss(Poisoned(nan, 2 * 5), [32, 8]), Weights(), module.update

    def keeping() -> None:
        weights.append(copy.deepcopy(module.encoder.state_dict()))
        update()

    module.update = keeping  # type: ignore[method-assign]
    with pytest.raises(NotFiniteError, match=r"^update 3 in epoch 1 was not made: the loss of micro-batch 2 of 2") as e:
        fit(fused(module), data, tmp_path)
    data.sampler.set_epoch(0)
    assert len(weights) == 4  # it was found when the fourth was due
    assert [list(micro.rows) for micro in e.value.evidence.window] == data.sampler.batches()[4:6]
    for name, value in weights[2].items():
        assert torch.equal(module.encoder.state_dict()[name], value), name


def test_skipped_updates_that_are_read_late_come_to_the_same_weights_and_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for late in (False, True):
        if late:
            monkeypatch.setattr(module_of_training, "known_at_once", lambda step: False)
        module, data = small_module(log_every=2)
        module.loss, module.nonfinite = MatryoshkaLoss(Poisoned(nan, 2 * 5, 2 * 9), [32, 8]), NonFiniteGuard("skip", 10)
        folder = tmp_path / str(late)
        folder.mkdir()
        fit(fused(module), data, folder, loggers=[log := MetricsFile(folder / "metrics.jsonl")])
        module.settle()
        rows = [{k: v for k, v in row.items() if "second" not in k and "gigabytes" not in k} for row in log.rows]
        found.append((module.encoder.state_dict(), rows, module.nonfinite.skipped, module.updates))
    (weights, rows, skipped, updates), (later, its_rows, its_skipped, its_updates) = found
    assert (rows, skipped, updates) == (its_rows, its_skipped, its_updates) == (rows, 2, UPDATES)
    for name, value in weights.items():
        assert torch.equal(later[name], value), name
