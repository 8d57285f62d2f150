"""A data set in a folder, laid out as a clone of one on the hub: a folder a subset, Parquet, a README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from datasets import Dataset

Rows = Sequence[Mapping[str, Any]]


def write_clone(folder: Path, subsets: Mapping[str, Mapping[str, Rows]]) -> Path:
    """subsets: name -> split -> rows."""
    configs = []
    for subset, splits in subsets.items():
        files = []
        for split, rows in splits.items():
            path = folder / subset / f"{split}-00000-of-00001.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            Dataset.from_list([dict(row) for row in rows]).to_parquet(path)
            files.append({"split": split, "path": str(path.relative_to(folder))})
        configs.append({"config_name": subset, "data_files": files})
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': configs})}---\n", encoding="utf-8")
    return folder


def texts(texts: Mapping[str, str]) -> list[dict[str, str]]:
    """Rows of the subsets corpus and queries."""
    return [{"_id": key, "text": text} for key, text in texts.items()]


def qrels(relevant: Mapping[str, Mapping[str, int] | Sequence[str]]) -> list[dict[str, Any]]:
    """Rows of the subset qrels, with a score where there are grades."""
    return [
        {"query-id": query, "corpus-id": document, **({"score": found[document]} if isinstance(found, Mapping) else {})}
        for query, found in relevant.items()
        for document in found
    ]
