"""Searches without a training: what values are drawn from, what a journal remembers, who is given up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from matryoshka.cli.trials import search_space
from matryoshka.errors import ConfigError, UserError
from matryoshka.report.sweep.search_table import front_csv, quality_against_bytes
from matryoshka.sweep.jobs import running
from matryoshka.sweep.search import Asked, Search, TrialJob, job_of
from matryoshka.sweep.space import Space, space_words, texts_to_check
from matryoshka.sweep.status import State, Status
from matryoshka.sweep.trial import Trial, journal_storage, read_trial

SPACE: Space = {"lr": FloatDistribution(1e-5, 1e-3, log=True), "scheduler": CategoricalDistribution(["a", "b"])}


def space(*words: str) -> tuple[list[str], Space]:
    return search_space(OverridesParser.create().parse_overrides(list(words)))


def search(folder: Path, space: Space = SPACE, objectives: tuple[str, ...] = ("quality",)) -> Search:
    return Search(folder, "some", space, objectives, startup_trials=4, seed=1)


def assigned(folder: Path, search: Search, size: int | None = None) -> tuple[Asked, TrialJob]:
    asked = search.ask()
    job = TrialJob(f"trial_{asked.number}", f"hash of {asked.words}", size)
    search.assign(asked.number, job)
    return asked, job


def ended(folder: Path, search: Search, state: State, value: float | None, size: int | None = None) -> Asked:
    """A trial whose job has left this, not told yet."""
    asked, job = assigned(folder, search, size)
    Status(state, job.config_hash, objective=value).write(folder / job.name)
    return asked


@pytest.mark.parametrize(
    ("word", "drawn"),
    [
        ("x=1e-5,2e-5", CategoricalDistribution(["1e-05", "2e-05"])),
        ("x=choice(cosine,linear)", CategoricalDistribution(["cosine", "linear"])),
        ("dims=[768,64],[64]", CategoricalDistribution(["[768,64]", "[64]"])),
        ("x=range(1,8,step=2)", IntDistribution(1, 7, step=2)),
        ("x=range(0.1,0.5,step=0.1)", FloatDistribution(0.1, 0.4, step=0.1)),
        ("x=interval(0,1)", FloatDistribution(0, 1)),
        ("x=int(interval(1,9))", IntDistribution(1, 9)),
        ("x=tag(log,interval(1e-5,2e-4))", FloatDistribution(1e-5, 2e-4, log=True)),
        ("x=tag(log,int(interval(1,64)))", IntDistribution(1, 64, log=True)),
    ],
)
def test_values_are_drawn_as_the_sweep_syntax_says(word: str, drawn: Any) -> None:
    fixed, found = space("seed=1", word)
    assert fixed == ["seed=1"]
    assert found == {word.partition("=")[0]: drawn}


def test_of_a_key_that_is_said_twice_the_last_word_holds() -> None:
    fixed, found = space("a=1,2", "b=interval(0,1)", "+c=1,2", "a=3", "b=4,5", "~d")
    assert fixed == ["a=3", "~d"]
    assert found == {"b": CategoricalDistribution(["4", "5"]), "+c": CategoricalDistribution(["1", "2"])}


def test_what_cannot_be_drawn_from_is_named_by_its_key() -> None:
    with pytest.raises(ConfigError) as error:
        space("a=tag(lgo,interval(1,2))", "b=tag(log,choice(1,2))", "c=tag(log,interval(0,1))", "d=range(3,3)", "e=1,2")
    assert [key for key, _ in error.value.problems] == ["a", "b", "c", "d"]


def test_a_plan_says_what_is_drawn_and_tries_the_ends() -> None:
    _, found = space("a=tag(log,interval(1e-5,2e-4))", "b=x,y", "c=range(1,8,step=2)")
    assert [space_words(values) for values in found.values()] == [
        "1e-05 to 0.0002, by factors",
        "x | y",
        "1 to 7 in steps of 2",
    ]
    assert [texts_to_check(values) for values in found.values()] == [["1e-05", "0.0002"], ["x", "y"], ["1", "7"]]


def test_numbers_have_four_digits_and_stay_between_their_ends(tmp_path: Path) -> None:
    narrow: Space = {"x": FloatDistribution(0.123456, 0.123457), "n": IntDistribution(3, 3)}
    assert search(tmp_path, narrow).ask().words == ("x=0.123457", "n=3")  # rounded it were 0.1235
    wide = search(tmp_path)
    for _ in range(5):
        value = float(wide.ask().words[0].partition("=")[2])
        assert float(f"{value:.4g}") == value


def test_what_is_told_is_what_the_folders_say(tmp_path: Path) -> None:
    first = search(tmp_path)
    for state, value in (("done", 0.5), ("pruned", 0.1), ("failed", None), ("done", float("nan"))):
        asked = ended(tmp_path, first, state, value)  # type: ignore[arg-type]
        first.tell(asked.number)
    assert [trial.state.name for trial in first.study.trials] == ["COMPLETE", "PRUNED", "FAIL", "FAIL"]
    assert first.study.trials[0].values == [0.5]
    assert len(first.ended) == 2


def test_a_result_of_another_configuration_is_not_told(tmp_path: Path) -> None:
    some = search(tmp_path)
    asked, job = assigned(tmp_path, some)
    Status("done", "another hash", objective=0.5).write(tmp_path / job.name)
    assert some.tell(asked.number).state.name == "FAIL"


def test_a_killed_search_knows_what_ended_and_tries_the_rest_again(tmp_path: Path) -> None:
    killed = search(tmp_path)
    killed.tell(ended(tmp_path, killed, "done", 0.5).number)
    ended(tmp_path, killed, "done", 0.6)  # finished, but the search was killed before it was told
    cut_short = ended(tmp_path, killed, "running", None)
    killed.ask()  # killed before it had a job

    again = search(tmp_path)
    again.settle()
    assert [trial.state.name for trial in again.study.trials] == ["COMPLETE", "COMPLETE", "FAIL", "FAIL"]
    assert again.retry(5) == 1
    assert not (tmp_path / "trial_2").exists()
    asked, _ = assigned(tmp_path, again)
    assert (asked.number, asked.words) == (4, cut_short.words)
    assert search(tmp_path).retry(5) == 0  # it is tried again already
    again.tell(asked.number)
    assert search(tmp_path).retry(5) == 1  # and failed again, since there is no result in its folder


def test_no_more_is_tried_again_than_is_wanted(tmp_path: Path) -> None:
    some = search(tmp_path)
    for _ in range(3):
        some.tell(ended(tmp_path, some, "failed", None).number)
    assert some.retry(2) == 2
    assert search(tmp_path).retry(0) == 2  # in line already


def test_a_search_that_goes_on_draws_other_values(tmp_path: Path) -> None:
    only: Space = {"x": FloatDistribution(0, 1)}
    words = [search(tmp_path, only).ask().words for _ in range(4)]  # a new process each, with an equal seed
    assert len(set(words)) == 4
    (tmp_path / "other").mkdir()
    assert search(tmp_path / "other", only).ask().words == words[0]


def test_a_trial_that_another_process_runs_is_left_alone(tmp_path: Path) -> None:
    some = search(tmp_path)
    _, job = assigned(tmp_path, some)
    with running(tmp_path / job.name), pytest.raises(UserError, match="still running"):
        search(tmp_path).settle()
    assert [trial.state.name for trial in search(tmp_path).study.trials] == ["RUNNING"]


def test_an_equal_configuration_is_known(tmp_path: Path) -> None:
    some = search(tmp_path)
    asked = ended(tmp_path, some, "done", 0.5)
    job = job_of(some.study.trials[asked.number])
    assert job is not None and some.known(job.config_hash) is None  # not told yet
    some.tell(asked.number)
    earlier = some.known(job.config_hash)
    assert earlier is not None
    some.tell_same(some.ask().number, earlier)
    assert [trial.values for trial in some.study.trials] == [[0.5], [0.5]]


def test_another_kind_of_search_is_refused_in_the_same_folder(tmp_path: Path) -> None:
    search(tmp_path).ask()
    with pytest.raises(UserError, match=r"hydra\.sweeper\.objectives"):
        search(tmp_path, objectives=("quality", "bytes"))
    with pytest.raises(UserError, match="scheduler: the search in"):
        search(tmp_path, {**SPACE, "scheduler": CategoricalDistribution(["a", "c"])})
    wider = search(tmp_path, {"lr": FloatDistribution(1e-6, 1e-2, log=True), "seed": IntDistribution(1, 3)})
    assert wider.ask().number == 1


def test_a_folder_may_be_moved_and_half_a_line_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    some = search(tmp_path / "here")
    some.tell(ended(tmp_path / "here", some, "done", 0.5).number)
    (tmp_path / "here").rename(tmp_path / "there")
    with (tmp_path / "there/optuna.journal").open("a") as file:
        file.write('{"op_code": 4, "wor')
    moved = Search(tmp_path / "there", "another name", SPACE, ("quality",), 4, 1)
    assert [trial.values for trial in moved.ended] == [[0.5]]
    assert moved.ask().number == 1


def test_the_front_is_what_no_other_trial_beats(tmp_path: Path) -> None:
    some = search(tmp_path, objectives=("quality", "bytes"))
    for quality, size in ((0.5, 256), (0.4, 64), (0.45, 256), (0.5, 256), (0.6, 1024)):
        some.tell(ended(tmp_path, some, "done", quality, size).number)
    outcomes = some.outcomes()
    assert [(o.bytes, o.quality) for o in outcomes if o.best] == [(64, 0.4), (256, 0.5), (1024, 0.6)]
    assert len(outcomes) == 5
    rows = front_csv(outcomes).splitlines()
    assert rows[0] == "trial,bytes,quality,front,job"
    assert rows[1] == "1,64,0.4,true,trial_1"
    axes = quality_against_bytes(outcomes, ("another encoder",)).axes[0]
    assert axes.get_lines()[0].get_xydata().tolist() == [[64, 0.4], [256, 0.5], [1024, 0.6]]  # type: ignore[union-attr]
    assert len(axes.collections[0].get_offsets()) == 5


def test_a_trial_below_the_median_of_the_finished_ones_is_given_up(tmp_path: Path) -> None:
    some = search(tmp_path)
    journal = str(some.journal)
    for value in (0.2, 0.4, 0.6):
        asked, job = assigned(tmp_path, some)
        trial = Trial(journal, "some", asked.number, keep_percent=50, startup_trials=3)
        assert not trial.report(value, 1)  # three have to end first
        assert not trial.report(value + 0.1, 2)
        Status("done", job.config_hash, objective=value + 0.1).write(tmp_path / job.name)
        some.tell(asked.number)
    for value, behind in ((0.39, True), (0.41, False)):
        asked, job = assigned(tmp_path, some)
        Trial(journal, "some", asked.number, 50, 3).write(tmp_path / job.name)
        found = read_trial(tmp_path / job.name)
        assert found is not None
        assert found.report(value, 1) is behind
    study = optuna.load_study(study_name="some", storage=journal_storage(some.journal))
    assert [trial.intermediate_values for trial in study.trials[2:]] == [{1: 0.6, 2: 0.7}, {1: 0.39}, {1: 0.41}]
    assert read_trial(tmp_path) is None
