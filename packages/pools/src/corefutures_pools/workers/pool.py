"""`WorkerPool`: the table of calls and the states of a pool with isolated workers: open, closing, broken.

Touches the core's futures; `supervisor`, `call_control` and `pool_stats` do the rest. Guarantees: a call that was taken
ends (E1), also when a thread of the pool fails (E8); a pool that closes, breaks, is dropped or forked ends too (E6,
E11); no foreign code runs under a lock, and no lock is held while a worker is written to (E10).
"""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections import deque
from functools import partial
from itertools import count

from corefutures._blocking import Lock, clock, start_thread, threading
from corefutures._exceptions import BrokenExecutor, WorkerLostError
from corefutures._foreign_code import copied, for_each
from corefutures._instrumentation import instrumentation
from corefutures_pools.blocking import join_thread
from corefutures_pools.workers.call_control import CallControl
from corefutures_pools.workers.deferred import DeferredCallbacks
from corefutures_pools.workers.future import CallFuture
from corefutures_pools.workers.messages import CALL_STARTED, MOMENT, OBSERVED
from corefutures_pools.workers.pool_stats import PoolStats
from corefutures_pools.workers.pool_transport import PoolTransport
from corefutures_pools.workers.serialization import RetainedCall
from corefutures_pools.workers.supervisor import BREAK, WorkerSupervisor

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final, TypeVar

    from corefutures_pools.admission import PendingLimiter, Permit
    from corefutures_pools.inspection.snapshots import Snapshot
    from corefutures_pools.sharing import Shared, Sharer
    from corefutures_pools.slots import SlotScheduler
    from corefutures_pools.stats import Stats
    from corefutures_pools.workers.interface import WorkerLauncher
    from corefutures_pools.workers.logging.receiver import LogReceiver
    from corefutures_pools.workers.memory_limits import MemoryLimit
    from corefutures_pools.workers.result_decoding import ResultDecoder
    from corefutures_pools.workers.serialization import Encoder

    _T = TypeVar("_T")

#: Seconds between looks whether foreign code that waits in a thread of the pool need wait no longer.
_NESTED_INTERVAL: Final = 0.01
#: So many calls are named in a message.
_NAMED: Final = 10

#: In a forked child: the arguments of calls of its parent, which still needs what they hold.
_kept_by_parent: list[Any] = []


class PoolOptions:
    """The options of a pool that its executor chooses.

    Args:
        size: How many workers at most.
        broken: The exception class of this backend's broken pools.
        name: How errors call the pool.
        on_loss: BREAK or REPLACE.
        at_exit: What becomes of the calls when the interpreter ends: "wait", "cancel", "kill" or "abandon".
        kill_on_cancel: Whether cancelling a call that runs kills its worker.
        prestart: Whether all workers start before the first thread of the pool does, as fork needs it.
        not_ready_hint: Said of a worker that was lost before it was ready.
        spares: How many more workers are kept started, which take no calls until another one is needed.
    """

    def __init__(
        self,
        size: int,
        broken: type[BrokenExecutor],
        *,
        name: str = "process pool",
        on_loss: str = BREAK,
        at_exit: str = "wait",
        kill_on_cancel: bool = False,
        prestart: bool = False,
        not_ready_hint: str = "It had not finished starting.",
        spares: int = 0,
    ) -> None:
        self.size = size
        self.broken = broken
        self.name = name
        self.on_loss = on_loss
        self.at_exit = at_exit
        self.kill_on_cancel = kill_on_cancel
        self.prestart = prestart
        self.not_ready_hint = not_ready_hint
        self.spares = spares


class WorkerPool(PoolTransport):
    """Takes calls, and ends every future; a subclass is the transport: see `PoolTransport`.

    Args:
        options: What the executor has chosen.
        launcher: Starts workers; referred to weakly. When it is collected, the pool takes no more calls, finishes those
            it has, and ends.
        encode: Makes a body of a call.
        decoder: Makes results of bodies.
        limiter: Where calls are admitted, if the number of those that wait is limited.
        slots: Holds the calls that demand slots, if the pool has some.
        memory: Limits the memory of each worker.
        logs: What reads the workers' logs, if they are forwarded.

    Attributes:
        calls: The calls that have not ended, by number.
        closing: Whether the pool takes no more calls; all states but open imply it.
        closed: Whether it was asked to close.
        broken_reason: Why it is broken; None if it is not.
        owner: Returns the executor, an `IsolatedExecutor`, as long as there is one.

    Thread safety: every public method may be called from any thread, signal handler or finaliser.
    """

    #: Whether workers can open memory files of this process.
    opens_descriptors = False
    #: Whether the pool takes calls of another pool alone, which ends it, at exit as well.
    ends_with_another = False

    def __init__(
        self,
        options: PoolOptions,
        *,
        launcher: WorkerLauncher,
        encode: Encoder,
        decoder: ResultDecoder,
        limiter: PendingLimiter | None = None,
        slots: SlotScheduler | None = None,
        memory: MemoryLimit | None = None,
        logs: LogReceiver | None = None,
    ) -> None:
        self.size = options.size
        self.name = options.name
        self.kill_on_cancel = options.kill_on_cancel
        self.daemons = options.at_exit == "abandon"  # whether the program may end before the pool's threads
        self._at_exit = options.at_exit
        self._broken_type = options.broken
        self._encode = encode
        self._limiter = limiter
        self._slots = slots
        self._memory = memory
        # Whether each call needs a permit.
        self._admits = limiter is not None or slots is not None or memory is not None
        if self._admits:  # not by the first submit: a signal handler that interrupts an import can't submit (F8)
            import corefutures_pools.workers.submission  # noqa: F401
        self._logs = logs
        self.decoder = decoder
        self.owner: Callable[[], Any] = lambda: None
        self.sharer: Sharer | None = None  # of the shared objects, once there is one

        # Guards the states and the table below: no call is entered once the pool is closing. Nothing is called under
        # it, see `Lock`.
        self.lock = Lock()
        self._numbers = count(1)  # of the calls
        self._numbered = 0  # about the last of them: of threads that submit together, any comes last here
        self._taken = 0  # how many calls were entered
        self._prepare: Callable[[CallFuture[Any]], object] | None = None  # what is done with a call before that
        self.calls: dict[int, CallFuture[Any]] = {}
        self._backlog: deque[CallFuture[Any]] = deque()  # of `calls` those that were not sent, in order
        # Taken off the table, and about to end or to be announced: a forked child does that.
        self.in_transition: list[CallFuture[Any]] = []
        self.closing = False
        self.closed = False
        self._exiting = False  # closed because the interpreter ends
        self.broken_reason: str | None = None
        self._broken_cause: BaseException | None = None

        self.thread: threading.Thread | None = None
        self.deferred = DeferredCallbacks()
        self._stats = PoolStats()
        self.count = self._stats.count
        self.control = CallControl(self, can_kill=not options.prestart)
        self.kill = self.control.kill
        self.supervisor = WorkerSupervisor(
            self,
            launcher,
            on_launcher_collected=_close_later(self),
            on_loss=options.on_loss,
            prestart=options.prestart,
            not_ready_hint=options.not_ready_hint,
            logs=logs,
            spares=options.spares,
        )
        self._workers = self.supervisor.workers  # the same set

    # ── taking calls ─────────────────────────────────────────────────────────────────────────────────────

    def submit(
        self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], permit: Permit | None = None
    ) -> CallFuture[Any]:
        """Take a call. What can't be serialised fails its own future (E4).

        Args:
            fn: What to call.
            args: Its positional arguments.
            kwargs: Its keyword arguments.
            permit: Its place among the calls that wait, for `submit_admitted` alone to give.

        Raises:
            RuntimeError: The pool is closed or broken.
        """
        if self.closing:
            self.check_open()
        if self._admits and permit is None:
            from corefutures_pools.workers.submission import submit_admitted  # imported by the constructor

            admitted = submit_admitted(self, self._limiter, self._slots, fn, args, kwargs)
            if self._memory is not None:
                try:
                    self._memory.watch(self)
                except BaseException as exc:  # no thread can be started: nobody has the future, nor will have
                    if admitted.cancel() or not isinstance(exc, Exception):
                        raise  # otherwise a worker has taken the call, which is watched with the next one
            return admitted
        began = clock.perf_counter() if instrumentation.enabled else None
        try:
            body = self._encode.call(fn, args, kwargs)
        except BaseException as exc:
            from corefutures_pools.workers.submission import refuse_unencodable  # here for start-up time only

            return refuse_unencodable(self, self._encode, exc, fn, args, kwargs, permit)
        future: CallFuture[Any]
        if type(body) is RetainedCall:
            retained, body = body, body.body
            future = CallFuture(self, body)
            retained.enter(future, permit is not None)
        else:
            future = CallFuture(self, body)
        added: tuple[CallFuture[Any], ...] = (future,)
        try:
            if permit is not None:  # a call leaves when it ends: the moment in which it starts is the worker's
                future._cf_on_departure = permit.release
                if permit._holds(future):  # until it has its slots
                    added = ()
            self._numbered = number = next(self._numbers)
            if began is not None and (owner := self.owner()) is not None:  # it is observed
                chunking = sys.modules.get("corefutures_pools.workers.chunking")  # which imports this module
                called = args[0] if chunking is not None and fn is chunking.run_chunk else fn
                instrumentation.track_call(owner, called, future, len(body), clock.perf_counter() - began)
                if future._cf_observed is not None:
                    number |= OBSERVED
            future._number = number
            prepare = self._prepare
            if prepare is not None and added:
                prepare(future)
            if self.lock.taken:
                if self.closing:  # since the look above
                    self.lock.release()
                    self.check_open()
                else:
                    self._taken += 1
                    self.calls[number] = future
                    self._backlog += added
                    self.lock.release()
            if len(self._workers) < self.size and self.supervisor.needs_worker():
                self.supervisor.start_workers(taken=partial(self._was_taken, future))
            if permit is not None and not added:
                permit._submit(future)  # it holds the call
            else:
                self.dispatch(future)
        except BaseException:  # also of a signal handler: nobody else has the future, nor will have
            future.cancel()
            raise
        finally:
            del body  # an error's traceback keeps this frame, and descriptors must not stay open with it
        return future

    def _was_taken(self, future: CallFuture[Any]) -> bool:
        """Cancel a call that can't have a worker; return whether another worker has taken it, and lost it perhaps."""
        return not future.cancel() and type(future._exception) is not self._broken_type

    def check_open(self) -> None:
        """Raise what `submit` raises if no call can be taken: which is when the pool is closing."""
        if self.broken_reason is not None:
            raise self._broken_error()
        if self.closing:
            if self._exiting:
                raise RuntimeError("cannot schedule new futures after interpreter shutdown")
            raise RuntimeError("cannot schedule new futures after shutdown")

    def highest_number(self, number: int) -> int:
        """Return a number that no call's exceeds; `number` itself if it is known to be a call's."""
        if number & ~OBSERVED <= self._numbered or number in self.calls:
            return number
        return int(repr(self._numbers)[len("count(") : -1])  # looked at, and not taken

    def dispatch_held(self, future: CallFuture[Any], grant: bytes) -> None:
        """Send a call that was held until it had its slots: see `SlotPool`."""
        from corefutures_pools.slot_call import with_grant  # imported with the slots

        body = future._body
        if isinstance(body, bytes):
            future._body = with_grant(body, grant)
        elif body is not None:
            body.amend(lambda part: with_grant(part, grant))
        added, number, waits = (future,), future._number, False
        if self.lock.taken:
            if waits := self.broken_reason is None and number in self.calls:
                self._backlog += added
            self.lock.release()
        if waits:
            self.dispatch(future)

    def on_held_ended(self, future: CallFuture[Any]) -> None:
        """Do nothing, for whoever has ended the call has taken it off the table: see `SlotPool`."""

    def on_held_left(self) -> None:
        """Do nothing, for the pool lives as long as there are calls in its table: see `SlotPool`."""

    # ── shared objects ───────────────────────────────────────────────────────────────────────────────────

    def share(self, obj: _T) -> Shared[_T]:
        """Return the handle of an object that calls get without sending it again; see `PoolExecutor.share`.

        Raises:
            RuntimeError: The pool is closed or broken.
            BaseException: The object can't be pickled.
        """
        from corefutures_pools.workers.sharing.memory import SharedMemory  # here for start-up time only
        from corefutures_pools.workers.sharing.sharer import WorkerSharer

        self.check_open()
        made = WorkerSharer()
        if self.lock.taken:
            if self.sharer is None:
                self.sharer = made
            self.lock.release()
        sharer = self._encode.sharer = self.sharer
        assert sharer is not None
        memory = SharedMemory(*self._encode.shared(obj), memfd=self.opens_descriptors)
        handle = sharer.add(obj, memory)
        self.check_open()
        return handle

    def give_up_shared(self) -> Sharer | None:
        """Return the handles for the pool that comes in the place of this one; its end does not close them then."""
        sharer, self.sharer = self.sharer, None
        return sharer

    def take_over_shared(self, sharer: Sharer | None) -> None:
        """Take the handles of the pool in whose place this one is."""
        self.sharer = self._encode.sharer = sharer

    def _close_shared(self) -> None:
        if self.sharer is not None:
            self.sharer.close()

    # ── calls that end ───────────────────────────────────────────────────────────────────────────────────

    def finish_call(self, number: int, value: Any, error: BaseException | None) -> None:
        """Take a call off the table and end it, unless that has been done."""
        future = self.calls.get(number)
        if future is not None:
            self.in_transition.append(future)
            try:
                if self.calls.pop(number, None) is not None:
                    future._cf_settle(value, error)
            finally:
                self.in_transition.remove(future)

    def finish_cancellation(self, future: CallFuture[Any]) -> None:
        """Take a cancelled call off the table, and notify its waiters; what was done is not done again.

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
        """Take a cancelled call off the table; do nothing the second time."""
        if self.calls.pop(future._number, None) is not None:
            self.count("cancelled")
        if self.closing and not self.calls:
            self.wake()

    def take_item(self, connection: Any, number: int, kind: int, body: Any) -> None:
        """Take in an item of the stream that a call is; do nothing if the call has ended.

        Args:
            connection: Of the worker that runs the call.
            number: The number of the call.
            kind: That of a result with the item; 0 if `body` is the decoded item, or None, and the error of decoding.
            body: The item.
        """
        future = self.calls.get(number)
        if future is not None:
            buffer = future._stream
            if buffer is None:
                from corefutures_pools.workers.streams import buffer_of  # here for start-up time only

                buffer = buffer_of(future)
            if buffer.grant is None:
                buffer.grant = partial(self.grant, connection, number)
            buffer.receive(kind, body)

    def record_timing(self, kind: int, number: int, body: Any, worker: str) -> None:
        """Take in a CALL_STARTED or CALL_FINISHED frame: for observers."""
        future = self.calls.get(number)
        call = None if future is None else future._cf_observed
        if call is not None:
            moment, size = MOMENT.unpack(body)
            if kind == CALL_STARTED:
                call.begin(worker, moment)
            else:
                call.finished, call.result_size = moment, size

    def serve_nested(
        self, depth: int, enough: Callable[[], bool], deadline: float | None, go_on: Callable[[float], object]
    ) -> None:
        """Go on in a thread of the pool in which foreign code, a callback or finaliser, waits.

        Args:
            depth: How many of them wait in this thread, each within the last.
            enough: Returns whether the foreign code need wait no longer.
            deadline: When it waits no longer, by `time.monotonic`.
            go_on: Does what there is to do, and sleeps for so many seconds at most.

        Raises:
            RuntimeError: Too many wait.
        """
        self.deferred.enter_nested(depth, self.name)
        try:
            self.supervisor.replace_worker()
            while not enough():
                left = _NESTED_INTERVAL
                if deadline is not None:
                    left = min(left, deadline - clock.monotonic())
                if left <= 0:
                    break
                go_on(left)
        except BaseException as exc:
            self.mark_broken(f"the thread that serves the {self.name} failed", exc)
        finally:
            self.deferred.leave_nested(depth)

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────

    def stats(self) -> Stats:
        """Return what became of the calls."""
        return self._stats.summary(self._taken, list(self.calls.values()), self._workers, self.supervisor.spares)

    def snapshot(self, name: str, timeout: float) -> Snapshot:
        """Return what the pool is busy with; see `PoolExecutor.snapshot`."""
        from corefutures_pools.workers.snapshot import snapshot  # here for start-up time only

        return snapshot(self, name, timeout)

    def body_of(self, future: CallFuture[Any]) -> Any:
        """See `PoolTransport.body_of`."""
        body = future._body
        return body if body is None or isinstance(body, bytes) else body.beginning()

    # ── the ends of a pool ───────────────────────────────────────────────────────────────────────────────

    def close(self, *, wait: bool, cancel_futures: bool = False, timeout: float | None = None) -> None:
        """Take no more calls; the pool ends once those it has are done.

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
        self._close_shared()
        try:
            if cancel_futures:
                try:
                    if self._slots is not None:  # first: from there they go to the others
                        for_each(CallFuture._cancel_waiting, copied(self._slots.held))
                finally:
                    self.cancel_waiting()
        finally:
            if wait:
                self._end_unread_streams()
            self.wake()
            if wait and timeout is None:
                self.finish()
            elif wait and timeout is not None and not self.owns_thread(threading.current_thread()):
                self.join_in_time(timeout)

    def _end_unread_streams(self) -> None:
        streams = sys.modules.get("corefutures_pools.streams.stream")
        if streams is not None:
            streams.end_unread_streams(list(self.calls.values()))

    def join_in_time(self, timeout: float) -> None:
        """Wait as `finish`.

        Raises:
            TimeoutError: The time, in seconds, is up; the message tells what runs.
        """
        # `join` waits for several things one after the other: a thread does it that may be left to itself.
        joiner = threading.Thread(target=self.finish, name=f"{self.name} end", daemon=True)
        start_thread(joiner)
        join_thread(joiner, timeout)
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
        """Wait for the end of the pool, except in one of its own threads."""
        if self.owns_thread(threading.current_thread()):
            return
        self.step_down()
        if self.thread is None and self.calls:
            # The threads that submitted them may not have started a worker yet, and with it a thread of the pool.
            with contextlib.suppress(Exception):  # who submitted is told, and so are the futures
                self.supervisor.start_workers()
        self.supervisor.await_requests()
        thread = self.thread
        if thread is not None:
            join_thread(thread)

    def finish(self) -> None:
        """Wait as `join`; what the workers logged has been handled as well then."""
        self.join()
        if self._logs is not None and not self.owns_thread(threading.current_thread()):
            self._logs.join()

    def stop_workers(self, how: str, cancel: bool = True) -> None:
        """Close the pool and call `terminate` or `kill` (`how`) on every worker."""
        self.supervisor.stop_method, self.supervisor.forced = how, True
        try:
            self.close(wait=False, cancel_futures=cancel)
        finally:
            self.end_workers(how)

    def on_executor_collected(self) -> None:
        """Take no more calls, as nobody refers to the executor any more; called while garbage is collected."""
        self.closing = True
        self._close_shared()
        self.wake()

    def mark_broken(self, message: str, cause: BaseException | None) -> None:
        """Fail every call, each with an error of its own, and end all workers."""
        if self.lock.taken:
            if self.broken_reason is None:
                self._broken_cause, self.broken_reason = cause, message
            self.closing = True
            self.lock.release()
        self._close_shared()
        self._backlog.clear()  # from here on no call is entered
        for_each(self.fail_call, list(self.calls.values()))
        self.wake()

    def fail_call(self, future: CallFuture[Any]) -> None:
        """End a call of a broken pool; one that has ended is taken off the table by whoever ended it."""
        if future._cf_settle(None, self._broken_error()):
            self.calls.pop(future._number, None)

    def _broken_error(self) -> BrokenExecutor:
        error = self._broken_type(self.broken_reason or "")
        error.__cause__ = _another(self._broken_cause)
        return error

    def close_at_exit(self) -> None:
        """Take no more calls because the interpreter ends; `at_exit` says what becomes of those the pool has."""
        if self.ends_with_another:
            return
        self._exiting = True
        if self._at_exit == "kill":
            self.stop_workers("kill")
            return
        try:
            self.close(wait=False, cancel_futures=self._at_exit != "wait")
            self._end_unread_streams()
        finally:
            if self._at_exit != "wait":
                self.control.stop_all()

    def finish_at_exit(self) -> None:
        """Wait for the end of the pool, because the interpreter ends."""
        if not self.ends_with_another:
            self.finish()

    def after_fork_in_child(self) -> None:
        """Leave the calls to the parent, and give the executor a pool of the child's own (E11)."""
        owner = self.owner()
        try:
            if self.supervisor.opened or self.calls or self.in_transition:
                self._fail_calls_in_child()
        finally:
            if owner is not None and owner._cf_pool is self:
                owner._cf_after_fork_in_child()

    def _fail_calls_in_child(self) -> None:
        """Fail the futures here: their calls belong to the parent."""
        self.lock = Lock()
        self.supervisor.after_fork_in_child()
        self.deferred.full.clear()
        futures = self._unfinished()
        with contextlib.suppress(Exception):  # the fork came while a thread made or closed just that: it stays open
            self.release_resources(in_child=True)
        self.thread = None
        for future in futures:
            future._cf_renew_lock()
            if future._kept is not None:
                _kept_by_parent.append(future._kept)  # their finalisers are the parent's to run
                future._kept = None
        self.mark_broken(f"the {self.name} belongs to the process that this one was forked from", None)
        for future in futures:  # also those that had left the table
            if not future._cf_settle(None, self._broken_error()):
                future._announce_safely()  # it had ended, but its callbacks perhaps were not run

    def _unfinished(self) -> list[CallFuture[Any]]:
        """Return the calls that have not ended, or are still to be announced: in a child, where nothing moves."""
        return [*self.calls.values(), *self.in_transition, *self.deferred.futures]


def _another(cause: BaseException | None) -> BaseException | None:
    """Return a copy of a cause for one more future; of an exception of a foreign class, the very same."""
    if isinstance(cause, WorkerLostError):
        return WorkerLostError(str(cause), pid=cause.pid, exitcode=cause.exitcode, worker=cause.worker)
    return cause


def _close_later(pool: WorkerPool) -> Callable[[object], None]:
    """Return a callback for the launcher's weak reference; it doesn't keep the pool alive."""
    reference = weakref.ref(pool)

    def close_pool(_: object) -> None:
        pool = reference()
        if pool is not None:
            pool.on_executor_collected()

    return close_pool
