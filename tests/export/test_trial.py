"""No model is called saved that encodes two padded texts unlike the encoder; decoders are given a pad token."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch import nn
from transformers import GPT2Config, GPT2Model, LlamaConfig, LlamaModel, PreTrainedModel

from matryoshka.encoder import Encoder, Pooling
from matryoshka.encoder.dense import Dense
from matryoshka.encoder.pooling import Mode
from matryoshka.errors import UserError
from matryoshka.export import onnx, sentence_transformers, trial
from matryoshka.export.onnx import OnnxFolder
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from matryoshka.export.tokenizer_config import pad_token
from tests.tiny import padless_tokenizer, tiny_encoder

TEXTS = ["Die Schule und das Haus", "x", "ein Text, der länger ist", "der die das </s> und"]


def decoder(kind: str = "llama", modes: Sequence[Mode] = ("last",), side: str = "right") -> Encoder:
    """A random decoder whose tokenizer has no pad token."""
    tokenizer = padless_tokenizer()
    tokenizer.padding_side = side
    rows = len(tokenizer)
    backbone: PreTrainedModel
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if kind == "gpt2":
            numbers = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "initializer_range": 0.2}
            backbone = GPT2Model(GPT2Config(vocab_size=rows, bos_token_id=0, eos_token_id=2, **numbers))
        else:
            numbers = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
            backbone = LlamaModel(LlamaConfig(vocab_size=rows, initializer_range=0.2, **numbers))
    return Encoder(backbone, tokenizer, Pooling(modes), max_seq_length=32, name=kind).eval()


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("modes", [("last",), ("mean",), ("cls", "max")], ids="+".join)
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_decoder_without_a_pad_token_is_saved_with_one(
    kind: str, modes: tuple[Mode, ...], side: str, tmp_path: Path
) -> None:
    """GPT-2 counts positions from the left end of a row, so that padding there would give it other ones."""
    ours = decoder(kind, modes, side)
    folder = SentenceTransformersFolder().save(ours, tmp_path / "model")

    assert (ours.tokenizer.pad_token, ours.tokenizer.padding_side) == (None, side)  # the encoder's own stays
    saved = json.loads((folder / "tokenizer_config.json").read_text())
    assert (saved["pad_token"], saved.get("padding_side", "right")) == ("</s>", "right")
    assert json.loads((folder / "config.json").read_text()).get("pad_token_id") is None  # its row is still trained
    theirs = SentenceTransformer(str(folder), device="cpu")
    np.testing.assert_allclose(theirs.encode(TEXTS), ours.encode(TEXTS), rtol=0, atol=1e-6)
    again = Encoder.load(str(folder))
    assert again.tokenize(TEXTS) == ours.tokenize(TEXTS)
    np.testing.assert_allclose(again.encode(TEXTS), ours.encode(TEXTS), rtol=0, atol=1e-6)


def test_without_a_pad_token_nothing_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As before a pad token was given: what another library would meet is met here."""
    monkeypatch.setattr(sentence_transformers, "mend_tokenizer_config", lambda *_: None)

    with pytest.raises(UserError, match=r"the saved model cannot encode two texts at once: .*padding token.*; use exp"):
        SentenceTransformersFolder().save(decoder(), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_padding_that_moves_positions_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def padded_left(path: Path, *_: Any) -> None:
        config = json.loads(path.read_text()) | {"pad_token": "</s>", "padding_side": "left", "model_max_length": 32}
        path.write_text(json.dumps(config))

    monkeypatch.setattr(sentence_transformers, "mend_tokenizer_config", padded_left)
    with pytest.raises(UserError, match="the saved model gives other embeddings than the encoder, by"):
        SentenceTransformersFolder().save(decoder("gpt2"), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
    SentenceTransformersFolder().save(decoder("llama"), tmp_path / "model")  # whose positions are relative


def test_an_older_model_stays_where_the_new_one_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = SentenceTransformersFolder().save(tiny_encoder(), tmp_path / "model")
    wrong = tiny_encoder(seed=1)
    monkeypatch.setattr(wrong.backbone, "save_pretrained", tiny_encoder(seed=2).backbone.save_pretrained)

    with pytest.raises(UserError, match="gives other embeddings"):
        SentenceTransformersFolder().save(wrong, folder)
    np.testing.assert_array_equal(Encoder.load(str(folder)).encode(TEXTS), tiny_encoder().encode(TEXTS))
    SentenceTransformersFolder().save(wrong, folder, trial=False)


@pytest.mark.parametrize("dim", [None, 8])
def test_what_follows_the_pooling_is_tried_too(
    dim: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = tiny_encoder(modes=("cls", "mean"))
    encoder.dense.append(Dense.of(torch.randn(64, 16)))
    SentenceTransformersFolder(dim).save(encoder, tmp_path / "right")

    monkeypatch.setattr(sentence_transformers, "pooling_config", lambda *_: {"pooling_mode": ["max", "mean"]})
    with pytest.raises(UserError, match="gives other embeddings"):
        SentenceTransformersFolder(dim).save(encoder, tmp_path / "wrong")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="tells which memory is a file's on Linux alone")
def test_the_weights_are_not_read_into_memory_again(tmp_path: Path) -> None:
    """Tensors that transformers reads for a CPU lie in the file, mapped."""
    encoder = tiny_encoder()
    folder = SentenceTransformersFolder().save(encoder, tmp_path / "model")
    mapped: list[bool] = []

    def at_a_layer(module: nn.Module, _: object) -> None:
        start = next(module.parameters()).data_ptr()
        mapped.append(_file_of(start) == str(folder / "model.safetensors"))

    with nn.modules.module.register_module_forward_pre_hook(
        lambda module, given: at_a_layer(module, given) if type(module) is nn.Linear else None
    ):
        trial.transformer_of(folder, encoder)(torch.tensor([[0, 5, 2]]), torch.ones(1, 3, dtype=torch.int64))
    assert len(mapped) > 10
    assert all(mapped)


def _file_of(address: int) -> str | None:
    """The file that is mapped where an address lies."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(number, 16) for number in line.split()[0].split("-"))
        if start <= address < end:
            return line.split(maxsplit=5)[5] if len(line.split(maxsplit=5)) > 5 else None
    return None


class Specials:
    """A tokenizer as far as its special tokens."""

    def __init__(self, **tokens: str) -> None:
        self.__dict__.update(dict.fromkeys(("pad_token", "eos_token", "unk_token", "bos_token")) | tokens)


def test_a_token_to_pad_with_is_a_special_one() -> None:
    assert pad_token(Specials(pad_token="<pad>", eos_token="</s>")) == "<pad>"
    assert pad_token(Specials(eos_token="</s>", unk_token="<unk>")) == "</s>"
    assert pad_token(Specials(unk_token="<unk>", bos_token="<s>")) == "<unk>"
    assert pad_token(Specials(bos_token="<s>")) == "<s>"
    with pytest.raises(UserError, match="has no pad token, and none of eos_token, unk_token, bos_token to take its"):
        pad_token(Specials())


def test_a_wrong_graph_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    other = SentenceTransformersFolder().save(tiny_encoder(seed=1), tmp_path / "other")
    monkeypatch.setattr(onnx, "write_graph", lambda model, path: path.write_bytes(b"no graph"))
    with pytest.raises(UserError, match=r"the saved onnx/model\.onnx cannot encode two texts at once: .*INVALID_"):
        OnnxFolder().save(tiny_encoder(), tmp_path / "model")

    monkeypatch.setattr(onnx, "graph_of", lambda _: trial.transformer_of(other, tiny_encoder()))
    with pytest.raises(UserError, match=r"the saved onnx/model\.onnx gives other embeddings than the encoder"):
        OnnxFolder().save(tiny_encoder(), tmp_path / "model")


def test_a_model_without_a_graph_says_what_to_choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("no such operation\nand a long report")

    monkeypatch.setattr(onnx, "write_graph", fail)
    with pytest.raises(UserError, match=r"cannot be written: no such operation; choose export=sentence_transformers"):
        OnnxFolder().save(tiny_encoder(), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_decoders_graph_passes(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    folder = OnnxFolder().save(decoder(kind), tmp_path / "model")
    assert (folder / "onnx" / "model.onnx").is_file()
