"""Where a run begins, by what its folder holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from matryoshka.errors import UserError
from matryoshka.storage.atomic import write_json
from matryoshka.tasks.start_point import StartPoint, different_keys
from matryoshka.training.callbacks.checkpoint import Checkpoints
from matryoshka.training.checkpoints.kept import KeptCheckpoints
from matryoshka.training.checkpoints.parts import Parts
from tests.tiny import tiny_encoder
from tests.training.callbacks.small import small_module

CONFIG: dict[str, Any] = {
    "trainer": {"precision": "32-true", "max_epochs": 2},
    "encoder": {"model": "a", "revision": None},
    "data": {},
    "baselines": [],
    "export": {"_target_": "x"},
    "not_finite": "stop",
    "skipped_at_most": 10,
    "batch_size": 4,
}


def held(folder: Path, **changed: Any) -> Path:
    """A run's folder with its configuration."""
    (folder / "config.yaml").write_text(yaml.safe_dump({**CONFIG, **changed}), encoding="utf-8")
    return folder


def test_best_weights_without_a_state_are_never_taken_over(tmp_path: Path) -> None:
    """A run killed before its first checkpoint was whole may have been one of another configuration."""
    encoder = tiny_encoder()
    KeptCheckpoints(held(tmp_path, batch_size=8)).save(3, encoder, {"best": {"step": 3, "value": 0.5}})
    kept = KeptCheckpoints(tmp_path)
    for last in kept.lasts():
        for file in last.iterdir():
            file.unlink()
        last.rmdir()

    begun = StartPoint.of(CONFIG, tmp_path)

    assert begun.state is None and begun.finished is None
    assert not kept.folder.exists()


def test_a_finished_run_is_one_whose_last_file_is_there(tmp_path: Path) -> None:
    write_json(held(tmp_path) / "results.json", {})
    assert StartPoint.of(CONFIG, tmp_path).finished is None

    (tmp_path / "model").mkdir()
    write_json(tmp_path / "run.json", {"selected_value": 0.25})
    assert StartPoint.of(CONFIG, tmp_path).finished == 0.25


def test_one_that_kept_no_model_cannot_be_exported(tmp_path: Path) -> None:
    write_json(held(tmp_path, export=None) / "run.json", {"selected_value": 0.25})

    with pytest.raises(UserError, match=r"kept no model \(export=none\); train anew in another folder"):
        StartPoint.of(CONFIG, tmp_path)
    assert StartPoint.of({**CONFIG, "export": None}, tmp_path).finished == 0.25


def test_only_what_changes_the_result_is_compared() -> None:
    same = {**CONFIG, "not_finite": "skip", "skipped_at_most": 3, "export": None, "workers": 2}
    assert list(different_keys(CONFIG, same)) == []
    assert list(different_keys(CONFIG, {**CONFIG, "batch_size": 8})) == [("batch_size", 4, 8)]
    auto = {**CONFIG, "trainer": {**CONFIG["trainer"], "precision": "auto"}}
    assert list(different_keys(CONFIG, auto)) == []


def test_updates_that_were_left_out_stay_counted(tmp_path: Path) -> None:
    """After the last evaluation nothing is trained any more: what is restored is what the record says."""
    module, _ = small_module()
    kept = KeptCheckpoints(held(tmp_path))
    parts = Parts.among(of_step={}, of_run={"nonfinite": module.nonfinite})
    of_run = {"nonfinite": {"skipped": 2}}
    kept.save(
        9, module.encoder, {"update": 9, "best": None, "vocabulary": None, "of_step": [{"parts": {}}], "of_run": of_run}
    )
    found = kept.newest()
    assert found

    start = StartPoint(kept, CONFIG, checkpoint=found[0], state=found[1])
    start.restore(module, Checkpoints(kept, parts, state=found[1]), [])

    assert module.nonfinite.skipped == 2
