"""Chapter "streaming": generators that run as calls, and whose items arrive while they run.

Owed by executors of `corefutures.Executor` that declare the capability; the others refuse, in a sentence.
"""

from __future__ import annotations

import gc
from concurrent.futures import BrokenExecutor, CancelledError, Executor
from typing import Any

import pytest

import corefutures
from corefutures_conformance.deadlines import Overdue, brief, error_of, finishes, result_of, short_limit, until
from corefutures_conformance.fixtures import ExecutorFactory
from corefutures_conformance.promises import skip_unless_promised
from corefutures_conformance.rules import requires
from corefutures_conformance.worker import calls
from corefutures_conformance.worker.gates import Gate
from corefutures_conformance.worker.journal import Journal

_NOTHING = object()


def _next(stream: Any, what: str = "the next item of a stream") -> Any:
    """The next item, or `_NOTHING` at the end."""
    return finishes(lambda: next(stream, _NOTHING), what, short_limit())


def _all(stream: Any) -> list[Any]:
    return finishes(lambda: list(stream), "the items of a stream")


def _closes(journal: Journal, what: str) -> None:
    """Wait until the generator has been closed."""
    until(lambda: "closed" in journal.entries, f"the generator of a stream that {what} to be closed", short_limit())


class Streaming:
    """Rules on `stream`."""

    def _streaming(self, executor: Executor) -> Any:
        """The executor, if it promises streams; otherwise the rule does not apply."""
        skip_unless_promised(executor)
        return executor

    @requires("streams")
    def test_items_come_in_order(self, executor: Executor, journal: Journal) -> None:
        """stream() SHOULD yield all items of the generator, in its order, and then end. (promise C9)"""
        pool = self._streaming(executor)
        for buffer in (1, 7, 100):
            got = _all(pool.stream(calls.yield_numbers, journal, 150, buffer=buffer))
            assert got == list(range(150)), f"a stream of 150 items with buffer={buffer} yielded {brief(got)}"
        got = _all(pool.stream(calls.yield_numbers, journal, 0))
        assert got == [], f"a stream without items yielded {brief(got)}"

    @requires("streams")
    def test_items_may_be_anything(self, executor: Executor) -> None:
        """An item SHOULD arrive as it is, also None, what is false, an exception, or what marks the end elsewhere.
        (promise C9)
        """
        got = _all(self._streaming(executor).stream(calls.yield_what_looks_like_an_end))
        found = [repr(item) for item in got]
        expected = [repr(item) for item in calls.yield_what_looks_like_an_end()]
        assert found == expected, f"a stream of {', '.join(expected)} yielded {brief(found)}"

    @requires("streams")
    def test_the_value_of_the_generator_is_the_result(self, executor: Executor, journal: Journal) -> None:
        """The future of a stream SHOULD have the generator's value as its result, and StopIteration as its value.
        (promise C9)
        """
        stream = self._streaming(executor).stream(calls.yield_numbers, journal, 2)
        ends: list[Any] = []

        def take() -> None:
            try:
                while True:
                    next(stream)
            except StopIteration as end:
                ends.append(end.value)

        finishes(take, "the items of a stream")
        assert ends == ["the value"], f"the StopIteration of a stream has the value {brief(ends[0])}"
        assert result_of(stream.future) == "the value", f"the future of a stream gave {brief(stream.future)}"

    @requires("streams")
    def test_the_exception_comes_after_the_items(self, executor: Executor) -> None:
        """stream() SHOULD raise the generator's exception after the items before it. (promise C9)"""
        stream = self._streaming(executor).stream(calls.yield_and_raise, 120, buffer=5)
        got = [_next(stream) for _ in range(120)]
        assert got == list(range(120)), f"before the exception the stream yielded {brief(got)}"
        try:
            ended = _next(stream)
        except KeyError:
            ended = None
        assert ended is None, f"in the place of the generator's exception the stream gave {brief(ended)}"
        again = _next(stream)
        assert again is _NOTHING, f"after the exception the stream yielded {brief(again)}"

    @requires("streams")
    def test_the_generator_is_at_most_a_buffer_ahead(self, executor: Executor, journal: Journal) -> None:
        """The generator SHOULD be at most `buffer` items ahead of those taken, and go on as they are. (promise C9)"""
        stream = self._streaming(executor).stream(calls.yield_numbers, journal, buffer=4)
        until(lambda: len(journal.entries) >= 4, "a generator to fill its buffer", short_limit())
        ahead = 0
        for taken in range(1, 40):
            _next(stream)
            ahead = max(ahead, len(journal.entries) - taken)
        assert ahead <= 4, f"with buffer=4 a generator was {ahead} items ahead"
        until(lambda: len(journal.entries) > 39, "a generator to go on when items are taken", short_limit())
        finishes(stream.close, "close() of a stream", short_limit())

    @requires("streams")
    def test_an_item_waits_for_no_other(self, executor: Executor, gate: Gate) -> None:
        """stream() SHOULD yield an item while the generator computes the next one. (promise C9)"""
        stream = self._streaming(executor).stream(calls.yield_between, gate)
        try:
            first = _next(stream, "an item whose generator computes the next one")
        finally:
            gate.open()
        assert first == 0, f"the first item is {brief(first)}"
        rest = _all(stream)
        assert rest == [1], f"the rest of the stream is {brief(rest)}"

    @requires("streams")
    def test_close_closes_the_generator(self, executor: Executor, journal: Journal) -> None:
        """close() of a stream, and the end of its block, SHOULD return once the generator is closed. (promise C9)"""
        pool = self._streaming(executor)
        stream = pool.stream(calls.yield_numbers, journal, buffer=3)
        first = _next(stream)
        finishes(stream.close, "close() of a stream", short_limit())
        noted = journal.entries.count("closed")
        assert first == 0 and noted == 1, "close() of a stream returned before the generator was closed"
        rest = _all(stream)
        assert rest == [], f"a stream that was closed yielded {brief(rest)}"

        def leave() -> None:
            with pool.stream(calls.yield_numbers, journal, buffer=3) as left:
                next(left)

        finishes(leave, "the end of a stream's block", short_limit())
        noted = journal.entries.count("closed")
        assert noted == 2, "the block of a stream ended before the generator was closed"

    @requires("streams")
    def test_a_closed_stream_fails_its_future(self, executor: Executor, journal: Journal) -> None:
        """The future of a stream that was closed early SHOULD fail with CancelledError. (promise C9)"""
        stream = self._streaming(executor).stream(calls.yield_numbers, journal, buffer=3)
        _next(stream)
        finishes(stream.close, "close() of a stream", short_limit())
        error = error_of(stream.future)
        assert isinstance(error, CancelledError), f"the future of a closed stream ended with {brief(stream.future)}"

    @requires("streams")
    def test_a_loop_that_is_left_closes_the_generator(self, executor: Executor, journal: Journal) -> None:
        """A stream that nobody refers to any more SHOULD close its generator. (promise C9)"""
        pool = self._streaming(executor)

        def leave() -> None:
            for item in pool.stream(calls.yield_numbers, journal, buffer=3):
                if item == 5:
                    break

        finishes(leave, "a loop over a stream", short_limit())
        gc.collect()
        _closes(journal, "was dropped")
        assert result_of(executor.submit(calls.echo, 1)) == 1, "the executor did not go on after a stream was dropped"

    @requires("streams")
    def test_a_stream_that_waits_for_its_turn_is_cancelled(
        self, executor: Executor, gate: Gate, journal: Journal
    ) -> None:
        """close() of a stream whose call has not started SHOULD cancel that. (promise C9)"""
        pool = self._streaming(executor)
        running = pool.submit(calls.pass_gate, gate, "ran")
        gate.await_arrivals()
        stream = pool.stream(calls.yield_numbers, journal, 3)
        finishes(stream.close, "close() of a stream that has not started", short_limit())
        cancelled = stream.future.cancelled()
        gate.open()
        result_of(running)
        result_of(pool.submit(calls.nothing))
        assert cancelled, f"the call of a stream that was closed before it started is {brief(stream.future)}"
        assert journal.entries == [], "the generator of a stream that was closed before it started ran"

    @requires("streams", "asks_running")
    def test_a_generator_that_waits_for_room_can_be_asked(self, executor: Executor, journal: Journal) -> None:
        """request_cancel() SHOULD close a generator that waits for room, and tell its consumer. (promise C9)"""
        pool = self._streaming(executor)
        stream = pool.stream(calls.yield_numbers, journal, buffer=3)
        until(lambda: len(journal.entries) >= 3, "a generator to fill its buffer")
        finishes(lambda: pool.request_cancel(stream.future), "request_cancel()")
        _closes(journal, "was asked to stop")
        got: Any = []
        try:
            got = _all(stream)
        except CancelledError:
            got = "CancelledError"
        assert got == "CancelledError", f"the consumer of a stream that was asked to stop got {brief(got)}"

    @requires("streams")
    def test_shutdown_ends_what_nobody_takes(self, make: ExecutorFactory, journal: Journal) -> None:
        """shutdown() SHOULD close generators that wait for the thread that waits for it. (promise C9)"""
        pool = self._streaming(make(max_workers=1))

        def use() -> Any:
            stream = pool.stream(calls.yield_numbers, journal, buffer=3)
            next(stream)
            pool.shutdown()
            return stream

        stream = finishes(use, "shutdown() while a stream is open", short_limit())
        noted = "closed" in journal.entries
        assert noted, "shutdown() returned before the generator was closed"
        assert stream.future.done(), "shutdown() returned before the call of the stream had ended"

    @requires("streams", same_process=False)
    def test_what_was_sent_before_a_loss_arrives(self, executor: Executor) -> None:
        """stream() SHOULD yield what a lost worker had sent, and then fail as other calls do. (promise C9)"""
        stream = self._streaming(executor).stream(calls.yield_and_die, 120)
        got: list[Any] = []
        error = None
        try:
            while len(got) <= 120:
                got.append(_next(stream))
        except BrokenExecutor as exc:
            error = exc
        assert got == list(range(120)), f"of 120 items that a lost worker had sent there came {brief(got)}"
        assert error is not None, "the stream of a lost worker ended as if the generator had"

    @requires("streams", "pickles")
    def test_an_item_that_can_not_be_pickled(self, executor: Executor, journal: Journal) -> None:
        """An item that can't be pickled SHOULD fail its stream, and the executor go on. (promise C9)"""
        stream = self._streaming(executor).stream(calls.yield_lock, journal)
        first = _next(stream)
        refusal: Any = None
        try:
            second = _next(stream)
        except Overdue:
            raise
        except Exception as exc:
            refusal, second = exc, None
        assert first == 0, f"the item before is {brief(first)}"
        assert refusal is not None, f"in the place of an item that can't be pickled there came {brief(second)}"
        _closes(journal, "failed")
        assert result_of(executor.submit(calls.echo, 1)) == 1, "the executor did not go on"

    @requires("streams")
    def test_streams_that_make_no_sense_are_refused(self, executor: Executor) -> None:
        """stream() SHOULD raise TypeError or ValueError for arguments that make no sense. (promise C9)"""
        pool = self._streaming(executor)
        for fn, buffer in ((7, 1), (calls.nothing, 0), (calls.nothing, "many")):
            try:
                pool.stream(fn, buffer=buffer)
            except (TypeError, ValueError):
                continue
            pytest.fail(f"stream({fn!r}, buffer={buffer!r}) was accepted")

    @requires(streams=False)
    def test_streams_are_refused(self, executor: Executor) -> None:
        """stream() SHOULD raise UnsupportedError where items can't arrive while a call runs. (promise C1)"""
        pool = self._streaming(executor)
        if not hasattr(pool, "stream"):
            pytest.skip("it has no such method")
        refusal: BaseException | None = None
        try:
            finishes(lambda: pool.stream(calls.yield_and_raise, 1), "stream()", short_limit())
        except BaseException as error:
            refusal = error
        assert refusal is not None, "stream() is not to be had, and was not refused"
        fits = isinstance(refusal, corefutures.UnsupportedError)
        assert fits, f"stream(), which is not to be had, raised {brief(refusal)} in place of UnsupportedError"
        assert "\n" not in str(refusal), f"stream() is refused without a sentence: {brief(refusal)}"
