"""Run a Python function over many items.

One thread reads items, the main thread sends them in batches and prints what comes back; both wait on a queue only.
Guarantees: about `WINDOW` items are in memory at most; an interrupt ends it at once.
"""

from __future__ import annotations

import _thread
import argparse
import codecs
import collections
import contextlib
import io
import os
import queue
import reprlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Future
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn, TextIO

from corefutures import create_executor
from corefutures.backend import describe_error
from corefutures.cli import (
    INTERRUPTED,
    READER_LEFT,
    CommandParser,
    UsageError,
    add_backend_options,
    backend_options,
    reader_left,
    seconds,
)
from corefutures_tools._batch import run_batch
from corefutures_tools._commands.functions import add_items, import_function
from corefutures_tools._commands.status_line import StatusLine

if TYPE_CHECKING:
    from corefutures_tools._batch import Outcome

#: How many items may be between their reading and the printing of their results, unless batches are larger.
WINDOW: Final = 4096

#: When its size is automatic: seconds of work that a batch is to hold, and after which it sends back what is not begun.
_WORTH: Final = 0.002
_ENOUGH: Final = 0.02

#: How many items an automatic batch has at most.
_LARGEST: Final = 512

#: How many batches each worker may have, the one that it runs included.
_AHEAD: Final = 4

#: How many workers an executor is taken to have that doesn't say it.
_WORKERS: Final = 16

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
  corefutures map math:sqrt --json-lines 1 4 9
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
    parsed = parser().parse_intermixed_args(arguments)
    options = backend_options(parsed.options)
    if parsed.jobs is not None:
        if "max_workers" in options:
            raise UsageError("-j and -o max_workers are the same option")
        options["max_workers"] = parsed.jobs
    chunksize = parsed.chunksize
    if parsed.timeout is not None:
        if chunksize not in (None, 1):
            raise UsageError("--timeout limits one call, and a batch is one: leave out --chunksize")
        chunksize = 1
    if sys.stdout is None:
        raise UsageError("there is no standard output for the results")
    function, _ = import_function(parsed.function)
    executor = _create(parsed.backend, options)
    call = partial(run_batch, function, as_json=parsed.json_lines, tracebacks=parsed.traceback)
    blocks = iter([parsed.items]) if parsed.items else _blocks(sys.stdin)
    status_line = StatusLine(sys.stderr, len(parsed.items) or None)
    results = _Results(sys.stdout, status_line)
    run = _Run(_limited(executor, parsed.timeout), call, blocks, results, chunksize, in_order=not parsed.unordered)
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


def parser() -> CommandParser:
    """Return the parser of the command's arguments."""
    parser = CommandParser(prog="corefutures map", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("-b", "--backend", default="thread", help="a backend's name or MODULE:ATTR (default: thread)")
    parser.add_argument("-j", "--jobs", type=int, metavar="N", help="how many calls at once (max_workers)")
    add_backend_options(parser)
    parser.add_argument(
        "--chunksize",
        type=_chunksize,
        metavar="N",
        help="how many items at most travel to a worker together (default: measured; 1 if a call takes long)",
    )
    parser.add_argument(
        "--timeout", type=seconds, metavar="SECONDS", help="how long one call may take; not every backend can stop one"
    )
    parser.add_argument("--unordered", action="store_true", help="print results as calls end")
    parser.add_argument("--traceback", action="store_true", help="report errors with their tracebacks")
    add_items(parser, "items and results are JSON values, one a line", formerly="--json")
    return parser


def _chunksize(text: str) -> int:
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"must be a whole number greater than 0, not {text!r}")
    return int(text)


def _create(backend: str, options: dict[str, Any]) -> Any:
    try:
        return create_executor(backend, **options)
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from error
    except (ImportError, OSError, AttributeError, NotImplementedError) as error:
        raise UsageError(f"backend {backend!r} cannot start: {describe_error(error)}") from error


def _limited(executor: Any, timeout: float | None) -> Any:
    """Return the executor to submit to, so that each call ends after `timeout` seconds."""
    if timeout is None:
        return executor
    try:
        if not hasattr(executor, "options"):
            raise UsageError(f"{type(executor).__name__} can't limit how long a call runs; -b process can")
        return executor.options(timeout=timeout)
    except BaseException:
        executor.shutdown(wait=False)
        raise


def _blocks(stream: TextIO | None) -> Iterator[list[str]]:
    """Yield the lines of a stream, as many at a time as have arrived; without line ends, those of Windows too."""
    if stream is None:
        raise UsageError("there are neither items nor a standard input")
    if stream.isatty():
        print("corefutures map: reading items from the terminal, one a line", file=sys.stderr)
    if not isinstance(stream, io.TextIOWrapper):  # a caller of main() has put something else there
        yield from ([line.removesuffix("\n").removesuffix("\r")] for line in stream)
        return
    # A file's name may be no valid text, as in arguments.
    decoder = codecs.getincrementaldecoder(stream.encoding)("surrogateescape")
    begun: list[str] = []  # the parts of a line whose end has not arrived
    while block := stream.buffer.read1(1 << 16):
        first, *rest = decoder.decode(block).split("\n")
        begun.append(first)
        if rest:
            lines = ["".join(begun), *rest[:-1]]
            begun = [rest[-1]]
            yield [line.removesuffix("\r") for line in lines]
    begun.append(decoder.decode(b"", final=True))
    if last := "".join(begun):
        yield [last.removesuffix("\r")]


class _Batch:
    """Items on their way through the executor together, each with its number."""

    __slots__ = ("error", "future", "items", "numbers")

    def __init__(self, numbers: list[int], items: list[str]) -> None:
        self.numbers = numbers
        self.items = items
        self.future: Future[Any] | None = None
        self.error: BaseException | None = None  # it could not be submitted

    def outcome(self) -> tuple[Any, BaseException | None]:
        """Return the worker's result and the error, one of which is None; only once it is done."""
        if self.error is not None or self.future is None:
            return None, self.error
        if self.future.cancelled():
            return None, CancelledError("the call was cancelled")
        # Not result(), which raises: a KeyboardInterrupt raised by the function is not the user's.
        error = self.future.exception()
        return (None, error) if error is not None else (self.future.result(), None)


class _InputEnded:
    """The last event of the reading thread."""

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

    def __init__(self, stream: TextIO, status_line: StatusLine) -> None:
        self.failed = 0
        self._done = 0
        self._stream = stream
        self._status_line = status_line
        self._shares_terminal = stream.isatty()
        self._flushed_at = time.monotonic()
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")

    def add(self, outcomes: Iterable[tuple[int, str, Outcome]]) -> None:
        """Print outcomes: of each item its number, the item, and what became of it."""
        lines: list[tuple[int, str, str]] = []
        for number, item, outcome in outcomes:
            self._done += 1
            if isinstance(outcome, str):
                lines.append((number, item, outcome))
                continue
            self._print(lines)
            lines = []
            self._fail(number, item, *outcome)
        self._print(lines)
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

    def _print(self, lines: list[tuple[int, str, str]]) -> None:
        """Write results; one that has no form in the stream's encoding fails alone."""
        if not lines:
            return
        if self._shares_terminal:
            self._status_line.erase()
        try:
            self._stream.write("".join([f"{line}\n" for _, _, line in lines]))
        except UnicodeEncodeError as error:  # nothing of it was written
            if len(lines) > 1:
                for each in lines:
                    self._print([each])
            else:
                self._fail(lines[0][0], lines[0][1], describe_error(error), "")
        except OSError as error:
            raise _OutputLost(error) from error

    def _fail(self, number: int, item: str, reason: str, trace: str) -> None:
        self.failed += 1
        self.complain(f"item {number} ({reprlib.repr(item)}) failed: {reason}" + (f"\n{trace}" if trace else ""))


class _Run:
    """The run of all items through the executor, with credits as flow control.

    Three actors: the reading thread waits for credit, reads lines and puts them on the queue. The executor puts each
    batch on the queue when it is done. The main thread does the rest, and grants the reading thread a credit for each
    printed result. The credits bound the number of items in memory.

    An automatic batch is as large as is worth its transport, and at most an equal share of the waiting items, so that
    it delays no others. When a call takes longer than those before it, the items behind it return to the queue.
    """

    def __init__(
        self,
        executor: Any,
        call: Callable[..., tuple[float, list[Outcome]]],
        blocks: Iterator[list[str]],
        results: _Results,
        chunksize: int | None = None,
        *,
        in_order: bool = True,
    ) -> None:
        self.reader_waits = False
        self._executor = executor
        self._call = call
        self._blocks = blocks
        self._results = results
        self._chunksize = chunksize
        self._in_order = in_order
        self._workers: int = getattr(executor, "_max_workers", None) or _WORKERS
        self._pace = 0.0  # seconds that an item takes; 0 while nothing is measured
        self._events: queue.SimpleQueue[list[str] | _Batch | _InputEnded] = queue.SimpleQueue()
        self._credits: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._waiting: collections.deque[tuple[int, str]] = collections.deque()  # numbered items that are not sent
        self._sent = 0  # batches
        self._ready: dict[int, tuple[str, Outcome]] = {}  # outcomes by number, not printed
        self._unprinted = 0
        self._count = 0
        self._next = 1  # the number that is printed next, in order
        self._broken = False

    def run(self) -> None:
        """Run until the input has ended and everything is printed, or the executor broke."""
        # The first lines are read and submitted before the reading thread exists: an executor that
        # forks does it now, while there is one thread.
        try:
            first = next(self._blocks)
        except StopIteration:
            return
        except (OSError, ValueError) as error:
            raise UsageError(f"standard input cannot be read: {describe_error(error)}") from error
        credit = max(WINDOW, 2 * (self._chunksize or 1) * self._workers)
        self._queue(first[:credit])
        self._credits.put(credit - len(first[:credit]))
        self._submit()
        reading = threading.Thread(
            target=self._read, args=(first[credit:],), name="corefutures-map-reader", daemon=True
        )
        reading.start()
        more = True
        while (more and not self._broken) or self._unprinted:
            event = self._next_event()
            if isinstance(event, list):
                self._queue(event)
            elif isinstance(event, _Batch):
                self._collect(event)
            else:
                more = False
                if event.error is not None:
                    self._results.failed += 1
                    self._results.complain(f"standard input cannot be read on: {describe_error(event.error)}")
            self._submit()
            self._results.flush(more_is_ready=not self._events.empty())
        if self._broken:
            self._results.complain("the executor is broken, the remaining items are not run")
            self.reader_waits = more

    def _read(self, lines: list[str]) -> None:
        credit = 0
        try:
            while True:
                while lines:
                    while not credit:
                        credit += self._credits.get()
                    part, lines = lines[:credit], lines[credit:]
                    credit -= len(part)
                    self._events.put(part)
                while not credit:  # read only as much as may be in memory
                    credit += self._credits.get()
                block = next(self._blocks, None)
                if block is None:
                    break
                lines = block
        except (OSError, ValueError) as error:
            self._events.put(_InputEnded(error))
        else:
            self._events.put(_InputEnded(None))

    def _next_event(self) -> list[str] | _Batch | _InputEnded:
        while True:
            try:
                return self._events.get(timeout=_LOOK_UP)
            except queue.Empty:
                continue

    def _queue(self, lines: list[str]) -> None:
        """Append items to the queue."""
        if not self._broken:
            self._waiting.extend(enumerate(lines, self._count + 1))
            self._count += len(lines)
            self._unprinted += len(lines)

    def _submit(self) -> None:
        """Send what waits, as long as the workers have not enough."""
        while self._waiting and self._sent < _AHEAD * self._workers:
            parts = [self._waiting.popleft() for _ in range(min(self._size(), len(self._waiting)))]
            batch = _Batch([number for number, _ in parts], [item for _, item in parts])
            self._sent += 1
            budget = _ENOUGH if self._chunksize is None else None
            try:
                batch.future = self._executor.submit(self._call, batch.items, seconds=budget)
            except BrokenExecutor as error:
                self._broken = True
                self._unprinted -= len(self._waiting)
                self._waiting.clear()
                batch.error = error
            except Exception as error:
                batch.error = error
            if batch.future is None:
                self._events.put(batch)
            else:
                batch.future.add_done_callback(partial(self._done, batch))

    def _done(self, batch: _Batch, _: Future[Any]) -> None:
        self._events.put(batch)

    def _size(self) -> int:
        if self._chunksize is not None:
            return self._chunksize
        if not self._pace:
            return 1
        share = -(-len(self._waiting) // self._workers)
        return max(1, min(int(_WORTH / self._pace), share, _LARGEST))

    def _collect(self, batch: _Batch) -> None:
        """Store the outcomes of a batch; items that it has not begun wait again, before all others."""
        self._sent -= 1
        value, error = batch.outcome()
        batch.future = None  # its callback refers to the batch: not a cycle for the collector
        outcomes: list[Outcome]
        if error is None:
            took, outcomes = value
            pace = took / len(outcomes)
            self._pace = max(pace, 0.7 * self._pace + 0.3 * pace, 1e-9)
        else:
            outcomes = [(describe_error(error), "")] * len(batch.items)
        back = list(zip(batch.numbers, batch.items, strict=True))[len(outcomes) :]
        if self._broken:
            self._unprinted -= len(back)
        else:
            self._waiting.extendleft(reversed(back))
        # Not strict: what is left of the numbers and items waits again.
        for number, item, outcome in zip(batch.numbers, batch.items, outcomes, strict=False):
            self._ready[number] = (item, outcome)
        self._print()

    def _print(self) -> None:
        if not self._in_order or self._broken:  # of a broken executor some never come
            numbers = sorted(self._ready)
        else:
            numbers = []
            while self._next in self._ready:
                numbers.append(self._next)
                self._next += 1
        if numbers:
            self._unprinted -= len(numbers)
            self._credits.put(len(numbers))
            self._results.add((number, *self._ready.pop(number)) for number in numbers)


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
