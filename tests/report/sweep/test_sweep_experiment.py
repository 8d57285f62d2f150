"""The best job as an experiment composes to the job's own configuration."""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from matryoshka.cli.command_line import configuration_folder
from matryoshka.report.sweep.sweep_experiment import best_experiment, compare_command, rerun_command
from matryoshka.storage.atomic import write_atomically
from tests.composing import plain
from tests.report.sweep.sweeps import job, sweep

ROOT = configuration_folder().parent


def best(*words: str) -> Any:
    """A sweep whose best job had these words."""
    return sweep(replace(job(), overrides=words, config=plain(*words)), job(2e-5))


@pytest.mark.parametrize(
    "words",
    [
        ("+experiment=bmf", "+sweep=dims_lr_scheduler", "dims=[768,256,64]", "optimizer.lr=5e-5", "scheduler=linear"),
        ("experiment=bmf", "pooling=mean", "export=none", "dims=[384,128]", "evaluator.select=ndcg@10/mean"),
        ("optimizer.lr=1e-4", "loss.scale=10", "seed=7", "compact_vocabulary=false", "dim_weights=null", "dims=[64]"),
        ("experiment=[bmf,debug]", "name='a name, with = and [brackets]'", "trainer.max_epochs=2"),
        ("+experiment=debug", "logger=[csv]", "+trainer.limit_val_batches=3", "hydra.sweep.dir=elsewhere"),
        ("encoder=e5_small", "accumulation=4", "batch_size=${accumulation}", "scheduler.warmup=0.2", "optimizer=adamw"),
        ("data=german_help", "+reference={encoder: a}", "baselines=[]", "trainer.precision=32-true"),
    ],
)  # fmt: skip
def test_it_composes_to_the_jobs_own_configuration(words: tuple[str, ...], tmp_path: Path) -> None:
    done = best(*(word for word in words if not word.startswith("hydra.")))
    done = replace(done, jobs=(replace(done.jobs[0], overrides=words), *done.jobs[1:]))
    write_atomically(tmp_path / "experiment" / "best_job.yaml", best_experiment(done))

    again = plain(f"hydra.searchpath=[file://{tmp_path}]", "+experiment=best_job")
    assert again.pop("name").endswith("_best_job")
    assert again == {key: value for key, value in done.best.config.items() if key != "name"}


def test_its_first_default_is_the_jobs_own_experiment_and_its_head_says_what_it_is(tmp_path: Path) -> None:
    text = best_experiment(best("+experiment=bmf", "+sweep=dims_lr_scheduler", "scheduler=linear", "seed=1"))

    assert text.startswith("# @package _global_\n# Of the sweep bmf/dims_lr_scheduler: ")
    assert "# Stand-in: embedded:e5_small" in text
    head = yaml.safe_load(text)
    assert head["defaults"] == ["bmf", {"/sweep": "dims_lr_scheduler"}, "_self_", {"override /scheduler": "linear"}]
    assert (head["seed"], head["name"]) == (1, "bmf_best_job")


def test_the_command_runs_it(tmp_path: Path) -> None:
    folder = tmp_path / "a sweep's folder"
    done = best("+experiment=bmf", "export=none", "seed=3", "~reference")
    write_atomically(folder / "experiment" / "best_job.yaml", best_experiment(done))
    command = shlex.split(rerun_command(folder, done.best))

    assert command[-2:] == ["~reference", "export=sentence_transformers"]
    shown = subprocess.run([sys.executable, *command[1:], "--cfg", "job"], cwd=ROOT, capture_output=True, check=True)
    config = yaml.safe_load(shown.stdout)
    assert (config["name"], config["seed"], "reference" in config) == ("bmf_best_job", 3, False)
    assert config["export"]["_target_"].endswith("SentenceTransformersFolder") or "_target_" in config["export"]


def test_two_jobs_are_compared_whatever_their_names(tmp_path: Path) -> None:
    first, second = (replace(job(), name=f"dims=768-64,name='{quote}',a b") for quote in ('"', "x"))
    words = shlex.split(compare_command(tmp_path, first, second))

    assert words[:2] == ["python", "evaluate.py"]
    (override,) = OverridesParser.create().parse_overrides(words[2:])
    assert [str(part) for part in override.value()] == [str(tmp_path / one.name) for one in (first, second)]


def test_without_a_best_job_or_its_configuration_there_is_none() -> None:
    assert best_experiment(sweep()) == ""
    assert best_experiment(sweep(job())) == ""
