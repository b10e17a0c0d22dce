"""`TaskQueue`: tickets go to one reader, in order, or come back; cells are given back (E1–E3)."""

from __future__ import annotations

import os
import sys
import threading
from array import array
from collections import deque
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the fast path needs Linux")

if sys.platform == "linux":
    import fcntl
    import termios

    from signals import Interruption

    import corefutures_pools.workers.shared_queue.task_queue as module
    from corefutures_pools.workers.future import CallFuture
    from corefutures_pools.workers.messages import PAYLOAD_SIZE, PING, STOP, TASK
    from corefutures_pools.workers.payload import Payload, Segment
    from corefutures_pools.workers.shared_queue.task_queue import TaskQueue


@pytest.fixture
def desk():
    desk = TaskQueue(2, deque())
    yield desk
    desk.close()


def call(number: int, body: Any = b"body") -> Any:
    future: Any = CallFuture(None, body)
    future._number = number
    return future


def post(desk: Any, *futures: Any) -> deque[Any]:
    """Does what a submitter does, and then the collector."""
    backlog: deque[Any] = desk._backlog
    for future in futures:
        desk.prepare(future)
        backlog.append(future)
    send_on(desk)
    return backlog


def send_on(desk: Any) -> None:
    desk.prepare_waiting()
    desk.post()


def take_back(desk: Any, future: Any) -> bool:
    """Does what `SharedQueuePool.revoke` does."""
    taken: bool = desk.withdraw(future._number)
    if taken:
        assert future._cf_try_cancel(notified=True, recalled=True)
        desk.free(future._number)
        desk.withdrawn.pop(future._number)
    desk.post()
    return taken


def claim(desk: Any) -> tuple[int, bytes]:
    """Does what a worker does first."""
    number, offset, size = TASK.unpack(os.read(desk.tickets, TASK.size))
    return number, b"" if size == PAYLOAD_SIZE else desk._map[offset : offset + size]


def test_tickets_in_order_with_their_bodies(desk):
    futures = [call(n, bytes([n]) * size) for n, size in enumerate([1, 512, 513, 60_000], 1)]
    assert not post(desk, *futures)
    assert [claim(desk) for _ in futures] == [(n, bytes([n]) * size) for n, size in enumerate([1, 512, 513, 60_000], 1)]
    assert all(future._cf_dispatched and future._body is None for future in futures)


def test_payloads_stay_with_their_future(desk):
    payload = Payload([Segment([b"large"], memfds=False)], [])
    future = call(7, payload)
    post(desk, future)
    assert claim(desk) == (7, b"")
    assert future._body is payload


def test_a_claimed_call_can_not_be_taken_back(desk):
    first, second = call(1), call(2)
    post(desk, first, second)
    assert claim(desk)[0] == 1
    assert not take_back(desk, first)
    assert take_back(desk, second)
    assert second.cancelled() and not first.cancelled()
    assert desk.claimed() == {1}


def test_taking_back_keeps_the_order_of_the_others(desk):
    futures = [call(n) for n in range(1, 11)]
    post(desk, *futures)
    assert take_back(desk, futures[4])
    desk.send_all(STOP, 1)
    assert [claim(desk)[0] for _ in range(10)] == [1, 2, 3, 4, 6, 7, 8, 9, 10, STOP]


def test_a_cancelled_call_gets_no_ticket_and_keeps_no_cell(desk):
    futures = [call(n) for n in range(1, 4)]
    desk._scarce = True  # so that the collector makes the tickets
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
        send_on(desk)
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


def test_the_pipe_is_never_full():
    """However many workers and calls there are: what has a cell goes into it, in writes of any size."""
    for workers in (1, 2, 61, 300):
        desk = TaskQueue(workers, deque())
        try:
            payload = Payload([Segment([b"large"], memfds=False)], [])
            for number in range(1, 10_000, 129):  # each write takes a page of the pipe, and a half
                post(desk, *[call(number + n, payload if n % 2 else b"") for n in range(129)])
            desk.call_roll(PING | 1, workers)
            assert len(desk.out) > workers
            written = array("i", [0])
            fcntl.ioctl(desk.tickets, termios.FIONREAD, written)
            assert written[0] == (len(desk.out) + workers) * TASK.size
        finally:
            desk.close()


def test_one_roll_call_at_a_time(desk):
    word = PING | 1
    desk.call_roll(word, 2)
    desk.call_roll(word, 2)
    assert [claim(desk)[0] for _ in range(2)] == [word, word]
    desk.drain()
    assert not desk.returned


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
                if future._cf_dispatched and not future.done():
                    take_back(desk, future)

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
        send_on(desk)
    desk.send_all(STOP, 2)
    for thread in workers:
        thread.join()
    cancelled = {future._number for future in futures if future.cancelled()}
    assert len(read) == len(set(read))
    assert set(read) | cancelled == set(range(1, 3001))
    assert not set(read) & cancelled
    assert not desk.out


def check(desk: Any, futures: list[Any], where: str) -> None:
    """Each call that was not cancelled has one ticket, in order; each that was has none."""
    send_on(desk)
    assert not desk.waiting, where
    read = []
    while desk.sent:
        read.append(claim(desk)[0])
        desk.free(read[-1])
    assert read == [future._number for future in futures if not future.cancelled()], where


def test_a_handler_that_raises_loses_and_doubles_no_ticket(desk):
    """At each point at which a signal handler could raise, in posting and in taking back: the next one goes on."""

    class Raised(BaseException):
        pass

    def handler() -> None:
        raise Raised

    cells = len(desk._small_cells)
    for step in range(10_000):
        futures = [call(3 * step + n) for n in (1, 2, 3)]
        happened = False
        try:
            with Interruption(step, handler, module) as interruption:
                post(desk, futures[0], futures[1])
                take_back(desk, futures[0])
                post(desk, futures[2])
        except Raised:
            happened = True
        assert happened == interruption.happened
        for number in list(desk.withdrawn):  # as the collector does
            futures[(number - 1) % 3]._cf_try_cancel(notified=True, recalled=True)
            desk.free(number)
            desk.withdrawn.pop(number)
        for future in futures:
            if not future._cf_dispatched:  # what `submit` does when it is interrupted
                desk.ready.pop(future._number, None)
                desk.free(future._number)
            elif future not in desk._backlog and future._number in desk.ready:
                desk._backlog.append(future)  # the handler came before the test itself had added it
        check(desk, [future for future in futures if future._cf_dispatched], interruption.where)
        assert len(desk._small_cells) == cells, interruption.where
        if not happened:
            break
    assert step > 30


def test_what_waits_can_be_claimed_at_each_point_of_taking_back(desk):
    """A handler may wait for a thread that waits for such a call; and who posts meanwhile takes nothing away."""
    unsent: list[str] = []

    def handler() -> None:
        written = array("i", [0])
        fcntl.ioctl(desk.tickets, termios.FIONREAD, written)
        if written[0] < 2 * TASK.size:
            unsent.append("nothing")
        desk.post()

    for step in range(10_000):
        futures = [call(4 * step + n) for n in (1, 2, 3, 4)]
        post(desk, *futures)
        with Interruption(step, handler, module) as interruption:
            taken = desk.withdraw(futures[step % 4]._number, 2)
        assert not unsent, interruption.where
        assert taken, interruption.where
        assert futures[step % 4]._cf_try_cancel(notified=True, recalled=True)
        desk.free(futures[step % 4]._number)
        desk.withdrawn.clear()
        check(desk, futures, interruption.where)
        if not interruption.happened:
            break
    assert step > 10


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_handler_finishes_what_it_interrupts(desk, elsewhere):
    """At each point: when the handler has posted, or another thread for which it waits, nothing is left unwritten."""
    numbers: list[int] = []
    left: list[str] = []

    def finish() -> None:
        post(desk, call(numbers[-1] + 2))
        if any(future._cf_dispatched and future._number in desk.ready for future in desk._backlog) or desk.returned:
            left.append("something")

    def handler() -> None:
        if elsewhere:
            other = threading.Thread(target=finish)
            other.start()
            other.join(20)
            assert not other.is_alive(), "it waits for the thread that was interrupted"
        else:
            finish()

    for step in range(10_000):
        numbers.append(10 * step + 10)
        futures = [call(numbers[-1]), call(numbers[-1] + 1), call(numbers[-1] + 3)]
        with Interruption(step, handler, module) as interruption:
            post(desk, futures[0], futures[1])
            take_back(desk, futures[0])
            post(desk, futures[2])
        assert not left, interruption.where
        send_on(desk)
        assert not desk.waiting, interruption.where
        read = []
        while desk.sent:
            read.append(claim(desk)[0])
            desk.free(read[-1])
        wanted = [future._number for future in futures if not future.cancelled()]
        wanted += [numbers[-1] + 2] if interruption.happened else []
        assert sorted(read) == sorted(wanted), interruption.where
        if not interruption.happened:
            break
    assert step > 30


def test_a_call_behind_more_cancelled_ones_than_go_into_a_batch_is_sent(desk):
    futures = [call(number) for number in range(1, 1001)]
    desk._scarce = True  # so that the collector makes the tickets
    for future in futures[:-1]:
        assert future.cancel()
    assert not post(desk, *futures)
    assert claim(desk)[0] == 1000


def test_words_for_the_workers_stay_whole_at_each_point(desk):
    """A handler that raises, or one that finishes what it interrupts, leaves as many as there are workers."""

    class Raised(BaseException):
        pass

    def finish() -> None:
        for number in list(desk.withdrawn):  # as the thread itself does, and the collector
            desk.free(number)
            desk.withdrawn.pop(number)

    def interrupt() -> None:
        finish()
        raise Raised

    for handler in (finish, interrupt):
        for step in range(10_000):
            post(desk, call(2 * step + 1), call(2 * step + 2))
            desk.send_all(STOP, 2)
            try:
                with Interruption(step, handler, module) as interruption:
                    desk.withdraw(2 * step + 1)
                    desk.withdraw_all()
            except Raised:
                pass
            finish()
            desk.post()
            read = [claim(desk)[0] for _ in range(len(desk.out) + 2)]
            assert read.count(STOP) == 2, interruption.where
            for number in read:
                desk.free(number)
            desk.drain()
            assert not desk.returned and not desk.out, interruption.where
            if not interruption.happened:
                break
        assert step > 20
        assert read == [STOP, STOP]
