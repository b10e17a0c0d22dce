"""Lost workers: every cause and moment, breaking and replacing (E1, E5, E8)."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures.process import BrokenProcessPool

import process_calls
import pytest

from corefutures import WorkerLostError

WAYS_TO_GO = {"exit": process_calls.leave, "kill": process_calls.kill_self, "crash": process_calls.crash}
CODES = {"exit": 7, "kill": -9, "crash": -11}
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals that kill")


def doom(pool, moment, deed):
    """Submits a call that loses its worker at that moment."""
    if moment == "running":
        return pool.submit(deed)
    if moment == "unpickling its arguments":
        return pool.submit(id, process_calls.Upon("unpickling", deed))
    return pool.submit(process_calls.give, "pickling", deed)


MOMENTS = ["unpickling its arguments", "running", "pickling its result"]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("going", WAYS_TO_GO)
def test_break(make_pool, gate, tmp_path, moment, going):
    """At once, although another worker is busy; each future has an error of its own, with the cause."""
    pool = make_pool(2)
    started = str(tmp_path / "started")
    busy = pool.submit(process_calls.start_and_pass, started, str(gate))
    process_calls.until(lambda: process_calls.lines(started))
    doomed = doom(pool, moment, WAYS_TO_GO[going])
    waiting = []
    if moment != "running":
        with contextlib.suppress(BrokenProcessPool):  # of `submit`, once the loss has been noticed
            waiting.extend(pool.submit(process_calls.square, 1) for _ in range(3))
    errors = []
    for future in [busy, doomed, *waiting]:
        with pytest.raises(BrokenProcessPool) as info:
            future.result(30)
        errors.append(info.value)
    assert len({id(error) for error in errors}) == len(errors)
    for error in errors:
        cause = error.__cause__
        assert isinstance(cause, WorkerLostError)
        assert cause.exitcode == CODES[going]
        assert cause.pid
    with pytest.raises(BrokenProcessPool):
        pool.submit(process_calls.square, 1)
    assert pool._broken
    pool.shutdown()
    assert not pool._processes


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("going", WAYS_TO_GO)
def test_replace(make_pool, any_method, gate, moment, going):
    pool = make_pool(2, on_worker_loss="replace")
    busy = pool.submit(process_calls.pass_gate, str(gate), "still there")
    before = [pool.submit(process_calls.square, n) for n in range(20)]
    doomed = doom(pool, moment, WAYS_TO_GO[going])
    after = [pool.submit(process_calls.square, n) for n in range(20)]
    with pytest.raises(WorkerLostError) as info:
        doomed.result(30)
    assert info.value.exitcode == CODES[going]
    assert info.value.pid
    assert info.value.worker
    assert [future.result(30) for future in before + after] == [n * n for n in range(20)] * 2
    gate.touch()
    assert busy.result(30) == "still there"
    assert len(pool._processes) <= 2


def test_idle_worker_killed_from_outside(make_pool, any_method):
    pool = make_pool(2, on_worker_loss="replace")
    for _ in range(4):
        victim = pool.submit(process_calls.pid).result(30)
        os.kill(victim, signal.SIGKILL)
        process_calls.until(lambda victim=victim: victim not in pool._processes)
        assert pool.submit(process_calls.square, 3).result(30) == 9
        assert pool.submit(process_calls.pid).result(30) != victim


def test_idle_worker_killed_breaks_the_pool(make_pool):
    pool = make_pool(2)
    victim = pool.submit(process_calls.pid).result(30)
    os.kill(victim, signal.SIGKILL)
    process_calls.until(lambda: pool._broken)
    with pytest.raises(BrokenProcessPool) as info:
        pool.submit(process_calls.square, 3)
    assert info.value.__cause__.exitcode == -9
    assert "SIGKILL" in str(info.value)


def test_replacement_of_workers_killed_under_a_stream_of_tiny_calls(make_pool, any_method, tmp_path):
    """Wherever the worker is between two calls: the one it had is lost, none else, and none runs twice."""
    pool = make_pool(2, on_worker_loss="replace")
    journal = str(tmp_path / "journal")
    futures = []
    for n in range(6000):
        futures.append(pool.submit(process_calls.note_and_return, journal, n))
        if n % 700 == 350:
            process_calls.until(lambda: any(f.done() for f in futures[-300:]) or all(f.done() for f in futures))
            for pid in list(pool._processes)[:1]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
    lost = 0
    for n, future in enumerate(futures):
        try:
            assert future.result(30) == n
        except WorkerLostError:
            lost += 1
    assert lost <= 9
    ran = list(map(int, process_calls.lines(journal)))
    assert len(ran) == len(set(ran))
    assert len(ran) >= 6000 - lost


def test_crash_loop_breaks_the_pool(make_pool, any_method):
    pool = make_pool(2, on_worker_loss="replace")
    futures, errors = [], []
    try:
        futures.extend(pool.submit(process_calls.leave) for _ in range(60))
    except BrokenProcessPool as exc:  # it has come to that already
        errors.append(exc)
    errors += [future.exception(30) for future in futures]
    assert any(isinstance(error, BrokenProcessPool) for error in errors)
    broken = next(error for error in errors if isinstance(error, BrokenProcessPool))
    assert "in a row" in str(broken)
    # 255 is what multiprocessing says when the fork server, busy, has not passed a status on.
    assert broken.__cause__.exitcode in ((7, 255) if any_method == "forkserver" else (7,))


def test_many_losses_between_calls_that_end_are_no_crash_loop(make_pool, any_method):
    pool = make_pool(2, on_worker_loss="replace")
    for n in range(12):
        assert pool.submit(process_calls.square, n).result(30) == n * n
        with pytest.raises(WorkerLostError):
            pool.submit(process_calls.leave).result(30)
    assert not pool._broken


def test_failing_initializer(make_pool, caplog):
    pool = make_pool(2, initializer=process_calls.fail_to_set_up)
    try:
        error = pool.submit(process_calls.square, 1).exception(30)
    except BrokenProcessPool as exc:
        error = exc
    assert isinstance(error, BrokenProcessPool)
    assert isinstance(error.__cause__, LookupError)
    assert "no set-up today" in str(error.__cause__)
    process_calls.until(lambda: pool._broken)
    with pytest.raises(BrokenProcessPool):
        pool.submit(process_calls.square, 1)


def test_what_a_failing_initializer_has_reported_is_there(make_pool, method):
    """The pool breaks, and stops all workers, when that one has ended: what it had queued is written."""
    queue = multiprocessing.get_context(method).Queue()
    pool = make_pool(2, initializer=process_calls.report_and_fail, initargs=(queue,))
    with pytest.raises(BrokenProcessPool):
        pool.submit(process_calls.square, 1).result(30)
    assert queue.get(timeout=1) == "it fails"
    queue._reader.close()  # close() leaves that to a thread that never started here
    queue._writer.close()


def test_initializer_that_exits(make_pool):
    pool = make_pool(1, initializer=process_calls.leave)
    with pytest.raises(BrokenProcessPool) as info:
        pool.submit(process_calls.square, 1).result(30)
    assert info.value.__cause__.exitcode == 7


@pytest.mark.parametrize("how", ["terminate_workers", "kill_workers"])
def test_force(make_pool, gate, tmp_path, how):
    pool = make_pool(2)
    started = str(tmp_path / "started")
    running = [pool.submit(process_calls.start_and_pass, started, str(gate)) for _ in range(2)]
    waiting = [pool.submit(process_calls.square, 1) for _ in range(20)]
    process_calls.until(lambda: len(process_calls.lines(started)) == 2)
    getattr(pool, how)()
    for future in running:
        assert isinstance(future.exception(30), BrokenProcessPool)
    assert all(future.cancelled() for future in waiting)
    with pytest.raises(RuntimeError):
        pool.submit(process_calls.square, 1)
    pool.shutdown()
    getattr(pool, how)()


@pytest.mark.parametrize("how", ["terminate_workers", "kill_workers"])
def test_force_before_anything_started(make_pool, how):
    pool = make_pool(2)
    getattr(pool, how)()
    with pytest.raises(RuntimeError):
        pool.submit(process_calls.square, 1)


@pytest.mark.parametrize("how", ["terminate_workers", "kill_workers"])
def test_force_while_a_worker_is_being_started(make_pool, any_method, transport, gate, tmp_path, how):
    pool = make_pool(1)
    started = str(tmp_path / "started")
    launch = pool._cf_launcher.launch
    futures = []

    def submit_and_force():
        futures.append(pool.submit(process_calls.start_and_pass, started, str(gate)))
        if transport == "shared_queue":  # the worker need not wait until we know that it has started
            process_calls.until(lambda: process_calls.lines(started))
        getattr(pool, how)()

    def launch_meanwhile(ends):
        worker = launch(ends)
        forcing = threading.Thread(target=submit_and_force)
        forcing.start()
        forcing.join()
        return worker

    pool._cf_launcher.launch = launch_meanwhile
    futures.append(pool.submit(process_calls.start_and_pass, started, str(gate)))
    for future in futures:
        assert future.cancelled() or isinstance(future.exception(30), BrokenProcessPool)


def test_stopped_worker_holds_up_its_own_call_only(make_pool, gate, tmp_path):
    pool = make_pool(2)
    started = str(tmp_path / "started")
    held = pool.submit(process_calls.start_and_pass, started, str(gate), "went on")
    process_calls.until(lambda: process_calls.lines(started))
    pid = int(process_calls.lines(started)[0])
    os.kill(pid, signal.SIGSTOP)
    try:
        gate.touch()
        assert [future.result(30) for future in [pool.submit(process_calls.square, n) for n in range(500)]]
        assert not held.done()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert held.result(30) == "went on"


def test_failure_of_our_own_thread_is_no_hang(make_pool, transport, gate, monkeypatch):
    """E8: a defect in what serves the workers fails every call, with that error as the cause."""
    pool = make_pool(1)
    assert pool.submit(process_calls.square, 2).result(30) == 4
    running = pool.submit(process_calls.pass_gate, str(gate))
    process_calls.until(running.running)

    def stumble(*args, **options):
        raise AssertionError("a defect of ours")

    monkeypatch.setattr(
        *(
            (type(pool._cf_pool.reader), "_parse_buffer")
            if transport == "shared_queue"
            else (type(pool._cf_pool), "finish_call")
        ),
        stumble,
    )
    waiting = pool.submit(process_calls.square, 3)
    gate.touch()
    for future in (running, waiting):
        error = future.exception(30)
        assert isinstance(error, BrokenProcessPool)
        assert "a defect of ours" in str(error.__cause__)
    pool.shutdown()


def test_callbacks_of_a_breaking_pool_may_shut_it_down(make_pool):
    pool = make_pool(1)
    ended = threading.Event()

    def close(_):
        pool.shutdown(wait=True)
        ended.set()

    future = pool.submit(process_calls.leave)
    future.add_done_callback(close)
    assert isinstance(future.exception(30), BrokenProcessPool)
    assert ended.wait(30)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs pidfds")
def test_a_start_that_fails_for_lack_of_a_pidfd_leaves_no_descriptor(make_pool, any_method, monkeypatch):
    """Also while the error is kept: its traceback refers to the process, which has descriptors."""
    from corefutures._blocking import system

    with make_pool(1) as first:  # the fork server stays
        first.submit(process_calls.square, 1).result(30)

    def refuse(pid):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    before = process_calls.open_descriptors()
    pool = make_pool(1)
    with monkeypatch.context() as patch:
        patch.setattr(system, "pidfd_open", refuse)
        with pytest.raises(OSError, match="Too many open files") as info:
            pool.submit(process_calls.square, 2)
    pool.shutdown()
    assert process_calls.open_descriptors() == before
    assert info.value.errno == errno.EMFILE


def test_after_a_first_start_that_failed_no_call_is_taken_that_nobody_runs(make_pool, method, transport, monkeypatch):
    """A pool that forks started its thread nevertheless, and then no worker any more: later calls waited for ever."""
    from corefutures_process._launcher import ProcessLauncher

    def refuse(*_):
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    pool = make_pool(2)
    with monkeypatch.context() as patch:
        patch.setattr(ProcessLauncher, "launch", refuse)
        with pytest.raises(BlockingIOError):
            pool.submit(process_calls.square, 2)
    if method == "fork" and transport == "shared_queue":
        with pytest.raises(BrokenProcessPool, match="a worker of the process pool could not be started"):
            pool.submit(process_calls.square, 3)
    else:
        assert pool.submit(process_calls.square, 3).result(30) == 9


def test_a_call_that_another_worker_has_run_is_not_refused_for_want_of_one(make_pool, any_method, monkeypatch):
    """Submit raised, as its thread could start no worker: another thread's had run the call, and was lost since."""
    from corefutures_process._launcher import ProcessLauncher

    pool = make_pool(1)
    inner = pool._cf_pool

    def refuse(*_):
        (future,) = inner.calls.values()
        inner.finish_call(future._number, "run by another", None)
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    with monkeypatch.context() as patch:
        patch.setattr(ProcessLauncher, "launch", refuse)
        assert pool.submit(process_calls.square, 2).result(30) == "run by another"
    assert pool.submit(process_calls.square, 3).result(30) == 9


def test_a_shutdown_that_waits_sees_the_end_of_the_calls_of_a_lost_worker(make_pool, any_method, monkeypatch):
    """Over pipes the worker's thread was not known any more when it failed the calls: nobody waited for it."""
    from corefutures_pools.workers.supervisor import WorkerSupervisor

    reaped, over, decide = threading.Event(), threading.Event(), WorkerSupervisor.on_worker_end

    def hesitate(*args, **kwargs):
        reaped.set()
        over.wait(0.5)
        decide(*args, **kwargs)

    pool = make_pool(1)
    monkeypatch.setattr(WorkerSupervisor, "on_worker_end", hesitate)
    futures = [pool.submit(process_calls.leave), pool.submit(process_calls.square, 2)]
    assert reaped.wait(30)
    pool.shutdown()
    assert [future.done() for future in futures] == [True, True]
    over.set()


def test_forked_workers_that_no_thread_can_serve_are_reaped(make_pool, method, monkeypatch):
    """They were killed and forgotten: each left a pipe open, and a zombie until the program forked again."""
    if method != "fork":
        pytest.skip("only workers that are forked start before the pool's thread")

    def refuse(*_):
        raise RuntimeError("can't start new thread")

    with make_pool(1) as first:
        first.submit(process_calls.square, 1).result(30)
    before, pool = process_calls.open_descriptors(), make_pool(2)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            pool.submit(process_calls.square, 2)
    pool.shutdown()
    assert process_calls.open_descriptors() == before
    assert multiprocessing.process._children == set()


def test_the_last_call_fails_if_no_thread_can_serve_a_new_worker(
    make_pool, one_method, transport, tmp_path, monkeypatch
):
    """The thread of the lost worker was not the pool's any more: nobody was told, and the call waited for ever."""
    if transport != "pipes":
        pytest.skip("over the shared queue one thread serves all workers")
    from corefutures_pools.workers.pipes.pool import PipePool

    def refuse(pool, connection):
        connection.worker.kill()
        connection.worker.reap()
        pool._remove_worker(connection)
        raise RuntimeError("can't start new thread")

    pool = make_pool(1, on_worker_loss="replace")
    assert pool.submit(process_calls.square, 2).result(30) == 4
    monkeypatch.setattr(PipePool, "_start_thread", refuse)
    gate = tmp_path / "gate"
    lost, waiting = pool.submit(process_calls.leave_at, str(gate)), pool.submit(process_calls.square, 3)
    gate.touch()
    assert isinstance(lost.exception(30), WorkerLostError)
    assert isinstance(waiting.exception(30), BrokenProcessPool)
