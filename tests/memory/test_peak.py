"""The process's peak, by memory that is really taken."""

from __future__ import annotations

import torch

from matryoshka.memory.peak import peak_memory


def test_the_peak_rises_by_what_is_taken_and_stays() -> None:
    cpu = torch.device("cpu")
    before = peak_memory(cpu)
    assert before is not None and before > 50e6  # Python and torch alone
    taken = torch.ones(before // 4 + 25_000_000)  # beside what is there, above any peak before
    after = peak_memory(cpu)
    assert after is not None and after >= before + 50e6
    del taken
    assert peak_memory(cpu) == after
