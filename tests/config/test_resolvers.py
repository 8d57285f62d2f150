"""Values that depend on the machine are what the machine says, and names of folders are names of folders."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from matryoshka.config import resolvers
from matryoshka.encoder.pretrained import Pretrained
from matryoshka.errors import UserError


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """What a test pretends of the machine is forgotten after it."""
    resolvers.register_resolvers()
    yield
    for cached in (resolvers.why_not_card, resolvers.cuda_devices):
        getattr(cached, "cache_clear", lambda: None)()


def resolved(value: str) -> Any:
    return OmegaConf.to_container(OmegaConf.create({"value": value}), resolve=True)["value"]  # type: ignore[index,call-overload]


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ("", "default"),
        ("seed=1", "seed=1"),
        ("dims=[768,64]", "dims=768-64"),
        ("dims=[768,512,64],optimizer.lr=2e-5", "dims=768-512-64,optimizer.lr=2e-5"),
        ("data=pairs,data.train=my/own pairs.jsonl", "data=pairs,data.train=my_ownpairs.jsonl"),
        ("a=[1,2],b=[3],c=4", "a=1-2,b=3,c=4"),
    ],
)
def test_overrides_name_a_folder(overrides: str, name: str) -> None:
    assert resolvers.folder_name(overrides) == name


LISTS = st.lists(st.integers(0, 999), min_size=1, max_size=5)


@given(st.dictionaries(st.sampled_from(["dims", "seed", "optimizer.lr", "data.train"]), LISTS, min_size=1))
def test_different_jobs_have_different_folders(values: dict[str, list[int]]) -> None:
    def name(values: dict[str, list[int]]) -> str:
        return resolvers.folder_name(",".join(f"{key}=[{','.join(map(str, v))}]" for key, v in values.items()))

    first = next(iter(values))
    assert name(values) != name({**values, first: [*values[first], 1]})
    assert not set(name(values)) & set("/[] ")


def test_the_cards_pairs_are_used_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATRYOSHKA_BMF", str(tmp_path))
    for name in ("train.jsonl", "evaluation.jsonl"):
        assert resolved("${bmf_pairs_or:german_help}") == "german_help"
        assert name in resolved("${why_not_bmf_pairs:}")
        (tmp_path / name).touch()

    assert resolved("${bmf_pairs_or:german_help}") == "bmf"
    assert resolved("${why_not_bmf_pairs:}") == ""
    assert resolved("${bmf_folder:}") == str(tmp_path)


def test_the_cards_pairs_are_looked_for_in_data_bmf_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MATRYOSHKA_BMF", raising=False)
    monkeypatch.chdir(tmp_path)
    assert "data/bmf has no train.jsonl and evaluation.jsonl" in resolved("${why_not_bmf_pairs:}")

    (tmp_path / "data" / "bmf").mkdir(parents=True)
    for name in resolvers.BMF_FILES:
        (tmp_path / "data" / "bmf" / name).touch()

    assert resolved("${bmf_pairs_or:german_help}") == "bmf"


@pytest.mark.parametrize("name", ["train.jsonl", "evaluation.jsonl", "documents.jsonl"])
def test_the_embedded_pairs_are_there(name: str) -> None:
    assert Path(resolved(f"${{german_help:{name}}}")).is_file()


@pytest.mark.skipif(not version("torch").endswith("+cpu"), reason="this torch may see a GPU")
def test_a_torch_without_cuda_has_no_devices_even_where_a_driver_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", driver(3))
    resolvers.cuda_devices.cache_clear()

    assert resolvers.cuda_devices() == 0


def driver(devices: int, status: int = 0) -> Any:
    """A libcuda that counts so many devices, or fails with a status."""

    class Driver:
        def __init__(self, name: str) -> None:
            assert name == "libcuda.so.1"

        def cuInit(self, flags: int) -> int:  # noqa: N802
            return status

        def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
            count._obj.value = devices
            return status

    return Driver


def absent(_: str) -> None:
    raise OSError("no such library")


@pytest.mark.parametrize(
    ("library", "devices"), [(driver(2), 2), (driver(0), 0), (driver(2, status=100), 0), (absent, 0)]
)
def test_cuda_devices_are_those_that_the_driver_counts(
    library: Any, devices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolvers, "version", lambda _: "2.9.0+cu128")
    monkeypatch.setattr(ctypes, "CDLL", library)
    resolvers.cuda_devices.cache_clear()

    counted = resolvers.cuda_devices()

    assert type(counted) is int
    assert counted == devices


@pytest.mark.parametrize(
    ("devices", "reachable", "choice", "reason"),
    [
        (0, True, "cpu", "there is no CUDA GPU here"),
        (1, False, "cpu", "BAAI/bge-m3 is not in the hub's cache and the hub cannot be reached"),
        (1, True, "card", ""),
    ],
)
def test_the_recipe_runs_where_a_gpu_and_the_encoder_are(
    devices: int, reachable: bool, choice: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def config(self: Pretrained) -> dict[str, Any]:
        assert self.model == "BAAI/bge-m3"
        if not reachable:
            raise UserError("no way")
        return {}

    monkeypatch.setattr(resolvers, "cuda_devices", lambda: devices)
    monkeypatch.setattr(Pretrained, "config", property(config))
    resolvers.why_not_card.cache_clear()

    assert resolved("${card_or_cpu:card,cpu}") == choice
    assert resolved("${why_not_card:}") == reason


def test_numbers_keep_their_type_in_a_choice_of_two_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolvers, "why_not_card", lambda: "")
    assert resolved("${card_or_cpu:2e-5,8e-5}") == 2e-5
    assert resolved("${card_or_cpu:16,32}") == 16

    monkeypatch.setattr(resolvers, "why_not_card", lambda: "no GPU")
    assert resolved("${card_or_cpu:2e-5,8e-5}") == 8e-5
    assert resolved("${card_or_cpu:16,32}") == 32
