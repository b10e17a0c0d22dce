"""Chapter "concurrency": how many calls run at once, in which order they start, and who waits for whom.

Rules hold calls at gates: what runs is what has arrived there. What must not happen is shown by many steps
during which it could have happened, never by waiting a while.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from corefutures_conformance.deadlines import all_done, brief, done, finishes, result_of, until
from corefutures_conformance.fixtures import ExecutorFactory, GateFactory
from corefutures_conformance.rules import patient, requires
from corefutures_conformance.worker import calls, carrying, hostile
from corefutures_conformance.worker.gates import Gate
from corefutures_conformance.worker.journal import Journal


class _ActsInTheEnd:
    """An argument that acts when its caller's side lets go of it; a worker behind a boundary gets a number."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act

    def __reduce__(self) -> Any:
        return int, ()

    def __del__(self) -> None:
        self.act()


class Concurrency:
    """Rules on calls that run side by side."""

    # How many at once

    def test_max_workers_calls_run_at_once(self, make: ExecutorFactory, gate: Gate) -> None:
        """As many calls as there are workers SHOULD run at once. (promise E2)"""
        executor = make(max_workers=3)
        _run_at_once(executor, gate, 3)

    @patient(2)
    def test_many_workers_run_at_once(self, make: ExecutorFactory, gate: Gate) -> None:
        """As many calls as there are workers SHOULD run at once, also when these are many. (promise E2)"""
        _run_at_once(make(max_workers=7), gate, 7)

    def test_max_workers_calls_run_at_once_after_idling(self, make: ExecutorFactory, gates: GateFactory) -> None:
        """As many calls as there are workers SHOULD run at once again after the workers were idle.
        (promise E2)
        """
        executor = make(max_workers=2)
        for _ in range(3):
            result_of(executor.submit(calls.nothing))
            _run_at_once(executor, gates(), 2)

    def test_max_workers_calls_run_at_once_after_failures(self, make: ExecutorFactory, gates: GateFactory) -> None:
        """As many calls as there are workers SHOULD run at once after calls failed or were cancelled.
        (promise E2)
        """
        executor = make(max_workers=2)
        failing = [executor.submit(calls.raise_new, kind) for kind in (ValueError, SystemExit, KeyboardInterrupt) * 3]
        all_done(failing, "failing calls to end")
        gate = gates()
        blockers: list[Future[Any]] = [executor.submit(calls.pass_gate, gate) for _ in range(2)]
        gate.await_arrivals(2)
        waiting = [executor.submit(calls.nothing) for _ in range(12)]
        for future in waiting:
            future.cancel()
        gate.open()
        all_done([*blockers, *waiting])
        _run_at_once(executor, gates(), 2)

    def test_never_more_than_max_workers_at_once(self, make: ExecutorFactory, gates: GateFactory) -> None:
        """Never more calls than max_workers MUST run at once. (manual: ThreadPoolExecutor)"""
        _never_more(make(max_workers=2), gates, 2)

    def test_never_more_than_one_with_one_worker(self, executor: Executor, gates: GateFactory) -> None:
        """With one worker, calls MUST run one after another. (manual: ThreadPoolExecutor)"""
        _never_more(executor, gates, 1)

    def test_never_more_than_max_workers_in_a_crowd(self, make: ExecutorFactory, gate: Gate, journal: Journal) -> None:
        """Never more calls than max_workers MUST run at once, also when many are submitted. (manual:
        ThreadPoolExecutor)
        """
        executor = make(max_workers=2)
        futures = [executor.submit(carrying.note_span, journal, gate, number) for number in range(60)]
        gate.await_arrivals(2)
        gate.open()
        all_done(futures)
        running = most = 0
        for entry in journal.entries:
            running += 1 if entry.startswith("start") else -1
            most = max(most, running)
        assert most <= 2, f"{most} calls ran at once with max_workers=2"

    def test_never_more_than_max_workers_after_failures(self, make: ExecutorFactory, gates: GateFactory) -> None:
        """Never more calls than max_workers MUST run at once, also after calls failed or were cancelled. (manual:
        ThreadPoolExecutor)
        """
        executor = make(max_workers=2)
        all_done([executor.submit(calls.raise_new, kind) for kind in (ValueError, SystemExit, KeyboardInterrupt) * 2])
        gate = gates()
        blockers: list[Future[Any]] = [executor.submit(calls.pass_gate, gate) for _ in range(2)]
        gate.await_arrivals(2)
        waiting = [executor.submit(calls.nothing) for _ in range(12)]
        for future in waiting:
            future.cancel()
        gate.open()
        all_done([*blockers, *waiting])
        _never_more(executor, gates, 2)

    # Nobody waits beside an idle worker

    def test_idle_worker_takes_the_next_call(self, make: ExecutorFactory, gate: Gate) -> None:
        """A call SHOULD not wait while a worker is idle. (promise E2)"""
        executor = make(max_workers=2)
        long: Future[Any] = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        for number in range(10):
            found = result_of(executor.submit(calls.echo, number), "a short call beside a long one")
            assert found == number, f"a short call beside a long one returned {brief(found)}"
        gate.open()
        result_of(long)

    def test_short_calls_pass_a_long_one(self, make: ExecutorFactory, gate: Gate) -> None:
        """Short calls submitted together with a long one SHOULD not be stuck behind it. (promise E2)"""
        executor = make(max_workers=2)
        long: Future[Any] = executor.submit(calls.pass_gate, gate)
        short = [executor.submit(calls.echo, number) for number in range(40)]
        all_done(short, "short calls submitted with a long one")
        assert not long.done(), "a call ended before its gate was opened"
        gate.open()
        result_of(long)

    def test_long_call_among_short_ones_holds_up_none(self, make: ExecutorFactory, gate: Gate) -> None:
        """Short calls around a long one SHOULD all be run by the other worker. (promise E2)"""
        executor = make(max_workers=2)
        before = [executor.submit(calls.echo, number) for number in range(7)]
        long: Future[Any] = executor.submit(calls.pass_gate, gate)
        after = [executor.submit(calls.echo, number) for number in range(30)]
        all_done([*before, *after], "short calls around a long one")
        all_done([executor.submit(calls.echo, number) for number in range(38)], "short calls beside a long one")
        gate.open()
        result_of(long)

    def test_only_as_many_workers_are_taken_as_calls_are_long(self, make: ExecutorFactory, gate: Gate) -> None:
        """Short calls SHOULD be run while all workers but one hold long calls. (promise E2)"""
        executor = make(max_workers=3)
        futures: list[Future[int]] = []
        long: list[Future[int]] = []
        for number in range(20):
            futures.append(executor.submit(calls.echo, number))
            if number in (4, 5):
                long.append(executor.submit(calls.pass_gate, gate, number))
        all_done(futures, "short calls beside two long ones on three workers")
        gate.await_arrivals(2)
        gate.open()
        found = [result_of(future) for future in long]
        assert found == [4, 5], f"the long calls returned {brief(found)}"

    def test_freed_worker_takes_the_waiting_call(self, make: ExecutorFactory, gates: GateFactory) -> None:
        """A waiting call SHOULD start when any worker becomes free, whichever it is. (promise E2)"""
        executor = make(max_workers=2)
        for freed in (0, 1):
            pair = [gates(), gates()]
            futures: list[Future[Any]] = [executor.submit(calls.pass_gate, gate) for gate in pair]
            for gate in pair:
                gate.await_arrivals()
            waiting = [executor.submit(calls.echo, number) for number in range(3)]
            pair[freed].open()
            all_done(waiting, f"waiting calls after worker {freed + 1} of 2 became free")
            pair[1 - freed].open()
            all_done(futures)

    def test_call_may_be_freed_by_a_later_one(self, make: ExecutorFactory, gate: Gate) -> None:
        """A call that waits for what a later call does SHOULD end, given two workers. (promise E2)"""
        executor = make(max_workers=2)
        first: Future[Any] = executor.submit(calls.pass_gate, gate, "freed")
        second = executor.submit(gate.open)
        assert result_of(first, "a call that a later one frees") == "freed", "the freed call returned something else"
        result_of(second)

    # The order

    def test_one_worker_starts_calls_in_order(self, executor: Executor, journal: Journal) -> None:
        """Calls SHOULD start in the order in which they were submitted. (promise E2)"""
        all_done([executor.submit(calls.note, journal, number) for number in range(50)])
        found = [int(entry) for entry in journal.entries]
        assert found == list(range(50)), f"calls started in the order {brief(found)}"

    def test_calls_that_waited_start_in_order(self, executor: Executor, gate: Gate, journal: Journal) -> None:
        """Calls that waited for a worker SHOULD start in the order in which they were submitted.
        (promise E2)
        """
        blocker: Future[Any] = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        futures = [executor.submit(calls.note, journal, number) for number in range(50)]
        gate.open()
        all_done([blocker, *futures])
        found = [int(entry) for entry in journal.entries]
        assert found == list(range(50)), f"calls that waited started in the order {brief(found)}"

    @requires("shares_memory")
    def test_call_of_a_call_waits_its_turn(self, executor: Executor, gate: Gate, journal: Journal) -> None:
        """A call that is submitted by a call SHOULD start after those that were submitted before. (promise E2)"""
        submitted: list[Future[Any]] = []

        def submitting() -> None:
            gate.enter()
            submitted.append(executor.submit(calls.note, journal, "late"))

        submitted.append(executor.submit(submitting))
        gate.await_arrivals()
        submitted.append(executor.submit(calls.note, journal, "early"))
        gate.open()
        until(lambda: len(submitted) == 3, "a call to submit another")
        all_done(submitted)
        found = journal.entries
        assert found == ["early", "late"], f"the call that was submitted last, by a call, started first: {found}"

    def test_second_worker_starts_calls_in_order(self, make: ExecutorFactory, gate: Gate, journal: Journal) -> None:
        """Calls SHOULD start in order also where one worker holds a long call. (promise E2)"""
        executor = make(max_workers=2)
        long: Future[Any] = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        all_done([executor.submit(calls.note, journal, number) for number in range(50)], "calls beside a long one")
        gate.open()
        result_of(long)
        found = [int(entry) for entry in journal.entries]
        assert found == list(range(50)), f"calls beside a long one started in the order {brief(found)}"

    @requires("shares_memory")
    def test_a_finaliser_holds_up_no_call(self, make: ExecutorFactory, gates: GateFactory) -> None:
        """A call SHOULD be executed at once by an idle worker, while another worker is held up by the finaliser of a
        result that nobody wanted. (promise E2)
        """
        executor = make(max_workers=2)
        both, returning, finalising = gates(), gates(), gates()
        _run_at_once(executor, both, 2)
        executor.submit(carrying.at_gate, returning, hostile.Lingering, finalising)
        returning.await_arrivals()
        returning.open()  # nobody but the worker refers to the result: its finaliser runs there
        finalising.await_arrivals()
        for _ in range(3):
            future = finishes(lambda: executor.submit(calls.echo, 1), "submit() beside a finaliser")
            result_of(future, "a call beside a finaliser that takes long")
        finalising.open()

    @requires(remote=False)
    def test_a_finaliser_may_submit(self, executor: Executor, gate: Gate) -> None:
        """A finaliser that runs where the executor lets go of an argument SHOULD be able to submit a call. (promise F8)

        The executor that lets go of it under a lock of its own hangs.
        """
        futures: list[Future[Any]] = []

        def act() -> None:
            futures.append(executor.submit(calls.echo, len(futures)))

        running = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        finishes(lambda: executor.submit(id, _ActsInTheEnd(act)), "submit() of an argument with a finaliser")
        cancelled = executor.submit(id, _ActsInTheEnd(act))
        finishes(cancelled.cancel, "cancel() that lets go of an argument with a finaliser")
        gate.open()
        done(running, "a call beside finalisers that submit")

        def have_run() -> bool:
            gc.collect(0)
            return len(futures) == 2

        until(have_run, "the finalisers of two arguments to have submitted a call each")
        got = sorted(map(result_of, futures))
        assert got == [0, 1], f"the calls of two finalisers returned {got}"

    # What the futures say of it

    def test_running_is_true_for_a_call_that_runs(self, executor: Executor, gate: Gate) -> None:
        """running() MUST be true for a call that is being executed, and false when it has ended. (manual:
        Future.running)
        """
        future: Future[Any] = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        until(future.running, "running() to be true for a call that runs")
        gate.open()
        result_of(future)
        assert not future.running(), "running() was true for a call that had ended"

    def test_running_is_false_for_calls_that_wait(self, executor: Executor, gate: Gate) -> None:
        """running() SHOULD be false for calls that have not started. (promise E3)"""
        futures: list[Future[Any]] = [executor.submit(calls.pass_gate, gate) for _ in range(6)]
        gate.await_arrivals()
        found = [future.running() for future in futures[1:]]
        assert not any(found), f"running() was true for {sum(found)} of 5 calls that had not started"
        gate.open()
        all_done(futures)

    def test_last_of_many_waiting_calls_can_be_cancelled(
        self, executor: Executor, gate: Gate, journal: Journal
    ) -> None:
        """A call that has not started MUST be cancelled by cancel(), and never run. (manual:
        Future.cancel)
        """
        blocker: Future[Any] = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        futures = [executor.submit(calls.note, journal, number) for number in range(20)]
        assert futures[-1].cancel() is True, "cancel() did not return True for the last of 20 waiting calls"
        gate.open()
        all_done([blocker, *futures])
        found = journal.entries
        assert "19" not in found, "a cancelled call ran"
        assert len(found) == 19, f"{len(found)} of the 19 calls that were not cancelled ran"

    def test_every_waiting_call_can_be_cancelled(self, executor: Executor, gate: Gate, journal: Journal) -> None:
        """Each call that has not started SHOULD be cancelled by cancel(), the next in line too.
        (promise E3)
        """
        blocker: Future[Any] = executor.submit(calls.pass_gate, gate)
        futures = [executor.submit(calls.note, journal, number) for number in range(6)]
        gate.await_arrivals()
        found = [future.cancel() for future in futures]
        assert all(found), f"cancel() returned {found} for six waiting calls"
        last = executor.submit(calls.note, journal, "last")
        gate.open()
        all_done([blocker, last])
        assert journal.entries == ["last"], f"cancelled calls ran: {brief(journal.entries)}"

    def test_cancelled_calls_make_room(self, executor: Executor, gate: Gate, journal: Journal) -> None:
        """Calls behind cancelled ones MUST be run. (manual: Executor.submit)"""
        blocker: Future[Any] = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        futures = [executor.submit(calls.note, journal, number) for number in range(30)]
        kept = [future for number, future in enumerate(futures) if number % 5 == 4 or not future.cancel()]
        gate.open()
        all_done([blocker, *kept], "calls behind cancelled ones")
        assert len(journal.entries) == len(kept), f"{len(journal.entries)} calls ran of the {len(kept)} not cancelled"

    # Who submits does not wait

    def test_submit_does_not_wait_for_workers(self, executor: Executor, gate: Gate) -> None:
        """submit() SHOULD return while all workers are busy, however many calls wait. (promise E10)"""
        blocker: Future[Any] = executor.submit(calls.pass_gate, gate)
        futures = finishes(
            lambda: [executor.submit(calls.echo, number) for number in range(1000)],
            "submit() of 1000 calls to a busy worker",
        )
        assert not blocker.done(), "a call ended before its gate was opened"
        gate.open()
        all_done([blocker, *futures])

    @requires("pickles")
    @patient(1.5)
    def test_submit_does_not_wait_for_the_wire(self, executor: Executor, gate: Gate) -> None:
        """submit() SHOULD return while all workers are busy, however large the arguments. (promise E10)"""
        blocker: Future[Any] = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        data = carrying.payload(1_000_000)
        futures = finishes(
            lambda: [executor.submit(carrying.summary, data) for _ in range(16)],
            "submit() of large arguments to a busy worker",
        )
        gate.open()
        all_done([blocker, *futures])
        found = result_of(futures[-1])
        assert found == carrying.summary(data), f"a large argument arrived as {found}"

    def test_cancel_does_not_wait(self, executor: Executor, gate: Gate) -> None:
        """cancel() SHOULD return while all workers are busy. (promise E10)"""
        blocker: Future[Any] = executor.submit(calls.pass_gate, gate)
        futures = [executor.submit(calls.nothing) for _ in range(10)]
        gate.await_arrivals()
        finishes(lambda: [future.cancel() for future in [blocker, *futures]], "cancel() while the worker is busy")
        gate.open()
        done(blocker)


def _run_at_once(executor: Executor, gate: Gate, count: int) -> None:
    """Show that `count` calls run at once: all of them arrive at a gate that none has passed."""
    futures = [executor.submit(calls.pass_gate, gate, number) for number in range(count)]
    gate.await_arrivals(count)
    gate.open()
    found = [result_of(future) for future in futures]
    assert found == list(range(count)), f"calls that ran at once returned {brief(found)}"


def _never_more(executor: Executor, gates: GateFactory, workers: int) -> None:
    """Let calls go one by one, in whatever order they start: at each step, no more may have started than have a
    worker.
    """
    entrances = [gates() for _ in range(4 * workers + 4)]
    waiting: list[tuple[Gate, Future[Any]]] = [(gate, executor.submit(calls.pass_gate, gate)) for gate in entrances]
    while waiting:
        until(lambda: any(gate.arrived for gate, _ in waiting), "one of the waiting calls to start")
        running = [(gate, future) for gate, future in waiting if gate.arrived]
        assert len(running) <= workers, f"{len(running)} calls ran at once with max_workers={workers}"
        gate, future = running[0]
        gate.open()
        done(future)
        waiting.remove((gate, future))
