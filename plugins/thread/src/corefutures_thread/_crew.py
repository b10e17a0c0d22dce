"""The workers of one pool, and how calls, workers and the end of the pool find each other.

Touches the door and `_worker`. Guarantees: a call never waits while a worker is idle or could be started; no
lock is held where a call, a wake-up or the end passes, so whoever is interrupted, forked or collected there
leaves nothing locked.
"""

from __future__ import annotations

import _thread
import concurrent.futures.thread as _standard
import logging
import threading
import time
from collections import deque
from contextvars import Context
from itertools import count
from operator import call
from queue import Empty
from types import SimpleNamespace

from corefutures_pools.blocking import clock, start_thread
from corefutures_pools.foreign_code import copied, for_each, log_failure
from corefutures_pools.future import PENDING, RUNNING
from corefutures_pools.helping import call_names
from corefutures_pools.instrumentation import name_of
from corefutures_thread._worker import work

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from corefutures_pools.admission import PendingLimiter
    from corefutures_pools.future import PoolFuture
    from corefutures_pools.helping import WorkerThread
    from corefutures_pools.inspection.snapshots import CallSnapshot, Snapshot
    from corefutures_pools.inspection.stacks import Frame
    from corefutures_pools.stats import Stats

LOGGER = logging.getLogger("concurrent.futures")

#: How many records of past calls are kept before they are added up.
_MOST_RECORDS = 64
#: How often the calls are counted, at most, until two counts agree: they may never while calls keep coming.
_MOST_COUNTS = 100


class Calls(deque["PoolFuture[Any]"]):
    """The calls that wait for a worker, oldest first."""

    # What programs do with the standard library's `_work_queue`: look at it, and take out what waits, to cancel it.
    qsize = deque.__len__

    def empty(self) -> bool:
        """Returns whether nothing waits."""
        return not self

    def get_nowait(self) -> Any:
        """Takes out the oldest call; its `future` is to be cancelled then.

        Raises:
            queue.Empty: There is none.
        """
        try:
            return SimpleNamespace(future=self.popleft())
        except IndexError:
            raise Empty from None

    def put(self, item: object) -> None:
        """Does nothing: no worker needs to be woken by an item that is no call."""


class Crew:
    """The calls, the workers and the state of one pool. Workers know their crew, never the pool.

    How a call and a worker find each other:

    1. A submitter appends its call to `calls`, then takes a worker out of `idle` and wakes it.
    2. A worker that finds no call enters itself into `idle`, then looks into `calls` again, then sleeps.

    Whatever the interleaving, the submitter finds the worker or the worker finds the call. The end works the
    same way:

    1. `close` sets `closed`, then wakes everybody in `idle`.
    2. A worker leaves if, being in `idle`, it sees `closed` and after that finds no call.
    3. A submitter looks at `closed` once more after it has appended its call, and takes it back if it can.

    `staffed` says to submitters that neither another worker nor the end need be thought of. It becomes true in a worker
    that begins (`enlist`), and false when the crew is closed. If both come together it may be true for a moment in
    between: whoever appends a call by then has it run by that worker, or failed if its initializer fails.

    Whoever takes a worker out of `idle` wakes it. Assumptions: append, pop and remove of a deque are atomic and
    ordered, which CPython promises with and without the GIL.
    """

    __slots__ = (
        "__weakref__",
        "_ending",
        "_initargs",
        "_initializer",
        "_made",
        "_name_prefix",
        "_numbers",
        "_past",
        "_wake",
        "broken_error",
        "calls",
        "closed",
        "current_workers",
        "idle",
        "limiter",
        "max_workers",
        "owner",
        "refusal",
        "staffed",
        "threads",
    )  # fmt: skip

    def __init__(
        self,
        max_workers: int,
        name_prefix: str,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        broken_error: type[Exception],
        limiter: PendingLimiter | None = None,
    ) -> None:
        self.max_workers = max_workers
        self._name_prefix = name_prefix
        self._initializer = initializer
        self._initargs = initargs
        self.broken_error = broken_error
        self.calls = Calls()
        # Those that were taken out of there to be ended, not run: a forked child ends them, too.
        self._ending: list[deque[PoolFuture[Any]]] = []
        # What wakes each idle worker: `release` of its turnstile, which is locked while it is here.
        self.idle: deque[Any] = deque()
        self._numbers = count()  # for the names of the workers
        # Takes a worker out of `idle` and wakes it, in one step of the interpreter that allocates nothing (before 3.12,
        # that may collect garbage): a signal handler or finaliser that came between the two, and shut the pool down,
        # would wait for a worker that nobody wakes.
        self._wake = map(call, iter(self.idle.pop, None)).__next__
        self.threads: dict[threading.Thread, int] = {}  # worker → the thread that started it
        self.current_workers: dict[int, WorkerThread] = {}  # worker's ident → the calls it is busy with
        self.closed = False
        self.staffed = False  # all workers that there may be have begun, and it is not closed
        self.refusal: Exception | None = None  # what submitters are told once it is closed
        self.owner: Callable[[], object] = lambda: None  # returns the pool as long as there is one, for observers
        self.limiter = limiter
        self._made = clock.monotonic()
        # How many calls finished, failed or were cancelled elsewhere than in a worker that is still here.
        self._past: deque[tuple[int, int, int]] = deque()

    def wake_one(self) -> bool:
        """Wakes the worker that went idle last; returns False if none is idle."""
        try:
            self._wake()
        except IndexError:
            return False
        return True

    def staff(self) -> None:
        """Sees to it that somebody comes for a call just appended: an idle worker, or a new one if allowed.

        Raises:
            RuntimeError: There is no worker, and the system can't start a thread.
        """
        try:
            self._wake()
            return
        except IndexError:
            pass
        if len(self.threads) >= self.max_workers:
            return
        thread = threading.Thread(target=work, args=(self, self._initializer, self._initargs))
        starter = _thread.get_ident()
        try:
            # Entered first, counted then: of those that come together, the first ones to enter have the places.
            self.threads[thread] = starter
            if list(self.threads).index(thread) >= self.max_workers:
                del self.threads[thread]
                return
            thread.name = f"{self._name_prefix}_{next(self._numbers)}"
            _standard._threads_queues[thread] = self.calls  # type: ignore[index]  # programs take out whom they don't want to wait for
            start_thread(thread)
        except BaseException as exc:
            # Alive, it was interrupted while it waited for the thread to run. But what a signal handler raises may be
            # taken by `threading` for a failed start: the thread, if it had got no further, dies when it has begun.
            #
            # 1. We forget it, then look whether it is in `current_workers`.
            # 2. A worker enters itself into `current_workers`, then among the threads, if it is not there (`enlist`).
            if isinstance(exc, Exception) or not thread.is_alive():
                self.threads.pop(thread, None)
                if thread.ident in self.current_workers:
                    self.threads.setdefault(thread, starter)
            if not isinstance(exc, Exception):
                raise
            if not self.threads:
                self._strand(exc)
                raise
            log_failure(LOGGER, "could not start another worker thread", level=logging.WARNING)

    def enlist(self, thread: threading.Thread) -> None:
        """Has a worker counted that runs although its start was interrupted: for workers, when they begin."""
        self.threads.setdefault(thread, _thread.get_ident())
        self.staffed = len(self.current_workers) >= self.max_workers
        if self.closed:
            self.staffed = False

    def _strand(self, cause: Exception) -> None:
        """Fails the calls that others submitted when they saw a worker that could not be started."""

        def strand(future: PoolFuture[Any]) -> None:
            stranded = RuntimeError(f"no worker thread could be started: {cause}")
            stranded.__cause__ = cause
            failed = future._cf_abandon(stranded)
            self.record(failed=failed, cancelled=not failed)

        self._end_waiting(strand)

    def close(self, refusal: Exception) -> None:
        """Lets the workers leave once the calls are done; submitters get a copy of `refusal` from now on."""
        if self.refusal is None:
            self.refusal = refusal
        self.turn_away()
        while self.wake_one():
            pass
        if self.limiter is not None:
            self.limiter.close()

    def turn_away(self) -> None:
        """Has no more calls taken."""
        self.closed = True
        self.staffed = False

    def fail(self, message: str, cause: BaseException) -> None:
        """Breaks the pool: what waits fails with `cause` as the cause, and so does what is submitted later."""
        broken = self.broken_error(message)
        broken.__cause__ = cause
        self.refusal = broken
        self.close(broken)

        def abandon(future: PoolFuture[Any]) -> None:
            failed = future._cf_abandon(self.refuse())
            self.record(failed=failed, cancelled=not failed)

        self._end_waiting(abandon)

    def cancel_waiting(self) -> None:
        """Cancels all calls that wait.

        Raises:
            BaseException: What callbacks raise that is no `Exception`, once all are cancelled (F4).
        """

        def cancel(future: PoolFuture[Any]) -> None:
            self.record(cancelled=1)
            future.cancel()

        self._end_waiting(cancel)

    def refuse(self) -> Exception:
        """Returns an exception of its own for each submitter or future that is turned down (E5)."""
        refusal = self.refusal
        assert refusal is not None
        own = type(refusal)(*refusal.args)
        own.__cause__ = refusal.__cause__
        return own

    def _end_waiting(self, end: Callable[[PoolFuture[Any]], object]) -> None:
        """Takes all calls that wait out of the queue, and has each ended by `end`."""
        taken: deque[PoolFuture[Any]] = deque()
        self._ending.append(taken)
        take = map(taken.append, iter(self.calls.popleft, None)).__next__  # in one step: see `_run_calls`
        try:
            while True:
                take()
        except IndexError:
            pass
        finally:
            try:
                for_each(end, taken)
            finally:
                self._ending.remove(taken)

    def waiting_calls(self) -> list[PoolFuture[Any]]:
        """Returns the calls that no worker has, or will have: for a forked child, in which nothing else moves."""
        return [future for calls in (self.calls, *self._ending) for future in calls]

    def claim(self, future: PoolFuture[Any]) -> bool:
        """Takes a call that waits out of the queue, for a thread that waits for it; False if it is not there."""
        while future._state == PENDING:
            try:
                self.calls.remove(future)
                return True
            except ValueError:
                return False
            except IndexError:  # somebody appended or took a call meanwhile
                continue
        return False

    def employs_current_thread(self) -> bool:
        """Returns whether this is called by one of the workers."""
        return _thread.get_ident() in self.current_workers

    def dismiss(self, ident: int) -> None:
        """Forgets a worker that leaves, but not what it did."""
        host = self.current_workers.pop(ident, None)
        if host is not None:
            self.record(host.finished, host.failed, host.cancelled)

    def record(self, finished: int = 0, failed: int = 0, cancelled: int = 0) -> None:
        """Counts calls that ended elsewhere than in a worker that is still here. Takes no lock: see `Crew`."""
        past = self._past
        past.append((finished, failed, cancelled))
        if len(past) > _MOST_RECORDS:  # others may find that as well: each adds up what it gets
            taken = [(0, 0, 0)]
            try:
                while len(past) > _MOST_RECORDS // 2:
                    taken.append(past.popleft())
            except IndexError:
                pass
            finally:
                past.append(tuple(map(sum, zip(*taken, strict=True))))  # type: ignore[arg-type]

    def stats(self) -> Stats:
        """Returns what became of the calls."""
        from corefutures_pools.cpu import thread_seconds  # here for start-up time only
        from corefutures_pools.stats import Stats, total  # here for start-up time only

        counts = self._count()
        for _ in range(_MOST_COUNTS):
            before, counts = counts, self._count()
            if counts == before:
                break
        alive = [thread for thread in list(self.threads) if thread.is_alive()]
        cpu_time = total([thread_seconds(thread.native_id) for thread in alive])
        return Stats(**counts, uptime=clock.monotonic() - self._made, cpu_time=cpu_time)

    def _count(self) -> dict[str, int]:
        waiting = running = 0
        past = [*copied(self._past), (0, 0, 0)]
        counts = dict(zip(("finished", "failed", "cancelled"), map(sum, zip(*past, strict=True)), strict=True))
        for future in copied(self.calls):
            if future._state == PENDING:
                waiting += 1
            else:
                counts["cancelled"] += 1
        for host in list(self.current_workers.values()):
            running += sum(call._state == RUNNING for call in list(host.calls))
            counts["finished"] += host.finished
            counts["failed"] += host.failed
            counts["cancelled"] += host.cancelled
        return {
            **counts,
            "submitted": waiting + running + sum(counts.values()),
            "waiting": waiting,
            "running": running,
            "workers": len(self.threads),
            "lost_workers": 0,
        }

    def snapshot(self, name: str) -> Snapshot:
        """Returns what the workers do, and what waits."""
        from corefutures_pools.inspection.snapshots import (  # here for start-up time only
            Snapshot,
            WorkerSnapshot,
            first_names,
        )
        from corefutures_pools.inspection.stacks import from_call_on, own_stacks  # here for start-up time only

        stacks = own_stacks()
        running, workers = 0, []
        for thread in list(self.threads):
            ident = thread.ident
            if ident is not None and not thread.is_alive():
                continue
            host = None if ident is None else self.current_workers.get(ident)
            stack = () if ident is None else stacks.get(ident, ())
            calls = () if host is None else self._calls_of(host, stacks)
            running += len(calls)
            if calls:
                state = "running"
            else:  # while it calls the initializer it has not come to the loop
                state = "idle" if any(frame.function == "_run_calls" for frame in stack) else "starting"
            told = tuple(from_call_on(list(stack), (("_worker.py", "_run_calls"),)) or stack)
            remark = None if stack else "it has no stack yet"
            workers.append(WorkerSnapshot(thread.name, None, ident, state, calls, told, remark))
        waiting = [future for future in copied(self.calls) if future._state == PENDING]
        state = "open"
        if isinstance(self.refusal, self.broken_error):
            state = f"broken: {self.refusal}"
        elif self.closed:
            state = "shutting down" if workers else "shut down"
        names = first_names(waiting, _name_of_waiting)
        return Snapshot(name, state, self.max_workers, tuple(workers), running, len(waiting), names)

    def _calls_of(self, host: WorkerThread, stacks: dict[int, list[Frame]]) -> tuple[CallSnapshot, ...]:
        from corefutures_pools.inspection.snapshots import CallSnapshot, since_when  # here for start-up time only

        futures, since = list(host.calls), host.running_since()
        names = call_names(host, stacks)
        calls = []
        for index, future in enumerate(futures):
            name = names[index] if len(names) == len(futures) else "a call"
            name = f"the callbacks of {name}" if future.done() else name
            calls.append(CallSnapshot(name, *since_when(future, since if index == 0 else None)))
        return tuple(calls)

    def join(self, timeout: float | None = None) -> None:
        """Waits until all workers have left. Not for workers.

        Raises:
            TimeoutError: They have not after `timeout` seconds; the message lists what runs.
        """
        deadline = None if timeout is None else clock.monotonic() + timeout
        for thread, starter in list(self.threads.items()):
            while thread in self.threads:  # it is not if it could not be started
                try:
                    thread.join(
                        None if deadline is None else min(max(0.0, deadline - clock.monotonic()), threading.TIMEOUT_MAX)
                    )
                    if deadline is not None and thread.is_alive():
                        raise TimeoutError(f"after {timeout} s there is still running: {self._running_calls()}")
                    break
                except RuntimeError:  # it is being started, by another thread …
                    if starter == _thread.get_ident():  # … or by the frame that this one interrupted
                        break
                    time.sleep(0.001)

    def _running_calls(self) -> str:
        names = [name for host in list(self.current_workers.values()) for name in call_names(host)]
        return ", ".join(names) or "nothing"


def _name_of_waiting(future: PoolFuture[Any]) -> str:
    fn, args = future._cf_fn, future._cf_args
    if args and isinstance(getattr(fn, "__self__", None), Context):  # its submitter's context comes first
        fn = args[0]
    return name_of(fn)
