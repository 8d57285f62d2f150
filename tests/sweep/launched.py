"""A sweep of jobs that only write down where they ran: `python -m tests.sweep.launched -m hydra/launcher=...`."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

import matryoshka.cli.job  # noqa: F401 - what a launcher's process imports of a real job registers the resolvers
from matryoshka.cli.command_line import configuration_folder


def record(config: DictConfig) -> float:
    """Add a line to where.jsonl. seconds: how long to stay. stopped: be told to stop, as by SLURM, the first time."""
    path = Path(HydraConfig.get().runtime.output_dir) / "where.jsonl"
    first = not path.exists()
    start = time.time()
    if not (config.get("stopped") and first):
        time.sleep(config.get("seconds", 0))
    line = {"process": os.getpid(), "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"), "start": start, "end": time.time()}
    if config.get("threads"):
        import torch

        line["threads"] = torch.get_num_threads()
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    if config.get("stopped") and first:
        os.kill(os.getpid(), signal.SIGUSR2)
        time.sleep(60)  # not reached: the signal ends the process
    return float(config.seed)


if __name__ == "__main__":
    from tests.sweep.launched import record as job  # by its name, as launchers find it in their processes

    hydra.main(version_base="1.3", config_path=str(configuration_folder()), config_name="train")(job)()
