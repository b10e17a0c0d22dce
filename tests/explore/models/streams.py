"""Models of streams: producer and consumer, the buffer full or empty, against the close, the end and the loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from explorer import Run
from modelling import CORE, Answers, Check, Fault, expect, model
from world import get_ident

STREAM, THREADS = "corefutures_pools.streams.stream", "corefutures_pools.streams.threads"

SLEEPS_WITHOUT_A_LOOK = Fault(
    "a consumer that has entered itself does not look for an item again", STREAM,
    right="            if not self._is_ready():\n                parker.park()",
    wrong="            parker.park()",
)  # fmt: skip

WAITS_WITHOUT_A_LOOK = Fault(
    "a producer that has entered itself does not look for room again", THREADS,
    right="                if not self._has_room():\n                    parker.park()",
    wrong="                parker.park()",
)  # fmt: skip

LOOKS_FOR_THE_END_LAST = Fault(
    "a consumer looks for an item first, and then whether the call has ended", STREAM,
    right="""                ended = self.future.done()  # before the last look: whatever was sent has arrived then
                try:
                    return self._items.popleft()
                except IndexError:
                    pass
""",
    wrong="""                try:
                    return self._items.popleft()
                except IndexError:
                    pass
                ended = self.future.done()
""",
)  # fmt: skip

FORGETS_THE_END = Fault(
    "the first item of a stream that is to end tells its worker nothing", STREAM,
    right="        if self.ending and not self._told:\n            self.end()\n",
    wrong="",
)  # fmt: skip


def stream_model(
    promise: str, *, also: tuple[str, ...] = (), faults: tuple[Fault, ...] = (), delays: bool = False
) -> Callable[[Callable[[Run, Any], Check]], Callable[[Run, Any], Check]]:
    """Makes a function a model of streams."""
    modules = (*CORE, "corefutures_pools.future", STREAM, THREADS)
    files = ("streams/stream.py", "streams/threads.py", "streams/producing.py", *also)
    return model(promise, modules=modules, files=files, faults=faults, delays=delays)


def _open(run: Run, our: Any, items: Iterable[int], size: int) -> Any:
    """Opens a stream whose generator runs in a thread of its own, as in a worker."""
    our_future = our.modules["corefutures_pools.future"]

    def submit(fn: Any, *args: Any, **kwargs: Any) -> Any:
        future = our_future.PoolFuture(fn, args, kwargs)

        def work() -> None:
            our.blocking.current_workers[get_ident()] = SimpleNamespace(calls=[future])
            call = our_future.begin(future)
            if call is None:
                return
            value = error = None
            try:
                value = call[0](*call[1], **call[2])
            except BaseException as exc:
                error = exc
            our_future.finish(future, value, error)

        run.spawn("worker", work)
        return future

    our.blocking.current_workers.clear()
    return our.threads.stream_from_threads(submit, lambda: iter(items), (), {}, size)


def _taken(stream: Any) -> list[Any]:
    """Returns all items, and the type of the exception after them."""
    taken: list[Any] = []
    try:
        for item in stream:
            taken.append(item)  # noqa: PERF402  # those before the exception
    except BaseException as error:
        taken.append(type(error).__name__)
    return taken


@stream_model("C9", faults=(SLEEPS_WITHOUT_A_LOOK, WAITS_WITHOUT_A_LOOK))
def a_producer_without_room_against_its_consumer(run: Run, our: Any) -> Check:
    got = Answers()
    stream = _open(run, our, range(3), 1)
    run.spawn("consumer", got.say("items", lambda: _taken(stream)))
    return lambda: expect(got["items"], [0, 1, 2])


@stream_model("C9", delays=True)
def two_consumers_of_a_stream(run: Run, our: Any) -> Check:
    got = Answers()
    stream = _open(run, our, range(2), 2)
    run.spawn("consumer", got.say("items", lambda: _taken(stream)))
    run.spawn("another", got.say("others", lambda: _taken(stream)))
    return lambda: expect(sorted(got["items"] + got["others"]), [0, 1])


@stream_model("C9")
def close_against_a_producer_without_room(run: Run, our: Any) -> Check:
    got = Answers()
    stream = _open(run, our, range(9), 1)

    def leave() -> Any:
        first = next(stream)
        stream.close()
        return first, stream.future.done(), next(stream, "no more")

    run.spawn("consumer", got.say("left", leave))
    return lambda: expect(got["left"], (0, True, "no more"))


@stream_model("C9", delays=True)
def shutdown_against_a_producer_without_room(run: Run, our: Any) -> Check:
    got = Answers()
    stream = _open(run, our, range(3), 1)
    run.spawn("closer", stream._buffer.end)
    run.spawn("consumer", got.say("items", lambda: _taken(stream)))
    cut = [[*range(number), "CancelledError"] for number in range(4)]
    return lambda: expect(got["items"], [0, 1, 2], *cut)


@stream_model("C9", also=("_future.py",), faults=(LOOKS_FOR_THE_END_LAST,))
def the_last_item_against_a_lost_worker(run: Run, our: Any) -> Check:
    future, got = our.future.Future(), Answers()
    buffer = our.stream.ItemBuffer()
    stream = our.stream.Stream(future, buffer, room=int, lot=1, decode=lambda _, item: item, ask=int)

    def receive() -> None:
        buffer.receive(0, 7)
        future.set_exception(KeyError())

    run.spawn("consumer", got.say("items", lambda: _taken(stream)))
    run.spawn("result thread", receive)
    return lambda: expect(got["items"], [7, "KeyError"])


@stream_model("C9", faults=(FORGETS_THE_END,))
def the_first_item_against_the_end_of_its_stream(run: Run, our: Any) -> Check:
    buffer = our.stream.ItemBuffer()
    grants: list[int] = []

    def receive() -> None:
        buffer.grant = grants.append
        buffer.receive(0, 7)

    run.spawn("result thread", receive)
    run.spawn("closer", buffer.end)
    return lambda: expect(0 in grants, True)
