"""The rows of the model card's tables, from a training record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matryoshka.evaluation.result import NO_DIM, EvaluationResult
from matryoshka.report.markdown import plain, shortened
from matryoshka.report.record import TrainingRecord
from matryoshka.report.terminal.result_table import ESSENTIAL

SAMPLE = 1000  # characters of a text


def evaluation_tables(record: TrainingRecord) -> dict[str, Any]:
    """The metrics at every dim before and after, of the baselines, by each way of counting copies, of further sets."""
    base, tuned = record.base.metrics, record.tuned.metrics
    measured = list(tuned[record.tuned.dims[0]])
    essential = [name for name in ESSENTIAL if name in measured] or measured[:1]
    rows = _base_to_tuned(record.base, record.tuned, essential)
    for other in record.baselines:
        for d in other.dims:
            label = plain(other.model if d == NO_DIM else f"{other.model}, {d}")
            rows.append([label, *(f"{other.metrics[d][name]:.4f}" for name in essential)])
    return {
        "essential": essential,
        "essential_rows": rows,
        "protocol_columns": ["Dim", *(f"{name}, {way}" for name in essential for way in ("as is", "ties", "merged"))],
        "protocol_rows": _protocols(record.tuned, essential) if record.tuned.copies else [],
        "metric_rows": {
            d: [[f"cosine_{name}", f"{base[d][name]:.4f}", f"{tuned[d][name]:.4f}"] for name in measured]
            for d in record.tuned.dims
        },
        "set_rows": {name: _base_to_tuned(of.base, of.tuned, essential) for name, of in record.sets.items()},
    }


def _base_to_tuned(base: EvaluationResult | None, tuned: EvaluationResult, names: Sequence[str]) -> list[list[str]]:
    """A row a dim: each metric before, where there is a base, and after, with its interval."""

    def cell(dim: int, name: str) -> str:
        before = f"{base.metrics[dim][name]:.4f} → " if base else ""
        ends = tuned.intervals.get(dim, {}).get(name)
        interval = f" ({ends[0]:.3f} to {ends[1]:.3f})" if ends else ""
        return f"{before}**{tuned.metrics[dim][name]:.4f}**{interval}"

    return [[str(dim), *(cell(dim, name) for name in names)] for dim in tuned.dims]


def _protocols(result: EvaluationResult, names: Sequence[str]) -> list[list[str]]:
    """A row a dim: each metric as is, averaged over ties, merged; and what a perfect retriever gets."""
    ways = [(str(d), result.metrics[d], result.expected[d], result.merged[d]) for d in result.dims]
    ways.append(("a perfect retriever", result.ceiling, result.ceiling, result.merged_ceiling))
    return [[label, *(f"{way[name]:.4f}" for name in names for way in of)] for label, *of in ways]


def training_data_tables(record: TrainingRecord) -> dict[str, Any]:
    """How long the texts of each column are, and some of them."""
    columns = record.pairs.columns
    lengths = [record.pairs.lengths[column] for column in columns]
    details = [
        f"<ul><li>min: {low} tokens</li><li>mean: {mean:.2f} tokens</li><li>max: {high} tokens</li></ul>"
        for low, mean, high in lengths
    ]
    samples = [[plain(shortened(row[column], SAMPLE)) for column in columns] for row in record.pairs.samples]
    return {"length_rows": [["details", *details]], "sample_rows": samples}


def log_table(record: TrainingRecord) -> dict[str, Any]:
    """One row a step: its training loss, its evaluation or both; the saved step's row in bold."""
    metric = record.selected.removeprefix("merged/").partition("/")[0]
    names = ["train/loss", *(f"{record.selection_prefix}{metric}/dim_{dim}" for dim in record.tuned.dims)]
    steps: dict[int, dict[str, float]] = {}
    for logged in record.history:
        steps.setdefault(int(logged["step"]), {}).update(logged)
    rows = []
    for step, row in sorted(steps.items()):
        cells = [f"{row['epoch']:.4f}", str(step), *(f"{row[n]:.4f}" if n in row else "-" for n in names)]
        rows.append([f"**{cell}**" for cell in cells] if step == record.saved_step else cells)
    dev = "dev_" if record.dev_base else ""
    columns = ["Epoch", "Step", "Training Loss", *(f"{dev}dim_{dim}_cosine_{metric}" for dim in record.tuned.dims)]
    return {"log_columns": columns, "log_rows": rows, "saved_step_logged": record.saved_step in steps}
