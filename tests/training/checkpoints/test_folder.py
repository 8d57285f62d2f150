"""A checkpoint's folder: whole, checked, and never a pickle of anything but plain values."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from matryoshka.errors import UserError
from matryoshka.training.checkpoints.folder import BrokenCheckpointError, Checkpoint, write_checkpoint

STATE = {"update": 3, "draws": (3, (1, 2, 3), None), "losses": [torch.tensor(0.5)], "rows": [{"step": 1.0}]}


def written(folder: Path) -> Checkpoint:
    torch.manual_seed(1)
    return write_checkpoint(folder / "last-3", 3, "hash", nn.Linear(3, 2).state_dict(), STATE)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    checkpoint = written(tmp_path)
    found = Checkpoint.read(tmp_path / "last-3")
    found.check()
    assert found == checkpoint and (found.update, found.run) == (3, "hash")
    assert found.training() == STATE
    torch.manual_seed(1)
    expected, model = nn.Linear(3, 2), nn.Linear(3, 2)
    found.load_weights(model)
    assert torch.equal(model.weight, expected.weight) and torch.equal(model.bias, expected.bias)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last-3"]


def test_weights_that_are_there_already_are_shared(tmp_path: Path) -> None:
    checkpoint = written(tmp_path)
    other = write_checkpoint(tmp_path / "best-3", 3, "hash", checkpoint)
    other.check()
    assert (other.folder / "model.safetensors").samefile(checkpoint.folder / "model.safetensors")
    assert not (other.folder / "training.pt").exists()


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("break_it", "name", "said"),
    [
        (lambda path: path.unlink(), "model.safetensors", "missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "training.pt", "bytes where"),
        (flipped, "training.pt", "the checksum differs"),
        (flipped, "model.safetensors", "the checksum differs"),
        (lambda path: path.unlink(), "manifest.json", "no manifest of a checkpoint"),
        (lambda path: path.write_text("{"), "manifest.json", "no manifest of a checkpoint"),
        (lambda path: path.write_text('{"format": 3}'), "manifest.json", "no manifest of a checkpoint"),
    ],
)
def test_a_broken_one_names_the_file_and_what_is_wrong(
    tmp_path: Path, break_it: Callable[[Path], None], name: str, said: str
) -> None:
    folder = written(tmp_path).folder
    break_it(folder / name)
    with pytest.raises(BrokenCheckpointError, match=f"{name}: .*{said}"):
        Checkpoint.read(folder).check()


def test_one_of_another_version_is_not_called_broken(tmp_path: Path) -> None:
    folder = written(tmp_path).folder
    (folder / "manifest.json").write_text('{"format": 4}', encoding="utf-8")
    with pytest.raises(UserError, match="of format 4, where this version of matryoshka has 3; go on with the version"):
        Checkpoint.read(folder)


def test_memory_that_runs_out_is_no_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(torch, "load", no_memory)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        written(tmp_path).training()


def test_weights_of_another_model_and_foreign_pickles_are_refused(tmp_path: Path) -> None:
    checkpoint = written(tmp_path)
    with pytest.raises(BrokenCheckpointError, match=r"model\.safetensors: not the weights of this model"):
        checkpoint.load_weights(nn.Linear(4, 2))
    ran = tmp_path / "ran"

    class Foreign:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
            return Path.touch, (ran,)

    torch.save({"update": Foreign()}, checkpoint.folder / "training.pt", pickle_module=pickle)
    with pytest.raises(BrokenCheckpointError, match=r"training\.pt: not the state of a training"):
        checkpoint.training()
    assert not ran.exists()


def test_an_error_while_writing_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = written(tmp_path)

    def fail(*_: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(RuntimeError, match="no"):
        written(tmp_path)
    checkpoint.check()
    assert [path.name for path in tmp_path.iterdir()] == ["last-3"]
    assert json.loads((checkpoint.folder / "manifest.json").read_text())["update"] == 3
