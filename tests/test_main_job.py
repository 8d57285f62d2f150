"""The main job is read in one sitting: from train.py to the optimizer's step."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
SOURCE = PROJECT / "src/matryoshka"
ON_THE_WAY = [
    PROJECT / "train.py",
    SOURCE / "cli/app.py",
    SOURCE / "cli/job.py",
    SOURCE / "tasks/train.py",
    SOURCE / "training/module.py",
    SOURCE / "losses/matryoshka.py",
    SOURCE / "losses/ranking.py",
]


def calls(file: Path) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)}


def test_from_the_command_to_the_step_of_the_optimizer_are_less_than_400_lines() -> None:
    lines = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in ON_THE_WAY}

    assert sum(lines.values()) < 400, lines
    assert "optimizer.step" in calls(SOURCE / "training/module.py")


@pytest.mark.parametrize(
    ("file", "next_one"),
    [
        (ON_THE_WAY[0], "train"),
        (ON_THE_WAY[1], "hydra.main(version_base='1.3', config_path=str(folder), config_name=name)"),
        (ON_THE_WAY[2], "build"),
        (ON_THE_WAY[3], "run.fit"),
        (ON_THE_WAY[4], "self.loss"),
        (ON_THE_WAY[5], "self.loss"),
    ],
)
def test_each_file_hands_on_to_the_next(file: Path, next_one: str) -> None:
    assert next_one in calls(file)


def test_no_file_is_longer_than_200_lines_and_two_modules_stand_alone() -> None:
    lengths = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in SOURCE.rglob("*.py")}
    alone = {file.stem for file in SOURCE.glob("*.py")} - {"__init__"}

    assert {file: length for file, length in lengths.items() if length > 200} == {}
    assert alone == {"durations", "errors"}
