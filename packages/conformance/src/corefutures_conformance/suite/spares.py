"""Chapter "spares": workers that are started, and take no calls until another worker is needed.

Owed by executors of `corefutures.Executor` that declare the capability; the others refuse the option.
"""

from __future__ import annotations

from typing import Any

import pytest

import corefutures
from corefutures_conformance.deadlines import Overdue, all_done, brief, done, finishes, result_of, until
from corefutures_conformance.fixtures import ExecutorFactory
from corefutures_conformance.promises import skip_unless_promised
from corefutures_conformance.rules import requires
from corefutures_conformance.worker import calls
from corefutures_conformance.worker.gates import Gate
from corefutures_conformance.worker.journal import Journal


def _with_spare(make: ExecutorFactory, journal: Journal, gate: Gate) -> tuple[Any, Any, int, int]:
    """Make an executor with one worker, which has a call at the gate, and one spare, which is ready.

    Returns:
        The executor, the call, the process of the worker and that of the spare.
    """
    try:
        pool: Any = make(max_workers=1, spares=1, initializer=calls.note_process, initargs=(journal,))
    except ValueError as error:
        if "mp_context" not in str(error):
            raise
        pytest.skip(f"the start method that the target was given allows no spares: {brief(error)}")
    skip_unless_promised(pool)
    worker = result_of(pool.submit(calls.place))[0]
    future = pool.submit(calls.pass_gate, gate)
    gate.await_arrivals()
    until(lambda: len(journal.entries) == 2, "a spare to be started, and to run the initializer")
    others = [int(entry) for entry in journal.entries if int(entry) != worker]
    assert len(others) == 1, f"the initializer ran in the processes {journal.entries}, a call in {worker}"
    return pool, future, worker, others[0]


class Spares:
    """Rules on the option `spares`."""

    @requires("spares", "accepts_initializer", same_process=False)
    def test_spares_take_no_calls(self, make: ExecutorFactory, journal: Journal, gate: Gate) -> None:
        """A spare SHOULD take no call while there are as many workers as max_workers allows. (promise C12)"""
        pool, future, worker, _ = _with_spare(make, journal, gate)
        futures = [pool.submit(calls.place) for _ in range(30)]
        gate.open()
        all_done([future, *futures])
        processes = {result_of(each)[0] for each in futures}
        assert processes == {worker}, f"calls of one worker, {worker}, were run by the processes {brief(processes)}"

    @requires("spares", "kills_running", "accepts_initializer", same_process=False)
    def test_a_spare_takes_the_place_of_a_killed_worker(
        self, make: ExecutorFactory, journal: Journal, gate: Gate
    ) -> None:
        """The calls after that of a killed worker SHOULD be run by a spare. (promise C12)"""
        pool, future, _, spare = _with_spare(make, journal, gate)
        finishes(lambda: pool.kill(future), "kill()")
        done(future, "the killed call to end")
        process = result_of(pool.submit(calls.place))[0]
        assert process == spare, (
            f"the call after a killed worker was run by the process {process}, not the spare, {spare}"
        )

    @requires("spares", "kills_running", "accepts_initializer", same_process=False)
    def test_a_spare_that_was_needed_is_replaced(self, make: ExecutorFactory, journal: Journal, gate: Gate) -> None:
        """Another spare SHOULD be started once one was needed. (promise C12)"""
        pool, future, _, _ = _with_spare(make, journal, gate)
        finishes(lambda: pool.kill(future), "kill()")
        done(future, "the killed call to end")
        result_of(pool.submit(calls.place))
        until(lambda: len(journal.entries) == 3, "another spare to be started")

    @requires(spares=False)
    def test_spares_are_refused(self, make: ExecutorFactory) -> None:
        """An executor that keeps no spares SHOULD refuse the option spares. (promise C1)"""
        skip_unless_promised(make(max_workers=1))
        try:
            finishes(lambda: make(max_workers=1, spares=1), "the factory")
        except (TypeError, corefutures.UnsupportedError):
            return
        except Overdue:
            raise
        except Exception as error:
            pytest.fail(f"spares=1 raised {brief(error)}, not TypeError or UnsupportedError")
        pytest.fail("spares=1 was not refused")
