"""Measure any model the same way."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from matryoshka.config.recipe import EvaluationRecipe, Precision, rebuilt
from matryoshka.data.sources import Source
from matryoshka.data.tokens import TokenIds
from matryoshka.encoder.encoder import Encoder
from matryoshka.encoder.model_folder import read_json
from matryoshka.errors import DataError, UserError
from matryoshka.evaluation.ask import answers
from matryoshka.evaluation.embeddings import OnDisk
from matryoshka.evaluation.failures import find_failures
from matryoshka.evaluation.result import SetResults
from matryoshka.evaluation.tokenized_set import TokenizedSet
from matryoshka.memory.estimate import MemorySettings
from matryoshka.memory.limits import MemoryLimits, shortage_explained
from matryoshka.report import files
from matryoshka.report.environment.environment import environment, write_environment
from matryoshka.report.page.report import Report
from matryoshka.report.terminal import lines
from matryoshka.report.terminal.ask import show_answers
from matryoshka.report.terminal.encoder_line import encoder_lines
from matryoshka.report.terminal.summary import show_evaluation
from matryoshka.tasks.baselines import measure_baselines, measure_sets
from matryoshka.tasks.data_lines import show_read_as
from matryoshka.tasks.hub_commits import pinned
from matryoshka.tasks.loading import load_encoder, tokenized_set, tokenized_sets
from matryoshka.tasks.measuring import Measuring, drawn_for_calibration
from matryoshka.tasks.quiet_libraries import quiet_libraries
from matryoshka.tasks.suite import SuiteTexts, measure_suite, texts_of
from matryoshka.training.device import device_of, prepare
from matryoshka.training.precision import choose_precision

USUAL_DIMS = (768, 512, 256, 128, 64)


def evaluate(recipe: EvaluationRecipe, folder: Path) -> float:
    """Encode once, measure every dim, print tables, write the files; returns the selecting metric.

    With a question to `ask`, only what is found for it is shown, and the similarity of the first passage returned.
    """
    start = time.perf_counter()
    quiet_libraries()
    prepare(device := device_of(recipe.device))
    run = _run_of(recipe.model)
    held_out = texts_of(recipe)
    if not isinstance(held_out, SuiteTexts):
        lines.say("data", f"{held_out.name}: {held_out.described()}")
    show_read_as(recipe)
    encoder = load_encoder(recipe).to(device)
    for label, line in encoder_lines(encoder):
        lines.say(label, line)
    recipe = _settled(recipe, run, encoder)
    assert recipe.dims
    measuring = Measuring.of(recipe, encoder, recipe.dims, recipe.precision, device, OnDisk())
    if (over := measuring.selected.rpartition("/")[2]).startswith("dim_") and over[4:] not in map(str, recipe.dims):
        raise UserError(f"evaluator.select: {measuring.selected} is not measured, the dims are {recipe.dims}")
    asked, settings = recipe.ask is not None, MemorySettings(token_budget=measuring.token_budget)
    to_disk = measuring.may_go_to_disk and not asked  # a question is answered from memory
    with shortage_explained(MemoryLimits(settings, device, may_go_to_disk=to_disk)):
        if isinstance(held_out, SuiteTexts):
            return measure_suite(recipe, folder, held_out, measuring, start)
        texts = tokenized_set(encoder, held_out)
        if recipe.ask is not None:
            return _ask(recipe.ask, measuring, texts)
        return _measure(recipe, folder, texts, measuring, start)


def _settled(recipe: EvaluationRecipe, run: dict[str, Any] | None, encoder: Encoder) -> EvaluationRecipe:
    """The recipe with its precision and dims decided: by the model's run, else by this machine and by what fits."""
    chosen: str = recipe.precision
    if chosen == "auto":
        chosen = run["precision"] if run else choose_precision(encoder.device).precision
    precision: Precision = "bf16" if "bf16" in chosen else "fp32"
    usual = [int(dim) for dim in run["metrics"]] if run else USUAL_DIMS
    fitting = [dim for dim in usual if dim <= encoder.width]  # a run may have saved fewer numbers than it measured
    dims = sorted(recipe.dims or fitting or [encoder.width], reverse=True)
    config = {**recipe.config, "dims": dims, "precision": precision}
    return replace(recipe, dims=dims, precision=precision, config=config)


def _measure(recipe: EvaluationRecipe, folder: Path, texts: TokenizedSet, measuring: Measuring, start: float) -> float:
    encoder = measuring.encoder
    passages, sets = _training_passages(recipe.data, encoder), tokenized_sets(recipe, encoder)
    recipe = rebuilt(recipe, pinned(recipe, encoder, getattr(recipe.data, "commit", None)))
    files.write_config(folder, recipe.config)
    write_environment(folder)
    result = measuring.measure(texts)
    report = Report.of_evaluation(
        result,
        baselines=measure_baselines(recipe, texts, measuring),
        deployment=measuring.deployment(texts, passages) if passages else None,
        failures=find_failures(result.rankings, measuring.dims) if result.rankings else None,
        config=recipe.config,
        environment=environment(),
        seconds=time.perf_counter() - start,
        sets={name: SetResults(None, of) for name, of in {**result.parts, **measure_sets(sets, measuring)}.items()},
    )
    show_evaluation(report, files.write_evaluation(folder, report))
    return result.value(measuring.selected)


def _ask(question: str, measuring: Measuring, texts: TokenizedSet) -> float:
    found = answers(
        measuring.encoder,
        texts,
        question,
        measuring.dims,
        token_budget=measuring.token_budget,
        precision=measuring.precision,
        store=measuring.store,
    )
    show_answers(found)
    return found.best[found.dims[0]][0].similarity


def _training_passages(source: Source, encoder: Encoder) -> TokenIds | None:
    """Some of the training passages, to calibrate on; None, and a line that says why, where none can be had."""
    try:
        pairs = source.training_pairs()
    except DataError as error:
        lines.say("deploy", f"left out, as int8 is calibrated on training passages: {error}")
        return None
    texts = [pairs[row]["positive"] for row in drawn_for_calibration(len(pairs))]
    return encoder.token_ids(texts, "document")


def _run_of(model: str) -> dict[str, Any] | None:
    """The results of the run that a folder belongs to, None for any other model."""
    path = Path(model).expanduser()
    for folder in (path, path.parent):
        if (folder / "results.json").is_file() and (folder / "model").is_dir():
            found = read_json(folder / "results.json")
            if not isinstance(found.get("precision"), str) or not all(map(str.isdecimal, found.get("metrics") or "-")):
                raise UserError(f"{folder / 'results.json'} is not as a run writes it; give the model's own folder")
            return found
    return None
