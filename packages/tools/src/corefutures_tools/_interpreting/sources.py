"""Which modules are to be checked: those of a requirements file, and those that a program imports.

Touches files. Guarantees: what can't be read is refused with a `UsageError` that names the place.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

from corefutures.cli import UsageError

_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\])?\s*(?:[<>=!~;@(].*)?$")
_OPTION: Final = re.compile(r"(?:-r|--requirement)[= ]?\s*(\S.*)$")
_MODULE: Final = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")


def check_module(name: str) -> str:
    """Return a module's name.

    Raises:
        UsageError: It is none.
    """
    if not _MODULE.fullmatch(name):
        raise UsageError(f"{name!r} is no name of a module, such as package.module")
    return name


def requirements(file: str) -> list[str]:
    """Return the names of the distributions in a requirements file.

    Raises:
        UsageError: It can't be read, or a line is no requirement.
    """
    names: list[str] = []
    text = _read(Path(file)).replace("\\\n", " ")
    for number, whole in enumerate(text.splitlines(), 1):
        line = re.sub(r"(?:^|\s)#.*", "", whole).strip()
        other = _OPTION.match(line)
        found = _REQUIREMENT.match(line.partition(" --hash")[0].strip())
        if other is not None:
            names += requirements(str(Path(file).parent / other[1]))
        elif found is not None:
            names.append(found[1])
        elif line and not line.startswith("-"):
            raise UsageError(f"{file}, line {number}: {line!r} is no requirement, such as package>=1.2")
    return list(dict.fromkeys(names))


def imports(file: str) -> list[str]:
    """Return the names of the modules that a program imports, anywhere in it or in modules of its folder.

    Raises:
        UsageError: A file can't be read, or is no Python.
    """
    folder = Path(file).parent
    found: dict[str, None] = {}
    files, seen = [Path(file)], {Path(file)}
    while files:
        place = files.pop()
        for name in _imports_of(place):
            local = _local(folder, name)
            if local is None:
                found[name] = None
            elif local not in seen:
                seen.add(local)
                files.append(local)
    return list(found)


def _imports_of(file: Path) -> list[str]:
    try:
        tree = ast.parse(_read(file), str(file))
    except (SyntaxError, ValueError) as exc:
        raise UsageError(f"{file} is no Python of this version: {exc}") from None
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level and node.module != "__future__":
            names.append(node.module)
    return names


def _local(folder: Path, name: str) -> Path | None:
    """Return the file of a module in the folder of the program."""
    place = folder.joinpath(*name.split("."))
    for file in (place / "__init__.py", place.with_suffix(".py")):
        if file.is_file():
            return file
    return None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as exc:
        raise UsageError(f"{file} can't be read: {exc.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file} is no text in UTF-8") from None
