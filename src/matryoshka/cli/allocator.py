"""How torch's CUDA allocator is asked to work, which it reads when torch is imported."""

from __future__ import annotations

import sys
from collections.abc import MutableMapping

# torch 2.10 has renamed it: versions before read the second alone, 2.8 to 2.11 warn of it where the first is missing,
# and 2.9 reads the first without doing as it says. Where both are set, every version does and none warns.
NAMES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
OF_USERS = (*NAMES, "PYTORCH_HIP_ALLOC_CONF")


def let_segments_grow(environment: MutableMapping[str, str]) -> None:
    """Let memory of a GPU be taken in segments that grow, unless the user has set anything of the allocator.

    Every micro-batch has shapes of its own: segments of a fixed size are soon full of holes that fit none of them.
    """
    if sys.platform == "linux" and not any(name in environment for name in OF_USERS):
        environment.update(dict.fromkeys(NAMES, "expandable_segments:True"))
