"""`corefutures map`: run a Python function over many items on an executor.

One thread reads items, the main thread submits them and prints what comes back; both wait on a
queue only. Guarantees: at most `WINDOW` items are in memory; an interrupt ends it at once.
"""

from __future__ import annotations

import _thread
import collections
import contextlib
import io
import json
import os
import queue
import reprlib
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Future
from typing import Any, Final, NoReturn, TextIO

from corefutures._cli import INTERRUPTED, READER_LEFT, reader_left
from corefutures._cli.arguments import (
    CommandParser,
    UsageError,
    add_backend_options,
    backend_options,
    import_function,
    told,
)
from corefutures._cli.statusline import StatusLine
from corefutures._creating import create_executor

#: How many items may be between their reading and the printing of their results.
WINDOW: Final = 1024

#: Seconds after which results are flushed even though more are ready, and for the last flush of all.
_FLUSH_AFTER: Final = 0.2
_LAST_FLUSH: Final = 0.5

#: On Windows nothing interrupts a wait for a lock: there the main thread looks up this often, in seconds.
_LOOK_UP: Final = 0.1 if sys.platform == "win32" else None

_DESCRIPTION: Final = """\
Run a Python function over items and print each result on a line of its own, in the order of the
items. Items are the arguments, or else the lines of standard input, which may be endless."""

_EPILOG: Final = """\
An item whose call fails is reported on standard error, the rest goes on.
Exit status: 0 all calls succeeded, 1 some failed, 2 bad input, 130 interrupted.

examples:
  corefutures map math:sqrt --json 1 4 9
  find . -name '*.py' | corefutures map -b process -j 4 my_module:check"""


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Args:
        arguments: The words after the command's name.

    Returns:
        The exit status.

    Raises:
        UsageError: If the arguments cannot be used.
        BackendError: If the backend cannot be used.
    """
    parsed = _parser().parse_intermixed_args(arguments)
    options = backend_options(parsed.options)
    if parsed.jobs is not None:
        if "max_workers" in options:
            raise UsageError("-j and -o max_workers are the same option")
        options["max_workers"] = parsed.jobs
    function = import_function(parsed.function)
    executor = _create(parsed.backend, options)
    items = iter(parsed.items) if parsed.items else _lines(sys.stdin)
    status_line = StatusLine(sys.stderr, len(parsed.items) or None)
    results = _Results(sys.stdout, status_line, as_json=parsed.json, tracebacks=parsed.traceback)
    run = _Run(executor, function, items, results, items_are_json=parsed.json, in_order=not parsed.unordered)
    try:
        with _interrupts_end_at_once(executor):
            run.run()
            executor.shutdown(wait=True)
            results.finish()
    except _OutputLost as lost:
        if not lost.reader_left:
            results.complain(f"cannot write the results: {lost}")
        _leave_now(executor, READER_LEFT if lost.reader_left else 1)
    if run.reader_waits:
        _leave_now(executor, 1)
    return 1 if results.failed else 0


def _parser() -> CommandParser:
    parser = CommandParser(prog="corefutures map", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("-b", "--backend", default="thread", help="a backend's name or MODULE:ATTR (default: thread)")
    parser.add_argument("-j", "--jobs", type=int, metavar="N", help="how many calls at once (max_workers)")
    add_backend_options(parser)
    parser.add_argument("--json", action="store_true", help="items and results are JSON values, one a line")
    parser.add_argument("--unordered", action="store_true", help="print results as calls end")
    parser.add_argument("--traceback", action="store_true", help="report errors with their tracebacks")
    parser.add_argument("function", metavar="MODULE:FUNC", help="a function of one argument")
    parser.add_argument("items", metavar="ITEM", nargs="*", help="what to call it with (default: standard input)")
    return parser


def _create(backend: str, options: dict[str, Any]) -> Any:
    try:
        return create_executor(backend, **options)
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from error
    except (ImportError, OSError, AttributeError, NotImplementedError) as error:
        raise UsageError(f"backend {backend!r} cannot start: {told(error)}") from error


def _lines(stream: TextIO | None) -> Iterator[str]:
    if stream is None:
        raise UsageError("there are neither items nor a standard input")
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="surrogateescape")  # a file's name may be no valid text, as in arguments
    if stream.isatty():
        print("corefutures map: reading items from the terminal, one a line", file=sys.stderr)
    for line in stream:
        yield line.rstrip("\n")


class _Call:
    """One item on its way from the input to the output."""

    __slots__ = ("error", "future", "item", "number")

    def __init__(self, number: int, item: str) -> None:
        self.number = number
        self.item = item
        self.future: Future[Any] | None = None
        self.error: BaseException | None = None  # it failed before it could be submitted

    @property
    def done(self) -> bool:
        return self.error is not None or (self.future is not None and self.future.done())

    def outcome(self) -> tuple[Any, BaseException | None]:
        """The result and the error, of which one counts; only once it is done."""
        if self.error is not None or self.future is None:
            return None, self.error
        if self.future.cancelled():
            return None, CancelledError("the call was cancelled")
        # Not result(), which raises: a KeyboardInterrupt raised by the function is not the user's.
        error = self.future.exception()
        return (None, error) if error is not None else (self.future.result(), None)


class _InputEnded:
    """What the reading thread says last."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error


class _OutputLost(Exception):
    """Results cannot be written any more."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(cause.strerror or str(cause))
        self.reader_left = reader_left(cause)


class _Results:
    """The output: results on one stream, errors on standard error, the status line between them.

    Thread safety: for the main thread only.
    """

    def __init__(self, stream: TextIO, status_line: StatusLine, *, as_json: bool, tracebacks: bool) -> None:
        self.failed = 0
        self._done = 0
        self._stream = stream
        self._status_line = status_line
        self._as_json = as_json
        self._tracebacks = tracebacks
        self._shares_terminal = stream.isatty()
        self._flushed_at = time.monotonic()
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")

    def add(self, call: _Call) -> None:
        """Print the outcome of a call that is done."""
        value, error = call.outcome()
        self._done += 1
        if error is None:
            error = self._print(value)
        if error is not None:
            self.failed += 1
            self._report(call, error)
        self._status_line.draw(self._done, self.failed)

    def flush(self, *, more_is_ready: bool) -> None:
        """Let the reader see what was printed; a stream of results may collect for a moment."""
        now = time.monotonic()
        if more_is_ready and now - self._flushed_at < _FLUSH_AFTER:
            return
        self._flushed_at = now
        try:
            self._stream.flush()
        except OSError as error:
            raise _OutputLost(error) from error

    def finish(self) -> None:
        """Flush, and leave the terminal's line empty."""
        self._status_line.erase()
        self.flush(more_is_ready=False)

    def complain(self, sentence: str) -> None:
        """Say something on standard error."""
        self._status_line.erase()
        try:
            print(f"corefutures map: {sentence}", file=sys.stderr, flush=True)
        except (OSError, ValueError):  # nobody reads it
            pass

    def _print(self, value: Any) -> BaseException | None:
        """Write one result; the error, if it has no text form."""
        try:
            line = json.dumps(value, allow_nan=False) if self._as_json else str(value)
        except Exception as error:
            return error
        if self._shares_terminal:
            self._status_line.erase()
        try:
            self._stream.write(f"{line}\n")
        except UnicodeEncodeError as error:
            return error
        except OSError as error:
            raise _OutputLost(error) from error
        return None

    def _report(self, call: _Call, error: BaseException) -> None:
        text = f"item {call.number} ({reprlib.repr(call.item)}) failed: {told(error)}"
        if self._tracebacks:
            text += "\n" + "".join(traceback.format_exception(error)).rstrip()
        self.complain(text)


class _Run:
    """The way of all items through the executor.

    Actors: the reading thread, which takes a credit, reads an item and puts it on the queue; the
    executor, which puts each call there when it is done; the main thread, which does all the rest
    and gives a credit back for each result printed. Credits bound what is in memory.
    """

    def __init__(
        self,
        executor: Any,
        function: Callable[[Any], Any],
        items: Iterator[str],
        results: _Results,
        *,
        items_are_json: bool,
        in_order: bool,
    ) -> None:
        self.reader_waits = False
        self._executor = executor
        self._function = function
        self._items = items
        self._results = results
        self._items_are_json = items_are_json
        self._in_order = in_order
        self._events: queue.SimpleQueue[str | _Call | _InputEnded] = queue.SimpleQueue()
        self._credits: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._waiting: collections.deque[_Call] = collections.deque()  # unprinted, in the items' order
        self._unprinted = 0
        self._count = 0
        self._broken = False

    def run(self) -> None:
        """Run until the input has ended and everything is printed, or the executor broke."""
        # The first item is read and submitted before the reading thread exists: an executor that
        # forks does it now, while there is one thread.
        try:
            first = next(self._items)
        except StopIteration:
            return
        except (OSError, ValueError) as error:
            raise UsageError(f"standard input cannot be read: {told(error)}") from error
        for _ in range(WINDOW - 1):
            self._credits.put(None)
        self._submit(first)
        threading.Thread(target=self._read, name="corefutures-map-reader", daemon=True).start()
        reading = True
        while (reading and not self._broken) or self._unprinted:
            event = self._next_event()
            if isinstance(event, str):
                self._submit(event)
            elif isinstance(event, _Call):
                self._print(event)
            else:
                reading = False
                if event.error is not None:
                    self._results.failed += 1
                    self._results.complain(f"standard input cannot be read on: {told(event.error)}")
            self._results.flush(more_is_ready=not self._events.empty())
        if self._broken:
            self._results.complain("the executor is broken, the remaining items are not run")
            self.reader_waits = reading

    def _read(self) -> None:
        try:
            while True:
                self._credits.get()
                item = next(self._items, None)
                if item is None:
                    break
                self._events.put(item)
        except (OSError, ValueError) as error:
            self._events.put(_InputEnded(error))
        else:
            self._events.put(_InputEnded(None))

    def _next_event(self) -> str | _Call | _InputEnded:
        while True:
            try:
                return self._events.get(timeout=_LOOK_UP)
            except queue.Empty:
                continue

    def _submit(self, item: str) -> None:
        if self._broken:
            return
        self._count += 1
        call = _Call(self._count, item)
        self._unprinted += 1
        if self._in_order:
            self._waiting.append(call)
        try:
            argument = json.loads(item) if self._items_are_json else item
            call.future = self._executor.submit(self._function, argument)
        except BrokenExecutor as error:
            self._broken = True
            call.error = error
        except Exception as error:
            call.error = error
        if call.future is None:
            self._events.put(call)
        else:
            call.future.add_done_callback(lambda _: self._events.put(call))

    def _print(self, call: _Call) -> None:
        if not self._in_order:
            self._add(call)
            return
        while self._waiting and self._waiting[0].done:
            self._add(self._waiting.popleft())

    def _add(self, call: _Call) -> None:
        self._unprinted -= 1
        self._credits.put(None)
        self._results.add(call)
        call.future = None  # its callback refers to the call: not a cycle for the collector


@contextlib.contextmanager
def _interrupts_end_at_once(executor: Any) -> Iterator[None]:
    """Leave from within the signal handler: a KeyboardInterrupt would have to get past foreign code first."""
    is_ours = threading.current_thread() is threading.main_thread()
    if not is_ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # a caller of main() or the shell has decided what an interrupt does
        return
    signal.signal(signal.SIGINT, lambda *_: _leave_now(executor, INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave_now(executor: Any, status: int) -> NoReturn:
    """End this process although calls run or a thread waits for input."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not the main thread: somebody else's signals
        pass
    _kill_workers(executor)
    # The streams may be full, or locked by what was interrupted here: they get a moment. The thread is a bare
    # one because Thread.start() takes a lock, which may be what was interrupted.
    flushed = _thread.allocate_lock()
    flushed.acquire()
    _thread.start_new_thread(_flush_streams, (flushed,))
    flushed.acquire(timeout=_LAST_FLUSH)
    os._exit(status)


def _kill_workers(executor: Any) -> None:
    """Kill the worker processes, if there are any, without a lock or a word with the executor."""
    workers = list((getattr(executor, "_processes", None) or {}).values())
    active_children = getattr(sys.modules.get("multiprocessing"), "active_children", list)
    workers += active_children()
    for worker in workers:
        for verb in ("kill", "terminate"):  # loky's processes know only the second
            try:
                getattr(worker, verb)()
                break
            except Exception:  # it has ended, or it is no process
                continue


def _flush_streams(flushed: _thread.LockType) -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
    flushed.release()
