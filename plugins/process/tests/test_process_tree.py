"""The programs that a call has started end with its worker: by a limit, by `kill`, with the pool (`kill_tree`)."""

from __future__ import annotations

import os
import signal
import sys

import process_calls
import pytest

from corefutures import BrokenExecutor, WorkerLostError
from corefutures_process import _process_tree

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell what a process has started")


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def started(pool, journal, kind):
    """Submits a call that starts programs, and returns it and their numbers."""
    future = pool.submit(process_calls.start_programs, journal, kind)
    process_calls.until(lambda: "all" in process_calls.lines(journal) or future.done())
    return future, [int(line) for line in process_calls.lines(journal) if line != "all"]


@pytest.fixture
def journal(tmp_path):
    path = str(tmp_path / "programs")
    yield path
    for line in process_calls.lines(path):
        if line.isdecimal() and runs(int(line)):
            os.kill(int(line), signal.SIGKILL)


@pytest.mark.parametrize("kind", ["program", "session", "tree", "ignorant"])
@pytest.mark.parametrize("how", ["kill", "limit", "kill_workers", "cancel"])
def test_programs_end_with_the_call(make_pool, one_method, journal, kind, how):
    pool = make_pool(1, kill_on_cancel=how == "cancel", on_worker_loss="replace")
    view = pool.options(timeout=1.5) if how == "limit" else pool
    future, programs = started(view, journal, kind)
    assert len(programs) == (3 if kind == "tree" else 1)
    if how == "kill":
        assert pool.kill(future)
    elif how == "cancel":
        future.cancel()
    elif how == "kill_workers":
        pool.kill_workers()
    assert isinstance(future.exception(30), (WorkerLostError, TimeoutError, BrokenExecutor))
    process_calls.until(lambda: not any(map(runs, programs)))


def test_terminated_workers_take_their_programs_along(make_pool, one_method, journal):
    pool = make_pool(1)
    future, programs = started(pool, journal, "tree")
    pool.terminate_workers()
    assert isinstance(future.exception(30), BrokenExecutor)
    process_calls.until(lambda: not any(map(runs, programs)))


def test_without_kill_tree_programs_go_on(make_pool, one_method, journal):
    pool = make_pool(1, kill_tree=False, on_worker_loss="replace")
    future, programs = started(pool, journal, "program")
    assert pool.kill(future)
    assert isinstance(future.exception(30), WorkerLostError)
    assert all(map(runs, programs))


def test_a_worker_that_leaves_takes_nothing_along(make_pool, one_method, journal):
    pool = make_pool(1)
    programs = pool.submit(process_calls.start_programs, journal, "left behind").result(30)
    pool.shutdown()
    assert all(map(runs, programs))


def test_others_calls_and_programs_are_spared(make_pool, one_method, journal, tmp_path):
    pool = make_pool(2, on_worker_loss="replace")
    spared, programs = started(pool, str(tmp_path / "spared"), "program")
    victim, others = started(pool, journal, "program")
    assert pool.kill(victim)
    process_calls.until(lambda: not any(map(runs, others)))
    assert all(map(runs, programs))
    assert not spared.done()
    assert pool.kill(spared)
    process_calls.until(lambda: not any(map(runs, programs)))


def test_an_interrupted_kill_leaves_nothing_stopped(make_pool, one_method, journal, monkeypatch):
    pool = make_pool(1, on_worker_loss="replace")
    future, _programs = started(pool, journal, "tree")
    original, came = _process_tree.descendants, []

    def interrupt(pid):
        if came:  # the pool's own thread, which looks after whom it has lost
            return original(pid)
        came.append(True)
        raise KeyboardInterrupt

    monkeypatch.setattr(_process_tree, "descendants", interrupt)
    with pytest.raises(KeyboardInterrupt):
        pool.kill(future)
    monkeypatch.undo()
    assert isinstance(future.exception(30), WorkerLostError)
    assert pool.submit(process_calls.square, 3).result(30) == 9


def test_where_the_kernel_lists_no_children(monkeypatch):
    """As on macOS: `ps` is asked."""
    program = process_calls.start_tree()
    try:
        known = set(_process_tree.descendants(os.getpid()))
        monkeypatch.setattr(_process_tree, "_children", lambda pid: None)
        assert known & set(_process_tree.descendants(os.getpid())) >= {program.pid}
        assert len(_process_tree.descendants(program.pid)) == 1
    finally:
        _process_tree.kill_tree(program.pid, program.kill)
        program.wait()
