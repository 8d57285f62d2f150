"""The signature of a `_target_`, read from its source text: importing torch to check a key would take seconds."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import typing
from collections import abc
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

VARIADIC = "**"


@dataclass(frozen=True)
class Parameter:
    """One argument: its annotation as a type (Any where it is not understood) and whether it must be given."""

    annotation: Any
    required: bool


class Unconfigurable:
    """Stands for a class of a library in an annotation: no value of a configuration is an instance of it."""


class UnknownTargetError(Exception):
    """No such module, class or function."""


@cache
def parameters_of(target: str) -> dict[str, Parameter]:
    """The arguments of a class or function by its dotted name, in order; the key `**` stands for any further keyword.

    Dataclasses, functions and classes with an __init__ of their own or of a base class are understood.
    Raises UnknownTargetError.
    """
    node, module = _definition(target)
    if isinstance(node, ast.ClassDef):
        return _class_parameters(node, module)
    return _function_parameters(node, module, method=False)


def _definition(target: str) -> tuple[ast.ClassDef | ast.FunctionDef, Path]:
    """The definition that a dotted name leads to, through re-exports, and the file it stands in."""
    package, _, rest = target.partition(".")
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or spec.origin is None or not rest:
        raise UnknownTargetError(target)
    file = Path(spec.origin)
    names = rest.split(".")
    while len(names) > 1 and (inner := _submodule(file, names[0])):
        file, names = inner, names[1:]
    if len(names) != 1:
        raise UnknownTargetError(target)
    return _find(names[0], file, target)


def _submodule(file: Path, name: str) -> Path | None:
    if file.name != "__init__.py":
        return None
    for candidate in (file.parent / f"{name}.py", file.parent / name / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _find(name: str, file: Path, target: str) -> tuple[ast.ClassDef | ast.FunctionDef, Path]:
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return node, file
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name and (origin := _imported(node, alias.name, file)):
                    return _find(alias.name, origin, target)
    raise UnknownTargetError(target)


def _imported(node: ast.ImportFrom, name: str, file: Path) -> Path | None:
    """The file that `from X import name` in `file` reads name from."""
    if node.level:
        here = file.parent
        for _ in range(node.level - 1):
            here = here.parent
        start, parts = here / "__init__.py", (node.module or "").split(".")
    else:
        package, *parts = (node.module or "").split(".")
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            return None
        start = Path(spec.origin)
    for part in filter(None, parts):
        inner = _submodule(start, part)
        if inner is None:
            return None
        start = inner
    return start


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _class_parameters(node: ast.ClassDef, file: Path) -> dict[str, Parameter]:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return _function_parameters(item, file, method=True)
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        return {
            item.target.id: Parameter(_annotation(item.annotation, file), item.value is None)
            for item in node.body
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.target.id[0] != "_"
        }
    for base in node.bases:
        try:
            definition, where = _find(ast.unparse(base).split(".")[-1], file, node.name)
        except UnknownTargetError:
            continue
        if isinstance(definition, ast.ClassDef):
            return _class_parameters(definition, where)
    return {}


def _function_parameters(node: ast.FunctionDef, file: Path, *, method: bool) -> dict[str, Parameter]:
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
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
    """Names that annotations of a file use: typing's, builtins, aliases such as Literal[...] here or where imported."""

    def __init__(self, file: Path) -> None:
        super().__init__({**vars(typing), **{name: getattr(abc, name) for name in abc.__all__}, "Path": Path})
        self.file = file

    def __missing__(self, name: str) -> Any:
        if hasattr(builtins, name):
            return getattr(builtins, name)
        for node in ast.walk(_tree(self.file)):
            if isinstance(node, ast.ClassDef) and node.name == name:
                return Unconfigurable
            if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
                return _evaluated(node.value, self)
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        origin = _imported(node, alias.name, self.file)
                        return _names(origin)[alias.name] if origin and origin != self.file else Unconfigurable
        return Any


@cache
def _names(file: Path) -> _Names:
    return _Names(file)


def _evaluated(node: ast.expr, names: dict[str, Any]) -> Any:
    try:
        return eval(ast.unparse(node), {}, names)
    except Exception:  # an annotation may hold anything; one that is not understood accepts every value
        return Any
