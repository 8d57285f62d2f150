"""A data file before its rows are read: its kind, its text, packed or not."""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import re
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from matryoshka.data.reading.form import PLAIN, TextForm
from matryoshka.data.reading.recoding import recoded
from matryoshka.errors import DataError
from matryoshka.storage.atomic import whole_file
from matryoshka.storage.cache import cache_folder

ENDINGS = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
PACKED = ".gz"
ARCHIVES = {
    b"PK\x03\x04": "a zip archive",
    b"BZh": "packed with bzip2",
    b"\xfd7zXZ\x00": "packed with xz",
    b"\x28\xb5\x2f\xfd": "packed with zstd",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a rar archive",
    b"\x04\x22\x4d\x18": "packed with lz4",
}
GZIP = b"\x1f\x8b"
PARQUET = b"PAR1"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
TAR = slice(257, 262)  # where a tar file says what it is
# Text shrinks to a fifth or so. What grows more than this, beyond a size that does no harm, was made to fill a disk.
MOST_TIMES, HARMLESS = 200, 16_000_000
LINE_END = re.compile(rb"(?<=\r)(?!\n|$)")  # of files that end lines so; others come in lines
AT_ONCE = 1_000_000


def ending(path: str) -> str:
    """`.jsonl` of `pairs.jsonl` and of `pairs.jsonl.gz`."""
    file = Path(path)
    return Path(file.stem).suffix if file.suffix == PACKED else file.suffix


def require_readable(path: str, form: TextForm = PLAIN) -> Path:
    """The file of one of the known kinds. Raises DataError if it is missing, a folder, or of another kind."""
    file = Path(path)
    packed = file.suffix == PACKED
    if ending(path) not in ENDINGS or (packed and ending(path) == ".parquet"):
        shown = "".join(file.suffixes[-2:]) if packed else file.suffix
        raise DataError(f"{path}: unknown ending {shown!r}; use {', '.join(ENDINGS)} (all but the last also with .gz)")
    if not file.exists():
        raise DataError(f"{path} does not exist{_neighbours(file)}")
    if file.is_dir():
        raise DataError(f"{path} is a folder, not a file; give one of the files in it")
    if not file.is_file():
        raise DataError(f"{path} is no regular file; give a file of {', '.join(ENDINGS)}")
    _require_kind(file, packed, form)
    return file


def _neighbours(file: Path) -> str:
    near = file.parent if file.parent.is_dir() else None
    names = sorted(other.name for other in near.iterdir() if ending(other.name) in ENDINGS)[:5] if near else []
    return f"; {near} has {', '.join(names)}" if names else ""


def _require_kind(file: Path, packed: bool, form: TextForm) -> None:
    """Raises DataError if the first bytes are those of something else than the ending says."""
    try:
        with file.open("rb") as opened:
            start = opened.read(512)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}; check its permissions") from error
    for mark, kind in ARCHIVES.items():
        if start.startswith(mark):
            raise DataError(f"{file} is {kind}; unpack it and give the file in it")
    if start[TAR] == b"ustar":
        raise DataError(f"{file} is a tar archive; unpack it and give the file in it")
    if start.startswith(GZIP) and not packed:
        raise DataError(f"{file} is packed with gzip; name it {file.name}.gz, or unpack it with gunzip")
    if packed and not start.startswith(GZIP):
        raise DataError(f"{file} is not packed with gzip; name it {file.stem}")
    utf_16 = file.suffix != ".parquet" and not packed and start.count(0) > len(start) / 4
    if form.other is None and (utf_16 or start.startswith(UTF_16)):
        raise DataError(f"{file}, line 1: the text is UTF-16, or none; {form.remedy}")
    if start.startswith(PARQUET) and file.suffix != ".parquet":
        raise DataError(f"{file} is a Parquet file; name it {file.stem}.parquet")


@contextmanager
def opened(file: Path, form: TextForm = PLAIN) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked and in UTF-8. Raises DataError if they cannot be."""
    with file.open("rb") as stored:
        content: BinaryIO = stored
        if file.suffix == PACKED:
            content = cast(BinaryIO, io.BufferedReader(_Limited(stored, file), AT_ONCE))
        yield content if form.other is None else recoded(content, file, form)


def numbered_lines(file: Path, form: TextForm = PLAIN) -> Iterator[tuple[int, str]]:
    """The lines with their numbers from 1, without a mark of the byte order. Raises DataError at other encodings."""
    numbers = itertools.count(1)
    with opened(file, form) as blocks:
        for block in blocks:
            for line in LINE_END.split(block):
                number = next(numbers)
                try:
                    yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    byte = f"byte 0x{line[error.start]:02x}"
                    raise DataError(f"{file}, line {number}: {byte} is not UTF-8; {form.remedy}") from None


class _Limited(io.RawIOBase):
    """The content of a gzip file, up to more than a text can be."""

    def __init__(self, packed: BinaryIO, file: Path) -> None:
        self._inner, self._file, self._seen = gzip.GzipFile(fileobj=packed), file, 0
        self._most = max(HARMLESS, MOST_TIMES * file.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            part = self._inner.read(len(buffer))
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{self._file} cannot be unpacked: {error}; pack the complete file again") from error
        self._seen += len(part)
        if self._seen > self._most:
            times = f"more than {MOST_TIMES} times its {self._file.stat().st_size:,} bytes"
            raise DataError(f"{self._file} unpacks to {times}, which no text does; unpack it yourself if it is right")
        buffer[: len(part)] = part
        return len(part)


def state(file: Path) -> str:
    """A digest of a file's place, size and time of change: another one once the file is changed."""
    facts = file.stat()
    return hashlib.sha256(f"{file.resolve()}\0{facts.st_size}\0{facts.st_mtime_ns}".encode()).hexdigest()


def unpacked(file: Path, form: TextForm = PLAIN) -> Path:
    """The file itself; of one that is packed or not UTF-8, its content as a file of the cache, found by its state."""
    if file.suffix != PACKED and form.other is None:
        return file
    path = cache_folder() / "unpacked" / f"{state(file)}{f'-{form.other}' if form.other else ''}{ending(file.name)}"
    if not path.is_file():
        try:
            with opened(file, form) as content, whole_file(path) as written:
                shutil.copyfileobj(content, written, AT_ONCE)
        except OSError as error:
            raise DataError(
                f"{file} cannot be unpacked into {path.parent}: {error.strerror}; unpack it yourself"
            ) from error
    return path
