"""Which checkpoints of a run are kept, and which one it goes on from."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from matryoshka.errors import UserError
from matryoshka.training.checkpoints.disk import bytes_on_disk, require_room
from matryoshka.training.checkpoints.kept import KeptCheckpoints


def save(kept: KeptCheckpoints, update: int, best: int | None = None) -> None:
    state: dict[str, Any] = {"update": update, "best": None if best is None else {"step": best, "value": 0.5}}
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, update)
    kept.save(update, model, state)


def names(kept: KeptCheckpoints) -> list[str]:
    return sorted(path.name for path in kept.folder.iterdir())


def weight(kept: KeptCheckpoints, update: int) -> float:
    model = nn.Linear(1, 1, bias=False)
    kept.best(update).load_weights(model)
    return float(model.weight.detach())


def test_the_two_last_ones_and_the_best_of_each_are_kept(tmp_path: Path) -> None:
    kept = KeptCheckpoints(tmp_path)
    assert kept.newest() is None
    save(kept, 2)
    save(kept, 4, best=4)
    save(kept, 10, best=4)
    assert names(kept) == ["best-4", "last-10", "last-4"]
    save(kept, 12, best=12)
    assert names(kept) == ["best-12", "best-4", "last-10", "last-12"]  # the one before still speaks of update 4
    save(kept, 14, best=12)
    save(kept, 16, best=12)
    assert names(kept) == ["best-12", "last-14", "last-16"]
    assert weight(kept, 12) == 12.0
    kept.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("broken", ["last-8/training.pt", "last-8/manifest.json", "best-8/model.safetensors"])
def test_a_broken_newest_falls_back_and_is_forgotten(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    kept = KeptCheckpoints(tmp_path)
    save(kept, 4, best=4)
    save(kept, 8, best=8)
    (kept.folder / broken).unlink()
    with caplog.at_level(logging.WARNING):
        found = kept.newest()
    assert found and found[0].update == found[1]["update"] == 4
    assert f"{kept.folder / broken}: " in caplog.text and "going on from the one before, last-4" in caplog.text
    assert len(names(kept)) > 2  # a command that is refused after all removes nothing
    kept.forget_after(4)
    assert names(kept) == ["best-4", "last-4"]


def test_where_all_are_broken_it_says_so_and_what_helps(tmp_path: Path) -> None:
    kept = KeptCheckpoints(tmp_path)
    save(kept, 4)
    (kept.folder / "last-4" / "training.pt").write_bytes(b"")
    with pytest.raises(UserError, match=r"no checkpoint can be gone on from; remove .*checkpoints to begin anew"):
        kept.newest()


def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path) -> None:
    kept = KeptCheckpoints(tmp_path)
    (kept.folder / ".last-3.unfinished-abc_d123" / "new").mkdir(parents=True)
    save(kept, 4)
    assert names(kept) == ["last-4"]


def test_the_disk_that_a_run_takes_is_an_upper_bound_and_too_little_is_refused(tmp_path: Path) -> None:
    model = nn.Linear(500, 500, bias=False)
    weights = model.weight.numel() * 4
    optimizer = torch.optim.AdamW(model.parameters())
    model.weight.grad = torch.ones_like(model.weight)
    optimizer.step()
    kept = KeptCheckpoints(tmp_path)
    for update in (1, 2, 3):
        state = {"best": {"step": update, "value": 0.0}, "optimizer": optimizer.state_dict()}
        kept.save(update, model, state)
    taken = sum(path.stat().st_size for path in tmp_path.rglob("training.pt"))
    taken += sum(path.stat().st_size for path in tmp_path.rglob("best-*/model.safetensors"))
    most, stays = bytes_on_disk(weights, 2 * weights, weights)
    assert 2 * (3 * weights) < taken < most
    assert stays == weights
    assert require_room(tmp_path / "new", most, stays).startswith("11.0 MB at the most while it runs, 1.0 MB after")
    with pytest.raises(UserError, match=r"takes 1,000,000,000\.0 MB .*MB are free; make room"):
        require_room(tmp_path / "new", 10**15, 0)
