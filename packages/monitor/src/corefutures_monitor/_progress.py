"""`progress` and `track`: how far calls are, in a terminal, in a notebook, or as a line now and then in a log.

Touches `_observing` and rich, which the extra `corefutures[progress]` installs. Guarantees: the program that is watched
never waits for the picture and never fails because of it; standard output is left alone.
"""

from __future__ import annotations

import contextlib
import html
import importlib
import importlib.util
import logging
import math
import os
import sys
import threading
from collections import deque
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TextIO, TypeVar

from corefutures._executor import Executor
from corefutures._observing import add_observer, remove_observer
from corefutures._options import check_count, check_text, shown
from corefutures._originals import clock
from corefutures._results import ResultIterator
from corefutures._threads import start_thread
from corefutures._waiting import as_completed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import Self

    from corefutures._audience import Call

_T = TypeVar("_T")

LOGGER = logging.getLogger("concurrent.futures")

#: Seconds between two pictures in a terminal, in a notebook, and between two lines of a log.
_TERMINAL_PAUSE: Final = 0.1
_NOTEBOOK_PAUSE: Final = 0.5
_LOG_PAUSE: Final = 10.0
#: Seconds over which the rate is taken.
_WINDOW: Final = 30.0


def progress(
    executor: Executor, /, *, description: str = "", total: int | None = None, file: TextIO | None = None
) -> Progress:
    """Shows how far the calls of an executor are, as long as a `with` block lasts.

    What is shown are the calls submitted in the block: how many are done, failed, running and waiting, how many end a
    second, and how long the rest will take. Several executors can be shown at once, in nested blocks.

    Args:
        executor: Any executor of corefutures; wrap others with `adapt`.
        description: What stands in front; the executor's kind if empty.
        total: How many calls there will be; None for as many as were submitted so far.
        file: Where to draw; None for standard error, in a notebook for the output of the cell.

    Raises:
        TypeError: `executor` is none of corefutures, `total` is no int.
        ValueError: `total` is negative.
        ImportError: rich is not installed.
    """
    if not isinstance(executor, Executor):
        raise TypeError(
            f"progress() takes an executor of corefutures, not {shown(executor)}: others can be wrapped,"
            " adapt(executor)"
        )
    check_text("description", description)
    counts = ProgressCounts(description or type(executor).__name__, _checked(total))
    return Progress(executor, counts, _checked_file(file))


def track(
    calls: Iterable[_T], /, *, total: int | None = None, description: str = "", file: TextIO | None = None
) -> Tracked[_T]:
    """Passes on what it is given, and shows how much of it has come.

    Args:
        calls: The iterator of a `map`, or any other: its items are passed on as they come. Or a collection of
            futures: each is passed on when it has ended, as `as_completed` does.
        total: How many there will be; None to ask `calls` for its length.
        description: What stands in front.
        file: Where to draw; None for standard error, in a notebook for the output of the cell.

    Returns:
        An iterator. What `calls` raises it raises too, counts it as failed, and goes on if `calls` does.

    Raises:
        TypeError: `calls` is not iterable, `total` is no int.
        ValueError: `total` is negative.
        ImportError: rich is not installed.
    """
    known = _checked(total)
    check_text("description", description)
    if not hasattr(type(calls), "__iter__") and not hasattr(type(calls), "__getitem__"):
        raise TypeError(f"track() takes what a map() returned, or another iterable, not {shown(calls)}")
    source = iter(calls)
    if known is None:
        known = len(calls._futures) if isinstance(calls, ResultIterator) and not calls._submissions else _length(calls)
    if isinstance(calls, (list, tuple, set, frozenset, dict)) and all(_is_future(item) for item in calls) and calls:
        futures: Any = calls
        source = as_completed(futures)
    return Tracked(source, ProgressCounts(description or "calls", known), _checked_file(file))


def _checked(total: int | None) -> int | None:
    check_count("total", total, least=0)
    return total


def _checked_file(file: TextIO | None) -> TextIO | None:
    if importlib.util.find_spec("rich") is None:
        raise ImportError("progress is drawn by rich, which is not installed: pip install rich")
    if file is not None and not callable(getattr(file, "write", None)):
        raise TypeError(f"file must be a text file or None, not {shown(file)}: open it, open({shown(file)}, 'w')")
    return file


def _length(calls: object) -> int | None:
    try:
        return len(calls)  # type: ignore[arg-type]
    except TypeError:
        return None


def _is_future(item: object) -> bool:
    return callable(getattr(item, "add_done_callback", None)) and callable(getattr(item, "done", None))


class ProgressCounts:
    """How far one thing is. Written by one thread, drawn by another; each number is right by itself.

    Args:
        description: What stands in front.
        total: How many there will be; None if that grows.
    """

    def __init__(self, description: str, total: int | None) -> None:
        self.description = description
        self.expected = total
        self.submitted: int | None = None  # None: not known apart from what has ended
        self.running = 0
        self.done = 0
        self.failed = 0
        self.cancelled = 0
        self.began = clock.monotonic()
        self.closed = False
        self._past: deque[tuple[float, int]] = deque([(self.began, 0)])

    @property
    def ended(self) -> int:
        """How many have ended, in whatever way."""
        return self.done + self.failed + self.cancelled

    @property
    def total(self) -> int | None:
        """How many there are, as far as is known."""
        if self.expected is None:
            return self.submitted
        return max(self.expected, self.submitted or 0, self.ended)

    @property
    def waiting(self) -> int | None:
        """How many have not started; None if that can't be known."""
        return None if self.submitted is None else max(0, self.submitted - self.ended - self.running)

    def pace(self) -> tuple[float, float | None]:
        """Returns how many end a second, lately, and the seconds that are left; for the thread that draws."""
        now, ended, past = clock.monotonic(), self.ended, self._past
        while len(past) > 1 and now - past[0][0] > _WINDOW:
            past.popleft()
        if past[-1][1] != ended:
            past.append((now, ended))
        since, before = past[0]
        if self.closed:
            since, before = self.began, 0
        rate = (ended - before) / (now - since) if now > since else 0.0
        total = self.total
        left = None if total is None or not rate else max(0, total - ended) / rate
        return rate, left

    def sentence(self) -> str:
        """Returns all of it as text."""
        return f"{self.description}: {self.counts()}, {self.speed()}"

    def counts(self) -> str:
        """Returns the numbers as text, those that are 0 left out."""
        total = self.total
        parts = [f"{self.ended} of {total} done" if total is not None else f"{self.ended} done"]
        parts += [
            f"{number} {what}"
            for number, what in (
                (self.failed, "failed"),
                (self.cancelled, "cancelled"),
                (self.running, "running"),
                (self.waiting or 0, "waiting"),
            )
            if number
        ]
        return ", ".join(parts)

    def speed(self) -> str:
        """Returns the rate, and the time that is left or was taken, as text."""
        rate, left = self.pace()
        text = f"{rate:.3g}/s" if rate < 1000 else f"{rate:,.0f}/s"
        if self.closed:
            return f"{text}, {_duration(clock.monotonic() - self.began)}"
        return text if left is None else f"{text}, {_duration(left)} left"


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = math.ceil(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, whole = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{whole:02}" if hours else f"{minutes}:{whole:02}"


class Progress:
    """What `progress` returns: a context manager.

    Attributes:
        tally: The numbers that are shown; they stay when the block has ended.
    """

    def __init__(self, executor: Executor, tally: ProgressCounts, file: TextIO | None) -> None:
        self.tally = tally
        self._executor = executor
        self._file = file
        self._open: dict[int, Call] = {}  # those that have not ended, by number; the observers' thread's alone
        self._started: set[int] = set()  # the numbers of those of them that run
        self._board: _Board | None = None

    def __enter__(self) -> Self:
        self.tally.submitted = 0
        self._board = _Board.join(self._file, self.tally)
        add_observer(self)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        try:
            with contextlib.suppress(ValueError):  # a forked child has no observers
                remove_observer(self)
            for call in list(self._open.values()):  # whoever waits for a call learns of its end before observers do
                if call.note_end():
                    if call.outcome == "cancelled":
                        self.corefutures_call_cancelled(call)
                    else:
                        self.corefutures_call_finished(call)
        finally:
            board, self._board = self._board, None
            if board is not None:
                board.leave(self.tally)

    def corefutures_call_submitted(self, call: Call, executor: Executor | None) -> None:
        """Counts a call: a hook."""
        if executor is self._executor:
            self._open[call.number] = call
            self.tally.submitted = (self.tally.submitted or 0) + 1

    def corefutures_call_started(self, call: Call) -> None:
        """Counts it as running."""
        if call.number in self._open:
            self._started.add(call.number)
            self.tally.running = len(self._started)

    def corefutures_call_finished(self, call: Call) -> None:
        """Counts it as done or failed."""
        if self._ends(call):
            if call.outcome == "returned":
                self.tally.done += 1
            else:
                self.tally.failed += 1

    def corefutures_call_cancelled(self, call: Call) -> None:
        """Counts it as cancelled."""
        if self._ends(call):
            self.tally.cancelled += 1

    def _ends(self, call: Call) -> bool:
        if self._open.pop(call.number, None) is None:
            return False
        self._started.discard(call.number)
        self.tally.running = len(self._started)
        return True


class Tracked(Generic[_T]):
    """What `track` returns: an iterator; it is shown from the first item on until it has ended or is closed.

    Attributes:
        tally: The numbers that are shown.

    Thread safety: for one thread at a time.
    """

    def __init__(self, source: Iterator[_T], tally: ProgressCounts, file: TextIO | None) -> None:
        self.tally = tally
        self._source = source
        self._file = file
        self._board: _Board | None = None
        self._begun = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> _T:
        if not self._begun:
            self._begun = True
            self.tally.began = clock.monotonic()
            self._board = _Board.join(self._file, self.tally)
        try:
            item = next(self._source)
        except StopIteration:
            self._leave()
            raise
        except CancelledError:
            self.tally.cancelled += 1
            raise
        except Exception:
            self.tally.failed += 1
            raise
        except BaseException:  # an interrupt
            self._leave()
            raise
        if not _is_future(item):
            self.tally.done += 1
        elif item.cancelled():  # type: ignore[attr-defined]
            self.tally.cancelled += 1
        elif item.done() and item.exception() is not None:  # type: ignore[attr-defined]
            self.tally.failed += 1
        else:
            self.tally.done += 1
        return item

    def close(self) -> None:
        """Ends the iteration, and that of `calls` if that can be closed."""
        self._leave()
        close = getattr(self._source, "close", None)
        if close is not None:
            close()

    def __del__(self) -> None:
        if self.__dict__.get("_board") is not None:
            self._leave()

    def _leave(self) -> None:
        board, self._board = self._board, None
        if board is not None:
            board.leave(self.tally)


class _Surface(Protocol):
    """Where tallies are drawn; used by one thread at a time."""

    pause: float  # seconds between two pictures

    def draw(self, tallies: list[ProgressCounts]) -> None:
        """Draws them in place of the last picture."""

    def part(self, tally: ProgressCounts) -> None:
        """Draws one for the last time, as what stays; the next picture is without it."""

    def close(self) -> None:
        """Nothing more is drawn."""


class _Board:
    """All tallies that are drawn in one place, and the thread that draws them."""

    # Guards `_boards` and `_tallies` of each. Nothing is drawn and no foreign code runs under it. Reentrant: a
    # finaliser of `Tracked` may interrupt its holder.
    _gate = threading.RLock()
    _boards: dict[int, _Board] = {}  # noqa: RUF012 - by the id of the file, which the board keeps

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._tallies: list[ProgressCounts] = []
        self._leaving: list[ProgressCounts] = []
        self._ring = threading.Event()
        self._thread = threading.Thread(target=self._run, name="corefutures-progress", daemon=True)

    @classmethod
    def join(cls, file: TextIO | None, tally: ProgressCounts) -> _Board | None:
        """Has a tally drawn; returns the board, None if there is nothing to draw on."""
        stream = file if file is not None else sys.stderr
        if stream is None:
            return None
        with cls._gate:
            board = cls._boards.get(id(stream))
            if fresh := board is None:
                board = cls._boards[id(stream)] = cls(stream)
            assert board is not None
            board._tallies.append(tally)
        if fresh:
            try:
                start_thread(board._thread)
            except RuntimeError:  # no thread can be started: there is no picture
                with cls._gate:
                    cls._boards.pop(id(stream), None)
                LOGGER.warning("progress can't be shown", exc_info=True)
                return None
        return board

    def leave(self, tally: ProgressCounts) -> None:
        """Draws a tally for the last time, and takes it off the board; returns when that is done."""
        tally.closed = True
        with self._gate:
            if tally not in self._tallies:  # in a forked child, where nothing is drawn
                return
            self._tallies.remove(tally)
            self._leaving.append(tally)
            if last := not self._tallies:
                self._boards.pop(id(self._file), None)
        self._ring.set()
        if last and self._thread.ident is not None and threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        surface: _Surface | None = None
        try:
            surface = _surface(self._file)
            while True:
                self._ring.wait(surface.pause)
                self._ring.clear()
                with self._gate:
                    tallies, leaving, self._leaving = self._tallies[:], self._leaving, []
                for tally in leaving:
                    surface.part(tally)
                if not tallies:
                    with self._gate:
                        if not self._leaving:
                            return
                    self._ring.set()
                    continue
                surface.draw(tallies)
        except Exception:  # the terminal went away, the file is full: nothing that the program has to know
            LOGGER.debug("progress is not shown any more", exc_info=True)
        finally:
            with self._gate:  # if it has failed, the next tallies have another thread
                if self._boards.get(id(self._file)) is self:
                    del self._boards[id(self._file)]
            if surface is not None:
                try:
                    surface.close()
                except Exception:
                    LOGGER.debug("progress could not be ended", exc_info=True)


def _forget_in_child() -> None:
    for board in list(_Board._boards.values()):
        board._tallies.clear()
    _Board._boards.clear()
    _Board._gate = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


def _surface(file: TextIO) -> _Surface:
    from rich.console import Console  # here: rich is optional, and takes a while

    console = Console(file=file)
    if file is sys.stderr and Console().is_jupyter:
        return _Notebook()
    return _Terminal(console) if console.is_terminal and not console.is_dumb_terminal else _Log(file)


class _Terminal:
    """Draws over itself, a line for each."""

    pause = _TERMINAL_PAUSE

    def __init__(self, console: Any) -> None:
        from rich.live import Live  # here: rich is optional

        # Standard output is not replaced: a child that is forked meanwhile would inherit the replacement's lock.
        self._live = Live(
            console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._console = console
        self._live.start()

    def draw(self, tallies: list[ProgressCounts]) -> None:
        self._live.update(_table(tallies), refresh=True)

    def part(self, tally: ProgressCounts) -> None:
        self._console.print(_table([tally]))

    def close(self) -> None:
        self._live.update("")
        self._live.stop()


def _table(tallies: list[ProgressCounts]) -> Any:
    from rich.progress_bar import ProgressBar  # here: rich is optional
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1))
    for tally in tallies:
        bar = ProgressBar(total=tally.total, completed=tally.ended, width=16, pulse=tally.total is None)
        counts = Text(tally.counts(), style="red" if tally.failed else "", no_wrap=True, overflow="ellipsis")
        told = [Text(tally.description)] if tally.description else []
        table.add_row(*told, bar, counts, Text(tally.speed(), style="dim", no_wrap=True))
    return table


def progress_line(tally: ProgressCounts, file: TextIO, width: int) -> str:
    """Returns a tally as one line for a terminal, for who draws it at a place of their own; needs rich.

    Args:
        tally: What to draw.
        file: The terminal.
        width: How many columns at most.
    """
    from rich.console import Console  # here: rich is optional

    console = Console(file=file, width=width, force_terminal=True)
    with console.capture() as captured:
        console.print(_table([tally]))
    return captured.get().partition("\n")[0].rstrip()


class _Notebook:
    """Replaces the output that it made in the cell."""

    pause = _NOTEBOOK_PAUSE

    def __init__(self) -> None:
        display = importlib.import_module("IPython.display").display  # there is one in a notebook
        self._parted: list[str] = []
        self._output = display({"text/plain": "…"}, raw=True, display_id=True)

    def draw(self, tallies: list[ProgressCounts]) -> None:
        rows = [*self._parted, *map(self._row, tallies)]
        plain = "\n".join(tally.sentence() for tally in tallies)
        self._output.update({"text/plain": plain, "text/html": "".join(rows)}, raw=True)

    def part(self, tally: ProgressCounts) -> None:
        self._parted.append(self._row(tally))
        self.draw([])

    def close(self) -> None:
        pass

    def _row(self, tally: ProgressCounts) -> str:
        total = tally.total
        bar = (
            "<progress></progress>"
            if total is None
            else f"<progress value={tally.ended} max={max(total, 1)}></progress>"
        )
        return f"<div>{bar} {html.escape(tally.sentence())}</div>"


class _Log:
    """Writes a line for each, now and then."""

    pause = _LOG_PAUSE

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def draw(self, tallies: list[ProgressCounts]) -> None:
        for tally in tallies:
            self._write(tally)

    def part(self, tally: ProgressCounts) -> None:
        self._write(tally)

    def close(self) -> None:
        pass

    def _write(self, tally: ProgressCounts) -> None:
        self._file.write(f"{tally.sentence()}\n")
        self._file.flush()
