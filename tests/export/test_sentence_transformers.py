"""The saved folder: 3.0.1's layout file by file, and what we and sentence-transformers make of it."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors import safe_open
from sentence_transformers import SentenceTransformer

from matryoshka.encoder import Encoder
from matryoshka.encoder.pooling import Mode
from matryoshka.errors import UserError
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from tests.tiny import tiny_encoder

TEXTS = [
    "Die Schule und das Haus",
    "x",
    "ein Text, der länger ist als die Grenze von 32",
    "",
    "12 % | §",
]
PROMPTS = {"query": "query: ", "document": "passage: "}
POOLINGS: list[tuple[Mode, ...]] = [
    ("cls",),
    ("mean",),
    ("cls", "mean"),
    ("max",),
    ("last",),
    ("last", "max", "cls"),
    ("weightedmean", "mean_sqrt_len_tokens"),
]


@pytest.fixture
def encoder() -> Encoder:
    return tiny_encoder(modes=("cls", "mean"), prompts=PROMPTS)


def save(encoder: Encoder, folder: Path) -> Path:
    return SentenceTransformersFolder().save(encoder, folder / "model")


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_layout_is_that_of_3_0_1(encoder: Encoder, tmp_path: Path) -> None:
    folder = save(encoder, tmp_path)

    assert {str(path.relative_to(folder)) for path in folder.rglob("*")} == {
        "1_Pooling",
        "1_Pooling/config.json",
        "2_Normalize",
        "config.json",
        "config_sentence_transformers.json",
        "model.safetensors",
        "modules.json",
        "sentence_bert_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert read(folder / "modules.json") == [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    assert read(folder / "sentence_bert_config.json") == {"max_seq_length": 32, "do_lower_case": False}
    assert read(folder / "1_Pooling" / "config.json") == {
        "word_embedding_dimension": 32,
        "pooling_mode_cls_token": True,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
        "pooling_mode_weightedmean_tokens": False,
        "pooling_mode_lasttoken": False,
        "include_prompt": True,
    }
    assert read(folder / "config_sentence_transformers.json") == {
        "__version__": {
            "sentence_transformers": "3.0.1",
            "transformers": transformers.__version__,
            "pytorch": torch.__version__,
        },
        "prompts": PROMPTS,
        "default_prompt_name": None,
        "similarity_fn_name": "cosine",
    }


def test_the_transformers_files_know_nothing_of_us(encoder: Encoder, tmp_path: Path) -> None:
    folder = save(encoder, tmp_path)

    for path in folder.rglob("*.json"):
        assert "matryoshka" not in path.read_text(encoding="utf-8")
    assert read(folder / "config.json")["architectures"] == ["XLMRobertaModel"]
    tokenizer = read(folder / "tokenizer_config.json")
    assert tokenizer["tokenizer_class"] == "PreTrainedTokenizerFast"  # 4.44 knows it
    assert (tokenizer["model_max_length"], encoder.tokenizer.model_max_length) == (32, 64)  # the encoder's, as in 3.0.1
    assert stat.S_IMODE((folder / "model.safetensors").stat().st_mode) == 0o644
    with safe_open(folder / "model.safetensors", "pt") as weights:
        assert set(weights.keys()) == set(encoder.backbone.state_dict())
        assert weights.metadata() == {"format": "pt"}


@pytest.mark.parametrize("modes", POOLINGS, ids="+".join)
def test_reloads_with_equal_embeddings(modes: tuple[Mode, ...], tmp_path: Path) -> None:
    ours = tiny_encoder(modes=modes, prompts=PROMPTS)
    folder = save(ours, tmp_path)

    again = Encoder.load(str(folder))
    assert (again.pooling.modes, again.max_seq_length, again.prompts) == (ours.pooling.modes, 32, PROMPTS)
    np.testing.assert_array_equal(again.encode(TEXTS), ours.encode(TEXTS))

    theirs = SentenceTransformer(str(folder), device="cpu")
    assert theirs.prompts == PROMPTS
    assert theirs.max_seq_length == 32
    assert theirs.similarity_fn_name == "cosine"
    np.testing.assert_allclose(theirs.encode(TEXTS), ours.encode(TEXTS), atol=1e-5)
    for prompt in ("query", "document"):
        np.testing.assert_allclose(
            theirs.encode(TEXTS, prompt_name=prompt), ours.encode(TEXTS, prompt=prompt), atol=1e-5
        )
    cut = SentenceTransformer(str(folder), device="cpu", truncate_dim=16)
    np.testing.assert_allclose(cut.encode(TEXTS, normalize_embeddings=True), ours.encode(TEXTS, dim=16), atol=1e-5)


def test_replaces_an_older_model_whole(encoder: Encoder, tmp_path: Path) -> None:
    folder = save(tiny_encoder(seed=1), tmp_path)
    (folder / "README.md").write_text("the card of the older model")

    assert save(encoder, tmp_path) == folder
    assert not (folder / "README.md").exists()
    np.testing.assert_array_equal(Encoder.load(str(folder)).encode(TEXTS), encoder.encode(TEXTS))
    assert list(tmp_path.iterdir()) == [folder]


def test_a_failure_leaves_the_older_model(encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save(encoder, tmp_path)
    before = (folder / "model.safetensors").read_bytes()

    def full_disk(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(encoder.tokenizer, "save_pretrained", full_disk)
    with pytest.raises(OSError, match="no space left"):
        save(encoder, tmp_path)
    assert (folder / "model.safetensors").read_bytes() == before
    assert list(tmp_path.iterdir()) == [folder]


def test_what_is_no_model_is_never_replaced(encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    save(encoder, tmp_path)  # an empty folder is free
    (tmp_path / "model" / "modules.json").unlink()
    with pytest.raises(UserError, match="holds no model"):
        save(encoder, tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="holds no model"):
        SentenceTransformersFolder().save(encoder, tmp_path / "file")
