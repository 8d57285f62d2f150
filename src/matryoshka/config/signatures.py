"""The signature of a `_target_`, read from its source text."""

from __future__ import annotations

import ast
import builtins
import typing
from collections import abc
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import annotated_types

from matryoshka.config.definitions import UnknownTargetError, definition, definition_in, imported, statements

VARIADIC = "**"
RANGES = "annotated_types"
WITHOUT_ARGUMENTS = {"object", "ABC", "Protocol", "Generic"}


@dataclass(frozen=True)
class Parameter:
    """One argument: its annotation as a type (Any if not understood), ranges with it, and whether it must be given."""

    annotation: Any
    required: bool


class Unconfigurable:
    """Stands for a class of a library in an annotation: no value of a configuration is an instance of it."""


@cache
def parameters_of(target: str) -> dict[str, Parameter]:
    """The arguments of a class or function by its dotted name; the key `**` stands for any further keyword.

    Dataclasses, functions and classes with an __init__ of their own or of a base class are understood.
    Raises UnknownTargetError.
    """
    node, module = definition(target)
    if isinstance(node, ast.ClassDef):
        return _class_parameters(node, module)
    return _function_parameters(node, module, method=False)


def _class_parameters(node: ast.ClassDef, file: Path) -> dict[str, Parameter]:
    own = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
    if own:
        return _function_parameters(own[-1], file, method=True)  # earlier ones are overloads
    return _fields(node, file) if _is_dataclass(node) else _inherited(node, file)


def _inherited(node: ast.ClassDef, file: Path) -> dict[str, Parameter]:
    """The arguments of the first base class that has any; any keyword where a base class is not found."""
    for base in node.bases:
        name = ast.unparse(base).partition("[")[0]
        try:
            inner, where = definition_in(file, name)
        except UnknownTargetError:
            if name.rpartition(".")[2] in WITHOUT_ARGUMENTS:
                continue
            return {VARIADIC: Parameter(Any, False)}
        if isinstance(inner, ast.ClassDef) and (found := _class_parameters(inner, where)):
            return found
    return {}


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def _fields(node: ast.ClassDef, file: Path) -> dict[str, Parameter]:
    """The fields of a dataclass, those of the dataclasses that it derives from first."""
    found: dict[str, Parameter] = {}
    for base in reversed(node.bases):
        with suppress(UnknownTargetError):
            inner, where = definition_in(file, ast.unparse(base).partition("[")[0])
            if isinstance(inner, ast.ClassDef) and _is_dataclass(inner):
                found |= _fields(inner, where)
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            options = _field_options(item.value)
            if "ClassVar" not in ast.unparse(item.annotation) and options.get("init") != "False":
                required = item.value is None or not options.keys() & {"value", "default", "default_factory"}
                found[item.target.id] = Parameter(_annotation(item.annotation, file), required)
    return found


def _field_options(value: ast.expr | None) -> dict[str, str]:
    """The keywords of `= field(...)`; any other default is the option `value`."""
    if isinstance(value, ast.Call) and ast.unparse(value.func).rpartition(".")[2] == "field":
        return {option.arg or VARIADIC: ast.unparse(option.value) for option in value.keywords}
    return {"value": ""}


def _function_parameters(node: ast.FunctionDef, file: Path, *, method: bool) -> dict[str, Parameter]:
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    required = len(positional) - len(arguments.defaults)
    defaults: list[ast.expr | None] = [None] * required + list(arguments.defaults)
    every = list(zip(positional, defaults, strict=True))[1 if method else 0 :]
    every += list(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))
    found = {arg.arg: Parameter(_annotation(arg.annotation, file), default is None) for arg, default in every}
    if arguments.kwarg:
        found[VARIADIC] = Parameter(Any, False)
    return found


def _annotation(node: ast.expr | None, file: Path) -> Any:
    """The annotation as a type; names that only the module's imports could tell are Any."""
    if node is None:
        return Any
    return _evaluated(node, _names(file))


class _Names(dict[str, Any]):
    """Meanings of names in annotations: typing's, builtins, ranges, aliases such as Literal[...] here or imported."""

    def __init__(self, file: Path) -> None:
        super().__init__({**vars(typing), **{name: getattr(abc, name) for name in abc.__all__}, "Path": Path})
        self.file = file

    def __missing__(self, name: str) -> Any:
        if hasattr(builtins, name):
            return getattr(builtins, name)
        for node in statements(self.file):
            if isinstance(node, ast.ClassDef) and node.name == name:
                return Unconfigurable
            if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
                return _evaluated(node.value, self)
            if isinstance(node, ast.Import) and (RANGES, name) in [(a.name, a.asname or a.name) for a in node.names]:
                return annotated_types
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        if node.module == RANGES:
                            return getattr(annotated_types, alias.name)
                        origin = imported(node, self.file)
                        elsewhere = origin is not None and origin != self.file
                        return _names(origin)[alias.name] if elsewhere else Unconfigurable
        return Any


@cache
def _names(file: Path) -> _Names:
    return _Names(file)


def _evaluated(node: ast.expr, names: dict[str, Any]) -> Any:
    try:
        return eval(ast.unparse(_Unquoted().visit(ast.parse(ast.unparse(node)))), {}, names)
    except Exception:  # an annotation may hold anything; one that is not understood accepts every value
        return Any


class _Unquoted(ast.NodeTransformer):
    """Names in quotes (`"Own | None"`) become names, but for the texts of a Literal and what Annotated adds."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        name = ast.unparse(node.value).rpartition(".")[2]
        if name == "Annotated" and isinstance(node.slice, ast.Tuple):
            node.slice.elts[0] = self.visit(node.slice.elts[0])
        return node if name in ("Annotated", "Literal") else self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.parse(node.value, mode="eval").body if isinstance(node.value, str) else node
