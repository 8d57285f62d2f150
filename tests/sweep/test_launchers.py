"""Real processes of every launcher: how many at once, on which cores and GPUs, and what happens when one is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import joblib
import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn

from matryoshka.cli import app
from matryoshka.cli.multirun import launched
from matryoshka.sweep.jobs import Job, forget_attempt, is_running, running
from matryoshka.sweep.status import Status, read_status

ROOT = Path(__file__).parents[2]
# Hydra's own sweeper: what is tested here is where jobs run.
SWEEP = ("-m", "tests.sweep.launched", "-m", "hydra/sweeper=basic", "hydra.sweep.dir=sweep")


def environment(folder: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    return kept | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}


def swept(folder: Path, *words: str) -> list[list[dict[str, Any]]]:
    """Each job's lines, of a sweep in this folder."""
    subprocess.run([sys.executable, *SWEEP, *words], cwd=folder, env=environment(folder), check=True, timeout=120)
    files = sorted((folder / "sweep").glob("*/where.jsonl"))
    return [[json.loads(line) for line in file.read_text().splitlines()] for file in files]


def test_four_jobs_on_two_gpus_never_share_one(tmp_path: Path) -> None:
    words = ["hydra/launcher=gpus", "hydra.launcher.n_jobs=2", "hydra.callbacks.one_gpu.gpus=[3,GPU-8f6d]"]
    jobs = [line for (line,) in swept(tmp_path, *words, "+seconds=0.3", "seed=1,2,3,4")]

    assert len(jobs) == 4
    assert {job["gpu"] for job in jobs} == {"3", "GPU-8f6d"}
    assert len({(job["process"], job["gpu"]) for job in jobs}) == 2  # CUDA keeps the GPU that its process started with
    for gpu in ("3", "GPU-8f6d"):
        on_it = sorted((job["start"], job["end"]) for job in jobs if job["gpu"] == gpu)
        assert all(end <= start for (_, end), (start, _) in pairwise(on_it))


TAKE = """
import sys, time
from matryoshka.cli.gpu_slots import take_gpu
print(take_gpu(("0", "1"))[0], flush=True)
time.sleep(60)
"""


def taking(folder: Path) -> subprocess.Popen[str]:
    """A process that takes one of two GPUs, says which, and stays."""
    env = environment(folder)
    return subprocess.Popen([sys.executable, "-c", TAKE], stdout=subprocess.PIPE, text=True, env=env)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_the_gpu_of_a_killed_process_goes_to_one_that_waits(tmp_path: Path) -> None:
    holders = {said(process): process for process in (taking(tmp_path), taking(tmp_path))}
    waiting = taking(tmp_path)
    try:
        assert set(holders) == {"0", "1"}
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(timeout=1)
        os.kill(holders["1"].pid, signal.SIGKILL)
        assert said(waiting) == "1"
    finally:
        for process in (*holders.values(), waiting):
            process.kill()
            process.communicate()


@pytest.mark.slow
def test_a_job_that_is_told_to_stop_is_begun_again_in_its_folder(tmp_path: Path) -> None:
    jobs = swept(tmp_path, "hydra/launcher=slurm_local", "+stopped=true", "seed=1")

    (tries,) = jobs
    assert len({line["process"] for line in tries}) == 2


def test_where_one_job_dies_those_that_run_end_and_those_not_begun_are_launched_again(tmp_path: Path) -> None:
    dead, slow, queued = (Job(name, (), "hash") for name in ("dead", "slow", "queued"))
    began, launched_jobs = threading.Event(), []

    def run_slowly() -> None:
        with running(tmp_path / "slow"):
            Status("running", "hash").write(tmp_path / "slow")
            began.set()
            time.sleep(0.5)
            Status("done", "hash").write(tmp_path / "slow")

    def launch(jobs: Sequence[Job]) -> list[JobReturn]:
        launched_jobs.append([job.name for job in jobs])
        if len(launched_jobs) > 1:
            return []
        Status("running", "hash").write(tmp_path / "dead")
        thread.start()
        began.wait()
        raise RuntimeError("killed")

    thread = threading.Thread(target=run_slowly)
    launched(tmp_path, [dead, slow, queued], launch)
    thread.join()

    assert launched_jobs == [["dead", "slow", "queued"], ["queued"]]
    states = {name: getattr(read_status(tmp_path / name), "state", None) for name in ("dead", "slow")}
    assert states == {"dead": "failed", "slow": "done"}


def test_what_a_stopped_job_left_is_not_mixed_with_what_it_writes_when_begun_again(tmp_path: Path) -> None:
    written = ("metrics.jsonl", "status.json", "checkpoints/last.ckpt")
    for name in (*written, "train.log", "trial.json", ".hydra/config.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    with running(tmp_path):
        forget_attempt(tmp_path)
        assert is_running(tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == {"train.log", "trial.json", ".hydra", ".lock"}
    assert (tmp_path / ".hydra/config.yaml").is_file()


@pytest.mark.slow
def test_the_threads_of_all_jobs_are_the_cores_of_the_machine(tmp_path: Path) -> None:
    jobs = [line for (line,) in swept(tmp_path, "hydra/launcher=cores", "+threads=true", "+seconds=1", "seed=1,2,3,4")]

    at_once = len({job["process"] for job in jobs})
    assert at_once == (joblib.cpu_count() if joblib.cpu_count() <= 2 else joblib.cpu_count() // 2)
    assert {job["threads"] for job in jobs} == {joblib.cpu_count() // at_once}


@pytest.mark.parametrize(("launcher", "plugin"), [("cores", "joblib"), ("gpus", "joblib"), ("slurm", "submitit_slurm")])
def test_a_launcher_that_is_not_installed_is_named_with_its_remedy(
    launcher: str, plugin: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Plugins.instance()  # they register themselves when they are first looked for
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["launcher"], f"{plugin}.yaml")
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", f"hydra/launcher={launcher}", "seed=1,2"])
    GlobalHydra.instance().clear()

    with pytest.raises(SystemExit) as end:
        app.train()

    assert end.value.code == 2
    assert f"{plugin} is not installed; pip install 'matryoshka[sweeps]'" in capsys.readouterr().err
