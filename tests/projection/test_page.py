"""What projection.md says is run: its snippets of numpy and FAISS, and its command. FAISS is of the dev extra."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matryoshka.projection.page import page
from tests.projection.small import by_hand, command, saved, vectors

PROLOGUE = "import numpy as np\n"


@pytest.fixture(params=["both", "query"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A run's folder, with documents and queries in it."""
    saved(request.param, dims=(4, 8)).write(tmp_path)
    np.save(tmp_path / "documents.npy", vectors(40))
    np.save(tmp_path / "queries.npy", vectors(5, seed=9))
    return tmp_path


def text(run: Path) -> str:
    return (run / "projection.md").read_text(encoding="utf-8")


def result(run: Path, heading: str, wanted: str) -> Any:
    """The value that a snippet gives to a name, in a process of its own: FAISS warns when it is imported."""
    snippet = re.search(rf"\*\*{heading}\*\*.*?```python\n(.*?)```", text(run), re.DOTALL)
    assert snippet
    code = f"{PROLOGUE}{snippet[1]}\nnp.save('found.npy', {wanted})"
    subprocess.run([sys.executable, "-c", code], cwd=run, check=True)
    return np.load(run / "found.npy")


def expected(run: Path) -> tuple[Any, Any]:
    """Documents and queries of 8 numbers."""
    alone = "`query @ matrix`" in text(run)
    documents = by_hand(vectors(40), 8, np.eye(12) if alone else None)
    return documents, by_hand(vectors(5, seed=9), 8)


def test_numpy_gives_the_vectors(run: Path) -> None:
    source = "queries" if "`query @ matrix`" in text(run) else "documents"
    assert f'np.load("{source}.npy")' in text(run)
    np.testing.assert_allclose(result(run, "numpy", "y"), expected(run)[source == "queries"], atol=1e-6)


@pytest.mark.skipif(find_spec("faiss") is None, reason="faiss-cpu is not installed: pip install -e '.[dev]'")
def test_faiss_finds_what_the_products_say(run: Path) -> None:
    documents, queries = expected(run)
    similarity = queries @ documents.T
    assert (result(run, "FAISS", "rows") == np.argsort(-similarity, axis=1)[:, :10]).all()
    np.testing.assert_allclose(result(run, "FAISS", "similarities"), -np.sort(-similarity)[:, :10], atol=1e-6)


def test_the_command_makes_the_file_that_the_others_load(run: Path) -> None:
    (line,) = re.findall(r"^    matryoshka project <this folder> (.+)$", text(run), re.MULTILINE)
    words = shlex.split(line, comments=True)
    assert command(run, ".", *words).returncode == 0
    assert text(run).count(f'"{words[1]}"') == 2
    np.testing.assert_allclose(np.load(run / words[1]), expected(run)[0], atol=1e-6)


def test_the_page_has_the_matrix_own_numbers() -> None:
    shown = page(1024, 768, (768, 256, 64), False, "some/encoder")
    assert "1,024 x 768" in shown and "`some/encoder`" in shown and "vector(64)" in shown and "size=64" in shown
    assert "LinearTransform(1024, 64, False)" in shown
    assert "vector(128)" in page(384, 384, (), False) and "vector(96)" in page(96, 96, (), True)


def test_the_snippets_are_python() -> None:
    for alone in (False, True):
        for snippet in re.findall(r"```python\n(.*?)```", page(12, 12, (8,), alone), re.DOTALL):
            compile(snippet, "projection.md", "exec")
