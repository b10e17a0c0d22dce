"""Defects in running initializers, and in what follows when one fails."""

from __future__ import annotations

import threading
from concurrent.futures import BrokenExecutor, Future
from typing import Any, ClassVar

from reference import Job, Pool, ThreadExecutor

from mutants import mutant

ANY = "initializing.*"
"""What else of the chapter may fail when initializing itself is unsound."""


# What it does


@mutant(
    "initializing.initializer_runs_in_the_worker_before_its_calls",
    says="the initializer had not run in its worker",
    also=(
        "initializing.initializer_runs_in_every_worker",
        "initializing.failing_initializer_runs_no_call",
        ANY,
    ),
    deadline=3,
)
class RunsNoInitializer(ThreadExecutor):
    """Takes an initializer and never runs it."""

    @classmethod
    def open_station(cls, pool: Pool) -> Any:
        return None


@mutant(
    "initializing.initializer_runs_in_the_worker_before_its_calls",
    says="had not run in its worker",
    also=(ANY,),
)
class InitializesTheCaller(ThreadExecutor):
    """Runs the initializer in the thread that submits."""

    def staff(self) -> None:
        if not self.pool.threads and self.initializer is not None:
            self.initializer(*self.initargs)
        super().staff()

    @classmethod
    def open_station(cls, pool: Pool) -> Any:
        return None


@mutant("initializing.initializer_gets_its_arguments", says="the initializer got", also=(ANY,))
class DropsInitargs(ThreadExecutor):
    """Passes one argument at most."""

    @classmethod
    def open_station(cls, pool: Pool) -> Any:
        if pool.initializer is not None:
            pool.initializer(*pool.initargs[:1])


@mutant("initializing.initializer_needs_no_arguments", says="not one call without arguments", also=(ANY,))
class PassesNoneForNoArguments(ThreadExecutor):
    """Calls the initializer with None where there are no initargs."""

    @classmethod
    def open_station(cls, pool: Pool) -> Any:
        if pool.initializer is not None:
            pool.initializer(*pool.initargs or (None,))


@mutant("initializing.initializer_runs_once_in_a_worker", says="had run 2 times in its worker", also=(ANY,))
class InitializesBeforeEachCall(ThreadExecutor):
    """Runs the initializer before each call."""

    @classmethod
    def call(cls, pool: Pool, station: Any, job: Job) -> Any:
        if "used" in vars(threading.current_thread()):
            cls.open_station(pool)
        threading.current_thread().__dict__["used"] = True
        return super().call(pool, station, job)


@mutant("initializing.initializer_runs_in_every_worker", says="in two workers the initializer left", also=(ANY,))
class InitializesOneWorker(ThreadExecutor):
    """Runs the initializer in the first worker alone."""

    @classmethod
    def open_station(cls, pool: Pool) -> Any:
        initializer, pool.initializer = pool.initializer, None
        if initializer is not None:
            initializer(*pool.initargs)


@mutant("initializing.initializer_may_return_anything", says="BrokenThreadPool", also=(ANY,))
class WantsAnInitializerThatReturnsNothing(ThreadExecutor):
    """Takes an initializer that returns False for one that failed."""

    @classmethod
    def open_station(cls, pool: Pool) -> Any:
        if pool.initializer is not None and pool.initializer(*pool.initargs) is False:
            raise RuntimeError("the initializer said no")


@mutant("initializing.initializer_may_be_none", says="TypeError", also=(ANY,))
class WantsAnInitializerOrNone(ThreadExecutor):
    """Refuses None as initializer."""

    def __init__(self, max_workers: int = 2, initializer: Any = int, initargs: tuple[Any, ...] = ()) -> None:
        if initializer is None:
            raise TypeError("initializer must be a callable")
        super().__init__(max_workers, initializer, initargs)


@mutant(
    "initializing.initializer_that_is_not_callable_is_not_ignored",
    says="as if nothing was wrong",
    also=(ANY,),
)
class IgnoresWhatIsNotCallable(ThreadExecutor):
    """Takes an initializer that is not callable for none."""

    def __init__(self, max_workers: int = 2, initializer: Any = None, initargs: tuple[Any, ...] = ()) -> None:
        super().__init__(max_workers, initializer if callable(initializer) else None, initargs)


# When it fails


@mutant(
    "initializing.failing_initializer_fails_the_pending_call",
    says="but returned",
    also=(
        "initializing.failing_initializer_runs_no_call",
        "initializing.failing_initializer_fails_every_pending_call",
        "initializing.failing_initializer_wakes_who_waits",
        "initializing.failing_initializer_may_raise_system_exit",
        ANY,
    ),
    deadline=3,
)
class IgnoresAFailedInitializer(ThreadExecutor):
    """Goes on when the initializer has raised."""

    @classmethod
    def open_station(cls, pool: Pool) -> Any:
        try:
            super().open_station(pool)
        except BaseException:
            pass


@mutant("initializing.failing_initializer_fails_the_pending_call", says="which is no BrokenExecutor", also=(ANY,))
class FailsWithTheInitializersError(ThreadExecutor):
    """Calls fail with the initializer's own error."""

    @classmethod
    def broken_error(cls, pool: Pool) -> Any:
        return pool.broken


@mutant("initializing.failing_initializer_fails_every_pending_call", says="to fail", also=(ANY,), deadline=3)
class FailsTheFirstCallOnly(ThreadExecutor):
    """When the initializer fails, one call fails, and the others are forgotten."""

    @classmethod
    def break_pool(cls, pool: Pool, cause: BaseException) -> None:
        with pool.changed:
            while len(pool.jobs) > 1:
                pool.jobs.pop()
            super().break_pool(pool, cause)


@mutant(
    "initializing.failing_initializer_runs_no_call",
    says="ran in a worker whose initializer failed",
    also=(ANY,),
)
class RunsOneCallAllTheSame(ThreadExecutor):
    """A worker whose initializer failed runs the call that it was started for, and then breaks the pool."""

    @classmethod
    def break_pool(cls, pool: Pool, cause: BaseException) -> None:
        for job in pool.jobs:
            job.fn(*job.args, **job.kwargs)
        super().break_pool(pool, cause)


@mutant(
    "initializing.failing_initializer_makes_submit_fail",
    says="to raise BrokenExecutor",
    also=(
        "initializing.failing_initializer_makes_map_fail",
        "initializing.failing_initializer_in_a_second_worker_breaks_the_pool",
        ANY,
    ),
    deadline=3,
)
class TakesCallsWhenBroken(ThreadExecutor):
    """submit() to a broken pool returns a future that stays pending."""

    def check_open(self) -> None:
        if self.pool.broken is None:
            super().check_open()


@mutant("initializing.failing_initializer_wakes_who_waits", says="waited", also=(ANY,), deadline=3)
class BreaksInSilence(ThreadExecutor):
    """The futures of a broken pool wake nobody."""

    @classmethod
    def settle_error(cls, future: Future[Any], error: BaseException) -> None:
        if isinstance(error, BrokenExecutor):
            future._waiters, waiters = [], future._waiters
            super().settle_error(future, error)
            future._waiters = waiters
        else:
            super().settle_error(future, error)


@mutant(
    "initializing.failing_initializer_is_the_cause",
    says="does not lead to the initializer's error",
    also=("initializing.failing_initializer_is_the_cause_in_submit",),
)
class HidesWhyItBroke(ThreadExecutor):
    """The broken-pool error does not say why."""

    @classmethod
    def broken_error(cls, pool: Pool) -> BrokenExecutor:
        return cls.broken_type("not usable any more")

    def check_open(self) -> None:
        if self.pool.broken is not None:
            raise self.broken_type("not usable any more")
        super().check_open()


@mutant(
    "initializing.failing_initializer_gives_each_future_an_error_of_its_own",
    says="share one exception object",
)
class SharesItsError(ThreadExecutor):
    """All futures of a broken pool get the same exception object."""

    @classmethod
    def broken_error(cls, pool: Pool) -> BrokenExecutor:
        shared: BrokenExecutor = vars(pool).setdefault("error", super().broken_error(pool))
        return shared


@mutant(
    "initializing.failing_initializer_does_not_stop_shutdown",
    says="RuntimeError: broken",
    also=("initializing.failing_initializer_ends_the_with_block",),
)
class CannotBeShutDownWhenBroken(ThreadExecutor):
    """shutdown() of a broken pool raises."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if self.pool.broken is not None:
            raise RuntimeError("broken")
        super().shutdown(wait, cancel_futures=cancel_futures)


@mutant(
    "initializing.failing_initializer_during_shutdown_fails_the_pending_calls",
    says="a call that waited at shutdown",
    also=(ANY,),
    deadline=3,
)
class ForgetsItsCallsWhenItFailsInShutdown(ThreadExecutor):
    """An initializer that fails after shutdown() leaves the futures pending."""

    @classmethod
    def break_pool(cls, pool: Pool, cause: BaseException) -> None:
        if not pool.closed:
            super().break_pool(pool, cause)


@mutant("initializing.failing_initializer_may_raise_system_exit", says="to fail", also=(ANY,), deadline=3)
class IsNotBrokenByAnExit(ThreadExecutor):
    """An initializer that raises SystemExit ends its worker in silence."""

    @classmethod
    def break_pool(cls, pool: Pool, cause: BaseException) -> None:
        if not isinstance(cause, SystemExit):
            super().break_pool(pool, cause)


@mutant("initializing.failing_initializer_breaks_one_executor_only", says="BrokenThreadPool", also=(ANY,))
class BreaksTheOthersToo(ThreadExecutor):
    """A failed initializer breaks every executor of the class."""

    broken: ClassVar[list[Pool]] = []

    @classmethod
    def break_pool(cls, pool: Pool, cause: BaseException) -> None:
        super().break_pool(pool, cause)
        cls.broken.append(pool)

    def check_open(self) -> None:
        if self.broken and self.initializer is None:
            raise self.broken_type("another one is broken")
        super().check_open()


@mutant("initializing.failing_initializer_is_not_tried_for_ever", says="was run 5 times", also=(ANY,))
class TriesAgainAndAgain(ThreadExecutor):
    """A broken pool starts a worker for each new call."""

    def check_open(self) -> None:
        if self.pool.broken is not None:
            self.pool.broken = None
            self.pool.threads.clear()
        super().check_open()


@mutant(
    "initializing.failing_initializer_in_a_second_worker_breaks_the_pool",
    says="submit() to fail",
    also=("initializing.failing_initializer_is_noticed_while_others_work", ANY),
    deadline=3,
)
class OneGoodWorkerIsEnough(ThreadExecutor):
    """Goes on with the workers whose initializer did not fail."""

    @classmethod
    def break_pool(cls, pool: Pool, cause: BaseException) -> None:
        if len(pool.threads) < 2:
            super().break_pool(pool, cause)


@mutant(
    "initializing.failing_initializer_is_noticed_while_others_work",
    says="the other being busy",
    also=(ANY,),
    deadline=4,
)
class NoticesFailuresWhenIdle(ThreadExecutor):
    """A failed initializer is noticed when no other worker is busy."""

    @classmethod
    def break_pool(cls, pool: Pool, cause: BaseException) -> None:
        while len(pool.threads) > 1 and not pool.idle and not pool.closed:
            threading.Event().wait(0.005)
        super().break_pool(pool, cause)


@mutant(
    "initializing.failing_initializer_leaves_finished_calls_alone",
    says="had ended before",
    also=(
        "resources.*",
        ANY,
    ),
)
class SpoilsFinishedCalls(ThreadExecutor):
    """A failed initializer also fails what has ended."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = super().submit(fn, *args, **kwargs)
        vars(self.pool).setdefault("made", []).append(future)
        return future

    @classmethod
    def break_pool(cls, pool: Pool, cause: BaseException) -> None:
        super().break_pool(pool, cause)
        for future in vars(pool).get("made", ()):
            future._exception = cls.broken_error(pool)
