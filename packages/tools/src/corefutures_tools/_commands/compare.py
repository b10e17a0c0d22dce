"""Try a function on every backend, and recommend one.

Shows what `corefutures.compare` found as a table, JSON or a picture; with rich, where that is installed.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import pickle
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from corefutures.backend import describe_error
from corefutures.cli import CommandParser, UsageError, seconds
from corefutures_tools._commands.functions import add_items, import_function
from corefutures_tools._comparing.compare import compare_work
from corefutures_tools._comparing.report import COLUMNS, Comparison
from corefutures_tools._comparing.trial import Work

_DESCRIPTION: Final = """\
Run a sample of calls on a plain loop and on every installed backend, and recommend one. Items are the
arguments, or else the lines of standard input. The function runs several times with each item."""

_EPILOG: Final = """\
Each trial has a process of its own: a function that hangs, raises or crashes is a row of the table.
Exit status: 0 something is recommended, 1 nothing could run the calls, 2 bad input, 130 interrupted.

examples:
  corefutures compare --json-lines math:sqrt 1 4 9
  find . -name '*.py' | corefutures compare my_module:check -j 4 --plot check.svg"""


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Args:
        arguments: The words after the command's name.

    Returns:
        The exit status.

    Raises:
        UsageError: If the arguments cannot be used.
    """
    parsed = parser().parse_intermixed_args(arguments)
    _, target = import_function(parsed.function)  # its errors are reported before any trial
    items = _items(parsed)
    work = Work(target, pickle.dumps(items), len(items))
    try:
        comparison = compare_work(
            work,
            target,
            max_workers=parsed.jobs,
            backends=parsed.backends,
            seconds=parsed.seconds,
            timeout=parsed.timeout,
            on_trial=_show_progress,
        )
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from error
    _erase()
    if parsed.json != "-":
        _show(comparison)
    if parsed.json:
        _write(parsed.json, json.dumps(comparison.as_dict(), indent=2, ensure_ascii=False) + "\n")
    if parsed.plot:
        _write(parsed.plot, comparison.as_svg())
    return 1 if comparison.recommended is None else 0


def parser() -> CommandParser:
    """Return the parser of the command's arguments."""
    parser = CommandParser(prog="corefutures compare", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument(
        "-b",
        "--backend",
        dest="backends",
        metavar="NAME",
        action="append",
        help="a backend's name or MODULE:ATTR, as often as needed (default: every installed backend)",
    )
    parser.add_argument("-j", "--jobs", type=int, metavar="N", help="how many calls at once (default: one a processor)")
    parser.add_argument("--sample", type=int, default=1000, metavar="N", help="how many items at most (default: 1000)")
    parser.add_argument(
        "--seconds",
        type=seconds,
        default=2.0,
        metavar="SECONDS",
        help="the sample is what the loop does in this time, and at least one call a worker (default: 2)",
    )
    parser.add_argument(
        "--timeout", type=seconds, default=30.0, metavar="SECONDS", help="how long one trial may take (default: 30)"
    )
    parser.add_argument(
        "--json", metavar="FILE", help="also write what was found as JSON; - writes it instead of the table"
    )
    parser.add_argument("--plot", metavar="FILE", help="also draw the times, as an SVG file")
    add_items(parser, "items are JSON values, one a line, not texts", formerly="--items-json")
    return parser


def _items(parsed: Any) -> list[Any]:
    if parsed.sample < 1:
        raise UsageError(f"--sample must be positive, not {parsed.sample}")
    texts = list(itertools.islice(parsed.items or _lines(), parsed.sample))
    if not parsed.json_lines:
        return texts
    items = []
    for number, text in enumerate(texts, 1):
        try:
            items.append(json.loads(text))
        except ValueError as error:
            raise UsageError(f"item {number} ({text!r}) is not JSON: {error}") from error
    return items


def _lines() -> Iterator[str]:
    if sys.stdin is None:
        raise UsageError("there are neither items nor a standard input")
    try:
        for line in sys.stdin:
            yield line.removesuffix("\n").removesuffix("\r")
    except (OSError, ValueError) as error:
        raise UsageError(f"standard input cannot be read: {describe_error(error)}") from error


def _show_progress(backend: str) -> None:
    if sys.stderr is not None and sys.stderr.isatty():
        print(f"\rtrying {backend} …".ljust(60), end="", file=sys.stderr, flush=True)


def _erase() -> None:
    if sys.stderr is not None and sys.stderr.isatty():
        print("\r" + " " * 60 + "\r", end="", file=sys.stderr, flush=True)


def _show(comparison: Comparison) -> None:
    """Show the table: drawn by rich on a terminal, if rich is installed, else as plain text."""
    if not (sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and importlib.util.find_spec("rich")):
        _print(str(comparison))
        return
    from rich.console import Console  # here: rich is optional
    from rich.table import Table
    from rich.text import Text

    table = Table(title=comparison.title(), title_justify="left")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("backend", "results") else "right")
    for row in comparison.rows():
        table.add_row(*map(Text, row), style="bold" if row[0] == comparison.recommended else None)
    console = Console()
    console.print(table)
    for note in comparison.notes():
        console.print(Text(note))


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except UnicodeEncodeError:  # a terminal or a file that knows no µ
        print(
            text.replace("µ", "u").replace("×", "x").replace("≥", ">=").encode("ascii", "replace").decode(), flush=True
        )


def _write(file: str, text: str) -> None:
    if file == "-":
        _print(text.rstrip("\n"))
        return
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror or error}") from error
