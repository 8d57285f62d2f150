"""The same command on the same machine, the same result to the bit: run again, with workers, with another hash seed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from tests.real_pairs import write_pairs
from tests.tiny import tiny_encoder

PROJECT = Path(__file__).resolve().parents[2]
OF_A_MACHINE = ("seconds", "per_second", "memory")  # parts of names whose values no run repeats
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny encoder that drops out, a few dozen real pairs, and a first run in `first`."""
    folder = tmp_path_factory.mktemp("user")
    write_pairs(folder, train=64, evaluation=40)
    SentenceTransformersFolder().save(tiny_encoder(dropout=0.1), folder / "tiny")
    run(folder, "first")
    return folder


def run(folder: Path, name: str, *words: str, **variables: str) -> None:
    """Train in a new process with a cache of its own, so that everything is done anew."""
    settings = (
        "data=pairs data.train=train.jsonl data.evaluation=evaluation.jsonl encoder=pretrained encoder.model=tiny "
        "pooling=saved dims=[32,16] dims_per_step=1 batch_size=9 accumulation=2 trainer.max_epochs=3 logger=none "
        "trainer.precision=32-true trainer.log_every_n_steps=1 trainer.accelerator=cpu optimizer.lr=1e-3"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT / "src"), "PYTHONHASHSEED": "0"}
    environment |= {"MATRYOSHKA_CACHE": str(folder / "cache" / name), **variables}
    command = [sys.executable, str(PROJECT / "train.py"), *settings.split(), f"hydra.run.dir={name}", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def numbers(value: Any) -> Any:
    """Plain values without those that tell of the machine's speed."""
    if isinstance(value, dict):
        return {key: numbers(inner) for key, inner in value.items() if not any(part in key for part in OF_A_MACHINE)}
    return list(map(numbers, value)) if isinstance(value, list) else value


def logged(folder: Path) -> list[Any]:
    return [numbers(json.loads(line)) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("words", "variables"),
    [
        ((), {"PYTHONHASHSEED": "1"}),
        (("workers=1",), {}),
        (("workers=2",), {}),
    ],
    ids=["again, with another hash seed", "a data worker", "two data workers"],
)
def test_runs_are_equal_to_the_bit(
    workplace: Path, request: pytest.FixtureRequest, words: tuple[str, ...], variables: dict[str, str]
) -> None:
    name = request.node.callspec.id.replace(" ", "_").replace(",", "")
    run(workplace, name, *words, **variables)

    first, second = workplace / "first", workplace / name
    assert (first / "model" / "model.safetensors").read_bytes() == (second / "model/model.safetensors").read_bytes()
    assert logged(first) == logged(second)
    for file in ("results.json", "base.json", "deployment.json", "failures.json"):
        assert numbers(json.loads((first / file).read_text())) == numbers(json.loads((second / file).read_text()))
    for dim in (32, 16):
        file = f"rankings/run_dim_{dim}.txt"
        assert (first / file).read_bytes() == (second / file).read_bytes()


def test_another_seed_gives_another_result(workplace: Path) -> None:
    """Else the tests above could not fail: the runs drop out, draw dims and shuffle."""
    run(workplace, "other_seed", "seed=7")

    first, other = weights(workplace / "first"), weights(workplace / "other_seed")
    assert any(not first[name].equal(other[name]) for name in first)
