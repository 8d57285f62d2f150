"""Jobs on one machine share the memory of a base that an adapter leaves alone: pages of its file, never written to."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from matryoshka.encoder import Encoder, Pretrained
from matryoshka.encoder.adapter import Lora
from matryoshka.export.sentence_transformers import SentenceTransformersFolder
from tests.encoder.test_low_rank import BATCH, pulled
from tests.tiny import tiny_encoder


def own_kilobytes(file: Path) -> tuple[int, int]:
    """Of a file that is mapped into memory: what is mapped, and what this process has made its own by writing."""
    mapped = written = 0
    inside = False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        words = line.split()
        if "-" in words[0]:
            inside = line.endswith(str(file))
        elif inside and words[0] in ("Size:", "Anonymous:"):
            mapped += int(words[1]) * (words[0] == "Size:")
            written += int(words[1]) * (words[0] == "Anonymous:")
    return mapped, written


def trained(encoder: Encoder) -> Encoder:
    """After an update, an evaluation, and with its whole vocabulary again."""
    encoder.compact_vocabulary(BATCH.input_ids_T.tolist())
    optimizer = torch.optim.AdamW([p for p in encoder.parameters() if p.requires_grad], lr=1e-3)
    pulled(encoder.train()(BATCH)).backward()
    optimizer.step()
    encoder.encode(["das haus"])
    return encoder


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells whose pages they are")
def test_a_base_under_an_adapter_stays_the_pages_of_its_file(tmp_path: Path) -> None:
    found = []
    for name in ("adapted", "whole"):
        SentenceTransformersFolder().save(tiny_encoder(), tmp_path / name)
        encoder = Pretrained(str(tmp_path / name)).load()
        if name == "adapted":
            Lora().put_into(encoder, 0)
        trained(encoder)
        found.append(own_kilobytes(tmp_path / name / "model.safetensors"))
    (mapped, written), (_, written_by_training) = found
    assert mapped > 0 and written == 0 < written_by_training
