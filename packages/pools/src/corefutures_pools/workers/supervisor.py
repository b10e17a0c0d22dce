"""`WorkerSupervisor`: starts the workers of a pool on demand, and decides what the end of a worker means.

Touches the pool's state by the methods of `_SupervisedPool`. Guarantees: a call never waits while a worker could still
be started (E2); the end of a worker is decided in one place, `on_worker_end`, for every transport (E5).
"""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections import deque

from corefutures._blocking import _thread, sleep, threading
from corefutures._exceptions import InvalidStateError, WorkerLostError
from corefutures._foreign_code import copied, log_failure
from corefutures._future import LOGGER, Future
from corefutures._instrumentation import instrumentation
from corefutures_pools.descriptors import standard_reserved

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Final, Protocol

    from corefutures_pools.workers.interface import WorkerHandle, WorkerLauncher
    from corefutures_pools.workers.logging.receiver import LogReceiver

    class _SupervisedPool(Protocol):
        """What a supervisor needs of its pool; `PoolTransport` says what the methods do."""

        size: int
        name: str
        owner: Callable[[], Any]
        closing: bool
        broken_reason: str | None
        thread: threading.Thread | None

        @property
        def calls(self) -> Mapping[int, object]: ...
        def count(self, *whats: str) -> None: ...
        def mark_broken(self, message: str, cause: BaseException | None) -> None: ...
        def wake(self) -> None: ...
        def open_transport(self) -> None: ...
        def start_threads(self) -> None: ...
        def start_worker(self, launcher: WorkerLauncher, *, spare: bool = False) -> None: ...
        def promote(self, connection: Any) -> None: ...
        def is_unserved(self) -> bool: ...
        def owns_thread(self, thread: threading.Thread) -> bool: ...
        def end_workers(self, how: str) -> None: ...
        def release_resources(self, *, in_child: bool = False) -> None: ...


#: What a pool does when it has lost a worker: it breaks, or starts another one.
BREAK: Final = "break"
REPLACE: Final = "replace"

#: A crash loop: this many losses in a row, and more than two for each worker, without a call that ends in between.
_CRASH_LOOP: Final = 5
#: So many spares in a row that end before one is needed: no more of them are started.
_SPARE_LOSSES: Final = 3
#: Seconds from the promotion of a spare to the start of the next one, which would compete with the calls that wait.
_SPARE_PAUSE: Final = 0.01
#: Seconds that a process whose initializer has failed gets to end by itself, before its pool breaks and stops all.
_INIT_FAILED_GRACE: Final = 1.0

#: Why a pool whose workers are forked refuses something, and what helps.
NEEDS_ANOTHER_START: Final = (
    "{}: its workers are forked, and a process with threads can't be forked safely to replace one that was killed; make"
    " the pool with mp_context='forkserver' or 'spawn'"
)


class WorkerRecord:
    """What a pool knows of one worker: its handle, and what the worker has reported; a transport adds its own ends."""

    def __init__(self) -> None:
        self.worker: WorkerHandle | None = None  # the worker may send frames before `launch()` has returned its handle
        self.ready = False  # it has finished starting, and takes calls
        self.exiting = False  # it has said that it takes no more calls
        self.init_error: BaseException | None = None  # what the initializer raised
        self.failure: BaseException | None = None  # why the worker could not start, or go on
        self.malformed = ""  # what it sent that was no frame

    def loss(self, exitcode: int | None) -> WorkerLostError:
        """Return the error of the calls of this worker, which was lost."""
        worker = self.worker
        assert worker is not None
        error = WorkerLostError(pid=worker.pid, exitcode=exitcode, worker=worker.name)
        error.__cause__ = self.failure
        if self.malformed:
            error.add_note(self.malformed)
        return error


class WorkerSupervisor:
    """Starts, replaces and counts the workers of one pool.

    Args:
        pool: The pool.
        launcher: Starts workers; referred to weakly. When it is collected, `on_launcher_collected` is called.
        on_launcher_collected: Called while garbage is collected.
        on_loss: BREAK or REPLACE.
        prestart: Whether all workers start before the first thread of the pool does, as fork needs it.
        not_ready_hint: Said of a worker that was lost before it was ready.
        logs: What reads the workers' logs, if they are forwarded.
        spares: How many spares are kept started.

    Attributes:
        workers: The connections of the workers that take calls, or will once they have started.
        spares: The connections of the workers that take no calls until another one is needed.
        has_finished_calls: Whether a call has ended since the last loss.
        forced: Whether the workers were ended by hand.
        closed: Whether no worker is started any more.
        opened: Whether the pool's transport has been opened.
        prestart: See above.

    Thread safety: every method may be called from any thread; `start_workers` also from a signal handler or finaliser.
    """

    def __init__(
        self,
        pool: _SupervisedPool,
        launcher: WorkerLauncher,
        *,
        on_launcher_collected: Callable[[object], None],
        on_loss: str,
        prestart: bool,
        not_ready_hint: str,
        logs: LogReceiver | None,
        spares: int = 0,
    ) -> None:
        self._pool = pool
        self._launcher = weakref.ref(launcher, on_launcher_collected)
        self._on_loss = on_loss
        self._not_ready_hint = not_ready_hint
        self._logs = logs
        self.prestart = prestart
        self.workers: set[Any] = set()
        self.spares: set[Any] = set()
        self._spares_wanted = spares
        self._spare_losses = 0  # since one was needed; written by the threads that take in the end of a spare
        # Set by the threads that receive results, cleared by the one that takes in a loss. A result that comes at that
        # very moment may be missed: then one loss more counts.
        self.has_finished_calls = False
        self._losses_in_a_row = 0
        self.forced = False
        self.stop_method = "kill"  # or "terminate": how the workers were ended by hand
        self.closed = False
        self.opened = False
        # A queue rather than a lock: see `start_workers`.
        #
        # 1. A thread that finds that a worker is needed appends its request. That of the first request starts workers.
        # 2. A thread takes its request out, and looks again whether a worker is needed.
        # 3. A thread whose request was not the first leaves, unless none is left: the thread of another one has yet to
        #    take that out, and looks then. That one may be about to leave itself, so the last of all looks again.
        self._requests: deque[_StartRequest] = deque()
        self._open: deque[_StartRequest] = deque()  # those that have not ended: they may fail calls still

    # ── starting ─────────────────────────────────────────────────────────────────────────────────────────

    def needs_worker(self) -> bool:
        """Return whether a worker should be started: derived from the table of calls, never counted along (E2)."""
        pool, count = self._pool, len(self.workers)
        return (
            count < pool.size
            and len(pool.calls) > count
            and not (self.closed or self.forced or pool.broken_reason is not None)
            and not (self.prestart and pool.thread is not None)
        )

    def start_workers(self, *, ours: bool = False, taken: Callable[[], bool] = bool) -> None:
        """Start the workers that are needed, unless another thread does so: that one looks again when it is done.

        A thread of its own starts them, and the submitter waits for that thread:

        1. no signal handler comes between the start of a worker and its entry in `workers`: no worker is orphaned;
        2. a handler that interrupts the submitter, and waits for a call, doesn't keep the workers from being started;
        3. an interrupt ends the waiting, and nothing else.

        Only workers that are forked start in the submitter's thread, because no other thread may run then, and those
        for which no thread can be started: a handler that interrupts that, and waits for a call, waits in vain.

        Args:
            ours: Whether a thread of the pool calls this, which its calls depend on: also one that the pool does not
                know any more, because the worker that it has served has ended.
            taken: Whether a worker has run the submitter's call meanwhile, so that it can't be refused.

        Raises:
            BaseException: No worker could be started, and there is none.
        """
        request = _StartRequest(ours=ours or self._pool.owns_thread(threading.current_thread()))
        if self.prestart or request.ours:
            self._run(request)
        else:
            try:
                _thread.start_new_thread(self._run_in_thread, (request,))
            except RuntimeError:  # there are too many threads, or the interpreter ends
                self._run(request)
        failure = request.exception()
        if failure is not None and not (isinstance(failure, Exception) and taken()):
            try:
                raise failure
            finally:
                del failure, request

    def _run_in_thread(self, request: _StartRequest) -> None:
        try:
            self._run(request)
        finally:
            if sys.version_info < (3, 12):  # there, `threading` remembers a thread that it did not start for ever
                threading._active.pop(threading.get_ident(), None)  # type: ignore[attr-defined]

    def _run(self, request: _StartRequest) -> None:
        """Start the workers that are needed if `request` is the first of all, and end the request."""
        failure: BaseException | None = None
        request.runner = threading.get_ident()
        try:
            self._open.append(request)
            requests, leaves = self._requests, False
            while failure is None and not leaves and self.needs_worker():
                try:
                    requests.append(request)
                    leaves = requests[0] is not request
                    if leaves or not self.needs_worker():  # the request before has started it, or has ended the pool
                        continue
                    try:
                        started = self._start_needed()
                    except BaseException as exc:  # before another thread may start workers
                        self._end_unserved(exc)
                        raise
                    if not started:
                        if not len(self.workers):
                            self._pool.mark_broken(
                                "the executor was garbage collected while calls were pending, and the last worker of"
                                f" its {self._pool.name} has ended: nobody can start another",
                                None,
                            )
                        break
                except BaseException as exc:
                    failure = exc
                finally:
                    while request in requests:
                        requests.remove(request)
                    leaves = leaves and bool(requests)
            if failure is not None:
                failure = self._on_start_failure(failure, ours=request.ours)
            if self.closed:  # a thread of the pool waits for the requests to end
                self._pool.wake()
        except BaseException as exc:
            failure = exc
        finally:
            request.end(failure)
            with contextlib.suppress(ValueError):  # in a forked child
                self._open.remove(request)
        if self._spares_wanted:
            self._request_spares()

    def _start_needed(self) -> bool:
        """Start the workers that are needed; return False if there is no launcher any more."""
        launcher = self._launcher()
        if launcher is None:
            return False
        pool = self._pool
        with standard_reserved:
            if not self.opened:
                pool.open_transport()
                self.opened = True
            if pool.thread is None and not self.prestart:
                pool.start_threads()
            try:
                everybody = self.prestart and pool.thread is None
                while self.needs_worker() or (everybody and len(self.workers) < pool.size):
                    if not (self.spares and self._promote_spare()):
                        pool.start_worker(launcher)
            finally:
                # Not if the first worker could not be forked: beside a thread none is forked later either.
                if pool.thread is None and len(self.workers):
                    pool.start_threads()
        return True

    # ── spares ───────────────────────────────────────────────────────────────────────────────────────────

    def _promote_spare(self) -> bool:
        """Have a spare take calls from now on; return False if there is none.

        1. The spare is entered among the workers, and then taken out of the spares.
        2. The thread that takes in the end of a spare takes it out of the spares, and then out of the workers.

        So one of the two threads alone finds it among the spares. If that is the second one, the spare has had no call,
        and this thread takes it out of the workers again.
        """
        for connection in sorted(copied(self.spares), key=lambda spare: not spare.ready):
            self.workers.add(connection)
            try:
                self.spares.remove(connection)
            except KeyError:
                self.workers.discard(connection)
                continue
            self._spare_losses = 0
            self._pool.promote(connection)
            return True
        return False

    def _lacks_spare(self) -> bool:
        pool = self._pool
        return (
            len(self.spares) < self._spares_wanted
            and len(self.workers) > 0
            and self._spare_losses < _SPARE_LOSSES
            and not (self.closed or self.forced or pool.closing or pool.broken_reason is not None)
        )

    def _request_spares(self) -> None:
        """Have the spares that are lacking started, in a thread that nobody waits for."""
        if self._lacks_spare():
            with contextlib.suppress(RuntimeError):  # there are too many threads, or the interpreter ends
                _thread.start_new_thread(self._start_spares, ())

    def _start_spares(self) -> None:
        """Start the spares that are lacking, unless another thread starts workers: that one requests them when done.

        A thread that needs a worker meanwhile leaves: so this one looks for that after each spare.
        """
        request, requests = _StartRequest(ours=True), self._requests
        request.runner = request.thread
        try:
            self._open.append(request)  # a shutdown that waits leaves no thread behind
            sleep(_SPARE_PAUSE)
            while self._lacks_spare():
                requests.append(request)
                try:
                    launcher = self._launcher() if requests[0] is request else None
                    if launcher is None:
                        break
                    if self._lacks_spare():
                        with standard_reserved:
                            self._pool.start_worker(launcher, spare=True)
                except Exception as exc:
                    self._count_lost_spare(exc)
                finally:
                    launcher = None
                    while request in requests:
                        requests.remove(request)
                if self.needs_worker():
                    self._run(_StartRequest(ours=True))
        finally:
            request.end(None)
            with contextlib.suppress(ValueError):  # in a forked child
                self._open.remove(request)
            if self.closed:
                self._pool.wake()
            if sys.version_info < (3, 12):  # as in `_run_in_thread`
                threading._active.pop(threading.get_ident(), None)  # type: ignore[attr-defined]

    def _count_lost_spare(self, error: BaseException) -> None:
        self._spare_losses += 1  # two threads at once may count one: then one more is started
        if self._spare_losses == _SPARE_LOSSES:
            log_failure(
                LOGGER, "spares of the %s end before they are needed: no more are started", self._pool.name, error=error
            )

    def _on_spare_end(self, connection: WorkerRecord, exitcode: int | None) -> None:
        """Take in that a spare was lost, which has had no call: the pool goes on."""
        if connection.init_error is not None:
            return
        pool = self._pool
        loss = connection.loss(exitcode)
        if not self.forced:
            if instrumentation.enabled and connection.worker is not None:
                instrumentation.worker_lost(pool.owner(), connection.worker.name, loss)
            pool.count("lost")
            self._count_lost_spare(loss)
        self.replace_worker()
        self._request_spares()

    def _end_unserved(self, failure: BaseException) -> None:
        """End a pool that has no thread, as a worker or the thread could not be started."""
        pool = self._pool
        if self.opened and pool.is_unserved():
            what = "a thread that serves" if len(self.workers) else "a worker of"
            pool.mark_broken(f"{what} the {pool.name} could not be started", failure)
            pool.end_workers("kill")
            pool.end_workers("reap")  # there is no thread that would
            pool.release_resources()

    def _on_start_failure(self, failure: BaseException, *, ours: bool) -> BaseException | None:
        """Decide what it means that a worker or a thread of the pool could not be started.

        Returns:
            What the submitter is told; nothing if there are other workers.
        """
        pool = self._pool
        if pool.broken_reason is not None:
            return failure
        if self._logs is not None and self._logs.lacks_reader():
            pool.mark_broken(
                f"the thread that reads what the workers of the {pool.name} log could not be started", failure
            )
        elif len(self.workers):
            return failure if not isinstance(failure, Exception) else None  # the others do the work
        elif len(pool.calls) > 1 or ours:
            pool.mark_broken(f"a worker of the {pool.name} could not be started", failure)
        return failure

    def replace_worker(self) -> None:
        """Start a worker in place of one that has ended, if one is needed; for threads of the pool."""
        if self.needs_worker():
            with contextlib.suppress(Exception):  # the pool is broken then, or other workers are left
                self.start_workers(ours=True)
        elif self.forced and not len(self.workers) and self._pool.calls:
            self._pool.mark_broken(f"the {self._pool.name} was forcefully shut down", None)

    def stop_if_forced(self, worker: WorkerHandle) -> None:
        """End a worker that was being started while the others were ended by hand."""
        if self.forced:
            getattr(worker, self.stop_method)()

    def close(self) -> bool:
        """Start no more workers; return whether none is being started now."""
        self.closed = True
        return not self._requests

    def await_requests(self) -> None:
        """Wait until no thread starts workers, and with them threads of the pool, or fails calls for want of them.

        Not for this thread, if interrupted; and a thread that does so itself waits for no other, which may wait for it.
        """
        current = threading.get_ident()
        requests = copied(self._open)
        if any(request.runner == current for request in requests):
            return
        for request in requests:
            if request.thread != current:
                request.exception()

    def after_fork_in_child(self) -> None:
        """Start no worker any more: the requests and the workers are the parent's."""
        self._requests.clear()
        self._open.clear()
        self.closed = True
        self.opened = False

    # ── what workers report, and how they end ────────────────────────────────────────────────────────────

    def on_worker_ready(self, connection: WorkerRecord) -> None:
        """Note that a worker has finished starting."""
        connection.ready = True
        if instrumentation.enabled and connection.worker is not None:
            instrumentation.worker_started(self._pool.owner(), connection.worker.name)

    def on_init_failed(self, connection: WorkerRecord, error: BaseException) -> None:
        """Break the pool once the worker has ended, and so has written its log, or soon in any case."""
        connection.init_error = error
        pool, worker = self._pool, connection.worker
        if pool.calls or not pool.closing:
            if worker is not None and worker.pid is not None:
                from corefutures._blocking import wait_ready  # here for start-up time only

                wait_ready(worker.sentinels(), _INIT_FAILED_GRACE)
            pool.mark_broken(f"the initializer of a worker of the {pool.name} failed", error)

    def on_worker_end(
        self,
        connection: WorkerRecord,
        exitcode: int | None,
        *,
        expected: bool,
        killed: bool,
        fail_calls: Callable[[WorkerLostError], object],
        spare: bool = False,
    ) -> None:
        """Decide what the end of a worker means; called once, after the worker was reaped and left `workers`.

        ==========================================  ==============  ================================================
        the worker                                  its calls fail  the pool
        ==========================================  ==============  ================================================
        was to end (`expected`)                     no              starts another one if that is needed
        could not run the initializer               no              is broken already
        could not start                             no              goes on without it, breaks if there is no other
        was lost as a spare (`spare`)               no              starts another one, but not again and again
        was killed for its call (`killed`)          yes             starts another one if that is needed
        was lost                                    yes             breaks, or starts another one: `_survives`
        ==========================================  ==============  ================================================

        Args:
            connection: Of the worker.
            exitcode: What `reap` returned.
            expected: Whether the worker has said that it leaves, or the pool has ended; and it held no call.
            killed: Whether `kill_running` has ended it.
            fail_calls: Fails the calls that the worker held, if any, with this error or that of `kill_running`.
            spare: Whether it was one of `spares` when it left them.
        """
        pool = self._pool
        if spare and not expected:
            self._on_spare_end(connection, exitcode)
            return
        if not expected:
            if connection.init_error is not None:
                return
            if connection.failure is not None and not connection.ready:
                if pool.calls and not len(self.workers):
                    pool.mark_broken(f"a worker of the {pool.name} could not be started", connection.failure)
                return
            loss = connection.loss(exitcode)
            if not (killed and not self.forced) and not self._survives(loss, connection):
                return
            fail_calls(loss)
        self.replace_worker()

    def _survives(self, loss: WorkerLostError, connection: WorkerRecord) -> bool:
        """Count a loss; return whether the pool goes on, having broken it if not."""
        pool = self._pool
        if instrumentation.enabled and connection.worker is not None:
            instrumentation.worker_lost(pool.owner(), connection.worker.name, loss)
        hint = ""
        if not connection.ready:
            loss.add_note(self._not_ready_hint)
            hint = f". {self._not_ready_hint}"
        pool.count("lost")
        if self.forced:
            pool.mark_broken(f"the {pool.name} was forcefully shut down", loss)
            return False
        if self._on_loss == BREAK:
            message = f"a worker of the {pool.name} was lost while the call was running or pending: {loss}{hint}"
            if loss.pid is not None:  # a text that programs look for
                message += ". A child process terminated abruptly, the process pool is not usable anymore"
            pool.mark_broken(message, loss)
            return False
        self._losses_in_a_row = 1 if self.has_finished_calls else self._losses_in_a_row + 1
        self.has_finished_calls = False
        if self._losses_in_a_row >= max(_CRASH_LOOP, 2 * pool.size + 1):
            pool.mark_broken(
                f"{self._losses_in_a_row} workers of the {pool.name} in a row were lost before a call was finished,"
                f" the last one like this: {loss}{hint}",
                loss,
            )
            return False
        return True


class _StartRequest(Future[None]):
    """One request to start workers; ends when it is done, with the error that the submitter is to be told."""

    def __init__(self, *, ours: bool) -> None:
        super().__init__()
        self.thread = threading.get_ident()  # of the requester
        self.runner = 0  # the ident of the thread that starts workers for it
        self.ours = ours  # that is a thread of the pool

    def _cf_await_end(self, timeout: float | None) -> None:
        # Also in a thread of the pool, which runs no calls meanwhile: it starts workers, and waits for nothing more.
        self._cf_sleep_until_end(timeout)

    def end(self, failure: BaseException | None) -> None:
        """End the request, unless an interrupt has done so."""
        with contextlib.suppress(InvalidStateError):
            if failure is None:
                self.set_result(None)
            else:
                self.set_exception(failure)
