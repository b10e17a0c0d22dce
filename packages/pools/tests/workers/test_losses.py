"""`SharedQueuePool` beside workers that the test itself plays: losses between claim and entry (E5)."""

from __future__ import annotations

import os
import pickle
import select
import socket
import struct
import subprocess
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

    from corefutures_pools.workers.messages import (
        CALL_STARTED,
        ERROR,
        EXITING,
        FETCH_PAYLOAD,
        FRAME,
        INIT_FAILED,
        PING,
        PONG,
        READY,
        RESULT_MARSHAL,
        RESULT_PICKLE,
        STOP,
        TASK,
    )
    from corefutures_pools.workers.pool import PoolOptions
    from corefutures_pools.workers.result_decoding import ResultDecoder
    from corefutures_pools.workers.serialization import Encoder
    from corefutures_pools.workers.shared_queue import call_killer
    from corefutures_pools.workers.shared_queue.call_killer import CallKiller
    from corefutures_pools.workers.shared_queue.descriptor_channel import PoolDescriptorChannel
    from corefutures_pools.workers.shared_queue.frame_reader import FrameReader
    from corefutures_pools.workers.shared_queue.pool import SharedQueuePool
    from corefutures_pools.workers.supervisor import REPLACE
    from corefutures_pools.workers.worker_loop import Reporter


class PlayedWorker:
    """A worker whose steps the test takes one by one."""

    def __init__(self, ends: Any, number: int) -> None:
        self.name = f"played-{number}"
        self.process = subprocess.Popen(["sleep", "600"])  # the pool may want to stop it
        self.pid = self.process.pid
        self._frames = os.dup(ends.frames)
        self._tasks = os.dup(ends.tasks)
        self._status_table = mmap.mmap(ends.memory, ends.status_size)
        self._index = ends.worker_index
        self._sentinel, alive = os.pipe()
        self._ends: tuple[int, ...] = (self._frames, self._tasks, alive)
        self._dying = threading.Lock()
        self.say(READY)

    def say(self, kind: int, number: int = 0, body: bytes = b"") -> None:
        os.write(self._frames, FRAME.pack(len(body), kind, number) + body)

    def claim(self) -> int:
        return int(TASK.unpack(os.read(self._tasks, TASK.size))[0])

    def show(self, number: int) -> None:
        struct.pack_into("@Q", self._status_table, 8 * self._index, number)

    def answer(self, number: int, value: object) -> None:
        self.say(RESULT_PICKLE, number, pickle.dumps(value))

    def die(self) -> None:
        with self._dying:  # the pool kills what it can't reach any more
            ends, self._ends = self._ends, ()
        for end in ends:
            os.close(end)

    def close(self, end: int) -> None:
        with self._dying:
            self._ends = tuple(other for other in self._ends if other != end)
        os.close(end)

    def leave(self) -> None:
        self.say(EXITING)
        self.die()

    def sentinels(self) -> list[int]:
        return [self._sentinel]

    def ended(self) -> bool:
        return True

    def mark_exiting(self) -> None:
        """Ends by itself."""

    def terminate(self) -> None:
        self.die()

    kill = terminate

    def reap(self) -> int:
        self.process.kill()
        self.process.wait()
        os.close(self._sentinel)
        self._status_table.close()
        return -9


class Stage:
    """Recruits played workers."""

    def __init__(self) -> None:
        self.workers: list[PlayedWorker] = []

    def launch(self, ends: Any) -> PlayedWorker:
        self.workers.append(PlayedWorker(ends, len(self.workers)))
        return self.workers[-1]


@pytest.fixture
def stage():
    return Stage()


@pytest.fixture
def pool(stage):
    pool = SharedQueuePool(
        PoolOptions(2, BrokenExecutor, on_loss=REPLACE), make_channel=PoolDescriptorChannel, launcher=stage,
        encode=Encoder(), decoder=ResultDecoder(pickle.loads, Encoder(), Exception),
    )  # fmt: skip
    yield pool
    for worker in stage.workers:
        worker.die()
    pool.stop_workers("kill")
    pool.join()


def until(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)


def test_lost_after_the_entry(pool, stage):
    first, second = pool.submit(abs, (1,), {}), pool.submit(abs, (2,), {})
    one, two = stage.workers
    number = one.claim()
    one.show(number)
    assert number == 1 and first.running() and not second.running()
    one.die()
    error = first.exception(30)
    assert isinstance(error, WorkerLostError) and error.pid == one.pid
    assert two.claim() == 2
    two.show(2)
    two.answer(2, 2)
    assert second.result(30) == 2


def test_lost_between_claim_and_entry_beside_one_that_is_busy(pool, stage):
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


def test_lost_between_claim_and_entry_beside_one_that_may_have_it(pool, stage):
    """Nobody shows the call: every other worker is asked, and only then it is lost."""
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
    assert word & PING
    assert not future.done()
    two.say(PONG, word)
    assert isinstance(future.exception(30), WorkerLostError)


def test_the_other_one_had_it(pool, stage):
    """The candidate was slow to enter what it had claimed: nothing is lost."""
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
    until(lambda: pool.claims.unresolved)
    two.show(3)
    two.answer(3, "mine")
    assert future.result(30) == "mine"
    word = two.claim()
    assert word & PING
    two.say(PONG, word)
    until(lambda: not pool.claims.unresolved)


def test_idle_worker_lost_with_nothing_missing(pool, stage):
    future = pool.submit(abs, (1,), {})
    one = stage.workers[0]
    one.show(one.claim())
    one.answer(1, "done")
    assert future.result(30) == "done"
    one.die()
    until(lambda: not pool._workers)
    assert not pool.claims.unresolved
    again = pool.submit(abs, (2,), {})
    until(lambda: len(stage.workers) == 2)  # our thread may be the one that starts it
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
    os.write(one._frames, (FRAME.pack(len(body), RESULT_PICKLE, 1) + body)[:-10])
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


#: What libraries write to descriptors that are not theirs, or what a torn frame looks like to who reads on.
MALFORMED = {
    "text": b"a library's word\n" * 20,
    "exactly one header of text": b"0123456789abcdef\n",
    "an unknown kind": FRAME.pack(0, 99, 0),
    "ready once more": FRAME.pack(0, READY, 0),
    "leaves in a call": FRAME.pack(0, EXITING, 0),
    "an initializer that failed": FRAME.pack(0, INIT_FAILED, 0),
    "a PING that there was not": FRAME.pack(0, PONG, PING | 77),
    "a call that there was not": FRAME.pack(3, RESULT_PICKLE, 1 << 20) + b"abc",
    "no call": FRAME.pack(0, RESULT_MARSHAL, 0),
    "huge": FRAME.pack(1 << 60, RESULT_PICKLE, 1) + b"abc",
    "a huge error": FRAME.pack(1 << 31, ERROR, 1) + b"abc",
    "a moment without a time": FRAME.pack(0, CALL_STARTED, 1),
    "wanted with a body": FRAME.pack(3, FETCH_PAYLOAD, 1) + b"abc",
    "a result in two parts that don't fit": FRAME.pack(40, RESULT_PICKLE, 1)
    + b"x" * 20
    + FRAME.pack(0, CALL_STARTED, 7) * 3,
}


@pytest.mark.parametrize("malformed", MALFORMED.values(), ids=MALFORMED)
def test_a_worker_that_sends_malformed_frames_is_killed_alone(pool, stage, malformed):
    first, second = pool.submit(abs, (1,), {}), pool.submit(abs, (2,), {})
    one, two = stage.workers
    assert (one.claim(), two.claim()) == (1, 2)
    one.show(1)
    two.show(2)
    os.write(one._frames, malformed)
    error = first.exception(30)
    if malformed is not MALFORMED["a result in two parts that don't fit"]:  # its call has ended: by what came
        assert isinstance(error, WorkerLostError)
        assert "what no worker writes" in error.__notes__[0]
    two.answer(2, "fine")
    assert second.result(30) == "fine"
    until(lambda: one._ends == ())
    third = pool.submit(abs, (3,), {})
    assert two.claim() == 3
    two.show(3)
    two.answer(3, "as well")
    assert third.result(30) == "as well"


def test_a_call_is_killed_only_on_complete_evidence(pool, stage, monkeypatch):
    """Its result has been read and not taken in, and its worker has claimed another call that it does not show yet."""
    first, second = pool.submit(abs, (1,), {}), pool.submit(abs, (2,), {})
    one, two = stage.workers
    busy = pool.submit(abs, (3,), {})
    assert two.claim() == 1
    two.show(1)
    assert one.claim() == 2
    one.show(2)
    read, go_on, parse = threading.Event(), threading.Event(), FrameReader._parse_buffer

    def slow(self, connection):
        read.set()
        assert go_on.wait(30)
        return parse(self, connection)

    monkeypatch.setattr(FrameReader, "_parse_buffer", slow)
    one.answer(2, "in time")
    assert read.wait(30)
    assert one.claim() == 3
    killed = []
    killing = threading.Thread(target=lambda: killed.append(pool.kill(second)))
    killing.start()
    until(lambda: pool.killer.questions)
    go_on.set()
    killing.join(30)
    assert killed == [False]
    assert second.result(30) == "in time"
    one.show(3)
    one.answer(3, "not harmed")
    assert busy.result(30) == "not harmed"
    two.answer(1, "nor this")
    assert first.result(30) == "nor this"


@pytest.mark.parametrize("point", ["stop", "evidence"])
def test_an_interrupted_kill_leaves_no_worker_stopped(pool, stage, monkeypatch, point):
    future = pool.submit(abs, (1,), {})
    (one,) = stage.workers
    one.show(one.claim())

    class Interrupt(BaseException):
        pass

    def interrupt(*args):
        raise Interrupt

    if point == "stop":
        monkeypatch.setattr(call_killer.system, "open", interrupt)
    else:
        monkeypatch.setattr(CallKiller, "_runs", interrupt)
    with pytest.raises(Interrupt):
        pool.kill(future)
    monkeypatch.undo()
    until(lambda: state(one.pid) != "T")
    one.answer(1, "went on")
    assert future.result(30) == "went on"


def state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0]


def test_a_worker_whose_result_pipe_has_ended_is_not_believed_dead(pool, stage):
    """It closed its pipe, and lives: it is killed, and only once it has ended, what it held is given up."""
    future = pool.submit(abs, (1,), {})
    (one,) = stage.workers
    killed = threading.Event()
    one.ended, one.kill = killed.is_set, killed.set
    one.show(one.claim())
    one.close(one._frames)
    assert killed.wait(30)
    assert isinstance(future.exception(30), WorkerLostError)


def test_arguments_that_can_not_be_sent_are_a_loss(pool, stage):
    """The worker finds its channel closed before the pool does: the error that it reports is not the call's."""
    future = pool.submit(len, (bytes(1_000_000),), {})
    (one,) = stage.workers
    one.show(one.claim())
    (connection,) = pool.connections
    connection.channel._socket.shutdown(socket.SHUT_RDWR)
    error = Reporter(Encoder()).error(EOFError("the pool is gone"))[1]
    os.write(one._frames, FRAME.pack(0, FETCH_PAYLOAD, 1) + FRAME.pack(len(error), ERROR, 1) + error)
    assert isinstance(future.exception(30), WorkerLostError)
    until(lambda: one._ends == ())


@pytest.mark.parametrize("moment", ["unread", "claimed", "shown"])
def test_a_status_table_that_was_overwritten(pool, stage, moment):
    """A lost worker shows what it never claimed: the missing call is found by PING, and the other goes on."""
    first, second = pool.submit(abs, (1,), {}), pool.submit(abs, (2,), {})
    one, two = stage.workers
    assert one.claim() == 1
    if moment != "unread":
        assert two.claim() == 2
    if moment == "shown":
        two.show(2)
    one.show(2)
    one.die()
    until(lambda: one.process.returncode is not None)  # the pool has looked at what it showed
    if moment == "claimed":  # nothing speaks against what was shown
        assert isinstance(second.exception(30), WorkerLostError)
    while not first.done() or (moment == "unread" and not second.done()):
        word = two.claim() if select.select([two._tasks], [], [], 0.01)[0] else 0
        if word & PING:
            two.say(PONG, word)
        elif word:
            two.show(word)
            two.answer(word, "fine")
    assert isinstance(first.exception(30), WorkerLostError)
    if moment == "shown":
        two.answer(2, "fine")
    if moment != "claimed":
        assert second.result(30) == "fine"
