"""Files of vectors: shapes, what is mapped, and what is said of files that are no vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from matryoshka.errors import DataError
from matryoshka.projection import vector_files
from matryoshka.projection.vector_files import mapped, opened, shape_of
from tests.projection.small import vectors


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATRYOSHKA_CACHE", str(tmp_path / "cache"))


def parquet(path: Path, **columns: Any) -> Path:
    """A table of these columns."""
    pq.write_table(pa.table(columns), path)
    return path


def lists(x_ND: Any) -> pa.Array:
    return pa.array(list(x_ND), pa.list_(pa.float32()))


@pytest.mark.parametrize("ending", [".npy", ".npz", ".packed.npz", ".parquet"])
def test_every_kind_is_mapped_and_has_its_shape(ending: str, tmp_path: Path) -> None:
    path, x_ND = tmp_path / f"x{ending}", vectors(300)
    if ending == ".npy":
        np.save(path, x_ND)
    elif ending == ".parquet":
        parquet(path, x=lists(x_ND))
    else:
        (np.savez_compressed if "packed" in ending else np.savez)(path, x=x_ND)

    found_ND = mapped(path)
    assert shape_of(path) == (300, 12)
    assert isinstance(found_ND, np.memmap) and not found_ND.flags.writeable
    assert (found_ND == x_ND).all() and found_ND.dtype == np.float32
    kept = [item.name for item in tmp_path.glob("cache/vectors/*")]
    assert len(kept) == (ending in (".packed.npz", ".parquet"))


def test_a_file_is_converted_once_and_again_when_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, x=vectors(50))
    mapped(path)
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(vector_files, "_convert", lambda *_: pytest.fail("converted again"))
        assert (mapped("x.npz") == vectors(50)).all()
    np.savez_compressed(path, x=vectors(60, seed=5))
    assert (mapped(path) == vectors(60, seed=5)).all()


def test_one_of_several_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=vectors(3), b=vectors(4))
    path = parquet(tmp_path / "x.parquet", a=lists(vectors(3)), b=lists(vectors(3, 5)), id=[1, 2, 3])

    assert shape_of(f"{tmp_path}/x.npz:b") == (4, 12) and shape_of(f"{path}:b") == (3, 5)
    for where in ("x.npz", "x.parquet"):
        with pytest.raises(DataError, match=rf"has 2 .* \(a, b\); name one, .*{where}:a"):
            opened(tmp_path / where)
        with pytest.raises(DataError, match=f"{where} has no .* c; "):
            opened(f"{tmp_path / where}:c")
    with pytest.raises(DataError, match="id has int64"):
        opened(f"{path}:id")


WRONG: dict[str, tuple[Any, str]] = {
    "missing": (lambda path: path, "does not exist"),
    "folder": (lambda path: path.mkdir(), "is a folder"),
    "one dimension": (lambda path: np.save(path, vectors(3)[0]), r"has shape \(12,\)"),
    "three dimensions": (lambda path: np.save(path, vectors(6).reshape(3, 2, 12)), r"has shape \(3, 2, 12\)"),
    "integers": (lambda path: np.save(path, np.ones((3, 4), int)), "has int64"),
    "objects": (lambda path: np.save(path, np.array([["a"]], object), allow_pickle=True), "has object"),
    "no rows": (lambda path: np.save(path, vectors(0)), "no vectors in it"),
    "columns": (lambda path: np.save(path, np.asfortranarray(vectors(3))), "stored by columns"),
    "empty": (lambda path: path.write_bytes(b""), "damaged or no array"),
    "text": (lambda path: path.write_text("1,2\n3,4\n"), "damaged or no array"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_file_of_vectors_is_refused(name: str, tmp_path: Path) -> None:
    make, message = WRONG[name]
    make(tmp_path / "x.npy")
    for look in (opened, shape_of, mapped):
        with pytest.raises(DataError, match=message) as caught:
            look(tmp_path / "x.npy")
        assert str(tmp_path / "x.npy") in str(caught.value)


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_rubbish_is_refused(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{ending}"
    for content in (b"", b"PK\x03\x04rubbish", b"PAR1 and PAR1"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="is damaged or no"):
            opened(path)


def test_an_ending_that_is_not_known_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"read from \.npy, \.npz and \.parquet"):
        opened(tmp_path / "x.csv")


def test_a_cut_off_file_is_found_before_it_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", vectors(30))
    content = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(content[:-100])
    with pytest.raises(DataError, match="ends after 27 of 30 rows"):
        opened(tmp_path / "x.npy")


def test_a_compressed_array_that_is_damaged_is_named(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", x=vectors(3000))
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[len(content) // 2] ^= 255
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.npz:x"):
        list(opened(tmp_path / "x.npz").blocks(10))
    with pytest.raises(DataError, match=r"x\.npz:x"):
        mapped(tmp_path / "x.npz")
    assert list(tmp_path.glob("cache/vectors/*")) == []


def test_rows_of_parquet_that_are_no_vectors_are_named(tmp_path: Path) -> None:
    rows: list[Any] = [list(row) for row in vectors(20)]
    for bad, message in ((None, "row 17 has no vector"), ([1.0], "row 17 has a vector of 1 numbers; row 0 has 12")):
        path = parquet(tmp_path / "x.parquet", x=pa.array([*rows[:17], bad, *rows[18:]], pa.list_(pa.float32())))
        with pytest.raises(DataError, match=message):
            list(opened(path).blocks(5))
    rows[17][3] = None
    path = parquet(tmp_path / "x.parquet", x=pa.array(rows, pa.list_(pa.float32(), 12)))
    with pytest.raises(DataError, match="row 17 has a number that is missing"):
        list(opened(path).blocks(5))


def test_a_full_disk_is_said_before_unpacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "x.npz", x=vectors(50))
    monkeypatch.setattr(vector_files.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 100})())
    with pytest.raises(DataError, match="MATRYOSHKA_CACHE"):
        mapped(tmp_path / "x.npz")
