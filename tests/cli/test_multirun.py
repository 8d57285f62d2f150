"""A sweep around its jobs: what they are called, and what the plan says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from matryoshka.cli.multirun import named, place, to_run
from matryoshka.cli.task_choice import looks_at
from matryoshka.errors import UserError
from matryoshka.sweep.jobs import Job


def test_values_that_a_name_cannot_tell_apart_have_folders_of_their_own() -> None:
    def names(logger: str) -> list[str]:
        batch = [[f"data.train={path}", f"logger={logger}"] for path in ("a/b", "a_b", "c")]
        return [words[-1] for words in named(batch, ["data.train"])]

    assert len(set(names("none"))) == 3 and names("none")[2] == "hydra.sweep.subdir='data.train=c'"
    assert names("none") == names("csv")  # what is not swept has no part in a name, so the results are found again


def test_a_value_given_twice_is_one_job() -> None:
    assert named([["seed=1"], ["seed=1"]], ["seed"]) == [["seed=1", "hydra.sweep.subdir='seed=1'"]]


def test_jobs_may_not_be_given_one_folder() -> None:
    config = OmegaConf.create({"hydra": {"overrides": {"hydra": ["hydra.sweep.subdir=one"]}}})
    with pytest.raises(UserError, match=r"hydra\.sweep\.dir=\.\.\. says where"):
        place(config, ["seed"])


def test_a_quote_in_a_recipes_name_stays_in_its_folder() -> None:
    hydra = {"overrides": {"hydra": []}, "sweep": {"dir": "multirun/it's"}, "runtime": {"choices": {}}}
    config = OmegaConf.create({"task": "train", "hydra": hydra})
    assert place(config, ["seed"]) == Path("multirun/it's/seed")
    (word,) = OverridesParser.create().parse_overrides(list(config.hydra.overrides.hydra))
    assert str(word.value()) == "multirun/it's/seed"


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ({"task": "train"}, ""),
        ({"task": "doctor"}, "doctor"),
        ({"task": "blend"}, ""),
        ({"ask": None, "compare": None}, ""),
        ({"ask": "Wie?", "compare": None}, "ask"),
        ({"ask": None, "compare": ["one", "other"]}, "compare"),
    ],
)
def test_only_jobs_with_a_result_are_summed_up(values: dict[str, object], shown: str) -> None:
    assert looks_at(OmegaConf.create(values)) == shown


def test_a_long_plan_is_shown_by_its_beginning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [Job(f"seed={seed}", (), "a") for seed in range(300)]
    assert to_run(tmp_path, jobs, again=False) == jobs
    lines = capsys.readouterr().out
    assert "300 jobs" in lines and "and 280 more" in lines and "seed=19\n" in lines and "seed=20\n" not in lines
