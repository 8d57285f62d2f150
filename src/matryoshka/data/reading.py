"""Rows of a file as a memory-mapped Arrow table (through `datasets`), with errors that name file and row."""

from __future__ import annotations

import csv
import glob
import json
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matryoshka.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

BUILDERS = {
    ".jsonl": ("json", {}),
    ".json": ("json", {}),
    ".csv": ("csv", {}),
    ".tsv": ("csv", {"sep": "\t"}),
    ".parquet": ("parquet", {}),
}


def read_rows(path: str) -> Dataset:
    """All rows of a JSON lines, CSV, TSV or Parquet file. Raises DataError naming the file and, where known, the line.

    Every cell of a CSV or TSV file is a text: `007` keeps its zeros and `NA` is no missing value.
    """
    from datasets import Dataset, Features, Value
    from datasets.exceptions import DatasetGenerationError
    from datasets.utils.logging import disable_progress_bar

    columns = list(first_row(path))
    kind, separator = BUILDERS[Path(path).suffix]
    options: dict[str, Any] = dict(separator)
    if kind == "csv":
        # pandas names a column without a name by its place
        names = [column or f"Unnamed: {i}" for i, column in enumerate(columns)]
        options |= {"features": Features({name: Value("string") for name in names}), "keep_default_na": False}
    disable_progress_bar()  # a thousand rows a second need none, and it would break our own display
    read = getattr(Dataset, f"from_{kind}")  # load_dataset would tell a server of every file it reads
    try:
        rows: Dataset = read(glob.escape(path), **options)
    except (DatasetGenerationError, ValueError, OSError) as error:
        raise DataError(_why_unreadable(path, error)) from error
    return rows


def first_row(path: str) -> dict[str, Any]:
    """The first row, read without the rest of the file. Raises DataError if there is none."""
    file = _existing(path)
    try:
        if file.suffix == ".parquet":
            import pyarrow.parquet

            batch = next(pyarrow.parquet.ParquetFile(file).iter_batches(batch_size=1), None)
            row: Any = batch.to_pylist()[0] if batch is not None and len(batch) else None
        else:
            with file.open(encoding="utf-8-sig", newline="") as lines:
                if file.suffix in (".jsonl", ".json"):
                    line = next((line for line in lines if line.strip()), "")
                    array = file.suffix == ".json" and line.lstrip().startswith("[")
                    row = next(iter(json.loads(line + lines.read())), None) if array else json.loads(line or "null")
                else:
                    row = next(csv.DictReader(lines, delimiter="\t" if file.suffix == ".tsv" else ","), None)
    except (ValueError, OSError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if not isinstance(row, dict):
        raise DataError(f"{path} has no rows" if row is None else f"{path}, line 1: not a JSON object")
    if None in row:
        raise DataError(f"{path}, line 2: more cells than the header names; put texts with a separator in quotes")
    return row


def require_texts(rows: Dataset, columns: Sequence[str], origin: str, *, blank: bool = False) -> Dataset:
    """The rows themselves, once every cell of the columns is a text; else DataError with the row.

    blank: let texts without a visible character pass.
    """
    import pyarrow
    import pyarrow.compute as compute

    for column in columns:
        if column not in rows.column_names:
            have = ", ".join(map(repr, rows.column_names))
            raise DataError(f"{origin} has no column {column!r}; it has {have}")
        values = rows.with_format("arrow")[column]
        chunks = values.combine_chunks() if hasattr(values, "combine_chunks") else values[:].combine_chunks()
        if str(chunks.type) == "string_view":  # polars' own; the functions below don't know it
            chunks = chunks.cast(pyarrow.large_string())
        if str(chunks.type) not in ("string", "large_string"):
            first, value = next((i, v) for i, v in enumerate(rows[column]) if not isinstance(v, str))
            raise DataError(f"{origin}, row {first + 1}: {column!r} is {reprlib.repr(value)}, not a text")
        try:
            unusable = compute.equal(compute.utf8_trim_whitespace(chunks), "")
        except pyarrow.ArrowInvalid as error:
            raise DataError(f"{origin}: column {column!r} is not UTF-8; save the file in that encoding") from error
        unusable = compute.is_null(chunks) if blank else compute.fill_null(unusable, True)
        first = compute.index(unusable, True).as_py()
        if first >= 0:
            raise DataError(f"{origin}, row {first + 1}: {column!r} is empty; remove the row or give it a text")
    return rows


def _existing(path: str) -> Path:
    file = Path(path)
    if file.suffix not in BUILDERS:
        raise DataError(f"{path}: unknown ending {file.suffix!r}; use {', '.join(BUILDERS)}")
    if not file.exists():
        near = file.parent if file.parent.is_dir() else None
        files = sorted(f.name for f in near.iterdir() if f.suffix in BUILDERS)[:5] if near else []
        raise DataError(f"{path} does not exist" + (f"; {near} has {', '.join(files)}" if files else ""))
    if not file.is_file():
        raise DataError(f"{path} is a folder, not a file")
    return file


def _why_unreadable(path: str, error: Exception) -> str:
    if Path(path).suffix == ".jsonl":
        with Path(path).open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    if line.strip() and not isinstance(json.loads(line), dict):
                        return f"{path}, line {number}: not a JSON object"
                except ValueError as wrong:
                    return f"{path}, line {number}: not a JSON object ({wrong})"
    cause = error.__cause__ or error
    return f"{path} cannot be read: {str(cause).splitlines()[0] if str(cause) else type(cause).__name__}"
