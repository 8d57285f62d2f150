"""Values that depend on the machine are what the machine says, and names of folders are names of folders."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joblib
import pytest
from hypothesis import given, settings
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
        ("name='it\\'s ${seed}',seed=1", "name=itsseed,seed=1"),
    ],
)
def test_overrides_name_a_folder(overrides: str, name: str) -> None:
    assert resolvers.folder_name(overrides) == name


def test_a_long_name_fits_a_file_system_and_stays_its_own() -> None:
    names = {resolvers.folder_name(f"name={'ä' * 200}{end}") for end in "xy"}
    assert len(names) == 2 and all(len(name.encode()) < 255 for name in names)


LISTS = st.lists(st.integers(0, 999), min_size=1, max_size=5)


@settings(deadline=None)
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


@pytest.mark.parametrize(
    "file",
    [
        *("german_help:train.jsonl", "german_help:evaluation.jsonl", "german_help:documents.jsonl"),
        *("german_music:evaluation.jsonl", "german_music:documents.jsonl"),
    ],
)
def test_the_embedded_pairs_are_there(file: str) -> None:
    assert Path(resolved(f"${{{file}}}")).is_file()


@pytest.mark.skipif(not version("torch").endswith("+cpu"), reason="this torch may see a GPU")
def test_a_torch_without_cuda_has_no_devices_even_where_a_driver_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: pytest.fail("the driver is not asked"))
    resolvers.cuda_devices.cache_clear()

    assert resolvers.cuda_devices() == 0


def absent(_: str) -> None:
    raise OSError("no such library")


# The module that Python imports at its start: a libcuda for the process that counts.
DRIVER = """
import ctypes
class Driver:
    def __init__(self, name): assert name == "libcuda.so.1"
    def cuInit(self, flags): return {status}
    def cuDeviceGetCount(self, count): count._obj.value = {devices}; return {status}
ctypes.CDLL = Driver
"""


@pytest.mark.parametrize(("devices", "status", "counted"), [(2, 0, 2), (0, 0, 0), (2, 100, 0)])
def test_cuda_devices_are_those_that_the_driver_counts_in_another_process(
    devices: int, status: int, counted: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(DRIVER.format(devices=devices, status=status), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(resolvers, "version", lambda _: "2.9.0+cu128")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: None)  # it is there, and nothing in it is called
    resolvers.cuda_devices.cache_clear()

    assert resolvers.cuda_devices() == counted


def test_without_a_driver_there_are_no_cuda_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolvers, "version", lambda _: "2.9.0+cu128")
    monkeypatch.setattr(ctypes, "CDLL", absent)
    resolvers.cuda_devices.cache_clear()

    assert resolvers.cuda_devices() == 0


@pytest.mark.parametrize(
    ("devices", "visible", "names"), [(2, None, ["0", "1"]), (2, "3,5", ["3", "5"]), (1, "GPU-8f6d", ["GPU-8f6d"])]
)
def test_gpus_have_the_names_that_the_user_gave_them(
    devices: int, visible: str | None, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolvers, "cuda_devices", lambda: devices)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert resolved("${gpus:}") == names
    assert resolved("${gpu_count:}") == devices


def test_a_machine_without_gpus_is_told_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolvers, "cuda_devices", lambda: 0)

    with pytest.raises(UserError, match="hydra/launcher=cores"):
        resolvers.gpus()


@pytest.mark.parametrize(
    ("cores", "threads", "jobs"), [(2, None, 2), (1, None, 1), (16, None, 8), (16, "4", 4), (2, "8", 1)]
)
def test_cores_are_not_given_to_two_jobs(
    cores: int, threads: str | None, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joblib, "cpu_count", lambda: cores)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if threads:
        monkeypatch.setenv("OMP_NUM_THREADS", threads)

    assert resolved("${jobs_at_once:}") == jobs


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
