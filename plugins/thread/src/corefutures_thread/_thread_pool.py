"""`ThreadPool`: the queue, the worker threads and the state of one pool.

Touches the toolkit and `_worker`. Guarantees: a call never waits while a worker is idle or could be started; no lock is
held where a call is queued, a worker is unparked or the pool is closed, so a thread that is interrupted, forked or
runs a finaliser there leaves nothing locked.
"""

from __future__ import annotations

import concurrent.futures.thread as _standard
import logging
import sys
from collections import deque
from itertools import count
from operator import call

from corefutures_pools.blocking import clock, join_thread, sleep, spin_until, start_thread, threading
from corefutures_pools.foreign_code import copied, for_each, log_failure
from corefutures_pools.future import PoolFuture, ask_to_stop, fail
from corefutures_pools.helping import call_names
from corefutures_thread._ended_calls import EndedCalls
from corefutures_thread._work_queue import WorkQueue
from corefutures_thread._worker import work

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from corefutures_pools.admission import PendingLimiter
    from corefutures_pools.helping import WorkerThread
    from corefutures_pools.slot_call import SlotCall
    from corefutures_pools.slots import SlotScheduler

LOGGER = logging.getLogger("concurrent.futures")


class _Started(threading.Event):
    """The event that `Thread.start` waits for: a spin first, because the new thread sets it within some microseconds.

    A thread that blocks has to be woken, and then waits for the GIL.
    """

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the event is set."""
        return spin_until(self.is_set) or super().wait(timeout)


def _spin_until_ended(thread: threading.Thread) -> None:
    """Return within some microseconds, if possible when the thread has ended: `join` need not block then."""
    spin_until(lambda: not thread.is_alive())


def _no_executor() -> None:
    """Return None, as a weak reference to an executor that was dropped."""


class ThreadPool:
    """The queue, the workers and the state of one pool. Workers refer to it, and never to its executor.

    How a call and a worker find each other:

    1. A submitter appends its call to `queue`, then takes a worker out of `idle` and unparks it.
    2. A worker that finds no call enters itself into `idle`, then looks into `queue` again, then parks.

    Whatever the interleaving, the submitter finds the worker or the worker finds the call. Closing works alike:

    1. `close` sets `closed`, then clears `fully_started`, sets `leaving`, then unparks every worker in `idle`.
    2. A worker leaves if, out of `idle`, it sees `leaving`, and after that finds no call.
    3. A submitter reads `closed` once more after it has appended its call, and takes the call back if it can.

    `fully_started` tells submitters that they need consider neither a further worker nor the end: they leave out step
    3. A worker that starts sets it (`on_worker_started`). A submitter that finds it set, after it has appended its
    call, comes before `close` has cleared it, so the last look of every worker finds the call; or a worker has set it
    that has just started, and looks for a call only after that.

    Calls that wait for slots are not in `queue` yet. `leaving` is set once the pool is closed and holds none of them:

    1. A submitter enters its call into `slots.held`, then reads `closed`; `close` sets `closed`, then reads `held`.
    2. The thread that grants slots queues the call, then takes it out of `held`, then reads `closed` and `held`.

    The thread that takes a worker out of `idle` unparks it. Assumption: append, pop and remove of a deque are atomic
    and ordered, which CPython promises with and without the GIL.
    """

    __slots__ = (
        "__weakref__", "_breakage", "_draining", "_initargs", "_initializer", "_name_prefix", "_numbers", "_refusal",
        "broken_type", "closed", "created", "daemons", "ended", "executor", "fully_started", "idle", "leaving",
        "limiter", "max_workers", "queue", "slots", "threads", "unpark_idle", "workers",
    )  # fmt: skip

    def __init__(
        self,
        max_workers: int,
        name_prefix: str,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        broken_type: type[Exception],
        limiter: PendingLimiter | None = None,
        slots: SlotScheduler | None = None,
    ) -> None:
        self.max_workers = max_workers
        self._name_prefix = name_prefix
        self._initializer = initializer
        self._initargs = initargs
        self.broken_type = broken_type
        self.queue = WorkQueue()
        # Calls that were taken out of the queue to be ended, not run: a forked child ends them as well.
        self._draining: list[deque[PoolFuture[Any]]] = []
        self.idle: deque[Any] = deque()  # `unpark` of the parker of each idle worker
        self._numbers = count()  # for the names of the threads
        # Unparks the worker that went idle last; raises IndexError if none is idle. One step of the interpreter that
        # allocates nothing (before 3.12, an allocation may collect garbage). A signal handler or finaliser that ran
        # between taking the worker out and unparking it, and shut the pool down, would wait for a worker that stays
        # parked.
        self.unpark_idle: Callable[[], object] = map(call, iter(self.idle.pop, None)).__next__
        self.threads: dict[threading.Thread, int] = {}  # worker → ident of the thread that started it
        self.workers: dict[int, WorkerThread] = {}  # ident of a worker → the calls that it runs
        self.closed = False
        self.leaving = False  # closed, and no call is held: workers that find no call leave
        self.slots = slots
        self.fully_started = False  # all workers that the pool may have run, and it is not closed
        # What `submit` raises once the pool is closed, and once it is broken. Two attributes: of threads that close and
        # break the pool at once, neither overwrites the other's. Of two that do the same, either may be the last.
        self._refusal: Exception | None = None
        self._breakage: Exception | None = None
        self.executor: Callable[[], object] = _no_executor  # returns the executor while it lives, for observers
        self.limiter = limiter
        self.daemons = False  # the program may end while calls run
        self.created = clock.monotonic()
        self.ended = EndedCalls()

    # ── workers ──────────────────────────────────────────────────────────────────────────────────────────

    def ensure_worker(self) -> None:
        """Unpark an idle worker for a call that has just been queued, or start a worker if the pool may have one more.

        Raises:
            RuntimeError: There is no worker, and the system can't start a thread.
        """
        if self.idle:
            try:
                self.unpark_idle()
                return
            except IndexError:
                pass
        if len(self.threads) >= self.max_workers:
            return
        thread = threading.Thread(
            target=work,
            name=self._name_prefix,  # with a number below
            args=(self, self._initializer, self._initargs),
            # The thread that grants slots is a daemon, of which daemons would be born.
            daemon=True if self.daemons else None if self.slots is None else False,
        )
        started: Any = getattr(thread, "_started", None)
        if type(started) is _Started.__base__ and type(started).__module__ == "threading":  # gevent has its own
            started.__class__ = _Started
        starter = threading.get_ident()
        try:
            # Entered first, counted then: of threads that are entered at once, the first ones stay.
            self.threads[thread] = starter
            if list(self.threads).index(thread) >= self.max_workers:
                del self.threads[thread]
                return
            thread.name = f"{self._name_prefix}_{next(self._numbers)}"
            if not self.daemons:  # whose end the standard library must not wait for
                _standard._threads_queues[thread] = self.queue  # type: ignore[index]  # programs remove threads from there that the end of the program must not wait for
            start_thread(thread)
        except BaseException as exc:
            # A thread that is alive was started, and this one was interrupted while it waited for that. But
            # `threading` may take what a signal handler raises for a failed start; the thread, if it had got no
            # further, ends as soon as it runs.
            #
            # 1. Here: remove the thread from `threads`, then look whether it is in `workers`.
            # 2. The worker: enter itself into `workers`, then into `threads`, if it is not there (`on_worker_started`).
            if isinstance(exc, Exception) or not thread.is_alive():
                self.threads.pop(thread, None)
                _standard._threads_queues.pop(thread, None)  # type: ignore[attr-defined]  # joined at exit
                if thread.ident in self.workers:
                    self.threads.setdefault(thread, starter)
            if not isinstance(exc, Exception):
                raise
            if not self.threads:
                self._fail_stranded(exc)
                raise
            log_failure(LOGGER, "could not start another worker thread", level=logging.WARNING)

    def replace_interrupted_start(self) -> None:
        """Start a worker if calls wait for one: after an interrupt of `ensure_worker`, once its own call is cancelled.

        1. A is interrupted (Ctrl-C) in `ensure_worker`, having entered a thread that it has not started yet.
        2. B queues a call, finds that the pool has all its threads, and leaves its call to that one.
        3. A removes the thread: nothing would run B's call until the next submit.
        """
        if len(self.threads) < self.max_workers and not all(future.done() for future in self.pending_calls()):
            try:
                self.ensure_worker()
            except RuntimeError:
                raise
            except BaseException:  # interrupted again
                self.replace_interrupted_start()
                raise

    def on_worker_started(self, thread: threading.Thread) -> None:
        """Enter a worker whose start was interrupted: called by each worker when it starts."""
        self.threads.setdefault(thread, threading.get_ident())
        if len(self.workers) >= self.max_workers:
            self.fully_started = True
            if self.closed:
                self.fully_started = False

    def on_worker_exit(self, ident: int) -> None:
        """Remove a worker that leaves, and keep its counts."""
        worker = self.workers.pop(ident, None)
        if worker is not None:
            self.ended.add(worker.finished, worker.failed, worker.cancelled)

    def owns_current_thread(self) -> bool:
        """Return True if one of the workers calls this."""
        return threading.get_ident() in self.workers

    def join(self, timeout: float | None = None) -> None:
        """Wait until all workers have left. Not for workers.

        Raises:
            TimeoutError: They have not left after `timeout` seconds; the message lists the calls that run.
        """
        deadline = None if timeout is None else clock.monotonic() + timeout
        joined: dict[threading.Thread, int] = {}
        threads = list(self.threads.items())
        while threads:
            for thread, starter in threads:
                while thread in self.threads:  # until its start has failed
                    _spin_until_ended(thread)
                    try:
                        if deadline is None:
                            join_thread(thread)
                        else:
                            join_thread(thread, max(0.0, deadline - clock.monotonic()))
                            if thread.is_alive():
                                raise TimeoutError(f"after {timeout} s there is still running: {self._running_calls()}")
                        break
                    except RuntimeError:  # it is being started, by another thread …
                        if starter == threading.get_ident():  # … or by the frame that this one interrupted
                            break
                        sleep(0.001)
            if self.slots is None:
                return
            joined.update(threads)  # calls that were held may have started more threads meanwhile
            threads = [item for item in list(self.threads.items()) if item[0] not in joined]

    def abandon(self, timeout: float) -> None:
        """Wait for the calls that run for so many seconds, and warn of those that are left: at exit."""
        try:
            self.join(timeout)
        except TimeoutError as exc:
            LOGGER.warning("the program ends while calls run that it abandons: %s", exc)

    def _running_calls(self) -> str:
        names = [name for worker in list(self.workers.values()) for name in call_names(worker)]
        return ", ".join(names) or "nothing"

    # ── calls ────────────────────────────────────────────────────────────────────────────────────────────

    def claim(self, future: object) -> bool:
        """Take a call out of the queue for a worker that waits for it; return False if it is not there."""
        return isinstance(future, PoolFuture) and not (future.running() or future.done()) and self._take_out(future)

    # ── calls that demand slots ──────────────────────────────────────────────────────────────────────────

    def hold(self, future: PoolFuture[Any], call: SlotCall) -> None:
        """Take a call that is queued once it has its slots.

        Raises:
            RuntimeError: The pool is closed, or no thread can be started.
        """
        slots = self.slots
        assert slots is not None
        future._cf_held = slots.enter(future, call, self)
        try:
            if self.closed:
                raise self.make_refusal()
            if not self.threads:  # one stays, so that the end of the pool comes after that of the call
                self.ensure_worker()
            slots.submit(future)
        except BaseException:
            future._cf_held = None
            slots.withdraw(future)
            self.on_held_left()
            raise

    def dispatch_held(self, future: PoolFuture[Any], grant: bytes) -> None:
        """Queue a call that has its slots: see `SlotPool`."""
        future._cf_held = None
        self.queue.append(future)
        try:
            self.ensure_worker()
        finally:
            if self.is_broken():  # the calls that waited have been failed, this one perhaps not
                self._fail_pending(self.make_refusal)

    def on_held_ended(self, future: PoolFuture[Any]) -> None:
        """Count a call that was cancelled, or failed with the pool, while it was held: see `SlotPool`."""
        future._cf_held = None
        cancelled = future.cancelled()
        self.ended.add(cancelled=cancelled, failed=not cancelled)

    def on_held_left(self) -> None:
        """Let the workers leave if the pool is closed and this was the last call that was held: see `SlotPool`."""
        if self.closed:
            self._let_workers_leave()

    def held_calls(self) -> list[PoolFuture[Any]]:
        """Return the calls that wait for slots."""
        return [] if self.slots is None else copied(self.slots.held)

    def _take_out(self, future: PoolFuture[Any]) -> bool:
        while True:
            try:
                self.queue.remove(future)
                return True
            except ValueError:
                return False
            except IndexError:  # the queue was changed meanwhile
                pass

    def pending_calls(self) -> list[PoolFuture[Any]]:
        """Return the calls that no worker has taken."""
        held = self.held_calls()  # first: from there they go to the queue
        return held + [future for calls in (self.queue, *self._draining) for future in copied(calls)]

    def unfinished_calls(self) -> list[PoolFuture[Any]]:
        """Return the calls that wait or run."""
        calls = self.pending_calls()
        for worker in copied(self.workers.values()):  # workers come and go meanwhile
            calls += copied(worker.calls)
            if worker.taking is not None:
                calls.append(worker.taking)
        return calls

    def withdraw(self, future: PoolFuture[Any]) -> None:
        """Take back a call that was queued while the pool was closed, unless a worker has it.

        Raises:
            RuntimeError: The call is taken back: the pool is closed.
        """
        if self._take_out(future):
            future.cancel()  # for observers: no caller has it
            raise self.make_refusal()

    def ask_to_stop(self) -> None:
        """Ask all calls that run to stop: see `cancel_requested`."""
        for worker in list(self.workers.values()):
            for future in list(worker.calls):
                ask_to_stop(future)

    def end_unread_streams(self) -> None:
        """End the streams whose items nobody can take while this thread waits for the pool."""
        streams = sys.modules.get("corefutures_pools.streams.stream")
        if streams is not None:
            streams.end_unread_streams(self.unfinished_calls())

    def cancel_pending(self) -> None:
        """Cancel all calls in the queue.

        Raises:
            BaseException: What a callback raises that is no `Exception`, once all are cancelled (F4).
        """

        def cancel(future: PoolFuture[Any]) -> None:
            self.ended.add(cancelled=1)
            future.cancel()

        try:
            for_each(PoolFuture.cancel, self.held_calls())
        finally:
            self._drain(cancel)

    def _fail_pending(self, make_error: Callable[[], Exception]) -> None:
        def fail_one(future: PoolFuture[Any]) -> None:
            failed = fail(future, make_error())
            self.ended.add(failed=failed, cancelled=not failed)

        try:
            for_each(lambda future: fail(future, make_error()), self.held_calls())
        finally:
            self._drain(fail_one)

    def _drain(self, end: Callable[[PoolFuture[Any]], object]) -> None:
        """Take all calls out of the queue, and end each of them by `end`."""
        taken: deque[PoolFuture[Any]] = deque()
        self._draining.append(taken)
        take = map(taken.append, iter(self.queue.popleft, None)).__next__  # in one step: see `_run_calls`
        try:
            while True:
                take()
        except IndexError:
            pass
        finally:
            try:
                for_each(end, taken)
            finally:
                self._draining.remove(taken)

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────

    def close(self, refusal: Exception) -> None:
        """Let the workers leave once all calls have ended; `submit` raises a copy of `refusal` from now on."""
        if self._refusal is None:
            self._refusal = refusal
        self.refuse_calls()
        self._let_workers_leave()
        if self.limiter is not None:
            self.limiter.close()

    def on_executor_dropped(self, _: object) -> None:
        """Run the calls that the pool has, and let the workers leave: the executor was dropped, maybe shut down."""
        self.executor = _no_executor  # the reference to the executor has this method: no cycle
        if self.workers or not self.closed:  # a worker that starts looks itself whether the pool is closed
            self.close(RuntimeError("the executor was dropped"))

    def refuse_calls(self) -> None:
        """Take no more calls."""
        self.closed = True
        self.fully_started = False  # before `leaving`
        if self.slots is None or not self.slots.held:
            self.leaving = True

    def _let_workers_leave(self) -> None:
        """Unpark the idle workers of a closed pool, which leave unless calls are held."""
        if self.slots is None or not self.slots.held:
            self.leaving = True
        try:
            while self.idle:
                self.unpark_idle()
        except IndexError:
            pass

    def mark_broken(self, message: str, cause: BaseException) -> None:
        """Break the pool: calls that wait, and those that are submitted later, fail with `cause` as the cause."""
        broken = self.broken_type(message)
        broken.__cause__ = cause
        self._breakage = broken
        self.close(broken)
        self._fail_pending(self.make_refusal)

    @property
    def refusal(self) -> Exception | None:
        """What `submit` raises a copy of; None while the pool is open."""
        breakage = self._breakage
        return self._refusal if breakage is None else breakage

    def is_broken(self) -> bool:
        """Return True if a worker or its initializer has failed."""
        return isinstance(self.refusal, self.broken_type)

    def make_refusal(self) -> Exception:
        """Return an exception for one submitter or future: each gets its own (E5)."""
        refusal = self.refusal
        assert refusal is not None
        own = type(refusal)(*refusal.args)
        own.__cause__ = refusal.__cause__
        return own

    def _fail_stranded(self, cause: Exception) -> None:
        """Fail the calls of threads that counted on a worker that could not be started.

        Not with `cause` as the cause: its traceback leads to a frame of `submit`, and so to the executor, which would
        not be collected, nor its threads end, as long as the future of such a call is kept.
        """
        self._fail_pending(lambda: RuntimeError(f"no worker thread could be started: {cause}"))
