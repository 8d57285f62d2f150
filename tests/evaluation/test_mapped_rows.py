"""Embeddings in a file: the same bits as in memory, nothing left behind, and the disk's room known before."""

from __future__ import annotations

import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from matryoshka.data.tokens import TokenIds
from matryoshka.encoder.encoder import Encoder
from matryoshka.errors import UserError
from matryoshka.evaluation.embeddings import embed
from matryoshka.evaluation.evaluator import Evaluator
from matryoshka.evaluation.mapped_rows import MappedRows
from matryoshka.evaluation.nearest import search
from tests.evaluation.small import small_set
from tests.tiny import tiny_encoder

TEXTS = [f"das haus {i} am see {'x' * (i % 11)}" for i in range(60)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MATRYOSHKA_CACHE", str(tmp_path))
    return tmp_path


def test_rows_are_what_was_set_and_zeros_elsewhere() -> None:
    values_ND = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    rows = MappedRows(7, 5)
    rows[[6, 0, 3]] = values_ND[[6, 0, 3]]
    assert torch.equal(
        torch.tensor(rows[2:5, :4].tolist()), torch.stack([torch.zeros(4), values_ND[3, :4], torch.zeros(4)])
    )
    assert rows[5:100, :].shape == (2, 5) and len(rows) == 7 and rows.bytes == 140


def test_embeddings_and_hits_are_those_of_memory_to_the_bit() -> None:
    encoder = tiny_encoder()
    ids = TokenIds.of(encoder.tokenize(TEXTS, "document"))
    (memory_ND,), _ = embed(encoder, [ids], token_budget=100)
    advanced: list[int] = []
    rows = MappedRows(len(ids), encoder.width)
    encoder.encode_into(rows, ids, token_budget=100, advance=advanced.append)

    assert torch.equal(torch.tensor(rows[0:60, :].tolist()), memory_ND)
    assert sum(advanced) == len(ids.flat)
    for (_, expected), (_, found) in zip(
        search(memory_ND[:9], memory_ND, [32, 8], 5, document_chunk=16).items(),
        search(memory_ND[:9], rows, [32, 8], 5, document_chunk=16).items(),
        strict=True,
    ):
        assert torch.equal(expected.documents_Qk, found.documents_Qk)
        assert torch.equal(expected.similarities_Qk, found.similarities_Qk)


def test_an_evaluation_on_disk_equals_one_in_memory_and_leaves_nothing(cache: Path) -> None:
    encoder, data = tiny_encoder(), small_set()
    memory, disk = (Evaluator(on_disk=on_disk).evaluate(encoder, data, [32, 8]) for on_disk in (False, True))
    assert replace(memory, seconds=0, rankings=None) == replace(disk, seconds=0, rankings=None)
    assert list(cache.iterdir()) == []


def test_an_error_leaves_nothing_and_closes_the_file(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[MappedRows] = []
    close = MappedRows.close
    monkeypatch.setattr(MappedRows, "close", lambda rows: (closed.append(rows), close(rows)))

    def encode(self: Encoder, batches: object, precision: object) -> object:
        raise RuntimeError("broken")

    monkeypatch.setattr(Encoder, "encode_batches", encode)
    with pytest.raises(RuntimeError, match="broken"):
        Evaluator(on_disk=True).evaluate(tiny_encoder(), small_set(), [32])
    assert len(closed) == 1 and list(cache.iterdir()) == []


def test_a_disk_without_room_is_told_before_anything_is_encoded(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10, 10, 3_000_000_000))
    with pytest.raises(
        UserError, match=r"10,000,000 documents take 30.7 GB, and .* has 3.0 GB free; .*MATRYOSHKA_CACHE"
    ):
        MappedRows(10_000_000, 768)
