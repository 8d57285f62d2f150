"""What the first lines of a run say of files that are not the plainest of their kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from matryoshka.data.question_file import LAYOUT, is_question_file
from matryoshka.data.reading.files import ending
from matryoshka.data.reading.form import TextForm
from matryoshka.data.reading.separator import USUAL, separator_of


def files_read_as(paths: Iterable[str], form: TextForm, columns: Sequence[str]) -> Iterator[str]:
    """A line for each file whose layout, separator or encoding was found or given. columns: those that are wanted."""
    for path in dict.fromkeys(paths):
        kind, told = ending(path), []
        if is_question_file(path, form):
            told.append(f"as {LAYOUT}")
        elif kind in USUAL and (separator := separator_of(Path(path), form, columns)) != USUAL[kind]:
            told.append(f"with {separator!r} between cells")
        if form.other and kind != ".parquet":
            told.append(f"in {form.other}")
        if told:
            yield f"{path} read {', '.join(told)}"
