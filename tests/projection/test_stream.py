"""Every input and output gives what numpy gives in a line, in whatever blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from matryoshka.errors import DataError, UserError
from matryoshka.projection import stream
from matryoshka.projection.codes import NUMPY, unit
from matryoshka.projection.stream import project
from matryoshka.projection.vector_files import opened
from tests.projection.small import WIDTH, by_hand, saved, vectors


@pytest.fixture(params=[1, 700, 1 << 22], autouse=True)
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row, 14 rows, everything at once."""
    monkeypatch.setattr(stream, "AT_ONCE", request.param)


def written(folder: Path, x_ND: Any, ending: str = ".npy") -> str:
    """The vectors in a file of this kind, and how it is named."""
    path = folder / f"in{ending}"
    if ending == ".npy":
        np.save(path, x_ND)
    elif ending == ".npz":
        (np.savez if x_ND.dtype == np.float32 else np.savez_compressed)(path, other=np.arange(3), mine=x_ND)
        return f"{path}:mine"
    else:
        lists = pa.FixedSizeListArray.from_arrays(pa.array(x_ND.reshape(-1)), x_ND.shape[1])
        lists = lists if x_ND.dtype == np.float32 else lists.cast(pa.list_(lists.type.value_type))
        pq.write_table(pa.table({"id": [f"d-{i}" for i in range(len(x_ND))], "mine": lists}), path, row_group_size=30)
    return str(path)


def content(path: Path) -> Any:
    """The codes of an output."""
    if path.suffix == ".npy":
        return np.load(path)
    lists = pq.read_table(path).column(-1).combine_chunks()
    return lists.flatten().to_numpy().reshape(len(lists), -1)


@pytest.mark.parametrize("out", ["out.npy", "out.parquet"])
@pytest.mark.parametrize("kind", ["float32", "float16", "float64"])
@pytest.mark.parametrize("ending", [".npy", ".npz", ".parquet"])
def test_rows_are_projected_cut_and_of_length_one(ending: str, kind: str, out: str, tmp_path: Path) -> None:
    x_ND = vectors(100).astype(kind)
    done = project(saved(), opened(written(tmp_path, x_ND, ending)), tmp_path / out, 8)

    found_Nd = content(tmp_path / out)
    assert found_Nd.dtype == np.float32 and found_Nd.shape == (100, 8)
    np.testing.assert_allclose(found_Nd, by_hand(x_ND, 8), atol=2e-6)
    assert (done.rows, done.after) == (100, (tmp_path / out).stat().st_size)
    assert "100 rows, 8 x float32" in str(done)
    if ending == ".parquet" == Path(out).suffix:
        table = pq.read_table(tmp_path / out)
        assert table.column_names == ["id", "mine"] and table["id"].to_pylist() == [f"d-{i}" for i in range(100)]


@pytest.mark.parametrize("out", ["out.npy", "out.parquet"])
@pytest.mark.parametrize("code", NUMPY)
def test_codes_are_those_of_the_vectors(code: Any, out: str, tmp_path: Path) -> None:
    source = opened(written(tmp_path, vectors(40)))
    project(saved(), source, tmp_path / "plain.npy", 9)
    project(saved(), source, tmp_path / out, 9, code)

    found_NC = content(tmp_path / out)
    assert found_NC.dtype == NUMPY[code]
    assert (found_NC == saved().encoding(code, 9)(np.load(tmp_path / "plain.npy"))).all()


def test_documents_of_a_matrix_for_queries_are_only_cut(tmp_path: Path) -> None:
    x_ND = vectors(30)
    source, out = opened(written(tmp_path, x_ND)), tmp_path / "out.npy"
    with pytest.raises(UserError, match="say side=query or side=document"):
        project(saved("query"), source, out, 8)

    project(saved("query"), source, out, 8, role="document")
    assert (np.load(out) == unit(x_ND[:, :8].copy())).all()
    project(saved("query"), source, out, 8, role="query")
    np.testing.assert_allclose(np.load(out), by_hand(x_ND, 8), atol=1e-6)
    project(saved(), source, out, role="document")
    np.testing.assert_allclose(np.load(out), by_hand(x_ND, WIDTH), atol=1e-6)


@pytest.mark.parametrize("side", ["both", "query"])
def test_a_row_without_a_direction_is_named(side: Any, tmp_path: Path) -> None:
    for bad, message in ((np.nan, "number 11 is nan"), (np.inf, "number 11 is inf"), (0.0, "zeros")):
        x_ND = vectors(50)
        x_ND[33, 11 if bad else slice(None)] = bad
        with pytest.raises(DataError, match=message) as caught:
            project(saved(side), opened(written(tmp_path, x_ND)), tmp_path / "out.npy", 4, role="document")
        assert "in.npy, row 33" in str(caught.value)
        assert [path.name for path in tmp_path.iterdir()] == ["in.npy"]


def test_what_a_cut_leaves_of_a_document_may_be_nothing(tmp_path: Path) -> None:
    x_ND = vectors(5)
    x_ND[2, :4] = 0
    with pytest.raises(DataError, match="row 2 has no direction in its first 4"):
        project(saved("query"), opened(written(tmp_path, x_ND)), tmp_path / "out.npy", 4, role="document")


@pytest.mark.parametrize(
    ("kind", "scale"), [("float32", 1e-30), ("float32", 1e25), ("float64", 1e-200), ("float64", 1e200)]
)
def test_lengths_that_float32_cannot_square_are_no_matter(kind: str, scale: float, tmp_path: Path) -> None:
    x_ND = vectors(20).astype(kind)
    x_ND[3:9] *= scale
    project(saved(), opened(written(tmp_path, x_ND)), tmp_path / "out.npy", 5)

    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), by_hand(vectors(20), 5), atol=1e-6)


def test_what_does_not_fit_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = opened(written(tmp_path, vectors(10)))
    (tmp_path / "linked.npy").hardlink_to(source.path)
    wrong: list[tuple[str, int, str]] = [
        ("out.txt", 4, ".npy and .parquet"),
        ("in.npy", 4, "is the input as well"),
        ("linked.npy", 4, "is the input as well"),
        ("in.npy/out.npy", 4, "in.npy is no folder that can be written"),
        ("out.npy", 13, "within 1 and 12"),
        ("out.npy", 0, "within 1 and 12"),
        ("out.npy", -1, "within 1 and 12"),
    ]
    for out, dim, message in wrong:
        with pytest.raises(UserError, match=message):
            project(saved(), source, tmp_path / out, dim)
    np.save(tmp_path / "narrow.npy", vectors(3, 5))
    with pytest.raises(UserError, match="vectors of 5 numbers, and the matrix takes 12"):
        project(saved(), opened(tmp_path / "narrow.npy"), tmp_path / "out.npy")
    monkeypatch.setattr(stream.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 4200})())
    with pytest.raises(UserError, match="make room, or take a smaller dim or dtype"):
        project(saved(), source, tmp_path / "out.npy", 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.npy", "linked.npy", "narrow.npy"]
    project(saved(), source, tmp_path / "out.npy", 4, "binary")
    assert (tmp_path / "out.npy").exists()
