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

from matryoshka.report.figure import display_name
from matryoshka.report.markdown import table
from matryoshka.report.result_table import ESSENTIAL
from matryoshka.retrieval.result import EvaluationResult

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
FIGURE = "docs/images/bmf.png"


def main(folder: Path, project: Path) -> None:
    """Write the block and the figure. Exits with a message if the folder is no finished run."""
    wanted = ["results.json", "base.json", "run.json", "config.yaml", "metric_against_dim.png"]
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
    """Stand-in sentences, table, the line on what was run, and the figure."""
    tuned, base = result(folder / "results.json"), result(folder / "base.json")
    run = read(folder / "run.json")
    metrics = [name for name in ESSENTIAL if name in tuned.metrics[tuned.dims[0]]]
    rows = [
        [str(dim), *(f"{base.metrics[dim][name]:.4f} → {tuned.metrics[dim][name]:.4f}" for name in metrics)]
        for dim in tuned.dims
    ]
    alt = f"{display_name(metrics[0])} at every dim, before and after training"
    parts = ["\n".join(f"**Stand-in:** {sentence}.  " for sentence in run["stand_in"]).rstrip()]
    parts += ["Base → tuned, on held-out queries:", table(["dim", *map(display_name, metrics)], rows)]
    parts += [what_was_run(folder, run, tuned), f"![{alt}]({FIGURE})"]
    return "\n\n".join(filter(None, parts))


def what_was_run(folder: Path, run: Mapping[str, Any], tuned: EvaluationResult) -> str:
    """One line: encoder, data, counts, updates, precision, machine, duration."""
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    pooling = " + ".join((config["pooling"] or {}).get("modes", ["saved"]))
    environment = run["environment"]
    machine = environment.get("gpu") or f"{environment['processor']}, {environment['threads']} threads"
    minutes, seconds = divmod(round(run["seconds"]), 60)
    return (
        f"{tuned.model}, {pooling} pooling; {tuned.data}: {run['training_pairs']:,} training pairs, "
        f"{tuned.queries:,} queries over {tuned.documents:,} documents; "
        f"{run['updates']:,} updates of {config['batch_size'] * config['accumulation']} pairs, "
        f"{config['optimizer']['lr']} at most, {config['trainer']['precision']}; "
        f"the weights after update {run['saved_step']:,}, best {run['selected']}; "
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
