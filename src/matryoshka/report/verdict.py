"""The first lines about a run: what it gained, what that cost elsewhere, and which weights were kept."""

from __future__ import annotations

from collections.abc import Iterator

from matryoshka.evaluation.gains import Gain, Gains
from matryoshka.evaluation.result import display_name
from matryoshka.report.record import TEST, TrainingRecord


def verdict(record: TrainingRecord) -> tuple[str, ...]:
    """One sentence on the test set, one on each further set, one on the weights that were kept."""
    return tuple(_sentences(record))


def _sentences(record: TrainingRecord) -> Iterator[str]:
    for name, of in record.gains.items():
        further = f"on {name}" if name in record.tuned.parts else f"elsewhere, on {name}"
        where = f"on the test queries ({record.tuned.data})" if name == TEST else further
        yield f"{where}: {_said(of)}"
    if choice := record.blend or record.mixed:
        yield f"kept: {choice.said}"


def _said(of: Gains) -> str:
    """The mean over dims and the dim that gained least, each with its paired interval."""
    metric, worst = display_name(of.metric), of.by_dim[of.worst]
    if len(of.by_dim) == 1:
        return f"{metric} {_word(worst)} by {worst} at dim {of.worst}"
    mean = f"{metric} {_word(of.mean)} by {of.mean} on average over dims"
    if worst.value >= 0:
        return f"{mean}, lower at none; least at {of.worst}, {worst}"
    return f"{mean}; most lost at {of.worst}, {worst}"


def _word(gain: Gain) -> str:
    """better and worse where the interval says so."""
    if not gain.shown:
        return "changed, no difference shown,"
    return "better" if gain.value > 0 else "worse"
