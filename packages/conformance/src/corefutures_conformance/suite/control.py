"""Chapter "control": limits, stopping, back-pressure, counts and context; owed by executors of `corefutures.Executor`.

Each ability has rules for those who declare it; who does not declare it refuses to be asked for it, in a sentence.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor
from contextvars import copy_context
from typing import Any, cast

import pytest

import corefutures
from corefutures_conformance.deadlines import all_done, brief, done, error_of, finishes, result_of, short_limit, until
from corefutures_conformance.fixtures import ExecutorFactory, GateFactory
from corefutures_conformance.promises import skip_unless_promised
from corefutures_conformance.rules import requires
from corefutures_conformance.worker import calls
from corefutures_conformance.worker.gates import Gate

FLAVOUR = "corefutures_conformance.worker.calls:FLAVOUR"
"""The context variable that calls take along."""


class Control:
    """Rules on what may be asked of an executor beyond the manual."""

    def _owing(self, executor: Executor) -> Any:
        """The executor, if it promises control at all; otherwise the rule does not apply."""
        skip_unless_promised(executor)
        return executor

    def _refuses(self, ask: Callable[[], object], what: str) -> None:
        refusal: BaseException | None = None
        try:
            finishes(ask, what, short_limit())
        except BaseException as error:
            refusal = error
        assert refusal is not None, f"{what} is not to be had, and was not refused"
        fits = isinstance(refusal, (corefutures.UnsupportedError, TypeError))
        assert fits, f"{what}, which is not to be had, raised {brief(refusal)} in place of UnsupportedError"
        assert str(refusal).strip() and "\n" not in str(refusal), (
            f"{what} is refused without a sentence: {brief(refusal)}"
        )

    def _can_kill(self, executor: Any) -> Any:
        """Where the start method forbids it, killing is refused."""
        try:
            executor.options(timeout=60)
        except corefutures.UnsupportedError as error:
            pytest.skip(f"not as this executor is made: {error}")
        return executor

    # Views

    def test_a_view_runs_calls_in_the_same_pool(self, executor: Executor) -> None:
        """options() SHOULD give a view whose calls run like others, and whose shutdown() ends nothing. (promise C1)"""
        pool = self._owing(executor)
        view = pool.options(name="the name")
        future = view.submit(calls.echo, 1)
        got = [result_of(future), *finishes(lambda: list(view.map(calls.echo, [2, 3])), "map() of a view")]
        view.shutdown()
        assert got == [1, 2, 3], f"calls through a view gave {brief(got)}"
        named = "the name" in repr(future) or not isinstance(future, corefutures.Future)
        assert named, f"a call's name is not in the repr of its future: {brief(future)}"
        assert result_of(executor.submit(calls.echo, 4)) == 4, "shutdown() of a view ended the executor"

    def test_options_that_make_no_sense_are_refused(self, executor: Executor) -> None:
        """options() SHOULD raise TypeError or ValueError for a timeout or name that makes no sense. (promise C1)"""
        pool = self._owing(executor)
        for options in ({"timeout": 0}, {"timeout": -1}, {"timeout": "soon"}, {"name": 7}):
            try:
                pool.options(**options)
            except (TypeError, ValueError):
                continue
            pytest.fail(f"options({options}) was accepted")

    # Stopping calls that run

    @requires("kills_running")
    def test_kill_ends_a_running_call(self, executor: Executor, gate: Gate) -> None:
        """kill() SHOULD end a call that runs, and the executor go on. (promise C2)"""
        pool = self._can_kill(self._owing(executor))
        future = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        said = finishes(lambda: pool.kill(future), "kill()")
        until(future.done, "the killed call to end", short_limit())
        error = error_of(future)
        assert said is True, f"kill() of a running call said {brief(said)}"
        assert isinstance(error, BrokenExecutor), f"a killed call failed with {brief(error)}"
        assert result_of(executor.submit(calls.echo, 1), "a call after kill()") == 1, "kill() ended the executor"

    @requires("kills_running")
    def test_kill_spares_the_other_calls(self, make: ExecutorFactory, gates: GateFactory) -> None:
        """kill() SHOULD have no effect on other calls that run or wait. (promise C2)"""
        pool = self._can_kill(self._owing(make(max_workers=2)))
        first, second = gates(), gates()
        victim = pool.submit(calls.pass_gate, first, 1)
        other = pool.submit(calls.pass_gate, second, 2)
        first.await_arrivals()
        second.await_arrivals()
        waiting = pool.submit(calls.echo, 3)
        finishes(lambda: pool.kill(victim), "kill()")
        second.open()
        try:
            got = [result_of(other, "the call beside a killed one"), result_of(waiting, "the call behind a killed one")]
        except BrokenExecutor as error:
            pytest.fail(f"kill() of one call failed another: {brief(error)}")
        assert got == [2, 3], f"the calls beside a killed one gave {brief(got)}"

    @requires("kills_running")
    def test_kill_of_others_than_running_calls(self, executor: Executor, gate: Gate) -> None:
        """kill() SHOULD cancel a call that waits, and return False for one that has ended. (promise C2)"""
        pool = self._can_kill(self._owing(executor))
        running = executor.submit(calls.pass_gate, gate, "ran")
        gate.await_arrivals()
        waiting = executor.submit(calls.nothing)
        said = finishes(lambda: pool.kill(waiting), "kill() of a waiting call")
        assert said is True and waiting.cancelled(), (
            f"kill() of a waiting call said {brief(said)}, and did not cancel it"
        )
        gate.open()
        assert result_of(running) == "ran", "kill() of a waiting call disturbed the one that ran"
        assert pool.kill(running) is False, "kill() of a finished call did not return False"

    @requires(kills_running=False)
    def test_kill_is_refused(self, executor: Executor) -> None:
        """kill() SHOULD raise UnsupportedError where calls that run can't be stopped. (promise C1)"""
        pool = self._owing(executor)
        future = executor.submit(calls.nothing)
        self._refuses(lambda: pool.kill(future), "kill()")

    @requires("kills_running")
    def test_a_call_that_runs_too_long_is_stopped(self, executor: Executor, gate: Gate) -> None:
        """A call with a timeout SHOULD fail with TimeoutError when it runs longer, and the executor go on. (promise
        C2)
        """
        view = self._can_kill(self._owing(executor)).options(timeout=0.05)
        future = view.submit(calls.pass_gate, gate)
        until(future.done, "a call with a timeout to be stopped", short_limit())
        error = error_of(future)
        assert isinstance(error, TimeoutError), f"a call that ran too long failed with {brief(error)}"
        assert result_of(executor.submit(calls.echo, 1)) == 1, "the executor ended with a call that ran too long"

    @requires("kills_running")
    def test_a_call_in_time_is_left_alone(self, executor: Executor) -> None:
        """A call with a timeout that runs shorter SHOULD end like any other. (promise C2)"""
        view = self._can_kill(self._owing(executor)).options(timeout=600)
        got = [result_of(future) for future in [view.submit(calls.echo, number) for number in range(5)]]
        assert got == list(range(5)), f"calls with a timeout gave {brief(got)}"

    @requires(kills_running=False)
    def test_a_timeout_is_refused(self, executor: Executor) -> None:
        """options(timeout=…) SHOULD raise UnsupportedError where calls that run can't be stopped. (promise C1)"""
        pool = self._owing(executor)
        self._refuses(lambda: pool.options(timeout=5), "options(timeout=5)")

    # Asking calls to stop

    @requires("asks_running")
    def test_a_running_call_can_be_asked_to_stop(self, executor: Executor, gate: Gate) -> None:
        """cancel_requested() SHOULD be true in a call after request_cancel(), and in no other. (promise C3)"""
        pool = self._owing(executor)
        future = executor.submit(calls.until_asked, gate)
        gate.await_arrivals()
        said = finishes(lambda: pool.request_cancel(future), "request_cancel()")
        until(future.done, "a call that was asked to stop to end", short_limit())
        assert said is True, f"request_cancel() of a running call said {brief(said)}"
        assert result_of(future) == "asked", f"a call that was asked to stop gave {brief(future)}"
        assert result_of(executor.submit(calls.is_asked)) is False, "the next call was asked to stop as well"

    @requires("asks_running")
    def test_requests_to_others_than_running_calls(self, executor: Executor, gate: Gate) -> None:
        """request_cancel() SHOULD cancel a call that waits, and return False for one that has ended. (promise C3)"""
        pool = self._owing(executor)
        running = executor.submit(calls.pass_gate, gate, "ran")
        gate.await_arrivals()
        waiting = executor.submit(calls.nothing)
        said = finishes(lambda: pool.request_cancel(waiting), "request_cancel() of a waiting call")
        cancelled = waiting.cancelled()
        gate.open()
        assert said is True and cancelled, (
            f"request_cancel() of a waiting call said {brief(said)}, and did not cancel it"
        )
        assert result_of(running) == "ran", "request_cancel() of a waiting call disturbed the one that ran"
        assert pool.request_cancel(running) is False, "request_cancel() of a finished call did not return False"

    @requires(asks_running=False)
    def test_requests_are_refused(self, executor: Executor) -> None:
        """request_cancel() SHOULD raise UnsupportedError where a running call can't be asked. (promise C1)"""
        pool = self._owing(executor)
        future = executor.submit(calls.nothing)
        self._refuses(lambda: pool.request_cancel(future), "request_cancel()")

    # Room for calls that wait

    def _full(self, make: ExecutorFactory, gate: Gate, when_full: str) -> tuple[Any, list[Any]]:
        """An executor in which one call runs, and one waits: there is room for no other."""
        self._owing(make(max_workers=1))
        pool = cast(Any, make(max_workers=1, max_pending=1, when_full=when_full))
        first = pool.submit(calls.pass_gate, gate, 0)
        gate.await_arrivals()
        return pool, [first, pool.submit(calls.echo, 1)]

    @requires("limits_pending")
    def test_a_full_executor_raises(self, make: ExecutorFactory, gate: Gate) -> None:
        """submit() SHOULD raise PoolFullError beyond max_pending where it was told to, until there is room. (promise
        C4)
        """
        pool, futures = self._full(make, gate, "raise")
        for _ in range(2):
            try:
                futures.append(finishes(lambda: pool.submit(calls.echo, 2), "submit() to a full executor"))
            except corefutures.PoolFullError:
                continue
            pytest.fail("submit() took more calls than max_pending allows")
        gate.open()
        got = [result_of(future) for future in futures]
        assert got == [0, 1], f"the calls of a full executor gave {brief(got)}"
        assert result_of(pool.submit(calls.echo, 3)) == 3, "submit() found no room when all calls had ended"

    @requires("limits_pending")
    def test_a_full_executor_blocks(self, make: ExecutorFactory, gate: Gate) -> None:
        """submit() SHOULD block beyond max_pending where it was told to, until there is room. (promise C4)"""
        pool, futures = self._full(make, gate, "block")
        submitted = threading.Event()

        def submit() -> None:
            futures.append(pool.submit(calls.echo, 2))
            submitted.set()

        thread = threading.Thread(target=submit, daemon=True)
        thread.start()
        assert not submitted.wait(0.05), "submit() took more calls than max_pending allows"
        gate.open()
        until(submitted.is_set, "submit() to return when there was room")
        all_done(futures)
        got = [result_of(future) for future in futures]
        assert got == [0, 1, 2], f"the calls of a full executor gave {brief(got)}"

    @requires("limits_pending")
    def test_a_callback_may_submit_to_a_full_executor(self, make: ExecutorFactory, gate: Gate) -> None:
        """A done-callback that submits to a full executor SHOULD not wait for a place that only its own thread can
        free: all calls end. (promise C4)
        """
        pool, futures = self._full(make, gate, "block")
        late: list[Any] = []

        def submit_more(_: object) -> None:
            late.extend(pool.submit(calls.echo, number) for number in range(2, 6))

        futures[0].add_done_callback(submit_more)
        gate.open()
        until(lambda: len(late) == 4, "a done-callback that submits to a full executor to have done so")
        all_done([*futures, *late])
        got = [result_of(future) for future in (*futures, *late)]
        assert got == list(range(6)), f"calls before a callback that submits, and of it, gave {brief(got)}"

    @requires("limits_pending")
    def test_shutdown_wakes_blocked_submitters(self, make: ExecutorFactory, gate: Gate) -> None:
        """shutdown() SHOULD wake submitters that are blocked, with a RuntimeError. (promise C4)"""
        pool, _ = self._full(make, gate, "block")
        raised: list[BaseException] = []

        def submit() -> None:
            try:
                pool.submit(calls.echo, 2)
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=submit, daemon=True)
        thread.start()
        finishes(lambda: pool.shutdown(wait=False), "shutdown(wait=False)")
        until(lambda: not thread.is_alive(), "a blocked submitter to be woken by shutdown()", short_limit())
        assert [type(error) for error in raised] == [RuntimeError], f"a blocked submitter got {brief(raised)}"

    @requires("limits_pending")
    def test_a_full_executor_has_its_caller_run(self, make: ExecutorFactory, gate: Gate) -> None:
        """submit() SHOULD run the call itself beyond max_pending where it was told to. (promise C4)"""
        pool, futures = self._full(make, gate, "caller_runs")
        future = finishes(lambda: pool.submit(calls.place), "submit() to a full executor")
        assert future.done(), "submit() to a full executor did not run the call"
        assert result_of(future)[0] == calls.place()[0], "submit() had the call run elsewhere"
        gate.open()
        all_done(futures)

    @requires(limits_pending=False)
    def test_a_limit_of_waiting_calls_is_refused(self, make: ExecutorFactory) -> None:
        """An executor that can't limit the calls that wait SHOULD refuse max_pending. (promise C1)"""
        self._owing(make(max_workers=1))
        self._refuses(lambda: make(max_workers=1, max_pending=5), "max_pending=5")

    # The end

    @requires("limits_shutdown")
    def test_a_limited_shutdown_gives_up(self, executor: Executor, gate: Gate) -> None:
        """shutdown(timeout=…) SHOULD raise TimeoutError while calls run, and leave the executor shut down. (promise
        C5)
        """
        pool = self._owing(executor)
        future = executor.submit(calls.pass_gate, gate, "ran")
        gate.await_arrivals()
        try:
            finishes(lambda: pool.shutdown(timeout=0.01), "shutdown(timeout=0.01)")
        except TimeoutError:
            pass
        else:
            pytest.fail("shutdown(timeout=0.01) returned although a call ran")
        try:
            executor.submit(calls.nothing)
        except RuntimeError:
            pass
        else:
            pytest.fail("an executor whose shutdown timed out took another call")
        gate.open()
        finishes(executor.shutdown, "shutdown() after one that had timed out")
        assert result_of(future) == "ran", "a shutdown that timed out disturbed the call that ran"

    @requires(limits_shutdown=False)
    def test_a_limited_shutdown_is_refused(self, executor: Executor) -> None:
        """An executor that can't limit its shutdown SHOULD refuse shutdown(timeout=…). (promise C1)"""
        pool = self._owing(executor)
        self._refuses(lambda: pool.shutdown(timeout=60), "shutdown(timeout=60)")

    @requires("handles_exit")
    def test_at_exit_is_understood(self, make: ExecutorFactory) -> None:
        """at_exit SHOULD be "wait" or "cancel" at least, and nothing that makes no sense. (promise C5)"""
        self._owing(make(max_workers=1))
        for choice in ("wait", "cancel"):
            assert result_of(make(max_workers=1, at_exit=choice).submit(calls.echo, 1)) == 1, f"at_exit={choice!r}"
        try:
            make(max_workers=1, at_exit="never")
        except (TypeError, ValueError):
            return
        pytest.fail("at_exit='never' was accepted")

    @requires(handles_exit=False)
    def test_at_exit_is_refused(self, make: ExecutorFactory) -> None:
        """An executor that has no choice at the program's end SHOULD refuse at_exit. (promise C1)"""
        self._owing(make(max_workers=1))
        self._refuses(lambda: make(max_workers=1, at_exit="cancel"), "at_exit='cancel'")

    # Counts

    @requires("counts_calls")
    def test_stats_add_up(self, executor: Executor, gate: Gate) -> None:
        """stats() SHOULD tell exactly what became of the calls, whenever nothing moves. (promise C6)"""
        pool = self._owing(executor)
        result_of(executor.submit(calls.nothing))
        error_of(executor.submit(calls.raise_new, ValueError, "x"))
        executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        waiting = [executor.submit(calls.nothing) for _ in range(3)]
        waiting[1].cancel()
        wanted = {"submitted": 6, "waiting": 2, "running": 1, "finished": 1, "failed": 1, "cancelled": 1, "workers": 1}

        def counts() -> dict[str, object]:
            stats = finishes(pool.stats, "stats()")
            return {name: getattr(stats, name) for name in wanted}

        until(lambda: counts()["running"] == 1, "stats() to tell of the call that runs", short_limit())
        got = counts()
        gate.open()
        assert got == wanted, f"stats() told {got}, in place of {wanted}"

    @requires(counts_calls=False)
    def test_stats_are_refused(self, executor: Executor) -> None:
        """stats() SHOULD raise UnsupportedError where calls are not counted. (promise C1)"""
        pool = self._owing(executor)
        self._refuses(pool.stats, "stats()")

    # Context

    @requires("carries_context")
    def test_named_variables_travel_with_the_call(self, make: ExecutorFactory) -> None:
        """A call SHOULD see the named context variables as they were where and when it was submitted. (promise C7)"""
        self._owing(make(max_workers=1))
        pool = make(max_workers=1, context=[FLAVOUR])
        futures = []
        for value in ("sweet", "sour"):
            token = calls.FLAVOUR.set(value)
            futures.append(pool.submit(calls.flavour))
            calls.FLAVOUR.reset(token)
        got = [result_of(future) for future in (*futures, pool.submit(calls.flavour))]
        assert got == ["sweet", "sour", "none"], f"calls saw {got} in place of what their submitter had set"

    @requires("carries_context")
    def test_a_call_sees_the_context_of_a_wrapper(self, make: ExecutorFactory) -> None:
        """Where a wrapper runs submit() or map() in a context, as tracers do, a call SHOULD see the named variables of
        that context. (promise C7)
        """
        self._owing(make(max_workers=1))
        pool = make(max_workers=1, context=[FLAVOUR])
        context = copy_context()
        context.run(calls.FLAVOUR.set, "sweet")
        got = [result_of(context.run(pool.submit, calls.flavour))]
        got += finishes(lambda: list(context.run(pool.map, calls.change_flavour, ["salty", "sour"])), "map()")
        got.append(result_of(pool.submit(calls.flavour)))
        assert got == ["sweet", "sweet", "sweet", "none"], f"calls saw {got} in place of what their context had"

    @requires("carries_context")
    def test_what_a_call_sets_is_its_own(self, make: ExecutorFactory) -> None:
        """A context variable that a call sets SHOULD not be seen by the next. (promise C7)"""
        self._owing(make(max_workers=1))
        pool = make(max_workers=1, context=[FLAVOUR])
        token = calls.FLAVOUR.set("sweet")
        changed = result_of(pool.submit(calls.change_flavour, "salty"))
        calls.FLAVOUR.reset(token)
        assert changed == "sweet", f"a call saw {brief(changed)} in place of what its submitter had set"
        got = result_of(pool.submit(calls.flavour))
        assert got == "none", f"a call saw {brief(got)}, which the one before it had set"

    @requires(carries_context=False)
    def test_context_is_refused(self, make: ExecutorFactory) -> None:
        """An executor whose calls take no context along SHOULD refuse it. (promise C1)"""
        self._owing(make(max_workers=1))
        self._refuses(lambda: make(max_workers=1, context=[FLAVOUR]), "context=[…]")

    # Waiting inside

    @requires("runs_in_place", "shares_memory")
    def test_a_call_may_wait_for_calls_of_its_own_pool(self, executor: Executor) -> None:
        """A call that waits for one that has not started SHOULD run it in place, if no worker is left. (promise C8)"""
        self._owing(executor)

        def tree(depth: int) -> int:
            return 1 if depth == 0 else sum(executor.submit(tree, depth - 1).result() for _ in range(2))

        future = executor.submit(tree, 4)
        until(future.done, "a call that waits for others of its pool to end", short_limit())
        assert result_of(future) == 16, "calls that were run in place gave other results"

    @requires("runs_in_place", "shares_memory")
    def test_a_circle_of_waiting_calls_is_broken(self, make: ExecutorFactory, gate: Gate) -> None:
        """Of calls that wait for each other in a circle, one SHOULD raise DeadlockError. (promise C8)"""
        executor = self._owing(make(max_workers=2))
        both: list[Any] = []

        def wait_for(index: int) -> object:
            gate.enter(index)
            return both[index].result()

        both += [executor.submit(wait_for, 1), executor.submit(wait_for, 0)]
        gate.await_arrivals(2)
        gate.open()
        until(lambda: all(future.done() for future in both), "two calls that wait for each other to end", short_limit())
        kinds = {type(error_of(future)) for future in both}
        assert kinds == {corefutures.DeadlockError}, f"two calls that wait for each other ended with {brief(kinds)}"

    @requires("pickles", runs_in_place=False)
    def test_a_call_can_not_reach_its_own_pool(self, executor: Executor) -> None:
        """A call that is given its own executor SHOULD fail with a sentence, and not hang. (promise C8)"""
        self._owing(executor)
        future = executor.submit(calls.nothing_with, executor)
        until(future.done, "a call that was given its executor to end", short_limit())
        error = error_of(future)
        assert str(error).strip(), f"a call that was given its executor failed without a sentence: {brief(error)}"
        done(executor.submit(calls.nothing))
