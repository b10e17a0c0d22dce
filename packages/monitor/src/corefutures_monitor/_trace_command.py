"""Draw a recorded timeline as a page of HTML.

Reads what `corefutures.trace` has recorded, writes the page; the picture itself is made in `_timelines`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from corefutures.cli import CommandParser, UsageError
from corefutures_monitor._timelines.page import page
from corefutures_monitor._timelines.reading import read_trace

_DESCRIPTION: Final = """\
Draw a trace, which `with corefutures.trace("run.json"):` has recorded, as a page of HTML that needs nothing else:
a row for each worker, to zoom into and to point at, how much of the time was waiting, and the slowest calls."""

_EPILOG: Final = """\
The trace itself can be opened in Perfetto and chrome://tracing.
Exit status: 0 the page was written, 2 bad input.

example:
  corefutures trace run.json --output run.html"""


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Args:
        arguments: The words after the command's name.

    Returns:
        The exit status.

    Raises:
        UsageError: If the trace cannot be read, or the page not be written.
    """
    parsed = parser().parse_args(arguments)
    source = Path(parsed.trace)
    target = Path(parsed.output) if parsed.output else source.with_suffix(".html")
    if target == source:
        raise UsageError(f"the page would replace the trace {source}: name another file with --output")
    try:
        timeline = read_trace(source)
    except OSError as error:
        raise UsageError(f"cannot read {source}: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"cannot read {source}: {error}") from error
    try:
        target.write_text(page(timeline, parsed.title or source.name), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror or error}") from error
    print(f"{len(timeline.start)} calls by {len(timeline.rows)} workers: {target}")
    return 0


def parser() -> CommandParser:
    """Return the parser of the command's arguments."""
    parser = CommandParser(prog="corefutures trace", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("trace", metavar="TRACE", help="the file that was recorded")
    parser.add_argument(
        "-o", dest="output", help=argparse.SUPPRESS
    )  # what it was called once: -o is a backend's option
    parser.add_argument("--output", metavar="FILE", help="the page (default: the trace's name, ending in .html)")
    parser.add_argument("--title", help="the page's headline (default: the trace's name)")
    return parser
