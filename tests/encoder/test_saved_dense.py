"""Dense modules of sentence-transformers folders: read in every layout, refused where they cannot be computed."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub.utils import filter_repo_objects
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense as TheirDense
from sentence_transformers.sentence_transformer.modules import Normalize as TheirNormalize
from torch import nn

from matryoshka.config.widths import width_problems
from matryoshka.encoder import Encoder, Pooling, Pretrained
from matryoshka.encoder.dense import Dense
from matryoshka.encoder.saved_dense import ACTIVATIONS
from matryoshka.errors import UserError
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from tests.tiny import tiny_encoder

TEXTS = ["Wer zahlt?", "der Notar und die Steuer", "x"]
DENSE = "sentence_transformers.models.Dense"
LAYERS: dict[str, list[dict[str, Any]]] = {
    "EmbeddingGemma": [
        {"in_features": 32, "out_features": 96, "bias": False, "activation_function": None},
        {"in_features": 96, "out_features": 32, "bias": False, "activation_function": None},
    ],
    "stella": [{"in_features": 32, "out_features": 48, "bias": True, "activation_function": None}],
    "distiluse": [{"in_features": 32, "out_features": 20, "bias": True, "activation_function": nn.Tanh()}],
}


def theirs(layers: list[dict[str, Any]], plain: Path) -> SentenceTransformer:
    """A model of sentence-transformers' own modules over the tiny transformer."""
    before = SentenceTransformer(str(plain), device="cpu", local_files_only=True)
    torch.manual_seed(1)
    modules = [before[0], before[1], *(TheirDense(**layer) for layer in layers), TheirNormalize()]
    return SentenceTransformer(modules=modules, device="cpu")


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return SentenceTransformersFolder().save(tiny_encoder(modes=("mean",)), tmp_path / "plain")


@pytest.fixture
def folder(plain: Path) -> Path:
    """A model with one Dense of 32 to 16 numbers with a bias and Tanh, in the layout of 3.0.1."""
    weights = {"linear.weight": torch.randn(16, 32), "linear.bias": torch.randn(16)}
    modules = json.loads((plain / "modules.json").read_text())
    modules[2:] = [{"idx": 2, "name": "2", "path": "2_Dense", "type": DENSE}]
    write(plain / "modules.json", modules)
    (plain / "2_Dense").mkdir()
    save_file(weights, plain / "2_Dense" / "model.safetensors")
    config = {"in_features": 32, "out_features": 16, "bias": True}
    write(plain / "2_Dense" / "config.json", config | {"activation_function": "torch.nn.modules.activation.Tanh"})
    return plain


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def change(folder: Path, **values: Any) -> Path:
    path = folder / "2_Dense" / "config.json"
    write(path, {**json.loads(path.read_text()), **values})
    return folder


@pytest.mark.parametrize("name", LAYERS)
def test_models_that_sentence_transformers_saves_give_their_embeddings(name: str, plain: Path, tmp_path: Path) -> None:
    model = theirs(LAYERS[name], plain)
    model.save(str(tmp_path / "saved"))

    pretrained = Pretrained(str(tmp_path / "saved"))
    assert list(pretrained.problems()) == []
    encoder = pretrained.load()
    assert (len(encoder.dense), encoder.pooled_width) == (len(LAYERS[name]), 32)
    assert encoder.width == LAYERS[name][-1]["out_features"]
    np.testing.assert_allclose(encoder.encode(TEXTS), model.encode(TEXTS), rtol=0, atol=1e-6)


def test_the_layout_of_3_0_1_is_read(folder: Path) -> None:
    encoder = Encoder.load(str(folder))
    tensors = load_file(folder / "2_Dense" / "model.safetensors")

    pooled_ND = tiny_encoder(modes=("mean",)).encode(TEXTS, normalize=False, as_tensor=True)
    expected_NE = torch.tanh(torch.as_tensor(pooled_ND) @ tensors["linear.weight"].T + tensors["linear.bias"])
    found_NE = torch.as_tensor(encoder.encode(TEXTS, normalize=False, as_tensor=True))
    torch.testing.assert_close(found_NE, expected_NE, rtol=0, atol=1e-5)


def test_halves_are_read_in_fp32_and_unnamed_activations_are_tanh(folder: Path) -> None:
    path = folder / "2_Dense" / "model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(path).items()}, path)
    write(folder / "2_Dense" / "config.json", {"in_features": 32, "out_features": 16})

    (dense,) = Encoder.load(str(folder)).dense
    assert isinstance(dense, Dense)
    assert (dense.linear.weight.dtype, type(dense.activation)) == (torch.float32, nn.Tanh)
    assert dense.linear.bias is not None


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"activation_function": "my_code.Tanh"}, "uses a Dense with my_code.Tanh; only"),
        ({"activation_function": "torch.nn.modules.linear.Linear"}, "uses a Dense with torch.nn.modules.linear.Linear"),
        ({"activation_function": "torch.nn.modules.activation.PReLU"}, "PReLU; only Transformer, Pooling, Dense"),
        ({"activation_function": "os.system"}, "uses a Dense with os.system"),
        ({"activation_function": 3}, "uses a Dense with 3"),
        ({"module_input_name": "token_embeddings"}, "uses a Dense with module_input_name token_embeddings"),
        ({"module_output_name": "other"}, "uses a Dense with module_output_name other"),
        ({"use_residual": True}, "uses a Dense with use_residual"),
        ({"in_features": "32"}, "2_Dense/config.json: in_features is '32', not a number from 1"),
        ({"out_features": 0}, "2_Dense/config.json: out_features is 0, not a number from 1"),
        ({"bias": None}, "2_Dense/config.json: bias is None, not true or false"),
        ({"in_features": 64}, "model.safetensors: linear.weight is 16 x 32, but .* says 16 x 64; copy both files"),
        ({"out_features": 10**9}, "linear.weight is 16 x 32, but .* says 1000000000 x 32; copy both files"),
    ],
)
def test_what_cannot_be_computed_is_refused_before_anything_is_read(
    values: dict[str, Any], told: str, folder: Path
) -> None:
    refused(change(folder, **values), told)


def refused(folder: Path, told: str) -> None:
    ((key, message),) = Pretrained(str(folder)).problems()
    assert key == "model"
    with pytest.raises(UserError, match=told) as caught:
        Pretrained(str(folder)).load()
    assert str(caught.value) == message


@pytest.mark.parametrize("name", [None, "sentence_embedding"])
def test_names_of_what_is_read_here_are_taken(name: str | None, folder: Path) -> None:
    change(folder, module_input_name="sentence_embedding", module_output_name=name, use_residual=False)
    assert Encoder.load(str(folder)).width == 16


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        (["Transformer", "Dense", "Pooling"], "uses modules in the order Transformer, Dense, Pooling; only"),
        (["Transformer", "Pooling", "Normalize", "Dense"], "the order Transformer, Pooling, Normalize, Dense"),
        (["Transformer", "Pooling", "Dense", "LayerNorm"], "uses LayerNorm; only"),
    ],
)
def test_another_order_is_refused(kinds: list[str], told: str, folder: Path) -> None:
    paths = {"Transformer": "", "Pooling": "1_Pooling", "Dense": "2_Dense"}
    modules = [{"path": paths.get(kind, "3"), "type": f"sentence_transformers.models.{kind}"} for kind in kinds]
    write(folder / "modules.json", modules)
    refused(folder, told)


def test_a_dense_of_other_code_is_another_layer(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    modules[2]["type"] = "pylate.models.Dense.Dense"
    write(folder / "modules.json", modules)
    refused(folder, "uses pylate.models.Dense.Dense; only")


def test_layers_that_do_not_follow_each_other_are_refused(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    write(folder / "modules.json", [*modules, modules[2]])
    refused(folder, "2_Dense/config.json takes 32 numbers, but .*2_Dense/config.json gives 16; copy all files")


def test_a_pooling_of_another_width_is_refused_before_the_weights_are_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("matryoshka.encoder.loading.read_model", lambda *_, **__: pytest.fail("weights were read"))
    with pytest.raises(UserError, match=r"takes 32 numbers, but the pooling gives 64; use a pooling of 1 mode$"):
        Pretrained(str(folder)).load(Pooling(["cls", "mean"]))


def test_a_pickle_is_refused_and_its_remedy_works(folder: Path) -> None:
    expected = Encoder.load(str(folder)).encode(TEXTS)
    path = folder / "2_Dense" / "model.safetensors"
    torch.save(load_file(path), path.with_name("pytorch_model.bin"))
    path.unlink()
    refused(folder, r"2_Dense/pytorch_model\.bin is a pickle.*not read; .*if you trust it, convert it: python -c")

    ((_, message),) = Pretrained(str(folder)).problems()
    code = message.partition('python -c "')[2].rstrip('"')
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    np.testing.assert_array_equal(Encoder.load(str(folder)).encode(TEXTS), expected)


def test_weights_that_are_missing_are_named(folder: Path, tmp_path: Path) -> None:
    (folder / "2_Dense" / "model.safetensors").unlink()
    refused(folder, r"2_Dense has no weights: model\.safetensors does not exist; copy all files")

    snapshot = tmp_path / "models--owner--name" / "snapshots" / ("a" * 40)
    snapshot.parent.mkdir(parents=True)
    folder.rename(snapshot)
    refused(snapshot, r"owner/name has no 2_Dense/model\.safetensors at commit a+, .*torch\.load\('copy/2_Dense/")


def test_a_hub_models_width_is_known_from_the_cache_and_no_pickle_is_fetched(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    cached = tmp_path / "hub" / "models--owner--name"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("a" * 40, encoding="utf-8")
    (cached / "snapshots").mkdir()
    snapshot = folder.rename(cached / "snapshots" / ("a" * 40))

    pretrained = Pretrained("owner/name")
    assert list(pretrained.problems()) == []
    (saved,) = pretrained.settings.dense
    assert (saved.out_features, pretrained.load().width) == (16, 16)
    ((key, message),) = width_problems([32, 16], pretrained, {})
    assert (key, message) == ("dims[0]", "32 is wider than the encoder's 16; use dims=[16]")

    fetched: list[str] = []
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda _, **o: fetched.extend(o["allow_patterns"]) or snapshot
    )
    pretrained.load()
    there = ["2_Dense/config.json", "2_Dense/model.safetensors", "2_Dense/pytorch_model.bin", "1_Pooling/config.json"]
    assert list(filter_repo_objects(there, allow_patterns=fetched)) == [there[0], there[1], there[3]]

    (snapshot / "2_Dense" / "config.json").unlink()  # of a download that was cut off
    assert Pretrained("owner/name").settings.dense == ()


def test_weights_that_are_damaged_or_not_finite_are_named(folder: Path) -> None:
    path = folder / "2_Dense" / "model.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "linear.bias": torch.full((16,), torch.nan)}, path)
    with pytest.raises(UserError, match=r"2_Dense/model\.safetensors: linear\.bias is not all finite; take"):
        Pretrained(str(folder)).load()
    save_file({"linear.weight": tensors["linear.weight"]}, path)
    refused(folder, r"linear\.bias is missing, but .*config\.json says 16; copy both")
    path.write_bytes(b"nothing")
    refused(folder, r"2_Dense/model\.safetensors is damaged or no safetensors file")


def test_activations_take_each_number_on_its_own_and_no_others_are_made() -> None:
    x_SD = torch.linspace(-2, 2, 12).view(3, 4)
    for name in ACTIVATIONS:
        activation = getattr(nn, name)()
        assert not list(activation.parameters())
        torch.testing.assert_close(activation(x_SD)[:, :2], activation(x_SD[:, :2]), rtol=0, atol=1e-6)
        Dense(4, 2, activation=activation)
    for other in (nn.PReLU(), nn.LeakyReLU(0.5), nn.Sequential()):
        with pytest.raises(ValueError, match="give one of Identity"):
            Dense(4, 2, activation=other)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Dense(4, 2, activation=nn.GELU())(x_SD)
