"""How a worker interpreter starts and ends: each lives in a thread of ours, which makes and destroys it.

Touches `concurrent.interpreters` and the ends that the pool gives. Guarantees: an interpreter that was made is
destroyed, but not before the pool has taken everything out of its memory.
"""

from __future__ import annotations

import sys

assert sys.version_info >= (3, 14)  # the type checkers know it from here on

import contextlib
import errno
import logging
import os
import threading
from concurrent import interpreters

from corefutures_interpreter._failures import FailureReporter, rebuild
from corefutures_interpreter._payload_channel import QueuePair
from corefutures_interpreter._serialization import Encoder, decode_result
from corefutures_interpreter._stack_probe import stack_in
from corefutures_pools.blocking import system
from corefutures_pools.cpu import thread_seconds
from corefutures_pools.descriptors import lifted, standard_taken
from corefutures_pools.foreign_code import log_failure
from corefutures_pools.future import LOGGER
from corefutures_pools.workers.logging.receiver import current_levels
from corefutures_pools.workers.messages import FAILED, FRAME, INIT_FAILED
from corefutures_pools.workers.pipes.worker import send_frame
from corefutures_pools.workers.worker_loop import SharedQueueEnds

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Final

    from corefutures_pools.inspection.stacks import Frame
    from corefutures_pools.workers.logging.receiver import LogReceiver


#: Descriptors that one more interpreter must leave to those that run, which import modules and open files.
_SPARE: Final = 24
#: By descriptor.
_STREAMS = "stdin", "stdout", "stderr"


def _enter(path: tuple[str, ...], argv: tuple[str, ...], closed: tuple[str, ...], *rest: Any) -> Any:
    """The worker thread's first call in its interpreter; it crosses as code, so everything is imported there."""
    import sys

    for name in closed:  # whatever had that descriptor just when the interpreter was made
        setattr(sys, name, None)
        setattr(sys, f"__{name}__", None)
    sys.path[:] = path
    sys.argv[:] = argv
    from corefutures_interpreter._worker_interpreter import serve

    return serve(*rest)


def main_module() -> tuple[str | None, str | None]:
    """Returns the name and the file of the main module, None for what can't be run again by it."""
    main = sys.modules.get("__main__")
    name = getattr(getattr(main, "__spec__", None), "name", None)
    if name is not None:
        # Such modules run unconditionally: other interpreters do without what they define.
        return (None, None) if name == "__main__" or name.endswith(".__main__") else (name, None)
    path = getattr(main, "__file__", None)
    if path is None or path.startswith("<"):  # a program from standard input has "<stdin>"
        return None, None
    return None, os.path.abspath(path)


def _check_descriptors() -> None:
    """Raises OSError if there are so few descriptors left that another interpreter would take those that run theirs."""
    if sys.platform == "win32":
        return
    import resource

    try:
        most, used = resource.getrlimit(resource.RLIMIT_NOFILE)[0], len(system.listdir("/dev/fd"))
    except OSError:
        return
    if most != resource.RLIM_INFINITY and used > most - _SPARE:
        raise OSError(errno.EMFILE, f"{used} of {most} descriptors are open, too many for another interpreter")


class InterpreterLauncher:
    """Starts the workers of one executor, which alone refers to it.

    Args:
        threads: The executor's set of them, which is kept up to date here.
        prefix: Begins their names.
        initializer: Run first in each interpreter.
        initargs: Its arguments.
        serializer: See `Encoder`.
        logs: What reads their logs, or None.
    """

    def __init__(
        self,
        threads: set[threading.Thread],
        prefix: str,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        serializer: str,
        logs: LogReceiver | None = None,
    ) -> None:
        self._logs = logs
        self._threads = threads
        self._prefix = prefix
        self._initializer = None if initializer is None else (initializer, initargs)
        self._serializer = serializer
        self._started = 0

    def launch(self, ends: Any) -> InterpreterWorker:
        """Starts an interpreter that serves `ends`.

        Raises:
            BaseException: No interpreter, thread or descriptor could be had.
        """
        if self._threads:
            _check_descriptors()
        worker = InterpreterWorker(
            f"{self._prefix}_{self._started}", ends, self._initializer, self._serializer, self._threads, self._logs
        )
        self._started += 1
        return worker


class _Making:
    """How an interpreter is made in its own thread, for another that waits for it.

    Where it is made its start-up hooks run, and ask whether they run in the main thread: they must not be told so.
    """

    def __init__(self) -> None:
        self.failure: BaseException | None = None
        self._wanted = False
        # Turnstiles: the first is released when an interpreter was made or not, the second when that was noticed.
        self._made, self._noticed = threading.Lock(), threading.Lock()
        self._made.acquire()
        self._noticed.acquire()

    def make(self) -> Any:
        """Returns the interpreter, None if there is none, or nobody wants it any more; in its thread."""
        interpreter = None
        try:
            interpreter = interpreters.create()
        except BaseException as exc:
            self.failure = exc
        self._made.release()
        self._noticed.acquire()
        if interpreter is not None and not self._wanted:
            interpreter.close()
            return None
        return interpreter

    def wait(self) -> None:
        """Waits for it.

        Raises:
            BaseException: It could not be made, or a signal handler has raised meanwhile.
        """
        try:
            self._made.acquire()
            self._wanted = True
        finally:
            self._noticed.release()
        if self.failure is not None:
            raise self.failure


class InterpreterWorker:
    """A worker interpreter and its thread; see `interface.WorkerHandle`.

    Args:
        name: The thread's.
        ends: The pool's, of which the worker gets descriptors of its own.
        initializer: The call that comes first, or None.
        serializer: See `Encoder`.
        threads: Where the thread is entered while it lives.
        logs: What reads its logs, or None.

    Raises:
        BaseException: No interpreter, thread or descriptor could be had.
    """

    pid = None  # it has none of its own

    def __init__(
        self,
        name: str,
        ends: Any,
        initializer: tuple[Any, ...] | None,
        serializer: str,
        threads: set[threading.Thread],
        logs: LogReceiver | None,
    ) -> None:
        self.name = name
        self._logs = logs
        self._log = None if logs is None else logs.open()
        self._threads = threads
        self._thread: threading.Thread | None = None
        self._released = threading.Event()
        self._over = False  # it says nothing any more
        self._closed = tuple(_STREAMS[number] for number in standard_taken.closed())
        self._ends = _OwnTicketEnds(ends) if isinstance(ends, SharedQueueEnds) else _OwnPairEnds(ends)
        self.counter = self._ends.counter
        making = _Making()
        try:
            if logs is not None:
                logs.attend()  # first: nobody would read what the worker writes, until it can't write any more
            self._thread = thread = threading.Thread(
                target=self._live, args=(making, initializer, serializer), name=name, daemon=False
            )
            threads.add(thread)
            try:
                thread.start()
            except BaseException:
                threads.discard(thread)
                raise
            making.wait()
        except BaseException:
            if making.failure is not None:  # it is about to end, and nothing is left of it
                threads.discard(self._thread)
            self._ends.close()
            self._end_log()
            raise

    def _end_log(self) -> None:
        if self._logs is not None and self._log is not None:
            self._logs.end(self._log)

    def _live(self, making: _Making, initializer: tuple[Any, ...] | None, serializer: str) -> None:
        """The thread of this worker."""
        interpreter = making.make()
        if interpreter is None:
            self._threads.discard(threading.current_thread())
            return
        try:
            try:
                init_error = self._inhabit(interpreter, initializer, serializer)
                if init_error is not None:
                    error = rebuild(init_error, decode_result)
                    log_failure(LOGGER, "Exception in initializer:", level=logging.CRITICAL, error=error)
                    self._ends.send(INIT_FAILED, init_error)
            except Exception as exc:  # the pool finds its worker lost, or not started
                log_failure(LOGGER, "Exception in a worker interpreter:", level=logging.CRITICAL)
                with contextlib.suppress(OSError):
                    self._ends.send(FAILED, FailureReporter(Encoder("pickle")).error(exc)[1])
            finally:
                self._over = True
                self._ends.close()
            self._released.wait()
            try:
                interpreter.close()
            except interpreters.InterpreterError:
                log_failure(LOGGER, "A worker interpreter could not be destroyed:", level=logging.CRITICAL)
        finally:
            self._end_log()
            self._threads.discard(threading.current_thread())

    def _inhabit(self, interpreter: Any, initializer: tuple[Any, ...] | None, serializer: str) -> bytes | None:
        """Runs the interpreter until it is told to stop; returns the body of INIT_FAILED if the initializer failed."""
        try:
            body = None if initializer is None else _encoded_inline(initializer, serializer)
        except Exception as exc:
            return FailureReporter(Encoder("pickle")).error(exc)[1]
        path = tuple(map(str, sys.path))
        argv = tuple(map(str, sys.argv))
        log = None if self._log is None else (self._log.child_number(), current_levels())
        init_error: bytes | None = interpreter.call(
            _enter, path, argv, self._closed, self._ends.crossing, body, serializer, main_module(), log
        )
        return init_error

    def cpu_seconds(self) -> float | None:
        return None if self._thread is None else thread_seconds(self._thread.native_id)

    def sentinels(self) -> Iterable[Any]:
        return ()  # its end is the end of its voice

    def ended(self) -> bool:
        return self._over

    def mark_exiting(self) -> None:
        """Does nothing: nobody else knows of it."""

    def terminate(self) -> None:
        """Does nothing: nobody can end an interpreter in mid-call."""

    def kill(self) -> None:
        """Does nothing, see `terminate`."""

    def interrupt(self) -> None:
        """Does nothing, see `terminate`."""

    @property
    def thread(self) -> int | None:
        return None if self._thread is None else self._thread.ident

    def ask_for_stack(self) -> None:
        """Does nothing: all is done by `read_stack`, for one worker at a time."""

    def read_stack(self, deadline: float) -> tuple[list[Frame], str | None]:
        thread = self._thread
        if thread is None or thread.ident is None or self._released.is_set():
            return [], "it has ended"
        return stack_in(thread.ident, deadline)

    def reap(self) -> None:
        """Lets the thread destroy the interpreter, of which nothing is needed any more."""
        self._released.set()


def _encoded_inline(call: tuple[Any, ...], serializer: str) -> bytes:
    """Returns an initializer's call as one body, however large."""
    body = Encoder(serializer)(call)
    return body if isinstance(body, bytes) else body.joined()


class _OwnTicketEnds:
    """A worker's own descriptors for `SharedQueueEnds`; the originals stay the pool's."""

    counter = None

    def __init__(self, ends: SharedQueueEnds) -> None:
        self._own: list[int] = []
        bell, queues = ends.payload_channel
        try:
            for descriptor in (ends.tasks, ends.frames, ends.memory, bell):
                self._own.append(lifted(system.dup(descriptor)))
        except BaseException:
            self.close()
            raise
        tickets, self._frames, memory, bell = self._own
        sizes = ends.memory_size, ends.status_size
        self.crossing = "tickets", tickets, self._frames, memory, *sizes, ends.worker_index, bell, queues

    def send(self, kind: int, body: bytes) -> None:
        """Sends a frame in place of the interpreter."""
        frame = memoryview(FRAME.pack(len(body), kind, 0) + body)
        while frame:
            frame = frame[system.write(self._frames, frame) :]

    def close(self) -> None:
        while self._own:
            with contextlib.suppress(OSError):  # a call has closed it
                system.close(self._own.pop())


class _OwnPairEnds:
    """A worker's own connection and queues; the interpreter makes a connection of the same handle."""

    def __init__(self, connection: Any) -> None:
        self.counter = QueuePair()
        # Taken away from the pool's object, which is about to be closed.
        self._connection = type(connection)(connection._handle)
        connection._handle = None
        self.crossing = "pair", self._connection.fileno(), self.counter.numbers

    def send(self, kind: int, body: bytes) -> None:
        """Sends a frame in place of the interpreter."""
        send_frame(self._connection, kind, 0, body)

    def close(self) -> None:
        self._connection.close()
