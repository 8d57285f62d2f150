"""`matryoshka project` as a person calls it: what it prints, how it ends, and what is left where it is stopped."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from matryoshka.projection.codes import unit
from tests.projection.small import COMMAND, WIDTH, by_hand, command, saved, vectors

SLOWED = """
import time
from matryoshka.projection import stream
directions, stream.AT_ONCE, stream.MOST_WORKERS = stream.directions, 4 * 12 * 10, 1
def slow(*words):
    time.sleep(0.05)
    return directions(*words)
stream.directions = slow
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run with its matrix, and stored vectors."""
    saved().write(tmp_path / "lr=0.1")
    saved("query").write(tmp_path / "queries")
    np.save(tmp_path / "in.npy", vectors(500))
    return tmp_path


def test_one_command_projects_a_file_and_says_what_it_wrote(folder: Path) -> None:
    done = command(folder, "lr=0.1", "in.npy", "out/short.npy", "dim=8", "dtype=float16")

    assert (done.returncode, done.stderr) == (0, "")
    assert (
        done.stdout.startswith("out/short.npy: 500 rows, 8 x float16, 0.0 MB -> 0.0 MB, ")
        and done.stdout.count("\n") == 1
    )
    short_Nd = np.load(folder / "out" / "short.npy")
    assert short_Nd.dtype == np.float16
    np.testing.assert_allclose(short_Nd, by_hand(vectors(500), 8), atol=1e-3)
    assert command(folder, "lr=0.1/projection.safetensors", "in.npy", "all.npy").returncode == 0
    assert np.load(folder / "all.npy").shape == (500, WIDTH)


def test_neither_torch_nor_hydra_is_imported_nor_pyarrow_without_need(folder: Path) -> None:
    code = f"{COMMAND}; import sys; print([m for m in ('torch', 'hydra', 'omegaconf', 'pyarrow') if m in sys.modules])"
    words = [sys.executable, "-c", code, "project", "lr=0.1", "in.npy", "out.npy"]
    assert subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True).stdout.endswith("\n[]\n")


def test_a_matrix_for_queries_asks_what_the_vectors_are(folder: Path) -> None:
    done = command(folder, "queries", "in.npy", "out.npy", "dim=4")
    assert (done.returncode, done.stderr) == (2, "this matrix is for queries alone; say side=query or side=document\n")

    assert command(folder, "queries", "in.npy", "out.npy", "dim=4", "side=document").returncode == 0
    assert (np.load(folder / "out.npy") == unit(vectors(500)[:, :4].copy())).all()
    assert command(folder, "queries", "in.npy", "out.npy", "dim=4", "side=query").returncode == 0
    np.testing.assert_allclose(np.load(folder / "out.npy"), by_hand(vectors(500), 4), atol=1e-6)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("lr=0.1 in.npy out.npy dims=4", "dims: unknown key; did you mean dim?"),
        ("lr=0.1 in.npy out.npy colour=4", "colour: unknown key; there are dim, dtype, side"),
        ("lr=0.1 in.npy out.npy dim=wide", "dim: 'wide' is no whole number"),
        ("lr=0.1 in.npy out.npy dim=4 dim=5", "dim: is given twice"),
        ("lr=0.1 in.npy out.npy dim=13", "dim=13 is not within 1 and 12"),
        ("lr=0.1 in.npy out.npy dtype=int9", "dtype: there is no 'int9'; did you mean int8?"),
        ("lr=0.1 in.npy out.npy dtype=half", "dtype: there is no 'half'; there are float32, float16, int8, binary"),
        ("lr=0.1 in.npy out.npy side=documents", "did you mean document?"),
        ("lr=0.1 in.npy out.npy --dim 4", "--dim: unknown word; options are written dim=, dtype=, side="),
        ("lr=0.1 in.npy", "three paths are needed"),
        ("lr=0.1 none.npy out.npy", "none.npy does not exist"),
        ("lr=0.1 in.npy out.csv", "out.csv: vectors are written to .npy and .parquet files"),
        ("lr=0.1 in.npy ./in.npy", "in.npy is the input as well"),
        ("none in.npy out.npy", "none does not exist"),
        ("lr=0.1/projection.npy in.npy out.npy", "no safetensors file"),
    ],
)
def test_a_mistake_ends_with_one_message(words: str, said: str, folder: Path) -> None:
    done = command(folder, *words.split())
    assert done.returncode == 2 and done.stdout == ""
    assert said in done.stderr and "Traceback" not in done.stderr
    assert not list(folder.glob("*out*")) and (np.load(folder / "in.npy") == vectors(500)).all()


def test_help_names_every_word_and_console_knows_the_command(folder: Path) -> None:
    done = command(folder, "--help")
    assert done.returncode == 0
    assert all(word in done.stdout for word in ("dim", "dtype", "side", "binary", "in.npz:name", "projection.md"))
    code = "import sys; sys.argv = ['matryoshka', 'projects']; from matryoshka.cli.console import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2 and "{train,evaluate,dashboard,project}" in done.stderr


def begun(folder: Path, *words: str) -> subprocess.Popen[str]:
    """The command, slow, in the middle of its work."""
    code = f"{SLOWED}\n{COMMAND}"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", code, "project", *words], cwd=folder, text=True, **pipes)  # type: ignore[call-overload]
    for _ in range(500):
        if list(folder.glob(".out*")):
            break
        time.sleep(0.01)
    time.sleep(0.2)
    assert list(folder.glob(".out*")) and process.poll() is None
    return process  # type: ignore[no-any-return]


@pytest.mark.parametrize("out", ["out.npy", "out.parquet"])
def test_killed_in_the_middle_it_leaves_what_was_there(out: str, folder: Path) -> None:
    (folder / out).write_bytes(b"of before")
    process = begun(folder, "lr=0.1", "in.npy", out)
    process.send_signal(signal.SIGKILL)
    process.communicate()

    assert process.returncode == -signal.SIGKILL
    assert (folder / out).read_bytes() == b"of before"
    assert command(folder, "lr=0.1", "in.npy", out).returncode == 0
    assert (folder / out).stat().st_size > 500 * WIDTH * 4


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_it_leaves_nothing(number: signal.Signals, code: int, folder: Path) -> None:
    before = sorted(folder.iterdir())
    process = begun(folder, "lr=0.1", "in.npy", "out.npy")
    process.send_signal(number)
    _, said = process.communicate(timeout=20)

    assert process.returncode == code
    assert said == f"stopped by {number.name}; nothing was written\n"
    assert sorted(folder.iterdir()) == before


def test_a_terminal_has_a_bar_with_rows_and_time_left(folder: Path) -> None:
    np.save(folder / "in.npy", vectors(100))
    ours, theirs = pty.openpty()
    words = [sys.executable, "-c", f"{SLOWED}\n{COMMAND}", "project", "lr=0.1", "in.npy", "out.npy"]
    done = subprocess.run(words, cwd=folder, stderr=theirs, stdout=subprocess.PIPE, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert done.returncode == 0 and "project" in shown and "rows/s" in shown


def test_columns_beside_the_vectors_stay(folder: Path) -> None:
    table = pa.table(
        {"id": list(range(500)), "v": pa.array(list(vectors(500)), pa.list_(pa.float32())), "t": ["x"] * 500}
    )
    pq.write_table(table, folder / "in.parquet")
    assert command(folder, "lr=0.1", "in.parquet:v", "out.parquet", "dim=10", "dtype=binary").returncode == 0

    found = pq.read_table(folder / "out.parquet")
    assert found.drop_columns(["v"]).equals(table.drop_columns(["v"]))
    assert found.schema.field("v").type == pa.list_(pa.uint8(), 2)


def test_a_byte_of_int8_is_a_byte_in_parquet(folder: Path) -> None:
    np.save(folder / "in.npy", vectors(20_000))
    assert command(folder, "lr=0.1", "in.npy", "out.parquet", "dtype=int8").returncode == 0
    assert (folder / "out.parquet").stat().st_size < 1.1 * 20_000 * WIDTH
