"""Two small executors written from the manual alone: correct ones, that the kit must not accuse.

Mutants are made from them by overriding one step. Threads call; for processes each thread owns one worker
process and one pipe.
"""

from __future__ import annotations

import logging
import multiprocessing
import pickle
import threading
import traceback
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from concurrent.futures.process import BrokenProcessPool
from concurrent.futures.thread import BrokenThreadPool
from dataclasses import dataclass
from typing import Any


@dataclass(eq=False)
class Job:
    """A call that waits or runs."""

    future: Future[Any]
    fn: Any
    args: Any
    kwargs: Any
    parcel: bytes = b""
    """The pickled call, in a process executor."""


class PromptFuture(Future[Any]):
    """A future whose cancellation everybody sees at once, and whose callbacks cannot end a worker."""

    job: Job | None = None

    def cancel(self) -> bool:
        with self._condition:
            first = not self.cancelled()
            said = super().cancel()
            if said and first:
                self.set_running_or_notify_cancel()
                if self.job is not None:
                    ThreadExecutor.release(self.job)
        return said

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        def guarded(future: Future[Any]) -> None:
            try:
                fn(future)
            except Exception:
                raise  # the base class logs it
            except BaseException:
                logging.getLogger(__name__).exception("a callback ended with more than an Exception")

        super().add_done_callback(guarded)


class Pool:
    """What the workers know: they must not keep the executor itself alive."""

    def __init__(self, executor: ThreadExecutor) -> None:
        self.changed = threading.Condition(threading.RLock())  # guards everything below
        self.jobs: deque[Job] = deque()
        self.threads: list[threading.Thread] = []
        self.processes: set[Any] = set()
        self.idle = 0
        self.closed = False
        self.broken: BaseException | None = None
        self.kind = type(executor)
        self.initializer = executor.initializer
        self.initargs = executor.initargs


class ThreadExecutor(Executor):
    """A correct thread executor. Each step is a method, so that a mutant overrides just one."""

    broken_type: type[BrokenExecutor] = BrokenThreadPool
    future_type: type[Future[Any]] = PromptFuture
    not_promised = ("forking.*",)
    """What it doesn't keep where a mutant makes a `corefutures.Executor` of it: it knows nothing of forks."""

    def __init__(
        self,
        max_workers: int = 2,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        if max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self.max_workers = max_workers
        self.initializer = initializer
        self.initargs = initargs
        self.pool = Pool(self)
        weakref.finalize(self, self.close, self.pool)

    # The caller's side

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        with self.pool.changed:
            self.check_open()
            job = self.make_job(fn, args, kwargs)
            self.enqueue(job)
            self.staff()
            self.pool.changed.notify()
        return job.future

    def check_open(self) -> None:
        if self.pool.broken is not None:
            raise self.broken_type(str(self.pool.broken)) from self.pool.broken
        if self.pool.closed:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def make_job(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Job:
        job = Job(self.future_type(), fn, args, kwargs)
        if isinstance(job.future, PromptFuture):
            job.future.job = job
        return job

    def enqueue(self, job: Job) -> None:
        self.pool.jobs.append(job)

    def staff(self) -> None:
        """Start a worker if one is needed and allowed."""
        if self.pool.idle < len(self.pool.jobs) and len(self.pool.threads) < self.max_workers:
            thread = threading.Thread(target=self.work, args=(self.pool,), name=f"reference-{len(self.pool.threads)}")
            self.pool.threads.append(thread)
            thread.start()

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        self.shutdown(cancel_futures=kind is not None and issubclass(kind, KeyboardInterrupt))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if cancel_futures:
            self.cancel_waiting()
        self.close(self.pool)
        if wait:
            self.join()

    def cancel_waiting(self) -> None:
        with self.pool.changed:
            jobs = list(self.pool.jobs)
            self.pool.jobs.clear()
        for job in jobs:
            if job.future.cancel():
                self.begin(job)

    def join(self) -> None:
        for thread in self.pool.threads:
            if thread is not threading.current_thread():
                thread.join()

    @staticmethod
    def close(pool: Pool) -> None:
        with pool.changed:
            pool.closed = True
            pool.changed.notify_all()

    # The workers' side; class methods, for they must not refer to the executor

    @classmethod
    def work(cls, pool: Pool) -> None:
        try:
            station = cls.open_station(pool)
        except BaseException as error:
            cls.break_pool(pool, error)
            return
        try:
            while (job := cls.take(pool)) is not None:
                if cls.begin(job):
                    cls.perform(pool, station, job)
                del job
        finally:
            cls.close_station(pool, station)

    @classmethod
    def open_station(cls, pool: Pool) -> Any:
        """Make ready to work: run the initializer."""
        if pool.initializer is not None:
            pool.initializer(*pool.initargs)
        return None

    @classmethod
    def close_station(cls, pool: Pool, station: Any) -> None:
        """Undo `open_station`."""

    @classmethod
    def take(cls, pool: Pool) -> Job | None:
        """The next job; None when there will be no more."""
        with pool.changed:
            pool.idle += 1
            try:
                while not pool.jobs:
                    if pool.closed or pool.broken is not None:
                        return None
                    if not threading.main_thread().is_alive():
                        pool.threads.remove(threading.current_thread())  # for later calls, another one is started
                        return None
                    pool.changed.wait(0.1)  # looks up now and then: the interpreter may be exiting
                return cls.pick(pool)
            finally:
                pool.idle -= 1

    @classmethod
    def pick(cls, pool: Pool) -> Job:
        return pool.jobs.popleft()

    @classmethod
    def begin(cls, job: Job) -> bool:
        """Mark the job as running; False if it was cancelled."""
        if isinstance(job.future, PromptFuture):
            with job.future._condition:
                if job.future.cancelled():
                    return False  # it was noticed when it was cancelled
                job.future.job = None
                return job.future.set_running_or_notify_cancel()
        return job.future.set_running_or_notify_cancel()

    @classmethod
    def perform(cls, pool: Pool, station: Any, job: Job) -> None:
        """Run the job and settle its future."""
        try:
            result = cls.call(pool, station, job)
        except BaseException as error:
            cls.settle_error(job.future, error)
            job.future = None  # type: ignore[assignment] # no cycle from the error's traceback to the future
        else:
            cls.release(job)
            cls.settle(job.future, result)

    @classmethod
    def call(cls, pool: Pool, station: Any, job: Job) -> Any:
        return job.fn(*job.args, **job.kwargs)

    @classmethod
    def release(cls, job: Job) -> None:
        """Let go of the callable and its arguments."""
        job.fn = job.args = job.kwargs = None

    @classmethod
    def settle(cls, future: Future[Any], result: Any) -> None:
        future.set_result(result)

    @classmethod
    def settle_error(cls, future: Future[Any], error: BaseException) -> None:
        future.set_exception(error)

    @classmethod
    def break_pool(cls, pool: Pool, cause: BaseException) -> None:
        """Fail every waiting call, and refuse new ones."""
        with pool.changed:
            if pool.broken is None:
                pool.broken = cause
            jobs = list(pool.jobs)
            pool.jobs.clear()
            processes = list(pool.processes)
            pool.changed.notify_all()
        for process in processes:
            process.kill()
        for job in jobs:
            if cls.begin(job):
                cls.settle_error(job.future, cls.broken_error(pool))

    @classmethod
    def broken_error(cls, pool: Pool) -> BrokenExecutor:
        error = cls.broken_type(f"a worker failed: {pool.broken!r}")
        error.__cause__ = pool.broken
        return error


class RemoteTraceback(Exception):
    """The traceback of an exception in a worker process, as text."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class ProcessExecutor(ThreadExecutor):
    """A correct process executor: each worker thread owns one process and one pipe."""

    broken_type = BrokenProcessPool
    serve: Callable[..., None]
    """What a worker process runs; set below, found by name in the child."""

    def make_job(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Job:
        job = Job(self.future_type(), None, None, None)
        try:
            job.parcel = self.pack(fn, args, kwargs)
        except BaseException as error:
            job.future.set_running_or_notify_cancel()
            job.future.set_exception(error)
        return job

    def pack(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        return pickle.dumps((fn, args, kwargs), pickle.HIGHEST_PROTOCOL)

    def enqueue(self, job: Job) -> None:
        if not job.future.done():
            super().enqueue(job)

    @classmethod
    def open_station(cls, pool: Pool) -> Any:
        methods = multiprocessing.get_all_start_methods()
        context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=cls.serve, args=(theirs,), daemon=True)
        process.start()
        with pool.changed:
            pool.processes.add(process)
        theirs.close()
        if pool.initializer is not None:
            ours.send_bytes(pickle.dumps((pool.initializer, pool.initargs, {}), pickle.HIGHEST_PROTOCOL))
            cls.unpack(cls.receive(ours, process))
        return ours, process

    @classmethod
    def close_station(cls, pool: Pool, station: Any) -> None:
        connection, process = station
        connection.close()
        process.join()
        with pool.changed:
            pool.processes.discard(process)
        process.close()

    @classmethod
    def perform(cls, pool: Pool, station: Any, job: Job) -> None:
        connection, process = station
        try:
            connection.send_bytes(job.parcel)
            reply = cls.receive(connection, process)
        except (OSError, EOFError):
            process.join(5)
            cls.lose_worker(pool, job, EOFError(f"the worker process ended with exit code {process.exitcode}"))
            return
        cls.release(job)
        try:
            result = cls.unpack(reply)
        except BaseException as error:
            cls.settle_error(job.future, error)
            job.future = None  # type: ignore[assignment]
        else:
            cls.settle(job.future, result)

    @classmethod
    def lose_worker(cls, pool: Pool, job: Job, cause: BaseException) -> None:
        cls.break_pool(pool, cause)
        cls.settle_error(job.future, cls.broken_error(pool))

    @classmethod
    def release(cls, job: Job) -> None:
        job.parcel = b""

    @classmethod
    def receive(cls, connection: Any, process: Any) -> bytes:
        """The worker's reply."""
        reply: bytes = connection.recv_bytes()
        return reply

    @classmethod
    def unpack(cls, reply: bytes) -> Any:
        """The result in a reply, or the exception in it raised."""
        succeeded, value, trace = pickle.loads(reply)
        if succeeded:
            return value
        value.__cause__ = RemoteTraceback(trace)
        try:
            raise value
        finally:
            del value


def serve(connection: Any) -> None:
    """Run calls in a worker process until the pipe is closed."""
    while True:
        try:
            parcel = connection.recv_bytes()
        except EOFError:
            return
        connection.send_bytes(answer(parcel))
        del parcel


def answer(parcel: bytes) -> bytes:
    """Run one packed call and pack what became of it."""
    try:
        fn, args, kwargs = pickle.loads(parcel)
        return pickle.dumps((True, fn(*args, **kwargs), ""), pickle.HIGHEST_PROTOCOL)
    except BaseException as error:
        return pack_error(error)


def pack_error(error: BaseException) -> bytes:
    """Pack an exception; one that would not arrive is replaced by its description."""
    trace = "".join(traceback.format_exception(error))
    try:
        packed = pickle.dumps((False, error, trace), pickle.HIGHEST_PROTOCOL)
        pickle.loads(packed)
    except BaseException:
        stand_in = RuntimeError(f"{type(error).__name__}: {error} (which does not cross the process boundary)")
        packed = pickle.dumps((False, stand_in, trace), pickle.HIGHEST_PROTOCOL)
    return packed


ProcessExecutor.serve = staticmethod(serve)
