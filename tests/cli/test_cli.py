"""The command as a user meets it: quick to help, one clear message for a mistake, exit codes that scripts can use."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import InstantiationException

from matryoshka.cli import app, console
from matryoshka.errors import DataError
from matryoshka.evaluation.result import EvaluationResult
from matryoshka.report.files import write_result
from matryoshka.storage.atomic import write_atomically
from tests.composing import problems

PROJECT = Path(__file__).parents[2]
CONSOLE_SCRIPT = Path(sys.executable).with_name("matryoshka")


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


def run(*command: str | Path, cwd: Path) -> Outcome:
    """A command in a process of its own."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "120", "MATRYOSHKA_BMF": "nowhere"}
    done = subprocess.run(
        [sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# --- Processes: what only a process can show -----------------------------------------------------------------------


def without_torch(*words: str, cwd: Path) -> Outcome:
    """What a script says, which must not have imported what takes seconds to import."""
    outcome = run("-X", "importtime", PROJECT / words[0], *words[1:], cwd=cwd)
    lines = outcome.err.splitlines(keepends=True)
    imported = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    assert "hydra" in imported
    assert imported.isdisjoint({"torch", "transformers", "pytorch_lightning"})
    return Outcome(outcome.code, outcome.out, "".join(line for line in lines if not line.startswith("import time:")))


@pytest.mark.parametrize(("script", "header"), [("train.py", "Fine-tune"), ("evaluate.py", "Measure")])
def test_help_shows_choices_and_values(script: str, header: str, tmp_path: Path) -> None:
    outcome = without_torch(script, "--help", cwd=tmp_path)

    assert outcome.code == 0
    assert outcome.out.startswith(header)
    assert "encoder: bge_m3, e5_small" in outcome.out
    assert "evaluator: quick, retrieval" in outcome.out
    assert "select: ndcg@10" in outcome.out
    assert outcome.err == ""
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_ends_at_once_with_a_message(tmp_path: Path) -> None:
    outcome = without_torch("train.py", "+experiment=bmf", "optimizer.lrr=1", cwd=tmp_path)

    assert outcome == Outcome(2, "", "optimizer.lrr: unknown key; did you mean optimizer.lr?\n")
    assert files_in(tmp_path) == []


def test_the_console_script_has_commands(tmp_path: Path) -> None:
    outcome = run(CONSOLE_SCRIPT, "evaluate", cwd=tmp_path)

    assert outcome.code == 2
    assert "model: missing: give it a value, model=..." in outcome.err
    assert "Traceback" not in outcome.said
    assert files_in(tmp_path) == []


# --- In this process: what is said of which mistake ----------------------------------------------------------------


Shell = Callable[..., Outcome]
Task = Callable[[Mapping[str, Any], Path], float]


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Callable[[Task], None]:
    """Puts a function in the place of the tasks."""

    def put(function: Task) -> None:
        for name in ("train", "evaluate", "doctor", "compare"):
            module = ModuleType(f"matryoshka.tasks.{name}")
            setattr(module, name, lambda recipe, folder: function(recipe.config, folder))
            monkeypatch.setitem(sys.modules, module.__name__, module)

    return put


@pytest.fixture
def shell(
    task: Callable[[Task], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Shell]:
    """Gives a command in an empty folder, as `python train.py` would run it; tasks do nothing."""
    task(lambda config, folder: 0.0)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MATRYOSHKA_BMF", "nowhere")
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def given(*words: str, command: Callable[[], None] = app.train) -> Outcome:
        monkeypatch.setattr(sys, "argv", [f"{command.__name__}.py", *words])
        code: Any = 0
        try:
            command()
        except SystemExit as end:
            code = end.code or 0
        finally:
            GlobalHydra.instance().clear()
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    yield given
    for handler in [handler for handler in root.handlers if handler not in handlers]:
        root.removeHandler(handler)
        handler.close()
    root.handlers[:], root.level = handlers, level


AT_ONCE = [
    (("+experiment=bmf", "dims=[1024,64]"), "dims[0]: 1024 is wider than the encoder's 768; use dims=[768,64]"),
    (("dims=[768,768]",), "dims[1]: 768 is given twice; use dims=[768]"),
    (("encoder=bge_m3",), "use encoder=e5_small, or encoder=pretrained encoder.model=<folder>"),
    (
        ("data=pairs", "data.train=missing.jsonl", "data.evaluation=missing.jsonl"),
        "data.train: missing.jsonl does not exist",
    ),
    (("+trainer.max_epoch=3",), "trainer.max_epoch: unknown key; did you mean trainer.max_epochs?"),
]


@pytest.mark.parametrize(("words", "message"), AT_ONCE, ids=[" ".join(words) for words, _ in AT_ONCE])
def test_problems_are_listed_at_once(words: tuple[str, ...], message: str, shell: Shell, tmp_path: Path) -> None:
    outcome = shell(*words)

    assert outcome.code == 2
    assert outcome.said.count(message) == 1
    assert outcome.out == ""
    first, *listed = outcome.err.splitlines()
    assert first.endswith("in the configuration:")
    assert int(first.split()[0]) == len(listed)
    assert "Traceback" not in outcome.said
    assert files_in(tmp_path) == []


def test_a_command_that_shows_its_configuration_and_none(shell: Shell, tmp_path: Path) -> None:
    shown, nothing = shell("train", "--cfg", "job", command=console.main), shell(command=console.main)

    assert (shown.code, nothing.code) == (0, 2)
    assert "accumulation_across_epochs: carry" in shown.out
    assert "usage: matryoshka {train,evaluate,dashboard,project}" in nothing.err
    assert files_in(tmp_path) == []


@pytest.mark.parametrize(("word", "code"), [("trian", 2), ("dims=[64]", 2), ("--help", 0), ("-h", 0)])
def test_a_word_that_is_no_command_shows_how_it_is_used(word: str, code: int, shell: Shell) -> None:
    outcome = shell(word, command=console.main)

    assert outcome.code == code
    assert (outcome.err if code else outcome.out).startswith("usage: matryoshka {train,evaluate,dashboard,project}")
    assert "Traceback" not in outcome.said


MISTAKES = [
    # Choices.
    (("experiment=bfm",), "experiment=bfm: unknown choice; did you mean bmf? there are best, bmf, debug"),
    (("+experiment=nothing",), "experiment=nothing: unknown choice; there are best, bmf, debug"),
    (("encoder=bge",), "encoder=bge: unknown choice; did you mean bge_m3? there are bge_m3, e5_small"),
    (("optimizer=sgd",), "optimizer=sgd: unknown choice; there are adamw"),
    (("loss=[ranking2]",), "loss=ranking2: unknown choice; did you mean ranking? there are distilled, ranking, "),
    (("logger=",), "logger=: unknown choice; there are csv, none"),
    (("logger=null",), "logger=null: a group takes the name of a choice; --help lists them"),
    (("loss={a: 3}",), "loss: takes the name of a choice; its values are changed one by one, loss.<key>=<value>"),
    (("+logger=wandb",), "logger has a choice already; write logger=... without +"),
    # Words that are no override.
    (("seed",), "seed: not of the form key=value"),
    (("dims=[768,64",), "dims=[768,64: not of the form key=value"),
    (("encoder.model=multirun/seed=1",), "'multirun/seed=1' is neither a folder here"),  # as jobs of a sweep are called
    (("name=seed=1",), "stands in quotes: \"key='value'\""),
    (("trainer=gpu,cpu",), "add --multirun"),
    (("-m", "--cfg", "job"), "Only one of"),
    # Keys.
    (("optimizer.lrr=1",), "optimizer.lrr: unknown key; did you mean optimizer.lr?"),
    (("optimizer.nesterov=true",), "optimizer.nesterov: unknown key; there are lr, betas, eps"),
    (("lr=1e-5",), "lr: unknown key; did you mean optimizer.lr?"),
    (("max_epochs=3",), "max_epochs: unknown key; did you mean trainer.max_epochs?"),
    (("batchsize=3",), "batchsize: unknown key; did you mean batch_size?"),
    (("wholly_else=3",), "wholly_else: unknown key; --help shows every key"),
    (("encoder.prompts.quary=x",), "encoder.prompts.quary: unknown key; did you mean encoder.prompts.query?"),
    (
        ("trainer.limit_train_batches=3",),
        "trainer.limit_train_batches: is not set by default; write +trainer.limit_train_batches=...",
    ),
    (
        ("scheduler=cosine", "scheduler.cycles=1"),
        "scheduler.cycles: is not set by default; write +scheduler.cycles=...",
    ),
    (("data=hub", "data.documents=[x]"), "data.documents: unknown key; there are name, dataset"),  # other data has it
    (("scheduler.updates=3",), "scheduler.updates: is set by the run itself; remove it"),
    (
        ("encoder.prompts={query: a, passage: b}",),
        "encoder.prompts: the value has keys that are not there by default; write +encoder.prompts=...",
    ),
    # Values that follow others.
    (("dims=${dimensions}",), "dims: Interpolation key 'dimensions' not found"),
    (("seed=${oc.env:NO_SUCH_VARIABLE}",), "seed: "),
    (("data=hub",), "data.dataset: missing: give it a value, data.dataset=..."),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_each_mistake_has_its_message(words: tuple[str, ...], message: str, shell: Shell, tmp_path: Path) -> None:
    outcome = shell(*words)

    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.said
    assert files_in(tmp_path) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "model: missing: give it a value, model=..."),
        (("model=./nowhere",), "encoder.model: ./nowhere does not exist"),
        (("model=embedded:e5_small", "optimizer=adamw"), "optimizer: unknown key"),
        (("model=embedded:e5_small", "dim=[64]"), "dim: unknown key; did you mean dims?"),
        (("model=embedded:e5_small", "+experiment=bmf"), "Could not override 'projection'"),
    ],
)
def test_each_mistake_in_evaluation_has_its_message(
    words: tuple[str, ...], message: str, shell: Shell, tmp_path: Path
) -> None:
    outcome = shell(*words, command=app.evaluate)

    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.said
    assert files_in(tmp_path) == []


def test_the_composed_configuration_can_be_read(shell: Shell, tmp_path: Path) -> None:
    outcome = shell("--cfg", "job", "+experiment=debug", "dims=[64,32]", "+trainer.max_time=1")

    config = yaml.safe_load(outcome.out)
    assert outcome.code == 0
    assert (config["name"], config["dims"], config["batch_size"]) == ("debug", [64, 32], 8)
    assert list(tmp_path.iterdir()) == []


# --- What follows a right command ----------------------------------------------------------------------------------


def run_folder(tmp_path: Path) -> Path:
    (folder,) = (tmp_path / "outputs" / "train").iterdir()
    return folder


def test_a_right_command_reaches_the_task_with_its_values_and_a_folder(
    shell: Shell, task: Callable[[Task], None], tmp_path: Path
) -> None:
    seen: list[tuple[Mapping[str, Any], Path]] = []

    def remember(config: Mapping[str, Any], folder: Path) -> float:
        seen.append((config, folder))
        (folder / "config.yaml").touch()
        return 0.5

    task(remember)
    outcome = shell("dims=[64,32]", "optimizer.lr=1e-4")

    assert outcome.code == 0
    ((config, folder),) = seen
    assert (config["dims"], config["optimizer"]["lr"]) == ([64, 32], 1e-4)
    assert config["sampler"]["batch_size"] == 32  # resolved
    assert folder == run_folder(tmp_path)
    assert (folder / ".hydra" / "overrides.yaml").is_file()


@pytest.mark.parametrize(
    "error", [RuntimeError("the disk burst"), ValueError("the disk burst"), InstantiationException("the disk burst")]
)
def test_a_task_that_fails_exits_with_1_and_keeps_the_traceback_in_its_log(
    error: Exception, shell: Shell, task: Callable[[Task], None], tmp_path: Path
) -> None:
    def failing(config: Mapping[str, Any], folder: Path) -> float:
        raise error

    task(failing)
    outcome = shell("dims=[64]")

    log = run_folder(tmp_path) / "train.log"
    assert outcome.code == 1
    assert outcome.err == f"{type(error).__name__}: the disk burst; the traceback is in {log}\n"
    text = log.read_text(encoding="utf-8")
    assert "Traceback (most recent call last)" in text
    assert "in failing" in text
    assert f"{type(error).__name__}: the disk burst" in text


def test_data_that_cannot_be_used_is_a_mistake_of_the_user(
    shell: Shell, task: Callable[[Task], None], tmp_path: Path
) -> None:
    def failing(config: Mapping[str, Any], folder: Path) -> float:
        raise DataError("pairs.jsonl, row 3: 'anchor' is empty")

    task(failing)
    outcome = shell("dims=[64]")

    assert outcome.code == 2
    assert outcome.err == "pairs.jsonl, row 3: 'anchor' is empty\n"
    assert files_in(tmp_path) == []


def test_what_a_failed_task_wrote_is_kept(shell: Shell, task: Callable[[Task], None], tmp_path: Path) -> None:
    def failing(config: Mapping[str, Any], folder: Path) -> float:
        (folder / "metrics.jsonl").write_text("{}\n", encoding="utf-8")
        raise DataError("no more rows")

    task(failing)

    assert shell("dims=[64]").code == 2
    assert "metrics.jsonl" in files_in(run_folder(tmp_path))


def test_an_interrupted_task_exits_as_shells_expect(shell: Shell, task: Callable[[Task], None]) -> None:
    def interrupted(config: Mapping[str, Any], folder: Path) -> float:
        raise KeyboardInterrupt

    task(interrupted)
    outcome = shell("dims=[64]")

    assert outcome.code == 130
    assert outcome.err.startswith("interrupted; what was written until then is in ")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("words", [("-m", "seed=1,2,3"), ("seed=1,2,3", "-m"), ("seed=1,2,3", "--multirun")])
def test_a_sweep_runs_a_job_for_each_value(
    words: tuple[str, ...], shell: Shell, task: Callable[[Task], None], tmp_path: Path
) -> None:
    jobs: dict[str, int] = {}

    def measured(config: Mapping[str, Any], folder: Path) -> float:
        jobs[folder.name] = config["seed"]
        metrics = {64: {"ndcg@10": config["seed"] / 10}}
        write_result(folder, EvaluationResult("tiny", "pairs", 1, 1, 64, metrics))
        write_atomically(folder / "run.json", json.dumps({"selected_value": config["seed"] / 10}))
        return float(config["seed"] / 10)

    task(measured)

    assert shell(*words).code == 0
    assert jobs == {"seed=1": 1, "seed=2": 2, "seed=3": 3}
    assert len(list((tmp_path / "multirun").rglob("summary.csv"))) == 1


def test_a_failing_job_does_not_stop_a_sweep_but_is_not_forgotten(shell: Shell, task: Callable[[Task], None]) -> None:
    done: list[int] = []

    def failing_once(config: Mapping[str, Any], folder: Path) -> float:
        if config["seed"] == 1:
            raise RuntimeError("the disk burst")
        done.append(config["seed"])
        return 0.5

    task(failing_once)
    outcome = shell("-m", "seed=1,2,3")

    assert outcome.code == 1
    assert done == [2, 3]
    assert "the disk burst" in outcome.said


@pytest.mark.parametrize(
    "question",
    [
        "Wie füge ich eine Seitenzahl ein?",
        "Was heißt 'SUMME', \"x\"?",
        "C'est ${model} [1,2] {a: b}",
        "ends with \\",
        "x\\'y",
    ],
)
def test_a_question_needs_no_quotes_but_the_shells(question: str, shell: Shell, task: Callable[[Task], None]) -> None:
    asked: list[str] = []

    def remember(config: Mapping[str, Any], folder: Path) -> float:
        asked.append(config["ask"])
        return 0.0

    task(remember)

    assert shell("model=embedded:e5_small", f"ask={question}", command=app.evaluate).code == 0
    assert asked == [question]


def test_a_path_needs_no_quotes_but_the_shells(
    shell: Shell, task: Callable[[Task], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[tuple[Any, Path]] = []

    def remember(config: Mapping[str, Any], folder: Path) -> float:
        found.append((config["data"]["train"], folder))
        folder.joinpath("result").touch()
        return 0.0

    task(remember)
    train, held_out = "Über [1]/a=b#c, d.jsonl", "it's (2).jsonl"
    for path in (train, held_out):
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text('{"anchor": "a", "positive": "p"}\n', encoding="utf-8")
    words = ("data=pairs", f"data.train={train}", f"data.evaluation={held_out}")

    for folder in (str(tmp_path / "runs, ä" / "[1] a=b"), "it's"):
        outcome = shell(*words, f"hydra.run.dir={folder}")
        assert (outcome.code, outcome.err) == (0, "")
        assert found.pop() == (train, Path(folder).absolute())
        assert (Path(folder) / "result").is_file()


def test_a_look_at_the_data_alone(shell: Shell, task: Callable[[Task], None]) -> None:
    asked: list[str] = []
    task(lambda config, folder: float(asked.append(config["task"]) or 0.0))

    assert shell("task=doctor").code == 0
    assert asked == ["doctor"]
    outcome = shell("task=docter")
    assert outcome.code == 2
    assert (
        "task: \"docter\" is not 'train', 'project', 'curve', 'mine', 'blend', 'explain', 'doctor' or 'plan'"
        in outcome.err
    )


def test_a_comparison_needs_two_runs_and_no_model(shell: Shell) -> None:
    assert shell("compare=[a,b]", command=app.evaluate).code == 0
    for words, message in (
        (("compare=[a]",), "compare: 1 runs are not two; use compare=[<run folder>,<run folder>]"),
        (("compare=[a,b]", "protocol=as-is"), "protocol: \"as-is\" is not 'as_is' or 'merged'"),
        (("compare=[a,b]", "metrics=map@100"), "metrics: unknown key; did you mean metric?"),
    ):
        outcome = shell(*words, command=app.evaluate)
        assert outcome.code == 2
        assert message in outcome.err


def test_what_selects_the_checkpoint_is_checked_before_the_start(shell: Shell) -> None:
    for select in ("map@100/mean", "merged/ndcg@10/worst", "merged/ndcg@10/dim_64", "ndcg@10/retention"):
        assert problems(f"evaluator.select={select}") == []
    assert shell(f"evaluator.select={select}").code == 0
    for select, message in (
        ("ndcg@10/median", "'median' is no dim and nothing over dims; use ndcg@10/dim_..., ndcg@10/mean"),
        ("merged/ndcg@10/dim_32", "dim 32 is not among dims=[768,512,256,128,64]"),
        ("merged/ndcg@11", "'ndcg@11' is not measured"),
    ):
        ((_, said),) = problems(f"evaluator.select={select}")
        assert message in said
    outcome = shell(f"evaluator.select={select}")
    assert outcome.code == 2
    assert message in outcome.err


def test_split_doctor_and_bm25_are_checked_before_the_start(shell: Shell) -> None:
    outcome = shell("split.share=2", "doctor.languages=-1", "bm25.language=deutsch", "baselines=bm25")

    assert outcome.code == 2
    for key in ("split.share: 2", "doctor.languages: -1", "bm25.language: 'deutsch' has no stemmer", "baselines: "):
        assert key in outcome.err
