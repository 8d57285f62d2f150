"""Where the embeddings of a set are kept is decided once, said where it is done, and not done by several processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from matryoshka.data.tokens import TokenIds
from matryoshka.evaluation.embeddings import InMemory
from matryoshka.evaluation.evaluator import Evaluator
from matryoshka.evaluation.tokenized_set import TokenizedSet
from matryoshka.tasks import measuring as module
from matryoshka.tasks.measuring import Measuring
from tests.evaluation.small import small_set
from tests.tiny import tiny_encoder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATRYOSHKA_CACHE", str(tmp_path))


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(module.lines, "say", lambda label, text: lines.append(label))
    return lines


def parts(on_disk: bool | Literal["auto"]) -> tuple[Measuring, TokenizedSet, TokenIds]:
    encoder = tiny_encoder()
    measuring = Measuring(encoder, Evaluator(on_disk=on_disk), [32, 8], "fp32", torch.device("cpu"), InMemory())
    passages = TokenIds.of(encoder.tokenize(["das haus", "am see"], "document"))
    return measuring, TokenizedSet.of(small_set(), encoder.tokenize), passages


@pytest.mark.parametrize(("before", "later", "expected"), [(1e12, 1.0, []), (1.0, 1e12, ["disk", "deploy"])])
def test_free_memory_that_changes_meanwhile_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, said: list[str], before: float, later: float, expected: list[str]
) -> None:
    free = iter([before])
    monkeypatch.setattr(module, "available", lambda *_: next(free, later))
    measuring, texts, passages = parts("auto")

    measuring.measure(texts)
    measured = measuring.deployment(texts, passages)

    assert said == expected  # of the file once
    assert (measured is None) == bool(expected)


def test_of_several_processes_each_has_them_in_memory(monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    given: list[Any] = []
    evaluate = Evaluator.evaluate

    def noted(*args: Any, **options: Any) -> Any:
        given.append(options["on_disk"])
        return evaluate(*args, **options)

    monkeypatch.setattr(Evaluator, "evaluate", noted)
    monkeypatch.setattr(module, "processes", lambda: 2)
    measuring, texts, passages = parts(True)

    measuring.measure(texts)

    assert given == [False]
    assert measuring.deployment(texts, passages) is not None
    assert said == [] and not measuring.may_go_to_disk


def test_the_setting_is_advised_where_it_is_not_given_yet() -> None:
    assert [parts(on_disk)[0].may_go_to_disk for on_disk in (True, False, "auto")] == [False, True, True]  # type: ignore[arg-type]
