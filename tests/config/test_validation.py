"""Each mistake is found before anything starts, under its own key, with what to write instead; nothing else is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from matryoshka.config.validation import check_evaluation, check_training
from matryoshka.errors import ConfigError
from tests.composing import plain, problems
from tests.tiny import folder_without_weights

Words = str | Sequence[str]


@pytest.fixture(autouse=True)
def users_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's folder with a few files in it, from which the command is given."""
    monkeypatch.chdir(tmp_path)
    row = {"question": "Wie?", "passage": "So.", "blank": ""}
    Path("pairs.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    Path("pairs.csv").write_text("question,passage\nWie?,So.\n", encoding="utf-8")
    Path("empty.jsonl").touch()
    Path("broken.jsonl").write_text("{no json\n", encoding="utf-8")
    Path("notes.docx").touch()
    Path("folder.jsonl").mkdir()
    Path("beir/qrels").mkdir(parents=True)
    Path("beir/corpus.jsonl").touch()
    for name, config in (("tiny", {"hidden_size": 16}), ("unsized", {"dim": 16})):
        folder_without_weights(Path(name), config | {"max_position_embeddings": 32})
    folder_without_weights(Path("coded"), {"auto_map": {"AutoModel": "module.Class"}})
    Path("bare").mkdir()
    Path("odd").mkdir()
    Path("odd/config.json").write_text('{"hidden_size": 16}', encoding="utf-8")
    two_dense_modules(folder_without_weights(Path("dense"), {"hidden_size": 16, "max_position_embeddings": 32}))
    Path("odd/modules.json").write_text('[{"type": "sentence_transformers.models.Dense"}]', encoding="utf-8")


def two_dense_modules(folder: Path) -> None:
    """16 numbers become 24, and these become 12."""
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense", "3_Dense": "Dense"}
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    for path, takes, gives in (("2_Dense", 16, 24), ("3_Dense", 24, 12)):
        (folder / path).mkdir()
        config = {"in_features": takes, "out_features": gives, "bias": False}
        (folder / path / "config.json").write_text(json.dumps(config), encoding="utf-8")
        save_file({"linear.weight": torch.zeros(gives, takes)}, folder / path / "model.safetensors")


PAIRS = ("data=pairs", "data.train=pairs.jsonl", "data.evaluation=pairs.jsonl")
COLUMNS = ("data.anchor=question", "data.positive=passage")
OWN = ("encoder=pretrained", "pooling=cls", "dims=[8]")

# words -> the keys found, and a part of what is said of the first.
TRAINING: list[tuple[Words, str | list[str], str]] = [
    # Unknown keys, at the root and in every group.
    ("+batchsize=3", "batchsize", "did you mean batch_size?"),
    ("+colour=red", "colour", "there are data, encoder"),
    ("+trainer.max_epoch=3", "trainer.max_epoch", "did you mean trainer.max_epochs?"),
    ("+data.evaluations=x", "data.evaluations", "did you mean data.evaluation?"),
    ("+encoder.max_length=3", "encoder.max_length", "did you mean encoder.max_seq_length?"),
    ("+pooling.mode=cls", "pooling.mode", "did you mean pooling.modes?"),
    ("+loss.temperature=0.05", "loss.temperature", "there are scale, direction"),
    ("+loss.scales=20", "loss.scales", "did you mean loss.scale?"),
    ("+sampler.batchsize=3", "sampler.batchsize", "did you mean sampler.batch_size?"),
    ("+optimizer.weightdecay=0.1", "optimizer.weightdecay", "did you mean optimizer.weight_decay?"),
    ("+optimizer.momentum=0.9", "optimizer.momentum", "there are lr, betas, eps"),
    ("+scheduler.warmup_ratio=0.1", "scheduler.warmup_ratio", "did you mean scheduler.warmup?"),
    ("+evaluator.ndgc_at=[3]", "evaluator.ndgc_at", "did you mean evaluator.ndcg_at?"),
    ("+logger.projekt=x", "logger.projekt", "did you mean logger.project?"),
    ("+export.format=x", "export.format", "unknown key"),
    ("++encoder.prompts.frage=x", "encoder.prompts.frage", "there are query and document"),
    # What the run sets itself.
    ("+scheduler.updates=100", "scheduler.updates", "set by the run itself"),
    ("+optimizer.params=[]", "optimizer.params", "set by the run itself"),
    ("+sampler.texts=[]", "sampler.texts", "set by the run itself"),
    ("+logger.save_dir=x", "logger.save_dir", "set by the run itself"),
    ("+trainer.callbacks=[]", "trainer.callbacks", "set by the run itself"),
    ("+trainer.max_steps=10", "trainer.max_steps", "set by the run itself"),
    ("+trainer.use_distributed_sampler=true", "trainer.use_distributed_sampler", "set by the run itself"),
    ("+trainer.overfit_batches=2", "trainer.overfit_batches", "use +trainer.limit_train_batches="),
    ("+trainer.fast_dev_run=true", "trainer.fast_dev_run", "use experiment=debug"),
    ("+trainer.accumulate_grad_batches=4", "trainer.accumulate_grad_batches", "use accumulation="),
    ("+trainer.gradient_clip_val=0.5", "trainer.gradient_clip_val", "use max_grad_norm="),
    ("+trainer.max_time='00:8:00:00'", "trainer.max_time", "use days:hours:minutes:seconds"),
    ("+trainer.profiler=cprofile", "trainer.profiler", "use simple, advanced, pytorch, xla"),
    (
        "baselines=[coded]",
        "baselines[0]",
        "evaluate it: evaluate.py model=coded encoder.trust_remote_code=true; it can",
    ),
    # Wrong types.
    ("seed=1.5", "seed", "1.5 is not a valid integer"),
    ("batch_size=viele", "batch_size", '"viele" is not a valid integer'),
    ("accumulation_across_epochs=keep", "accumulation_across_epochs", "'carry' or 'flush'"),
    ("max_grad_norm=null", "max_grad_norm", "null is not a valid number"),
    ("loss.scale='20'", "loss.scale", '"20" is not a valid number'),
    ("loss.direction=backwards", "loss.direction", "'anchor_to_positive', 'positive_to_anchor' or 'both'"),
    ("optimizer.lr=schnell", "optimizer.lr", '"schnell" is not a valid number'),
    ("optimizer.betas=[0.9]", "optimizer.betas[1]", "missing"),
    ("optimizer.betas=[0.9,x]", "optimizer.betas[1]", '"x" is not a valid number'),
    ("scheduler.warmup=[1]", "scheduler.warmup", "[1] is not a valid number"),
    ("scheduler.warmup=-0.1", "scheduler.warmup", "-0.1 is negative; use a share below 1 or a number of updates"),
    (("scheduler=warmup_stable_decay", "scheduler.decay=-3"), "scheduler.decay", "-3 is negative; use a share"),
    (("scheduler=reduce_on_plateau", "scheduler.patience=-1"), "scheduler.patience", "-1 is negative; use 0 or more"),
    (("scheduler=reduce_on_plateau", "scheduler.factor=1.5"), "scheduler.factor", "1.5 does not lower the rate"),
    ("evaluator.token_budget=1e3", "evaluator.token_budget", "is not a valid integer"),
    ("evaluator.recall_at=[1,x]", "evaluator.recall_at[1]", '"x" is not a valid integer'),
    ("encoder.prompts.query=3", "encoder.prompts.query", "3 is not a valid string"),
    ("trainer.max_epochs=1.5", "trainer.max_epochs", "1.5 is not a valid integer"),
    ("trainer.precision=double", "trainer.precision", "'bf16-mixed', '32-true'"),
    ("logger.mode=silent", "logger.mode", "'auto', 'online' or 'offline'"),
    ("reference=3", "reference", "3 is not an object"),
    ("dims=768", "dims", "768 is not a valid array"),
    ("dims=[768,x]", "dims[1]", '"x" is not a valid integer'),
    ("dims=[[768]]", "dims[0]", "[768] is not a valid integer"),
    # Missing values, keys and files.
    ("data=pairs", ["data.train", "data.evaluation"], "data.train=..."),
    ("data=beir", "data.folder", "data.folder=..."),
    ("data=hub", "data.dataset", "data.dataset=..."),  # and nothing of data.name, which follows it
    ("encoder=pretrained", "encoder.model", "encoder.model=..."),
    ("batch_size='???'", "batch_size", "batch_size=..."),
    ("~dims", "dims", "missing"),
    ("~loss._target_", "loss._target_", "choose a group with loss=..."),
    ("max_grad_norm=${nrom}", "max_grad_norm", "'nrom' not found"),
    ("data.documents=['???']", "data", "cannot be created"),
    # Targets.
    ("loss._target_=matryoshka.losses.RankLoss", "loss._target_", "no 'matryoshka.losses.RankLoss'"),
    ("pooling._target_=3", "pooling._target_", "there is no 3"),
    ("sampler._target_=builtins.dict", "sampler._target_", "no 'builtins.dict'"),
    # Dims and their weights.
    ("dims=[]", "dims", "dims=[768,512,256,128,64]"),
    ("dims=nested", "dims", "use cuts=nested to train at numbers drawn between them"),
    ("cuts=some", "cuts", "'dims' or 'nested'"),
    ("dims=[0]", "dims[0]", "0 is not at least 1; remove it"),
    ("dims=[64,-64]", "dims[1]", "-64 is not at least 1; remove it"),
    ("dims=[64,768,64]", "dims[2]", "64 is given twice; use dims=[768,64]"),
    ("dims=[1024,64]", "dims[0]", "1024 is wider than the encoder's 768; use dims=[768,64]"),
    (("pooling=cls", "dims=[768,384,64]"), "dims[0]", "wider than the encoder's 384; use dims=[384,64]"),
    (("pooling=saved", "dims=[385]"), "dims[0]", "wider than the encoder's 384; use dims=[384]"),
    ((*OWN, "encoder.model=tiny", "dims=[17]"), "dims[0]", "wider than the encoder's 16; use dims=[16]"),
    ("dim_weights=[1,2]", "dim_weights", "2 weights for 5 dims; give one a dim or dim_weights=null"),
    ("pairs_at_once=-1", "pairs_at_once", "-1 is not at least 1; use null"),
    ("dims_per_step=0", "dims_per_step", "0 of 5 dims cannot be drawn; use 1 to 5, or null for all"),
    ("dims_per_step=6", "dims_per_step", "6 of 5 dims"),
    ("dim_weights=[]", "dim_weights", "0 weights for 5 dims"),
    ("dim_weights=[1,1,x,1,1]", "dim_weights[2]", '"x" is not a valid number'),
    # The selecting metric.
    ("evaluator.select=ndcg@20", "evaluator.select", "use one of accuracy@1, accuracy@3"),
    ("evaluator.select=ndcg", "evaluator.select", "'ndcg' is not measured"),
    ("evaluator.select=''", "evaluator.select", "'' is not measured"),
    ("evaluator.select=ndcg@010", "evaluator.select", "'ndcg@010' is not measured"),
    ("evaluator.select=f1@10/dim_64", "evaluator.select", "'f1@10' is not measured"),
    ("evaluator.map_at=[10]", [], ""),
    (("evaluator=quick", "evaluator.select=map@100"), "evaluator.select", "use one of accuracy@1, ndcg@10"),
    ("evaluator.select=ndcg@10/dim_384", "evaluator.select", "384 is not among dims=[768,512,256,128,64]"),
    # Counts and precision.
    ("batch_size=1", "batch_size", "no in-batch negatives; use at least 2"),
    ("batch_size=0", "batch_size", "0 is not at least 1"),
    ("accumulation=0", "accumulation", "0 is not at least 1"),
    (("negatives=every", "sampler.clashes=mask"), "negatives", "use negatives=equal_texts, or sampler.clashes="),
    ("trainer.precision=16-mixed", "trainer.precision", "use auto, bf16-mixed or 32-true"),
    ("trainer.precision=16", "trainer.precision", "use auto, bf16-mixed or 32-true"),
    ("trainer.max_epochs=0", "trainer.max_epochs", "0 is not at least 1"),
    ("trainer.max_epochs=-1", "trainer.max_epochs", "-1 is not at least 1"),
    ("trainer.max_epochs=null", "trainer.max_epochs", "None is not at least 1"),
    # Files and their columns.
    ((*PAIRS, *COLUMNS, "data.train=pears.jsonl"), "data.train", "pears.jsonl does not exist; . has"),
    ((*PAIRS, *COLUMNS, "data.train=notes.docx"), "data.train", "use .jsonl, .json, .csv"),
    ((*PAIRS, *COLUMNS, "data.train=empty.jsonl"), "data.train", "has no rows"),
    ((*PAIRS, *COLUMNS, "data.train=broken.jsonl"), "data.train", "broken.jsonl, line 1: not a JSON object"),
    ((*PAIRS, *COLUMNS, "data.train=folder.jsonl"), "data.train", "is a folder"),
    ((*PAIRS, *COLUMNS, "data.documents=[pairs.csv,no.csv]"), "data.documents[1]", "no.csv does not exist"),
    ((*PAIRS, "data.anchor=question"), ["data.train", "data.evaluation"], "no column 'positive'; it has 'question'"),
    ((*PAIRS, *COLUMNS, "data.negatives=[wrong]"), "data.train", "no column 'wrong'"),
    ((*PAIRS, *COLUMNS, "data.id=key"), "data.evaluation", "no column 'key'"),
    ((*PAIRS, "data.anchor=question", "data.positive=blank"), ["data.train", "data.evaluation"], "is empty"),
    (("data=beir", "data.folder=beir"), ["data.folder"] * 3, "beir/queries.jsonl does not exist"),
    # Encoders and what is asked of them.
    ((*OWN, "encoder.model=./nowhere"), "encoder.model", "./nowhere does not exist; give a model folder"),
    ((*OWN, "encoder.model=bare"), "encoder.model", "neither a model (no config.json)"),
    ((*OWN, "encoder.model=odd"), "encoder.model", "in the order Dense; only Transformer, Pooling"),
    (
        (*OWN, "encoder.model=dense", "dims=[12,13,16]"),
        ["dims[1]", "dims[2]"],
        "wider than the encoder's 12; use dims=[12]",
    ),
    ((*OWN, "encoder.model=dense", "pooling=cls_mean"), "pooling", "use a pooling of 1 mode, or pooling=saved"),
    ("export.dim=0", "export.dim", "0 is not at least 1; use null to keep all numbers"),
    ("export.dim=769", "export.dim", "769 is wider than the dims that are trained; use at most export.dim=768"),
    ((*OWN, "encoder.model=pairs.csv"), "encoder.model", "is a file"),
    ("encoder=bge_m3", "encoder.model", "use encoder=e5_small"),
    ("encoder.max_seq_length=513", "encoder.max_seq_length", "not between 3 and the model's 512"),
    ("encoder.max_seq_length=2", "encoder.max_seq_length", "not between 3 and the model's 512"),
    ((*OWN, "encoder.model=tiny", "encoder.max_seq_length=33"), "encoder.max_seq_length", "the model's 32"),
    ("pooling.modes=[]", "pooling.modes", "pooling.modes=[cls]"),
    ("pooling.modes=[cls,mean,cls]", "pooling.modes", "given twice; use pooling.modes=[cls,mean]"),
    ("pooling.modes=[middle]", "pooling.modes[0]", "'cls', 'max', 'mean' or 'last'"),
    ("pooling.modes=cls", "pooling.modes", "not a valid array"),
]

EVALUATION: list[tuple[Words, str | list[str], str]] = [
    ((), "model", "model=..."),
    (("model=./nowhere",), "encoder.model", "./nowhere does not exist"),
    (("model=embedded:e5_small", "precision=fp16"), "precision", "'auto', 'fp32' or 'bf16'"),
    (("model=embedded:e5_small", "device=gpu"), "device", "'auto', 'cpu', 'cuda' or 'mps'"),
    (("model=embedded:e5_small", "dims=[]"), "dims", "is empty"),
    (("model=embedded:e5_small", "dims=[64,64]"), "dims[1]", "64 is given twice; use dims=[64]"),
    (("model=embedded:e5_small", "dims=[768]"), "dims[0]", "wider than the encoder's 384"),
    (("model=embedded:e5_small", "+batch_size=3"), "batch_size", "unknown key"),
    (("model=embedded:e5_small", "+encoder.pooling=cls"), "encoder.pooling", "unknown key"),
    (("model=embedded:e5_small", "evaluator.select=ndcg@3"), "evaluator.select", "is not measured"),
    (
        ("model=embedded:e5_small", "dims=[64]", "evaluator.select=ndcg@10/dim_32"),
        "evaluator.select",
        "32 is not among",
    ),
    (("model=embedded:e5_small", "pooling=cls", "pooling.modes=[max,max]"), "pooling.modes", "given twice"),
    (("model=embedded:e5_small", "~evaluator"), "evaluator", "missing"),
]


def listed(words: Words) -> list[str]:
    return [words] if isinstance(words, str) else list(words)


def name_of(value: object) -> str | None:
    return " ".join(value) if isinstance(value, tuple) else value if isinstance(value, str) else None


@pytest.mark.parametrize(("words", "keys", "remedy"), TRAINING, ids=name_of)
def test_a_mistake_in_training_is_named_with_its_remedy(words: Words, keys: str | list[str], remedy: str) -> None:
    found = problems(*listed(words))

    assert [key for key, _ in found] == ([keys] if isinstance(keys, str) else keys)
    assert remedy in (found[0][1] if found else "")


def test_checkpoints_are_switched_by_their_own_group() -> None:
    found = dict(problems("+trainer.enable_checkpointing=false"))

    assert "use checkpoint.minutes=null" in found["trainer.enable_checkpointing"]


@pytest.mark.parametrize(("words", "keys", "remedy"), EVALUATION, ids=name_of)
def test_a_mistake_in_evaluation_is_named_with_its_remedy(words: Words, keys: str, remedy: str) -> None:
    ((key, message),) = problems(*listed(words), primary="evaluate")

    assert key == keys
    assert remedy in message


def test_all_mistakes_are_reported_at_once() -> None:
    words = "+trainer.max_epoch=3 dims=[1024,64,64] dim_weights=[1] batch_size=1 accumulation=0 loss.scale=x"
    words += " evaluator.select=ndcg@3 encoder.max_seq_length=9999 data=pairs data.train=no.csv ~scheduler"
    words += " +optimizer.params=1 sampler._target_=no.Sampler"
    found = dict(problems(*words.split()))

    assert set(found) == {
        "trainer.max_epoch",
        "dims[0]",
        "dims[2]",
        "dim_weights",
        "evaluator.select",
        "encoder.max_seq_length",
        "data.evaluation",
        "loss.scale",
        "scheduler",
        "optimizer.params",
        "sampler._target_",
        "batch_size",
        "accumulation",
    }


def test_the_message_lists_every_problem_under_a_count() -> None:
    with pytest.raises(ConfigError) as caught:
        plain("dims=[]", "batch_size=1")

    first, *others = str(caught.value).splitlines()
    assert first == "2 problems in the configuration:"
    assert [line.partition(":")[0] for line in others] == ["  dims", "  batch_size"]


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("experiment=bmf",),
        ("experiment=debug",),
        ("dims=[1]",),
        ("dims=[64,768]", "dim_weights=[0.5,1]"),
        ("trainer.precision=32-true",),
        ("+trainer.max_time='1:00:00:00'",),
        ("+trainer.max_time='100:00:00:00'",),
        ("+trainer.profiler=xla", "trainer.accelerator=hpu"),
        ("+trainer.limit_train_batches=0.1",),
        ("logger=none", "export=none"),
        ("evaluator.select=recall@3/dim_64",),
        ("encoder.max_seq_length=512", "encoder.prompts=null"),
        (*PAIRS, *COLUMNS, "data.documents=[pairs.csv]"),
        (*OWN, "encoder.model=tiny", "dims=[16]"),
        (*OWN, "encoder.model=unsized", "dims=[4096]"),  # its width is not known before its weights are read
    ],
    ids=name_of,
)
def test_a_right_training_has_no_problems(words: tuple[str, ...]) -> None:
    assert problems(*words) == []


@pytest.mark.parametrize("words", [(), ("dims=[384,1]",), ("pooling=cls_mean", "dims=[768]"), ("device=cpu",)])
def test_a_right_evaluation_has_no_problems(words: tuple[str, ...]) -> None:
    assert problems("model=embedded:e5_small", *words, primary="evaluate") == []


# Values that a YAML file can hold where a dim should stand.
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2000) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=3,
)
DIMS = st.lists(st.integers(-2, 5) | st.integers(760, 775), max_size=4) | st.lists(ANYTHING, max_size=3) | ANYTHING


def valid(dims: Any, width: int) -> bool:
    return (
        isinstance(dims, list)
        and len(dims) > 0
        and all(type(dim) is int and 1 <= dim <= width for dim in dims)
        and len(set(dims)) == len(dims)
    )


@pytest.fixture(scope="module")
def training() -> dict[str, Any]:
    return plain()


@pytest.fixture(scope="module")
def evaluation() -> dict[str, Any]:
    return plain("model=embedded:e5_small", primary="evaluate")


@pytest.mark.parametrize(
    "group", ["data", "encoder", "loss", "sampler", "optimizer", "scheduler", "evaluator", "trainer"]
)
def test_a_group_without_anything_in_it_is_a_mistake(group: str, training: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        check_training({**training, group: {}})

    assert (f"{group}._target_", f"choose a group with {group}=...") in [
        (key, message.rpartition("or ")[2]) for key, message in caught.value.problems
    ]


@settings(max_examples=50, deadline=None)
@given(dims=DIMS)
def test_dims_pass_exactly_if_they_can_be_trained(dims: Any, training: dict[str, Any]) -> None:
    try:
        check_training({**training, "dims": dims})
    except ConfigError as error:
        assert not valid(dims, 768)
        assert all(key.startswith("dims") for key, _ in error.problems)
    else:
        assert valid(dims, 768)


@settings(max_examples=25, deadline=None)
@given(dims=DIMS.filter(lambda dims: dims is not None))
def test_dims_pass_exactly_if_they_can_be_measured(dims: Any, evaluation: dict[str, Any]) -> None:
    try:
        check_evaluation({**evaluation, "dims": dims})
    except ConfigError as error:
        assert not valid(dims, 384)
        assert all(key.startswith("dims") for key, _ in error.problems)
    else:
        assert valid(dims, 384)


@settings(max_examples=40, deadline=None)
@given(
    value=ANYTHING,
    key=st.sampled_from(["dim_weights", "batch_size", "seed", "loss", "pooling", "evaluator", "trainer"]),
)
def test_any_value_of_a_root_key_is_taken_or_reported_under_it(value: Any, key: str, training: dict[str, Any]) -> None:
    try:
        check_training({**training, key: value})
    except ConfigError as error:
        assert error.problems
        # Another pooling has another width.
        assert all(name.startswith((key, "dims") if key == "pooling" else key) for name, _ in error.problems)


def places(config: dict[str, Any], before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every key of a configuration, and of its groups."""
    found = [(*before, key) for key in config]
    return found + [
        place for key, value in config.items() if isinstance(value, dict) for place in places(value, (*before, key))
    ]


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_change_of_a_configuration_is_taken_or_reported(data: st.DataObject, training: dict[str, Any]) -> None:
    """Values of every kind at every key, and keys that are gone: never another error than for the user."""
    config = deepcopy(training)
    for _ in range(data.draw(st.integers(1, 3))):
        *path, last = data.draw(st.sampled_from(places(config)))
        node = config
        for key in path:
            node = node[key]
        if data.draw(st.booleans()):
            node[last] = data.draw(ANYTHING)
        else:
            del node[last]
    with suppress(ConfigError):
        check_training(config)


MEASURED = {
    "pairs": ("data=pairs", "data.evaluation=pairs.jsonl", "data.anchor=question", "data.positive=passage"),
    "beir": ("data=beir", "data.folder=measured"),
}


@pytest.mark.parametrize(("kind", "key"), [("pairs", "data.train"), ("beir", "data.folder")])
def test_what_is_only_measured_needs_no_training_pairs(kind: str, key: str) -> None:
    Path("measured/qrels").mkdir(parents=True)
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        Path("measured", name).touch()

    assert problems(*MEASURED[kind], "model=tiny", "dims=[16]", primary="evaluate") == []
    config = plain(*MEASURED[kind], "model=tiny", "dims=[16]", primary="evaluate")
    assert config["data"].get("train") is None
    assert [found for found, _ in problems(*MEASURED[kind])] == [key]


@pytest.mark.parametrize(
    ("words", "key"), [((*MEASURED["pairs"], "data.train=null"), "data.train"), (("data.train=null",), "data.train")]
)
def test_a_training_says_which_key_lacks_its_pairs(words: Sequence[str], key: str) -> None:
    assert problems(*words) == [
        (key, "is null, so there is nothing to train on; give a file of pairs, data.train=my.jsonl")
    ]
    assert problems(*words, "model=tiny", "dims=[16]", primary="evaluate") == []


def test_what_cannot_be_null_is_missing_in_a_measurement_too() -> None:
    words = ("data=pairs", "model=tiny", "dims=[16]")
    assert [key for key, _ in problems(*words, primary="evaluate")] == ["data.evaluation"]
    unknown = problems(*words, "data._target_=nothing.at.All", primary="evaluate")
    assert [key for key, _ in unknown] == ["data._target_"]
