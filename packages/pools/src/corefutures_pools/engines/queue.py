"""`EngineQueue`: the calls that wait for an engine or run in it; and the thread that serves them.

Touches the core's `Future` and the engine. Guarantees: all that changes is changed by that one thread. It sends calls
in the order submitted, completes futures, runs their callbacks, and ends the engine.
"""

from __future__ import annotations

import logging
import secrets
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from corefutures._blocking import clock, nested_loops, queue, start_thread, threading
from corefutures._exceptions import BrokenExecutor
from corefutures._foreign_code import log_failure
from corefutures._future import LOGGER, Future
from corefutures_pools import wire
from corefutures_pools.blocking import join_thread
from corefutures_pools.foreign_code import set_cause
from corefutures_pools.lifecycle import Lifecycle

if TYPE_CHECKING:
    from collections.abc import Callable

    #: The arguments of `wire.run` in the worker.
    Task = tuple[str, bytes | None, bytes]
    #: Takes the bytes that `wire.run` has returned, or an error if there are none; from any thread, once.
    Report = Callable[[bytes | BaseException], None]

#: Seconds between two checks of the condition that a callback waits for: another thread may fulfil it.
_POLL_INTERVAL: Final = 0.01
#: The number of callbacks that may wait within each other.
_MOST_NESTED: Final = 20


class Engine(Protocol):
    """The scheduler of another project, as a backend presents it."""

    def attach(self, wake: Callable[[], None], fail: Callable[[str], None]) -> None:
        """Keep two functions for later, which any thread may call.

        Args:
            wake: To be called when `slots` has become larger.
            fail: To be called with the reason if no worker can be had: the executor is broken then.
        """

    def slots(self, calls: int) -> int:
        """Return how many tasks may be here at once, now that there are so many calls, waiting or here."""
        ...

    def start(self, task: Task, report: Report) -> None:
        """Have `wire.run(*task)` called by a worker, and `report` with what it returns; don't wait for either.

        Raises:
            Exception: The engine does not take the task; `report` is not called then.
        """

    def shutdown(self) -> None:
        """End what was started for this executor; no task is left."""


class EngineFuture(Future[Any]):
    """The future of a call; it holds the pickled call until the call leaves."""

    body: bytes | None = None

    def cancel(self) -> bool:
        """Cancel the call unless it is with the engine or has ended."""
        cancelled = super().cancel()
        if cancelled:
            self.body = None
        return cancelled


#: The living queues. At exit, those of dropped executors end their engines; the adapters end the others.
_queues = Lifecycle(join=lambda ending: ending.join_if_ending(), after_fork=lambda inherited: inherited.forget())


class EngineQueue:
    """An executor for callables without arguments, on an engine: what `EngineExecutor` adapts.

    Args:
        name: The name of the backend, for its thread.
        engine: The engine; ended with this executor.
        max_workers: How many calls run at once, at most.
        initializer: Called in each worker before its first call; None if there is none.
        initargs: Its arguments.

    Raises:
        Exception: The initializer can't be pickled.

    Thread safety: every method may be called from any thread, signal handler or finaliser.
    """

    def __init__(
        self,
        name: str,
        engine: Engine,
        max_workers: int,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        self._max_workers = max_workers
        self._engine = engine
        self._token = secrets.token_hex(8)
        call = partial(wire.call_initializer, initializer, *initargs)
        self._initializer = None if initializer is None else wire.dumps((call, (), {}))
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._ends = False
        self._broken: tuple[str, BaseException | None] | None = None
        # Of the serving thread alone.
        self._waiting: deque[EngineFuture] = deque()
        self._running: dict[EngineFuture, None] = {}
        self._nested = 0  # the number of callbacks that wait, each within the last
        # A daemon: at exit the adapter waits for the calls, and then for this thread.
        engine.attach(partial(self._jobs.put, self._send), self._fail_later)
        self._thread = threading.Thread(target=self._serve, name=f"corefutures-{name}", daemon=True)
        start_thread(self._thread)
        _queues.add(self)

    def __repr__(self) -> str:
        return f"<{type(self._engine).__name__} max_workers={self._max_workers}>"

    def submit(self, call: Callable[[], Any]) -> EngineFuture:
        """Have a worker run `call()`; a call that can't be pickled fails at once."""
        if self._broken is not None:
            raise self._broken_error()
        future = EngineFuture()
        try:
            future.body = wire.dumps((call, (), {}))
        except Exception as exc:
            future.set_exception(BaseException.with_traceback(exc, None))
            return future
        self._jobs.put(partial(self._take, future))
        return future

    def shutdown(self, wait: bool = True) -> None:
        """End the engine, once no call is left; `wait` for that."""
        self._ends = True
        self._jobs.put(None)
        if wait and threading.current_thread() is not self._thread:
            join_thread(self._thread)

    def forget(self) -> None:
        """In a forked child: leave the engine to the parent, whose the thread is."""
        self._ends = False

    def join_if_ending(self) -> None:
        """Wait for the end of the engine, if that has begun."""
        if self._ends:
            join_thread(self._thread)

    # ── the serving thread ───────────────────────────────────────────────────────────────────────────────────────

    def _serve(self) -> None:
        ident = threading.get_ident()
        nested_loops[ident] = self._work_until
        try:
            while self._do_job(None):
                pass
        finally:
            nested_loops.pop(ident, None)
            self._fail_all(RuntimeError, "the executor has ended", None)
            try:
                self._engine.shutdown()
            except BaseException:
                log_failure(LOGGER, "shutting down %r failed", self)

    def _do_job(self, timeout: float | None) -> bool:
        """Do one job, if there is one within `timeout` seconds; return False at the end."""
        try:
            job = self._jobs.get(timeout=timeout)
        except queue.Empty:
            return True
        if job is None:
            return False
        try:
            job()
        except BaseException:
            log_failure(LOGGER, "Exception in the thread of %r", self, level=logging.CRITICAL)
        return True

    def _work_until(self, enough: Callable[[], bool], deadline: float | None) -> None:
        """Do jobs while a callback that runs in this thread waits."""
        if self._nested >= _MOST_NESTED:
            raise RuntimeError(f"{self._nested} callbacks wait for calls of {self!r}, each within the last")
        self._nested += 1
        try:
            while not enough():
                left = _POLL_INTERVAL if deadline is None else min(_POLL_INTERVAL, deadline - clock.monotonic())
                if left <= 0:
                    return
                if not self._do_job(left):
                    self._jobs.put(None)
                    return
        finally:
            self._nested -= 1

    def _take(self, future: EngineFuture) -> None:
        if self._broken is not None:
            _fail(future, self._broken_error())
            return
        self._waiting.append(future)
        self._send()

    def _send(self) -> None:
        """Give calls to the engine, as many as may be there."""
        while True:
            slots = self._engine.slots(len(self._waiting) + len(self._running))
            if not self._waiting or len(self._running) >= slots:
                return
            future = self._waiting.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            body, future.body = future.body, None
            assert body is not None
            self._running[future] = None
            try:
                self._engine.start((self._token, self._initializer, body), partial(self._report, future))
            except Exception as exc:
                self._report(future, exc)

    def _report(self, future: EngineFuture, outcome: bytes | BaseException) -> None:
        """Pass the outcome of a call on to the serving thread; for any thread."""
        self._jobs.put(partial(self._finish, future, outcome))

    def _finish(self, future: EngineFuture, outcome: bytes | BaseException) -> None:
        if future not in self._running:  # the executor has broken meanwhile
            return
        del self._running[future]
        if isinstance(outcome, BaseException):
            self._send()
            _fail(future, outcome)
            return
        if outcome[:1] == wire.FAULT:
            self._running[future] = None
            _, error, text = wire.load_outcome(outcome[1:])
            self._break(f"an initializer failed, the executor is not usable any more\n{text}", error)
            return
        self._send()  # first: callbacks may take their time
        result, error, text = wire.load_outcome(outcome)
        try:
            if error is None:
                future.set_result(result)
                return
            if text:
                try:
                    set_cause(error, wire.RemoteTraceback(text))
                except Exception:  # not every class allows it
                    pass
            _fail(future, error)
        finally:
            del result, error, outcome, future

    def _fail_later(self, reason: str) -> None:
        self._jobs.put(partial(self._break, reason, None))

    def _break(self, message: str, cause: BaseException | None) -> None:
        if self._broken is None:
            self._broken = message, cause
            self._fail_all(BrokenExecutor, message, cause)

    def _broken_error(self) -> BrokenExecutor:
        """Return an error of its own for each call (E5)."""
        assert self._broken is not None
        error = BrokenExecutor(self._broken[0])
        error.__cause__ = self._broken[1]
        return error

    def _fail_all(self, kind: type[Exception], message: str, cause: BaseException | None) -> None:
        futures = [*self._running, *(future for future in self._waiting if future.set_running_or_notify_cancel())]
        self._running.clear()
        self._waiting.clear()
        for future in futures:
            future.body = None
            error = kind(message)
            error.__cause__ = cause
            _fail(future, error)


def _fail(future: EngineFuture, error: BaseException) -> None:
    if future.running() or future.set_running_or_notify_cancel():
        future.set_exception(error)
