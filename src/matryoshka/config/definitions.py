"""Definitions of classes and functions, read from source: importing torch to check a key takes seconds."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

Definition = ast.ClassDef | ast.FunctionDef


class UnknownTargetError(Exception):
    """No such module, class or function."""


def definition(target: str) -> tuple[Definition, Path]:
    """The definition behind a dotted name, through re-exports, and its file. Raises UnknownTargetError."""
    package, *names = target.split(".")
    file = _package(package)
    if file is None:
        raise UnknownTargetError(target)
    return _inside(file, names, target)


def definition_in(file: Path, name: str) -> tuple[Definition, Path]:
    """The definition that `Name` or `module.Name` means in a file. Raises UnknownTargetError."""
    head, *rest = name.split(".")
    if not rest:
        return _find(head, file, name)
    for node in statements(file):
        for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
            if isinstance(node, ast.ImportFrom):
                if head == (alias.asname or alias.name) and (origin := imported(node, file)):
                    return _inside(origin, [alias.name, *rest], name)
            elif head == (alias.asname or alias.name.partition(".")[0]):
                return definition(".".join([alias.name if alias.asname else head, *rest]))
    raise UnknownTargetError(name)


def statements(file: Path) -> Iterator[ast.AST]:
    """The statements that an import of the module executes: not the insides of its functions and classes."""
    return _executed(_tree(file))


def imported(node: ast.ImportFrom, file: Path) -> Path | None:
    """The file that `from X import ...` in `file` reads from."""
    here = file.parent
    for _ in range(node.level - 1):
        here = here.parent
    parts = (node.module or "").split(".")
    found = here / "__init__.py" if node.level else _package(parts.pop(0))
    for part in filter(None, parts):
        found = _submodule(found, part) if found else None
    return found


def _inside(file: Path, names: list[str], target: str) -> tuple[Definition, Path]:
    while len(names) > 1 and (inner := _submodule(file, names[0])):
        file, names = inner, names[1:]
    if len(names) != 1:
        raise UnknownTargetError(target)
    return _find(names[0], file, target)


def _package(name: str) -> Path | None:
    """The source of a top-level module or package; of one without __init__.py the place where it would be."""
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
    seen |= {file}
    for node in statements(file):
        if isinstance(node, Definition) and node.name == name:
            return node, file
        if isinstance(node, ast.ImportFrom) and (origin := imported(node, file)) and origin not in seen:
            for alias in node.names:
                if alias.name == "*" or (alias.asname or alias.name) == name:
                    with suppress(UnknownTargetError):
                        return _find(name if alias.name == "*" else alias.name, origin, target, seen)
    raise UnknownTargetError(target)


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        yield child
        if isinstance(child, ast.If | ast.Try | ast.ExceptHandler | ast.With):
            yield from _executed(child)


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8") if file.is_file() else "")
