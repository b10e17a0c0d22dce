"""Defects that show in a crowd: rare mix-ups, lost and doubled calls, races lost for certain."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from itertools import count
from typing import Any

from reference import Job, Pool, ThreadExecutor

from mutants import mutant


@mutant(
    "stress.many_calls_from_one_thread",
    says="other calls' futures",
    also=("stress.many_calls_from_many_threads", "stress.*"),
)
class RarelyMixesResults(ThreadExecutor):
    """Every 97th result goes to two futures."""

    @classmethod
    def settle(cls, future: Future[Any], result: Any) -> None:
        if next(_settled) % 97 == 96:
            result = _last[0]
        _last[:] = [result]
        super().settle(future, result)


_settled = count()
_last: list[Any] = [None]


@mutant("stress.many_failing_calls", says="other calls' futures", also=("stress.*",))
class RarelyMixesExceptions(ThreadExecutor):
    """Every 50th exception goes to two futures."""

    @classmethod
    def settle_error(cls, future: Future[Any], error: BaseException) -> None:
        if next(_settled) % 50 == 49:
            error = _last[0]
        _last[:] = [error]
        super().settle_error(future, error)


@mutant("stress.many_calls_from_many_threads", says="ran 2 times", also=("stress.*",))
class RarelyCallsTwice(ThreadExecutor):
    """Every 60th call is made twice."""

    @classmethod
    def call(cls, pool: Pool, station: Any, job: Job) -> Any:
        if next(_settled) % 60 == 59:
            super().call(pool, station, job)
        return super().call(pool, station, job)


@mutant("stress.as_completed_over_many", says="as_completed()", also=("stress.*",), deadline=3)
class RarelyLosesACall(ThreadExecutor):
    """Every 400th call is lost."""

    def enqueue(self, job: Job) -> None:
        if next(_settled) % 400 != 399:
            super().enqueue(job)


@mutant(
    "stress.maps_from_many_threads",
    says="mixed their results",
    also=(
        "mapping.*",
        "stress.*",
    ),
)
class OneMapAtATime(ThreadExecutor):
    """The iterators of all maps share their state."""

    def map(self, fn: Callable[..., Any], *iterables: Any, **options: Any) -> Iterator[Any]:
        self.futures = [self.submit(fn, *args) for args in zip(*iterables, strict=False)]

        def results() -> Iterator[Any]:
            while self.futures:
                future = self.futures.pop(0)
                yield future.result()

        threading.Event().wait(0.05)  # a moment in which another map may begin
        return results()


@mutant(
    "stress.submit_races_cancel",
    says="although they were cancelled",
    also=("stress.many_threads_cancel_the_same_calls", "stress.*"),
)
class CallsSomeOfTheCancelled(ThreadExecutor):
    """Every third cancelled call is made all the same."""

    future_type = Future

    @classmethod
    def begin(cls, job: Job) -> bool:
        if super().begin(job):
            return True
        if next(_settled) % 3 == 2 and job.fn is not None:
            job.fn(*job.args, **job.kwargs)
        return False


@mutant("stress.callbacks_cancel_calls", says="although they were cancelled", also=("stress.*",))
class CallsWhatCallbacksCancelled(CallsSomeOfTheCancelled):
    """Calls that are cancelled in a worker's thread are made all the same."""

    @classmethod
    def begin(cls, job: Job) -> bool:
        if job.future.set_running_or_notify_cancel():
            return True
        job.fn(*job.args, **job.kwargs)
        return False


@mutant(
    "stress.submit_races_shutdown",
    says="",
    also=(
        "resources.*",
        "stress.*",
    ),
    deadline=4,
)
class ShutdownForgetsWhatWaits(ThreadExecutor):
    """shutdown() throws away what waits."""

    @staticmethod
    def close(pool: Pool) -> None:
        with pool.changed:
            pool.jobs.clear()
        ThreadExecutor.close(pool)


@mutant("stress.cancel_races_shutdown", says="waited", also=("stress.*",), deadline=4)
class ShutdownStumblesOverTheCancelled(ThreadExecutor):
    """shutdown(cancel_futures=True) forgets all but the first call that it takes from the queue."""

    def cancel_waiting(self) -> None:
        with self.pool.changed:
            jobs = list(self.pool.jobs)
            self.pool.jobs.clear()
        for job in jobs[:1]:
            if job.future.cancel():
                self.begin(job)


@mutant("stress.shutdowns_race", says="calls unfinished", also=("stress.*",))
class SecondShutdownDoesNotWait(ThreadExecutor):
    """Only the first shutdown() waits."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self.pool.changed:
            first = not self.pool.closed
            self.pool.closed = True
        super().shutdown(wait and first, cancel_futures=cancel_futures)

    @classmethod
    def begin(cls, job: Job) -> bool:
        threading.Event().wait(0.001)  # calls that take a moment
        return super().begin(job)


@mutant(
    "stress.executors_in_quick_succession",
    says="before the call had ended",
    also=(
        "resources.*",
        "stress.*",
    ),
)
class WorkersLookAtTheEndFirst(ThreadExecutor):
    """A worker that finds the executor shut down ends, even if calls wait."""

    @classmethod
    def take(cls, pool: Pool) -> Job | None:
        threading.Event().wait(0.002)
        if pool.closed:
            return None
        return super().take(pool)


class _OneAtATime(threading.Condition):
    def notify_all(self) -> None:
        self.notify(1)


class _WakesOne(Future[Any]):
    def __init__(self) -> None:
        super().__init__()
        self._condition = _OneAtATime()


@mutant("stress.many_threads_wait_for_one_call", says="waited", also=("stress.*",), deadline=4)
class WakesOneThread(ThreadExecutor):
    """The end of a call wakes one of the threads that wait."""

    future_type = _WakesOne


class _CallsBackTwice(Future[Any]):
    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        late = self.done()
        super().add_done_callback(fn)
        if late:
            super().add_done_callback(fn)


@mutant("stress.callbacks_race_the_end", says="callbacks were called instead of", also=("stress.*",))
class CallsBackTwiceWhenLate(ThreadExecutor):
    """A callback added after the end is called twice."""

    future_type = _CallsBackTwice


class _SometimesSleeps(Future[Any]):
    def set_result(self, result: Any) -> None:
        threading.Event().wait(0.0005)  # whoever waits has subscribed by now
        if next(_settled) % 23 == 22:
            self._waiters.clear()
        super().set_result(result)


@mutant("stress.waiters_race_the_end", says="wait()", also=("stress.*",), deadline=4)
class RarelyWakesNobody(ThreadExecutor):
    """Now and then a call's end wakes nobody."""

    future_type = _SometimesSleeps


@mutant("stress.calls_submit_calls", says="", also=("stress.callbacks_submit_calls",))
class WorkersMayNotSubmit(ThreadExecutor):
    """submit() in a worker's thread is refused."""

    def check_open(self) -> None:
        super().check_open()
        if threading.current_thread() in self.pool.threads:
            raise RuntimeError("not from a worker")
