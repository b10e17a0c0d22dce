"""Defects in map: a correct one in steps, and executors that take one step wrongly."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, wait
from itertools import islice, zip_longest
from typing import Any, ClassVar

from reference import ThreadExecutor

import corefutures
from mutants import mutant


class Results:
    """The results of a map, in order."""

    def __init__(self, submissions: Iterator[Future[Any]], timeout: float | None, buffersize: int | None) -> None:
        self.submissions = submissions
        self.timeout = timeout
        self.buffersize = buffersize
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self.futures: deque[Future[Any]] = deque()
        self.error: Exception | None = None
        self.fill(buffersize)

    def fill(self, most: int | None) -> None:
        try:
            self.futures.extend(islice(self.submissions, most))
        except Exception as error:
            if self.buffersize is None:
                raise
            self.error = error

    def refill(self) -> None:
        if self.buffersize is not None:
            self.fill(1)

    def __iter__(self) -> Results:
        return self

    def __next__(self) -> Any:
        if not self.futures:
            error, self.error = self.error, None
            raise error or StopIteration
        future = self.pick()
        try:
            return self.outcome(future)
        finally:
            del future
            self.refill()

    def pick(self) -> Future[Any]:
        return self.futures.popleft()

    def left(self) -> float | None:
        return None if self.deadline is None else self.deadline - time.monotonic()

    def outcome(self, future: Future[Any]) -> Any:
        try:
            return future.result(self.left())
        except TimeoutError:
            if not future.done():
                future.cancel()
                self.expire()
            raise

    def expire(self) -> None:
        self.close()

    def close(self) -> None:
        self.submissions = iter(())
        self.error = None
        while self.futures:
            self.futures.pop().cancel()

    def __del__(self) -> None:
        self.close()


class Mapper(ThreadExecutor, corefutures.Executor):
    """A correct map on the reference executor, promising what corefutures promises."""

    results: type[Results] = Results

    def map(  # type: ignore[override]
        self,
        fn: Any,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Any:
        self.check_buffersize(buffersize)
        return self.gather(fn, self.pair(*iterables), timeout, chunksize, buffersize)

    def gather(self, fn: Any, items: Iterator[Any], timeout: Any, chunksize: int, buffersize: Any) -> Any:
        return self.results(self.submissions(fn, items), timeout, buffersize)

    def submissions(self, fn: Any, items: Iterator[Any]) -> Iterator[Future[Any]]:
        return (self.submit(fn, *args) for args in items)

    def pair(self, *iterables: Iterable[Any]) -> Iterator[Any]:
        return zip(*iterables, strict=False)

    def check_buffersize(self, buffersize: Any) -> None:
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")


# What it computes


@mutant("mapping.map_gives_what_the_builtin_map_gives", says="for the squares of 0 to 11", also=("mapping.*",))
class MapStopsAtTheEleventhItem(Mapper):
    """map() leaves the twelfth item out, and all that follow."""

    def pair(self, *iterables: Iterable[Any]) -> Iterator[Any]:
        return islice(super().pair(*iterables), 11)


@mutant("mapping.map_takes_several_iterables", says="over three iterables called with", also=("mapping.*",))
class MapReversesItsIterables(Mapper):
    """map() passes the items of a text and other iterables in the wrong order."""

    def pair(self, *iterables: Iterable[Any]) -> Iterator[Any]:
        return super().pair(*(iterables[::-1] if isinstance(iterables[0], str) else iterables))


@mutant("mapping.map_stops_at_the_shortest_iterable", says="NoneType", also=("mapping.*",))
class MapStopsAtTheLongestIterable(Mapper):
    """map() fills up with None."""

    def pair(self, *iterables: Iterable[Any]) -> Iterator[Any]:
        return islice(zip_longest(*iterables), 100)


class _FailsWhenEmpty(Results):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.futures[0]


@mutant("mapping.map_of_nothing_is_empty", says="IndexError", also=("mapping.*",))
class MapOfNothingFails(Mapper):
    """map() looks at its first call, also where there is none."""

    results = _FailsWhenEmpty


class _FiltersFalse(Results):
    def __next__(self) -> Any:
        while not (value := super().__next__()):
            pass
        return value


@mutant("mapping.map_gives_results_that_are_false", says="a false value was lost", also=("mapping.*",))
class MapSkipsFalseResults(Mapper):
    """map() filters what is false."""

    results = _FiltersFalse


class _Copies(Results):
    def __iter__(self) -> Any:
        return (self.outcome(future) for future in list(self.futures)) if self.buffersize is None else self


@mutant("mapping.map_returns_an_iterator", says="which is no iterator", also=("mapping.*",))
class MapReturnsAnIterable(Mapper):
    """What map() returns can be iterated over again and again."""

    results = _Copies


class _StartsOver(Results):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.all = list(self.futures)

    def __next__(self) -> Any:
        try:
            return super().__next__()
        except StopIteration:
            self.futures.extend(self.all)
            raise


@mutant("mapping.map_is_exhausted_after_the_last_result", says="went on after its end", also=("mapping.*",))
class MapStartsOver(Mapper):
    """map's iterator begins again after its end."""

    results = _StartsOver


class _ByCompletion(Results):
    def pick(self) -> Future[Any]:
        done, _ = wait(self.futures, self.left(), "FIRST_COMPLETED")
        future = done.pop() if done else self.futures[0]
        self.futures.remove(future)
        return future


@mutant("mapping.map_keeps_the_order_of_the_input", says="not in the order of the input", also=("mapping.*",))
class MapGivesResultsAsTheyCome(Mapper):
    """map() gives first what ends first."""

    results = _ByCompletion


@mutant("mapping.map_of_many_keeps_every_result_in_order", says="over 300 items", also=("mapping.*",))
class MapLosesItemsOfLongInputs(Mapper):
    """map() stops at 256 items."""

    def pair(self, *iterables: Iterable[Any]) -> Iterator[Any]:
        return islice(super().pair(*iterables), 256)


class _InOneQueue(Results):
    common: ClassVar[deque[Future[Any]]] = deque()

    def fill(self, most: int | None) -> None:
        self.futures = self.common
        super().fill(most)


@mutant("mapping.two_maps_do_not_mix", says="mixed up their results", also=("mapping.*",))
class MapsShareTheirResults(Mapper):
    """All map() calls take their results from one queue."""

    results = _InOneQueue


@mutant("mapping.map_calls_each_item_once", says="made calls for", also=("mapping.*",))
class MapCallsTwice(Mapper):
    """map() submits each call twice."""

    def submissions(self, fn: Any, items: Iterator[Any]) -> Iterator[Future[Any]]:
        for args in items:
            self.submit(fn, *args)
            yield self.submit(fn, *args)


# When it collects, starts and hands out


class _WaitsForAll(Results):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        if len(self.futures) == 1:
            wait(self.futures)


@mutant(
    "mapping.map_returns_before_its_calls_end",
    says="map() whose call is blocked",
    also=("mapping.*",),
    deadline=2,
)
class MapWaitsForItsCalls(Mapper):
    """map() returns when all is done."""

    results = _WaitsForAll


class _Lazy(Results):
    def fill(self, most: int | None) -> None:
        super().fill(0)

    def __next__(self) -> Any:
        self.futures.append(next(self.submissions))
        return super().__next__()


@mutant(
    "mapping.map_collects_its_input_at_once",
    says="had collected 0 of 10 items",
    also=("mapping.map_runs_its_calls_unasked", "mapping.map_runs_its_calls_side_by_side", "mapping.*"),
    deadline=2,
)
class MapIsLazy(Mapper):
    """map() submits a call when its result is asked for."""

    results = _Lazy


class _HandsOutAtTheEnd(Results):
    def outcome(self, future: Future[Any]) -> Any:
        if self.deadline is None and len(self.futures) == 1:
            wait(self.futures)
        return super().outcome(future)


@mutant(
    "mapping.map_hands_out_a_result_while_later_calls_run",
    says="next() of map's iterator",
    also=("mapping.*",),
    deadline=2,
)
class MapHandsOutAtTheEnd(Mapper):
    """map's iterator gives no result before all are there."""

    results = _HandsOutAtTheEnd


class _Impatient(Results):
    def left(self) -> float | None:
        return 0.02 if self.deadline is None and not self.futures else super().left()


@mutant("mapping.map_waits_for_a_result_that_is_not_there", says="TimeoutError", also=("mapping.*",))
class MapIsImpatient(Mapper):
    """map() has a time limit that nobody asked for."""

    results = _Impatient


# Errors of calls


class _SwallowsErrors(Results):
    def outcome(self, future: Future[Any]) -> Any:
        try:
            return super().outcome(future)
        except ValueError as error:
            return error


@mutant(
    "mapping.map_raises_a_calls_error_in_its_place",
    says="where a call's ValueError was due",
    also=("mapping.*",),
)
class MapGivesErrorsAsResults(Mapper):
    """map's iterator gives a call's exception instead of raising it."""

    results = _SwallowsErrors


class _RaisesAtOnce(Results):
    def __init__(self, submissions: Any, timeout: Any, buffersize: Any) -> None:
        super().__init__(submissions, timeout, buffersize)
        for future in self.futures:
            if wait([future], 0.2).done and not future.cancelled() and isinstance(future.exception(), ValueError):
                future.result()


@mutant("mapping.map_reports_an_error_at_iteration_only", says="map() itself raised", also=("mapping.*",))
class MapRaisesAtOnce(Mapper):
    """map() itself raises what a call raised."""

    results = _RaisesAtOnce


class _RepeatsAfterError(Results):
    def outcome(self, future: Future[Any]) -> Any:
        try:
            return super().outcome(future)
        except ValueError:
            if self.futures:
                self.futures.append(self.futures[0])
            raise


@mutant(
    "mapping.map_neither_repeats_nor_skips_after_an_error",
    says="after the error of the first of three calls",
    also=("mapping.*",),
)
class MapRepeatsAfterAnError(Mapper):
    """After an error map's iterator gives a result once more."""

    results = _RepeatsAfterError


class _EndsAtError(Results):
    def outcome(self, future: Future[Any]) -> Any:
        try:
            return super().outcome(future)
        except Exception:
            self.close()
            raise


@mutant("mapping.map_goes_on_after_an_error", says="did not go on after the error of a call", also=("mapping.*",))
class MapEndsAtAnError(Mapper):
    """After an error map's iterator is at its end."""

    results = _EndsAtError


class _ReplacesTimeout(Results):
    def outcome(self, future: Future[Any]) -> Any:
        try:
            return super().outcome(future)
        except TimeoutError:
            raise TimeoutError("map timed out") from None


@mutant("mapping.map_raises_a_calls_own_timeout_error", says="for a TimeoutError of the call", also=("mapping.*",))
class MapReplacesTimeoutErrors(Mapper):
    """map() says that it timed out when a call raised TimeoutError."""

    results = _ReplacesTimeout


class _TakesAnyTimeout(Results):
    def outcome(self, future: Future[Any]) -> Any:
        try:
            return super().outcome(future)
        except TimeoutError:
            self.close()
            raise


@mutant(
    "mapping.map_goes_on_after_a_calls_own_timeout_error",
    says="for its time limit and ended",
    also=("mapping.*",),
)
class MapTakesACallsTimeoutForItsOwn(Mapper):
    """map's iterator ends at a TimeoutError of a call."""

    results = _TakesAnyTimeout


@mutant("mapping.map_error_leaves_the_executor_usable", says="RuntimeError", also=("mapping.*",))
class MapErrorShutsDown(Mapper):
    """An error in map() shuts the executor down."""

    def gather(self, *args: Any) -> Any:
        executor = self

        class Shuts(Results):
            def outcome(self, future: Future[Any]) -> Any:
                try:
                    return super().outcome(future)
                except ValueError:
                    executor.shutdown(wait=False)
                    raise

        return Shuts(self.submissions(args[0], args[1]), args[2], args[4])


# Errors of the input


class _IgnoresInputErrors(Results):
    def fill(self, most: int | None) -> None:
        try:
            super().fill(most)
        except Exception:
            pass
        self.error = None


@mutant(
    "mapping.map_passes_on_an_error_of_its_input",
    says="swallowed the exception of its input",
    also=("mapping.map_buffersize_passes_on_an_error_of_its_input", "mapping.*"),
)
class MapSwallowsInputErrors(Mapper):
    """An error of the input ends map() as if that were its end."""

    results = _IgnoresInputErrors


@mutant("mapping.map_refuses_what_is_not_iterable", says="instead of a TypeError", also=("mapping.*",))
class MapTakesAnythingForAnIterable(Mapper):
    """map() takes what is no iterable for one item."""

    def pair(self, *iterables: Any) -> Iterator[Any]:
        return super().pair(*(x if hasattr(x, "__iter__") else [x] for x in iterables))


# The time limit


class _NoLimit(Results):
    def left(self) -> float | None:
        return None


@mutant("mapping.map_times_out", says="next() of map's iterator", also=("mapping.*",), deadline=2)
class MapIgnoresItsTimeout(Mapper):
    """map() waits for ever."""

    results = _NoLimit


class _ZeroIsNone(Results):
    def left(self) -> float | None:
        return super().left() if self.timeout else None


@mutant(
    "mapping.map_with_timeout_zero_does_not_wait",
    says="next() of map's iterator",
    also=("mapping.*",),
    deadline=2,
)
class MapTakesZeroForNoTimeout(Mapper):
    """map() takes a timeout of 0 for none."""

    results = _ZeroIsNone


class _AllOrNothing(Results):
    def outcome(self, future: Future[Any]) -> Any:
        if self.deadline is not None and wait([future, *self.futures], self.left()).not_done:
            self.close()
            raise TimeoutError
        return super().outcome(future)


@mutant(
    "mapping.map_gives_results_before_it_times_out",
    says="lost a result that came in time",
    also=("mapping.*",),
    deadline=12,
)
class MapTimesOutForAll(Mapper):
    """With a timeout, map() gives all results or none."""

    results = _AllOrNothing


class _FirstOnly(Results):
    def outcome(self, future: Future[Any]) -> Any:
        value = super().outcome(future)
        if self.deadline is not None:
            self.close()
        return value


@mutant("mapping.map_with_enough_time_gives_everything", says="with timeout=1000 gave [0]", also=("mapping.*",))
class MapWithATimeoutGivesOne(Mapper):
    """With a timeout, map() gives its first result alone."""

    results = _FirstOnly


class _CountsFromNext(Results):
    def left(self) -> float | None:
        return self.timeout


@mutant(
    "mapping.map_counts_its_timeout_from_the_call",
    says="did not count its timeout from the call",
    also=("mapping.*",),
)
class MapCountsFromNext(Mapper):
    """map() grants its timeout to each result anew."""

    results = _CountsFromNext


class _ForgetsAtDeadline(Results):
    def outcome(self, future: Future[Any]) -> Any:
        left = self.left()
        if left is not None and left < 0:
            self.close()
            raise TimeoutError
        return super().outcome(future)


@mutant(
    "mapping.map_gives_available_results_after_its_time",
    says="for results that were available",
    also=("mapping.*",),
)
class MapForgetsResultsAtItsDeadline(Mapper):
    """After its time map() gives no result, whether it is there or not."""

    results = _ForgetsAtDeadline


class _GoesOnAfterTimeout(Results):
    def expire(self) -> None:
        self.deadline = None


@mutant("mapping.map_is_exhausted_after_a_timeout", says="went on after its TimeoutError", also=("mapping.*",))
class MapGoesOnAfterATimeout(Mapper):
    """map's iterator goes on after its TimeoutError."""

    results = _GoesOnAfterTimeout


class _AbandonsAtTimeout(Results):
    def expire(self) -> None:
        self.futures.clear()


@mutant(
    "mapping.map_that_timed_out_cancels_the_waiting_calls",
    says="when map() timed out ran nevertheless",
    also=("mapping.*",),
)
class MapAbandonsCallsAtATimeout(Mapper):
    """map() does not cancel what it no longer wants."""

    results = _AbandonsAtTimeout


@mutant("mapping.map_leaves_the_executor_usable_after_a_timeout", says="RuntimeError", also=("mapping.*",))
class MapTimeoutShutsDown(Mapper):
    """A timeout of map() shuts the executor down."""

    def gather(self, *args: Any) -> Any:
        executor = self

        class Shuts(Results):
            def expire(self) -> None:
                super().expire()
                executor.shutdown(wait=False)

        return Shuts(self.submissions(args[0], args[1]), args[2], args[4])


# Chunks


def _all_of(fn: Any, chunk: list[Any]) -> list[Any]:
    return [fn(*args) for args in chunk]


class Chunker(Mapper):
    """Makes real chunks; an error in one costs the others of it."""

    def gather(self, fn: Any, items: Iterator[Any], timeout: Any, chunksize: int, buffersize: Any) -> Any:
        if chunksize == 1:
            return super().gather(fn, items, timeout, chunksize, buffersize)
        chunks = self.cut(items, chunksize)
        lists = self.results((self.submit(_all_of, fn, chunk) for chunk in chunks), timeout, buffersize)
        return (value for values in lists for value in values)

    def cut(self, items: Iterator[Any], chunksize: int) -> Iterator[list[Any]]:
        while chunk := list(islice(items, max(1, chunksize))):
            yield chunk


@mutant(
    "mapping.map_chunksize_keeps_results_beside_an_error",
    says="lost a result of the chunk",
    also=("mapping.*",),
)
class MapChunkFailsAsAWhole(Chunker):
    """An error of one call costs the results of its chunk."""


@mutant("mapping.map_chunksize_does_not_change_the_results", says="with chunksize=3 gave", also=("mapping.*",))
class MapDropsTheLastChunk(Chunker):
    """map() drops a chunk that is not full."""

    def cut(self, items: Iterator[Any], chunksize: int) -> Iterator[list[Any]]:
        return (chunk for chunk in super().cut(items, chunksize) if len(chunk) == chunksize)


@mutant("mapping.map_chunksize_of_nothing_is_empty", says="ZeroDivisionError", also=("mapping.*",))
class MapOfNothingInChunksFails(Chunker):
    """map() divides by the number of items."""

    def cut(self, items: Iterator[Any], chunksize: int) -> Iterator[list[Any]]:
        everything = list(items)
        assert chunksize / len(everything)
        return super().cut(iter(everything), chunksize)


@mutant("mapping.map_chunksize_keeps_results_of_chunks_before_an_error", says="ValueError", also=("mapping.*",))
class MapInChunksRaisesFirst(Chunker):
    """With chunks, map() raises an error before it gives what came earlier."""

    def gather(self, fn: Any, items: Iterator[Any], timeout: Any, chunksize: int, buffersize: Any) -> Any:
        found = super().gather(fn, items, timeout, chunksize, buffersize)
        return found if chunksize == 1 else iter(list(found))


@mutant(
    "mapping.map_chunksize_that_is_not_positive_loses_nothing",
    says="neither refused nor ignored",
    also=("mapping.*",),
)
class MapWithChunksizeZeroIsEmpty(Mapper):
    """map() with chunksize=0 gives nothing."""

    def gather(self, fn: Any, items: Iterator[Any], timeout: Any, chunksize: int, buffersize: Any) -> Any:
        if chunksize < 1:
            items = iter(())
        return super().gather(fn, items, timeout, chunksize, buffersize)


@mutant("mapping.map_chunksize_times_out", says="next() of map's iterator", also=("mapping.*",), deadline=2)
class MapInChunksIgnoresItsTimeout(Chunker):
    """map() with chunks waits for ever."""

    def gather(self, fn: Any, items: Iterator[Any], timeout: Any, chunksize: int, buffersize: Any) -> Any:
        return super().gather(fn, items, timeout if chunksize == 1 else None, chunksize, buffersize)


# The buffer


class _BufferLosesTheRest(Results):
    def refill(self) -> None:
        pass


@mutant("mapping.map_buffersize_does_not_change_the_results", says="with buffersize=1 gave", also=("mapping.*",))
class MapBufferIsFilledOnce(Mapper):
    """map() with buffersize stops when the first buffer is empty."""

    results = _BufferLosesTheRest


class _BufferMustBeFull(Results):
    def fill(self, most: int | None) -> None:
        super().fill(most)
        if most is not None and most > 1 and len(self.futures) < most and not self.error:
            raise RuntimeError("the buffer is not full")


@mutant("mapping.map_buffersize_of_nothing_is_empty", says="the buffer is not full", also=("mapping.*",))
class MapBufferMustBeFull(Mapper):
    """map() with buffersize fails on an input that is shorter."""

    results = _BufferMustBeFull


class _BufferStopsAtFalse(Results):
    def __next__(self) -> Any:
        value = super().__next__()
        if self.buffersize is not None and value is None:
            raise StopIteration
        return value


@mutant("mapping.map_buffersize_gives_results_that_are_false", says="with buffersize=2 gave", also=("mapping.*",))
class MapBufferStopsAtNone(Mapper):
    """map() with buffersize takes None for the end."""

    results = _BufferStopsAtFalse


@mutant(
    "mapping.map_buffersize_limits_what_is_drawn",
    says="items before a result was taken",
    also=("mapping.map_buffersize_takes_an_endless_input", "mapping.*"),
)
class MapIgnoresBuffersize(Mapper):
    """map() draws its whole input whatever the buffersize."""

    def gather(self, fn: Any, items: Iterator[Any], timeout: Any, chunksize: int, buffersize: Any) -> Any:
        return super().gather(fn, items, timeout, chunksize, None)


class _BufferOfOne(Results):
    def fill(self, most: int | None) -> None:
        super().fill(most and 1)


@mutant("mapping.map_buffersize_submits_ahead", says="2 call(s) to start: 1 did", also=("mapping.*",), deadline=3)
class MapBufferIsOne(Mapper):
    """map() with buffersize has one call under way at most."""

    results = _BufferOfOne


@mutant("mapping.map_buffersize_refuses_what_is_no_size", says="where a ValueError is due", also=("mapping.*",))
class MapChecksNoBuffersize(Mapper):
    """map() takes any buffersize."""

    def check_buffersize(self, buffersize: Any) -> None:
        pass

    def gather(self, fn: Any, items: Iterator[Any], timeout: Any, chunksize: int, buffersize: Any) -> Any:
        size = buffersize if isinstance(buffersize, int) and buffersize > 0 else None
        return super().gather(fn, items, timeout, chunksize, size)


class _InputErrorFirst(Results):
    def __next__(self) -> Any:
        if self.error is not None:
            self.futures.clear()
        return super().__next__()


@mutant(
    "mapping.map_buffersize_keeps_the_results_before_an_error_of_its_input",
    says="HostileError",
    also=("mapping.*",),
)
class MapInputErrorComesFirst(Mapper):
    """With buffersize, an error of the input drops the results before it."""

    results = _InputErrorFirst


class _NoLimitWithBuffer(Results):
    def left(self) -> float | None:
        return super().left() if self.buffersize is None else None


@mutant("mapping.map_buffersize_times_out", says="next() of map's iterator", also=("mapping.*",), deadline=2)
class MapWithABufferIgnoresItsTimeout(Mapper):
    """map() with buffersize waits for ever."""

    results = _NoLimitWithBuffer


@mutant("mapping.map_buffersize_goes_with_chunks", says="with a buffer and chunks gave", also=("mapping.*",))
class MapWithBufferAndChunksGivesLists(Chunker):
    """map() with both gives the chunks instead of their results."""

    def gather(self, fn: Any, items: Iterator[Any], timeout: Any, chunksize: int, buffersize: Any) -> Any:
        if chunksize == 1 or buffersize is None:
            return super().gather(fn, items, timeout, 1, buffersize)
        return self.results((self.submit(_all_of, fn, x) for x in self.cut(items, chunksize)), timeout, buffersize)


# Closing and dropping


class _CloseDoesNothing(Results):
    def close(self) -> None:
        pass


@mutant(
    "mapping.map_close_ends_the_iteration",
    says="went on after close()",
    also=("mapping.map_close_before_the_first_result_ends_the_iteration", "mapping.*"),
)
class MapCloseDoesNothing(Mapper):
    """close() on map's iterator does nothing."""

    results = _CloseDoesNothing


class _CloseOnlyStops(Results):
    def close(self) -> None:
        self.submissions = iter(())
        self.futures.clear()

    def expire(self) -> None:
        super().close()

    def __del__(self) -> None:
        super().close()


@mutant(
    "mapping.map_close_cancels_the_waiting_calls",
    says="when map's iterator was closed ran nevertheless",
    also=("mapping.*",),
)
class MapCloseLetsCallsRun(Mapper):
    """close() on map's iterator cancels nothing."""

    results = _CloseOnlyStops


class _DropLetsRun(Results):
    def __del__(self) -> None:
        pass


@mutant(
    "mapping.map_iterator_that_is_dropped_cancels_the_waiting_calls",
    says="was dropped ran nevertheless",
    also=("mapping.*",),
)
class MapDroppedLetsCallsRun(Mapper):
    """A dropped iterator of map() cancels nothing."""

    results = _DropLetsRun


@mutant(
    "mapping.map_iterator_that_is_dropped_leaves_the_executor_usable",
    says="RuntimeError",
    also=("mapping.*",),
)
class MapDroppedShutsDown(Mapper):
    """A dropped iterator of map() that was not at its end shuts the executor down."""

    def gather(self, *args: Any) -> Any:
        executor = self

        class Shuts(Results):
            def __del__(self) -> None:
                if self.futures:
                    executor.shutdown(wait=False)
                super().__del__()

        return Shuts(self.submissions(args[0], args[1]), args[2], args[4])


class _Keeps(Results):
    def outcome(self, future: Future[Any]) -> Any:
        self.given = [*getattr(self, "given", []), super().outcome(future)]
        return self.given[-1]


@mutant(
    "mapping.map_keeps_no_result_that_it_has_given",
    says="handed out to be freed",
    also=("mapping.*",),
    deadline=2,
)
class MapKeepsItsResults(Mapper):
    """map's iterator keeps what it has given."""

    results = _Keeps


@mutant("mapping.map_does_not_time_out_early", says="timed out after 0.0", also=("mapping.*",))
class MapCountsMilliseconds(Mapper):
    """map() takes its timeout for milliseconds."""

    def gather(self, fn: Any, items: Iterator[Any], timeout: Any, chunksize: int, buffersize: Any) -> Any:
        return super().gather(fn, items, timeout and timeout / 1000, chunksize, buffersize)


class _Careless(ThreadExecutor):
    """map() without any care for who leaves it."""

    def map(self, fn: Any, *iterables: Any, **options: Any) -> Iterator[Any]:  # type: ignore[override]
        futures = [self.submit(fn, *items) for items in zip(*iterables, strict=False)]
        return (future.result() for future in futures)


@mutant(
    "mapping.map_that_is_interrupted_withdraws_what_waits",
    says="100 of 100 calls ran",
    also=("mapping.*", "shutting_down.*", "interoperation.*"),
)
class InterruptedMapGoesOn(_Careless):
    """An interrupt that comes out of map(), and out of the `with` block, leaves the calls that wait as they are."""

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.shutdown()
