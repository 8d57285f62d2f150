"""Whole runs in several processes, however they are started, against the same run in one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from torch.optim import SGD

from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from tests.real_pairs import write_pairs
from tests.tiny import tiny_encoder

PROJECT = Path(__file__).resolve().parents[2]
PYTHON = (sys.executable, str(PROJECT / "train.py"))
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", PYTHON[1])
SEVERAL = ("trainer=ddp", "trainer.accelerator=cpu")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny encoder, a few dozen real pairs, and the run of one process in `alone`.

    Nine questions have a second answer, which is that of another question: the loss leaves them out.
    """
    folder = tmp_path_factory.mktemp("user")
    write_pairs(folder, train=64, evaluation=40)
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    rows += [{**rows[i], "positive": rows[i + 20]["positive"]} for i in range(9)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "train.jsonl").write_text(text, encoding="utf-8")
    SentenceTransformersFolder().save(tiny_encoder(), folder / "tiny")
    done = run(PYTHON, folder, "trainer.accelerator=cpu", "hydra.run.dir=alone")
    assert done.returncode == 0, done.stderr
    assert "meet it in their batch, and the loss leaves out what is no negative" in " ".join(done.stdout.split())
    return folder


def settings(program: Sequence[str], folder: Path, *words: str) -> dict[str, Any]:
    """What subprocess runs, and where."""
    of_all = (
        "data=pairs data.train=train.jsonl data.evaluation=evaluation.jsonl encoder=pretrained encoder.model=tiny "
        "pooling=saved sampler=shuffled split.seed=1 dims=[32,16] batch_size=9 accumulation=2 trainer.max_epochs=2 trainer.precision=32-true "
        "trainer.log_every_n_steps=1 evaluator.token_budget=300"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120", "PYTHONPATH": str(PROJECT)}
    environment["MATRYOSHKA_CACHE"] = str(folder / f"cache_{len(list(folder.iterdir()))}")  # so that all is encoded
    return {"args": (*program, *of_all.split(), *words), "cwd": folder, "text": True, "env": environment}


def run(program: Sequence[str], folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(**settings(program, folder, *words), capture_output=True, timeout=300)


def numbers(path: Path) -> dict[str, float]:
    """Every number of a JSON file but times, by its place."""

    def walk(value: Any, place: str) -> dict[str, float]:
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        found = {place: value} if isinstance(value, int | float) and "seconds" not in place else {}
        for key, inner in items:
            found |= walk(inner, f"{place}/{key}")
        return found

    return walk(json.loads(path.read_text(encoding="utf-8")), "")


@pytest.mark.parametrize(
    ("program", "words"), [(PYTHON, (*SEVERAL, "trainer.devices=2")), (TORCHRUN, SEVERAL)], ids=["python", "torchrun"]
)
def test_two_processes_leave_one_run_equal_to_that_of_one(
    workplace: Path, program: Sequence[str], words: Sequence[str]
) -> None:
    done = run(program, workplace, *words)
    assert done.returncode == 0, done.stderr
    (folder,) = (workplace / "outputs" / "train").iterdir()
    alone = workplace / "alone"
    try:
        for name in ("base.json", "results.json", "deployment.json"):
            assert numbers(folder / name) == pytest.approx(numbers(alone / name), abs=1e-5)
        rows, expected = (
            [json.loads(row) for row in (path / "metrics.jsonl").read_text().splitlines()] for path in (folder, alone)
        )
        assert [row["step"] for row in rows] == [row["step"] for row in expected]
        for row, other in zip(rows, expected, strict=True):
            assert row.get("train/loss") == pytest.approx(other.get("train/loss"), abs=1e-5)
        names = {path.name for path in alone.iterdir()}
        assert {path.name for path in folder.iterdir()} == names
        assert len(list(folder.glob("wandb/offline-run-*"))) == 1
        assert done.stdout.count("base (untrained)") == done.stdout.count("results go to") == 1
        assert done.stderr.count("update 8/8") == 1
    finally:
        folder.rename(workplace / f"moved_{len(list(workplace.iterdir()))}")


def failing(params: Any, lr: float = 0.1) -> SGD:
    """An optimizer that fails in the second process, in the second update: three steps before are trials."""

    class Failing(SGD):
        steps = 0

        def step(self, closure: Any = None) -> Any:
            Failing.steps += 1
            if os.environ.get("RANK") == "1" and Failing.steps == 5:
                raise ValueError("the second process is ill")
            return super().step(closure)

    return Failing(params, lr=lr)


@pytest.mark.parametrize(
    ("program", "words"), [(PYTHON, ("trainer.devices=2",)), (TORCHRUN, ())], ids=["python", "torchrun"]
)
def test_a_process_that_fails_ends_all_and_says_why(
    workplace: Path, program: Sequence[str], words: Sequence[str]
) -> None:
    optimizer = ["optimizer._target_=tests.tasks.test_several_processes.failing"]
    optimizer += [f"~optimizer.{name}" for name in ("betas", "eps", "weight_decay", "fused")]
    done = run(program, workplace, *SEVERAL, *words, *optimizer, "logger=none", f"hydra.run.dir=failed_{len(words)}")
    assert done.returncode == 1
    assert "ValueError: the second process is ill" in done.stdout + done.stderr
    assert "update 8/8" not in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_job_of_a_sweep_and_all_that_follow(workplace: Path, number: signal.Signals, code: int) -> None:
    folder = workplace / f"ended_{code}"
    words = [
        "-m",
        "seed=1,2",
        *SEVERAL,
        "trainer.devices=2",
        "trainer.max_epochs=1000",
        "logger=none",
        f"hydra.sweep.dir={folder}",
    ]
    with subprocess.Popen(**settings(PYTHON, workplace, *words), stderr=subprocess.PIPE, start_new_session=True) as job:
        assert job.stderr
        said = ""
        for line in job.stderr:
            said += line
            if line.startswith("update 2/"):
                os.killpg(job.pid, number)
                ended = time.monotonic()
        assert job.wait(60) == code, said
    assert time.monotonic() - ended < 300  # so nobody had to be killed, which is done after 10 minutes
    assert "Traceback" not in said and "SignalException" not in said


def test_a_mistake_that_only_the_processes_find_is_said_once(workplace: Path) -> None:
    good = (workplace / "train.jsonl").read_text(encoding="utf-8")
    (workplace / "bad.jsonl").write_text(good + '{"anchor": "a", "positive": ""}\n', encoding="utf-8")
    done = run(PYTHON, workplace, *SEVERAL, "trainer.devices=2", "data.train=bad.jsonl", "hydra.run.dir=mistake")
    assert done.returncode == 2, done.stderr
    assert "results go to" in done.stdout  # so the configuration's check has not found it
    assert done.stderr.count("bad.jsonl") == 1 and "Traceback" not in done.stderr
    assert not (workplace / "mistake").exists()


def test_what_needs_one_process_is_refused_in_several(workplace: Path) -> None:
    sweep = run(TORCHRUN, workplace, "-m", *SEVERAL, "seed=1,2")
    assert sweep.returncode == 1 and "a sweep starts the processes of each job itself" in sweep.stderr


def test_processes_stopped_by_a_signal_go_on_to_the_same_end(workplace: Path) -> None:
    words = [*SEVERAL, "trainer.devices=2", "accumulation=4", "trainer.max_epochs=3", "logger=none"]
    assert run(PYTHON, workplace, *words, "hydra.run.dir=undisturbed").returncode == 0
    with subprocess.Popen(
        **settings(PYTHON, workplace, *words, "hydra.run.dir=stopped"), stderr=subprocess.PIPE, start_new_session=True
    ) as job:
        assert job.stderr
        said = ""
        for line in job.stderr:
            said += line
            if line.startswith("update 2/"):
                os.killpg(job.pid, signal.SIGTERM)
        assert job.wait(60) == 143, said
    assert "stopped by SIGTERM; saved after update " in said and "Traceback" not in said
    done = run(PYTHON, workplace, *words, "hydra.run.dir=stopped")
    assert done.returncode == 0, done.stderr
    stopped, expected = (workplace / name for name in ("stopped", "undisturbed"))
    weights = "model/model.safetensors"
    assert (stopped / weights).read_bytes() == (expected / weights).read_bytes()
    assert numbers(stopped / "results.json") == numbers(expected / "results.json")
    steps = [json.loads(row)["step"] for row in (stopped / "metrics.jsonl").read_text().splitlines()]
    assert steps == [json.loads(row)["step"] for row in (expected / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_fit_the_matrix_of_one(workplace: Path) -> None:
    words = (
        "task=project",
        "projection=learned",
        "projection.steps=20",
        "projections=[]",
        "export=none",
        "logger=none",
    )
    matrices = []
    for folder, devices in (("one", ("trainer.accelerator=cpu",)), ("two", (*SEVERAL, "trainer.devices=2"))):
        done = run(PYTHON, workplace, *words, *devices, f"hydra.run.dir=matrix_of_{folder}")
        assert done.returncode == 0, done.stderr
        matrices.append((workplace / f"matrix_of_{folder}" / "projection.npy").read_bytes())
    assert matrices[0] == matrices[1]


def test_a_training_from_a_projection_is_the_same_in_two_processes(workplace: Path) -> None:
    words = ("projection=learned", "projection.steps=20", "export=none", "logger=none")
    found = []
    for folder, devices in (("one", ("trainer.accelerator=cpu",)), ("two", (*SEVERAL, "trainer.devices=2"))):
        done = run(PYTHON, workplace, *words, *devices, f"hydra.run.dir=from_matrix_{folder}")
        assert done.returncode == 0, done.stderr
        found.append(numbers(workplace / f"from_matrix_{folder}" / "results.json"))
    assert found[0] == pytest.approx(found[1], abs=1e-5)
