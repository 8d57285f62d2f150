"""Where a file of texts is wrong: it is read once more, line by line, only to name the line and the remedy."""

from __future__ import annotations

import csv
import errno
import itertools
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matryoshka.data.reading.files import ending, opened
from matryoshka.errors import DataError

ONE_A_LINE = "each line holds one whole JSON object"
SEPARATORS = {".csv": ",", ".tsv": "\t"}
LINE_END = re.compile(rb"(?<=\r)(?!\n|$)")  # of files that end lines so; others come in lines
FULL = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
TOO_MANY = (errno.EMFILE, errno.ENFILE)
OF_THE_MACHINE = FULL + FORBIDDEN + TOO_MANY
csv.field_size_limit(16_000_000)  # characters; its own limit is below a long document


def unreadable(file: Path, error: Exception) -> DataError:
    """What is wrong with a file at which a library failed, with the line where one can be told."""
    try:
        find = {".jsonl": _json_lines, ".json": _json, ".csv": _cells, ".tsv": _cells}.get(ending(file.name))
        for place, what in find(file) if find else ():
            return DataError(f"{file}{place}: {what}")
    except DataError as found:
        return found
    cause = error.__cause__ or error
    reason = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    return DataError(f"{file} cannot be read: {reason}; write the file again")


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Raise DataError, naming the file, for whatever a library makes of a broken one.

    What is not the file's fault is raised as it is: no memory, no room, no leave to write the library's cache.
    """
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # the readers' own errors are of many kinds
        if cause := _of_the_machine(error):
            raise cause from None
        raise unreadable(file, error) from error


def _of_the_machine(error: BaseException) -> Exception | None:
    """The machine's error behind a library's, if there is one; the file itself was opened before."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno in OF_THE_MACHINE):
            return cause
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return None


def require_cells(file: Path, content: Path) -> None:
    """Every row of a CSV or TSV file has as many cells as the header names; else DataError with the line.

    content: the file itself, or what was unpacked of it.
    """
    for place, what in _cells(file, content):
        raise DataError(f"{file}{place}: {what}")


def json_object(line: str) -> dict[str, Any]:
    """A line as an object whose keys and texts can be used. Raises ValueError with what is wrong, and the remedy."""
    try:
        value = json.loads(line, object_pairs_hook=_once_each, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"not a JSON object ({error.msg.removesuffix(' at')} at character {error.pos + 1}); {ONE_A_LINE}"
        ) from error
    except RecursionError:
        raise ValueError(f"not a JSON object (nested too deeply); {ONE_A_LINE}") from None
    if not isinstance(value, dict):
        raise ValueError(f'not a JSON object; {ONE_A_LINE}, like {{"anchor": "...", "positive": "..."}}')
    try:
        repr(value).encode()
        "".join(text for text in value.values() if isinstance(text, str)).encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair (\\ud800 to \\udfff) is no character; remove it") from None
    return value


def json_array(text: str) -> Any:
    """The items of a JSON array. Raises ValueError as above, with the place in the text if it is no JSON."""
    return json.loads(text, object_pairs_hook=_once_each, parse_constant=_no_constant)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {twice!r} is given twice; keep one of them")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON; give a text, or remove the key")


def _json_lines(file: Path) -> Iterator[tuple[str, str]]:
    for number, line in _lines(file):
        if line.strip():
            try:
                json_object(line)
            except ValueError as error:
                yield f", line {number}", str(error)


def _json(file: Path) -> Iterator[tuple[str, str]]:
    text = "".join(line for _, line in _lines(file))
    if not text.lstrip().startswith("["):
        yield from _json_lines(file)
        return
    try:
        items = json_array(text)
    except json.JSONDecodeError as error:
        yield (
            f", line {error.lineno}",
            f"not a JSON array ({error.msg.removesuffix(' at')}); write the complete file again",
        )
    except (ValueError, RecursionError) as error:
        yield "", str(error) if isinstance(error, ValueError) else "nested too deeply; a row is an object of texts"
    else:
        for number, item in enumerate(items, start=1):
            if not isinstance(item, dict):
                yield f", row {number}", "not a JSON object; a row is an object of texts"


def _cells(file: Path, content: Path | None = None) -> Iterator[tuple[str, str]]:
    separator = SEPARATORS[ending(file.name)]
    rows = csv.reader((line for _, line in _lines(file, content)), delimiter=separator, strict=True)
    begins = 1
    try:
        header = next(rows, [])
        if twice := [name for name in header if name and header.count(name) > 1]:
            yield ", line 1", f"column {twice[0]!r} is named twice; give every column its own name"
        begins = rows.line_num + 1
        for row in rows:
            if len(row) > len(header):
                more = f"{len(row)} cells, more cells than the header's {len(header)}"
                yield f", line {rows.line_num}", f"{more}; put texts with a separator in quotes"
            begins = rows.line_num + 1
    except csv.Error as error:
        what = "a quote is not closed" if "end of data" in str(error) else str(error).replace("'\t'", "a tab")
        remedy = "a text with quotes stands in quotes, and its own are written twice"
        if separator == "\t":  # often written without any quoting
            remedy += "; double the quotes so, or write JSON lines"
        yield f", line {begins}", f"{what}; {remedy}"


def _lines(file: Path, content: Path | None = None) -> Iterator[tuple[int, str]]:
    """The lines with their numbers from 1, without a mark of the byte order. Raises DataError at other encodings."""
    numbers = itertools.count(1)
    with opened(content or file) as blocks:
        for block in blocks:
            for line in LINE_END.split(block):
                number = next(numbers)
                try:
                    yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    byte = f"byte 0x{line[error.start]:02x}"
                    raise DataError(f"{file}, line {number}: {byte} is not UTF-8; save the file in UTF-8") from None
