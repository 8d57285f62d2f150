"""How many pairs a projection needs: a sweep over data.pairs_at_most as a table and a figure of docs/projection.md.

    python train.py -m task=project +experiment=bmf projection=learned +sweep=pairs logger=none export=none
    python -m scripts.pairs_figure multirun/bmf/pairs-project

Every number is read from the sweep's folder.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.colors import LinearSegmentedColormap, to_hex

from matryoshka.report.figures.axes import dims_axis, name_ends
from matryoshka.report.figures.metric_figure import headings, save_figure
from matryoshka.report.figures.palette import blank
from matryoshka.report.markdown import table

PAGE, FIGURE = Path("docs/projection.md"), Path("docs/images/projection_pairs")
BEGIN, END = "<!-- pairs:begin -->", "<!-- pairs:end -->"


def main(folder: Path) -> None:
    """Write the block of the page and the figure. Exits with a message if the folder has no jobs that are done."""
    runs = sorted((run(path.parent) for path in folder.glob("*/run.json")), key=lambda of: of["pairs"])
    if not runs:
        sys.exit(f"{folder} has no finished jobs")
    base = read(next(folder.glob("*/base.json")))["metrics"]
    dims = sorted(map(int, base), reverse=True)
    rows = [["untrained", *values(base, dims)]]
    rows += [[f"{of['pairs']:,} pairs", *values(of["metrics"], dims)] for of in runs]
    block = table(["nDCG@10", *map(str, dims), "mean"], rows)
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    image = f"![nDCG@10 at every dim, by the number of pairs](images/{FIGURE.name}.png)"
    PAGE.write_text(f"{before}{BEGIN}\n\n{block}\n\n{image}\n\n{END}{after}", encoding="utf-8")
    draw(base, runs, dims[::-1])


def run(folder: Path) -> dict[str, Any]:
    """The metrics of a job and how many pairs it was fitted on."""
    return {"pairs": read(folder / "run.json")["training_pairs"], "metrics": read(folder / "results.json")["metrics"]}


def draw(base: Any, runs: list[dict[str, Any]], dims: list[int]) -> None:
    """A line for each number of pairs, the untrained encoder dashed."""
    figure, palette = blank(5.2, False)
    lines = [("untrained", base, palette.muted), *lines_of(runs, palette)]
    title = f"A projection from {runs[0]['pairs']:,} to {runs[-1]['pairs']:,} pairs"
    top = headings(figure, title, ["nDCG@10 on the test queries"], "", (0.925, 0.87), palette)
    axes = figure.add_axes((0.085, 0.125, 0.77, top - 0.15))
    shown = {name: [of[str(dim)]["ndcg@10"] for dim in dims] for name, of, _ in lines}
    dims_axis(axes, dims, [value for of in shown.values() for value in of], "nDCG@10", palette)
    for name, _, color in lines:
        style = "--" if name == "untrained" else "-"
        axes.plot(dims, shown[name], style, color=color, marker="o", markersize=4)
    name_ends(axes, [(name, shown[name][-1], color) for name, _, color in lines], apart=0.06)
    save_figure(figure, FIGURE)


def lines_of(runs: list[dict[str, Any]], palette: Any) -> list[tuple[str, Any, str]]:
    """A name, metrics and a colour for each job, on a ramp from few pairs to all."""
    ramp = LinearSegmentedColormap.from_list("ramp", palette.from_wide_to_narrow[::-1])
    shades = [to_hex(ramp(i / max(1, len(runs) - 1))) for i in range(len(runs))]
    return [(f"{of['pairs']:,}", of["metrics"], color) for of, color in zip(runs, shades, strict=True)]


def values(metrics: Any, dims: list[int]) -> list[str]:
    """nDCG@10 at each dim, and their mean."""
    found = [metrics[str(dim)]["ndcg@10"] for dim in dims]
    return [f"{value:.3f}" for value in (*found, sum(found) / len(found))]


def read(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
