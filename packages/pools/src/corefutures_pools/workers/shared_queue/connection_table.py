"""`ConnectionTable`: the connections to all workers of one pool, and what the pool's threads poll for them.

Touches epoll (Linux) and `Leadership`. Guarantees: a worker is believed dead only once its process, or thread, says
so, never because a channel to it has ended; each descriptor is unregistered before it is closed.
"""

from __future__ import annotations

import sys

from corefutures._blocking import select

assert sys.platform == "linux"  # nothing else imports this, and type checkers need not read on

from corefutures._blocking import system
from corefutures_pools.workers.shared_queue.connection import WorkerConnection

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from corefutures_pools.workers.interface import PayloadChannel, WorkerHandle
    from corefutures_pools.workers.shared_queue.leader import Leadership


class ConnectionTable:
    """All connections whose workers have not been reaped; iterating over it is safe while it changes.

    Args:
        serving: Those of the workers that take tasks, or will once they are ready: the pool's own set. A worker that
            is exiting is no longer in it, and so can be replaced before it has ended.
        spares: Those of the workers that take no tasks yet: the supervisor's own set.
        size: How many workers of both kinds there may be at a time.

    Thread safety: changed by the thread that starts workers, and by the result thread; each change is one operation.
    """

    def __init__(self, serving: set[Any], spares: set[Any], size: int) -> None:
        self.serving = serving
        self.spares = spares
        self._all: set[WorkerConnection] = set()
        self._indexed: set[WorkerConnection] = set()  # those that have an index
        self._free_indexes = list(range(size))
        #: By descriptor: of a result pipe, or a sentinel.
        self.by_descriptor: dict[int, WorkerConnection] = {}
        #: Workers that are expected to end, or send malformed frames: the result thread checks them periodically.
        self.failing: set[WorkerConnection] = set()

    def __iter__(self) -> Iterator[WorkerConnection]:
        return iter(list(self._all))

    def __len__(self) -> int:
        return len(self._all)

    def open(self, outer: select.epoll, leadership: Leadership) -> None:
        """Set the epoll of the result thread, and that of the leader; called once."""
        self._outer = outer
        self._leadership = leadership

    def add(self, frames: int, channel: PayloadChannel, *, spare: bool = False) -> WorkerConnection:
        """Make the connection of a worker that is about to be started."""
        connection = WorkerConnection(self._free_indexes.pop(), frames, channel)
        self._indexed.add(connection)
        (self.spares if spare else self.serving).add(connection)
        self._all.add(connection)
        self.by_descriptor[frames] = connection
        return connection

    def watch(self, connection: WorkerConnection, worker: WorkerHandle) -> None:
        """Poll the result pipe and the sentinels of a worker that was started."""
        self._leadership.register(connection.frames)
        for sentinel in worker.sentinels():
            descriptor = sentinel if isinstance(sentinel, int) else sentinel.fileno()
            connection.sentinels.append(descriptor)
            self.by_descriptor[descriptor] = connection
            self._outer.register(descriptor, select.EPOLLIN)

    def release_index(self, connection: WorkerConnection) -> bool:
        """Let another worker have the index of one that takes no more tasks; do nothing the second time.

        Returns:
            Whether it was a spare; see `WorkerSupervisor._promote_spare` on the order.
        """
        try:
            self._indexed.remove(connection)
        except KeyError:
            pass
        else:  # first: a thread that counts one worker less starts another one, which needs an index
            self._free_indexes.append(connection.index)
        was_spare = connection in self.spares
        if was_spare:
            try:
                self.spares.remove(connection)
            except KeyError:  # it was promoted meanwhile
                was_spare = False
        self.serving.discard(connection)
        return was_spare

    def remove(self, connection: WorkerConnection) -> bool:
        """Forget a connection, and close what leads to its worker; return whether it was a spare."""
        was_spare = self.release_index(connection)
        self._all.discard(connection)
        self.failing.discard(connection)
        self._unwatch_sentinels(connection)
        self._close_frames(connection)
        connection.channel.close()
        return was_spare

    def disconnect(self, connection: WorkerConnection) -> None:
        """Kill a worker that can't be reached any more, and believe nothing that it sends from now on.

        From now on no call of the worker can end by a result. Frames that were read and not parsed are dropped: the
        worker may have reported the broken channel as an error of its call, and the call would fail with that error
        instead of WorkerLostError.
        """
        self._close_frames(connection)
        connection.buffer = b""
        connection.inbox.clear()
        if connection.worker is not None and connection.watched:
            if not connection.exiting:
                connection.worker.kill()
            self.expect_end(connection)

    def expect_end(self, connection: WorkerConnection) -> None:
        """Have the result thread ask a worker periodically whether it has ended."""
        connection.end_expected = True
        self.failing.add(connection)

    def check_ended(self, connection: WorkerConnection) -> None:
        """Ask the worker whether it has ended; believe it, not a channel."""
        assert connection.worker is not None
        connection.dead = connection.worker.ended()
        connection.end_expected = not connection.dead
        if connection.end_expected:
            self.failing.add(connection)
            self._unwatch_sentinels(connection)  # they would wake the result thread without a pause

    def _unwatch_sentinels(self, connection: WorkerConnection) -> None:
        while connection.sentinels:
            self._unwatch(connection.sentinels.pop(), self._outer)

    def _close_frames(self, connection: WorkerConnection) -> None:
        frames = connection.release_frames()
        if frames >= 0:
            self._unwatch(frames, self._leadership)
            system.close(frames)

    def _unwatch(self, descriptor: int, poll: Any) -> None:
        if self.by_descriptor.pop(descriptor, None) is not None:
            try:
                poll.unregister(descriptor)
            except (FileNotFoundError, OSError, ValueError):  # it was not registered yet
                pass

    def close(self) -> None:
        """Close the pool's ends of what leads to the workers; for when nothing is polled any more."""
        for connection in self:
            if (frames := connection.release_frames()) >= 0:
                system.close(frames)
            connection.channel.close()
        self._all.clear()
        self.serving.clear()
        self.spares.clear()
