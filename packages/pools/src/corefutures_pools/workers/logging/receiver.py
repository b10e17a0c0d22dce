"""The pool's side of forwarded logs: a pipe from each worker, and the thread that reads all pipes.

Touches `sender` and multiprocessing's connections. Guarantees: a worker that is killed during a write loses that record
and disturbs no other worker; the records of workers that have ended are handled before `join` returns.
"""

from __future__ import annotations

import contextlib
import logging
import marshal
import sys

from corefutures._blocking import sleep, start_thread, system, threading
from corefutures._foreign_code import log_failure
from corefutures._future import LOGGER
from corefutures_pools.blocking import join_thread
from corefutures_pools.descriptors import above_standard
from corefutures_pools.lifecycle import Lifecycle
from corefutures_pools.wakeup import WakeupEvent
from corefutures_pools.workers.logging.sender import DISABLED, SIZE

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

#: Bytes: no record is larger, so a pipe with a larger size is corrupt.
_SIZE_LIMIT: Final = 1 << 28
#: Seconds between two reads of all pipes while waiting for them fails.
_POLL_INTERVAL: Final = 0.05

_receivers = Lifecycle(after_fork=lambda receiver: receiver.after_fork_in_child())


def current_levels() -> dict[str, int]:
    """Return the levels of this process's loggers, for workers: see `sender.forward_logs`."""
    root = logging.getLogger()
    levels = {"": root.level, DISABLED: root.manager.disable}
    for name, logger in list(root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and logger.level:
            levels[name] = logger.level
    return levels


class LogPipe:
    """The pipe for the log records of one worker."""

    def __init__(self) -> None:
        self.child_end: Any
        self.outlet: Any
        if sys.platform == "win32":  # the platform waits for connections, not for descriptors
            from multiprocessing import Pipe

            self.outlet, self.child_end = Pipe(duplex=False)
        else:
            self.outlet, self.child_end = map(above_standard, system.pipe())
            system.set_blocking(self.outlet, False)
        self.ended = False  # the worker has ended: no record will follow
        self._child_end_closed = False
        self._rest = b""  # the beginning of a record
        self._is_corrupt = False

    def child_number(self) -> int:
        """Return the descriptor or handle of the worker's end, for workers in this process."""
        return self.child_end if isinstance(self.child_end, int) else int(self.child_end.fileno())

    def close_child_end(self) -> None:
        """Close this process's copy of the worker's end."""
        if not self._child_end_closed:
            self._child_end_closed = True
            _close(self.child_end)

    def close(self) -> None:
        """Close both ends."""
        self.close_child_end()
        _close(self.outlet)

    def read(self) -> Iterator[bytes]:
        """Yield the records in the pipe; none once the pipe is corrupt.

        Raises:
            EOFError: No record will follow.
        """
        if sys.platform == "win32":
            while self.outlet.poll(0):
                try:
                    yield self.outlet.recv_bytes()
                except OSError:
                    raise EOFError from None
            return
        while True:
            try:
                data = system.read(self.outlet, 1 << 16)
            except BlockingIOError:
                return
            if not data:
                raise EOFError
            if not self._is_corrupt:
                self._rest += data
                yield from self._records()

    def _records(self) -> Iterator[bytes]:
        data, position = self._rest, 0
        while len(data) - position >= SIZE.size:
            (size,) = SIZE.unpack_from(data, position)
            if size > _SIZE_LIMIT:
                self._is_corrupt = True
                break
            stop = position + SIZE.size + size
            if stop > len(data):
                break
            yield data[position + SIZE.size : stop]
            position = stop
        self._rest = data[position:]


class LogReceiver:
    """Receives the log records of one pool's workers, and handles them as if they had been logged in this process.

    Args:
        start_at: The number of workers after which the thread starts: with fork, all of them.
        name: The name of the pool, for the name of the thread.
        daemon: Whether the program may end before the thread.

    Thread safety: every method may be called from any thread, signal handler or finaliser.
    """

    def __init__(self, start_at: int, name: str, *, daemon: bool = False) -> None:
        self._start_at = start_at
        self._name = name
        self._daemon = daemon
        # Guards the attributes below. No other lock is taken and no foreign code runs under it. Reentrant, because a
        # signal handler may interrupt its holder.
        self._lock = threading.RLock()
        self._opened = 0
        self._pipes: list[LogPipe] = []
        self._wakeup: WakeupEvent | None = None  # exists while there are pipes
        self._is_reading = False  # a thread reads
        self._thread: threading.Thread | None = None  # the thread that reads, or that did last, and may be about to end
        _receivers.add(self)

    def open_pipe(self) -> LogPipe:
        """Return a pipe for a worker that is about to be started."""
        pipe = LogPipe()
        with self._lock:
            self._wakeup = self._wakeup or WakeupEvent()
            self._pipes.append(pipe)
            self._opened += 1
        return pipe

    def worker_started(self) -> None:
        """Start the thread once enough workers were started.

        Raises:
            RuntimeError: The thread can't be started, so no thread reads the pipes.
        """
        with self._lock:
            if not self._is_reading and self._pipes and self._opened >= self._start_at:
                thread = threading.Thread(target=self._read, name=f"{self._name} log", daemon=self._daemon)
                self._is_reading = True
                try:
                    start_thread(thread)
                except BaseException:
                    self._is_reading = False
                    raise
                self._thread = thread
            if self._wakeup is not None:
                self._wakeup.set()

    def lacks_reader(self) -> bool:
        """Return whether workers are running whose pipes no thread reads: their writes will block."""
        with self._lock:
            due = not self._is_reading and self._opened >= self._start_at
            return due and any(not pipe.ended for pipe in self._pipes)

    def worker_ended(self, pipe: LogPipe) -> None:
        """Have the rest of a pipe read, whose worker has ended."""
        pipe.ended = True
        pipe.close_child_end()
        self._start_at = 0
        try:
            self.worker_started()
        except RuntimeError:  # a later call starts the thread
            log_failure(LOGGER, "the log records of a worker are not read yet")

    def join(self) -> None:
        """Wait until the records of all workers are handled, and for the end of the thread; not in that thread."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            join_thread(thread)

    def _read(self) -> None:
        try:
            self._read_all()
        except BaseException:
            self._is_reading = False  # a later call starts another thread
            raise

    def _read_all(self) -> None:
        from corefutures._blocking import wait_ready  # here for start-up time only

        failing = False
        while True:
            with self._lock:
                wakeup = self._wakeup
                assert wakeup is not None
                with contextlib.suppress(OSError):  # `wait_ready` fails for the same reason, see below
                    wakeup.clear()
                if not self._pipes:
                    wakeup.close()
                    self._wakeup = None
                    self._is_reading = False
                    return
                pipes = {pipe.outlet: pipe for pipe in self._pipes}
            ended = [pipe for pipe in pipes.values() if pipe.ended]  # looked up before the pipes are read to their ends
            try:
                ready = [] if ended else wait_ready([wakeup.waitable, *pipes])
                failing = False
            except Exception:  # no memory or descriptors; or a pipe is closed, which its read will show
                if not failing:
                    log_failure(LOGGER, "waiting for the log records of workers has failed; their pipes are polled")
                failing, ready = True, [*pipes]
                sleep(_POLL_INTERVAL)
            for pipe in ended.copy() or [pipes[end] for end in ready if end in pipes]:
                try:
                    for record in pipe.read():
                        _handle(record)
                except (EOFError, OSError):
                    ended.append(pipe)
                except Exception:
                    log_failure(LOGGER, "a record that a worker logged could not be read")
            for pipe in set(ended):
                with self._lock:
                    if pipe in self._pipes:
                        self._pipes.remove(pipe)
                        pipe.close()

    def after_fork_in_child(self) -> None:
        """Leave the workers and their pipes to the parent."""
        self._lock = threading.RLock()
        self._is_reading, self._thread = False, None
        for pipe in self._pipes:
            _close(pipe.outlet)  # not the other end: this process may be the worker that owns it
        self._pipes = []
        if self._wakeup is not None:
            self._wakeup.close()
            self._wakeup = None


def _handle(data: bytes) -> None:
    try:
        record = logging.makeLogRecord(marshal.loads(data))
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)
    except BaseException:  # a handler has failed; the thread goes on, for the other workers
        log_failure(LOGGER, "a record that a worker logged could not be handled")


def _close(end: Any) -> None:
    with contextlib.suppress(OSError):
        if isinstance(end, int):
            system.close(end)
        else:
            end.close()
