"""`TaskQueue`: task descriptors go to one reader, in order, or come back; slots are given back (E1–E3)."""

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
    from corefutures_pools.workers.shared_queue.arena import HUGE
    from corefutures_pools.workers.shared_queue.task_queue import TaskQueue


@pytest.fixture
def queue():
    queue = TaskQueue(2, deque())
    yield queue
    queue.close()


def call(number: int, body: Any = b"body") -> Any:
    future: Any = CallFuture(None, body)
    future._number = number
    return future


def post(queue: Any, *futures: Any) -> deque[Any]:
    """Does what a submitter does, and then the result thread."""
    backlog: deque[Any] = queue._backlog
    for future in futures:
        queue.encode(future)
        backlog.append(future)
    send(queue)
    return backlog


def send(queue: Any) -> None:
    queue.encode_deferred()
    queue.flush()


def revoke(queue: Any, future: Any) -> bool:
    """Does what `SharedQueuePool.revoke` does."""
    taken: bool = queue.revoke(future._number)
    if taken:
        assert future._cf_try_cancel(notified=True, recalled=True)
        queue.arena.free(future._number)
        queue.revoked.pop(future._number)
    queue.flush()
    return taken


def claim(queue: Any) -> tuple[int, bytes]:
    """Does what a worker does first."""
    number, offset, size = TASK.unpack(os.read(queue.reader, TASK.size))
    return number, b"" if size == PAYLOAD_SIZE else queue.arena.map[offset : offset + size]


def test_tasks_in_order_with_their_bodies(queue):
    futures = [call(n, bytes([n]) * size) for n, size in enumerate([1, 512, 513, 60_000], 1)]
    assert not post(queue, *futures)
    assert [claim(queue) for _ in futures] == [
        (n, bytes([n]) * size) for n, size in enumerate([1, 512, 513, 60_000], 1)
    ]
    assert all(future._cf_dispatched and future._body is None for future in futures)


@pytest.mark.parametrize(
    "payload",
    [
        Payload([Segment([bytes(HUGE), b"more"], memfds=False)], []),
        Payload([Segment([b"large"], memfds=False)], [(Segment([b"buffer"], memfds=False), True)]),
        Payload([Segment([b"large"], memfds=True)], []),
    ],
    ids=["larger than a slot", "with a buffer", "in a memory file"],
)
def test_payloads_stay_with_their_future(queue, payload):
    future = call(7, payload)
    post(queue, future)
    assert claim(queue) == (7, b"")
    assert future._body is payload


def in_memory(*pieces: bytes) -> Payload:
    return Payload([Segment(pieces[:1], memfds=False), Segment(pieces[1:], memfds=False)], [])


def test_a_payload_in_plain_memory_goes_into_a_slot(queue):
    pieces = b"a" * 70_000, b"b" * 5, b"c" * (HUGE - 70_005)
    future = call(7, in_memory(*pieces))
    post(queue, future)
    assert claim(queue) == (7, b"".join(pieces))
    assert future._body is None


def test_payloads_wait_for_a_slot_in_their_order(queue):
    count = len(queue.arena._free_huge)
    futures = [call(n, in_memory(bytes([n]) * 70_000)) for n in range(1, count + 3)]
    backlog = post(queue, *futures)
    assert [future._number for future in backlog] == [count + 1, count + 2]
    for number in range(1, count + 1):
        assert claim(queue) == (number, bytes([number]) * 70_000)
        assert queue.arena.free(number)
    send(queue)
    assert [claim(queue)[0] for _ in range(2)] == [count + 1, count + 2]
    assert not backlog


def test_where_slots_are_fewer_than_the_workers_need_no_payload_waits_for_one(monkeypatch):
    monkeypatch.setattr(module, "_HUGE_AT_MOST", 1)
    queue = TaskQueue(2, deque())
    futures = [call(n, in_memory(bytes([n]) * 70_000)) for n in (1, 2)]
    assert not post(queue, *futures)
    assert claim(queue) == (1, b"\1" * 70_000)
    assert claim(queue) == (2, b"")
    assert futures[1]._body is not None
    queue.close()


def test_a_claimed_call_can_not_be_revoked(queue):
    first, second = call(1), call(2)
    post(queue, first, second)
    assert claim(queue)[0] == 1
    assert not revoke(queue, first)
    assert revoke(queue, second)
    assert second.cancelled() and not first.cancelled()
    assert queue.claimed([1, 2]) == {1}


class Meanwhile(dict[int, bytes]):
    """Does something when it has been copied, as another thread may."""

    def __init__(self, content: dict[int, bytes], then: Any) -> None:
        super().__init__(content)
        self._then = then

    def copy(self) -> dict[int, bytes]:
        copied = dict(self)
        self._then()
        return copied


def test_what_is_posted_meanwhile_is_not_claimed(queue):
    """It was taken for claimed: a waiting call failed with a lost worker, and another one in its slot ran twice."""
    first, second, third = call(1), call(2), call(3)
    post(queue, first)
    queue.encode(second)
    queue._backlog.append(second)
    queue.encoded = Meanwhile(queue.encoded, queue.flush)
    assert queue.claimed([1, 2]) == set()
    queue.encode(third)  # in a slot, and not in the pool's table yet
    del queue.encoded[3]
    assert queue.claimed([1, 2]) == set()
    queue.flush()
    assert claim(queue)[0] == 1
    assert queue.claimed([1, 2]) == {1}


def test_revoking_keeps_the_order_of_the_others(queue):
    futures = [call(n) for n in range(1, 11)]
    post(queue, *futures)
    assert revoke(queue, futures[4])
    queue.send_control(STOP, 1)
    assert [claim(queue)[0] for _ in range(10)] == [1, 2, 3, 4, 6, 7, 8, 9, 10, STOP]


def test_a_cancelled_call_gets_no_task_and_keeps_no_cell(queue):
    futures = [call(n) for n in range(1, 4)]
    queue._full = True  # so that the result thread makes the task descriptors
    assert futures[1].cancel()
    post(queue, *futures)
    assert [claim(queue)[0] for _ in range(2)] == [1, 3]
    assert set(queue.arena.slots) == {1, 3}


def test_no_more_tasks_than_room_and_all_in_the_end(queue):
    """Far more calls than slots or than a pipe holds: what does not fit waits, and nothing is lost or doubled."""
    futures = [call(n, b"x" * (n % 700)) for n in range(1, 5001)]
    seen: list[int] = []
    post(queue, *futures)
    while len(seen) < 5000:
        send(queue)
        assert len(queue.arena.slots) <= 5000 - len(seen)
        number, body = claim(queue)
        assert len(body) == number % 700
        seen.append(number)
        queue.arena.free(number)
    assert seen == list(range(1, 5001))
    assert not queue.arena.slots


def test_large_cells_are_given_back(queue):
    for number in range(1, 200):
        backlog = post(queue, call(number, b"y" * 50_000))
        assert not backlog
        assert claim(queue)[0] == number
        queue.arena.free(number)


def test_the_pipe_is_never_full():
    """However many workers and calls there are: what has a slot goes into it, in writes of any size."""
    for workers in (1, 2, 61, 300):
        queue = TaskQueue(workers, deque())
        try:
            payload = Payload([Segment([b"large"], memfds=False)], [])
            for number in range(1, 10_000, 129):  # each write takes a page of the pipe, and a half
                post(queue, *[call(number + n, payload if n % 2 else b"") for n in range(129)])
            queue.ping(PING | 1, workers)
            assert len(queue.arena.slots) > workers
            written = array("i", [0])
            fcntl.ioctl(queue.reader, termios.FIONREAD, written)
            assert written[0] == (len(queue.arena.slots) + workers) * TASK.size
        finally:
            queue.close()


def test_one_ping_at_a_time(queue):
    word = PING | 1
    queue.ping(word, 2)
    queue.ping(word, 2)
    assert [claim(queue)[0] for _ in range(2)] == [word, word]
    queue.drain()
    assert not queue.read_back


def test_readers_takers_and_writers_race(queue):
    """Each task descriptor has one owner: a reader, or the one that took it back."""
    futures = [call(n) for n in range(1, 3001)]
    read: list[int] = []
    ends = threading.Event()

    def worker() -> None:
        while (number := claim(queue)[0]) != STOP:
            read.append(number)
            queue.arena.free(number)

    def taker() -> None:
        while not ends.is_set():
            for future in futures[::7]:
                if future._cf_dispatched and not future.done():
                    revoke(queue, future)

    workers = [threading.Thread(target=worker) for _ in range(2)]
    takers = [threading.Thread(target=taker) for _ in range(2)]
    for thread in workers + takers:
        thread.start()
    for future in futures:  # whoever has the seat then, nobody but him need look again
        post(queue, future)
    ends.set()
    for thread in takers:
        thread.join()
    while queue.has_work:  # beyond what there was room for
        send(queue)
    queue.send_control(STOP, 2)
    for thread in workers:
        thread.join()
    cancelled = {future._number for future in futures if future.cancelled()}
    assert len(read) == len(set(read))
    assert set(read) | cancelled == set(range(1, 3001))
    assert not set(read) & cancelled
    assert not queue.arena.slots


def check(queue: Any, futures: list[Any], where: str) -> None:
    """Each call that was not cancelled has one task descriptor, in order; each that was has none."""
    send(queue)
    assert not queue.has_work, where
    read = []
    while queue.sent:
        read.append(claim(queue)[0])
        queue.arena.free(read[-1])
    assert read == [future._number for future in futures if not future.cancelled()], where


def test_a_handler_that_raises_loses_and_doubles_no_task(queue):
    """At each point at which a signal handler could raise, in posting and in revoking: the next one goes on."""

    class Raised(BaseException):
        pass

    def handler() -> None:
        raise Raised

    slots = len(queue.arena._free_small)
    for step in range(10_000):
        futures = [call(3 * step + n) for n in (1, 2, 3)]
        happened = False
        try:
            with Interruption(step, handler, module) as interruption:
                post(queue, futures[0], futures[1])
                revoke(queue, futures[0])
                post(queue, futures[2])
        except Raised:
            happened = True
        assert happened == interruption.happened
        for number in list(queue.revoked):  # as the result thread does
            futures[(number - 1) % 3]._cf_try_cancel(notified=True, recalled=True)
            queue.arena.free(number)
            queue.revoked.pop(number)
        for future in futures:
            if not future._cf_dispatched:  # what `submit` does when it is interrupted
                queue.encoded.pop(future._number, None)
                queue.arena.free(future._number)
            elif future not in queue._backlog and future._number in queue.encoded:
                queue._backlog.append(future)  # the handler came before the test itself had added it
        check(queue, [future for future in futures if future._cf_dispatched], interruption.where)
        assert len(queue.arena._free_small) == slots, interruption.where
        if not happened:
            break
    assert step > 30


def test_what_waits_can_be_claimed_at_each_point_of_revoking(queue):
    """A handler may wait for a thread that waits for such a call; and who posts meanwhile takes nothing away."""
    unsent: list[str] = []

    def handler() -> None:
        written = array("i", [0])
        fcntl.ioctl(queue.reader, termios.FIONREAD, written)
        if written[0] < 2 * TASK.size:
            unsent.append("nothing")
        queue.flush()

    for step in range(10_000):
        futures = [call(4 * step + n) for n in (1, 2, 3, 4)]
        post(queue, *futures)
        with Interruption(step, handler, module) as interruption:
            taken = queue.revoke(futures[step % 4]._number, 2)
        assert not unsent, interruption.where
        assert taken, interruption.where
        assert futures[step % 4]._cf_try_cancel(notified=True, recalled=True)
        queue.arena.free(futures[step % 4]._number)
        queue.revoked.clear()
        check(queue, futures, interruption.where)
        if not interruption.happened:
            break
    assert step > 10


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_handler_finishes_what_it_interrupts(queue, elsewhere):
    """At each point: when the handler has posted, or another thread for which it waits, nothing is left unwritten."""
    numbers: list[int] = []
    left: list[str] = []

    def finish() -> None:
        post(queue, call(numbers[-1] + 2))
        if (
            any(future._cf_dispatched and future._number in queue.encoded for future in queue._backlog)
            or queue.read_back
        ):
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
            post(queue, futures[0], futures[1])
            revoke(queue, futures[0])
            post(queue, futures[2])
        assert not left, interruption.where
        send(queue)
        assert not queue.has_work, interruption.where
        read = []
        while queue.sent:
            read.append(claim(queue)[0])
            queue.arena.free(read[-1])
        wanted = [future._number for future in futures if not future.cancelled()]
        wanted += [numbers[-1] + 2] if interruption.happened else []
        assert sorted(read) == sorted(wanted), interruption.where
        if not interruption.happened:
            break
    assert step > 30


def test_a_call_behind_more_cancelled_ones_than_go_into_a_batch_is_sent(queue):
    futures = [call(number) for number in range(1, 1001)]
    queue._full = True  # so that the result thread makes the task descriptors
    for future in futures[:-1]:
        assert future.cancel()
    assert not post(queue, *futures)
    assert claim(queue)[0] == 1000


def test_words_for_the_workers_stay_whole_at_each_point(queue):
    """A handler that raises, or one that finishes what it interrupts, leaves as many as there are workers."""

    class Raised(BaseException):
        pass

    def finish() -> None:
        for number in list(queue.revoked):  # as the thread itself does, and the result thread
            queue.arena.free(number)
            queue.revoked.pop(number)

    def interrupt() -> None:
        finish()
        raise Raised

    for handler in (finish, interrupt):
        for step in range(10_000):
            post(queue, call(2 * step + 1), call(2 * step + 2))
            queue.send_control(STOP, 2)
            try:
                with Interruption(step, handler, module) as interruption:
                    queue.revoke(2 * step + 1)
                    queue.revoke_all()
            except Raised:
                pass
            finish()
            queue.flush()
            read = [claim(queue)[0] for _ in range(len(queue.arena.slots) + 2)]
            assert read.count(STOP) == 2, interruption.where
            for number in read:
                queue.arena.free(number)
            queue.drain()
            assert not queue.read_back and not queue.arena.slots, interruption.where
            if not interruption.happened:
                break
        assert step > 20
        assert read == [STOP, STOP]
