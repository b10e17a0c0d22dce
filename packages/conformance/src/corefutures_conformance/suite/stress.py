"""Chapter "stress": many calls from many threads, and submit, cancel and shutdown racing one another.

Whatever the interleaving, each call accepted ends once and for all, and the journal shows what ran. How much
is done depends on what a call costs, never on a clock.
"""

from __future__ import annotations

import concurrent.futures
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from typing import Any

from corefutures_conformance.background import BackgroundCall
from corefutures_conformance.deadlines import all_done, brief, error_of, finishes, result_of, until
from corefutures_conformance.fixtures import ExecutorFactory
from corefutures_conformance.rules import patient, requires
from corefutures_conformance.worker import calls, carrying, hostile
from corefutures_conformance.worker.gates import Gate
from corefutures_conformance.worker.journal import Journal


class Stress:
    """Rules that must hold in a crowd."""

    @patient(2)
    def test_many_calls_from_one_thread(self, make: ExecutorFactory, capabilities: Mapping[str, bool]) -> None:
        """Thousands of calls MUST all return, each its own result. (manual: Executor.submit)"""
        executor = make(max_workers=2)
        count = _much(capabilities, 3000)
        futures = [executor.submit(calls.square, number) for number in range(count)]
        all_done(futures, "thousands of calls")
        found = [future.result(timeout=0) for future in futures]
        assert found == [number * number for number in range(count)], "results went to other calls' futures"

    @patient(2)
    def test_many_calls_from_many_threads(
        self, make: ExecutorFactory, capabilities: Mapping[str, bool], journal: Journal
    ) -> None:
        """Calls submitted from many threads MUST each run once and return their own result. (manual:
        Executor.submit)
        """
        executor = make(max_workers=3)
        count = _much(capabilities, 250)
        wrong: list[object] = []

        def submit(who: int) -> None:
            names = [f"{who}.{number}" for number in range(count)]
            futures = [executor.submit(calls.note_and_echo, journal, name) for name in names]
            wrong.extend((name, found) for name, future in zip(names, futures, strict=True)
                         if (found := result_of(future)) != name)  # fmt: skip

        _all_at_once(submit, 8)
        assert not wrong, f"results went to other calls' futures: {brief(wrong)}"
        entries = Counter(journal.entries)
        assert len(entries) == 8 * count, f"{8 * count - len(entries)} of {8 * count} calls did not run"
        assert max(entries.values()) == 1, f"a call ran {max(entries.values())} times"

    def test_many_failing_calls(self, make: ExecutorFactory, capabilities: Mapping[str, bool]) -> None:
        """Each of many failing calls MUST raise its own exception. (manual: Future.exception)"""
        executor = make(max_workers=2)
        count = _much(capabilities, 500)
        futures = [executor.submit(calls.raise_new, hostile.HostileError, number) for number in range(count)]
        found = [error_of(future).args for future in futures]
        assert found == [(number,) for number in range(count)], "exceptions went to other calls' futures"

    def test_maps_from_many_threads(self, make: ExecutorFactory) -> None:
        """Maps in several threads at once MUST each yield their own results. (manual: Executor.map)"""
        executor = make(max_workers=2)
        wrong: list[object] = []

        def use(who: int) -> None:
            numbers = range(100 * who, 100 * who + 30)
            found = list(executor.map(calls.square, numbers))
            if found != [number * number for number in numbers]:
                wrong.append(found)

        _all_at_once(use, 4)
        assert not wrong, f"maps in several threads mixed their results: {brief(wrong)}"

    @patient(2)
    def test_submit_races_cancel(
        self, make: ExecutorFactory, capabilities: Mapping[str, bool], journal: Journal
    ) -> None:
        """A call that cancel() returned True for MUST not run, and any other runs once. (manual:
        Future.cancel)
        """
        executor = make(max_workers=2)
        count = _much(capabilities, 300)
        futures: dict[str, Future[str]] = {}

        def submit_and_cancel(who: int) -> None:
            for number in range(count):
                name = f"{who}.{number}"
                futures[name] = executor.submit(calls.note_and_echo, journal, name)
                if number % 3:
                    futures[f"{who}.{number - number % 5}"].cancel()
                    futures[name].cancel()

        _all_at_once(submit_and_cancel, 4)
        all_done(futures.values(), "every call to end or be cancelled")
        expected = Counter(name for name, future in futures.items() if not future.cancelled())
        finishes(executor.shutdown, "shutdown()")
        _compare(Counter(journal.entries), expected)

    def test_many_threads_cancel_the_same_calls(self, executor: Executor, gate: Gate, journal: Journal) -> None:
        """Calls cancelled by several threads at once MUST be cancelled, and none run. (manual:
        Future.cancel)
        """
        blocker: Future[Any] = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        futures = [executor.submit(calls.note_and_echo, journal, str(number)) for number in range(100)]
        _all_at_once(lambda who: [future.cancel() for future in futures], 4)
        gate.open()
        all_done([blocker, *futures])
        expected = Counter(str(number) for number, future in enumerate(futures) if not future.cancelled())
        assert len(expected) < 20, f"only {100 - len(expected)} of 100 waiting calls could be cancelled"
        found = result_of(executor.submit(calls.echo, "next"))
        assert found == "next", f"the call after many cancelled ones returned {brief(found)}"
        _compare(Counter(journal.entries), expected)

    def test_submit_races_shutdown(self, make: ExecutorFactory, journal: Journal) -> None:
        """A call submitted while shutdown() runs in another thread MUST be refused with RuntimeError, or run.
        (manual: Executor.shutdown)
        """
        for workers in (1, 2):
            executor = make(max_workers=workers)
            accepted: list[Future[str]] = []
            odd: list[BaseException] = []

            def submit(who: int, executor: Executor = executor, accepted: list[Future[str]] = accepted,
                       odd: list[BaseException] = odd, workers: int = workers) -> None:  # fmt: skip
                if who == 0:
                    until(lambda: len(accepted) >= 30, "calls to be accepted")
                    executor.shutdown(wait=True)
                    return
                for number in range(2000):
                    try:
                        future = executor.submit(calls.note_and_echo, journal, f"{workers}.{who}.{number}")
                    except RuntimeError:
                        return
                    except BaseException as error:
                        odd.append(error)
                        return
                    accepted.append(future)
                    if number > 100:
                        result_of(future)

            _all_at_once(submit, 4)
            assert not odd, f"submit() during shutdown() raised {brief(odd[0])}"
            late = sum(not future.done() for future in accepted)
            assert late == 0, f"shutdown(wait=True) returned with {late} accepted calls unfinished"
            failed = [error for future in accepted if (error := future.exception(timeout=0)) is not None]
            assert not failed, f"an accepted call failed with {brief(failed[0])}"
            ran = Counter(entry for entry in journal.entries if entry.startswith(f"{workers}."))
            _compare(ran, Counter(future.result(timeout=0) for future in accepted))

    def test_cancel_races_shutdown(self, make: ExecutorFactory, gate: Gate, journal: Journal) -> None:
        """Each call MUST end while cancel() and shutdown(cancel_futures=True) run in many threads. (manual:
        Executor.shutdown)
        """
        executor = make(max_workers=2)
        blockers: list[Future[Any]] = [executor.submit(calls.pass_gate, gate) for _ in range(2)]
        futures = [executor.submit(calls.note_and_echo, journal, str(number)) for number in range(200)]
        gate.await_arrivals(2)

        def end(who: int) -> None:
            if who == 0:
                executor.shutdown(wait=False, cancel_futures=True)
            elif who == 1:
                gate.open()
            else:
                for future in futures[who::2]:
                    future.cancel()

        _all_at_once(end, 4)
        finishes(lambda: executor.shutdown(wait=True), "shutdown() after a race")
        all_done([*blockers, *futures], "every call to end after cancel() and shutdown() raced")
        expected = Counter(str(number) for number, future in enumerate(futures) if not future.cancelled())
        _compare(Counter(journal.entries), expected)

    def test_shutdowns_race(self, make: ExecutorFactory, gate: Gate) -> None:
        """shutdown() in several threads at once SHOULD return in each, when the calls are done.
        (promise E6)
        """
        executor = make(max_workers=2)
        futures = [executor.submit(calls.pass_gate, gate, number) for number in range(50)]
        late: list[int] = []

        def end(who: int) -> None:
            executor.shutdown(wait=True)
            late.append(sum(not future.done() for future in futures))

        ending = BackgroundCall(lambda: _all_at_once(end, 5), "shutdown() in five threads")
        ending.goes_on()  # one that does not wait has returned by now
        gate.open()
        ending.outcome()
        assert late == [0] * 5, f"shutdown(wait=True) returned with {max(late)} calls unfinished"

    def test_executors_in_quick_succession(self, make: ExecutorFactory, capabilities: Mapping[str, bool]) -> None:
        """Executors made, used and shut down in quick succession MUST run their calls. (manual:
        Executor.shutdown)
        """
        for number in range(50 if capabilities["shares_memory"] else 4):
            executor = make(max_workers=1)
            future = executor.submit(calls.echo, number)
            finishes(executor.shutdown, "shutdown() right after submit()")
            assert future.done(), "shutdown(wait=True) returned before the call had ended"
            assert result_of(future) == number, "the one call of an executor returned something else"

    def test_many_threads_wait_for_one_call(self, executor: Executor, gate: Gate) -> None:
        """A call's end MUST wake every thread that waits for it. (manual: Future.result)"""
        future = executor.submit(calls.pass_gate, gate, "ended")
        woken: list[object] = []
        ready = threading.Semaphore(0)

        def await_it(who: int) -> None:
            if who == 0:
                for _ in range(12):
                    ready.acquire()
                gate.open()
                return
            ready.release()
            if who % 3 == 0:
                woken.append(future.result())
            elif who % 3 == 1:
                concurrent.futures.wait([future])
                woken.append(future.result(timeout=0))
            else:
                woken.extend(each.result(timeout=0) for each in concurrent.futures.as_completed([future]))

        _all_at_once(await_it, 13)
        assert woken == ["ended"] * 12, f"12 threads that waited for one call were given {brief(woken)}"

    def test_callbacks_race_the_end(self, executor: Executor, capabilities: Mapping[str, bool]) -> None:
        """A callback added while the call ends MUST be called once. (manual: Future.add_done_callback)"""
        called: list[int] = []
        count = _much(capabilities, 600)
        for number in range(count):
            future = executor.submit(calls.nothing)
            future.add_done_callback(lambda future, number=number: called.append(number))  # type: ignore[misc]
            if number % 50 == 0:
                result_of(future)
                future.add_done_callback(lambda future, number=number: called.append(-1 - number))  # type: ignore[misc]
        expected = count + len(range(0, count, 50))
        until(lambda: len(called) >= expected, "every callback to be called")
        result_of(executor.submit(calls.nothing))
        assert len(called) == len(set(called)) == expected, f"{len(called)} callbacks were called instead of {expected}"

    def test_waiters_race_the_end(self, make: ExecutorFactory, capabilities: Mapping[str, bool]) -> None:
        """wait() MUST not miss the end of a call, however threads are switched. (manual: wait)"""
        executor = make(max_workers=2)
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            for _ in range(_much(capabilities, 30)):
                futures = {executor.submit(calls.nothing) for _ in range(20)}
                found = finishes(lambda futures=futures: concurrent.futures.wait(futures), "wait()")  # type: ignore[misc]
                assert not found.not_done, f"wait() returned with {len(found.not_done)} calls unfinished"
        finally:
            sys.setswitchinterval(interval)

    def test_as_completed_over_many(self, make: ExecutorFactory, capabilities: Mapping[str, bool]) -> None:
        """as_completed() over many calls MUST yield each once. (manual: as_completed)"""
        executor = make(max_workers=2)
        futures = [executor.submit(calls.echo, number) for number in range(_much(capabilities, 800))]
        found = finishes(lambda: list(concurrent.futures.as_completed(futures)), "as_completed()")
        assert len(found) == len(set(found)) == len(futures), f"as_completed() yielded {len(found)} of {len(futures)}"

    @requires("shares_memory")
    def test_calls_submit_calls(self, make: ExecutorFactory, journal: Journal) -> None:
        """Calls SHOULD be able to submit calls to their own executor. (promise E1)"""
        executor = make(max_workers=2)
        outer = [executor.submit(carrying.submit_more, executor, journal, str(number), 10) for number in range(20)]
        inner = [future for each in outer for future in result_of(each)]
        all_done(inner, "calls that calls submitted")
        _compare(Counter(journal.entries), Counter(result_of(future) for future in inner))
        assert len(journal.entries) == 200, f"{len(journal.entries)} of 200 calls that calls submitted ran"

    def test_callbacks_submit_calls(self, executor: Executor, journal: Journal) -> None:
        """Callbacks SHOULD be able to submit calls to the executor. (promise F3)"""
        ended = threading.Event()
        troubles: list[BaseException] = []

        def go_on(number: int) -> None:
            if number == 40:
                ended.set()
                return
            try:
                executor.submit(calls.note, journal, number).add_done_callback(lambda future: go_on(number + 1))
            except BaseException as error:
                troubles.append(error)
                ended.set()

        finishes(lambda: go_on(0), "submit()")
        until(ended.is_set, "a chain of 40 callbacks that submit calls")
        assert not troubles, f"submit() in a callback raised {brief(troubles[0])}"
        found = [int(entry) for entry in journal.entries]
        assert found == list(range(40)), f"a chain of callbacks that submit calls ran {brief(found)}"

    def test_callbacks_cancel_calls(self, executor: Executor, gate: Gate, journal: Journal) -> None:
        """Callbacks SHOULD be able to cancel other calls. (promise F3)"""
        first: Future[Any] = executor.submit(calls.pass_gate, gate)
        others = [executor.submit(calls.note_and_echo, journal, str(number)) for number in range(30)]
        first.add_done_callback(lambda future: [other.cancel() for other in others])
        gate.await_arrivals()
        gate.open()
        all_done([first, *others], "calls that a callback cancels")
        result_of(executor.submit(calls.nothing))
        expected = Counter(str(number) for number, future in enumerate(others) if not future.cancelled())
        _compare(Counter(journal.entries), expected)


def _much(capabilities: Mapping[str, bool], count: int) -> int:
    """`count` where calls are cheap, a third of it where each crosses a boundary."""
    return count if capabilities["shares_memory"] else count // 3


def _all_at_once(act: Callable[[int], object], threads: int) -> None:
    """Run `act(0)`, `act(1)`, … each in a thread of its own, all at once; raise what one of them raised."""
    barrier = threading.Barrier(threads)
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            barrier.wait()
            act(number)
        except BaseException as error:
            errors.append(error)

    running = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(threads)]
    for thread in running:
        thread.start()
    until(
        lambda: not any(thread.is_alive() for thread in running),
        f"{threads} threads that use the executor to end",
    )
    for error in errors:
        raise error


def _compare(ran: Counter[str], expected: Counter[str]) -> None:
    """Hold what the journal shows against what must have run."""
    doubled, lost, uncalled = [], [], []
    for name in {*ran, *expected}:
        if ran[name] > 1:
            doubled.append(name)
        elif ran[name] < expected[name]:
            lost.append(name)
        elif ran[name] > expected[name]:
            uncalled.append(name)
    assert not doubled, f"{len(doubled)} calls ran more than once: {brief(doubled)}"
    assert not lost, f"{len(lost)} calls were lost: {brief(lost)}"
    assert not uncalled, f"{len(uncalled)} calls ran although they were cancelled or refused: {brief(uncalled)}"
