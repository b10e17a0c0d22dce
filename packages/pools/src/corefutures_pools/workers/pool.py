"""`WorkerPool`: the table of calls and the states of a pool with isolated workers, whatever carries the calls.

Touches the core's futures and exceptions, and `crew`. Guarantees: a call that was taken ends (E1), also when a
thread of ours fails (E8); a pool that closes, breaks, is dropped or forked ends too (E6, E11); no foreign code
runs under a lock, and no lock is held while a worker is written to (E10).
"""

from __future__ import annotations

import _thread
import contextlib
import sys
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections import defaultdict, deque
from itertools import count

from corefutures._blocking import Lock, clock, start_thread
from corefutures._exceptions import (
    BrokenExecutor,
    InvalidStateError,
    UnsupportedError,
    WorkerLostError,
    add_note,
)
from corefutures._foreign_code import class_name, for_each
from corefutures._future import Future
from corefutures._instrumentation import instrumentation
from corefutures_pools.descriptors import standard_reserved
from corefutures_pools.exceptions import set_cause
from corefutures_pools.foreign_code import raises_again
from corefutures_pools.workers.future import CallFuture, check_call
from corefutures_pools.workers.messages import CALL_STARTED, MOMENT, OBSERVED, split_error
from corefutures_pools.workers.serialization import RetainedCall
from corefutures_pools.workers.time_limits import PAUSE, Limits, kill

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Final

    from corefutures_pools.admission import PendingLimiter, Permit
    from corefutures_pools.inspection.snapshots import Snapshot
    from corefutures_pools.stats import Stats
    from corefutures_pools.workers.interface import WorkerHandle, WorkerLauncher
    from corefutures_pools.workers.logging.receiver import LogReceiver
    from corefutures_pools.workers.serialization import Encoder
    from corefutures_pools.workers.snapshot import Occupation

BREAK: Final = "break"
REPLACE: Final = "replace"

#: A crash loop: this many losses in a row, and more than two for each place, without a call that ends in between.
_CRASH_LOOP: Final = 5
#: Seconds that a process whose initializer has failed gets for its end, before its pool breaks and stops all.
_LAST_WORDS: Final = 1.0
#: Seconds in which calls are interrupted.
_PATIENCE: Final = 1.0

#: Why a pool whose workers are forked refuses something, and what helps.
NEEDS_ANOTHER_START: Final = (
    "{}: its workers are forked, and a process with threads can't be forked safely to replace one that was killed; make"
    " the pool with mp_context='forkserver' or 'spawn'"
)

#: Seconds between looks at what foreign code in a thread of ours waits for: it may end elsewhere.
_LOOK: Final = 0.01
#: Callbacks that may wait within each other, in a thread of ours.
_DEEP: Final = 10

#: So many calls are named in a message.
_NAMED: Final = 10

#: In a forked child: the arguments of calls of its parent, which still needs what they hold.
_kept_by_parent: list[Any] = []


class WorkerPool(ABC):
    """Takes calls, starts workers on demand, and ends every future.

    Args:
        size: How many workers at most.
        launcher: Starts workers; referred to weakly. When it goes, the pool takes no more calls, finishes those it
            has, and ends.
        decode: Makes an object of a body.
        encode: Makes a body of an object.
        broken: The exception class of this backend's broken pools.
        remote_traceback: Makes the `__cause__` of an exception from a worker, of its traceback as text.
        on_loss: BREAK or REPLACE.
        at_exit: What becomes of the calls when the interpreter ends: "wait", "cancel" or "kill".
        kill_on_cancel: Whether cancelling a call that runs kills its worker.
        limiter: Where calls are admitted, if the number of those that wait is limited.
        logs: What reads the workers' logs, if they are forwarded.
        prestart: Whether all workers start before the first thread of ours does, as fork needs it.
        name: How errors call the pool.

    Thread safety: every public method may be called from any thread, signal handler or finaliser.
    """

    #: Said of a worker that was lost before it was ready.
    NOT_READY_HINT = (
        "It had not finished starting. Does it import a main module that makes the pool at import time? Then put that"
        " under `if __name__ == '__main__':`."
    )

    def __init__(
        self,
        *,
        size: int,
        launcher: WorkerLauncher,
        encode: Encoder,
        decode: Callable[[Any], Any],
        broken: type[BrokenExecutor],
        remote_traceback: Callable[[str], BaseException],
        on_loss: str = BREAK,
        at_exit: str = "wait",
        kill_on_cancel: bool = False,
        limiter: PendingLimiter | None = None,
        logs: LogReceiver | None = None,
        prestart: bool = False,
        name: str = "process pool",
        hint: str = "",
    ) -> None:
        self.at_exit = at_exit
        self.kill_on_cancel = kill_on_cancel
        self._limiter = limiter
        self._logs = logs
        self._limits: Limits | None = None
        self._made = clock.monotonic()
        # What ended otherwise than by a result: (what, thread) → how many. Each thread counts for itself, without a
        # lock: a signal handler may wait for an end that another thread counts.
        self._tally: defaultdict[tuple[str, int], int] = defaultdict(int)
        self.size = size
        self.name = name
        self._hint = hint  # told with errors that may come of how the workers were started
        self.not_ready_hint = f"{self.NOT_READY_HINT} {hint}".rstrip()
        self._encode = encode
        self._decode = decode
        self._broken_type = broken
        self._remote_traceback = remote_traceback
        self._on_loss = on_loss
        self._prestart = prestart
        self._launcher = weakref.ref(launcher, _close_later(self))
        # Returns the executor, an `IsolatedExecutor`, as long as there is one.
        self.owner: Callable[[], Any] = lambda: None

        # Guards the states and the table below: no call is entered once the pool is closing. Nothing is called under
        # it, see `Lock`.
        self.lock = Lock()
        self._numbers = count(1)  # of the calls
        self._numbered = 0  # about the last of them: of threads that submit together, any comes last here
        self._taken = 0  # how many calls were entered
        self._prepare: Callable[[CallFuture[Any]], object] | None = None  # what is done with a call before that
        self.calls: dict[int, CallFuture[Any]] = {}  # those that have not ended
        self.deferred: deque[CallFuture[Any]] = deque()  # ended, and a thread of ours is still to tell of it
        # Threads of ours in which so many callbacks wait, each within the last, that no more are begun: see `deferred`.
        self.deferring: set[int] = set()
        self.in_transition: list[
            CallFuture[Any]
        ] = []  # taken off, and about to end or be told of: a forked child does it
        self._backlog: deque[CallFuture[Any]] = deque()  # of `calls` those that were not sent, in order
        self.closing = False  # takes no more calls
        self.closed = False  # because it was asked to
        self._exiting = False  # because the interpreter ends
        self._dropped = False  # because nobody refers to the executor any more
        self.forced = False  # its workers were ended by hand
        self._how = "kill"  # they were
        self._ended = False  # no worker is started any more
        self.broken_reason: str | None = None  # why it is broken
        self._cause: BaseException | None = None  # of that
        self._losses_in_a_row = 0
        self.finished = 0  # calls since the last loss; written by the threads that serve the workers
        self._workers: set[Any] = set()  # the workers that take calls, or will once they have started

        # The first one here starts workers. The others leave: the first one looks again, once it has left, whether more
        # workers are needed. A queue rather than a lock: see `_start_workers`.
        self._start_requests: deque[_StartRequest] = deque()
        self._opened = False
        self.thread: threading.Thread | None = None

    # ── taking calls ─────────────────────────────────────────────────────────────────────────────────────

    def submit(
        self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], permit: Permit | None = None
    ) -> CallFuture[Any]:
        """Takes a call. What can't be serialised fails its own future (E4).

        Args:
            fn: What to call.
            args: Its positional arguments.
            kwargs: Its keyword arguments.
            permit: Where it waits, for us alone to give.

        Raises:
            RuntimeError: The pool is closed or broken.
        """
        if self.closing:
            self.check_open()
        if self._limiter is not None and permit is None:
            return self._submit_with_limit(fn, args, kwargs)
        try:
            body = self._encode.call(fn, args, kwargs)
        except BaseException as exc:
            if not (issubclass(type(exc), Exception) or raises_again(exc, self._try_to_encode, fn, args, kwargs)):
                raise  # of a signal handler
            from corefutures_pools.workers.pickling_errors import explain  # here for start-up time only

            told = exc, self._encode, fn, args, kwargs
            try:
                explain(*told)
            except BaseException as other:  # of an argument's own repr, say: it is told as it is
                if not (issubclass(type(other), Exception) or raises_again(other, explain, *told)):
                    raise
            finally:
                del told  # no cycle
            return self._fail_at_once(fn, exc, permit)
        kept = None
        if type(body) is RetainedCall:
            kept, body = body.call, body.body
        future: CallFuture[Any] = CallFuture(self, body)
        if kept is not None:
            future._kept = kept
        try:
            if permit is not None:  # a call leaves when it ends: the moment in which it starts is the worker's
                future._cf_on_departure = permit.release
            self._numbered = number = next(self._numbers)
            if instrumentation.enabled and (owner := self.owner()) is not None:
                instrumentation.track_call(owner, fn, future, len(body))
                if future._cf_observed is not None:
                    number |= OBSERVED
            future._number = number
            prepare = self._prepare
            if prepare is not None:
                prepare(future)
            added, refused = (future,), False
            if self.lock.taken:
                if not (refused := self.closing):
                    self._taken += 1
                    self.calls[number] = future
                    self._backlog += added
                self.lock.release()
            if refused:
                self.check_open()
            if len(self._workers) < self.size and self._needs_worker():
                self._start_workers()
            self.dispatch(future)
        except BaseException:  # also of a signal handler: nobody else has the future, nor will have
            future.cancel()
            raise
        return future

    def _submit_with_limit(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CallFuture[Any]:
        """Takes a call if there is room, or once there is."""
        from corefutures_pools.admission import Permit  # here for start-up time only

        assert self._limiter is not None
        permit = Permit(self._limiter)
        try:
            own = self.owns_thread(threading.current_thread())
            if permit.acquire(own, own_thread_runs=False):
                return self.submit(fn, args, kwargs, permit)
            return self._run_here(fn, args, kwargs)
        except BaseException:
            permit.release()
            raise

    def _try_to_encode(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        body = self._encode.call(fn, args, kwargs)
        if isinstance(body, RetainedCall):
            body = body.body
        if not isinstance(body, bytes):
            body.close()

    def highest_number(self, number: int) -> int:
        """Returns a number that no call's exceeds, and `number` doesn't if it is a call's; for who checks that."""
        if number & ~OBSERVED <= self._numbered or number in self.calls:
            return number
        return int(repr(self._numbers)[len("count(") : -1])  # looked at, and not taken

    def _fail_at_once(self, fn: Any, error: BaseException, permit: Permit | None) -> CallFuture[Any]:
        """Returns the future of a call that can't be serialised."""
        failed: CallFuture[Any] = CallFuture()
        if permit is not None:
            failed._cf_on_departure = permit.release
        if instrumentation.enabled and (owner := self.owner()) is not None:
            instrumentation.track_call(owner, fn, failed)
        self.count("unnumbered", "failed")
        failed._cf_settle(None, error)
        return failed

    def _run_here(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CallFuture[Any]:
        """Runs a call in the thread that submits it, because nothing more may wait."""
        from corefutures_pools.helping import run_call  # here for start-up time only

        future: CallFuture[Any] = CallFuture()
        if instrumentation.enabled and (owner := self.owner()) is not None:
            instrumentation.track_call(owner, fn, future)
        result, error = run_call(future, fn, args, kwargs)
        try:
            self.count("unnumbered", *(() if error is None else ("failed",)))
            future._cf_settle(result, error)
            if error is not None and not issubclass(type(error), Exception):  # meant for this thread
                raise error
        finally:
            del error
        return future

    def check_open(self) -> None:
        """Raises what `submit` raises if no call can be taken: which is when the pool is closing."""
        if self.broken_reason is not None:
            raise self._broken_error()
        if self.closing:
            if self._exiting:
                raise RuntimeError("cannot schedule new futures after interpreter shutdown")
            raise RuntimeError("cannot schedule new futures after shutdown")

    def finish_cancellation(self, future: CallFuture[Any]) -> None:
        """Takes a cancelled call off the table, and tells whoever waits for it; what was done is not done again.

        Raises:
            BaseException: What a callback raises that is no `Exception`.
        """
        self.in_transition.append(future)
        try:
            self.discard(future)
            future._cf_forget_call()
            if future._cf_watched:
                future._cf_notify()
        finally:
            self.in_transition.remove(future)

    def discard(self, future: CallFuture[Any]) -> None:
        """Takes a cancelled call off the table; does nothing the second time."""
        if self.calls.pop(future._number, None) is not None:
            self.count("cancelled")
        if self.closing and not self.calls:
            self.wake()

    def wait_inline(self, future: CallFuture[Any], timeout: float | None) -> tuple[float | None, bool]:
        """Called by a thread that is about to wait for `future`: it may do something for it.

        Returns:
            What is left of `timeout`, and whether it has waited.
        """
        return timeout, False

    def step_down(self) -> None:
        """Called by a thread that is about to wait: ends what `wait_inline` does in it, if we interrupt that."""
        return

    # ── stopping calls, counting them ────────────────────────────────────────────────────────────────────

    def kill(self, future: CallFuture[Any]) -> bool:
        """Cancels the call, or kills the worker that runs it; returns False if the call had ended.

        Raises:
            UnsupportedError: The workers were forked: they can't be replaced.
        """
        if self._prestart:
            raise UnsupportedError(NEEDS_ANOTHER_START.format("a call that runs can't be stopped in this pool"))
        if self.owns_thread(threading.current_thread()):  # in a callback: the worker's last words are ours to read
            if future.done():
                return False
            start_thread(threading.Thread(target=kill, args=(self, future), name=f"{self.name} killing"))
            return True
        return kill(self, future)

    def own(self, future: object) -> CallFuture[Any]:
        """Returns `future` if it is of this pool, or has ended.

        Raises:
            TypeError: It is not of a pool with isolated workers.
            ValueError: It is another pool's, which alone knows where its call is.
        """
        call = check_call(future)
        if call._pool is not None and call._pool is not self:
            raise ValueError(f"{future!r} belongs to another pool: ask the executor whose submit() returned it")
        return call

    def submit_limited(self, seconds: float, submit: Callable[[], Future[Any]]) -> CallFuture[Any]:
        """Submits a call, and kills the worker that runs it for longer than `seconds`: see `Limits.submit`."""
        limits = Limits(self)
        if self.lock.taken:
            self._limits = limits = self._limits or limits
            self.lock.release()
        return limits.submit(seconds, lambda: check_call(submit()))

    def request_cancel(self, future: CallFuture[Any]) -> bool:
        """Cancels the call, or asks it to stop if it runs; returns False if it had ended."""
        self.step_down()
        while not future.done():
            if future._cancel_waiting() or self.request_stop(future):
                return True
            if self.owns_thread(threading.current_thread()):  # what became of the call is ours to read
                start_thread(threading.Thread(target=self.request_cancel, args=(future,), name=f"{self.name} asking"))
                return True
            time.sleep(PAUSE)
        return False

    def interrupt(self) -> None:
        """Ctrl-C: takes no more calls, cancels those that wait, and stops those that run, within a second or never.

        A terminal interrupts the workers as well. But they may have claimed other calls since, and there may be none:
        so each worker that runs a call is interrupted here, and again if that came before the call had begun. Whoever
        has been interrupted just now does not mind.
        """
        self.close(wait=False, cancel_futures=True)
        for call in list(self.calls.values()):
            self.request_stop(call)
        if self.owns_thread(threading.current_thread()):
            return
        until, sent = clock.monotonic() + _PATIENCE, dict[tuple[int, int], float]()
        while self.calls and clock.monotonic() < until:
            reached = False
            for occupation in self.occupations():
                if occupation.call is None:
                    reached = True
                    continue
                key = id(occupation.worker), occupation.call._number
                now = clock.monotonic()
                if now - sent.setdefault(key, 0.0) > _PATIENCE / 4:
                    sent[key] = now
                    occupation.worker.interrupt()
                reached = reached or occupation.worker.pid is not None
            if not reached:
                return
            time.sleep(PAUSE)

    @abstractmethod
    def request_stop(self, future: CallFuture[Any]) -> bool:
        """Asks the worker that runs the call to stop it; returns False if none is known to run it."""

    @abstractmethod
    def kill_running(self, future: CallFuture[Any], verdict: BaseException) -> bool:
        """Kills the worker that runs the call, which fails with `verdict`; returns False if none was found."""

    def stats(self) -> Stats:
        """Returns what became of the calls."""
        from corefutures_pools.stats import Stats, total  # here for start-up time only

        calls = list(self.calls.values())
        failed, cancelled = self._counted("failed"), self._counted("cancelled")
        submitted = self._taken + self._counted("unnumbered")  # these could not be sent, or ran where they came from
        running = sum(call.running() for call in calls)
        return Stats(
            submitted=submitted,
            waiting=len(calls) - running,
            running=running,
            finished=submitted - len(calls) - failed - cancelled,
            failed=failed,
            cancelled=cancelled,
            workers=len(self._workers),
            lost_workers=self._counted("lost"),
            uptime=clock.monotonic() - self._made,
            cpu_time=total([worker.cpu_seconds() for s in list(self._workers) if (worker := s.worker) is not None]),
        )

    def snapshot(self, name: str, timeout: float) -> Snapshot:
        """Returns what the pool is busy with; see `PoolExecutor.snapshot`."""
        from corefutures_pools.workers.snapshot import snapshot  # here for start-up time only

        return snapshot(self, name, timeout)

    @abstractmethod
    def occupations(self) -> Iterable[Occupation]:
        """Returns what the workers do, as far as it is known here; takes no lock."""

    def body_of(self, future: CallFuture[Any]) -> Any:
        """Returns the beginning of the serialised call, None if it has gone."""
        body = future._body
        return body if body is None or isinstance(body, bytes) else body.beginning()

    def count(self, *whats: str) -> None:
        """Counts something that ended otherwise than by a result."""
        tally, thread = self._tally, threading.get_ident()
        for what in whats:
            tally[what, thread] += 1  # nothing is called here, after which a handler could count as well

    def _counted(self, what: str) -> int:
        return sum(number for (counted, _), number in list(self._tally.items()) if counted == what)

    # ── what carries the calls decides ───────────────────────────────────────────────────────────────────

    @abstractmethod
    def revoke(self, future: CallFuture[Any]) -> None:
        """Takes a call back that was sent, and cancels it, unless it has started."""

    @abstractmethod
    def is_running(self, future: CallFuture[Any]) -> bool:
        """Returns whether a worker runs the call."""

    @abstractmethod
    def dispatch(self, future: CallFuture[Any]) -> None:
        """Sends what can be sent, now that this call was entered; never blocks."""

    @abstractmethod
    def cancel_waiting(self) -> None:
        """Cancels every call that has not started."""

    @abstractmethod
    def open_transport(self) -> None:
        """Makes what all workers share; called once, before the first is hired."""

    @abstractmethod
    def start_threads(self) -> None:
        """Starts the first thread of ours; called once, after `open_transport`."""

    @abstractmethod
    def start_worker(self, launcher: WorkerLauncher) -> None:
        """Starts a worker."""

    @abstractmethod
    def wake(self) -> None:
        """Has our threads look at the states again; never blocks."""

    @abstractmethod
    def end_workers(self, how: str) -> None:
        """Calls `terminate` or `kill` (`how`) on every worker."""

    @abstractmethod
    def release_resources(self, *, in_child: bool = False) -> None:
        """Closes the caller's ends of everything, after the end or in a forked child."""

    # ── workers ──────────────────────────────────────────────────────────────────────────────────────────

    def _needs_worker(self) -> bool:
        """Returns whether a worker should be started: derived from the table, never counted along (E2)."""
        staff = len(self._workers)
        return (
            staff < self.size
            and len(self.calls) > staff
            and not (self._ended or self.forced or self.broken_reason is not None)
            and not (self._prestart and self.thread is not None)
        )

    def _start_workers(self) -> None:
        """Starts the workers that are needed, unless another thread is at it: it looks again when done.

        A thread of its own does it, for which the submitter waits:

        1. no signal handler comes between the start of a worker and its entry here, so none is left an orphan;
        2. a handler that interrupts the submitter, and waits for a call, doesn't keep the workers from being started;
        3. an interrupt ends the waiting, and nothing else.

        Only workers that are forked start where they are asked for, because no other thread may run then: a handler
        that interrupts that, and waits for a call, waits in vain.

        Raises:
            BaseException: No worker could be started, and there is none.
        """
        request = _StartRequest(ours=self.owns_thread(threading.current_thread()))
        if self._prestart or request.ours:
            self._run_request(request)
        else:
            try:
                _thread.start_new_thread(self._run_request_in_thread, (request,))
            except RuntimeError:  # there are too many, or the interpreter ends
                self._run_request(request)
        failure = request.exception()
        if failure is not None:
            try:
                raise failure
            finally:
                del failure, request

    def _run_request_in_thread(self, request: _StartRequest) -> None:
        try:
            self._run_request(request)
        finally:
            if sys.version_info < (3, 12):  # there, `threading` remembers a thread that it did not start for ever
                threading._active.pop(threading.get_ident(), None)  # type: ignore[attr-defined]

    def _run_request(self, request: _StartRequest) -> None:
        """Starts the workers that are needed, if it is the turn of `request`, which is told how that ended."""
        failure: BaseException | None = None
        try:
            requests = self._start_requests
            while failure is None and self._needs_worker():
                try:
                    requests.append(request)
                    if requests[0] is not request:
                        break
                    if not self._start_needed():
                        if not len(self._workers):
                            self.mark_broken(
                                "the executor was garbage collected while calls were pending, and the last worker of"
                                f" its {self.name} has ended: nobody can start another",
                                None,
                            )
                        break
                except BaseException as exc:
                    failure = exc
                finally:
                    while request in requests:
                        requests.remove(request)
            if failure is not None:
                failure = self._on_start_failure(failure, ours=request.ours)
            if self._ended:  # somebody waits for us
                self.wake()
        except BaseException as exc:
            failure = exc
        finally:
            request.over(failure)

    def _stop_starting(self) -> bool:
        """Sees to it that no worker is started any more; returns whether none is being started now."""
        self._ended = True
        return not self._start_requests

    def _start_needed(self) -> bool:
        """Starts the workers that are needed; False if there is nobody to start them any more."""
        launcher = self._launcher()
        if launcher is None:
            return False
        with standard_reserved:
            return self._start_with(launcher)

    def _start_with(self, launcher: WorkerLauncher) -> bool:
        if not self._opened:
            self.open_transport()
            self._opened = True
        if self.thread is None and not self._prestart:
            self.start_threads()
        try:
            everybody = self._prestart and self.thread is None
            while self._needs_worker() or (everybody and len(self._workers) < self.size):
                self.start_worker(launcher)
        finally:
            if self.thread is None:
                self.start_threads()
        return True

    def _on_start_failure(self, failure: BaseException, *, ours: bool) -> BaseException | None:
        """A worker or a thread of ours could not be started; returns what the submitter is told.

        That is nothing if there are other workers.
        """
        if self._opened and self.is_unserved():
            self.mark_broken(f"a thread that serves the {self.name} could not be started", failure)
            self.end_workers("kill")
            self.release_resources()
        elif self._logs is not None and self._logs.lacks_reader():
            self.mark_broken(
                f"the thread that reads what the workers of the {self.name} log could not be started", failure
            )
        elif len(self._workers):
            return failure if not isinstance(failure, Exception) else None  # the others do it
        elif len(self.calls) > 1 or ours:
            self.mark_broken(f"a worker of the {self.name} could not be started", failure)
        return failure

    def is_unserved(self) -> bool:
        """Returns whether nobody listens to the workers, nor ever will."""
        return self.thread is None

    def _replace_worker(self) -> None:
        """Start a worker in place of one that has ended if one is needed; for threads of ours."""
        if self._needs_worker():
            try:
                self._start_workers()
            except Exception:
                pass  # `_start_workers` has broken the pool, or others are left
        elif self.forced and not len(self._workers) and self.calls:
            self.mark_broken(f"the {self.name} was forcefully shut down", None)

    def _on_init_failed(self, error: BaseException, worker: WorkerHandle | None) -> None:
        """The initializer failed in a worker: said when that has ended, and so written its log, or soon in any case."""
        if self.calls or not self.closing:
            if worker is not None and worker.pid is not None:
                from multiprocessing.connection import wait  # here for start-up time only

                wait(worker.sentinels(), _LAST_WORDS)
            self.mark_broken(f"the initializer of a worker of the {self.name} failed", error)

    def _do_without(self, failure: BaseException) -> None:
        """A worker ended because it could not start: the others do its work, as `_on_start_failure` has it."""
        if self.calls and not len(self._workers):
            self.mark_broken(f"a worker of the {self.name} could not be started", failure)

    def _on_worker_lost(self, loss: WorkerLostError, *, ready: bool) -> bool:
        """Decides what the loss of a worker means; returns whether the pool goes on.

        Args:
            loss: Says which worker and how.
            ready: Whether it had finished starting.
        """
        hint = "" if ready else f". {self.not_ready_hint}"
        self.count("lost")
        if self.forced:
            self.mark_broken(f"the {self.name} was forcefully shut down", loss)
            return False
        if self._on_loss == BREAK:
            message = f"a worker of the {self.name} was lost while the call was running or pending: {loss}{hint}"
            if loss.pid is not None:  # a text that programs look for
                message += ". A child process terminated abruptly, the process pool is not usable anymore"
            self.mark_broken(message, loss)
            return False
        self._losses_in_a_row = 1 if self.finished else self._losses_in_a_row + 1
        self.finished = 0
        if self._losses_in_a_row >= max(_CRASH_LOOP, 2 * self.size + 1):
            self.mark_broken(
                f"{self._losses_in_a_row} workers of the {self.name} in a row were lost before a call was finished,"
                f" the last one like this: {loss}{hint}",
                loss,
            )
            return False
        return True

    # ── what observers are told ──────────────────────────────────────────────────────────────────────────

    def _record_timing(self, kind: int, number: int, body: Any, worker: str) -> None:
        """Takes in a CALL_STARTED or CALL_FINISHED frame."""
        future = self.calls.get(number)
        call = None if future is None else future._cf_observed
        if call is not None:
            moment, size = MOMENT.unpack(body)
            if kind == CALL_STARTED:
                call.begin(worker, moment)
            else:
                call.finished, call.result_size = moment, size

    # ── results ──────────────────────────────────────────────────────────────────────────────────────────

    def finish_call(self, number: int, value: Any, error: BaseException | None) -> None:
        """Takes a call off the table and ends it, unless that has been done."""
        future = self.calls.get(number)
        if future is not None:
            self.in_transition.append(future)
            try:
                if self.calls.pop(number, None) is not None:
                    future._cf_settle(value, error)
            finally:
                self.in_transition.remove(future)

    def _run_deferred_callbacks(self) -> None:
        """Tells of calls that were ended where it could not be done; for threads of ours."""
        while self.deferred and threading.get_ident() not in self.deferring:
            try:
                future = self.deferred[0]
                future._announce_safely()  # which does nothing twice, also if a callback waits and we come again
                self.deferred.remove(future)  # only now: a child that is forked before it tells of what it finds there
            except (IndexError, ValueError):  # another thread has
                pass

    def _serve_nested(
        self, depth: int, enough: Callable[[], bool], deadline: float | None, go_on: Callable[[float], object]
    ) -> None:
        """Goes on in a thread of ours in which foreign code, a callback or finaliser, waits.

        Args:
            depth: How often that is so in this thread, this time included.
            enough: Returns whether it need wait no longer.
            deadline: When it waits no longer, by `time.monotonic`.
            go_on: Does what there is to do, and sleeps for so many seconds at most.

        Raises:
            RuntimeError: It is so too often.
        """
        if depth > 2 * _DEEP:
            raise RuntimeError(
                f"{depth} callbacks or finalisers wait for calls in a thread of the {self.name}, each within the last"
            )
        thread = threading.get_ident()
        try:
            if depth > _DEEP:
                self.deferring.add(thread)
            self._replace_worker()
            while not enough():
                left = _LOOK if deadline is None else min(_LOOK, deadline - clock.monotonic())
                if left <= 0:
                    break
                go_on(left)
        except BaseException as exc:
            self.mark_broken(f"the thread that serves the {self.name} failed", exc)
        finally:
            if depth <= _DEEP + 1:
                self.deferring.discard(thread)

    def _decoded(self, decode: Callable[[Any], Any], body: Any) -> tuple[Any, BaseException | None]:
        """Returns what `decode` makes of a result, or what that raised; never raises."""
        try:
            return decode(body), None
        except BaseException as exc:
            add_note(exc, "raised while the result of a call was unpickled")
            return None, exc

    def _error_in(self, body: Any) -> BaseException:
        """Returns the exception in the body of an ERROR frame; if it can't be decoded, what that raised."""
        try:
            error = self._rebuild(body)
            if issubclass(type(error), AttributeError) or class_name(error) == "NotShareableError":
                from corefutures_pools.workers.pickling_errors import explain_missing  # here for start-up time only

                explain_missing(error, self._encode, self._hint)
            return error
        except BaseException as exc:
            add_note(exc, "raised while the exception of a call was unpickled")
            return exc

    def _rebuild(self, body: Any) -> BaseException:
        """As `_error_in`, but may raise if it is not even known what was reported."""
        text, pickled = split_error(body)
        try:
            error: BaseException = self._decode(pickled)
            if not isinstance(error, BaseException):
                error = TypeError(f"unpickling an exception gave a {class_name(error)}")
        except BaseException as exc:
            error = exc
            add_note(error, "raised while the exception of a call was unpickled; its traceback is the cause")
        if text:
            set_cause(error, self._remote_traceback(f'\n"""\n{text}"""'))
        return error

    # ── the ends of a pool ───────────────────────────────────────────────────────────────────────────────

    def close(self, *, wait: bool, cancel_futures: bool = False, timeout: float | None = None) -> None:
        """Takes no more calls; the pool ends once those it has are done.

        Args:
            wait: Whether to return only then; does nothing in a thread of the pool itself.
            cancel_futures: Whether to cancel the calls that have not started.
            timeout: Seconds to wait at most.

        Raises:
            TimeoutError: The time is up; the message tells what runs.
        """
        if self.lock.taken:
            self.closed = self.closing = True
            self.lock.release()
        if self._limiter is not None:
            self._limiter.close()
        try:
            if cancel_futures:
                self.cancel_waiting()
        finally:
            self.wake()
            if wait and timeout is None:
                self.finish()
            elif wait and timeout is not None and not self.owns_thread(threading.current_thread()):
                self._join_in_time(timeout)

    def _join_in_time(self, timeout: float) -> None:
        # `join` waits for several things one after the other: a thread does it that may be left to itself.
        joiner = threading.Thread(target=self.finish, name=f"{self.name} end", daemon=True)
        start_thread(joiner)
        joiner.join(min(timeout, threading.TIMEOUT_MAX))
        if joiner.is_alive():
            from corefutures_pools.workers.snapshot import described  # here for start-up time only

            calls = list(self.calls.values())
            running = [call for call in calls if call.running()]
            names = [described(self, call) for call in running[:_NAMED]]
            if len(running) > _NAMED:
                names.append(f"{len(running) - _NAMED} more")
            raise TimeoutError(
                f"after {timeout} s there is still running: {', '.join(names) or 'nothing'};"
                f" waiting: {len(calls) - len(running)} calls"
            )

    def join(self) -> None:
        """Waits for the end of the pool, except in one of its own threads."""
        current = threading.current_thread()
        if self.owns_thread(current):
            return
        self.step_down()
        if self.thread is None and self.calls:
            # Whoever submitted them may not have come to start a worker, and with it our thread, or is at it.
            with contextlib.suppress(Exception):  # who submitted is told, and so are the futures
                self._start_workers()
        self._await_starting()
        thread = self.thread
        if thread is not None:
            thread.join()

    def _await_starting(self) -> None:
        """Waits until nobody starts workers, and with them our threads, unless it is this thread, interrupted."""
        for request in self._start_requests.copy():
            if request.thread != threading.get_ident():
                request.exception()

    def finish(self) -> None:
        """As `join`; what the workers logged has been handled as well then."""
        self.join()
        if self._logs is not None and not self.owns_thread(threading.current_thread()):
            self._logs.join()

    def owns_thread(self, thread: threading.Thread) -> bool:
        return thread is self.thread

    def stop_workers(self, how: str, cancel: bool = True) -> None:
        """Closes the pool and calls `terminate` or `kill` (`how`) on every worker."""
        self._how, self.forced = how, True
        try:
            self.close(wait=False, cancel_futures=cancel)
        finally:
            self.end_workers(how)

    def _stop_late_worker(self, worker: WorkerHandle) -> None:
        """Ends a worker that was being started while the others were ended by hand."""
        if self.forced:
            getattr(worker, self._how)()

    def on_executor_collected(self) -> None:
        """Nobody refers to the executor any more: like `close`, called while garbage is collected."""
        self._dropped = self.closing = True
        self.wake()

    def mark_broken(self, message: str, cause: BaseException | None) -> None:
        """Fails every call, each with an error of its own, and ends all workers."""
        if self.lock.taken:
            if self.broken_reason is None:
                self._cause, self.broken_reason = cause, message
            self.closing = True  # every other state in which no call is taken implies this one
            self.lock.release()
        self._backlog.clear()  # from here on no call is entered
        for_each(self._fail, list(self.calls.values()))
        self.wake()

    def _fail(self, future: CallFuture[Any]) -> None:
        """Ends a call of a broken pool; one that has ended is taken off the table by whoever ended it."""
        if future._cf_settle(None, self._broken_error()):
            self.calls.pop(future._number, None)

    def _broken_error(self) -> BrokenExecutor:
        error = self._broken_type(self.broken_reason or "")
        error.__cause__ = _another(self._cause)
        return error

    def close_at_exit(self) -> None:
        """Take no more calls because the interpreter ends; `at_exit` says what becomes of those it has."""
        self._exiting = True
        if self.at_exit == "kill":
            self.stop_workers("kill")
            return
        try:
            self.close(wait=False, cancel_futures=self.at_exit == "cancel")
        finally:
            if self.at_exit == "cancel":
                for call in list(self.calls.values()):
                    self.request_stop(call)

    def after_fork_in_child(self) -> None:
        """Leave the calls to the parent, and give the executor a pool of the child's own (E11)."""
        owner = self.owner()
        try:
            if self._opened or self.calls or self.in_transition:
                self._fail_calls_in_child()
        finally:
            if owner is not None and owner._cf_pool is self:
                owner._cf_after_fork_in_child()

    def _fail_calls_in_child(self) -> None:
        """Fail the futures here: their calls belong to the parent."""
        self.lock = Lock()
        self._start_requests.clear()
        self.deferring.clear()
        futures = self._unfinished()
        try:
            self.release_resources(in_child=True)
        except Exception:  # the fork came while another thread made or closed just that: the rest stays open here
            pass
        self.thread = None
        self._ended = True
        self._opened = False
        for future in futures:
            future._cf_renew_lock()
            if future._kept is not None:
                _kept_by_parent.append(future._kept)  # their finalisers are the parent's to run
                future._kept = None
        self.mark_broken(f"the {self.name} belongs to the process that this one was forked from", None)
        for future in futures:  # also those that had left the table
            if not future._cf_settle(None, self._broken_error()):
                future._announce_safely()  # it had ended, but perhaps nobody was told

    def _unfinished(self) -> list[CallFuture[Any]]:
        """Returns every call that has not ended, or is still to be told of: for a forked child, where nothing moves."""
        return [*self.calls.values(), *self.in_transition, *self.deferred]


class _StartRequest(Future[None]):
    """One turn of starting workers; ends when it is over, with the error that the submitter is to be told."""

    def __init__(self, *, ours: bool) -> None:
        super().__init__()
        self.thread = threading.get_ident()  # who wants them
        self.ours = ours  # that is a thread of the pool

    def _cf_await_end(self, timeout: float | None) -> None:
        self._cf_sleep_until_end(
            timeout
        )  # in a thread of the pool as well: it starts workers, and waits for nothing more

    def over(self, failure: BaseException | None) -> None:
        """Ends it, unless an interrupt has done so."""
        with contextlib.suppress(InvalidStateError):
            if failure is None:
                self.set_result(None)
            else:
                self.set_exception(failure)


def _another(cause: BaseException | None) -> BaseException | None:
    """Returns a copy of a cause for one more future; of an exception of a foreign class, the very same."""
    if isinstance(cause, WorkerLostError):
        return WorkerLostError(str(cause), pid=cause.pid, exitcode=cause.exitcode, worker=cause.worker)
    return cause


def _close_later(pool: WorkerPool) -> Callable[[object], None]:
    """Returns a callback for the launcher's weak reference; it doesn't keep the pool alive."""
    reference = weakref.ref(pool)

    def close_pool(_: object) -> None:
        pool = reference()
        if pool is not None:
            pool.on_executor_collected()

    return close_pool
