"""Write the skeleton of a backend of your own.

It is a distribution: the tree in `skeleton/`, each file without its last suffix. Guarantees: nothing is overwritten,
and nothing is written at all if the name or the place will not do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from string import Template
from typing import Final

from corefutures import __version__
from corefutures.cli import CommandParser, UsageError

#: What a name must be for the distribution, the package and the class to be called after it.
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_PREFIX: Final = "corefutures-"
_LONGEST: Final = 60

#: The names of this project's backends.
_TAKEN: Final = ("dask", "interpreter", "mpi", "process", "ray", "slurm", "thread")


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Args:
        arguments: The words after the command's name.

    Returns:
        The exit status.
    """
    parsed = parser().parse_args(arguments)
    name = _checked(parsed.name)
    directory = parsed.directory or Path(_PREFIX + name)
    try:
        _refuse_to_overwrite(directory)
        _write(name, directory)
    except (OSError, ValueError) as error:  # ValueError: a path with a null in it
        raise UsageError(f"cannot write {str(directory)!r}: {error}") from error
    print(f"{directory}: a backend called {name}; its README.md says what to do with it")
    return 0


def parser() -> CommandParser:
    """Return the parser of the command's arguments."""
    parser = CommandParser(
        prog="corefutures new-backend",
        description="Write a backend that works, is tested by the conformance kit, and waits to be made yours.",
        epilog="Exit status: 0; 2 if the name or the directory will not do.\n"
        "Example: corefutures new-backend acme, then pip install -e 'corefutures-acme[test]'",
    )
    parser.add_argument("name", metavar="NAME", help="the backend's name: small letters, digits, single dashes")
    parser.add_argument(
        "--directory", metavar="DIR", type=Path, help="where to write it; new or empty (default: corefutures-NAME)"
    )
    return parser


def _checked(name: str) -> str:
    if name in _TAKEN:
        raise UsageError(f"the name {name!r} is taken by {_PREFIX}{name}")
    if not _NAME.fullmatch(name):
        proper = re.sub(r"[-_.\s]+", "-", name).strip("-").lower()
        hint = f"; try {proper!r}" if _NAME.fullmatch(proper) else ""
        raise UsageError(f"a name is small letters, digits and single dashes, a letter first: {name!r} is not{hint}")
    if name.startswith(_PREFIX):
        raise UsageError(f"{_PREFIX} comes by itself; try {name.removeprefix(_PREFIX)!r}")
    if len(name) > _LONGEST:
        raise UsageError(f"a name has at most {_LONGEST} letters, and this one has {len(name)}")
    return name


def _refuse_to_overwrite(directory: Path) -> None:
    if directory.is_dir():
        if any(directory.iterdir()):
            raise UsageError(f"{str(directory)!r} is not empty, and nothing is overwritten")
    elif directory.exists() or directory.is_symlink():
        raise UsageError(f"{str(directory)!r} is no directory, and nothing is overwritten")


def _write(name: str, directory: Path) -> None:
    words = name.split("-")
    package = (_PREFIX + name).replace("-", "_")
    major, minor = __version__.split(".")[:2]
    names = {
        "name": name,
        "distribution": _PREFIX + name,
        "package": package,
        "class_name": "".join(word.capitalize() for word in words) + "Threads",
        "core": f"{major}.{minor}",
        "next_core": f"{major}.{int(minor) + 1}",
    }
    for place, text in skeleton():
        parts = [package if part == "package" else part for part in PurePosixPath(place).parts]
        path = directory.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(Template(text).substitute(names))


def skeleton() -> Iterator[tuple[str, str]]:
    """Read the files of the skeleton.

    Yields:
        Of each file its place, with `/`, and its text, with `$name` and so on to be filled in.
    """
    yield from _files(files("corefutures_tools._commands") / "skeleton", "")


def _files(folder: Traversable, above: str) -> Iterator[tuple[str, str]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _files(entry, f"{above}{entry.name}/")
        else:
            yield above + entry.name.removesuffix(".txt"), entry.read_text(encoding="utf-8")
