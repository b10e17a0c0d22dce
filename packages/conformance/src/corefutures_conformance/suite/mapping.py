"""Chapter "mapping": order, time limit, drawing of the input, chunks, errors, closing and dropping."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from functools import partial
from itertools import islice, repeat
from typing import Any

from corefutures_conformance.background import BackgroundCall
from corefutures_conformance.deadlines import Overdue, brief, finishes, limit, result_of, short_limit, until
from corefutures_conformance.expectations import (
    MAP_BUFFERSIZE,
    MAP_CALLS_OWN_TIMEOUT,
    MAP_CLOSE,
    MAP_CONTINUES_AFTER_ERROR,
)
from corefutures_conformance.fixtures import ExecutorFactory, GateFactory
from corefutures_conformance.promises import skip_unless_promised
from corefutures_conformance.rules import only_where, requires
from corefutures_conformance.worker import calls, hostile
from corefutures_conformance.worker.gates import Gate
from corefutures_conformance.worker.journal import Journal

SHORT_SECONDS = 0.01
LONG_ENOUGH = 8
"""So many waiting calls that an executor which sends some ahead has the last one at hand still."""
NEVER_ENDING = 20_000
"""An input of this length is drawn to its end only by whoever would draw an endless one for ever."""
NUDGE: Any = getattr(signal, "SIGWINCH", None)
"""A second signal has CPython notice an interrupt that came just before the main thread blocked, which is its own."""


def drawing(items: Iterable[Any], drawn: list[Any]) -> Iterator[Any]:
    """The items; each is put into `drawn` when it is drawn."""
    for item in items:
        drawn.append(item)
        yield item


def taken(results: Iterator[Any], count: int | None = None) -> list[Any]:
    """The next `count` results, or all that are left."""
    return finishes(lambda: list(islice(results, count)), "the iterator of map()")


def taken_before_an_error(results: Iterator[Any], count: int, what: str) -> list[Any]:
    """The next `count` results, where an error comes only after them."""
    try:
        return taken(results, count)
    except ValueError as error:
        raise AssertionError(f"map() lost {what}: it raised {brief(error)} first") from error


def following(results: Iterator[Any]) -> Any:
    """The next result."""
    return finishes(lambda: next(results), "next() of map's iterator")


def error_following(results: Iterator[Any], kind: type[BaseException], instead: str) -> BaseException:
    """The error that the next step raises, which must be of this kind."""
    try:
        value = following(results)
    except kind as error:
        return error
    except StopIteration:
        raise AssertionError(f"map's iterator ended {instead}") from None
    raise AssertionError(f"map's iterator gave {brief(value)} {instead}")


def exhausted(results: Iterator[Any]) -> bool:
    """Whether the iterator says that it is at its end."""
    try:
        following(results)
    except StopIteration:
        return True
    return False


def gone(watch: weakref.ref[Any]) -> bool:
    """Whether what was watched has been freed."""
    gc.collect()
    return watch() is None


TIMEOUT_SECONDS = 0.2
"""A timeout that is long enough to tell it from one that was taken for milliseconds."""


class Mapping:
    """Rules on `Executor.map`."""

    # What it computes

    def test_map_gives_what_the_builtin_map_gives(self, executor: Executor) -> None:
        """map() MUST give the results that the built-in map gives. (manual: Executor.map)"""
        found = taken(executor.map(calls.square, range(12)))
        assert found == [number**2 for number in range(12)], f"map() gave {brief(found)} for the squares of 0 to 11"

    def test_map_takes_several_iterables(self, executor: Executor) -> None:
        """map() MUST call with one item of each iterable, in the order of the iterables. (manual:
        Executor.map)
        """
        found = taken(executor.map(calls.arguments, "ab", [1, 2], (True, False)))
        wanted: list[Any] = [(("a", 1, True), {}), (("b", 2, False), {})]
        assert found == wanted, f"map() over three iterables called with {brief(found)}, not {brief(wanted)}"

    def test_map_stops_at_the_shortest_iterable(self, executor: Executor) -> None:
        """map() over several iterables MUST stop at the end of the shortest. (manual: Executor.map)"""
        found = taken(executor.map(calls.add, [1, 2, 3], [10, 20]))
        assert found == [11, 22], f"map() over iterables of lengths 3 and 2 gave {brief(found)}, not [11, 22]"
        found = taken(executor.map(calls.add, [1], repeat(5)))
        assert found == [6], f"map() over one item and an endless iterable gave {brief(found)}, not [6]"

    def test_map_of_nothing_is_empty(self, executor: Executor) -> None:
        """map() over an empty iterable MUST give nothing. (manual: Executor.map)"""
        found = taken(executor.map(calls.square, []))
        assert found == [], f"map() over nothing gave {brief(found)}"
        found = taken(executor.map(calls.add, [], [1, 2]))
        assert found == [], f"map() over nothing and two items gave {brief(found)}"

    def test_map_gives_results_that_are_false(self, executor: Executor) -> None:
        """map() MUST give every result, also one that is None or false, and take every such item. (manual:
        Executor.map)
        """
        items: list[Any] = [0, None, "", False, (), [], 1]
        found = taken(executor.map(calls.echo, items))
        assert found == items, f"map() over {items} gave {brief(found)}: a false value was lost or ended it"

    def test_map_returns_an_iterator(self, executor: Executor) -> None:
        """map() MUST return an iterator. (manual: Executor.map)"""
        results = executor.map(calls.echo, [1, 2])
        assert iter(results) is results, f"map() returned {brief(results)}, which is no iterator"
        assert following(results) == 1, "next() of map's iterator did not give the first result"

    def test_map_is_exhausted_after_the_last_result(self, executor: Executor) -> None:
        """map's iterator MUST stay at its end once it is there. (manual: Executor.map)"""
        results = executor.map(calls.echo, [1])
        assert taken(results) == [1], "map() over one item did not give its result"
        for _ in range(2):
            assert exhausted(results), "map's iterator went on after its end"

    def test_map_keeps_the_order_of_the_input(self, make: ExecutorFactory, gates: GateFactory) -> None:
        """map() MUST give the results in the order of the input, whichever call ends first. (manual:
        Executor.map)
        """
        executor = make(max_workers=2)
        closed, opened = gates(), gates()
        opened.open()
        results = executor.map(calls.pass_gate, [closed, opened], ["first", "second"])
        closed.await_arrivals()
        opened.await_arrivals()
        result_of(executor.submit(calls.nothing))  # by the worker that ran the second: it has ended
        taking = BackgroundCall(lambda: list(results), "the iterator of map()")
        taking.goes_on()
        closed.open()
        found = taking.outcome()
        assert found == ["first", "second"], f"map() gave {brief(found)}: not in the order of the input"

    def test_map_of_many_keeps_every_result_in_order(self, make: ExecutorFactory) -> None:
        """map() over many items MUST give each result once, in the order of the input. (manual:
        Executor.map)
        """
        executor = make(max_workers=2)
        found = taken(executor.map(calls.echo, range(300)))
        assert found == list(range(300)), "map() over 300 items lost, doubled or misplaced results"

    def test_two_maps_do_not_mix(self, make: ExecutorFactory) -> None:
        """Each of two map() calls under way together MUST give its own results. (manual: Executor.map)"""
        executor = make(max_workers=2)
        squares, texts = executor.map(calls.square, range(20)), executor.map(str, range(20))
        found = finishes(lambda: list(zip(squares, texts, strict=True)), "two iterators of map()")
        assert found == [(number**2, str(number)) for number in range(20)], "two map() calls mixed up their results"

    def test_map_calls_each_item_once(self, make: ExecutorFactory, journal: Journal) -> None:
        """map() MUST make one call for each item. (manual: Executor.map)"""
        executor = make(max_workers=2)
        taken(executor.map(calls.note, repeat(journal), range(20)))
        ran = sorted(map(int, journal.entries))
        assert ran == list(range(20)), f"map() over the items 0 to 19 made calls for {ran}"

    # When it collects, starts and hands out

    def test_map_returns_before_its_calls_end(self, executor: Executor, gate: Gate) -> None:
        """map() MUST return without waiting for its calls. (manual: Executor.map)"""
        results = finishes(lambda: executor.map(calls.pass_gate, [gate], ["late"]), "map() whose call is blocked")
        gate.open()
        assert taken(results) == ["late"], "the call that map() did not wait for lost its result"

    def test_map_collects_its_input_at_once(self, executor: Executor, gate: Gate) -> None:
        """map() without buffersize MUST collect its iterables before it returns. (manual: Executor.map)"""
        drawn: list[Any] = []
        results = executor.map(calls.pass_gate, repeat(gate), drawing(range(10), drawn))
        assert drawn == list(range(10)), f"map() returned when it had collected {len(drawn)} of 10 items"
        gate.open()
        assert taken(results) == list(range(10)), "map() over a generator lost results"

    def test_map_runs_its_calls_unasked(self, executor: Executor, journal: Journal) -> None:
        """map() MUST run its calls also while nobody asks for results. (manual: Executor.map)"""
        results = executor.map(calls.note, repeat(journal), range(4))
        until(lambda: len(journal.entries) == 4, "the calls of a map() whose results nobody has asked for")
        assert len(taken(results)) == 4, "map() lost results of calls that ran before they were asked for"

    def test_map_runs_its_calls_side_by_side(self, make: ExecutorFactory, gate: Gate) -> None:
        """map() SHOULD keep every worker busy. (promise E2)"""
        executor = make(max_workers=2)
        results = executor.map(calls.pass_gate, [gate, gate], [1, 2])
        gate.await_arrivals(2)
        gate.open()
        assert taken(results) == [1, 2], "two calls of map() side by side lost results"

    def test_map_hands_out_a_result_while_later_calls_run(self, make: ExecutorFactory, gates: GateFactory) -> None:
        """map's iterator MUST hand out a result without waiting for later calls. (manual: Executor.map)"""
        executor = make(max_workers=2)
        opened, closed = gates(), gates()
        opened.open()
        results = executor.map(calls.pass_gate, [opened, closed], ["early", "late"])
        assert following(results) == "early", "map() did not hand out the first result first"
        closed.open()
        assert taken(results) == ["late"], "map() lost the result of a later call"

    def test_map_waits_for_a_result_that_is_not_there(self, executor: Executor, gate: Gate) -> None:
        """map's iterator MUST wait for a result as long as it takes if there is no timeout. (manual:
        Executor.map)
        """
        results = executor.map(calls.pass_gate, [gate], ["late"])
        taking = BackgroundCall(lambda: next(results), "next() of map's iterator")
        gate.await_arrivals()
        assert taking.goes_on(), "map's iterator did not wait for a result"
        gate.open()
        found = taking.outcome()
        assert found == "late", f"map's iterator gave {brief(found)} for a call that took longer"

    # Errors of calls

    def test_map_raises_a_calls_error_in_its_place(self, executor: Executor) -> None:
        """map's iterator MUST raise a call's exception where its result would come. (manual: Executor.map)"""
        results = executor.map(int, ["1", "2", "bad", "4"])
        found = taken_before_an_error(results, 2, "the results before a call that failed")
        assert found == [1, 2], f"map() gave {brief(found)} before the error of a call"
        error = error_following(results, ValueError, "where a call's ValueError was due")
        assert "bad" in str(error), f"map() raised {brief(error)}, which is not the call's error"

    def test_map_reports_an_error_at_iteration_only(self, executor: Executor) -> None:
        """map() MUST raise a call's exception when its result is retrieved and not earlier. (manual:
        Executor.map)
        """
        try:
            results = executor.map(int, ["bad"])
        except ValueError:
            raise AssertionError("map() itself raised the exception of one of its calls") from None
        error_following(results, ValueError, "where a call's ValueError was due")

    def test_map_neither_repeats_nor_skips_after_an_error(self, executor: Executor) -> None:
        """After a call's error map's iterator MUST end or go on with the next item. (manual: Executor.map)"""
        results = executor.map(int, ["bad", "2", "3"])
        error_following(results, ValueError, "where a call's ValueError was due")
        rest = taken(results)
        assert rest in ([], [2, 3]), f"after the error of the first of three calls map() gave {brief(rest)}"

    def test_map_goes_on_after_an_error(self, executor: Executor) -> None:
        """After a call's error map's iterator SHOULD go on with the next result. (promise E9)"""
        skip_unless_promised(executor, MAP_CONTINUES_AFTER_ERROR)
        results = executor.map(int, ["1", "bad", "3", "worse", "5"])
        assert following(results) == 1, "map() lost the result before an error"
        error_following(results, ValueError, "where a call's ValueError was due")
        assert taken(results, 1) == [3], "map's iterator did not go on after the error of a call"
        assert "worse" in str(error_following(results, ValueError, "where a second ValueError was due")), (
            "map's iterator raised the first error again"
        )
        assert taken(results) == [5], "map's iterator did not go on after the second error"

    def test_map_raises_a_calls_own_timeout_error(self, executor: Executor) -> None:
        """map's iterator MUST raise a TimeoutError of a call as the call raised it. (manual: Executor.map)"""
        for timeout in (None, 1000):
            results = executor.map(calls.raise_new, [TimeoutError], ["of the call"], timeout=timeout)
            error = error_following(results, TimeoutError, "where a call's TimeoutError was due")
            assert error.args == ("of the call",), f"map() raised {brief(error)} for a TimeoutError of the call"

    def test_map_goes_on_after_a_calls_own_timeout_error(self, executor: Executor) -> None:
        """A call's own TimeoutError SHOULD not be taken for that of map(). (promise E9)"""
        skip_unless_promised(executor, MAP_CALLS_OWN_TIMEOUT)
        results = executor.map(calls.time_out_if, [False, True, False], [1, 2, 3], timeout=1000)
        assert following(results) == 1, "map() lost the result before a call's TimeoutError"
        error_following(results, TimeoutError, "where a call's TimeoutError was due")
        assert taken(results) == [3], "map's iterator took a call's own TimeoutError for its time limit and ended"

    def test_map_error_leaves_the_executor_usable(self, executor: Executor) -> None:
        """An executor MUST go on working after a call of map() failed. (manual: Executor.map)"""
        error_following(executor.map(int, ["bad"]), ValueError, "where a call's ValueError was due")
        assert taken(executor.map(int, ["7"])) == [7], "map() did not work any more after a call had failed"

    # Errors of the input

    def test_map_passes_on_an_error_of_its_input(self, executor: Executor) -> None:
        """map() MUST pass on an exception of an iterable, and the executor stay usable. (manual:
        Executor.map)
        """
        try:
            results = finishes(lambda: executor.map(calls.echo, _failing_input(3)), "map() over a failing input")
            found = taken(results)
        except hostile.HostileError:
            pass
        else:
            raise AssertionError(f"map() swallowed the exception of its input and gave {brief(found)}")
        assert taken(executor.map(calls.echo, [1])) == [1], "map() did not work any more after its input had failed"

    def test_map_refuses_what_is_not_iterable(self, executor: Executor) -> None:
        """map() MUST raise TypeError for an argument that is not iterable, as the built-in map does. (manual:
        Executor.map)
        """
        not_iterable: Any = 5
        try:
            found = taken(executor.map(calls.echo, not_iterable))
        except TypeError:
            return
        raise AssertionError(f"map() over the number 5 gave {brief(found)} instead of a TypeError")

    # The time limit

    def test_map_times_out(self, executor: Executor, gate: Gate) -> None:
        """map's iterator MUST raise TimeoutError when a result is not there in time. (manual:
        Executor.map)
        """
        results = executor.map(calls.pass_gate, [gate], ["late"], timeout=SHORT_SECONDS)
        error_following(results, TimeoutError, "after its time limit, while the call was blocked")

    def test_map_with_timeout_zero_does_not_wait(self, executor: Executor, gate: Gate) -> None:
        """map() MUST take a timeout of 0 as a time limit that is over at once. (manual: Executor.map)"""
        results = executor.map(calls.pass_gate, [gate], ["late"], timeout=0)
        error_following(results, TimeoutError, "with timeout=0, while the call was blocked")

    def test_map_gives_results_before_it_times_out(self, make: ExecutorFactory, gates: GateFactory) -> None:
        """map's iterator MUST give the results that came in time before it raises TimeoutError. (manual:
        Executor.map)
        """
        executor = make(max_workers=2)
        opened = gates()
        opened.open()
        result_of(executor.submit(calls.nothing))  # the worker has started
        for seconds in (0.5, 2.0, 5.0):  # on a machine that is busy, "in time" takes longer
            closed = gates()
            results = executor.map(calls.pass_gate, [opened, closed], ["early", "late"], timeout=seconds)
            try:
                found = following(results)
            except TimeoutError:
                closed.open()
                continue
            assert found == "early", f"map() with a timeout gave {brief(found)} first"
            error_following(results, TimeoutError, "after its time limit, while the call was blocked")
            return
        raise AssertionError("map() with a timeout lost a result that came in time")

    def test_map_with_enough_time_gives_everything(self, executor: Executor) -> None:
        """map() with a timeout that is not reached MUST give every result. (manual: Executor.map)"""
        for timeout in (1000, 1000.5):
            found = taken(executor.map(calls.square, range(5), timeout=timeout))
            assert found == [0, 1, 4, 9, 16], f"map() with timeout={timeout} gave {brief(found)}"

    def test_map_counts_its_timeout_from_the_call(self, executor: Executor, gate: Gate) -> None:
        """map() MUST count its timeout from its call, not from that of next(). (manual: Executor.map)"""
        seconds = 1.2
        results = executor.map(calls.pass_gate, [gate], ["late"], timeout=seconds)
        called = time.monotonic()
        until(lambda: time.monotonic() > called + seconds, "the time limit to pass", 2 * seconds)
        taking = BackgroundCall(lambda: next(results), "next() of map's iterator")
        try:
            taking.goes_on(0.75 * seconds)  # one that counts from next() is still waiting: let it have the result
            gate.open()
            found = taking.outcome()
        except TimeoutError:
            return
        raise AssertionError(f"map's iterator gave {brief(found)}: it did not count its timeout from the call of map()")

    def test_map_does_not_time_out_early(self, executor: Executor, gate: Gate) -> None:
        """map's iterator MUST wait for a result for as many seconds as its timeout says. (manual: Executor.map)"""
        called = time.monotonic()
        results = executor.map(calls.pass_gate, [gate], timeout=TIMEOUT_SECONDS)
        try:
            found = finishes(lambda: next(results), "next() of map's iterator")
        except TimeoutError:
            waited = time.monotonic() - called
            assert waited > TIMEOUT_SECONDS / 2, f"map(timeout={TIMEOUT_SECONDS}) timed out after {waited:.3f} s"
            return
        raise AssertionError(f"map's iterator gave {brief(found)} while the call was blocked")

    def test_map_gives_available_results_after_its_time(self, executor: Executor, journal: Journal) -> None:
        """map's iterator MUST give results that are available, also after its time. (manual: Executor.map)"""
        called = time.monotonic()
        results = executor.map(calls.note_and_echo, repeat(journal), range(3), timeout=SHORT_SECONDS)
        until(lambda: len(journal.entries) == 3, "the calls of map()")
        result_of(executor.submit(calls.nothing))  # the calls before it have ended
        until(lambda: time.monotonic() > called + 2 * SHORT_SECONDS, "the time limit to pass")
        try:
            found = taken(results)
        except TimeoutError:
            raise AssertionError("map's iterator raised TimeoutError for results that were available") from None
        assert found == [0, 1, 2], f"map() gave {brief(found)} after its time"

    def test_map_is_exhausted_after_a_timeout(self, executor: Executor, gate: Gate) -> None:
        """map's iterator SHOULD be at its end after it has raised TimeoutError. (promise E9)"""
        results = executor.map(calls.pass_gate, [gate, gate], [1, 2], timeout=SHORT_SECONDS)
        error_following(results, TimeoutError, "after its time limit, while the call was blocked")
        gate.open()
        assert exhausted(results), "map's iterator went on after its TimeoutError"

    def test_map_that_timed_out_cancels_the_waiting_calls(
        self, executor: Executor, gate: Gate, journal: Journal
    ) -> None:
        """When map's iterator times out, its calls that have not started SHOULD be cancelled. (promise E9)"""
        results = executor.map(
            calls.note_and_pass_gate, repeat(journal), range(LONG_ENOUGH), repeat(gate), timeout=SHORT_SECONDS
        )
        gate.await_arrivals()
        error_following(results, TimeoutError, "after its time limit, while the call was blocked")
        self._last_does_not_run(executor, gate, journal, "map() timed out")

    def test_map_leaves_the_executor_usable_after_a_timeout(self, executor: Executor, gate: Gate) -> None:
        """An executor MUST go on working after map() timed out. (manual: Executor.map)"""
        results = executor.map(calls.pass_gate, [gate], ["late"], timeout=0)
        error_following(results, TimeoutError, "with timeout=0, while the call was blocked")
        gate.open()
        assert taken(executor.map(calls.echo, [1, 2])) == [1, 2], "map() did not work any more after it had timed out"

    # Chunks

    def test_map_chunksize_does_not_change_the_results(self, make: ExecutorFactory) -> None:
        """map() MUST give the same results with any positive chunksize. (manual: Executor.map)"""
        executor = make(max_workers=2)
        for chunksize in (1, 3, 7, 100):
            found = taken(executor.map(calls.add, range(10), range(20), chunksize=chunksize))
            wanted = list(range(0, 20, 2))
            assert found == wanted, f"map() with chunksize={chunksize} gave {brief(found)}, not {wanted}"

    def test_map_chunksize_of_nothing_is_empty(self, executor: Executor) -> None:
        """map() over an empty iterable MUST give nothing with any chunksize. (manual: Executor.map)"""
        found = taken(executor.map(calls.square, [], chunksize=4))
        assert found == [], f"map() over nothing with chunksize=4 gave {brief(found)}"

    def test_map_chunksize_times_out(self, executor: Executor, gate: Gate) -> None:
        """map() in chunks MUST raise TimeoutError when a result is not there in time. (manual: Executor.map)"""
        results = executor.map(calls.pass_gate, [gate] * 4, range(4), timeout=SHORT_SECONDS, chunksize=2)
        error_following(results, TimeoutError, "after its time limit, while the calls were blocked")

    def test_map_chunksize_keeps_results_of_chunks_before_an_error(self, executor: Executor) -> None:
        """map() in chunks MUST give the results of the chunks before the one that failed. (manual:
        Executor.map)
        """
        results = executor.map(int, ["1", "2", "bad", "4"], chunksize=2)
        found = taken_before_an_error(results, 2, "the results before the chunk that failed")
        assert found == [1, 2], f"map() in chunks gave {brief(found)} before the chunk that failed"
        error_following(results, ValueError, "where a call's ValueError was due")

    def test_map_chunksize_keeps_results_beside_an_error(self, executor: Executor) -> None:
        """An error of one call SHOULD not cost the other results of its chunk. (promise E9)"""
        skip_unless_promised(executor)
        results = executor.map(int, ["1", "bad", "3", "4"], chunksize=3)
        found = taken_before_an_error(results, 1, "a result of the chunk in which a call failed")
        assert found == [1], f"map() in chunks gave {brief(found)} before the error of a call"
        error_following(results, ValueError, "where a call's ValueError was due")
        assert taken(results) == [3, 4], "map() in chunks lost the results after the call that failed"

    def test_map_chunksize_that_is_not_positive_loses_nothing(self, executor: Executor) -> None:
        """map() SHOULD refuse a chunksize that is not positive with ValueError, or ignore it. (manual:
        Executor.map)
        """
        for chunksize in (0, -1):
            try:
                found = taken(executor.map(calls.square, range(3), chunksize=chunksize))
            except ValueError:
                continue
            assert found == [0, 1, 4], (
                f"map() with chunksize={chunksize} gave {brief(found)}: neither refused nor ignored"
            )

    # The buffer

    def test_map_buffersize_does_not_change_the_results(self, make: ExecutorFactory) -> None:
        """map() MUST give the same results with any buffersize. (manual: Executor.map)"""
        executor = make(max_workers=2)
        skip_unless_promised(executor, MAP_BUFFERSIZE)
        for size in (1, 2, 10, 25):
            found = taken(self._buffered(executor, calls.add, range(10), range(20), buffersize=size))
            assert found == list(range(0, 20, 2)), f"map() with buffersize={size} gave {brief(found)}"

    def test_map_buffersize_of_nothing_is_empty(self, executor: Executor) -> None:
        """map() over an empty iterable MUST give nothing with any buffersize. (manual: Executor.map)"""
        skip_unless_promised(executor, MAP_BUFFERSIZE)
        found = taken(self._buffered(executor, calls.square, [], buffersize=3))
        assert found == [], f"map() over nothing with buffersize=3 gave {brief(found)}"

    def test_map_buffersize_gives_results_that_are_false(self, executor: Executor) -> None:
        """map() with buffersize MUST give every result, also one that is false. (manual: Executor.map)"""
        skip_unless_promised(executor, MAP_BUFFERSIZE)
        items = [0, None, "", False, 1, None]
        found = taken(self._buffered(executor, calls.echo, items, buffersize=2))
        assert found == items, f"map() over {items} with buffersize=2 gave {brief(found)}"

    def test_map_buffersize_limits_what_is_drawn(self, executor: Executor) -> None:
        """map() with buffersize MUST pause drawing its input while the buffer is full. (manual:
        Executor.map)
        """
        skip_unless_promised(executor, MAP_BUFFERSIZE)
        drawn: list[int] = []
        results = self._buffered(executor, calls.echo, drawing(range(50), drawn), buffersize=3)
        result_of(executor.submit(calls.nothing))
        assert len(drawn) <= 3, f"map() with buffersize=3 drew {len(drawn)} items before a result was taken"
        assert taken(results, 4) == [0, 1, 2, 3], "map() with buffersize=3 gave wrong results"
        assert len(drawn) <= 7, f"map() with buffersize=3 drew {len(drawn)} items when 4 results had been taken"
        assert taken(results) == list(range(4, 50)), "map() with buffersize lost the rest"

    def test_map_buffersize_submits_ahead(self, make: ExecutorFactory, gate: Gate) -> None:
        """map() with buffersize SHOULD have as many calls under way as the buffer and the workers take.
        (promise E2)
        """
        executor = make(max_workers=2)
        skip_unless_promised(executor, MAP_BUFFERSIZE)
        results = self._buffered(executor, calls.pass_gate, repeat(gate, 6), range(6), buffersize=2)
        taking = BackgroundCall(lambda: next(results), "next() of map's iterator")
        gate.await_arrivals(2)
        gate.open()
        assert taking.outcome() == 0, "map() with buffersize=2 did not give the first result first"
        assert taken(results) == list(range(1, 6)), "map() with buffersize=2 lost the rest"

    def test_map_buffersize_takes_an_endless_input(self, executor: Executor) -> None:
        """map() with buffersize MUST work on an iterable without end. (manual: Executor.map)"""
        skip_unless_promised(executor, MAP_BUFFERSIZE)
        drawn = 0

        def almost_endless() -> Iterator[int]:
            nonlocal drawn
            for number in range(NEVER_ENDING):
                drawn += 1
                assert drawn < 1000, "map() with buffersize=2 drew 1000 items of an endless input for 5 results"
                yield number

        results = finishes(
            lambda: self._buffered(executor, calls.square, almost_endless(), buffersize=2),
            "map() over an endless input",
        )
        found = taken(results, 5)
        assert found == [0, 1, 4, 9, 16], f"map() over an endless input gave {brief(found)}"

    def test_map_buffersize_refuses_what_is_no_size(self, executor: Executor) -> None:
        """map() SHOULD refuse a buffersize that is not a positive integer, at the call. (manual:
        Executor.map)
        """
        skip_unless_promised(executor, MAP_BUFFERSIZE)
        wrong: list[tuple[Any, type[Exception]]] = [
            (0, ValueError),
            (-1, ValueError),
            ("2", TypeError),
            (1.5, TypeError),
        ]
        for size, kind in wrong:
            try:
                self._buffered(executor, calls.echo, [1], buffersize=size)
            except kind:
                continue
            except Exception as error:
                raise AssertionError(
                    f"map() with buffersize={size!r} raised {brief(error)}, no {kind.__name__}"
                ) from error
            raise AssertionError(f"map() took buffersize={size!r}, where a {kind.__name__} is due")

    def test_map_buffersize_passes_on_an_error_of_its_input(self, executor: Executor) -> None:
        """map() with buffersize MUST pass on an exception of an iterable. (manual: Executor.map)"""
        skip_unless_promised(executor, MAP_BUFFERSIZE)
        found: list[Any] = []
        try:
            results = self._buffered(executor, calls.echo, _failing_input(5), buffersize=2)
            found = taken(results)
        except hostile.HostileError:
            return
        raise AssertionError(f"map() with buffersize swallowed the exception of its input and gave {brief(found)}")

    def test_map_buffersize_keeps_the_results_before_an_error_of_its_input(self, executor: Executor) -> None:
        """An error of map's input SHOULD not cost the results of the items before it. (promise E1)"""
        skip_unless_promised(executor)
        results = self._buffered(executor, calls.echo, _failing_input(5), buffersize=2)
        assert taken(results, 5) == [0, 1, 2, 3, 4], "map() with buffersize lost results when its input failed"
        error_following(results, hostile.HostileError, "where the error of its input was due")

    def test_map_buffersize_times_out(self, executor: Executor, gate: Gate) -> None:
        """map() with buffersize MUST raise TimeoutError when a result is not there in time. (manual:
        Executor.map)
        """
        skip_unless_promised(executor, MAP_BUFFERSIZE)
        results = self._buffered(executor, calls.pass_gate, repeat(gate), buffersize=2, timeout=SHORT_SECONDS)
        error_following(results, TimeoutError, "after its time limit, while the call was blocked")

    def test_map_buffersize_goes_with_chunks(self, executor: Executor) -> None:
        """map() MUST give the same results with buffersize and chunksize together. (manual: Executor.map)"""
        skip_unless_promised(executor, MAP_BUFFERSIZE)
        found = taken(self._buffered(executor, calls.square, range(10), buffersize=2, chunksize=3))
        assert found == [number**2 for number in range(10)], f"map() with a buffer and chunks gave {brief(found)}"

    # Closing and dropping

    def test_map_close_ends_the_iteration(self, executor: Executor) -> None:
        """After close() map's iterator SHOULD be at its end. (promise E9)"""
        results: Any = executor.map(calls.echo, range(4))
        skip_unless_promised(executor, MAP_CLOSE)
        assert following(results) == 0, "map() did not give the first result first"
        results.close()
        assert exhausted(results), "map's iterator went on after close()"
        results.close()
        assert exhausted(results), "map's iterator went on after a second close()"

    def test_map_close_before_the_first_result_ends_the_iteration(self, executor: Executor) -> None:
        """close() on map's iterator SHOULD end it also when no result has been taken. (promise E9)"""
        results: Any = executor.map(calls.echo, range(4))
        skip_unless_promised(executor, MAP_CLOSE)
        results.close()
        assert exhausted(results), "map's iterator went on after close()"

    def test_map_close_cancels_the_waiting_calls(self, executor: Executor, gate: Gate, journal: Journal) -> None:
        """close() on map's iterator SHOULD cancel its calls that have not started. (promise E9)"""
        opened = [gate] * LONG_ENOUGH
        results: Any = executor.map(calls.note_and_pass_gate, repeat(journal), range(LONG_ENOUGH), opened)
        skip_unless_promised(executor)
        gate.await_arrivals()
        results.close()
        self._last_does_not_run(executor, gate, journal, "map's iterator was closed")

    def test_map_iterator_that_is_dropped_cancels_the_waiting_calls(
        self, executor: Executor, gates: GateFactory, journal: Journal
    ) -> None:
        """The calls of a begun map's iterator that is dropped SHOULD be cancelled if they have not started.
        (promise E9)
        """
        opened, closed = gates(), gates()
        opened.open()
        results = executor.map(
            calls.note_and_pass_gate,
            repeat(journal),
            range(LONG_ENOUGH),
            [opened] + [closed] * (LONG_ENOUGH - 1),
        )
        assert following(results) == 0, "map() did not give the first result first"
        closed.await_arrivals()
        del results
        gc.collect()
        self._last_does_not_run(executor, closed, journal, "map's iterator was dropped")

    def test_map_iterator_that_is_dropped_leaves_the_executor_usable(self, executor: Executor) -> None:
        """An executor MUST go on working after an iterator of map() was dropped. (manual: Executor.map)"""
        for _ in range(3):
            following(executor.map(calls.echo, range(10)))
        gc.collect()
        assert result_of(executor.submit(calls.echo, "after")) == "after", (
            "a dropped iterator of map() broke the executor"
        )

    @requires("shares_memory")
    def test_map_keeps_no_result_that_it_has_given(self, executor: Executor) -> None:
        """map() SHOULD keep no result alive that it has handed out. (promise F6)"""
        for result in executor.map(hostile.Adder, range(3)):
            result_of(executor.submit(calls.nothing))  # the worker has let go of it
            watch = weakref.ref(result)
            del result
            until(partial(gone, watch), "a result that map() has handed out to be freed")

    @only_where(os.name == "posix", "interrupting a wait needs POSIX signals")
    def test_map_that_is_interrupted_withdraws_what_waits(
        self, make: ExecutorFactory, gate: Gate, journal: Journal
    ) -> None:
        """A KeyboardInterrupt while map() is iterated in a `with` block SHOULD cancel the calls that wait, so that the
        block is left soon. (promise E9)
        """

        left = threading.Event()
        behind: list[Future[None]] = []

        def submit_and_wait() -> None:
            with make(max_workers=1) as executor:
                try:
                    results = executor.map(partial(calls.note_and_pass_gate, journal), range(100), [gate] * 100)
                    behind.append(executor.submit(calls.nothing))
                    for _ in results:
                        pass
                except KeyboardInterrupt:
                    left.set()
                    raise

        def begins() -> None:
            gate.await_arrivals()
            until(lambda: behind, "map() and submit() to return")

        def withdraws() -> None:
            """Let the thread that was interrupted come to withdraw calls: on a busy machine that may take a while."""
            end = time.monotonic() + limit()
            while not left.wait(limit() / 20) and time.monotonic() < end:
                os.kill(os.getpid(), NUDGE)
            with contextlib.suppress(Overdue):
                until(behind[0].cancelled, "", short_limit() / 2)

        self._interrupted(submit_and_wait, gate, begins, withdraws)
        assert left.is_set(), "an interrupt did not come out of map() while a call ran"
        found = len(journal.entries)
        assert found < 50, f"{found} of 100 calls ran, although the map was interrupted in the first"

    def _interrupted(
        self, act: Callable[[], None], gate: Gate, begun: Callable[[], None], noticed: Callable[[], None]
    ) -> None:
        """Interrupt `act()` when `begun()` has returned, and open the gate when `noticed()` has."""

        def interrupt() -> None:
            try:
                begun()
                os.kill(os.getpid(), signal.SIGINT)
                noticed()
            finally:
                gate.open()

        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        nudged = signal.signal(NUDGE, lambda *_: None)
        helper = threading.Thread(target=interrupt, daemon=True)
        try:
            helper.start()
            try:
                act()
            except KeyboardInterrupt:
                pass
            else:
                raise AssertionError("an interrupt did not come out of map()")
            finally:
                helper.join(limit())
        finally:
            signal.signal(signal.SIGINT, before)
            signal.signal(NUDGE, nudged)

    def _buffered(self, executor: Executor, fn: Any, *iterables: Iterable[Any], **options: Any) -> Iterator[Any]:
        mapped: Any = executor.map  # not every Python's type has buffersize
        results: Iterator[Any] = mapped(fn, *iterables, **options)
        return results

    def _last_does_not_run(self, executor: Executor, gate: Gate, journal: Journal, when: str) -> None:
        gate.open()
        result_of(executor.submit(calls.nothing))
        assert str(LONG_ENOUGH - 1) not in journal.entries, f"a call that had not started when {when} ran nevertheless"


def _failing_input(good: int) -> Iterator[int]:
    yield from range(good)
    hostile.fail("the input failed")
