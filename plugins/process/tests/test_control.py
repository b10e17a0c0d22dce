"""Stopping calls that run, statistics, room for waiting calls, limited shutdowns, the end of the program."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from races import LIMIT, Parking, together

import corefutures
from corefutures import PoolFullError, ProcessPoolExecutor, UnsupportedError, WorkerLostError

METHOD = os.environ.get("COREFUTURES_TEST_START_METHOD", "spawn")
if METHOD == "fork":
    METHOD = "spawn"  # a forked pool can't replace a worker that it kills; that it says so is tested below


def make_pool(max_workers: int = 2, **options: Any) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(max_workers, multiprocessing.get_context(METHOD), **options)


@pytest.fixture(params=["fast", "portable"])
def pool(request: pytest.FixtureRequest) -> Iterator[ProcessPoolExecutor]:
    if request.param == "portable":
        os.environ["COREFUTURES_PORTABLE"] = "1"
    try:
        made = make_pool()
    finally:
        os.environ.pop("COREFUTURES_PORTABLE", None)
    with made:
        yield made


def running(future: corefutures.Future[Any]) -> corefutures.Future[Any]:
    Parking.until(future.running)
    return future


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """More open descriptors than select() can take."""
    resource = pytest.importorskip("resource", reason="needs limits on descriptors (Unix)")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < 2000:
        if hard != resource.RLIM_INFINITY and hard < 2000:
            pytest.skip("needs the capability to have 2,000 descriptors open")
        resource.setrlimit(resource.RLIMIT_NOFILE, (2000, hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    yield
    for descriptor in opened:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
@pytest.mark.parametrize("transport", ["fast", "portable"])
def test_control_with_more_descriptors_than_select_takes(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if transport == "portable":
        monkeypatch.setenv("COREFUTURES_PORTABLE", "1")
    with make_pool(1, forward_logs=True) as pool:
        assert pool.submit(len, bytearray(1_000_000)).result(LIMIT) == 1_000_000
        victim = running(pool.submit(time.sleep, 100))
        assert "sleep" in str(pool.snapshot())
        assert pool.kill(victim)
        with pytest.raises(WorkerLostError, match="killed on request"):
            victim.result(LIMIT)
        limited = pool.options(timeout=0.1).submit(time.sleep, 100)
        assert isinstance(limited.exception(LIMIT), TimeoutError)
        assert pool.submit(abs, -1).result(LIMIT) == 1


def test_a_running_call_is_killed_and_no_other(pool: ProcessPoolExecutor) -> None:
    before = pool.stats()
    stays = pool.submit(time.sleep, 0.3)
    victim = running(pool.submit(time.sleep, 100))
    others = [pool.submit(abs, -number) for number in range(20)]
    assert pool.kill(victim)
    with pytest.raises(WorkerLostError, match="killed on request"):
        victim.result(LIMIT)
    assert not pool.kill(victim)
    assert stays.result(LIMIT) is None
    assert [future.result(LIMIT) for future in others] == list(range(20))
    stats = pool.stats()
    assert (stats.failed - before.failed, stats.lost_workers) == (1, before.lost_workers)


def test_a_waiting_call_is_cancelled_a_finished_one_is_left(pool: ProcessPoolExecutor) -> None:
    victims = [running(pool.submit(time.sleep, 100)) for _ in range(2)]
    waiting = pool.submit(abs, -1)
    assert pool.kill(waiting)
    assert waiting.cancelled()
    assert not pool.kill(waiting)
    assert [pool.kill(victim) for victim in victims] == [True, True]
    finished = pool.submit(abs, -2)
    assert finished.result(LIMIT) == 2
    assert not pool.kill(finished)
    with pytest.raises(TypeError):
        pool.kill(corefutures.Future())


def test_kill_races_with_the_end_of_the_call(pool: ProcessPoolExecutor) -> None:
    for number in range(40):
        victim, neighbours = pool.submit(abs, -1), [pool.submit(abs, -number) for number in range(5)]
        if number % 2:
            Parking.until(lambda victim=victim: victim.running() or victim.done())  # type: ignore[misc]
        killed = pool.kill(victim)
        if not killed:
            assert victim.result(LIMIT) == 1
        elif not victim.cancelled():
            error = victim.exception(LIMIT)
            assert isinstance(error, WorkerLostError) or victim.result() == 1
        assert [future.result(LIMIT) for future in neighbours] == list(range(5))


def test_a_call_is_killed_from_a_callback(pool: ProcessPoolExecutor) -> None:
    victim = running(pool.submit(time.sleep, 100))
    pool.submit(abs, -1).add_done_callback(lambda _: pool.kill(victim))
    with pytest.raises(WorkerLostError):
        victim.result(LIMIT)


def test_a_limited_call_is_stopped(pool: ProcessPoolExecutor) -> None:
    view = pool.options(timeout=0.05, name="napping")
    limited = [view.submit(time.sleep, 100) for _ in range(3)]  # the limit counts from the start of each
    quick = [view.submit(abs, -number) for number in range(50)]
    for future in limited:
        with pytest.raises(TimeoutError, match=r"'napping' ran longer than 0\.05 s"):
            future.result(LIMIT)
    assert [future.result(LIMIT) for future in quick] == list(range(50))
    assert list(pool.map(abs, range(5))) == list(range(5))


def test_forked_workers_are_not_killed() -> None:
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("this platform has no fork")
    context = multiprocessing.get_context("fork")
    with pytest.raises(ValueError, match="fork"):
        ProcessPoolExecutor(1, context, kill_on_cancel=True)
    pool = ProcessPoolExecutor(1, context)
    with pytest.raises(UnsupportedError):
        pool.options(timeout=1)
    pool.shutdown()


def test_cancelling_a_task_frees_the_worker() -> None:
    async def main(pool: ProcessPoolExecutor) -> int:
        loop = asyncio.get_running_loop()
        call = pool.submit(time.sleep, 100)
        while not call.running():
            await asyncio.sleep(0.001)
        waiting = asyncio.wrap_future(call)
        waiting.cancel()
        return await loop.run_in_executor(pool, abs, -7)

    with make_pool(1, kill_on_cancel=True) as pool:
        assert asyncio.run(main(pool)) == 7


def test_stats_add_up() -> None:
    with make_pool(1) as pool:
        assert pool.stats()[:8] == (0,) * 8
        for text in ("1", "x", "2"):
            pool.submit(int, text).exception(LIMIT)
        assert isinstance(pool.submit(threading.Lock().acquire).exception(LIMIT), Exception)  # can't be sent
        busy = running(pool.submit(time.sleep, 100))
        waiting = [pool.submit(int) for _ in range(3)]
        waiting[1].cancel()
        assert pool.stats()._asdict() | {"uptime": 0, "cpu_time": 0} == {
            "submitted": 8, "waiting": 2, "running": 1, "finished": 2, "failed": 2, "cancelled": 1,
            "workers": 1, "lost_workers": 0, "uptime": 0, "cpu_time": 0, "spares": 0, "refused": 0,
        }  # fmt: skip
        pool.kill(busy)
    assert pool.stats().finished == 4
    assert pool.stats().failed == 3


@pytest.mark.parametrize("when_full", ["block", "raise", "caller_runs"])
def test_room_for_waiting_calls(when_full: Any) -> None:
    with make_pool(1, max_pending=2, when_full=when_full) as pool:
        busy = running(pool.submit(time.sleep, 100))
        waiting = [pool.submit(abs, -1), pool.submit(abs, -2)]
        if when_full == "raise":
            with pytest.raises(PoolFullError):
                pool.submit(abs, -3)
        elif when_full == "caller_runs":
            assert pool.submit(os.getpid).result(0) == os.getpid()
        else:
            later = together(lambda: pool.submit(abs, -3), lambda: pool.kill(busy))[0]
            assert later.result(LIMIT) == 3
        if when_full != "block":
            assert waiting[0].cancel()
            assert pool.submit(abs, -4).cancel()
            pool.kill(busy)
        assert waiting[1].result(LIMIT) == 2


def test_a_limited_shutdown_names_calls_by_their_functions(pool: ProcessPoolExecutor) -> None:
    busy = [running(pool.submit(time.sleep, 100)) for _ in range(2)]
    with pytest.raises(TimeoutError, match="still running: sleep, sleep; waiting: 0 calls"):
        pool.shutdown(timeout=0.05)
    pool.kill(busy[0])
    pool.kill_workers()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.skipif(sys.version_info < (3, 14), reason="interpreter pools need Python 3.14")
def test_a_forked_pool_is_refused_beside_interpreters() -> None:
    with corefutures.create_executor("interpreter", max_workers=1) as interpreters:
        interpreters.submit(abs, -1).result(LIMIT)
        forking = ProcessPoolExecutor(1, multiprocessing.get_context("fork"))
        with pytest.raises(UnsupportedError, match=r"other interpreters.*'forkserver' or 'spawn'"):
            forking.submit(abs, -1)
        forking.shutdown()
        with make_pool(1) as pool:
            assert pool.submit(abs, -1).result(LIMIT) == 1


def test_a_limited_shutdown_says_what_runs() -> None:
    pool = make_pool(1)
    busy = running(pool.options(name="long nap").submit(time.sleep, 100))
    with pytest.raises(TimeoutError, match=r"sleep \(named 'long nap'\)"):
        pool.shutdown(timeout=0.05)
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(int)
    pool.kill(busy)
    pool.shutdown(timeout=LIMIT)


SCRIPT = """
import time
from corefutures import ProcessPoolExecutor

if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, at_exit={at_exit!r})
    call = pool.submit(time.sleep, {seconds})
    while not call.running():
        time.sleep(0.001)
    waiting = pool.submit(print, "started")
    waiting.add_done_callback(lambda future: print("cancelled", future.cancelled()))
"""


@pytest.mark.parametrize(
    ("at_exit", "seconds", "said"), [("kill", 1000, "cancelled True\n"), ("cancel", 0.5, "cancelled True\n")]
)
def test_at_exit(at_exit: str, seconds: float, said: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(at_exit=at_exit, seconds=seconds))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=LIMIT, check=False)
    assert (done.stdout, done.stderr, done.returncode) == (said, "", 0)


@pytest.mark.parametrize(
    ("options", "error"),
    [({"at_exit": "never"}, ValueError), ({"max_pending": 0}, ValueError), ({"when_full": "drop"}, ValueError)],
)
def test_bad_options_are_refused(options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        make_pool(1, **options)


def test_calls_are_killed_while_others_come_and_go(pool: ProcessPoolExecutor) -> None:
    def kill_some() -> None:
        for _ in range(5):
            assert pool.kill(pool.submit(time.sleep, 100))

    def work() -> list[int]:
        return [pool.submit(abs, -number).result(LIMIT) for number in range(200)]

    outcomes = together(kill_some, work, work)
    assert outcomes[1:] == [list(range(200))] * 2


class _AskedProcess(multiprocessing.context.SpawnProcess):
    """A process with ways of its own to be stopped, as contexts of programs have."""

    asked: list[str] = []  # noqa: RUF012 # of the class, in the caller's process

    def terminate(self):
        self.asked.append("terminate")
        super().terminate()

    def kill(self):
        self.asked.append("kill")


class _AskedContext(multiprocessing.context.SpawnContext):
    Process = _AskedProcess


@pytest.mark.parametrize("kill_tree", [True, False])
@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_processes_with_ways_of_their_own_are_asked(how, kill_tree):
    """As the standard library does; who is to be killed is killed in any case."""
    _AskedProcess.asked.clear()
    pool = corefutures.ProcessPoolExecutor(1, mp_context=_AskedContext(), kill_tree=kill_tree)
    assert pool.submit(int).result(40) == 0
    (process,) = pool._processes.values()
    getattr(pool, f"{how}_workers")()
    pool.shutdown()
    process.join(40)
    assert not process.is_alive()
    assert how in _AskedProcess.asked
