"""What a run has read from the hub stands in its configuration, by commit: the run can be repeated exactly."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest
import yaml

from matryoshka.config.recipe import EvaluationRecipe, TrainingRecipe, build
from matryoshka.data.hub import HubPairs
from matryoshka.encoder.pretrained import Pretrained
from matryoshka.errors import DataError, UserError
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from matryoshka.tasks.evaluate import evaluate
from matryoshka.tasks.hub_commits import pinned, pinned_as_before
from matryoshka.tasks.train import train
from tests.composing import Primary, plain
from tests.real_pairs import write_pairs
from tests.tiny import tiny_encoder

pytestmark = pytest.mark.filterwarnings("default")  # a whole run passes through many libraries
MODEL, OTHER, DATA = (40 * letter for letter in "abc")


def add_model(hub: Path, name: str, commit: str, seed: int) -> None:
    """A model in the hub's cache, as huggingface_hub lays it out, at the tip of main."""
    folder = hub / f"models--{name.replace('/', '--')}"
    SentenceTransformersFolder().save(tiny_encoder(seed=seed), folder / "snapshots" / commit)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit, encoding="utf-8")


def add_data(cache: Path, folder: Path, commit: str) -> None:
    """A data set in the cache of datasets, as it keeps rows of owner/pairs at a commit."""
    files = {"train": str(folder / "train.jsonl"), "test": str(folder / "evaluation.jsonl")}
    made = datasets.load_dataset("json", data_files=files, cache_dir=str(folder / "made"))
    (first,) = {Path(file["filename"]).parent for rows in made.values() for file in rows.cache_files}
    kept = cache / "owner___pairs" / "default" / "0.0.0" / commit
    shutil.copytree(first, kept)
    facts = (kept / "dataset_info.json").read_text(encoding="utf-8").replace('"json"', '"pairs"')
    (kept / "dataset_info.json").write_text(facts, encoding="utf-8")
    for path in kept.glob("json-*.arrow"):
        path.rename(path.with_name(path.name.replace("json-", "pairs-")))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's caches with two models and a data set; the hub itself is out of reach."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MATRYOSHKA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    add_model(tmp_path / "hub", "owner/tiny", MODEL, seed=0)
    add_model(tmp_path / "hub", "owner/other", OTHER, seed=1)
    write_pairs(tmp_path, train=12, evaluation=12)
    add_data(tmp_path / "datasets", tmp_path, DATA)
    return tmp_path


def configured(*words: str, primary: Primary = "train") -> dict[str, Any]:
    data = ["data=hub", "data.dataset=owner/pairs", "baselines=[bm25,owner/other]"]
    small = ["encoder=pretrained", "encoder.model=owner/tiny", "pooling=saved", "batch_size=4", "evaluator=quick"]
    small += ["trainer.max_epochs=1", "trainer.precision=32-true", "logger=none", "doctor.languages=0", "split=same"]
    given = small if primary == "train" else ["model=owner/tiny", "precision=fp32"]
    return plain(*data, *given, "dims=[32,16]", *words, primary=primary)


def written(folder: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")))


@pytest.mark.slow
def test_a_run_says_which_commits_it_read(hub: Path) -> None:
    train(build(configured(), TrainingRecipe), hub / "run")

    config = written(hub / "run")
    assert config["encoder"]["revision"] == MODEL
    assert config["data"]["revision"] == DATA
    assert config["baselines"] == ["bm25", f"owner/other@{OTHER}"]
    facts = json.loads((hub / "run" / "run.json").read_text(encoding="utf-8"))
    assert facts["revisions"] == {"encoder": MODEL, "data": DATA}
    card = (hub / "run" / "model" / "README.md").read_text(encoding="utf-8")
    assert f"at revision {MODEL}" in card
    assert f"revision: {DATA}" in card


@pytest.mark.slow
def test_the_same_command_is_the_same_run_though_the_hub_has_a_newer_commit(hub: Path) -> None:
    value = train(build(configured(), TrainingRecipe), hub / "run")
    model = hub / "hub" / "models--owner--tiny"
    shutil.copytree(model / "snapshots" / MODEL, model / "snapshots" / OTHER)
    (model / "refs" / "main").write_text(OTHER, encoding="utf-8")

    assert train(build(configured(), TrainingRecipe), hub / "run") == value  # at once: the run is finished
    with pytest.raises(UserError, match=f"encoder.revision: {MODEL} there, {OTHER} now"):
        train(build(configured(f"encoder.revision={OTHER}"), TrainingRecipe), hub / "run")


def test_a_run_that_goes_on_reads_the_commits_that_it_read_before() -> None:
    given = {"encoder": {"model": "a/b", "revision": None}, "data": {"train": "x"}, "baselines": ["bm25", "a/c"]}
    before = {
        "encoder": {"model": "a/b", "revision": MODEL},
        "data": {"train": "x"},
        "baselines": ["bm25", f"a/c@{OTHER}"],
    }

    assert pinned_as_before(given, before) == before
    assert pinned_as_before(given, {}) == given
    asked = {**given, "encoder": {"model": "a/b", "revision": "main"}, "baselines": ["bm25", "a/c@v1"]}
    assert pinned_as_before(asked, before) == before
    newer = {**given, "encoder": {"model": "a/b", "revision": OTHER}, "baselines": ["bm25", f"a/c@{MODEL}"]}
    assert pinned_as_before(newer, before) == newer
    sources = {"law": {"dataset": "a/e", "revision": None}, "help": {"train": "y"}}
    read = {**sources, "law": {"dataset": "a/e", "revision": DATA}}
    assert pinned_as_before({**given, "sources": sources}, {**before, "sources": read}) == {**before, "sources": read}
    assert pinned_as_before({**given, "sources": sources}, before) == {**before, "sources": sources}
    another = {**given, "encoder": {"model": "a/d", "revision": None}}
    assert pinned_as_before(another, before)["encoder"] == another["encoder"]


def test_the_commits_of_further_sets_are_kept_too(hub: Path) -> None:
    further = "{_target_:matryoshka.data.hub.HubPairs,name:more,dataset:owner/pairs,revision:null}"
    recipe = build(configured(f"+sets.more={further}", "baselines=[]", primary="evaluate"), EvaluationRecipe)
    recipe.sets["more"].retrieval_set()
    found = pinned(recipe, tiny_encoder(), None)

    assert found["sets"] == {"more": {**recipe.config["sets"]["more"], "revision": DATA}}
    assert pinned_as_before(recipe.config, found) == found
    other = {**found, "sets": {"more": {**found["sets"]["more"], "dataset": "owner/other"}}}
    assert pinned_as_before(recipe.config, other)["sets"] == recipe.config["sets"]


@pytest.mark.slow
def test_an_evaluation_says_so_too(hub: Path) -> None:
    evaluate(build(configured(primary="evaluate"), EvaluationRecipe), hub / "run")

    config = written(hub / "run")
    assert (config["encoder"]["revision"], config["data"]["revision"]) == (MODEL, DATA)
    assert config["baselines"] == ["bm25", f"owner/other@{OTHER}"]


def test_a_pinned_baseline_is_that_commit_and_keeps_its_name(hub: Path) -> None:
    later = 40 * "d"
    shutil.rmtree(hub / "hub" / "models--owner--other" / "refs")
    add_model(hub / "hub", "owner/other", later, seed=2)
    newest, pinned = (Pretrained.named(name).load(None) for name in ("owner/other", f"owner/other@{OTHER}"))

    assert (newest.revision, pinned.revision) == (later, OTHER)
    assert newest.name == pinned.name == "owner/other"
    assert not all(a.equal(b) for a, b in zip(newest.parameters(), pinned.parameters(), strict=True))


def test_a_folder_with_an_at_in_its_name_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "tiny@home").mkdir(parents=True)

    assert Pretrained.named("runs/tiny@home") == Pretrained("runs/tiny@home")
    assert Pretrained.named("owner/tiny@home") == Pretrained("owner/tiny", revision="home")


def test_data_of_another_commit_than_the_pinned_one_are_refused(hub: Path) -> None:
    """Without the hub, datasets would take the rows that it has, whatever their commit."""
    with pytest.raises(DataError, match=f"the cache has commit {DATA}, not {MODEL}.*revision={DATA}"):
        HubPairs("pairs", "owner/pairs", revision=MODEL).training_pairs()
    assert len(HubPairs("pairs", "owner/pairs", revision=DATA).training_pairs()) == 12


def test_nothing_else_of_a_configuration_is_changed() -> None:
    recipe = build(plain(), TrainingRecipe)

    assert pinned(recipe, tiny_encoder(), None) == recipe.config


def test_each_source_of_a_mixture_has_its_commit(hub: Path) -> None:
    mixture = [
        "data=mixture",
        "+data@sources.law=hub",
        "sources.law.dataset=owner/pairs",
        "+data@sources.help=german_help",
    ]
    recipe = build(plain(*mixture), TrainingRecipe)
    recipe.data.retrieval_set()

    config = pinned(recipe, tiny_encoder(), None)
    assert config["sources"]["law"]["revision"] == DATA
    assert {**config, "sources": recipe.config["sources"]} == recipe.config
