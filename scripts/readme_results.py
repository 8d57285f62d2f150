"""Put a run's results into README.md: `python scripts/readme_results.py outputs/bmf/<date>`.

The block between the two markers is replaced and the run's figure copied to docs/images/bmf.png. Every number is read
from the run's folder. What a run does not have written (run.json: duration, machine, training pairs) is left out.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from matryoshka.report.figure import display_name
from matryoshka.report.markdown import table
from matryoshka.report.terminal import ESSENTIAL
from matryoshka.retrieval.result import EvaluationResult
from matryoshka.tasks.setup import stand_in

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
FIGURE = "docs/images/bmf.png"


def main(folder: Path, project: Path) -> None:
    """Write the block and the figure. Exits with a message if the folder is no finished run."""
    wanted = ["results.json", "base.json", "config.yaml", "metrics.jsonl", "metric_against_dim.png"]
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
    """Stand-in sentences, table, figure and the line on what was run."""
    tuned, base = result(folder / "results.json"), result(folder / "base.json")
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    metrics = [name for name in ESSENTIAL if name in tuned.metrics[tuned.dims[0]]]
    rows = [
        [str(dim), *(f"{base.metrics[dim][name]:.4f} → {tuned.metrics[dim][name]:.4f}" for name in metrics)]
        for dim in tuned.dims
    ]
    notes = [f"**Stand-in:** {sentence}." for sentence in stand_in(config)]
    parts = ["\n".join(notes)] if notes else []
    parts += ["Base → tuned, on held-out queries:", table(["dim", *map(display_name, metrics)], rows)]
    alt = f"{display_name(metrics[0])} at every dim, before and after training"
    parts += [what_was_run(folder, config, tuned), f"![{alt}]({FIGURE})"]
    return "\n\n".join(parts)


def what_was_run(folder: Path, config: Mapping[str, Any], tuned: EvaluationResult) -> str:
    """One line: encoder, data, counts, updates, precision and, where the run wrote them, machine and duration."""
    run = json.loads((folder / "run.json").read_text(encoding="utf-8")) if (folder / "run.json").is_file() else {}
    environment = run.get("environment", {})
    pairs = f"{run['training_pairs']:,} training pairs, " if "training_pairs" in run else ""
    pooling = " + ".join((config.get("pooling") or {}).get("modes", []))
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    per_update = config["batch_size"] * config["accumulation"]
    facts = [
        f"{tuned.model}{f', {pooling} pooling' if pooling else ''}",
        f"{tuned.data}: {pairs}{tuned.queries:,} queries over {tuned.documents:,} documents",
        f"{max(int(row['step']) for row in rows):,} updates of {per_update} pairs",
        str(config["trainer"]["precision"]),
    ]
    machine = [environment[key] for key in ("gpu", "processor") if key in environment][:1]
    machine += [f"{environment['threads']} threads"] if "threads" in environment and "gpu" not in environment else []
    if machine:
        facts.append(", ".join(machine))
    if "seconds" in run:
        facts.append("{} min {:02d} s for the whole run".format(*divmod(round(run["seconds"]), 60)))
    return "; ".join(facts) + "."


def result(path: Path) -> EvaluationResult:
    """An evaluation as it was written."""
    return EvaluationResult.from_dict(json.loads(path.read_text(encoding="utf-8")))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} RUN_FOLDER")
    main(Path(sys.argv[1]), Path(__file__).resolve().parents[1])
