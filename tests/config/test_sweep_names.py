"""What a sweep's jobs are called, by the configuration that Hydra gives a job."""

from __future__ import annotations

from collections.abc import Iterator

import hydra
import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf, open_dict

from matryoshka.cli.command_line import configuration_folder
from matryoshka.config.resolvers import register_resolvers, sweep_choices, sweep_group

WORDS = ["+experiment=bmf", "dims=[768,64]", "optimizer.lr=2e-5", "scheduler=linear", "seed=3", "logger.mode=offline"]
RESOLVED = {"group": "${sweep_group:}", "choices": "${sweep_choices:}"}


@pytest.fixture(autouse=True)
def _before() -> Iterator[None]:
    before = HydraConfig.instance().cfg
    HydraConfig.instance().cfg = None
    yield
    HydraConfig.instance().cfg = before


def job(folder: str, subdir: str, mode: RunMode = RunMode.MULTIRUN) -> None:
    """Tell Hydra that this is the job of a sweep in that folder."""
    register_resolvers()
    with hydra.initialize_config_dir(str(configuration_folder()), version_base="1.3"):
        config = hydra.compose("train", overrides=WORDS, return_hydra_config=True)
    with open_dict(config):
        config.hydra.sweep.dir, config.hydra.sweep.subdir, config.hydra.mode = folder, subdir, mode
    HydraConfig.instance().set_config(config)


def test_a_job_is_called_what_is_swept() -> None:
    job("multirun/bmf/dims_lr_scheduler", "dims=768-64,optimizer.lr=2e-5,scheduler=linear")
    assert sweep_group() == "bmf/dims_lr_scheduler"
    assert sweep_choices() == ["dims 768-64", "lr 2e-05", "linear"]
    assert OmegaConf.to_container(OmegaConf.create(RESOLVED), resolve=True) == {
        "group": "bmf/dims_lr_scheduler",
        "choices": ["dims 768-64", "lr 2e-05", "linear"],
    }


def test_in_a_folder_of_the_users_own_a_job_is_called_all_that_was_said() -> None:
    job("/elsewhere/rates", "first")
    assert sweep_group() == "rates"
    assert sweep_choices() == ["dims 768-64", "lr 2e-05", "linear", "seed 3"]


@pytest.mark.parametrize("mode", [None, RunMode.RUN])
def test_a_single_run_is_in_no_sweep(mode: RunMode | None) -> None:
    if mode:
        job("multirun/bmf/x", "seed=3", mode)
    register_resolvers()
    assert (sweep_group(), sweep_choices()) == (None, [])
    config = OmegaConf.create(RESOLVED)
    OmegaConf.resolve(config)  # as --cfg job --resolve does
    assert config == {"group": None, "choices": []}
