"""`TicketPool` beside workers that the test itself plays: losses between a claim and the board (E5)."""

from __future__ import annotations

import os
import pickle
import struct
import sys
import threading
import time
from concurrent.futures import BrokenExecutor
from typing import Any

import pytest

from corefutures import WorkerLostError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the fast path needs Linux")

if sys.platform == "linux":
    import mmap

    from corefutures._isolated.courier import DescriptorRoute
    from corefutures._isolated.frames import FRAME, LEAVING, PRESENT, READY, ROLL_CALL, STOP, TICKET, VALUE
    from corefutures._isolated.payload import Encoder
    from corefutures._isolated.pool import REPLACE
    from corefutures._isolated.tickets import TicketPool


class PlayedWorker:
    """A worker whose steps the test takes one by one."""

    def __init__(self, ends: Any, number: int) -> None:
        self.name = f"played-{number}"
        self.pid = 1000 + number
        self._frames = os.dup(ends.frames)
        self._tickets = os.dup(ends.tickets)
        self._board = mmap.mmap(ends.memory, ends.board_size)
        self._berth = ends.berth
        self._sentinel, alive = os.pipe()
        self._ends: tuple[int, ...] = (self._frames, self._tickets, alive)
        self._dying = threading.Lock()
        self.say(READY)

    def say(self, kind: int, number: int = 0, body: bytes = b"") -> None:
        os.write(self._frames, FRAME.pack(len(body), kind, number) + body)

    def claim(self) -> int:
        return int(TICKET.unpack(os.read(self._tickets, TICKET.size))[0])

    def show(self, number: int) -> None:
        struct.pack_into("@Q", self._board, 8 * self._berth, number)

    def answer(self, number: int, value: object) -> None:
        self.say(VALUE, number, pickle.dumps(value))

    def die(self) -> None:
        with self._dying:  # the pool kills what it can't hear any more
            ends, self._ends = self._ends, ()
        for end in ends:
            os.close(end)

    def leave(self) -> None:
        self.say(LEAVING)
        self.die()

    def sentinels(self) -> list[int]:
        return [self._sentinel]

    def ended(self) -> bool:
        return True

    def retire(self) -> None:
        """Ends by itself."""

    def terminate(self) -> None:
        self.die()

    kill = terminate

    def reap(self) -> int:
        os.close(self._sentinel)
        self._board.close()
        return -9


class Stage:
    """Recruits played workers."""

    def __init__(self) -> None:
        self.workers: list[PlayedWorker] = []

    def recruit(self, ends: Any) -> PlayedWorker:
        self.workers.append(PlayedWorker(ends, len(self.workers)))
        return self.workers[-1]


@pytest.fixture
def stage():
    return Stage()


@pytest.fixture
def pool(stage):
    pool = TicketPool(
        make_route=DescriptorRoute, size=2, recruiter=stage, encode=Encoder(), decode=pickle.loads,
        broken=BrokenExecutor, remote_traceback=Exception, on_loss=REPLACE,
    )  # fmt: skip
    yield pool
    for worker in stage.workers:
        worker.die()
    pool.force("kill")
    pool.join()


def until(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)


def test_lost_after_the_board(pool, stage):
    first, second = pool.submit(abs, (1,), {}), pool.submit(abs, (2,), {})
    one, two = stage.workers
    number = one.claim()
    one.show(number)
    assert number == 1 and first.running() and not second.running()
    one.die()
    error = first.exception(30)
    assert isinstance(error, WorkerLostError) and error.pid == 1000
    assert two.claim() == 2
    two.show(2)
    two.answer(2, 2)
    assert second.result(30) == 2


def test_lost_between_claim_and_board_beside_one_that_is_busy(pool, stage):
    """The other one shows what it runs: so the missing call is the lost one's."""
    first, second = pool.submit(abs, (1,), {}), pool.submit(abs, (2,), {})
    one, two = stage.workers
    assert one.claim() == 1
    assert two.claim() == 2
    two.show(2)
    one.die()
    assert isinstance(first.exception(30), WorkerLostError)
    assert not second.done()
    two.answer(2, "fine")
    assert second.result(30) == "fine"


def test_lost_between_claim_and_board_beside_one_that_may_have_it(pool, stage):
    """Nobody shows the call: the roll is called, and only then it is lost."""
    warm = [pool.submit(abs, (n,), {}) for n in (1, 2)]
    one, two = stage.workers
    for worker in (one, two):
        number = worker.claim()
        worker.show(number)
        worker.answer(number, number)
    assert [future.result(30) for future in warm] == [1, 2]
    future = pool.submit(abs, (3,), {})
    assert one.claim() == 3
    one.die()
    word = two.claim()  # instead of a call
    assert word & ROLL_CALL
    assert not future.done()
    two.say(PRESENT, word)
    assert isinstance(future.exception(30), WorkerLostError)


def test_the_other_one_had_it(pool, stage):
    """The suspect was slow to show what it had claimed: nothing is lost."""
    warm = [pool.submit(abs, (n,), {}) for n in (1, 2)]
    one, two = stage.workers
    for worker in (one, two):
        number = worker.claim()
        worker.show(number)
        worker.answer(number, number)
    assert [future.result(30) for future in warm] == [1, 2]
    future = pool.submit(abs, (3,), {})
    assert two.claim() == 3
    one.die()
    until(lambda: pool._doubts)
    two.show(3)
    two.answer(3, "mine")
    assert future.result(30) == "mine"
    word = two.claim()
    assert word & ROLL_CALL
    two.say(PRESENT, word)
    until(lambda: not pool._doubts)


def test_idle_worker_lost_with_nothing_missing(pool, stage):
    future = pool.submit(abs, (1,), {})
    one = stage.workers[0]
    one.show(one.claim())
    one.answer(1, "done")
    assert future.result(30) == "done"
    one.die()
    until(lambda: not pool._crew)
    assert not pool._doubts
    again = pool.submit(abs, (2,), {})
    two = stage.workers[1]
    two.show(two.claim())
    two.answer(2, "again")
    assert again.result(30) == "again"


def test_result_written_before_the_death_counts(pool, stage):
    future = pool.submit(abs, (1,), {})
    one = stage.workers[0]
    one.show(one.claim())
    one.answer(1, "in time")
    one.die()
    assert future.result(30) == "in time"


def test_half_a_frame_is_no_result(pool, stage):
    future = pool.submit(abs, (1,), {})
    one = stage.workers[0]
    one.show(one.claim())
    body = pickle.dumps("x" * 100)
    os.write(one._frames, (FRAME.pack(len(body), VALUE, 1) + body)[:-10])
    one.die()
    assert isinstance(future.exception(30), WorkerLostError)


def test_stop(pool, stage):
    future = pool.submit(abs, (1,), {})
    one = stage.workers[0]
    one.show(one.claim())
    pool.close(wait=False)
    one.answer(1, "last")
    assert future.result(30) == "last"
    assert one.claim() == STOP
    one.leave()
    pool.join()


def test_a_frame_of_an_unknown_kind_breaks_the_pool(pool, stage):
    future = pool.submit(abs, (1,), {})
    stage.workers[0].say(99)
    error = future.exception(30)
    assert isinstance(error, BrokenExecutor) and "unknown kind 99" in str(error.__cause__)
