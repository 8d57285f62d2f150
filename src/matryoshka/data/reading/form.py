"""How a file of texts is written: what stands between its cells, and which bytes its characters are."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass

TABS = ("tab", r"\t")  # as people write one on a command line
UTF_8 = ("utf-8", "utf-8-sig")
ENCODINGS = "cp1252 (Windows), latin-1 or utf-16"


@dataclass(frozen=True)
class TextForm:
    r"""separator: of CSV and TSV files, `tab` or `\t` for a tab; None: found. encoding: None: UTF-8.

    keys: whether a user can set both as data.separator and data.encoding, so that messages may offer it.
    """

    separator: str | None = None
    encoding: str | None = None
    keys: bool = False

    @property
    def between(self) -> str | None:
        """The separator as one character, None where it is to be found."""
        return "\t" if self.separator in TABS else self.separator

    @property
    def other(self) -> str | None:
        """The name of an encoding that is not UTF-8, None for UTF-8."""
        if self.encoding is None:
            return None
        name = codecs.lookup(self.encoding).name
        return None if name in UTF_8 else name

    def problems(self) -> Iterator[tuple[str, str]]:
        """A separator and an encoding that no file can have."""
        mark = self.between
        if mark is not None and (len(mark) != 1 or mark.isalnum() or mark in '"\r\n\0'):
            yield "separator", f"{mark!r} cannot stand between cells; use one of ',' ';' tab '|', or null to find it"
        if self.encoding is not None and not _is_of_texts(self.encoding):
            yield "encoding", f"{self.encoding!r} is no encoding of texts; use {ENCODINGS}, or null for UTF-8"

    def told(self, separator: str) -> str:
        """Both as they were taken, behind a message."""
        return f" (read with data.separator={separator!r} and data.encoding={self.named})" if self.keys else ""

    @property
    def named(self) -> str:
        """The encoding's name."""
        return self.other or "utf-8"

    @property
    def remedy(self) -> str:
        """What to do with a file of another encoding."""
        other = f"; or give its encoding, as data.encoding=cp1252 or utf-16, instead of {self.named}"
        return "save the file in UTF-8" + (other if self.keys else "")


PLAIN = TextForm()


def _is_of_texts(encoding: str) -> bool:
    text = "a,b\n"
    try:
        codecs.getincrementaldecoder(encoding)
        return text.encode(encoding).decode(encoding) == text
    except (LookupError, ValueError):  # of which those of Unicode are some
        return False
