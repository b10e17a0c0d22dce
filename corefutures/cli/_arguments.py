"""The arguments that commands share: the parser, the options of a backend.

Guarantees that whatever is wrong with an argument becomes a `UsageError` of one sentence.
"""

from __future__ import annotations

import argparse
import ast
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn


class UsageError(Exception):
    """The arguments cannot be used; the text says why in one sentence."""


class CommandParser(argparse.ArgumentParser):
    """An argument parser that keeps line breaks of texts and prints an error in one line."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """Leave with status 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def add_backend_options(parser: argparse.ArgumentParser) -> None:
    """Add `-o`, the options of a backend's factory; `backend_options` reads them.

    Args:
        parser: The parser of a command.
    """
    parser.add_argument(
        "-o",
        "--option",
        dest="options",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="an option of the backend, as often as needed; VALUE is a Python literal or else a text, "
        "mp_context the name of a start method",
    )


def seconds(text: str) -> float:
    """Read a number of seconds, for `type=`.

    Raises:
        ArgumentTypeError: If it is not positive.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number of seconds greater than 0, not {text!r}")
    return value


def backend_options(pairs: Sequence[str]) -> dict[str, Any]:
    """Read the options of a backend.

    Args:
        pairs: Texts of the form `key=value`.

    Returns:
        The options by name.

    Raises:
        UsageError: If a text does not have that form or names an unknown start method.
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not (equals and key.isidentifier()):
            raise UsageError(f"an option must have the form key=value, not {pair!r}")
        if key in options:
            raise UsageError(f"option {key!r} is given twice")
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            value = text
        options[key] = _start_method(value) if key == "mp_context" and isinstance(value, str) else value
    return options


def _start_method(name: str) -> Any:
    import multiprocessing  # here for start-up time: few commands need it

    try:
        return multiprocessing.get_context(name)
    except ValueError:
        known = ", ".join(multiprocessing.get_all_start_methods())
        raise UsageError(f"there is no start method {name!r} here (there are: {known})") from None


def make_here_importable() -> None:
    """Put the current directory first on sys.path, as `python -m` does and a console script does not."""
    if sys.flags.safe_path:
        return
    here = os.getcwd()
    if sys.path[:1] not in ([here], [""]):
        sys.path.insert(0, here)
