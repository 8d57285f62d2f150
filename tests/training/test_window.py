"""What is encoded together comes to the same training, in fewer passes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from matryoshka.data.packing import PackedBatch
from matryoshka.losses import MatryoshkaLoss, RankingLoss
from matryoshka.training import schedulers
from matryoshka.training.callbacks.metrics_file import MetricsFile
from matryoshka.training.module import EmbeddingModule
from matryoshka.training.plan import TrainingPlan
from matryoshka.training.window import Window
from tests.tiny import tiny_encoder
from tests.training.callbacks.small import LIGHTNINGS_ADVICE, fit, small_module

pytestmark = pytest.mark.filterwarnings(*LIGHTNINGS_ADVICE)


def batch(*lengths: int) -> PackedBatch:
    return PackedBatch.from_ids([[[5] * length for length in lengths]] * 2)


@pytest.mark.parametrize(
    ("tokens_at_once", "groups"), [(0, [1, 1, 1, 1]), (39, [1, 1, 1, 1]), (40, [2, 1, 1]), (999, [4])]
)
def test_micro_batches_wait_for_each_other_up_to_so_many_tokens(tokens_at_once: int, groups: list[int]) -> None:
    window, found = Window(4, tokens_at_once), list[int]()
    for each in (batch(10), batch(5, 5), batch(30), batch(10)):  # of 20, 20, 60 and 20 tokens
        if window.is_full_for(each):
            found.append(len(window.waiting))
            window.waiting = []
        window.add(each, {32: 32, 8: 8}, 4)
    assert [*found, len(window.waiting)] == groups
    assert [micro.tokens for micro in window.close()[0]] == [20, 20, 60, 20]
    assert window.close() == ([], {})


def trained(folder: Path, tokens_at_once: int) -> tuple[dict[str, Tensor], list[dict[str, float]], int]:
    """Weights, rows and passes of 9 updates of two micro-batches; some windows go on in the next epoch."""
    _, data = small_module()
    plan, encoder, passes = TrainingPlan(data.micro_batches(3), 2, "carry"), tiny_encoder(), list[int]()
    encoder.backbone.register_forward_hook(lambda *_: passes.append(1))
    module = EmbeddingModule(
        encoder,
        MatryoshkaLoss(RankingLoss(), [32, 8], dims_per_step=1, cuts="nested"),
        plan,
        partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        schedulers.cosine,
        log_every=1,
        tokens_at_once=tokens_at_once,
    )
    folder.mkdir()
    fit(module, data, folder, loggers=[log := MetricsFile(folder / "metrics.jsonl")])
    return {name: value.clone() for name, value in encoder.state_dict().items()}, log.rows, len(passes)


def test_a_training_in_fewer_passes_is_the_same_training(tmp_path: Path) -> None:
    weights, rows, passes = trained(tmp_path / "alone", 0)
    merged, its_rows, fewer = trained(tmp_path / "together", 10_000)

    assert (passes, fewer) == (18, 9)
    for name, value in weights.items():
        torch.testing.assert_close(merged[name], value, atol=1e-5, rtol=0)
    for row, expected in zip(its_rows, rows, strict=True):
        for name in expected.keys() - {"train/pairs_per_second", "train/tokens_per_second", "train/memory_gigabytes"}:
            assert row[name] == pytest.approx(expected[name], abs=1e-5, rel=1e-4)
