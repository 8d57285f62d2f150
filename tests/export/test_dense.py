"""Dense modules in the saved folder: 3.0.1's layout, the same embeddings, and fewer numbers where asked."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from torch import nn

from matryoshka.encoder import Encoder
from matryoshka.encoder.dense import Dense
from matryoshka.encoder.saved_dense import ACTIVATIONS
from matryoshka.errors import UserError
from matryoshka.export.onnx import OnnxFolder
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from tests.tiny import tiny_encoder

TEXTS = ["Die Schule und das Haus", "x", "ein Text, der länger ist als die Grenze von 32", "", "12 % | §"]
TANH = "torch.nn.modules.activation.Tanh"
IDENTITY = "torch.nn.modules.linear.Identity"


def with_dense(*layers: Dense) -> Encoder:
    """The tiny encoder, whose poolings give 64 numbers, with layers behind them."""
    encoder = tiny_encoder(modes=("cls", "mean"))
    encoder.dense = nn.Sequential(*layers)
    return encoder


@pytest.fixture
def layers() -> list[Dense]:
    """64 -> 96 -> 40: one with a bias and an activation, one without."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return [Dense(64, 96, bias=True, activation=nn.Tanh()), Dense(96, 40)]


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def kinds(folder: Path) -> list[str]:
    return [module["type"].rpartition(".")[2] for module in read(folder / "modules.json")]


def theirs(folder: Path, **options: Any) -> SentenceTransformer:
    return SentenceTransformer(str(folder), device="cpu", local_files_only=True, **options)


def test_layout_is_that_of_3_0_1(layers: list[Dense], tmp_path: Path) -> None:
    folder = SentenceTransformersFolder().save(with_dense(*layers), tmp_path / "model")

    paths = ["", "1_Pooling", "2_Dense", "3_Dense", "4_Normalize"]
    assert read(folder / "modules.json") == [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{path[2:] or 'Transformer'}"}
        for i, path in enumerate(paths)
    ]
    assert read(folder / "2_Dense" / "config.json") == {
        "in_features": 64,
        "out_features": 96,
        "bias": True,
        "activation_function": TANH,
    }
    assert read(folder / "3_Dense" / "config.json") == {
        "in_features": 96,
        "out_features": 40,
        "bias": False,
        "activation_function": IDENTITY,
    }
    assert set(load_file(folder / "2_Dense" / "model.safetensors")) == {"linear.weight", "linear.bias"}
    assert set(load_file(folder / "3_Dense" / "model.safetensors")) == {"linear.weight"}
    for path in folder.rglob("*.safetensors"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert not any("matryoshka" in path.read_text(encoding="utf-8") for path in folder.rglob("*.json"))


def test_reloads_with_equal_embeddings(layers: list[Dense], tmp_path: Path) -> None:
    ours = with_dense(*layers)
    folder = SentenceTransformersFolder().save(ours, tmp_path / "model")

    again = Encoder.load(str(folder))
    assert (again.width, again.pooled_width) == (40, 64)
    np.testing.assert_array_equal(again.encode(TEXTS), ours.encode(TEXTS))
    np.testing.assert_allclose(theirs(folder).encode(TEXTS), ours.encode(TEXTS), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_is_saved_under_its_name(name: str, tmp_path: Path) -> None:
    ours = with_dense(Dense(64, 8, bias=True, activation=getattr(nn, name)()))
    folder = SentenceTransformersFolder().save(ours, tmp_path / "model")

    np.testing.assert_array_equal(Encoder.load(str(folder)).encode(TEXTS), ours.encode(TEXTS))
    np.testing.assert_allclose(theirs(folder).encode(TEXTS), ours.encode(TEXTS), rtol=0, atol=1e-5)


def matrix(bias: bool) -> list[Dense]:
    return [Dense(64, 48, bias=bias)]


CUTS: dict[str, tuple[list[Dense], list[str]]] = {
    "no Dense": ([], ["2_Dense"]),
    "a matrix": (matrix(bias=False), ["2_Dense"]),
    "a matrix and a bias": (matrix(bias=True), ["2_Dense"]),
    "an activation": ([Dense(64, 48, bias=True, activation=nn.Tanh())], ["2_Dense", "3_Dense"]),
    "two": ([Dense(64, 80, activation=nn.GELU()), Dense(80, 48)], ["2_Dense", "3_Dense"]),
}


@pytest.mark.parametrize("name", CUTS)
def test_dim_gives_the_first_numbers_without_truncate_dim(name: str, tmp_path: Path) -> None:
    layers, paths = CUTS[name]
    ours = with_dense(*layers)
    folder = SentenceTransformersFolder(dim=24).save(ours, tmp_path / "cut")
    whole = SentenceTransformersFolder().save(ours, tmp_path / "whole")

    assert [path.name for path in sorted(folder.glob("*_Dense"))] == paths
    found_ND = theirs(folder).encode(TEXTS)
    expected_ND = theirs(whole, truncate_dim=24).encode(TEXTS, normalize_embeddings=True)
    assert found_ND.shape == (len(TEXTS), 24)
    np.testing.assert_allclose(found_ND, expected_ND, rtol=0, atol=1e-6)
    np.testing.assert_allclose(Encoder.load(str(folder)).encode(TEXTS), ours.encode(TEXTS, dim=24), rtol=0, atol=1e-6)
    assert ours.width == (48 if layers else 64)  # what was trained is left as it was


def test_the_whole_width_needs_no_cut(tmp_path: Path) -> None:
    whole, same = (SentenceTransformersFolder(dim).save(with_dense(), tmp_path / f"model {dim}") for dim in (None, 64))
    assert kinds(whole) == kinds(same) == ["Transformer", "Pooling", "Normalize"]


@pytest.mark.parametrize("exporter", [SentenceTransformersFolder, OnnxFolder])
def test_more_numbers_than_there_are_is_an_error_before_anything_is_written(
    exporter: type[SentenceTransformersFolder], layers: list[Dense], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"export\.dim: 41 is wider than the encoder's 40; use at most export\.dim=40"):
        exporter(dim=41).save(with_dense(*layers), tmp_path / "model")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("dim", [None, 24])
def test_dense_modules_follow_the_graph(dim: int | None, layers: list[Dense], tmp_path: Path) -> None:
    """What backend="onnx" does: the graph in the transformer's place, then the folder's other modules."""
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    ours = with_dense(*layers)
    folder = OnnxFolder(dim).save(ours, tmp_path / "model")
    model = theirs(folder)
    assert [type(module).__name__ for module in model] == ["Transformer", "Pooling", "Dense", "Dense", "Normalize"]

    session = runtime.InferenceSession(folder / "onnx" / "model.onnx", providers=["CPUExecutionProvider"])
    batch = ours.tokenizer(TEXTS, padding=True, truncation=True, max_length=32, return_tensors="pt")
    names = ("input_ids", "attention_mask")
    (hidden_BLH,) = session.run(None, {name: batch[name].numpy() for name in names})
    features = {"token_embeddings": torch.from_numpy(hidden_BLH), "attention_mask": batch["attention_mask"]}
    for module in list(model)[1:]:
        features = module(features)
    found_BD = features["sentence_embedding"].detach().numpy()
    np.testing.assert_allclose(found_BD, ours.encode(TEXTS, dim=dim), rtol=0, atol=1e-5)
