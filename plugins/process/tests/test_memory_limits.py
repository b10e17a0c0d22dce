"""`memory=`: a call whose worker exceeds the limit is stopped alone, and the pool goes on."""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import memory_calls
import pytest

from corefutures import ProcessPoolExecutor, UnsupportedError, WorkerLostError
from corefutures_pools.workers import memory_limits
from corefutures_pools.workers.memory_limits import checked_size, find_meter, size_text

LIMIT = 30
MIB = 1 << 20

needs_meter = pytest.mark.skipif(find_meter() is None, reason="needs /proc of Linux, or psutil")


@pytest.fixture(params=sorted({"forkserver", "spawn"}.intersection(multiprocessing.get_all_start_methods())))
def method(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@needs_meter
def test_a_call_that_exceeds_the_limit_is_stopped_alone(method: str, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    with ProcessPoolExecutor(2, method, memory="150 MiB") as pool:
        other = pool.submit(memory_calls.take, 60 * MIB, gate)
        while not os.path.exists(gate + ".begun"):
            threading.Event().wait(0.002)
        greedy = pool.submit(memory_calls.grow, 4 * MIB)
        with pytest.raises(WorkerLostError, match=r"memory limit of its worker, 150\.00 MiB .* its peak was") as caught:
            greedy.result(LIMIT)
        assert caught.value.pid is not None
        peak = re.search(r"peak was ([\d.]+) MiB", str(caught.value))
        assert peak is not None
        assert 150 < float(peak[1]) < 1000
        assert not other.done()
        Path(gate).touch()
        assert other.result(LIMIT) == 60 * MIB
        assert pool.submit(memory_calls.take, MIB).result(LIMIT) == MIB
        assert list(pool.map(memory_calls.take, [MIB] * 4)) == [MIB] * 4


@needs_meter
def test_calls_within_the_limit_run_one_after_the_other() -> None:
    with ProcessPoolExecutor(1, "forkserver" if sys.platform != "win32" else "spawn", memory=250 * MIB) as pool:
        assert list(pool.map(memory_calls.take, [150 * MIB] * 5)) == [150 * MIB] * 5


@needs_meter
def test_memory_that_processes_share_does_not_count() -> None:
    with ProcessPoolExecutor(1, "spawn", memory="120 MiB") as pool:
        assert pool.submit(memory_calls.map_shared, 200 * MIB).result(LIMIT) == 200 * MIB


@needs_meter
def test_names_of_calls_are_told() -> None:
    with ProcessPoolExecutor(1, "spawn", memory="100 MiB") as pool:
        greedy = pool.options(name="greedy").submit(memory_calls.grow, 8 * MIB)
        assert "the call 'greedy' exceeded the memory limit" in str(greedy.exception(LIMIT))


@needs_meter
def test_a_memory_limit_beside_slots_and_pending_calls() -> None:
    options: Any = {"memory": "100 MiB", "slots": {"gpu": 1}, "max_pending": 3}
    with ProcessPoolExecutor(2, "spawn", **options) as pool:
        view = pool.options(slots={"gpu": 1})
        lost = view.submit(memory_calls.grow, 8 * MIB)
        assert isinstance(lost.exception(LIMIT), WorkerLostError)
        assert view.submit(memory_calls.take, MIB).result(LIMIT) == MIB


@needs_meter
def test_calls_wait_while_the_workers_have_more_than_the_total(tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    with ProcessPoolExecutor(3, "spawn", memory_total="120 MiB", slots={"gpu": 1}) as pool:
        assert list(pool.map(memory_calls.take, [MIB] * 6)) == [MIB] * 6
        large = pool.submit(memory_calls.take, 150 * MIB, gate)
        while not (os.path.exists(gate + ".begun") and not pool._cf_pool._memory.admits()):
            threading.Event().wait(0.002)
        waiting = [pool.submit(memory_calls.take, MIB), pool.options(slots={"gpu": 1}).submit(memory_calls.take, MIB)]
        for _ in range(5):  # looks
            threading.Event().wait(0.02)
        assert not any(future.running() or future.done() for future in waiting)
        assert waiting[0].cancel()
        Path(gate).touch()
        assert large.result(LIMIT) == 150 * MIB
        assert waiting[1].result(LIMIT) == MIB


@pytest.mark.parametrize(("exact", "admits"), [(40, True), (90, False), (None, False)])
def test_memory_that_workers_share_does_not_count_in_the_total(
    exact: int | None, admits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_limits, "exact_private", lambda pid: exact)
    limit = memory_limits.MemoryLimit(None, 150, lambda pid: 100)
    worker = SimpleNamespace(pid=1, name="a worker")
    pool: Any = SimpleNamespace(occupations=lambda: [SimpleNamespace(worker=worker, call=None)] * 2)
    limit._look(pool)
    assert limit.admits() is admits


@needs_meter
def test_one_call_always_runs() -> None:
    with ProcessPoolExecutor(2, "spawn", memory_total="1 MB") as pool:
        assert list(pool.map(memory_calls.take, [MIB] * 5)) == [MIB] * 5
        assert pool.stats().finished == 5


def test_calls_that_their_submitter_runs_have_no_total() -> None:
    with pytest.raises(ValueError, match="memory_total has no effect"):
        ProcessPoolExecutor(1, memory_total="1 GiB", max_pending=1, when_full="caller_runs")
    with pytest.raises(ValueError, match="memory_total must be a size"):
        ProcessPoolExecutor(1, memory_total="much")


@needs_meter
def test_no_thread_watches_a_pool_without_calls() -> None:
    with ProcessPoolExecutor(1, "spawn", memory="1 GiB") as pool:
        pool.submit(memory_calls.take, MIB).result(LIMIT)
        limit: Any = pool._cf_pool._memory
        while limit._watching:
            threading.Event().wait(0.005)
        assert pool.submit(memory_calls.take, MIB).result(LIMIT) == MIB


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (1, 1), ("123", 123), ("1 B", 1), ("4 GiB", 4 << 30), ("4gib", 4 << 30), ("500 MB", 500_000_000),
        ("1.5GB", 1_500_000_000), (".5 MiB", 1 << 19), (" 2 KiB ", 2048), ("1 TB", 10**12), ("3 kB", 3000),
    ],
)  # fmt: skip
def test_sizes_are_read(size: Any, expected: int) -> None:
    assert checked_size("memory", size) == expected


@pytest.mark.parametrize(
    "size", ["", "GiB", "4 G", "4 gigs", "four GiB", "-1 GiB", "1,5 GB", "1e9", "1.5", "1.5 B", "4 iB"]
)
def test_sizes_that_can_not_be_read_are_refused(size: str) -> None:
    with pytest.raises(ValueError, match=r"memory must be a size, and .* can't be read: write a number of bytes"):
        ProcessPoolExecutor(1, memory=size)


@pytest.mark.parametrize(
    ("size", "error", "says"),
    [
        (0, ValueError, "memory must be positive, not 0"),
        (-5, ValueError, "memory must be positive, not -5"),
        ("0 GiB", ValueError, "memory must be positive, not '0 GiB'"),
        (1.5, TypeError, "memory must be a size, not 1.5"),
        (True, TypeError, "memory must be a size, not True"),
        (b"4 GiB", TypeError, "memory must be a size, not b'4 GiB'"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(size: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        ProcessPoolExecutor(1, memory=size)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_fork_is_refused() -> None:
    with pytest.raises(ValueError, match="memory is incompatible with the 'fork'"):
        ProcessPoolExecutor(1, "fork", memory="1 GiB")


def test_without_a_way_to_measure_the_option_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_limits, "find_meter", lambda: None)
    with pytest.raises(UnsupportedError, match="takes psutil on this platform: pip install psutil"):
        ProcessPoolExecutor(1, memory="1 GiB")


def test_psutil_measures_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psutil", reason="needs psutil")
    monkeypatch.setattr(memory_limits.sys, "platform", "freebsd")
    measure = find_meter()
    assert measure is not None
    before = measure(os.getpid())
    memory = bytearray(b"\1") * (50 * MIB)
    assert measure(os.getpid()) - before > len(memory) // 2
    assert measure(2**22 + 1) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_the_two_measures_of_linux_agree() -> None:
    memory = bytearray(b"\1") * (100 * MIB)
    measure = find_meter()
    exact = memory_limits.exact_private(os.getpid())
    assert measure is not None
    assert exact is not None
    assert min(measure(os.getpid()), exact) > len(memory)
    assert measure(2**22 + 1) == 0


def test_sizes_in_messages() -> None:
    assert [size_text(size) for size in (512, 2048, 3 << 20, 5 << 29)] == [
        "512 bytes",
        "2.00 KiB",
        "3.00 MiB",
        "2.50 GiB",
    ]
