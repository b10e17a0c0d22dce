"""The pool's side of forwarded logs: a pipe from each worker, and the thread that reads them.

Touches `logwork` and multiprocessing's connections. Guarantees: a worker that is killed in mid-write loses that record
and disturbs nobody; what a worker wrote before it ended is handled before `finish` returns.
"""

from __future__ import annotations

import contextlib
import logging
import marshal
import sys
import threading
import time

from corefutures._blocking import start_thread, system
from corefutures._foreign_code import log_failure
from corefutures._future import LOGGER
from corefutures_pools.descriptors import above_standard
from corefutures_pools.lifecycle import Lifecycle
from corefutures_pools.workers.logging.sender import DISABLED, SIZE
from corefutures_pools.workers.transport import connection_pair

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

#: Bytes: no record is so large, so something has come between.
_LARGEST: Final = 1 << 28
#: Seconds between two looks for records while waiting for them fails.
_PAUSE: Final = 0.05

_receivers = Lifecycle(after_fork=lambda receiver: receiver.after_fork_in_child())


def current_levels() -> dict[str, int]:
    """Returns the levels that loggers have here, for workers: see `logwork.forward_logs`."""
    root = logging.getLogger()
    levels = {"": root.level, DISABLED: root.manager.disable}
    for name, logger in list(root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and logger.level:
            levels[name] = logger.level
    return levels


class LogPipe:
    """The pipe from one worker."""

    def __init__(self) -> None:
        self.child_end: Any
        self.outlet: Any
        if sys.platform == "win32":  # only these can be waited for
            from multiprocessing import Pipe

            self.outlet, self.child_end = Pipe(duplex=False)
        else:
            self.outlet, self.child_end = map(above_standard, system.pipe())
            system.set_blocking(self.outlet, False)
        self.ended = False  # its worker has: nothing more will come
        self._handed_over = False
        self._rest = b""
        self._garbled = False

    def child_number(self) -> int:
        """Returns the number of the worker's end, for workers in this process."""
        return self.child_end if isinstance(self.child_end, int) else int(self.child_end.fileno())

    def close_child_end(self) -> None:
        """Closes our copy of the worker's end."""
        if not self._handed_over:
            self._handed_over = True
            _close(self.child_end)

    def close(self) -> None:
        """Closes both ends."""
        self.close_child_end()
        _close(self.outlet)

    def read(self) -> Iterator[bytes]:
        """Yields the records that have come; none of a pipe that makes no sense any more.

        Raises:
            EOFError: No more can come.
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
            if not self._garbled:
                self._rest += data
                yield from self._records()

    def _records(self) -> Iterator[bytes]:
        data, position = self._rest, 0
        while len(data) - position >= SIZE.size:
            (size,) = SIZE.unpack_from(data, position)
            if size > _LARGEST:
                self._garbled = True
                break
            stop = position + SIZE.size + size
            if stop > len(data):
                break
            yield data[position + SIZE.size : stop]
            position = stop
        self._rest = data[position:]


class LogReceiver:
    """Reads what the workers of one pool log, and has it handled here as if it had been logged here.

    Args:
        start_at: How many workers there are before its thread starts: with fork, all of them.
        name: How the thread is called.

    Thread safety: every method may be called from any thread, signal handler or finaliser.
    """

    def __init__(self, start_at: int, name: str) -> None:
        self._start_at = start_at
        self._name = name
        # Guards the rest. No other lock is taken and no foreign code runs under it. Reentrant, because a signal handler
        # may interrupt its holder.
        self._lock = threading.RLock()
        self._opened = 0
        self._lines: list[LogPipe] = []
        self._bell: _Bell | None = None  # there while there are lines
        self._reading = False  # there is a thread that reads
        self._thread: threading.Thread | None = None  # it, or the last one, which may be about to end
        _receivers.add(self)

    def open(self) -> LogPipe:
        """Returns a line for a worker that is about to be started."""
        line = LogPipe()
        with self._lock:
            self._bell = self._bell or _Bell()
            self._lines.append(line)
            self._opened += 1
        return line

    def attend(self) -> None:
        """Starts reading, if it is time to: a worker has been started.

        Raises:
            RuntimeError: The thread can't be started: nobody reads what that worker writes.
        """
        with self._lock:
            if not self._reading and self._lines and self._opened >= self._start_at:
                thread = threading.Thread(target=self._read, name=f"{self._name} log", daemon=False)
                self._reading = True
                try:
                    start_thread(thread)
                except BaseException:
                    self._reading = False
                    raise
                self._thread = thread
            if self._bell is not None:
                self._bell.ring()

    def is_deaf(self) -> bool:
        """Returns whether there are workers of which nobody reads what they write, until they can't write any more."""
        with self._lock:
            due = not self._reading and self._opened >= self._start_at
            return due and any(not line.ended for line in self._lines)

    def end(self, line: LogPipe) -> None:
        """A worker has ended: what it wrote is still read."""
        line.ended = True
        line.close_child_end()
        self._start_at = 0
        try:
            self.attend()
        except RuntimeError:  # whoever comes next starts the thread
            log_failure(LOGGER, "what a worker has logged is not read yet")

    def finish(self) -> None:
        """Waits until all is handled that workers wrote who have ended, and for the end of the thread that reads.

        Does nothing in that thread.
        """
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _read(self) -> None:
        try:
            self._read_all()
        except BaseException:
            self._reading = False  # whoever comes next starts another thread
            raise

    def _read_all(self) -> None:
        from multiprocessing.connection import wait

        failing = False
        while True:
            with self._lock:
                bell = self._bell
                assert bell is not None
                with contextlib.suppress(OSError):  # as when it is waited for: see below
                    bell.hush()
                if not self._lines:
                    bell.close()
                    self._bell = None
                    self._reading = False
                    return
                lines = {line.outlet: line for line in self._lines}
            over = [line for line in lines.values() if line.ended]  # before what they wrote is read
            try:
                spoken = [] if over else wait([bell.outlet, *lines])
                failing = False
            except Exception:  # for want of memory or descriptors; or a line is closed, which shows when it is read
                if not failing:
                    log_failure(LOGGER, "waiting for what workers log has failed; they are asked now and then")
                failing, spoken = True, [*lines]
                time.sleep(_PAUSE)
            for line in over.copy() or [lines[end] for end in spoken if end in lines]:
                try:
                    for record in line.read():
                        _handle(record)
                except (EOFError, OSError):
                    over.append(line)
                except Exception:
                    log_failure(LOGGER, "a record that a worker logged could not be read")
            for line in set(over):
                with self._lock:
                    if line in self._lines:
                        self._lines.remove(line)
                        line.close()

    def after_fork_in_child(self) -> None:
        """Leave the workers and their pipes to the parent."""
        self._lock = threading.RLock()
        self._reading, self._thread = False, None
        for line in self._lines:
            _close(line.outlet)  # not the other end: this may be the very worker that is to have it
        self._lines = []
        if self._bell is not None:
            self._bell.close()
            self._bell = None


class _Bell:
    """Wakes a thread that waits for pipes."""

    def __init__(self) -> None:
        self.outlet, self._inlet = connection_pair()
        self._rung = False

    def ring(self) -> None:
        if not self._rung:
            self._rung = True
            self._inlet.send_bytes(b"")

    def hush(self) -> None:
        if self.outlet.poll(0):
            self.outlet.recv_bytes()
            self._rung = False

    def close(self) -> None:
        self.outlet.close()
        self._inlet.close()


def _handle(data: bytes) -> None:
    try:
        record = logging.makeLogRecord(marshal.loads(data))
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)
    except BaseException:  # of a handler: the thread reads for all workers
        log_failure(LOGGER, "a record that a worker logged could not be handled")


def _close(end: Any) -> None:
    with contextlib.suppress(OSError):
        if isinstance(end, int):
            system.close(end)
        else:
            end.close()
