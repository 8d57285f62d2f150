"""Where results of work that need not be done twice are kept."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """$MATRYOSHKA_CACHE, else the user's cache folder of this package; not made here."""
    return Path(os.environ.get("MATRYOSHKA_CACHE") or platformdirs.user_cache_dir("matryoshka")).expanduser().absolute()
