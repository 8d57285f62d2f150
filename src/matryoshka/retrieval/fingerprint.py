"""A hash of everything but the token ids that decides an embedding, to the last bit."""

from __future__ import annotations

import inspect

import torch
import transformers
import xxhash
from torch import Tensor, nn

import matryoshka
from matryoshka.encoder.encoder import Encoder, Precision


def encoder_fingerprint(encoder: Encoder, precision: Precision) -> str:
    """Equal for two encoders only if they give equal token ids equal embeddings.

    Weights and buffers count by their content, so that a copy under another name is the same encoder. Hashed with
    XXH3 of 128 bits, as fast as memory is read: nothing here guards against an attacker.
    """
    device = encoder.device.type
    settings = [
        matryoshka.__version__,
        torch.__version__,
        transformers.__version__,
        (device, torch.cuda.get_device_name(encoder.device) if device == "cuda" else torch.get_num_threads()),
        torch.backends.cpu.get_cpu_capability(),
        torch.get_float32_matmul_precision(),
        precision,
        encoder.first_position,
        _class(encoder.backbone),
        _without_name(encoder.backbone.config.to_dict()),
        encoder.backbone.config._attn_implementation,
        _class(encoder.pooling),
        [(name, value) for name, value in sorted(vars(encoder.pooling).items()) if _is_setting(name)],
    ]
    digest = xxhash.xxh3_128(repr(settings).encode())
    for name, values in (*encoder.named_parameters(), *encoder.named_buffers()):
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(_bytes(values))
    return digest.hexdigest()


def _bytes(values: Tensor) -> memoryview:
    return values.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _class(module: nn.Module) -> tuple[str, str]:
    """A module's class and, since a user may write and change it, its source."""
    kind = type(module)
    try:
        return f"{kind.__module__}.{kind.__qualname__}", inspect.getsource(kind)
    except (OSError, TypeError):  # typed in, or built in
        return f"{kind.__module__}.{kind.__qualname__}", ""


def _is_setting(name: str) -> bool:
    """Whether an attribute of a module is its own: nn.Module's begin with an underscore, and `training` is set."""
    return not name.startswith("_") and name != "training"


def _without_name(config: dict[str, object]) -> list[tuple[str, object]]:
    """A transformers configuration but for the place that it was read from."""
    return sorted((key, value) for key, value in config.items() if key not in ("_name_or_path", "name_or_path"))
