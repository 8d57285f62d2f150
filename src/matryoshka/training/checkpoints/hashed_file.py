"""A file that is hashed while it is written, and so need not be read again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, BinaryIO

AT_ONCE = 1 << 20  # bytes, so that what is hashed is still in the processor's cache when it is written


class HashedFile:
    """Writes into an open file. check: called before every MB; what it raises ends the writing."""

    def __init__(self, file: BinaryIO, check: Callable[[], None] | None = None) -> None:
        self.bytes = 0
        self._file, self._check, self._hash = file, check, hashlib.sha256()

    def write(self, data: Any) -> int:
        """Write all of an object with a buffer; returns its bytes."""
        view = memoryview(data).cast("B")
        for start in range(0, len(view), AT_ONCE):
            if self._check:
                self._check()
            part = view[start : start + AT_ONCE]
            self._hash.update(part)
            self._file.write(part)
        self.bytes += len(view)
        return len(view)

    def flush(self) -> None:
        """Give to the system what Python holds back."""
        self._file.flush()

    def facts(self) -> dict[str, Any]:
        """Bytes and SHA-256 of what was written so far."""
        return {"bytes": self.bytes, "sha256": self._hash.hexdigest()}
