"""The bytes of a file in another encoding, as UTF-8."""

from __future__ import annotations

import codecs
import io
from pathlib import Path
from typing import BinaryIO, cast

from matryoshka.data.reading.form import TextForm
from matryoshka.errors import DataError

AT_ONCE = 1_000_000


def recoded(content: BinaryIO, file: Path, form: TextForm) -> BinaryIO:
    """The content in UTF-8. Raises DataError, with the line, where it is not of the form's encoding.

    Also at the end of one that is UTF-8 and has more than ASCII: read as cp1252 it would be other texts.
    """
    return cast(BinaryIO, io.BufferedReader(_Recoded(content, file, form), AT_ONCE))


class _Recoded(io.RawIOBase):
    def __init__(self, content: BinaryIO, file: Path, form: TextForm) -> None:
        self._content, self._file, self._form = content, file, form
        self._name = form.named
        self._decoder = codecs.getincrementaldecoder(self._name)("strict")
        self._as_utf_8 = None if self._name.startswith("utf") else codecs.getincrementaldecoder("utf-8")("strict")
        self._ascii, self._lines = True, 1
        self._waiting, self._ended = b"", False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._waiting and not self._ended:
            block = self._content.read(AT_ONCE)
            self._ended = not block
            text = self._decoded(block)
            self._look_for_utf_8(block)
            self._lines += text.count("\n")
            self._waiting = text.encode("utf-8", "surrogatepass")
        part, self._waiting = self._waiting[: len(buffer)], self._waiting[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)

    def _decoded(self, block: bytes) -> str:
        try:
            return self._decoder.decode(block, final=self._ended)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode(self._name, "replace").count("\n")
            byte = f"byte 0x{error.object[error.start]:02x}"
            raise DataError(
                f"{self._file}, line {self._lines + before}: {byte} is not {self._name}; {self._form.remedy}"
            ) from None
        except UnicodeError as error:
            raise DataError(f"{self._file}: is not {self._name} ({error}); {self._form.remedy}") from None

    def _look_for_utf_8(self, block: bytes) -> None:
        self._ascii = self._ascii and block.isascii()
        if self._as_utf_8 is None:
            return
        try:
            self._as_utf_8.decode(block, final=self._ended)
        except UnicodeDecodeError:
            self._as_utf_8 = None
        else:
            if self._ended and not self._ascii:
                raise DataError(
                    f"{self._file} is UTF-8, not {self._name}; save all files in one encoding, or leave out "
                    "data.encoding"
                )
