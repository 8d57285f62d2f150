"""Exact search at five dims against sentence-transformers': `python benchmarks/search.py [--documents 1000000]`.

Equal queries and documents in fp32, of clusters of normal numbers. matryoshka: all dims together, documents from a
mapped file, not normalised. sentence-transformers: util.semantic_search a dim, as its InformationRetrievalEvaluator
searches, over embeddings in memory that were truncated and normalised before the clock starts.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from record import Comparison, Curve, Fact, Record
from sentence_transformers import util
from sides import arguments, interleaved
from torch import Tensor

from matryoshka.evaluation.nearest import search

DIMS = (1024, 512, 256, 128, 64)
WIDTH = max(DIMS)
K = 100


def write_documents(path: Path, count: int, part: int = 20_000) -> None:
    """Vectors around 1,000 centres, drawn anew each; a count's documents are the first of any larger count's."""
    generator = torch.Generator().manual_seed(0)
    centres_CD = torch.randn(1000, WIDTH, generator=generator)
    file_ND = np.lib.format.open_memmap(path, "w+", np.float32, (count, WIDTH))
    for start in range(0, count, part):
        rows = min(part, count - start)
        values_ND = torch.randn(rows, WIDTH, generator=generator)
        values_ND += centres_CD[torch.randint(0, 1000, (rows,), generator=generator)]
        file_ND[start : start + rows] = values_ND.numpy()


def queries_near(path: Path, count: int) -> Tensor:
    """Queries around documents of the first hundredth, as they are at every size."""
    documents_ND = np.load(path, mmap_mode="r")
    rows = np.linspace(0, len(documents_ND) // 100 - 1, count).astype(int)
    noise_QD = torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(1))
    return torch.from_numpy(documents_ND[rows]) + noise_QD


def own_memory() -> int:
    """The process's anonymous memory in bytes (RssAnon); pages of mapped files are not part of it."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("RssAnon:")[1].split()[0])


@contextmanager
def watched() -> Iterator[list[int]]:
    """Gather the process's own memory every 10 ms."""
    seen, done = [own_memory()], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            seen.append(own_memory())

    thread = threading.Thread(target=watch)
    thread.start()
    yield seen
    done.set()
    thread.join()


def ours_at(path: Path, queries_QD: Tensor, sizes: list[int]) -> list[tuple[float, int]]:
    """Seconds of a search over the first documents of each number, and the memory it added at its peak.

    Run in a process of its own, sizes ascending: memory is above what the process held before its first search.
    """
    before, found = own_memory(), []
    for size in sizes:
        documents_ND = np.load(path, mmap_mode="r")[:size]
        with watched() as memory:
            start = time.perf_counter()
            search(queries_QD, documents_ND, DIMS, K)
            seconds = time.perf_counter() - start
        found.append((seconds, max(memory) - before))
    return found


def truncated(embeddings_ND: Tensor, dim: int) -> Tensor:
    """What their encode gives with truncate_dim and normalize_embeddings."""
    return F.normalize(embeddings_ND[:, :dim], dim=1)


def their_search(queries_Qd: Tensor, documents_Nd: Tensor) -> list[list[dict[str, float]]]:
    """Their hits at one dim, in the chunks that their evaluator takes."""
    return util.semantic_search(
        queries_Qd, documents_Nd, corpus_chunk_size=50_000, top_k=K, score_function=util.dot_score
    )


def theirs_at(queries_QD: Tensor, documents_ND: Tensor) -> float:
    """Seconds of their searches at all dims, one after another; what is made ready before each is not counted."""
    seconds = 0.0
    for dim in DIMS:
        ready = truncated(queries_QD, dim), truncated(documents_ND, dim)
        start = time.perf_counter()
        their_search(*ready)
        seconds += time.perf_counter() - start
    return seconds


def compare(queries_QD: Tensor, mapped_ND: np.ndarray, repeats: int) -> Comparison:
    """Both sides in turn over equal documents, and how far their rankings agree."""
    documents_ND = torch.from_numpy(np.array(mapped_ND))
    ready = {dim: (truncated(queries_QD, dim), truncated(documents_ND, dim)) for dim in DIMS}
    hits, their = {}, {}
    fast, slow = interleaved(
        lambda _: hits.update(search(queries_QD, mapped_ND, DIMS, K)),
        lambda _: their.update({dim: their_search(*embeddings) for dim, embeddings in ready.items()}),
        repeats,
    )
    rankings = [
        (hits[dim].documents_Qk[query].tolist(), [hit["corpus_id"] for hit in their[dim][query]])
        for dim in DIMS
        for query in range(len(queries_QD))
    ]

    def share(same: Callable[[list[int], list[int]], bool]) -> str:
        return f"{sum(same(a, b) for a, b in rankings) / len(rankings):.2%}"

    agreement = (
        f"of {len(rankings):,} rankings {share(lambda a, b: a[0] == b[0])} have the same first hit, "
        f"{share(lambda a, b: set(a) == set(b))} the same {K} hits, {share(lambda a, b: a == b)} in the same order"
    )
    job = f"search, {len(queries_QD)} queries over {len(mapped_ND):,} documents, {len(DIMS)} dims, best {K}"
    return Comparison(job, "s", fast, slow, False, agreement)


def available_memory() -> int:
    """Bytes that can be taken without swapping."""
    return 1024 * int(Path("/proc/meminfo").read_text().split("MemAvailable:")[1].split()[0])


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__ or "", queries=200, documents=1_000_000)
    record = Record("Search")
    sizes = [options.documents // 100, options.documents // 10, options.documents]
    file_bytes = 4 * WIDTH * options.documents
    with tempfile.TemporaryDirectory() as folder:
        if shutil.disk_usage(folder).free < 1.5 * file_bytes:
            sizes, room = sizes[:2], shutil.disk_usage(folder).free / 1e9
            record.notes.append(f"{options.documents:,} documents were left out: {room:.0f} GB are free on the disk.")
        print(f"data       {options.queries} queries, {', '.join(f'{n:,}' for n in sizes)} random documents, best {K}")
        print(f"dims       {', '.join(map(str, DIMS))}")
        path = Path(folder) / "documents.npy"
        write_documents(path, sizes[-1])
        queries_QD = queries_near(path, options.queries)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            found = process.submit(ours_at, path, queries_QD, sizes).result()
        mapped_ND = np.load(path, mmap_mode="r")
        record.comparisons.append(compare(queries_QD, mapped_ND[: sizes[1]], options.repeats))
        theirs: list[float | None] = []
        for size in sizes:
            needed = 3 * 4 * WIDTH * size
            if needed < available_memory():
                theirs.append(theirs_at(queries_QD, torch.from_numpy(np.array(mapped_ND[:size]))))
            else:
                theirs.append(None)
                record.notes.append(f"sentence-transformers was not run over {size:,} documents: too little memory.")
    for size, (seconds, _) in zip(sizes, found, strict=True):
        record.facts.append(Fact(f"seconds a million documents, over {size:,}", seconds * 1e6 / size, "s"))
    memory = found[-1][1] / 1e6
    record.facts.append(Fact(f"memory above the mapped file, over {sizes[-1]:,} documents", memory, "MB", 2000))
    record.curves.append(
        Curve(
            "search_over_corpus",
            f"Search of {options.queries} queries at {len(DIMS)} dims",
            "documents",
            "seconds",
            sizes,
            {"matryoshka, from a mapped file": [s for s, _ in found], "sentence-transformers, in memory": theirs},
        )
    )
    record.notes += [
        f"Documents are random: normal numbers around 1,000 centres, {WIDTH} wide; dims {', '.join(map(str, DIMS))}.",
        "Memory is anonymous memory (RssAnon) above that of the process before its first search; the file's pages, "
        "which the system may drop, are not counted. Embeddings of sentence-transformers are in memory, truncated and "
        "normalised, before its clock starts; ours are read and normalised within ours. Our similarities are those of "
        "fp64, rounded to fp32, with ties by row; theirs are of fp32.",
    ]
    record.show()
    record.write(options.json)


if __name__ == "__main__":
    main()
