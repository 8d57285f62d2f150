"""The saved folder against sentence-transformers 3.0.1, which has this layout, 6.2, and the encoder that was saved."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sentence_transformers import SentenceTransformer

from matryoshka.data.sources import PairFiles
from matryoshka.encoder import Encoder, Pooling, Pretrained
from matryoshka.encoder.encoder import Prompt
from matryoshka.evaluation.evaluator import Evaluator
from matryoshka.evaluation.result import EvaluationResult
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from tests.parity.conftest import Parity, release
from tests.parity.files import names_of_files, read_json, weights
from tests.parity.german_texts import BLANK, UNUSUAL, long_texts, texts_of, write_pairs
from tests.parity.oldest_release import OLDEST, OLDEST_TRANSFORMERS, Answer, in_oldest_release, saved_by_transformers
from tests.parity.two_encoders import ALLOWED, POOLINGS, PROMPTS
from tests.test_end_to_end import command

AREA = "Saved model"
NEWEST = release("sentence-transformers")
LENGTH = 128
CASES: list[tuple[Prompt | None, int | None]] = [(None, None), ("query", None), ("document", 256)]
TEXTS = [
    *texts_of("evaluation", "anchor", 4),
    *texts_of("evaluation", "positive", 2),
    *BLANK,
    *UNUSUAL,
    long_texts()[1],
]
# transformers 4.44 says there once more what tokenizer_config.json and tokenizer.json say; 5 no longer writes it, and
# both load the tokenizer without it.
ONLY_TRANSFORMERS_4 = {"special_tokens_map.json"}
# In config.json: what one release of transformers writes where the other has it as a default, and where it came from.
TRANSFORMERS_OWN = {
    *("_name_or_path", "transformers_version", "torch_dtype", "dtype"),
    *("add_cross_attention", "is_decoder", "tie_word_embeddings"),
}
# In tokenizer_config.json: transformers 5 notes how it loaded the tokenizer that it saves, and 4 keeps the notes.
HOW_LOADED = {"is_local", "local_files_only", "max_length", "stride", "truncation_strategy"}  # or last cut

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # transformers warns of its own code


@dataclass
class Saved:
    """One encoder, saved with each pooling."""

    encoder: Encoder
    folders: dict[str, Path]

    def ours(self, pooling: str, prompt: Prompt | None, dim: int | None) -> Any:
        self.encoder.pooling = Pooling(POOLINGS[pooling])
        return self.encoder.encode(TEXTS, prompt=prompt, dim=dim)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:  # gigabytes: not to be kept for later, as pytest would
        yield Path(name)


@pytest.fixture(scope="module")
def saved(folder: Path) -> Saved:
    encoder = Pretrained("embedded:e5_small", max_seq_length=LENGTH, prompts=PROMPTS).load()
    folders = {}
    for name, modes in POOLINGS.items():
        encoder.pooling = Pooling(modes)
        folders[name] = SentenceTransformersFolder().save(encoder, folder / name)
    return Saved(encoder, folders)


@pytest.fixture(scope="module")
def transformer(saved: Saved, folder: Path) -> Path:
    return saved_by_transformers(saved.encoder, folder / "transformer")


@pytest.fixture(scope="module")
def oldest(saved: Saved, transformer: Path, oldest_release: Path, folder: Path) -> Answer:
    request = {
        "models": {name: str(path) for name, path in saved.folders.items()},
        "texts": TEXTS,
        "cases": CASES,
        "transformer": str(transformer),
        "max_seq_length": LENGTH,
        "pooling": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
        # 3.0.1 takes the cosine when it is told nothing, but writes null then.
        "settings": {"prompts": PROMPTS, "similarity_fn_name": "cosine"},
    }
    answer = Answer(in_oldest_release(oldest_release, Path(__file__).with_name("in_3_0_1.py"), request, folder))
    assert f"sentence-transformers {answer.facts['sentence-transformers']}" == OLDEST
    assert f"transformers {answer.facts['transformers']}" == OLDEST_TRANSFORMERS
    return answer


@pytest.mark.release_3_0_1
def test_the_folder_is_the_one_that_3_0_1_saves(saved: Saved, oldest: Answer, parity: Parity) -> None:
    ours, theirs = saved.folders["cls + mean"], oldest.built
    names = [name for name in names_of_files(theirs) if name not in ONLY_TRANSFORMERS_4]
    item = f"names of the files, {' and '.join(ONLY_TRANSFORMERS_4)} apart"
    parity.equal(item, OLDEST, names_of_files(ours), names)
    for name in ("modules.json", "sentence_bert_config.json", "1_Pooling/config.json", "tokenizer.json"):
        parity.equal(f"content of {name}", OLDEST, [read_json(ours / name)], [read_json(theirs / name)])
    name = "config_sentence_transformers.json"
    settings, expected = read_json(ours / name), read_json(theirs / name)
    versions = {key: settings["__version__"].pop(key) for key in ("transformers", "pytorch")}  # of who saved it
    assert versions.keys() == {key: expected["__version__"].pop(key) for key in versions}.keys()
    parity.equal(f"content of {name}, versions apart", OLDEST, [settings], [expected])
    parity.equal("weights", OLDEST, weights(ours), weights(theirs))


@pytest.mark.release_3_0_1
def test_transformers_files_say_the_same_to_4_44(saved: Saved, oldest: Answer, parity: Parity) -> None:
    folders = (saved.folders["cls + mean"], oldest.built)
    ours, theirs = (read_json(folder / "config.json") for folder in folders)
    left, right = ({k: v for k, v in side.items() if k not in TRANSFORMERS_OWN} for side in (ours, theirs))
    parity.equal("content of config.json, transformers' own entries apart", OLDEST_TRANSFORMERS, [left], [right])

    ours, theirs = (read_json(folder / "tokenizer_config.json") for folder in folders)
    vocabulary = {token["id"]: token for token in read_json(folders[0] / "tokenizer.json")["added_tokens"]}
    for number, token in theirs.pop("added_tokens_decoder").items():  # said in tokenizer.json already
        assert token.items() <= vocabulary[int(number)].items()
    ours, theirs = ({k: v for k, v in side.items() if k not in HOW_LOADED} for side in (ours, theirs))
    item = "content of tokenizer_config.json, added tokens and how it was loaded apart"
    parity.equal(item, OLDEST_TRANSFORMERS, [ours], [theirs])


@pytest.mark.release_3_0_1
@pytest.mark.parametrize("pooling", POOLINGS)
def test_loads_in_3_0_1(pooling: str, saved: Saved, oldest: Answer, parity: Parity) -> None:
    facts = oldest.facts["models"][pooling]
    assert facts["modules"] == ["Transformer", "Pooling", "Normalize"]
    assert facts["pooling"] == read_json(saved.folders[pooling] / "1_Pooling" / "config.json")
    assert (facts["max_seq_length"], facts["width"]) == (LENGTH, 384 * len(POOLINGS[pooling]))
    assert (facts["default_prompt_name"], facts["similarity_fn_name"]) == (None, "cosine")
    parity.equal("prompts", OLDEST, [PROMPTS], [facts["prompts"]])
    for case in CASES:
        ours, theirs = saved.ours(pooling, *case), oldest.embeddings(pooling, *case)
        parity.within(f"embeddings, {pooling} pooling: prompts, truncate_dim", OLDEST, ours, theirs, ALLOWED)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_loads_in_the_newest(pooling: str, saved: Saved, parity: Parity) -> None:
    model = SentenceTransformer(str(saved.folders[pooling]), device="cpu", local_files_only=True)
    assert [type(module).__name__ for module in model] == ["Transformer", "Pooling", "Normalize"]
    assert (model.max_seq_length, model.similarity_fn_name) == (LENGTH, "cosine")
    parity.equal("prompts", NEWEST, [PROMPTS], [model.prompts])
    for prompt, dim in CASES:
        with model.truncate_embeddings(dim):
            theirs = model.encode(TEXTS, prompt_name=prompt, normalize_embeddings=True, batch_size=8)
        ours = saved.ours(pooling, prompt, dim)
        parity.within(f"embeddings, {pooling} pooling: prompts, truncate_dim", NEWEST, ours, theirs, ALLOWED)


def test_weights_are_safetensors_only(saved: Saved) -> None:
    for folder in saved.folders.values():
        assert {path.suffix for path in folder.rglob("*") if path.is_file()} == {".json", ".safetensors"}


def test_a_round_trip_changes_no_metric(saved: Saved, folder: Path, parity: Parity) -> None:
    write_pairs(folder, train=4, evaluation=24)
    names = {name: str(folder / f"{name}.jsonl") for name in ("train", "evaluation")}
    data, dims = PairFiles("pairs", **names).retrieval_set(), [768, 512, 256, 128, 64]
    saved.encoder.pooling = Pooling(["cls", "mean"])
    folder = saved.folders["cls + mean"]
    before = Evaluator().evaluate(saved.encoder, data, dims).flat()
    assert 0 < before["ndcg@10/dim_64"] < before["ndcg@10/dim_768"] < 1  # else nothing could have changed

    loaded = Evaluator().evaluate(Encoder.load(str(folder)), data, dims).flat()
    assert loaded.keys() == before.keys()
    against = "the encoder before it was saved"
    parity.within("every metric of the loaded model", against, [*loaded.values()], [*before.values()], 1e-6)

    pairs = ["data=pairs", *(f"data.{name}={path}" for name, path in names.items())]
    words = [f"model={folder}", *pairs, "precision=fp32", "device=cpu", "hydra.run.dir=measured"]
    done = command("evaluate.py", *words, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    measured = EvaluationResult.from_dict(read_json(folder / "measured" / "results.json")).flat()
    assert measured.keys() == before.keys()
    parity.within("every metric of evaluate.py", against, [*measured.values()], [*before.values()], 1e-6)
