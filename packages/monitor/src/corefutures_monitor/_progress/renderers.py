"""Pictures of progress: in a terminal, in a notebook, as lines of a log. Each is used by one thread.

Touches rich, which the extra `corefutures-monitor[progress]` installs.
"""

from __future__ import annotations

import html
import importlib
import sys
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from corefutures_monitor._progress.counts import ProgressCounts


class Renderer(Protocol):
    """A place to draw on; for one thread."""

    pause: float  # seconds between two pictures

    def draw(self, shown: list[ProgressCounts]) -> None:
        """Draw them in place of the last picture."""

    def finish(self, counts: ProgressCounts) -> None:
        """Draw one for the last time, so that it stays; the next picture is without it."""

    def close(self) -> None:
        """End the picture."""


def renderer_for(file: TextIO) -> Renderer:
    """Return the renderer that suits a file."""
    from rich.console import Console  # here: rich is optional, and takes a while

    console = Console(file=file)
    if file is sys.stderr and Console().is_jupyter:
        return NotebookRenderer()
    return TerminalRenderer(console) if console.is_terminal and not console.is_dumb_terminal else LogRenderer(file)


class TerminalRenderer:
    """Draws over itself, a line for each."""

    pause = 0.1

    def __init__(self, console: Any) -> None:
        from rich.live import Live  # here: rich is optional

        # Standard output is not replaced: a child that is forked meanwhile would inherit the replacement's lock.
        self._live = Live(
            console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._console = console
        self._live.start()

    def draw(self, shown: list[ProgressCounts]) -> None:
        self._live.update(_table(shown), refresh=True)

    def finish(self, counts: ProgressCounts) -> None:
        self._console.print(_table([counts]))

    def close(self) -> None:
        self._live.update("")
        self._live.stop()


def _table(shown: list[ProgressCounts]) -> Any:
    from rich.progress_bar import ProgressBar  # here: rich is optional
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1))
    for counts in shown:
        bar = ProgressBar(total=counts.total, completed=counts.ended, width=16, pulse=counts.total is None)
        numbers = Text(counts.numbers(), style="red" if counts.failed else "", no_wrap=True, overflow="ellipsis")
        description = [Text(counts.description)] if counts.description else []
        table.add_row(*description, bar, numbers, Text(counts.times(), style="dim", no_wrap=True))
    return table


def progress_line(counts: ProgressCounts, file: TextIO, width: int) -> str:
    """Return counts as one line for a terminal, with a bar, to draw at a place of one's own.

    Args:
        counts: What to draw.
        file: The terminal.
        width: How many columns at most.

    Raises:
        ImportError: rich is not installed.
    """
    from rich.console import Console  # here: rich is optional

    console = Console(file=file, width=width, force_terminal=True)
    with console.capture() as captured:
        console.print(_table([counts]))
    return captured.get().partition("\n")[0].rstrip()


class NotebookRenderer:
    """Replaces the output that it made in the cell."""

    pause = 0.5

    def __init__(self) -> None:
        display = importlib.import_module("IPython.display").display  # there is one in a notebook
        self._finished: list[str] = []
        self._output = display({"text/plain": "…"}, raw=True, display_id=True)

    def draw(self, shown: list[ProgressCounts]) -> None:
        rows = [*self._finished, *map(self._row, shown)]
        plain = "\n".join(counts.summary() for counts in shown)
        self._output.update({"text/plain": plain, "text/html": "".join(rows)}, raw=True)

    def finish(self, counts: ProgressCounts) -> None:
        self._finished.append(self._row(counts))
        self.draw([])

    def close(self) -> None:
        pass

    def _row(self, counts: ProgressCounts) -> str:
        total = counts.total
        bar = (
            "<progress></progress>"
            if total is None
            else f"<progress value={counts.ended} max={max(total, 1)}></progress>"
        )
        return f"<div>{bar} {html.escape(counts.summary())}</div>"


class LogRenderer:
    """Writes a line for each, now and then."""

    pause = 10.0

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def draw(self, shown: list[ProgressCounts]) -> None:
        for counts in shown:
            self._write(counts)

    def finish(self, counts: ProgressCounts) -> None:
        self._write(counts)

    def close(self) -> None:
        pass

    def _write(self, counts: ProgressCounts) -> None:
        self._file.write(f"{counts.summary()}\n")
        self._file.flush()
