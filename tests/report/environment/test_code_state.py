"""The commit and what has been changed since; nothing where the package is merely installed within a repository."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from matryoshka.report.environment import environment as module
from matryoshka.report.environment.environment import code_state

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

    assert state is not None and state.diff
    assert state.changed == (" M code.py", "?? new.py")
    assert "-one\n+two ***\n" in state.diff
    assert "not tracked" not in state.diff


def test_a_secret_under_its_key_is_masked_wherever_the_diff_shows_it(checkout: Path) -> None:
    old, new = "0123456789abcdef" * 2, "fedcba9876543210" * 2
    rest = "".join(f"  number_{number}: {number}\n" for number in range(9))
    before = f"logger:\n  api_key: {old}\ntoken: password-of-the-header\n{rest}x: 1\n"
    (checkout / "conf.yaml").write_text(before, encoding="utf-8")
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["add", "."], [*author, "commit", "-q", "-m", "second"]):
        subprocess.run(["git", "-C", str(checkout), *words], check=True, capture_output=True)
    changed = f"logger:\n  api_key: {new}\ntoken: password-of-the-header\n{rest}x: 2\n"
    (checkout / "conf.yaml").write_text(changed, encoding="utf-8")

    state = code_state(checkout)

    assert state is not None and state.diff
    assert "-  api_key: '***'\n+  api_key: '***'\n" in state.diff
    assert "-x: 1\n+x: 2\n" in state.diff
    assert not any(value in state.diff for value in (old, new, "password-of-the-header"))


def test_where_one_command_of_git_is_too_slow_the_others_are_kept(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        if "status" in command:
            raise subprocess.TimeoutExpired(command, module.PATIENCE)
        return called(command, **options)

    called = subprocess.run
    (checkout / "code.py").write_text("two\n", encoding="utf-8")
    monkeypatch.setattr(module.subprocess, "run", run)

    state = code_state(checkout)

    assert state is not None
    assert len(state.commit) == 40 and state.changed is None
    assert state.diff and "+two" in state.diff


def test_a_long_diff_is_cut(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 200)
    (checkout / "code.py").write_text("two\n" * 1000, encoding="utf-8")

    state = code_state(checkout)

    assert state is not None and state.diff
    assert "... cut after 200 of " in state.diff
    assert len(state.diff) < 300


def test_without_a_checkout_nothing_is_said(tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert code_state(tmp_path / "elsewhere") is None
    package = checkout / ".venv" / "lib" / "site-packages" / "matryoshka" / "report" / "environment"
    monkeypatch.setattr(module, "__file__", str(package / "environment.py"))
    assert code_state.__wrapped__() is None
