"""Where a task keeps the embeddings of a corpus: in memory, or in a file where they are too large for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from matryoshka.tasks import measuring
from tests.tasks.test_train_and_sweep import run, workplace

__all__ = ["workplace"]
pytestmark = pytest.mark.filterwarnings("default")
WORDS = ("logger=none", "export=none", "baselines=[]")


@pytest.mark.slow
def test_embeddings_that_would_fill_memory_go_to_the_disk_and_give_the_same_figures(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *WORDS, "hydra.run.dir=memory") == 0
    assert "GB in" not in capsys.readouterr().out
    monkeypatch.setattr(measuring, "available", lambda device, encoder: 1000.0)  # bytes
    assert run(monkeypatch, *WORDS, "hydra.run.dir=disk") == 0

    said = capsys.readouterr().out
    assert f"GB in {workplace / 'cache'} meanwhile" in said and "deploy  left out" in said
    memory, disk = (json.loads((workplace / name / "results.json").read_text()) for name in ("memory", "disk"))
    assert memory["metrics"] == disk["metrics"]
    assert not (workplace / "disk/deployment.json").exists()
