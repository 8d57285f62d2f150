"""Weights as a pickle are read and fetched only where a user says so, and then nothing but tensors."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub.utils import filter_repo_objects
from safetensors.torch import load_file

from matryoshka.cli.command_line import note_pickled_weights
from matryoshka.config import resolvers
from matryoshka.config.consistency import baseline_problems
from matryoshka.encoder import Encoder, Pretrained
from matryoshka.encoder.dense import Dense
from matryoshka.errors import UserError
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from tests.test_reading_is_safe import Planted
from tests.tiny import tiny_encoder

COMMIT = "0123456789" * 4
TEXTS = ["Wer zahlt?", "der Notar und die Steuer"]
KEY = "encoder.pickled_weights=true reads pytorch_model.bin, its tensors alone"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv(resolvers.PICKLED_ASKED, raising=False)


def pickled(path: Path) -> None:
    """The weights beside it as pytorch_model.bin, as torch writes it, in their place."""
    torch.save(load_file(path), path.with_name("pytorch_model.bin"))
    path.unlink()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = SentenceTransformersFolder().save(tiny_encoder(modes=("mean",)), tmp_path / "model")
    pickled(folder / "model.safetensors")
    return folder


@pytest.fixture
def snapshot(folder: Path, tmp_path: Path) -> Path:
    """BAAI/bge-m3 as the hub's cache has it: files are links to blobs, and a branch names the commit."""
    cached = tmp_path / "hub" / "models--BAAI--bge-m3"
    for name in ("blobs", "refs", f"snapshots/{COMMIT}"):
        (cached / name).mkdir(parents=True)
    (cached / "refs" / "main").write_text(COMMIT, encoding="utf-8")
    snapshot = cached / "snapshots" / COMMIT
    files = [path for path in folder.rglob("*") if path.is_file()]
    for number, path in enumerate(files):
        path.rename(cached / "blobs" / f"{number:040x}")
        link = snapshot / path.relative_to(folder)
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(cached / "blobs" / f"{number:040x}")
    return snapshot


def test_they_are_read_where_a_user_says_so(folder: Path) -> None:
    ((key, message),) = Pretrained(str(folder)).problems()
    assert key == "model"
    assert "\n" not in message
    assert f"{folder}/pytorch_model.bin is a pickle, which can run code when it is read, and is not read; {KEY}" in (
        message
    )
    with pytest.raises(UserError, match="is a pickle"):
        Pretrained(str(folder)).load()

    asked = Pretrained(str(folder), pickled_weights=True)
    assert list(asked.problems()) == []
    np.testing.assert_array_equal(asked.load().encode(TEXTS), tiny_encoder(modes=("mean",)).encode(TEXTS))
    np.testing.assert_array_equal(
        Encoder.load(str(folder), pickled_weights=True).encode(TEXTS), asked.load().encode(TEXTS)
    )


def test_whatever_reads_them_reads_tensors_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers' own reading too."""
    load, given = torch.load, []

    def watched(*args: Any, **options: Any) -> Any:
        given.append(options.get("weights_only"))
        return load(*args, **options)

    monkeypatch.setattr(torch, "load", watched)
    Pretrained(str(folder), pickled_weights=True).load()
    assert given and set(given) == {True}


def test_safetensors_come_first(folder: Path) -> None:
    tiny_encoder(seed=1).backbone.save_pretrained(folder)

    found = Pretrained(str(folder), pickled_weights=True).load().encode(TEXTS)
    np.testing.assert_array_equal(found, tiny_encoder(seed=1, modes=("mean",)).encode(TEXTS))


def test_a_snapshot_of_the_hubs_cache(snapshot: Path) -> None:
    ((key, message),) = Pretrained("BAAI/bge-m3").problems()
    assert key == "model"
    assert message.startswith(f"BAAI/bge-m3 has no model.safetensors at commit {COMMIT}")
    assert f"use a revision that has it; or {KEY}, if there is one; or, " in message
    with pytest.raises(UserError, match=r"has no model\.safetensors at commit"):
        Pretrained("BAAI/bge-m3").load()

    asked = Pretrained("BAAI/bge-m3", pickled_weights=True)
    assert list(asked.problems()) == []
    encoder = asked.load()
    assert encoder.revision == COMMIT
    np.testing.assert_array_equal(encoder.encode(TEXTS), tiny_encoder(modes=("mean",)).encode(TEXTS))


@pytest.mark.parametrize("asked", [False, True])
def test_a_snapshot_without_any(snapshot: Path, asked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    (snapshot / "pytorch_model.bin").unlink()
    pretrained = Pretrained("BAAI/bge-m3", pickled_weights=asked)

    ((_, message),) = pretrained.problems()
    assert message.startswith(f"BAAI/bge-m3 has no model.safetensors {'or pytorch_model.bin ' if asked else ''}at")
    assert ("pickled_weights" in message) != asked
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)  # they may yet be fetched
    assert list(pretrained.problems()) == []


def test_a_pickle_is_fetched_only_if_asked(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "2_Dense/pytorch_model.bin", "training_args.bin"]
    there += ["colbert_linear.pt", "pytorch_model.bin.index.json", "model.safetensors"]
    for asked in (False, True):
        fetched: list[str] = []
        monkeypatch.setattr(
            huggingface_hub,
            "snapshot_download",
            lambda _, into=fetched, **o: into.extend(o["allow_patterns"]) or snapshot,
        )
        Pretrained("BAAI/bge-m3", pickled_weights=asked).commit()
        assert list(filter_repo_objects(there, allow_patterns=fetched)) == [*there[: 3 * asked], *there[5:]]


@pytest.mark.parametrize(
    ("state", "asked", "why"),
    [
        ("pickled", False, f"the hub's cache has BAAI/bge-m3 without safetensors; {KEY}"),
        ("pickled", True, ""),
        ("none", False, "the hub's cache has BAAI/bge-m3 without safetensors, and HF_HUB_OFFLINE is set"),
        ("none", True, "the hub's cache has BAAI/bge-m3 without safetensors, and HF_HUB_OFFLINE is set"),
        ("safetensors", False, ""),
    ],
)
def test_the_cards_column_is_taken_only_where_its_weights_can_be_read(
    state: str, asked: bool, why: str, snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if state != "pickled":
        (snapshot / "pytorch_model.bin").unlink()
    if state == "safetensors":
        tiny_encoder().backbone.save_pretrained(snapshot)
    monkeypatch.setattr(resolvers, "cuda_devices", lambda: 1)
    monkeypatch.setenv(resolvers.PICKLED_ASKED, "")
    note_pickled_weights([f"encoder.pickled_weights={'True' if asked else 'false'}", "experiment=bmf"])

    assert resolvers.why_not_card.__wrapped__() == why


def test_the_last_word_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    for words, noted in (
        (["encoder.pickled_weights=true", "encoder.pickled_weights=false"], ""),
        (["encoder.pickled_weights=false", "encoder.pickled_weights=true"], "true"),
        (["++encoder.pickled_weights=true"], "true"),
        (["name=encoder.pickled_weights=true"], ""),
    ):
        monkeypatch.setenv(resolvers.PICKLED_ASKED, "")
        note_pickled_weights(words)
        assert os.environ[resolvers.PICKLED_ASKED] == noted


def in_two(folder: Path) -> Path:
    """The weights in two pickles and an index of them."""
    tensors = torch.load(folder / "pytorch_model.bin", weights_only=True)
    (folder / "pytorch_model.bin").unlink()
    names = [f"pytorch_model-0000{part}-of-00002.bin" for part in (1, 2)]
    where = {tensor: names[number % 2] for number, tensor in enumerate(tensors)}
    for name in names:
        torch.save({tensor: tensors[tensor] for tensor, of in where.items() if of == name}, folder / name)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return folder / names[1]


def test_several_files_with_an_index(folder: Path) -> None:
    part = in_two(folder)
    ((_, message),) = Pretrained(str(folder)).problems()
    assert KEY in message

    asked = Pretrained(str(folder), pickled_weights=True)
    assert list(asked.problems()) == []
    np.testing.assert_array_equal(asked.load().encode(TEXTS), tiny_encoder(modes=("mean",)).encode(TEXTS))

    part.unlink()
    ((_, message),) = asked.problems()
    assert message.startswith(f"{part}, which pytorch_model.bin.index.json names, does not exist")


def test_a_dense_module_is_read_the_same_way(tmp_path: Path) -> None:
    encoder = tiny_encoder(modes=("mean",))
    encoder.dense.append(Dense(32, 16, activation=torch.nn.Tanh()))
    folder = SentenceTransformersFolder().save(encoder, tmp_path / "model")
    pickled(folder / "2_Dense" / "model.safetensors")
    ((_, message),) = Pretrained(str(folder)).problems()
    assert f"2_Dense/pytorch_model.bin is a pickle, which can run code when it is read, and is not read; {KEY}" in (
        message
    )

    asked = Pretrained(str(folder), pickled_weights=True)
    assert list(asked.problems()) == []
    np.testing.assert_array_equal(asked.load().encode(TEXTS), encoder.encode(TEXTS))

    path = folder / "2_Dense" / "pytorch_model.bin"
    torch.save({"linear.weight": torch.zeros(16, 31), "linear.bias": torch.zeros(16)}, path)
    with pytest.raises(UserError, match=r"2_Dense/pytorch_model\.bin: linear\.weight is 16 x 31, but .* 16 x 32"):
        asked.load()
    torch.save([torch.zeros(16, 32)], path)
    with pytest.raises(UserError, match=r"2_Dense/pytorch_model\.bin holds other things than tensors by name"):
        asked.load()
    path.write_bytes(b"PK nothing")
    with pytest.raises(UserError, match=r"2_Dense/pytorch_model\.bin (is damaged|cannot be read)"):
        asked.load()


@pytest.mark.parametrize("place", ["pytorch_model.bin", "2_Dense/pytorch_model.bin", "shard"])
def test_a_planted_pickle_runs_nothing_and_is_named(place: str, folder: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    if place.startswith("2_Dense"):
        encoder = tiny_encoder(modes=("mean",))
        encoder.dense.append(Dense(32, 16))
        folder = SentenceTransformersFolder().save(encoder, tmp_path / "dense")
        (folder / "2_Dense" / "model.safetensors").unlink()
    path = in_two(folder) if place == "shard" else folder / place
    content: dict[str, Any] = {"embeddings.word_embeddings.weight": torch.zeros(2), "evil": Planted(made)}
    torch.save(content, path)
    torch.load(path, weights_only=False)
    assert made.is_dir()  # else this test could not fail
    made.rmdir()

    asked = Pretrained(str(folder), pickled_weights=True)
    assert list(asked.problems()) == []
    with pytest.raises(UserError, match=r"pytorch_model.*\.bin.* is damaged or holds more than tensors") as error:
        asked.load()
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)
    assert not made.exists()


def test_weights_of_another_model_and_pointers_are_told(folder: Path) -> None:
    asked = Pretrained(str(folder), pickled_weights=True)
    torch.save({"other.weight": torch.zeros(2)}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="has no weights for"):
        asked.load()
    torch.save(tiny_encoder(width=16).backbone.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot be loaded"):
        asked.load()

    (folder / "pytorch_model.bin").write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{COMMIT}\n")
    ((_, message),) = asked.problems()
    assert "pytorch_model.bin is a git-lfs pointer" in message


def test_other_pickles_are_none_of_them(folder: Path) -> None:
    (folder / "pytorch_model.bin").rename(folder / "model.pt")

    for asked in (False, True):
        ((_, message),) = Pretrained(str(folder), pickled_weights=asked).problems()
        assert "model.pt is a pickle, which can run code when it is read, and is not read; if you trust it" in message


def test_a_baseline_is_told_where_they_can_be_read(folder: Path) -> None:
    ((key, message),) = baseline_problems([str(folder)])

    assert key == "baselines[0]"
    assert f"evaluate.py model={folder} encoder.pickled_weights=true; it can be no baseline" in message
    assert KEY not in message
