"""Runs that are cut off and go on: in the end they must be what an undisturbed run is, to the bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from matryoshka.checkpoints.kept import KeptCheckpoints
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from tests.real_pairs import write_pairs
from tests.tasks.test_train_and_sweep import run
from tests.tiny import tiny_encoder

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # a whole run passes through many libraries
CARRY = ("accumulation=3", "trainer.max_epochs=3", "optimizer.lr=0.01", "logger=none", "trainer.log_every_n_steps=2")


class Killed(BaseException):
    """What no code of the run can mend."""


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


def killed_at_save(monkeypatch: pytest.MonkeyPatch, number: int, *words: str) -> None:
    """A run that ends right after its checkpoint of this number, from 1."""
    save = KeptCheckpoints.save
    saved: list[int] = []

    def save_and_die(self: KeptCheckpoints, update: int, *rest: Any) -> None:
        save(self, update, *rest)
        saved.append(update)
        if len(saved) == number:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(KeptCheckpoints, "save", save_and_die)
        run(monkeypatch, *words)


def test_a_run_killed_after_any_checkpoint_ends_as_an_undisturbed_one(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(monkeypatch, *CARRY, "hydra.run.dir=whole") == 0
    expected = outcome(workplace / "whole")
    for number in (1, 2):
        killed_at_save(monkeypatch, number, *CARRY, f"hydra.run.dir=killed_{number}")
        assert run(monkeypatch, *CARRY, f"hydra.run.dir=killed_{number}") == 0
        assert outcome(workplace / f"killed_{number}") == expected
