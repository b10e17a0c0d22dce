"""The public API as text, a line for each name: `api_surface.py` writes it, `--check` compares, `--released` keeps it.

`tests/packaging/api.txt` is what there is now, `api-released.txt` beside it what the last release had. What changed in
between has to be named in the newest section of CHANGELOG.md: without that nothing is written.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CURRENT = ROOT / "tests" / "packaging" / "api.txt"
RELEASED = ROOT / "tests" / "packaging" / "api-released.txt"
CHANGELOG = ROOT / "CHANGELOG.md"

#: What describes itself: the packages and plugins, then the doors. A name that is elsewhere already is told as `is`.
OTHERS = tuple(sorted(path.name for path in ROOT.glob("p*/*/src/corefutures_*")))
MODULES = (*OTHERS, "corefutures", "corefutures.backend", "corefutures.cli")

#: Methods with two underscores that a user calls in some way.
SPECIAL = {"__call__", "__enter__", "__exit__", "__iter__", "__next__", "__str__"}

ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def described() -> dict[str, str]:
    """Every public name, with what it is; in the order of the modules and of the names."""
    doors = [importlib.import_module(module) for module in MODULES]
    public = {id(getattr(door, name)) for door in doors for name in door.__all__}
    places: dict[int, str] = {}
    return {name: text for door in doors for name, text in _door_lines(door, places, public)}


def _door_lines(door: Any, places: dict[int, str], public: set[int]) -> Iterator[tuple[str, str]]:
    for name in sorted(door.__all__):
        value = getattr(door, name)
        path = f"{door.__name__}.{name}"
        if not callable(value):
            yield path, f"value {_shown(value)}"
        elif id(value) in places:
            yield path, f"is {places[id(value)]}"
        elif not getattr(value, "__module__", "").startswith("corefutures"):
            yield path, "from elsewhere"
        else:
            places[id(value)] = path
            if inspect.isclass(value):
                yield from _class_lines(path, value, public)
            else:
                yield path, f"function{_signature(value)}"


def _class_lines(path: str, kind: type, public: set[int]) -> Iterator[tuple[str, str]]:
    """The class, and what it does not have from a class that is described itself."""
    bases = ", ".join(base.__qualname__ for base in kind.__bases__ if base is not object)
    yield (
        path,
        f"class({bases})"
        + (f" made{_signature(kind)}" if inspect.isfunction(inspect.getattr_static(kind, "__init__")) else ""),
    )
    fields = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    own = [one for one in kind.__mro__ if one.__module__.startswith("corefutures")]
    own = [one for one in own if one is kind or id(one) not in public]
    for name in sorted({name for one in own for name in vars(one)} - fields):
        if name in SPECIAL or not name.startswith(("_", "test_")):
            yield f"{path}.{name}", _member(inspect.getattr_static(kind, name))


def _member(value: Any) -> str:
    if isinstance(value, property):
        return "property" + ("" if value.fset is None else ", can be set")
    if isinstance(value, (classmethod, staticmethod)):
        return f"{type(value).__name__}{_signature(value.__func__)}"
    return f"method{_signature(value)}" if inspect.isfunction(value) else f"attribute {_shown(value)}"


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, (str, int, float, tuple, type(None))) else f"of {type(value).__name__}"


def _signature(function: Any) -> str:
    signature = inspect.signature(function)
    parts: list[str] = []
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    for number, parameter in enumerate(signature.parameters.values()):
        if parameter.kind is parameter.KEYWORD_ONLY and not {parameter.VAR_POSITIONAL, parameter.KEYWORD_ONLY} & set(
            kinds[:number]
        ):
            parts.append("*")
        parts.append(_parameter(parameter))
        if parameter.kind is parameter.POSITIONAL_ONLY and parameter.kind not in kinds[number + 1 :]:
            parts.append("/")
    returned = signature.return_annotation
    arrow = "" if returned is signature.empty else f" -> {_annotation(returned)}"
    return f"({', '.join(parts)}){arrow}"


def _parameter(parameter: inspect.Parameter) -> str:
    text = str(parameter).partition(":")[0].partition("=")[0].strip()  # the name, with its stars
    if parameter.annotation is not parameter.empty:
        text += f": {_annotation(parameter.annotation)}"
    if parameter.default is not parameter.empty:
        text += f" = {ADDRESS.sub('', repr(parameter.default))}"
    return text


def _annotation(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else str(inspect.formatannotation(annotation))


def as_text(api: dict[str, str]) -> str:
    """The description as the file holds it."""
    return "".join(f"{name}: {text}\n" for name, text in api.items())


def read(file: Path) -> dict[str, str]:
    """A description that was written; empty if there is none."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return {name: text for name, _, text in (line.partition(": ") for line in lines)}


def changed(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """The names that are new, gone or different; of a class that is new or gone only the class itself."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    whole = {name for name in names if name not in before or name not in now}
    return [name for name in names if not (name in whole and name.rpartition(".")[0] in whole)]


def unmentioned(names: Iterable[str], changelog: str) -> list[str]:
    """Those of the names that the newest section of the changelog does not name in a piece of code.

    Args:
        names: Paths such as `corefutures.Future.cancel`.
        changelog: The text of the changelog.
    """
    section = changelog.split("\n## ")[1]
    named = {word for code in re.findall(r"`([^`]+)`", section) for word in re.findall(r"\w+", code)}
    return [name for name in names if name.rpartition(".")[2] not in named]


def main() -> int:
    """Returns the exit status: 1 if something is out of date, or not in the changelog."""
    parser = argparse.ArgumentParser(description="Write the public API to tests/packaging/api.txt.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if the file is out of date")
    parser.add_argument("--released", action="store_true", help="keep it as the API of the release just made")
    options = parser.parse_args()
    if sys.platform != "linux" or sys.version_info < (3, 14):
        print("api_surface: needs Linux and Python 3.14 or newer, where every name exists", file=sys.stderr)
        return 1
    now = described()
    missing = unmentioned(changed(read(RELEASED), now), CHANGELOG.read_text(encoding="utf-8"))
    for name in missing:
        print(
            f"api_surface: {name} has changed, and the newest section of CHANGELOG.md does not name it", file=sys.stderr
        )
    if options.check:
        difference = [f"  {name}: {now.get(name, 'gone')}" for name in changed(read(CURRENT), now)]
        if difference:
            print("the public API has changed: say so in CHANGELOG.md, and run `make api`", *difference, sep="\n")
        return 1 if difference or missing else 0
    if missing:
        return 1
    CURRENT.write_text(as_text(now), encoding="utf-8")
    if options.released:
        RELEASED.write_text(as_text(now), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
