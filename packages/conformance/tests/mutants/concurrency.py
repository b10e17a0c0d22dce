"""Defects in how many calls run at once, in their order, and in who waits for whom."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from typing import Any

from reference import Job, Pool, ProcessExecutor, ThreadExecutor

from mutants import mutant


@mutant(
    "concurrency.max_workers_calls_run_at_once",
    says="did",
    deadline=3,
    also=(
        "concurrency.only_as_many_workers_are_taken_as_calls_are_long",
        "concurrency.idle_worker_takes_the_next_call",
        "concurrency.call_may_be_freed_by_a_later_one",
        "concurrency.*",
    ),
)
class OneWorkerTooFew(ThreadExecutor):
    """One worker less than asked for, but at least one."""

    def __init__(self, max_workers: int = 2, **options: Any) -> None:
        super().__init__(max_workers - 1 or 1, **options)


@mutant(
    "concurrency.never_more_than_max_workers_at_once",
    says="ran at once with max_workers=2",
    also=("concurrency.never_more_than_one_with_one_worker", "concurrency.*"),
)
class OneWorkerTooMany(ThreadExecutor):
    """One worker more than asked for."""

    def __init__(self, max_workers: int = 2, **options: Any) -> None:
        super().__init__(max_workers + 1, **options)


@mutant(
    "concurrency.never_more_than_max_workers_in_a_crowd",
    says="ran at once with max_workers=2",
    also=("concurrency.*",),
)
class MoreWorkersInACrowd(ThreadExecutor):
    """When many calls wait, more workers are started than allowed."""

    def staff(self) -> None:
        super().staff()
        if len(self.pool.jobs) > 15 and len(self.pool.threads) < 12:
            self.max_workers, allowed = 12, self.max_workers
            super().staff()
            self.max_workers = allowed


@mutant(
    "concurrency.max_workers_calls_run_at_once_after_idling",
    says="did",
    also=("concurrency.*",),
    deadline=3,
)
class IdleWorkersAreCountedTwice(ThreadExecutor):
    """Each finished call is counted as one more idle worker, so that no new one is started."""

    @classmethod
    def perform(cls, pool: Pool, station: Any, job: Job) -> None:
        with pool.changed:
            pool.idle += 1
        super().perform(pool, station, job)


@mutant(
    "concurrency.max_workers_calls_run_at_once_after_failures",
    says="did",
    also=("concurrency.*",),
    deadline=4,
)
class InterruptEndsTheWorker(ThreadExecutor):
    """A call that raises KeyboardInterrupt ends its worker, which is not replaced while another lives."""

    @classmethod
    def settle_error(cls, future: Future[Any], error: BaseException) -> None:
        super().settle_error(future, error)
        if isinstance(error, KeyboardInterrupt) and _first_interrupt.acquire(blocking=False):
            raise error


_first_interrupt = threading.Lock()


class _Hoarding(ThreadExecutor):
    """Workers that take several jobs at a time."""

    most = 4

    @classmethod
    def take(cls, pool: Pool) -> Job | None:
        mine: deque[Job] = _hoard.__dict__.setdefault("jobs", deque())
        if not mine:
            job = super().take(pool)
            if job is None:
                return None
            mine.append(job)
            with pool.changed:
                while pool.jobs and len(mine) < cls.most:
                    mine.append(cls.pick(pool))
        return mine.popleft()


_hoard = threading.local()


@mutant(
    "concurrency.short_calls_pass_a_long_one",
    says="short calls submitted with a long one",
    also=("concurrency.*",),
    deadline=3,
)
class HoardsOnTakingALongCall(_Hoarding):
    """A worker takes four calls at a time, and those behind a long one wait for it."""

    @classmethod
    def begin(cls, job: Job) -> bool:
        threading.Event().wait(0.001)  # a moment in which calls pile up
        return super().begin(job)

    @classmethod
    def open_station(cls, pool: Pool) -> Any:
        threading.Event().wait(0.02)  # as above
        return super().open_station(pool)


@mutant(
    "concurrency.long_call_among_short_ones_holds_up_none",
    says="short calls around a long one",
    also=("concurrency.freed_worker_takes_the_waiting_call", "concurrency.*"),
    deadline=3,
)
class DealsCallsRoundRobin(ThreadExecutor):
    """Calls are dealt to the workers in turn, whether they are busy or not."""

    def enqueue(self, job: Job) -> None:
        self.dealt = getattr(self, "dealt", -1) + 1
        job.place = self.dealt % self.max_workers  # type: ignore[attr-defined]
        super().enqueue(job)
        while len(self.pool.threads) < self.max_workers:
            self.pool.idle, idle = 0, self.pool.idle
            super().staff()
            self.pool.idle = idle
        self.pool.changed.notify_all()

    @classmethod
    def take(cls, pool: Pool) -> Job | None:
        place = int(threading.current_thread().name.rpartition("-")[2])
        with pool.changed:
            while True:
                for job in pool.jobs:
                    if job.place == place:  # type: ignore[attr-defined]
                        pool.jobs.remove(job)
                        return job
                if pool.closed:
                    return None
                pool.changed.wait(0.05)


@mutant(
    "concurrency.idle_worker_takes_the_next_call",
    says="a short call beside a long one",
    deadline=3,
    also=("concurrency.*",),
)
class StartsWorkersForBacklogsOnly(ThreadExecutor):
    """A second worker is started only when two calls wait."""

    def staff(self) -> None:
        if not self.pool.threads or len(self.pool.jobs) >= 2:
            super().staff()


@mutant("concurrency.calls_that_waited_start_in_order", says="started in the order", also=("concurrency.*",))
class LastComeFirstServed(ThreadExecutor):
    """The call submitted last starts first."""

    @classmethod
    def pick(cls, pool: Pool) -> Job:
        return pool.jobs.pop()


@mutant(
    "concurrency.one_worker_starts_calls_in_order",
    says="started in the order",
    also=("concurrency.second_worker_starts_calls_in_order", "concurrency.calls_that_waited_start_in_order"),
)
class SwapsNeighbours(ThreadExecutor):
    """Every tenth call is overtaken by the next."""

    def enqueue(self, job: Job) -> None:
        self.count = getattr(self, "count", 0) + 1
        self.held: Job | None = getattr(self, "held", None)
        if self.count % 10 == 5:
            self.held = job
            threading.Timer(0.3, self.let_go, [job]).start()  # in case no other comes
            return
        super().enqueue(job)
        if self.held is not None:
            self.let_go(self.held)

    def let_go(self, job: Job) -> None:
        with self.pool.changed:
            if self.held is job:
                self.held = None
                self.pool.jobs.append(job)
                self.staff()
                self.pool.changed.notify()


class _NeverRunning(Future[Any]):
    def running(self) -> bool:
        return False


@mutant("concurrency.running_is_true_for_a_call_that_runs", says="waited", deadline=4)
class RunningIsNeverTrue(ThreadExecutor):
    """running() is false for every call."""

    future_type = _NeverRunning


@mutant(
    "concurrency.running_is_false_for_calls_that_wait",
    says="that had not started",
    also=(
        "concurrency.every_waiting_call_can_be_cancelled",
        "concurrency.last_of_many_waiting_calls_can_be_cancelled",
        "concurrency.*",
    ),
)
class RunsFromTheStart(ThreadExecutor):
    """Calls count as running from submit() on, so that none can be cancelled."""

    def make_job(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Job:
        job = super().make_job(fn, args, kwargs)
        super().begin(job)
        return job

    @classmethod
    def begin(cls, job: Job) -> bool:
        return True


@mutant(
    "concurrency.every_waiting_call_can_be_cancelled",
    says="for six waiting calls",
    also=("concurrency.running_is_false_for_calls_that_wait",),
)
class TheNextCallCountsAsRunning(ThreadExecutor):
    """The call at the head of the queue counts as running, and cannot be cancelled."""

    def enqueue(self, job: Job) -> None:
        super().enqueue(job)
        self.mark(self.pool)

    @classmethod
    def pick(cls, pool: Pool) -> Job:
        job = super().pick(pool)
        cls.mark(pool)
        return job

    @staticmethod
    def mark(pool: Pool) -> None:
        if pool.jobs and not hasattr(pool.jobs[0], "begun"):
            pool.jobs[0].begun = ThreadExecutor.begin(pool.jobs[0])  # type: ignore[attr-defined]

    @classmethod
    def begin(cls, job: Job) -> bool:
        return getattr(job, "begun", None) or super().begin(job)


class _Stubborn(Future[Any]):
    def cancel(self) -> bool:
        return False


@mutant(
    "concurrency.last_of_many_waiting_calls_can_be_cancelled",
    says="cancel() did not return True",
    also=("concurrency.every_waiting_call_can_be_cancelled",),
)
class CancelsNothing(ThreadExecutor):
    """cancel() always says False."""

    future_type = _Stubborn


@mutant(
    "concurrency.cancelled_calls_make_room",
    says="calls behind cancelled ones",
    also=("concurrency.*",),
    deadline=3,
)
class CancelledCallsTakeTheNextAlong(ThreadExecutor):
    """With a cancelled call, the one behind it may be thrown away."""

    @classmethod
    def take(cls, pool: Pool) -> Job | None:
        job = super().take(pool)
        if job is not None and job.future.cancelled():
            with pool.changed:
                if pool.jobs and len(pool.jobs) % 3 == 0:
                    pool.jobs.popleft()
        return job


@mutant("concurrency.submit_does_not_wait_for_workers", says="submit() of 1000 calls", deadline=4)
class QueueOf200(ThreadExecutor):
    """submit() waits while 200 calls wait."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        while len(self.pool.jobs) >= 200:
            threading.Event().wait(0.01)  # the defect: whoever submits waits for workers
        return super().submit(fn, *args, **kwargs)


@mutant("concurrency.submit_does_not_wait_for_the_wire", says="submit() of large arguments", deadline=4)
class QueueOf4Megabytes(ProcessExecutor):
    """submit() waits while 4 MB of arguments wait."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        while sum(len(job.parcel) for job in list(self.pool.jobs)) > 4 << 20:
            threading.Event().wait(0.01)  # the defect, as above
        return super().submit(fn, *args, **kwargs)


class _Patient(Future[Any]):
    def cancel(self) -> bool:
        while self.running():
            threading.Event().wait(0.01)  # the defect: whoever cancels waits for the call
        return super().cancel()


@mutant("concurrency.cancel_does_not_wait", says="cancel() while the worker is busy", deadline=4)
class CancelWaitsForTheCall(ThreadExecutor):
    """cancel() of a running call waits until it ends."""

    future_type = _Patient


@mutant("concurrency.never_more_than_max_workers_after_failures", says="calls ran at once")
class ReplacesWorkersThatLive(ThreadExecutor):
    """A worker whose call raises is replaced, and goes on as well."""

    @classmethod
    def call(cls, pool: Pool, station: Any, job: Job) -> Any:
        try:
            return super().call(pool, station, job)
        except BaseException:
            thread = threading.Thread(target=cls.work, args=(pool,))
            pool.threads.append(thread)
            thread.start()
            raise


@mutant("concurrency.never_more_than_max_workers_after_failures", says="calls ran at once")
class CancelledCallsMakeRoom(ThreadExecutor):
    """Each cancelled call makes room for one more worker."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = super().submit(fn, *args, **kwargs)
        future.add_done_callback(self.count)
        return future

    def count(self, future: Future[Any]) -> None:
        self.max_workers += future.cancelled()


@mutant("concurrency.many_workers_run_at_once", says="7 call(s) to start", deadline=3)
class AtMostFourWorkers(ThreadExecutor):
    """However many workers are asked for, there are four at most."""

    def __init__(self, max_workers: int = 2, **options: Any) -> None:
        super().__init__(min(max_workers, 4), **options)


@mutant("concurrency.call_of_a_call_waits_its_turn", says="started first: ['late', 'early']")
class CallsOfCallsGoFirst(ThreadExecutor):
    """What a worker's thread submits is put before what waits."""

    def enqueue(self, job: Job) -> None:
        if threading.current_thread() in self.pool.threads:
            self.pool.jobs.appendleft(job)
        else:
            super().enqueue(job)


@mutant("concurrency.a_finaliser_may_submit", says="the finalisers of two arguments", deadline=3)
class LetsGoUnderItsLock(ThreadExecutor):
    """Workers let go of a call's arguments under the lock that submit() needs."""

    guard = threading.Lock()

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        with self.guard:
            return super().submit(fn, *args, **kwargs)

    @classmethod
    def release(cls, job: Job) -> None:
        with cls.guard:
            super().release(job)


_last: dict[int, Any] = {}


@mutant(
    "concurrency.a_finaliser_holds_up_no_call",
    says="submit() beside a finaliser",
    also=("resources.*", "results.*", "mapping.*"),
    deadline=3,
)
class FinalisesUnderItsLock(ThreadExecutor):
    """Workers let go of a call's result under the lock that submit() needs."""

    @classmethod
    def settle(cls, future: Future[Any], result: Any) -> None:
        _last[threading.get_ident()] = result
        super().settle(future, result)

    @classmethod
    def take(cls, pool: Pool) -> Job | None:
        with pool.changed:
            _last.pop(threading.get_ident(), None)
        return super().take(pool)
