"""Embeddings found again are those of encoding anew, to the last bit; any difference in the encoder encodes anew."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from matryoshka.data.packing import stable_batches
from matryoshka.data.tokens import TokenIds
from matryoshka.encoder import Encoder, Pooling
from matryoshka.encoder.dense import Dense
from matryoshka.evaluation.embeddings import InMemory, OnDisk, Store, embed
from matryoshka.evaluation.evaluator import Evaluator
from matryoshka.evaluation.fingerprint import encoder_fingerprint, weights_fingerprint
from tests.evaluation.small import small_set
from tests.tiny import tiny_encoder

TEXTS = [f"nr {i} {'der notar ' * (i % 3)}" for i in range(60)]
BUDGET = 100


def embedded(encoder: Encoder, texts: list[str], store: Store | None = None, **options: Any) -> Tensor:
    ids = TokenIds.of(encoder.tokenize(texts))
    (values_ND,), _ = embed(encoder, [ids], token_budget=BUDGET, store=store, **options)
    return values_ND


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts were encoded, batch by batch, by any encoder."""
    found: list[int] = []
    encode_batches = Encoder.encode_batches

    def counted(
        self: Encoder, batches: Iterable[tuple[Any, list[list[int]]]], *options: Any, **named: Any
    ) -> Iterator[Any]:
        for key, embeddings_SD in encode_batches(self, batches, *options, **named):
            found.append(len(embeddings_SD))
            yield key, embeddings_SD

    monkeypatch.setattr(Encoder, "encode_batches", counted)
    return found


@pytest.fixture(params=["disk", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return OnDisk(tmp_path / "embeddings") if request.param == "disk" else InMemory()


def test_a_text_of_no_tokens_is_refused() -> None:
    ids = TokenIds.of([[], [1], []])
    with pytest.raises(ValueError, match="a text has no tokens"):
        embed(tiny_encoder(), [ids], token_budget=10)
    with pytest.raises(ValueError, match="a text has no tokens"):
        tiny_encoder().encode_into(torch.empty(3, 32), ids)


def test_embeddings_are_those_of_one_call_to_the_last_bit(store: Store) -> None:
    encoder = tiny_encoder()
    plain_ND = encoder.encode(TEXTS, token_budget=BUDGET, normalize=False, as_tensor=True)

    assert isinstance(plain_ND, Tensor)
    for kept in (None, store):
        assert torch.equal(embedded(encoder, TEXTS, kept), plain_ND)


def test_what_was_encoded_before_is_found_to_the_last_bit(store: Store, counts: list[int]) -> None:
    encoder = tiny_encoder()
    anew_ND = embedded(encoder, TEXTS)
    first_ND = embedded(encoder, TEXTS, store)
    assert sum(counts) == 2 * len(TEXTS)
    counts.clear()

    assert torch.equal(embedded(tiny_encoder(), TEXTS, store), anew_ND)
    assert torch.equal(first_ND, anew_ND)
    assert counts == []


def test_a_set_that_shares_texts_encodes_the_changed_batches(store: Store, counts: list[int]) -> None:
    encoder, changed = tiny_encoder(), [*TEXTS[:20], "die neue", *TEXTS[21:][::-1]]
    embedded(encoder, TEXTS, store)
    counts.clear()
    found_ND = embedded(encoder, changed, store)

    assert 1 <= sum(counts) < len(TEXTS) / 2
    assert torch.equal(found_ND, embedded(encoder, changed))


def perturbed() -> Encoder:
    encoder = tiny_encoder()
    with torch.no_grad():
        encoder.backbone.encoder.layer[1].output.dense.bias[3] += 1e-6
    return encoder


def with_pooling(change: Callable[[Pooling], object]) -> Encoder:
    encoder = tiny_encoder()
    change(encoder.pooling)
    return encoder


class Powered(Pooling):
    """A user's pooling, with a setting of its own and one in a module within."""

    def __init__(self, power: int = 1, epsilon: float = 1e-5) -> None:
        super().__init__(["cls"])
        self._power = power
        self.norm = nn.LayerNorm(32, epsilon, elementwise_affine=False)

    def forward(self, hidden_TH: Tensor, lengths_S: Tensor) -> Tensor:
        embeddings_SD: Tensor = self.norm(super().forward(hidden_TH, lengths_S)) ** self._power
        return embeddings_SD


def pooled(pooling: Pooling) -> Encoder:
    encoder = tiny_encoder()
    encoder.pooling = pooling
    return encoder


def with_config(**changed: Any) -> Encoder:
    encoder = tiny_encoder()
    encoder.backbone.config.update(changed)
    return encoder


@pytest.mark.parametrize(
    "other",
    [
        perturbed,
        lambda: pooled(Powered()),
        lambda: tiny_encoder(seed=1),
        lambda: tiny_encoder(modes=("mean",)),
        lambda: with_pooling(lambda pooling: setattr(pooling, "temperature", 2.0)),
        lambda: with_config(layer_norm_eps=1e-3),
    ],
)
def test_another_encoder_encodes_anew(other: Callable[[], Encoder], store: Store, counts: list[int]) -> None:
    embedded(tiny_encoder(), TEXTS, store)
    counts.clear()

    embedded(other(), TEXTS, store)
    assert sum(counts) == len(TEXTS)


def changed(pooling: Pooling, **attributes: Any) -> Pooling:
    for name, value in attributes.items():
        setattr(pooling, name, value)
    return pooling


def test_every_setting_of_a_pooling_is_told_apart() -> None:
    poolings = [
        Powered(),
        Powered(power=3),
        Powered(epsilon=1e-3),
        changed(Powered(), _weights=torch.ones(3)),
        changed(Powered(), _weights=torch.zeros(3)),
        changed(Powered(), settings={"a": [1, (2.0, None)]}),
        changed(Powered(), settings={"a": [1, (2.5, None)]}),
        changed(Powered(), words={"a", "b"}),
        Pooling(["cls"]),
    ]
    made = [encoder_fingerprint(pooled(pooling), "fp32") for pooling in poolings]

    assert None not in made
    assert len(set(made)) == len(made)
    assert encoder_fingerprint(pooled(Powered().eval()), "fp32") == made[0]


def from_file(path: Path, helper: str) -> Encoder:
    """An encoder with a pooling from a file, which calls a function and has a base there."""
    path.write_text(
        "from matryoshka.encoder import Pooling\n"
        f"def helper(x):\n    return {helper}\n"
        "class Base(Pooling):\n    def forward(self, *given):\n        return helper(super().forward(*given))\n"
        "class Own(Base):\n    pass\n"
    )
    found: dict[str, Any] = {"__name__": path.stem}
    exec(compile(path.read_text(), path, "exec"), found)
    module = ModuleType(path.stem)
    vars(module).update(found, __file__=str(path))
    sys.modules[path.stem] = module
    return pooled(found["Own"]())


def test_a_function_or_base_that_a_pooling_uses_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "own_pooling", None)
    path = tmp_path / "own_pooling.py"
    made = [encoder_fingerprint(from_file(path, helper), "fp32") for helper in ("x", "x + 1", "x")]
    assert None not in made
    assert made[0] == made[2] != made[1]

    path.unlink()
    encoder = pooled(sys.modules["own_pooling"].Own())
    assert encoder_fingerprint(encoder, "fp32") is None


def made_in_a_function(power: int) -> Pooling:
    class Local(Pooling):
        def forward(self, hidden_TH: Tensor, lengths_S: Tensor) -> Tensor:
            embeddings_SD: Tensor = super().forward(hidden_TH, lengths_S) ** power
            return embeddings_SD

    return Local(["cls"])


def hooked() -> Pooling:
    pooling = Pooling(["cls"])
    pooling.register_forward_hook(lambda module, given, found: found + 1)
    return pooling


@pytest.mark.parametrize(
    "make", [lambda: made_in_a_function(3), lambda: changed(Powered(), activation=lambda x: x), hooked]
)
def test_what_cannot_be_told_is_never_found(make: Callable[[], Pooling], store: Store, counts: list[int]) -> None:
    encoder = pooled(make())
    for _ in range(2):
        counts.clear()
        assert torch.equal(embedded(encoder, TEXTS, store), embedded(encoder, TEXTS))
        assert sum(counts) == 2 * len(TEXTS)


def test_another_precision_or_number_of_threads_encodes_anew() -> None:
    """A product's last bits may follow from the number of threads."""
    encoder, threads = tiny_encoder(), torch.get_num_threads()
    made = {encoder_fingerprint(encoder, "fp32"), encoder_fingerprint(encoder, "bf16")}
    try:
        torch.set_num_threads(threads + 1)
        made.add(encoder_fingerprint(encoder, "fp32"))
    finally:
        torch.set_num_threads(threads)

    assert len(made) == 3


def test_what_decides_no_embedding_is_not_asked_for() -> None:
    encoder = tiny_encoder()
    encoder.name, encoder.backbone.config._name_or_path = "another", "elsewhere"

    assert encoder_fingerprint(encoder.train(), "fp32") == encoder_fingerprint(tiny_encoder(), "fp32")


def test_prompts_length_and_tokenizer_are_in_the_ids(store: Store, counts: list[int]) -> None:
    embedded(tiny_encoder(), TEXTS, store)
    shorter, other = tiny_encoder(), tiny_encoder()
    shorter.max_seq_length = 6
    other.tokenizer.backend_tokenizer.normalizer = None
    for encoder, texts in ((shorter, TEXTS), (other, [text.upper() for text in TEXTS])):
        counts.clear()
        assert torch.equal(embedded(encoder, texts, store), embedded(encoder, texts))
        assert sum(counts) > len(TEXTS)  # once for each of the two, but for the shortest texts


def test_weights_of_every_kind_have_a_fingerprint() -> None:
    encoder = tiny_encoder()
    encoder.register_buffer("steps", torch.tensor(3))
    encoder.register_buffer("columns", torch.eye(3).T[:, 1:])
    encoder.register_buffer("flags", torch.tensor([True, False]), persistent=False)
    encoder.register_buffer("halves", torch.ones(3, dtype=torch.bfloat16))

    before = encoder_fingerprint(encoder, "fp32")
    assert encoder_fingerprint(encoder, "fp32") == before
    encoder.flags[0] = False  # type: ignore[index, operator]
    assert encoder_fingerprint(encoder, "fp32") != before


def test_memory_holds_the_last_evaluation_alone(counts: list[int]) -> None:
    store, first, second = InMemory(), tiny_encoder(), tiny_encoder(seed=1)
    for encoder, encodes in ((first, True), (first, False), (second, True), (second, False), (first, True)):
        counts.clear()
        embedded(encoder, TEXTS, store)
        assert bool(counts) == encodes


@pytest.mark.parametrize("make", [lambda limit, path: OnDisk(path, limit), lambda limit, path: InMemory(limit)])
def test_more_than_the_limit_is_not_kept(make: Callable[[int, Path], Store], tmp_path: Path, counts: list[int]) -> None:
    encoder, size = tiny_encoder(), 4 * len(TEXTS) * 32
    for limit, kept in ((size - 1, False), (2 * size, True)):
        store = make(limit, tmp_path)
        embedded(encoder, TEXTS, store)
        counts.clear()
        embedded(encoder, TEXTS, store)
        assert bool(counts) != kept


def test_memory_never_holds_more_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 4 * len(TEXTS) * 32
    store, most = InMemory(size), [0]
    put = InMemory.put

    def watched(self: InMemory, key: str, embedded: Any) -> None:
        put(self, key, embedded)
        held = {id(found): found for kept in vars(self).values() if isinstance(kept, dict) for found in kept.values()}
        most.append(sum(found.values_SD.nbytes for found in held.values()))

    monkeypatch.setattr(InMemory, "put", watched)
    for seed, texts in ((0, TEXTS), (1, TEXTS), (1, [text + " neu" for text in TEXTS])):
        embedded(tiny_encoder(seed=seed), texts, store)
    assert max(most) == size


def test_a_folder_that_cannot_be_written_keeps_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    store = OnDisk(tmp_path / "file" / "embeddings")
    for _ in range(2):
        assert torch.equal(embedded(tiny_encoder(), TEXTS, store), embedded(tiny_encoder(), TEXTS))
    assert len(caplog.records) == 1


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_one_pass_encodes_the_batches_of_all_parts_to_the_last_bit(precision: Any, counts: list[int]) -> None:
    """As one call a batch does; on a GPU one pass alone overlaps (test_no_waiting)."""
    encoder = tiny_encoder(modes=("cls", "mean")).train()
    parts = [TokenIds.of(encoder.tokenize(texts)) for texts in (TEXTS, TEXTS[5:15], [])]
    found, seconds = embed(encoder, parts, token_budget=BUDGET, precision=precision)

    assert encoder.training
    assert seconds > 0
    passed = len(counts)
    for ids, values_ND in zip(parts, found, strict=True):
        for texts in stable_batches(ids, BUDGET):
            alone_ND, batch = torch.empty(len(texts), encoder.width), TokenIds.of([ids[text] for text in texts])
            encoder.encode_into(alone_ND, batch, token_budget=BUDGET, precision=precision)
            assert torch.equal(values_ND[texts], alone_ND)
    assert len(counts) == 2 * passed


def test_a_result_that_comes_one_batch_late_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """As from a GPU: the next batch is under way when a result is given, and every result finds its texts."""
    encoder, events = tiny_encoder(), []
    parts = [TokenIds.of(encoder.tokenize(texts)) for texts in (TEXTS, TEXTS[:9])]
    expected, _ = embed(encoder, parts, token_budget=BUDGET)
    count = sum(len(list(stable_batches(ids, BUDGET))) for ids in parts)

    def one_late(results: Iterable[Any]) -> Iterator[Any]:
        waiting = []
        for result in results:
            events.append("computed")
            waiting.append(result)
            if len(waiting) > 1:
                yield waiting.pop(0)
        yield from waiting

    monkeypatch.setattr("matryoshka.encoder.encoder.on_host", one_late)
    found, _ = embed(encoder, parts, token_budget=BUDGET, advance=lambda tokens: events.append("given"))
    assert events == ["computed", *["computed", "given"] * (count - 1), "given"]
    assert all(map(torch.equal, found, expected))


def test_files_stay_within_the_limit_and_one_that_is_broken_is_made_anew(tmp_path: Path, counts: list[int]) -> None:
    limit = 20_000
    for seed in range(4):
        embedded(tiny_encoder(seed=seed), TEXTS, OnDisk(tmp_path, limit))
    files = list(tmp_path.iterdir())
    assert limit / 2 < sum(path.stat().st_size for path in files) <= limit

    counts.clear()
    embedded(tiny_encoder(seed=3), TEXTS, OnDisk(tmp_path, limit))
    assert counts == []  # the newest are left
    for path in files:
        path.write_bytes(path.read_bytes()[:50])
    assert torch.equal(embedded(tiny_encoder(seed=3), TEXTS, OnDisk(tmp_path)), embedded(tiny_encoder(seed=3), TEXTS))


def test_an_evaluation_with_other_dims_and_metrics_encodes_nothing(store: Store, counts: list[int]) -> None:
    data, encoder = small_set(), tiny_encoder()
    first = Evaluator().evaluate(encoder, data, [32, 8], store=store)
    counts.clear()
    other_judgements = replace(data, name="other", relevant={**data.relevant, "q3": frozenset({"d04"})})
    for evaluator, asked, dims in ((Evaluator(map_at=(5,)), data, [16]), (Evaluator(), other_judgements, [32, 8])):
        found = evaluator.evaluate(encoder, asked, dims, store=store)
        assert counts == []
        assert found == evaluator.evaluate(encoder, asked, dims)
        assert found.tokens == first.tokens
        counts.clear()


def test_seconds_are_those_of_encoding_when_it_was_done(tmp_path: Path) -> None:
    encoder, data = tiny_encoder(), small_set()
    first = Evaluator().evaluate(encoder, data, [32], store=OnDisk(tmp_path))
    ids = TokenIds.of(encoder.tokenize(TEXTS))
    _, before = embed(encoder, [ids], token_budget=BUDGET, store=OnDisk(tmp_path))
    _, again = embed(encoder, [ids], token_budget=BUDGET, store=OnDisk(tmp_path))

    assert first.seconds > 0
    assert again == before > 0


@pytest.mark.parametrize("make", [InMemory, OnDisk])
def test_another_projection_encodes_nothing_and_gives_what_encoding_with_it_gives(
    make: type[InMemory] | type[OnDisk], counts: list[int], tmp_path: Path
) -> None:
    store = OnDisk(tmp_path) if make is OnDisk else InMemory()
    encoder, matrix_DE = tiny_encoder(), torch.randn(32, 8, generator=torch.Generator().manual_seed(0))
    plain_ND = embedded(encoder, TEXTS, store)
    encoded = sum(counts)
    encoder.dense.append(Dense.of(matrix_DE))
    projected_NE = embedded(encoder, TEXTS, store)
    assert sum(counts) == encoded
    torch.testing.assert_close(projected_NE, plain_ND @ matrix_DE, atol=1e-5, rtol=0)
    torch.testing.assert_close(projected_NE, torch.as_tensor(encoder.encode(TEXTS, normalize=False)), atol=1e-5, rtol=0)


def test_embeddings_in_a_mapped_file_are_those_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATRYOSHKA_CACHE", str(tmp_path))
    encoder = tiny_encoder()
    assert torch.equal(embedded(encoder, TEXTS, mapped=True), embedded(encoder, TEXTS))
    assert list(tmp_path.iterdir()) == []  # the file has no name


def test_weights_tell_encoders_apart_on_any_machine() -> None:
    first = weights_fingerprint(tiny_encoder())
    assert weights_fingerprint(tiny_encoder()) == first
    others = [tiny_encoder(seed=1), tiny_encoder(modes=("mean",)), tiny_encoder()]
    others[2].dense.append(Dense.of(torch.eye(32)))
    assert len({first, *map(weights_fingerprint, others)}) == 4
