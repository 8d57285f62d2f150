"""No file can run code by being read: no call in the source could let it, and a planted pickle does nothing."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch

from matryoshka.data.reading.rows import read_rows
from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.data.tokens import TokenIds
from matryoshka.encoder.sentence_transformers import SavedSettings
from matryoshka.errors import UserError
from matryoshka.evaluation.bm25 import BM25
from matryoshka.evaluation.bm25_cache import CachedSearch
from matryoshka.evaluation.embeddings import OnDisk
from matryoshka.evaluation.evaluator import Evaluator
from matryoshka.report.rankings import write_rankings
from matryoshka.tasks.loading import tokenized_set
from matryoshka.training.checkpoints.folder import BrokenCheckpointError, Checkpoint
from tests.tiny import tiny_encoder

SOURCE = Path(__file__).parents[1] / "src"
UNPICKLING = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "pandas"}
ALLOWED = {
    ("config/signatures.py", "eval"),  # annotations of code that is about to be imported anyway
    (
        "training/checkpoints/folder.py",
        "from pickle import UnpicklingError",
    ),  # what torch.load raises for foreign content
    ("encoder/loading.py", "from pickle import UnpicklingError"),  # the same
}


def unsafe_calls(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of every call that may run what a file says, or write where it says."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            yield from ((node.lineno, ast.unparse(node)) for name in names if name.split(".")[0] in UNPICKLING)
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        last = name.rpartition(".")[2]
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        unsafe = [
            name == "torch.load" and given.get("weights_only") != "True",
            last == "load_from_checkpoint" and given.get("weights_only") != "True",
            last == "load" and name.split(".")[0] in ("joblib", "pickle", "dill"),
            given.get("allow_pickle", "False") != "False",
            given.get("weights_only", "True") != "True",
            given.get("trust_remote_code", "False") == "True",
            given.get("shell", "False") != "False",
            last in ("unsafe_load", "full_load") or (name == "yaml.load" and "SafeLoader" not in ast.unparse(node)),
            name in ("eval", "exec", "os.system", "os.popen"),
            last in ("extractall", "unpack_archive"),
        ]
        if any(unsafe):
            yield node.lineno, name


def test_the_source_has_no_call_that_could() -> None:
    files = sorted(SOURCE.rglob("*.py"))
    assert len(files) > 100
    found = [
        f"{path.relative_to(SOURCE)}:{line}: {name}"
        for path in files
        for line, name in unsafe_calls(ast.parse(path.read_text(encoding="utf-8")))
        if (_inside(path), name) not in ALLOWED
    ]

    assert found == []


def _inside(path: Path) -> str:
    """The path below the package."""
    return path.relative_to(SOURCE).as_posix().partition("/")[2]


@pytest.mark.parametrize(
    "call",
    [
        "torch.load(p)",
        "torch.load(p, weights_only=False)",
        "Module.load_from_checkpoint(p)",
        "pickle.load(f)",
        "import pickle",
        "from dill import load",
        "joblib.load(p)",
        "AutoModel.from_pretrained(p, weights_only=False)",
        "np.load(p, allow_pickle=True)",
        "yaml.load(t)",
        "yaml.load(t, yaml.Loader)",
        "yaml.unsafe_load(t)",
        "eval(t)",
        "exec(t)",
        "AutoModel.from_pretrained(p, trust_remote_code=True)",
        "tarfile.open(p).extractall(d)",
        "shutil.unpack_archive(p)",
        "subprocess.run(t, shell=True)",
        "os.system(t)",
    ],
)
def test_such_a_call_is_found(call: str) -> None:
    assert len(list(unsafe_calls(ast.parse(call)))) == 1


@pytest.mark.parametrize(
    "call",
    ["torch.load(p, weights_only=True)", "np.load(p, mmap_mode='r')", "yaml.load(t, yaml.SafeLoader)", "model.eval()"],
)
def test_a_safe_one_is_not(call: str) -> None:
    assert list(unsafe_calls(ast.parse(call))) == []


class Planted:
    """Makes a folder when it is unpickled."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.made,)


def test_the_planted_pickle_does_what_it_should_not(tmp_path: Path) -> None:
    """Else the tests below could not fail."""
    pickle.loads(pickle.dumps(Planted(tmp_path / "made")))

    assert (tmp_path / "made").is_dir()


def as_checkpoint(planted: Planted) -> bytes:
    """As torch saves it, which is a zip archive with a pickle in it."""
    content = io.BytesIO()
    torch.save({"state_dict": planted, "global_step": 1}, content)
    assert zipfile.is_zipfile(content)
    return content.getvalue()


def as_array(planted: Planted) -> bytes:
    """As numpy saves an array of objects."""
    content = io.BytesIO()
    np.save(content, np.array([planted], dtype=object), allow_pickle=True)
    return content.getvalue()


def read_checkpoint(path: Path) -> None:
    path.rename(path.with_name("training.pt"))
    Checkpoint(path.parent, 1, "", {}).training()


def read_embeddings_of_the_cache(path: Path) -> None:
    kept = path.rename(path.with_name("key.safetensors"))
    assert OnDisk(kept.parent).get("key") is None


def read_ranking_of_the_cache(path: Path) -> None:
    search = CachedSearch(BM25(language="german"), ["ein Text", "noch einer"], path.parent / "bm25")
    search.search(["Text"], 1)
    (kept,) = (path.parent / "bm25").iterdir()
    path.rename(kept)
    assert search.search(["Text"], 1).documents_Qk.tolist() == [[0]]


def read_rows_of_the_cache(path: Path) -> None:
    texts = path.with_name("texts.jsonl")
    texts.write_text('{"a": "ein Text"}\n', encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MATRYOSHKA_CACHE", str(path.parent / "cache"))
        read_rows(str(texts))
        (kept,) = (path.parent / "cache" / "rows").iterdir()
        path.rename(kept)
        assert read_rows(str(texts))["a"][:] == ["ein Text"]


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("form", [pickle.dumps, as_checkpoint, as_array])
@pytest.mark.parametrize(
    ("read", "refused"),
    [
        (read_checkpoint, (BrokenCheckpointError,)),
        (read_embeddings_of_the_cache, ()),
        (read_ranking_of_the_cache, ()),
        (read_rows_of_the_cache, ()),
        (TokenIds.read, (pyarrow.ArrowInvalid, OSError)),
        (lambda path: np.load(path, mmap_mode="r"), (ValueError,)),  # as docs/python.md opens a file of embeddings
    ],
    ids=[
        "checkpoint",
        "embeddings of the cache",
        "ranking of the cache",
        "rows of the cache",
        "token ids of the cache",
        "embeddings file",
    ],
)
def test_a_planted_pickle_does_nothing(
    tmp_path: Path,
    form: Callable[[Planted], bytes],
    read: Callable[[Path], object],
    refused: tuple[type[Exception], ...],
) -> None:
    path = tmp_path / "folder" / "planted"
    path.parent.mkdir()
    path.write_bytes(form(Planted(tmp_path / "made")))

    with contextlib.suppress(*refused):
        read(path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("path", ["../outside", "1_Pooling/../../outside", "/outside"])
def test_no_module_of_a_model_leads_out_of_its_folder(tmp_path: Path, path: str) -> None:
    modules = [{"idx": 1, "name": "1", "path": path, "type": "sentence_transformers.models.Pooling"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules), encoding="utf-8")

    with pytest.raises(UserError, match=f"modules.json names '{path}', which is not inside the model's folder"):
        SavedSettings.read(tmp_path)


def test_no_id_of_the_data_becomes_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids that would lead out of the folder, were they names of files."""
    monkeypatch.setenv("MATRYOSHKA_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "outer" / "run"
    ids = ["../../query", "/query", "..", "a/../../../b"]
    texts = {i: f"text {n}" for n, i in enumerate(ids)}
    encoder = tiny_encoder()
    data = RetrievalSet("../../data", texts, texts, {i: frozenset([i]) for i in ids})
    result = Evaluator().evaluate(encoder, tokenized_set(encoder, data), [16], progress=False)
    assert result.rankings is not None
    write_rankings(folder / "rankings", result.rankings)

    assert {path.parent for path in (tmp_path / "outer").rglob("*") if path.is_file()} == {folder / "rankings"}
    assert {path.name for path in tmp_path.iterdir()} == {"outer", "cache"}
