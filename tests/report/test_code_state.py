"""The commit and what has been changed since; nothing where the package is merely installed within a repository."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from matryoshka.report import code_state as module
from matryoshka.report.code_state import code_state

SECRET = "a-token-in-a-changed-file"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    (tmp_path / "code.py").write_text("one\n", encoding="utf-8")
    for words in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)
    return tmp_path


def test_a_clean_checkout_is_its_commit(checkout: Path) -> None:
    state = code_state(checkout)

    assert state is not None
    assert len(state.commit) == 40
    assert (state.changed, state.diff) == ((), "")


def test_changes_are_named_shown_and_masked(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    (checkout / "code.py").write_text(f"two {SECRET}\n", encoding="utf-8")
    (checkout / "new.py").write_text("not tracked\n", encoding="utf-8")

    state = code_state(checkout)

    assert state is not None
    assert state.changed == (" M code.py", "?? new.py")
    assert "-one\n+two ***\n" in state.diff
    assert "not tracked" not in state.diff


def test_a_long_diff_is_cut(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 200)
    (checkout / "code.py").write_text("two\n" * 1000, encoding="utf-8")

    state = code_state(checkout)

    assert state is not None
    assert "... cut after 200 of " in state.diff
    assert len(state.diff) < 300


def test_without_a_checkout_nothing_is_said(tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert code_state(tmp_path / "elsewhere") is None
    installed = checkout / ".venv" / "lib" / "site-packages" / "matryoshka" / "report" / "code_state.py"
    monkeypatch.setattr(module, "__file__", str(installed))
    assert code_state.__wrapped__() is None
