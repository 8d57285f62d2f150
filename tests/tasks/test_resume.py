"""Runs that are cut off and go on: in the end they must be what an undisturbed run is, to the bit."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from matryoshka.training.checkpoints.kept import KeptCheckpoints
from scripts.torture.runs import WORDS
from tests.real_pairs import write_pairs
from tests.tasks.killed import killed_at_save
from tests.tasks.test_train_and_sweep import run
from tests.tiny import tiny_encoder

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # a whole run passes through many libraries
PROJECT = Path(__file__).resolve().parents[2]
CARRY = ("accumulation=3", "trainer.max_epochs=3", "optimizer.lr=0.01", "logger=none", "trainer.log_every_n_steps=2")


FLUSH = (
    "accumulation=3",
    "accumulation_across_epochs=flush",
    "trainer.max_epochs=3",
    "scheduler=reduce_on_plateau",
    "optimizer.lr=0.01",
    "pairs_at_once=2",
    "logger=none",
)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with a tiny model that has dropout, and a few real pairs."""
    SentenceTransformersFolder().save(tiny_encoder(dropout=0.1), tmp_path / "tiny")
    write_pairs(tmp_path, train=32, evaluation=12)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MATRYOSHKA_CACHE", str(tmp_path / "cache"))
    return tmp_path


def outcome(folder: Path) -> dict[str, Any]:
    """What must be equal: weights, results, and every row of the log but for speeds and memory."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return {
        "weights": (folder / "model" / "model.safetensors").read_bytes(),
        "results": {key: value for key, value in results.items() if key not in ("seconds", "model")},
        "rows": [
            {key: value for key, value in row.items() if "per_second" not in key and "memory" not in key}
            for row in rows
        ],
        "saved_step": json.loads((folder / "run.json").read_text(encoding="utf-8"))["saved_step"],
    }


def stopped_at_update_2(command: Sequence[str], workplace: Path, number: signal.Signals, code: int) -> str:
    """What the command said that got a signal when it had shown its second update."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(PROJECT / "src"), "COLUMNS": "120"}
    with subprocess.Popen(
        [sys.executable, *command[1:]], cwd=workplace, stderr=subprocess.PIPE, text=True, env=environment
    ) as job:
        assert job.stderr
        said, shown = "", 0
        for line in job.stderr:
            said += line
            shown += line.startswith("update ")
            if line.startswith("update ") and shown == 2:
                job.send_signal(number)
        assert job.wait(60) == code, said
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize("words", [CARRY, FLUSH], ids=["carry", "flush, by plateau"])
def test_a_run_killed_after_a_checkpoint_ends_as_an_undisturbed_one(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: Sequence[str]
) -> None:
    assert run(monkeypatch, *words, "hydra.run.dir=whole") == 0
    with killed_at_save(monkeypatch, 2):
        run(monkeypatch, *words, "hydra.run.dir=killed")
    capsys.readouterr()
    assert run(monkeypatch, *words, "hydra.run.dir=killed") == 0
    assert "goes on after update" in capsys.readouterr().out
    assert outcome(workplace / "killed") == outcome(workplace / "whole")

    capsys.readouterr()
    assert run(monkeypatch, *words, "hydra.run.dir=killed") == 0
    said = capsys.readouterr()
    assert "this run is finished" in said.out and "update" not in said.err


def test_a_run_without_a_bar_goes_on_with_one(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for bars, folder in ((("true", "true"), "whole"), (("false", "true"), "other")):
        first, second = (f"trainer.enable_progress_bar={bar}" for bar in bars)
        with killed_at_save(monkeypatch, 1):
            run(monkeypatch, *CARRY, first, f"hydra.run.dir={folder}")
        assert run(monkeypatch, *CARRY, second, f"hydra.run.dir={folder}") == 0
    assert outcome(workplace / "other") == outcome(workplace / "whole")


def test_a_broken_newest_checkpoint_falls_back_to_the_one_before(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *CARRY, "hydra.run.dir=whole") == 0
    with killed_at_save(monkeypatch, 2):
        run(monkeypatch, *CARRY, "hydra.run.dir=killed")
    newest = KeptCheckpoints(workplace / "killed").lasts()[0]
    (newest / "training.pt").write_bytes((newest / "training.pt").read_bytes()[:-1000])
    assert run(monkeypatch, *CARRY, "hydra.run.dir=killed") == 0
    log = (workplace / "killed/train.log").read_text(encoding="utf-8")
    assert f"{newest}/training.pt: " in log and "going on from the one before, last-2" in log
    assert outcome(workplace / "killed") == outcome(workplace / "whole")


def test_resume_goes_on_with_the_newest_unfinished_run_and_refuses_another_configuration(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *CARRY, "resume=true") == 2
    assert "there is no unfinished run in" in capsys.readouterr().err
    with killed_at_save(monkeypatch, 1):
        run(monkeypatch, *CARRY)
    (folder,) = (workplace / "outputs/train").iterdir()

    assert run(monkeypatch, *CARRY, "resume=true", "seed=7", "trainer.max_epochs=9") == 2
    said = capsys.readouterr().err
    assert "seed: 42 there, 7 now" in said and "trainer.max_epochs: 3 there, 9 now" in said
    assert run(monkeypatch, *CARRY, "resume=true", "export=none") == 0
    assert [path.name for path in (workplace / "outputs/train").iterdir()] == [folder.name]
    assert (folder / "results.json").is_file() and not (folder / "checkpoints").exists()
    assert "goes on after" in capsys.readouterr().out
    assert (folder / "train.log").read_text(encoding="utf-8").count("results go to") == 3  # each attempt


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_a_signal_saves_after_the_update_and_says_how_to_go_on(
    workplace: Path, number: signal.Signals, code: int
) -> None:
    words = [*CARRY[:-1], "trainer.log_every_n_steps=1", "trainer.max_epochs=400", "baselines=[]"]
    words.append("trainer.enable_progress_bar=true")
    command = ["python", str(PROJECT / "train.py"), *WORDS.split(), *words]
    said = stopped_at_update_2(command, workplace, number, code)
    last = said.splitlines()[-1]
    assert f"stopped by {number.name}; saved after update " in last
    folder = Path(last.rpartition("resume=")[2])
    (newest, *_) = KeptCheckpoints(workplace / folder).lasts()
    assert f"saved after update {newest.name.removeprefix('last-')};" in last
    # The command that it tells goes on, and is stopped as well.
    again = last.partition("to go on: ")[2]
    stopped_at_update_2(shlex.split(again), workplace, number, code)
    assert KeptCheckpoints(workplace / folder).lasts()[0].name > newest.name
