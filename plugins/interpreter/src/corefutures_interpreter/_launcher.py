"""`InterpreterLauncher` and `InterpreterWorker`: a thread for each worker, which creates and destroys its interpreter.

Touches `concurrent.interpreters` and the worker's ends of the transport. Guarantees: an interpreter that was created is
destroyed, after the pool has copied all results out of its memory.
"""

from __future__ import annotations

import sys

assert sys.version_info >= (3, 14)  # the type checkers know it from here on

import contextlib
import errno
import logging
import os
from concurrent import interpreters

from corefutures_interpreter._failures import FailureReporter, rebuild
from corefutures_interpreter._payload_channel import QueuePair
from corefutures_interpreter._serialization import decode_result, make_encoder
from corefutures_interpreter._stack_probe import read_stack
from corefutures_pools.blocking import mark_service_thread, system, threading
from corefutures_pools.cpu import thread_seconds
from corefutures_pools.descriptors import above_standard, standard_reserved
from corefutures_pools.foreign_code import log_failure
from corefutures_pools.future import LOGGER
from corefutures_pools.workers.logging.receiver import current_levels
from corefutures_pools.workers.main_file import main_file
from corefutures_pools.workers.messages import FAILED, FRAME, INIT_FAILED
from corefutures_pools.workers.pipes.worker import send_frame
from corefutures_pools.workers.shared_queue.ends import SharedQueueEnds

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Final

    from corefutures_pools.inspection.stacks import Frame
    from corefutures_pools.workers.logging.receiver import LogReceiver


#: Descriptors that a new interpreter must leave to those that run, which import modules and open files.
_DESCRIPTORS_TO_SPARE: Final = 24
#: The names of the standard streams, by descriptor.
_STREAMS = "stdin", "stdout", "stderr"


def _enter(path: tuple[str, ...], argv: tuple[str, ...], closed: tuple[str, ...], *rest: Any) -> Any:
    """Serve the pool: the only call in the interpreter. The function is sent as code, so it imports what it uses."""
    import sys

    for name in closed:  # another file may have had that descriptor when the interpreter was created
        setattr(sys, name, None)
        setattr(sys, f"__{name}__", None)
    sys.path[:] = path
    sys.argv[:] = argv
    from corefutures_interpreter._worker_interpreter import serve

    return serve(*rest)


def main_module() -> tuple[str | None, str | None]:
    """Return the name and the file of the main module; None for each by which it can't be run again."""
    main = sys.modules.get("__main__")
    name = getattr(getattr(main, "__spec__", None), "name", None)
    if name is not None:
        # A `__main__.py` runs the program without a condition, so workers must not run it.
        return (None, None) if name == "__main__" or name.endswith(".__main__") else (name, None)
    path = main_file()
    if path is None or path.startswith("<"):  # the file of a program from standard input is "<stdin>"
        return None, None
    return None, os.path.abspath(path)


def _check_descriptors() -> None:
    """Raise OSError if another interpreter would leave too few descriptors to those that run."""
    if sys.platform == "win32":
        return
    import resource

    try:
        most, used = resource.getrlimit(resource.RLIMIT_NOFILE)[0], len(system.listdir("/dev/fd"))
    except OSError:
        return
    if most != resource.RLIM_INFINITY and used > most - _DESCRIPTORS_TO_SPARE:
        raise OSError(errno.EMFILE, f"{used} of {most} descriptors are open, too many for another interpreter")


class InterpreterLauncher:
    """Starts the workers of one executor, which has the only reference to it.

    Args:
        threads: The executor's set of worker threads, which the workers keep up to date.
        prefix: The beginning of the threads' names.
        initializer: Called first in each interpreter, or None.
        initargs: The arguments of the initializer.
        serializer: The executor's option.
        logs: The receiver of the workers' log records, or None.
        daemons: Whether the program may end before the workers' threads.
        on_refusal: The executor's option.
    """

    def __init__(
        self,
        threads: set[threading.Thread],
        prefix: str,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        serializer: str,
        logs: LogReceiver | None = None,
        *,
        daemons: bool = False,
        on_refusal: str = "raise",
    ) -> None:
        self._on_refusal = on_refusal
        self._logs = logs
        self._daemons = daemons
        self._threads = threads
        self._prefix = prefix
        self._initializer = None if initializer is None else (initializer, initargs)
        self._serializer = serializer
        self._started = 0

    def launch(self, ends: Any) -> InterpreterWorker:
        """Start a worker with its ends of the transport.

        Raises:
            BaseException: The process has no memory, thread or descriptor left for an interpreter.
        """
        if self._threads:
            _check_descriptors()
        worker = InterpreterWorker(
            f"{self._prefix}_{self._started}", ends, self._initializer, self._serializer, self._threads, self._logs,
            daemon=self._daemons, on_refusal=self._on_refusal,
        )  # fmt: skip
        self._started += 1
        return worker


class _InterpreterCreation:
    """The creation of an interpreter in the worker's thread, for the thread that launches the worker.

    Start-up hooks of the interpreter run in the thread that creates it. They may ask whether that is the main thread,
    which it must not be.
    """

    def __init__(self) -> None:
        self.failure: BaseException | None = None
        self._wanted = False
        # Each lock is used as a signal: the worker's thread releases the first one when the creation has ended, the
        # launching thread the second one when it has noticed.
        self._ended, self._noticed = threading.Lock(), threading.Lock()
        self._ended.acquire()
        self._noticed.acquire()

    def run(self) -> Any:
        """Return a new interpreter; None if its creation failed, or the launch was given up; in the worker's thread."""
        interpreter = None
        try:
            interpreter = interpreters.create()
        except BaseException as exc:
            self.failure = exc
        self._ended.release()
        self._noticed.acquire()
        if interpreter is not None and not self._wanted:
            interpreter.close()
            return None
        return interpreter

    def wait(self) -> None:
        """Wait for the end of the creation; in the launching thread.

        Raises:
            BaseException: The creation failed, or a signal handler has raised.
        """
        try:
            self._ended.acquire()
            self._wanted = True
        finally:
            self._noticed.release()
        if self.failure is not None:
            raise self.failure


class InterpreterWorker:
    """A worker interpreter and its thread; see `interface.WorkerHandle`.

    Args:
        name: The name of the thread.
        ends: The pool's ends of the transport, which are duplicated for the worker.
        initializer: The initializer and its arguments, or None.
        serializer: The executor's option.
        threads: The set that contains the thread while it lives.
        logs: The receiver of the worker's log records, or None.
        daemon: Whether the program may end before the thread.
        on_refusal: The executor's option.

    Raises:
        BaseException: The process has no memory, thread or descriptor left for an interpreter.
    """

    pid = None  # an interpreter has no process of its own

    def __init__(
        self,
        name: str,
        ends: Any,
        initializer: tuple[Any, ...] | None,
        serializer: str,
        threads: set[threading.Thread],
        logs: LogReceiver | None,
        *,
        daemon: bool = False,
        on_refusal: str = "raise",
    ) -> None:
        self._on_refusal = on_refusal
        self.name = name
        self._logs = logs
        self._log_pipe = None if logs is None else logs.open_pipe()
        self._threads = threads
        self._thread: threading.Thread | None = None
        self._released = threading.Event()
        self._ended = False  # the worker sends nothing more
        self._closed = tuple(_STREAMS[number] for number in standard_reserved.closed())
        self._ends = _SharedQueueEnds(ends) if isinstance(ends, SharedQueueEnds) else _PipeEnds(ends)
        self.queues = self._ends.queues
        creation = _InterpreterCreation()
        try:
            if logs is not None:
                logs.worker_started()  # before the start: without a reader the worker's writes would block in the end
            self._thread = thread = threading.Thread(
                target=self._run, args=(creation, initializer, serializer), name=name, daemon=daemon
            )
            threads.add(thread)
            mark_service_thread(thread)
            try:
                thread.start()
            except BaseException:
                threads.discard(thread)
                raise
            creation.wait()
        except BaseException:
            if creation.failure is not None:  # the thread is about to end
                threads.discard(self._thread)
            self._ends.close()
            self._end_log()
            raise

    def _end_log(self) -> None:
        if self._logs is not None and self._log_pipe is not None:
            self._logs.worker_ended(self._log_pipe)

    def _run(self, creation: _InterpreterCreation, initializer: tuple[Any, ...] | None, serializer: str) -> None:
        """Create, serve and destroy the interpreter: the target of the worker's thread."""
        interpreter = creation.run()
        if interpreter is None:
            self._threads.discard(threading.current_thread())
            return
        try:
            try:
                init_error = self._serve(interpreter, initializer, serializer)
                if init_error is not None:
                    error = rebuild(init_error, decode_result)
                    log_failure(LOGGER, "Exception in initializer:", level=logging.CRITICAL, error=error)
                    self._ends.send(INIT_FAILED, init_error)
            except Exception as exc:  # the pool treats it as a lost worker, or as a failed start
                log_failure(LOGGER, "Exception in a worker interpreter:", level=logging.CRITICAL)
                with contextlib.suppress(OSError):
                    self._ends.send(FAILED, FailureReporter(make_encoder("pickle")).error(exc)[1])
            finally:
                self._ended = True
                self._ends.close()
            self._released.wait()
            try:
                interpreter.close()
            except interpreters.InterpreterError:
                log_failure(LOGGER, "A worker interpreter could not be destroyed:", level=logging.CRITICAL)
        finally:
            self._end_log()
            self._threads.discard(threading.current_thread())

    def _serve(self, interpreter: Any, initializer: tuple[Any, ...] | None, serializer: str) -> bytes | None:
        """Run the interpreter until the pool stops it; return the body of INIT_FAILED if the initializer failed."""
        try:
            body = None if initializer is None else _encoded_inline(initializer, serializer)
        except Exception as exc:
            return FailureReporter(make_encoder("pickle")).error(exc)[1]
        path = tuple(map(str, sys.path))
        argv = tuple(map(str, sys.argv))
        log = None if self._log_pipe is None else (self._log_pipe.child_number(), current_levels())
        init_error: bytes | None = interpreter.call(
            _enter,
            path,
            argv,
            self._closed,
            self._ends.arguments,
            body,
            serializer,
            main_module(),
            log,
            self._on_refusal,
        )
        return init_error

    def cpu_seconds(self) -> float | None:
        """See `WorkerHandle.cpu_seconds`."""
        return None if self._thread is None else thread_seconds(self._thread.native_id)

    def sentinels(self) -> Iterable[Any]:
        """Return none: the end of the worker closes its pipe of frames."""
        return ()

    def ended(self) -> bool:
        """See `WorkerHandle.ended`."""
        return self._ended

    def mark_exiting(self) -> None:
        """Do nothing: no table lists the worker."""

    def terminate(self) -> None:
        """Do nothing: an interpreter can't be ended during a call."""

    def kill(self) -> None:
        """Do nothing, see `terminate`."""

    def interrupt(self) -> None:
        """Do nothing, see `terminate`."""

    @property
    def thread(self) -> int | None:
        """The ident of the worker's thread."""
        return None if self._thread is None else self._thread.ident

    def ask_for_stack(self) -> None:
        """Do nothing: `read_stack` asks, for one worker at a time."""

    def read_stack(self, deadline: float) -> tuple[list[Frame], str | None]:
        """See `WorkerHandle.read_stack`."""
        thread = self._thread
        if thread is None or thread.ident is None or self._released.is_set():
            return [], "it has ended"
        return read_stack(thread.ident, deadline)

    def reap(self) -> None:
        """Let the thread destroy the interpreter: the pool needs nothing of its memory any more."""
        self._released.set()


def _encoded_inline(call: tuple[Any, ...], serializer: str) -> bytes:
    """Return the call of an initializer as one body, however large."""
    body = make_encoder(serializer)(call)
    return body if isinstance(body, bytes) else body.joined()


class _SharedQueueEnds:
    """Duplicates of the descriptors in `SharedQueueEnds`, owned by the worker; the originals stay the pool's."""

    queues = None  # the payload channel has them

    def __init__(self, ends: SharedQueueEnds) -> None:
        self._own: list[int] = []
        header_pipe, queue_ids = ends.payload_channel
        try:
            for descriptor in (ends.tasks, ends.frames, ends.memory, header_pipe):
                self._own.append(above_standard(system.dup(descriptor)))
        except BaseException:
            self.close()
            raise
        tasks, self._frames, memory, header_pipe = self._own
        sizes = ends.memory_size, ends.status_size, ends.slot_starts
        #: The arguments of `_worker_interpreter.serve`.
        self.arguments = (
            "shared queue", tasks, self._frames, memory, *sizes, ends.worker_index, header_pipe, queue_ids,
        )  # fmt: skip

    def send(self, kind: int, body: bytes) -> None:
        """Send a frame in place of the interpreter."""
        frame = memoryview(FRAME.pack(len(body), kind, 0) + body)
        while frame:
            frame = frame[system.write(self._frames, frame) :]

    def close(self) -> None:
        """Close the descriptors."""
        while self._own:
            with contextlib.suppress(OSError):  # a call has closed the descriptor
                system.close(self._own.pop())


class _PipeEnds:
    """The worker's connection and queues; the interpreter makes a connection with the same handle."""

    def __init__(self, connection: Any) -> None:
        self.queues = QueuePair()
        # The handle changes its owner: the pool is about to close its object.
        self._connection = type(connection)(connection._handle)
        connection._handle = None
        #: The arguments of `_worker_interpreter.serve`.
        self.arguments = "pipe", self._connection.fileno(), self.queues.ids

    def send(self, kind: int, body: bytes) -> None:
        """Send a frame in place of the interpreter."""
        send_frame(self._connection, kind, 0, body)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
