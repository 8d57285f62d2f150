"""Folders that sentence-transformers saved: read as it reads them, and saved so that it reads the same."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import BertConfig, BertModel, BertTokenizer

from matryoshka.data.tokenizer_fingerprint import tokenizer_fingerprint
from matryoshka.encoder import Encoder, Pretrained
from matryoshka.encoder.saved_pooling import MODE_OF
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from tests.tiny import save_plain

TEXTS = ["Der Notar", "x", "ein Text, der länger ist als die Grenze von vierzig", "", "12 % | § GROSS"]
PROMPTS = {"query": "query: ", "document": "Passage here: "}
SIX = list(MODE_OF)
OLDER_NAMES = ["bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"]
EXACT = 1e-6

pytestmark = pytest.mark.filterwarnings("default")  # transformers warns of its own code


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def as_saved_by_them(folder: Path, pooling: dict[str, Any]) -> Path:
    """The files beside a model in the folder, with this 1_Pooling/config.json."""
    kinds = {"": "base.modules.transformer.Transformer", "1_Pooling": "sentence_transformer.modules.pooling.Pooling"}
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.{kind}"}
        for i, (path, kind) in enumerate(kinds.items())
    ]
    write(folder / "modules.json", modules)
    write(folder / "1_Pooling" / "config.json", {"embedding_dimension": 32, **pooling})
    write(folder / "sentence_bert_config.json", {"max_seq_length": 24})
    write(folder / "config_sentence_transformers.json", {"prompts": PROMPTS, "similarity_fn_name": "cosine"})
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain XLM-R."""
    return save_plain(tmp_path_factory.mktemp("model"))


@pytest.fixture
def folder(model: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    for file in model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def require_equal(ours: Encoder, theirs: SentenceTransformer) -> None:
    for prompt in (None, "query", "document"):
        expected = theirs.encode(TEXTS, prompt_name=prompt, normalize_embeddings=True, batch_size=3)
        np.testing.assert_allclose(ours.encode(TEXTS, prompt=prompt), expected, rtol=0, atol=EXACT)


def read_saved_and_read_again(folder: Path) -> Encoder:
    """Ours equals theirs, and so it is when ours is saved and read by both."""
    ours, theirs = Encoder.load(str(folder)), SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    require_equal(ours, theirs)
    saved = SentenceTransformersFolder().save(ours, folder / "saved")
    require_equal(ours, SentenceTransformer(str(saved), device="cpu", local_files_only=True))
    require_equal(Encoder.load(str(saved)), theirs)
    return ours


@pytest.mark.parametrize("mode", SIX)
def test_each_mode_alone_without_the_prompt(folder: Path, mode: str) -> None:
    """Of texts without a prompt everything is pooled, so the same mode with the prompt is here too."""
    as_saved_by_them(folder, {"pooling_mode": mode, "include_prompt": False})

    ours = read_saved_and_read_again(folder)
    assert (ours.pooling.modes, ours.pooling.include_prompt) == ([MODE_OF[mode]], False)
    assert ours.max_seq_length == 24


@pytest.mark.parametrize(("modes", "include_prompt"), [(["weightedmean", "cls"], True), (["mean", "lasttoken"], False)])
def test_modes_side_by_side(folder: Path, modes: list[str], include_prompt: bool) -> None:
    as_saved_by_them(folder, {"pooling_mode": modes, "include_prompt": include_prompt})

    assert read_saved_and_read_again(folder).pooling.modes == [MODE_OF[mode] for mode in modes]


def test_flags_of_older_versions(folder: Path) -> None:
    flags = {"pooling_mode_weightedmean_tokens": True, "pooling_mode_cls_token": True, "pooling_mode_max_tokens": False}
    as_saved_by_them(folder, {})
    write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 32, **flags})

    assert read_saved_and_read_again(folder).pooling.modes == ["cls", "weightedmean"]


@pytest.mark.parametrize("kind", OLDER_NAMES)
def test_lengths_under_older_names(folder: Path, kind: str) -> None:
    as_saved_by_them(folder, {"pooling_mode": "mean"})
    write(folder / "sentence_bert_config.json", {})  # says nothing, so the next name counts
    write(folder / f"sentence_{kind}_config.json", {"max_seq_length": 9})

    ours = Encoder.load(str(folder))
    assert ours.max_seq_length == 9
    require_equal(ours, SentenceTransformer(str(folder), device="cpu", local_files_only=True))


def test_the_newest_name_counts_first(folder: Path) -> None:
    as_saved_by_them(folder, {"pooling_mode": "mean"})
    write(folder / "sentence_roberta_config.json", {"max_seq_length": 9})

    assert Encoder.load(str(folder)).max_seq_length == 24


def cased_model(folder: Path) -> Path:
    """A BERT whose tokenizer keeps capitals: each letter is a token, each capital, and two words."""
    letters = [*string.ascii_letters, *string.digits, *string.punctuation]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "der", "Der", *letters, *(f"##{x}" for x in letters)]
    tokenizer = BertTokenizer(vocab={word: i for i, word in enumerate(words)}, do_lower_case=False)  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        bert = BertModel(BertConfig(vocab_size=len(words), initializer_range=0.2, max_position_embeddings=40, **config))
    bert.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("file", ["sentence_bert_config.json", "sentence_distilbert_config.json"])
def test_texts_and_prompts_are_lowercased(tmp_path: Path, file: str) -> None:
    as_saved_by_them(cased_model(tmp_path), {"pooling_mode": "mean"})
    cased = Encoder.load(str(tmp_path))
    write(tmp_path / "sentence_bert_config.json", {})
    write(tmp_path / file, {"max_seq_length": 24, "do_lower_case": True})

    assert list(Pretrained(str(tmp_path)).problems()) == []
    ours = read_saved_and_read_again(tmp_path)
    assert ours.tokenize(["DER nOtar"], "document") == cased.tokenize(["passage here: der notar"])
    assert ours.tokenize(["Der"]) != cased.tokenize(["Der"])
    assert tokenizer_fingerprint(ours.tokenizer) != tokenizer_fingerprint(cased.tokenizer)  # so are the caches' names
    told = json.loads((tmp_path / "saved" / "sentence_bert_config.json").read_text(encoding="utf-8"))
    assert told == {"max_seq_length": 24, "do_lower_case": True}


def test_a_tokenizer_that_lowercases_stays_as_it_is(folder: Path) -> None:
    as_saved_by_them(folder, {"pooling_mode": "mean"})
    before = tokenizer_fingerprint(Encoder.load(str(folder)).tokenizer)
    write(folder / "sentence_bert_config.json", {"max_seq_length": 24, "do_lower_case": True})

    assert tokenizer_fingerprint(Encoder.load(str(folder)).tokenizer) == before
