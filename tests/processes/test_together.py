"""Several real processes against one: the same loss, gradients, weights and metrics."""

from __future__ import annotations

import math
import signal
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torch.distributed as dist
from datasets import Dataset
from torch import Tensor

from matryoshka.config.consistency import process_problems
from matryoshka.data.packing import PackedBatch
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.data.samplers import NoDuplicatesSampler
from matryoshka.data.tokens import TokenIds
from matryoshka.errors import StoppedError, UserError
from matryoshka.evaluation.embeddings import OnDisk, embed
from matryoshka.evaluation.evaluator import Evaluator
from matryoshka.losses import MatryoshkaLoss, RankingLoss
from matryoshka.losses.distillation import DistilledLoss
from matryoshka.losses.nested_loss import NestedLoss
from matryoshka.memory.estimate import MemoryEstimate, MemorySettings, measure_memory
from matryoshka.processes.launched import ProcessInfo, launched
from matryoshka.processes.signals import stopping_once
from matryoshka.processes.together import (
    ElsewhereError,
    add_up_gradients,
    first_then_others,
    from_first,
    leave,
    own_rows,
    processes,
    rank,
)
from matryoshka.training import schedulers
from matryoshka.training.accumulation import add_gradients
from matryoshka.training.callbacks.metrics_file import MetricsFile
from matryoshka.training.datamodule import PairsModule
from matryoshka.training.log_rows import MicroBatch
from matryoshka.training.module import EmbeddingModule
from matryoshka.training.nonfinite import NonFiniteGuard, NotFiniteError, Step
from matryoshka.training.plan import TrainingPlan
from matryoshka.training.several_processes import trainer_options
from tests.several_processes import in_processes
from tests.tiny import tiny_encoder
from tests.training.callbacks.small import LIGHTNINGS_ADVICE, fit

RANKING, DISTILLED = (
    MatryoshkaLoss(loss, [64, 16], [1.0, 0.5]) for loss in (RankingLoss(direction="both"), DistilledLoss())
)
SHAPES = [(7, 2, RANKING), (6, 3, RANKING), (1, 3, RANKING), (7, 3, DISTILLED)]
CASES = [(*shape, at_once) for shape in SHAPES for at_once in (None, 2)]
TEXTS = ["der", "die das", "und der", "das haus", "ein rad", "x", "die schule am see"]
pytestmark = [pytest.mark.filterwarnings(advice) for advice in LIGHTNINGS_ADVICE]


def micro_batch(rows: int, columns: int) -> PackedBatch:
    encoder, generator = tiny_encoder(), torch.Generator().manual_seed(rows)
    texts = [TEXTS[column:][:rows] + TEXTS[: max(0, rows - 7 + column)] for column in range(columns)]
    mask_BN = torch.rand(rows, rows * (columns - 1), generator=generator) < 0.2
    return PackedBatch.from_ids([encoder.tokenize(column) for column in texts], mask_BN)


def losses_and_gradients() -> list[tuple[list[float], dict[str, Tensor]]]:
    """Of each case the losses of two micro-batches of a window, and the gradient of both."""
    found = []
    for rows, columns, loss, at_once in CASES:
        encoder, losses = tiny_encoder(modes=("cls", "mean")).train(), []
        for batch in (micro_batch(rows, columns), micro_batch(5, 2)):

            def loss_of(
                _: int, embeddings_SD: Tensor, batch: PackedBatch = batch, own: Any = loss, once: int | None = at_once
            ) -> NestedLoss:
                both = embeddings_SD.tensor_split([batch.columns[0]])
                nested: NestedLoss = own(*both, batch.mask_BN, one_dim_at_a_time=own is DISTILLED and once is not None)
                return nested

            (nested,) = add_gradients(encoder, [batch], loss_of, 2, at_once, shared=processes() > 1)
            losses.append(float(nested.total.detach()))
        add_up_gradients(encoder.parameters())
        found.append((losses, {name: p.grad for name, p in encoder.named_parameters() if p.grad is not None}))
    return found


@pytest.mark.parametrize("count", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_several_processes_have_the_loss_and_the_gradient_of_one(tmp_path: Path, count: int) -> None:
    """Odd numbers of rows, fewer than processes, masks, negatives, two micro-batches, GradCache, distillation."""
    alone = losses_and_gradients()
    for of_process in in_processes(losses_and_gradients, count, tmp_path / "run"):
        for (losses, gradients), (expected_losses, expected) in zip(of_process, alone, strict=True):
            assert losses == pytest.approx(expected_losses, abs=1e-5)
            assert gradients.keys() == expected.keys()
            for name, gradient in gradients.items():
                torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-5)
    assert all(expected["backbone.encoder.layer.0.output.dense.weight"].norm() > 1e-3 for _, expected in alone)


def trained(folder: Path, options: bool, accumulation: int) -> tuple[dict[str, Tensor], list[dict[str, float]], bool]:
    """Weights and logged rows of updates of so many micro-batches of 5 pairs each, some of equal passages."""
    pairs = Dataset.from_dict(
        {
            "anchor": [[0, 4 + i, 5, 2] for i in range(23)],
            "positive": [[0, 20 + (0 if i < 7 else i), 6, 2] for i in range(23)],
        }
    )
    data = PairsModule(pairs, partial(NoDuplicatesSampler, batch_size=5, clashes="mask"))
    plan = TrainingPlan(data.micro_batches(3), accumulation, "carry")
    loss = MatryoshkaLoss(RankingLoss(direction="both"), [32, 8], dims_per_step=1)
    make_optimizer = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
    module = EmbeddingModule(tiny_encoder(), loss, plan, make_optimizer, schedulers.linear, 0.5, log_every=1)
    folder.mkdir(exist_ok=True)
    log = MetricsFile(folder / "metrics.jsonl")
    with patch.object(dist, "broadcast", wraps=dist.broadcast) as broadcast:
        trainer = fit(module, data, folder, loggers=[log], **(trainer_options() if options else {}))
    # The first weights, and nothing with every micro-batch.
    assert broadcast.call_count == options * len([*module.parameters(), *module.buffers()])
    state = {name: value.clone() for name, value in module.encoder.state_dict().items()}
    return state, log.rows, trainer.is_global_zero


@pytest.mark.parametrize(("accumulation", "updates"), [(2, 6), (1, 15), (3, 3)])
def test_two_processes_train_the_weights_of_one(tmp_path: Path, accumulation: int, updates: int) -> None:
    """Of one micro-batch an update each has its share; of several each has its own, and nothing is gathered."""
    weights, rows, _ = trained(tmp_path / "alone", False, accumulation)
    (first, its_rows, is_first), (second, no_rows, is_first_too) = in_processes(
        trained, 2, tmp_path / "run", tmp_path / "together", True, accumulation
    )
    assert (is_first, is_first_too) == (True, False)
    assert no_rows == []
    for name, value in weights.items():
        torch.testing.assert_close(first[name], value, atol=1e-5, rtol=0)
        assert torch.equal(first[name], second[name])
    assert (tmp_path / "together" / "metrics.jsonl").read_text().count("\n") == len(rows) == updates
    for row, expected in zip(its_rows, rows, strict=True):
        assert row.keys() == expected.keys()
        for name in row.keys() - {"train/pairs_per_second", "train/tokens_per_second", "train/memory_gigabytes"}:
            assert row[name] == pytest.approx(expected[name], abs=1e-5, rel=1e-4)
    assert rows[0]["train/gradient_norm"] > 0.5  # so clipping takes part


def small_set() -> RetrievalSet:
    corpus = {f"d{i}": f"{text} {i % 17}" for i, text in enumerate(TEXTS * 6)}
    queries = {f"q{i}": text for i, text in enumerate(TEXTS)}
    return RetrievalSet("small", queries, corpus, {f"q{i}": frozenset([f"d{i}"]) for i in range(7)})


def measured(folder: Path) -> tuple[dict[str, Any], bool, list[Tensor], int]:
    """A result without its times, whether it has rankings, the embeddings, and how many batches were encoded."""
    encoder, encoded = tiny_encoder(), 0
    whole = encoder.encode_batches

    def counting(batches: Any, precision: Any = "fp32", **options: Any) -> Any:
        nonlocal encoded
        for item in whole(batches, precision, **options):
            encoded += 1
            yield item

    encoder.encode_batches = counting  # type: ignore[method-assign]
    evaluator = Evaluator(token_budget=40)
    result = evaluator.evaluate(encoder, small_set(), [32, 8], store=OnDisk(folder))
    ids = TokenIds.of(encoder.tokenize([f"{text} {i}" for i, text in enumerate(TEXTS * 6)]))
    embeddings, _ = embed(encoder, [ids], token_budget=40)
    plain = {name: value for name, value in asdict(result).items() if name not in ("seconds", "rankings")}
    return plain, result.rankings is not None, embeddings, encoded


def test_two_processes_measure_what_one_does_to_the_last_bit(tmp_path: Path) -> None:
    alone, _, expected, batches = measured(tmp_path / "one")
    first, second = in_processes(measured, 2, tmp_path / "run", tmp_path / "two")
    assert first[0] == second[0] == alone
    assert (first[1], second[1]) == (True, False)
    assert torch.equal(first[2][0], expected[0]) and torch.equal(second[2][0], expected[0])
    assert first[3] + second[3] == batches and abs(first[3] - second[3]) <= 2
    kept = {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    assert kept.keys() == {path.name for path in (tmp_path / "one").iterdir()}

    again = in_processes(measured, 2, tmp_path / "again", tmp_path / "two")
    assert again[0][0] == again[1][0] == alone
    assert 0 < again[0][3] + again[1][3] < batches  # only what has no store


def errors() -> list[str]:
    """What each process gets of errors of the first, and of what it makes alone."""
    found = []
    for error in (UserError("data.train: there is none"), OSError("disk")):

        def fail(error: Exception = error) -> None:
            raise error

        try:
            from_first(fail)
        except (UserError, ElsewhereError, OSError) as raised:
            found.append(f"{type(raised).__name__}: {raised}")

    def fail_elsewhere() -> None:
        if rank():
            raise UserError("model: there is none on this machine")

    try:
        first_then_others(fail_elsewhere)
    except RuntimeError as raised:  # not the user's mistake alone, which only the first process tells
        found.append(str(raised))
    order: list[str] = from_first(lambda: ["first"])
    found.append(str(first_then_others(lambda: [*order, rank()])))
    found.append(str(list(own_rows(5))))
    return [*found, str(leave()), str(rank())]


def test_an_error_of_the_first_process_is_everyones(tmp_path: Path) -> None:
    first, second = in_processes(errors, 2, tmp_path / "run")
    users = "UserError: data.train: there is none"
    assert first == [users, "OSError: disk", "['first', 0]", "[0, 1]", "True", "0"]
    elsewhere = ["ElsewhereError: the first process failed", "process 1, not the first: model: there is none"]
    assert second[:3] == [users, elsewhere[0], f"{elsewhere[1]} on this machine"]
    assert second[3:] == ["['first', 1]", "[2, 3, 4]", "False", "0"]


@pytest.mark.parametrize(
    ("said", "place"),
    [
        ({}, None),
        ({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}, ProcessInfo(3, 4, 1, 2)),
        ({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}, None),
        (
            {
                "SLURM_STEP_ID": "0",
                "SLURM_PROCID": "3",
                "SLURM_NTASKS": "4",
                "SLURM_LOCALID": "1",
                "SLURM_NTASKS_PER_NODE": "2",
                "SLURM_NNODES": "2",
                "SLURM_JOB_NAME": "train",
            },
            ProcessInfo(3, 4, 1, 2),
        ),
        (
            {
                "SLURM_STEP_ID": "0",
                "SLURM_PROCID": "0",
                "SLURM_NTASKS": "2",
                "SLURM_NNODES": "1",
                "SLURM_JOB_NAME": "x",
            },
            ProcessInfo(0, 2, 0, 2),
        ),
        (
            {
                "SLURM_STEP_ID": "0",
                "SLURM_PROCID": "0",
                "SLURM_NTASKS": "2",
                "SLURM_NNODES": "1",
                "SLURM_JOB_NAME": "bash",
            },
            None,
        ),
        ({"SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_JOB_NAME": "x"}, None),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_JOB_NAME": "x"}, None),  # a batch script without srun
    ],
)
def test_the_place_of_a_process_is_what_its_launcher_says(
    said: dict[str, str], place: ProcessInfo | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "SLURM_PROCID", "SLURM_STEP_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    assert launched() == place


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        ({"devices": 1}, []),
        ({"devices": "1"}, []),
        ({"devices": [0]}, []),
        ({"devices": "auto", "accelerator": "cpu", "strategy": "ddp"}, []),
        ({"devices": 2}, []),
        ({"devices": 4, "strategy": "ddp"}, []),
        ({"devices": 5}, ["batch_size: 4 pairs cannot be shared by 5 processes; use at least 5"]),
        ({"devices": 2, "strategy": "fsdp"}, ["trainer.strategy: fsdp does not share a batch's rows; use ddp"]),
        (
            {"devices": [0, 1]},
            ["trainer.devices: [0, 1] names devices; use trainer.devices=2, and CUDA_VISIBLE_DEVICES"],
        ),
        ({"devices": 0}, ["trainer.devices: 0 is not at least 1"]),
        ({"devices": "-1"}, ["trainer.devices: -1 is no number of devices; use 1, 2, ... or auto"]),
        ({"devices": 2, "num_nodes": 2}, ["trainer.num_nodes: several machines need torchrun or srun"]),
    ],
)
def test_what_several_devices_do_not_go_with_is_said(trainer: dict[str, Any], said: list[str]) -> None:
    problems = [f"{key}: {message}" for key, message in process_problems(trainer, 4)]
    assert [problem[: len(start)] for problem, start in zip(problems, said, strict=True)] == said


def test_devices_are_as_many_as_were_started(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert list(process_problems({"devices": "auto", "accelerator": "cpu"}, 4)) == []
    assert list(process_problems({"devices": 2, "num_nodes": 2}, 4)) == []
    ((key, message),) = process_problems({"devices": 1}, 4)
    assert (key, message[:48]) == ("trainer.devices", "1, but 2 processes were started on this machine;")
    ((key, _),) = process_problems({"devices": "auto", "accelerator": "cpu"}, 3)
    assert key == "batch_size"


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matryoshka.config.consistency.cuda_devices", lambda: 2)
    assert list(process_problems({"devices": 2}, 4)) == list(process_problems({"devices": "auto"}, 4)) == []
    assert list(process_problems({"devices": 3, "accelerator": "cpu"}, 4)) == []
    ((key, message),) = process_problems({"devices": 3}, 4)
    remedy = "use trainer.devices=2, or trainer.accelerator=cpu"
    assert (key, message) == ("trainer.devices", f"3 processes need a GPU each, and 2 can be seen here; {remedy}")


def test_each_of_two_processes_needs_the_activations_of_half_a_batch() -> None:
    def estimate(rows: int, processes: int) -> MemoryEstimate:
        loss = MatryoshkaLoss(RankingLoss(), [32])
        batches = [[[16] * rows, [24] * rows]]
        make_optimizer = torch.optim.AdamW
        device = torch.device("cpu")
        memory = measure_memory(
            tiny_encoder(), loss, make_optimizer, batches, texts=10, device=device, processes=processes
        )
        return memory.estimate(MemorySettings())

    whole, half, shared = estimate(64, 1), estimate(32, 1), estimate(64, 2)
    assert shared.activations == half.activations < whole.activations
    assert shared.loss == whole.loss > half.loss


def test_ctrl_c_stops_a_process_once_though_it_comes_twice() -> None:
    stop = stopping_once()
    with pytest.raises(StoppedError):
        stop(signal.SIGINT, None)
    stop(signal.SIGINT, None)  # from torch's launcher, after the terminal's, while the process ends


def decisions() -> list[str]:
    """Whether an update is made under each policy, where the second process alone has found a loss of NaN."""
    loss = torch.tensor(math.nan if rank() == 1 else 1.0)
    micro, made = MicroBatch((), loss[None], 1, 4, 20, (0, 1)), list[str]()
    step = Step.of(1, 1, [micro], {"weight": torch.ones(2)})
    for policy in NonFiniteGuard("skip", 10), NonFiniteGuard("stop"):
        try:
            made.append(f"{policy.allows(step, torch.nn.Linear(2, 2))} {float(step.broken)}")
        except NotFiniteError:
            made.append("stopped")
    return made


def test_several_processes_decide_alike_whether_an_update_is_finite(tmp_path: Path) -> None:
    assert in_processes(decisions, 2, tmp_path / "run") == [["False 1.0", "stopped"]] * 2
