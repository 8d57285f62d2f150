"""The card of a real run whose last epoch is worse than its best: every figure is the saved model's, nobody else's."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from matryoshka.evaluation.result import EvaluationResult
from tests.parity.conftest import Parity, release
from tests.parity.files import read_json
from tests.parity.german_texts import write_pairs
from tests.report.records import tables
from tests.test_end_to_end import command

AREA = "Model card"
SAVED, HUB = "evaluate.py on the saved model", release("huggingface_hub")
SELECTED = "ndcg@10/dim_768"
# The card's way: what chose the checkpoint is what is reported, so the log has the figures of the saved model too.
CARDS_WAY = ["split=same", "baselines=[]"]
PAIRS = ["data=pairs", "data.train=train.jsonl", "data.evaluation=evaluation.jsonl"]
# The rate grows until the end, far beyond what is good: each of the three epochs is worse than the one before.
HARMFUL = ["optimizer.lr=1e-3", "scheduler=constant", "scheduler.warmup=1.0", "trainer.max_epochs=3", "batch_size=8"]

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@dataclass
class Run:
    """A finished run, and what evaluate.py measures of the model that it saved."""

    folder: Path
    again: EvaluationResult

    @property
    def result(self) -> EvaluationResult:
        return EvaluationResult.from_dict(read_json(self.folder / "results.json"))

    @property
    def base(self) -> EvaluationResult:
        return EvaluationResult.from_dict(read_json(self.folder / "base.json"))

    @property
    def card(self) -> ModelCard:
        card: ModelCard = ModelCard.load(self.folder / "model" / "README.md")
        return card

    @property
    def data(self) -> ModelCardData:
        data = self.card.data
        assert isinstance(data, ModelCardData)
        return data

    def evaluations(self) -> list[dict[str, float]]:
        """The logged evaluations, one an epoch; the untrained encoder's left out."""
        rows = [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]
        return [row for row in rows if SELECTED in row and row["step"] > 0]

    def saved_step(self) -> int:
        return int(max(self.evaluations(), key=lambda row: row[SELECTED])["step"])


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with tempfile.TemporaryDirectory() as name:  # half a gigabyte: not to be kept for later, as pytest would
        folder = Path(name)
        write_pairs(folder, train=24, evaluation=24)
        trained = [
            *PAIRS,
            *CARDS_WAY,
            *HARMFUL,
            f"evaluator.select={SELECTED}",
            "trainer=cpu",
            "trainer.precision=32-true",
            "blend=none",
        ]
        succeeds("train.py", *trained, "trainer.log_every_n_steps=1", "hydra.run.dir=run", cwd=folder)
        measured = ["model=run/model", *PAIRS, "device=cpu", "precision=fp32", "hydra.run.dir=measured"]
        succeeds("evaluate.py", *measured, cwd=folder)
        yield Run(folder / "run", EvaluationResult.from_dict(read_json(folder / "measured" / "results.json")))


def succeeds(*words: str, cwd: Path) -> None:
    done = command(*words, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr


def rounded(result: EvaluationResult) -> list[list[list[str]]]:
    """A table a dim: name and value of every metric, with the digits that a card shows."""
    return [[[f"cosine_{n}", f"{v:.4f}"] for n, v in result.metrics[dim].items()] for dim in result.dims]


def test_the_last_evaluation_is_worse_than_the_saved_models(run: Run) -> None:
    """Otherwise nothing below could tell the two apart."""
    *_, last = run.evaluations()
    assert len(run.evaluations()) == 3
    assert run.saved_step() < last["step"]
    assert run.again.flat()[SELECTED] > last[SELECTED] + 0.05
    for dim in run.result.dims:
        assert abs(run.again.metrics[dim]["ndcg@10"] - last[f"ndcg@10/dim_{dim}"]) > 1e-3


def test_the_results_are_the_saved_models(run: Run, parity: Parity) -> None:
    ours, again = run.result.flat(), run.again.flat()
    assert (list(ours), len(ours)) == (list(again), 5 * 15)
    parity.within("results.json, every metric at every dim", SAVED, [*ours.values()], [*again.values()], 1e-6)

    (best,) = [row for row in run.evaluations() if row["step"] == run.saved_step()]
    logged = [best[name] for name in ours]
    parity.within(
        "results.json, every metric at every dim", "the best evaluation in training", [*ours.values()], logged, 1e-6
    )


def test_the_model_index_is_the_saved_models(run: Run, parity: Parity) -> None:
    results = run.data.eval_results
    assert results is not None
    names = [f"{r.metric_type.removeprefix('cosine_')}/{r.dataset_type}" for r in results]
    assert names == list(run.again.flat())
    values = [result.metric_value for result in results]
    parity.within("model-index, every metric at every dim", SAVED, values, [*run.again.flat().values()], 1e-6)
    parity.equal("model-index, to the last digit", "results.json", values, [*run.result.flat().values()])


def test_the_hub_reads_the_metadata_as_it_was_meant(run: Run, parity: Parity) -> None:
    expected = [
        EvalResult(
            task_type="information-retrieval",
            task_name="Information Retrieval",
            dataset_type=f"dim_{dim}",
            dataset_name=f"dim {dim}",
            metric_type=f"cosine_{name}",
            metric_name=f"Cosine {name.title()}",
            metric_value=value,
        )
        for dim in run.result.dims
        for name, value in run.result.metrics[dim].items()
    ]
    parity.equal("model-index as EvalResults", HUB, expected, run.data.eval_results or [])
    again = ModelCard(f"---\n{run.data.to_yaml()}\n---\n{run.card.text}")
    assert (again.data.to_dict(), again.text) == (run.data.to_dict(), run.card.text)  # type: ignore[no-untyped-call]
    facts = (run.data.base_model, run.data.library_name, run.data.pipeline_tag)
    assert facts == ("intfloat/multilingual-e5-small", "sentence-transformers", "sentence-similarity")


def test_the_tables_are_the_saved_models(run: Run, parity: Parity) -> None:
    essential, *by_dim, _, _, _ = tables(run.card.content)
    shown = [[[name, tuned] for name, _, tuned in table[1:]] for table in by_dim]
    parity.equal("tables of the card, four digits", SAVED, shown, rounded(run.again))
    before = [[[name, base] for name, base, _ in table[1:]] for table in by_dim]
    parity.equal("tables of the card, before training", "base.json", before, rounded(run.base))
    columns, *rows = essential
    for (dim, *cells), width in zip(rows, run.again.dims, strict=True):
        assert dim == str(width)
        assert [cell.split("**")[1] for cell in cells] == [
            f"{run.again.metrics[width][name]:.4f}" for name in columns[1:]
        ]


def test_the_saved_step_is_the_best_evaluations(run: Run, parity: Parity) -> None:
    header, *rows = tables(run.card.content)[-1]
    (bold,) = [[cell.strip("*") for cell in row] for row in rows if row[0].startswith("**")]
    told = [int(bold[header.index("Step")]), read_json(run.folder / "run.json")["saved_step"]]
    parity.equal("bold row of the log, run.json", "the best evaluation in training", told, [run.saved_step()] * 2)
    figures = [f"{run.again.metrics[dim]['ndcg@10']:.4f}" for dim in run.again.dims]
    parity.equal("figures of the bold row, four digits", SAVED, bold[-len(figures) :], figures)
    assert f"the weights of step {run.saved_step()} of 9" in run.card.text


def test_the_tracker_has_the_same_table(run: Run, parity: Parity) -> None:
    (path,) = run.folder.glob("wandb/offline-run-*/files/media/table/results_*.table.json")
    table = read_json(path)
    rows = [
        [dim, label, *result.metrics[dim].values()]
        for label, result in (("base", run.base), ("tuned", run.result))
        for dim in result.dims
    ]
    parity.equal("table in Weights & Biases, every figure", "results.json and base.json", table["data"], rows)
    assert table["columns"] == ["dim", "model", *run.result.metrics[768]]
