"""Defects in shutdown."""

from __future__ import annotations

import os
import threading
import weakref
from concurrent.futures import CancelledError, Future
from typing import Any, ClassVar

from reference import Job, Pool, ProcessExecutor, PromptFuture, ThreadExecutor

from mutants import mutant

ANY = "shutting_down.*"
"""What else of the chapter may fail when shutting down itself is unsound."""


# What it refuses


@mutant(
    "shutting_down.shutdown_makes_submit_fail",
    says="instead of raising RuntimeError",
    also=("shutting_down.shutdown_makes_map_fail", ANY),
    deadline=3,
)
class SubmitsAfterShutdown(ThreadExecutor):
    """submit() takes calls after shutdown()."""

    def check_open(self) -> None:
        pass


@mutant(
    "shutting_down.shutdown_of_an_unused_executor_makes_submit_fail",
    says="of an unused executor",
    also=(ANY,),
)
class ForgetsTheShutdownOfAnUnusedExecutor(ThreadExecutor):
    """shutdown() does nothing where no worker was started."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if self.pool.threads:
            super().shutdown(wait, cancel_futures=cancel_futures)


@mutant(
    "shutting_down.shutdown_makes_submit_fail_while_calls_run",
    says="submit() after shutdown(wait=False)",
    also=(ANY,),
)
class AcceptsWhileCallsRun(ThreadExecutor):
    """After shutdown(wait=False), calls are taken until the running one ends."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if wait or cancel_futures:
            super().shutdown(wait, cancel_futures=cancel_futures)
        else:
            threading.Thread(target=self.close_when_idle, daemon=True).start()

    def close_when_idle(self) -> None:
        while self.pool.jobs or self.pool.idle < len(self.pool.threads):
            threading.Event().wait(0.01)
        self.close(self.pool)


@mutant(
    "shutting_down.shutdown_makes_submit_fail_while_it_waits",
    says="to be refused while shutdown() waits",
    also=(ANY,),
    deadline=6,
)
class AcceptsWhileItWaits(ThreadExecutor):
    """shutdown(wait=True) refuses calls only when the others have ended."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if wait and not cancel_futures:
            while self.pool.jobs or self.pool.idle < len([x for x in self.pool.threads if x.is_alive()]):
                threading.Event().wait(0.005)
        super().shutdown(wait, cancel_futures=cancel_futures)


@mutant("shutting_down.shutdown_makes_map_fail", says="map() after shutdown() returned")
class MapsAfterShutdown(ThreadExecutor):
    """map() after shutdown() fails only when it is iterated."""

    def map(self, *args: Any, **options: Any) -> Any:
        if self.pool.closed:
            return (results for results in [args] if super(MapsAfterShutdown, self).map(*args, **options))
        return super().map(*args, **options)


@mutant("shutting_down.shutdown_leaves_other_executors_alone", says="CancelledError", also=(ANY,))
class ShutsOthersDown(ThreadExecutor):
    """shutdown(cancel_futures=True) cancels what waits in any executor."""

    all: ClassVar[list[Pool]] = []

    def __init__(self, max_workers: int = 2, initializer: Any = None, initargs: tuple[Any, ...] = ()) -> None:
        super().__init__(max_workers, initializer, initargs)
        self.all.append(self.pool)

    def cancel_waiting(self) -> None:
        mine = self.pool
        for other in self.all:
            self.pool = other
            super().cancel_waiting()
        self.pool = mine


# wait=True


@mutant(
    "shutting_down.shutdown_waits_for_a_running_call",
    says="returned while a call was running",
    also=(
        "shutting_down.shutdown_with_cancel_waits_for_what_runs",
        "shutting_down.shutdown_waits_for_calls_that_wait",
        "shutting_down.with_waits_for_its_calls",
        ANY,
    ),
)
class NeverWaits(ThreadExecutor):
    """shutdown() never waits."""

    def join(self) -> None:
        pass


@mutant("shutting_down.shutdown_waits_by_default", says="without arguments returned", also=(ANY,))
class DoesNotWaitByDefault(ThreadExecutor):
    """shutdown() does not wait unless it is told to."""

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait, cancel_futures=cancel_futures)


@mutant(
    "shutting_down.shutdown_without_waiting_completes_the_calls",
    says="cancelled",
    also=(
        "shutting_down.shutdown_waits_for_calls_that_wait",
        "shutting_down.exit_waits_for_the_calls_after_shutdown",
        "shutting_down.with_waits_for_its_calls",
        ANY,
    ),
)
class AlwaysCancels(ThreadExecutor):
    """shutdown() cancels what waits, asked to or not."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait, cancel_futures=True)


@mutant("shutting_down.shutdown_waits_although_calls_fail", says="behind a failed one", also=(ANY,), deadline=2)
class StopsAtAFailureInShutdown(ThreadExecutor):
    """A worker whose call fails during shutdown leaves the others lying."""

    @classmethod
    def settle_error(cls, future: Future[Any], error: BaseException) -> None:
        super().settle_error(future, error)
        threading.current_thread().__dict__["failed"] = True

    @classmethod
    def take(cls, pool: Pool) -> Job | None:
        if pool.closed and "failed" in vars(threading.current_thread()):
            return None
        return super().take(pool)


@mutant("shutting_down.shutdown_after_a_cancellation_returns", says="shutdown(wait=True)", also=(ANY,), deadline=8)
class CountsCancelledCallsAsRunning(ThreadExecutor):
    """shutdown() waits for a cancelled call to run."""

    def join(self) -> None:
        super().join()
        while any(future.cancelled() for future in self.__dict__.get("made", ())) and not self.__dict__.get("asked"):
            threading.Event().wait(0.05)

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = super().submit(fn, *args, **kwargs)
        self.__dict__.setdefault("made", []).append(future)
        return future

    def cancel_waiting(self) -> None:
        self.__dict__["asked"] = True
        super().cancel_waiting()


@mutant("shutting_down.shutdown_takes_wait_by_position", says="TypeError", also=(ANY,))
class WantsWaitByKeyword(ThreadExecutor):
    """shutdown() takes `wait` by keyword only."""

    def shutdown(self, *, wait: bool = True, cancel_futures: bool = False) -> None:  # type: ignore[override]
        super().shutdown(wait, cancel_futures=cancel_futures)


@mutant("shutting_down.shutdown_waits_for_every_worker", says="while one of two calls was running", also=(ANY,))
class WaitsForOneWorker(ThreadExecutor):
    """shutdown(wait=True) waits for the first worker alone."""

    def join(self) -> None:
        for thread in self.pool.threads[:1]:
            if thread is not threading.current_thread():
                thread.join()


# wait=False


@mutant(
    "shutting_down.shutdown_without_waiting_returns_at_once",
    says="shutdown(wait=False)",
    also=("shutting_down.shutdown_without_waiting_wakes_a_thread_in_result", ANY),
    deadline=2,
)
class AlwaysWaits(ThreadExecutor):
    """shutdown(wait=False) waits."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(True, cancel_futures=cancel_futures)


# cancel_futures=True


@mutant(
    "shutting_down.shutdown_with_cancel_cancels_what_waits",
    says="did not cancel the last waiting call",
    also=(
        "shutting_down.shutdown_with_cancel_without_waiting_cancels_what_waits",
        "shutting_down.shutdown_with_cancel_cancels_every_call_that_waits",
        "shutting_down.shutdown_with_cancel_wakes_a_thread_in_result",
        "shutting_down.shutdown_with_cancel_ends_an_iterator_of_map",
        "shutting_down.exit_after_cancelling_waits_for_the_running_call",
        ANY,
    ),
    deadline=3,
)
class NeverCancels(ThreadExecutor):
    """shutdown(cancel_futures=True) cancels nothing."""

    def cancel_waiting(self) -> None:
        pass


@mutant(
    "shutting_down.shutdown_with_cancel_without_waiting_cancels_what_waits",
    says="to cancel the last waiting call",
    also=(ANY,),
    deadline=3,
)
class CancelsOnlyWhenItWaits(ThreadExecutor):
    """shutdown(wait=False, cancel_futures=True) does not cancel."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait, cancel_futures=cancel_futures and wait)


@mutant(
    "shutting_down.shutdown_with_cancel_waits_for_what_runs",
    says="returned while a call was running",
    also=(ANY,),
)
class DoesNotWaitWhenItCancels(ThreadExecutor):
    """shutdown(wait=True, cancel_futures=True) does not wait."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait and not cancel_futures, cancel_futures=cancel_futures)


@mutant(
    "shutting_down.shutdown_with_cancel_without_waiting_lets_the_running_call_end",
    says="ended the running call",
    also=(
        "resources.*",
        ANY,
    ),
)
class CancelsWhatRuns(ThreadExecutor):
    """shutdown(cancel_futures=True) ends the future of a running call."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = super().submit(fn, *args, **kwargs)
        self.__dict__.setdefault("made", []).append(future)
        return future

    def cancel_waiting(self) -> None:
        for future in self.__dict__.get("made", ()):
            if future.running():
                future.set_exception(CancelledError())
        super().cancel_waiting()

    @classmethod
    def settle(cls, future: Future[Any], result: Any) -> None:
        if not future.done():
            future.set_result(result)


@mutant(
    "shutting_down.shutdown_with_cancel_cancels_every_call_that_waits",
    says="cancelled 7 of 8 waiting calls",
    also=(ANY,),
)
class SparesTheNextInLine(ThreadExecutor):
    """shutdown(cancel_futures=True) does not cancel the call that is next."""

    def cancel_waiting(self) -> None:
        with self.pool.changed:
            spared = self.pool.jobs.popleft() if self.pool.jobs else None
            super().cancel_waiting()
            if spared is not None:
                self.pool.jobs.append(spared)


@mutant(
    "shutting_down.shutdown_with_cancel_leaves_finished_calls_alone",
    says="cancelled a finished call",
    also=(
        "resources.*",
        ANY,
    ),
)
class CancelsFinishedCalls(ThreadExecutor):
    """shutdown(cancel_futures=True) turns finished futures into cancelled ones."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = super().submit(fn, *args, **kwargs)
        self.__dict__.setdefault("made", []).append(future)
        return future

    def cancel_waiting(self) -> None:
        for future in self.__dict__.get("made", ()):
            if future.done():
                future._state = "CANCELLED_AND_NOTIFIED"
        super().cancel_waiting()


@mutant(
    "shutting_down.shutdown_with_cancel_wakes_a_thread_in_result",
    says="result() to return",
    also=(
        "shutting_down.shutdown_with_cancel_runs_callbacks",
        "shutting_down.shutdown_with_cancel_wakes_wait",
        ANY,
    ),
    deadline=3,
)
class DropsWhatItShouldCancel(ThreadExecutor):
    """shutdown(cancel_futures=True) throws the waiting calls away."""

    def cancel_waiting(self) -> None:
        with self.pool.changed:
            self.pool.jobs.clear()


@mutant(
    "shutting_down.shutdown_with_cancel_runs_callbacks",
    says="the callback of a call",
    also=(ANY,),
    deadline=3,
)
class CancelsWithoutCallbacks(ThreadExecutor):
    """Calls that shutdown() cancels lose their callbacks."""

    def cancel_waiting(self) -> None:
        for job in self.pool.jobs:
            job.future._done_callbacks.clear()
        super().cancel_waiting()


@mutant("shutting_down.shutdown_with_cancel_wakes_wait", says="wait() to return", also=(ANY,), deadline=3)
class CancelsWithoutNotice(ThreadExecutor):
    """Calls that shutdown() cancels wake no one in wait()."""

    def cancel_waiting(self) -> None:
        with self.pool.changed:
            jobs = list(self.pool.jobs)
            self.pool.jobs.clear()
        for job in jobs:
            job.future._waiters.clear()
            job.future.cancel()


# Again, and from several places


@mutant(
    "shutting_down.shutdown_again_returns",
    says="already shut down",
    also=("shutting_down.with_after_shutdown_is_harmless", ANY),
)
class ShutsDownOnce(ThreadExecutor):
    """A second shutdown() raises."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if self.pool.closed:
            raise RuntimeError("already shut down")
        super().shutdown(wait, cancel_futures=cancel_futures)


@mutant(
    "shutting_down.shutdown_again_waits",
    says="after shutdown(wait=False) returned",
    also=("shutting_down.shutdown_again_cancels", ANY),
)
class IgnoresASecondShutdown(ThreadExecutor):
    """A second shutdown() does nothing."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if not self.pool.closed:
            super().shutdown(wait, cancel_futures=cancel_futures)


@mutant(
    "shutting_down.shutdown_in_two_threads_returns_in_both",
    says="returned while a call was running",
    also=(ANY,),
)
class LetsTheSecondOfTwoShutdownsGo(ThreadExecutor):
    """Of two threads in shutdown(wait=True), only one waits."""

    def join(self) -> None:
        if not self.__dict__.get("joining"):
            self.__dict__["joining"] = True
            super().join()
            self.__dict__["joining"] = False


@mutant(
    "shutting_down.shutdown_during_submit_loses_no_call",
    says="every future that submit() returned",
    also=(
        "resources.*",
        "shutting_down.shutdown_right_after_many_calls_completes_them",
        "shutting_down.shutdown_waits_for_calls_that_wait",
        "shutting_down.shutdown_without_waiting_completes_the_calls",
        "shutting_down.calls_of_a_dropped_executor_complete",
        "shutting_down.exit_waits_for_the_calls_after_shutdown",
        ANY,
    ),
    deadline=3,
)
class LeavesTheQueueAtShutdown(ThreadExecutor):
    """Workers leave at shutdown, whatever still waits."""

    @classmethod
    def take(cls, pool: Pool) -> Job | None:
        if pool.jobs:
            threading.Event().wait(0.005)  # slow enough to have a queue
        return None if pool.closed else super().take(pool)


@mutant("shutting_down.shutdown_right_after_map_keeps_the_results", says="too late", also=(ANY,))
class MapEndsWithTheExecutor(ThreadExecutor):
    """map's iterator refuses to go on after shutdown()."""

    def map(self, *args: Any, **options: Any) -> Any:
        results = super().map(*args, **options)

        def going_on() -> Any:
            for result in results:
                if self.pool.closed:
                    raise RuntimeError("too late")
                yield result

        return going_on()


@mutant(
    "shutting_down.shutdown_that_waits_returns_in_a_callback",
    says="cannot join current thread",
    also=("shutting_down.shutdown_that_waits_returns_in_a_call", ANY),
)
class JoinsItself(ThreadExecutor):
    """shutdown(wait=True) joins the thread that it runs in."""

    def join(self) -> None:
        for thread in self.pool.threads:
            thread.join()


@mutant("shutting_down.shutdown_from_a_call_returns", says="not from a worker", also=(ANY,))
class RefusesShutdownInAWorker(ThreadExecutor):
    """shutdown() can't be called by the executor's own calls."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if threading.current_thread() in self.pool.threads:
            raise RuntimeError("not from a worker")
        super().shutdown(wait, cancel_futures=cancel_futures)


@mutant(
    "shutting_down.shutdown_that_does_not_travel_fails_cleanly",
    says="the failure of an executor's method",
    also=(ANY,),
    deadline=4,
)
class LosesWhatDoesNotTravel(ProcessExecutor):
    """A call that can't be pickled is dropped: its future stays pending."""

    def make_job(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Job:
        job = super().make_job(fn, args, kwargs)
        if job.future.done():
            job.future = Future()
        return job

    def enqueue(self, job: Job) -> None:
        if job.parcel:
            super().enqueue(job)


# The context manager


@mutant("shutting_down.with_gives_the_executor", says="`with executor as x` bound None", also=(ANY,))
class WithGivesNothing(ThreadExecutor):
    """`with` binds None."""

    def __enter__(self) -> Any:
        return None


@mutant(
    "shutting_down.with_waits_for_its_calls",
    says="the with block was left while a call was running",
    also=("shutting_down.with_passes_on_an_exception", ANY),
)
class WithDoesNotWait(ThreadExecutor):
    """The with block is left without waiting."""

    def __exit__(self, *exception: Any) -> None:
        self.shutdown(wait=False)


@mutant("shutting_down.with_passes_on_an_exception", says="the with block swallowed an exception", also=(ANY,))
class WithSwallowsExceptions(ThreadExecutor):
    """The with block swallows exceptions."""

    def __exit__(self, *exception: Any) -> Any:
        super().__exit__(*exception)
        return True


@mutant("shutting_down.with_after_shutdown_is_harmless", says="nothing to leave", also=(ANY,))
class WithMustNotBeShutDown(ThreadExecutor):
    """Leaving the with block fails when the executor was shut down inside."""

    def __exit__(self, *exception: Any) -> None:
        if self.pool.closed:
            raise RuntimeError("nothing to leave")
        super().__exit__(*exception)


# Dropped, and at interpreter exit


@mutant(
    "shutting_down.calls_of_a_dropped_executor_complete",
    says="an executor that was dropped",
    also=(ANY,),
    deadline=3,
)
class DiesWithItsExecutor(ThreadExecutor):
    """What waits is thrown away when the executor is dropped."""

    def __del__(self) -> None:
        if not self.pool.closed:
            self.pool.jobs.clear()


class _Daemon(threading.Thread):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options, daemon=True)


@mutant(
    "shutting_down.exit_without_shutdown_waits_for_the_calls",
    says="without shutdown() the program ended",
    also=(ANY,),
    deadline=15,
)
class WorksInDaemonThreads(ThreadExecutor):
    """Calls run in threads that the program does not wait for."""

    def staff(self) -> None:
        if self.pool.idle < len(self.pool.jobs) and len(self.pool.threads) < self.max_workers:
            thread = _Daemon(target=self.work, args=(self.pool,))
            self.pool.threads.append(thread)
            thread.start()

    @classmethod
    def take(cls, pool: Pool) -> Job | None:
        if pool.jobs and not pool.closed:
            threading.Event().wait(0.02)
        return super().take(pool)


@mutant(
    "shutting_down.submit_works_in_a_thread_that_outlives_the_main_one",
    says="after the end of the main thread, 4 calls that another thread submitted came to",
)
class RefusesAfterTheMainThread(ThreadExecutor):
    """submit() is refused once the main thread has ended, as in the standard library."""

    def check_open(self) -> None:
        super().check_open()
        if not threading.main_thread().is_alive():
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")


@mutant(
    "shutting_down.exit_after_cancelling_waits_for_the_running_call",
    says="a program that used the executor",
    also=(ANY,),
)
class StaysAfterCancelling(ThreadExecutor):
    """A thread that shutdown(cancel_futures=True) leaves behind keeps the program from ending."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait, cancel_futures=cancel_futures)
        if cancel_futures and not wait:
            threading.Thread(target=threading.Event().wait).start()


@mutant("shutting_down.with_passes_on_what_is_no_exception", says="swallowed KeyboardInterrupt")
class WithSwallowsInterrupts(ThreadExecutor):
    """The with block swallows what is no Exception."""

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:  # type: ignore[override]
        super().__exit__(kind, error, trace)
        return kind is not None and not issubclass(kind, Exception)


@mutant("shutting_down.with_passes_on_an_exception", says="call(s) to start", deadline=3)
class WithCancelsAtAnException(ThreadExecutor):
    """A with block that is left by an exception cancels what waits."""

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:  # type: ignore[override]
        self.shutdown(cancel_futures=kind is not None)


class _Unguarded(PromptFuture):
    """A callback's SystemExit comes out of whatever ended the future."""

    def add_done_callback(self, fn: Any) -> None:
        Future.add_done_callback(self, fn)


@mutant(
    "shutting_down.shutdown_with_cancel_outlives_callbacks_that_exit",
    says="calls that were not cancelled",
    also=("callbacks.*", "shutting_down.*"),
)
class CancellingStopsAtACallback(ThreadExecutor):
    """shutdown(cancel_futures=True) cancels one call after the other, until a callback raises SystemExit."""

    future_type = _Unguarded


@mutant("shutting_down.calls_need_no_standard_streams", says="in a program without standard streams a call failed")
class SpeaksThroughItsOwnPipe(ThreadExecutor):
    """Each executor has a pipe, wherever there is room: in a program without streams what calls print lands in it."""

    def __init__(self, max_workers: int = 2, **options: Any) -> None:
        super().__init__(max_workers, **options)
        self.pool.pipe = os.pipe()  # type: ignore[attr-defined]
        for end in self.pool.pipe:  # type: ignore[attr-defined]
            weakref.finalize(self.pool, os.close, end)

    @classmethod
    def call(cls, pool: Pool, station: Any, job: Job) -> Any:
        outlet, inlet = pool.pipe  # type: ignore[attr-defined]
        os.write(inlet, b"call")
        if os.read(outlet, 4) != b"call":
            raise RuntimeError("rubbish in the pipe")
        return super().call(pool, station, job)


@mutant("shutting_down.with_that_is_interrupted_cancels_what_waits", says="was not cancelled")
class InterruptedBlockGoesOn(ThreadExecutor):
    """A `with` block that is left by an interrupt waits for all calls."""

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.shutdown()
