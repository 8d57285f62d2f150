"""What a run ran on stands in its folder, without secrets, and in short in its card."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from matryoshka.report.environment import environment as module
from matryoshka.report.environment.environment import CodeState, in_short, whole_environment, write_environment

SECRET = "a-token-of-the-environment"


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> CodeState:
    state = CodeState(40 * "a", (" M src/x.py",), "-a\n+b\n")
    monkeypatch.setattr(module, "code_state", lambda: state)
    return state


@pytest.mark.usefixtures("changed")
def test_the_files_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(sys, "argv", ["train.py", "name=x y", f"tag={SECRET}"])

    path = write_environment(tmp_path)

    assert {item.name for item in tmp_path.iterdir()} == {"environment.json", "code.diff"}
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["command"] == "train.py 'name=x y' 'tag=***'"
    assert found["packages"]["torch"] == version("torch")
    assert found["variables"]["OMP_NUM_THREADS"] == "1"
    assert found["threads"]["torch"] == torch.get_num_threads()
    assert found["hardware"]["cores"] >= 1
    assert found["commit"] == 40 * "a"
    assert (tmp_path / "code.diff").read_text(encoding="utf-8") == "-a\n+b\n"
    assert SECRET not in path.read_text(encoding="utf-8")


@pytest.mark.usefixtures("changed")
def test_the_short_form_says_that_there_were_changes() -> None:
    short = in_short(whole_environment())

    assert short["commit"] == f"{40 * 'a'} with uncommitted changes"
    assert short["torch"] == version("torch")
    assert set(map(type, short.values())) == {str}


@pytest.mark.parametrize(
    ("changed", "said"),
    [(("?? my.jsonl",), ""), (None, ", git did not say whether with changes"), ((), "")],
)
def test_files_that_are_not_tracked_are_no_changes_of_the_code(
    monkeypatch: pytest.MonkeyPatch, changed: tuple[str, ...] | None, said: str
) -> None:
    monkeypatch.setattr(module, "code_state", lambda: CodeState(40 * "a", changed, ""))

    whole = whole_environment()

    assert in_short(whole)["commit"] == 40 * "a" + said
    assert whole["changed"] == (None if changed is None else list(changed))


def test_an_installed_package_has_no_commit_and_no_diff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "code_state", lambda: None)

    found = json.loads(write_environment(tmp_path).read_text(encoding="utf-8"))

    assert found["commit"] is None
    assert "commit" not in in_short(found)
    assert [item.name for item in tmp_path.iterdir()] == ["environment.json"]
