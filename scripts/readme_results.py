"""Put a run's results into README.md: `python scripts/readme_results.py outputs/bmf/<date>`.

The block between the two markers is replaced and the run's figure copied to docs/images/bmf.png. Every number
is read from the run's folder.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from matryoshka.evaluation.deployment.deployment import Deployment
from matryoshka.evaluation.result import NO_DIM, EvaluationResult, display_name
from matryoshka.report.markdown import table
from matryoshka.report.terminal.result_table import ESSENTIAL

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
FIGURE = "docs/images/bmf.png"


def main(folder: Path, project: Path) -> None:
    """Write the block and the figure. Exits with a message if the folder is no finished run."""
    wanted = [
        "results.json",
        "base.json",
        "baselines.json",
        "deployment.json",
        "run.json",
        "config.yaml",
        "metric_against_dim.png",
    ]
    if missing := [name for name in wanted if not (folder / name).is_file()]:
        sys.exit(f"{folder} is not a finished run: it has no {', '.join(missing)}")
    readme, image = project / "README.md", project / FIGURE
    before, begin, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        sys.exit(f"{readme} has no {BEGIN} ... {END}")
    readme.write_text(f"{before}{BEGIN}\n\n{block(folder)}\n\n{END}{after}", encoding="utf-8")
    image.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / "metric_against_dim.png", image)
    print(f"{readme} and {image} show {folder}")


def block(folder: Path) -> str:
    """Stand-in sentences, table, the line on what was run, what to deploy, and the figure."""
    tuned, base = result(folder / "results.json"), result(folder / "base.json")
    run = read(folder / "run.json")
    metrics = [name for name in ESSENTIAL if name in tuned.metrics[tuned.dims[0]]]
    others = [EvaluationResult.from_dict(other) for other in read(folder / "baselines.json")]
    projected = [other for other in others if other.model.startswith("projection") and run["updates"]]
    way = [base, *projected, tuned]
    rows = [
        [str(dim), *(" → ".join(f"{of.metrics[dim][name]:.3f}" for of in way) for name in metrics)]
        for dim in tuned.dims
    ]
    for row, dim in zip(rows, tuned.dims, strict=True):
        row[1] += half_interval(tuned, dim, metrics[0])
    for other in (other for other in others if other not in projected):
        for dim in other.dims:
            cells = [f"{other.metrics[dim][name]:.3f}" for name in metrics]
            cells[0] += half_interval(other, dim, metrics[0])
            rows.append([other.model if dim == NO_DIM else f"{other.model}, {dim}", *cells])
    alt = f"{display_name(metrics[0])} at every dim, before and after training"
    parts = ["\n".join(f"**Stand-in:** {sentence}.  " for sentence in run["stand_in"]).rstrip()]
    deployment = TypeAdapter(Deployment).validate_python(read(folder / "deployment.json"))
    steps = "Base → projection alone → tuned" if projected else "Base → tuned"
    sure = f"{steps}, on the test queries; ± is half of the 95% interval:"
    parts += [sure, table(["dim", *map(display_name, metrics)], rows)]
    choices = "\n".join(f"- {line}" for line in deployment.choices())
    parts += [f"{what_was_run(folder, run, tuned)} To deploy, {deployment.chosen_on}:", choices, f"![{alt}]({FIGURE})"]
    return "\n\n".join(filter(None, parts))


def half_interval(result: EvaluationResult, dim: int, metric: str) -> str:
    """` ±.035`, if there is an interval."""
    ends = result.intervals.get(dim, {}).get(metric)
    return f" ±{(ends[1] - ends[0]) / 2:.3f}".replace("±0.", "±.") if ends else ""


def what_was_run(folder: Path, run: Mapping[str, Any], tuned: EvaluationResult) -> str:
    """One line: encoder, data, counts, updates, precision, machine, duration."""
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    pooling = " + ".join((config["pooling"] or {}).get("modes", ["saved"]))
    target = str((config.get("projection") or {}).get("_target_", ""))
    projection = f", {target.rpartition('.')[2].lower()} projection" if target else ""
    environment = run["environment"]
    machine = environment.get("gpu") or f"{environment['processor']}, {environment['threads']} threads"
    minutes, seconds = divmod(round(run["seconds"]), 60)
    return (
        f"{tuned.model}, {pooling} pooling{projection}; {tuned.data}: {run['training_pairs']:,} training pairs, "
        f"{tuned.queries:,} queries over {tuned.documents:,} documents; "
        f"{run['updates']:,} updates of {config['batch_size'] * config['accumulation']} pairs, "
        f"{config['optimizer']['lr']} at most, {config['trainer']['precision']}; "
        f"the weights after update {run['saved_step']:,}, best {run['selected']}, {run['split']}; "
        f"{machine}; {minutes} min {seconds:02d} s for the whole run."
    )


def result(path: Path) -> EvaluationResult:
    """An evaluation as it was written."""
    return EvaluationResult.from_dict(read(path))


def read(path: Path) -> Any:
    """A JSON file's content."""
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} RUN_FOLDER")
    main(Path(sys.argv[1]), Path(__file__).resolve().parents[1])
