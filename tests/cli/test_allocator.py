"""The CUDA allocator is asked for segments that grow before torch is imported, unless the user has set something."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from matryoshka.cli.allocator import NAMES, let_segments_grow

GROWING = dict.fromkeys(NAMES, "expandable_segments:True")
# Hydra's main is replaced by a look at the process as it is when it would begin.
BEGIN = """
import os, sys
sys.argv = ["train.py"]
import hydra
from matryoshka.cli import app

hydra.main = lambda **_: lambda run: lambda: None
app.train()
imported_before = "torch" in sys.modules
import torch
asked = os.environ["PYTORCH_ALLOC_CONF"], os.environ["PYTORCH_CUDA_ALLOC_CONF"]
print(imported_before, *asked, float(torch.ones(2).sum()))
"""


def test_segments_grow_unless_the_user_has_set_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    environment: dict[str, str] = {}
    let_segments_grow(environment)
    assert environment == GROWING
    for name in (*NAMES, "PYTORCH_HIP_ALLOC_CONF"):
        environment = {name: "max_split_size_mb:128"}
        let_segments_grow(environment)
        assert environment == {name: "max_split_size_mb:128"}


def test_where_segments_cannot_grow_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    environment: dict[str, str] = {}
    let_segments_grow(environment)
    assert environment == {}


def test_the_command_asks_before_torch_is_imported_and_torch_does_not_warn() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run([sys.executable, "-c", BEGIN], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False", *GROWING.values(), "2.0"]
    assert "ALLOC_CONF" not in done.stderr and "expandable" not in done.stderr
