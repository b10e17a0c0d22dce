"""A line on a terminal's standard error with the progress of a command, drawn over itself.

With corefutures-monitor and rich it is the line that `corefutures.progress` draws; without, it needs nothing of the
terminal but carriage return. Where there is no terminal, nothing is drawn.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import time
from typing import Final, TextIO

#: Seconds between two drawings at least.
_PAUSE: Final = 0.1

#: Empties the line from here on, on every terminal that rich draws on.
_CLEAR: Final = "\x1b[K"


class StatusLine:
    """The line that shows how many items are done.

    Args:
        stream: Where to draw, normally standard error.
        total: How many items there are; None if that is not known.

    Thread safety: for one thread only.
    """

    def __init__(self, stream: TextIO | None, total: int | None) -> None:
        self._stream = stream if stream is not None and _is_terminal(stream) else None
        self._total = total
        self._started = time.monotonic()
        self._drawn_at = self._started
        self._width = 0  # of what stands there now
        self._pen = _Pen(self._stream, total) if self._stream is not None and has_bars() else None

    def draw(self, done: int, failed: int) -> None:
        """Show the counts, unless they were shown a moment ago.

        Args:
            done: How many items are done, the failed ones included.
            failed: How many of them failed.
        """
        if self._stream is None:
            return
        now = time.monotonic()
        if now - self._drawn_at < _PAUSE:
            return
        self._drawn_at = now
        if self._pen is not None:
            self._write(f"\r{self._pen.line(done, failed)}{_CLEAR}")
            self._width = 1
            return
        text = f"{done} done" if self._total is None else f"{done} of {self._total} done"
        if failed:
            text += f", {failed} failed"
        text += f", {done / (now - self._started):.1f}/s"
        text = text[: shutil.get_terminal_size().columns - 1]
        self._write(f"\r{text:<{self._width}}")
        self._width = len(text)

    def erase(self) -> None:
        """Leave an empty line for somebody else's text."""
        if self._width:
            self._write(f"\r{_CLEAR}" if self._pen is not None else f"\r{'':<{self._width}}\r")
            self._width = 0

    def _write(self, text: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:  # the terminal went away: nobody is left to look
            self._stream = None


class _Pen:
    """Makes lines with rich."""

    def __init__(self, stream: TextIO, total: int | None) -> None:
        from corefutures_monitor import ProgressCounts  # here: only a terminal needs it

        self._counts = ProgressCounts("", total)
        self._stream = stream

    def line(self, done: int, failed: int) -> str:
        from corefutures_monitor import progress_line

        self._counts.done, self._counts.failed = done - failed, failed
        return progress_line(self._counts, self._stream, shutil.get_terminal_size().columns - 1)


def has_bars() -> bool:
    """Return whether there is what draws bars, and a terminal that takes its commands: those of old Windows don't."""
    if importlib.util.find_spec("corefutures_monitor") is None or importlib.util.find_spec("rich") is None:
        return False
    from rich.console import detect_legacy_windows

    return not detect_legacy_windows()


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:  # closed
        return False
