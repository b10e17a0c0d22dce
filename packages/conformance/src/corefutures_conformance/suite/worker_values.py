"""Chapter "worker values": `corefutures.worker_local`, a value that each worker makes once and closes when it leaves.

Owed by executors of `corefutures.Executor` that declare the capability.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import Executor
from typing import Any

import corefutures
from corefutures_conformance.deadlines import brief, done, error_of, finishes, result_of
from corefutures_conformance.fixtures import ExecutorFactory
from corefutures_conformance.promises import skip_unless_promised
from corefutures_conformance.rules import requires
from corefutures_conformance.worker import calls, owned
from corefutures_conformance.worker.journal import Journal


def _promised(executor: Executor) -> Executor:
    skip_unless_promised(executor)
    return executor


class WorkerValues:
    """Rules on `worker_local`."""

    @requires("worker_values")
    def test_a_worker_makes_a_value_once(self, make: ExecutorFactory, journal: Journal) -> None:
        """A worker SHOULD make a worker-local value at most once, however many calls get it. (promise C10)"""
        pool = _promised(make(max_workers=2))
        local = corefutures.worker_local(owned.Value, journal, "a")
        workers = {result_of(pool.submit(owned.worker_of_value, local)) for _ in range(30)}
        made = Counter(journal.entries)
        expected = {f"made a by {worker}": 1 for worker in workers}
        assert made == expected, f"30 calls in {len(workers)} workers had values made like this: {brief(dict(made))}"

    @requires("worker_values")
    def test_a_value_is_made_at_its_first_use(self, executor: Executor, journal: Journal) -> None:
        """A worker SHOULD make a worker-local value when a call first gets it, not before. (promise C10)"""
        local = corefutures.worker_local(owned.Value, journal, "a")
        assert result_of(_promised(executor).submit(owned.leave_alone, local, 7)) == 7, "the call got other arguments"
        assert journal.entries == [], f"a call that did not get the value left {brief(journal.entries)}"

    @requires("worker_values")
    def test_a_factory_that_fails(self, executor: Executor, journal: Journal) -> None:
        """A factory that fails SHOULD fail the call that got the value, and be called again by the next one.
        (promise C10)
        """
        local = corefutures.worker_local(owned.fails_twice, journal)
        for _ in range(2):
            error = error_of(_promised(executor).submit(owned.get, local))
            assert isinstance(error, LookupError), f"a factory that raised LookupError gave {brief(error)}"
        assert result_of(executor.submit(owned.get, local)) == "made", "the third call did not get the value"

    @requires("worker_values")
    def test_values_are_closed_in_reverse_order(self, make: ExecutorFactory, journal: Journal) -> None:
        """A worker that leaves SHOULD close its values once, the newest first. (promise C10)"""
        pool = _promised(make(max_workers=1))
        values = [corefutures.worker_local(owned.Value, journal, name) for name in "abc"]
        for value in values:
            result_of(pool.submit(owned.worker_of_value, value))
        finishes(pool.shutdown, "shutdown()")
        closed = [entry for entry in journal.entries if entry.startswith("closed")]
        assert closed == ["closed c", "closed b", "closed a"], f"values a, b and c were closed like this: {closed}"

    @requires("worker_values")
    def test_a_context_manager_is_entered(self, make: ExecutorFactory, journal: Journal) -> None:
        """A worker-local value that is a context manager SHOULD be entered when it is made, and left when the worker
        leaves. (promise C10)
        """
        pool = _promised(make(max_workers=1))
        local = corefutures.worker_local(owned.entered, journal)
        got = result_of(pool.submit(owned.get, local))
        assert got == "the value", f"get() gave {brief(got)} in place of what entering it returns"
        finishes(pool.shutdown, "shutdown()")
        assert journal.entries == ["entered", "left"], f"it was used like this: {journal.entries}"

    @requires("worker_values", "survives_worker_loss", same_process=False)
    def test_a_worker_that_replaces_another_makes_the_value(self, executor: Executor, journal: Journal) -> None:
        """A worker in the place of a lost one SHOULD make its value anew. (promise C10)"""
        pool: Any = _promised(executor)
        local = corefutures.worker_local(owned.Value, journal, "a")
        result_of(pool.submit(owned.worker_of_value, local))
        done(pool.submit(calls.kill_process), "the call whose worker is killed to end")
        result_of(pool.submit(owned.worker_of_value, local))
        made = [entry for entry in journal.entries if entry.startswith("made")]
        assert len(made) == 2, f"in two workers, one after the other, the value was made {len(made)} times"
