"""What CONTRIBUTING.md shows is what is tested here."""

from __future__ import annotations

import pytest

from tests.extending.additions import PROJECT, Addition
from tests.extending.test_average import AVERAGE
from tests.extending.test_loss import TEACHER_KL
from tests.extending.test_negatives import TOO_SIMILAR
from tests.extending.test_pooling import ATTENTION
from tests.extending.test_projection import DIFFERENCE
from tests.extending.test_set import GRADED
from tests.extending.test_source import SCORED
from tests.test_docs import named_files

SHOWN = {name: text for name, text in named_files(PROJECT / "CONTRIBUTING.md").items() if name.startswith("my_ideas/")}
ADDED = (TEACHER_KL, ATTENTION, DIFFERENCE, TOO_SIMILAR, AVERAGE, SCORED, GRADED)


@pytest.mark.parametrize("addition", ADDED, ids=[addition.choice for addition in ADDED])
def test_each_addition_is_shown_as_it_is_tested(addition: Addition) -> None:
    assert SHOWN[f"my_ideas/{addition.module}.py"] == addition.python
    assert SHOWN[f"my_ideas/conf/{addition.group}/{addition.choice}.yaml"] == addition.yaml


def test_nothing_else_is_shown_as_an_idea() -> None:
    assert len(SHOWN) == 2 * len(ADDED)
