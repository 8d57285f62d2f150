"""The page of `benchmarks/gpu.py`: every figure of it is from the lines that a run of it wrote."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matryoshka.report.markdown import plain, table
from matryoshka.storage.atomic import write_atomically

Line = dict[str, Any]
PREFACE = """\
# On a GPU

What one GPU does with the card's recipe: a random encoder of BAAI/bge-m3's shape, texts as long as those of the card's
pairs, new ones in every step, 16 micro-batches of 16 pairs an update. `python benchmarks/gpu.py` measures it in under 8
minutes and writes this page; nothing is fetched. [How it works](decisions/0023_an_update_in_few_calls.md)."""
NEVER = """\
**Never run on a GPU.** No GPU was at hand so far. The figures below are of a tiny model on a CPU: they show that the
program works, and say nothing about speed. Everything else in these docs about GPUs is by construction and by tests on
a CPU, never by measurement."""


def write_page(lines: Sequence[Line], page: Path) -> Path:
    """The page of these lines; returns its path."""
    found = {part: [line for line in lines if line["part"] == part] for part in dict.fromkeys(x["part"] for x in lines)}
    device = next((line["device"] for line in found.get("machine", []) if "device" in line), "CPU")
    parts = [PREFACE, NEVER if device == "CPU" else "", failures(lines)]
    for part, section in SECTIONS.items():
        shown = [line for line in found.get(part, []) if set(line) - {"part", "seconds", "failed"}]
        whole = not any("failed" in line for line in found.get(part, []))
        parts.append(section(shown) if shown and (whole or part in BY_ROW) else "")
    return write_atomically(page, "\n\n".join(filter(None, parts)) + "\n")


def failures(lines: Sequence[Line]) -> str:
    """The parts without all of their figures, and why."""
    failed = [f"- {line['part']}: {plain(str(line['failed']))}" for line in lines if "failed" in line]
    return "\n".join(["**Failed:**\n", *failed]) if failed else ""


def machine(lines: Sequence[Line]) -> str:
    """Versions and rates."""
    rows = [[name, plain(str(value))] for name, value in lines[0].items() if name != "part" and value is not None]
    rows += [[f"products in {x['products']}", f"{x['teraflops']:,.3g} TFLOP/s"] for x in lines if "products" in x]
    return "## Machine\n\n" + table(["", ""], rows, align="left")


def tests(lines: Sequence[Line]) -> str:
    """How many tests passed there."""
    (line,) = lines
    failed = "".join(f"\n- {plain(name)}" for name in line["failed_tests"])
    said = f"{line['passed']} passed, {len(line['failed_tests'])} failed{failed and ':'}{failed}"
    return f"## Tests\n\nOf the files with tests for a GPU, on this device: {said}"


def kernels(lines: Sequence[Line]) -> str:
    """Which attention was reached, and what a first call costs."""
    rows = [
        [
            x["precision"],
            x["chosen"],
            ", ".join(f"`{name[:60]}`" for name in x["seen"]),
            seconds(x["first_seconds"]),
            ", ".join(map(seconds, x["later_seconds"])),
        ]
        for x in lines
    ]
    header = ["precision", "attention", "seen by the profiler", "first update", "later ones, of new shapes"]
    return "## Kernels in training, dropout on\n\n" + table(header, rows, align="left")


def steps(lines: Sequence[Line]) -> str:
    """A row for each way of computing an update."""
    rows = [
        [
            x["way"],
            seconds(x["seconds_an_update"]),
            f"{x['tokens_per_second']:,.0f}",
            f"{x['mfu']:.1%}",
            f"{x['launches']:,}",
            gigabytes(x["peak_gigabytes"]),
            gigabytes(x["estimated_gigabytes"]),
            seconds(x["first_seconds"]),
        ]
        for x in lines
    ]
    header = ["way", "an update", "tokens/s", "MFU", "launches", "peak", "estimated", "first update"]
    told = "MFU: operations of the model's products a second, of the rate that large products have on this device."
    return "\n\n".join(["## An update, way by way", table(header, rows), told])


def theirs(lines: Sequence[Line]) -> str:
    """Agreement and ratio."""
    agreed, timed = lines
    apart = "; ".join(
        f"{precision}: losses {agreed[f'loss_difference_{precision}']:.1e} apart, gradients "
        f"{agreed[f'gradient_difference_{precision}']:.1e} of their norm"
        for precision in ("fp32", "bf16")
    )
    rows = [[name, ", ".join(map(seconds, taken))] for name, taken in timed["seconds_an_update"].items()]
    said = f"Dropout off, {apart}. With dropout, bf16, the same texts by turns: {timed['ratio']:.2f} times as fast."
    return "\n\n".join(["## Against sentence-transformers", said, table(["", "updates"], rows, align="left")])


def encoding(lines: Sequence[Line]) -> str:
    """Texts a second of both sides."""
    (line,) = lines
    rows = [[name, f"{line['texts'] / taken:,.0f}"] for name, taken in line["seconds"].items()]
    said = f"Passages in bf16: {line['ratio']:.2f} times as fast; numbers of equal embeddings differ by at most "
    return "\n\n".join(["## Encoding", f"{said}{line['difference']:.1e}.", table(["", "texts/s"], rows)])


def search(lines: Sequence[Line]) -> str:
    """Seconds, and whether the hits are those of a CPU."""
    (line,) = lines
    equal = "equal to those of the host, bit for bit" if line["equal_to_the_hosts"] else "**not those of the host**"
    said = f"{line['queries']:,} queries over {line['documents']:,} documents at {len(line['dims'])} dims: "
    return f"## Exact search\n\n{said}{seconds(line['seconds'])}; hits are {equal}."


def run(lines: Sequence[Line]) -> str:
    """How the whole run was stopped and gone on with."""
    stopped, resumed = lines
    said = f"Stopped by SIGTERM after {seconds(stopped['seconds'])} (exit {stopped['stopped_with']}), gone on with to "
    end = "its results" if resumed["finished"] else "**no results**"
    return f"## A whole run\n\n{said}update {resumed['last_update']} and {end} in {seconds(resumed['seconds'])}."


SECTIONS: dict[str, Callable[[Sequence[Line]], str]] = {
    "machine": machine,
    "tests": tests,
    "kernels": kernels,
    "steps": steps,
    "theirs": theirs,
    "encoding": encoding,
    "search": search,
    "run": run,
}


BY_ROW = ("machine", "kernels", "steps")  # of which a part can be shown


def seconds(value: float) -> str:
    """Milliseconds below one second."""
    return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"


def gigabytes(value: float | None) -> str:
    """Empty where it is not known."""
    return "" if value is None else f"{value:.3g} GB"


if __name__ == "__main__":
    import json

    told = [json.loads(line) for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()]
    print(write_page(told, Path(sys.argv[2])))
