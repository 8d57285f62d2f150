"""Which folders of a model can be loaded is known from its names, its JSON files and the header of its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from matryoshka.encoder.model_folder import require_loadable
from matryoshka.encoder.pretrained import Pretrained
from matryoshka.errors import UserError
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from tests.tiny import tiny_encoder, tiny_sentencepiece

COMMIT = "0123456789" * 4


def model(folder: Path, vocabulary: str | None = "vocab.txt", weights: bool = True, **config: Any) -> Path:
    """A folder of 5 tokens and a width of 4, with a file of the tokenizer of this name."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"model_type": "bert", "vocab_size": 5, "hidden_size": 4, **config}
    (folder / "config.json").write_text(json.dumps(content))
    if weights:
        save_file({"embeddings.word_embeddings.weight": torch.zeros(5, 4)}, folder / "model.safetensors")
    if vocabulary is not None:
        (folder / vocabulary).write_bytes(b"" if vocabulary == "vocab.txt" else tiny_sentencepiece())
    return folder


@pytest.mark.parametrize("name", ["spm.model", "sentencepiece.model", "source.spm", "spiece.model", "vocab.txt"])
def test_every_kind_of_vocabulary_is_one(tmp_path: Path, name: str) -> None:
    require_loadable(model(tmp_path, name))


@pytest.mark.parametrize(
    "config", [{"model_type": "canine"}, {"model_type": "byt5"}, {"tokenizer_class": "ByT5Tokenizer"}]
)
def test_a_model_of_bytes_needs_no_vocabulary(tmp_path: Path, config: dict[str, Any]) -> None:
    require_loadable(model(tmp_path, None, **config))


def test_the_tokenizers_own_settings_say_that_it_reads_bytes(tmp_path: Path) -> None:
    folder = model(tmp_path, None, model_type="t5")
    with pytest.raises(UserError, match=r"has no tokenizer: tokenizer\.json is missing"):
        require_loadable(folder)

    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer"}')
    require_loadable(folder)


@pytest.mark.parametrize("key", ["embedding_size", "input_embedding_size"])
def test_the_width_of_a_tokens_row_may_be_another_than_the_models(tmp_path: Path, key: str) -> None:
    require_loadable(model(tmp_path, hidden_size=8, **{key: 4}))

    with pytest.raises(UserError, match="says 5 tokens of width 3"):
        require_loadable(model(tmp_path, hidden_size=8, **{key: 3}))


def test_a_hub_model_without_safetensors_says_what_the_hub_lacks(tmp_path: Path) -> None:
    folder = model(tmp_path / "models--owner--name" / "snapshots" / COMMIT, weights=False)

    with pytest.raises(UserError) as error:
        require_loadable(folder)
    message = str(error.value)
    assert message.startswith(f"owner/name has no model.safetensors at commit {COMMIT}, on the hub")
    assert "use a revision that has it" in message
    assert f"hf download owner/name --revision {COMMIT} --local-dir copy" in message
    assert "AutoModel.from_pretrained('copy').save_pretrained('copy')" in message
    assert "copy all files" not in message


def test_a_pointer_of_git_lfs_is_told_from_weights(tmp_path: Path) -> None:
    folder = model(tmp_path)
    (folder / "model.safetensors").write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{COMMIT}\n")

    with pytest.raises(UserError, match=r"model\.safetensors is a git-lfs pointer.*; run git lfs pull"):
        require_loadable(folder)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("code", ["other/repo--module.Class", [None, "other/repo--module.Class"]])
def test_code_of_another_repository_is_refused_even_if_trusted(tmp_path: Path, file: str, code: object) -> None:
    folder = model(tmp_path)
    content = json.loads((folder / file).read_text()) if file == "config.json" else {}
    (folder / file).write_text(json.dumps({**content, "auto_map": {"AutoModel": code}}))

    ((key, message),) = Pretrained(str(folder), trust_remote_code=True).problems()
    assert key == "model"
    assert f"{file} runs code of other/repo (auto_map), which is not pinned; put its .py files into" in message
    assert message.endswith("remove the prefix 'other/repo--'")
    ((_, message),) = Pretrained(str(folder)).problems()
    assert "which is not run" in message


def test_code_in_the_folder_is_left_to_who_trusts_it(tmp_path: Path) -> None:
    folder = model(tmp_path, auto_map={"AutoModel": "module.Class", "AutoTokenizer": ["slow.A", None]})

    require_loadable(folder, trust_remote_code=True)


def test_a_tokenizer_that_names_tokens_it_does_not_have_is_refused(tmp_path: Path) -> None:
    """Its file can be read, and Rust would panic over the first text."""
    SentenceTransformersFolder().save(tiny_encoder(), tmp_path)
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}},
    }
    path.write_text(json.dumps(content), encoding="utf-8")

    with pytest.raises(UserError, match="its tokenizer cannot tokenize a text"):
        Pretrained(str(tmp_path)).load()
