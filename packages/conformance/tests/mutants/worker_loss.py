"""Defects in noticing, telling and outliving the loss of a worker process."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import BrokenExecutor, Future
from typing import Any

from reference import Job, Pool, ProcessExecutor, ThreadExecutor, pack_error

from mutants import mutant

ROWS = (
    "kill_while_running", "crash_while_running", "os_exit_while_running", "os_exit_with_status_zero_while_running",
    "os_exit_while_unpickling", "crash_while_unpickling", "kill_while_unpickling", "os_exit_while_pickling",
    "crash_while_pickling", "kill_while_pickling", "crash_while_pickling_an_exception", "kill_from_outside",
)  # fmt: skip


@mutant(
    "worker_loss.kill_while_running",
    says="should have failed",
    also=(*(f"worker_loss.{row}" for row in ROWS), "worker_loss.*"),
)
class LostCallReturnsNone(ProcessExecutor):
    """A call whose worker was lost returns None."""

    @classmethod
    def lose_worker(cls, pool: Pool, job: Job, cause: BaseException) -> None:
        cls.break_pool(pool, cause)
        cls.settle(job.future, None)


@mutant(
    "worker_loss.os_exit_while_running",
    says="no BrokenExecutor",
    also=(
        *(f"worker_loss.{row}" for row in ROWS),
        "worker_loss.lost_call_fails_with_broken_executor",
        "worker_loss.*",
    ),
)
class LossIsAnOSError(ProcessExecutor):
    """A call whose worker was lost fails with the pipe's own error."""

    @classmethod
    def lose_worker(cls, pool: Pool, job: Job, cause: BaseException) -> None:
        cls.break_pool(pool, cause)
        cls.settle_error(job.future, OSError(str(cause)))


@mutant("worker_loss.os_exit_with_status_zero_while_running", says="should have failed")
class StatusZeroIsFine(ProcessExecutor):
    """A worker that ends with status 0 is taken for one that has finished."""

    @classmethod
    def lose_worker(cls, pool: Pool, job: Job, cause: BaseException) -> None:
        if str(cause).endswith("exit code 0"):
            cls.settle(job.future, None)
        else:
            super().lose_worker(pool, job, cause)


@mutant(
    "worker_loss.crash_while_running",
    says="the future of a call whose worker was lost",
    also=("worker_loss.*",),
    deadline=3,
)
class LostCallIsForgotten(ProcessExecutor):
    """The pool breaks, but the call whose worker was lost stays pending."""

    @classmethod
    def lose_worker(cls, pool: Pool, job: Job, cause: BaseException) -> None:
        cls.break_pool(pool, cause)


def serve_in_steps(connection: Any) -> None:
    """As `serve`, but say when the call was unpickled, and when it has returned."""
    while True:
        try:
            parcel = connection.recv_bytes()
        except EOFError:
            return
        try:
            fn, args, kwargs = pickle.loads(parcel)
            connection.send_bytes(b"started")
            result = fn(*args, **kwargs)
            connection.send_bytes(b"returned")
            connection.send_bytes(pickle.dumps((True, result, "")))
        except BaseException as error:
            connection.send_bytes(pack_error(error))


class _Steps(ProcessExecutor):
    """A correct executor whose workers tell how far they are; defects forget losses in one of the steps."""

    serve = staticmethod(serve_in_steps)
    overlooks = b""
    """The step at which a loss is noticed late."""

    @classmethod
    def perform(cls, pool: Pool, station: Any, job: Job) -> None:
        _progress.step = b"sent"
        super().perform(pool, station, job)

    @classmethod
    def receive(cls, connection: Any, process: Any) -> bytes:
        while (reply := bytes(connection.recv_bytes())) in (b"started", b"returned"):
            _progress.step = reply
        return reply

    @classmethod
    def lose_worker(cls, pool: Pool, job: Job, cause: BaseException) -> None:
        if _progress.step == cls.overlooks:
            threading.Event().wait(2.5)  # for a while: so that the kit can go on
        super().lose_worker(pool, job, cause)


_progress = threading.local()


@mutant(
    "worker_loss.os_exit_while_unpickling",
    says="waited",
    also=(
        "worker_loss.crash_while_unpickling",
        "worker_loss.kill_while_unpickling",
        "worker_loss.kill_while_idle",
    ),
    deadline=3,
)
class LossBeforeTheCallIsNoticedLate(_Steps):
    """A worker lost before its call began is noticed after a long time."""

    overlooks = b"sent"


@mutant(
    "worker_loss.os_exit_while_pickling",
    says="waited",
    also=("worker_loss.crash_while_pickling", "worker_loss.kill_while_pickling"),
    deadline=3,
)
class LossAfterTheCallIsNoticedLate(_Steps):
    """A worker lost after its call returned is noticed after a long time."""

    overlooks = b"returned"


def serve_until_exit(connection: Any) -> None:
    """As `serve`, but SystemExit ends the worker."""
    while True:
        try:
            parcel = connection.recv_bytes()
        except EOFError:
            return
        try:
            fn, args, kwargs = pickle.loads(parcel)
            reply = pickle.dumps((True, fn(*args, **kwargs), ""))
        except Exception as error:
            reply = pack_error(error)
        connection.send_bytes(reply)


@mutant(
    "worker_loss.system_exit_while_running",
    says="SystemExit arrived as",
    also=(
        "exceptions.*",
        "concurrency.*",
        "worker_loss.system_exit_loses_no_worker",
    ),
)
class SystemExitEndsTheWorker(ProcessExecutor):
    """A call that raises SystemExit ends its worker process."""

    serve = staticmethod(serve_until_exit)


@mutant(
    "worker_loss.system_exit_loses_no_worker",
    says="waited",
    also=(
        "concurrency.*",
        "worker_loss.system_exit_while_running",
    ),
    deadline=3,
)
class SystemExitEndsTheThread(ThreadExecutor):
    """A call that raises SystemExit ends its worker thread; nobody settles the future."""

    @classmethod
    def settle_error(cls, future: Future[Any], error: BaseException) -> None:
        if isinstance(error, SystemExit):
            raise error
        super().settle_error(future, error)


def serve_deaf_to_exit(connection: Any) -> None:
    """As `serve`, but SystemExit outside the call itself is swallowed, with the reply."""
    while True:
        try:
            parcel = connection.recv_bytes()
        except EOFError:
            return
        try:
            fn, args, kwargs = pickle.loads(parcel)
        except SystemExit:
            continue
        except BaseException as error:
            connection.send_bytes(pack_error(error))
            continue
        try:
            result = fn(*args, **kwargs)
        except BaseException as error:
            connection.send_bytes(pack_error(error))
            continue
        try:
            connection.send_bytes(pickle.dumps((True, result, "")))
        except SystemExit:
            continue
        except BaseException as error:
            connection.send_bytes(pack_error(error))


@mutant(
    "worker_loss.system_exit_while_unpickling",
    says="waited",
    also=("worker_loss.system_exit_while_pickling",),
    deadline=3,
)
class SystemExitSwallowsTheReply(ProcessExecutor):
    """SystemExit while the worker pickles or unpickles leaves the caller without a reply."""

    serve = staticmethod(serve_deaf_to_exit)


@mutant("worker_loss.os_exit_while_starting", says="waited", deadline=3)
class LossAtStartIsForgotten(ProcessExecutor):
    """A worker that ends while it starts is not noticed."""

    @classmethod
    def open_station(cls, pool: Pool) -> Any:
        try:
            return super().open_station(pool)
        except EOFError:
            raise SystemExit from None

    @classmethod
    def break_pool(cls, pool: Pool, cause: BaseException) -> None:
        if not isinstance(cause, SystemExit):
            super().break_pool(pool, cause)


@mutant("worker_loss.waiting_calls_end_at_a_loss", says="waited", also=("worker_loss.*",), deadline=2.5)
class WaitingCallsAreForgotten(ProcessExecutor):
    """When the pool breaks, the calls that wait stay pending."""

    @classmethod
    def break_pool(cls, pool: Pool, cause: BaseException) -> None:
        with pool.changed:
            pool.jobs.clear()
        super().break_pool(pool, cause)


@mutant("worker_loss.broken_pool_refuses_submit", says="was accepted", also=("worker_loss.*",), deadline=3)
class BrokenPoolAcceptsCalls(ProcessExecutor):
    """A broken pool still accepts calls."""

    def check_open(self) -> None:
        broken, self.pool.broken = self.pool.broken, None
        try:
            super().check_open()
        finally:
            self.pool.broken = broken


@mutant(
    "worker_loss.broken_pool_refuses_map",
    says="map() on a broken pool returned",
    also=("worker_loss.map_ends_at_a_loss",),
)
class MapEndsQuietlyAtALoss(ProcessExecutor):
    """map() takes a broken pool for the end of its results."""

    def map(self, fn: Any, *iterables: Any, **options: Any) -> Any:
        try:
            yield from super().map(fn, *iterables, **options)
        except BrokenExecutor:
            return


@mutant("worker_loss.cancelled_calls_stay_cancelled_at_a_loss", says="waited", deadline=3)
class CancelledCallStopsTheBreaking(ProcessExecutor):
    """Breaking the pool stumbles over a cancelled call and leaves those behind it pending."""

    @classmethod
    def break_pool(cls, pool: Pool, cause: BaseException) -> None:
        with pool.changed:
            pool.broken = cause
            jobs = list(pool.jobs)
            pool.jobs.clear()
        for job in jobs:
            if job.future.cancelled():
                break
            cls.settle_error(job.future, cls.broken_error(pool))


@mutant("worker_loss.callbacks_run_at_a_loss", says="waited", deadline=3)
class CallbacksAreDroppedAtALoss(ProcessExecutor):
    """Futures that end because the pool broke do not call back."""

    @classmethod
    def settle_error(cls, future: Future[Any], error: BaseException) -> None:
        if isinstance(error, BrokenExecutor):
            future._done_callbacks.clear()  # type: ignore[attr-defined]
        super().settle_error(future, error)


@mutant(
    "worker_loss.wait_wakes_at_a_loss",
    says="wait()",
    also=("worker_loss.as_completed_ends_at_a_loss",),
    deadline=3,
)
class WaitersSleepOnAtALoss(ProcessExecutor):
    """Futures that end because the pool broke do not wake wait() and as_completed()."""

    @classmethod
    def settle_error(cls, future: Future[Any], error: BaseException) -> None:
        if isinstance(error, BrokenExecutor):
            future._waiters.clear()
        super().settle_error(future, error)


class _Respawning(ProcessExecutor):
    """A correct executor that survives: the lost call fails, the worker is replaced."""

    survives = True

    @classmethod
    def open_station(cls, pool: Pool) -> Any:
        return list(super().open_station(pool))

    @classmethod
    def perform(cls, pool: Pool, station: Any, job: Job) -> None:
        connection, process = station
        try:
            connection.send_bytes(job.parcel)
            reply = cls.receive(connection, process)
        except (OSError, EOFError):
            process.join(5)
            connection.close()
            station[:] = super().open_station(pool)
            cls.outlive(pool, station, job, process.exitcode)
            return
        try:
            cls.settle(job.future, cls.unpack(reply))
        except BaseException as error:
            cls.settle_error(job.future, error)
            job.future = None  # type: ignore[assignment] # no cycle from the error's traceback to the future

    @classmethod
    def outlive(cls, pool: Pool, station: Any, job: Job, exitcode: int) -> None:
        cls.settle_error(job.future, cls.broken_type(f"the worker ended with exit code {exitcode}"))


@mutant("worker_loss.lost_call_runs_once", says="ran 2 times")
class LostCallRunsAgain(_Respawning):
    """A call whose worker was lost is run again by another."""

    @classmethod
    def outlive(cls, pool: Pool, station: Any, job: Job, exitcode: int) -> None:
        if getattr(job, "again", False):
            super().outlive(pool, station, job, exitcode)
        else:
            job.again = True  # type: ignore[attr-defined]
            cls.perform(pool, station, job)


@mutant("worker_loss.lost_call_fails_with_broken_executor", says="no BrokenExecutor")
class SurvivorFailsWithPlainError(_Respawning):
    """A pool that survives, whose lost calls fail with an error of no known kind."""

    @classmethod
    def outlive(cls, pool: Pool, station: Any, job: Job, exitcode: int) -> None:
        cls.settle_error(job.future, OSError(f"the worker ended with exit code {exitcode}"))


@mutant("worker_loss.survivor_goes_on", says="", also=("worker_loss.survivor_replaces_every_worker",))
class SurvivesOnlyOnce(_Respawning):
    """A pool that survives one loss and breaks at the second."""

    @classmethod
    def outlive(cls, pool: Pool, station: Any, job: Job, exitcode: int) -> None:
        pool.losses = getattr(pool, "losses", 0) + 1  # type: ignore[attr-defined]
        if pool.losses > 1:  # type: ignore[attr-defined]
            cls.break_pool(pool, EOFError(f"exit code {exitcode}"))
        super().outlive(pool, station, job, exitcode)


@mutant("worker_loss.survivor_runs_the_waiting_calls", says="", also=("worker_loss.*",))
class SurvivorFailsTheWaitingCalls(_Respawning):
    """A pool that survives, but fails the calls that waited along with the lost one."""

    @classmethod
    def outlive(cls, pool: Pool, station: Any, job: Job, exitcode: int) -> None:
        with pool.changed:
            jobs = list(pool.jobs)
            pool.jobs.clear()
        for each in [job, *jobs]:
            if each is job or each.future.set_running_or_notify_cancel():
                super().outlive(pool, station, each, exitcode)


@mutant(
    "worker_loss.survivor_spares_the_other_workers",
    says="",
    also=("worker_loss.survivor_replaces_every_worker",),
)
class SurvivorKillsTheOthers(_Respawning):
    """A pool that survives by killing every worker and starting anew."""

    @classmethod
    def outlive(cls, pool: Pool, station: Any, job: Job, exitcode: int) -> None:
        for process in list(pool.processes):
            if process is not station[1] and process.is_alive():
                process.kill()
        super().outlive(pool, station, job, exitcode)


@mutant("worker_loss.survivor_replaces_every_worker", says="waited", deadline=4)
class SurvivorShrinks(_Respawning):
    """A pool that survives, with one worker less after each loss, down to one."""

    @classmethod
    def outlive(cls, pool: Pool, station: Any, job: Job, exitcode: int) -> None:
        super().outlive(pool, station, job, exitcode)
        with pool.changed:
            pool.retired = getattr(pool, "retired", 0) + 1  # type: ignore[attr-defined]
            alone = len(pool.threads) - pool.retired < 1  # type: ignore[attr-defined]
        if not alone:
            raise SystemExit


@mutant("worker_loss.finished_calls_keep_their_results_at_a_loss", says="")
class LossForgetsResults(ProcessExecutor):
    """When the pool breaks, even finished futures fail."""

    @classmethod
    def settle(cls, future: Future[Any], result: Any) -> None:
        super().settle(future, result)
        _finished.append(future)

    @classmethod
    def break_pool(cls, pool: Pool, cause: BaseException) -> None:
        super().break_pool(pool, cause)
        for future in _finished:
            future._exception = cls.broken_error(pool)


_finished: list[Future[Any]] = []


@mutant(
    "worker_loss.loss_is_noticed_while_others_are_busy",
    says="waited",
    also=("worker_loss.loss_of_a_new_worker_is_noticed_while_others_are_busy",),
    deadline=6,
)
class LossIsNoticedWhenAllAreIdle(ProcessExecutor):
    """A lost worker is noticed only when no other has a call."""

    @classmethod
    def perform(cls, pool: Pool, station: Any, job: Job) -> None:
        with pool.changed:
            pool.busy = getattr(pool, "busy", 0) + 1  # type: ignore[attr-defined]
        try:
            super().perform(pool, station, job)
        finally:
            with pool.changed:
                pool.busy -= 1  # type: ignore[attr-defined]
                pool.changed.notify_all()

    @classmethod
    def lose_worker(cls, pool: Pool, job: Job, cause: BaseException) -> None:
        with pool.changed:
            pool.changed.wait_for(lambda: pool.busy <= 1)  # type: ignore[attr-defined]
        super().lose_worker(pool, job, cause)


@mutant(
    "worker_loss.busy_calls_end_at_a_loss",
    says="waited",
    also=(
        "worker_loss.loss_is_noticed_while_others_are_busy",
        "worker_loss.loss_of_a_new_worker_is_noticed_while_others_are_busy",
    ),
    deadline=3,
)
class BusyCallsAreForgotten(ProcessExecutor):
    """When the pool breaks, the calls that other workers were running stay pending."""

    @classmethod
    def lose_worker(cls, pool: Pool, job: Job, cause: BaseException) -> None:
        if pool.broken is None:
            super().lose_worker(pool, job, cause)


@mutant("worker_loss.exit_code_is_told", says="does not tell the exit code", also=("worker_loss.signal_is_told",))
class LossSaysNothing(ProcessExecutor):
    """The error of a lost worker's call does not say how the worker ended."""

    @classmethod
    def broken_error(cls, pool: Pool) -> BrokenExecutor:
        return cls.broken_type("a worker was lost")


@mutant("worker_loss.each_future_has_its_own_broken_error", says="share an exception object")
class BrokenErrorIsShared(ProcessExecutor):
    """All futures of a broken pool have the same exception object."""

    @classmethod
    def broken_error(cls, pool: Pool) -> BrokenExecutor:
        with pool.changed:
            if not hasattr(pool, "error"):
                pool.error = super().broken_error(pool)  # type: ignore[attr-defined]
            return pool.error  # type: ignore[attr-defined,no-any-return]


@mutant(
    "worker_loss.shutdown_after_a_loss_returns",
    says="waited",
    also=("worker_loss.loss_during_shutdown_ends_it",),
    deadline=9,
)
class ShutdownWaitsForTheLost(ProcessExecutor):
    """shutdown() waits long for the calls that a broken pool has failed."""

    @classmethod
    def break_pool(cls, pool: Pool, cause: BaseException) -> None:
        pool.failed = len(pool.jobs)  # type: ignore[attr-defined]
        super().break_pool(pool, cause)

    def join(self) -> None:
        super().join()
        if getattr(self.pool, "failed", 0) >= 3:
            threading.Event().wait(8)  # for a while: so that the kit can go on


@mutant("worker_loss.loss_while_a_large_argument_is_sent", says="waited", deadline=4)
class LargeCallsAreForgotten(ProcessExecutor):
    """When the pool breaks, the calls whose arguments are large stay pending."""

    @classmethod
    def break_pool(cls, pool: Pool, cause: BaseException) -> None:
        with pool.changed:
            for job in [job for job in pool.jobs if len(job.parcel) > 65536]:
                pool.jobs.remove(job)
        super().break_pool(pool, cause)
