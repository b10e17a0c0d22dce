"""F8 for a thread that waits for the only call there is, and reads the wire itself: interrupted at every point."""

from __future__ import annotations

import os
import pickle
import sys
import threading
from concurrent.futures import BrokenExecutor
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the fast path needs Linux")

if sys.platform == "linux":
    from interrupting import everywhere

    from corefutures._isolated import chair, tickets
    from corefutures._isolated.courier import DescriptorRoute
    from corefutures._isolated.frames import FRAME, LEAVING, PLAIN, READY, STOP, TICKET
    from corefutures._isolated.payload import Encoder
    from corefutures._isolated.plain import plain_result


class Raised(BaseException):
    """What a handler raises."""


class NumberedWorker:
    """A worker in a thread: each call returns its own number, once it may."""

    def __init__(self, ends: Any, may_answer: threading.Event) -> None:
        self._may_answer = may_answer
        self.name, self.pid = "numbered", None
        self._frames, self._tickets = os.dup(ends.frames), os.dup(ends.tickets)
        self._sentinel, self._alive = os.pipe()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        try:
            self._say(READY, 0)
            while ticket := os.read(self._tickets, TICKET.size):
                number = TICKET.unpack(ticket)[0]
                if number == STOP:
                    self._say(LEAVING, 0)
                    return
                body = plain_result(number)
                assert body is not None
                assert self._may_answer.wait(30)
                self._say(PLAIN, number, body)
        finally:
            for end in (self._frames, self._tickets, self._alive):
                os.close(end)

    def _say(self, kind: int, number: int, body: bytes = b"") -> None:
        os.write(self._frames, FRAME.pack(len(body), kind, number) + body)

    def sentinels(self) -> list[int]:
        return [self._sentinel]

    def ended(self) -> bool:
        return True

    def terminate(self) -> None:
        """Ends when it is told to STOP."""

    kill = terminate

    def reap(self) -> int:
        self._thread.join()
        os.close(self._sentinel)
        return 0


class Recruiter:
    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.may_answer.set()

    def recruit(self, ends: Any) -> NumberedWorker:
        return NumberedWorker(ends, self.may_answer)


@pytest.fixture
def recruiter():
    return Recruiter()


@pytest.fixture
def pool(recruiter):
    pool = tickets.TicketPool(
        make_route=DescriptorRoute, size=1, recruiter=recruiter, encode=Encoder(), decode=pickle.loads,
        broken=BrokenExecutor, remote_traceback=Exception,
    )  # fmt: skip
    assert pool.submit(abs, (1,), {}).result(30) == 1
    yield pool
    recruiter.may_answer.set()
    pool.close(wait=True)


def check(pool: Any) -> None:
    """The collector hears again, whoever sat in the chair."""
    told = threading.Event()
    future = pool.submit(abs, (1,), {})
    future.add_done_callback(lambda _: told.set())
    assert told.wait(30)
    assert pool.submit(abs, (1,), {}).result(30) == future.result() + 1
    assert not pool.calls


def interruptions(pool: Any, may_answer: threading.Event, handler: Any) -> int:
    """Waits for calls, interrupted by `handler` at each point in turn; returns how many points there were."""

    def answer_who_sits(done: threading.Event) -> None:
        while not (pool._chair._queue or done.is_set()):
            pass
        may_answer.set()

    def handle() -> None:
        may_answer.set()
        handler()

    def scenario(interrupt: Any) -> None:
        may_answer.clear()
        done = threading.Event()
        future = pool.submit(abs, (1,), {})
        answering = threading.Thread(target=answer_who_sits, args=(done,))
        answering.start()
        try:
            with interrupt(handle):
                future.result(30)
        except Raised:
            pass
        finally:
            done.set()
            answering.join()
        assert future.result(30) == future._number
        check(pool)

    return everywhere(scenario, tickets, chair)


def test_a_handler_waits_for_a_call(pool, recruiter):
    def handler() -> None:
        future = pool.submit(abs, (1,), {})
        assert future.result(30) == future._number

    assert interruptions(pool, recruiter.may_answer, handler) > 30


def test_a_handler_cancels_and_subscribes(pool, recruiter):
    def handler() -> None:
        pool.submit(abs, (1,), {}).cancel()
        told = threading.Event()
        pool.submit(abs, (1,), {}).add_done_callback(lambda _: told.set())
        assert told.wait(30)

    assert interruptions(pool, recruiter.may_answer, handler) > 30


def test_a_handler_raises(pool, recruiter):
    def handler() -> None:
        raise Raised

    assert interruptions(pool, recruiter.may_answer, handler) > 30
