"""`share`: objects that a thread, process or interpreter pool sends to each worker once."""

from __future__ import annotations

import array
import contextlib
import errno
import gc
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import corefutures
from tests.support import sharing_calls as calls
from tests.support.subprocesses import run_script

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),  # forks beside pytest's
]

LINUX = sys.platform == "linux"
METHODS = [method for method in ("fork", "forkserver", "spawn") if method in multiprocessing.get_all_start_methods()]
_new = pytest.mark.skipif(sys.version_info < (3, 14), reason="interpreters need Python 3.14")
REPLACING = "forkserver" if "forkserver" in METHODS else "spawn"
PORTABLE = [f"process, {REPLACING}, portable", pytest.param("interpreter, , portable", marks=_new)]
ISOLATED = [*(f"process, {method}" for method in METHODS), pytest.param("interpreter", marks=_new), *PORTABLE]
every_kind = pytest.mark.parametrize("kind", ["thread", *ISOLATED])
isolated = pytest.mark.parametrize("kind", ISOLATED)
some = pytest.mark.parametrize("kind", [f"process, {REPLACING}", pytest.param("interpreter", marks=_new), PORTABLE[0]])
replacing = pytest.mark.parametrize("kind", [f"process, {REPLACING}", f"process, {REPLACING}, portable"])
has_maps = pytest.mark.skipif(not LINUX, reason="reads the maps of Linux")


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Any:
    def make(kind: str, **options: Any) -> Any:
        name, method, transport, *_ = [*kind.split(", "), "", ""]
        if transport:
            monkeypatch.setenv("COREFUTURES_PORTABLE", "1")
        if method:
            options["mp_context"] = multiprocessing.get_context(method)
        return corefutures.create_executor(name, **options)

    return make


def lines(journal: Path) -> list[str]:
    return journal.read_text().splitlines() if journal.exists() else []


def descriptors() -> list[str]:
    """The memory files that this process has open."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # of the listing itself
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return sorted(path for path in found if "memfd:" in path)


def comes(state: Callable[[], object], expected: object) -> bool:
    """Wait until the thread that has received a result has let go of what the call needed."""
    while state() != expected:
        time.sleep(0.001)
    return True


def freeable() -> tuple[list[str], list[str]]:
    return descriptors(), temporary()


def temporary() -> list[str]:
    """The temporary files that hold shared objects of this process."""
    prefix = f"corefutures-shared-{os.getpid()}-"
    return [name for name in os.listdir(tempfile.gettempdir()) if name.startswith(prefix)]


@pytest.mark.skipif(not LINUX, reason="memory files are of Linux")
@pytest.mark.parametrize("missing", ["a descriptor", "the user"])
def test_a_temporary_file_takes_the_place_of_a_memory_file(
    missing: str, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from corefutures_pools.workers.shared_queue import memfds
    from corefutures_pools.workers.sharing import memory

    def fail(**_: object) -> int:
        raise OSError(errno.EMFILE, "no descriptor is left")

    if missing == "a descriptor":
        monkeypatch.setattr(memfds, "new_memfd", fail)
    else:  # the process has changed it: nobody else may open what it has open
        monkeypatch.setattr(memory, "_lets_others_open", lambda: False)
    with make(f"process, {REPLACING}", max_workers=1) as pool, pool.share(calls.Table(bytes(100_000))) as shared:
        assert len(temporary()) == 1
        assert pool.submit(calls.size, shared).result() == 100_000
    assert comes(temporary, [])


@every_kind
def test_it_arrives_anywhere_in_the_arguments(kind: str, make: Any) -> None:
    table = calls.Table(bytearray(100_000))
    with make(kind, max_workers=1) as pool, pool.share(table) as shared:
        assert pool.submit(calls.sizes, shared, shared, name=shared).result() == [100_000] * 3
        assert pool.submit(calls.sizes, shared).result() == [100_000]
        assert pool.submit(partial(calls.sizes, shared), named=shared).result() == [100_000] * 2
        within = calls.Holder(shared), [shared], {"a": shared}, ([shared], 1)
        assert pool.submit(calls.sizes_within, *within).result() == [100_000] * 4
        assert within[1] == [shared], "the list of the caller was changed"
        assert list(pool.map(calls.size, [shared] * 7)) == [100_000] * 7
        assert list(pool.map(calls.size, [shared] * 7, chunksize=3)) == [100_000] * 7
        assert pool.options(name="call").submit(calls.size, shared).result() == 100_000
        assert sum(1 for _ in pool.stream(calls.count_to_size, shared)) == 100_000
        assert repr(shared) == "<Shared Table>"
        if kind == "thread":
            assert pool.submit(calls.identity, shared).result() == id(table)


@isolated
def test_it_is_pickled_once_and_loaded_once_by_each_worker(kind: str, make: Any, tmp_path: Path) -> None:
    journal, before = tmp_path / "journal", calls.pickles
    with make(kind, max_workers=2) as pool:
        shared = pool.share(calls.Table(bytes(100_000), str(journal)))
        told = list(pool.map(calls.size_and_worker, [shared] * 60, range(60)))
        assert pool.submit(calls.sizes, shared, name=[shared][0]).result() == [100_000] * 2
    assert [size for size, _ in told] == list(range(100_000, 100_060))
    loads = lines(journal)
    assert sorted(loads) == sorted(set(loads)), "a worker has loaded it twice"
    assert {f"load {worker}" for _, worker in told} <= set(loads)
    assert calls.pickles == before + 1


@some
def test_its_buffers_are_read_only(kind: str, make: Any) -> None:
    with make(kind, max_workers=1) as pool:
        shared = pool.share(calls.Table(bytearray(100_000)))
        for _ in range(2):
            with pytest.raises(TypeError, match="read-only"):
                pool.submit(calls.write_into, shared).result()
        numbers = array.array("d", [1.5, 2.5])
        assert pool.submit(calls.kind_and_list, pool.share(numbers)).result() == ("array", [1.5, 2.5])
        for view in [memoryview(numbers), memoryview(numbers)[::-1], memoryview(b"abcdef").cast("B", (2, 3))]:
            told = ("memoryview", view.format, view.shape, True, view.tolist())
            assert pool.submit(calls.told, pool.share(view)).result() == told
        assert pool.submit(calls.told, pool.share(memoryview(b""))).result() == ("memoryview", "B", (0,), True, [])


@has_maps
@pytest.mark.parametrize("kind", [f"process, {REPLACING}", f"process, {REPLACING}, portable"])
def test_workers_map_the_same_memory(kind: str, make: Any, tmp_path: Path) -> None:
    with make(kind, max_workers=2) as pool:
        shared = pool.share(calls.Table(bytes(1_000_000)))
        arrived = [tmp_path / "first", tmp_path / "second"]
        futures = [
            pool.submit(calls.size_once, shared, str(mine), str(other)) for mine, other in (arrived, arrived[::-1])
        ]
        assert [future.result() for future in futures] == [1_000_000] * 2
        found = set(map(tuple, pool.map(calls.mapped_with, [shared] * 20)))
        assert len(found) == 1
        assert len(next(iter(found))) == 1


@has_maps
@some
def test_it_is_freed_everywhere(kind: str, make: Any, tmp_path: Path) -> None:
    with make(kind, max_workers=1) as pool:
        pool.submit(calls.mapped).result()
        before = freeable()
        with pool.share(calls.Table(bytes(1_000_000))) as shared:
            assert len(pool.submit(calls.mapped_with, shared).result()) == 1
        assert shared.closed
        assert comes(freeable, before)
        pool.submit(abs, 1).result()  # the next call: the worker has looked when it has ended
        assert pool.submit(calls.mapped).result() == []
        # A worker that is busy drops it after that call, and a call that waits gets it.
        arrived, path = tmp_path / "arrived", tmp_path / "path"
        shared = pool.share(calls.Table(bytes(1_000_000)))
        running = pool.submit(calls.size_once, shared, str(arrived), str(path))
        waiting = pool.submit(calls.size_once, shared, str(arrived), str(path))
        calls.wait_for(str(arrived))
        shared.close()
        path.touch()
        assert (running.result(), waiting.result()) == (1_000_000, 1_000_000)
        assert comes(freeable, before)
        pool.submit(abs, 1).result()
        assert pool.submit(calls.mapped).result() == []
        # Without a close.
        future = pool.submit(calls.size, pool.share(calls.Table(bytes(1_000_000))))
        assert future.result() == 1_000_000
        shared = pool.share(calls.Table(bytes(1_000_000)))
        pool.submit(calls.size, shared).result()
        del shared
        gc.collect()
        assert comes(freeable, before)
        pool.submit(abs, 1).result()
        assert pool.submit(calls.mapped).result() == []
        kept = [pool.share(calls.Table(bytes(1_000_000))) for _ in range(3)]
    assert all(shared.closed for shared in kept)
    assert comes(temporary, before[1])
    with make(kind, max_workers=1) as pool:
        shared = pool.share(calls.Table(bytes(1_000_000)))
        waiting = pool.submit(calls.size, shared)
        pool.shutdown(wait=False)
        assert waiting.result() == 1_000_000


@pytest.mark.parametrize("kind", ["thread", f"process, {REPLACING}", pytest.param("interpreter", marks=_new)])
def test_a_handle_that_can_not_be_used_fails_its_call_alone(kind: str, make: Any) -> None:
    with make(kind, max_workers=1) as pool, make(kind, max_workers=1) as other:
        shared = pool.share([1, 2])
        theirs = other.share([1, 2, 3])
        with pytest.raises(ValueError, match="belongs to another pool"):
            pool.submit(len, theirs).result()
        with pytest.raises(ValueError, match="belongs to another pool"):
            pool.submit(sum, [theirs]).result()
        assert pool.submit(len, shared).result() == 2
        shared.close()
        shared.close()
        for argument in (shared, [shared], {"a": shared}):
            with pytest.raises(ValueError, match="before it is closed"):
                pool.submit(len, argument).result()
        assert repr(shared) == "<Shared list, closed>"
        assert pool.submit(len, pool.share({3})).result() == 1
        with pytest.raises(TypeError, match="can only be an argument of calls of the pool"):
            pickle.dumps(theirs)
        other.shutdown()
        assert theirs.closed
        with pytest.raises(RuntimeError, match="after shutdown"):
            other.share([1])
        with pytest.raises(RuntimeError, match="after shutdown"):
            other.submit(len, theirs)


@some
def test_an_object_that_can_not_be_pickled_is_refused_at_once(kind: str, make: Any) -> None:
    with make(kind, max_workers=1) as pool:
        before = temporary()
        with pytest.raises((TypeError, pickle.PicklingError, AttributeError)):
            pool.share([lambda: 1, sys._getframe()])
        assert temporary() == before
        assert pool.submit(len, pool.share([1])).result() == 1


@some
def test_an_object_that_can_not_be_loaded_fails_its_call_alone(kind: str, make: Any, tmp_path: Path) -> None:
    with make(kind, max_workers=1) as pool:
        shared = pool.share([calls.Fails(str(tmp_path / "path"))])
        for _ in range(2):
            with pytest.raises(Exception, match="the file is missing"):
                pool.submit(calls.returned, shared).result()
        (tmp_path / "path").touch()
        assert pool.submit(calls.returned, shared).result() == ["loaded"]


@some
def test_a_shared_object_may_hold_another(kind: str, make: Any) -> None:
    with make(kind, max_workers=1) as pool:
        outer = pool.share({"table": pool.share(calls.Table(bytes(1_000_000)))})
        gc.collect()
        assert pool.submit(calls.kind_of, outer).result() == "dict"
        assert pool.submit(calls.kind_and_list, outer).result() == ("dict", ["table"])


@replacing
def test_workers_that_come_later_get_it_too(kind: str, make: Any, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    with make(kind, max_workers=1, on_worker_loss="replace") as pool:
        table = pool.share(calls.Table(bytes(1_000), str(journal)))
        assert pool.submit(calls.size, table).result() == 1_000
        dies = pool.share(calls.Kills(str(tmp_path / "marker")))
        with pytest.raises(corefutures.WorkerLostError):
            pool.submit(calls.kind_of, dies).result()
        assert pool.submit(calls.kind_of, dies).result() == "Kills"
        assert pool.submit(calls.size, table).result() == 1_000
    assert len(lines(journal)) == 2
    with make(kind, max_workers=1, max_tasks_per_child=1) as pool:
        table = pool.share(calls.Table(bytes(1_000), str(journal)))
        assert list(pool.map(calls.size, [table] * 3)) == [1_000] * 3
    assert len(lines(journal)) == 5


@pytest.mark.skipif(sys.platform == "win32", reason="kills by a signal, which Windows has not")
@replacing
def test_workers_that_are_killed_all_the_time_leave_no_call_without_an_end(kind: str, make: Any) -> None:
    with make(kind, max_workers=2, on_worker_loss="replace") as pool:
        table = pool.share(calls.Table(bytes(3_000_000)))
        futures = []
        for _ in range(4):
            futures += [pool.submit(calls.size_and_worker, table, number) for number in range(50)]
            told = next(future.result() for future in corefutures.as_completed(futures[-50:]) if not future.exception())
            with contextlib.suppress(ProcessLookupError):  # it was lost with the last one
                os.kill(int(told[1].split()[0]), signal.SIGKILL)
        errors = [future.exception() for future in futures]
        assert {type(error) for error in errors} <= {type(None), corefutures.WorkerLostError}
        assert sum(error is not None for error in errors) <= 8
    assert comes(temporary, [])


def test_numpy_arrays_are_read_only_views(make: Any) -> None:
    numpy: Any = pytest.importorskip("numpy", reason="NumPy is not installed")
    with make(f"process, {REPLACING}", max_workers=1) as pool:
        shared = pool.share({"a": numpy.arange(12.0).reshape(3, 4)})
        flags = pool.submit(calls.flags_of, shared, "a").result()
        assert flags == (False, False, (3, 4), 66.0)


@pytest.mark.skipif(sys.version_info >= (3, 14) or not LINUX, reason="fork is not the default here")
def test_a_handle_outlives_the_choice_of_another_start_method() -> None:
    with corefutures.create_executor("process", max_workers=1) as pool:
        shared = pool.share([1, 2])
        assert pool.options(timeout=50).submit(len, shared).result() == 2


def test_an_executor_that_can_not_share_refuses() -> None:
    import concurrent.futures

    with (
        concurrent.futures.ThreadPoolExecutor() as theirs,
        pytest.raises(corefutures.UnsupportedError, match="can't share an object with its workers"),
    ):
        corefutures.adapt(theirs).share([1])


PROGRAM = """
import os, signal, sys, tempfile, corefutures
from tests.support import sharing_calls as calls

pool = corefutures.create_executor("process", max_workers=1)
pool.submit(abs, 1).result()
tempfile.tempdir = sys.argv[1]
shared = pool.share(calls.Table(bytes(1_000_000)))
print(pool.submit(calls.size, shared).result(), len(os.listdir(sys.argv[1])), flush=True)
"""
FORKS = """
child = os.fork()
if not child:
    shared.close()
    del shared
    os._exit(0)
os.waitpid(child, 0)
pool.submit(abs, 1).result()
print(pool.submit(calls.size, shared).result())
pool.shutdown()
print(len(os.listdir(sys.argv[1])))
"""


@pytest.mark.skipif(not LINUX, reason="memory files are of Linux")
@pytest.mark.parametrize("portable", ["0", "1"])
def test_a_child_that_is_forked_frees_nothing_of_its_parent(
    portable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COREFUTURES_PORTABLE", portable)
    ended = run_script(PROGRAM + FORKS, str(tmp_path), options=("-W", "ignore::DeprecationWarning"))
    assert ended.out.split() == ["1000000", portable, "1000000", "0"], ended.err


@pytest.mark.skipif(not LINUX, reason="memory files are of Linux")
def test_a_program_that_is_killed_leaves_no_file(tmp_path: Path) -> None:
    ended = run_script(PROGRAM + "os.kill(os.getpid(), signal.SIGKILL)", str(tmp_path))
    assert ended.out.split() == ["1000000", "0"], ended.err
    assert os.listdir(tmp_path) == []
