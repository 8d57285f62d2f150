"""Texts that a tokenizer lowercases, as a saved `do_lower_case: true` asks for."""

from __future__ import annotations

from typing import Any

from tokenizers import normalizers


def lowercasing(tokenizer: Any) -> Any:
    """The tokenizer, made to lowercase every text first, as sentence-transformers 6 makes it."""
    backend = getattr(tokenizer, "backend_tokenizer", None)  # that of Rust; a tokenizer in Python has none
    if backend is None:
        settings = (
            tokenizer if hasattr(tokenizer, "do_lower_case") else getattr(tokenizer, "basic_tokenizer", tokenizer)
        )
        settings.do_lower_case = True
        return tokenizer
    given: Any = backend.normalizer
    several = isinstance(given, normalizers.Sequence)
    parts = [] if given is None else list(given) if several else [given]
    if not any(isinstance(part, normalizers.Lowercase) for part in parts):
        backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *parts])
    return tokenizer
