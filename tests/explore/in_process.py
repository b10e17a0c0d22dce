"""Pools whose workers are threads of an exploration: their loops and pipes are the real ones.

A worker that is killed ends at its next system call, or at its next step in a file that is explored; all that it had of
the transport is closed, as of a process. One that is stopped runs no further. An interpreter can be neither.
"""

from __future__ import annotations

import mmap
import os
import pickle
import signal
import weakref
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from multiprocessing import connection as connections
from typing import Any

from explorer import Run
from world import Thread, _before_call, exploring, is_readable, read, run

#: The process id of the first worker; no process has such a number.
_FIRST_PID = 1 << 30


class Killed(BaseException):
    """Ends a worker that was killed."""


class InProcessWorker:
    """One worker, as the pool sees it: a `WorkerHandle`.

    Args:
        number: Of the worker.
        kind: "process", or "interpreter", which nothing can end from outside, and whose end no descriptor shows.
        serve: The worker's loop.
        close: Closes the worker's ends of the transport.
    """

    thread = None

    def __init__(self, number: int, kind: str, serve: Any, close: Any) -> None:
        self.name = f"worker {number}"
        self.pid = _FIRST_PID + number if kind == "process" else None
        self._serve, self._close = serve, close
        self._sentinel, self._alive = os.pipe()
        self._killed = self._ended = self._reaped = False
        self._thread = Thread(target=self._work, name=self.name)
        self._thread.start()

    def _work(self) -> None:
        actor = run().running
        assert actor is not None
        if self.pid is not None:
            actor.check = self._check
        serve, self._serve = self._serve, None
        try:
            serve()
        except (Killed, EOFError, BrokenPipeError):  # or the pool is gone
            pass
        finally:
            del serve  # and with it what it has mapped
            actor.check = None
            self._ended = True
            self._close()
            os.close(self._alive)

    def _check(self) -> None:
        if self._killed:
            raise Killed

    def cpu_seconds(self) -> None:
        return None

    def sentinels(self) -> list[int]:
        return [] if self.pid is None else [self._sentinel]

    def ended(self) -> bool:
        return self._ended

    def mark_exiting(self) -> None: ...

    def kill(self) -> None:
        if self.pid is not None:
            self._killed = True
            self.go_on()

    terminate = kill

    def stop(self) -> bool:
        """Stops it, as SIGSTOP does; returns whether it has stopped."""
        self._thread._actor.stopped = not self._ended
        return not self._ended

    def go_on(self) -> None:
        """Lets it run again."""
        self._thread._actor.stopped = False

    def interrupt(self) -> None: ...

    def ask_for_stack(self) -> None: ...

    def read_stack(self, deadline: float) -> tuple[list[Any], str]:
        return [], "it has none"

    def reap(self) -> int | None:
        assert not self._reaped
        self._reaped = True
        if self.pid is not None:
            run().wait(lambda: self._ended)
        os.close(self._sentinel)
        return -9 if self._killed else None


class InProcessLauncher:
    """Starts workers as threads of the exploration: a `WorkerLauncher`.

    Args:
        our: Our modules.
        kind: See `InProcessWorker`.
        limit: How many calls a worker runs; None for any number.
    """

    def __init__(self, our: Any, kind: str = "process", limit: int | None = None) -> None:
        self._our = our
        self._kind, self._limit = kind, limit
        self.workers: list[InProcessWorker] = []
        self.refuses = 0  # how often it fails
        self.result_pipes: list[int] = []  # the workers' ends, of a pool over a queue

    def launch(self, ends: Any) -> InProcessWorker:
        if self.refuses:
            self.refuses -= 1
            raise OSError("no process can be started")
        serve, close = self._loop(ends, self._our.serialization.Encoder(memfds=False))
        worker = InProcessWorker(len(self.workers), self._kind, serve, close)
        self.workers.append(worker)
        return worker

    def _loop(self, ends: Any, encode: Any) -> tuple[Any, Any]:
        serve = self._our.modules["corefutures_pools.workers.shared_queue.worker"].serve_shared_queue
        frames = os.dup(ends.frames)
        self.result_pipes.append(frames)
        arena = mmap.mmap(ends.memory, ends.memory_size)
        status = mmap.mmap(ends.memory, ends.status_size)
        table = memoryview(status).cast("Q")
        channel = _Grants(ends.payload_channel) if ends.is_spare else None

        def work() -> None:
            try:
                serve(
                    tasks=ends.tasks, frames=frames, arena=arena, slot_starts=ends.slot_starts, status_table=table,
                    worker_index=ends.worker_index, channel=channel, encode=encode, prepare=None, limit=self._limit,
                    is_spare=ends.is_spare,
                )  # fmt: skip
            finally:
                self._our.blocking._cancel_probe = None  # or it would keep the table

        def close() -> None:  # as the end of a process does
            os.close(frames)
            if channel is not None:
                channel.close()
            table.release()
            for mapped in (status, arena):
                with suppress(BufferError):
                    mapped.close()

        return work, close

    def running(self) -> InProcessWorker:
        """Returns the worker whose thread runs."""
        actor = run().running
        assert actor is not None
        return next(worker for worker in self.workers if worker.name == actor.name)

    def signal(self, pid: int, number: int) -> None:
        """Does what `kill` does, for SIGCONT; the rest is the worker's."""
        worker = self.workers[pid - _FIRST_PID]
        if worker.ended():
            raise ProcessLookupError
        if number == signal.SIGCONT:
            worker.go_on()


class _Grants:
    """The worker's end of a payload channel, as far as a spare needs it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)

    def receive_grant(self, number: int) -> int:
        return len(read(self._descriptor, 1 << 10))  # nothing once the pool has closed its end

    def close(self) -> None:
        os.close(self._descriptor)


class PipeLauncher(InProcessLauncher):
    """The same for pools over connections."""

    def _loop(self, ends: Any, encode: Any) -> tuple[Any, Any]:
        serve = self._our.modules["corefutures_pools.workers.pipes.worker"].serve_pipe
        connection = Connection(os.dup(ends.fileno()))
        work = lambda: serve(connection=connection, encode=encode, prepare=None, limit=self._limit)  # noqa: E731
        return work, connection.close


class Connection(connections.Connection):
    """A connection of `multiprocessing` that waits in the explorer."""

    def _send(self, *args: Any) -> None:
        if exploring():
            _before_call()
        super()._send(*args)  # type: ignore[misc]

    def _recv(self, size: int, *args: Any) -> Any:
        if exploring() and size:
            _before_call(self.fileno())
        return super()._recv(size, *args)  # type: ignore[misc]

    def _poll(self, timeout: float | None) -> bool:
        return bool(_wait([self], timeout))


def _make_pair() -> tuple[Connection, Connection]:
    one, another = connections.Pipe()
    pair = Connection(os.dup(one.fileno())), Connection(os.dup(another.fileno()))
    one.close()
    another.close()
    return pair


_real_wait = connections.wait


def _wait(things: list[Any], timeout: float | None = None) -> list[Any]:
    """`multiprocessing.connection.wait`."""
    if not exploring():
        return _real_wait(things, timeout)

    def ready() -> list[Any]:
        return [thing for thing in things if is_readable(thing if isinstance(thing, int) else thing.fileno())]

    def is_over() -> bool:
        try:
            return bool(ready())
        except (OSError, ValueError):  # one is closed
            return True

    run().wait(is_over, timeout)
    return ready()


#: What calls do, see `act`; a call that is pickled can't bring that along.
acts: list[Callable[[], Any]] = []


def act(number: int) -> Any:
    """A call that does what the model has put there."""
    return acts[number]()


#: What calls have told: their numbers, in order.
told: list[int] = []
#: And in which worker, by number.
told_by: dict[int, str] = {}


def tell(number: int) -> int:
    """A call that tells that it ran."""
    told.append(number)
    actor = run().running
    assert actor is not None
    told_by[number] = actor.name
    return number


def meet(number: int) -> int:
    """A call that returns once two of them run."""
    told.append(number)
    run().wait(lambda: len(told) >= 2)
    return number


def pause(seconds: float) -> None:
    """A call that takes so long."""
    run().wait(lambda: False, seconds)


MODULES = (
    "corefutures_pools.workers.serialization", "corefutures_pools.workers.worker_loop",
    "corefutures_pools.workers.shared_queue.worker",
    "corefutures_pools.workers.chunking", "corefutures_pools.workers.result_decoding",
    "corefutures_pools.workers.shared_queue.descriptor_channel", "corefutures_pools.admission",
    "corefutures_pools.workers.executor", "corefutures_pools.workers.submission",
    "corefutures_pools.workers.shared_queue.pool",
)  # fmt: skip
PIPE_MODULES = (
    "corefutures_pools.workers.serialization", "corefutures_pools.workers.worker_loop",
    "corefutures_pools.workers.chunking", "corefutures_pools.workers.result_decoding", "corefutures_pools.admission",
    "corefutures_pools.workers.executor", "corefutures_pools.workers.submission",
    "corefutures_pools.workers.pipes.worker", "corefutures_pools.workers.pipes.pool",
)  # fmt: skip


class Owner:
    """What an executor is to its pool: makes another one in a forked child."""

    def __init__(self, make: Any) -> None:
        self._make = make
        self._cf_after_fork_in_child()

    def _cf_after_fork_in_child(self) -> None:
        self._cf_pool, self.launcher = self._make()
        self._cf_pool.owner = weakref.ref(self)


def make_pool(
    exploration: Run, our: Any, workers: int, *, pipes: bool = False, kind: str = "process", limit: int | None = None,
    max_pending: int | None = None, **options: Any,
) -> tuple[Any, InProcessLauncher]:  # fmt: skip
    """Returns a pool of so many workers, and its launcher, which has to be kept alive.

    Args:
        exploration: The run.
        our: Our modules.
        workers: How many.
        pipes: Whether it is one over connections.
        kind: See `InProcessWorker`.
        limit: See `InProcessLauncher`.
        max_pending: How many calls may wait.
        **options: See `PoolOptions`.
    """
    told.clear()
    told_by.clear()
    launcher = (PipeLauncher if pipes else InProcessLauncher)(our, kind, limit)
    encode = our.serialization.Encoder(memfds=False)
    parts = {
        "launcher": launcher, "encode": encode,
        "decoder": our.result_decoding.ResultDecoder(pickle.loads, encode, RuntimeError),
        "limiter": our.admission.make_limiter(max_pending, "block"),
    }  # fmt: skip
    chosen = our.modules["corefutures_pools.workers.pool"].PoolOptions(workers, BrokenExecutor, **options)
    our.blocking.system.register_at_fork = lambda **_: None  # what a worker registers is for its process
    if pipes:
        connections.wait = _wait
        exploration.closers.append(lambda: setattr(connections, "wait", _real_wait))
        module = our.modules["corefutures_pools.workers.pipes.pool"]
        module.threads_are_replaced = lambda: False  # not by a library that replaces only them
        pool = module.PipePool(chosen, make_pair=_make_pair, **parts)
    else:
        our.blocking.system.kill = launcher.signal
        killer = our.modules["corefutures_pools.workers.shared_queue.call_killer"]
        killer._stop = lambda pid: launcher.workers[pid - _FIRST_PID].stop()
        # Nothing of this run is to end within the next one.
        exploration.closers.append(lambda: (vars(our.blocking.system).pop("kill"), vars(killer).pop("_stop")))
        pool = our.modules["corefutures_pools.workers.shared_queue.pool"].SharedQueuePool(
            chosen, make_channel=our.descriptor_channel.PoolDescriptorChannel, **parts
        )
    our.modules["corefutures_pools.workers.executor"].pools.add(pool)
    return pool, launcher
