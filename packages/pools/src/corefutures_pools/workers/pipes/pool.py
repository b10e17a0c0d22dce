"""`PipePool`: the portable way to reach workers: a connection and a thread of ours for each.

Touches `pool`, `worker` and multiprocessing's connections. Guarantees: no call is sent ahead, so that E2 and E3 hold
by themselves; a worker that is stuck, stopped or dead keeps nobody waiting but its own thread.
"""

from __future__ import annotations

import contextlib
import sys
from collections import deque
from functools import partial
from operator import methodcaller
from struct import error as struct_error

from corefutures._blocking import clock, nested_loops, sleep, start_thread, system, threading
from corefutures._exceptions import UnsupportedError, WorkerLostError
from corefutures._foreign_code import copied, for_each
from corefutures_pools.blocking import join_thread
from corefutures_pools.workers.call_control import undisturbed
from corefutures_pools.workers.future import CallFuture
from corefutures_pools.workers.messages import (
    CALL_FINISHED,
    CALL_STARTED,
    ERROR,
    EXITING,
    FAILED,
    FRAME,
    GRANT,
    INIT_FAILED,
    ITEM,
    ITEMS,
    LAST,
    PAYLOAD_SIZE,
    READY,
    RESULT_MARSHAL,
    RESULT_PAYLOAD,
    RESULT_PICKLE,
    STOP,
    MalformedFrame,
    check_head,
)
from corefutures_pools.workers.pipes.worker import CALL, REQUEST, SHORT, make_readable, receive_payload, send_payload
from corefutures_pools.workers.pool import WorkerPool
from corefutures_pools.workers.supervisor import WorkerRecord
from corefutures_pools.workers.transport import threads_are_replaced, waiting_is_replaced
from corefutures_pools.workers.worker_loop import ConnectionLost

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Final

    from corefutures_pools.workers.interface import WorkerLauncher
    from corefutures_pools.workers.pool import PoolOptions
    from corefutures_pools.workers.snapshot import Occupation

    if sys.platform == "win32":
        from multiprocessing.connection import PipeConnection as Connection
    else:
        from multiprocessing.connection import Connection


class WorkerConnection(WorkerRecord):
    """The pool's record of a worker, with its pipe; served by a thread of its own."""

    def __init__(self, pipe: Connection, far: Connection, wakeup_reader: Connection, wakeup_writer: Connection) -> None:
        super().__init__()
        self.pipe = pipe
        self.far = far  # the worker's end, until it has it
        self.wakeup_reader = wakeup_reader  # readable when its thread has to check the states again
        self.wakeup_writer = wakeup_writer  # the other end of `wakeup_reader`
        self.wake: Callable[[], object] = partial(wakeup_writer.send_bytes, b"")
        if sys.platform != "win32":  # the same in one step
            self.wake = partial(system.write, wakeup_writer.fileno(), _NOTHING)
        self.thread: threading.Thread | None = None
        self.amid = True  # its thread is in the middle of hearing from it, or sending to it
        # Waits of foreign code in its thread, each within the last; written by that thread alone.
        self.waits = 0
        # Guards the rest: who kills the worker for its call, or asks that to stop, does so while the worker has that
        # call, and no other. Reentrant, because a signal handler may interrupt its holder. Nothing else is done under
        # it, but for writing a request: that can't block, since there is one for each call, read before the next.
        self.lock = threading.RLock()
        self.call: CallFuture[Any] | None = None
        self.body: bytes | None = None  # of that call, unless it is a payload: for who asks what runs
        self.since = 0.0  # when it was sent, by `time.monotonic`
        # Numbers of calls that are streams, and how many more items they may send: for its thread.
        self.grants: deque[tuple[int, int]] = deque()
        self.granting = False  # its thread has been woken for these
        self.streams = False  # that call has sent an item
        self.readable: Callable[[], bool] = partial(pipe.poll, 0)  # faster, once it streams
        self.delivered = False  # it has been sent in full: a request may follow
        self.asked = False  # that call has been asked to stop, or will be as soon as it is delivered
        self.verdict: BaseException | None = None  # what that call fails with: the worker was killed for it

    def close(self) -> None:
        """See `WorkerRecord.close`."""
        for end in (self.pipe, self.wakeup_reader, self.wakeup_writer):
            end.close()


#: An empty message, as connections send it.
_NOTHING: Final = b"\0\0\0\0"


class _Gone(Exception):
    """The worker has ended, or can't be heard any more."""


class PipePool(WorkerPool):
    """A pool over pairs of connections; see `WorkerPool` for the arguments.

    Args:
        make_pair: Makes a pair of connected connections (`multiprocessing.Pipe`).
    """

    def __init__(
        self, options: PoolOptions, *, make_pair: Callable[[], tuple[Connection, Connection]], **parts: Any
    ) -> None:
        super().__init__(options, **parts)
        self._make_pair = make_pair
        self._connections: set[WorkerConnection] = set()  # all that have not ended; changed under `lock`
        # The threads whose workers have ended, and which decide what that means: they fail calls, or start a worker.
        self._leaving: set[threading.Thread] = set()
        self._idle: deque[WorkerConnection] = deque()  # those whose threads wait for a call; each at most once
        # Takes a connection out of `_idle` and wakes its thread, in one step of the interpreter: between two steps a
        # signal handler would find a thread that sleeps, and that nobody wakes.
        self._waking = map(methodcaller("wake"), iter(self._idle.popleft, None))
        self._running: set[CallFuture[Any]] = set()

    # ── sending ──────────────────────────────────────────────────────────────────────────────────────────

    def dispatch(self, future: CallFuture[Any]) -> None:
        """See `PoolTransport.dispatch`."""
        if self._backlog:
            self._wake_one()

    def _wake_one(self) -> None:
        try:
            next(self._waking)
        except (IndexError, OSError):  # all are busy, and look for more when they are done
            pass

    def wake(self) -> None:
        """See `PoolTransport.wake`."""
        while self._idle:
            self._wake_one()
        for connection in copied(self.supervisor.spares):
            self.promote(connection)

    def revoke(self, future: CallFuture[Any]) -> None:
        """See `PoolTransport.revoke`."""
        return  # what was sent has started

    def is_running(self, future: CallFuture[Any]) -> bool:
        """See `PoolTransport.is_running`."""
        return future in self._running

    def occupations(self) -> Iterable[Occupation]:
        """See `PoolTransport.occupations`."""
        from corefutures_pools.workers.snapshot import Occupation  # here for start-up time only

        connections = [connection for connection in list(self._connections) if connection.worker is not None]
        connections.sort(key=lambda connection: connection.worker.name)  # type: ignore[union-attr]
        spares = self.supervisor.spares
        return [Occupation(s.worker, s.ready, s.call, s.since, s in spares) for s in connections]  # type: ignore[arg-type]

    def body_of(self, future: CallFuture[Any]) -> Any:
        """See `PoolTransport.body_of`."""
        sent = (connection.body for connection in list(self._connections) if connection.call is future)
        return super().body_of(future) or next(sent, None)

    def cancel_waiting(self) -> None:
        """See `PoolTransport.cancel_waiting`."""
        for_each(CallFuture._cancel_waiting, reversed(copied(self._backlog)))

    # ── starting workers ───────────────────────────────────────────────────────────────────────────────────────────

    def open_transport(self) -> None:
        """See `PoolTransport.open_transport`."""
        if threads_are_replaced() and not waiting_is_replaced():
            raise UnsupportedError(
                f"a {self.name} can't wait for its workers: a library such as gevent or eventlet has replaced threads,"
                " but not what `multiprocessing` waits with; have it replace everything, with `patch_all()` or"
                " `monkey_patch()`, before anything else is imported"
            )

    def start_threads(self) -> None:
        """See `PoolTransport.start_threads`."""
        for_each(self._start_thread, list(self._connections))

    def is_unserved(self) -> bool:
        """See `PoolTransport.is_unserved`."""
        return False  # each worker has a thread, or goes

    def _start_thread(self, connection: WorkerConnection) -> None:
        name = f"{self.name} attendant"
        connection.thread = threading.Thread(target=self._serve, args=(connection,), name=name, daemon=self.daemons)
        try:
            start_thread(connection.thread)
        except BaseException:
            connection.thread = None
            if connection.worker is not None:
                connection.worker.kill()
                connection.worker.reap()
            self._remove_worker(connection)
            raise
        self.thread = connection.thread

    def start_worker(self, launcher: WorkerLauncher, *, spare: bool = False) -> None:
        """See `PoolTransport.start_worker`."""
        pipe, far = self._make_pair()
        try:
            wakeup_reader, wakeup_writer = self._make_pair()
        except BaseException:
            pipe.close()
            far.close()
            raise
        connection = WorkerConnection(pipe, far, wakeup_reader, wakeup_writer)
        (self.supervisor.spares if spare else self._workers).add(connection)
        self._connections.add(connection)
        try:
            connection.worker = worker = launcher.launch(far)
        except BaseException:
            self._remove_worker(connection)
            raise
        finally:
            far.close()
        self.supervisor.stop_if_forced(worker)
        if not self.supervisor.prestart:
            self._start_thread(connection)

    def promote(self, connection: WorkerConnection) -> None:
        """See `PoolTransport.promote`: its thread looks whether it is still a spare."""
        with contextlib.suppress(OSError):  # it has ended
            connection.wake()

    def _await_promotion(self, connection: WorkerConnection) -> None:
        """Wait until a spare is needed, or is to end.

        Raises:
            _Gone: The worker has ended.
        """
        spares = self.supervisor.spares
        while connection.ready and connection in spares and not self._is_over():
            if not self._wait(connection, connection.wakeup_reader):  # it has nothing to say
                raise _Gone
            self._clear_wakeup(connection)

    def _is_over(self) -> bool:
        return self.broken_reason is not None or (self.closing and not self.calls)

    def _leave(self, connection: WorkerConnection) -> bool:
        """Take a worker out of those that take calls; return whether it was a spare.

        See `WorkerSupervisor._promote_spare` on the order.
        """
        was_spare = True
        try:
            self.supervisor.spares.remove(connection)
        except KeyError:
            was_spare = False
        self._workers.discard(connection)
        return was_spare

    def _remove_worker(self, connection: WorkerConnection) -> None:
        self._leave(connection)
        self._connections.discard(connection)
        connection.close()

    # ── serving a worker ─────────────────────────────────────────────────────────────────────────────────

    def _serve(self, connection: WorkerConnection) -> None:
        """Send calls to one worker and receive their results; the body of the worker's thread."""
        nested_loops[threading.get_ident()] = partial(self._run_nested, connection)
        try:
            try:
                self._receive(connection)
                self._await_promotion(connection)
                while not connection.exiting and connection.init_error is None and connection in self._connections:
                    self._step(connection)
                    self.deferred.run()
            except _Gone:
                pass
            self._reap(connection)
        except BaseException as exc:
            self.mark_broken(f"the thread that serves a worker of the {self.name} failed", exc)
            try:
                if connection.worker is not None:
                    connection.worker.kill()
                    connection.worker.reap()
            finally:
                self._remove_worker(connection)
        finally:
            nested_loops.pop(threading.get_ident(), None)
            self.deferred.run()
            self._leaving.discard(threading.current_thread())

    def _step(self, connection: WorkerConnection, patience: float | None = None) -> None:
        """Send the worker a call, or receive the result of its call; stop the worker if there is nothing more.

        Args:
            connection: Of the worker.
            patience: Seconds to wait for either.

        Raises:
            _Gone: The worker has ended; if there is `connection.call`, that has not.
        """
        call = connection.call
        if call is not None:
            if patience is not None:
                self._send_grants(connection, call)
                self._wait(connection, timeout=patience)
                if not connection.pipe.poll(0):
                    return
            connection.amid = True
            if not self._receive(connection, call):
                connection.amid = False
                return
            self._running.discard(call)
            if connection.verdict is not None:
                raise _Gone
        elif (call := self._next_call(connection, patience)) is not None:
            self._send_call(connection, call)
        elif patience is None:
            self._send(connection, CALL.pack(STOP, 0))
            self._receive(connection)

    def _release_call(self, connection: WorkerConnection) -> None:
        """Note that a worker has ended its call: nothing kills it for that call any more, and it may get another.

        Raises:
            _Gone: The worker has just been killed for that call, which fails, though its result has come.
        """
        with connection.lock:
            if connection.verdict is not None:
                raise _Gone
            connection.call = connection.body = None
            connection.delivered = connection.asked = connection.streams = False
        connection.amid = False

    def _run_nested(self, connection: WorkerConnection, enough: Callable[[], bool], deadline: float | None) -> None:
        """Go on while a callback or finaliser that runs in the thread of a worker waits: see `nested_loops`.

        1. Unless that thread is in the middle of something with its worker, it looks for calls here.
        2. A frame of it below this one, in which it may be asleep, is told to look again afterwards.
        """
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)
        connection.waits += 1
        go_on = sleep if connection.amid else partial(self._go_on, connection)
        try:
            self.serve_nested(connection.waits, enough, deadline, go_on)
        finally:
            connection.waits -= 1
            with contextlib.suppress(OSError):
                if not connection.wakeup_reader.poll(0):
                    connection.wake()

    def _go_on(self, connection: WorkerConnection, limit: float) -> None:
        """Send the worker a call, or receive the result of its call, within `limit` seconds."""
        if connection.exiting and connection in self._workers:
            self._workers.discard(connection)
            self.supervisor.replace_worker()
        over = connection not in self._workers or connection.init_error is not None or connection.verdict is not None
        if over or self.broken_reason is not None or (self.closing and not self.calls):
            sleep(limit)
            return
        try:
            self._step(connection, limit)
        except _Gone:
            self._reap(connection)

    def _next_call(self, connection: WorkerConnection, patience: float | None = None) -> CallFuture[Any] | None:
        """Wait for a call and mark it as sent; return None if the worker is to end, or no call came in time."""
        while True:
            while self._backlog:
                try:
                    call = self._backlog.popleft()
                except IndexError:
                    break
                if call._cf_try_dispatch():
                    self._running.add(call)
                    return call
                self.discard(call)  # whoever cancelled it may have been interrupted before that
            if self.broken_reason is not None or (self.closing and not self.calls):
                self.wake()
                return None
            self._idle.append(connection)
            self._look_again()
            try:
                is_woken = bool(self._wait(connection, connection.wakeup_reader, timeout=patience))
                gone = not is_woken and (patience is None or connection.pipe.poll(0))
            except _Gone:
                is_woken, gone = False, True
            listed = True
            try:
                self._idle.remove(connection)
            except ValueError:  # somebody has taken it out, and rings
                listed = False
            if is_woken or not listed:
                self._clear_wakeup(connection)
            if gone:  # it has nothing to say while it has nothing to do
                if not listed:
                    self._wake_one()  # for another one now
                raise _Gone
            if not is_woken and listed:
                return None

    def _clear_wakeup(self, connection: WorkerConnection) -> None:
        connection.wakeup_reader.recv_bytes()
        connection.granting = False

    def _look_again(self) -> None:
        """For a thread that has just become idle: whoever looked for one before has not seen it."""
        if self._backlog or self.broken_reason is not None or (self.closing and not self.calls):
            self._wake_one()

    def _wait(self, connection: WorkerConnection, *others: Any, timeout: float | None = None) -> list[Any]:
        """Wait for the worker, or one of `others`; return those of `others` that are ready.

        Raises:
            _Gone: The worker has ended, and has nothing more to say.
        """
        from corefutures._blocking import wait_ready  # here for start-up time only

        assert connection.worker is not None
        sentinels = list(connection.worker.sentinels())
        try:
            ready = wait_ready([connection.pipe, *others, *sentinels], timeout)
        except (OSError, ValueError):
            if connection in self._connections:
                raise
            raise _Gone from None  # which was found out, and seen to, while a finaliser waited here
        ended = connection.pipe not in ready and any(sentinel in ready for sentinel in sentinels)
        if ended and not connection.pipe.poll(0):
            raise _Gone
        return [other for other in others if other in ready]

    def _send(self, connection: WorkerConnection, message: bytes) -> None:
        try:
            connection.pipe.send_bytes(message)
        except OSError:
            raise _Gone from None

    def _send_call(self, connection: WorkerConnection, call: CallFuture[Any]) -> None:
        connection.amid = True
        connection.since = clock.monotonic()
        connection.call = call
        body = call._body
        call._body = None
        try:
            if isinstance(body, bytes):
                connection.body = body
                connection.pipe.send_bytes(CALL.pack(call._number, len(body)) + body)
            elif body is not None:
                connection.pipe.send_bytes(CALL.pack(call._number, PAYLOAD_SIZE))
                self._send_payload(connection, body)
        except OSError:
            raise _Gone from None
        with connection.lock:
            connection.delivered = True
            if connection.asked:
                self._send_request(connection, call)
        connection.amid = False

    def _receive(self, connection: WorkerConnection, call: CallFuture[Any] | None = None) -> bool:
        """Receive the frame that ends `call`, or one with an item of it; or the first one if there is no call.

        Returns:
            Whether the call has ended.

        Raises:
            _Gone: The worker has ended.
        """
        if not connection.streams or call is None:
            self._wait(connection)
        else:
            if connection.grants:
                self._send_grants(connection, call)
            if not connection.readable() and self._wait(connection, connection.wakeup_reader):
                self._clear_wakeup(connection)
                return False
        try:
            kind, number, body = self._receive_frame(connection, call)
        except (EOFError, OSError, MalformedFrame, struct_error) as exc:
            if not isinstance(exc, EOFError) and getattr(exc, "errno", None) is None:  # the connection stands
                connection.malformed = f"a call of it wrote what no worker writes to its connection to the pool: {exc}"
            raise _Gone from None
        assert connection.worker is not None
        if kind in (CALL_STARTED, CALL_FINISHED):
            self.record_timing(kind, number, body, connection.worker.name)
            return self._receive(connection, call)
        if kind in ITEMS:
            item: Any = body
            kind &= ~ITEM
            if kind == RESULT_PAYLOAD:
                kind, item = 0, self.decoder.attempt(self._receive_payload, connection)
                if type(item[1]) is ConnectionLost:
                    raise _Gone from None
            if not connection.streams:
                connection.readable = make_readable(connection.pipe)
                connection.streams = True
            self.take_item(connection, number, kind, item)
            return False
        if kind & LAST:
            connection.exiting = True
            kind &= ~LAST
        if kind in (RESULT_MARSHAL, RESULT_PICKLE, RESULT_PAYLOAD, ERROR):
            self.supervisor.has_finished_calls = True
            if kind != RESULT_PAYLOAD:
                self._release_call(connection)
            if kind == RESULT_PAYLOAD:
                value, error = self.decoder.attempt(self._receive_payload, connection)
                if type(error) is ConnectionLost:
                    raise _Gone from None
                self._release_call(connection)
            else:
                value, error = self.decoder.outcome(kind, body)
            self.finish_call(number, value, error)
        elif kind == READY:
            connection.amid = False
            self.supervisor.on_worker_ready(connection)
        elif kind == EXITING:
            connection.exiting = True
        elif kind == INIT_FAILED:
            self.supervisor.on_init_failed(connection, self.decoder.error(body))
        elif kind == FAILED:
            connection.failure = self.decoder.error(body)
            raise _Gone
        if self.closing and not self.calls:
            self.wake()
        return True

    def _send_grants(self, connection: WorkerConnection, call: CallFuture[Any]) -> None:
        """Let the worker send more items of its call, which is a stream."""
        while connection.grants:
            number, count = connection.grants.popleft()
            if number == call._number:
                with (
                    connection.lock,
                    contextlib.suppress(OSError),
                ):  # it has ended: what it has sent is still to be read
                    connection.pipe.send_bytes(CALL.pack(number | GRANT, count))

    def _receive_frame(self, connection: WorkerConnection, call: CallFuture[Any] | None) -> tuple[int, int, memoryview]:
        """Return the kind, the number and the body of a frame.

        Raises:
            MalformedFrame: It is none.
            OSError: It is none, because it is longer than it may be; or the worker has ended.
        """
        pipe = connection.pipe
        message = memoryview(pipe.recv_bytes(FRAME.size + SHORT))
        size, kind, number = FRAME.unpack_from(message)
        body = message[FRAME.size :]
        last = kind & LAST
        check_head(size, kind & ~last, number, ready=connection.ready, calls=self.highest_number(number))
        about = 0 if call is None else call._number
        if number != about * (kind != FAILED) or (
            last and kind & ~last not in (RESULT_MARSHAL, RESULT_PICKLE, RESULT_PAYLOAD, ERROR)
        ):
            raise MalformedFrame(f"a frame of kind {kind}, about {number} in place of {about}")
        if size > SHORT and not body:  # it follows
            body = memoryview(pipe.recv_bytes(size))
        if len(body) != size:
            raise MalformedFrame(f"{len(body)} bytes in place of {size}")
        return kind, number, body

    def _send_payload(self, connection: WorkerConnection, payload: Any) -> None:
        """Send the payload that was announced; a backend may have a better way."""
        send_payload(connection.pipe, payload)

    def _receive_payload(self, connection: WorkerConnection) -> Any:
        """Return the decoded payload that was announced.

        Raises:
            ConnectionLost: It did not come in full.
            BaseException: Whatever decoding raises.
        """
        return receive_payload(connection.pipe)

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────

    def _reap(self, connection: WorkerConnection) -> None:
        """Take in the end of a worker, once."""
        worker, call = connection.worker, connection.call
        if connection not in self._connections:
            return
        assert worker is not None
        was_spare = self._leave(connection)
        if connection.exiting:
            worker.mark_exiting()
            self.supervisor.replace_worker()  # at once: it may take its time to end
        elif connection.init_error is None:
            worker.kill()  # first: if it has not ended, it can't be heard any more, and would be waited for in vain
        code = worker.reap()
        self._leaving.add(threading.current_thread())
        self._remove_worker(connection)
        if call is not None:
            self._running.discard(call)
        self.supervisor.on_worker_end(
            connection,
            code,
            expected=connection.exiting or (self.closing and not self.calls),
            killed=connection.verdict is not None,
            fail_calls=partial(self._fail_call, connection, call),
            spare=was_spare,
        )

    def _fail_call(self, connection: WorkerConnection, call: CallFuture[Any] | None, loss: WorkerLostError) -> None:
        """Fail the call of a worker that was lost, or killed for it; the pool goes on."""
        if call is not None:
            self.finish_call(call._number, None, connection.verdict or loss)
        self.wake()

    def request_stop(self, future: CallFuture[Any]) -> bool:
        """See `PoolTransport.request_stop`."""
        return undisturbed(lambda: self._ask_now(future))

    def _ask_now(self, future: CallFuture[Any]) -> bool:
        for connection in list(self._connections):
            with connection.lock:
                if connection.call is future:
                    if connection.delivered and not connection.asked:
                        self._send_request(connection, future)
                    connection.asked = True
                    return True
        return False

    def _send_request(self, connection: WorkerConnection, call: CallFuture[Any]) -> None:
        with contextlib.suppress(OSError):  # it has ended, which its thread finds out
            connection.pipe.send_bytes(CALL.pack(call._number, REQUEST))

    def grant(self, connection: WorkerConnection, number: int, count: int) -> None:
        """See `PoolTransport.grant`: the worker's thread sends it."""
        call = connection.call
        if call is not None and call._number == number:
            connection.grants.append((number, count))
            if not connection.granting:  # or else its thread has yet to look
                connection.granting = True
                with contextlib.suppress(OSError):  # it has ended
                    connection.wake()

    def kill_running(self, future: CallFuture[Any], error: BaseException) -> bool:
        """See `PoolTransport.kill_running`."""
        for connection in list(self._connections):
            with connection.lock:
                if connection.call is future and connection.worker is not None:
                    connection.verdict = connection.verdict or error
                    connection.worker.kill()  # also if that was interrupted once
                    return True
        return False

    def mark_broken(self, message: str, cause: BaseException | None) -> None:
        """See `WorkerPool.mark_broken`."""
        super().mark_broken(message, cause)
        self.end_workers("kill")

    def end_workers(self, how: str) -> None:
        """See `PoolTransport.end_workers`."""
        for connection in list(self._connections):
            if connection.worker is not None:
                getattr(connection.worker, how)()

    def join(self) -> None:
        """See `WorkerPool.join`."""
        if not self._connections and self.calls and not self.owns_thread(threading.current_thread()):
            with contextlib.suppress(Exception):  # whoever submitted them may not have come to start a worker
                self.supervisor.start_workers()
        current = threading.current_thread()
        while not (self.owns_thread(current) or current in self._leaving):
            serving = [thread for connection in list(self._connections) if (thread := connection.thread) is not None]
            threads = [thread for thread in [*serving, *copied(self._leaving)] if thread.ident is not None]
            if not threads:
                self.supervisor.await_requests()  # whoever starts a worker has started its thread then
                if not any(connection.thread is not None for connection in list(self._connections)):
                    return
                continue
            join_thread(threads[0])

    def owns_thread(self, thread: threading.Thread) -> bool:
        """See `PoolTransport.owns_thread`."""
        return any(connection.thread is thread for connection in list(self._connections))

    def release_resources(self, *, in_child: bool = False) -> None:
        """See `PoolTransport.release_resources`."""
        for connection in list(self._connections):
            connection.close()
        self._connections.clear()
        self._workers.clear()
        self.supervisor.spares.clear()
        self._idle.clear()
        if in_child:
            self._leaving.clear()  # no other thread is left
