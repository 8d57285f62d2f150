"""The folder of a run: the one that a command goes on with, and the command that goes on with it."""

from __future__ import annotations

import logging
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict, read_write

from matryoshka.errors import UserError
from matryoshka.processes.launched import launched, speaks
from matryoshka.storage.command_words import quoted

FINISHED = {"train": "run.json", "mine": "mining.json"}  # of each task that can go on, the last file that it writes
TASK = re.compile(r"^task: (\w+)$", re.MULTILINE)


def run_to_resume(resume: str | bool, fresh: Path, task: str = "train") -> Path:
    """The folder that `resume=` means: the one it names, or the task's newest unfinished run beside Hydra's fresh one.

    Raises UserError where there is none.
    """
    # Not at the top: it takes most of a second, which a mistake in the command need not wait for.
    from matryoshka.sweep.jobs import is_running

    if isinstance(resume, str):
        if not (folder := Path(resume)).is_dir():
            raise UserError(f"resume={resume}: there is no such folder; give that of a run, as in outputs/train/...")
        if not (folder / "config.yaml").is_file():
            raise UserError(f"resume={resume}: holds no run (config.yaml is missing); give the folder of one")
        return folder
    runs = [path.parent for path in fresh.parent.glob("*/config.yaml") if path.parent != fresh]
    runs = [run for run in runs if _task_of(run) == task]
    unfinished = [run for run in runs if (run / "checkpoints").is_dir() or not (run / FINISHED[task]).is_file()]
    unfinished = [run for run in unfinished if not is_running(run)]
    if not unfinished:
        raise UserError(f"resume=true: there is no unfinished run in {fresh.parent}; without it a new one begins")
    return max(unfinished, key=lambda run: (run / "config.yaml").stat().st_mtime)


def _task_of(run: Path) -> str:
    """The task of a run, as its configuration says."""
    found = TASK.search((run / "config.yaml").read_text(encoding="utf-8"))
    return found[1] if found else "train"


def use_folder(folder: Path) -> None:
    """Let Hydra's log and whoever asks Hydra for the run's folder use this one."""
    config = cast(DictConfig, HydraConfig.instance().cfg)
    before = Path(config.hydra.runtime.output_dir)
    with read_write(config.hydra), open_dict(config.hydra):
        config.hydra.runtime.output_dir = str(folder.absolute())
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, logging.FileHandler)]:
        path = Path(handler.baseFilename)
        if path.parent != before:
            continue
        moved = logging.FileHandler(folder / path.name, encoding=handler.encoding)
        moved.setFormatter(handler.formatter)
        moved.setLevel(handler.level)
        root.removeHandler(handler)
        handler.close()
        root.addHandler(moved)


def going_on(folder: Path) -> str:
    """A sentence on a run that ends early: what is there, and the command that goes on from it."""
    searched = any(folder.glob("search/*.safetensors"))
    updates = [path.name.removeprefix("last-") for path in folder.glob("checkpoints/last-*")]
    numbers = [int(text) for text in updates if text.isdigit()]
    if not numbers and not searched:
        return f"what was written until then is in {folder}"
    saved = f"saved after update {max(numbers)}" if numbers else "what was searched is kept"
    words = [word for word in sys.argv[1:] if word.partition("=")[0] not in ("resume", "hydra.run.dir")]
    program = [*(["python"] if sys.argv[0].endswith(".py") else []), *shlex.split(sys.argv[0])]
    if launched():
        return f"{saved}; to go on: the same command with {_word(folder)}"
    command = shlex.join([*program, *words, _word(folder)])
    return f"{saved}; to go on: {command}"


def _word(folder: Path) -> str:
    """resume=<folder> as Hydra's grammar reads it, whatever is in the name."""
    return f"resume={quoted(str(folder))}"


def run_folder(task: str, resume: str | bool | None, folder: Path) -> Path:
    """Hydra's folder, or that of the run that resume=... goes on with, which Hydra's log then goes to as well."""
    if not resume or task not in FINISHED or not speaks():
        return folder
    given = any(word.startswith("hydra.run.dir=") for word in HydraConfig.get().overrides.hydra)
    if given and resume is True:
        return folder
    other = run_to_resume(resume, folder, task)
    use_folder(other)
    remove_if_unused(folder)
    return other


@contextmanager
def only_one_there(task: str, folder: Path) -> Iterator[None]:
    """Two runs would write over each other in one folder. Raises UserError where another process is at work."""
    from matryoshka.sweep.jobs import is_running, running

    if task not in FINISHED or not speaks():
        yield
        return
    if is_running(folder):
        raise UserError(f"{folder}: another process is at work there; wait for it or stop it")
    with running(folder):
        yield


def remove_if_unused(folder: Path) -> None:
    """A run that wrote nothing leaves no folder behind: nothing is in it but what Hydra wrote."""
    if folder.is_dir() and all(item.name in (".hydra", ".lock") or item.suffix == ".log" for item in folder.iterdir()):
        shutil.rmtree(folder)
        if not any(folder.parent.iterdir()):
            folder.parent.rmdir()
