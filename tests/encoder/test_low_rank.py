"""An encoder with LoRA is one with the weights W + s B A, in values and gradients, however it is computed."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from matryoshka.data.packing import PackedBatch
from matryoshka.encoder import Encoder
from matryoshka.encoder.adapter import Lora
from matryoshka.encoder.low_rank import adapted_layers, merge_adapter
from tests.calls import Calls
from tests.encoder.adapted import with_adapter
from tests.encoder.test_gradient_checkpointing import trained
from tests.encoder.test_packed_attention import backbone, encoder, sequences
from tests.encoder.test_packed_layer import KINDS, as_transformers_has_it, compiler
from tests.tiny import tiny_encoder, with_checkpointing

__all__ = ["compiler"]
PARTS = (Lora(3, 6), Lora(2, 5.0, target_modules=["query", "value"]), Lora(3, 6, target_modules=["output.dense"]))
BATCH = PackedBatch.from_ids([sequences()])


def embeddings_and_gradients(model: Encoder, *, bf16: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        embeddings_SD = model(BATCH)
    pulled(embeddings_SD).backward()
    return embeddings_SD.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def pulled(embeddings_SD: Tensor) -> Tensor:
    return (embeddings_SD * torch.randn(embeddings_SD.shape, generator=torch.Generator().manual_seed(1))).sum()


def by_the_formula(model: Encoder, plain: Encoder, scale: float) -> tuple[Tensor, dict[str, Tensor]]:
    """Embeddings and gradients of A and B: the plain encoder, called with W + scale * B A in the place of each W."""
    factors = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters() if ".lora_" in name}
    weights = dict(plain.named_parameters())
    for name in [name for name in factors if ".lora_A." in name]:
        place = name.partition(".lora_A.")[0] + ".weight"
        weights[place] = weights[place].detach() + scale * factors[name.replace("lora_A", "lora_B")] @ factors[name]
    embeddings_SD = torch.func.functional_call(plain, weights, (BATCH,))
    pulled(embeddings_SD).backward()
    return embeddings_SD.detach(), {name: p.grad for name, p in factors.items() if p.grad is not None}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lora", PARTS)
def test_values_and_gradients_are_those_of_the_formula(kind: str, lora: Lora) -> None:
    plain, model = encoder(backbone(kind)), with_adapter(encoder(backbone(kind)), lora)
    expected_SD, expected = by_the_formula(model, plain, lora.alpha / lora.rank)
    found_SD, found = embeddings_and_gradients(model)

    torch.testing.assert_close(found_SD, expected_SD, atol=2e-6, rtol=0)
    assert not torch.allclose(found_SD, plain(BATCH), atol=1e-2)
    assert {n for n, p in model.named_parameters() if p.requires_grad} == set(expected)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() <= 1e-5 * gradient.norm(), name
    with torch.no_grad():  # then adapters are added to the weights
        torch.testing.assert_close(model(BATCH), expected_SD, atol=2e-6, rtol=0)


def test_rslora_divides_by_the_root() -> None:
    plain, model = tiny_encoder(), with_adapter(tiny_encoder(), Lora(4, 6, rslora=True))
    expected_SD, _ = by_the_formula(model, plain, 6 / 2)
    torch.testing.assert_close(model(BATCH).detach(), expected_SD, atol=2e-6, rtol=0)


@pytest.mark.parametrize("bf16", [False, True])
def test_values_and_gradients_are_those_of_pefts_layers(bf16: bool) -> None:
    ours, theirs = with_adapter(tiny_encoder()), as_transformers_has_it(with_adapter(tiny_encoder()))
    (found_SD, found), (expected_SD, expected) = (embeddings_and_gradients(m, bf16=bf16) for m in (ours, theirs))

    torch.testing.assert_close(found_SD, expected_SD, atol=5e-2 if bf16 else 2e-6, rtol=0)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() <= (0.1 if bf16 else 1e-5) * gradient.norm(), name


def test_with_dropout_of_its_own_it_is_trained_as_peft_does_and_measured_without() -> None:
    lora, found = Lora(3, 6, dropout=0.4), list[Tensor]()
    for model in (with_adapter(tiny_encoder(), lora), as_transformers_has_it(with_adapter(tiny_encoder(), lora))):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            found.append(model.train()(BATCH).detach())
        found.append(model.eval()(BATCH).detach())
    torch.testing.assert_close(found[:2], found[2:], atol=2e-6, rtol=0)
    torch.testing.assert_close(found[1], with_adapter(tiny_encoder())(BATCH).detach(), atol=2e-6, rtol=0)
    assert not torch.allclose(found[0], found[1], atol=1e-2)


@pytest.mark.usefixtures("compiler")
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's own, of what it looks at when it traces
def test_compiled_layers_equal_themselves() -> None:
    plain, compiled = with_adapter(tiny_encoder()), with_adapter(tiny_encoder())
    compiled.packed_layers.compile(backend="eager")
    (found_SD, found), (expected_SD, expected) = map(embeddings_and_gradients, (compiled, plain))
    assert torch.equal(found_SD, expected_SD)
    assert all(torch.equal(found[name], gradient) for name, gradient in expected.items())


def test_an_evaluation_makes_the_calls_of_an_encoder_without_it() -> None:
    counts = []
    for model in (tiny_encoder(), with_adapter(tiny_encoder())):
        with torch.inference_mode(), model.packed_layers.cast_once(model.device), Calls() as made:
            model(BATCH)
        counts.append(made.count)
    assert counts[0] == counts[1]


@pytest.mark.parametrize("packed", [True, False])
def test_merged_it_gives_the_same_and_is_an_encoder_as_any(packed: bool) -> None:
    plain, model = tiny_encoder(), with_adapter(tiny_encoder())
    if not packed:
        model.first_position = None
        model.backbone.set_attn_implementation("sdpa")
    names = list(adapted_layers(model.backbone))
    frozen = {name: p.clone() for name, p in model.named_parameters() if not p.requires_grad}
    with torch.no_grad():
        before_SD = model(BATCH)
        merge_adapter(model.backbone)
        after_SD = model(BATCH)

    assert len(names) == 12
    assert (after_SD - before_SD).abs().max() <= (0.0 if packed else 2e-6)
    assert list(model.state_dict()) == list(plain.state_dict())
    assert all(p.requires_grad for p in model.parameters())
    assert not list(adapted_layers(model.backbone)) and not hasattr(model.backbone, "peft_config")
    for name, p in model.named_parameters():
        if name in frozen:
            assert torch.equal(p, frozen[name])
    merge_adapter(model.backbone)  # which finds nothing to do
    with torch.no_grad():
        assert torch.equal(model(BATCH), after_SD)


def test_merged_before_it_is_trained_nothing_has_changed() -> None:
    plain, model = tiny_encoder(), tiny_encoder()
    Lora().put_into(model, 0)
    merge_adapter(model.backbone)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), plain.parameters(), strict=True))


@pytest.mark.parametrize(("dropout", "bf16"), [(0.0, False), (0.3, True)])
@pytest.mark.parametrize("own_dropout", [0.0, 0.4])
def test_checkpointing_and_parts_change_nothing(dropout: float, own_dropout: float, bf16: bool) -> None:
    lora = Lora(3, 6, dropout=own_dropout)
    plain, checkpointed, parts = (with_adapter(tiny_encoder(dropout=dropout), lora) for _ in range(3))
    loss, gradients, state = trained(plain, True, bf16, None)
    assert len(gradients) == 24
    other_loss, other, other_state = trained(with_checkpointing(checkpointed), True, bf16, None)
    assert torch.equal(loss, other_loss) and torch.equal(state, other_state)
    for name, gradient in gradients.items():
        assert torch.equal(other[name], gradient), name
    if not dropout and not own_dropout:  # which each part draws for itself
        part_loss, of_parts, _ = trained(parts, True, bf16, 2)
        torch.testing.assert_close(part_loss, loss, atol=1e-5, rtol=0)
        for name, gradient in gradients.items():
            assert (of_parts[name] - gradient).norm() <= 1e-5 * gradient.norm() + 1e-7, name


@pytest.mark.parametrize("put_first", [True, False])
def test_the_compact_vocabulary_leaves_the_table_as_it_was(put_first: bool) -> None:
    model, plain = tiny_encoder(), tiny_encoder()
    if put_first:
        with_adapter(model)
    model.compact_vocabulary(id for ids in sequences() for id in ids)
    if not put_first:
        with_adapter(model)
    expected_SD = with_adapter(plain)(BATCH)

    assert torch.equal(model(BATCH), expected_SD)
    model.whole_vocabulary()
    table, before = (each.backbone.get_input_embeddings().weight for each in (model, tiny_encoder()))
    assert torch.equal(table, before)
    assert torch.equal(model(BATCH), expected_SD)


def test_a_is_drawn_by_the_seed_and_nothing_else_is() -> None:
    drawn = []
    for seed in (3, 3, 4):
        model, state = tiny_encoder(), torch.get_rng_state()
        Lora().put_into(model, seed)
        assert torch.equal(torch.get_rng_state(), state)
        drawn.append({n: p.clone() for n, p in model.named_parameters() if p.requires_grad})
        torch.rand(1)
    assert all(torch.equal(drawn[0][name], drawn[1][name]) for name in drawn[0])
    assert not any(torch.equal(drawn[0][name], drawn[2][name]) for name in drawn[0] if "lora_A" in name)
    assert all(not p.any() for n, p in drawn[0].items() if "lora_B" in n)


def test_a_model_with_an_adapter_is_copied() -> None:
    model = with_adapter(tiny_encoder())
    other = copy.deepcopy(model.backbone)
    assert torch.equal(encoder(other)(BATCH), encoder(model.backbone)(BATCH))
    assert isinstance(other, nn.Module)
