"""What a run depends on, with version and licence: python -m scripts.dependency_list

Ends with 1 where a licence forbids what this project allows (DENIED), or is not known to be free.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = "matryoshka"
# Free for all that Apache-2.0 is: permissive, or of single files (MPL).
FREE = re.compile(
    r"(?:the )?(?:\d-clause )?(?:apache(?: software)?|mit(?:-cmu)?|0?bsd|isc|mpl|mozilla public|psf|python software "
    r"foundation|cnri-python|zlib|cc0|bsl-1\.0|boost|unlicense|hpnd|historical permission|public domain)\b.*",
    re.IGNORECASE,
)
# Incompatible with Apache-2.0 in one program, or not for every use.
DENIED = re.compile(
    r"\ba?gpl|\bgnu (?:affero )?general|sspl|server side public|business source|\bbusl|commons clause|"
    r"non-?commercial|cc-by-nc|proprietary",
    re.IGNORECASE,
)
NVIDIA = re.compile(r"nvidia-.*|cuda-.*")  # CUDA's libraries, which a GPU build of torch brings: proprietary


@dataclass(frozen=True)
class Dependency:
    """A distribution. licence: of several, all hold, or any may be chosen where it says OR; empty if none is named."""

    name: str
    version: str
    licence: str

    @property
    def problem(self) -> str:
        """Why it must not be used; empty if it may."""
        if NVIDIA.fullmatch(self.name):
            return ""
        choices = re.split(r"\s+OR\s+", self.licence.strip("()"))
        if not self.licence:
            return "names no licence"
        if any(all(map(_is_free, re.split(r"\s+AND\s+|,\s+", choice.strip("()")))) for choice in choices):
            return ""
        return "is denied" if DENIED.search(self.licence) else "is not known to be free"


def dependencies(project: str = PROJECT) -> list[Dependency]:
    """Everything installed that the project needs, directly or not, without extras; by name."""
    found: dict[str, Distribution] = {}
    to_see = [project]
    while to_see:
        name = canonicalize_name(to_see.pop())
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:  # needed on other systems only
            continue
        to_see += needed_by(found[name].requires or [])
    found.pop(canonicalize_name(project), None)
    return [Dependency(name, item.version, licence_of(item)) for name, item in sorted(found.items())]


def needed_by(requirements: Iterable[str]) -> Iterator[str]:
    """The names of those requirements that hold here, extras aside."""
    for requirement in map(Requirement, requirements):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement.name


def licence_of(item: Distribution) -> str:
    """The licence as the metadata say: the expression, else a short text, else the classifiers; empty if none does."""
    text = (item.metadata.get("License") or "").strip()
    classifiers = [line.split(" :: ") for line in item.metadata.get_all("Classifier", [])]
    named = [parts[-1].removesuffix(" License") for parts in classifiers if parts[0] == "License" and len(parts) > 2]
    short = text if "\n" not in text and len(text) < 60 and not text.startswith("Copyright") else ""
    return item.metadata.get("License-Expression") or " AND ".join(named) or short


def _is_free(licence: str) -> bool:
    return bool(FREE.fullmatch(licence)) and not DENIED.search(licence)


def main() -> None:
    """Print the list."""
    found = dependencies()
    width = max(len(item.name) for item in found)
    for item in found:
        print(f"{item.name:<{width}}  {item.version:<16}  {item.licence or 'unknown'}")
    problems = [f"{item.name}: {item.licence or 'its licence'} {item.problem}" for item in found if item.problem]
    print(f"{len(found)} dependencies, {len(problems)} with a licence that is denied or unknown")
    sys.exit("\n".join(problems) or 0)


if __name__ == "__main__":
    main()
