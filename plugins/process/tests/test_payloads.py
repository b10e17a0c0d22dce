"""What crosses and what can't: failures at each moment in both directions, large payloads (E4)."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import process_errands as errands
import pytest

SIZES = {"just inline": 60_000, "just a parcel": 70_000, "large": 3_000_000}


def assert_usable(pool):
    assert [future.result(30) for future in [pool.submit(errands.square, n) for n in range(10)]] == [
        n * n for n in range(10)
    ]


@pytest.mark.parametrize("deed", [errands.complain, errands.loud_exit])
@pytest.mark.parametrize("moment", ["pickling", "unpickling"])
def test_arguments_that_fail(pool, moment, deed):
    expected = {errands.complain: ArithmeticError, errands.loud_exit: SystemExit}[deed]
    for _ in range(3):
        with pytest.raises(expected):
            pool.submit(id, errands.Upon(moment, deed)).result(30)
    assert_usable(pool)


@pytest.mark.parametrize("deed", [errands.complain, errands.loud_exit])
@pytest.mark.parametrize("moment", ["pickling", "unpickling"])
def test_results_that_fail(pool, moment, deed):
    expected = {errands.complain: ArithmeticError, errands.loud_exit: SystemExit}[deed]
    for _ in range(3):
        with pytest.raises(expected):
            pool.submit(errands.give, moment, deed).result(30)
    assert_usable(pool)


def test_failures_among_calls_that_work(pool):
    futures = []
    for n in range(100):
        futures.append(pool.submit(errands.square, n))
        futures.append(pool.submit(id, errands.Upon("unpickling", errands.complain)))
        futures.append(pool.submit(errands.give, "unpickling", errands.complain))
    assert [future.result(30) for future in futures[::3]] == [n * n for n in range(100)]
    assert all(isinstance(future.exception(30), ArithmeticError) for future in futures[1::3] + futures[2::3])


def test_what_can_not_be_pickled_at_all(pool):
    for call in ((lambda: 1,), (id, lambda: 1)):
        with pytest.raises((pickle.PicklingError, AttributeError)):
            pool.submit(*call).result(30)
    with pytest.raises(TypeError, match="pickle"):
        pool.submit(errands.give_a_lock).result(30)
    assert_usable(pool)


def test_exception_that_does_not_unpickle(pool):
    error = pool.submit(errands.raise_particular).exception(30)
    assert isinstance(error, TypeError)
    assert "1 and 2" in str(error.__cause__)
    assert "Particular" in str(error.__cause__)
    assert_usable(pool)


def test_exception_that_does_not_pickle(pool):
    error = pool.submit(errands.raise_private).exception(30)
    assert isinstance(error, TypeError)
    assert "this exception is private" in str(error)
    assert "secret" in str(error.__cause__)
    assert_usable(pool)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("kind", ["bytes", "bytearray", "array"])
def test_large(pool, kind, size):
    if kind == "array":
        pytest.importorskip("numpy", reason="needs the package numpy")
    payload = errands.fill(kind, size)
    assert pool.submit(errands.same, payload, kind, size).result(30)
    result = pool.submit(errands.fill, kind, size).result(30)
    assert errands.same(result, kind, size)
    assert type(result) is type(payload)


def test_large_arrays_are_snapshots_and_the_workers_own(pool):
    numpy = pytest.importorskip("numpy", reason="needs the package numpy")
    array = numpy.arange(100_000)
    futures = [pool.submit(errands.echo, array) for _ in range(4)]
    array[:] = -1
    for future in futures:
        result = future.result(30)
        assert (result == numpy.arange(100_000)).all()
        result[0] = 7  # ours alone
    array = numpy.arange(100_000)
    assert pool.submit(errands.change, array).result(30) == 99
    assert array[0] == 0


def test_many_buffers_in_one_payload(pool):
    numpy = pytest.importorskip("numpy", reason="needs the package numpy")
    arrays = [numpy.full(40_000, n) for n in range(300)]
    back = pool.submit(errands.echo, arrays).result(30)
    assert [int(array[0]) for array in back] == [int(array[-1]) for array in back] == list(range(300))


def test_read_only_buffers_stay_so(pool):
    numpy = pytest.importorskip("numpy", reason="needs the package numpy")
    array = numpy.arange(100_000)
    array.flags.writeable = False
    assert not pool.submit(errands.echo, array).result(30).flags.writeable


def test_more_large_calls_than_descriptors_are_to_be_had(make_pool, gate):
    resource = pytest.importorskip("resource", reason="needs limits on descriptors (Unix)")
    pool = make_pool(1)
    first = pool.submit(errands.pass_gate, str(gate))
    errands.until(first.running)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, hard))
    try:
        futures = [pool.submit(len, bytearray(200_000)) for _ in range(150)]
        gate.touch()
        assert [future.result(30) for future in futures] == [200_000] * 150
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_worker_without_memory(make_pool):
    pytest.importorskip("resource", reason="needs limits on memory (Unix)")
    pool = make_pool(1, initializer=errands.limited_memory, initargs=(1 << 30,))
    with pytest.raises(MemoryError):
        pool.submit(errands.eat, 2 << 30).result(30)
    with pytest.raises((MemoryError, OSError)):
        pool.submit(errands.fill, "bytearray", 600 << 20).result(30)
    assert pool.submit(errands.square, 3).result(30) == 9


def test_nothing_has_a_name(pool, method):
    """Neither shared memory nor semaphores: so nothing can be left in /dev/shm, whoever is killed when."""
    pool.submit(len, bytearray(1_000_000)).result(30)
    loaded = set(pool.submit(errands.modules).result(30))
    if method == "fork":
        loaded -= set(sys.modules)  # it has all that we have
    assert "multiprocessing.shared_memory" not in loaded
    script = """if True:
        import sys
        from corefutures_process import ProcessPoolExecutor
        if __name__ == "__main__":
            with ProcessPoolExecutor(1) as pool:
                pool.submit(len, bytearray(1_000_000)).result()
            print([m for m in ("multiprocessing.shared_memory", "multiprocessing.synchronize") if m in sys.modules])
    """
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=40, check=True).stdout
    assert out.strip() == "[]"


def test_cloudpickle(make_pool):
    pytest.importorskip("cloudpickle", reason="needs the package cloudpickle")
    pool = make_pool(2, serializer="cloudpickle")
    factor = 7
    assert pool.submit(lambda x: x * factor, 6).result(30) == 42
    assert list(pool.map(lambda x: -x, range(5))) == [0, -1, -2, -3, -4]
    assert pool.submit(lambda: lambda x: x + factor).result(30)(1) == 8


def test_cloudpickle_missing(monkeypatch):
    import importlib.util

    from corefutures_process import ProcessPoolExecutor

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"corefutures-process\[cloudpickle\]"):
        ProcessPoolExecutor(1, serializer="cloudpickle")


@pytest.mark.skipif(sys.platform == "win32", reason="sockets pass to Windows processes in another way")
def test_sockets_cross_as_between_processes_of_multiprocessing(pool):
    import socket
    from multiprocessing import resource_sharer

    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert pool.submit(type(theirs).sendall, theirs, b"hello").exception(30) is None
        assert ours.recv(5) == b"hello"
    resource_sharer.stop(30)
