"""Every end of a pool: shut down, dropped, at exit, with its process killed, forked (E6, E11)."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import sys
import threading
import weakref

import process_calls
import pytest
from subprocesses import in_fork, run_script

from corefutures import BrokenExecutor


@pytest.mark.parametrize("cancel", [False, True])
@pytest.mark.parametrize("wait", [False, True])
def test_shutdown(make_pool, gate, tmp_path, wait, cancel):
    pool = make_pool(2)
    started = str(tmp_path / "started")
    running = [pool.submit(process_calls.start_and_pass, started, str(gate), n) for n in range(2)]
    process_calls.until(lambda: len(process_calls.lines(started)) == 2)
    waiting = [pool.submit(process_calls.square, n) for n in range(50)]
    opener = threading.Timer(0.05, gate.touch)
    opener.start()
    pool.shutdown(wait=wait, cancel_futures=cancel)
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(process_calls.square, 1)
    assert [future.result(30) for future in running] == [0, 1]
    if cancel:
        assert all(future.cancelled() for future in waiting)
    else:
        assert [future.result(30) for future in waiting] == [n * n for n in range(50)]
    pool.shutdown()
    assert not pool._processes
    opener.join()


def test_shutdown_of_an_unused_pool(make_pool):
    for wait in (True, False):
        pool = make_pool()
        pool.shutdown(wait=wait)
        with pytest.raises(RuntimeError, match="after shutdown"):
            pool.submit(process_calls.square, 1)


def test_cancel_futures_does_not_shut_down_twice(make_pool, gate):
    pool = make_pool(1)
    running = pool.submit(process_calls.pass_gate, str(gate))
    process_calls.until(running.running)
    waiting = pool.submit(process_calls.square, 1)
    pool.shutdown(wait=False)
    pool.shutdown(wait=False, cancel_futures=True)
    assert waiting.cancelled()
    gate.touch()
    pool.shutdown()


def test_last_waiting_call_cancelled_after_shutdown(make_pool, gate):
    pool = make_pool(1)
    running = pool.submit(process_calls.pass_gate, str(gate))
    process_calls.until(running.running)
    waiting = [pool.submit(process_calls.square, n) for n in range(5)]
    pool.shutdown(wait=False)
    gate.touch()
    for future in waiting:
        future.cancel()
    pool.shutdown()


def test_submitting_and_shutting_down_race(make_pool):
    """A call is refused, or it ends."""
    for _ in range(5):
        pool = make_pool(2)
        taken = []

        def submit(pool=pool, taken=taken):
            try:
                while True:
                    taken.append(pool.submit(process_calls.square, 2))
            except RuntimeError:
                pass

        threads = [threading.Thread(target=submit) for _ in range(3)]
        for thread in threads:
            thread.start()
        process_calls.until(lambda taken=taken: len(taken) > 50)
        pool.shutdown(wait=False)
        for thread in threads:
            thread.join()
        assert {future.result(30) for future in taken} == {4}


def test_shutdown_from_a_callback(make_pool):
    pool = make_pool(1)
    ended = threading.Event()

    def close(_):
        pool.shutdown(wait=True)
        ended.set()

    pool.submit(process_calls.square, 2).add_done_callback(close)
    assert ended.wait(30)
    pool.shutdown()


def test_dropped_with_calls_pending(make_pool, method, transport, monkeypatch):
    import multiprocessing

    from corefutures_process import ProcessPoolExecutor

    pool = ProcessPoolExecutor(2, multiprocessing.get_context(method))
    futures = [pool.submit(process_calls.square, n) for n in range(100)]
    reference = weakref.ref(pool)
    del pool
    gc.collect()
    assert reference() is None
    assert [future.result(30) for future in futures] == [n * n for n in range(100)]


def test_dropped_while_idle(make_pool, method, transport):
    import multiprocessing

    from corefutures_process import ProcessPoolExecutor

    pool = ProcessPoolExecutor(2, multiprocessing.get_context(method))
    assert pool.submit(process_calls.square, 2).result(30) == 4
    del pool
    gc.collect()


HEAD = """if True:
    import multiprocessing, os, sys, time
    sys.path.insert(0, {here!r})
    import process_calls
    from corefutures_process import ProcessPoolExecutor
"""


def run(script, method, *arguments):
    head = HEAD.format(here=os.path.dirname(__file__))
    return run_script(head + script, method, *arguments)


def test_at_exit_calls_are_finished(method, transport, make_pool):
    ended = run(
        """
    if __name__ == "__main__":
        pool = ProcessPoolExecutor(2, multiprocessing.get_context(sys.argv[1]))
        for n in range(20):
            pool.submit(process_calls.square, n).add_done_callback(lambda f: os.write(1, b"%d " % f.result()))
    """,
        method,
    )
    assert (ended.status, ended.err) == (0, "")
    assert sorted(map(int, ended.out.split())) == [n * n for n in range(20)]


def test_after_exit_nothing_is_taken(method, transport, make_pool):
    ended = run(
        """
    import atexit
    if __name__ == "__main__":
        pool = ProcessPoolExecutor(2, multiprocessing.get_context(sys.argv[1]))
        pool.submit(process_calls.square, 2).result()
        def late():
            try:
                pool.submit(process_calls.square, 2)
            except RuntimeError as exc:
                print(exc)
        atexit.register(late)
    """,
        method,
    )
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.strip() == "cannot schedule new futures after interpreter shutdown"


@pytest.mark.parametrize("loss", ["break", "replace"])
@pytest.mark.parametrize("start", sorted({"spawn", "forkserver"}.intersection(multiprocessing.get_all_start_methods())))
@pytest.mark.parametrize("from_a_file", [True, False], ids=["file", "stdin"])
def test_unguarded_main_module_is_no_bomb_and_an_error_if_workers_run_it(tmp_path, from_a_file, start, loss):
    script = tmp_path / "unguarded.py"
    script.write_text(
        "import multiprocessing, os\n"
        "from corefutures_process import ProcessPoolExecutor\n"
        f"pool = ProcessPoolExecutor(2, multiprocessing.get_context({start!r}), on_worker_loss={loss!r})\n"
        "print(pool.submit(os.getpid).result(20))\n"
    )
    path = str(script)
    argument = path if from_a_file else "-"
    ended = run_script(
        f"""
        import subprocess, sys

        with open({path!r}) as script:
            done = subprocess.run([sys.executable, {argument!r}], stdin=script, timeout=50)
        sys.exit(done.returncode)
        """
    )
    if not from_a_file:  # there is nothing that a worker could run again
        assert (ended.status, ended.err) == (0, "")
        assert len(ended.out.splitlines()) == 1  # of the program that was started, and of no worker
        return
    assert ended.status == 1
    said = ended.err.strip().splitlines()[-1]
    assert "RuntimeError: " in said or "BrokenProcessPool: " in said
    assert "if __name__ == '__main__':" in said


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_workers_of_a_killed_process_end_in_mid_call(method, transport, make_pool, tmp_path):
    import subprocess

    started = str(tmp_path / "started")
    script = (
        HEAD.format(here=os.path.dirname(__file__))
        + """
    if __name__ == "__main__":
        pool = ProcessPoolExecutor(2, multiprocessing.get_context(sys.argv[1]))
        for _ in range(2):
            pool.submit(process_calls.start_and_pass, sys.argv[2], sys.argv[2] + ".never")
        time.sleep(600)
    """
    )
    parent = subprocess.Popen([sys.executable, "-c", script, method, started])
    try:
        process_calls.until(lambda: len(process_calls.lines(started)) == 2)
        workers = [int(line) for line in process_calls.lines(started)]
    finally:
        parent.kill()
        parent.wait()
    process_calls.until(lambda: not any(alive(pid) for pid in workers), "the workers' end")


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform can't fork")
def test_forked_child(make_pool, gate, tmp_path):
    """E11: in the child, what was pending fails, nothing runs twice, and new calls work."""
    journal = str(tmp_path / "journal")
    pool = make_pool(2)
    running = pool.submit(process_calls.start_and_pass, journal, str(gate))
    process_calls.until(lambda: process_calls.lines(journal))
    waiting = [pool.submit(process_calls.note_and_return, journal, f"call {n}") for n in range(5)]
    called = []
    running.add_done_callback(called.append)

    def check():
        for future in [running, *waiting]:
            if not future.done():
                raise AssertionError(f"{future} is pending in the child")
        assert isinstance(running.exception(0), BrokenExecutor)
        assert not called
        assert pool.submit(process_calls.square, 3).result(20) == 9
        pool.shutdown()

    in_fork(check)
    gate.touch()
    running.result(30)
    assert [future.result(30) for future in waiting] == [f"call {n}" for n in range(5)]
    pool.shutdown()
    assert sorted(process_calls.lines(journal))[-5:] == [f"call {n}" for n in range(5)]
    assert len(process_calls.lines(journal)) == 6


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform can't fork")
def test_a_forked_child_does_not_keep_the_parents_pool_from_ending(make_pool, gate):
    pool = make_pool(2)
    assert pool.submit(process_calls.square, 3).result(30) == 9
    child = process_calls.fork_a_child(str(gate))
    pool.shutdown()
    gate.touch()
    os.waitpid(child, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no alarm")
def test_submit_in_a_signal_handler(make_pool):
    """F8: whatever of ours the handler interrupts."""
    pool = make_pool(2)
    futures = []

    def handle(*_):
        futures.append(pool.submit(process_calls.square, 3))
        futures.append(pool.submit(process_calls.square, 4))
        futures[-1].cancel()

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0007)
    try:
        mine = [pool.submit(process_calls.square, n) for n in range(5000)]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert [future.result(30) for future in mine] == [n * n for n in range(5000)]
    assert futures
    for future in futures:
        assert future.cancelled() or future.result(30) in (9, 16)


def test_shutdown_waits_for_calls_whose_worker_is_yet_to_be_started(make_pool, any_method):
    """Calls that were accepted while the first worker is being started by another thread end before shutdown does."""
    for _ in range(20):
        pool = make_pool(1)
        accepted = []
        ready = threading.Barrier(4)

        def submit(pool=pool, accepted=accepted, ready=ready):
            ready.wait(20)
            with contextlib.suppress(RuntimeError):
                for number in range(50):
                    accepted.append(pool.submit(process_calls.square, number))

        threads = [threading.Thread(target=submit) for _ in range(3)]
        for thread in threads:
            thread.start()
        ready.wait(20)
        while not accepted and any(thread.is_alive() for thread in threads):
            pass
        pool.shutdown(wait=True)
        assert all(future.done() for future in list(accepted))
        for thread in threads:
            thread.join(20)
