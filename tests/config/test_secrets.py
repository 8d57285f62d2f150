"""A secret in a command or a configuration is refused by its key, with the remedy, and never repeated."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from matryoshka.config.secrets import REMEDY, mask_written, secret_problems, words_with_secrets
from tests.composing import problems

PROJECT = Path(__file__).parents[2]
VALUE = "value-of-a-token"


@pytest.mark.parametrize(
    ("word", "key"),
    [
        (f"+logger.api_key={VALUE}", "logger.api_key"),
        (f"+data.password={VALUE}", "data.password"),
        (f"+hydra.job.env_set.HF_TOKEN={VALUE}", "hydra.job.env_set.HF_TOKEN"),
        ("data.train=https://me:word@example.org/x.jsonl", "data.train"),
    ],
)
def test_words_of_a_command(monkeypatch: pytest.MonkeyPatch, word: str, key: str) -> None:
    monkeypatch.setenv("HF_TOKEN", VALUE)

    assert words_with_secrets(["seed=1", word]) == [(key, REMEDY)]


def test_the_value_of_a_variable_is_refused_by_the_variables_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", VALUE)

    [(key, problem)] = words_with_secrets([f"name=run-{VALUE}"])
    assert key == "name"
    assert problem.startswith("contains the value of $HF_TOKEN, ") and VALUE not in problem


def test_a_password_that_is_an_ordinary_word_refuses_no_ordinary_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PASSWORD", "postgres")

    assert words_with_secrets(["data.train=/srv/postgres/a.jsonl"]) == []
    assert words_with_secrets(["+data.password=postgres"]) != []


def test_words_without_one() -> None:
    words = ["-m", "evaluator.token_budget=9", "logger.api_key=null", "ask='what is a token?'", "~logger"]
    assert words_with_secrets(words) == []


def test_keys_and_values_at_any_depth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", VALUE)
    config = {"logger": {"token": "x"}, "data": {"documents": ["a", f"b{VALUE}"], "password": None}, "seed": 3}

    assert [key for key, _ in secret_problems(config)] == ["logger.token", "data.documents[1]"]


def test_the_validator_says_so_beside_other_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", VALUE)
    found = problems("batch_size=0", f"name={VALUE}", "+logger.token=abc")

    assert any(key == "name" and "$HF_TOKEN" in problem for key, problem in found)
    assert ("logger.token", REMEDY) in found
    assert any(key == "batch_size" for key, _ in found)


def test_what_hydra_wrote_is_masked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", VALUE)
    (tmp_path / ".hydra").mkdir()
    lines = [
        "a:",
        "  api_key: abc",
        "  token: ${oc.env:HF_TOKEN}",
        "  password: null",
        f"- x={VALUE}",
        "- +a.token=abc",
    ]
    path = tmp_path / ".hydra" / "config.yaml"
    path.write_text("\n".join(lines), encoding="utf-8")

    mask_written(tmp_path)

    without = [
        "a:",
        "  api_key: '***'",
        "  token: ${oc.env:HF_TOKEN}",
        "  password: null",
        "- x=***",
        "- +a.token='***'",
    ]
    assert path.read_text(encoding="utf-8").splitlines() == without


def test_the_command_line_refuses_it_before_anything_is_written(tmp_path: Path) -> None:
    words = [f"+logger.api_key={VALUE}", f"name={VALUE}-x"]
    command = [sys.executable, str(PROJECT / "train.py"), *words]
    environment = {**os.environ, "MY_SECRET": VALUE, "PYTHONPATH": str(PROJECT / "src")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)

    assert done.returncode == 2
    assert "logger.api_key: has a secret" in done.stderr
    assert "name: contains the value of $MY_SECRET" in done.stderr
    assert VALUE not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []
