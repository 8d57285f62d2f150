"""The architectures that are tried against sentence-transformers, and docs/models.md made of what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from matryoshka.encoder.pooling import Mode
from matryoshka.report.markdown import table
from matryoshka.storage.atomic import write_atomically
from tests.architectures import PACKED, PADDED

LAST = ("llama", "mistral", "qwen2", "qwen3", "gemma3_text", "gpt2", "gpt_neox")  # each token sees those before it
MODELS: dict[str, list[Mode]] = {name: ["last" if name in LAST else "mean"] for name in [*PACKED, *PADDED]}
MODELS |= {"bert": ["cls"], "xlm-roberta": ["cls", "mean"]}
ALLOWED = 1e-5  # between embeddings of equal weights, of length 1 and in fp32
HEADER = ("architecture", "sequences are", "pooling tried", "as read", "trained, saved, read back")
PREFACE = f"""\
# Models

Any model of transformers that gives hidden states can be trained; its architecture is the `model_type` in its
`config.json`. Where that is *packed*, texts of a batch lie end to end in one row, without padding
([how](precision_and_speed.md#packing), [why by a table](decisions/0025_packing_by_a_table.md)). Others are padded,
which gives the same embeddings and takes longer; a run says so, and `Encoder.packed` tells.

Here each architecture is a small random model. *As read*: sentence-transformers writes it, this project reads it, and
this is the largest difference between the two sides' embeddings of the same texts. *Trained, saved, read back*: then
this project trains the model, on questions and passages of very different length, and saves it, and this is the largest
difference between its embeddings and those of sentence-transformers from the saved folder. At most {ALLOWED:.0e} is
allowed. `make parity` tries all of it anew and writes this page.

"""
NOTES = """
Each packed architecture is compared besides with transformers' own padded model, values and gradients, in tests that
`make test` runs: causal masks, windows at their edge, keys that several queries share, positions that begin anew. A
decoder is *bidirectional* where its configuration says so (`use_bidirectional_attention`, as EmbeddingGemma's does, or
`is_causal`).

A model whose code comes with it (`trust_remote_code`) is padded, whatever its `model_type`: what its tokens do to each
other is not known. So is one of a release of transformers that lets no other attention in.

On a GPU causal attention goes through the kernels that BERT's does. A window goes through flash attention (bf16, fp16),
else through length buckets, and MPNet's bias always does. None of that was run on a GPU.

"""


@dataclass(frozen=True)
class Measured:
    """Of one architecture: whether it is packed, and the largest differences."""

    name: str
    packed: bool
    read: float
    trained: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values: a test run in several processes sends them to one."""
        return asdict(self)

    @property
    def cells(self) -> tuple[str, ...]:
        """As the table shows it."""
        pooling = " + ".join(MODELS[self.name])
        return shown(self.name), "packed" if self.packed else "padded", pooling, *_numbers(self.read, self.trained)


def _numbers(*differences: float) -> list[str]:
    return [f"{difference:.1e}" for difference in differences]


def shown(name: str) -> str:
    """`qwen3, bidirectional` -> `qwen3`, bidirectional."""
    kind, *special = name.split(", ")
    return ", ".join([f"`{kind}`", *special])


def page(measured: Iterable[Measured]) -> str:
    """docs/models.md, in the order of MODELS."""
    found = {each.name: each for each in measured}
    rows: Sequence[tuple[str, ...]] = [found[name].cells for name in MODELS]
    packages = ("torch", "transformers", "sentence-transformers", "matryoshka")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return f"{PREFACE}{table(HEADER, rows, 'left')}\n{NOTES}Measured with {versions}, on a CPU in fp32.\n"


class ModelsPage:
    """Gathers what all tests measured of models, whichever process they ran in, and writes the page."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.measured: list[Measured] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            found: list[Any] = [value for name, value in report.user_properties if name == "model"]
            self.measured += [Measured(**value) for value in found]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.path:
            return
        if missing := [name for name in MODELS if name not in {each.name for each in self.measured}]:
            line = f"{self.path} is left as it was: not measured, or not agreeing: {', '.join(missing)}"
            terminalreporter.write_line(line, red=True)
        else:
            write_atomically(self.path, page(self.measured))
            terminalreporter.write_line(f"all {len(MODELS)} models agree: {self.path}")
