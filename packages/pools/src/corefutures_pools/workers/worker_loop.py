"""The worker's side: takes calls, runs them, reports what came of them.

Runs in another process or interpreter, so it touches `frames`, `payload`, `_stopping` and what any Python
start-up loads anyway. Guarantees: each result is written before the next call is claimed; nothing that a call does,
raises or returns ends the loop; a call's arguments and result are dropped before the next one.
"""

from __future__ import annotations

import pickle
from collections import namedtuple

from corefutures._blocking import clock, set_cancel_probe, system
from corefutures_pools.workers.marshalled import CallReader, marshalled_result
from corefutures_pools.workers.messages import (
    CALL_FINISHED,
    CALL_STARTED,
    ERROR,
    EXITING,
    FETCH_PAYLOAD,
    FRAME,
    INIT_FAILED,
    MOMENT,
    OBSERVED,
    PAYLOAD_SIZE,
    PONG,
    READY,
    RESULT_MARSHAL,
    RESULT_PAYLOAD,
    RESULT_PICKLE,
    STOP,
    TASK,
    pack_error,
)

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from mmap import mmap
    from typing import Any, Protocol

    from corefutures_pools.workers.payload import Payload
    from corefutures_pools.workers.serialization import Encoder

    class WorkerPayloadChannel(Protocol):
        """Carries payloads between a pool and one worker; the backend's own."""

        def receive(self, number: int) -> Any:
            """Return the decoded payload of call `number`, which has been asked for with FETCH_PAYLOAD."""
            ...

        def send(self, number: int, payload: Payload) -> None:
            """Send the result of call `number`; the frame that announces it follows."""
            ...


class SharedQueueEnds(
    namedtuple(
        "SharedQueueEnds", "tasks frames memory memory_size status_size worker_index parent_death_pipe payload_channel"
    )
):
    """The worker's ends of everything; the descriptors stay the pool's.

    Besides what `serve_shared_queue` takes: `memory` and its sizes, of which arena and status table are mapped, and
    `parent_death_pipe`, the read end of a pipe that nothing is ever written to, and that ends with the pool's process.
    """

    __slots__ = ()


class Reporter:
    """Encodes what came of a call as the kind and body of a frame; never raises."""

    def __init__(self, encode: Encoder) -> None:
        self._encode = encode
        self._no_memory = pack_error(MemoryError(), "MemoryError in the worker\n", pickle.dumps)

    def value(self, result: Any) -> tuple[int, bytes | Payload]:
        """Return RESULT_MARSHAL or RESULT_PICKLE with the result, or ERROR with what encoding it raised."""
        try:
            body = marshalled_result(result)
            if body is not None:
                return RESULT_MARSHAL, body
            return RESULT_PICKLE, self._encode(result)
        except BaseException as exc:
            try:
                from corefutures_pools.workers.pickling_errors import explain_result  # hardly any call needs it

                explain_result(exc, result)
            except BaseException:  # no memory, say, or the result's own repr: it is told as it is
                pass
            return self.error(exc)

    def error(self, error: BaseException) -> tuple[int, bytes]:
        """Return ERROR with the exception, or with what pickling it raised; its traceback goes along as text."""
        try:
            from corefutures_pools.foreign_code import traceback_text  # only calls that fail need it

            try:
                return ERROR, pack_error(error, traceback_text(error), self._dumps)
            except Exception as exc:  # the exception itself can't be pickled
                text = traceback_text(exc)
                exc.__cause__ = exc.__context__ = None  # that exception: some reducers take these along
                return ERROR, pack_error(exc, text, self._dumps)
        except BaseException as exc:
            try:
                from corefutures._foreign_code import class_name

                plain = RuntimeError(f"a {class_name(error)} that can't be reported ({class_name(exc)})")
                return ERROR, pack_error(plain, "", pickle.dumps)
            except BaseException:
                return ERROR, self._no_memory

    def init_failure(self, error: BaseException) -> bytes:
        """Log that the initializer failed, as standard workers do, and return the body of INIT_FAILED."""
        import logging  # hardly any worker needs it

        from corefutures._foreign_code import log_failure

        logger = logging.getLogger("concurrent.futures")
        log_failure(logger, "Exception in initializer:", level=logging.CRITICAL, error=error)
        return self.error(error)[1]

    def _dumps(self, error: BaseException) -> bytes:
        traceback = error.__traceback__
        BaseException.with_traceback(error, None)  # its frames hold what the call held
        try:
            return self._encode.in_band(error)
        finally:
            BaseException.with_traceback(error, traceback)


_OURS = __name__.rpartition(".")[0] + "."


class _Interrupts:
    """Lets Ctrl-C into calls, and not into what is ours between them, though both are in the main thread."""

    __slots__ = ("call", "held", "last", "late")

    def __init__(self) -> None:
        self.call = 0  # the number of the call that may be interrupted; -1 for the initializer
        self.last = 0, 0  # the one that was, and when
        self.held = self.late = False  # not at this moment, for the call is in a step of ours; but when that is over

    def handle(self, signum: int, frame: Any) -> None:
        """Handle SIGINT; one that comes within a second of the last one is the same, passed on by the pool."""
        call, now = self.call, clock.monotonic_ns()
        if self.held:
            self.late = True
        elif call and (self.last[0] != call or now - self.last[1] > 1_000_000_000):
            self.last = call, now
            if frame is None or frame.f_globals.get("__name__", "").startswith(_OURS):
                self.call = 0  # the call has ended, or not begun: what is raised is its outcome, and is not interrupted
            raise KeyboardInterrupt


interrupts = _Interrupts()


def serve_shared_queue(
    *,
    tasks: int,
    frames: int,
    arena: mmap,
    status_table: memoryview,
    worker_index: int,
    channel: WorkerPayloadChannel,
    encode: Encoder,
    prepare: Callable[[], object] | None,
    limit: int | None,
    forked: Sequence[object] = (),
    decode: Callable[[Any], Any] = pickle.loads,
    reporter: type[Reporter] = Reporter,
) -> None:
    """Run calls until STOP is read, the pipe is closed, or `limit` calls were run.

    A worker is killed at any point; these are the steps that matter, and what the pool finds afterwards:

    1. The worker has read a task descriptor: no other worker can read it, but the pool does not know which one has
       (it resolves that by PING).
    2. The call's number is in the status table: the call is known to be this worker's, and is lost with it (E5).
    3. The call's result is in the pipe of frames: it has been delivered.

    Args:
        tasks: Descriptor of the pipe that all workers read task descriptors from.
        frames: Descriptor of this worker's own pipe back.
        arena: The memory in which inline bodies lie; read only.
        status_table: One unsigned 64-bit number for each worker: the call that it has claimed last. In its second
            quarter another: when it did. In its second half another: the call there that was asked to stop.
        worker_index: The index of this worker's number in the status table.
        channel: Carries payloads.
        encode: Encodes results.
        prepare: The initializer, ready to be called, or None.
        limit: How many calls to run at most, or None.
        forked: Not empty any more in what a call has forked off, which is not the worker.
        decode: Makes an object of an inline body.
        reporter: Encodes what came of calls.
    """
    report = reporter(encode)
    header, unpack = FRAME.pack, TASK.unpack
    take, task_size = CallReader(decode), TASK.size
    read, write, now = system.read, system.write, clock.monotonic_ns

    def send(kind: int, number: int, body: bytes = b"") -> None:
        frame = header(len(body), kind, number) + body
        sent = write(frames, frame)
        while sent < len(frame):  # a signal came between
            sent += write(frames, memoryview(frame)[sent:])

    since, asked = len(status_table) // 4 + worker_index, len(status_table) // 2 + worker_index
    set_cancel_probe(lambda: 0 != status_table[asked] == status_table[worker_index])
    interruptible = interrupts
    if prepare is not None:
        try:
            try:
                interruptible.call = -1
                prepare()
            finally:
                interruptible.call = 0
        except BaseException as exc:
            send(INIT_FAILED, 0, report.init_failure(exc))
            return
        prepare = None
    send(READY, 0)
    while True:
        task = read(tasks, task_size)
        if not task:  # the pool is gone
            return
        number, offset, size = unpack(task)
        if not size:  # STOP or PING, not a call
            if number == STOP:
                send(EXITING, 0)
                return
            send(PONG, number)
            continue
        status_table[since] = now()
        status_table[worker_index] = number
        if number & OBSERVED:
            send(CALL_STARTED, number, MOMENT.pack(clock.perf_counter(), 0))
        body: Any
        try:
            try:  # an interrupt in here is the outcome of the call, and there is none after it
                if size == PAYLOAD_SIZE:
                    send(FETCH_PAYLOAD, number)
                    fn, args, *kwargs = channel.receive(number)
                    interruptible.call = number
                else:
                    interruptible.call = number
                    fn, args, *kwargs = take(arena[offset : offset + size])
                result = fn(*args, **kwargs[0]) if kwargs else fn(*args)
            finally:
                interruptible.call = 0
        except BaseException as exc:
            kind, body = report.error(exc)
        else:
            kind, body = report.value(result)
        if forked:
            system._exit(1)
        fn = args = kwargs = result = None  # dropped before the caller can know that the call is done
        if number & OBSERVED:
            send(CALL_FINISHED, number, MOMENT.pack(clock.perf_counter(), len(body)))
        if type(body) is not bytes:
            try:
                channel.send(number, body)
                kind, body = RESULT_PAYLOAD, b""
            except BaseException as exc:
                kind, body = report.error(exc)
        send(kind, number, body)
        body = None
        if limit is not None:
            limit -= 1
            if limit == 0:
                send(EXITING, 0)
                return
