"""`progress` and `track`: counts of calls while they run.

Touches the observers. Guarantees: standard output is left alone.
"""

from __future__ import annotations

import contextlib
import importlib.util
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, Generic, TextIO, TypeVar

from corefutures import Executor, add_observer, as_completed, remove_observer
from corefutures.backend import check_count, check_text, clock, shown
from corefutures_monitor._progress.counts import ProgressCounts
from corefutures_monitor._progress.display import LiveDisplay
from corefutures_pools import ResultIterator

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import Self

    from corefutures_pools import CallRecord

_T = TypeVar("_T")


def progress(
    executor: Executor, /, *, description: str = "", total: int | None = None, file: TextIO | None = None
) -> Progress:
    """Show how far the calls of an executor are, as long as a `with` block lasts.

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
    counts = ProgressCounts(description or type(executor).__name__, _check_total(total))
    return Progress(executor, counts, _check_file(file))


def track(
    calls: Iterable[_T], /, *, total: int | None = None, description: str = "", file: TextIO | None = None
) -> Tracked[_T]:
    """Pass on what it is given, and shows how much of it has come.

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
    known = _check_total(total)
    check_text("description", description)
    if not hasattr(type(calls), "__iter__") and not hasattr(type(calls), "__getitem__"):
        raise TypeError(f"track() takes what a map() returned, or another iterable, not {shown(calls)}")
    source = iter(calls)
    if known is None:
        known = len(calls._futures) if isinstance(calls, ResultIterator) and not calls._submissions else _length(calls)
    if isinstance(calls, (list, tuple, set, frozenset, dict)) and all(_is_future(item) for item in calls) and calls:
        futures: Any = calls
        source = as_completed(futures)
    return Tracked(source, ProgressCounts(description or "calls", known), _check_file(file))


def _check_total(total: int | None) -> int | None:
    check_count("total", total, least=0)
    return total


def _check_file(file: TextIO | None) -> TextIO | None:
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


class Progress:
    """The context manager that `progress` returns.

    Attributes:
        counts: The numbers that are shown; they stay when the block has ended.
    """

    def __init__(self, executor: Executor, counts: ProgressCounts, file: TextIO | None) -> None:
        self.counts = counts
        self._executor = executor
        self._file = file
        self._open: dict[int, CallRecord] = {}  # those that have not ended, by number; the observers' thread's alone
        self._started: set[int] = set()  # the numbers of those of them that run
        self._display: LiveDisplay | None = None

    def __enter__(self) -> Self:
        self.counts.submitted = 0
        self._display = LiveDisplay.add(self._file, self.counts)
        add_observer(self)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        try:
            with contextlib.suppress(ValueError):  # a forked child has no observers
                remove_observer(self)
            for call in list(self._open.values()):  # a waiter may learn of a call's end before observers do
                if call.record_end():
                    if call.outcome == "cancelled":
                        self.corefutures_call_cancelled(call)
                    else:
                        self.corefutures_call_finished(call)
        finally:
            display, self._display = self._display, None
            if display is not None:
                display.remove(self.counts)

    def corefutures_call_submitted(self, call: CallRecord, executor: Executor | None) -> None:
        """Count a call: a hook."""
        if executor is self._executor:
            self._open[call.number] = call
            self.counts.submitted = (self.counts.submitted or 0) + 1

    def corefutures_call_started(self, call: CallRecord) -> None:
        """Count it as running."""
        if call.number in self._open:
            self._started.add(call.number)
            self.counts.running = len(self._started)

    def corefutures_call_finished(self, call: CallRecord) -> None:
        """Count it as done or failed."""
        if self._ends(call):
            if call.outcome == "returned":
                self.counts.done += 1
            else:
                self.counts.failed += 1

    def corefutures_call_cancelled(self, call: CallRecord) -> None:
        """Count it as cancelled."""
        if self._ends(call):
            self.counts.cancelled += 1

    def _ends(self, call: CallRecord) -> bool:
        if self._open.pop(call.number, None) is None:
            return False
        self._started.discard(call.number)
        self.counts.running = len(self._started)
        return True


class Tracked(Generic[_T]):
    """The iterator that `track` returns; it is shown from the first item on until it has ended or is closed.

    Attributes:
        counts: The numbers that are shown.

    Thread safety: for one thread at a time.
    """

    def __init__(self, source: Iterator[_T], counts: ProgressCounts, file: TextIO | None) -> None:
        self.counts = counts
        self._source = source
        self._file = file
        self._display: LiveDisplay | None = None
        self._begun = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> _T:
        if not self._begun:
            self._begun = True
            self.counts.began = clock.monotonic()
            self._display = LiveDisplay.add(self._file, self.counts)
        try:
            item = next(self._source)
        except StopIteration:
            self._leave()
            raise
        except CancelledError:
            self.counts.cancelled += 1
            raise
        except Exception:
            self.counts.failed += 1
            raise
        except BaseException:  # an interrupt
            self._leave()
            raise
        if not _is_future(item):
            self.counts.done += 1
        elif item.cancelled():  # type: ignore[attr-defined]
            self.counts.cancelled += 1
        elif item.done() and item.exception() is not None:  # type: ignore[attr-defined]
            self.counts.failed += 1
        else:
            self.counts.done += 1
        return item

    def close(self) -> None:
        """End the iteration, and that of `calls` if that can be closed."""
        self._leave()
        close = getattr(self._source, "close", None)
        if close is not None:
            close()

    def __del__(self) -> None:
        if self.__dict__.get("_display") is not None:
            self._leave()

    def _leave(self) -> None:
        display, self._display = self._display, None
        if display is not None:
            display.remove(self.counts)
