"""A sweep's folder as what it came to: each job by its status and the results that it wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from matryoshka.retrieval.result import EvaluationResult
from matryoshka.sweep.result import JobResult, Sweep
from matryoshka.sweep.status import NAME, Status, read_status

ABSENT = "default"  # shown for a setting that only other jobs have, where its value cannot be told


def collect(folder: Path, name: str) -> Sweep:
    """All jobs below the folder, best first, compared by what their tasks returned. What cannot be read is left out."""
    found = {path.parent: status for path in sorted(folder.glob(f"*/{NAME}")) if (status := read_status(path.parent))}
    keys = _varied(found)
    jobs = [_job(job, status, keys) for job, status in found.items()]
    jobs.sort(key=lambda job: float("inf") if job.value is None else -job.value)
    runs = [run for job in jobs if job.state == "done" and (run := _json(folder / job.name / "run.json"))]
    first = runs[0] if runs else {}
    return Sweep(
        name=name,
        keys=keys,
        selected=first.get("selected", ""),
        jobs=tuple(jobs),
        split=first.get("split", ""),
        stand_in=tuple(first.get("stand_in", ())),
    )


def _varied(found: Mapping[Path, Status]) -> tuple[str, ...]:
    """The settings that are not the same in all jobs, in the order of the commands."""
    keys = dict.fromkeys(key for status in found.values() for key in status.settings)
    shown = {key: {json.dumps(_setting(job, status, key)) for job, status in found.items()} for key in keys}
    return tuple(key for key, values in shown.items() if len(values) > 1)


def _setting(job: Path, status: Status, key: str) -> Any:
    """A setting of a job; of one that its command did not have, the value in its configuration."""
    if key in status.settings:
        return status.settings[key]
    choices = _yaml(job / ".hydra/hydra.yaml").get("hydra", {}).get("runtime", {}).get("choices", {})
    if key in choices:
        return choices[key]
    value: Any = _yaml(job / ".hydra/config.yaml")
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return ABSENT
        value = value[part]
    return value


def _job(folder: Path, status: Status, keys: tuple[str, ...]) -> JobResult:
    done = status.state == "done"
    return JobResult(
        name=folder.name,
        state=status.state,
        settings={key: _setting(folder, status, key) for key in keys},
        seconds=status.seconds,
        error=status.error or _unfinished(status),
        value=status.objective if done else None,
        tuned=_result(folder / "results.json") if done else None,
        base=_result(folder / "base.json") if done else None,
        overrides=tuple(_yaml(folder / ".hydra/overrides.yaml") or ()),
        config=_yaml(folder / "config.yaml") or None,
    )


def _unfinished(status: Status) -> str:
    """Why a job that did not fail has no result."""
    if status.state == "pruned" and status.objective is not None:
        return f"given up early at {status.objective:.4f}, behind the others"
    return "stopped before its end" if status.state == "running" else ""


def _result(path: Path) -> EvaluationResult | None:
    plain = _json(path)
    return EvaluationResult.from_dict(plain) if plain else None


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _yaml(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}
    except (OSError, yaml.YAMLError):
        return {}
