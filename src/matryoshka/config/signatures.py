"""The signature of a `_target_`, read from its source text: importing torch to check a key would take seconds."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import typing
from collections import abc
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

VARIADIC = "**"
WITHOUT_ARGUMENTS = {"object", "ABC", "Protocol", "Generic"}
Definition = ast.ClassDef | ast.FunctionDef


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


def _definition(target: str) -> tuple[Definition, Path]:
    """The definition that a dotted name leads to, through re-exports, and the file it stands in."""
    package, *names = target.split(".")
    file = _package(package)
    if file is None:
        raise UnknownTargetError(target)
    return _inside(file, names, target)


def _inside(file: Path, names: list[str], target: str) -> tuple[Definition, Path]:
    while len(names) > 1 and (inner := _submodule(file, names[0])):
        file, names = inner, names[1:]
    if len(names) != 1:
        raise UnknownTargetError(target)
    return _find(names[0], file, target)


def _package(name: str) -> Path | None:
    """The source of a top-level module or package; of a package without __init__.py the place where it would be."""
    try:
        spec = importlib.util.find_spec(name) if name.isidentifier() else None
    except ValueError:  # a script's __main__
        return None
    if spec and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)), "__init__.py")
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def _submodule(file: Path, name: str) -> Path | None:
    if file.name != "__init__.py":
        return None
    package, module = file.parent / name / "__init__.py", file.parent / f"{name}.py"
    if package.is_file() or not module.is_file():
        return package if package.parent.is_dir() else None
    return module


def _find(name: str, file: Path, target: str, seen: frozenset[Path] = frozenset()) -> tuple[Definition, Path]:
    """The definition of a name at the top level of a file, or where that file imports it from."""
    for node in _statements(_tree(file)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return node, file
        if isinstance(node, ast.ImportFrom) and (origin := _imported(node, file)) and origin not in seen | {file}:
            for alias in node.names:
                if alias.name == "*" or (alias.asname or alias.name) == name:
                    with suppress(UnknownTargetError):
                        wanted = name if alias.name == "*" else alias.name
                        return _find(wanted, origin, target, seen | {file})
    raise UnknownTargetError(target)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """What a module executes when it is imported: not the insides of its functions and classes."""
    for child in ast.iter_child_nodes(node):
        yield child
        if isinstance(child, ast.If | ast.Try | ast.ExceptHandler | ast.With):
            yield from _statements(child)


def _imported(node: ast.ImportFrom, file: Path) -> Path | None:
    """The file that `from X import ...` in `file` reads from."""
    here = file.parent
    for _ in range(node.level - 1):
        here = here.parent
    parts = (node.module or "").split(".")
    found = here / "__init__.py" if node.level else _package(parts.pop(0))
    for part in filter(None, parts):
        found = _submodule(found, part) if found else None
    return found


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8") if file.is_file() else "")


def _class_parameters(node: ast.ClassDef, file: Path) -> dict[str, Parameter]:
    own = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
    if own:
        return _function_parameters(own[-1], file, method=True)  # earlier ones are overloads
    return _fields(node, file) if _is_dataclass(node) else _inherited(node, file)


def _inherited(node: ast.ClassDef, file: Path) -> dict[str, Parameter]:
    """The arguments of the first base class that has any; any keyword where a base class is not to be found."""
    for base in node.bases:
        name = ast.unparse(base).partition("[")[0]
        try:
            definition, where = _base(name, file)
        except UnknownTargetError:
            if name.rpartition(".")[2] in WITHOUT_ARGUMENTS:
                continue
            return {VARIADIC: Parameter(Any, False)}
        if isinstance(definition, ast.ClassDef) and (found := _class_parameters(definition, where)):
            return found
    return {}


def _base(name: str, file: Path) -> tuple[Definition, Path]:
    """The definition of `Base` or `module.Base` as a file's own names mean it."""
    head, *rest = name.split(".")
    if not rest:
        return _find(head, file, name)
    for node in _statements(_tree(file)):
        for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
            if isinstance(node, ast.Import) and head == (alias.asname or alias.name.partition(".")[0]):
                return _definition(".".join([alias.name if alias.asname else head, *rest]))
            if isinstance(node, ast.ImportFrom) and head == (alias.asname or alias.name) and (origin := _imported(node, file)):
                return _inside(origin, [alias.name, *rest], name)
    raise UnknownTargetError(name)


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def _fields(node: ast.ClassDef, file: Path) -> dict[str, Parameter]:
    """The fields of a dataclass, those of the dataclasses that it derives from first."""
    found: dict[str, Parameter] = {}
    for base in reversed(node.bases):
        with suppress(UnknownTargetError):
            definition, where = _base(ast.unparse(base).partition("[")[0], file)
            if isinstance(definition, ast.ClassDef) and _is_dataclass(definition):
                found |= _fields(definition, where)
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
        for node in _statements(_tree(self.file)):
            if isinstance(node, ast.ClassDef) and node.name == name:
                return Unconfigurable
            if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
                return _evaluated(node.value, self)
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        origin = _imported(node, self.file)
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
