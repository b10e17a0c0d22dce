"""The loop of a worker: claims calls, runs them, sends their outcomes; the same over both transports.

Runs in another process or interpreter, so it touches `messages`, `marshalled`, the core's `_blocking` and what any
Python start-up loads anyway. Guarantees: each outcome is written before the next call is claimed; nothing that a call
does, raises or returns ends the loop; a call's arguments and result are dropped before its outcome is sent.
"""

from __future__ import annotations

from corefutures._blocking import _thread, clock, set_cancel_probe, system
from corefutures_pools.workers.marshalled import CallReader, marshalled_result
from corefutures_pools.workers.messages import (
    CALL_FINISHED,
    CALL_STARTED,
    ERROR,
    INIT_FAILED,
    MOMENT,
    OBSERVED,
    READY,
    RESULT_MARSHAL,
    RESULT_PICKLE,
    SPARE,
    pack_error,
)

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, Final, Protocol

    from corefutures_pools.workers.payload import Payload
    from corefutures_pools.workers.serialization import Encoder

    Claim = tuple[int, Any, int, int]

    class Send(Protocol):
        """Sends frames."""

        def __call__(self, kind: int, number: int, body: bytes = b"") -> object:
            """Send a frame."""
            ...

    class Transport(Protocol):
        """The worker's ends of a transport."""

        @property
        def forked(self) -> Sequence[object]:
            """No longer empty in a process that a call has forked, which is not the worker."""
            ...

        @property
        def after_calls(self) -> list[Callable[[], object]]:
            """Called when a call has ended, before its arguments are dropped; they raise nothing."""
            ...

        def claims(self) -> Iterator[Claim]:
            """Claim calls, one when the one before has ended, until the pool is gone or the worker has sent EXITING.

            Yields:
                The number of a call; the memory that its body lies in, or None if it is a payload, which `fetch`
                receives; the start and the end of the body.
            """
            ...

        def fetch(self, number: int) -> Any:
            """Return the decoded payload of call `number`.

            Raises:
                ConnectionLost: The worker can't go on.
                BaseException: The outcome of the call.
            """
            ...

        @property
        def send(self) -> Send:
            """Send a frame that is not the outcome of a call."""
            ...

        @property
        def deliver(self) -> Send:
            """Send the outcome of a call."""
            ...

        def deliver_large(self, kind: int, number: int, body: bytes | Payload) -> None:
            """Send the outcome of call `number`, which is larger than `PIPED`, or a payload."""
            ...

        def cancel_requested(self) -> bool:
            """Return whether the call that runs was asked to stop."""
            ...

        def send_payload(self, number: int, payload: Payload) -> None:
            """Send an item of the stream of call `number`, which is a payload."""
            ...

        def await_grant(self, number: int, *, unless_asked: bool = True) -> int:
            """Wait until more items of call `number` may be sent.

            Args:
                number: The number of the call.
                unless_asked: Whether to wait no longer once the call is asked to stop.

            Returns:
                How many; 0 if it is to stop.
            """
            ...


#: Bytes: a frame with a larger body may have a better way than a pipe, whose atomic writes are about as large.
PIPED: Final = 4000


class ConnectionLost(Exception):
    """The other side has gone in the middle of a payload."""


class Reporter:
    """Encodes what came of a call as the kind and body of a frame; never raises.

    Attributes:
        refuse: Called with what a call raised: the transport, its number, its body or None if it is a payload, the
            exception, and the function, None if the call could not be loaded. Returns the outcome, kind and body, if
            the call was run elsewhere instead, and None if not. It raises nothing.
    """

    refuse: Callable[..., tuple[int, bytes] | None] | None = None

    def __init__(self, encode: Encoder) -> None:
        self.encode = encode
        self._no_memory = pack_error(MemoryError(), "MemoryError in the worker\n", _dumps)

    def value(self, result: Any) -> tuple[int, bytes | Payload]:
        """Return RESULT_MARSHAL or RESULT_PICKLE with the result, or ERROR with what encoding it raised."""
        try:
            body = marshalled_result(result)
            if body is not None:
                return RESULT_MARSHAL, body
            return RESULT_PICKLE, self.encode(result)
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
            from corefutures_pools.tracebacks import traceback_text  # only calls that fail need it

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
                return ERROR, pack_error(plain, "", _dumps)
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
            return self.encode.in_band(error)
        finally:
            BaseException.with_traceback(error, traceback)


def _dumps(error: BaseException) -> bytes:
    from pickle import dumps  # here for workers that marshal all outcomes

    return dumps(error)


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

#: What a call that is a stream needs: the transport and the encoder of outcomes of the thread that runs it.
serving: dict[int, tuple[Transport, Reporter]] = {}
#: Called when this worker leaves, the last one first.
exit_callbacks: list[Callable[[], object]] = []


def leave_forked(forked: list[bool], after_calls: list[Callable[[], object]]) -> None:
    """Note, in a process that a call has forked, that it is not the worker: it ends with its call."""
    forked.append(True)
    after_calls.append(lambda: system._exit(1))


def end_worker() -> None:
    """Run the exit callbacks, which raise nothing: the last thing that a worker does."""
    while exit_callbacks:
        exit_callbacks.pop()()


def serve(
    transport: Transport,
    *,
    report: Reporter,
    prepare: Callable[[], object] | None,
    decode: Callable[[Any], Any],
    is_spare: bool = False,
) -> None:
    """Run calls until the transport has no more of them.

    Args:
        transport: The worker's ends of the transport.
        report: Encodes the outcomes of calls.
        prepare: The initializer, ready to be called, or None.
        decode: Makes an object of a pickled inline body.
        is_spare: Whether to wait for a grant, once ready.
    """
    take = CallReader(decode).__call__  # bound, which makes calls of it cheaper than calls of the object
    refuse = report.refuse
    send, fetch, deliver, steps = transport.send, transport.fetch, transport.deliver, transport.after_calls
    interruptible = interrupts
    set_cancel_probe(transport.cancel_requested)
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
    serving[_thread.get_ident()] = transport, report
    send(READY, 0)
    if is_spare:
        transport.await_grant(SPARE)
    fn: Any = None
    for number, memory, start, end in transport.claims():
        if number & OBSERVED:
            send(CALL_STARTED, number, MOMENT.pack(clock.perf_counter(), 0))
        body: Any
        try:
            try:  # an interrupt in here is the outcome of the call, and there is none after it
                if memory is None:
                    fn, args, *kwargs = fetch(number)
                    interruptible.call = number
                else:
                    interruptible.call = number
                    fn, args, *kwargs = take(memory[start:end])
                result = fn(*args, **kwargs[0]) if kwargs else fn(*args)
            finally:
                interruptible.call = 0
        except ConnectionLost:
            raise
        except BaseException as exc:
            outcome = None
            if refuse is not None:
                outcome = refuse(transport, number, None if memory is None else memory[start:end], exc, fn)
            kind, body = report.error(exc) if outcome is None else outcome
        else:
            kind, body = report.value(result)
        if steps:
            for step in steps:
                step()
        fn = args = kwargs = result = None  # dropped before the caller can know that the call is done
        if number & OBSERVED:
            send(CALL_FINISHED, number, MOMENT.pack(clock.perf_counter(), len(body)))
        if len(body) <= PIPED and type(body) is bytes:
            deliver(kind, number, body)
        else:
            transport.deliver_large(kind, number, body)
        body = None
    serving.pop(_thread.get_ident(), None)
