"""A job of a sweep as an experiment that `python train.py +experiment=best_job` runs again."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from matryoshka.report.sweep.sweep_verdict import verdict
from matryoshka.storage.command_words import in_quotes
from matryoshka.sweep.result import JobResult, Sweep, value_at

EXPERIMENT, SWEEP = "experiment", "sweep"  # groups whose files set values all over the configuration
NAME = "best_job"  # not `best`, an experiment that comes along


def best_experiment(sweep: Sweep) -> str:
    """The YAML of experiment/best_job.yaml: the best job's own experiment and sweep files, then its choices and values.

    Values are those of the job's configuration, so nothing of the command's grammar is left to guess. Empty where there
    is no best job, or no configuration of it.
    """
    job = sweep.best
    if job is None or job.config is None:
        return ""
    defaults: list[Any] = []
    values: dict[str, Any] = {}
    choices: dict[str, Any] = {}
    for key, text in _said(job):
        if key == EXPERIMENT:
            defaults += [name for name in _names(text) if name]
        elif key == SWEEP:
            defaults += [{f"/{SWEEP}": name} for name in _names(text) if name]
        elif _is_choice(key, text, job.config):
            choices[f"override /{key}"] = _names(text) if text.startswith("[") else _names(text)[0]
        else:
            _place(values, key.split("."), _value(key, text, job))
    values["name"] = f"{values.get('name') or job.config.get('name') or 'train'}_{NAME}"
    defaults += ["_self_", *({key: choice} for key, choice in choices.items())]
    said = [f"Of the sweep {sweep.name}: {verdict(sweep)}.", *(f"Stand-in: {sentence}." for sentence in sweep.stand_in)]
    comments = [line for sentence in said for line in textwrap.wrap(sentence, 116)]
    body = yaml.safe_dump({"defaults": defaults, **values}, sort_keys=False, allow_unicode=True)
    return "".join(f"# {line}\n" for line in ("@package _global_", *comments)) + body


def rerun_command(folder: Path, job: JobResult) -> str:
    """The command that trains the job again and keeps its model, for a shell."""
    words = ["python", "train.py", "--config-dir", str(folder), f"+{EXPERIMENT}={NAME}"]
    words += [word for word in job.overrides if word.startswith("~")]  # a file cannot take anything away
    if job.config is not None and not job.config.get("export"):  # as sweeps do, which keep no models
        words.append("export=sentence_transformers")
    return shlex.join(words)


def compare_command(folder: Path, first: JobResult, second: JobResult) -> str:
    """The command that compares two jobs query by query, for a shell."""
    folders = ",".join(in_quotes(str(folder / job.name)) for job in (first, second))
    return shlex.join(["python", "evaluate.py", f"compare=[{folders}]"])


def _said(job: JobResult) -> Iterator[tuple[str, str]]:
    """The key and the text of each word that sets something; the last word of a key holds, in its first place."""
    words = [word.lstrip("+").partition("=") for word in job.overrides if not word.startswith("~")]
    yield from {key: text for key, _, text in words if not key.startswith("hydra")}.items()


def _names(text: str) -> list[str]:
    return [name.strip().strip("'\"") for name in text.strip("[]").split(",")]


def _is_choice(key: str, text: str, config: Mapping[str, Any]) -> bool:
    """Whether a word chooses a file of a group, as `scheduler=cosine` does; `reference={...}` is a value."""
    if "/" in key or "@" in key:
        return True
    return "." not in key and text not in ("null", "") and text[0] != "{" and isinstance(config.get(key, {}), Mapping)


def _value(key: str, text: str, job: JobResult) -> Any:
    """A key's value in the job's configuration, else as YAML reads its text."""
    return value_at(job.config or {}, key, yaml.safe_load(text or "null"))


def _place(values: dict[str, Any], parts: list[str], value: Any) -> None:
    for part in parts[:-1]:
        values = values.setdefault(part, {})
    values[parts[-1]] = value
