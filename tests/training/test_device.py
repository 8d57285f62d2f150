"""Every task computes on the device it was told, prepared alike; CUDA is touched for a CUDA device alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from matryoshka.config.consistency import process_problems
from matryoshka.errors import UserError
from matryoshka.processes.launched import devices_here
from matryoshka.tasks import beginning, blend, curve, evaluate, explain, mine, plan, project, run
from matryoshka.training.checkpoints.random_states import random_states
from matryoshka.training.device import device_of, prepare

CPU, SECOND_GPU = torch.device("cpu"), torch.device("cuda", 1)


@pytest.fixture(autouse=True)
def settings_as_before() -> Iterator[None]:
    precision, cudnn = torch.get_float32_matmul_precision(), torch.backends.cuda.cudnn_sdp_enabled()
    yield
    torch.set_float32_matmul_precision(precision)
    torch.backends.cuda.enable_cudnn_sdp(cudnn)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """A machine that seems to have two GPUs; the list is of those that were made the current one."""
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    return current


@pytest.mark.parametrize(
    ("accelerator", "devices", "expected"),
    [
        ("gpu", 1, "cuda:0"),
        ("cuda", "auto", "cuda:0"),
        ("auto", [1], "cuda:1"),
        ("gpu", "1,", "cuda:1"),
        ("gpu", "1", "cuda:0"),  # one device, not the second
        ("cpu", [1], "cpu"),
        ("mps", 1, "mps"),
    ],
)
def test_a_gpu_is_the_one_that_the_configuration_names(
    two_gpus: list[torch.device], accelerator: str, devices: Any, expected: str
) -> None:
    assert str(device_of(accelerator, devices)) == expected


def test_a_process_among_several_has_the_gpu_of_its_number(
    two_gpus: list[torch.device], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert device_of("auto", "auto") == device_of("gpu", 2) == SECOND_GPU
    assert device_of("cpu", 2) == CPU


def test_a_device_that_is_named_is_one_device() -> None:
    assert devices_here({"devices": "3,"}, lambda: 4) == devices_here({"devices": [3]}, lambda: 4) == 1
    assert list(process_problems({"devices": "3,", "accelerator": "cpu"}, 4)) == []
    assert [key for key, _ in process_problems({"devices": "3,4", "accelerator": "cpu"}, 4)] == ["trainer.devices"]


def test_a_gpu_is_prepared_and_is_the_current_one(two_gpus: list[torch.device]) -> None:
    torch.backends.cuda.enable_cudnn_sdp(True)
    prepare(SECOND_GPU)
    assert two_gpus == [SECOND_GPU]
    assert torch.get_float32_matmul_precision() == "high"
    assert not torch.backends.cuda.cudnn_sdp_enabled()
    assert torch.backends.cuda.flash_sdp_enabled() and torch.backends.cuda.mem_efficient_sdp_enabled()


def test_a_cpu_beside_gpus_is_as_on_a_machine_without_any(two_gpus: list[torch.device]) -> None:
    prepare(SECOND_GPU)
    torch.backends.cuda.enable_cudnn_sdp(True)
    two_gpus.clear()
    prepare(CPU)
    assert two_gpus == []
    assert torch.get_float32_matmul_precision() == "highest"  # though the job before had a GPU
    assert torch.backends.cuda.cudnn_sdp_enabled()


def test_a_gpu_that_is_not_here_is_told(two_gpus: list[torch.device]) -> None:
    with pytest.raises(UserError, match=r"trainer\.devices: there is no GPU 2; this machine shows 2, from 0 on"):
        prepare(torch.device("cuda", 2))
    assert two_gpus == []


def test_a_gpu_of_another_machine_starts_nothing_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    prepare(torch.device("cuda", 0))  # whose set_device would raise


class PreparedError(Exception):
    """Stands for all that a task does after it has prepared its device."""


TRAINING = SimpleNamespace(
    accelerator="gpu", devices=[1], config={"trainer": {"accelerator": "gpu", "devices": [1], "precision": "auto"}}
)
EVALUATION = SimpleNamespace(device="cuda")


def begin(recipe: Any, folder: Path) -> None:
    run.Run(recipe, folder).__enter__()


@pytest.mark.parametrize(
    ("module", "task", "recipe", "expected"),
    [
        (beginning, begin, TRAINING, "cuda:1"),
        (beginning, project.project, TRAINING, "cuda:1"),
        (beginning, curve.curve, TRAINING, "cuda:1"),
        (beginning, mine.mine, TRAINING, "cuda:1"),
        (beginning, blend.blend, TRAINING, "cuda:1"),
        (plan, plan.plan, TRAINING, "cuda:1"),
        (explain, explain.explain, TRAINING, "cuda:1"),
        (evaluate, evaluate.evaluate, EVALUATION, "cuda:0"),
    ],
    ids=["train", "project", "curve", "mine", "blend", "plan", "explain", "evaluate"],
)
def test_every_task_prepares_its_device_before_anything_else(
    module: Any, task: Callable[..., Any], recipe: Any, expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def prepared(device: torch.device) -> None:
        raise PreparedError(str(device))

    monkeypatch.setattr(module, "prepare", prepared)
    with pytest.raises(PreparedError, match=expected):
        task(recipe, tmp_path)


def test_the_precision_is_chosen_for_the_gpu_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.device] = []
    chosen = beginning.choose_precision(CPU)
    monkeypatch.setattr(beginning, "choose_precision", lambda device: asked.append(device) or chosen)
    beginning.with_precision(TRAINING.config)
    assert asked == [SECOND_GPU]


def test_the_state_of_dropout_is_that_of_the_current_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is the run's, so that none of GPU 0 is asked for."""
    asked: list[Any] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device="cuda": asked.append(str(device)))
    random_states()
    assert asked == ["cuda"]  # without a number: the current one
