"""A hash of everything but the token ids that decides an embedding, to the last bit."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
import transformers
import xxhash
from torch import Tensor, nn

import matryoshka
from matryoshka.encoder.encoder import Encoder, Precision
from matryoshka.encoder.pooling import includes_prompt
from matryoshka.encoder.varlen_attention import kernel_name
from matryoshka.evaluation.device_digest import device_digest

PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device)
BEHIND = "dense."  # the pooling: modules that the fingerprint is not of
COUNTED = ("training", "_parameters", "_buffers", "_modules")  # set by `eval`, or walked on their own


class _CannotTell(Exception):
    """Something may decide embeddings, and cannot be compared."""


def encoder_fingerprint(encoder: Encoder, precision: Precision) -> str | None:
    """Equal for two encoders only if their poolings give equal token ids equal vectors; None where that cannot be told.

    Dense layers behind the pooling do not count. Weights and buffers count by their content, so that a copy under
    another name is the same encoder. A pooling, which a user may write and change, counts with all its attributes;
    every class, of the model too, with the file it is in. It cannot be told of a class that was typed in or made in a
    function, nor of an attribute like a function.
    Hashed with XXH3 of 128 bits, as fast as memory is read: nothing here guards against an attacker. Weights of a GPU
    are hashed there (see device_digest), and the host waits for them once.
    """
    device = encoder.device.type
    try:
        settings = [
            matryoshka.__version__,
            torch.__version__,
            transformers.__version__,
            (device, torch.cuda.get_device_name(encoder.device) if device == "cuda" else torch.get_num_threads()),
            torch.backends.cpu.get_cpu_capability(),
            torch.get_float32_matmul_precision(),
            precision,
            encoder.first_position,
            _kind(encoder.backbone),
            _without_name(encoder.backbone.config.to_dict()),
            encoder.backbone.config._attn_implementation,
            _kernel(encoder, precision),
            list(_modules(encoder.pooling)),
            _sources(encoder),
        ]
    except _CannotTell:
        return None
    weights = (item for item in _weights(encoder) if not item[0].startswith(BEHIND))
    return _digest(settings, weights, by_device=True)


def weights_fingerprint(encoder: Encoder) -> str:
    """Equal for two encoders of the same weights and poolings, dense layers included, whatever the machine."""
    poolings = [_kind(module) for module in encoder.pooling.modules()]
    without = [] if includes_prompt(encoder.pooling) else ["without the prompt"]
    return _digest([poolings, getattr(encoder.pooling, "modes", None), *without], _weights(encoder))


def _kernel(encoder: Encoder, precision: Precision) -> str:
    """Which attention a packed model's calls take; a padded one takes transformers' own."""
    if not encoder.packed:
        return "padded"
    config = encoder.backbone.config
    dtype = torch.bfloat16 if precision == "bf16" else encoder.backbone.dtype
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    name = kernel_name(encoder.device, dtype, head_size)
    return f"{name}{' compiled' * encoder.packed_layers.compiled}"


def _weights(encoder: Encoder) -> Iterator[tuple[str, Tensor]]:
    yield from encoder.named_parameters()
    yield from encoder.named_buffers()


def _digest(settings: object, weights: Iterable[tuple[str, Tensor]], *, by_device: bool = False) -> str:
    """by_device: whether weights of a GPU are hashed there, which makes it another hash than that of their bytes."""
    digest, there = xxhash.xxh3_128(repr(settings).encode()), list[Tensor]()
    for name, values in weights:
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        if by_device and _is_away(values):
            there.append(device_digest(values))
        else:
            digest.update(_bytes(values))
    if there:
        digest.update(_bytes(torch.stack(there)))
    return digest.hexdigest()


def _is_away(values: Tensor) -> bool:
    """Whether a copy to the host would take longer than a hash where the tensor is."""
    return values.is_cuda


def _bytes(values: Tensor) -> memoryview:
    return values.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _kind(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _modules(pooling: nn.Module) -> Iterator[object]:
    """Each module in a pooling: its name, its class, its attributes."""
    for name, module in pooling.named_modules(remove_duplicate=False):
        yield name, _kind(module), _told({key: value for key, value in vars(module).items() if key not in COUNTED})


def _told(value: object) -> object:
    """A value as one whose repr tells all of it."""
    if type(value) in PLAIN:
        return value
    if isinstance(value, Tensor):
        return str(value.dtype), tuple(value.shape), xxhash.xxh3_128(_bytes(value)).hexdigest()
    if type(value) in (dict, OrderedDict):
        return [(_told(key), _told(content)) for key, content in value.items()]  # type: ignore[attr-defined]
    if type(value) in (list, tuple, torch.Size):
        return [_told(content) for content in value]  # type: ignore[attr-defined]
    if type(value) in (set, frozenset):
        return sorted(repr(_told(content)) for content in value)  # type: ignore[attr-defined]
    raise _CannotTell


def _sources(encoder: Encoder) -> list[str]:
    """A hash of each file that the encoder's classes and their bases are written in; torch's go by its version."""
    modules = [module for name, module in encoder.named_modules() if not name.startswith(BEHIND)]
    classes = {kind for module in modules for kind in type(module).__mro__}
    files = set()
    for kind in classes:
        if kind.__module__.partition(".")[0] in ("torch", "builtins"):
            continue
        if "<locals>" in kind.__qualname__:  # its methods may use values of the function that it was made in
            raise _CannotTell
        try:
            files.add(inspect.getsourcefile(kind))
        except TypeError:
            files.add(None)
    try:
        return sorted(xxhash.xxh3_128(Path(file or "").read_bytes()).hexdigest() for file in files)
    except OSError as error:
        raise _CannotTell from error


def _without_name(config: dict[str, object]) -> list[tuple[str, object]]:
    """A transformers configuration but for the place that it was read from."""
    return sorted((key, value) for key, value in config.items() if key not in ("_name_or_path", "name_or_path"))
