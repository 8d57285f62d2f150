"""Documents in a mapped file: found as those in memory are, in bounded memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from matryoshka.evaluation.nearest import search
from tests.evaluation.all_pairs import draw


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_mapping_an_array_and_a_tensor_give_the_same(tmp_path: Path, dtype: Any) -> None:
    queries_QD, documents_ND = draw(5, 24), draw(60, 24, seed=1).numpy().astype(dtype)
    np.save(tmp_path / "corpus.npy", documents_ND)

    forms = [documents_ND, np.load(tmp_path / "corpus.npy", mmap_mode="r"), np.asfortranarray(documents_ND)]
    expected = search(queries_QD, torch.from_numpy(documents_ND), [24, 7], k=9)
    for found in (search(queries_QD, form, [24, 7], k=9, document_chunk=16) for form in forms):
        for dim in (24, 7):
            assert torch.equal(found[dim].documents_Qk, expected[dim].documents_Qk)
            assert torch.equal(found[dim].similarities_Qk, expected[dim].similarities_Qk)


BOUNDED = """
import resource, sys
import numpy as np, torch
from matryoshka.evaluation.nearest import search

documents_ND = np.load(sys.argv[1], mmap_mode="r")
queries_QD = torch.from_numpy(documents_ND[::20_000].copy())
search(queries_QD, documents_ND[:5000], [256, 64], k=10)  # what libraries set up at their first use
held = 1024 * int(next(line for line in open("/proc/self/status") if line.startswith("VmData")).split()[1])
resource.setrlimit(resource.RLIMIT_DATA, (held + int(sys.argv[2]),) * 2)
hits = search(queries_QD, documents_ND, [256, 64], k=10)
assert hits[64].documents_Qk[:, 0].tolist() == list(range(0, len(documents_ND), 20_000))
try:
    np.array(documents_ND)
except MemoryError:
    print("found without holding the corpus")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts mappings on Linux only")
@pytest.mark.slow
def test_a_search_does_not_hold_the_corpus(tmp_path: Path) -> None:
    """61 MB of documents; 32 MiB of memory of the process's own may be added (mapped files do not count)."""
    file_ND = np.lib.format.open_memmap(tmp_path / "corpus.npy", "w+", np.float32, (60_000, 256))
    for seed, part_ND in enumerate(np.split(file_ND, 3)):
        part_ND[:] = draw(20_000, 256, seed=seed).numpy()
    command = [sys.executable, "-c", BOUNDED, str(tmp_path / "corpus.npy"), str(32 * 2**20)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "found without holding the corpus\n"
