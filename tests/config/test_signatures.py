"""What is read from source text is what Python itself says of the imported thing."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any, Literal

import pytest

from matryoshka.cli.app import configuration_folder
from matryoshka.config.binding import bound
from matryoshka.config.definitions import UnknownTargetError
from matryoshka.config.signatures import VARIADIC, Parameter, Unconfigurable, parameters_of

CONF = configuration_folder()
TARGET = re.compile(r"^ *_target_: (?!hydra_plugins\.)(\S+)$", re.MULTILINE)  # Hydra itself checks its plugins
TARGETS = sorted(
    {target for file in CONF.rglob("*.yaml") for target in TARGET.findall(file.read_text(encoding="utf-8"))}
)


def of_python(thing: Callable[..., Any]) -> dict[str, bool]:
    """Name -> required, by inspect; `**` for any further keyword."""
    return {
        VARIADIC if p.kind is p.VAR_KEYWORD else p.name: p.default is p.empty and p.kind is not p.VAR_KEYWORD
        for p in inspect.signature(thing).parameters.values()
        if p.kind is not p.VAR_POSITIONAL
    }


def of_source(target: str) -> dict[str, bool]:
    return {name: parameter.required for name, parameter in parameters_of(target).items()}


def test_targets_of_every_group_are_found() -> None:
    assert len(TARGETS) > 15
    assert "pytorch_lightning.Trainer" in TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_has_the_arguments_that_python_sees(target: str) -> None:
    module, _, name = target.rpartition(".")
    thing = getattr(importlib.import_module(module), name)

    assert of_source(target) == of_python(thing)


Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Write:
    """Writes files of a package that can be imported until the test is over; gives the package's name."""
    monkeypatch.syspath_prepend(tmp_path)
    package = "package_" + re.sub(r"\W", "_", request.node.name)

    def written(**files: str) -> str:
        for name, source in files.items():
            file = tmp_path / package / f"{name.replace('__in__', '/')}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(dedent(source), encoding="utf-8")
        importlib.invalidate_caches()
        return package

    return written


EVERY_KIND = """
    from __future__ import annotations
    import abc
    import dataclasses
    from dataclasses import dataclass, field
    from typing import Any, ClassVar, Generic, TypeVar, overload

    T = TypeVar("T")

    class Own:
        def __init__(self, a, b: int = 1, *rest: Any, c: str, d: float | None = None) -> None: ...

    class Inherits(Own):
        def other(self, x): ...

    class InheritsTwice(Inherits, abc.ABC): ...

    class Open:
        def __init__(self, a: int, **options: Any) -> None: ...

    class Nothing: ...

    class Generically(Own, Generic[T]): ...

    class Overloaded:
        @overload
        def __init__(self, wrong: int) -> None: ...
        @overload
        def __init__(self, wrong_too: str) -> None: ...
        def __init__(self, right: int | str = 0) -> None: ...

    def function(a, b=None, *, c, d=4): ...

    @dataclass
    class Data:
        a: int
        d: int = field(repr=False)
        b: list[int] = field(default_factory=list)
        c: str = field(default="c", repr=False)
        kind: ClassVar[str] = "data"
        _hidden: int = field(default=0, init=False)
        e: float = 1.0

        def method(self, x): ...

    @dataclass(order=True)
    class MoreData(Data):
        f: str = "f"
        e: float = 2.0

    @dataclasses.dataclass
    class DottedData(Own):
        g: int

    if True:
        class Conditional:
            def __init__(self, a, b=1): ...
    try:
        from missing_package import Guarded
    except ImportError:
        class Guarded:
            def __init__(self, plan_b): ...
"""
KINDS = [
    "Own",
    "Inherits",
    "InheritsTwice",
    "Open",
    "Nothing",
    "Generically",
    "Overloaded",
    "function",
    "Data",
    "MoreData",
    "DottedData",
    "Conditional",
    "Guarded",
]


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_definition_is_read_as_python_reads_it(name: str, write: Write) -> None:
    package = write(__init__="", kinds=EVERY_KIND)

    thing = getattr(importlib.import_module(f"{package}.kinds"), name)

    assert of_source(f"{package}.kinds.{name}") == of_python(thing)


def test_reexports_lead_to_the_definition(write: Write) -> None:
    package = write(
        __init__="""
            from .deep.inner import Loss
            from .deep import Loss as Renamed
            from .stars import *
            from . import deep
        """,
        deep__in____init__="from .inner import Loss",
        deep__in__inner="class Loss:\n    def __init__(self, scale: float = 1.0): ...",
        stars="class Star:\n    def __init__(self, points: int): ...",
    )
    names = ["Loss", "Renamed", "deep.Loss", "deep.inner.Loss"]

    assert [of_source(f"{package}.{name}") for name in names] == [{"scale": False}] * 4
    assert of_source(f"{package}.Star") == {"points": True}


def test_our_own_reexports_lead_to_the_definition() -> None:
    assert parameters_of("matryoshka.losses.RankingLoss") == parameters_of("matryoshka.losses.ranking.RankingLoss")
    assert parameters_of("matryoshka.Encoder") == parameters_of("matryoshka.encoder.encoder.Encoder")


def test_base_classes_are_found_by_any_way_of_importing_them(write: Write) -> None:
    package = write(
        __init__="",
        base="class Base:\n    def __init__(self, lr: float): ...",
        derived="""
            import torch
            import torch.optim as optimizers
            from torch import optim
            from . import base
            from .base import Base as Renamed

            class A(torch.optim.AdamW): ...
            class B(optimizers.AdamW): ...
            class C(optim.AdamW): ...
            class D(base.Base): ...
            class E(Renamed): ...
        """,
    )
    adamw = parameters_of("torch.optim.AdamW")

    assert "lr" in adamw
    assert [parameters_of(f"{package}.derived.{name}") for name in "ABC"] == [adamw] * 3
    assert [of_source(f"{package}.derived.{name}") for name in "DE"] == [{"lr": True}] * 2


def test_a_class_with_an_unknown_base_takes_any_keyword(write: Write) -> None:
    package = write(__init__="from missing_package import Base\nclass Loss(Base): ...")

    assert parameters_of(f"{package}.Loss") == {VARIADIC: Parameter(Any, False)}


def test_a_folder_without_init_is_a_package(write: Write) -> None:
    package = write(losses="class Loss:\n    def __init__(self, a): ...")

    assert of_source(f"{package}.losses.Loss") == {"a": True}


def test_modules_that_import_each_other_come_to_an_end(write: Write) -> None:
    package = write(__init__="", a="from .b import Thing", b="from .a import Thing")

    with pytest.raises(UnknownTargetError):
        parameters_of(f"{package}.a.Thing")


def test_an_alias_of_a_literal_is_read_where_it_is_and_where_it_is_imported(write: Write) -> None:
    package = write(
        __init__="",
        names='from typing import Literal\nMode = Literal["cls", "mean"]',
        uses="""
            from __future__ import annotations
            from collections.abc import Sequence
            from .names import Mode
            from .names import Mode as Way

            def pool(mode: Mode, modes: Sequence[Way] | None = None): ...
        """,
    )
    mode = Literal["cls", "mean"]
    parameters = parameters_of(f"{package}.uses.pool")

    assert parameters["mode"].annotation == mode
    assert parameters["modes"].annotation == Sequence[mode] | None
    assert list(bound("", {"mode": "max"}, parameters)) == [("mode", "\"max\" is not 'cls' or 'mean'")]
    assert list(bound("", {"mode": "cls", "modes": ["mean"]}, parameters)) == []


def test_an_object_of_a_library_cannot_be_configured(write: Write) -> None:
    package = write(
        __init__="""
            from fractions import Fraction
            from unknown_package import Other
            class Own: ...
            def make(own: Own = None, ratio: Fraction | None = None, text: "Own | str" = "", what: Other = None): ...
        """
    )
    parameters = parameters_of(f"{package}.make")

    assert parameters["own"].annotation is Unconfigurable
    assert [key for key, _ in bound("", {"own": 3, "ratio": 3, "what": 3, "text": 3}, parameters)] == [
        "own",
        "ratio",
        "text",
        "what",
    ]
    assert list(bound("", {"ratio": None, "text": "3"}, parameters)) == []


@pytest.mark.parametrize(
    "target",
    [
        "",
        ".",
        "matryoshka",
        "matryoshka.",
        "os",
        "3",
        "no_such_package.Loss",
        "matryoshka.no_such_module.Loss",
        "matryoshka.losses.NoSuchLoss",
        "matryoshka.losses.ranking",
        "matryoshka.losses.ranking.forward",  # a method
        "matryoshka.losses.ranking.RankingLoss.forward",
        "matryoshka.losses.ranking.rows",  # a local variable
        "matryoshka.training.schedulers.optimization.get_scheduler",
        "builtins.dict",
        "math.sqrt",
        "['a']",
        "torch.optim.AdamV",
    ],
)
def test_an_unknown_target_is_said_to_be_unknown(target: str) -> None:
    with pytest.raises(UnknownTargetError):
        parameters_of(target)


def test_checking_a_whole_configuration_imports_nothing_slow() -> None:
    source = """
        import json, sys
        from tests.composing import plain
        train, evaluate = plain("experiment=bmf"), plain("model=embedded:e5_small", primary="evaluate")
        print(json.dumps([sorted(set(sys.modules)), train["dims"], evaluate["model"]]))
    """
    done = subprocess.run(
        [sys.executable, "-c", dedent(source)], cwd=CONF.parent, capture_output=True, text=True, check=True
    )
    modules, dims, model = json.loads(done.stdout)

    assert dims and model  # the check was made
    assert "pydantic" in modules
    slow = {"torch", "transformers", "pytorch_lightning", "datasets", "wandb", "numpy", "pyarrow", "matplotlib"}
    assert slow.isdisjoint(modules)
