"""`forward_logs`: what workers log is handled here, complete, at the latest when the pool has ended."""

from __future__ import annotations

import importlib.util
import logging
import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import observed_calls
import pytest

import corefutures
from corefutures import BrokenExecutor, WorkerLostError, _blocking

with_processes = pytest.mark.skipif(
    importlib.util.find_spec("corefutures_process") is None, reason="the process backend is not installed here"
)
with_interpreters = pytest.mark.skipif(
    sys.version_info < (3, 14) or importlib.util.find_spec("corefutures_interpreter") is None,
    reason="the interpreter backend needs Python 3.14",
)
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.. may lead to deadlocks:DeprecationWarning")

posix_only = pytest.mark.skipif(os.name == "nt", reason="Windows has no such start method, or kills otherwise")

#: Backend, start method, whether the portable way is forced.
WAYS = [
    pytest.param(("process", "spawn", False), marks=with_processes, id="spawn"),
    pytest.param(("process", "forkserver", False), marks=[with_processes, posix_only], id="forkserver"),
    pytest.param(("process", "fork", False), marks=[with_processes, posix_only], id="fork"),
    pytest.param(("process", "forkserver", True), marks=[with_processes, posix_only], id="forkserver-portable"),
    pytest.param(("interpreter", None, False), marks=with_interpreters, id="interpreter"),
    pytest.param(("interpreter", None, True), marks=with_interpreters, id="interpreter-portable"),
]


class Collected(logging.Handler):
    """Keeps the records that reach it."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.threads: set[threading.Thread] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.threads.add(threading.current_thread())


@pytest.fixture
def collected() -> Iterator[Collected]:
    logger, quiet = logging.getLogger("calls"), logging.getLogger("calls.quiet")
    handler = Collected()
    logger.addHandler(handler)
    before = logger.level, logger.propagate, quiet.level
    logger.setLevel(logging.INFO)
    logger.propagate = False
    quiet.setLevel(logging.ERROR)
    yield handler
    logger.removeHandler(handler)
    logger.level, logger.propagate, quiet.level = before
    logger.manager._clear_cache()  # type: ignore[attr-defined]


@pytest.fixture
def pool(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    backend, method, portable = request.param
    if portable:
        monkeypatch.setenv("COREFUTURES_PORTABLE", "1")
    options = {} if method is None else {"mp_context": multiprocessing.get_context(method)}

    def make(**more: Any) -> Any:
        return corefutures.create_executor(backend, max_workers=2, forward_logs=True, **options, **more)

    return make


@pytest.mark.parametrize("pool", WAYS, indirect=True)
def test_records_arrive_as_they_were_made(pool: Any, collected: Collected) -> None:
    with pool() as executor:
        assert executor.submit(observed_calls.log_everything, 7).result(timeout=30) == 7
    info, warning, failure = collected.records
    assert (info.name, info.levelname, info.msg, info.args) == ("calls.deep", "INFO", "number %d", (7,))
    assert (info.__dict__["where"], info.__dict__["number"]) == ("here", 7)
    assert (info.funcName, Path(info.pathname).name) == ("log_everything", "observed_calls.py")
    assert warning.getMessage() == "spoken"
    assert failure.exc_info is None
    assert failure.exc_text is not None
    assert failure.exc_text.endswith("LookupError: not here")
    assert 'raise LookupError("not here")' in failure.exc_text
    if executor._max_workers and hasattr(executor, "_processes"):
        assert {record.process for record in collected.records}.isdisjoint({os.getpid()})


@pytest.mark.parametrize("pool", WAYS, indirect=True)
def test_all_is_handled_when_the_pool_has_ended(pool: Any, collected: Collected) -> None:
    with pool() as executor:
        futures = [executor.submit(observed_calls.log_many, f"calls.many.{number}", 300) for number in range(4)]
        assert [future.result(timeout=30) for future in futures] == [300] * 4
    for number in range(4):
        records = [record for record in collected.records if record.name == f"calls.many.{number}"]
        assert [record.args[0] for record in records] == list(range(300))  # type: ignore[index]
        assert all(record.args[1] == "x" * (i * 37 % 3000) for i, record in enumerate(records))  # type: ignore[index]
    assert not any(thread.is_alive() for thread in collected.threads)


@posix_only
@pytest.mark.parametrize("pool", WAYS[:1] + WAYS[3:4], indirect=True)
def test_a_worker_killed_in_mid_record_loses_nothing_else(pool: Any, collected: Collected) -> None:
    with pool(on_worker_loss="replace") as executor:
        with pytest.raises((WorkerLostError, BrokenExecutor)):
            executor.submit(observed_calls.log_and_die, "calls.last").result(timeout=30)
        assert executor.submit(observed_calls.log_many, "calls.after", 5).result(timeout=30) == 5
    names = [record.name for record in collected.records]
    assert names.count("calls.last") == 1
    assert names.count("calls.after") == 5


@pytest.mark.parametrize("pool", WAYS[:1] + WAYS[4:5], indirect=True)
def test_a_handler_may_end_the_pool(pool: Any, collected: Collected) -> None:
    ended = threading.Event()

    class Ending(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            executor.shutdown(wait=False)
            ended.set()

    ending = Ending()
    logging.getLogger("calls").addHandler(ending)
    try:
        executor = pool()
        assert executor.submit(observed_calls.log_many, "calls.end", 1).result(timeout=30) == 1
        assert ended.wait(30)
        executor.shutdown()
    finally:
        logging.getLogger("calls").removeHandler(ending)


@pytest.mark.parametrize("pool", WAYS[1:3], indirect=True)
def test_nothing_is_left_open(pool: Any, collected: Collected) -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("this platform does not list the descriptors of a process")
    with pool() as executor:  # what multiprocessing keeps
        executor.submit(abs, 1).result(timeout=30)
    before = len(os.listdir("/proc/self/fd"))
    with pool() as executor:
        executor.submit(observed_calls.log_many, "calls", 1).result(timeout=30)
    assert len(os.listdir("/proc/self/fd")) == before


@with_processes
def test_without_the_option_nothing_arrives(collected: Collected) -> None:
    with corefutures.create_executor("process", max_workers=1) as executor:
        assert executor.submit(observed_calls.log_many, "calls", 1).result(timeout=30) == 1
        assert executor._cf_pool._logs is None  # type: ignore[attr-defined]
    assert collected.records == []


@pytest.mark.parametrize("pool", WAYS, indirect=True)
def test_the_thread_that_reads_records_can_not_start_once(
    pool: Any, collected: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def fail(thread: threading.Thread) -> None:
        if thread.name.endswith(" log"):
            raise RuntimeError("can't start new thread")
        start(thread)

    executor = pool()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", fail)
            with pytest.raises((RuntimeError, BrokenExecutor)):
                executor.submit(observed_calls.log_many, "calls.before", 1000).result(timeout=30)
        try:  # a pool whose workers were forked is broken
            assert executor.submit(observed_calls.log_many, "calls.after", 300).result(timeout=30) == 300
        except BrokenExecutor:
            pass
        else:
            executor.shutdown()
            assert [record.name for record in collected.records].count("calls.after") == 300
    finally:
        executor.shutdown()


@pytest.mark.parametrize("pool", WAYS[:1] + WAYS[4:5], indirect=True)
def test_records_are_read_though_waiting_for_them_fails(
    pool: Any, collected: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing, failed, original = True, threading.Event(), _blocking.wait_ready

    def wait(*args: Any) -> Any:
        if failing and threading.current_thread().name.endswith(" log"):
            failed.set()
            raise OSError(12, "Cannot allocate memory")
        return original(*args)

    monkeypatch.setattr(_blocking, "wait_ready", wait)
    with pool() as executor:
        assert executor.submit(observed_calls.log_many, "calls.meanwhile", 300).result(timeout=30) == 300
        assert failed.wait(30)
        failing = False
        assert executor.submit(observed_calls.log_many, "calls.after", 300).result(timeout=30) == 300
    names = [record.name for record in collected.records]
    assert (names.count("calls.meanwhile"), names.count("calls.after")) == (300, 300)
