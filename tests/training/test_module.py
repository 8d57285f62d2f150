"""The LightningModule against a plain loop that says the same thing step by step."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from torch import Tensor

from matryoshka.data.packing import PackedBatch
from matryoshka.data.samplers import NoDuplicatesSampler, ShuffledSampler
from matryoshka.encoder import Encoder
from matryoshka.losses import MatryoshkaLoss, RankingLoss
from matryoshka.training import schedulers
from matryoshka.training.callbacks.metrics_file import MetricsFile
from matryoshka.training.datamodule import PairsModule
from matryoshka.training.module import EmbeddingModule
from matryoshka.training.plan import AcrossEpochs, TrainingPlan
from tests.tiny import tiny_encoder
from tests.training.callbacks.small import PAIRS, UPDATES, fit, small_module

DIMS = [32, 16, 8]
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*",  # Lightning's advice
    "ignore:.*isinstance\\(treespec, LeafSpec\\).*",  # a deprecation inside Lightning
)


def pairs(rows: int, negatives: int = 0) -> Dataset:
    """Token ids of random lengths, every text different."""
    generator = torch.Generator().manual_seed(1)
    columns = ["anchor", "positive", *(f"negative_{i}" for i in range(negatives))]

    def text() -> list[int]:
        length = int(torch.randint(2, 12, (), generator=generator))
        return [0, *torch.randint(4, 40, (length,), generator=generator).tolist(), 2]

    return Dataset.from_dict({column: [text() for _ in range(rows)] for column in columns})


def trained(
    folder: Path, rows: int, accumulation: int, mode: AcrossEpochs, negatives: int = 0
) -> tuple[EmbeddingModule, PairsModule, MetricsFile]:
    data = PairsModule(pairs(rows, negatives), partial(ShuffledSampler, batch_size=4, seed=7))
    return fitted(folder, data, accumulation, mode)


def fitted(
    folder: Path, data: PairsModule, accumulation: int, mode: AcrossEpochs
) -> tuple[EmbeddingModule, PairsModule, MetricsFile]:
    plan = TrainingPlan(data.micro_batches(2), accumulation, mode)
    module = EmbeddingModule(
        tiny_encoder(),
        MatryoshkaLoss(RankingLoss(), DIMS),
        plan,
        partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        partial(schedulers.linear, warmup=2),
        max_grad_norm=0.5,
        log_every=2,
    )
    log = MetricsFile(folder / "metrics.jsonl")
    fit(module, data, folder, loggers=[log])
    return module, data, log


def by_hand(data: PairsModule, plan: TrainingPlan) -> tuple[dict[str, Tensor], list[float], list[float], list[float]]:
    """(parameters, losses an update, rates, gradient norms) of a loop without Lightning."""
    encoder, loss = tiny_encoder().train(), MatryoshkaLoss(RankingLoss(), DIMS)
    # Not Adam: the gradient of a key's bias is 0 but for rounding, and Adam would make full steps of the noise.
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1, momentum=0.9)
    scheduler = schedulers.linear(optimizer, plan.updates, warmup=2)
    losses, rates, norms, total = [], [], [], 0.0
    for epoch in range(2):
        data.sampler.set_epoch(epoch)
        for index, rows in enumerate(data.sampler):
            batch = data.collate(rows)
            embeddings = [encoder(PackedBatch.from_ids([[ids]])) for ids in unpacked(batch)]  # one text at a time
            anchors, candidates = torch.cat(embeddings).tensor_split([batch.columns[0]])
            divisor, update = plan.window(epoch, index)
            value = loss(anchors, candidates).total / divisor
            value.backward()
            total += float(value.detach())
            if update:
                norms.append(float(torch.nn.utils.clip_grad_norm_(encoder.parameters(), 0.5)))
                rates.append(scheduler.get_last_lr()[0])
                losses.append(total)
                optimizer.step()
                optimizer.zero_grad()
                scheduler.step()
                total = 0.0
                if len(losses) == plan.updates:
                    return dict(encoder.state_dict()), losses, rates, norms
    return dict(encoder.state_dict()), losses, rates, norms


def unpacked(batch: PackedBatch) -> list[list[int]]:
    return [part.tolist() for part in batch.input_ids_T.split(list(batch.lengths))]


@pytest.mark.parametrize(("rows", "accumulation", "mode"), [(24, 1, "carry"), (22, 4, "carry"), (22, 4, "flush")])
def test_training_equals_a_plain_loop(tmp_path: Path, rows: int, accumulation: int, mode: AcrossEpochs) -> None:
    module, data, log = trained(tmp_path, rows, accumulation, mode)
    parameters, losses, rates, norms = by_hand(data, module.plan)
    assert module.updates == module.plan.updates == len(losses)
    for name, value in module.encoder.state_dict().items():
        torch.testing.assert_close(value, parameters[name], atol=1e-5, rtol=0)
    for i, row in enumerate(log.rows):
        last = 2 * i + 1
        assert row["step"] == last + 1
        assert row["train/loss"] == pytest.approx((losses[last - 1] + losses[last]) / 2, rel=1e-4)
        assert row["train/learning_rate"] == pytest.approx(rates[last])
        assert row["train/gradient_norm"] == pytest.approx(norms[last], rel=1e-3)
    assert len(log.rows) == len(losses) // 2


@pytest.mark.parametrize(("accumulation", "mode"), [(1, "carry"), (2, "flush")])
def test_an_epoch_longer_than_the_first_is_used_to_its_end(
    tmp_path: Path, accumulation: int, mode: AcrossEpochs
) -> None:
    """Where rows share passages, the number of micro-batches without duplicates depends on the epoch's order."""
    columns = pairs(24).to_dict()
    columns["positive"][:9] = [columns["positive"][i % 3] for i in range(9)]
    data = PairsModule(Dataset.from_dict(columns), partial(NoDuplicatesSampler, batch_size=4, seed=1))
    assert data.micro_batches(2) == [6, 7]

    module, data, _ = fitted(tmp_path, data, accumulation, mode)
    parameters, losses, *_ = by_hand(data, module.plan)
    assert module.updates == module.plan.updates == len(losses)
    for name, value in module.encoder.state_dict().items():
        torch.testing.assert_close(value, parameters[name], atol=1e-5, rtol=0)


def test_hard_negatives_are_candidates(tmp_path: Path) -> None:
    module, data, _ = trained(tmp_path, 12, 1, "carry", negatives=1)
    parameters, *_ = by_hand(data, module.plan)
    for name, value in module.encoder.state_dict().items():
        torch.testing.assert_close(value, parameters[name], atol=1e-5, rtol=0)
    assert data.columns == ["anchor", "positive", "negative_0"]


def test_the_losses_of_the_dims_add_up_to_the_loss(tmp_path: Path) -> None:
    _, _, log = trained(tmp_path, 16, 1, "carry")
    for row in log.rows:
        parts: Any = [value for name, value in row.items() if name.startswith("train/loss/dim_")]
        assert len(parts) == len(DIMS)
        assert sum(parts) == pytest.approx(row["train/loss"], rel=1e-5)


@pytest.mark.parametrize("pairs_at_once", [None, 3])
def test_a_logged_row_has_each_dims_share_in_the_gradient_and_moves_no_weight(
    tmp_path: Path, pairs_at_once: int | None
) -> None:
    def run(log_every: int) -> tuple[EmbeddingModule, list[dict[str, float]]]:
        module, data = small_module(log_every=log_every)
        module.pairs_at_once = pairs_at_once
        log = MetricsFile(tmp_path / f"{log_every}.jsonl")
        fit(module, data, tmp_path, loggers=[log])
        return module, log.rows

    (logged, rows), (quiet, none) = run(1), run(1000)
    assert (len(rows), none) == (UPDATES, [])
    for row in rows:
        shares = [row[f"train/gradient_share/dim_{dim}"] for dim in (32, 8)]
        assert min(shares) > 0.05
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        assert 0.05 < row["train/memory_gigabytes"] < 100
    for name, value in logged.encoder.state_dict().items():
        assert torch.equal(value, quiet.encoder.state_dict()[name]), name


def test_training_turns_dropout_on() -> None:
    encoder = tiny_encoder(dropout=0.5)
    assert not encoder.training
    plan = TrainingPlan([1], 1, "carry")
    module = EmbeddingModule(encoder, MatryoshkaLoss(RankingLoss(), DIMS), plan, torch.optim.AdamW, schedulers.linear)
    batch = PackedBatch.from_ids([[[0, 5, 6, 2]]])
    assert module.encoder.backbone.training
    assert not torch.equal(module.encoder(batch), module.encoder(batch))


def test_the_cards_recipe_equals_a_loop_written_out(tmp_path: Path) -> None:
    """AdamW, cosine, clipping at 1, windows of 2 that run on into the next epoch, an end amid the third."""
    module, data = small_module(log_every=1)
    log = MetricsFile(tmp_path / "metrics.jsonl")
    fit(module, data, tmp_path, loggers=[log])

    encoder, losses, micro_batches = tiny_encoder().train(), [0.0], 0
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-3)
    for epoch in range(3):
        data.sampler.set_epoch(epoch)
        for rows in data.sampler:
            if len(losses) > UPDATES:
                break
            embeddings_SD = encoder(data.collate(rows))
            for dim in (32, 8):
                cut_Sd = F.normalize(embeddings_SD[:, :dim], dim=1)
                scores_BB = 20 * cut_Sd[: len(rows)] @ cut_Sd[len(rows) :].T
                loss = F.cross_entropy(scores_BB, torch.arange(len(rows))) / 2
                loss.backward(retain_graph=True)
                losses[-1] += float(loss.detach())
            micro_batches += 1
            if micro_batches % 2 == 0:
                step = len(losses) - 1
                factor = 0.0 if step == 0 else 0.5 * (1 + math.cos(math.pi * (step - 1) / (UPDATES - 1)))
                optimizer.param_groups[0]["lr"] = 1e-3 * factor
                gradients = [p.grad for p in encoder.parameters() if p.grad is not None]
                norm = sum(float(gradient.double().square().sum()) for gradient in gradients) ** 0.5
                for gradient in gradients:
                    gradient *= min(1.0, 1.0 / (norm + 1e-6))
                optimizer.step()
                optimizer.zero_grad()
                losses.append(0.0)

    assert [row["train/loss"] for row in log.rows] == pytest.approx(losses[:-1], abs=1e-5)
    assert any(row["train/gradient_norm"] > 1 for row in log.rows)
    expected = encoder.state_dict()
    for name, value in module.encoder.state_dict().items():
        if not name.endswith("key.bias"):  # its gradient is 0 but for rounding, which AdamW makes steps of
            torch.testing.assert_close(value, expected[name], atol=2e-6, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("pairs_at_once", [None, 2])
def test_right_answers_that_meet_in_a_batch_are_no_negatives(tmp_path: Path, pairs_at_once: int | None) -> None:
    """Rate 0, so that every loss is that of the first weights, what answers a question left out by hand.

    One passage answers questions 0 to 6, another questions 0, 8 and 9: question 0 has two rows, 0 and 7.
    """
    shared = Dataset.from_dict(
        {
            "anchor": [[0, 4 + (0 if i == 7 else i), 5, 2] for i in range(10)],
            "positive": [[0, 20 + (i >= 7), 6, 2] for i in range(10)],
        }
    )
    answers: dict[tuple[int, ...], set[tuple[int, ...]]] = {}
    for row in shared:
        answers.setdefault(tuple(row["anchor"]), set()).add(tuple(row["positive"]))
    data = PairsModule(shared, partial(NoDuplicatesSampler, batch_size=4, clashes="mask"))
    encoder = tiny_encoder()
    plan = TrainingPlan(data.micro_batches(1), 1)
    loss = MatryoshkaLoss(RankingLoss(direction="both"), [32])
    optimizer = partial(torch.optim.SGD, lr=0.0)
    module = EmbeddingModule(
        encoder, loss, plan, optimizer, schedulers.constant, log_every=1, pairs_at_once=pairs_at_once
    )
    log = MetricsFile(tmp_path / "metrics.jsonl")
    fit(module, data, tmp_path, loggers=[log])

    assert data.sampler.summary().clashing > 3
    for rows, logged in zip(data.sampler.batches(), log.rows, strict=True):
        questions, texts = ([shared[row][column] for row in rows] for column in ("anchor", "positive"))
        similarity_BB = cosines(encoder, questions, texts)
        losses = []
        for i in range(len(rows)):
            passages = [i, *(j for j in range(len(rows)) if tuple(texts[j]) not in answers[tuple(questions[i])])]
            anchors = [i, *(j for j in range(len(rows)) if tuple(texts[i]) not in answers[tuple(questions[j])])]
            for scores in (20 * similarity_BB[i, passages], 20 * similarity_BB[anchors, i]):
                losses.append(float(torch.logsumexp(scores, 0) - scores[0]))
        assert logged["train/loss"] == pytest.approx(sum(losses) / len(losses), abs=1e-5)


def test_a_large_batch_in_small_parts_trains_the_same(tmp_path: Path) -> None:
    def run(pairs_at_once: int | None) -> tuple[EmbeddingModule, list[dict[str, float]]]:
        data = PairsModule(PAIRS, partial(ShuffledSampler, batch_size=8))
        plan = TrainingPlan(data.micro_batches(2), 2, "flush")
        optimizer = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
        loss = MatryoshkaLoss(RankingLoss(), [32, 8])
        module = EmbeddingModule(tiny_encoder(), loss, plan, optimizer, schedulers.linear, 1.0, 1, pairs_at_once)
        log = MetricsFile(tmp_path / f"{pairs_at_once}.jsonl")
        fit(module, data, tmp_path, loggers=[log])
        return module, log.rows

    (whole, rows), (parts, other) = run(None), run(3)
    assert [row["train/loss"] for row in rows] == pytest.approx([row["train/loss"] for row in other], rel=1e-5)
    for name, value in parts.encoder.state_dict().items():
        torch.testing.assert_close(value, whole.encoder.state_dict()[name], atol=1e-5, rtol=0)


@pytest.mark.parametrize("limit", [3, 0.5])
def test_a_limit_of_the_trainer_holds_in_every_epoch(tmp_path: Path, limit: int | float) -> None:
    data = PairsModule(PAIRS, partial(ShuffledSampler, batch_size=4))
    plan = TrainingPlan(data.micro_batches(3, limit), 1)
    loss = MatryoshkaLoss(RankingLoss(), [32])
    module = EmbeddingModule(tiny_encoder(), loss, plan, partial(torch.optim.SGD, lr=0.1), schedulers.constant)
    fit(module, data, tmp_path, limit_train_batches=limit)

    assert plan.updates == module.updates == 9


def test_a_limit_that_the_plan_does_not_know_is_refused(tmp_path: Path) -> None:
    module, data = small_module()

    with pytest.raises(ValueError, match="the plan has 7 micro-batches in the first epoch, the Trainer 2"):
        fit(module, data, tmp_path, limit_train_batches=2)


def cosines(encoder: Encoder, rows: list[list[int]], columns: list[list[int]]) -> Tensor:
    with torch.no_grad():
        embeddings_SD = F.normalize(encoder(PackedBatch.from_ids([rows, columns])), dim=1)
    return embeddings_SD[: len(rows)] @ embeddings_SD[len(rows) :].T
