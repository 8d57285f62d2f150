"""A transformer in a subfolder is read; what is no transformer is called by its name, with what to do."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from transformers import AutoModel

from matryoshka.encoder import Encoder, Pretrained
from matryoshka.errors import UserError
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from tests.tiny import tiny_encoder, tiny_tokenizer

TEXTS = ["Wer zahlt?", "Die Schule und das Haus"]
OF_TRANSFORMER = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def older(folder: Path) -> Path:
    """The tiny model as sentence-transformers before 2.0 kept it: the transformer in a folder of its own."""
    SentenceTransformersFolder().save(tiny_encoder(modes=("mean",)), folder)
    (folder / "0_Transformer").mkdir()
    for name in (*OF_TRANSFORMER, "sentence_bert_config.json"):
        (folder / name).rename(folder / "0_Transformer" / name)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder


def problem(folder: Path) -> str:
    ((key, message),) = Pretrained(str(folder)).problems()
    assert key == "model"
    with pytest.raises(UserError, match=re.escape(message)):
        Pretrained(str(folder)).load()
    return message


def test_a_transformer_in_a_subfolder_is_read(tmp_path: Path) -> None:
    folder = older(tmp_path / "model")
    for place in (folder, tmp_path):
        assert list(Pretrained(str(place)).problems()) == []
        encoder = Encoder.load(str(place))
        assert (encoder.pooling.modes, encoder.max_seq_length) == (["mean"], 32)
        np.testing.assert_allclose(encoder.encode(TEXTS), tiny_encoder(modes=("mean",)).encode(TEXTS), atol=1e-6)
    theirs = SentenceTransformer(str(folder), device="cpu")
    np.testing.assert_allclose(theirs.encode(TEXTS), encoder.encode(TEXTS), rtol=0, atol=1e-6)


def test_a_config_beside_the_modules_is_not_the_transformers(tmp_path: Path) -> None:
    folder = older(tmp_path)
    (folder / "config.json").write_text('{"model_type": "bert", "hidden_size": 7}')

    np.testing.assert_allclose(
        Encoder.load(str(folder)).encode(TEXTS), tiny_encoder(modes=("mean",)).encode(TEXTS), atol=1e-6
    )


def test_files_of_the_subfolder_are_checked_like_any(tmp_path: Path) -> None:
    folder = older(tmp_path)
    weights = folder / "0_Transformer" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])

    assert problem(folder).startswith(f"{weights} is damaged")


@pytest.mark.parametrize("path", ["../elsewhere", "/etc"])
def test_a_subfolder_elsewhere_is_refused(path: str, tmp_path: Path) -> None:
    folder = older(tmp_path / "model")
    modules = [{"idx": 0, "name": "0", "path": path, "type": "sentence_transformers.models.Transformer"}]
    (folder / "modules.json").write_text(json.dumps(modules))

    assert "is not inside the model's folder" in problem(folder)


def test_modules_without_the_transformers_files_say_what_is_missing(tmp_path: Path) -> None:
    folder = older(tmp_path)
    (folder / "0_Transformer" / "config.json").unlink()

    assert problem(folder).startswith(f"{folder / 'modules.json'} names no folder of a transformer")


def test_a_static_model_is_called_so(tmp_path: Path) -> None:
    static: Any = StaticEmbedding(tiny_tokenizer().backend_tokenizer, embedding_dim=8)
    SentenceTransformer(modules=[static], device="cpu").save(str(tmp_path))

    message = problem(tmp_path)
    assert message.startswith(f"{tmp_path} is a static model")
    assert "cannot be trained or measured here; give a transformer" in message


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """What tells that a folder is of a low-rank adapter, of the tiny model in `base`."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    said = {"peft_type": "LORA", "base_model_name_or_path": str(tmp_path / "base")}
    (folder / "adapter_config.json").write_text(json.dumps(said))
    (folder / "adapter_model.safetensors").write_bytes(b"")
    return folder


def test_an_adapter_names_its_base_model_and_how_to_merge_it(adapter: Path) -> None:
    message = problem(adapter)

    assert message.startswith(
        f"{adapter} is an adapter of {adapter.parent / 'base'} (adapter_config.json) and no model"
    )
    assert "merge it into that one first" in message


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # peft asks transformers by a name that it deprecates
def test_the_command_merges_the_adapter(adapter: Path) -> None:
    peft, base = pytest.importorskip("peft"), adapter.parent / "base"
    tiny_encoder().backbone.save_pretrained(base)
    tiny_tokenizer().save_pretrained(base)
    torch.manual_seed(0)
    wanted = peft.LoraConfig(r=2, target_modules=["query", "value"], init_lora_weights=False)
    peft.get_peft_model(AutoModel.from_pretrained(base), wanted).save_pretrained(adapter)

    (command,) = re.findall(r'python -c "(.*)", copy', problem(adapter))

    subprocess.run([sys.executable, "-c", *shlex.split(f'"{command}"')], check=True, cwd=adapter.parent)
    merged = adapter.parent / "merged"
    tiny_tokenizer().save_pretrained(merged)
    assert list(Pretrained(str(merged)).problems()) == []
    assert not np.allclose(Encoder.load(str(merged)).encode(TEXTS), tiny_encoder().encode(TEXTS), atol=1e-3)


def test_an_adapter_of_nothing_named(adapter: Path) -> None:
    (adapter / "adapter_config.json").write_text("{}")
    assert "is an adapter of <its base model>" in problem(adapter)

    (adapter / "adapter_config.json").write_text("{")
    assert problem(adapter).startswith(f"{adapter / 'adapter_config.json'} cannot be read")
