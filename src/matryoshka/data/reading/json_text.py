"""JSON lines and JSON arrays, read strictly: what is no object, given twice or no character is named with its place."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matryoshka.data.reading.files import ending, numbered_lines
from matryoshka.data.reading.form import PLAIN, TextForm
from matryoshka.errors import DataError

ONE_A_LINE = "each line holds one whole JSON object"
AN_OBJECT = "not a JSON object; a row is an object of texts"
HALF = "half of a surrogate pair (\\ud800 to \\udfff) is no character; remove it"
Row = dict[str, Any]


def json_objects(file: Path, form: TextForm = PLAIN) -> Iterator[tuple[Row, int]]:
    """Each row of a file, JSON lines or an array, and about how many characters it has.

    Raises DataError with the line, of an array with the row.
    """
    lines = numbered_lines(file, form)
    begins, first = next(((number, line) for number, line in lines if line.strip()), (1, ""))
    if ending(file.name) == ".json" and first.lstrip().startswith("["):
        yield from _items(file, first + "".join(line for _, line in lines), begins)
        return
    for number, line in itertools.chain([(begins, first)], lines):
        if line.strip():
            yield _of_line(file, number, line), len(line)


def _of_line(file: Path, number: int, line: str) -> Row:
    try:
        return json_object(line)
    except ValueError as error:
        raise DataError(f"{file}, line {number}: {error}") from None


def _items(file: Path, text: str, begins: int) -> Iterator[tuple[Row, int]]:
    """The objects of an array. begins: the line of its first character."""
    items = json_value(text, file, "a JSON array", "a row is an object of texts", begins)
    escaped = "\\u" in text
    for number, item in enumerate(items, start=1):
        if not isinstance(item, dict):
            raise DataError(f"{file}, row {number}: {AN_OBJECT}")
        if escaped and _has_half_a_pair(item):
            raise DataError(f"{file}, row {number}: {HALF}")
        yield item, len(text) // len(items)


def json_object(line: str) -> Row:
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
    if "\\u" in line and _has_half_a_pair(value):
        raise ValueError(HALF)
    return value


def json_value(text: str, file: str | Path, kind: str, layout: str, begins: int = 1) -> Any:
    """The value of a file's JSON text. Raises DataError, with the line if it is no JSON.

    kind: what the text should be. layout: what is in it, in words. begins: the line of its first character.
    """
    try:
        return json.loads(text, object_pairs_hook=_once_each, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        what = f"not {kind} ({error.msg.removesuffix(' at')}); write the complete file again"
        raise DataError(f"{file}, line {begins - 1 + error.lineno}: {what}") from None
    except RecursionError:
        raise DataError(f"{file}: nested too deeply; {layout}") from None
    except ValueError as error:
        raise DataError(f"{file}: {error}") from None


def _has_half_a_pair(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _once_each(pairs: list[tuple[str, Any]]) -> Row:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {twice!r} is given twice; keep one of them")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON; give a text, or remove the key")
