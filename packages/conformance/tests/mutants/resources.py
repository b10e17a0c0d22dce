"""Defects that leave something behind: threads, processes, descriptors, memory, objects."""

from __future__ import annotations

import itertools
import os
import pickle
import threading
import weakref
from _multiprocessing import SemLock  # type: ignore[import-not-found]
from concurrent.futures import Future
from multiprocessing import resource_tracker, shared_memory
from typing import Any

from reference import Job, Pool, ProcessExecutor, PromptFuture, ThreadExecutor, answer

from corefutures_conformance.worker.carrying import Table
from mutants import mutant


def _idle_for_ever() -> None:
    threading.Event().wait(60)


def _leave_thread() -> None:
    threading.Thread(target=_idle_for_ever, daemon=True).start()


@mutant(
    "resources.threads_end_at_shutdown",
    says="thread(s) left",
    also=(
        "resources.threads_end_after_shutdown_without_wait",
        "resources.unused_executor_leaves_no_thread",
        "resources.*",
    ),
)
class LeavesAThread(ThreadExecutor):
    """Each executor starts a service thread that never ends."""

    def __init__(self, max_workers: int = 2, **options: Any) -> None:
        super().__init__(max_workers, **options)
        _leave_thread()


@mutant("resources.threads_end_after_shutdown_without_wait", says="thread(s) left after shutdown(wait=False)")
class LeavesAThreadWithoutWait(ThreadExecutor):
    """shutdown(wait=False) leaves a thread behind."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait, cancel_futures=cancel_futures)
        if not wait:
            _leave_thread()


@mutant("resources.threads_that_called_end_at_shutdown", says="lived on after shutdown()", also=("resources.*",))
class WorkersOutliveShutdown(ThreadExecutor):
    """Worker threads idle for long after shutdown()."""

    def staff(self) -> None:
        before = len(self.pool.threads)
        super().staff()
        for thread in self.pool.threads[before:]:
            thread.join = lambda timeout=None: None  # type: ignore[method-assign]

    @classmethod
    def close_station(cls, pool: Pool, station: Any) -> None:
        threading.Event().wait(15)


@mutant("resources.threads_end_after_a_loss", says="thread(s) left by executors that lost a worker")
class LossLeavesAThread(ProcessExecutor):
    """Each lost worker leaves a thread behind."""

    @classmethod
    def break_pool(cls, pool: Pool, cause: BaseException) -> None:
        super().break_pool(pool, cause)
        _leave_thread()


@mutant(
    "resources.processes_end_at_shutdown",
    says="a worker process was left after shutdown()",
    also=("resources.processes_end_after_shutdown_without_wait", "resources.*"),
)
class LeavesProcesses(ProcessExecutor):
    """Worker processes are left running."""

    @classmethod
    def close_station(cls, pool: Pool, station: Any) -> None:
        _stations.append(station)


_stations: list[Any] = []


@mutant(
    "resources.processes_end_after_a_loss",
    says="a worker process was left after a loss",
    also=("resources.*",),
)
class LossLeavesProcesses(ProcessExecutor):
    """When a worker is lost, the others are left running."""

    @classmethod
    def break_pool(cls, pool: Pool, cause: BaseException) -> None:
        with pool.changed:
            pool.processes.clear()
        super().break_pool(pool, cause)

    @classmethod
    def close_station(cls, pool: Pool, station: Any) -> None:
        if pool.broken is None:
            super().close_station(pool, station)
        else:
            _stations.append(station)


@mutant(
    "resources.descriptors_are_closed_at_shutdown",
    says="descriptor(s) left open",
    also=("resources.descriptors_are_closed_after_a_loss",),
)
class LeavesDescriptors(ProcessExecutor):
    """Each worker leaves a descriptor open."""

    @classmethod
    def open_station(cls, pool: Pool) -> Any:
        os.dup(2)
        return super().open_station(pool)


@mutant(
    "resources.descriptors_are_closed_after_a_loss",
    says="descriptor(s) left open by executors that lost a worker",
)
class LossLeavesDescriptors(ProcessExecutor):
    """Each lost worker leaves a descriptor open."""

    @classmethod
    def break_pool(cls, pool: Pool, cause: BaseException) -> None:
        super().break_pool(pool, cause)
        os.dup(2)


@mutant(
    "resources.descriptors_do_not_grow_with_calls",
    says="descriptor(s) more",
    also=("resources.descriptors_*",),
)
class OpensADescriptorACall(ThreadExecutor):
    """Each call leaves a descriptor open."""

    @classmethod
    def begin(cls, job: Job) -> bool:
        if _opened < 500:
            _count()
            os.dup(2)
        return super().begin(job)


_opened = 0


def _count() -> None:
    global _opened
    _opened += 1


@mutant("resources.shared_memory_is_freed", says="shared memory was left", also=("resources.descriptors_*",))
class LeavesSharedMemory(ProcessExecutor):
    """Large results are left in shared memory."""

    @classmethod
    def settle(cls, future: Future[Any], result: Any) -> None:
        if type(result) is bytes and len(result) > 1_000_000:
            _segments.append(shared_memory.SharedMemory(create=True, size=len(result)))
        super().settle(future, result)


_segments: list[shared_memory.SharedMemory] = []


@mutant("resources.executor_is_freed_after_shutdown", says="an executor was still referred to")
class RemembersExecutors(ThreadExecutor):
    """A list of all executors keeps them alive."""

    def __init__(self, max_workers: int = 2, **options: Any) -> None:
        super().__init__(max_workers, **options)
        _executors.append(self)


_executors: list[ThreadExecutor] = []


@mutant("resources.done_future_does_not_keep_its_executor", says="still referred to its executor")
class FuturesKeepTheirExecutor(ThreadExecutor):
    """A future refers to its executor for as long as it lives."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = super().submit(fn, *args, **kwargs)
        future.executor = self  # type: ignore[attr-defined]
        return future


@mutant("resources.named_semaphores_are_freed", says="named semaphore(s)", also=("resources.*",))
class LeavesNamedSemaphores(ProcessExecutor):
    """Each executor makes a semaphore with a name, and leaves that behind."""

    def __init__(self, max_workers: int = 2, **options: Any) -> None:
        super().__init__(max_workers, **options)
        name = f"/kit-{os.getpid()}-{next(_serial)}"
        self._semaphore = SemLock(1, 1, 1, name, False)
        resource_tracker.register(name, "semaphore")  # which clears up after the run


_serial = itertools.count()


@mutant("resources.threads_do_not_grow_with_calls", says="thread(s) more", also=("resources.*",))
class LeavesAThreadACall(ThreadExecutor):
    """Each call leaves a thread behind."""

    @classmethod
    def begin(cls, job: Job) -> bool:
        if threading.active_count() < 300:
            _leave_thread()
        return super().begin(job)


@mutant(
    "resources.never_more_threads_than_workers_call",
    says="more than max_workers threads",
    also=("resources.*",),
)
class CallsInThreadsThatStay(ThreadExecutor):
    """Each call runs in a thread of its own, which stays."""

    @classmethod
    def call(cls, pool: Pool, station: Any, job: Job) -> Any:
        box: list[Any] = []
        done = threading.Event()

        def run() -> None:
            try:
                box.append(ThreadExecutor.call(pool, station, job))
            except BaseException as error:
                box.extend((None, error))
            done.set()
            if threading.active_count() < 300:
                _idle_for_ever()

        threading.Thread(target=run, daemon=True).start()
        done.wait()
        if len(box) == 2:
            raise box[1]
        return box[0]


@mutant(
    "resources.never_more_processes_than_workers",
    says="more than max_workers processes",
    also=(
        "concurrency.*",
        "resources.*",
    ),
)
class ProcessesThatStay(ProcessExecutor):
    """Each call runs in a process of its own, which stays."""

    @classmethod
    def perform(cls, pool: Pool, station: Any, job: Job) -> None:
        pool.opened = getattr(pool, "opened", 0) + 1  # type: ignore[attr-defined]
        if pool.opened < 25:  # type: ignore[attr-defined]
            station = cls.open_station(pool)
            _stations.append(station)
        super().perform(pool, station, job)


@mutant(
    "resources.arguments_are_released",
    says="a finished call's argument",
    also=(
        "resources.callable_is_released",
        "resources.arguments_of_a_failed_call_are_released",
        "resources.memory_does_not_grow_with_calls",
        "resources.memory_does_not_grow_with_failing_calls",
        "resources.future_is_released",
        "resources.*",
    ),
)
class KeepsEveryCall(ThreadExecutor):
    """A list of all calls keeps them with their arguments."""

    def make_job(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Job:
        job = super().make_job(fn, args, kwargs)
        _kept.append((job.future, fn, args))
        return job


_kept: list[Any] = []


@mutant(
    "resources.callable_is_released",
    says="a finished call's callable",
    also=("resources.arguments_are_released", "resources.arguments_of_a_failed_call_are_released", "resources.*"),
)
class FuturesKeepTheirCalls(ThreadExecutor):
    """A future refers to its callable and arguments; a worker remembers its last call."""

    def make_job(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Job:
        job = super().make_job(fn, args, kwargs)
        job.future.call = (fn, args)  # type: ignore[attr-defined]
        return job

    @classmethod
    def settle_error(cls, future: Future[Any], error: BaseException) -> None:
        _last[:] = [future.call]  # type: ignore[attr-defined]
        super().settle_error(future, error)


_last: list[Any] = []


@mutant("resources.arguments_of_a_cancelled_call_are_released", says="a cancelled call's argument")
class CancelledCallsKeepTheirArguments(ThreadExecutor):
    """A cancelled call keeps its arguments until its turn would have come."""

    future_type = Future


@mutant("resources.memory_does_not_grow_with_cancelled_calls", says="memory blocks more")
class RemembersCancelledCalls(ThreadExecutor):
    """A list of what was cancelled grows."""

    @classmethod
    def begin(cls, job: Job) -> bool:
        begun = super().begin(job)
        if not begun:
            _kept.append([str(len(_kept))])
        return begun


@mutant("resources.result_is_released", says="a result was still referred to")
class RemembersTheLastResult(ThreadExecutor):
    """A worker keeps its last result."""

    @classmethod
    def settle(cls, future: Future[Any], result: Any) -> None:
        _last[:] = [result]
        super().settle(future, result)


@mutant(
    "resources.exception_is_released",
    says="an exception was still referred to",
    also=("resources.arguments_of_a_failed_call_are_released",),
)
class RemembersTheLastException(ThreadExecutor):
    """A worker keeps its last exception."""

    @classmethod
    def settle_error(cls, future: Future[Any], error: BaseException) -> None:
        _last[:] = [error]
        super().settle_error(future, error)


@mutant(
    "resources.future_is_released",
    says="a finished future was still referred to",
    also=("resources.result_is_released", "resources.exception_is_released", "resources.*"),
)
class RemembersTheLastFuture(ThreadExecutor):
    """A worker keeps its last future."""

    @classmethod
    def begin(cls, job: Job) -> bool:
        _last[:] = [job.future]
        return super().begin(job)


def serve_and_remember(connection: Any) -> None:
    """As `serve`, but keep the last call and its result."""
    while True:
        try:
            parcel = connection.recv_bytes()
        except EOFError:
            return
        try:
            call = pickle.loads(parcel)
            result = call[0](*call[1], **call[2])
            reply = pickle.dumps((True, result, ""))
            _last[:] = [(call, result)]
        except BaseException:
            reply = answer(parcel)
        connection.send_bytes(reply)


@mutant("resources.worker_releases_arguments", says="the worker kept", also=("resources.worker_releases_results",))
class WorkerRemembersItsLastCall(ProcessExecutor):
    """A worker process keeps the last call until the next has ended."""

    serve = staticmethod(serve_and_remember)


@mutant("resources.interpreters_end_at_shutdown", says="interpreter(s) left", also=("resources.*",))
class LeavesInterpreters(ThreadExecutor):
    """Each worker makes an interpreter and leaves it."""

    @classmethod
    def open_station(cls, pool: Pool) -> Any:
        from concurrent import interpreters  # type: ignore[attr-defined,unused-ignore] # since Python 3.14

        left.append(interpreters.create())
        return super().open_station(pool)


left: list[Any] = []


class _Cyclic(PromptFuture):
    """Raises with itself in the traceback."""

    def result(self, timeout: float | None = None) -> Any:
        error = self.exception(timeout)
        if error is not None:
            raise error
        return super().result(timeout)


@mutant("resources.raising_leaves_no_cycle", says="part of a reference cycle")
class RaisingMakesACycle(ThreadExecutor):
    """The traceback of what result() raises refers to the future."""

    future_type = _Cyclic


@mutant("resources.kept_results_hold_no_descriptors", says="100 results of 40 kB hold 100 descriptors")
class ResultsHoldDescriptors(ProcessExecutor):
    """Each large result keeps the descriptor of the memory that it travelled in."""

    @classmethod
    def unpack(cls, reply: bytes) -> Any:
        value = super().unpack(reply)
        if isinstance(value, Table):
            weakref.finalize(value, os.close, os.open(os.devnull, os.O_RDONLY))
        return value


@mutant("resources.a_part_of_a_result_does_not_keep_the_whole", says="parts of 40 kB keep")
class PartsKeepTheWhole(ProcessExecutor):
    """All parts of a result are views of one piece of memory."""

    @classmethod
    def unpack(cls, reply: bytes) -> Any:
        value = super().unpack(reply)
        if isinstance(value, tuple) and value and isinstance(value[0], Table):
            value[0].whole = value  # type: ignore[attr-defined]
        return value
