"""Measure any model the same way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.utils import instantiate

from matryoshka.errors import UserError
from matryoshka.precision import choose_precision
from matryoshka.report import files, terminal
from matryoshka.retrieval.embeddings import OnDisk
from matryoshka.tasks.setup import device_of, load_encoder, quiet_libraries, tokenized_set

USUAL_DIMS = (768, 512, 256, 128, 64)


def evaluate(config: Mapping[str, Any], folder: Path) -> float:
    """Encode once, measure every dim, print the table, write the files; returns the selecting metric."""
    quiet_libraries()
    device = device_of(config.get("device", "auto"))
    run = _run_of(config["model"])
    precision = config["precision"]
    if precision == "auto":
        chosen = run["precision"] if run else choose_precision(device).precision
        precision = "bf16" if "bf16" in chosen else "fp32"
    held_out = instantiate(config["data"], _convert_="all").retrieval_set()
    encoder = load_encoder(config).to(device)
    usual = [int(dim) for dim in run["metrics"]] if run else [d for d in USUAL_DIMS if d <= encoder.width]
    dims = sorted(config.get("dims") or usual or [encoder.width], reverse=True)
    files.write_config(folder, {**config, "dims": dims, "precision": precision})
    evaluator = instantiate(config["evaluator"], _convert_="all")
    if (selected := evaluator.selected(dims)).rpartition("_")[2] not in map(str, dims):
        raise UserError(f"evaluator.select: {selected} is not measured, the dims are {dims}")
    texts = tokenized_set(encoder, held_out)
    result = evaluator.evaluate(encoder, texts, dims, precision=precision, progress=True, store=OnDisk())
    counts = f"{result.queries:,} queries over {result.documents:,} documents"
    title = f"{result.model} on {result.data}: {counts}, {precision}"
    terminal.show_result(result, None, title=title)
    written = {"results": files.write_result(folder, result), "figure": files.write_figure(folder, result, None)[0]}
    terminal.show_paths({**written, "configuration": folder / "config.yaml"})
    return float(result.flat()[selected])


def _run_of(model: str) -> dict[str, Any] | None:
    """The results of the run that a folder belongs to, None for any other model."""
    path = Path(model).expanduser()
    for folder in (path, path.parent):
        if (folder / "results.json").is_file() and (folder / "model").is_dir():
            found: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))
            return found
    return None
