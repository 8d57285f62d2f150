"""Valid files of every reader, changes of their bytes drawn at random, and what becomes of them."""

from __future__ import annotations

import gzip
import json
import random
import tempfile
from functools import cache
from pathlib import Path

from matryoshka.data.beir import BeirFolder
from matryoshka.data.sources import PairFiles
from matryoshka.encoder.pretrained import Pretrained
from matryoshka.errors import UserError
from matryoshka.evaluation.written_rankings import read_rankings
from tests.malformed.beir import GOOD
from tests.malformed.case import CSV, JSON_LINES, PAIRS, TSV, write
from tests.malformed.model_folders import tiny_model_files
from tests.malformed.mteb import GOOD as MTEB
from tests.malformed.parquet import GOOD as PARQUET
from tests.malformed.questions import GOOD as QUESTIONS
from tests.malformed.runs import write_run

ODD = (
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b'"',
    b"{",
    b"[" * 2000,
    b"NaN",
    b"null",
    b"\\ud800",
    b"\r",
    b"-1",
    b"9" * 30,
    b",",
)
TABLES = {
    "pairs.jsonl": JSON_LINES.encode(),
    "pairs.json": json.dumps(PAIRS).encode(),
    "pairs.csv": CSV.encode(),
    "pairs.tsv": TSV.encode(),
    "pairs.parquet": PARQUET,
    "pairs.jsonl.gz": gzip.compress(JSON_LINES.encode(), mtime=0),
    "pairs_semicolons.csv": CSV.replace(",", ";").encode(),
    "pairs_questions.json": json.dumps(QUESTIONS).encode(),
    "pairs_utf_16.csv": CSV.encode("utf-16"),
    "pairs_cp1252.jsonl": JSON_LINES.encode("cp1252"),
    "pairs.csv.gz": gzip.compress(CSV.encode(), mtime=0),
}
ENCODINGS = {"pairs_utf_16.csv": "utf-16", "pairs_cp1252.jsonl": "cp1252"}
BEIR = {name: str(content).encode() for name, content in GOOD.items()}
MODEL = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
RUN = ("results.json", "rankings/queries.parquet")


@cache
def valid_files() -> dict[str, bytes]:
    """A right file of every kind, by its name: of pairs, of BEIR's and MTEB's folders, of a model's and a run's."""
    with tempfile.TemporaryDirectory() as name:
        run = Path(name) / "run"
        write_run(run)
        of_run = {f"run/{name}": (run / name).read_bytes() for name in RUN}
    return {**TABLES, **BEIR, **MTEB, **{f"model/{name}": tiny_model_files()[name] for name in MODEL}, **of_run}


def read(kind: str, content: bytes, folder: Path) -> str:
    """`read`, `refused`, or the error that is not for the user, of a file of a kind with this content."""
    siblings = {name: other for name, other in valid_files().items() if kind.startswith(f"{name.partition('/')[0]}/")}
    if kind.startswith("model/"):
        siblings |= {f"model/{name}": other for name, other in tiny_model_files().items()}
    write(folder, {**siblings, kind: content})
    try:
        match kind.partition("/")[0]:
            case "beir" | "mteb" as name:
                source = BeirFolder(name, str(folder / name))
                source.training_pairs(), source.retrieval_set()
            case "model":
                encoder = Pretrained(str(folder / "model")).load()
                encoder.tokenize(["Wer haftet?"], "query")
            case "run":
                read_rankings(folder / "run", "ndcg@10", "as_is")
            case _:
                source_of_pairs(folder / kind).retrieval_set()
                source_of_pairs(folder / kind).training_pairs()
    except UserError:
        return "refused"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
    return "read"


def source_of_pairs(path: Path) -> PairFiles:
    """The file for training and for evaluation."""
    return PairFiles("pairs", train=str(path), evaluation=str(path), encoding=ENCODINGS.get(path.name))


def changed(content: bytes, draw: random.Random) -> bytes:
    """One to four changes: bytes flipped, cut out, doubled, or odd ones put in."""
    for _ in range(draw.randint(1, 4)):
        at, length = draw.randint(0, len(content)), draw.choice((1, 1, 2, 8, 64))
        match draw.randrange(5):
            case 0:
                content = content[:at]
            case 1:
                content = content[:at] + draw.randbytes(length) + content[at + length :]
            case 2:
                content = content[:at] + content[at + length :]
            case 3:
                other = draw.randint(0, len(content))
                content = content[:at] + content[other : other + 10 * length] + content[at:]
            case _:
                content = content[:at] + draw.choice(ODD) + content[at:]
    return content
