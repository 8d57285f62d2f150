"""`projection.md`: how the matrix beside it is applied, with its own widths."""

from __future__ import annotations

from collections.abc import Sequence

USUAL = 128  # the width that examples show, or the nearest that the matrix was fitted for
PAGE = """\
# How to apply projection.npy

A matrix of {width:,} x {full:,} numbers in float32. {what}
The first *d* numbers are kept, and each vector divided by its length. Fitted for *d* = {dims}; the examples have {dim}.
{whose}

A file of any size (`.npy`, `.npz`, `.parquet`), row by row; `dtype=float16`, `int8` or `binary` is smaller still:

    matryoshka project <this folder> documents.npy documents.{dim}.npy dim={dim}{as_documents}

**numpy**

```python
import numpy as np

matrix = np.load("projection.npy")[:, :{dim}]
{read_line}
y = x @ matrix
y /= np.linalg.norm(y, axis=1, keepdims=True)
```

**pgvector**: `ids` in the order of the rows; `halfvec({dim})` takes half the bytes. `ORDER BY short <#> %s` searches.

```python
short = np.load("documents.{dim}.npy", mmap_mode="r")
db.execute("ALTER TABLE passages ADD COLUMN short vector({dim})")
db.execute("CREATE TEMP TABLE projected (id bigint, short vector({dim}))")
with db.cursor().copy("COPY projected FROM STDIN WITH (FORMAT BINARY)") as copy:  # psycopg, register_vector(db)
    copy.set_types(["int8", "vector"])
    for number, vector in zip(ids, short):
        copy.write_row((int(number), vector))
db.execute("UPDATE passages SET short = projected.short FROM projected WHERE passages.id = projected.id")
db.execute("CREATE INDEX ON passages USING hnsw (short vector_ip_ops)")
```

**Qdrant**: a collection of its own; a collection's width cannot change.

```python
size = models.VectorParams(size={dim}, distance=models.Distance.DOT)
client.create_collection("passages_{dim}", vectors_config=size)
client.upload_collection("passages_{dim}", vectors=np.load("documents.{dim}.npy", mmap_mode="r"), ids=ids)
```

**FAISS**: {faiss_takes}.

```python
import faiss
import numpy as np

{faiss}
```
"""
FAISS = """\
matrix = np.load("projection.npy")[:, :{dim}]
cut = faiss.LinearTransform({width}, {dim}, False)
faiss.copy_array_to_vector(matrix.T.ravel(), cut.A)
cut.is_trained = True
index = faiss.IndexPreTransform(faiss.NormalizationTransform({dim}, 2.0), faiss.IndexFlatIP({dim}))
index.prepend_transform(cut)
index.add(np.load("documents.npy"))
similarities, rows = index.search(np.load("queries.npy"), 10)"""
FAISS_OF_QUERIES = """\
documents, queries = np.load("documents.npy")[:, :{dim}].copy(), np.load("queries.npy") @ np.load("projection.npy")
queries = queries[:, :{dim}].copy()
faiss.normalize_L2(documents)
faiss.normalize_L2(queries)
index = faiss.IndexFlatIP({dim})
index.add(documents)
similarities, rows = index.search(queries, 10)"""


def page(width: int, full: int, dims: Sequence[int], queries_alone: bool, encoder: str = "") -> str:
    """The page for a matrix (width, full) that was fitted for these dims, for all vectors or for queries alone."""
    dim = min(dims, key=lambda one: (abs(one - USUAL), one), default=min(USUAL, full))
    sizes = {"width": width, "full": full, "dim": dim}
    if queries_alone:
        words = {
            "what": "A query is multiplied by it, `query @ matrix`; documents stay what they are.",
            "as_documents": " side=document  # queries: side=query",
            "read_line": f'x = np.load("queries.npy")  # (N, {width}); of documents y is x[:, :{dim}]',
            "faiss_takes": f"documents and queries of {dim} numbers",
            "faiss": FAISS_OF_QUERIES.format(**sizes),
        }
    else:
        words = {
            "what": "Queries and documents alike are multiplied by it, `x @ matrix`.",
            "as_documents": "",
            "read_line": f'x = np.load("documents.npy")  # (N, {width}), or queries',
            "faiss_takes": f"takes vectors of {width} numbers and keeps {dim}",
            "faiss": FAISS.format(**sizes),
        }
    listed = ", ".join(map(str, dims)) or str(full)
    whose = f"For vectors of `{encoder}` alone." if encoder else "For vectors of the model that it was fitted to alone."
    return PAGE.format(**sizes, **words, dims=listed, whose=whose)
