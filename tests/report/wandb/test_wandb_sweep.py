"""Sweeps in W&B: Hydra's, read back and sent to a stand-in for the service; W&B's own, which drives train.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import wandb
import yaml
from omegaconf import OmegaConf
from wandb import wandb_agent

from matryoshka.config.validation import check_training
from matryoshka.report.wandb.names import sync_command
from tests.composing import composed
from tests.report.wandb.wandb_service import Service, serving
from tests.tasks.offline_run import runs_below
from tests.tasks.test_sweep import failing_at
from tests.tasks.test_train_and_sweep import run, workplace

__all__ = ["workplace"]
pytestmark = pytest.mark.filterwarnings("default")  # a whole run passes through many libraries
SWEEP = Path(__file__).parents[3] / "docs" / "wandb_sweep.yaml"


@pytest.fixture(autouse=True)
def _own_wandb() -> Iterator[None]:
    """What wandb knows of its environment stays in each test."""
    yield
    wandb.teardown()


@dataclass
class Taking(Service):
    """Takes runs: what wandb last said of each, and what it streamed of its files."""

    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        if "upsertBucket" not in query:
            refused = {"errors": [{"message": "files are not taken here"}]}
            return refused if query.lstrip().startswith("mutation") else super().answer(query, variables)
        self.runs.setdefault(variables["name"], {}).update({k: v for k, v in variables.items() if v is not None})
        project = {"name": variables["project"], "entity": {"name": "letters-team"}}
        bucket = {"id": "b", "name": variables["name"], "historyLineCount": 0, "project": project}
        return {"data": {"upsertBucket": {"bucket": bucket, "inserted": True}}}

    def receive(self, path: str, body: bytes) -> None:
        if path.endswith("/file_stream"):
            files = self.files.setdefault(path.split("/")[-2], {})
            for name, chunk in (json.loads(body).get("files") or {}).items():
                files.setdefault(name, []).extend(chunk["content"])


@pytest.mark.slow
def test_a_sweep_is_a_group_of_runs_and_goes_up_by_one_command(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    failing_at(1e-2, monkeypatch)
    sweep = Path("multirun/letters/rates")
    words = ["-m", "optimizer.lr=1e-3,1e-2", "scheduler=linear", "logger=wandb", "logger.mode=offline"]
    assert run(monkeypatch, *words, "export=none", "name=letters", f"hydra.sweep.dir={sweep}") == 1

    runs = {run.exit_code: run for job in sorted(sweep.glob("*=*")) for run in runs_below(job)}
    assert {run.group for run in runs.values()} == {"letters/rates"}
    assert {run.job_type for run in runs.values()} == {"sweep"}
    assert (runs[0].name, runs[1].name) == ("lr 0.001", "lr 0.01")
    assert runs[0].config["optimizer.lr"] == 1e-3 and runs[1].config["optimizer.lr"] == 1e-2
    assert sorted(runs[0].tags) == ["letters", "lr 0.001", "tiny"]
    (folder,) = (path.parent for path in sweep.glob("*/results.json"))
    assert runs[0].summary["results_json"] == json.loads((folder / "results.json").read_text())
    logged = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len([row for row in runs[0].rows if "epoch" in row]) == len(logged)
    assert "results_json" not in runs[1].summary
    told = capfd.readouterr()
    assert "kept offline" not in told.err and told.out.count(f"upload all jobs with: {sync_command(sweep)}") == 1

    with serving(Taking()) as service:
        assert isinstance(service, Taking)
        environment = {"WANDB_BASE_URL": service.address, "WANDB_API_KEY": 40 * "a", "WANDB_ERROR_REPORTING": "false"}
        found = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(
            ["bash", "-c", sync_command(sweep)],
            env={**os.environ, **environment, "PATH": found},
            check=True,
            timeout=60,
        )
    for kept in runs.values():
        sent, files = service.runs[kept.id], service.files[kept.id]
        assert (sent["groupName"], sent["jobType"], sent["displayName"]) == (kept.group, kept.job_type, kept.name)
        config = {key: entry["value"] for key, entry in json.loads(sent["config"]).items() if key != "_wandb"}
        assert config == {key: value for key, value in kept.config.items() if key != "_wandb"}
        assert len(files["wandb-history.jsonl"]) == len(kept.rows)
    uploaded = json.loads(service.files[runs[0].id]["wandb-summary.json"][-1])
    assert uploaded["results_json"] == runs[0].summary["results_json"]
    assert uploaded["selected_value"] == runs[0].summary["selected_value"]


def command_of_the_agent(
    folder: Path, monkeypatch: pytest.MonkeyPatch, chosen: dict[str, Any]
) -> tuple[list[str], dict[str, str]]:
    """Words and environment of the process that wandb's own agent starts for what the service chose."""
    started: list[tuple[list[str], dict[str, str]]] = []

    class Process:
        def __init__(self, command: list[str], env: dict[str, str], **_: object) -> None:
            started.append((command, env))

    monkeypatch.setattr(wandb_agent, "AgentProcess", Process)
    monkeypatch.setenv("WANDB_DIR", str(folder))
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    for name in ("WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):  # the agent sets them for good
        monkeypatch.setenv(name, "")
    agent = wandb_agent.Agent(api=None, queue=None, sweep_id="s1")
    agent._sweep_command = yaml.safe_load(SWEEP.read_text())["command"]
    args = {key: {"value": value} for key, value in chosen.items()}
    agent._command_run({"type": "run", "run_id": "r1", "program": "train.py", "args": args})
    return started[0]


def corners() -> list[dict[str, Any]]:
    """Every choice of the sweep's lists, with the ends of its ranges."""
    parameters = yaml.safe_load(SWEEP.read_text())["parameters"]
    ends = {key: given.get("values") or [given["min"], given["max"]] for key, given in parameters.items()}
    assert all(isinstance(rate, float) for rate in ends["optimizer.lr"])  # YAML reads 1e-5 as text
    return [{key: values[i % len(values)] for key, values in ends.items()} for i in range(6)]


@pytest.mark.parametrize("chosen", corners(), ids=str)
def test_wandbs_own_sweep_starts_commands_that_are_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: dict[str, Any]
) -> None:
    command, environment = command_of_the_agent(tmp_path, monkeypatch, chosen)
    assert command[:3] == ["/usr/bin/env", "python", "train.py"]
    assert environment["WANDB_RUN_ID"] == "r1"
    config = OmegaConf.to_container(composed(*command[3:]), resolve=True)
    assert isinstance(config, dict)
    check_training(config)
    assert (config["optimizer"]["lr"], config["dims"]) == (chosen["optimizer.lr"], chosen["dims"])
    assert config["scheduler"]["_target_"] == f"matryoshka.training.schedulers.{chosen['scheduler']}"


@pytest.mark.slow
def test_a_run_that_wandbs_agent_starts_is_a_run_of_its_sweep(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {"optimizer.lr": 1e-3, "scheduler": "linear", "dims": [32, 16]}
    command, environment = command_of_the_agent(workplace, monkeypatch, chosen)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    wandb.teardown()  # reads them anew, as a process of its own does
    left_out = ("+experiment=bmf", "evaluator.select=ndcg@10/dim_64")  # here the encoder is a tiny one
    words = [word for word in command[3:] if word not in left_out]
    assert run(monkeypatch, *words, "logger=wandb", "logger.mode=offline") == 0

    folder = workplace / "outputs/wandb_sweep/r1"
    (done,) = runs_below(folder)
    assert (done.id, done.group, done.job_type) == ("r1", "", "train")
    assert {key: done.config[key] for key in chosen} == chosen
    assert done.summary["selected_value"] == json.loads((folder / "run.json").read_text())["selected_value"]
