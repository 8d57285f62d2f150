"""A guide gets its embeddings before the first update, and says how much it leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest

from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from tests.extending.additions import rows, train_tiny
from tests.real_pairs import write_pairs
from tests.tiny import tiny_encoder


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tiny models, and real pairs."""
    for seed, name in enumerate(("tiny", "other")):
        SentenceTransformersFolder().save(tiny_encoder(seed=seed), tmp_path / name)
    write_pairs(tmp_path, train=24, evaluation=12)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("words", "name"), [((), "the untrained encoder"), (("negatives.model=other",), "other")])
def test_the_share_that_is_left_out_is_told_and_logged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], name: str
) -> None:
    assert train_tiny(monkeypatch, "negatives=guide", "negatives.relative=0.5", "projection=rotation", *words) == 0

    said = capsys.readouterr().out
    assert f"{name} leaves out " in said
    assert "nothing to do" not in said
    assert any(row.get("train/masked", 0) > 0 for row in rows("run"))


def test_where_it_leaves_out_nothing_there_is_nothing_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    margins = ("negatives.relative=null", "negatives.absolute=-2")
    assert train_tiny(monkeypatch, "negatives=guide", *margins) == 0

    assert "leaves out 0.00% of the candidates: nothing to do" in capsys.readouterr().out
    assert not any("train/masked" in row for row in rows("run"))


def test_its_scores_are_the_teachers_of_a_loss_that_asks_for_some(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("negatives=guide", "loss=distilled", "loss.teacher=1", "loss.full_width=0", "loss.teacher_scale=20")
    assert train_tiny(monkeypatch, *words) == 0


def test_a_guide_that_is_not_there_is_named_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_tiny(monkeypatch, "negatives=guide", "negatives.model=./nowhere") == 2

    assert "negatives.model: ./nowhere does not exist" in " ".join(capsys.readouterr().err.split())
