"""What a run shows in W&B: its configuration, tags, summary and tables, as plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from matryoshka.evaluation.failures import Failures
from matryoshka.report.record import DEV, PROJECTED, TrainingRecord
from matryoshka.report.verdict import verdict
from matryoshka.report.wandb import names
from matryoshka.storage.credentials import is_secret_name, masked_values

TAG_LENGTH = 64  # characters that W&B takes
Row = list[str | int | float | None]
COLUMNS = ["dim", "query_id", "query", "rank", "answer", "answer_similarity", "ranked_first", "first_similarity"]
Table = tuple[str, Sequence[str], Sequence[Sequence[Any]]]  # name, columns, rows


def flat_config(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The configuration under dotted keys (`optimizer.lr`), lists kept; texts under a secret's key are left out."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flat_config(value, f"{dotted}.")
        elif not (isinstance(value, str) and is_secret_name(dotted)):
            flat[dotted] = masked_values(value)
    return flat


def tags_of(config: Mapping[str, Any], choices: Sequence[str]) -> list[str]:
    """Recipe, encoder, the sweep's choices, and `stand-in` where the run is none of the recipe's reference."""
    encoder = config.get("encoder", {}).get("model")
    stand_in = "stand-in" if config.get("stand_in") else None
    tags = [str(tag)[:TAG_LENGTH] for tag in (config.get("name"), encoder, *choices, stand_in) if tag]
    return list(dict.fromkeys(tags))


def summary_of(record: TrainingRecord) -> dict[str, Any]:
    """Every number of results.json and of sets/ by its name in W&B, and results.json itself.

    Dev metrics are the saved update's, where its weights were kept. `projection/...` is what the projection alone gave.
    """
    update = None if record.blended else record.saved_step
    saved = {name: value for row in record.history if row["step"] == update for name, value in row.items()}
    rows = {name: value for name, value in saved.items() if name.startswith(DEV)} | record.tuned.flat()
    rows |= record.base.flat("base/") | sets_row(record)
    rows |= record.projected.flat(PROJECTED) if record.projected else {}
    for name, results in record.sets.items():
        rows |= results.base.flat(f"base/{name}/") if results.base else {}
    summary: dict[str, Any] = {names.name_of(name): value for name, value in rows.items()}
    summary |= {"results_json": record.tuned.as_dict(), "saved_update": record.saved_step, "seconds": record.seconds}
    told = {
        names.SELECTED: record.selected_value,
        "selected": record.selected,
        "split": record.split,
        "stand_in": "; ".join(record.stand_in),
        "verdict": "; ".join(verdict(record)),
    }
    return summary | {name: value for name, value in told.items() if value not in (None, "")}


def sets_row(record: TrainingRecord) -> dict[str, float]:
    """What the kept weights are worth on each further set: `<set>/ndcg@10/dim_256` -> value."""
    return {n: value for name, of in record.sets.items() for n, value in of.tuned.flat(f"{name}/").items()}


def tables_of(record: TrainingRecord) -> Iterator[Table]:
    """What a person may want to sort and filter: results, what is not found, what shorter vectors cost."""
    results, hardest, lost, deployment = names.TABLES
    metrics = list(record.tuned.metrics[record.tuned.dims[0]])
    labelled = [("base", record.base), ("tuned", record.tuned), *((other.model, other) for other in record.baselines)]
    rows = [[dim, label, *map(of.metrics[dim].get, metrics)] for label, of in labelled for dim in of.dims]
    yield results, ["dim", "model", *metrics], rows
    if record.sets:
        measured = [
            (name, label, of)
            for name, found in record.sets.items()
            for label, of in (("base", found.base), ("tuned", found.tuned))
            if of
        ]
        rows = [
            [name, dim, label, *map(of.metrics[dim].get, metrics)] for name, label, of in measured for dim in of.dims
        ]
        yield names.SETS, ["set", "dim", "model", *metrics], rows
    if record.failures:
        yield hardest, *failures_rows(record.failures)
        yield lost, *lost_rows(record.failures)
    if record.deployment:
        options = [asdict(option) for option in record.deployment.options]
        yield deployment, list(options[0]), [list(option.values()) for option in options]


def failures_rows(failures: Failures) -> tuple[list[str], list[Row]]:
    """Columns and rows of the hardest queries, a row a dim and query; None is a rank beyond the hits kept."""
    rows: list[Row] = []
    for dim, hardest in failures.hardest.items():
        for failure in hardest:
            first, similarity = failure.beaten_by[0] if failure.beaten_by else (None, None)
            answer: Row = [failure.rank, failure.answer, failure.answer_similarity]
            rows.append([dim, failure.query_id, failure.query, *answer, first, similarity])
    return COLUMNS, rows


def lost_rows(failures: Failures) -> tuple[list[str], list[Row]]:
    """Columns and rows of the queries that the narrowest dim loses, with the rank at every dim."""
    ranks = [f"rank/dim_{dim}" for dim in failures.dims]
    rows: list[Row] = [
        [lost.query_id, lost.query, lost.answer, *lost.ranks.values(), lost.first] for lost in failures.lost
    ]
    return ["query_id", "query", "answer", *ranks, f"ranked_first/dim_{failures.dims[-1]}"], rows
