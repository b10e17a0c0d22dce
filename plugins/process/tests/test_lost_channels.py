"""What a call does to descriptors that are not its own, and what their end means: death is not believed of a pipe."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import process_calls
import pytest

from corefutures import BrokenExecutor, WorkerLostError, wait

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows passes no descriptors on")


def all_but(futures, *exceptions):
    """Returns what the calls returned; one of `exceptions` in place of it."""
    assert not wait(futures, 30).not_done
    return [future.exception() or future.result() for future in futures]


SERVER_KILLED = """
import os, signal, sys, time
from multiprocessing import forkserver, get_context
import corefutures

if __name__ == "__main__":
    if sys.argv[1] == "without pidfds" and hasattr(os, "pidfd_open"):
        del os.pidfd_open
    pool = corefutures.create_executor(
        "process", max_workers=3, on_worker_loss="replace", mp_context=get_context("forkserver")
    )
    for killed in range(3):
        futures = [pool.submit(abs, -n) for n in range(30)]
        assert not corefutures.wait(futures, 30).not_done
        if killed:  # those that were there may be lost with it, or live on
            assert all(isinstance(f.exception(), (corefutures.WorkerLostError, type(None))) for f in futures)
        else:
            assert [f.result() for f in futures] == list(range(30))
        while (server := forkserver._forkserver._forkserver_pid) is None:
            time.sleep(0.01)  # a thread of the pool starts it anew just now
        os.kill(server, signal.SIGKILL)
    pool.kill_workers()
    pool.shutdown()
    print("ended")
"""


@pytest.mark.parametrize("how", ["with pidfds", "without pidfds"])
def test_the_fork_server_is_killed(any_method, transport, make_pool, tmp_path, how):
    if any_method != "forkserver":
        pytest.skip("needs a fork server")
    script = tmp_path / "script.py"
    script.write_text(SERVER_KILLED)
    done = subprocess.run([sys.executable, script, how], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("ended\n", 0), done.stderr


@pytest.mark.parametrize("deed", ["close_descriptors", "write_to_descriptors", "write_zeros_to_descriptors"])
def test_a_call_harms_its_descriptors(make_pool, any_method, deed):
    harm_descriptors(make_pool, deed)


def harm_descriptors(make_pool, deed, *, alone=True):
    pool = make_pool(2, on_worker_loss="replace")
    for _ in range(3):
        guilty = pool.submit(getattr(process_calls, deed))
        others = [pool.submit(process_calls.square, n) for n in range(30)]
        assert not wait([guilty, *others], 30).not_done
        for n, future in enumerate(others):
            if alone or future.exception() is None:
                assert future.result() == n * n
            else:
                assert isinstance(future.exception(), WorkerLostError)
    assert all_but([pool.submit(process_calls.square, n) for n in range(20)])[-1] == 361
    pool.shutdown()


def test_a_worker_that_babbles_and_goes_on_is_killed_alone(make_pool, any_method, gate, tmp_path):
    pool = make_pool(2, on_worker_loss="replace")
    started = str(tmp_path / "started")
    innocent = pool.submit(process_calls.start_and_pass, started, str(gate), "not harmed")
    process_calls.until(lambda: process_calls.lines(started))
    with pytest.raises(WorkerLostError) as info:
        pool.submit(process_calls.babble_and_wait, str(gate)).result(30)
    assert "what no worker writes" in "".join(info.value.__notes__)
    assert all_but([pool.submit(process_calls.square, n) for n in range(20)])[-1] == 361
    gate.touch()
    assert innocent.result(30) == "not harmed"


def test_without_pidfds(make_pool, any_method, monkeypatch):
    """What seems dead from its channel is killed before it is waited for, whatever call it has by then."""
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    harm_descriptors(make_pool, "close_descriptors", alone=False)
    harm_descriptors(make_pool, "write_to_descriptors", alone=False)


def test_an_initializer_that_fails_is_told_before_its_process_ends(make_pool, gate):
    """A thread that it has left would keep the process for as long as it likes."""
    pool = make_pool(1, initializer=process_calls.leave_a_thread_and_fail, initargs=(str(gate),))
    try:
        future = pool.submit(process_calls.square, 1)
    except BrokenExecutor as exc:
        error = exc
    else:
        error = future.exception(30)
    assert isinstance(error, BrokenExecutor)
    assert isinstance(error.__cause__, LookupError)


def test_lost_while_it_asks_for_large_arguments(make_pool, any_method, transport):
    """It is a lost worker, not a broken pipe, that the call fails with."""
    if transport != "shared_queue":
        pytest.skip("workers ask for arguments on the fast path only")
    pool = make_pool(1, on_worker_loss="replace")
    assert pool.submit(process_calls.square, 2).result(30) == 4
    (connection,) = pool._cf_pool.connections
    os.kill(connection.worker.pid, signal.SIGSTOP)
    future = pool.submit(len, bytes(2_000_000))
    connection.channel._socket.shutdown(socket.SHUT_WR)
    os.kill(connection.worker.pid, signal.SIGCONT)
    assert isinstance(future.exception(30), WorkerLostError)
    assert pool.submit(process_calls.square, 3).result(30) == 9


@pytest.fixture
def few_descriptors():
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/dev/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 60, limits[1]))
    yield used + 60
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def count():
    return len(os.listdir("/dev/fd"))


def test_starts_that_fail_for_want_of_descriptors_lose_none(make_pool, any_method, few_descriptors):
    before = count()
    pool = make_pool(1)
    failures = 0
    for free in range(1, 16):
        taken = []
        try:
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            pass
        for _ in range(free):
            os.close(taken.pop())
        try:
            pool.submit(process_calls.square, 1).cancel()
        except OSError:
            failures += 1
        finally:
            for descriptor in taken:
                os.close(descriptor)
    assert failures
    assert pool.submit(process_calls.square, 3).result(30) == 9
    pool.shutdown()
    process_calls.until(lambda: count() <= before)


def test_with_few_descriptors_fewer_workers_do_it(make_pool, any_method, few_descriptors):
    pool = make_pool(30)
    futures = [pool.submit(process_calls.echo, n) for n in range(100)]
    assert [future.result(30) for future in futures] == list(range(100))
    assert len(pool._processes) < 30
