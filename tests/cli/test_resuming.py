"""Which run is gone on with, and the command that a stopped run names."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from matryoshka.cli.resuming import going_on, run_to_resume
from matryoshka.errors import UserError
from matryoshka.sweep.jobs import running


def unfinished(folder: Path) -> Path:
    (folder / "checkpoints" / "last-3").mkdir(parents=True)
    (folder / "config.yaml").write_text("name: x\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", ["plain/2026-01-31", "jürgen", "a=1,b", "(x) [y]", "it's", "#1 ~home"])
def test_the_command_that_goes_on_is_read_by_hydra_as_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = unfinished(tmp_path / name)
    monkeypatch.setattr("sys.argv", ["train.py", "+experiment=bmf", "hydra.run.dir=x", "resume=true"])

    said = going_on(folder)

    assert said.startswith("saved after update 3; to go on: python train.py +experiment=bmf ")
    word = shlex.split(said.partition("to go on: ")[2])[-1]
    override = OverridesParser.create().parse_override(word)
    assert (override.key_or_group, override.value()) == ("resume", str(folder))


def test_a_run_in_which_another_process_is_at_work_is_not_gone_on_with(tmp_path: Path) -> None:
    other, fresh = unfinished(tmp_path / "1"), tmp_path / "2"
    assert run_to_resume(True, fresh) == other
    with running(other), pytest.raises(UserError, match="resume=true: there is no unfinished run"):
        run_to_resume(True, fresh)
