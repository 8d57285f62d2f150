"""What must hold of an evaluation on a CUDA device, for `make test-gpu`; what makes sense on a CPU runs there too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from matryoshka.encoder import Encoder
from matryoshka.evaluation import evaluator as evaluator_module
from matryoshka.evaluation.device_digest import device_digest
from matryoshka.evaluation.embeddings import InMemory, embed
from matryoshka.evaluation.evaluator import Evaluator
from matryoshka.evaluation.fingerprint import encoder_fingerprint, weights_fingerprint
from matryoshka.evaluation.nearest import search
from matryoshka.evaluation.set_vectors import SetVectors
from matryoshka.evaluation.tokenized_set import TokenizedSet
from matryoshka.memory.budget import auto_budget
from tests.evaluation.all_pairs import draw
from tests.evaluation.small import small_set
from tests.evaluation.test_device_digest import some, written_out
from tests.test_gpu import ON_EACH
from tests.tiny import tiny_encoder

DIMS = [96, 64, 7]


@pytest.fixture(autouse=True)
def tf32() -> Iterator[None]:
    """As a run allows it where there is a GPU."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


def documents() -> dict[str, Tensor]:
    """Random ones; copies; copies of other lengths; ones that differ in the last bit of a number; wide ranges."""
    x_ND = draw(6000, 96, seed=1)
    copies_ND = x_ND[torch.randint(0, 300, (6000,), generator=torch.Generator().manual_seed(2))]
    near_ND = x_ND[:1].repeat(6000, 1)
    near_ND[torch.arange(6000), torch.arange(6000) % 96] *= 1 + 2**-23
    scales_N1 = torch.logspace(-6, 6, 6000)[:, None]
    return {"random": x_ND, "copies": copies_ND, "scaled": copies_ND * scales_N1, "near": near_ND, "wide": x_ND**9}


@ON_EACH
@pytest.mark.parametrize("kind", ["random", "copies", "scaled", "near", "wide"])
@pytest.mark.parametrize("chunks", [(256, 4096), (1024, 8192), (7, 1000)])
def test_hits_equal_those_of_the_cpu_to_the_bit(device: str, kind: str, chunks: tuple[int, int]) -> None:
    queries_QD, documents_ND = draw(50, 96), documents()[kind]
    expected = search(queries_QD, documents_ND, DIMS, 100)

    found = search(queries_QD.to(device), documents_ND, DIMS, 100, *chunks)
    for dim in DIMS:
        assert found[dim].documents_Qk.device.type == device
        assert torch.equal(found[dim].on_host().documents_Qk, expected[dim].documents_Qk)
        assert torch.equal(found[dim].on_host().similarities_Qk, expected[dim].similarities_Qk)
        assert not found[dim].on_host().similarities_Qk.is_cuda


@ON_EACH
def test_a_search_is_deterministic_by_torchs_own_rule(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No operation of it is one of those that torch knows as nondeterministic."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else torch refuses products
    torch.use_deterministic_algorithms(True)
    try:
        search(draw(9, 96).to(device), documents()["copies"], DIMS, 100)
    finally:
        torch.use_deterministic_algorithms(False)


@ON_EACH
def test_the_encoders_device_searches_with_the_same_result(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, evaluator = tiny_encoder().to(device), Evaluator()
    texts = TokenizedSet.of(small_set(), encoder.tokenize)
    (documents_UD, queries_UD), _ = embed(encoder, [texts.documents, texts.queries], token_budget=4096)
    expected = evaluator.measure_vectors("tiny", SetVectors.of(texts, queries_UD, documents_UD), [32, 8])
    places: list[str] = []

    def watched(queries_QD: Tensor, *args: Any, **chunks: Any) -> Any:
        places.append(queries_QD.device.type)
        return search(queries_QD, *args, **chunks)

    monkeypatch.setattr(evaluator_module, "search", watched)
    found = evaluator.measure_vectors("tiny", SetVectors.of(texts, queries_UD, documents_UD), [32, 8], encoder.device)
    assert found.metrics == expected.metrics
    assert found.rankings is not None and expected.rankings is not None
    evaluator.evaluate(encoder, texts, [32, 8])
    assert set(places) == {device}


@ON_EACH
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.bool])
def test_a_digest_is_the_same_on_each(device: str, dtype: torch.dtype) -> None:
    x = some(dtype)
    assert device_digest(x.to(device)).item() == written_out(x)
    assert device_digest(x.to(device).T).item() == written_out(x.T)

    large = torch.arange(10_000_001).to(torch.float32)  # in several pieces
    assert device_digest(large.to(device)).item() == device_digest(large).item()


@ON_EACH
def test_weights_in_place_are_told_apart(device: str) -> None:
    encoder, same = tiny_encoder().to(device), tiny_encoder().to(device)
    first = encoder_fingerprint(encoder, "fp32")
    assert encoder_fingerprint(same, "fp32") == first
    assert weights_fingerprint(encoder) == weights_fingerprint(tiny_encoder())  # whatever the machine

    weight = encoder.backbone.encoder.layer[0].output.dense.weight
    with torch.no_grad():
        weight[[0, 1]] = weight[[1, 0]]
    assert encoder_fingerprint(encoder, "fp32") != first
    assert len({first, encoder_fingerprint(same, "bf16")}) == 2


@ON_EACH
def test_kept_embeddings_are_found_again(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, store = tiny_encoder().to(device), InMemory()
    texts = TokenizedSet.of(small_set(), encoder.tokenize)
    (first_ND,), _ = embed(encoder, [texts.documents], token_budget=100, store=store)
    monkeypatch.setattr(Encoder, "pooled", lambda *_: pytest.fail("encoded again"))

    (again_ND,), _ = embed(encoder, [texts.documents], token_budget=100, store=store)
    assert torch.equal(again_ND, first_ND)


@ON_EACH
def test_a_gpu_has_more_tokens_at_once(device: str) -> None:
    encoder = tiny_encoder().to(device)
    assert auto_budget(encoder, encoder.device, trains=True) == (16_384 if device == "cuda" else 4096)
