"""Workers are killed, stopped and starved at random while submitters cancel and shut down: every future ends (E1)."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool

import process_calls
import pytest

from corefutures import WorkerLostError

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the journal and /proc are as on Linux")


def work(journal: str, number: int, kind: str) -> int:
    process_calls.mark(journal, str(number))
    if kind == "slow":
        time.sleep(0.002)
    elif kind == "large":
        return len(bytearray(100_000))
    elif kind == "hungry":
        return len(bytearray(4 << 30))
    elif kind == "crash":
        process_calls.crash()
    return number


class Tormentor(threading.Thread):
    """Does something bad to a worker every so often, but only after some call has started since: else nothing would."""

    def __init__(self, pool, journal: str, seed: int, pause: float) -> None:
        super().__init__(daemon=True)
        self._journal = journal
        self._seen = -1
        self._pool = pool
        self._random = random.Random(seed)
        self._pause = pause
        self._done = threading.Event()
        self.killed = 0

    def run(self) -> None:
        while not self._done.wait(self._pause * self._random.random()):
            pids = list(self._pool._processes)
            size = os.path.getsize(self._journal) if os.path.exists(self._journal) else -1
            if not pids or size == self._seen:
                continue
            self._seen = size
            pid = self._random.choice(pids)
            deed = self._random.choice(["kill", "crash", "stop"])
            try:
                if deed == "stop":
                    os.kill(pid, signal.SIGSTOP)
                    self._done.wait(0.02)
                    os.kill(pid, signal.SIGCONT)
                else:
                    os.kill(pid, signal.SIGKILL if deed == "kill" else signal.SIGSEGV)
                    self.killed += 1
            except ProcessLookupError:
                pass

    def stop(self) -> None:
        self._done.set()
        self.join()


def torment(make_pool, journal: str, calls: int, seed: int, pause: float = 0.05, **options) -> None:
    """Runs so many calls under torment, and checks what became of each."""
    pool = make_pool(
        3, on_worker_loss="replace", initializer=process_calls.limited_memory, initargs=(2 << 30,), **options
    )
    chance = random.Random(seed)
    tormentor = Tormentor(pool, journal, seed, pause)
    tormentor.start()
    futures = []
    crashes = 0
    try:
        for number in range(calls):
            kind = chance.choices(["tiny", "slow", "large", "hungry", "crash"], [900, 60, 30, 8, 2])[0]
            crashes += kind == "crash"
            try:
                futures.append(pool.submit(work, journal, number, kind))
            except BrokenProcessPool as exc:  # a crash loop, by chance
                pytest.fail(f"the pool broke: {exc}")
            if chance.random() < 0.1:
                futures[-chance.randint(1, min(50, len(futures)))].cancel()
            if len(futures) % 2000 == 0:
                futures[-1000].exception(60) if not futures[-1000].cancelled() else None
        cancel = chance.random() < 0.5
        pool.shutdown(wait=False, cancel_futures=cancel)
        outcomes = {"value": 0, "lost": 0, "cancelled": 0, "memory": 0}
        finished = set()
        for number, future in enumerate(futures):
            try:
                value = future.result(60)
                assert value in (number, 100_000)
                finished.add(number)
                outcomes["value"] += 1
            except WorkerLostError:
                outcomes["lost"] += 1
            except CancelledError:
                outcomes["cancelled"] += 1
            except MemoryError:
                outcomes["memory"] += 1
    finally:
        tormentor.stop()
    pool.shutdown()
    ran = list(map(int, process_calls.lines(journal)))
    assert len(ran) == len(set(ran)), "a call ran twice"
    assert finished <= set(ran)
    assert not [n for n in ran if futures[n].cancelled()], "a cancelled call ran"
    assert outcomes["lost"] <= tormentor.killed + crashes
    assert not pool._processes


@pytest.mark.parametrize("seed", [1, 2])
def test_chaos(make_pool, one_method, tmp_path, seed):
    torment(make_pool, str(tmp_path / "journal"), 2500, seed)


@pytest.mark.chaos_long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [3])
def test_long_chaos(make_pool, any_method, tmp_path, seed):
    torment(make_pool, str(tmp_path / "journal"), 100_000, seed)


@pytest.mark.chaos_long
@pytest.mark.timeout(900)
def test_long_chaos_with_limited_workers(make_pool, one_method, tmp_path):
    torment(make_pool, str(tmp_path / "journal"), 5_000, 9, max_tasks_per_child=50)


@pytest.mark.chaos_long
@pytest.mark.timeout(900)
def test_pools_that_break_in_every_state(make_pool, method, transport, tmp_path):
    """Without replacement: wherever it breaks, every future ends, and nothing is left."""
    for seed in range(60):
        journal = str(tmp_path / f"journal {seed}")
        pool = make_pool(2)
        tormentor = Tormentor(pool, journal, seed, 0.2)
        tormentor.start()
        futures = []
        try:
            for number in range(1500):
                futures.append(pool.submit(work, journal, number, "tiny"))  # noqa: PERF401 - kept when it raises
        except BrokenProcessPool:
            pass
        for future in futures:
            error = future.exception(60)
            assert error is None or isinstance(error, BrokenProcessPool)
        tormentor.stop()
        pool.shutdown()
        ran = process_calls.lines(journal)
        assert len(ran) == len(set(ran))


@pytest.mark.chaos_long
@pytest.mark.timeout(900)
def test_a_million_calls_in_bounded_memory(make_pool, one_method):
    pool = make_pool(2)
    count = 0
    for result in pool.map(process_calls.echo, range(1_000_000), buffersize=1000):
        assert result == count
        count += 1
    assert count == 1_000_000
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    assert peak < 300_000  # KiB
