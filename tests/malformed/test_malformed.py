"""Every malformed input is met with one message that says where it is wrong, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.malformed.case import JSON_LINES, Case, names, write
from tests.malformed.meeting import met, save_tiny_model
from tests.malformed.tables import CASES

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_tiny_model(folder)
    return folder


@pytest.fixture(autouse=True)
def _own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setenv("MATRYOSHKA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MATRYOSHKA_BMF", "nowhere")


def test_every_case_has_a_name_of_its_own() -> None:
    assert len(set(names(CASES))) == len(CASES)


QUICK = CASES[::12]
OTHERS = [case for case in CASES if case not in QUICK]


@pytest.mark.parametrize("case", QUICK, ids=names(QUICK))
def test_malformed(case: Case, tmp_path: Path, model: Path) -> None:
    """A twelfth of the cases; all of them take longer than unit tests may."""
    assert met(case, _new(tmp_path), model) == []


@pytest.mark.slow
@pytest.mark.parametrize("case", OTHERS, ids=names(OTHERS))
def test_malformed_too(case: Case, tmp_path: Path, model: Path) -> None:
    assert met(case, _new(tmp_path), model) == []


COMMANDS = [
    ("train.py", "data.train=cut.jsonl", "cut.jsonl, line 2: not a JSON object"),
    ("train.py", "data.train=twice.csv", "twice.csv, line 1: column 'anchor' is named twice"),
    ("train.py", "name=../../outside", "name: '../../outside' leads out of the folder of results"),
    ("evaluate.py", "model=pickled", "pytorch_model.bin is a pickle"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("program", "word", "message"), COMMANDS, ids=[word for _, word, _ in COMMANDS])
def test_a_real_command_says_the_same(program: str, word: str, message: str, tmp_path: Path, model: Path) -> None:
    folder = _new(tmp_path)
    write(
        folder, {"good.jsonl": JSON_LINES, "cut.jsonl": JSON_LINES[:60], "twice.csv": "anchor,anchor,positive\na,b,c\n"}
    )
    shutil.copytree(model, folder / "pickled", ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "pickled" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    before = [path for path in tmp_path.rglob("*") if path.is_file()]
    words = (
        [word] if program == "evaluate.py" else ["data=pairs", "data.train=good.jsonl", "data.evaluation=good.jsonl"]
    )
    words += [] if word in words else [word]
    if program == "train.py":
        words += [
            "split=same",
            "encoder=pretrained",
            f"encoder.model={model}",
            "dims=[32]",
            "pooling=cls",
            "logger=none",
        ]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "src")}
    environment |= {"HF_DATASETS_CACHE": str(model / "datasets"), "MATRYOSHKA_CACHE": str(model / "cache")}
    command = [sys.executable, str(PROJECT / program), *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)

    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(before)
    assert not (tmp_path.parent / "outside").exists()


def _new(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder
