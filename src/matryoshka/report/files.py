"""Everything a run leaves behind."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

import yaml

from matryoshka.evaluation.result import EvaluationResult, lexical
from matryoshka.evaluation.suite import SuiteResult
from matryoshka.report.card.card import model_card
from matryoshka.report.figures.deployment_figure import metric_against_bytes
from matryoshka.report.figures.metric_figure import save_figure
from matryoshka.report.page.report import Report, write_report
from matryoshka.report.page.templates import dims_figure
from matryoshka.report.rankings import write_rankings
from matryoshka.report.record import TrainingRecord
from matryoshka.report.terminal.doctor import write_diagnosis
from matryoshka.report.verdict import verdict
from matryoshka.storage.atomic import write_atomically, write_json
from matryoshka.storage.credentials import masked_values
from matryoshka.training.loss_spikes import loss_spikes

if TYPE_CHECKING:
    from matryoshka.encoder.encoder import Encoder

FINISHED = "run.json"  # the last file that a training writes


class Exporter(Protocol):
    """Writes a model folder."""

    def save(self, encoder: Encoder, folder: Path) -> Path:
        """Write the encoder into the folder and return it."""


def write_config(folder: Path, config: Mapping[str, Any]) -> Path:
    """config.yaml: the configuration with every value resolved, `auto` precision included."""
    text = yaml.safe_dump(masked_values(dict(config)), sort_keys=False, allow_unicode=True)
    return write_atomically(folder / "config.yaml", text)


def write_result(folder: Path, result: EvaluationResult, name: str = "results") -> Path:
    """<name>.json: one EvaluationResult."""
    return write_json(folder / f"{name}.json", result.as_dict())


def write_figure(folder: Path, report: Report, note: str = "") -> list[Path]:
    """metric_against_dim.png and .svg: the first figure of the report's page."""
    return save_figure(dims_figure(report, note), folder / "metric_against_dim")


def write_measured(folder: Path, shown: TrainingRecord | Report, note: str = "") -> dict[str, Path]:
    """What a measured model leaves: results, also of baselines and further sets, rankings, vectors and failures."""
    written = {"results": write_result(folder, shown.tuned)}
    for name, results in shown.sets.items():
        path = folder / "sets" / f"{quote(name, safe=' ')}.json"  # one file, whatever the name
        written["further sets"] = write_json(path, results.as_dict()).parent
    if shown.baselines:
        written["baselines"] = write_json(folder / "baselines.json", [other.as_dict() for other in shown.baselines])
    if (bm25 := lexical(shown.baselines)) and bm25.rankings:
        write_rankings(folder / "rankings_bm25", bm25.rankings)
    if rankings := shown.tuned.rankings:
        written["rankings"] = write_rankings(folder / "rankings", rankings)["queries"].parent
    if shown.deployment:
        written["vectors"] = write_json(folder / "deployment.json", asdict(shown.deployment))
        save_figure(metric_against_bytes(shown.deployment, note=note), folder / "deployment")
    if shown.failures:
        written["failures"] = write_json(folder / "failures.json", asdict(shown.failures))
    return written


def write_training(
    folder: Path, record: TrainingRecord, encoder: Encoder | None, exporter: Exporter | None
) -> dict[str, Path]:
    """What a training run leaves, by what it is; the model with its card where it is exported, the report last."""
    same = () if record.dev_base or not record.split else (record.split,)  # a figure that flatters must say so
    note = "; ".join((*record.stand_in, *same))
    report = Report.of_training(record)
    written = write_measured(folder, record, note)
    written["base results"] = write_result(folder, record.base, "base")
    if record.base.rankings:
        write_rankings(folder / "rankings_base", record.base.rankings)
    if record.diagnosis:
        written["data doctor"] = write_diagnosis(folder, record.diagnosis)["diagnosis"]
    if record.mixed:
        written["mix"] = write_json(folder / "blend.json", {**asdict(record.mixed), "weights": record.mixed.weights})
    written |= {
        "every logged value": folder / "metrics.jsonl",
        "configuration": folder / "config.yaml",
        "figure": write_figure(folder, report, note)[0],
    }
    if exporter is not None and encoder is not None:
        written["model"] = exporter.save(encoder, folder / "model")
        written["model card"] = write_atomically(folder / "model" / "README.md", model_card(record))
    written["report"] = write_report(folder, report)
    return written | {"run": _write_run(folder, record)}  # the last: where it is, the run is finished


def write_evaluation(folder: Path, report: Report) -> dict[str, Path]:
    """What `evaluate.py` leaves, by what it is."""
    more = {"configuration": folder / "config.yaml", "figure": write_figure(folder, report)[0]}
    suite = {"suite": _write_suite(folder, report.suite)} if report.suite else {}
    return write_measured(folder, report) | suite | more | {"report": write_report(folder, report)}


def _write_suite(folder: Path, suite: SuiteResult) -> Path:
    """suite.json: what results.json is the mean of, and the worst sets; suite.csv: every figure, a row each."""
    write_json(folder / "suite.json", suite.as_dict())
    content = io.StringIO()
    rows = list(suite.rows())
    writer = csv.DictWriter(content, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return write_atomically(folder / "suite.csv", content.getvalue())


def _write_run(folder: Path, record: TrainingRecord) -> Path:
    """run.json: what the run was, how long it took, on what."""
    facts = {
        "name": record.name,
        "stand_in": list(record.stand_in),
        "training_pairs": record.pairs.rows,
        "batches": asdict(record.batches) if record.batches else {},
        "updates": record.updates,
        "skipped_updates": record.skipped,
        "loss_spikes": [asdict(spike) for spike in loss_spikes(record.history)],
        "saved_step": record.saved_step,
        "selected": record.selected,
        "selected_value": record.selected_value,
        "split": record.split,
        "verdict": list(verdict(record)),
        "gains": {name: asdict(of) for name, of in record.gains.items()},
        "blend": asdict(record.blend) if record.blend else None,
        "explanation": record.explanation.as_dict() if record.explanation else None,
        "seconds": round(record.seconds, 1),
        "revisions": {group: record.config.get(group, {}).get("revision") for group in ("encoder", "data")},
        "environment": dict(record.environment),
    }
    return write_json(folder / FINISHED, facts)
