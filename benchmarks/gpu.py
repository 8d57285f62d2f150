"""What a GPU does with the card's recipe: `python benchmarks/gpu.py [--device cuda|cpu] [--only PART ...]`.

Under 8 minutes on one GPU, and nothing is read from outside: a random model of BAAI/bge-m3's shape, and texts as long
as those of the card's pairs, new ones in every step. Each part is a process of its own under its own limit; its results
are lines of JSON in outputs/gpu/<date>/ as they come, and docs/gpu.md is written from all of them. On a CPU everything
is tiny, only to know that this program works, and the page goes beside the lines.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from gpu_page import write_page
from gpu_parts import PARTS, run_part

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "gpu.md"
Line = dict[str, Any]


def main() -> None:
    """Run every part, then write the page. Exits with 1 if a part failed."""
    options = arguments()
    if options.part:
        run_part(options.part, options.device, options.folder)
        return
    folder = options.folder or ROOT / "outputs" / "gpu" / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[Line] = []
    with (folder / "lines.jsonl").open("w", encoding="utf-8") as file:
        for part in options.only or PARTS:
            for line in lines_of(part, options.device, folder):
                lines.append(line)
                file.write(json.dumps(line) + "\n")
                file.flush()
                print(json.dumps(line), flush=True)
    page = options.output or (PAGE if options.device == "cuda" and not options.only else folder / PAGE.name)
    print(f"lines  {folder / 'lines.jsonl'}\npage   {write_page(lines, page)}")
    if failed := [line["part"] for line in lines if "failed" in line]:
        sys.exit(f"failed: {', '.join(failed)}")


def arguments() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: tiny, to try this program")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--output", type=Path, help="the page to write")
    parser.add_argument("--folder", type=Path, help="where lines go")
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)  # what this program calls itself with
    return parser.parse_args()


def lines_of(part: str, device: str, folder: Path) -> Iterator[Line]:
    """The lines of a part as they come, and the seconds that it took; where it fails or takes too long, why."""
    command = [sys.executable, __file__, "--part", part, "--device", device, "--folder", str(folder)]
    paths = os.pathsep.join(filter(None, [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH")]))
    start = time.perf_counter()
    errors = folder / f"{part}.log"
    with (
        errors.open("w", encoding="utf-8") as log,
        subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        limit = PARTS[part].seconds * (1 if device == "cuda" else 3)  # a CPU may be shared, and is in no hurry
        timer = threading.Timer(limit, process.kill)
        timer.start()
        assert process.stdout is not None
        for text in process.stdout:
            if text.startswith("{"):
                yield {"part": part, **json.loads(text)}
        status = process.wait()
        timer.cancel()
    seconds = time.perf_counter() - start
    if status:
        said = errors.read_text(encoding="utf-8").strip().splitlines() or ["it said nothing"]
        late = f"ended after {limit} s, its limit; " if seconds >= limit else ""
        yield {"part": part, "failed": f"{late}{said[-1]}", "seconds": round(seconds, 1)}
    else:
        yield {"part": part, "seconds": round(seconds, 1)}


if __name__ == "__main__":
    main()
