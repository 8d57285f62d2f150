"""Models that read from left to right: their first token is never pooled unless that is what was saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaModel

from matryoshka.config.consistency import named_problems
from matryoshka.encoder import Encoder, Pooling, Pretrained
from matryoshka.encoder.decoder import first_token_problem, reads_left_to_right
from matryoshka.errors import UserError
from tests.composing import problems
from tests.tiny import tiny_tokenizer

LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}


def decoder_folder(folder: Path) -> Path:
    """A tiny Llama whose texts all begin with one token; nothing is saved beside it."""
    tokenizer = tiny_tokenizer()
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    config = LlamaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=64, pad_token_id=1, initializer_range=0.2, **sizes
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return decoder_folder(tmp_path_factory.mktemp("llama"))


@pytest.mark.parametrize(
    ("config", "decoder"),
    [
        (LLAMA, True),
        ({"model_type": "qwen3", "architectures": ["Qwen3Model"]}, True),
        ({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}, True),
        ({"model_type": "a-new-one", "architectures": ["ANewOneForCausalLM"]}, True),
        ({"model_type": "bert", "is_decoder": True}, True),
        ({"model_type": "bert", "architectures": ["BertLMHeadModel"]}, False),
        ({"model_type": "xlm-roberta", "architectures": ["XLMRobertaForCausalLM"]}, False),
        ({"model_type": "modernbert", "architectures": ["ModernBertForMaskedLM"]}, False),
        ({"model_type": "gemma3_text", "use_bidirectional_attention": True}, False),
        ({**LLAMA, "is_causal": False}, False),
        ({**LLAMA, "auto_map": {"AutoModel": "modeling.Both"}}, False),
        ({"model_type": "t5", "architectures": None}, False),
        ({}, False),
    ],
)
def test_a_decoder_is_told_by_its_config(config: dict[str, Any], decoder: bool) -> None:
    assert reads_left_to_right(config) is decoder


@pytest.mark.parametrize(
    ("asked", "saved", "refused"),
    [
        (None, None, True),
        (["cls"], None, True),
        (["cls", "mean"], None, True),
        (["cls"], ["last"], True),
        (None, ["last"], False),
        (["last"], None, False),
        (["mean"], None, False),
        (None, ["cls"], False),
        (["cls"], ["cls"], False),
    ],
)
def test_its_first_token_is_pooled_only_if_saved_so(
    asked: list[str] | None, saved: list[str] | None, refused: bool
) -> None:
    problem = first_token_problem("a/model", LLAMA, asked, saved)

    told = "a/model is a decoder (llama), whose first token sees nothing of the text after it; use pooling=last"
    assert problem == (told if refused else None)
    assert first_token_problem("a/model", {"model_type": "bert"}, asked, saved) is None


@pytest.mark.parametrize("pooling", [None, Pooling(["cls"]), Pooling(["mean", "cls"])])
def test_loading_refuses_it(llama: Path, pooling: Pooling | None) -> None:
    with pytest.raises(UserError, match=r"is a decoder.*use pooling=last"):
        Pretrained(str(llama)).load(pooling)


def test_in_a_notebook_too(llama: Path) -> None:
    with pytest.raises(UserError, match="use pooling=last"):
        Encoder.load(str(llama))
    assert Pretrained(str(llama)).load(Pooling(["last"])).encode(["der", "die"]).shape == (2, 32)


@pytest.mark.parametrize("pooling", ["saved", "cls_mean"])
def test_a_run_is_told_before_anything_is_loaded(llama: Path, pooling: str) -> None:
    words = ["encoder=pretrained", f"encoder.model={llama}", "dims=[32]", f"pooling={pooling}"]

    ((key, message),) = problems(*words)
    assert key == "pooling"
    assert message == first_token_problem(str(llama), LLAMA, None, None)


def test_so_is_an_evaluation(llama: Path) -> None:
    ((key, message),) = problems(f"model={llama}", primary="evaluate")
    assert (key, message.endswith("use pooling=last")) == ("pooling", True)
    assert problems(f"model={llama}", "pooling=last", primary="evaluate") == []


def test_what_is_saved_with_it_counts(llama: Path, tmp_path: Path) -> None:
    for file in llama.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    kinds = {"": "Transformer", "1_Pooling": "Pooling"}
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    (tmp_path / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode": "lasttoken"}', encoding="utf-8")

    assert problems(f"model={tmp_path}", primary="evaluate") == []
    assert Encoder.load(str(tmp_path)).pooling.modes == ["last"]
    assert list(named_problems(str(tmp_path))) == []


def test_it_can_be_no_baseline_by_its_name_alone(llama: Path) -> None:
    (message,) = named_problems(str(llama))
    assert "use pooling=last" in message
