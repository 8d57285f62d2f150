"""What someone adds to the house, one Python file and one YAML each, and real trainings with it."""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra

from matryoshka.cli import app
from matryoshka.embedded.german_help import FOLDER

PROJECT = Path(__file__).resolve().parents[2]
TRAIN = str(PROJECT / "train.py")
IDEAS = "ideas"  # the folder of additions, outside the checkout
NOT_COMPARED = ("per_second", "memory", "seconds", "model")
SMALL = (
    *("data=pairs", "data.train=train.jsonl", "data.evaluation=evaluation.jsonl", "evaluator=quick", "baselines=[]"),
    *("batch_size=4", "accumulation=2", "trainer.max_epochs=2", "trainer.log_every_n_steps=1", "logger=none"),
    *(
        "trainer.accelerator=cpu",
        "trainer.precision=32-true",
        "checkpoint.minutes=0",
        "hydra.run.dir=run",
        "blend=none",
    ),
)
# A second on the random encoder; more on the embedded one, though the texts are cut short.
TINY = ["encoder=pretrained", "encoder.model=tiny", "pooling=saved", "dims=[32,8]", "optimizer.lr=0.01", *SMALL]
REAL = ["encoder.max_seq_length=16", "dims=[768,8]", "optimizer.lr=1e-3", *SMALL]
# train.py, with a process that kills itself before a call that changes a folder; 0: that only counts these calls.
KILLED_AT_CALL = """
import runpy, sys
from scripts.torture.kill import kill_at_call
kill_at_call(int(sys.argv.pop(1)), after=False)()
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@dataclass(frozen=True)
class Addition:
    """One Python file, and the YAML `choice` of a group, whose `_target_` names it."""

    python: str
    group: str
    choice: str
    yaml: str

    @property
    def module(self) -> str:
        """The Python file's name, as the YAML says it."""
        return self.yaml.partition("_target_: ")[2].partition(".")[0]

    def write(self) -> None:
        """Put both files below the present folder."""
        code, conf = Path(IDEAS), Path(IDEAS) / "conf" / self.group
        conf.mkdir(parents=True, exist_ok=True)
        (code / f"{self.module}.py").write_text(self.python, encoding="utf-8")
        (conf / f"{self.choice}.yaml").write_text(self.yaml, encoding="utf-8")


def add(monkeypatch: pytest.MonkeyPatch, *additions: Addition) -> str:
    """Write the additions, to be found by this process and by others; returns the word that tells Hydra."""
    for addition in additions:
        addition.write()
        monkeypatch.delitem(sys.modules, addition.module, raising=False)
    ideas = Path(IDEAS).resolve()
    monkeypatch.syspath_prepend(ideas)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (PROJECT / "src", PROJECT, ideas))))
    importlib.invalidate_caches()
    return f"hydra.searchpath=[file://{ideas / 'conf'}]"


def write_scored_pairs(path: Path, rows: int) -> None:
    """Questions with their answers, another question's answer, and how well a teacher finds that both answer."""
    lines = (FOLDER / "train.jsonl").read_text(encoding="utf-8").splitlines()[: 2 * rows]
    pairs, scores = [json.loads(line) for line in lines], random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for pair, other in zip(pairs[:rows], pairs[rows:], strict=True):
            row = {"anchor": pair["anchor"], "positive": pair["positive"], "negative_1": other["positive"]}
            row |= {"positive_teacher": scores.uniform(0.5, 1), "negative_1_teacher": scores.uniform(0, 0.5)}
            file.write(json.dumps(row) + "\n")


def train_tiny(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Train the random encoder in this process, through the command line's own path; returns the exit code."""
    GlobalHydra.instance().clear()
    monkeypatch.setattr(sys, "argv", ["train.py", *_filled_up(words, TINY)])
    try:
        app.train()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def train(*words: str) -> str:
    """`python train.py` on the embedded encoder, to its end; returns what it said."""
    return _ended([TRAIN, *_filled_up(words, REAL)], 0)


def train_counting(*words: str) -> int:
    """The same; returns up to which of its calls it may be killed: a later run, whose texts are cached, makes fewer."""
    _ended(["-c", KILLED_AT_CALL, "0", TRAIN, *_filled_up(words, REAL)], 0)
    return int(Path("calls.txt").read_text()) // 2


def train_until_call(number: int, *words: str) -> None:
    """The same, killed by SIGKILL before this call."""
    _ended(["-c", KILLED_AT_CALL, str(number), TRAIN, *_filled_up(words, REAL)], -signal.SIGKILL)


def train_until_update(number: int, *words: str) -> None:
    """The same, killed by SIGKILL when it has said that this update is made."""
    command = [sys.executable, TRAIN, *_filled_up(words, REAL)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr
        said = []
        for line in run.stderr:
            said.append(line)
            if line.startswith(f"update {number}/"):
                run.kill()
        assert run.wait() == -signal.SIGKILL, "".join(said)


def _filled_up(words: Sequence[str], defaults: Sequence[str]) -> list[str]:
    """The words, and those defaults whose key or group they do not say themselves."""
    said = {word.partition("=")[0] for word in words}
    return [*words, *(word for word in defaults if not {key := word.partition("=")[0], key.partition(".")[0]} & said)]


def _ended(arguments: list[str], code: int) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def rows(run: str) -> list[dict[str, float]]:
    """The log of a run but for times."""
    lines = (Path(run) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [_timeless(json.loads(line)) for line in lines]


def outcome(run: str) -> dict[str, Any]:
    """What must be equal to the bit, however often a run was killed: weights, if any are kept, results and log."""
    weights = Path(run) / "model" / "model.safetensors"
    results = json.loads((Path(run) / "results.json").read_text(encoding="utf-8"))
    step = json.loads((Path(run) / "run.json").read_text(encoding="utf-8"))["saved_step"]
    kept = weights.read_bytes() if weights.is_file() else None
    return {"weights": kept, "results": _timeless(results), "rows": rows(run), "saved_step": step}


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if not any(word in key for word in NOT_COMPARED)}
