"""A diagnosis in the terminal and as files: warnings in a run's first lines, or the whole page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.table import Table
from rich.text import Text

from matryoshka.data.doctor.diagnosis import Diagnosis, HeldOut, Overlap
from matryoshka.data.doctor.training_texts import Languages, TextPlace
from matryoshka.report.figures.doctor_figure import doctor_figure
from matryoshka.report.figures.metric_figure import save_figure
from matryoshka.report.terminal.lines import console, plain_table, say
from matryoshka.storage.atomic import write_json

SHOWN = 70  # characters of a text
PARTS = {
    "queries_in_training": "queries",
    "answers_in_training": "right answers",
    "others_in_training": "other documents",
}


def show_diagnosis(diagnosis: Diagnosis, brief: bool) -> None:
    """The warnings, worst first, or that there are none; unless brief, every count and example below them."""
    for warning in diagnosis.warnings:
        console.print(Text.assemble((f"{'doctor':>8}  ", "bold"), (warning, "yellow")), soft_wrap=True)
    if not diagnosis.warnings:
        say("doctor", nothing_found(diagnosis))
    if brief:
        return
    console.print(_columns(diagnosis))
    if diagnosis.held_out:
        console.print(_held_out(diagnosis))
        console.print(_overlaps(diagnosis))
    for line in _facts(diagnosis):
        console.print(Text(line), soft_wrap=True)
    for title, lines in (("shared with held-out sets", _leaks(diagnosis)), ("examples", _examples(diagnosis))):
        if shown := list(lines):
            console.print(Text(f"\n{title}", style="bold"))
        for label, text in shown:
            console.print(Text.assemble(f"  {label}  ", (shortened(text), "dim")), soft_wrap=True)


def nothing_found(diagnosis: Diagnosis) -> str:
    """What was looked at without a finding, in a line."""
    queries = sum(found.queries for found in diagnosis.held_out.values())
    return f"nothing found in {diagnosis.rows:,} training rows and {queries:,} held-out queries"


def write_diagnosis(folder: Path, diagnosis: Diagnosis) -> dict[str, Path]:
    """doctor.json, doctor.png and doctor.svg in the folder; their paths, by what they are."""
    figure = save_figure(doctor_figure(diagnosis), folder / "doctor")
    return {"diagnosis": write_json(folder / "doctor.json", asdict(diagnosis)), "figure": figure[0]}


def shortened(text: str) -> str:
    """A text in one line, as much as fits."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 1]}…"


def language_lines(languages: Languages | None) -> str:
    """A line for each language of the judged texts, and one that says how many these are."""
    if languages is None:
        return "not judged"
    shares = [f"{language} {share:.0%}" for language, share in languages.shares.items()]
    return "\n".join([*shares, f"of {languages.judged:,} judged"])


def _columns(diagnosis: Diagnosis) -> Table:
    table = _table(f"{diagnosis.rows:,} training rows", list(diagnosis.columns))
    columns = diagnosis.columns.values()
    near = [column.near_copies for column in columns]
    _row(table, "distinct texts", [f"{column.distinct:,}" for column in columns])
    _row(table, "copies of an earlier one", [f"{column.copies.exact:,}" for column in columns])
    _row(table, "  but for case, spaces, punctuation", [f"{column.copies.normalised:,}" for column in columns])
    _row(table, "near copies", ["not looked for" if copies is None else f"{copies.texts:,}" for copies in near])
    _row(table, "without a letter or digit", [f"{column.wordless.count:,}" for column in columns])
    _row(table, "tokens, mean", [f"{column.lengths.mean:.0f}" for column in columns])
    _row(table, "tokens, longest", [f"{column.lengths.longest:,}" for column in columns])
    _row(table, f"cut at {diagnosis.max_seq_length:,}", [f"{column.lengths.cut_share:.1%}" for column in columns])
    _row(table, "languages", [language_lines(column.languages) for column in columns])
    return table


def _held_out(diagnosis: Diagnosis) -> Table:
    table = _table("held out", list(diagnosis.held_out))
    sets = diagnosis.held_out.values()
    _row(table, "queries", [f"{found.queries:,}" for found in sets])
    _row(table, "  rows that ask one again", [f"{found.repeated:,}" for found in sets])
    _row(table, "  that share an answer", [f"{found.copies.sharing:,}" for found in sets])
    _row(table, "documents", [f"{found.documents:,}" for found in sets])
    _row(table, "  copies of an earlier one", [f"{found.copies.documents:,}" for found in sets])
    _row(table, "queries whose answer has copies", [f"{found.copies.answers:,}" for found in sets])
    _row(table, "copies of a right answer, mean", [f"{found.copies.mean:.1f}" for found in sets])
    _row(table, "accuracy@1 of a perfect retriever", [f"{found.copies.best_accuracy:.2f}" for found in sets])
    for part in ("queries", "documents"):
        cut = [f"{found.lengths[part].cut_share:.1%}" if part in found.lengths else "not counted" for found in sets]
        _row(table, f"{part} cut at {diagnosis.max_seq_length:,}", cut)
    return table


def _overlaps(diagnosis: Diagnosis) -> Table:
    table = _table("held-out texts in training", ["texts", "exact", "normalised", "near", "rows"])
    for name, found in diagnosis.held_out.items():
        for part, overlap in _parts(found):
            near = "–" if overlap.near is None else f"{overlap.near:,}"
            counts = [f"{count:,}" for count in (overlap.texts, overlap.exact, overlap.normalised)]
            _row(table, f"{part} of {name}", [*counts, near, f"{overlap.rows:,}"])
    return table


def _facts(diagnosis: Diagnosis) -> Iterator[str]:
    rows, pairs = diagnosis.repeated_rows, diagnosis.same_pairs
    yield f"rows that repeat an earlier one whole: {rows.exact:,}, normalised {rows.normalised:,}"
    yield f"rows whose anchor is their positive: {pairs.count:,}"
    if batches := diagnosis.batches:
        done = ", left out of the loss" if diagnosis.masked else ""
        yield f"rows that meet a copy in their batch, each epoch: {batches.clashing:,}{done}"
        yield f"batches, each epoch: {batches.batches:,}, of one row {batches.of_one_row:,}"
    for found in diagnosis.between:
        first, second = found.sets
        yield f"{second} texts in {first}: queries {found.queries.normalised:,}, answers {found.answers.normalised:,}"


def _leaks(diagnosis: Diagnosis) -> Iterator[tuple[str, str]]:
    for name, found in diagnosis.held_out.items():
        for part, overlap in _parts(found):
            for match in overlap.examples:
                where = f"row {match.row:,}, {match.column}"
                yield f"{where} = {match.id} ({part} of {name}, {match.likeness})", match.text
    for between in diagnosis.between:
        for shared in between.examples:
            yield " = ".join(f"{i} ({n})" for i, n in zip(shared.ids, between.sets, strict=True)), shared.text


def _examples(diagnosis: Diagnosis) -> Iterator[tuple[str, str]]:
    for place in diagnosis.same_pairs.examples:
        yield f"{_where(place)}: anchor is positive", place.text
    for column in diagnosis.columns.values():
        for place in column.wordless.examples:
            yield f"{_where(place)}: no letter or digit", place.text
        for repeated in column.most_repeated:
            yield f"{_where(repeated.first)}: in {repeated.rows:,} rows", repeated.first.text
        for pair in column.near_copies.examples if column.near_copies else ():
            yield f"{_where(pair.later)}: nearly row {pair.earlier.row:,} ({pair.jaccard:.2f})", pair.later.text


def _where(place: TextPlace) -> str:
    return f"row {place.row:,}, {place.column}"


def _parts(found: HeldOut) -> Iterator[tuple[str, Overlap]]:
    return ((label, getattr(found, name)) for name, label in PARTS.items())


def _table(title: str, labels: Sequence[str]) -> Table:
    table = plain_table(title)
    table.add_column("", style="bold")
    for label in labels:
        table.add_column(Text(label), justify="right")
    return table


def _row(table: Table, label: str, cells: Sequence[str]) -> None:
    """A row of texts that are shown as they are: a name from the data may look like markup."""
    table.add_row(Text(label), *map(Text, cells))
