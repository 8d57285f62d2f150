"""Rows of JSON as a table on disk: every text as it is written, never as a date or a number."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matryoshka.data.reading.files import state
from matryoshka.data.reading.form import PLAIN, TextForm
from matryoshka.data.reading.json_text import Row, json_objects
from matryoshka.errors import DataError
from matryoshka.storage.atomic import whole_file
from matryoshka.storage.cache import cache_folder

if TYPE_CHECKING:
    from datasets import Dataset

ROWS, CHARACTERS = 10_000, 16_000_000  # of a block of rows
DEEPEST = 8  # lists in lists
Types = dict[str, Any]  # Arrow's by column; None: values of several kinds, or objects


def json_rows(file: Path, form: TextForm = PLAIN) -> Dataset:
    """The rows, mapped from a stream of Arrow in the cache, which a changed file is not found in again.

    A column's type is that of all its values; those of several kinds are kept as JSON. Raises DataError with the line.
    """
    import pyarrow as pa
    from datasets import Dataset

    path = cache_folder() / "rows" / f"{state(file)}-{form.named}.arrow"
    _require_written(path, file, form)
    try:
        rows: Dataset = Dataset.from_file(str(path))
    except (pa.ArrowException, OSError):  # not what was written
        path.unlink(missing_ok=True)
        _require_written(path, file, form)
        rows = Dataset.from_file(str(path))
    return rows


def _require_written(path: Path, file: Path, form: TextForm) -> None:
    types: Types = {}
    while not path.is_file():
        types = _written(path, file, form, types)


def _written(path: Path, file: Path, form: TextForm, types: Types) -> Types:
    """Write the rows unless one has another type than these; returns the types with which to begin again."""
    import pyarrow as pa

    try:
        with whole_file(path) as written:
            writer = None
            for rows in _blocks(file, form):
                wider = _widened(types, rows)
                if writer and wider != types:
                    raise _OtherTypesError(wider)
                types = wider
                schema = pa.schema([(name, _json_type(file, name) if t is None else t) for name, t in types.items()])
                writer = writer or pa.ipc.new_stream(written, schema)
                writer.write_batch(pa.record_batch([_column(rows, name, types) for name in types], schema=schema))
            if writer:
                writer.close()
    except _OtherTypesError as error:
        return error.types
    return types


class _OtherTypesError(Exception):
    def __init__(self, types: Types) -> None:
        super().__init__()
        self.types = types


def _json_type(file: Path, name: str) -> Any:
    import datasets
    import pyarrow as pa

    if not hasattr(datasets, "Json"):
        raise DataError(f"{file}: column {name!r} has values of several kinds; give them one, or leave it out")
    return pa.json_()


def _widened(types: Mapping[str, Any], rows: Sequence[Row]) -> Types:
    """The types of these rows and of those before."""
    import pyarrow as pa

    found = dict(types)
    for name in dict.fromkeys(key for row in rows for key in row):
        if name in found and found[name] is None:
            continue
        try:
            own = pa.array([row.get(name) for row in rows]).type
            before = found.get(name, pa.null())
            both = [pa.schema([("", before)]), pa.schema([("", own)])]
            merged = own if own == before else pa.unify_schemas(both, promote_options="permissive").field(0).type
            found[name] = merged if _is_plain(merged) else None
        except (pa.ArrowException, OverflowError):
            found[name] = None
    return found


def _is_plain(kind: Any, depth: int = 0) -> bool:
    import pyarrow as pa

    if pa.types.is_list(kind):
        return depth < DEEPEST and _is_plain(kind.value_type, depth + 1)
    return not pa.types.is_struct(kind)


def _column(rows: Sequence[Row], name: str, types: Types) -> Any:
    import pyarrow as pa

    values = [row.get(name) for row in rows]
    if types[name] is not None:
        return pa.array(values, type=types[name])
    texts = [None if value is None else json.dumps(value) for value in values]
    return pa.ExtensionArray.from_storage(pa.json_(), pa.array(texts, type=pa.string()))


def _blocks(file: Path, form: TextForm) -> Iterator[list[Row]]:
    """The rows in blocks that are no burden for the memory."""
    block: list[Row] = []
    characters = 0
    for row, length in json_objects(file, form):
        block.append(row)
        characters += length
        if len(block) == ROWS or characters > CHARACTERS:
            yield block
            block, characters = [], 0
    if block:
        yield block
