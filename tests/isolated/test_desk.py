"""`TicketDesk`: tickets go to one reader, in order, or come back; cells are given back (E1–E3)."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the fast path needs Linux")

if sys.platform == "linux":
    from corefutures._isolated.desk import TicketDesk
    from corefutures._isolated.frames import PARCEL_SIZE, ROLL_CALL, STOP, TICKET
    from corefutures._isolated.future import CallFuture
    from corefutures._isolated.payload import Parcel, Segment


@pytest.fixture
def desk():
    desk = TicketDesk(2, deque())
    yield desk
    desk.close()


def call(number: int, body: Any = b"body") -> Any:
    future: Any = CallFuture(None, body)
    future._number = number
    return future


def post(desk: Any, *futures: Any) -> deque[Any]:
    backlog: deque[Any] = desk._backlog
    backlog.extend(futures)
    desk.post()
    return backlog


def claim(desk: Any) -> tuple[int, bytes]:
    """Does what a worker does first."""
    number, offset, size = TICKET.unpack(os.read(desk.tickets, TICKET.size))
    return number, b"" if size == PARCEL_SIZE else desk._map[offset : offset + size]


def test_tickets_in_order_with_their_bodies(desk):
    futures = [call(n, bytes([n]) * size) for n, size in enumerate([1, 512, 513, 60_000], 1)]
    assert not post(desk, *futures)
    assert [claim(desk) for _ in futures] == [(n, bytes([n]) * size) for n, size in enumerate([1, 512, 513, 60_000], 1)]
    assert all(future._sent and future._body is None for future in futures)


def test_parcels_stay_with_their_future(desk):
    parcel = Parcel([Segment([b"large"], spool=False)], [])
    future = call(7, parcel)
    post(desk, future)
    assert claim(desk) == (7, b"")
    assert future._body is parcel


def test_a_claimed_call_can_not_be_taken_back(desk):
    first, second = call(1), call(2)
    post(desk, first, second)
    assert claim(desk)[0] == 1
    assert not desk.take_back(first)
    assert desk.take_back(second)
    assert second.cancelled() and not first.cancelled()
    assert desk.claimed() == {1}


def test_taking_back_keeps_the_order_of_the_others(desk):
    futures = [call(n) for n in range(1, 11)]
    post(desk, *futures)
    assert desk.take_back(futures[4])
    desk.send_all(STOP, 1)
    assert [claim(desk)[0] for _ in range(10)] == [1, 2, 3, 4, 6, 7, 8, 9, 10, STOP]


def test_a_cancelled_call_gets_no_ticket_and_keeps_no_cell(desk):
    futures = [call(n) for n in range(1, 4)]
    assert futures[1].cancel()
    post(desk, *futures)
    assert [claim(desk)[0] for _ in range(2)] == [1, 3]
    assert set(desk.out) == {1, 3}


def test_no_more_tickets_than_room_and_all_in_the_end(desk):
    """Far more calls than cells or than a pipe holds: what does not fit waits, and nothing is lost or doubled."""
    futures = [call(n, b"x" * (n % 700)) for n in range(1, 5001)]
    seen: list[int] = []
    post(desk, *futures)
    while len(seen) < 5000:
        desk.post()
        assert len(desk.out) <= 5000 - len(seen)
        number, body = claim(desk)
        assert len(body) == number % 700
        seen.append(number)
        desk.free(number)
    assert seen == list(range(1, 5001))
    assert not desk.out


def test_large_cells_are_given_back(desk):
    for number in range(1, 200):
        backlog = post(desk, call(number, b"y" * 50_000))
        assert not backlog
        assert claim(desk)[0] == number
        desk.free(number)


def test_a_full_pipe_loses_no_ticket(desk, monkeypatch):
    """What can't be written waits in order before what comes later, and can be taken back from there."""
    real_write = os.write
    full = True

    def write(descriptor: int, data: bytes) -> int:
        if full and descriptor == desk._inlet:
            raise BlockingIOError
        return real_write(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    first, second, third = call(1), call(2), call(3)
    post(desk, first, second)
    assert desk.take_back(first)
    full = False
    post(desk, third)
    assert [claim(desk)[0] for _ in range(2)] == [2, 3]


def test_one_roll_call_at_a_time(desk):
    word = ROLL_CALL | 1
    desk.call_roll(word, 2)
    desk.call_roll(word, 2)
    assert [claim(desk)[0] for _ in range(2)] == [word, word]
    assert desk._take_all() == []


def test_readers_takers_and_writers_race(desk):
    """Each ticket has one owner: a reader, or the one that took it back."""
    futures = [call(n) for n in range(1, 3001)]
    read: list[int] = []
    ends = threading.Event()

    def worker() -> None:
        while (number := claim(desk)[0]) != STOP:
            read.append(number)
            desk.free(number)

    def taker() -> None:
        while not ends.is_set():
            for future in futures[::7]:
                if future._sent and not future.done():
                    desk.take_back(future)

    workers = [threading.Thread(target=worker) for _ in range(2)]
    takers = [threading.Thread(target=taker) for _ in range(2)]
    for thread in workers + takers:
        thread.start()
    for future in futures:  # whoever has the seat then, nobody but him need look again
        post(desk, future)
    ends.set()
    for thread in takers:
        thread.join()
    while desk.waiting:  # beyond what there was room for
        desk.post()
    desk.send_all(STOP, 2)
    for thread in workers:
        thread.join()
    cancelled = {future._number for future in futures if future.cancelled()}
    assert len(read) == len(set(read))
    assert set(read) | cancelled == set(range(1, 3001))
    assert not set(read) & cancelled
    assert not desk.out


def test_a_handler_that_raises_loses_and_doubles_no_ticket(desk):
    """At each point at which a signal handler could raise, in posting and in taking back: the next one goes on."""
    from interrupting import Interruption

    import corefutures._isolated.desk as module

    class Raised(BaseException):
        pass

    def handler() -> None:
        raise Raised

    number = 0
    for step in range(10_000):
        futures = [call(number + n) for n in (1, 2, 3)]
        number += 3
        happened = False
        try:
            with Interruption(step, handler, module) as interruption:
                post(desk, futures[0], futures[1])
                desk.take_back(futures[0])
                post(desk, futures[2])
        except Raised:
            happened = True
        assert happened == interruption.happened
        for future in futures:
            if not future._sent and not future.done() and future not in desk._backlog:
                desk._backlog.append(future)  # the handler came before the test itself had added it
        desk.post()
        assert not desk.waiting, (step, interruption.where, desk._seat, len(desk._batch), len(desk._backlog))
        expected = [future._number for future in futures if not future.cancelled()]
        read = [ticket[0] for ticket in desk._take_all()]
        desk._unwritten = b""
        assert [n for n in read if n in expected] == expected, interruption.where
        assert len(read) == len(set(read)), interruption.where
        for n in read:
            desk.free(n)
        if not happened:
            break
    assert step > 50


class LateBacklog(deque[Any]):
    """A backlog to which another thread adds a call just after it was found empty."""

    late: Any = None

    def __getitem__(self, index: Any) -> Any:
        try:
            return super().__getitem__(index)
        except IndexError:
            if self.late is not None:
                late, self.late = self.late, None
                another = threading.Thread(target=late)
                another.start()
                another.join()
            raise


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_call_that_comes_while_the_holder_of_the_seat_finds_nothing_is_sent(cancelled):
    backlog = LateBacklog()
    desk = TicketDesk(2, backlog)
    try:
        first, second = call(1), call(2)
        backlog.late = lambda: post(desk, second)
        if cancelled:
            assert first.cancel()
        post(desk, first)
        assert backlog.late is None
        assert not desk.waiting
        assert claim(desk)[0] == (2 if cancelled else 1)
    finally:
        desk.close()


def test_a_call_behind_more_cancelled_ones_than_go_into_a_batch_is_sent(desk):
    futures = [call(number) for number in range(1, 1001)]
    for future in futures[:-1]:
        assert future.cancel()
    assert not post(desk, *futures)
    assert claim(desk)[0] == 1000
