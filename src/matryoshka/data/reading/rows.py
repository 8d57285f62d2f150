"""Rows of a file as a memory-mapped Arrow table (through `datasets`), with errors that name file and row."""

from __future__ import annotations

import csv
import datetime
import glob
import io
import logging
import reprlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matryoshka.data.reading.files import ending, opened, require_readable, state, unpacked
from matryoshka.data.reading.form import PLAIN, TextForm
from matryoshka.data.reading.json_rows import json_rows
from matryoshka.data.reading.json_text import json_objects
from matryoshka.data.reading.separator import USUAL, read_with, separator_of
from matryoshka.data.reading.unreadable import naming, require_cells
from matryoshka.errors import DataError
from matryoshka.storage.cache import cache_folder, keep

if TYPE_CHECKING:
    from datasets import Dataset

LONGEST_TEXT = 1_000_000  # characters, some 300 pages: more is a file that lost its line ends or quotes
TEXTS = ("string", "large_string", "string_view")  # Arrow's types of texts


def read_rows(path: str, form: TextForm = PLAIN, columns: Sequence[str] = ()) -> Dataset:
    """All rows of a JSON lines, CSV, TSV or Parquet file. Raises DataError naming the file and, where known, the line.

    Every cell of a CSV or TSV file is a text: `007` keeps its zeros and `NA` is no missing value; so is whatever stands
    in quotes in JSON. All but Parquet may be packed with gzip. columns: those that are wanted, by which the separator
    is found.
    """
    from datasets import Dataset
    from datasets.utils.logging import disable_progress_bar, set_verbosity

    names = list(first_row(path, form, columns))
    file = Path(path)
    disable_progress_bar()  # a thousand rows a second need none, and it would break our own display
    set_verbosity(logging.CRITICAL)  # what fails is said by us
    if ending(path) in USUAL:
        return _rows_of_cells(file, form, separator_of(file, form, columns), names)
    with naming(file):  # load_dataset would tell a server of every file it reads
        if ending(path) == ".parquet":
            rows: Dataset = Dataset.from_parquet(glob.escape(str(file)))
        else:
            rows = json_rows(file, form)
    return rows


def _rows_of_cells(file: Path, form: TextForm, separator: str, names: Sequence[str]) -> Dataset:
    from datasets import Dataset, Features, Value

    def look() -> None:
        require_cells(file, form, separator)

    # pandas would take an open quote for a text that goes on to the next one
    _once(f"cells-{state(file)}-{form.named}-{ord(separator)}", look)
    # pandas names a column without a name by its place
    features = Features({name or f"Unnamed: {i}": Value("string") for i, name in enumerate(names)})
    with naming(file, look):
        content = glob.escape(str(unpacked(file, form)))
        rows: Dataset = Dataset.from_csv(content, sep=separator, keep_default_na=False, features=features)
    return rows


def _once(name: str, check: Callable[[], None]) -> None:
    """Make a check that an earlier run has not passed: a full pass takes longer than cached rows."""
    passed = cache_folder() / "checked" / name
    if not passed.is_file():
        check()
        keep(passed, b"")


def first_row(path: str, form: TextForm = PLAIN, columns: Sequence[str] = ()) -> dict[str, Any]:
    """The first row, read without the rest of the file. Raises DataError if there is none."""
    file = require_readable(path, form)
    row: dict[str, Any] | None
    if ending(path) == ".parquet":
        with naming(file):
            row = _first_of_parquet(file)
    elif ending(path) in USUAL:
        row = _first_of_cells(file, form, separator_of(file, form, columns))
    else:
        with naming(file):
            row = next((row for row, _ in json_objects(file, form)), None)
    if row is None:
        raise DataError(f"{path} has no rows; give a file with at least one{read_with(path, form, columns)}")
    return row


def _first_of_parquet(file: Path) -> Any:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(file) as content:
        batch = next(content.iter_batches(batch_size=1), None)
        return batch.to_pylist()[0] if batch is not None and len(batch) else None


def _first_of_cells(file: Path, form: TextForm, separator: str) -> Any:
    with (
        naming(file, lambda: require_cells(file, form, separator)),
        opened(file, form) as content,
        io.TextIOWrapper(content, encoding="utf-8-sig", newline="") as lines,
    ):
        row = next(csv.DictReader(lines, delimiter=separator, strict=True), None)
    if row is not None and None in row:
        more = "more cells than the header names; put texts with a separator in quotes"
        raise DataError(f"{file}, line 2: {more}{form.told(separator)}")
    return row


def require_texts(rows: Dataset, columns: Sequence[str], origin: str, *, blank: bool = False) -> Dataset:
    """The rows themselves, once every cell of the columns is a text; else DataError with the row.

    blank: let texts without a visible character pass.
    """
    for column in columns:
        if column not in rows.column_names:
            raise DataError(f"{origin} {missing_column(column, rows.column_names)}")
        for row, what in _not_texts(rows, column, blank):
            raise DataError(f"{origin}, row {row + 1}: {column!r} {what}")
    return rows


def missing_column(column: str, columns: Sequence[str]) -> str:
    """`has no column ...`, and those that there are."""
    return f"has no column {column!r}; it has {', '.join(map(repr, columns)) or 'none'}"


def _not_texts(rows: Dataset, column: str, blank: bool) -> Iterator[tuple[int, str]]:
    """Rows, from 0, whose cell cannot be used, the first of each chunk, and why with the remedy.

    A chunk at a time: all of them as one would be a copy of a column that is mapped, and end at 2 GiB.
    """
    chunks = rows.with_format("arrow")[column][:].chunks
    kind = str(chunks[0].type) if chunks else "string"
    if kind not in TEXTS:
        values = enumerate(rows[column])
        row, value = next(((i, v) for i, v in values if not isinstance(v, str)), (0, kind))
        if isinstance(value, datetime.date | datetime.time):
            yield row, f"is the date or time {value}, not a text; save the column as text"
            return
        yield row, f"is {reprlib.repr(value)}, not a text; put it in quotes"
        return
    start = 0
    for chunk in chunks:
        row, what = _not_a_text(chunk, blank)
        if what:
            yield start + row, what
        start += len(chunk)


def _not_a_text(chunk: Any, blank: bool) -> tuple[int, str]:
    """The first place of a chunk whose cell cannot be used, and why with the remedy; empty if there is none."""
    import pyarrow
    import pyarrow.compute as compute

    if str(chunk.type) == "string_view":  # polars' own; the functions below don't know it
        chunk = chunk.cast(pyarrow.large_string())
    for row, error in _not_utf_8(chunk):
        return row, f"is not UTF-8 ({error}); save the file in that encoding"
    empty = compute.is_null(chunk)
    if not blank:
        empty = compute.fill_null(compute.equal(compute.utf8_trim_whitespace(chunk), ""), True)
    long = compute.greater(compute.utf8_length(chunk), LONGEST_TEXT)
    wrong = {
        "is empty; remove the row or give it a text": empty,
        f"has more than {LONGEST_TEXT:,} characters; cut it into passages": long,
        "has a NUL character (\\u0000); remove it, or save the file in UTF-8": compute.match_substring(chunk, "\0"),
    }
    for what, rows in wrong.items():
        if (first := compute.index(rows, True).as_py()) >= 0:
            return first, what
    return 0, ""


def _not_utf_8(chunk: Any) -> Iterator[tuple[int, str]]:
    import pyarrow

    try:
        chunk.validate(full=True)
    except pyarrow.ArrowInvalid:
        for row, value in enumerate(chunk.cast(pyarrow.large_binary()).to_pylist()):
            try:
                (value or b"").decode()
            except UnicodeDecodeError as error:
                yield row, error.reason
