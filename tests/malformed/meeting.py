"""How a case is met: [] where it is met rightly, else what is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from matryoshka.data.sources import PairFiles
from matryoshka.tasks.quiet_libraries import quiet_libraries
from tests.malformed.case import JSON_LINES, PAIRS, Case, write
from tests.malformed.command import OUT, Outcome, run
from tests.tiny import tiny_encoder

PLAIN = ("split=same", "pooling=cls", "dims=[32,16]", "trainer=cpu", "trainer.precision=32-true", "logger=none")


def save_tiny_model(folder: Path) -> None:
    """A random model of a few kilobytes, as transformers writes it."""
    quiet_libraries()
    encoder = tiny_encoder()
    encoder.backbone.save_pretrained(folder)
    encoder.tokenizer.save_pretrained(folder)


def met(case: Case, folder: Path, model: Path) -> list[str]:
    """What is wrong with how the case is met, in a folder of its own. model: a model folder that is right."""
    write(folder, {"good.jsonl": JSON_LINES, **case.files})
    before = _files(folder)
    if case.harmless:
        return _read_right(case, folder, model)
    outcome = run(_words(case, model), folder, case.program, load_model=case.model)
    wrong = list(_refused_wrongly(case, outcome, folder))
    wrong += [f"left behind: {name}" for name in _files(folder) - before]
    if case.mended and not wrong:
        write(folder, case.mended)
        wrong += _read_wrongly(folder, next(iter(case.mended)))
    return wrong


def _words(case: Case, model: Path) -> tuple[str, ...]:
    given = {word.lstrip("+~").partition("=")[0] for word in case.words}
    if case.program == "evaluate":
        usual: tuple[str, ...] = (f"model={model}", "precision=fp32")
    else:
        usual = (*PLAIN, *(() if "encoder" in given else ("encoder=pretrained", f"encoder.model={model}")))
    return (*(word for word in usual if word.partition("=")[0] not in given), *case.words)


def _refused_wrongly(case: Case, outcome: Outcome, folder: Path) -> Iterator[str]:
    said = outcome.err.strip()
    if outcome.code != 2:
        yield f"exit code {outcome.code}: {said[-600:] or 'accepted'}"
        return
    if "Traceback" in outcome.err + outcome.out:
        yield f"a traceback: {outcome.err}"
    first, *lines = said.splitlines() or [""]
    if match := re.fullmatch(r"(\d+) problems? in the configuration:", first):
        if int(match[1]) != len(lines):
            yield f"{len(lines)} lines for {match[1]} problems: {said}"
        if case.problems not in (None, len(lines)):
            yield f"{len(lines)} problems, not {case.problems}: {said}"
        elif case.problems is None and len({line.partition(":")[0] for line in lines}) != 1:
            yield f"more than one message: {said}"
    elif lines:
        yield f"more than one message: {said}"
    yield from (f"{word!r} is not said: {said}" for word in case.says if word not in said)
    if not re.search(r"[;:?] ?\S", said):
        yield f"no remedy: {said}"
    if (folder / OUT).exists():
        yield "the run's folder was made"


def _read_right(case: Case, folder: Path, model: Path) -> list[str]:
    outcome = run(_words(case, model), folder, case.program, load_model=case.model)
    if outcome.code or outcome.err:
        return [f"exit code {outcome.code}: {outcome.err}"]
    file = next(iter(case.files))
    return _read_wrongly(folder, file) if file.startswith("train.") else []


def _read_wrongly(folder: Path, file: str) -> list[str]:
    """What else is read of a training file than the pairs that every case has."""
    rows = PairFiles("", train=str(folder / file), evaluation="").training_pairs()
    expected = [{"anchor": pair["anchor"], "positive": pair["positive"]} for pair in PAIRS]
    return [] if rows.to_list() == expected else [f"{file} is read as {rows.to_list()}"]


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
