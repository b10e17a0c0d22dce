"""`CallControl`: stops the calls of a pool that run: on request, when their time is up, and at Ctrl-C.

Touches a pool's calls by the methods of `_ControlledPool`. Guarantees: a worker that is killed ran that call, and
nothing else, at that moment (C2).
"""

from __future__ import annotations

from corefutures._blocking import Lock, clock, sleep, start_thread, threading
from corefutures._exceptions import UnsupportedError, WorkerLostError
from corefutures._future import Future
from corefutures_pools.workers.future import CallFuture, check_call
from corefutures_pools.workers.supervisor import NEEDS_ANOTHER_START
from corefutures_pools.workers.time_limits import TimeLimits, described_call

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Final, Protocol

    from corefutures_pools.workers.snapshot import Occupation

    class _ControlledPool(Protocol):
        """What this file needs of a pool; `PoolTransport` says what the methods do."""

        name: str

        @property
        def calls(self) -> Mapping[int, CallFuture[Any]]: ...
        def step_down(self) -> None: ...
        def owns_thread(self, thread: threading.Thread) -> bool: ...
        def close(self, *, wait: bool, cancel_futures: bool = False) -> None: ...
        def request_stop(self, future: CallFuture[Any]) -> bool: ...
        def kill_running(self, future: CallFuture[Any], error: BaseException) -> bool: ...
        def occupations(self) -> Iterable[Occupation]: ...


#: Seconds between tries to find the worker of a call that has been sent.
_RETRY_INTERVAL: Final = 0.001
#: Seconds in which Ctrl-C interrupts the calls that run.
_INTERRUPT_SECONDS: Final = 1.0


class CallControl:
    """Stops calls of one pool.

    Args:
        pool: The pool.
        can_kill: Whether its workers may be killed: not if they were forked.

    Thread safety: every method may be called from any thread, signal handler or finaliser.
    """

    def __init__(self, pool: _ControlledPool, *, can_kill: bool) -> None:
        self._pool = pool
        self._can_kill = can_kill
        # Guards that there is one set of limits. Nothing is called under it, see `Lock`.
        self._lock = Lock()
        self._limits: TimeLimits | None = None

    def own(self, future: object) -> CallFuture[Any]:
        """Return `future` if it is of this pool, or has ended.

        Raises:
            TypeError: It is not of a pool with isolated workers.
            ValueError: It is another pool's, which alone knows where its call is.
        """
        call, pool = check_call(future), self._pool
        owner: object = call._pool
        if owner is not None and owner is not pool:
            raise ValueError(f"{future!r} belongs to another pool: ask the executor whose submit() returned it")
        return call

    def kill(self, future: CallFuture[Any]) -> bool:
        """Cancel the call, or kill the worker that runs it; return False if the call had ended.

        Raises:
            UnsupportedError: The workers were forked: they can't be replaced.
        """
        if not self._can_kill:
            raise UnsupportedError(NEEDS_ANOTHER_START.format("a call that runs can't be stopped in this pool"))
        if self._pool.owns_thread(threading.current_thread()):  # in a callback: this thread has to see the worker end
            if future.done():
                return False
            start_thread(threading.Thread(target=self._kill, args=(future,), name=f"{self._pool.name} killing"))
            return True
        return self._kill(future)

    def _kill(self, future: CallFuture[Any]) -> bool:
        self._pool.step_down()
        if future.done():
            return False
        return future._cancel_waiting() or undisturbed(lambda: self._kill_running(future))

    def _kill_running(self, future: CallFuture[Any]) -> bool:
        error = WorkerLostError(f"{described_call(future)} was killed on request, and its worker with it")
        while not future.done():
            if self._pool.kill_running(future, error):
                return True
            sleep(_RETRY_INTERVAL)  # it has been claimed, and is not known to run; or it is about to end
            if future._cancel_waiting():  # it has been given back
                return True
        return False

    def submit_limited(self, seconds: float, submit: Callable[[], Future[Any]]) -> CallFuture[Any]:
        """Submit a call, and kill the worker that runs it for longer than `seconds`: see `TimeLimits.submit`."""
        limits = TimeLimits(self._pool)
        if self._lock.taken:
            self._limits = limits = self._limits or limits
            self._lock.release()
        return limits.submit(seconds, lambda: check_call(submit()))

    def request_cancel(self, future: CallFuture[Any]) -> bool:
        """Cancel the call, or ask it to stop if it runs; return False if it had ended."""
        pool = self._pool
        pool.step_down()
        while not future.done():
            if future._cancel_waiting() or self._ask(future):
                return True
            if pool.owns_thread(threading.current_thread()):  # this thread has to receive what became of the call
                start_thread(threading.Thread(target=self.request_cancel, args=(future,), name=f"{pool.name} asking"))
                return True
            sleep(_RETRY_INTERVAL)
        return False

    def stop_all(self) -> None:
        """Ask every call that runs to stop."""
        for call in list(self._pool.calls.values()):
            self._ask(call)

    def _ask(self, future: CallFuture[Any]) -> bool:
        asked = self._pool.request_stop(future)
        if future._stream is not None:
            future._stream.end()  # it may wait for its consumer
        return asked

    def interrupt(self) -> None:
        """Take no more calls, cancel those that wait, and interrupt those that run: Ctrl-C.

        A terminal interrupts the workers as well. But a worker may have claimed another call since, and there may be
        no terminal: so each worker that runs a call is interrupted here, and again if the first interrupt came before
        the call had begun. A worker ignores an interrupt that comes right after another one. This goes on for a second
        at most.
        """
        pool = self._pool
        pool.close(wait=False, cancel_futures=True)
        self.stop_all()
        if pool.owns_thread(threading.current_thread()):
            return
        until, sent = clock.monotonic() + _INTERRUPT_SECONDS, dict[tuple[int, int], float]()
        while pool.calls and clock.monotonic() < until:
            reached = False
            for occupation in pool.occupations():
                if occupation.call is None:
                    reached = True
                    continue
                key = id(occupation.worker), occupation.call._number
                now = clock.monotonic()
                if now - sent.setdefault(key, 0.0) > _INTERRUPT_SECONDS / 4:
                    sent[key] = now
                    occupation.worker.interrupt()
                reached = reached or occupation.worker.pid is not None
            if not reached:
                return
            sleep(_RETRY_INTERVAL)


def undisturbed(function: Callable[[], bool]) -> bool:
    """Return what a function returns that takes locks, or stops a worker, which other threads need.

    A signal handler that interrupted the function could wait for these threads. Handlers run in the main thread: so the
    main thread has another one call the function, and waits for that one; an interrupt ends the waiting alone.

    Raises:
        BaseException: Whatever the function, or a handler, raises.
    """
    if threading.current_thread() is not threading.main_thread():
        return function()
    outcome: Future[bool] = Future()

    def call() -> None:
        try:
            result = function()
        except BaseException as exc:
            outcome.set_exception(exc)
        else:
            outcome.set_result(result)

    try:
        start_thread(threading.Thread(target=call, name="killing", daemon=True))
    except RuntimeError:  # there are too many threads, or the interpreter ends
        return function()
    return outcome.result()
