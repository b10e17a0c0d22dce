"""A function that a user names, and the items to call it with, as arguments of a command.

Guarantees that whatever is wrong with them becomes a `UsageError` of one sentence.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from corefutures.backend import describe_error, is_target, load_target
from corefutures.cli import UsageError, make_here_importable


def add_items(parser: argparse.ArgumentParser, json_lines: str, *, formerly: str) -> None:
    """Add the function and its items, and `--json-lines`.

    Args:
        parser: The parser of a command.
        json_lines: What `--json-lines` means for it.
        formerly: What it was called before 0.1.0; it still works, and no help names it.
    """
    parser.add_argument("--json-lines", action="store_true", help=json_lines)
    parser.add_argument(formerly, dest="json_lines", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "function", metavar="MODULE:FUNC", help="a function of one argument, also as path/to/file.py:FUNC"
    )
    parser.add_argument("items", metavar="ITEM", nargs="*", help="what to call it with (default: standard input)")


class Found(NamedTuple):
    """A function that a user named, and the place to import it from: `module:attr`."""

    function: Callable[..., Any]
    target: str


def import_function(text: str) -> Found:
    """Import what a user names as MODULE:FUNC or path/to/file.py:FUNC; the current directory is searched first.

    Args:
        text: The place of a function.

    Returns:
        The function and its place; the folder of a file has become one to import from.

    Raises:
        UsageError: If it cannot be imported or called, or is a coroutine function.
    """
    make_here_importable()
    file, _, name = text.rpartition(":")
    path = Path(file) if file.endswith(".py") or {os.sep, os.altsep, "/"} & set(file) else None
    target = f"{_as_module(path)}:{name}" if path else text
    if not is_target(target):
        raise UsageError(f"a function is named MODULE:FUNC or path/to/file.py:FUNC, not {text!r}")
    try:
        if path:
            _check_module(import_module(target.partition(":")[0]), path)
        function = load_target(target)
    except (KeyboardInterrupt, UsageError):
        raise
    except BaseException as error:  # a script that ends in sys.exit() too
        missing = error.name if isinstance(error, ModuleNotFoundError) else None  # perhaps one that the module imports
        if missing and f"{target.partition(':')[0]}.".startswith(f"{missing}."):
            raise UsageError(f"there is no module {missing!r}, neither here nor installed") from error
        raise UsageError(f"importing {text!r} failed: {describe_error(error)}") from error
    if not callable(function):
        raise UsageError(f"{text!r} is not a function but of type {type(function).__name__}")
    if _is_async(function):
        raise UsageError(
            f"{text!r} is a coroutine function, which no worker would await: name a plain function, "
            "one that calls asyncio.run() for instance"
        )
    return Found(function, target)


def _as_module(path: Path) -> str:
    """Put the folder around a file, or around its package, first on sys.path; the module's name."""
    path = path.resolve()
    if not path.is_file():
        raise UsageError(f"there is no file {str(path)!r}")
    names, folder = [path.stem], path.parent
    while (folder / "__init__.py").is_file():
        names.insert(0, folder.name)
        folder = folder.parent
    if wrong := next((name for name in names if not name.isidentifier()), None):
        raise UsageError(f"{str(path)!r} cannot be imported, because {wrong!r} is no name of a module: rename it")
    sys.path.insert(0, str(folder))
    return ".".join(names[:-1] if path.stem == "__init__" and len(names) > 1 else names)


def _check_module(module: ModuleType, path: Path) -> None:
    found = getattr(module, "__file__", None)
    if found is None or Path(found).resolve() != path.resolve():
        raise UsageError(f"{str(path)!r} cannot be imported, because Python has another {module.__name__!r}: rename it")


def _is_async(function: Callable[..., Any]) -> bool:
    import inspect  # here for start-up time

    called = [function] if isinstance(function, type) else [function, type(function).__call__]
    return any(inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each) for each in called)
