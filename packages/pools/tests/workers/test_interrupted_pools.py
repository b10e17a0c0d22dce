"""F8 for `submit`, `cancel`, `result` and `shutdown` of pools with isolated workers: interrupted at every point.

A handler may wait for calls, or for threads that do, shut the pool down, cancel, look, or raise.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, ThreadPoolExecutor
from functools import partial
from multiprocessing.connection import Pipe
from typing import Any

import pytest
from signals import everywhere

from corefutures_pools.workers import (
    call_control,
    deferred,
    future as future_module,
    pool as pool_module,
    pool_stats,
    result_decoding,
    supervisor,
)
from corefutures_pools.workers.marshalled import marshalled_result
from corefutures_pools.workers.messages import EXITING, FRAME, READY, RESULT_MARSHAL, STOP, TASK
from corefutures_pools.workers.pipes import pool as pipe_pool
from corefutures_pools.workers.pipes.worker import CALL, REQUEST
from corefutures_pools.workers.pool import PoolOptions
from corefutures_pools.workers.result_decoding import ResultDecoder
from corefutures_pools.workers.serialization import Encoder

if sys.platform == "linux":
    from corefutures_pools.workers.shared_queue import (
        arena,
        connection,
        connection_table,
        event_loop,
        frame_reader,
        inline_wait,
        leader,
        pool as shared_queue_pool,
        revocation,
        status_table,
        task_queue,
        watchdog,
    )
    from corefutures_pools.workers.shared_queue.descriptor_channel import PoolDescriptorChannel

WAYS = ["pipes", *(["shared_queue"] if sys.platform == "linux" else [])]


def everywhere_apart(*arguments: Any) -> int:
    """Play a scenario in a thread of its own: CPython may handle what interrupts an `except` block for ever."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(everywhere, *arguments).result()


class Raised(BaseException):
    """What a handler raises, as Ctrl-C does."""


class Worker:
    """A worker in a thread, whose calls return their own numbers."""

    def __init__(self, ends: Any) -> None:
        self.name, self.pid = "numbered", None
        self.ends = self.take(ends)
        self._sentinel, self._alive = os.pipe()
        self._thread = threading.Thread(target=self._live, daemon=False)
        self._thread.start()

    def take(self, ends: Any) -> Any:
        raise NotImplementedError

    def serve(self) -> None:
        raise NotImplementedError

    def _live(self) -> None:
        try:
            self.serve()
        except OSError:  # the pool is gone
            pass
        finally:
            self.close()
            os.close(self._alive)

    def close(self) -> None:
        raise NotImplementedError

    def cpu_seconds(self) -> None:
        return None

    def sentinels(self) -> list[int]:
        return [self._sentinel]

    def ended(self) -> bool:
        return True

    def mark_exiting(self) -> None:
        """Ends by itself."""

    def terminate(self) -> None:
        """Ends when it is told to stop."""

    kill = terminate
    thread = None

    def ask_for_stack(self) -> None:
        """Has none to tell."""

    def read_stack(self, deadline: float) -> tuple[list[Any], str]:
        return [], "it has none"

    def reap(self) -> int:
        self._thread.join()
        os.close(self._sentinel)
        return 0


def frame(kind: int, number: int, body: bytes = b"") -> bytes:
    return FRAME.pack(len(body), kind, number) + body


class SharedQueueWorker(Worker):
    def take(self, ends: Any) -> Any:
        return os.dup(ends.frames), os.dup(ends.tasks)

    def serve(self) -> None:
        frames, tasks = self.ends
        os.write(frames, frame(READY, 0))
        while task := os.read(tasks, TASK.size):
            number = TASK.unpack(task)[0]
            if number == STOP:
                os.write(frames, frame(EXITING, 0))
                return
            os.write(frames, frame(RESULT_MARSHAL, number, marshalled_result(number) or b""))

    def close(self) -> None:
        for end in self.ends:
            os.close(end)


class LateWorker(SharedQueueWorker):
    """One that says and reads nothing at first."""

    def __init__(self, begin: threading.Event, ends: Any) -> None:
        self._begin = begin
        super().__init__(ends)

    def serve(self) -> None:
        self._begin.wait(60)
        super().serve()


class PipeWorker(Worker):
    def take(self, ends: Any) -> Any:
        return type(ends)(os.dup(ends.fileno()))

    def serve(self) -> None:
        connection = self.ends
        connection.send_bytes(frame(READY, 0))
        while True:
            try:
                number, size = CALL.unpack_from(connection.recv_bytes())
            except EOFError:
                return
            if size == REQUEST:
                continue
            if number == STOP:
                connection.send_bytes(frame(EXITING, 0))
                return
            connection.send_bytes(frame(RESULT_MARSHAL, number, marshalled_result(number) or b""))

    def close(self) -> None:
        self.ends.close()


class WorkerLauncher:
    def __init__(self, worker: Callable[[Any], Worker]) -> None:
        self._worker = worker

    def launch(self, ends: Any) -> Worker:
        return self._worker(ends)


class Subject:
    """A pool, and what is to be interrupted in it."""

    def __init__(self, way: str, worker: Callable[[Any], Worker] | None = None) -> None:
        options = PoolOptions(1, BrokenExecutor)
        parts: dict[str, Any] = {"encode": Encoder(), "decoder": ResultDecoder(pickle.loads, Encoder(), Exception)}
        shared = (pool_module, supervisor, call_control, deferred, pool_stats, result_decoding, future_module)
        self.pool: Any
        if way == "shared_queue":
            self.launcher = WorkerLauncher(worker or SharedQueueWorker)
            self.pool = shared_queue_pool.SharedQueuePool(
                options, make_channel=PoolDescriptorChannel, launcher=self.launcher, **parts
            )
            self.modules: Any = (
                *shared, arena, connection, connection_table, event_loop, frame_reader, inline_wait,
                leader, shared_queue_pool, revocation, status_table, task_queue, watchdog,
            )  # fmt: skip
        else:
            self.launcher = WorkerLauncher(worker or PipeWorker)
            self.pool = pipe_pool.PipePool(options, make_pair=Pipe, launcher=self.launcher, **parts)
            self.modules = (*shared, pipe_pool)

    def submit(self) -> Any:
        return self.pool.submit(abs, (1,), {})

    def warm_up(self) -> None:
        self.submit().result(20)

    def check(self) -> None:
        """The pool serves every thread, and ends."""
        outcomes: list[Any] = []

        def use() -> None:
            future = self.submit()
            outcomes.append(future.result(20) == future._number)
            self.pool.close(wait=True)
            outcomes.append(not self.pool.calls)

        other = threading.Thread(target=use, daemon=True)
        other.start()
        other.join(20)
        assert outcomes == [True, True]


def submit_and_wait(subject: Subject) -> None:
    future = subject.submit()
    assert future.result(20) == future._number


def elsewhere(subject: Subject) -> None:
    outcomes: list[bool] = []

    def wait() -> None:
        try:
            future = subject.submit()
            outcomes.append(future.result(20) == future._number)
        except RuntimeError as exc:  # the handler came after the end of the pool
            outcomes.append("after shutdown" in str(exc))

    other = threading.Thread(target=wait, daemon=True)
    other.start()
    other.join(20)
    assert outcomes == [True]


def cancel_and_look(subject: Subject) -> None:
    first, second = subject.submit(), subject.submit()
    first.cancel()
    subject.pool.snapshot("a pool", 0)
    subject.pool.stats()
    subject.pool.control.request_cancel(second)
    assert first.cancelled() or first.result(20) == first._number
    assert second.cancelled() or second.result(20) == second._number


def shut_down(subject: Subject) -> None:
    subject.pool.close(wait=True)


def cancel_all(subject: Subject) -> None:
    subject.pool.close(wait=True, cancel_futures=True)


def interrupt(subject: Subject) -> None:
    raise Raised


def is_in_finaliser() -> bool:
    """Whether what is interrupted is a `__del__`, where the interpreter swallows what is raised."""
    frame = sys._getframe().f_back
    while frame is not None:
        if frame.f_code.co_name in (
            "__del__",
            "close_pool",
            "on_executor_collected",
        ):  # the latter is called when the launcher goes
            return True
        frame = frame.f_back
    return False


HANDLERS = [submit_and_wait, elsewhere, cancel_and_look, shut_down, cancel_all, interrupt]


def first_submit(subject: Subject) -> list[Any]:
    return [subject.submit()]


def some_submits(subject: Subject) -> list[Any]:
    return [subject.submit() for _ in range(4)]


def cancels(subject: Subject) -> list[Any]:
    futures = [subject.submit() for _ in range(4)]
    for future in futures:
        future.cancel()
    return futures


def results(subject: Subject) -> list[Any]:
    futures = [subject.submit() for _ in range(2)]
    for future in futures:
        try:
            future.result(20)
        except CancelledError:  # the handler has cancelled all
            pass
    return futures


def shutdowns(subject: Subject) -> list[Any]:
    futures = [subject.submit() for _ in range(3)]
    subject.pool.close(wait=True, cancel_futures=True)
    return futures


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("interrupted", [first_submit, some_submits, cancels, results, shutdowns])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.timeout(170)
def test_a_handler_at_every_point(way: str, interrupted: Any, handler: Any) -> None:
    closes = handler in (shut_down, cancel_all) or interrupted is shutdowns
    modules = Subject(way).modules

    def scenario(interrupt_by: Any) -> None:
        subject = Subject(way)
        if interrupted is not first_submit:
            subject.warm_up()
        futures: list[Any] = []
        try:
            with interrupt_by(lambda: is_in_finaliser() or handler(subject)):
                futures = interrupted(subject)
        except Raised:
            pass
        except RuntimeError as exc:
            if not closes or "after shutdown" not in str(exc):
                raise
        if closes:
            subject.pool.close(wait=True)
            assert not subject.pool.calls
        else:
            for future in futures:
                try:
                    assert future.result(20) == future._number
                except CancelledError:
                    pass
            subject.check()
        for future in futures:
            assert future.done()
        counts = subject.pool.stats()
        assert counts.submitted == sum(counts[1:6]) and not counts.waiting and not counts.running

    def patient(interrupt_by: Any) -> None:
        try:
            scenario(interrupt_by)
        except RuntimeError as exc:  # the handler submits, after the end that it interrupts
            if interrupted is not shutdowns or "after shutdown" not in str(exc):
                raise

    assert everywhere_apart(patient, *modules) > 20


@pytest.mark.skipif(sys.platform != "linux", reason="the fast path needs Linux")
@pytest.mark.parametrize("handler", [shut_down, cancel_all, interrupt])
@pytest.mark.timeout(170)
def test_a_worker_that_was_told_to_stop_does_so_whoever_is_interrupted(handler: Any) -> None:
    """The last call ends while somebody is about to cancel what waits; the worker has not read yet that it is over."""
    modules = Subject("shared_queue").modules

    def scenario(interrupt_by: Any) -> None:
        begin = threading.Event()
        subject = Subject("shared_queue", partial(LateWorker, begin))
        pool, future = subject.pool, subject.submit()
        queue = pool.queue
        revoke_all = queue.revoke_all

        def end_and_revoke_all() -> None:
            future.cancel()
            until = time.monotonic() + 20
            while not begin.is_set() and (STOP not in queue._control or queue.read_back):
                assert time.monotonic() < until
                time.sleep(0.0005)
            revoke_all()

        queue.revoke_all = end_and_revoke_all

        def handle() -> None:
            if not is_in_finaliser():
                begin.set()
                handler(subject)

        try:
            with interrupt_by(handle):
                pool.close(wait=False, cancel_futures=True)
        except Raised:
            pass
        begin.set()
        other = threading.Thread(target=pool.close, kwargs={"wait": True}, daemon=True)
        other.start()
        other.join(20)
        assert not other.is_alive()

    assert everywhere_apart(scenario, *modules) > 20
