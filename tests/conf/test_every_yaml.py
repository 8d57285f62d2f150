"""Every file under conf/ says when to choose it, composes and passes the check; the recipe is the card's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from matryoshka.cli.command_line import configuration_folder
from matryoshka.cli.trials import search_space
from matryoshka.config import resolvers
from matryoshka.config.groups import groups_of
from matryoshka.config.recipe import EvaluationRecipe, TrainingRecipe, build
from matryoshka.config.validation import checked
from matryoshka.errors import ConfigError
from matryoshka.projection.saved import SavedProjection
from matryoshka.sweep.space import texts_to_check
from tests.composing import BGE_M3, CHECKS, Primary, composed, plain, problems
from tests.tiny import folder_without_weights

CONF = configuration_folder()
FILES = sorted(CONF.rglob("*.yaml"))
CHOICES = [file for file in FILES if file.parent != CONF]
SWEEPS = [file.stem for file in CHOICES if file.parent.name == "sweep"]
TRAINED = [file for file in CHOICES if file.stem != "suite"]
MEASURED = [file for file in CHOICES if file.parent.name in groups_of(EvaluationRecipe) and file.stem != "vectors"]

SOURCES = ["+data@sources.help=german_help"]  # what a mixture is of


def name_of(file: Path) -> str:
    return file.relative_to(CONF).with_suffix("").as_posix()


@pytest.fixture
def values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A value for every key that users must give, by its name: small files that are really there."""
    pairs = [{"anchor": f"Frage {i}?", "positive": f"Antwort {i}."} for i in range(3)]
    for name in ("train", "evaluation"):
        text = "".join(json.dumps(pair) + "\n" for pair in pairs)
        (tmp_path / f"{name}.jsonl").write_text(text, encoding="utf-8")
    beir = tmp_path / "beir"
    (beir / "qrels").mkdir(parents=True)
    for name in ("corpus", "queries"):
        (beir / f"{name}.jsonl").write_text('{"_id": "1", "text": "ein Text"}\n', encoding="utf-8")
    for split in ("train", "test"):
        text = "query-id\tcorpus-id\tscore\n1\t1\t1\n"
        (beir / "qrels" / f"{split}.tsv").write_text(text, encoding="utf-8")
    model = tmp_path / "model"
    folder_without_weights(model, BGE_M3)
    monkeypatch.setenv("MATRYOSHKA_BMF", str(tmp_path))  # where train.jsonl and evaluation.jsonl are
    np.save(tmp_path / "vectors.npy", np.ones((3, 768), np.float32))
    (tmp_path / "rows.csv").write_text("query,document\n0,0\n1,1\n", encoding="utf-8")
    SavedProjection(np.eye(768, dtype=np.float32), np.ones((1, 768), np.float32)).write(tmp_path)
    return {
        "data.queries": str(tmp_path / "vectors.npy"),
        "data.documents": str(tmp_path / "vectors.npy"),
        "data.pairs": str(tmp_path / "rows.csv"),
        "projection.run": str(tmp_path),
        "data.train": str(tmp_path / "train.jsonl"),
        "data.evaluation": str(tmp_path / "evaluation.jsonl"),
        "data.folder": str(beir),
        "data.dataset": "owner/pairs",
        "encoder.model": str(model),
        "model": str(model),
    }


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A hub that has every model and says of each what it says of bge-m3; the addresses it was asked for."""
    import huggingface_hub

    asked: list[str] = []

    class Session:
        status_code = 200

        def get(self, url: str, **_: Any) -> Session:
            asked.append(url)
            return self

        def json(self) -> dict[str, Any]:
            return BGE_M3

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.utils, "get_session", Session)
    return asked


@pytest.fixture
def with_card(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with a GPU and the hub."""
    monkeypatch.setattr(resolvers, "why_not_card", lambda: "")
    resolvers.register_resolvers()
    yield
    monkeypatch.undo()
    resolvers.register_resolvers()


@pytest.fixture
def without_card(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A machine with neither, and no pairs of the card."""
    monkeypatch.setattr(resolvers, "why_not_card", lambda: "there is no CUDA GPU here")
    monkeypatch.setenv("MATRYOSHKA_BMF", str(tmp_path / "nowhere"))
    resolvers.register_resolvers()
    yield
    monkeypatch.undo()
    resolvers.register_resolvers()


def found(values: dict[str, str], *words: str, primary: Primary = "train") -> list[tuple[str, str]]:
    """The problems that are left once a value is given to each key that the words leave missing."""
    config = composed(*words, primary=primary)
    for key in missing(OmegaConf.to_container(config, resolve=False)):
        OmegaConf.update(config, key, values[key])
    try:
        checked(config, CHECKS[primary])
    except ConfigError as error:
        return error.problems
    return []


def missing(node: Any, prefix: str = "") -> list[str]:
    """The keys whose value must be given."""
    if isinstance(node, dict):
        return [name for key, value in node.items() for name in missing(value, f"{prefix}.{key}".lstrip("."))]
    return [prefix] if node == "???" else []


def test_the_files_of_the_checkout_are_the_ones_looked_at() -> None:
    assert Path(__file__).parents[2] / "conf" == CONF
    assert len(CHOICES) > 30


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_opens_with_a_comment_that_says_when_to_choose_it(file: Path) -> None:
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line != "# @package _global_"]
    assert lines[0].startswith("# ")
    assert len(lines[0].split()) >= 5


@pytest.mark.parametrize("file", TRAINED, ids=name_of)
def test_passes_the_check_of_training_as_the_choice_of_its_group(
    file: Path, values: dict[str, str], hub: list[str]
) -> None:
    words = [f"{file.parent.relative_to(CONF).as_posix()}={file.stem}"]
    if file.parent.name not in ("experiment", "sweep"):
        words.append("dims=[64]")  # fits any pooling
    if words[0] == "encoder=saved":
        words.append("encoder.model='" + values["model"] + "'")  # else the model that evaluate.py is given

    if words[0] == "data=vectors":
        words.append("task=project")  # all that can be done with them
    words += SOURCES if words[0] == "data=mixture" else []

    assert found(values, *words) == []


def test_vectors_are_only_projected(values: dict[str, str]) -> None:
    for words, primary in ((["data=vectors"], "train"), (["data=vectors"], "evaluate")):
        ((key, message),) = found(values, *words, primary=primary)
        assert (key, "task=project" in message) == ("data", True)


@pytest.mark.parametrize("file", MEASURED, ids=name_of)
def test_passes_the_check_of_evaluation_as_the_choice_of_its_group(
    file: Path, values: dict[str, str], hub: list[str]
) -> None:
    words = [f"{file.parent.name}={file.stem}", *(SOURCES if file.stem == "mixture" else [])]
    assert found(values, *words, primary="evaluate") == []


@pytest.mark.parametrize("primary", CHECKS)
def test_the_primary_file_passes_as_it_is(primary: Primary, values: dict[str, str]) -> None:
    assert found(values, primary=primary) == []


@pytest.mark.parametrize(("choice", "model"), [("bge_m3", "BAAI/bge-m3"), ("multilingual_e5_small", "intfloat/")])
def test_a_hub_encoder_is_looked_up_at_the_hub(choice: str, model: str, hub: list[str]) -> None:
    plain(f"encoder={choice}", "dims=[1024]", "pooling=cls")

    assert hub
    assert all(f"/{model}" in url and url.endswith("/config.json") for url in hub)


def test_an_unreachable_hub_is_a_problem_of_the_model() -> None:
    (problem,) = problems("encoder=bge_m3", "dims=[1024]", "pooling=cls")

    assert problem[0] == "encoder.model"
    assert "encoder=e5_small" in problem[1]


CARD = {
    "dims": [768, 512, 256, 128, 64],
    "dim_weights": None,
    "dims_per_step": None,
    "cuts": "dims",
    "batch_size": 16,
    "accumulation": 16,
    "accumulation_across_epochs": "carry",
    "max_grad_norm": 1.0,
    "compact_vocabulary": True,
    "pairs_at_once": None,
    "seed": 42,
    "encoder.model": "BAAI/bge-m3",
    "encoder.max_seq_length": 1024,
    "encoder.prompts": {"query": "", "document": ""},
    "pooling.modes": ["cls"],
    "loss._target_": "matryoshka.losses.ranking.RankingLoss",
    "loss.scale": 20.0,
    "loss.direction": "positive_to_anchor",  # the columns are (positive, anchor): passages look for questions
    "sampler._target_": "matryoshka.data.samplers.NoDuplicatesSampler",
    "sampler.batch_size": 16,
    "sampler.seed": 42,
    "sampler.clashes": "smaller_batch",
    "optimizer._target_": "torch.optim.AdamW",
    "optimizer.lr": 2e-5,
    "optimizer.betas": [0.9, 0.999],
    "optimizer.eps": 1e-8,
    "optimizer.weight_decay": 0.0,
    "optimizer.fused": True,
    "scheduler._target_": "matryoshka.training.schedulers.cosine",
    "scheduler.warmup": 0.1,
    "trainer.max_epochs": 10,
    "trainer.precision": "bf16-mixed",
    "evaluator.select": "map@100/dim_128",
    "data.name": "bmf",
}


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> DictConfig:
    """The recipe on a machine with everything."""
    folder = tmp_path_factory.mktemp("bmf")
    for file in resolvers.BMF_FILES:
        (folder / file).touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resolvers, "why_not_card", lambda: "")
        patch.setenv("MATRYOSHKA_BMF", str(folder))
        config = composed("experiment=bmf")
        for key in CARD:
            OmegaConf.update(config, key, OmegaConf.select(config, key))  # while the machine is this one
    resolvers.register_resolvers()
    return config


@pytest.mark.parametrize("key", CARD)
def test_the_card_column_has_the_value_of_the_card(key: str, card: DictConfig) -> None:
    value = OmegaConf.select(card, key)

    assert (OmegaConf.to_object(value) if OmegaConf.is_config(value) else value) == CARD[key]


def test_the_card_column_measures_every_metric_of_the_card(card: DictConfig) -> None:
    evaluator = card.evaluator

    ranks = {name: list(evaluator[f"{name}_at"]) for name in ("accuracy", "precision", "recall", "ndcg", "mrr", "map")}
    ladder = [1, 3, 5, 10]
    assert ranks == {
        "accuracy": ladder, "precision": ladder, "recall": ladder, "ndcg": [10], "mrr": [10], "map": [100]
    }  # fmt: skip


@pytest.mark.usefixtures("with_card")
def test_the_card_column_passes_and_stands_for_itself(values: dict[str, str], hub: list[str]) -> None:
    config = plain("experiment=bmf")

    assert config["data"]["train"] == values["data.train"]
    assert config["data"]["documents"] == [values["data.train"]]  # its training passages stand in the corpus
    assert build(config, TrainingRecipe).stand_in == ()


@pytest.mark.usefixtures("with_card")
def test_pairs_alone_may_be_missing(hub: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MATRYOSHKA_BMF", str(tmp_path))
    config = plain("experiment=bmf")

    assert config["encoder"]["model"] == "BAAI/bge-m3"
    (sentence,) = build(config, TrainingRecipe).stand_in
    assert sentence.startswith("german_help is a stand-in for the card's pairs, because ")
    assert sentence.endswith(f"not public and {tmp_path} has no train.jsonl and evaluation.jsonl")


@pytest.mark.usefixtures("without_card")
def test_the_stand_in_passes_and_is_named_as_one() -> None:
    config = plain("experiment=bmf")
    encoder, data = build(config, TrainingRecipe).stand_in

    assert config["dims"] == CARD["dims"]
    assert encoder == "embedded:e5_small is a stand-in for BAAI/bge-m3, because there is no CUDA GPU here"
    assert data.startswith("german_help is a stand-in for the card's pairs, because ")
    assert "not public" in data


@pytest.mark.usefixtures("without_card")
def test_what_the_user_insists_on_is_never_replaced() -> None:
    assert [key for key, _ in problems("experiment=bmf", "encoder=bge_m3")] == ["encoder.model"]
    keys = [key for key, _ in problems("experiment=bmf", "data=bmf")]
    assert keys == ["data.train", "data.evaluation", "data.documents[0]"]


@pytest.mark.usefixtures("without_card")
def test_another_encoder_of_the_users_choice_is_named_as_chosen(values: dict[str, str]) -> None:
    words = [
        "experiment=bmf",
        "encoder=pretrained",
        f"encoder.model='{values['model']}'",
        "reference.encoder_missing=''",
    ]

    assert (
        build(plain(*words), TrainingRecipe)
        .stand_in[0]
        .endswith("is a stand-in for BAAI/bge-m3, because it was chosen so")
    )


@pytest.mark.parametrize("column", ["with_card", "without_card"])
@pytest.mark.parametrize("word", ["experiment=bmf", "experiment=debug", "sweep=dims_lr_scheduler"])
def test_a_plus_before_an_experiment_changes_nothing(word: str, column: str, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(column)

    with_plus = composed(f"+{word}")

    assert composed(word) == with_plus
    assert with_plus != composed()


def sweep_words(sweep: str) -> list[list[str]]:
    """For each parameter of a sweep, the override that each of its values makes; of numbers between two, the ends."""
    params = OmegaConf.load(CONF / "sweep" / f"{sweep}.yaml")
    assert isinstance(params, DictConfig)
    lines = [f"{key}={value}" for key, value in params.hydra.sweeper.params.items()]
    parsed = OverridesParser.create().parse_overrides(lines)
    fixed, space = search_space(parsed)
    assert not fixed
    return [[f"{key}={text}" for text in texts_to_check(values)] for key, values in space.items()]


@pytest.mark.parametrize("sweep", SWEEPS)
def test_every_value_of_a_sweep_is_a_valid_override_of_what_is_there(sweep: str) -> None:
    parameters = sweep_words(sweep)

    assert parameters
    for words in parameters:
        assert len(words) > 1
        for word in words:
            # Hydra refuses a key that is not there: none has a plus.
            assert not word.startswith("+")
            assert problems(f"sweep={sweep}", word) == []


def test_a_recipe_that_is_swept_keeps_no_logger_open_for_each_job() -> None:
    config = composed("sweep=dims_lr_scheduler")
    assert not config.logger
    assert not config.export


@pytest.mark.parametrize(("name", "lightnings"), [("fp32", "32-true"), ("bf16", "bf16-mixed"), ("auto", "auto")])
def test_a_precision_has_one_name_in_both_programs(name: str, lightnings: str, values: dict[str, str]) -> None:
    recipe = build(plain(f"trainer.precision={name}"), TrainingRecipe)

    assert recipe.precision == recipe.config["trainer"]["precision"] == lightnings
    assert found(values, f"precision={name}", primary="evaluate") == []
