"""Chapter "scopes": what `corefutures.scope`, `imap`, `completions` and `retrying` promise over any executor.

Uses the names of `corefutures` alone. The rules don't apply where `corefutures-structured` is not installed.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, wait
from importlib.util import find_spec
from itertools import count
from typing import Any

import pytest

import corefutures
from corefutures_conformance.deadlines import all_done, brief, error_of, finishes, result_of, short_limit, until
from corefutures_conformance.fixtures import ExecutorFactory, GateFactory
from corefutures_conformance.rules import only_where, requires
from corefutures_conformance.worker import calls
from corefutures_conformance.worker.gates import Gate
from corefutures_conformance.worker.journal import Journal

#: Enough calls that the last one waits, also in pools that send calls ahead.
MANY = 8


class Scopes:
    """Rules on calls that belong together."""

    def _block(self, executor: Executor, body: Callable[[Any], object], **options: Any) -> tuple[Any, Any]:
        """Run a block of a scope, which no call may outlive; return the scope, and what the block raised."""

        def run() -> tuple[Any, Any]:
            scope = corefutures.scope(executor, **options)
            raised: BaseException | None = None
            try:
                with scope:
                    body(scope)
            except BaseException as error:
                raised = error
            left = sum(not future.done() for future in scope.futures)
            assert not left or "leave" in options, f"the block of a scope ended while {left} of its calls had not"
            return scope, raised

        return finishes(run, "the block of a scope")

    def _opens(self, gate: Gate, condition: Callable[[], object]) -> None:
        """Open the gate once a condition holds, from another thread."""

        def wait_and_open() -> None:
            try:
                until(condition, "a gate to be opened")
            finally:
                gate.open()

        threading.Thread(target=wait_and_open, daemon=True).start()

    def _errors_in(self, error: BaseException | None) -> list[BaseException]:
        assert isinstance(error, BaseExceptionGroup), f"the block raised {brief(error)} in place of a group"
        return list(error.exceptions)

    def _has_stopped(self, executor: Executor, gate: Gate, trouble: Callable[[], object]) -> tuple[Any, Any]:
        """Have a block fail while one call runs and others wait; return their futures, and what the block raised."""
        futures: list[Future[Any]] = []

        def body(scope: Any) -> None:
            futures.append(scope.submit(calls.pass_gate, gate))
            gate.await_arrivals()
            futures.extend(scope.submit(calls.nothing) for _ in range(MANY))
            self._opens(gate, futures[-1].done)
            trouble()

        _, error = self._block(executor, body)
        return futures, error

    # Nothing outlives the block

    def test_a_block_waits_for_its_calls(self, make: ExecutorFactory, gate: Gate, foreign: Executor) -> None:
        """A block of a scope SHOULD end only when all of its calls have ended. (promise S1)"""
        executor = make(max_workers=2)
        left = threading.Event()

        def body(scope: Any) -> None:
            for _ in range(4):
                scope.submit(calls.pass_gate, gate)
            gate.await_arrivals(2)
            left.set()
            # Others have their turn while the block waits.
            self._opens(gate, lambda: left.is_set() and [foreign.submit(calls.nothing).result() for _ in range(20)])

        scope, error = self._block(executor, body)
        assert error is None, f"a block without an error raised {brief(error)}"
        assert len(scope.results()) == 4, f"of 4 calls, {len(scope.results())} have results"

    def test_a_block_that_fails_waits_as_well(self, make: ExecutorFactory, gate: Gate, foreign: Executor) -> None:
        """A block of a scope that is left by an error SHOULD end only when its calls have ended. (promise S1)"""
        executor = make(max_workers=2)

        def body(scope: Any) -> None:
            scope.submit(calls.pass_gate, gate)
            gate.await_arrivals()
            self._opens(gate, lambda: [foreign.submit(calls.nothing).result() for _ in range(20)])
            raise LookupError("the body")

        _, error = self._block(executor, body)
        assert [type(each) for each in self._errors_in(error)] == [LookupError], f"the block raised {brief(error)}"

    def test_nothing_is_written_after_the_block(self, make: ExecutorFactory, gate: Gate, journal: Journal) -> None:
        """No call of a scope SHOULD have an effect after its block has ended. (promise S1)"""
        executor = make(max_workers=2)

        def body(scope: Any) -> None:
            running = [scope.submit(calls.note_steps, journal, gate, number) for number in range(2)]
            gate.await_arrivals(2)
            waiting = [scope.submit(calls.note, journal, "late") for _ in range(MANY)]
            self._opens(gate, lambda: waiting[-1].done() or all(future.done() for future in running))
            raise LookupError("the body")

        self._block(executor, body)
        written = len(journal.entries)
        for _ in range(3):
            result_of(executor.submit(calls.nothing), "a call after the block")
        late = journal.entries[written:]
        assert not late, f"calls of a scope wrote {brief(late)} after its block had ended"

    @requires("shares_memory")
    def test_what_a_call_submits_belongs_to_the_block(self, make: ExecutorFactory) -> None:
        """A call that a call submits to its scope SHOULD be waited for as well. (promise S1)"""
        executor = make(max_workers=2)

        def grow(scope: Any, depth: int) -> int:
            if depth:
                scope.submit(grow, scope, depth - 1)
            return depth

        scope, error = self._block(executor, lambda scope: scope.submit(grow, scope, 20))
        assert error is None, f"a block whose calls submit others raised {brief(error)}"
        assert sorted(scope.results()) == list(range(21)), f"of the calls that were submitted {brief(scope.results())}"

    def test_a_refused_call_does_not_keep_the_block_open(self, executor: Executor, foreign: Executor) -> None:
        """A call that its executor refuses SHOULD raise from submit(), and not keep the block open. (promise S1)"""
        refused: list[BaseException] = []

        def body(scope: Any) -> None:
            scope.submit(calls.echo, 1)
            try:
                scope.submit(calls.echo, 2, on=foreign)
            except RuntimeError as error:
                refused.append(error)

        foreign.shutdown()
        scope, error = self._block(executor, body)
        assert refused and error is None, f"a refused call made the block raise {brief(error)}"
        assert scope.results() == [1], f"the results beside a refused call are {brief(scope.results())}"

    # What stops the rest

    def test_an_error_of_the_body_withdraws_waiting_calls(self, executor: Executor, gate: Gate) -> None:
        """An error of the body SHOULD withdraw the calls that wait. (promise S2)"""

        def trouble() -> None:
            raise LookupError("the body")

        futures, _ = self._has_stopped(executor, gate, trouble)
        assert futures[-1].cancelled(), "a call that waited was run although the body had failed"

    def test_the_first_error_withdraws_waiting_calls(self, executor: Executor, gate: Gate) -> None:
        """The first error of a call SHOULD withdraw the calls that wait. (promise S2)"""
        last: list[Future[Any]] = []

        def body(scope: Any) -> None:
            scope.submit(calls.pass_gate_and_raise, gate, ValueError("the first"))
            gate.await_arrivals()
            last.extend(scope.submit(calls.wait_a_while) for _ in range(4 * MANY))
            gate.open()

        _, error = self._block(executor, body)
        assert last[-1].cancelled(), "a call that waited was run although another one had failed"
        kinds = [type(each) for each in self._errors_in(error)]
        assert kinds == [ValueError], f"after the first error the block raised {kinds}"

    def test_other_calls_of_the_executor_go_on(self, executor: Executor, gate: Gate) -> None:
        """A scope that is stopped SHOULD leave the calls alone that are not its own. (promise S2)"""
        before = executor.submit(calls.pass_gate, gate, "before")
        gate.await_arrivals()
        waiting: list[Future[Any]] = []

        def body(scope: Any) -> None:
            own = [scope.submit(calls.nothing) for _ in range(MANY)]
            waiting.append(executor.submit(calls.echo, "after"))
            self._opens(gate, own[-1].done)
            raise LookupError("the body")

        self._block(executor, body)
        gate.open()
        try:
            got = [result_of(before), result_of(waiting[0])]
        except (CancelledError, BrokenExecutor) as error:
            pytest.fail(f"a scope stopped a call that was not its own: {brief(error)}")
        assert got == ["before", "after"], f"calls beside a scope gave {brief(got)}"

    def test_notes_name_the_stopped_calls(self, executor: Executor, gate: Gate) -> None:
        """The notes of the group SHOULD name each call that was stopped, and how. (promise S2)"""

        def trouble() -> None:
            raise LookupError("the body")

        _, error = self._has_stopped(executor, gate, trouble)
        notes = getattr(error, "__notes__", [])
        withdrawn = [note for note in notes if "'nothing'" in note and "withdrawn" in note]
        assert withdrawn, f"the notes {brief(notes)} name no call that was withdrawn"
        assert any("'pass_gate'" in note for note in notes), f"the notes {brief(notes)} don't name the call that ran"

    @requires("asks_running", kills_running=False)
    def test_a_running_call_is_asked(self, executor: Executor, gate: Gate) -> None:
        """A call that runs SHOULD be asked to stop where its executor can ask and not kill. (promise S2)"""

        def body(scope: Any) -> None:
            scope.submit(calls.until_asked, gate)
            gate.await_arrivals()
            raise LookupError("the body")

        scope, error = self._block(executor, body)
        got = result_of(scope.futures[0])
        assert got == "asked", f"a call of a scope that was stopped returned {brief(got)}"
        notes = getattr(error, "__notes__", [])
        assert any("asked to stop" in note for note in notes), f"the notes are {brief(notes)}"

    @requires("kills_running")
    def test_a_running_call_is_killed(self, executor: Executor, gate: Gate) -> None:
        """A call that runs SHOULD be killed where its executor can, and the executor go on. (promise S2)"""
        pool: Any = executor
        try:
            pool.options(timeout=60)
        except corefutures.UnsupportedError as refusal:
            pytest.skip(f"not as this executor is made: {refusal}")

        def body(scope: Any) -> None:
            scope.submit(calls.pass_gate, gate)
            gate.await_arrivals()
            raise LookupError("the body")

        scope, error = self._block(executor, body)
        lost = error_of(scope.futures[0], "a killed call of a scope")
        assert isinstance(lost, BrokenExecutor), f"a call of a scope that was stopped failed with {brief(lost)}"
        kinds = [type(each) for each in self._errors_in(error)]
        assert kinds == [LookupError], f"the loss of a call that the scope itself had killed is an error: {kinds}"
        assert result_of(executor.submit(calls.echo, 1)) == 1, "the executor ended with a call of a scope"

    @requires(kills_running=False)
    def test_an_abandoned_call_is_named(self, executor: Executor, gate: Gate) -> None:
        """With leave="abandon" a block SHOULD end without the calls that don't react, and name them. (promise S1)"""

        def body(scope: Any) -> None:
            scope.submit(calls.pass_gate, gate, "went on")
            gate.await_arrivals()
            raise LookupError("the body")

        scope, error = self._block(executor, body, leave="abandon")
        assert not scope.futures[0].done(), "an abandoned call has ended"
        gate.open()
        notes = getattr(error, "__notes__", [])
        assert any("abandoned" in note for note in notes), f"the notes {brief(notes)} don't name the abandoned call"
        assert result_of(scope.futures[0]) == "went on", "an abandoned call was disturbed"

    # Errors

    def test_errors_come_in_a_group(self, executor: Executor) -> None:
        """The error of a call SHOULD come in an ExceptionGroup. (promise S3)"""
        _, error = self._block(executor, lambda scope: scope.submit(calls.raise_new, ValueError, "the call"))
        assert isinstance(error, ExceptionGroup), f"the block raised {brief(error)} in place of a group"
        assert [str(each) for each in error.exceptions] == ["the call"], f"the group has {brief(error.exceptions)}"

    def test_an_error_has_the_name_of_its_call(self, executor: Executor) -> None:
        """The error of a call SHOULD have the name of the call as a note. (promise S3)"""
        _, error = self._block(executor, lambda scope: scope.submit(calls.raise_new, ValueError, "the call"))
        notes = getattr(self._errors_in(error)[0], "__notes__", [])
        assert any("raise_new" in note for note in notes), f"the notes {brief(notes)} don't name the call"

    def test_the_bodys_error_is_in_the_group(self, executor: Executor) -> None:
        """The body's own error SHOULD be in the group. (promise S3)"""
        own = LookupError("the body")

        def body(scope: Any) -> None:
            scope.submit(calls.nothing)
            raise own

        _, error = self._block(executor, body)
        assert self._errors_in(error) == [own], f"in place of the body's error the group has {brief(error)}"

    def test_an_interrupt_of_the_body_is_raised_as_it_is(self, executor: Executor) -> None:
        """A KeyboardInterrupt of the body SHOULD be raised as it is. (promise S3)"""
        own = KeyboardInterrupt("the body")

        def body(scope: Any) -> None:
            scope.submit(calls.nothing)
            raise own

        _, error = self._block(executor, body)
        assert error is own, f"in place of the body's KeyboardInterrupt the block raised {brief(error)}"

    # until

    def test_the_first_success_withdraws_waiting_calls(self, executor: Executor, gate: Gate) -> None:
        """With until="first_success" the first result SHOULD stop the rest, errors not. (promise S4)"""
        futures: list[Future[Any]] = []

        def body(scope: Any) -> None:
            futures.append(scope.submit(calls.raise_new, ValueError, "no success"))
            futures.append(scope.submit(calls.pass_gate, gate, "success"))
            gate.await_arrivals()
            futures.extend(scope.submit(calls.wait_a_while) for _ in range(4 * MANY))
            gate.open()

        _, error = self._block(executor, body, until="first_success")
        assert error is None, f"a scope with a success raised {brief(error)}"
        assert result_of(futures[1]) == "success", "an error stopped a scope that waits for a success"
        assert futures[-1].cancelled(), "a call that waited was run although another one had succeeded"

    def test_without_a_success_all_errors_are_raised(self, executor: Executor) -> None:
        """With until="first_success" all errors SHOULD be raised where no call returned. (promise S4)"""

        def body(scope: Any) -> None:
            for text in "abc":
                scope.submit(calls.raise_new, ValueError, text)

        _, error = self._block(executor, body, until="first_success")
        texts = sorted(map(str, self._errors_in(error)))
        assert texts == ["a", "b", "c"], f"where no call returned, the block raised {texts}"

    def test_all_settled_leaves_errors_to_the_futures(self, executor: Executor) -> None:
        """With until="all_settled" no call SHOULD be stopped by another's error, and none raised. (promise S4)"""

        def body(scope: Any) -> None:
            scope.submit(calls.raise_new, ValueError, "the call")
            for number in range(MANY):
                scope.submit(calls.echo, number)

        scope, error = self._block(executor, body, until="all_settled")
        assert error is None, f"the block raised {brief(error)}, which is the future's"
        assert scope.results() == list(range(MANY)), f"beside a call that failed, the results are {scope.results()}"

    def test_a_callable_is_asked_at_each_completion(self, executor: Executor) -> None:
        """A callable as `until` SHOULD be called with each future that has ended. (promise S4)"""
        asked: list[Future[Any]] = []

        def body(scope: Any) -> None:
            for number in range(5):
                scope.submit(calls.echo, number)

        scope, error = self._block(executor, body, until=lambda future: asked.append(future))
        assert error is None, f"the block raised {brief(error)}"
        assert set(asked) == set(scope.futures) and len(asked) == 5, (
            f"`until` was called {len(asked)} times for 5 calls"
        )

    def test_a_callable_stops_the_rest(self, executor: Executor, gate: Gate) -> None:
        """A callable as `until` SHOULD stop the rest by returning a true value. (promise S4)"""
        futures: list[Future[Any]] = []

        def body(scope: Any) -> None:
            futures.append(scope.submit(calls.pass_gate, gate))
            gate.await_arrivals()
            futures.extend(scope.submit(calls.wait_a_while) for _ in range(4 * MANY))
            gate.open()

        self._block(executor, body, until=lambda future: True)
        assert futures[-1].cancelled(), "a call that waited was run although `until` had returned True"

    def test_an_error_of_the_callable_is_raised(self, executor: Executor) -> None:
        """An error that a callable as `until` raises SHOULD be in the group. (promise S4)"""

        def broken(_: Future[Any]) -> bool:
            raise LookupError("until")

        _, error = self._block(executor, lambda scope: scope.submit(calls.nothing), until=broken)
        assert [str(each) for each in self._errors_in(error)] == ["until"], f"the block raised {brief(error)}"

    # Calls and futures

    def test_results_are_in_the_order_submitted(self, make: ExecutorFactory) -> None:
        """results() SHOULD be in the order in which the calls were submitted. (promise S5)"""
        executor = make(max_workers=2)

        def body(scope: Any) -> None:
            for number in range(10):
                scope.submit(calls.echo, number)

        scope, _ = self._block(executor, body)
        assert scope.results() == list(range(10)), f"the results of calls 0 to 9 are {scope.results()}"

    def test_arguments_reach_the_call(self, executor: Executor) -> None:
        """submit() of a scope SHOULD pass on all arguments, also those named as its own are. (promise S5)"""
        scope, error = self._block(
            executor, lambda scope: scope.submit(calls.arguments, 1, 2, fn=3, deadline=4, self=5, executor=6)
        )
        assert error is None, f"a call with keyword arguments raised {brief(error)}"
        got = scope.results()[0]
        assert got == ((1, 2), {"fn": 3, "deadline": 4, "self": 5, "executor": 6}), f"the call got {brief(got)}"

    def test_another_executor_runs_its_calls(self, executor: Executor, foreign: Executor) -> None:
        """submit(…, on=other) SHOULD have the call run by the other executor. (promise S5)"""
        there = foreign.submit(calls.place).result()
        scope, error = self._block(executor, lambda scope: scope.submit(calls.place, on=foreign))
        assert error is None and scope.results() == [there], f"the call ran at {scope.results()} in place of {there}"

    def test_futures_of_a_scope_are_ordinary(self, executor: Executor) -> None:
        """The futures of a scope SHOULD be those of its executors, usable also after the block. (promise S5)"""
        seen: list[Any] = []

        def body(scope: Any) -> None:
            future = scope.submit(calls.echo, 1)
            assert isinstance(future, Future), f"submit() returned {brief(future)}"
            seen.extend(corefutures.as_completed([future]))

        scope, error = self._block(executor, body)
        assert error is None, f"the block raised {brief(error)}"
        future = seen[0]
        called: list[Any] = []
        future.add_done_callback(called.append)
        fine = scope.futures == (future,) and called == [future] and future in wait([future], 0).done
        assert fine and future.result() == 1, f"the future {brief(future)} of a scope is no ordinary one"

    def test_submit_after_the_end_is_refused(self, executor: Executor, journal: Journal) -> None:
        """submit() after the block SHOULD raise RuntimeError, and run nothing. (promise S5)"""
        scope, _ = self._block(executor, lambda scope: scope.submit(calls.nothing))
        try:
            scope.submit(calls.note, journal, "late")
        except RuntimeError:
            pass
        else:
            pytest.fail("a scope took a call after its block had ended")
        result_of(executor.submit(calls.nothing))
        assert not journal.entries, "a call that a scope had refused was run"

    def test_a_scope_is_for_one_block(self, executor: Executor) -> None:
        """A scope SHOULD refuse calls before its block, and a second block. (promise S5)"""
        scope = corefutures.scope(executor)
        self._is_refused(lambda: scope.submit(calls.nothing), "took a call before its block")
        with scope:
            self._is_refused(scope.__enter__, "was entered twice")
        self._is_refused(scope.__enter__, "was entered a second time")

    def _is_refused(self, attempt: Callable[[], object], what: str) -> None:
        try:
            finishes(attempt, "a scope out of its block", short_limit())
        except RuntimeError:
            return
        pytest.fail(f"a scope {what}")

    # Deadlines and nested scopes

    def test_the_deadline_stops_the_calls(self, executor: Executor, gate: Gate) -> None:
        """At the deadline the calls that wait SHOULD be withdrawn, and TimeoutError be raised. (promise S6)"""
        futures: list[Future[Any]] = []

        def body(scope: Any) -> None:
            futures.append(scope.submit(calls.pass_gate, gate))
            futures.extend(scope.submit(calls.nothing) for _ in range(MANY))
            self._opens(gate, futures[-1].done)

        _, error = self._block(executor, body, deadline=0.01)
        kinds = [type(each) for each in self._errors_in(error)]
        assert kinds == [TimeoutError], f"at the deadline the block raised {kinds}"
        assert futures[-1].cancelled(), "a call that waited was run after the deadline"

    def test_a_block_in_time_is_left_alone(self, executor: Executor) -> None:
        """A block that ends before its deadline SHOULD end like any other. (promise S6)"""
        scope, error = self._block(executor, lambda scope: scope.submit(calls.echo, 1), deadline=600)
        assert error is None and scope.results() == [1], f"a block in time raised {brief(error)}"

    def test_a_call_knows_the_time_that_is_left(self, executor: Executor) -> None:
        """time_left() SHOULD tell a call the seconds until the deadline of its scope, wherever it runs. (promise S6)"""
        scope, error = self._block(executor, lambda scope: scope.submit(calls.time_left), deadline=600)
        assert error is None, f"a call that asks for the time left raised {brief(error)}"
        left = scope.results()[0]
        assert left is not None and 0 < left <= 600, f"a call with 600 seconds has {brief(left)} seconds left"

    def test_without_a_deadline_no_time_is_told(self, executor: Executor) -> None:
        """time_left() SHOULD be None in a call around which no scope has a deadline. (promise S6)"""
        self._block(executor, lambda scope: scope.submit(calls.nothing), deadline=600)
        scope, _ = self._block(executor, lambda scope: scope.submit(calls.time_left))
        outside = result_of(executor.submit(calls.time_left))
        got = [*scope.results(), outside]
        assert got == [None, None], f"calls without a deadline have {got} seconds left"

    def test_a_nested_scope_keeps_the_earlier_deadline(self, executor: Executor) -> None:
        """A call of a nested scope SHOULD know the earliest deadline of all scopes around it. (promise S6)"""

        def body(scope: Any) -> None:
            scope.submit(calls.nested_time_left, 10_000)
            scope.submit(calls.nested_time_left, 300)

        scope, error = self._block(executor, body, deadline=600)
        assert error is None, f"nested scopes raised {brief(error)}"
        later, earlier = scope.results()
        assert later is not None and later <= 600, f"a nested deadline beyond the outer one left {brief(later)} seconds"
        assert earlier is not None and earlier <= 300, f"a nested deadline left {brief(earlier)} seconds of 300"

    def test_a_stop_reaches_nested_scopes(self, executor: Executor, gates: GateFactory) -> None:
        """A scope that is stopped SHOULD stop the scopes inside it. (promise S6)"""
        gate = gates()
        inner: list[Future[Any]] = []

        def body(outer: Any) -> None:
            with corefutures.scope(executor) as nested:
                inner.append(nested.submit(calls.pass_gate, gate))
                gate.await_arrivals()
                inner.extend(nested.submit(calls.nothing) for _ in range(MANY))
                self._opens(gate, inner[-1].done)
                outer.stop(LookupError("the outer one"))

        self._block(executor, body)
        assert inner[-1].cancelled(), "a call of a nested scope was run although the outer scope had been stopped"

    def test_a_snapshot_shows_the_tree(self, executor: Executor, gate: Gate) -> None:
        """snapshot() SHOULD show the calls of a scope that have not ended, and the scopes inside it. (promise S6)"""
        pages: list[str] = []

        def body(outer: Any) -> None:
            with corefutures.scope(executor, name="inner") as nested:
                nested.submit(calls.pass_gate, gate)
                gate.await_arrivals()
                pages.append(str(outer.snapshot()))
                gate.open()

        self._block(executor, body, name="outer")
        page = pages[0]
        fine = page.find("outer") < page.find("inner") < page.find("pass_gate") and "outer" in page
        assert fine, f"the snapshot of two scopes is {brief(page)}"

    # asyncio

    def test_an_async_block_waits(self, make: ExecutorFactory, gate: Gate) -> None:
        """`async with` SHOULD wait for the calls while the event loop goes on. (promise S1)"""
        executor = make(max_workers=1)
        futures: list[Any] = []
        done: list[bool] = []

        async def main() -> None:
            async with corefutures.scope(executor) as scope:
                futures.append(scope.submit(calls.pass_gate, gate))
                asyncio.get_running_loop().call_later(0.01, gate.open)
            done.extend(future.done() for future in futures)

        finishes(lambda: asyncio.run(main()), "an `async with` block of a scope")
        assert done == [True], "an `async with` block ended while a call of it ran"

    def test_a_cancelled_task_stops_its_scope(self, executor: Executor, gate: Gate) -> None:
        """Cancelling the task of an `async with` block SHOULD stop the scope. (promise S2)"""
        futures: list[Future[Any]] = []

        async def block() -> None:
            async with corefutures.scope(executor) as scope:
                futures.append(scope.submit(calls.pass_gate, gate))
                futures.extend(scope.submit(calls.nothing) for _ in range(MANY))

        async def main() -> bool:
            task = asyncio.create_task(block())
            while not gate.arrived:
                await asyncio.sleep(0.001)
            task.cancel()
            self._opens(gate, futures[-1].done)
            try:
                await task
            except asyncio.CancelledError:
                return True
            return False

        cancelled = finishes(lambda: asyncio.run(main()), "an `async with` block whose task was cancelled")
        assert cancelled, "a task that was cancelled in a scope went on"
        assert futures[-1].cancelled(), "a call that waited was run although its task had been cancelled"

    # Open-ended iteration

    def test_imap_takes_no_more_than_its_window(self, executor: Executor) -> None:
        """imap() SHOULD take at most `window` items ahead of those that were yielded. (promise S7)"""
        taken: list[int] = []

        def numbers() -> Iterator[int]:
            for number in count():
                taken.append(number)
                yield number

        def take() -> list[int]:
            with corefutures.imap(executor, calls.square, numbers(), ordered=True, window=5) as squares:
                return [next(squares) for _ in range(10)]

        got = finishes(take, "imap() over an endless input")
        assert got == [number * number for number in range(10)], f"imap() yielded {got}"
        assert len(taken) <= 15, f"for 10 results and a window of 5, {len(taken)} items were taken"

    def test_imap_yields_errors_as_records(self, executor: Executor) -> None:
        """imap(errors="yield") SHOULD yield a record with item, value and error for each item. (promise S7)"""
        records = finishes(lambda: list(corefutures.imap(executor, int, ["1", "x", "3"], errors="yield")), "imap()")
        got = sorted(((record.item, record.value, type(record.error).__name__) for record in records), key=str)
        assert got == [("1", 1, "NoneType"), ("3", 3, "NoneType"), ("x", None, "ValueError")], f"imap() yielded {got}"

    def test_completions_take_more_on_the_way(self, executor: Executor) -> None:
        """completions() SHOULD yield each future once, also those that are added on the way. (promise S7)"""

        def crawl() -> list[int]:
            seen: list[int] = []
            futures = corefutures.completions([executor.submit(calls.echo, 0)])
            for future in futures:
                seen.append(future.result())
                if len(seen) < 10:
                    futures.add(executor.submit(calls.echo, len(seen)))
                    futures.add(future) if not future.done() else None
            return seen

        seen = finishes(crawl, "completions() with futures that are added")
        assert seen == list(range(10)), f"completions() yielded the results {seen}"

    # Retries

    def test_a_failed_call_is_tried_again(self, executor: Executor, folder: str) -> None:
        """retrying() SHOULD submit a call that fails again, and tell the attempts. (promise S8)"""
        view = corefutures.retrying(executor, retries=3, retry_on=LookupError, backoff=0.001)
        future = view.submit(calls.fail_at_first, f"{folder}/attempts", 2)
        assert result_of(future) == 3, "a call that was tried again gave another result"
        assert future.attempts == 3, f"a call that failed twice tells of {future.attempts} attempts"

    def test_other_errors_end_a_retried_call(self, executor: Executor, folder: str) -> None:
        """retrying() SHOULD not try again after an error that is not among `retry_on`. (promise S8)"""
        view = corefutures.retrying(executor, retries=3, retry_on=OSError)
        future = view.submit(calls.fail_at_first, f"{folder}/attempts", 2)
        assert isinstance(error_of(future), LookupError), "a call that is not to be tried again gave another error"
        assert future.attempts == 1, f"a call that is not to be tried again was tried {future.attempts} times"

    def test_a_call_between_attempts_can_be_cancelled(self, executor: Executor, folder: str) -> None:
        """A call that waits for its next attempt SHOULD hold no worker, and be cancellable. (promise S8)"""
        view = corefutures.retrying(executor, retries=3, backoff=3600)
        future = view.submit(calls.fail_at_first, f"{folder}/attempts", 2)
        until(lambda: future.failures, "the first attempt to fail")
        assert result_of(executor.submit(calls.echo, 1), "a call beside one that waits for its next attempt") == 1
        until(lambda: future.cancel(), "a call between two attempts to be cancelled", short_limit())
        all_done([future], "a cancelled call to end")
        assert future.cancelled(), "a call that was cancelled between two attempts ended otherwise"


_INSTALLED = only_where(find_spec("corefutures_structured") is not None, "needs corefutures-structured installed")
for _name, _rule in vars(Scopes).items():
    if _name.startswith("test_"):
        _INSTALLED(_rule)
