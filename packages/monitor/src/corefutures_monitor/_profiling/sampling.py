"""`profile`: samples of the stacks of workers, with the names of their calls, and the times of the calls.

Touches the observers, and `PoolExecutor.snapshot`, which knows the stacks of threads, processes and interpreters.
Guarantees: nothing runs in a worker but what answers a snapshot; no lock is taken, no call waits.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Final, NamedTuple

import corefutures_pools
from corefutures import Executor, add_observer, remove_observer
from corefutures.backend import check_seconds, clock, log_failure, shown, start_thread
from corefutures_pools.blocking import threading
from corefutures_pools.executor import OptionsView, PoolExecutor
from corefutures_pools.instrumentation import executor_info

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

    from corefutures_pools import CallRecord
    from corefutures_pools.inspection.snapshots import WorkerSnapshot


#: The functions of workers that run calls: innermost while a call runs a function of C, or one pickles it.
_ENTRANCES: Final = {("worker_loop.py", "serve"), ("_worker.py", "_run_calls")}
_POOLS: Final = os.path.dirname(corefutures_pools.__file__)
#: Seconds that a sample waits at most for workers to tell their stacks.
_PATIENCE: Final = 0.25
_UNKNOWN: Final = "a call"  # a snapshot's name for a call of which it has no other
_IN_C: Final = ("", "a function of C, or its pickling")

LOGGER = logging.getLogger("concurrent.futures")


class FunctionProfile(NamedTuple):
    """The calls of one function that ended while a profile was taken; times are sums in seconds.

    Attributes:
        function: The function's name.
        calls: How many of its calls have ended.
        failed: How many of them did not return.
        waited: For how long they waited for a worker.
        pickled: For how long their arguments were serialised, by the thread that submitted them; 0 in threads.
        ran: For how long they ran. In processes and interpreters the arguments are unpickled in that time, and the
            result is pickled.
        size: Bytes of their serialised arguments.
        result_size: Bytes of their serialised results.
    """

    function: str
    calls: int
    failed: int
    waited: float
    pickled: float
    ran: float
    size: int
    result_size: int


def profile(executor: Executor, /, *, interval: float = 0.01) -> Profile:
    """Find out in which lines and calls the workers of an executor spend their time, as long as a `with` block lasts.

    A thread of this process asks for a snapshot of the pool again and again: which call each worker runs, and its
    stack. So a profile sees threads, processes and interpreters alike, and needs no permission to trace processes.
    Observers add how long the calls waited, how long their arguments were pickled, and how long they ran.

    Args:
        executor: A pool of corefutures, or a view of one.
        interval: Seconds between two samples. A sample takes longer where workers have to answer.

    Returns:
        A context manager: `print` it for a table, or `write` it as a page with a flame graph.

    Raises:
        TypeError: `executor` is no pool of corefutures.
        ValueError: `interval` is not positive.
        UnsupportedError: Entering the block: nothing is known of the workers, as of those of an adapted executor.

    Thread safety: for one thread; the calls may be submitted in any.
    """
    if not isinstance(executor, PoolExecutor):
        raise TypeError(
            f"profile() takes a pool of corefutures, not {shown(executor)}: create_executor('thread') makes one"
        )
    check_seconds("interval", interval, positive=True)
    return Profile(executor, interval)


class Profile:
    """The context manager that `profile` returns, and what was found.

    Attributes:
        samples: How many samples were taken.
        seconds: For how long.
        stacks: Worker-seconds by stack: `("", name of the call)`, then `(file, function)` from the call's function on,
            innermost last.
        idle: Worker-seconds in which workers had no call.
    """

    def __init__(self, executor: PoolExecutor, interval: float) -> None:
        self.samples = 0
        self.seconds = 0.0
        self.stacks: dict[tuple[tuple[str, str], ...], float] = {}
        self.idle = 0.0
        self._executor = executor._cf_target if isinstance(executor, OptionsView) else executor
        self._interval = interval
        # Written by the observers' thread alone, in single steps.
        self._running: dict[str, str] = {}  # the name of a worker → that of its call
        self._functions: dict[str, list[Any]] = {}
        self._ends: threading.Event | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._thread is not None:
            raise RuntimeError("this profile is being taken already")
        self._executor.snapshot(timeout=0)  # refuses what can't be looked into
        self._ends = threading.Event()
        add_observer(self)
        try:
            self._thread = threading.Thread(
                target=self._sample, args=(self._ends,), name="corefutures-profile", daemon=True
            )
            start_thread(self._thread)
        except BaseException:
            self._thread = None
            remove_observer(self)
            raise
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        thread, self._thread = self._thread, None
        assert thread is not None
        assert self._ends is not None
        self._ends.set()
        try:
            thread.join()
        finally:
            remove_observer(self)

    def __str__(self) -> str:
        rows = [("function", "calls", "failed", "waited", "pickled", "ran", "arguments", "results")]
        for found in self.functions:
            waited, pickled, ran = (f"{seconds:.3f} s" for seconds in (found.waited, found.pickled, found.ran))
            sizes = f"{found.size:,} B", f"{found.result_size:,} B"
            rows.append((found.function, str(found.calls), str(found.failed), waited, pickled, ran, *sizes))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
        busy = sum(self.stacks.values())
        lines.append(
            f"{self.samples} samples in {self.seconds:.2f} s:"
            f" workers ran calls for {busy:.2f} s, and were idle for {self.idle:.2f} s"
        )
        lines += [f"  {seconds:.2f} s in {where}" for where, seconds in self._hottest()]
        return "\n".join(lines)

    @property
    def functions(self) -> tuple[FunctionProfile, ...]:
        """The calls by their functions, those that ran longest first."""
        found = [FunctionProfile(name, *sums) for name, sums in list(self._functions.items())]
        return tuple(sorted(found, key=lambda function: -function.ran))

    def collapsed(self) -> str:
        """Return the stacks as lines `call;function (file);… microseconds`, which other flame graph tools read."""
        lines = [
            f"{';'.join(described(frame).replace(';', ',') for frame in stack)} {round(seconds * 1e6)}\n"
            for stack, seconds in self.stacks.items()
        ]
        return "".join(sorted(lines))

    def write(self, path: str | os.PathLike[str], /, *, title: str = "") -> None:
        """Write a page of HTML that needs nothing else: a flame graph of the samples, and a table of the functions.

        Args:
            path: The file.
            title: The page's headline; the executor's name if empty.

        Raises:
            OSError: The file can't be written.
        """
        from corefutures_monitor._profiling.page import page

        found = {
            "samples": self.samples,
            "seconds": self.seconds,
            "idle": self.idle,
            "functions": [function._asdict() for function in self.functions],
        }
        with open(path, "w", encoding="utf-8") as file:
            file.write(page(title or executor_info(self._executor).name, found, self.stacks))

    # The hooks.

    def corefutures_call_started(self, call: CallRecord, worker: str) -> None:
        """Remember the name of a worker's call."""
        if call.executor_info is executor_info(self._executor):
            self._running[worker] = call.name

    def corefutures_call_finished(self, call: CallRecord) -> None:
        """Count a call that has ended."""
        self._running.pop(call.worker or "", None)
        self._count(call)

    def corefutures_call_cancelled(self, call: CallRecord) -> None:
        """Count a call that was cancelled."""
        self._count(call)

    def _count(self, call: CallRecord) -> None:
        if call.executor_info is not executor_info(self._executor):
            return
        sums = self._functions.setdefault(call.function, [0, 0, 0.0, 0.0, 0.0, 0, 0])
        ended = call.submitted if call.finished is None else call.finished
        started = ended if call.started is None else call.started
        for index, value in enumerate((
            1,
            call.outcome != "returned",
            max(0.0, started - call.submitted),
            call.pickling or 0.0,
            max(0.0, ended - started),
            call.size or 0,
            call.result_size or 0,
        )):  # fmt: skip
            sums[index] += value

    # The samples.

    def _sample(self, ends: threading.Event) -> None:
        before = clock.perf_counter()
        try:
            while not ends.wait(self._interval):
                seen = self._executor.snapshot(timeout=_PATIENCE)
                now = clock.perf_counter()
                elapsed, before = now - before, now
                self.samples += 1
                self.seconds += elapsed
                for worker in seen.workers:
                    self._add(worker, elapsed)
        except BaseException:  # the program goes on, with the samples so far
            log_failure(LOGGER, "the profile of %r has ended early", self._executor)

    def _add(self, worker: WorkerSnapshot, seconds: float) -> None:
        if not worker.calls:
            self.idle += seconds
            return
        frames = [(frame.file, frame.function) for frame in worker.stack]
        if worker.remark is not None:
            frames = [("", f"stack not known: {worker.remark}")]
        elif not frames or (os.path.basename(frames[-1][0]), frames[-1][1]) in _ENTRANCES:
            frames = [_IN_C]
        name = worker.calls[0].name
        if frames[0][1] == name and os.path.dirname(frames[0][0]).startswith(_POOLS):  # the function was not known
            name = _UNKNOWN
        if name == _UNKNOWN:  # observers hear of a call a little later than it runs, but know its name
            name = self._running.get(worker.name, name)
        stack = (("", name), *frames)
        self.stacks[stack] = self.stacks.get(stack, 0.0) + seconds

    def _hottest(self) -> list[tuple[str, float]]:
        """Return the innermost functions with the most time, and that time."""
        own: dict[str, float] = {}
        for stack, seconds in self.stacks.items():
            own[described(stack[-1])] = own.get(described(stack[-1]), 0.0) + seconds
        return sorted(own.items(), key=lambda item: -item[1])[:5]


def described(frame: tuple[str, str]) -> str:
    """Return the name of a function with the name of its file; of a call, its name."""
    file, function = frame
    return f"{function} ({os.path.basename(file)})" if file else function
