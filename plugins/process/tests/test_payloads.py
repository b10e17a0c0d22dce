"""What crosses and what can't: failures at each moment in both directions, large payloads (E4)."""

from __future__ import annotations

import copyreg
import errno
import gc
import multiprocessing
import os
import pickle
import socket
import subprocess
import sys
import time
import types
import weakref
from fractions import Fraction
from functools import partial
from multiprocessing import resource_sharer
from multiprocessing.reduction import ForkingPickler

import payload_calls
import process_calls
import pytest

from corefutures import WorkerLostError
from corefutures_pools.descriptors import kept_memfds, memfd_releasers
from corefutures_pools.workers import payload as payloads
from corefutures_pools.workers.supervisor import WorkerSupervisor
from corefutures_process._worker_process import make_encoder

SIZES = {"just inline": 60_000, "just a payload": 70_000, "large": 3_000_000}


def assert_usable(pool):
    assert [future.result(30) for future in [pool.submit(process_calls.square, n) for n in range(10)]] == [
        n * n for n in range(10)
    ]


@pytest.mark.parametrize("deed", [process_calls.complain, process_calls.loud_exit])
@pytest.mark.parametrize("moment", ["pickling", "unpickling"])
def test_arguments_that_fail(pool, moment, deed):
    expected = {process_calls.complain: ArithmeticError, process_calls.loud_exit: SystemExit}[deed]
    for _ in range(3):
        future = pool.submit(id, process_calls.Upon(moment, deed))
        assert isinstance(future.exception(30), expected)  # the call's: it is not raised here
    assert_usable(pool)


@pytest.mark.parametrize("deed", [process_calls.complain, process_calls.loud_exit])
@pytest.mark.parametrize("moment", ["pickling", "unpickling"])
def test_results_that_fail(pool, moment, deed):
    expected = {process_calls.complain: ArithmeticError, process_calls.loud_exit: SystemExit}[deed]
    for _ in range(3):
        future = pool.submit(process_calls.give, moment, deed)
        assert isinstance(future.exception(30), expected)  # the call's: it is not raised here
    assert_usable(pool)


def test_a_result_that_fails_another_way_each_time(pool):
    """Whoever unpickles it, and how often: the call fails, and nothing is raised where it is waited for."""
    for _ in range(6):
        future = pool.submit(process_calls.give, "unpickling", process_calls.fail_another_way)
        assert isinstance(future.exception(30), (ValueError, KeyError))
    assert_usable(pool)


def test_failures_among_calls_that_work(pool):
    futures = []
    for n in range(100):
        futures.append(pool.submit(process_calls.square, n))
        futures.append(pool.submit(id, process_calls.Upon("unpickling", process_calls.complain)))
        futures.append(pool.submit(process_calls.give, "unpickling", process_calls.complain))
    assert [future.result(30) for future in futures[::3]] == [n * n for n in range(100)]
    assert all(isinstance(future.exception(30), ArithmeticError) for future in futures[1::3] + futures[2::3])


def test_what_can_not_be_pickled_at_all(pool):
    for call in ((lambda: 1,), (id, lambda: 1)):
        with pytest.raises((pickle.PicklingError, AttributeError)):
            pool.submit(*call).result(30)
    with pytest.raises(TypeError, match="pickle"):
        pool.submit(process_calls.give_a_lock).result(30)
    assert_usable(pool)


@pytest.mark.usefixtures("without_reducers_of_others")
def test_exception_that_does_not_unpickle(pool):
    error = pool.submit(process_calls.raise_particular).exception(30)
    assert isinstance(error, TypeError)
    assert "1 and 2" in str(error.__cause__)
    assert "Particular" in str(error.__cause__)
    assert_usable(pool)


def test_exception_that_does_not_pickle(pool):
    error = pool.submit(process_calls.raise_private).exception(30)
    assert isinstance(error, TypeError)
    assert "this exception is private" in str(error)
    assert "secret" in str(error.__cause__)
    assert_usable(pool)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("kind", ["bytes", "bytearray", "array"])
def test_large(pool, kind, size):
    if kind == "array":
        pytest.importorskip("numpy", reason="needs the package numpy")
    payload = process_calls.fill(kind, size)
    assert pool.submit(process_calls.same, payload, kind, size).result(30)
    result = pool.submit(process_calls.fill, kind, size).result(30)
    assert process_calls.same(result, kind, size)
    assert type(result) is type(payload)


def test_large_arrays_are_snapshots_and_the_workers_own(pool):
    numpy = pytest.importorskip("numpy", reason="needs the package numpy")
    array = numpy.arange(100_000)
    futures = [pool.submit(process_calls.echo, array) for _ in range(4)]
    array[:] = -1
    for future in futures:
        result = future.result(30)
        assert (result == numpy.arange(100_000)).all()
        result[0] = 7  # ours alone
    array = numpy.arange(100_000)
    assert pool.submit(process_calls.change, array).result(30) == 99
    assert array[0] == 0


def test_many_buffers_in_one_payload(pool):
    numpy = pytest.importorskip("numpy", reason="needs the package numpy")
    arrays = [numpy.full(40_000, n) for n in range(300)]
    back = pool.submit(process_calls.echo, arrays).result(30)
    assert [int(array[0]) for array in back] == [int(array[-1]) for array in back] == list(range(300))


def test_read_only_buffers_stay_so(pool):
    numpy = pytest.importorskip("numpy", reason="needs the package numpy")
    array = numpy.arange(100_000)
    array.flags.writeable = False
    assert not pool.submit(process_calls.echo, array).result(30).flags.writeable


def test_more_large_calls_than_descriptors_are_to_be_had(make_pool, gate):
    resource = pytest.importorskip("resource", reason="needs limits on descriptors (Unix)")
    pool = make_pool(1)
    first = pool.submit(process_calls.pass_gate, str(gate))
    process_calls.until(first.running)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, hard))
    try:
        futures = [pool.submit(len, bytearray(1_200_000)) for _ in range(60)]
        gate.touch()
        assert [future.result(30) for future in futures] == [1_200_000] * 60
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_worker_without_memory(make_pool):
    pytest.importorskip("resource", reason="needs limits on memory (Unix)")
    pool = make_pool(1, initializer=process_calls.limited_memory, initargs=(1 << 30,))
    with pytest.raises(MemoryError):
        pool.submit(process_calls.eat, 2 << 30).result(30)
    future = pool.submit(
        process_calls.fill, "bytearray", 600 << 20
    )  # which the portable way has no memory to send from
    assert isinstance(future.exception(30), (MemoryError, OSError, type(None)))
    assert pool.submit(process_calls.square, 3).result(30) == 9


def test_nothing_has_a_name(pool, method):
    """Neither shared memory nor semaphores: so nothing can be left in /dev/shm, whoever is killed when."""
    pool.submit(len, bytearray(1_000_000)).result(30)
    loaded = set(pool.submit(process_calls.modules).result(30))
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
    with pytest.raises(ValueError, match="pip install cloudpickle"):
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


def descriptors():
    return len(os.listdir("/proc/self/fd"))


needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc to look at descriptors")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


@pytest.mark.parametrize("size", [8_000, 50_000, 500_000])
@needs_fork
def test_results_are_this_process_s_own_after_a_fork(pool, size):
    numpy = pytest.importorskip("numpy", reason="needs the package numpy")
    array, as_bytes = pool.submit(payload_calls.array_and_bytearray, size).result(30)
    payload_calls.in_forked_child(lambda: (array.fill(7), as_bytes.__setitem__(slice(None), b"c" * len(as_bytes))))
    assert (array == numpy.arange(size)).all()
    assert as_bytes == bytes(8 * size)


@pytest.mark.parametrize("size", [8_000, 50_000, 500_000])
@needs_fork
def test_arguments_are_a_worker_s_own_after_a_fork(pool, size):
    numpy = pytest.importorskip("numpy", reason="needs the package numpy")
    assert pool.submit(payload_calls.change_in_forked_child, numpy.arange(size), bytearray(8 * size)).result(30)


@needs_proc
@pytest.mark.parametrize("size", [8_000, 50_000, 500_000])
def test_what_is_kept_holds_no_descriptor(make_pool, size):
    numpy = pytest.importorskip("numpy", reason="needs the package numpy")
    pool = make_pool(1)
    there = pool.submit(payload_calls.keep, numpy.arange(size)).result(30)
    here = descriptors()
    kept = [pool.submit(payload_calls.array_and_bytearray, size).result(30) for _ in range(12)]
    for _ in range(12):
        there_now = pool.submit(payload_calls.keep, numpy.arange(size)).result(30)
    assert descriptors() <= here + 2
    assert there_now <= there + 2
    assert len(kept) == 12


@needs_proc
def test_the_error_of_a_call_that_nobody_can_run_holds_no_descriptor(make_pool, monkeypatch):
    """Its traceback refers to the frame of `submit`, which referred to the memory file with the argument."""

    def refuse(_):
        raise OSError(errno.EMFILE, "no worker can be started")

    pool, before = make_pool(1), descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(WorkerSupervisor, "_start_needed", refuse)
        with pytest.raises(OSError, match="no worker can be started") as kept:
            pool.submit(len, bytes(SIZES["large"]))
    pool.shutdown()
    assert descriptors() <= before
    assert kept.tb is not None


@needs_fork
@pytest.mark.parametrize("size", [50_000, 500_000])
def test_memory_files_are_used_again_only_when_nobody_has_them(make_pool, size):
    """Neither a worker that keeps an argument, nor its forked child, nor this process with a result."""
    numpy = pytest.importorskip("numpy", reason="needs the package numpy")
    pool = make_pool(1)
    children, results = [], []
    for number in range(6):
        content = numpy.full(size, float(number))
        if number % 3 == 0:
            pool.submit(payload_calls.keep, content).result(30)
        elif number % 3 == 1:
            children.append(pool.submit(payload_calls.keep_in_forked_child, content).result(30))
        else:
            assert pool.submit(payload_calls.sum_of, content).result(30) == number * size
        results.append(pool.submit(payload_calls.filled, size, number).result(30))
    assert [payload_calls.only_value(result) for result in results] == list(range(6))
    assert pool.submit(payload_calls.only_values_kept).result(30) == [0, 3]
    assert [pool.submit(payload_calls.only_value_in_child, child).result(30) for child in children] == [1, 4]


@needs_proc
def test_a_forked_child_has_memory_files_of_its_own(make_pool):
    numpy = pytest.importorskip("numpy", reason="needs the package numpy")
    pool = make_pool(1)
    for _ in range(2):
        pool.submit(len, numpy.zeros(50_000)).result(30)
    waiting = numpy.full(50_000, 1.0)
    gate = pool.submit(time.sleep, 0.2)
    future = pool.submit(payload_calls.sum_of, waiting)

    def send() -> None:
        assert not kept_memfds
        with type(pool)(1) as other:
            for _ in range(3):
                assert other.submit(payload_calls.sum_of, numpy.full(50_000, 2.0)).result(30) == 100_000

    payload_calls.in_forked_child(send)
    assert gate.result(30) is None
    assert future.result(30) == 50_000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has memory files")
def test_memory_files_that_nobody_uses_are_released(monkeypatch):
    from corefutures_pools.workers.shared_queue import memfds

    def sent(size):
        payload = make_encoder("pickle", memfds=True)(bytearray(size))
        files = payload.to_memfds()[1]
        payload.close()
        return files

    kept_memfds.clear()
    memfd_releasers.add(sent)  # or nothing would be kept
    try:
        for size in 300_000, 2_000_000, 10_000_000:  # of which none is used for the next
            sent(size)
        assert [each.capacity for each in kept_memfds] == [2_000_000, 10_000_000]
        sent(300_000)
        monkeypatch.setattr(memfds, "_KEPT_SIZE", 2_200_000)
        sent(2_000_000)
        assert [each.capacity for each in kept_memfds] == [2_000_000]
        (number,) = [each.number for each in kept_memfds]
        assert 0 < memfds.release_idle() <= memfds._KEPT_SECONDS
        kept_memfds[0].since -= memfds._KEPT_SECONDS
        assert memfds.release_idle() is None
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(number)
    finally:
        memfd_releasers.discard(sent)
        kept_memfds.clear()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has memory files")
def test_a_memory_file_that_comes_back_after_the_last_pool_is_closed(make_pool):
    """There is nobody to release it later: it would stay open until the next pool had been idle."""
    others, pool = memfd_releasers.copy(), make_pool(1)
    assert pool.submit(len, bytes(1_000_000)).result(30) == 1_000_000
    payload = make_encoder("pickle", memfds=True)(bytearray(1_000_000))
    (descriptor,) = payload.to_memfds()[1]
    pool.shutdown()
    assert memfd_releasers == others
    memfd_releasers.clear()
    try:
        payload.close()
    finally:
        memfd_releasers.update(others)
    assert not kept_memfds
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has memory files")
def test_a_memory_file_that_a_receiver_has_is_not_written_to():
    encode = make_encoder("pickle", memfds=True)
    kept_memfds.clear()
    memfd_releasers.add(encode)  # or nothing would be kept
    try:
        payload = encode(bytearray(b"1" * 1_000_000))
        (descriptor,) = payload.to_memfds()[1]
        receiver = os.dup(descriptor)
        payload.close()
        second = encode(bytearray(b"2" * 1_000_000))
        assert os.pread(receiver, 1_000_000, 0) == b"1" * 1_000_000
        os.close(receiver)
        third = encode(bytearray(b"3" * 900_000))
        assert not kept_memfds
        assert encode._segments.values()
        for each, content in (second, b"2" * 1_000_000), (third, b"3" * 900_000):
            (segment,) = [segment for segment in each.stream if segment.files]
            assert segment.holds(content)
            each.close()
    finally:
        memfd_releasers.discard(encode)
        kept_memfds.clear()


@needs_proc
def test_a_small_part_does_not_keep_the_rest(make_pool):
    pytest.importorskip("numpy", reason="needs the package numpy")
    pool = make_pool(1)
    pool.submit(payload_calls.summary_and_full).result(30)
    before = payload_calls.megabytes()
    kept = [pool.submit(payload_calls.summary_and_full).result(30)[which] for which in (0, 1) * 4]
    assert payload_calls.megabytes() - before < 120  # of 196 MB; what the allocator keeps counts as well
    kept_there = [pool.submit(payload_calls.keep_first, payload_calls.summary_and_full()).result(30) for _ in range(4)]
    assert kept_there[-1] - kept_there[0] < 60  # of 73 MB
    del kept


@pytest.mark.parametrize("size", [100, 40_000, 300_000, 3_000_000])
@pytest.mark.parametrize("kind", ["writable", "read-only", "array", "reduced", "nested"])
def test_buffers_have_the_same_types_at_every_size(pool, kind, size):
    thing, expected = payload_calls.buffer(kind, size)
    assert pool.submit(payload_calls.types_of, thing).result(30) == expected
    assert payload_calls.types_of(pool.submit(payload_calls.buffer, kind, size).result(30)[0]) == expected
    assert payload_calls.types_of(pool.submit(process_calls.echo, thing).result(30)) == expected


@pytest.mark.parametrize("serializer", ["pickle", "cloudpickle"])
def test_a_pickler_that_has_grown_is_not_used_again(serializer):
    encode = encoder(serializer)
    assert type(encode([Fraction(1, 3), *map(str, range(1_000))])) is bytes
    (kept,) = encode._idle
    encode([str(number) for number in range(100_000)])
    encode(Fraction(1, 3))
    (picklery,) = encode._idle
    assert picklery is not kept
    assert sys.getsizeof(picklery.pickler) < 100_000


@pytest.mark.parametrize("serializer", ["pickle", "cloudpickle"])
def test_reducers_are_a_plain_table_and_later_ones_count(serializer):
    encode = encoder(serializer)
    encode(payload_calls.Registered(1))
    assert isinstance(encode._idle[0].pickler.dispatch_table, dict)  # no chain of tables
    for register, table in (
        (copyreg.pickle, copyreg.dispatch_table),
        (ForkingPickler.register, ForkingPickler._extra_reducers),
    ):
        for factor in 2, 3:  # one takes another's place
            register(payload_calls.Registered, partial(payload_calls.reduce_registered, factor))
            try:
                assert pickle.loads(encode(payload_calls.Registered(5))).number == 5 * factor
            finally:
                if factor == 3:
                    del table[payload_calls.Registered]
    assert pickle.loads(encode(payload_calls.Registered(5))).number == 5


@pytest.mark.parametrize("serializer", ["pickle", "cloudpickle"])
def test_what_multiprocessing_can_send(make_pool, serializer):
    if serializer == "cloudpickle":
        pytest.importorskip("cloudpickle", reason="needs the package cloudpickle")
    pool = make_pool(1, serializer=serializer)
    ours, theirs = socket.socketpair()
    connection, far = multiprocessing.Pipe()
    with ours, theirs, connection, far:
        assert pool.submit(payload_calls.greet, theirs).result(30) == "sent"
        assert ours.recv(5) == b"hello"
        assert pool.submit(payload_calls.greet, far).result(30) == "sent"
        assert connection.recv_bytes() == b"hello"
    returned = pool.submit(payload_calls.open_pair).result(30)
    returned.send_bytes(b"back")
    assert pool.submit(payload_calls.read_other_end).result(30) == b"back"
    returned.close()
    resource_sharer.stop(timeout=30)  # it serves what was sent from here


def test_an_initializer_goes_through_the_serializer(make_pool, method):
    pytest.importorskip("cloudpickle", reason="needs the package cloudpickle")
    lock, number = multiprocessing.get_context(method).Lock(), 41

    def prepare(more, lock):
        with lock:
            payload_calls.kept.append(number + more)

    pool = make_pool(1, initializer=prepare, initargs=(1, lock), serializer="cloudpickle")
    assert pool.submit(payload_calls.last_kept).result(30) == 42


def test_large_errors_go_through_the_serializer(make_pool):
    pytest.importorskip("cloudpickle", reason="needs the package cloudpickle")
    pool = make_pool(1, serializer="cloudpickle")
    error = pool.submit(payload_calls.raise_large, lambda: 7).exception(30)
    assert error.args[1]() == 7


@pytest.mark.parametrize("make", [bytes, bytearray], ids=["bytes", "bytearray"])
@pytest.mark.parametrize("memfds", [True, False], ids=["memfds", "in memory"])
def test_calls_that_wait_share_what_is_equal(make, memfds):
    encode = make_encoder("pickle", memfds=memfds)
    content = make(b"x" * 1_000_000)
    waiting = [encode.call(process_calls.echo, (content, number), {}) for number in range(40)]
    held = [segment.pieces or segment.files for payload in waiting for segment in payload.stream]
    large = [part for parts in held for part in parts if not isinstance(part, bytes) or len(part) >= 1_000_000]
    assert len({part if isinstance(part, tuple) else id(part) for part in large}) == 1
    if make is bytearray:
        content[77_777] = 0
        changed = encode.call(process_calls.echo, (content,), {})
        assert not set(changed.stream) & set(waiting[0].stream)
    for payload in waiting:
        payload.close()
    del waiting, payload
    assert not [segment for segment in encode._segments.values() if segment.holds(b"x" * 1_000_000)]


@pytest.fixture
def without_reducers_of_others(monkeypatch):
    """Has exceptions pickled as they say: importing Dask has tblib register reducers, which forked workers inherit."""
    for kind in (process_calls.Stubborn, process_calls.Particular):
        monkeypatch.delitem(copyreg.dispatch_table, kind, raising=False)


@pytest.mark.usefixtures("without_reducers_of_others")
@pytest.mark.parametrize("call", [process_calls.raise_stubborn, process_calls.give_stubborn])
def test_an_exception_that_refuses_its_cause_and_notes_ends_its_own_call(pool, call):
    for wait in True, False:
        futures = [pool.submit(call)] + [pool.submit(process_calls.square, 3) for _ in range(1 - wait)]
        assert type(futures[0].exception(30)) is process_calls.Stubborn
        assert pool.submit(process_calls.square, 3).result(30) == 9


@pytest.mark.parametrize("where", ["marshal", "pickle", "payload", "error"])
def test_a_call_whose_end_can_not_be_read_ends_with_that(make_pool, monkeypatch, where):
    pool = make_pool(1)
    assert pool.submit(process_calls.square, 3).result(30) == 9

    def no_memory(*_, **__):
        raise MemoryError("no memory to read it")

    inner = pool._cf_pool
    with monkeypatch.context() as patch:
        if where == "marshal":
            for module in ("result_decoding", "shared_queue.frame_reader"):
                if (imported := sys.modules.get(f"corefutures_pools.workers.{module}")) is not None:
                    patch.setattr(imported, "loads", no_memory)
        elif where == "error":
            patch.setattr(type(inner.decoder), "rebuild", no_memory)
        else:
            inner.decoder.decode = no_memory
            patch.setattr("corefutures_pools.workers.payload.pickle", types.SimpleNamespace(loads=no_memory))
        calls = {
            "marshal": (process_calls.square, 3), "pickle": (process_calls.fill, "bytearray", 30_000),
            "payload": (process_calls.fill, "bytearray", 100_000), "error": (process_calls.raise_particular,),
        }  # fmt: skip
        futures = [pool.submit(*calls[where]) for _ in range(3)]
        errors = [future.exception(30) for future in futures]
    inner.decoder.decode = pickle.loads
    assert {type(error) for error in errors} <= {MemoryError, AttributeError}
    assert pool.submit(process_calls.square, 3).result(30) == 9


def encoder(serializer):
    if serializer == "cloudpickle":
        pytest.importorskip("cloudpickle", reason="needs the package cloudpickle")
    return make_encoder(serializer, memfds=False)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has memory files")
@pytest.mark.parametrize("size", [300_000, 5_000_000])
def test_a_process_that_may_have_no_more_mappings_gets_its_results(monkeypatch, size):
    numpy = pytest.importorskip("numpy", reason="needs NumPy")
    payload = make_encoder("pickle", memfds=True)(numpy.arange(size, dtype="u1"))
    label, descriptors = payload.to_memfds()

    def refuse(*_, **__):
        raise OSError(errno.ENOMEM, "no more of them")

    monkeypatch.setattr(payloads.mmap, "mmap", refuse)
    array = payloads.open_payload(memoryview(label), descriptors)
    array[0] = 7
    assert array[:3].tolist() == [7, 1, 2]
    payload.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has memory files")
def test_a_call_whose_arguments_can_not_be_sent_does_not_keep_them(make_pool, transport, monkeypatch):
    """The frames of its error's traceback did: the memory, or the descriptor, as long as its future was kept."""
    if transport != "shared_queue":
        pytest.skip("over pipes no memory file is needed")

    def refuse(*_, **__):
        raise OSError(errno.ENOMEM, "no more of them")

    def living():
        gc.collect()
        return {id(found) for found in gc.get_objects() if isinstance(found, payloads.Payload)}

    pool = make_pool(1)
    assert pool.submit(len, b"").result(30) == 0
    before = living()
    monkeypatch.setattr(payloads, "_write_memfds", refuse)
    future = pool.submit(len, bytes(1 << 22))
    assert isinstance(future.exception(30), OSError)
    pool.shutdown()
    assert not living() - before


def test_what_a_pickle_only_names_is_there_until_the_call_has_ended(pool):
    naps = [pool.submit(time.sleep, 0.2) for _ in range(8)]  # the calls below wait, and nobody else has their arguments
    with multiprocessing.get_context("spawn").Manager() as manager:
        futures = [
            pool.submit(payload_calls.add, manager.list(), 1),
            pool.submit(payload_calls.add, item=1, target=manager.list()),
            pool.submit(partial(payload_calls.add, manager.list()), 1),
            pool.submit(payload_calls.exists, payload_calls.Holder(payload_calls.File(refers=True))),
            pool.submit(payload_calls.exists, payload_calls.File()),
            pool.submit(payload_calls.exists, payload_calls.Named()),
        ]
        maps = [
            pool.map(payload_calls.add, (manager.list() for _ in range(4)), range(4)),
            pool.map(payload_calls.add, (manager.list() for _ in range(4)), range(4), chunksize=3),
            pool.map(payload_calls.exists, (payload_calls.File() for _ in range(4)), chunksize=2),
        ]
        assert [future.result(60) for future in futures] == [1] * 6
        assert [list(results) for results in maps] == [[1] * 4] * 3
    assert [nap.result(60) for nap in naps] == [None] * 8


def test_arguments_are_let_go_when_the_call_has_ended_or_is_cancelled(pool):
    def gone(kept):
        return lambda: kept() is None

    file = payload_calls.File()
    kept, future = weakref.ref(file), pool.submit(payload_calls.exists, file)
    del file
    assert future.result(60)
    process_calls.until(gone(kept), "after the end")
    naps = [pool.submit(time.sleep, 0.2) for _ in range(8)]
    file = payload_calls.File()
    kept, future = weakref.ref(file), pool.submit(payload_calls.exists, file)
    del file
    assert kept() is not None
    assert future.cancel()
    process_calls.until(gone(kept), "after it was cancelled")
    assert [nap.result(60) for nap in naps] == [None] * 8
    # Plain data is not kept: of that a pickle has all.
    assert type(make_encoder("pickle", memfds=False).call(id, ({"a": [Fraction(1)]},), {})) is bytes


@pytest.mark.parametrize("serializer", ["pickle", "cloudpickle"])
def test_classes_of_the_moment_are_not_kept(serializer):
    encode = encoder(serializer)
    made = type("Made", (), {"__reduce__": lambda self: (int, ())})
    kept = weakref.ref(made)
    encode(made())
    encode(Fraction(1))
    del made
    gc.collect()
    assert kept() is None


#: Around the sizes at which a call or a result travels another way.
EDGES = [3_000, 4_100, 32_700, 32_800, 65_000, 66_000, 300_000, 1 << 20, (1 << 20) + 5_000, 1_500_000]


def test_results_of_all_sizes_for_arguments_of_all_sizes(pool):
    futures = [
        (pool.submit(process_calls.resized, bytes([number]) * there, back), bytes([number]) * back)
        for there in EDGES
        for number, back in enumerate([1, *EDGES])
    ]
    assert all(future.result(50) == expected for future, expected in futures)
    for back in EDGES:  # one by one: the thread that waits reads the result itself
        assert pool.submit(process_calls.resized, b"x" * 70_000, back).result(50) == b"x" * back
        assert pool.submit(process_calls.resized, content=b"x" * back, size=1000).result(50) == b"x" * 1000


def test_a_worker_that_is_killed_leaves_the_memory_of_others_alone(make_pool, any_method):
    pool = make_pool(2, on_worker_loss="replace")
    for _ in range(3):
        lost = [pool.submit(process_calls.die, bytes(size)) for size in (10_000, 100_000)]
        kept = [(pool.submit(process_calls.echo, one), one) for one in (bytes([n]) * 100_000 for n in range(20))]
        assert all(isinstance(future.exception(50), WorkerLostError) for future in lost)
        assert all(future.result(50) == one for future, one in kept)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_result_that_forks_as_it_is_unpickled(pool):
    """The child has a copy of the thread that reads it, in the middle of that."""
    result = pool.submit(process_calls.Forking, bytes(200_000)).result(50)
    assert result == (200_000, 0)
    assert_usable(pool)
