"""Chapter "initializing": once in each worker, before its calls; a failing initializer breaks the pool."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed, wait
from typing import Any

from corefutures_conformance.background import BackgroundCall
from corefutures_conformance.deadlines import (
    all_done,
    brief,
    error_of,
    finishes,
    result_of,
    short_limit,
    until,
)
from corefutures_conformance.fixtures import ExecutorFactory, GateFactory
from corefutures_conformance.rules import requires
from corefutures_conformance.worker import calls, hostile, memory
from corefutures_conformance.worker.gates import Gate
from corefutures_conformance.worker.journal import Journal

REASON = "planted by the rule"


def attempt(executor: Executor, fn: Callable[..., Any], *args: Any) -> Future[Any]:
    """Submit a call; where the pool is known as broken already, a future that failed with the error of
    submit().
    """
    try:
        return finishes(lambda: executor.submit(fn, *args), "submit() beside a failing initializer")
    except BrokenExecutor as error:
        refused: Future[Any] = Future()
        refused.set_exception(error)
        return refused


def broken_error_of(future: Future[Any], whose: str) -> BaseException:
    """The error of a future that must have failed with a broken-pool error."""
    error = error_of(future, f"{whose} to fail")
    assert isinstance(error, BrokenExecutor), f"{whose} failed with {brief(error)}, which is no BrokenExecutor"
    return error


def broken(make: ExecutorFactory, *, max_workers: int = 1) -> Executor:
    """An executor whose initializer has failed."""
    executor = make(max_workers=max_workers, initializer=memory.fail_to_start, initargs=(REASON,))
    broken_error_of(attempt(executor, calls.nothing), "a call whose worker's initializer failed")
    return executor


def chain(error: BaseException) -> list[BaseException]:
    """The error and everything that led to it."""
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        current = current.__cause__ or current.__context__
    return found


class Initializing:
    """Rules on `initializer` and `initargs`."""

    # What it does

    @requires("accepts_initializer")
    def test_initializer_runs_in_the_worker_before_its_calls(
        self, make: ExecutorFactory, capabilities: Mapping[str, bool]
    ) -> None:
        """The initializer MUST run in the worker, before its first call. (manual: ThreadPoolExecutor)"""
        executor = make(max_workers=1, initializer=memory.remember, initargs=("ready",))
        found = result_of(executor.submit(memory.remembered, capabilities["shares_memory"]))
        assert ("ready",) in found, f"the first call found {brief(found)}: the initializer had not run in its worker"

    @requires("accepts_initializer")
    def test_initializer_gets_its_arguments(self, make: ExecutorFactory, capabilities: Mapping[str, bool]) -> None:
        """The initializer MUST be called with the items of initargs. (manual: ThreadPoolExecutor)"""
        for arguments in ((), (1,), ("a", None, [1, 2]), ((1, 2),)):
            executor = make(max_workers=1, initializer=memory.remember, initargs=arguments)
            found = result_of(executor.submit(memory.remembered, capabilities["shares_memory"]))
            assert found[-1:] == [arguments], f"with initargs={arguments} the initializer got {brief(found)}"

    @requires("accepts_initializer")
    def test_initializer_needs_no_arguments(self, make: ExecutorFactory, capabilities: Mapping[str, bool]) -> None:
        """The initializer MUST be called without arguments where no initargs are given. (manual:
        ThreadPoolExecutor)
        """
        executor = make(max_workers=1, initializer=memory.remember)
        found = result_of(executor.submit(memory.remembered, capabilities["shares_memory"]))
        assert found == [()], f"without initargs the initializer left {brief(found)}, not one call without arguments"

    @requires("accepts_initializer")
    def test_initializer_runs_once_in_a_worker(self, make: ExecutorFactory, capabilities: Mapping[str, bool]) -> None:
        """The initializer MUST run once in a worker, however many calls it runs. (manual:
        ThreadPoolExecutor)
        """
        executor = make(max_workers=1, initializer=memory.remember, initargs=("once",))
        for number in range(5):
            found = result_of(executor.submit(memory.remembered, capabilities["shares_memory"]))
            assert found == [("once",)], (
                f"before call {number} the initializer had run {len(found)} times in its worker"
            )

    @requires("accepts_initializer")
    def test_initializer_runs_in_every_worker(
        self, make: ExecutorFactory, gate: Gate, capabilities: Mapping[str, bool]
    ) -> None:
        """The initializer MUST run in every worker. (manual: ThreadPoolExecutor)"""
        executor = make(max_workers=2, initializer=memory.remember, initargs=("each",))
        futures = [executor.submit(memory.pass_gate_and_tell, gate, capabilities["shares_memory"]) for _ in range(2)]
        gate.await_arrivals(2)
        gate.open()
        found = [result_of(future) for future in futures]
        assert found == [[("each",)]] * 2, f"in two workers the initializer left {brief(found)}"

    @requires("accepts_initializer", "survives_worker_loss")
    def test_initializer_runs_in_a_worker_that_replaces_another(
        self, make: ExecutorFactory, capabilities: Mapping[str, bool]
    ) -> None:
        """The initializer MUST run in a worker that replaces a lost one. (manual: ProcessPoolExecutor)"""
        executor = make(max_workers=1, initializer=memory.remember, initargs=("again",))
        error_of(executor.submit(calls.kill_process), "the end of a call whose worker was killed")
        found = result_of(executor.submit(memory.remembered, capabilities["shares_memory"]))
        assert found == [("again",)], f"in a worker that replaced a lost one the initializer left {brief(found)}"

    @requires("accepts_initializer")
    def test_initializer_may_return_anything(self, make: ExecutorFactory) -> None:
        """What the initializer returns MUST not matter. (manual: ThreadPoolExecutor)"""
        for value in (None, False, 0, "text"):
            executor = make(max_workers=1, initializer=calls.echo, initargs=(value,))
            found = result_of(executor.submit(calls.echo, "ran"))
            assert found == "ran", f"after an initializer that returned {value!r} a call gave {brief(found)}"

    @requires("accepts_initializer")
    def test_initializer_may_be_none(self, make: ExecutorFactory) -> None:
        """An executor MUST take None as initializer for having none. (manual: ThreadPoolExecutor)"""
        executor = make(max_workers=1, initializer=None, initargs=())
        found = result_of(executor.submit(calls.echo, "ran"))
        assert found == "ran", f"with initializer=None a call gave {brief(found)}"

    @requires("accepts_initializer")
    def test_initializer_that_is_not_callable_is_not_ignored(self, make: ExecutorFactory) -> None:
        """An initializer that is not callable SHOULD be refused with TypeError, or break the pool. (manual:
        ThreadPoolExecutor)
        """
        try:
            executor = finishes(lambda: make(max_workers=1, initializer=5), "making an executor")
        except TypeError:
            return
        future = attempt(executor, calls.echo, "ran")
        all_done([future])
        assert isinstance(future.exception(timeout=0), BrokenExecutor), (
            f"with the number 5 as initializer a call ended as if nothing was wrong: {brief(future)}"
        )

    @requires(accepts_initializer=False)
    def test_initializer_is_refused_where_it_is_not_supported(self, make: ExecutorFactory) -> None:
        """An executor without initializers SHOULD refuse one with TypeError. (manual: ThreadPoolExecutor)"""
        try:
            finishes(lambda: make(max_workers=1, initializer=memory.remember, initargs=()), "making an executor")
        except TypeError:
            return
        raise AssertionError("an executor that has no initializers took one without a word")

    # When it fails

    @requires("accepts_initializer")
    def test_failing_initializer_fails_the_pending_call(self, make: ExecutorFactory) -> None:
        """A call whose worker's initializer raised MUST fail with a broken-pool error. (manual:
        ThreadPoolExecutor)
        """
        executor = make(max_workers=1, initializer=memory.fail_to_start, initargs=(REASON,))
        broken_error_of(attempt(executor, calls.nothing), "a call whose worker's initializer failed")

    @requires("accepts_initializer")
    def test_failing_initializer_fails_every_pending_call(self, make: ExecutorFactory, gate: Gate) -> None:
        """All pending calls MUST fail with a broken-pool error when an initializer raises. (manual:
        ThreadPoolExecutor)
        """
        executor = self._failing_at(make, gate)
        futures = [attempt(executor, calls.nothing) for _ in range(6)]
        gate.open()
        for number, future in enumerate(futures):
            broken_error_of(future, f"pending call {number} of a pool whose initializer failed")

    @requires("accepts_initializer")
    def test_failing_initializer_runs_no_call(self, make: ExecutorFactory, gate: Gate, journal: Journal) -> None:
        """No call MUST be run by a worker whose initializer raised. (manual: ThreadPoolExecutor)"""
        executor = self._failing_at(make, gate)
        futures = [attempt(executor, calls.note, journal, number) for number in range(3)]
        gate.open()
        all_done(futures)
        assert journal.entries == [], f"calls ran in a worker whose initializer failed: {journal.entries}"

    @requires("accepts_initializer")
    def test_failing_initializer_makes_submit_fail(self, make: ExecutorFactory) -> None:
        """submit() MUST raise a broken-pool error once an initializer has raised. (manual:
        ThreadPoolExecutor)
        """
        executor = broken(make)

        def refused() -> bool:
            try:
                executor.submit(calls.nothing)
            except BrokenExecutor:
                return True
            except BaseException as error:
                raise AssertionError(f"submit() to a broken pool raised {brief(error)}") from error
            return False

        until(refused, "submit() to a pool whose initializer failed to raise BrokenExecutor", short_limit())
        assert refused(), "submit() to a pool whose initializer failed raised once, and not again"

    @requires("accepts_initializer")
    def test_failing_initializer_makes_map_fail(self, make: ExecutorFactory) -> None:
        """map() MUST raise a broken-pool error once an initializer has raised. (manual:
        ThreadPoolExecutor)
        """
        executor = broken(make)
        try:
            found = finishes(lambda: list(executor.map(calls.echo, [1])), "map() on a broken pool")
        except BrokenExecutor:
            return
        raise AssertionError(f"map() on a pool whose initializer failed gave {brief(found)}")

    @requires("accepts_initializer")
    def test_failing_initializer_wakes_who_waits(self, make: ExecutorFactory, gate: Gate) -> None:
        """result(), wait(), as_completed() and callbacks MUST see that an initializer failed. (manual:
        ThreadPoolExecutor)
        """
        executor = self._failing_at(make, gate)
        future = attempt(executor, calls.nothing)
        seen: list[Future[Any]] = []
        future.add_done_callback(seen.append)
        asking = BackgroundCall(future.exception, "exception()")
        waits = BackgroundCall(lambda: wait([future]), "wait()")
        completes = BackgroundCall(lambda: list(as_completed([future])), "as_completed()")
        waits.goes_on()
        gate.open()
        found = asking.outcome()
        assert isinstance(found, BrokenExecutor), f"exception() gave {brief(found)} when an initializer failed"
        assert waits.outcome().done == {future}, "wait() did not report a call as done whose initializer failed"
        assert completes.outcome() == [future], "as_completed() did not give a call whose initializer failed"
        until(lambda: seen, "the callback of a call whose initializer failed")

    @requires("accepts_initializer")
    def test_failing_initializer_is_the_cause(self, make: ExecutorFactory) -> None:
        """The broken-pool error SHOULD have the initializer's own error as its cause. (promise E5)"""
        executor = make(max_workers=1, initializer=memory.fail_to_start, initargs=(REASON,))
        error = broken_error_of(attempt(executor, calls.nothing), "a call whose worker's initializer failed")
        causes = chain(error)[1:]
        assert any(isinstance(cause, hostile.HostileError) or REASON in str(cause) for cause in causes), (
            f"the broken-pool error does not lead to the initializer's error: it is caused by {brief(causes)}"
        )

    @requires("accepts_initializer")
    def test_failing_initializer_is_the_cause_in_submit(self, make: ExecutorFactory) -> None:
        """The error of submit() to a broken pool SHOULD have the initializer's error as its cause. (promise
        E5)
        """
        executor = broken(make)
        error = broken_error_of(attempt(executor, calls.nothing), "submit() to a pool whose initializer failed")
        causes = chain(error)[1:]
        assert any(isinstance(cause, hostile.HostileError) or REASON in str(cause) for cause in causes), (
            f"the error of submit() does not lead to the initializer's error: it is caused by {brief(causes)}"
        )

    @requires("accepts_initializer")
    def test_failing_initializer_gives_each_future_an_error_of_its_own(self, make: ExecutorFactory, gate: Gate) -> None:
        """Each call that an initializer's failure ends SHOULD get an exception object of its own.
        (promise E5)
        """
        executor = self._failing_at(make, gate)
        futures = [attempt(executor, calls.nothing) for _ in range(3)]
        gate.open()
        errors = [error_of(future, "a call of a pool whose initializer failed") for future in futures]
        assert len({id(error) for error in errors}) == 3, "three calls share one exception object"

    @requires("accepts_initializer")
    def test_failing_initializer_does_not_stop_shutdown(self, make: ExecutorFactory) -> None:
        """shutdown() of a pool whose initializer failed SHOULD return. (promise E6)"""
        for options in ({"wait": True}, {"wait": False}, {"wait": True, "cancel_futures": True}):
            executor = broken(make)
            finishes(lambda: executor.shutdown(**options), f"shutdown(**{options}) of a broken pool")  # noqa: B023

    @requires("accepts_initializer")
    def test_failing_initializer_ends_the_with_block(self, make: ExecutorFactory) -> None:
        """A `with` block whose pool's initializer failed SHOULD be left without another error. (promise E6)"""

        def block() -> None:
            with make(max_workers=1, initializer=memory.fail_to_start, initargs=(REASON,)) as executor:
                future = attempt(executor, calls.nothing)
                broken_error_of(future, "a call whose worker's initializer failed")

        finishes(block, "leaving the with block")

    @requires("accepts_initializer")
    def test_failing_initializer_during_shutdown_fails_the_pending_calls(
        self, make: ExecutorFactory, gate: Gate
    ) -> None:
        """The pending calls SHOULD end also when an initializer fails after shutdown(wait=False). (promise E1)"""
        executor = self._failing_at(make, gate)
        futures = [attempt(executor, calls.nothing) for _ in range(3)]
        finishes(lambda: executor.shutdown(wait=False), "shutdown(wait=False) before an initializer fails")
        gate.open()
        for future in futures:
            broken_error_of(future, "a call that waited at shutdown for a worker whose initializer failed")

    @requires("accepts_initializer")
    def test_failing_initializer_may_raise_system_exit(self, make: ExecutorFactory) -> None:
        """An initializer that raises SystemExit SHOULD break the pool as any other exception. (promise E5)"""
        executor = make(max_workers=1, initializer=memory.leave_at_start)
        broken_error_of(attempt(executor, calls.nothing), "a call whose worker's initializer raised SystemExit")

    @requires("accepts_initializer")
    def test_failing_initializer_breaks_one_executor_only(self, make: ExecutorFactory) -> None:
        """A failed initializer MUST break its own executor alone. (manual: ThreadPoolExecutor)"""
        healthy = make(max_workers=1)
        broken(make)
        for executor in (healthy, make(max_workers=1)):
            found = result_of(executor.submit(calls.echo, "well"))
            assert found == "well", "a failed initializer broke another executor"

    @requires("accepts_initializer")
    def test_failing_initializer_is_not_tried_for_ever(self, make: ExecutorFactory, journal: Journal) -> None:
        """A broken pool SHOULD not start workers again: a call to it fails at once. (promise E5)"""
        executor = make(max_workers=1, initializer=memory.note_and_fail, initargs=(journal, REASON))
        for _ in range(5):
            broken_error_of(attempt(executor, calls.nothing), "a call whose worker's initializer failed")
        tried = len(journal.entries)
        assert tried <= 1, f"with one worker the failing initializer was run {tried} times"

    @requires("accepts_initializer")
    def test_failing_initializer_in_a_second_worker_breaks_the_pool(
        self, make: ExecutorFactory, gate: Gate, folder: str
    ) -> None:
        """An initializer that raises in any worker MUST break the pool. (manual: ThreadPoolExecutor)"""
        executor = make(max_workers=2, initializer=memory.fail_unless_first, initargs=(folder, REASON))
        futures = [attempt(executor, calls.pass_gate, gate) for _ in range(2)]
        gate.open()

        def refused() -> bool:
            try:
                futures.append(executor.submit(calls.nothing))
            except BrokenExecutor:
                return True
            return False

        until(refused, "submit() to fail after the initializer failed in one of two workers")
        all_done(futures, "every future of a pool whose initializer failed in one of two workers")

    @requires("accepts_initializer")
    def test_failing_initializer_is_noticed_while_others_work(
        self, make: ExecutorFactory, gates: GateFactory, folder: str
    ) -> None:
        """A failed initializer SHOULD fail the pending calls at once, also while another worker is busy.
        (promise E5)
        """
        starting, working = gates(), gates()
        executor = self._made(make, starting, 2, memory.fail_unless_first, (folder, REASON, starting))
        futures = [attempt(executor, calls.pass_gate, working) for _ in range(3)]
        starting.await_arrivals()
        starting.open()
        until(
            lambda: any(future.done() for future in futures),
            "a pending call to fail after the initializer failed in one of two workers, the other being busy",
            short_limit(),
        )
        failed = next(future for future in futures if future.done())
        broken_error_of(failed, "a call that waited for a worker whose initializer failed")
        working.open()
        all_done(futures)

    @requires("accepts_initializer")
    def test_failing_initializer_leaves_finished_calls_alone(
        self, make: ExecutorFactory, gate: Gate, folder: str
    ) -> None:
        """Results from before an initializer failed SHOULD stay. (promise F1)"""
        executor = make(max_workers=2, initializer=memory.fail_unless_first, initargs=(folder, REASON))
        first = attempt(executor, calls.echo, "before")
        all_done([first])
        known = first.exception(timeout=0)
        futures = [attempt(executor, calls.pass_gate, gate) for _ in range(2)]
        gate.open()
        all_done(futures)
        assert first.exception(timeout=0) is known, "a failed initializer changed a future that had ended before"
        assert known is not None or first.result(timeout=0) == "before", "a failed initializer changed a result"

    def _failing_at(self, make: ExecutorFactory, gate: Gate) -> Executor:
        """An executor whose initializer waits at the gate and then fails."""
        return self._made(make, gate, 1, memory.pass_gate_and_fail, (gate, REASON))

    def _made(
        self,
        make: ExecutorFactory,
        gate: Gate,
        max_workers: int,
        initializer: Callable[..., Any],
        initargs: tuple[Any, ...],
    ) -> Executor:
        """An executor whose initializer waits at the gate.

        One that waits for its workers before it is there gets the gate opened at once: its pool breaks early.
        """
        making = BackgroundCall(
            lambda: make(max_workers=max_workers, initializer=initializer, initargs=initargs),
            "making an executor",
        )
        if making.goes_on(2.0):
            gate.open()
        return making.outcome()
