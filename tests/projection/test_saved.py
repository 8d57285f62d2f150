"""The matrix's file: what is written is read, and what is no such file is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from matryoshka.errors import UserError
from matryoshka.projection.saved import FILE, SavedProjection
from tests.projection.small import WIDTH, saved, vectors

WORDS = {
    "format": "1",
    "kind": "learned",
    "side": "both",
    "encoder": "",
    "fingerprint": "",
    "dims": "[4]",
    "pairs": "9",
}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = saved(side="query").write(tmp_path / "run")

    for where in (tmp_path / "run", str(tmp_path / "run"), path):
        found = SavedProjection.read(where)
        assert (found.matrix_DE == saved().matrix_DE).all() and (found.calibration_ME == saved().calibration_ME).all()
        assert (found.kind, found.side, found.encoder, found.fingerprint) == ("learned", "query", "some/model", "5e1f")
        assert (found.dims, found.pairs, found.width, found.full) == ((4, 8, WIDTH), 100, WIDTH, WIDTH)
    assert sorted(item.name for item in (tmp_path / "run").iterdir()) == ["projection.md", "projection.npy", FILE]
    assert (np.load(tmp_path / "run" / "projection.npy") == saved().matrix_DE).all()


def test_a_matrix_that_read_would_refuse_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dims"):
        saved(dims=(WIDTH + 1,)).write(tmp_path / "run")
    assert not (tmp_path / "run").exists()


BROKEN: dict[str, tuple[Callable[[dict[str, Any], dict[str, str]], Any], str]] = {
    "format": (lambda x, said: said.update(format="2"), "format is 2"),
    "no format": (lambda x, said: said.pop("format"), "format is not said"),
    "no side": (lambda x, said: said.pop("side"), "side"),
    "other side": (lambda x, said: said.update(side="document"), "side is 'document'"),
    "dims": (lambda x, said: said.update(dims="4"), "not a list of widths"),
    "no JSON": (lambda x, said: said.update(dims="[4"), "cannot|can be read"),
    "dims too wide": (lambda x, said: said.update(dims=json.dumps([13])), r"dims \[13\]"),
    "pairs": (lambda x, said: said.update(pairs="many"), "many"),
    "no calibration": (lambda x, said: x.pop("calibration"), "no tensor calibration"),
    "float64": (lambda x, said: x.update(matrix=np.eye(WIDTH)), "float64"),
    "one dimension": (lambda x, said: x.update(matrix=np.ones(WIDTH, np.float32)), r"\(12,\)"),
    "calibration's width": (lambda x, said: x.update(calibration=vectors(5, 7)), "do not fit"),
    "calibration's rows": (lambda x, said: x.update(calibration=vectors(257)), "at most 256"),
    "zeros": (lambda x, said: x.update(calibration=np.zeros((2, WIDTH), np.float32)), "zeros"),
    "not finite": (lambda x, said: x["matrix"].__setitem__((3, 4), np.nan), "not all of its numbers are finite"),
    "not square": (
        lambda x, said: (said.update(side="query"), x.update(matrix=vectors(7, WIDTH))),
        "has to be square, not 7 x 12",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_another_file_is_refused(name: str, tmp_path: Path) -> None:
    change, message = BROKEN[name]
    tensors, words = {"matrix": vectors(WIDTH), "calibration": vectors(5)}, dict(WORDS)
    change(tensors, words)
    save_file(tensors, tmp_path / FILE, words)

    with pytest.raises(UserError, match=message) as caught:
        SavedProjection.read(tmp_path)
    assert str(tmp_path / FILE) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x10\0\0\0\0\0\0\0{}", b"version https://git-lfs"])
def test_what_is_no_safetensors_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(UserError, match=FILE):
        SavedProjection.read(tmp_path)


def test_a_missing_file_and_a_folder_without_one_are_said(tmp_path: Path) -> None:
    for where in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match="does not exist"):
            SavedProjection.read(where)
