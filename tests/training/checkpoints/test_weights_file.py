"""Weights are written as safetensors writes them, in one pass, each byte hashed once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, load_model, save_model
from torch import nn

from matryoshka.training.checkpoints import hashed_file
from matryoshka.training.checkpoints.hashed_file import HashedFile
from matryoshka.training.checkpoints.kept import KeptCheckpoints
from matryoshka.training.checkpoints.weights_file import DTYPES, write_weights


class Tied(nn.Module):
    """Two names of one matrix, a bias that is not contiguous, a scalar, an empty buffer, and every dtype."""

    def __init__(self) -> None:
        super().__init__()
        self.über = nn.Embedding(5, 3)
        self.out = nn.Linear(3, 5, bias=False)
        self.out.weight = self.über.weight
        self.turned = nn.Parameter(torch.randn(4, 6).T)
        self.register_buffer("scalar", torch.tensor(3.5, dtype=torch.float64))
        self.register_buffer("empty", torch.zeros(0, 7))
        for _, name in DTYPES:
            self.register_buffer(f"{name}_", torch.arange(3).to(getattr(torch, name)))


def test_the_file_is_that_of_safetensors_and_its_checksum_that_of_its_content(tmp_path: Path) -> None:
    model = Tied()
    save_model(model, str(tmp_path / "expected"))
    with (tmp_path / "written").open("wb") as plain:
        file = HashedFile(plain)
        write_weights(file, model.state_dict())
    content = (tmp_path / "written").read_bytes()
    assert content == (tmp_path / "expected").read_bytes()
    assert file.facts() == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    other = Tied()
    load_model(other, tmp_path / "written")
    assert all(map(torch.equal, other.state_dict().values(), model.state_dict().values()))
    assert "über.weight" not in load_file(tmp_path / "written")  # "out.weight" stands for it


def test_more_tied_names_are_loaded_too(tmp_path: Path) -> None:
    """Of which safetensors writes the metadata in any order."""

    def model() -> nn.Module:
        layers = [nn.Linear(3, 3) for _ in range(4)]
        layers[2].weight = layers[0].weight
        layers[3].weight, layers[3].bias = layers[0].weight, layers[1].bias
        return nn.Sequential(*layers)

    saved, other = model(), model()
    with (tmp_path / "written").open("wb") as file:
        write_weights(file, saved.state_dict())
    load_model(other, tmp_path / "written")
    assert all(map(torch.equal, other.state_dict().values(), saved.state_dict().values()))


def test_what_could_not_be_loaded_is_not_written(tmp_path: Path) -> None:
    whole = torch.zeros(8)
    with (tmp_path / "x").open("wb") as file:
        with pytest.raises(ValueError, match="one, other: parts of a tensor that is not among the weights"):
            write_weights(file, {"one": whole[:4], "other": whole[2:]})
        with pytest.raises(ValueError, match=r"wide: a safetensors file cannot hold torch\.complex128"):
            write_weights(file, {"wide": torch.zeros(2, dtype=torch.complex128)})


def test_each_byte_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = [0]

    class Counting:
        def __init__(self) -> None:
            self.hash = hashlib.new("sha256")

        def update(self, data: Any) -> None:
            hashed[0] += len(data)
            self.hash.update(data)

        def hexdigest(self) -> str:
            return self.hash.hexdigest()

    def never(*_: object) -> None:
        raise AssertionError("a file was read to be hashed")

    with monkeypatch.context() as patch:
        patch.setattr(hashed_file.hashlib, "sha256", Counting)
        patch.setattr(hashed_file.hashlib, "file_digest", never)
        kept = KeptCheckpoints(tmp_path)
        kept.save(3, nn.Linear(700, 500), {"best": {"step": 3, "value": 0.5}, "averages": torch.zeros(1000)})
    last = kept.folder / "last-3"
    written = [last / "model.safetensors", last / "training.pt"]
    assert hashed[0] == sum(path.stat().st_size for path in written)
    assert written[0].samefile(kept.folder / "best-3" / "model.safetensors")
    found = kept.newest()
    assert found and kept.best(3).update == 3
