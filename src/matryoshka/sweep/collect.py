"""A sweep's folder as what it came to: each job by its status and the results that it wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml

from matryoshka.evaluation.result import EvaluationResult, SetResults
from matryoshka.sweep.result import JobResult, Sweep, value_at
from matryoshka.sweep.status import NAME, Status, read_status

ABSENT = "default"  # shown for a setting that only other jobs have, where its value cannot be told


def collect(folder: Path, name: str) -> Sweep:
    """All jobs below the folder, best first, compared by what their tasks returned. What cannot be read is left out."""
    paths = sorted(folder.glob(f"*/{NAME}"))
    found = [_Found(path.parent, status) for path in paths if (status := read_status(path.parent))]
    keys = _varied(found)
    jobs = [_job(job, keys) for job in found]
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


@dataclass(frozen=True)
class _Found:
    """A job's folder and status; its configuration is read once, where a setting is not in the status."""

    folder: Path
    status: Status

    @cached_property
    def choices(self) -> Mapping[str, Any]:
        choices: Mapping[str, Any] = value_at(_yaml(self.folder / ".hydra/hydra.yaml"), "hydra.runtime.choices", {})
        return choices

    @cached_property
    def composed(self) -> Mapping[str, Any]:
        plain: Mapping[str, Any] = _yaml(self.folder / ".hydra/config.yaml")
        return plain

    def setting(self, key: str) -> Any:
        """A setting of the job; of one that its command did not have, the value in its configuration."""
        if key in self.status.settings:
            return self.status.settings[key]
        return self.choices[key] if key in self.choices else value_at(self.composed, key, ABSENT)


def _varied(found: Sequence[_Found]) -> tuple[str, ...]:
    """The settings that are not the same in all jobs, in the order of the commands."""
    keys = dict.fromkeys(key for job in found for key in job.status.settings)
    shown = {key: {json.dumps(job.setting(key)) for job in found} for key in keys}
    return tuple(key for key, values in shown.items() if len(values) > 1)


def _job(found: _Found, keys: tuple[str, ...]) -> JobResult:
    folder, status = found.folder, found.status
    done = status.state == "done"
    return JobResult(
        name=folder.name,
        state=status.state,
        settings={key: found.setting(key) for key in keys},
        seconds=status.seconds,
        error=status.error or _unfinished(status),
        value=status.objective if done else None,
        tuned=_result(folder / "results.json") if done else None,
        base=_result(folder / "base.json") if done else None,
        sets=_sets(folder / "sets") if done else {},
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


def _sets(folder: Path) -> dict[str, SetResults]:
    found = {unquote(path.stem): _json(path) for path in sorted(folder.glob("*.json"))}
    return {name: SetResults.from_dict(plain) for name, plain in found.items() if plain}


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
