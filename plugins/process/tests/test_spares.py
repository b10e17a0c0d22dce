"""The option `spares`: workers that are started, and take no calls until another worker is lost."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import sys

import process_calls
import pytest

from corefutures import BrokenExecutor, ProcessPoolExecutor, WorkerLostError

LIMIT = 30.0

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals that kill")


def spares(pool) -> list[int]:
    """Return the processes of the spares that are ready."""
    return [worker.pid for worker in pool.snapshot().workers if worker.state == "spare"]


def await_spares(pool, number: int) -> list[int]:
    process_calls.until(lambda: len(spares(pool)) == number, f"{number} spares of {pool.snapshot()}")
    return spares(pool)


def test_spares_take_no_calls_and_are_no_workers(make_pool, any_method, gate, tmp_path):
    pool = make_pool(2, spares=2)
    started = str(tmp_path / "started")
    busy = [pool.submit(process_calls.start_and_pass, started, str(gate)) for _ in range(6)]
    kept = await_spares(pool, 2)
    process_calls.until(lambda: len(process_calls.lines(started)) == 2)
    stats = pool.stats()
    assert (stats.workers, stats.spares, stats.running, stats.waiting) == (2, 2, 2, 4)
    assert "2 of 2 workers, 2 running, 4 waiting, 2 spare" in str(pool.snapshot())
    assert len(pool._processes) == 4
    gate.touch()
    for future in busy:
        future.result(LIMIT)
    assert not set(kept) & set(pool.map(process_calls.pid, range(50)))
    assert len(set(process_calls.lines(started))) == 2
    assert sorted(spares(pool)) == sorted(kept)
    pool.shutdown()
    assert not pool._processes
    assert pool.stats().spares == 0


def test_a_spare_takes_the_place_of_a_lost_worker_and_another_one_is_started(make_pool, any_method):
    pool = make_pool(1, spares=1, on_worker_loss="replace")
    for _ in range(3):
        victim = pool.submit(process_calls.pid).result(LIMIT)
        (spare,) = await_spares(pool, 1)
        os.kill(victim, signal.SIGKILL)
        process_calls.until(lambda: pool.stats().lost_workers)
        process_calls.until(lambda victim=victim: victim not in pool._processes)
        assert pool.submit(process_calls.pid).result(LIMIT) == spare
        (other,) = await_spares(pool, 1)
        assert other not in (victim, spare)


def test_a_spare_takes_the_call_that_waits_for_the_place_of_a_worker_that_leaves(make_pool, one_method):
    pool = make_pool(1, spares=1, max_tasks_per_child=3)
    pids = list(pool.map(process_calls.pid, range(12)))
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 3, 3]


def test_a_call_that_is_killed_costs_a_spare(make_pool, any_method, gate, tmp_path):
    pool = make_pool(1, spares=1)  # breaks if a worker is lost
    busy = pool.submit(process_calls.start_and_pass, str(tmp_path / "started"), str(gate))
    (spare,) = await_spares(pool, 1)
    process_calls.until(lambda: process_calls.lines(str(tmp_path / "started")))
    assert pool.kill(busy)
    assert isinstance(busy.exception(LIMIT), WorkerLostError)
    assert pool.submit(process_calls.pid).result(LIMIT) == spare


def test_a_spare_has_run_the_initializer_before_it_is_needed(make_pool, any_method, tmp_path):
    journal = str(tmp_path / "journal")
    pool = make_pool(1, spares=1, initializer=process_calls.mark, initargs=(journal,), on_worker_loss="replace")
    pool.submit(abs, -1).result(LIMIT)
    await_spares(pool, 1)
    assert len(process_calls.lines(journal)) == 2


def test_a_lost_spare_breaks_nothing_and_is_replaced(make_pool, one_method):
    pool = make_pool(1, spares=1)
    worker = pool.submit(process_calls.pid).result(LIMIT)
    (spare,) = await_spares(pool, 1)
    os.kill(spare, signal.SIGKILL)
    process_calls.until(lambda: pool.stats().lost_workers == 1)
    (other,) = await_spares(pool, 1)
    assert other != spare
    assert pool.submit(process_calls.pid).result(LIMIT) == worker
    assert not pool._broken


def end_if_told(path: str) -> None:
    if os.path.exists(path):
        os._exit(3)


def test_spares_that_never_get_ready_are_given_up(make_pool, one_method, gate, caplog):
    pool = make_pool(1, spares=1, initializer=end_if_told, initargs=(str(gate),))
    assert pool.submit(process_calls.square, 3).result(LIMIT) == 9
    (spare,) = await_spares(pool, 1)
    gate.touch()
    os.kill(spare, signal.SIGKILL)
    process_calls.until(lambda: "no more are started" in caplog.text)
    assert pool.submit(process_calls.square, 4).result(LIMIT) == 16
    assert (pool.stats().lost_workers, pool.stats().spares) == (3, 0)


def fail_if_told(path: str) -> None:
    if os.path.exists(path):
        raise LookupError("no set-up for spares")


def test_an_initializer_that_fails_in_a_spare_breaks_the_pool(make_pool, one_method, gate):
    pool = make_pool(1, spares=1, initializer=fail_if_told, initargs=(str(gate),))
    pool.submit(abs, -1).result(LIMIT)
    (spare,) = await_spares(pool, 1)
    gate.touch()
    os.kill(spare, signal.SIGKILL)
    process_calls.until(lambda: pool._broken)
    with pytest.raises(BrokenExecutor) as caught:
        pool.submit(abs, -1)
    assert isinstance(caught.value.__cause__, LookupError)


@pytest.mark.parametrize("how", ["shutdown", "nowait", "kill_workers", "terminate_workers", "dropped"])
def test_no_spare_outlives_the_pool(make_pool, one_method, method, monkeypatch, how):
    pool = ProcessPoolExecutor(2, method, spares=2)
    pool.submit(abs, -1).result(LIMIT)
    pids = list(pool._processes)
    if how == "shutdown":
        pool.shutdown()
        assert not pool._processes
    elif how == "nowait":
        pool.shutdown(wait=False)
    elif how != "dropped":
        getattr(pool, how)()
        pool.shutdown()
    thread = pool._executor_manager_thread
    pool = None
    assert thread is not None
    thread.join(LIMIT)  # that nothing else is left, the fixture of all tests looks for
    process_calls.until(lambda: not any(os.path.exists(f"/proc/{pid}/stat") for pid in pids))


def test_workers_and_spares_that_are_killed_at_random_cost_their_calls_alone(make_pool, one_method):
    chance = random.Random(18)
    pool = make_pool(2, spares=2, on_worker_loss="replace")
    ends = []
    for _ in range(15):
        # A call has finished since the last kills: five losses in a row break the pool. A process that was killed a
        # moment ago may have claimed the next call.
        process_calls.until(lambda: pool.submit(process_calls.square, 3).exception(LIMIT) is None)
        futures = [pool.submit(process_calls.square, number) for number in range(10)]
        for victim in chance.sample(list(pool._processes), min(len(pool._processes), chance.randint(1, 3))):
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        ends += [future.exception(LIMIT) for future in futures]
    assert {type(end) for end in ends} <= {type(None), WorkerLostError}
    process_calls.until(lambda: pool.submit(process_calls.square, 3).exception(LIMIT) is None)
    assert pool.stats().workers <= 2
    assert pool.stats().spares <= 2


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ("1", TypeError, "spares must be an integer, not '1'"),
        (True, TypeError, "spares must be an integer, not True"),
        (1.0, TypeError, "spares must be an integer"),
        (-1, ValueError, "spares must be >= 0, not -1"),
    ],
)
def test_what_is_no_number_of_spares_is_refused(given, kind, message):
    with pytest.raises(kind, match=message):
        ProcessPoolExecutor(1, spares=given)


def test_with_fork_they_are_refused_and_the_default_is_another_method(monkeypatch):
    with pytest.raises(ValueError, match=r"spares=2 is incompatible with the 'fork'"):
        ProcessPoolExecutor(1, "fork", spares=2)
    original = multiprocessing.get_context
    monkeypatch.setattr(multiprocessing, "get_context", lambda method=None: original(method or "fork"))
    assert ProcessPoolExecutor(1, spares=1)._mp_context.get_start_method() == "forkserver"
    assert ProcessPoolExecutor(1, spares=0)._mp_context.get_start_method() == "fork"
