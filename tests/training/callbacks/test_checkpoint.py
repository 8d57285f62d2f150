"""A training goes on from any of its checkpoints to the same weights and rows, to the bit."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from matryoshka.errors import StoppedError
from matryoshka.evaluation.result import EvaluationResult
from matryoshka.losses import MatryoshkaLoss, RankingLoss
from matryoshka.training import schedulers
from matryoshka.training.callbacks.checkpoint import Checkpoints
from matryoshka.training.callbacks.evaluation import EpochEvaluation
from matryoshka.training.callbacks.metrics_file import MetricsFile
from matryoshka.training.checkpoints.kept import KeptCheckpoints
from matryoshka.training.checkpoints.parts import Parts
from matryoshka.training.module import EmbeddingModule
from matryoshka.training.plan import TrainingPlan
from tests.tiny import tiny_encoder
from tests.training.callbacks.small import AT_EPOCH_ENDS, LIGHTNINGS_ADVICE, UPDATES, fit, small_module

SELECTED = "ndcg@10/dim_8"
pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNINGS_ADVICE]


def measured(module: EmbeddingModule) -> EvaluationResult:
    """A result that depends on the weights; the second epoch's is the best."""
    value = 0.5 - abs(module.updates - 7) / 20
    return EvaluationResult("tiny", "letters", 1, 1, 32, {32: {"ndcg@10": 1 - value}, 8: {"ndcg@10": value}})


def train(
    folder: Path,
    across_epochs: Any = "carry",
    stop_at: int | None = None,
    by: str = "",
    background: bool = False,
) -> tuple[EmbeddingModule, list[dict[str, float]], Checkpoints]:
    """Train from the newest checkpoint on. stop_at: after whose checkpoint it is cut off; by: what else does."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(3)
    module, data = small_module()
    plan = TrainingPlan(module.plan.micro_batches, 2, across_epochs)
    loss = MatryoshkaLoss(RankingLoss(), [32, 8], dims_per_step=1, cuts="nested")
    encoder = tiny_encoder(dropout=0.1)
    make = partial(schedulers.reduce_on_plateau, warmup=2)
    module = EmbeddingModule(encoder, loss, plan, module.make_optimizer, make, log_every=2)
    kept, log = KeptCheckpoints(folder, background=background), MetricsFile(folder / "metrics.jsonl")
    state = None
    if found := kept.newest():
        found[0].load_weights(encoder)
        state = found[1]
    parts = Parts.among(
        of_step={"loss": module.loss, "sampler": data.sampler, "negatives": data.negatives},
        of_run={"progress": module.progress, "log_rows": module.log_rows, "log": log},
    )
    checkpoints = Checkpoints(kept, parts, minutes=0, state=state)
    checkpoints.restore()
    if stop_at is not None:
        save = kept.save

        def stopped(update: int, *rest: Any) -> None:
            save(update, *rest)
            if update == stop_at:
                raise KilledError

        kept.save = stopped  # type: ignore[method-assign]
    if by:  # only after evaluations
        checkpoints.minutes = None

    def measure() -> EvaluationResult:
        if by == "signal in the evaluation":
            raise StoppedError(signal.SIGINT)
        return measured(module)

    evaluation = EpochEvaluation(measure, SELECTED)
    fit(module, data, folder, [evaluation, checkpoints], [log])
    return module, log.rows, checkpoints


class KilledError(Exception):
    """The end of a process."""


def timeless(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    return [
        {key: value for key, value in row.items() if "per_second" not in key and "memory" not in key} for row in rows
    ]


@pytest.mark.parametrize(
    ("across_epochs", "every"),
    [("carry", 4), *(pytest.param(*other, marks=pytest.mark.slow) for other in (("flush", 4), ("carry", 1)))],
)
def test_cut_off_after_any_update_it_ends_the_same(tmp_path: Path, across_epochs: str, every: int) -> None:
    whole, rows, kept = train(tmp_path / "whole", across_epochs)
    for stop_at in range(1, whole.plan.updates + 1, every):
        folder = tmp_path / f"{stop_at}"
        with pytest.raises(KilledError):
            train(folder, across_epochs, stop_at)
        module, found, again = train(folder, across_epochs)
        weights = module.encoder.state_dict()
        assert all(torch.equal(weights[name], tensor) for name, tensor in whole.encoder.state_dict().items()), stop_at
        assert timeless(found) == timeless(rows)
        assert again.best == kept.best and module.progress.selecting == whole.progress.selecting
        lines = (folder / "metrics.jsonl").read_text().count("\n")
        assert lines == len(rows)


class Growing(RankingLoss):
    """A loss with a state: its scale grows with every micro-batch that it has seen."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, similarity_BN: Tensor, mask_BN: Tensor | None = None) -> Tensor:
        self.seen += 1
        return super().forward(similarity_BN * (1 + self.seen / 10), mask_BN)


def test_a_state_in_place_is_that_of_the_last_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A window is open where the first epoch ends, and its first micro-batch will be computed again."""
    monkeypatch.setattr(f"{__name__}.RankingLoss", Growing)
    whole, rows, _ = train(tmp_path / "whole")
    with pytest.raises(KilledError):
        train(tmp_path / "cut", stop_at=AT_EPOCH_ENDS[0], by="epoch end")
    module, found, _ = train(tmp_path / "cut")
    assert timeless(found) == timeless(rows)
    assert all(map(torch.equal, module.encoder.state_dict().values(), whole.encoder.state_dict().values()))


def test_the_best_weights_are_those_of_the_best_evaluation(tmp_path: Path) -> None:
    _, _, checkpoints = train(tmp_path)
    assert checkpoints.best and checkpoints.best.step == AT_EPOCH_ENDS[1] == 7
    assert checkpoints.kept.best(7).update == 7
    assert checkpoints.kept.lasts()[0].name == f"last-{UPDATES}"


def test_a_signal_saves_after_its_update_and_then_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = EmbeddingModule.training_step
    sent: list[bool] = []

    def signalled(self: EmbeddingModule, batch: Any, batch_index: int) -> None:
        if self.updates == 4 and not sent:
            sent.append(True)
            os.kill(os.getpid(), signal.SIGTERM)
        step(self, batch, batch_index)

    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch, pytest.raises(StoppedError) as stop:
        patch.setattr(EmbeddingModule, "training_step", signalled)
        train(tmp_path)
    assert stop.value.number == signal.SIGTERM and signal.getsignal(signal.SIGTERM) == before
    assert KeptCheckpoints(tmp_path).lasts()[0].name == "last-5"
    assert train(tmp_path)[0].updates == UPDATES


def test_a_signal_in_an_evaluation_loses_no_update(tmp_path: Path) -> None:
    whole, rows, _ = train(tmp_path / "whole")
    with pytest.raises(StoppedError):
        train(tmp_path / "stopped", by="signal in the evaluation")
    assert [path.name for path in KeptCheckpoints(tmp_path / "stopped").lasts()] == [f"last-{AT_EPOCH_ENDS[0]}"]
    module, found, _ = train(tmp_path / "stopped")
    assert timeless(found) == timeless(rows) and module.progress.selecting == whole.progress.selecting
