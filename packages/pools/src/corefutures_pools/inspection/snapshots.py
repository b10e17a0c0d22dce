"""Snapshots of pools: `Snapshot`, and `dump`, which prints one of every living executor.

Touches the core's table of living executors, and `stacks`. Guarantees: a snapshot waits for no lock that a call, a
worker or an interrupted thread may hold, and for no worker beyond its time limit.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from corefutures._blocking import clock, system, threading
from corefutures._error_text import describe_error
from corefutures._exceptions import UnsupportedError
from corefutures._instrumentation import executors
from corefutures._options import check_count, check_seconds, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TextIO

    from corefutures_pools.inspection.stacks import Frame

#: How many of the waiting calls a snapshot names.
NAMED: Final = 10


class CallSnapshot(NamedTuple):
    """A call that runs.

    Attributes:
        name: Its name (`options(name=…)`), or else its function's.
        seconds: The time that it has run; None if that is not known.
        at_least: Whether it may have run for longer than `seconds`.
    """

    name: str
    seconds: float | None
    at_least: bool = False

    def __str__(self) -> str:
        if self.seconds is None:
            return self.name
        return f"{self.name} for {'at least ' if self.at_least else ''}{self.seconds:.1f} s"


class WorkerSnapshot(NamedTuple):
    """A worker and its calls.

    Attributes:
        name: The worker's name.
        pid: The id of its process; None in this process.
        thread: The ident of its thread, None if it is a process.
        state: "starting" (also while its initializer runs), "idle", "running", or "spare": it takes no calls until a
            worker is needed.
        calls: The calls that it runs, innermost last; more than one if a call waits for others, which run in its place.
        stack: Its stack, innermost last, as `Frame`s of `file`, `line` and `function`: from its outermost call on, if
            it runs any. Empty if it is not known.
        remark: The reason why the stack is not known; None if it is.
    """

    name: str
    pid: int | None
    thread: int | None
    state: str
    calls: tuple[CallSnapshot, ...]
    stack: tuple[Frame, ...]
    remark: str | None

    def __str__(self) -> str:
        where = f"process {self.pid}" if self.pid is not None else f"thread {self.thread or 'not started'}"
        does = "is " + self.state if not self.calls else "runs " + ", in it ".join(map(str, self.calls))
        lines = [f"  {self.name} ({where}) {does}"]
        if self.remark is not None:
            lines.append(f"    {self.remark}")
        if self.state not in ("idle", "spare"):
            lines += _stack_lines(self.stack)
        return "\n".join(lines)


class Snapshot(NamedTuple):
    """The state of an executor, its workers and its calls; `str` makes a page of it.

    Attributes:
        name: The executor's name.
        state: "open", "shutting down" or "shut down", or the reason why it is broken.
        max_workers: The largest number of workers.
        workers: The workers that there are.
        running: The number of calls that run.
        waiting: The number of calls that wait for a worker.
        first_waiting: The names of the first calls that wait, ten at most.
    """

    name: str
    state: str
    max_workers: int
    workers: tuple[WorkerSnapshot, ...]
    running: int
    waiting: int
    first_waiting: tuple[str, ...]

    def __str__(self) -> str:
        spares = sum(worker.state == "spare" for worker in self.workers)
        counts = f"{len(self.workers) - spares} of {self.max_workers} workers, "
        counts += f"{self.running} running, {self.waiting} waiting{f', {spares} spare' if spares else ''}"
        lines = [f"{self.name} ({self.state}): {counts}", *map(str, self.workers)]
        if self.first_waiting:
            more = self.waiting - len(self.first_waiting)
            lines.append(f"  waiting: {', '.join(self.first_waiting)}{f' and {more} more' if more > 0 else ''}")
        return "\n".join(lines)


def since_when(future: Any, since: float | None) -> tuple[float | None, bool]:
    """Return for how long a call has run, and whether it may be longer.

    Args:
        future: The call's future. It remembers when it was first found running.
        since: The start of the call, by `time.monotonic`; None if that is not known.
    """
    now = clock.monotonic()
    if since is not None:
        return max(0.0, now - since), False
    seen: float | None = future._cf_seen
    if seen is None:
        future._cf_seen = now
        return None, True
    return now - seen, True


def dump(file: TextIO | None = None, *, timeout: float = 1.0) -> None:
    """Print a snapshot of every living executor: which calls run where, since when and at which line, and which wait.

    Args:
        file: The file to write to; standard error if None.
        timeout: Seconds to wait for the stacks of each executor's workers; a late worker is shown without its stack.

    Thread safety: may be called from any thread or signal handler, also while a pool hangs.
    """
    check_seconds("timeout", timeout)
    _check_file(file)
    pages = [_page(executor, timeout) for executor in executors.all()]
    text = "\n\n".join([f"{len(pages)} executors in process {system.getpid()}", *pages])
    _write(text + "\n", file)


def dump_on_signal(signum: int | None = None, file: TextIO | None = None) -> None:
    """Have `dump` called whenever this process gets a signal: `kill -USR1 …` asks a program why it hangs.

    The environment variable COREFUTURES_DUMP_SIGNAL (`USR1`) does the same for a program that is not to be changed.

    Args:
        signum: The signal; SIGUSR1 if None.
        file: The file to write to; standard error if None.

    Raises:
        TypeError: `signum` is no number, or `file` no text file.
        ValueError: This is not the main thread, or there is no such signal, or one that can't be handled.

    Thread safety: for the main thread.
    """
    import signal

    if signum is None:
        signum = getattr(signal, "SIGUSR1", None)
        if signum is None:
            raise ValueError("this platform has no SIGUSR1: name another signal, such as signal.SIGBREAK")
    check_count("signum", signum, optional=False)
    _check_file(file)
    if threading.current_thread() is threading.main_thread() and signum not in signal.valid_signals():
        raise ValueError(f"there is no signal {signum} here: name one such as signal.SIGUSR1")
    try:
        signal.signal(signum, lambda _number, _frame: dump(file))
    except OSError as error:
        raise ValueError(f"signal {signum} can't be handled ({error}): name another, such as signal.SIGUSR1") from None


def follow_variable(variable: str) -> None:
    """Call `dump_on_signal` with the signal that an environment variable names, unless the program handles that."""
    import signal

    if threading.current_thread() is not threading.main_thread():
        return
    name = os.environ[variable].upper()
    signum = getattr(signal, name if name.startswith("SIG") else f"SIG{name}", None)
    if isinstance(signum, signal.Signals) and signal.getsignal(signum) is signal.SIG_DFL:
        dump_on_signal(signum)


def _page(executor: Any, timeout: float) -> str:
    try:
        return str(executor.snapshot(timeout=timeout))
    except UnsupportedError:
        return f"{type(executor).__name__}: can't be looked into"
    except Exception as exc:  # the other executors are shown in any case
        return f"{type(executor).__name__}: could not be looked into ({describe_error(exc)})"


def _check_file(file: object) -> None:
    if file is not None and not callable(getattr(file, "write", None)):
        raise TypeError(f"file must be a text file or None, not {shown(file)}: open it, open({shown(file)}, 'w')")


def _write(text: str, file: TextIO | None) -> None:
    file = sys.stderr if file is None else file
    if file is None:  # a program without a console
        return
    try:
        file.write(text)
        file.flush()
    except RuntimeError:  # a handler that interrupts a write to the same file
        system.write(file.fileno(), text.encode(errors="backslashreplace"))


def _stack_lines(stack: Iterable[Frame]) -> list[str]:
    import linecache

    lines = []
    for file, line, function in stack:
        lines.append(f'    File "{file}", line {line}, in {function}')
        if source := linecache.getline(file, line).strip():
            lines.append(f"      {source}")
    return lines


def first_names(futures: Iterable[Any], name: Callable[[Any], str]) -> tuple[str, ...]:
    """Return the names of the first calls that wait."""
    return tuple(future._cf_name or name(future) for future, _ in zip(futures, range(NAMED), strict=False))
