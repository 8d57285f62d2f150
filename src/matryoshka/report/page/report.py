"""One page about a run that opens from disk, needs nothing else, and says everything to someone who was not there."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from markupsafe import Markup

from matryoshka.durations import in_words
from matryoshka.evaluation.deployment.quantisation import PRECISIONS
from matryoshka.evaluation.result import EvaluationResult, SetResults, display_name, shown_metric
from matryoshka.report.figures.metric_figure import finding
from matryoshka.report.figures.palette import DARK, LIGHT
from matryoshka.report.page.templates import page_figures, page_style, page_template
from matryoshka.report.record import TrainingRecord
from matryoshka.report.terminal.result_table import essential
from matryoshka.report.verdict import verdict
from matryoshka.storage.atomic import write_atomically

if TYPE_CHECKING:
    from matryoshka.data.doctor.diagnosis import Diagnosis
    from matryoshka.evaluation.deployment.deployment import Deployment
    from matryoshka.evaluation.failures import Failures
    from matryoshka.evaluation.suite import SuiteResult
    from matryoshka.training.explanation.explanation import Explanation
    from matryoshka.training.mixes import MixOutcome

TUNED, BASE, PROJECTION, MIXED = "tuned", "base", "projection", "mixed"
Groups = list[tuple[int, list[tuple[str, EvaluationResult]]]]
KEEP = 0.98  # of the full value: what the advised way to store vectors keeps
# On paper nothing can be clicked; browsers that know ::details-content do not need it.
SCRIPT = """
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const part of closed) part.open = true;
});
addEventListener("afterprint", () => { for (const part of closed) part.open = false; });
"""


@dataclass(frozen=True)
class Report:
    """What a page shows, of a training run or of an evaluation alone.

    facts: what was done, a label and a sentence each. tuned: the model that the page is about; name: what tables call
    it. The rest as in TrainingRecord; None or empty where a run has none, and then the page has no such section.
    """

    title: str
    name: str
    facts: Mapping[str, str]
    tuned: EvaluationResult
    config: Mapping[str, Any]
    environment: Mapping[str, str]
    stand_in: tuple[str, ...] = ()
    split: str = ""
    base: EvaluationResult | None = None
    dev_base: EvaluationResult | None = None
    baselines: tuple[EvaluationResult, ...] = ()
    diagnosis: Diagnosis | None = None
    deployment: Deployment | None = None
    failures: Failures | None = None
    history: tuple[Mapping[str, float], ...] = ()
    saved_step: int | None = None
    selected: str = ""
    sets: Mapping[str, SetResults] = field(default_factory=dict)
    projected: EvaluationResult | None = None
    fitted_alone: bool = False
    mixed: MixOutcome | None = None
    verdict: tuple[str, ...] = ()
    explanation: Explanation | None = None
    suite: SuiteResult | None = None

    @classmethod
    def of_training(cls, record: TrainingRecord) -> Report:
        """The report of a training run."""
        encoder, config = record.encoder, record.config
        alone = "" if encoder.include_prompt else " without the prompt"
        pooling = f"{' + '.join(encoder.modes)} pooling{alone}, {encoder.max_seq_length:,} tokens at most"
        pairs = f"{record.pairs.rows:,} pairs of {record.pairs.name}"
        trained = {
            "Trained on": pairs,
            "Updates": f"{record.updates:,}, each of {_pairs(config)}",
            **({"Troubles": "; ".join(record.troubles)} if record.troubles else {}),
            "Kept": record.kept,
        }
        mixed = {"Mixed": ", ".join(record.mixed.sources) if record.mixed else "", "Kept": record.kept}
        fitted = {"Fitted on": f"{pairs}; the encoder stays as it was", "Kept": f"the best by {record.selection}"}
        facts = {
            "Base model": f"{record.base_model}; {pooling}" if encoder.architecture else record.base_model,
            **(mixed if record.mixed else fitted if record.fitted_alone else trained),
            **_measured(record.tuned, record.environment),
            "Duration": in_words(record.seconds),
        }
        shared = ({item.name for item in fields(cls)} & {item.name for item in fields(record)}) - {"name"}
        told = {**{item: getattr(record, item) for item in shared}, "fitted_alone": record.fitted_alone}
        told |= {"verdict": verdict(record), "projected": record.trained_projection}
        told["saved_step"] = None if record.blended else record.saved_step
        done, name = ("a projection for", PROJECTION) if record.fitted_alone else ("trained on", TUNED)
        done, name = ("mixed for", MIXED) if record.mixed else (done, name)
        title = f"{record.name}: {record.base_model}, {done} {record.pairs.name}"
        return cls(title=title, name=name, facts=facts, **told)

    @classmethod
    def of_evaluation(
        cls, result: EvaluationResult, environment: Mapping[str, str], seconds: float, **measured: Any
    ) -> Report:
        """The report of an evaluation alone. measured: the fields above that are not told by these."""
        facts = {"Model": result.model, **_measured(result, environment), "Duration": in_words(seconds)}
        title = f"{result.model}, measured on {result.data}"
        return cls(title=title, name=result.model, facts=facts, tuned=result, environment=environment, **measured)

    @property
    def groups(self) -> Groups:
        """The models measured on the test set, by dim: base, tuned, and the others."""
        return self._groups(SetResults(self.base, self.tuned), self.baselines)

    @property
    def set_groups(self) -> dict[str, Groups]:
        """The same of each further set: base and tuned."""
        return {name: self._groups(results) for name, results in self.sets.items()}

    def _groups(self, own: SetResults, others: Sequence[EvaluationResult] = ()) -> Groups:
        """Dim, widest first, and the models measured there, by what tables call them; what has no dims comes last."""
        models = [(BASE, own.base)] if own.base else []
        models += [(self.name, own.tuned), *((other.model, other) for other in others)]
        dims = sorted({dim for _, result in models for dim in result.metrics}, reverse=True)
        return [(dim, [model for model in models if dim in model[1].metrics]) for dim in dims]

    @property
    def metrics(self) -> list[str]:
        """The metrics of the summary, first the one that the figure shows."""
        first = shown_metric(self.tuned)
        return [first, *(name for name in essential(self.tuned) if name != first)]

    @property
    def sections(self) -> dict[str, str]:
        """The sections that there are, id -> heading."""
        of_sets = "Sets" if self.suite else "Sources and further sets" if self.tuned.parts else "Further sets"
        there = {
            "summary": ("Summary", True),
            "protocols": ("Two protocols", bool(self.tuned.merged)),
            "sets": (of_sets, bool(self.sets)),
            "doctor": ("Data", self.diagnosis is not None),
            "curves": ("Projection" if self.fitted_alone else "Training", len(self.history) > 1),
            "changed": ("What training changed", self.explanation is not None),
            "metrics": ("All metrics", True),
            "deploy": ("What to deploy", self.deployment is not None),
            "failures": ("Where it fails", self.failures is not None),
            "config": ("Configuration", True),
            "environment": ("Environment", True),
        }
        return {name: heading for name, (heading, present) in there.items() if present}


def html_report(report: Report) -> str:
    """The whole page: HTML with its style and figures in it, every text escaped, nothing loaded from anywhere."""
    script_hash = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    return page_template("page.html.j2", metric=display_name).render(
        report=report,
        finding=finding(report.tuned, report.metrics[0]),
        config=yaml.safe_dump(dict(report.config), sort_keys=False, allow_unicode=True),
        style=page_style(),
        palettes={"light": LIGHT, "dark": DARK},
        script=Markup(SCRIPT),
        script_hash=script_hash,
        diagnosis=report.diagnosis,
        deployment=report.deployment,
        failures=report.failures,
        explanation=report.explanation,
        keep=KEEP,
        precisions=PRECISIONS,
        **page_figures(report, KEEP),
    )


def write_report(folder: Path, report: Report) -> Path:
    """report.html in the folder, there whole or not at all; returns its path."""
    return write_atomically(folder / "report.html", html_report(report))


def _measured(result: EvaluationResult, environment: Mapping[str, str]) -> dict[str, str]:
    counts = f"{result.queries:,} queries over {result.documents:,} documents of {result.data}"
    facts = {"Measured on": f"{counts}, by cosine similarity, encoded in {result.precision}"}
    device = environment.get("gpu") or environment.get("processor")
    return facts | ({"Device": device} if device else {})


def _pairs(config: Mapping[str, Any]) -> str:
    windows, size = config["accumulation"], config["batch_size"]
    return f"{windows:,} x {size:,} pairs" if windows > 1 else f"{size:,} pairs"
