"""`snapshot` and `dump` show the state of a pool that hangs, also from a signal handler that interrupts anything."""

from __future__ import annotations

import errno
import importlib.util
import io
import linecache
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import observed_calls
import pytest

import corefutures
from corefutures import Executor, Snapshot, UnsupportedError
from corefutures_pools.executor import PoolExecutor
from corefutures_pools.inspection import stacks

with_processes = pytest.mark.skipif(
    importlib.util.find_spec("corefutures_process") is None, reason="the process backend is not installed here"
)
with_interpreters = pytest.mark.skipif(
    sys.version_info < (3, 14) or importlib.util.find_spec("corefutures_interpreter") is None,
    reason="the interpreter backend needs Python 3.14",
)
BACKENDS = [
    pytest.param(("thread", False), id="thread"),
    pytest.param(("process", False), marks=with_processes, id="process"),
    pytest.param(("process", True), marks=with_processes, id="process-portable"),
    pytest.param(("interpreter", False), marks=with_interpreters, id="interpreter"),
    pytest.param(("interpreter", True), marks=with_interpreters, id="interpreter-portable"),
]
ISOLATED = BACKENDS[1:]
posix_only = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")


@pytest.fixture
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name, portable = request.param
    if portable:
        monkeypatch.setenv("COREFUTURES_PORTABLE", "1")
    return name  # type: ignore[no-any-return]


def wait_for(folder: Path, *names: str) -> None:
    deadline = time.monotonic() + 30
    while not all((folder / name).exists() for name in names):
        assert time.monotonic() < deadline, f"{names} did not all start"
        time.sleep(0.005)


@contextmanager
def busy(
    backend: str, folder: Path, workers: int = 2, waiting: int = 0
) -> Iterator[tuple[Executor, list[Future[Any]]]]:
    """A pool of which every worker stays in a call, with some calls waiting."""
    with corefutures.create_executor(backend, max_workers=workers) as executor:
        try:
            names = [f"call-{number}" for number in range(workers)]
            futures = [executor.submit(observed_calls.come_and_stay, str(folder), name) for name in names]
            wait_for(folder, *names)
            futures += [executor.submit(divmod, 7, number + 1) for number in range(waiting)]
            yield executor, futures
        finally:
            (folder / "go").touch()


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_it_tells_what_runs_where_and_what_waits(backend: str, tmp_path: Path) -> None:
    began = time.monotonic()
    with busy(backend, tmp_path, waiting=12) as (executor, _):
        snapshot = executor.snapshot(timeout=20)
        (tmp_path / "go").touch()
    assert isinstance(snapshot, Snapshot)
    assert (snapshot.state, snapshot.max_workers, snapshot.running, snapshot.waiting) == ("open", 2, 2, 12)
    assert snapshot.first_waiting == ("divmod",) * 10
    assert len(snapshot.workers) == 2
    for worker in snapshot.workers:
        assert worker.state == "running"
        (call,) = worker.calls
        assert call.name == "come_and_stay"
        assert call.seconds is not None
        assert 0 <= call.seconds <= time.monotonic() - began
        assert not call.at_least
        assert (worker.pid is None) is (worker.thread is not None) is (backend != "process")
        if os.name != "nt" or backend != "interpreter":
            assert worker.stack[0].function == "come_and_stay"
            assert worker.stack[0].file == observed_calls.__file__
            assert worker.remark is None
    page = str(snapshot)
    assert "2 of 2 workers, 2 running, 12 waiting" in page
    assert "divmod and 2 more" in page
    for worker in snapshot.workers:
        for frame in worker.stack:  # in whichever line of the call the worker was
            line = linecache.getline(frame.file, frame.line).strip()
            assert line and line in page


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_idle_and_ended_pools_are_told_as_well(backend: str) -> None:
    with corefutures.create_executor(backend, max_workers=1) as executor:
        executor.submit(abs, -1).result(timeout=30)
        deadline = time.monotonic() + 30
        while (snapshot := executor.snapshot(timeout=20)).workers[0].state != "idle":
            assert time.monotonic() < deadline
        assert (snapshot.running, snapshot.waiting, snapshot.first_waiting) == (0, 0, ())
    snapshot = executor.snapshot()
    assert (snapshot.state, snapshot.workers) == ("shut down", ())


@pytest.mark.parametrize("backend", ISOLATED, indirect=True)
def test_a_name_that_was_given_is_told_with_the_function(backend: str, tmp_path: Path) -> None:
    with corefutures.create_executor(backend, max_workers=1) as executor:
        executor.options(name="the long one").submit(observed_calls.come_and_stay, str(tmp_path), "one")
        wait_for(tmp_path, "one")
        executor.options(name="the short one").submit(abs, 1)
        executor.submit(len, bytearray(1_000_000))
        snapshot = executor.snapshot(timeout=20)
        (tmp_path / "go").touch()
    assert snapshot.workers[0].calls[0].name == "come_and_stay (named 'the long one')"
    assert snapshot.first_waiting == ("the short one", "len")


@pytest.mark.parametrize("backend", ISOLATED, indirect=True)
def test_a_function_without_frames_of_its_own_is_named(backend: str) -> None:
    with corefutures.create_executor(backend, max_workers=1) as executor:
        running = executor.submit(time.sleep, 1)
        while not running.running():
            assert not running.done()
        (worker,) = executor.snapshot(timeout=20).workers
    assert [call.name for call in worker.calls] in (["sleep"], [])  # none if it was over by then


@pytest.mark.parametrize("backend", ISOLATED, indirect=True)
def test_an_initializer_that_hangs_is_found(backend: str, tmp_path: Path) -> None:
    with corefutures.create_executor(
        backend, max_workers=1, initializer=observed_calls.come_and_stay, initargs=(str(tmp_path), "first")
    ) as executor:
        future = executor.submit(abs, -1)
        wait_for(tmp_path, "first")
        (worker,) = executor.snapshot(timeout=20).workers
        (tmp_path / "go").touch()
        assert future.result(timeout=30) == 1
    assert worker.state == "starting"
    # In an interpreter it is not the worker loop that calls it.
    assert any(frame.function == "come_and_stay" for frame in worker.stack) or os.name == "nt"


@posix_only
@with_processes
@pytest.mark.parametrize("backend", BACKENDS[1:3], indirect=True)
def test_a_worker_that_does_not_answer_is_shown_without_a_stack(backend: str, tmp_path: Path) -> None:
    with corefutures.create_executor(backend, max_workers=1) as executor:
        future = executor.submit(observed_calls.come_and_stop, str(tmp_path), "stopped")
        wait_for(tmp_path, "stopped")
        (worker,) = executor.snapshot(timeout=0.1).workers  # may come before it has stopped
        assert worker.pid is not None
        deadline = time.monotonic() + 30
        while worker.stack:
            assert time.monotonic() < deadline
            (worker,) = executor.snapshot(timeout=0.1).workers
        assert worker.state == "running"
        assert "does not answer" in (worker.remark or "")
        os.kill(worker.pid, signal.SIGCONT)
        future.result(timeout=30)
        (worker,) = executor.snapshot(timeout=20).workers
        assert worker.stack  # an answer that came late is not taken for this one


def test_without_a_descriptor_there_are_snapshots_without_stacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where interpreters are in use, stacks go through a pipe: that it can't be had is no reason to tell nothing."""

    def refuse() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with corefutures.ThreadPoolExecutor(1) as pool:
        assert pool.submit(abs, -1).result(30) == 1
        monkeypatch.setitem(sys.modules, "_interpreters", sys)
        monkeypatch.setattr(stacks.system, "pipe", refuse)
        (worker,) = pool.snapshot().workers
    assert worker.stack == ()


def test_a_call_that_threads_run_one_after_another_is_known_from_when_it_was_first_seen() -> None:
    go_on, reached = threading.Event(), threading.Event()

    def stay() -> None:
        reached.set()
        go_on.wait(30)

    with corefutures.create_executor("thread", max_workers=1) as executor:
        gate = threading.Event()
        executor.submit(gate.wait, 30)
        executor.submit(stay)
        gate.set()
        assert reached.wait(30)
        first = executor.snapshot().workers[0].calls[0]
        second = executor.snapshot().workers[0].calls[0]
        go_on.set()
    assert first.seconds is None
    assert second.at_least
    assert second.seconds is not None
    assert str(second).startswith(f"{second.name} for at least ")


def test_calls_run_in_place_are_told_in_their_order() -> None:
    reached, go_on = threading.Event(), threading.Event()

    def inner() -> None:
        reached.set()
        go_on.wait(30)

    def outer() -> None:
        executor.submit(inner).result(30)

    with corefutures.create_executor("thread", max_workers=1) as executor:
        executor.submit(outer)
        assert reached.wait(30)
        snapshot = executor.snapshot()
        go_on.set()
    assert [call.name.rpartition(".")[2] for call in snapshot.workers[0].calls] == ["outer", "inner"]
    assert (snapshot.running, snapshot.waiting) == (2, 0)


def test_views_tell_and_others_refuse() -> None:
    with corefutures.create_executor("thread", max_workers=1) as executor:
        assert executor.options(name="x").snapshot().max_workers == 1
    with pytest.raises(UnsupportedError, match="can't be looked into"):
        PoolExecutor().snapshot()


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_dump_tells_of_every_living_executor(backend: str, tmp_path: Path) -> None:
    page = io.StringIO()
    with busy(backend, tmp_path, workers=1) as (executor, _):
        with corefutures.create_executor("thread", max_workers=3):
            corefutures.dump(page, timeout=20)
        name = executor.snapshot(timeout=20).name
    printed = page.getvalue()
    assert f"executors in process {os.getpid()}" in printed
    assert name in printed
    assert "runs come_and_stay for " in printed
    assert "0 of 3 workers" in printed


@pytest.mark.thread_unsafe(reason="a dump in another thread has the executor just then")
def test_dump_does_not_keep_executors_alive() -> None:
    import weakref

    executor = corefutures.create_executor("thread", max_workers=1)
    executor.shutdown()
    reference = weakref.ref(executor)
    corefutures.dump(io.StringIO())
    del executor
    assert reference() is None


@posix_only
@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_a_handler_may_dump_whatever_it_interrupts(backend: str) -> None:
    """Signals come as fast as they can while calls are submitted, cancelled and waited for."""
    pages: list[str] = []

    def look(*_: Any) -> None:
        page = io.StringIO()
        corefutures.dump(page, timeout=0.05)
        pages.append(page.getvalue())
        if wanted:
            signal.setitimer(signal.ITIMER_REAL, 0.002)  # now: a handler is not to interrupt itself

    wanted = True
    before = signal.signal(signal.SIGALRM, look)
    try:
        with corefutures.create_executor(backend, max_workers=2) as executor:
            executor.submit(abs, 1).result(timeout=30)
            signal.setitimer(signal.ITIMER_REAL, 0.002)
            deadline = time.monotonic() + 20
            while len(pages) < 15 and time.monotonic() < deadline:
                futures = [executor.submit(abs, number) for number in range(50)]
                futures[-1].cancel()
                assert [future.result(timeout=30) for future in futures[:-1]] == list(range(49))
            wanted = False
    finally:
        wanted = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(pages) >= 15
    assert all("could not be looked into" not in page for page in pages), pages


@posix_only
def test_a_pools_locks_may_be_held_while_it_is_looked_into() -> None:
    with corefutures.create_executor("thread", max_workers=1) as executor:
        stop = threading.Event()
        running = executor.submit(stop.wait, 30)
        held, dumped = threading.Event(), threading.Event()

        def hold() -> None:
            with running._condition:
                held.set()
                dumped.wait(30)

        holder = threading.Thread(target=hold)
        holder.start()
        assert held.wait(30)
        try:
            assert executor.snapshot().running == 1
        finally:
            dumped.set()
            stop.set()
            holder.join()


@posix_only
@pytest.mark.parametrize("asked", ["function", "variable"])
def test_a_signal_from_outside_dumps(asked: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        textwrap.dedent(
            """
            import sys, threading, corefutures
            if sys.argv[1] == "function":
                corefutures.dump_on_signal()
            executor = corefutures.create_executor("thread", max_workers=1)
            go_on = threading.Event()
            def hang():
                print("hanging", flush=True)
                go_on.wait(30)
            future = executor.submit(hang)
            sys.stdin.readline()
            go_on.set()
            executor.shutdown()
            """
        )
    )
    environment = {**os.environ, **({"COREFUTURES_DUMP_SIGNAL": "usr1"} if asked == "variable" else {})}
    program = subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py"), asked],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    try:
        assert program.stdout is not None
        assert program.stderr is not None
        assert program.stdout.readline() == "hanging\n"
        program.send_signal(signal.SIGUSR1)
        assert program.stderr.readline() == f"1 executors in process {program.pid}\n"
        assert program.stdin is not None
        program.stdin.write("\n")
        program.stdin.close()
        printed = program.stderr.read()
        program.wait(30)
    finally:
        program.kill()
        program.wait()
        for pipe in (program.stdin, program.stdout, program.stderr):
            if pipe is not None:
                pipe.close()
    assert program.returncode == 0
    assert "runs hang for " in printed
    assert ", in hang\n" in printed


@pytest.mark.parametrize(
    ("name", "installed"),
    [
        pytest.param("USR1", ["SIGUSR1"], marks=pytest.mark.skipif(os.name != "posix", reason="there is no SIGUSR1")),
        ("NONE_SUCH", []),
        ("_DFL", []),  # an attribute of the module `signal`, and no signal
    ],
)
def test_a_variable_installs_a_handler_for_the_signal_that_it_names_and_none_else(
    monkeypatch: pytest.MonkeyPatch, name: str, installed: list[str]
) -> None:
    handled: list[str] = []
    monkeypatch.setattr(signal, "signal", lambda number, _: handled.append(signal.Signals(number).name))
    monkeypatch.setenv("COREFUTURES_DUMP_SIGNAL", name)
    monkeypatch.setattr("corefutures_pools.executor._signal_named", True)  # read with the first import
    corefutures.create_executor("thread", max_workers=1).shutdown()
    assert handled == installed


@with_processes
def test_who_looks_while_somebody_looks_leaves_the_worker_to_be_asked_again() -> None:
    """A signal handler that dumps, for instance, between the question of a snapshot and its answer."""
    with corefutures.create_executor("process", max_workers=1) as executor:
        executor.submit(os.getpid).result(30)
        worker = next(iter(executor._cf_pool.occupations())).worker  # type: ignore[attr-defined]
        worker.ask_for_stack()
        assert executor.snapshot(timeout=10).workers[0].stack
        worker.read_stack(time.monotonic() + 1)
        assert executor.snapshot(timeout=10).workers[0].stack
