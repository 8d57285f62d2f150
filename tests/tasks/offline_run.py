"""What an offline run of W&B holds: its file is LevelDB's log of protobuf records."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

BLOCK, HEADER = 32768, 7  # bytes: a block; a chunk's checksum, length and type, and as many at the file's start


@dataclass
class OfflineRun:
    """A run as it would be uploaded. artifacts: name -> (aliases, paths in it). exit_code: None of a run left open."""

    id: str = ""
    project: str = ""
    name: str = ""
    group: str = ""
    job_type: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    artifacts: dict[str, tuple[list[str], list[str]]] = field(default_factory=dict)
    exit_code: int | None = None


def runs_below(folder: Path) -> list[OfflineRun]:
    """The ended offline runs of a run's folder, in the order of their files' names; wandb's own process writes them."""
    paths = sorted(folder.glob("wandb/offline-run-*/run-*.wandb"))
    for _ in range(100):
        runs = [read(path) for path in paths]
        if all(run.exit_code is not None for run in runs):
            return runs
        time.sleep(0.1)
    raise TimeoutError(f"runs below {folder} were left open")


def summary(folder: Path) -> dict[str, Any]:
    """The summary of a folder's one run."""
    (run,) = runs_below(folder)
    return run.summary


def read(path: Path) -> OfflineRun:
    """The run in a file, as wandb's own records say it."""
    run = OfflineRun()
    for content in records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content)
        if record.HasField("run"):
            run.id, run.project, run.name = record.run.run_id, record.run.project, record.run.display_name
            run.group, run.job_type, run.tags = record.run.run_group, record.run.job_type, list(record.run.tags)
            run.config |= _values(record.run.config.update)
        run.config |= _values(record.config.update)
        run.summary |= _values(record.summary.update)
        if record.history.item:
            run.rows.append(_values(record.history.item))
        if record.HasField("artifact") and record.artifact.type == "model":
            paths = sorted(entry.path for entry in record.artifact.manifest.contents)
            run.artifacts[record.artifact.name] = (list(record.artifact.aliases), paths)
        if record.HasField("exit"):
            run.exit_code = record.exit.exit_code
    return run


def _values(items: Iterable[Any]) -> dict[str, Any]:
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def records(data: bytes) -> Iterator[bytes]:
    """Every record; a long one stands in several chunks: first (2), middle (3), last (4), else whole (1)."""
    place, parts = HEADER, b""
    while place + HEADER <= len(data):
        left = BLOCK - place % BLOCK
        if left < HEADER:  # too small for a chunk
            place += left
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + HEADER])
        parts += data[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in (1, 4):
            yield parts
            parts = b""
