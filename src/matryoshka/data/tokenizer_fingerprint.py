"""Whether two tokenizers give equal texts equal ids."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from typing import Any


def tokenizer_fingerprint(tokenizer: Any) -> str | None:
    """A hash of everything that decides the ids of a text, but for the length it is cut at; None if it cannot be told.

    A Rust tokenizer can be written out whole. One in Python may ask dictionaries, files and its own code.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    kind = [type(tokenizer).__qualname__, version("transformers"), version("tokenizers")]
    settings = [getattr(tokenizer, name, None) for name in ("truncation_side", "split_special_tokens")]
    return hashlib.sha256(repr((kind, settings, _rules(backend))).encode()).hexdigest()


def _rules(backend: Any) -> str:
    """A Rust tokenizer as text, without the truncation and padding that the last call left in it."""
    truncation, padding = backend.truncation, backend.padding
    backend.no_truncation()
    backend.no_padding()
    rules: str = backend.to_str()
    if truncation is not None:
        backend.enable_truncation(**truncation)
    if padding is not None:
        backend.enable_padding(**padding)
    return rules
