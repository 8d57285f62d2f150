"""Checkpoints that a thread writes: the same files, of the moment of saving, and no error is lost."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from matryoshka.errors import DiskFullError
from matryoshka.training.checkpoints import host_copy, kept, writer
from matryoshka.training.checkpoints.kept import KeptCheckpoints
from matryoshka.training.checkpoints.writer import BackgroundWriter


def trained() -> tuple[nn.Module, torch.optim.Optimizer, dict[str, Any]]:
    """Tied weights and a state with all that a training's has: averages, shared and partial views, tuples, None."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(40, 40), nn.Linear(40, 40), nn.Linear(40, 7))
    model[1].weight = model[0].weight
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    step(model, optimizer)
    table = torch.randn(6, 8)
    of_run = {"table": table, "row": table[2], "turned": table.T, "kept": torch.zeros(3, dtype=torch.bool)}
    rest = {"random": (3, (1, 2, None), torch.get_rng_state()), "rows": [{"step": 1.0}], "losses": [torch.tensor(0.5)]}
    return model, optimizer, {"of_run": of_run, **rest}


def with_one_saved(folder: Path) -> tuple[KeptCheckpoints, nn.Module, torch.optim.Optimizer, dict[str, Any]]:
    """Checkpoints that a thread has written one of, the best."""
    model, optimizer, rest = trained()
    saved = KeptCheckpoints(folder, background=True)
    saved.save(1, model, state(optimizer, rest, 1))
    saved.wait()
    return saved, model, optimizer, rest


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()


def state(optimizer: torch.optim.Optimizer, rest: dict[str, Any], best: int | None) -> dict[str, Any]:
    return {"best": best and {"step": best, "value": 0.5}, "optimizer": optimizer.state_dict(), **rest}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def doubled(model: nn.Module) -> Iterator[None]:
    """Other weights, which are measured."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(2)
    try:
        yield
    finally:
        model.load_state_dict(before)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """A disk that takes nothing until the event is set."""
    go, write = threading.Event(), kept.write_checkpoint

    def slow(*arguments: Any, **options: Any) -> Any:
        assert go.wait(30)
        return write(*arguments, **options)

    monkeypatch.setattr(kept, "write_checkpoint", slow)
    return go


@pytest.mark.parametrize("measured", [False, True])
def test_the_files_are_those_written_in_place_though_the_weights_change_at_once(
    tmp_path: Path, held: threading.Event, measured: bool
) -> None:
    for folder, background in (("place", False), ("thread", True)):
        model, optimizer, rest = trained()
        kept = KeptCheckpoints(tmp_path / folder, "hash", background)
        for update in range(1, 4):
            others = (lambda model=model: doubled(model)) if measured else None
            kept.wait()
            held.clear() if background else held.set()
            kept.save(update, model, state(optimizer, rest, best=2 if update > 1 else None), others)
            step(model, optimizer)
            rest["of_run"]["table"].add_(1)
            rest["rows"].append({"step": update + 1.0})
            rest["random"] = (3, (1, 2, None), torch.get_rng_state() + 1)
            if background:
                assert not (kept.folder / f"last-{update}").exists()
                held.set()
        kept.finish()
    assert len(contents(tmp_path / "place")) == 3 + 3 + 2
    assert contents(tmp_path / "thread") == contents(tmp_path / "place")


def test_where_the_host_has_no_room_the_training_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(host_copy, "free_on_host", lambda: 1000.0)
    model, optimizer, rest = trained()
    kept = KeptCheckpoints(tmp_path, background=True)
    for update in (1, 2):
        kept.save(update, model, state(optimizer, rest, None))
        assert (kept.folder / f"last-{update}").exists()
    assert caplog.text.count("the training waits while checkpoints are written: no memory for a copy") == 1


def test_an_error_is_raised_by_the_next_save_or_wait_once_and_the_one_before_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, model, optimizer, rest = with_one_saved(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        saved.save(2, model, state(optimizer, rest, 1))
        with pytest.raises(DiskFullError, match=r"last-2: the disk is full; .* MB were to be written"):
            saved.save(3, model, state(optimizer, rest, 1))
        saved.save(4, model, state(optimizer, rest, 1))
        with pytest.raises(DiskFullError, match="last-4"):
            saved.finish()
    saved.wait()
    assert sorted(path.name for path in saved.folder.iterdir()) == ["best-1", "last-1"]
    assert saved.newest()


def test_nothing_is_begun_after_an_error() -> None:
    done: list[int] = []
    writing = BackgroundWriter()
    writing.start(lambda: 1 // 0)
    writing.start(lambda: done.append(1))
    with pytest.raises(ZeroDivisionError):
        writing.wait()
    writing.start(lambda: done.append(2))
    writing.wait()
    assert done == [2]


def test_what_is_abandoned_ends_early_and_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, model, optimizer, rest = with_one_saved(tmp_path)
    begun, check = threading.Event(), BackgroundWriter.check

    def until_abandoned(self: BackgroundWriter) -> None:
        begun.set()
        assert self._abandoned.wait(30)
        check(self)

    monkeypatch.setattr(writer.BackgroundWriter, "check", until_abandoned)
    saved.save(2, model, state(optimizer, rest, 1))
    assert begun.wait(30)
    saved.abandon()
    saved.finish()
    assert sorted(path.name for path in saved.folder.iterdir()) == ["best-1", "last-1"]


def test_another_process_gets_the_place_alone(tmp_path: Path) -> None:
    kept = KeptCheckpoints(tmp_path, "hash", background=True)
    other = pickle.loads(pickle.dumps(kept))
    assert (other.folder, other.run, other.background) == (kept.folder, "hash", True)
