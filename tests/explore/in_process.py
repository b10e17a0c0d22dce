"""A pool of the shared queue whose workers are threads of an exploration: their loops and pipes are the real ones.

A worker that is killed ends at its next system call, and all that it had of the transport is closed, as of a process.
"""

from __future__ import annotations

import mmap
import os
import pickle
from concurrent.futures import BrokenExecutor
from typing import Any

from explorer import Run
from world import Thread, run


class Killed(BaseException):
    """Ends a worker that was killed."""


class InProcessWorker:
    """One worker, as the pool sees it: a `WorkerHandle`."""

    pid = None
    thread = None

    def __init__(self, our: Any, ends: Any, number: int) -> None:
        self.name = f"worker {number}"
        self._our, self._ends = our, ends
        self._frames = os.dup(ends.frames)
        self._sentinel, self._alive = os.pipe()
        self._killed = self._ended = self._reaped = False
        self._thread = Thread(target=self._work, name=self.name)
        self._thread.start()

    def _work(self) -> None:
        our, ends = self._our, self._ends
        actor = run().running
        assert actor is not None
        actor.check = self._check  # called before each system call
        try:
            our.modules["corefutures_pools.workers.shared_queue.worker"].serve_shared_queue(
                tasks=ends.tasks,
                frames=self._frames,
                arena=mmap.mmap(ends.memory, ends.memory_size),
                slot_starts=ends.slot_starts,
                status_table=memoryview(mmap.mmap(ends.memory, ends.status_size)).cast("Q"),
                worker_index=ends.worker_index,
                channel=None,
                encode=our.serialization.Encoder(pickle.dumps),
                prepare=None,
                limit=None,
            )
        except Killed:
            pass
        finally:
            actor.check = None
            self._ended = True
            os.close(self._frames)
            os.close(self._alive)

    def _check(self) -> None:
        if self._killed:
            raise Killed

    def cpu_seconds(self) -> None:
        return None

    def sentinels(self) -> list[int]:
        return [self._sentinel]

    def ended(self) -> bool:
        return self._ended

    def mark_exiting(self) -> None: ...

    def kill(self) -> None:
        self._killed = True

    terminate = kill

    def interrupt(self) -> None: ...

    def ask_for_stack(self) -> None: ...

    def read_stack(self, deadline: float) -> tuple[list[Any], str]:
        return [], "it has none"

    def reap(self) -> int | None:
        assert self._ended or run().over
        assert not self._reaped
        self._reaped = True
        os.close(self._sentinel)
        return -9 if self._killed else None


class InProcessLauncher:
    """Starts workers as threads of the exploration: a `WorkerLauncher`."""

    def __init__(self, our: Any) -> None:
        self._our = our
        self.workers: list[InProcessWorker] = []

    def launch(self, ends: Any) -> InProcessWorker:
        worker = InProcessWorker(self._our, ends, len(self.workers))
        self.workers.append(worker)
        return worker


MODULES = (
    "corefutures_pools.workers.serialization", "corefutures_pools.workers.worker_loop",
    "corefutures_pools.workers.shared_queue.worker",
    "corefutures_pools.workers.chunking", "corefutures_pools.workers.result_decoding",
    "corefutures_pools.workers.shared_queue.descriptor_channel",
    "corefutures_pools.workers.shared_queue.pool",
)  # fmt: skip


def make_pool(exploration: Run, our: Any, workers: int, **options: Any) -> tuple[Any, InProcessLauncher]:
    """Returns a pool of so many workers, and its launcher, which has to be kept alive."""
    launcher = InProcessLauncher(our)
    encode = our.serialization.Encoder(pickle.dumps)
    pool = our.pool.SharedQueuePool(
        our.modules["corefutures_pools.workers.pool"].PoolOptions(workers, BrokenExecutor, **options),
        launcher=launcher, encode=encode,
        decoder=our.result_decoding.ResultDecoder(pickle.loads, encode, RuntimeError),
        make_channel=our.descriptor_channel.PoolDescriptorChannel,
    )  # fmt: skip
    return pool, launcher
