"""Where a file of texts is wrong: it is read once more, line by line, only to name the line and the remedy."""

from __future__ import annotations

import csv
import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from matryoshka.data.reading.files import numbered_lines
from matryoshka.data.reading.form import TextForm
from matryoshka.errors import DataError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
TOO_MANY = (errno.EMFILE, errno.ENFILE)
OF_THE_MACHINE = FULL + FORBIDDEN + TOO_MANY
csv.field_size_limit(16_000_000)  # characters; its own limit is below a long document


def unreadable(file: Path, error: Exception, look: Callable[[], object]) -> DataError:
    """What is wrong with a file at which a library failed; look: reads it once more and says where, if it can."""
    try:
        look()
    except DataError as found:
        return found
    cause = error.__cause__ or error
    reason = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    return DataError(f"{file} cannot be read: {reason}; write the file again")


@contextmanager
def naming(file: Path, look: Callable[[], object] = lambda: None) -> Iterator[None]:
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
        raise unreadable(file, error, look) from error


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


def require_cells(file: Path, form: TextForm, separator: str) -> None:
    """Every row of a CSV or TSV file has as many cells as the header names; else DataError with the line."""
    for line, what in _cells(file, form, separator):
        raise DataError(f"{file}, line {line}: {what}{form.told(separator)}")


def _cells(file: Path, form: TextForm, separator: str) -> Iterator[tuple[int, str]]:
    rows = csv.reader((line for _, line in numbered_lines(file, form)), delimiter=separator, strict=True)
    begins = 1
    try:
        header = next(rows, [])
        if twice := [name for name in header if name and header.count(name) > 1]:
            yield 1, f"column {twice[0]!r} is named twice; give every column its own name"
        begins = rows.line_num + 1
        for row in rows:
            if len(row) > len(header):
                more = f"{len(row)} cells, more cells than the header's {len(header)}"
                yield rows.line_num, f"{more}; put texts with a separator in quotes"
            begins = rows.line_num + 1
    except csv.Error as error:
        what = "a quote is not closed" if "end of data" in str(error) else str(error).replace("'\t'", "a tab")
        remedy = "a text with quotes stands in quotes, and its own are written twice"
        if separator == "\t":  # often written without any quoting
            remedy += "; double the quotes so, or write JSON lines"
        yield begins, f"{what}; {remedy}"
