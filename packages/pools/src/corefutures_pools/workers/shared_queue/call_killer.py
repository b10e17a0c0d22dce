"""`CallKiller`: kills the worker that runs one call, and no other call with it.

Touches `/proc` and signals (Linux), the status table and the connections. Guarantees: a worker is killed for a call
only on complete evidence that it runs that; no worker stays stopped, also if a signal handler raises meanwhile.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from contextlib import suppress
from functools import partial

from corefutures._blocking import sleep, threading

assert sys.platform == "linux"  # nothing else imports this, and type checkers need not read on

from corefutures._blocking import clock, system

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from typing import Any, Final

    from corefutures_pools.workers.future import CallFuture
    from corefutures_pools.workers.shared_queue.connection import WorkerConnection
    from corefutures_pools.workers.shared_queue.frame_reader import FrameReader
    from corefutures_pools.workers.shared_queue.inline_wait import InlineWaitPool

#: Seconds after which a process is taken not to stop, and the result thread not to answer.
_PATIENCE: Final = 1.0


class CallKiller:
    """Stops a worker process, finds out which call it runs, and kills it or lets it go on.

    A worker that has entered a call in the status table may have sent its result, and claimed another one since:

    1. the process is stopped by SIGSTOP: from here on it neither writes nor claims;
    2. the result thread parses what it had written; if the call has no result then, the worker runs it;
    3. it is killed; or it goes on.

    Args:
        pool: The pool.
        reader: The pool's.

    Thread safety: `kill` may be called from any thread or signal handler but the result thread, which has the rest.
    """

    def __init__(self, pool: InlineWaitPool, reader: FrameReader) -> None:
        self._pool = pool
        self._reader = reader
        # Held by the thread that has stopped a worker. Reentrant, because a signal handler may stop one as well.
        self._stopping = threading.RLock()
        #: Whether a stopped worker runs a call: asked of the result thread.
        self.questions: deque[tuple[WorkerConnection, int, list[bool]]] = deque()

    def kill(self, future: CallFuture[Any], error: BaseException) -> bool:
        """Kill the worker that runs the call, which fails with `error`; return False if none was found."""
        pool, number = self._pool, future._number
        table = pool.status_table
        if table is None:
            return False
        pool.step_down()
        for connection in pool.connections:
            worker = connection.worker
            if worker is None or worker.pid is None or table.current_task(connection.index) != number:
                continue
            with self._stopping:
                go_on = partial(system.kill, worker.pid, signal.SIGCONT)
                try:
                    if connection.killed_for is None and _stop(worker.pid) and self._runs(connection, number):
                        connection.killed_for = number, error
                    if connection.killed_for is not None and connection.killed_for[0] == number:
                        worker.kill()  # if it was interrupted before that, it is done now
                        return True
                finally:  # one call in C: a handler can raise only before or after it
                    try:
                        go_on()
                    except OSError:  # it has ended
                        pass
        return False

    def _runs(self, connection: WorkerConnection, number: int) -> bool:
        """Return whether a stopped worker runs that call; False if the result thread has no time to find out."""
        answers: list[bool] = []
        self.questions.append((connection, number, answers))
        deadline = clock.monotonic() + _PATIENCE
        while not answers and clock.monotonic() < deadline:
            if connection.dead:
                return False
            self._pool.wake()
            sleep(0.0005)
        return answers == [True]

    def answer(self) -> None:
        """Answer what `_runs` asks. For the result thread, as the leader."""
        pool = self._pool
        table = pool.status_table
        assert table is not None
        while self.questions:
            connection, number, answers = self.questions.popleft()
            self._reader.read(connection)
            entered = table.current_task(connection.index) == number and connection in pool.connections.serving
            answers.append(entered and number in pool.calls)

    def kill_malformed(self, connection: WorkerConnection) -> None:
        """Kill a worker that sends malformed frames, if no other call is lost with it; or else it is tried again later.

        1. The process is stopped, and all that it has written is parsed.
        2. If no call of it has ended since, it runs the call that wrote what is no frame.
        3. If one has, it may run another call: one that it has entered in the status table, or one that is claimed, and
           that no worker has entered.
        """
        pool, worker = self._pool, connection.worker
        queue, table = pool.queue, pool.status_table
        assert queue is not None
        assert table is not None
        if worker is None or worker.pid is None or not connection.watched or connection.killed_for is not None:
            return
        if not self._stopping.acquire(blocking=False):  # by a thread that waits for us
            return
        try:
            if _stop(worker.pid):
                self._reader.read(connection)
                others = {table.current_task(other.index) for other in pool.connections if other is not connection}
                if not connection.delivered_since or not queue.claimed(pool.calls.copy()).difference(others):
                    pool.connections.disconnect(connection)
        finally:
            with suppress(OSError):  # it has ended
                system.kill(worker.pid, signal.SIGCONT)
            self._stopping.release()


def _stop(pid: int) -> bool:
    """Stop a process, and return whether it has stopped; False if it has ended, or that can't be known."""
    try:
        system.kill(pid, signal.SIGSTOP)
        deadline = clock.monotonic() + _PATIENCE
        while clock.monotonic() < deadline:
            stat = system.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
            try:
                state = system.read(stat, 1024).rpartition(b")")[2].split()[0]
            finally:
                system.close(stat)
            if state in b"Tt":
                return True
            if state in b"ZX":
                return False
            sleep(0.0002)
    except OSError:
        pass
    return False
