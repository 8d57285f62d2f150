"""Parquet."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as parquet

from tests.malformed.case import JSON_LINES, PAIRS, Case, Content, harmless, training_file


def content(table: pa.Table, **options: object) -> bytes:
    """A table as a Parquet file."""
    file = io.BytesIO()
    parquet.write_table(table, file, **options)
    return file.getvalue()


def columns(anchor: Sequence[object], kind: pa.DataType | None = None) -> bytes:
    """A file with a column `anchor` of any kind."""
    values = pa.array(anchor, type=kind)
    return content(pa.table({"anchor": values, "positive": ["p"] * len(values)}))


GOOD = content(pa.Table.from_pylist(PAIRS))
MIDDLE = len(GOOD) // 2
AGAIN = "write the file again"
BROKEN: dict[str, tuple[Content, ...]] = {
    "empty": (b"", AGAIN),
    "its mark alone": (b"PAR1", AGAIN),
    "its marks around nothing": (b"PAR1" + bytes(8) + b"PAR1", AGAIN),
    "cut in half": (GOOD[:MIDDLE], AGAIN),
    "cut by a byte": (GOOD[:-1], AGAIN),
    "cut by its footer": (GOOD[:-8], AGAIN),
    "cut at its start": (GOOD[4:], AGAIN),
    "doubled footer": (GOOD + GOOD[-8:], AGAIN),
    "zeros in its footer": (GOOD[:-200] + bytes(192) + GOOD[-8:], AGAIN),
    "ones in its footer": (GOOD[:-200] + b"\xff" * 192 + GOOD[-8:], AGAIN),
    "a footer too long": (GOOD[:-8] + b"\xff\xff\xff\x7fPAR1", AGAIN),
    "a footer of length 0": (GOOD[:-8] + bytes(4) + b"PAR1", AGAIN),
    "zeros in its pages": (GOOD[:4] + bytes(60) + GOOD[64:], AGAIN),
    "text": ("anchor,positive\na,p\n", AGAIN),
    "JSON lines": (JSON_LINES, AGAIN),
    "an encrypted footer": (GOOD[:-4] + b"PARE", AGAIN),
    "a zip archive": (b"PK\x03\x04" + bytes(60), "is a zip archive; unpack it"),
    "no rows": (columns([], pa.string()), "has no rows"),
    "no columns": (content(pa.table({})), ";"),
    "another column": (
        content(pa.table({"frage": ["a"], "positive": ["p"]})),
        "has no column 'anchor'; it has 'frage'",
    ),
    "a number": (columns([1, 2]), "row 1", "is 1, not a text"),
    "a fraction": (columns([1.5]), "row 1", "is 1.5, not a text"),
    "a truth": (columns([True]), "row 1", "is True, not a text"),
    "a list": (columns([["a"], ["b"]]), "row 1", "is ['a'], not a text"),
    "an object": (columns([{"text": "a"}]), "row 1", "is {'text': 'a'}, not a text"),
    "bytes": (columns([b"a"]), "row 1", "is b'a', not a text"),
    "a date": (columns([0], pa.date32()), "row 1", "not a text"),
    "a time": (columns([0], pa.timestamp("us")), "row 1", "not a text"),
    "nothing but null": (columns([None, None]), "is empty; every row needs a text"),
    "null at once": (columns([None, "b"]), "is empty"),
    "null later": (columns(["a", None]), "row 2", "is empty; remove the row"),
    "an empty text": (columns(["a", ""]), "row 2", "is empty; remove the row"),
    "a byte 0": (columns(["a", "b\0"]), "row 2", "NUL character"),
    "two million characters": (columns(["a", "x" * 2_000_000]), "row 2", "more than 1,000,000 characters"),
    "not UTF-8": (
        content(
            pa.table({"anchor": pa.array([b"a", b"\xff\xfe"], pa.binary()).view(pa.string()), "positive": ["p", "q"]})
        ),
        "row 2",
        "is not UTF-8",
    ),
}

CASES: list[Case] = [
    *(
        training_file(f"parquet: {name}", data, *map(str, says), file="train.parquet", clean=GOOD)
        for name, (data, *says) in BROKEN.items()
    ),
    training_file("parquet named .jsonl", GOOD, "is a Parquet file; name it train.parquet", clean=JSON_LINES),
    training_file("parquet named .csv", GOOD, "is a Parquet file; name it train.parquet", file="train.csv"),
    harmless("parquet: as it should be", GOOD, "train.parquet"),
    harmless("parquet: with zstd", content(pa.Table.from_pylist(PAIRS), compression="zstd"), "train.parquet"),
    harmless("parquet: a row a group", content(pa.Table.from_pylist(PAIRS), row_group_size=1), "train.parquet"),
]
