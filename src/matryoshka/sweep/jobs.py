"""Which jobs of a sweep are left to run: a job is done where its folder holds the result of an equal configuration."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import xxhash

import matryoshka
from matryoshka.errors import UserError
from matryoshka.sweep.status import read_status
from matryoshka.sweep.trial import NAME as TRIAL

SUPERSEDED = "superseded"  # results whose configuration or data have changed since
LOCK = ".lock"
NOT_COMPARED = ("logger", "export", "workers", "checkpoint", "resume")  # they change nothing of what is measured


@dataclass(frozen=True)
class Job:
    """A job as planned.

    name: its folder, below the sweep's. overrides: words of a command. selected: the metric that it is judged by.
    """

    name: str
    overrides: tuple[str, ...]
    config_hash: str
    selected: str = ""


def config_hash(config: Mapping[str, Any]) -> str:
    """Equal for two resolved configurations only if they ask for the same result.

    Counts all values but where it is logged and what is exported, the content of each file that data and parts name,
    the names, sizes and times of what is in a folder that is named there or as the encoder's model, and the version.
    """
    counted = {key: value for key, value in config.items() if key not in NOT_COMPARED}
    digest = xxhash.xxh3_128(json.dumps([matryoshka.__version__, counted], sort_keys=True, default=str).encode())
    for group in ("data", "encoder", "negatives", "mining", "sets", "runs"):
        for text in _texts(config.get(group)):
            _add_content(digest, Path(text))
    return digest.hexdigest()


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str) and value:
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for inner in value:
            yield from _texts(inner)


def _add_content(digest: xxhash.xxh3_128, path: Path) -> None:
    try:
        if path.is_dir():
            for item in sorted(path.rglob("*")):
                if item.is_file():
                    digest.update(f"{item.relative_to(path)} {item.stat().st_size} {item.stat().st_mtime_ns}".encode())
        elif path.is_file():
            digest.update(_content(path, path.stat().st_size, path.stat().st_mtime_ns))
    except OSError:  # no path at all, or one that the run itself will complain of
        return


@functools.cache
def _content(path: Path, size: int, time: int) -> bytes:
    """A hash of a file as long as it is not written to: the jobs of a sweep name the same files."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.digest()


def left_to_run(folder: Path, jobs: Sequence[Job], again: bool = False) -> list[Job]:
    """Those of the jobs that have no result yet, or all of them again, with their folders cleared.

    A result of another configuration or other data is moved into superseded/, and comes back with the command that it
    belongs to; what a failed or killed job left is removed, unless it goes on from a checkpoint. Raises UserError for a
    job that another process is running.
    """
    for job in jobs:
        if is_running(folder / job.name):
            raise UserError(f"{folder / job.name}: this job is still running; wait for its end or stop it")
    left = []
    for job in jobs:
        if again:
            shutil.rmtree(folder / job.name, ignore_errors=True)
        elif not _has_result(folder / job.name, job):
            _set_aside(folder, job.name)
            if _has_result(_superseded(folder, job.name, job.config_hash), job):
                _superseded(folder, job.name, job.config_hash).rename(folder / job.name)
        if not _has_result(folder / job.name, job):
            if not goes_on(folder / job.name, job.config_hash):
                shutil.rmtree(folder / job.name, ignore_errors=True)
            left.append(job)
    return left


def goes_on(folder: Path, config_hash: str) -> bool:
    """Whether a job of this configuration was cut off here and has a checkpoint."""
    status = read_status(folder)
    return status is not None and status.config_hash == config_hash and any(folder.glob("checkpoints/last-*"))


def _has_result(folder: Path, job: Job) -> bool:
    status = read_status(folder)
    if status is None or status.config_hash != job.config_hash:
        return False
    return status.state == "pruned" or (status.state == "done" and (folder / "results.json").is_file())


def _superseded(folder: Path, name: str, config_hash: str) -> Path:
    return folder / SUPERSEDED / f"{name}-{config_hash[:8]}"


def _set_aside(folder: Path, name: str) -> None:
    status = read_status(folder / name)
    if status and status.state == "done":
        kept = _superseded(folder, name, status.config_hash)
        shutil.rmtree(kept, ignore_errors=True)
        kept.parent.mkdir(exist_ok=True)
        (folder / name).rename(kept)


@contextmanager
def the_only_sweep(folder: Path) -> Iterator[None]:
    """Keep a second sweep out of the folder: raises UserError there, as for a folder that cannot be written.

    The system lets go of it with the process.
    """
    lock = filelock.FileLock(folder / LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        message = f"{folder}: another sweep is running in this folder; wait for its end, or use hydra.sweep.dir=..."
        raise UserError(message) from None
    except OSError as error:
        message = f"{folder}: cannot be written ({error.strerror}); hydra.sweep.dir=... puts the sweep elsewhere"
        raise UserError(message) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def running(folder: Path) -> Iterator[None]:
    """Show other processes that the job in this folder is running."""
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / LOCK):
        yield


def forget_attempt(folder: Path) -> None:
    """Remove what a job left that was stopped and that a launcher begins again, so that nothing stands there twice.

    Its logs and what was there before it began stay: its configuration, its trial, and the lock of this process.
    """
    for item in folder.iterdir():
        if item.name in (".hydra", LOCK, TRIAL) or item.suffix == ".log":
            continue
        if item.is_dir():
            shutil.rmtree(item)
        else:
            item.unlink()


def is_running(folder: Path) -> bool:
    """Whether any process is running the job in this folder."""
    if not (folder / LOCK).is_file():
        return False
    lock = filelock.FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        return True
    lock.release()
    return False
