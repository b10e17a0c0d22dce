"""Defects in streams: items lost, late or too many; generators that stay open; consumers that wait for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import corefutures
from corefutures_conformance.worker import calls
from mutants import mutant
from mutants.control import ABLE, Able


class Sent(corefutures.ProcessPoolExecutor):
    """A correct executor whose items cross a boundary."""

    abilities: ClassVar[dict[str, bool]] = {
        **ABLE,
        "same_process": False,
        "shares_memory": False,
        "pickles": True,
        "runs_in_place": False,
        "kills_running": True,
    }


def altered(stream: Any, **methods: Callable[..., Any]) -> Any:
    """A stream with other methods."""
    stream.__class__ = type("Altered", (corefutures.Stream,), methods)
    return stream


@mutant("streaming.items_come_in_order", says="yielded", also=("streaming.*",), deadline=3)
class LosesAnItem(Able):
    """The second item is lost."""

    def stream(self, fn: Any, /, *args: Any, buffer: int = 100, **kwargs: Any) -> Any:
        def leave_out(*args: Any, **kwargs: Any) -> Iterator[Any]:
            for number, item in enumerate(fn(*args, **kwargs)):
                if number != 1:
                    yield item

        return super().stream(leave_out if callable(fn) else fn, *args, buffer=buffer, **kwargs)


@mutant("streaming.items_may_be_anything", says="a stream of None, False")
class EndsAtNone(Able):
    """An item that is None is taken for the end."""

    def stream(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        def take(stream: Any) -> Any:
            item = corefutures.Stream.__next__(stream)
            if item is None:
                raise StopIteration
            return item

        return altered(super().stream(fn, *args, **kwargs), __next__=take)


@mutant("streaming.the_value_of_the_generator_is_the_result", says="has the value None")
class ForgetsTheValue(Able):
    """StopIteration comes without the value."""

    def stream(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        def take(stream: Any) -> Any:
            try:
                return corefutures.Stream.__next__(stream)
            except StopIteration:
                raise StopIteration from None

        return altered(super().stream(fn, *args, **kwargs), __next__=take)


@mutant(
    "streaming.the_exception_comes_after_the_items",
    says="in the place of the generator's exception",
    also=("streaming.a_generator_that_waits_for_room_can_be_asked",),
)
class SwallowsTheException(Able):
    """A generator that raises ends its stream like any other."""

    def stream(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        def take(stream: Any) -> Any:
            try:
                return corefutures.Stream.__next__(stream)
            except StopIteration:
                raise
            except BaseException:
                raise StopIteration from None

        return altered(super().stream(fn, *args, **kwargs), __next__=take)


@mutant("streaming.the_generator_is_at_most_a_buffer_ahead", says="items ahead")
class HasALargerBuffer(Able):
    """The generator runs twice as far ahead as it may."""

    def stream(self, fn: Any, /, *args: Any, buffer: int = 100, **kwargs: Any) -> Any:
        return super().stream(fn, *args, buffer=2 * buffer, **kwargs)


@mutant(
    "streaming.an_item_waits_for_no_other",
    says="an item whose generator computes the next one",
    also=("streaming.*",),
    deadline=3,
)
class SendsInPairs(Able):
    """Items are sent two at a time."""

    def stream(self, fn: Any, /, *args: Any, buffer: int = 100, **kwargs: Any) -> Any:
        def in_pairs(*args: Any, **kwargs: Any) -> Iterator[Any]:
            held: list[Any] = []
            for item in fn(*args, **kwargs):
                held.append(item)
                if len(held) == 2:
                    yield from held
                    held.clear()
            yield from held

        return super().stream(in_pairs if callable(fn) else fn, *args, buffer=buffer, **kwargs)


@mutant(
    "streaming.close_closes_the_generator",
    says="before the generator was closed",
    also=("streaming.*",),
    deadline=3,
)
class CloseDoesNothing(Able):
    """close() has the stream yield no more, and that is all."""

    def stream(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        def close(stream: Any) -> None:
            stream._over = True

        return altered(super().stream(fn, *args, **kwargs), close=close)


@mutant("streaming.a_closed_stream_fails_its_future", says="should have failed")
class ClosedStreamsSucceed(Able):
    """The future of a stream that was closed has a result."""

    def stream(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        def close(stream: Any) -> None:
            corefutures.Stream.close(stream)
            if not stream.future.cancelled():
                stream.future = corefutures.Future()
                stream.future.set_result(None)

        return altered(super().stream(fn, *args, **kwargs), close=close)


@mutant(
    "streaming.a_loop_that_is_left_closes_the_generator",
    says="that was dropped to be closed",
    also=("resources.*",),
    deadline=3,
)
class KeepsStreams(Able):
    """The executor refers to its streams."""

    def stream(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        stream = super().stream(fn, *args, **kwargs)
        self.__dict__.setdefault("streams", []).append(stream)
        return stream


@mutant("streaming.a_stream_that_waits_for_its_turn_is_cancelled", says="before it started", deadline=3)
class StartsClosedStreams(Able):
    """A stream that is closed before its call has started starts that."""

    def stream(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        def close(stream: Any) -> None:
            if stream.future.running():
                corefutures.Stream.close(stream)

        return altered(super().stream(fn, *args, **kwargs), close=close)


@mutant(
    "streaming.a_generator_that_waits_for_room_can_be_asked",
    says="that was asked to stop to be closed",
    also=("control.*",),
    deadline=3,
)
class AsksNobody(Able):
    """request_cancel() says True, and that is all."""

    def request_cancel(self, future: Any) -> bool:
        return not future.done()


@mutant("streaming.shutdown_ends_what_nobody_takes", says="shutdown() while a stream is open", deadline=3)
class WaitsForConsumers(Able):
    """shutdown() waits for streams that nobody can take from meanwhile."""

    def stream(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        def take(stream: Any) -> Any:
            try:
                return corefutures.Stream.__next__(stream)
            finally:
                stream._buffer.consumer = threading.main_thread().ident

        return altered(super().stream(fn, *args, **kwargs), __next__=take)


@mutant("streaming.what_was_sent_before_a_loss_arrives", says="there came", deadline=10)
class LosesWhatWasSent(Sent):
    """A loss is told before the items that came before it."""

    def stream(self, fn: Any, /, *args: Any, buffer: int = 100, **kwargs: Any) -> Any:
        def take(stream: Any) -> Any:
            if fn is calls.yield_and_die:
                stream.future.exception()
                stream._items.clear()
            return corefutures.Stream.__next__(stream)

        larger = buffer if fn is not calls.yield_and_die else 1000
        return altered(super().stream(fn, *args, buffer=larger, **kwargs), __next__=take)


@mutant("streaming.an_item_that_can_not_be_pickled", says="there came", deadline=10)
class SendsNoneInstead(Sent):
    """An item that can't be pickled arrives as None."""

    def stream(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        def take(stream: Any) -> Any:
            try:
                return corefutures.Stream.__next__(stream)
            except TypeError:
                return None

        return altered(super().stream(fn, *args, **kwargs), __next__=take)


@mutant("streaming.streams_that_make_no_sense_are_refused", says="was accepted")
class TakesAnyBuffer(Able):
    """A buffer without room is taken for one of a hundred items."""

    def stream(self, fn: Any, /, *args: Any, buffer: Any = 100, **kwargs: Any) -> Any:
        return super().stream(fn, *args, buffer=buffer or 100, **kwargs)


@mutant("streaming.streams_are_refused", says="was not refused")
class DeclaresNoStreams(Able):
    """It has streams, and says that it has none."""

    abilities: ClassVar[dict[str, bool]] = {**ABLE, "streams": False}
