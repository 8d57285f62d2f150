"""A whole run with secrets in its environment, which libraries log and an error repeats: none is left anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from tests.real_pairs import write_pairs
from tests.tiny import tiny_encoder

PROJECT = Path(__file__).resolve().parents[2]
SECRETS = {
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "HF_TOKEN": "hf_" + "aZ" * 17,
    "STORE_PASSWORD": "correct horse battery",
}
IN_ADDRESS = "pass" + "-word"  # not in one piece: code.diff has this file's lines while it is being changed
TELLING = '''
import logging, os
from matryoshka.losses.ranking import RankingLoss

class TellingLoss(RankingLoss):
    """Logs a secret at its first loss, and fails with another at a later one."""
    losses = 0

    def forward(self, *args):
        TellingLoss.losses += 1
        if TellingLoss.losses == 1:
            logging.getLogger("a.library").warning("logging in with %s", os.environ["HF_TOKEN"])
        if TellingLoss.losses == int(os.environ["FAILS_AT"]):
            raise RuntimeError(f"cannot log in with {os.environ['STORE_PASSWORD']} at https://me:pass-word@host/")
        return super().forward(*args)
'''
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("user")
    write_pairs(folder, train=24, evaluation=20)
    SentenceTransformersFolder().save(tiny_encoder(), folder / "tiny")
    (folder / "telling.py").write_text(TELLING, encoding="utf-8")
    (folder / "notes.txt").write_text("nothing yet\n", encoding="utf-8")
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "notes.txt"], [*author, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)
    (folder / "notes.txt").write_text(
        f"changed: {SECRETS['HF_TOKEN']}\n", encoding="utf-8"
    )  # a tracker may take a diff
    return folder


def run(folder: Path, *words: str, fails_at: int) -> subprocess.CompletedProcess[str]:
    settings = (
        "data=pairs data.train=train.jsonl data.evaluation=evaluation.jsonl encoder=pretrained encoder.model=tiny "
        "pooling=saved dims=[32,16] dims_per_step=1 batch_size=9 trainer.max_epochs=2 trainer.precision=32-true "
        "trainer.log_every_n_steps=1 trainer.accelerator=cpu loss._target_=telling.TellingLoss logger=wandb "
        "logger.init_timeout=200"  # on a busy machine wandb's own process begins late
    )
    environment = os.environ | SECRETS | {"FAILS_AT": str(fails_at), "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"}
    environment["WANDB__SERVICE_WAIT"] = "200"
    environment |= {"PYTHONPATH": f"{PROJECT / 'src'}:{folder}", "MATRYOSHKA_CACHE": str(folder / "cache")}
    command = [sys.executable, str(PROJECT / "train.py"), *words, *settings.split()]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


def holding_a_secret(folder: Path) -> list[str]:
    wanted = [value.encode() for value in (*SECRETS.values(), IN_ADDRESS)]
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    found = []
    for path in files:
        with suppress(FileNotFoundError):  # wandb's own process may end after the run, and removes files of its own
            found += [path.name] * any(value in path.read_bytes() for value in wanted)
    return found


@pytest.mark.parametrize(
    ("name", "words", "fails_at", "code"),
    [
        ("done", ("hydra.run.dir=done",), 0, 0),
        ("failed", ("hydra.run.dir=failed",), 5, 1),
        ("sweep", ("-m", "hydra.sweep.dir=sweep", "seed=1"), 5, 1),
    ],
)
def test_no_output_and_no_file_has_one(
    workplace: Path, name: str, words: tuple[str, ...], fails_at: int, code: int
) -> None:
    done = run(workplace, *words, fails_at=fails_at)

    said = done.stdout + done.stderr
    assert done.returncode == code, said
    log = "".join(path.read_text(encoding="utf-8") for path in (workplace / name).rglob("train.log"))
    assert "logging in with ***" in log
    assert ("RuntimeError: cannot log in with *** at https://***@host/" in log) == bool(fails_at)
    assert len(list((workplace / name).rglob("environment.json"))) == 1  # a job of a sweep has its own
    assert holding_a_secret(workplace / name) == []
    assert not any(value in said for value in (*SECRETS.values(), IN_ADDRESS))
