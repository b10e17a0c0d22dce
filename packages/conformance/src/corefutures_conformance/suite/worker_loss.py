"""Chapter "worker loss": a table of moment × way in which a worker ends, and what becomes of every call.

Moments: starting, unpickling, running, pickling, idle. Ways: SystemExit, os._exit, kill, crash. Each row is a
rule; the rules after the table are on the other calls, the pool, and whoever waits.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed, wait
from typing import Any

from corefutures_conformance.background import BackgroundCall
from corefutures_conformance.deadlines import (
    Overdue,
    all_done,
    brief,
    done,
    error_of,
    finishes,
    limit,
    result_of,
    until,
)
from corefutures_conformance.fixtures import ExecutorFactory, GateFactory
from corefutures_conformance.rules import only_where, requires
from corefutures_conformance.worker import calls, carrying, hostile
from corefutures_conformance.worker.gates import Gate
from corefutures_conformance.worker.journal import Journal


class WorkerLoss:
    """Rules on workers that end before their call does."""

    # The table

    @requires(same_process=False)
    def test_kill_while_running(self, make: ExecutorFactory, capabilities: Mapping[str, bool]) -> None:
        """A call whose worker is killed while it runs MUST end with BrokenExecutor, or with an error of its
        own if the pool survives. (manual: BrokenProcessPool)
        """
        _lost(make, capabilities["survives_worker_loss"], calls.kill_process)

    @requires(same_process=False)
    def test_crash_while_running(self, make: ExecutorFactory, capabilities: Mapping[str, bool]) -> None:
        """A call that crashes its worker MUST end with BrokenExecutor, or with an error of its own if the
        pool survives. (manual: BrokenProcessPool)
        """
        _lost(make, capabilities["survives_worker_loss"], calls.crash_process)

    @requires(same_process=False)
    def test_os_exit_while_running(self, make: ExecutorFactory, capabilities: Mapping[str, bool]) -> None:
        """A call that ends its worker by os._exit MUST end with BrokenExecutor, or with an error of its own
        if the pool survives. (manual: BrokenProcessPool)
        """
        _lost(make, capabilities["survives_worker_loss"], calls.leave_process, 3)

    @requires(same_process=False)
    def test_os_exit_with_status_zero_while_running(
        self, make: ExecutorFactory, capabilities: Mapping[str, bool]
    ) -> None:
        """A call that ends its worker with exit status 0 MUST end with BrokenExecutor, or with an error of
        its own if the pool survives. (manual: BrokenProcessPool)
        """
        _lost(make, capabilities["survives_worker_loss"], calls.leave_process, 0)

    def test_system_exit_while_running(self, executor: Executor) -> None:
        """SystemExit raised by a call MUST reach the caller as the call's exception. (manual:
        Future.result)
        """
        error = error_of(executor.submit(calls.raise_new, SystemExit, 5), "the future of a call that raises SystemExit")
        assert isinstance(error, SystemExit), f"a call's SystemExit arrived as {brief(error)}"
        assert error.code == 5, f"a call's SystemExit arrived with the code {brief(error.code)}, not 5"

    def test_system_exit_loses_no_worker(self, executor: Executor) -> None:
        """An executor MUST go on after a call raised SystemExit. (manual: Future.result)"""
        for _ in range(3):
            error_of(executor.submit(calls.raise_new, SystemExit, 0), "the future of a call that raises SystemExit")
        found = result_of(executor.submit(calls.echo, "alive"), "a call after calls that raised SystemExit")
        assert found == "alive", f"the call after a SystemExit returned {brief(found)}"

    @requires("pickles", same_process=False)
    def test_os_exit_while_unpickling(self, make: ExecutorFactory, capabilities: Mapping[str, bool]) -> None:
        """A call whose worker ends while it unpickles the arguments MUST end with BrokenExecutor, or with an
        error of its own if the pool survives. (manual: BrokenProcessPool)
        """
        _lost(make, capabilities["survives_worker_loss"], calls.echo, hostile.AtUnpickling(hostile.vanish))

    @requires("pickles", same_process=False)
    def test_crash_while_unpickling(self, make: ExecutorFactory, capabilities: Mapping[str, bool]) -> None:
        """A call whose worker crashes while it unpickles the arguments MUST end with BrokenExecutor, or with
        an error of its own if the pool survives. (manual: BrokenProcessPool)
        """
        _lost(make, capabilities["survives_worker_loss"], calls.echo, hostile.AtUnpickling(hostile.crash))

    @requires("pickles", same_process=False)
    def test_kill_while_unpickling(self, make: ExecutorFactory, capabilities: Mapping[str, bool]) -> None:
        """A call whose worker is killed while it unpickles the arguments MUST end with BrokenExecutor, or
        with an error of its own if the pool survives. (manual: BrokenProcessPool)
        """
        _lost(make, capabilities["survives_worker_loss"], calls.echo, hostile.AtUnpickling(calls.kill_process))

    @requires("pickles")
    def test_system_exit_while_unpickling(self, make: ExecutorFactory) -> None:
        """A call whose arguments raise SystemExit when the worker unpickles them MUST end with an error.
        (manual: ProcessPoolExecutor)
        """
        _not_stuck(make, calls.echo, hostile.AtUnpickling(hostile.leave))

    @requires("pickles", same_process=False)
    def test_os_exit_while_pickling(self, make: ExecutorFactory, capabilities: Mapping[str, bool]) -> None:
        """A call whose worker ends while it pickles the result MUST end with BrokenExecutor, or with an error
        of its own if the pool survives. (manual: BrokenProcessPool)
        """
        _lost(make, capabilities["survives_worker_loss"], hostile.make_at_pickling, hostile.vanish)

    @requires("pickles", same_process=False)
    def test_crash_while_pickling(self, make: ExecutorFactory, capabilities: Mapping[str, bool]) -> None:
        """A call whose worker crashes while it pickles the result MUST end with BrokenExecutor, or with an
        error of its own if the pool survives. (manual: BrokenProcessPool)
        """
        _lost(make, capabilities["survives_worker_loss"], hostile.make_at_pickling, hostile.crash)

    @requires("pickles", same_process=False)
    def test_kill_while_pickling(self, make: ExecutorFactory, capabilities: Mapping[str, bool]) -> None:
        """A call whose worker is killed while it pickles the result MUST end with BrokenExecutor, or with an
        error of its own if the pool survives. (manual: BrokenProcessPool)
        """
        _lost(make, capabilities["survives_worker_loss"], hostile.make_at_pickling, calls.kill_process)

    @requires("pickles")
    def test_system_exit_while_pickling(self, make: ExecutorFactory) -> None:
        """A call whose result raises SystemExit when the worker pickles it MUST end with an error. (manual:
        ProcessPoolExecutor)
        """
        _not_stuck(make, hostile.make_at_pickling, hostile.leave)

    @requires("pickles", same_process=False)
    def test_crash_while_pickling_an_exception(self, make: ExecutorFactory, capabilities: Mapping[str, bool]) -> None:
        """A call whose worker crashes while it pickles the call's exception MUST end with BrokenExecutor, or
        with an error of its own if the pool survives. (manual: BrokenProcessPool)
        """
        _lost(make, capabilities["survives_worker_loss"], hostile.raise_at_pickling, hostile.crash)

    @requires("accepts_initializer", same_process=False)
    def test_os_exit_while_starting(self, make: ExecutorFactory, capabilities: Mapping[str, bool]) -> None:
        """Calls MUST fail with BrokenExecutor when every worker ends in its initializer, or with another
        error if the pool survives losses. (manual: ProcessPoolExecutor)
        """
        executor = make(max_workers=1, initializer=calls.leave_process, initargs=(4,))
        try:
            future = finishes(lambda: executor.submit(calls.nothing), "submit()")
        except BrokenExecutor:
            return
        error = error_of(future, "a call in a pool whose workers end while they start")
        if not capabilities["survives_worker_loss"]:
            assert isinstance(error, BrokenExecutor), (
                f"calls of a pool whose workers end as they start got {brief(error)}"
            )

    @requires(same_process=False, remote=False)
    def test_kill_from_outside(self, make: ExecutorFactory, gate: Gate, capabilities: Mapping[str, bool]) -> None:
        """A call whose worker is killed from outside MUST end: with BrokenExecutor, unless the pool survives.
        (manual: BrokenProcessPool)
        """
        executor = make(max_workers=1)
        future = executor.submit(carrying.announce_pid, gate)
        gate.await_arrivals()
        _kill(int(gate.arrived[0]))
        if capabilities["survives_worker_loss"]:
            gate.open()  # it may be run again
            done(future, "the future of a call whose worker was killed from outside")
            return
        error = error_of(future, "the future of a call whose worker was killed from outside")
        assert isinstance(error, BrokenExecutor), f"a killed worker's call failed with {brief(error)}"

    @requires(same_process=False, remote=False)
    def test_kill_while_idle(self, make: ExecutorFactory, capabilities: Mapping[str, bool]) -> None:
        """After an idle worker was killed, a call MUST end: with a result from another worker, or with
        BrokenExecutor, or another error if the pool survives. (manual: BrokenProcessPool)
        """
        executor = make(max_workers=1)
        pid = result_of(executor.submit(calls.place))[0]
        _kill(pid)
        try:
            future = finishes(lambda: executor.submit(calls.echo, "alive"), "submit()")
            found = result_of(future, "a call after the idle worker was killed")
        except Overdue:
            raise
        except Exception as error:
            if not (capabilities["survives_worker_loss"] or isinstance(error, BrokenExecutor)):
                raise AssertionError(f"a call after the idle worker was killed failed with {brief(error)}") from error
            return
        assert found == "alive", f"a call after the idle worker was killed returned {brief(found)}"

    # The other calls

    @requires(same_process=False, survives_worker_loss=False)
    def test_waiting_calls_end_at_a_loss(self, executor: Executor, gate: Gate) -> None:
        """Calls that wait when the pool breaks MUST end with BrokenExecutor. (manual: BrokenProcessPool)"""
        _, waiting = _break(executor, gate)
        for future in waiting:
            error = error_of(future, "a call that waited when the pool broke")
            assert isinstance(error, BrokenExecutor), (
                f"a call that waited when the pool broke failed with {brief(error)}"
            )

    @requires(same_process=False, survives_worker_loss=False)
    def test_broken_pool_refuses_submit(self, executor: Executor) -> None:
        """submit() MUST raise BrokenExecutor once the pool is broken. (manual: BrokenExecutor)"""
        error_of(executor.submit(calls.kill_process), "the future of a call whose worker was killed")
        try:
            future = finishes(lambda: executor.submit(calls.echo, 1), "submit() to a broken pool")
        except BrokenExecutor:
            return
        except Exception as error:
            raise AssertionError(f"submit() to a broken pool raised {brief(error)}, no BrokenExecutor") from error
        raise AssertionError(f"submit() to a broken pool was accepted: {brief(future)}")

    @requires(same_process=False, survives_worker_loss=False)
    def test_broken_pool_refuses_map(self, executor: Executor) -> None:
        """map() MUST raise BrokenExecutor once the pool is broken. (manual: BrokenExecutor)"""
        error_of(executor.submit(calls.kill_process), "the future of a call whose worker was killed")
        try:
            found = finishes(lambda: list(executor.map(calls.echo, [1, 2])), "map() on a broken pool")
        except BrokenExecutor:
            return
        raise AssertionError(f"map() on a broken pool returned {brief(found)}")

    @requires(same_process=False)
    def test_map_ends_at_a_loss(self, executor: Executor) -> None:
        """map's iterator MUST raise the error when a worker is lost. (manual: BrokenProcessPool)"""
        results = executor.map(calls.leave_process, [5, 5, 5])
        try:
            found: object = finishes(lambda: next(results), "next() of a map whose worker was lost")
        except StopIteration as error:
            raise AssertionError("a map whose worker was lost ended as if all were well") from error
        except Overdue:
            raise
        except Exception:
            return
        raise AssertionError(f"a map whose worker was lost yielded {brief(found)}")

    @requires(same_process=False)
    def test_cancelled_calls_stay_cancelled_at_a_loss(self, executor: Executor, gate: Gate) -> None:
        """A call cancelled before the pool breaks MUST stay cancelled, and the others end. (manual:
        Future.cancelled)
        """
        lost = executor.submit(carrying.at_gate, gate, calls.kill_process)
        waiting = [executor.submit(calls.echo, number) for number in range(9)]
        gate.await_arrivals()
        cancelled = [future for future in waiting[2::3] if future.cancel()]
        gate.open()
        all_done([lost, *waiting], "every call to end after a loss with cancelled calls")
        for future in waiting:
            if future in cancelled:
                assert future.cancelled(), "a cancelled call was no longer cancelled after the pool broke"
            else:
                assert not future.cancelled(), "a call that nobody cancelled was cancelled when the pool broke"

    @requires(same_process=False)
    def test_callbacks_run_at_a_loss(self, executor: Executor, gate: Gate) -> None:
        """Callbacks of calls that end because a worker was lost MUST be called once. (manual:
        Future.add_done_callback)
        """
        called: list[Future[Any]] = []
        lost = executor.submit(carrying.at_gate, gate, calls.kill_process)
        futures = [lost, *(executor.submit(calls.echo, number) for number in range(4))]
        for future in futures:
            future.add_done_callback(called.append)
        gate.await_arrivals()
        gate.open()
        until(lambda: len(called) >= len(futures), "the callbacks of calls that end because a worker was lost")
        all_done(futures)
        assert sorted(map(id, called)) == sorted(map(id, futures)), (
            f"{len(called)} callbacks ran for {len(futures)} futures"
        )

    @requires(same_process=False)
    def test_wait_wakes_at_a_loss(self, executor: Executor, gate: Gate) -> None:
        """wait() MUST return when the calls it waits for end because a worker was lost. (manual: wait)"""
        futures = _doomed(executor, gate)
        waits = BackgroundCall(lambda: wait(futures), "wait() for calls whose worker was lost")
        assert waits.goes_on(), "wait() returned before the worker was lost"
        gate.open()
        found = waits.outcome()
        assert not found.not_done, f"wait() for calls whose worker was lost left {len(found.not_done)} of them"

    @requires(same_process=False)
    def test_as_completed_ends_at_a_loss(self, executor: Executor, gate: Gate) -> None:
        """as_completed() MUST yield the calls that end because a worker was lost. (manual: as_completed)"""
        futures = _doomed(executor, gate)
        takes = BackgroundCall(lambda: list(as_completed(futures)), "as_completed() over calls whose worker was lost")
        assert takes.goes_on(), "as_completed() ended before the worker was lost"
        gate.open()
        found = takes.outcome()
        assert len(found) == 9, f"as_completed() yielded {len(found)} of 9 calls after a loss"

    @requires(same_process=False, remote=False)
    def test_lost_call_runs_once(self, executor: Executor, journal: Journal) -> None:
        """A call whose worker was lost SHOULD not be run again. (promise E1)"""
        future = executor.submit(carrying.note_and_act, journal, "ran", calls.kill_process)
        done(future, "the future of a call whose worker was killed")
        ran = len(journal.entries)
        assert ran == 1, f"a call whose worker was lost ran {ran} times"

    @requires(same_process=False)
    def test_finished_calls_keep_their_results_at_a_loss(self, executor: Executor) -> None:
        """A loss MUST not change the futures that were done before. (manual: Future.result)"""
        early = executor.submit(calls.echo, "early")
        result_of(early)
        done(executor.submit(calls.kill_process), "the future of a call whose worker was killed")
        found = result_of(early)
        assert found == "early", f"a result became {brief(found)} when the pool broke"

    # Promptly, also while others are busy

    @requires(same_process=False)
    def test_loss_is_noticed_while_others_are_busy(self, make: ExecutorFactory, gates: GateFactory) -> None:
        """A lost worker SHOULD be noticed while other workers are busy. (promise E5)"""
        executor = make(max_workers=2)
        met = gates()
        both: list[Future[None]] = [executor.submit(calls.pass_gate, met) for _ in range(2)]
        met.await_arrivals(2)
        met.open()
        all_done(both)
        _while_busy(executor, gates(), gates())

    @requires(same_process=False)
    def test_loss_of_a_new_worker_is_noticed_while_others_are_busy(
        self, make: ExecutorFactory, gates: GateFactory
    ) -> None:
        """A worker lost in its first call SHOULD be noticed while other workers are busy. (promise E5)"""
        _while_busy(make(max_workers=2), gates(), gates())

    @requires(same_process=False)
    def test_busy_calls_end_at_a_loss(self, make: ExecutorFactory, gates: GateFactory) -> None:
        """A call that runs while another worker is lost MUST end, with its result or an error. (manual:
        BrokenProcessPool)
        """
        executor = make(max_workers=2)
        gate, other = gates(), gates()
        busy = executor.submit(calls.pass_gate, gate, "busy")
        lost = executor.submit(carrying.at_gate, other, calls.kill_process)
        gate.await_arrivals()
        other.await_arrivals()
        other.open()
        try:
            until(lost.done, "", limit() / 6)
        except Overdue:
            pass  # noticed late: another rule's concern
        gate.open()
        all_done([busy, lost], "both calls to end after one worker was lost")
        assert isinstance(lost.exception(), Exception), "the call whose worker was killed has no exception"

    # What the error says

    @requires(same_process=False)
    def test_lost_call_fails_with_broken_executor(self, executor: Executor) -> None:
        """A lost worker's call SHOULD fail with BrokenExecutor, also where the pool survives. (promise E5)"""
        error = error_of(executor.submit(calls.kill_process), "the future of a call whose worker was killed")
        assert isinstance(error, BrokenExecutor), f"a lost worker's call failed with {brief(error)}, no BrokenExecutor"

    @requires(same_process=False, remote=False)
    def test_exit_code_is_told(self, executor: Executor) -> None:
        """The error of a lost worker's call SHOULD tell the exit code. (promise E5)"""
        error = error_of(executor.submit(calls.leave_process, 93), "the future of a call whose worker ended")
        assert "93" in _chain_text(error), f"the error does not tell the exit code 93: {brief(_chain_text(error))}"

    @requires(same_process=False, remote=False)
    @only_where(os.name == "posix", "signals end processes on POSIX only")
    def test_signal_is_told(self, executor: Executor) -> None:
        """The error of a killed worker's call SHOULD tell the signal. (promise E5)"""
        error = error_of(executor.submit(calls.kill_process), "the future of a call whose worker was killed")
        text = _chain_text(error)
        assert "SIGKILL" in text or "-9" in text or "137" in text, f"the error does not tell the signal: {brief(text)}"

    @requires(same_process=False, survives_worker_loss=False)
    def test_each_future_has_its_own_broken_error(self, executor: Executor, gate: Gate) -> None:
        """Each future of a broken pool SHOULD have an exception object of its own. (promise E5)"""
        lost, waiting = _break(executor, gate)
        errors = [error_of(future, "a call of a broken pool") for future in [lost, *waiting]]
        assert len(set(map(id, errors))) == len(errors), "futures of a broken pool share an exception object"

    # Afterwards

    @requires(same_process=False)
    def test_shutdown_after_a_loss_returns(self, executor: Executor, gate: Gate) -> None:
        """shutdown() MUST return after a worker was lost. (manual: Executor.shutdown)"""
        lost, waiting = _break(executor, gate)
        finishes(lambda: executor.shutdown(wait=True), "shutdown() after a loss")
        late = sum(not future.done() for future in [lost, *waiting])
        assert late == 0, f"shutdown() after a loss returned with {late} calls unfinished"

    @requires(same_process=False)
    def test_loss_during_shutdown_ends_it(self, executor: Executor, gate: Gate) -> None:
        """shutdown() MUST return when a worker is lost while it waits. (manual: Executor.shutdown)"""
        lost = executor.submit(carrying.at_gate, gate, calls.kill_process)
        waiting = [executor.submit(calls.echo, number) for number in range(3)]
        gate.await_arrivals()
        executor.shutdown(wait=False)
        gate.open()
        finishes(lambda: executor.shutdown(wait=True), "shutdown() while a worker is lost")
        all_done([lost, *waiting], "every call to end after a loss during shutdown")

    @requires("pickles", same_process=False)
    def test_loss_while_a_large_argument_is_sent(self, executor: Executor, gate: Gate) -> None:
        """Calls MUST end when the worker is lost while large arguments are on their way. (manual:
        BrokenProcessPool)
        """
        lost = executor.submit(carrying.at_gate, gate, calls.kill_process)
        large = [executor.submit(carrying.summary, carrying.payload(8_000_000)) for _ in range(3)]
        gate.await_arrivals()
        gate.open()
        all_done([lost, *large], "calls with large arguments to end after a loss")
        assert lost.exception() is not None, "the call whose worker was killed has no exception"

    # Where the pool survives

    @requires("survives_worker_loss", same_process=False)
    def test_survivor_goes_on(self, executor: Executor) -> None:
        """A pool that survives SHOULD go on after each loss, also several in a row. (promise E5)"""
        for number in range(2):
            done(executor.submit(calls.kill_process), "the future of a call whose worker was killed")
            found = result_of(executor.submit(calls.echo, number), f"a call after loss number {number + 1}")
            assert found == number, f"the call after a loss returned {brief(found)}"

    @requires("survives_worker_loss", same_process=False)
    def test_survivor_runs_the_waiting_calls(self, executor: Executor, gate: Gate) -> None:
        """A pool that survives SHOULD fail the lost call alone, and run those that waited. (promise E1)"""
        lost, waiting = _break(executor, gate)
        found = [result_of(future, "a call that waited when a worker was lost") for future in waiting]
        assert found == list(range(8)), f"the calls that waited returned {brief(found)}"
        error_of(lost)

    @requires("survives_worker_loss", same_process=False)
    def test_survivor_spares_the_other_workers(self, make: ExecutorFactory, gates: GateFactory) -> None:
        """A pool that survives SHOULD not disturb calls on other workers. (promise E1)"""
        executor = make(max_workers=2)
        gate, other = gates(), gates()
        busy = executor.submit(calls.pass_gate, gate, "busy")
        lost = executor.submit(carrying.at_gate, other, calls.kill_process)
        gate.await_arrivals()
        other.await_arrivals()
        other.open()
        error_of(lost, "the future of a call whose worker was killed")
        gate.open()
        found = result_of(busy, "the call of the other worker")
        assert found == "busy", f"the call of the other worker returned {brief(found)}"

    @requires("survives_worker_loss", same_process=False)
    def test_survivor_replaces_every_worker(self, make: ExecutorFactory, gate: Gate) -> None:
        """A pool that survives SHOULD have all its workers again after losses. (promise E2)"""
        executor = make(max_workers=2)
        for future in [executor.submit(calls.kill_process) for _ in range(2)]:
            done(future, "the future of a call whose worker was killed")
        both = [executor.submit(calls.pass_gate, gate, number) for number in range(2)]
        gate.await_arrivals(2)
        gate.open()
        found = [result_of(future) for future in both]
        assert found == [0, 1], f"calls after losses returned {brief(found)}"


def _kill(pid: int) -> None:
    os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))


def _chain_text(error: BaseException) -> str:
    """All that an error and those that caused it say."""
    said: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(said) < 20:
        said.append(f"{type(cause).__name__}: {cause} {vars(cause)}")
        cause = cause.__cause__ or cause.__context__
    return "\n".join(said)


def _lost(make: ExecutorFactory, survives: bool, fn: Callable[..., Any], *args: object) -> None:
    """Submit a call that takes its worker down; it must end with the right error."""
    executor = make(max_workers=1)
    future = executor.submit(fn, *args)
    error = error_of(future, "the future of a call whose worker was lost")
    if not survives:
        assert isinstance(error, BrokenExecutor), f"a lost worker's call failed with {brief(error)}, no BrokenExecutor"


def _not_stuck(make: ExecutorFactory, fn: Callable[..., Any], *args: object) -> None:
    """Submit a call that fails in a way which may or may not take the worker down."""
    executor = make(max_workers=1)
    error_of(executor.submit(fn, *args), "the future of a call that failed outside its function")


def _doomed(executor: Executor, gate: Gate) -> list[Future[Any]]:
    """A call that loses the one worker when the gate opens, and eight that wait behind it."""
    lost = executor.submit(carrying.at_gate, gate, calls.kill_process)
    waiting: list[Future[Any]] = [executor.submit(calls.echo, number) for number in range(8)]
    gate.await_arrivals()
    return [lost, *waiting]


def _break(executor: Executor, gate: Gate) -> tuple[Future[Any], list[Future[Any]]]:
    """Lose the one worker while eight calls wait; the call that was lost, and those that waited."""
    lost, *waiting = _doomed(executor, gate)
    gate.open()
    return lost, waiting


def _while_busy(executor: Executor, gate: Gate, other: Gate) -> None:
    busy = executor.submit(calls.pass_gate, gate, "busy")
    gate.await_arrivals()
    lost = executor.submit(carrying.at_gate, other, calls.kill_process)
    other.await_arrivals()
    other.open()
    until(lost.done, "a lost worker to be noticed while another worker is busy", limit() / 3)
    gate.open()
    try:
        found = result_of(busy, "a busy worker's call after another worker was lost")
    except Overdue:
        raise
    except Exception:
        return
    assert found == "busy", f"a busy worker's call returned {brief(found)} after another worker was lost"
