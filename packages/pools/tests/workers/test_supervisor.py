"""The end of a worker is decided in one table, whatever the transport (E5): see `WorkerSupervisor.on_worker_end`."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from corefutures import WorkerLostError
from corefutures_pools.workers.supervisor import BREAK, REPLACE, WorkerRecord, WorkerSupervisor


class Launcher:
    """Starts nothing: the pool of this file does."""


class Pool:
    """Keeps what its supervisor has it do."""

    def __init__(self, on_loss: str) -> None:
        self.size, self.name = 2, "test pool"
        self.calls = {1: object(), 2: object()}
        self.closing = False
        self.broken_reason: str | None = None
        self.thread = None
        self.done: list[Any] = []
        self._launcher: Any = Launcher()
        self.supervisor = WorkerSupervisor(
            self, self._launcher, on_launcher_collected=lambda _: None,
            on_loss=on_loss, prestart=False, not_ready_hint="Not ready.", logs=None,
        )  # fmt: skip
        self.supervisor.workers.add("another one")

    def owner(self) -> None:
        return None

    def count(self, *whats: str) -> None:
        self.done += whats

    def mark_broken(self, message: str, cause: BaseException | None) -> None:
        self.broken_reason = self.broken_reason or message

    def owns_thread(self, thread: object) -> bool:
        return True

    def is_unserved(self) -> bool:
        return False

    def start_worker(self, launcher: object) -> None:
        self.done.append("started")
        self.supervisor.workers.add("a new one")

    def start_threads(self) -> None:
        """Start none."""

    def wake(self) -> None:
        """Wake none."""

    open_transport = start_threads

    def end(self, record: WorkerRecord, **facts: Any) -> None:
        options = {"expected": False, "killed": False, **facts}
        self.supervisor.on_worker_end(record, -9, fail_calls=lambda loss: self.done.append(type(loss)), **options)


@pytest.fixture
def record():
    record = WorkerRecord()
    record.worker = SimpleNamespace(pid=1, name="w")
    record.ready = True
    return record


def test_one_that_was_to_end_is_replaced(record):
    pool = Pool(BREAK)
    pool.end(record, expected=True)
    assert pool.done == ["started"]
    assert pool.broken_reason is None


def test_one_that_was_killed_for_its_call_is_replaced_and_is_no_loss(record):
    pool = Pool(BREAK)
    pool.end(record, killed=True)
    assert pool.done == [WorkerLostError, "started"]
    assert pool.broken_reason is None


def test_one_that_could_not_be_initialised_has_broken_the_pool_already(record):
    pool = Pool(REPLACE)
    record.init_error = ValueError()
    pool.end(record)
    assert pool.done == []


def test_one_that_could_not_start_is_done_without_while_there_are_others(record):
    pool = Pool(BREAK)
    record.ready, record.failure = False, ValueError()
    pool.end(record)
    assert pool.done == []
    assert pool.broken_reason is None
    pool.supervisor.workers.clear()
    pool.end(record)
    assert pool.done == []
    assert pool.broken_reason == "a worker of the test pool could not be started"


def test_a_loss_breaks_the_pool_or_is_replaced(record):
    pool = Pool(BREAK)
    pool.end(record)
    assert pool.done == ["lost"]
    assert "was lost" in str(pool.broken_reason)
    pool = Pool(REPLACE)
    pool.end(record)
    assert pool.done == ["lost", WorkerLostError, "started"]
    assert pool.broken_reason is None


def test_a_crash_loop_breaks_the_pool(record):
    pool = Pool(REPLACE)
    for _ in range(4):
        pool.end(record)
    assert pool.broken_reason is None
    pool.end(record)
    assert "5 workers of the test pool in a row were lost" in str(pool.broken_reason)


@pytest.mark.parametrize("killed", [False, True])
def test_the_loss_of_one_that_was_ended_by_hand_breaks_the_pool(record, killed):
    pool = Pool(REPLACE)
    pool.supervisor.forced = True
    pool.end(record, killed=killed)
    assert pool.done == ["lost"]
    assert pool.broken_reason == "the test pool was forcefully shut down"


def test_the_end_of_a_pool_is_awaited_while_calls_fail_for_want_of_a_worker(monkeypatch):
    """A shutdown that waited came back while the thread that could start no worker still failed the calls."""
    pool, done = Pool(REPLACE), threading.Event()

    def refuse(launcher):
        raise OSError("no process")

    def fail_calls(message, cause):
        waiter.start()
        pool.broken_reason = message
        pool.done.append("ended too early" if done.wait(0.3) else "awaited")
        pool.supervisor.await_requests()  # of a callback: it does not wait for its own thread

    def wait():
        pool.supervisor.await_requests()
        done.set()

    waiter = threading.Thread(target=wait)
    monkeypatch.setattr(pool, "start_worker", refuse)
    monkeypatch.setattr(pool, "mark_broken", fail_calls)
    pool.supervisor.workers.clear()
    pool.supervisor.opened = False
    with pytest.raises(OSError, match="no process"):
        pool.supervisor.start_workers(ours=True)
    waiter.join()
    assert pool.done == ["awaited"]
