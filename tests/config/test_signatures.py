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
from typing import Annotated, Any, Literal, get_type_hints

import pytest
from annotated_types import Ge

from matryoshka.cli.command_line import configuration_folder
from matryoshka.config.binding import bound, out_of_range
from matryoshka.config.definitions import UnknownTargetError
from matryoshka.config.limits import parameters_with_ranges
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


@pytest.mark.parametrize("target", TARGETS)
def test_the_defaults_of_a_target_are_in_its_ranges(target: str) -> None:
    module, _, name = target.rpartition(".")
    signature = inspect.signature(getattr(importlib.import_module(module), name))
    defaults = {p.name: p.default for p in signature.parameters.values() if p.default is not p.empty}

    assert list(out_of_range("", defaults, parameters_with_ranges(target))) == []


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


RANGES = """
    from __future__ import annotations
    import annotated_types as ranges
    from annotated_types import Ge, Gt, Le, Lt
    from annotated_types import Interval as Between
    from collections.abc import Sequence
    from dataclasses import dataclass
    from typing import Annotated

    MANY = 10**6
    Count = Annotated[int, Ge(1), Le(MANY), "16"]
    ShareOrCount = Annotated[Annotated[int, Gt(0), Le(MANY)] | Annotated[float, Gt(0), Le(1)], "1.0 for all"]

    class Own: ...

    def function(
        scale: Annotated[float, Gt(0), Le(10_000), "20"] = 20.0,
        factor: Annotated[float, Gt(0), Lt(1), "{} lowers nothing; use 0.5"] = 0.5,
        quoted: "Annotated[Count | None, 'not a type']" = None,
        without: Annotated[float, Between(ge=-1, lt=1)] = 0,
        dotted: Annotated[int, ranges.Ge(0)] = 0,
        objects: Annotated[Own | float, Ge(0), "1"] = 0,
        text: Annotated[str, Gt("a")] = "b",
    ): ...

    class Class:
        def __init__(
            self, count: Count, ranks: Sequence[Count] = (1,), betas: tuple[Count, Count] | None = None
        ) -> None: ...

    @dataclass
    class Data:
        rows: ShareOrCount
        most: Count | None = None
        count: Count = 3

    @dataclass
    class MoreData(Data):
        count: Annotated[int, Ge(0), Le(5), "5"] = 3
"""


@pytest.fixture
def ranges(write: Write) -> str:
    return write(__init__="", ranges=RANGES, uses="from .ranges import Count as N\ndef use(count: N): ...") + ".ranges"


def out(target: str, **values: Any) -> list[tuple[str, str]]:
    """The numbers out of range; none of the values is of a wrong type."""
    parameters = parameters_of(target)
    assert not [found for found in bound("", values, parameters) if "missing" not in found[1]]
    return list(out_of_range("", values, parameters))


@pytest.mark.parametrize("name", ["function", "Class", "Data", "MoreData"])
def test_ranges_are_read_as_python_reads_them(name: str, ranges: str) -> None:
    thing = getattr(importlib.import_module(ranges), name)
    hints = get_type_hints(thing.__init__ if isinstance(thing, type) else thing, include_extras=True)
    hints.pop("return", None)
    read = {key: parameter.annotation for key, parameter in parameters_of(f"{ranges}.{name}").items()}

    if name == "function":
        hints["objects"] = Annotated[Unconfigurable | float, Ge(0), "1"]
    assert read == hints


def test_a_number_out_of_range_is_told_with_an_example(ranges: str) -> None:
    function = f"{ranges}.function"

    assert out(function, scale=0) == [("scale", "0 is not above 0; use for example 20")]
    assert out(function, scale=-2e-5) == [("scale", "-2e-05 is not above 0; use for example 20")]
    assert out(function, scale=1e30) == [("scale", "1e+30 is more than 10000; use for example 20")]
    assert out(function, factor=1) == [("factor", "1 lowers nothing; use 0.5")]
    assert out(function, without=1.5) == [("without", "1.5 is not below 1")]
    assert out(function, without=-2) == [("without", "-2 is not at least -1")]
    assert out(function, dotted=-1) == [("dotted", "-1 is not at least 0")]
    assert out(function, objects=-1.5) == [("objects", "-1.5 is not at least 0; use for example 1")]
    assert out(function, quoted=10**400)[0][1].endswith("is more than 1e+06; use for example not a type")
    assert out(function, scale=1, factor=0.1, quoted=None, without=-1, dotted=0, objects=0, text="b") == []


def test_a_number_that_is_not_finite_is_in_no_range_and_out_of_none(ranges: str) -> None:
    assert out(f"{ranges}.function", scale=float("nan"), factor=float("inf"), without=-float("inf")) == []


def test_numbers_of_a_sequence_are_each_in_range(ranges: str) -> None:
    told = "is not at least 1; use for example 16"

    assert out(f"{ranges}.Class", ranks=[3, 0, 2, -1]) == [("ranks", f"0 {told}"), ("ranks", f"-1 {told}")]
    assert out(f"{ranges}.Class", betas=[1, 0], count=0) == [("count", f"0 {told}"), ("betas", f"0 {told}")]
    assert out(f"{ranges}.Class", count=1, ranks=[], betas=None) == []


def test_a_share_and_a_count_have_a_range_each(ranges: str) -> None:
    data = f"{ranges}.Data"

    assert out(data, rows=1.5) == [("rows", "1.5 is more than 1; use for example 1.0 for all")]
    assert out(data, rows=0) == [("rows", "0 is not above 0; use for example 1.0 for all")]
    assert out(data, rows=10**7) == [("rows", "10000000 is more than 1e+06; use for example 1.0 for all")]
    assert [out(data, rows=rows) for rows in (0.5, 1.0, 1, 2, 10**6)] == [[]] * 5


def test_a_field_of_a_dataclass_has_the_range_of_its_own_class(ranges: str) -> None:
    data, more = f"{ranges}.Data", f"{ranges}.MoreData"

    assert out(more, rows=1, most=0, count=6) == [
        ("most", "0 is not at least 1; use for example 16"),
        ("count", "6 is more than 5; use for example 5"),
    ]
    assert out(data, rows=1, most=None, count=6) == []
    assert out(f"{ranges.rpartition('.')[0]}.uses.use", count=0) == [
        ("count", "0 is not at least 1; use for example 16")
    ]


def test_a_wrong_type_stays_a_wrong_type_where_there_is_a_range(ranges: str) -> None:
    values = {"count": "many", "ranks": [0, "x"], "betas": [1]}
    parameters = parameters_of(f"{ranges}.Class")

    assert list(bound("", values, parameters)) == [
        ("count", '"many" is not a valid integer'),
        ("ranks[1]", '"x" is not a valid integer'),
        ("betas[1]", "missing: give it a value"),
    ]
    assert list(out_of_range("", values, parameters)) == [("ranks", "0 is not at least 1; use for example 16")]
    (wrong,) = bound("", {"text": "a"}, {"text": parameters_of(f"{ranges}.function")["text"]})
    assert wrong[0] == "text"


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
