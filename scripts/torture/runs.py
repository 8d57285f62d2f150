"""Small whole runs, each in a process forked from one that has imported everything, and what they came to."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

WORDS = """
data=pairs data.train=train.jsonl data.evaluation=evaluation.jsonl encoder=pretrained encoder.model=tiny pooling=saved
dims=[32,16] batch_size=4 trainer.max_epochs=2 trainer.precision=32-true trainer.accelerator=cpu
trainer.log_every_n_steps=2 trainer.enable_progress_bar=false optimizer.lr=0.01 logger=none checkpoint.minutes=0
"""
OF_RUN = ("saved_step", "selected_value", "skipped_updates")
NOT_COMPARED = ("per_second", "memory", "seconds")


def prepare(folder: Path) -> None:
    """A tiny encoder with dropout, and a few real pairs; everything that a run imports is imported here."""
    os.environ |= {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "HF_HUB_OFFLINE": "1", "COLUMNS": "120"}
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "MATRYOSHKA_CACHE": str(folder / "cache")}
    import torch

    from matryoshka.export.sentence_transformers import SentenceTransformersFolder
    from matryoshka.tasks import train  # noqa: F401
    from tests.real_pairs import write_pairs
    from tests.tiny import tiny_encoder

    torch.set_num_threads(1)
    SentenceTransformersFolder().save(tiny_encoder(dropout=0.1), folder / "tiny")
    write_pairs(folder, train=40, evaluation=12)


def start(folder: Path, words: Iterable[str], before: Callable[[], Any] | None = None) -> int:
    """Begin `train.py` with these words in a new process; returns its id. before: called in it, first of all."""
    if pid := os.fork():
        return pid
    try:
        os.chdir(folder)
        sys.argv = ["train.py", *WORDS.split(), *words]
        said = os.open("said.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(said, 1)
        os.dup2(said, 2)
        if before:
            before()
        from matryoshka.cli import app

        app.train()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        code = 99
        import traceback

        traceback.print_exc()
    sys.stdout.flush()
    os._exit(code)


def ended(pid: int) -> int:
    """Wait for the process; its exit code, below 0 for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def outcome(folder: Path) -> dict[str, Any]:
    """What must be equal to the bit: weights, results, the log's rows; and that nothing unfinished was left."""
    rows = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return {
        "weights": (folder / "model" / "model.safetensors").read_bytes(),
        "results": _plain(json.loads((folder / "results.json").read_text(encoding="utf-8"))),
        "log": [_plain(json.loads(row)) for row in rows],
        "run": [json.loads((folder / "run.json").read_text(encoding="utf-8"))[key] for key in OF_RUN],
        "files": sorted(str(path.relative_to(folder)) for path in folder.rglob("*")),
    }


def differences(folder: Path, expected: dict[str, Any]) -> list[str]:
    """Which parts of the outcome differ from the expected one."""
    try:
        found = outcome(folder)
    except (OSError, ValueError, KeyError) as error:
        return [f"{type(error).__name__}: {error}"]
    return [part for part, value in expected.items() if found[part] != value]


def report(name: str, tried: int, lost: int, facts: Sequence[str], file: Path | None) -> None:
    """Print and write the sums; exits with 1 if anything was lost."""
    for fact in facts:
        print(fact)
    print(f"{name}: {tried} cases tried, {lost} lost something")
    if file:
        record = {"name": name, "tried": tried, "lost": lost, "facts": list(facts)}
        file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    sys.exit(bool(lost))


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if not any(word in key for word in NOT_COMPARED)}
