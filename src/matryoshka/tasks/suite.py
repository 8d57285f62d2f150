"""Measure a model on several sets as one suite."""

from __future__ import annotations

import time
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

from matryoshka.config.recipe import EvaluationRecipe, rebuilt
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.data.sources import Source
from matryoshka.data.suite import Suite
from matryoshka.durations import in_words
from matryoshka.errors import DataError
from matryoshka.evaluation.bm25 import BM25
from matryoshka.evaluation.result import EvaluationResult, SetResults, display_name
from matryoshka.evaluation.suite import SuiteResult
from matryoshka.evaluation.tokenized_set import TokenizedSet
from matryoshka.report import files
from matryoshka.report.environment.environment import environment, write_environment
from matryoshka.report.page.report import Report
from matryoshka.report.terminal import lines
from matryoshka.report.terminal.summary import show_evaluation
from matryoshka.tasks.baselines import WITHOUT_A_MODEL, measured_by
from matryoshka.tasks.hub_commits import pinned
from matryoshka.tasks.loading import tokenized_set
from matryoshka.tasks.measuring import Measuring


@dataclass(frozen=True)
class SuiteTexts:
    """The sets of a suite by name, where each comes from, and why those that are missing could not be had."""

    sources: Mapping[str, Source]
    sets: Mapping[str, RetrievalSet]
    missing: Mapping[str, str]

    @classmethod
    def read(cls, sources: Mapping[str, Source]) -> SuiteTexts:
        """All of them, before anything is encoded; a line for each that cannot be had. Raises DataError if none can."""
        sets, missing = {}, {}
        for name, source in sources.items():
            try:
                sets[name] = source.retrieval_set()
            except DataError as error:
                missing[name] = str(error)
        return cls(sources, sets, _told(missing, bool(sets)))

    def tokenized(self, measuring: Measuring) -> tuple[dict[str, TokenizedSet], dict[str, str]]:
        """All of them as token ids, and what is missing now."""
        texts, missing = {}, {}
        for name, held_out in self.sets.items():
            try:
                texts[name] = tokenized_set(measuring.encoder, held_out)
            except DataError as error:
                missing[name] = str(error)
        return texts, {**self.missing, **_told(missing, bool(texts))}


def texts_of(recipe: EvaluationRecipe) -> RetrievalSet | SuiteTexts:
    """What is measured: the data's own set, or those of a suite."""
    data = recipe.data
    return SuiteTexts.read(data.chosen(recipe.sets)) if isinstance(data, Suite) else data.retrieval_set()


def measure_suite(
    recipe: EvaluationRecipe, folder: Path, held_out: SuiteTexts, measuring: Measuring, start: float
) -> float:
    """Every set at every dim, and the baselines on them; their table, the files; the selecting metric of the mean.

    Raises DataError at the end, when all is written, where sets are missing.
    """
    texts, missing = held_out.tokenized(measuring)
    recipe = rebuilt(recipe, pinned(recipe, measuring.encoder, None))
    files.write_config(folder, recipe.config)
    write_environment(folder)
    suite = SuiteResult.of(_measured(texts, measuring), missing)
    suite = replace(
        suite, baselines=tuple(_baseline(name, recipe, held_out, texts, measuring) for name in recipe.baselines)
    )
    report = Report.of_evaluation(
        suite.mean,
        baselines=tuple(other.mean for other in suite.baselines),
        config=recipe.config,
        environment=environment(),
        seconds=time.perf_counter() - start,
        sets={name: SetResults(None, result) for name, result in suite.sets.items()},
        suite=suite,
    )
    show_evaluation(report, files.write_evaluation(folder, report))
    if missing:
        raise DataError(f"{len(missing)} of {len(missing) + len(texts)} sets are missing above: {', '.join(missing)}")
    return suite.mean.value(measuring.selected)


def _measured(texts: Mapping[str, TokenizedSet], measuring: Measuring) -> dict[str, EvaluationResult]:
    """Each set's result; after each a line that says what is left."""
    total, done, results = sum(of.tokens for of in texts.values()), 0, {}
    lines.say("suite", f"{len(texts)} sets of {total:,} tokens: {', '.join(texts)}")
    start, metric = time.perf_counter(), measuring.evaluator.metric
    for place, (name, of) in enumerate(texts.items(), start=1):
        results[name] = found = measuring.measure(of)
        done += of.tokens
        left = in_words((time.perf_counter() - start) / done * (total - done))
        value = f"{display_name(metric)} {found.metrics[found.dims[0]][metric]:.3f} at {found.dims[0]}"
        told = f"{name}: {found.queries:,} queries over {found.documents:,} documents, {value}"
        lines.say(f"{place} of {len(texts)}", f"{told}; about {left} to go" if done < total else told)
    return results


def _baseline(
    name: str, recipe: EvaluationRecipe, held_out: SuiteTexts, texts: Mapping[str, TokenizedSet], measuring: Measuring
) -> SuiteResult:
    """A baseline on all sets: BM25 in each set's language, a model loaded once."""
    if name == WITHOUT_A_MODEL:
        by = {of: measured_by(name, _in_language(recipe.bm25, held_out.sources[of]), measuring) for of in texts}
    else:
        by = dict.fromkeys(texts, measured_by(name, recipe.bm25, measuring))
    return SuiteResult.of({of: by[of](texts[of].judgements) for of in texts})


def _in_language(bm25: BM25, source: Source) -> BM25:
    """The baseline in the language that the source says its texts are in, if it says one."""
    other = copy(bm25)
    other.language = getattr(source, "language", None) or bm25.language
    return other


def _told(missing: dict[str, str], some: bool) -> dict[str, str]:
    """What is missing, once it is said. Raises DataError where nothing is left to measure."""
    if missing and not some:
        raise DataError("no set of the suite can be had:\n" + "\n".join(f"  {n}: {why}" for n, why in missing.items()))
    for name, why in missing.items():
        lines.say("missing", f"{name}: {why}")
    return missing
