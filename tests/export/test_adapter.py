"""The adapter alone, as peft itself reads it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from matryoshka.data.packing import PackedBatch
from matryoshka.encoder import Encoder, Pooling, Pretrained
from matryoshka.encoder.adapter import Lora
from matryoshka.encoder.dense import Dense
from matryoshka.export.adapter import write_adapter
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from tests.encoder.adapted import with_adapter
from tests.encoder.test_packed_attention import sequences
from tests.tiny import tiny_encoder, tiny_tokenizer

BATCH = PackedBatch.from_ids([sequences()])


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft's call of transformers
def test_peft_reads_what_was_trained(tmp_path: Path) -> None:
    SentenceTransformersFolder().save(tiny_encoder(), tmp_path / "tiny")
    model = with_adapter(Pretrained(str(tmp_path / "tiny")).load(), Lora(rank=3, alpha=6, dropout=0.1)).eval()
    folder = write_adapter(model, tmp_path / "adapter")
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))

    assert config["base_model_name_or_path"] == str(tmp_path / "tiny")
    assert {path.name for path in folder.iterdir()} >= {"adapter_config.json", "adapter_model.safetensors"}
    theirs = PeftModel.from_pretrained(tiny_encoder().backbone, folder)
    assert not any(parameter.requires_grad for parameter in theirs.parameters())
    again = Encoder(theirs.get_base_model(), tiny_tokenizer(), Pooling(["cls"]), max_seq_length=32)  # type: ignore[arg-type]
    with torch.no_grad():
        torch.testing.assert_close(again(BATCH), model(BATCH), atol=1e-6, rtol=0)


def test_dense_layers_stand_beside_it_and_an_older_one_is_replaced(tmp_path: Path) -> None:
    model = with_adapter(tiny_encoder())
    model.dense.append(Dense.of(torch.eye(32) * 3))
    for _ in range(2):
        folder = write_adapter(model, tmp_path / "adapter")
    assert torch.equal(load_file(folder / "2_Dense/model.safetensors")["linear.weight"], torch.eye(32) * 3)
    weights = load_file(folder / "adapter_model.safetensors")
    assert sum(4 * values.numel() for values in weights.values()) == Lora(rank=3).size(tiny_encoder().backbone)
