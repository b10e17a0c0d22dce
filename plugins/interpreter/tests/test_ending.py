"""A pool ends cleanly in every order: no interpreter, no thread, no warning, no crash is left (see `nothing_left`)."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gc
import os
import subprocess
import sys
import textwrap
import threading
from concurrent import interpreters
from concurrent.futures.interpreter import BrokenInterpreterPool

import interpreter_calls
import pytest


@pytest.fixture
def gate():
    """Yield a pipe: a call that reads its first end goes on once a byte is written to the second."""
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_shutdown_waits_for_calls_and_interpreters(pool, gate):
    running = pool.submit(interpreter_calls.wait_for, gate[0])
    pool.shutdown(wait=False)
    assert not running.done()
    os.write(gate[1], b"x")
    pool.shutdown()
    assert running.result() == b"x"
    assert interpreters.list_all()[1:] == []
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(interpreter_calls.echo)


def test_shutdown_cancels_what_has_not_started(pool, gate):
    running = pool.submit(interpreter_calls.wait_for, gate[0])
    while not running.running():
        assert not running.done()
    waiting = [pool.submit(interpreter_calls.echo, number) for number in range(50)]
    assert not any(future.running() for future in waiting)
    pool.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in waiting)
    os.write(gate[1], b"x")
    assert running.result() == b"x"


def test_a_dropped_pool_finishes_its_calls(make_pool):
    from corefutures_interpreter import InterpreterPoolExecutor

    executor = InterpreterPoolExecutor(2)
    futures = [executor.submit(interpreter_calls.echo, number) for number in range(20)]
    del executor
    gc.collect()
    assert [future.result() for future in futures] == list(range(20))


def test_shutdown_in_a_callback_does_not_wait(pool):
    ended = threading.Event()
    future = pool.submit(interpreter_calls.echo)
    future.add_done_callback(lambda _: (pool.shutdown(wait=True), ended.set()))
    assert ended.wait(30)


def submit_until_broken(executor, count):
    """Submits `count` calls, fewer if an initializer has failed by then."""
    futures = []
    with contextlib.suppress(BrokenInterpreterPool):
        futures.extend(executor.submit(interpreter_calls.echo) for _ in range(count))  # keeps those before an error
    return futures


def test_a_failing_initializer_breaks_the_pool(make_pool, caplog):
    executor = make_pool(2, initializer=interpreter_calls.fail, initargs=(ZeroDivisionError, "at the start"))
    futures = submit_until_broken(executor, 4)
    errors = [future.exception() for future in futures]
    assert {type(error) for error in errors} == {BrokenInterpreterPool}
    assert len(set(map(id, errors))) == len(futures) > 0
    assert type(errors[0].__cause__) is ZeroDivisionError
    assert "ExecutionFailed: ZeroDivisionError: at the start" in caplog.text
    with pytest.raises(BrokenInterpreterPool, match="initializer"):
        executor.submit(interpreter_calls.echo)


def test_an_initializer_that_fails_in_one_of_several_workers(make_pool, tmp_path):
    mark = tmp_path / "first"

    def fail_unless_first(path):
        import os

        os.close(os.open(path, os.O_CREAT | os.O_EXCL))

    executor = make_pool(2, initializer=fail_unless_first, initargs=(str(mark),))
    futures = submit_until_broken(executor, 50)
    outcomes = [future.exception() for future in futures]
    assert {type(error) for error in outcomes} <= {BrokenInterpreterPool, type(None)}


def test_an_initializer_that_cannot_cross_breaks_the_pool(make_pool, caplog):
    free = []
    executor = make_pool(1, initializer=lambda: free)
    error = executor.submit(interpreter_calls.echo).exception()
    assert type(error) is BrokenInterpreterPool
    assert type(error.__cause__) is interpreters.NotShareableError
    assert "NotShareableError" in caplog.text


def test_no_interpreter_can_be_made(make_pool, monkeypatch):
    def create():
        raise interpreters.InterpreterError("out of memory")

    executor = make_pool(2)
    monkeypatch.setattr(interpreters, "create", create)
    with pytest.raises(interpreters.InterpreterError, match="out of memory"):
        executor.submit(interpreter_calls.echo)
    monkeypatch.undo()
    assert make_pool(2).submit(interpreter_calls.echo, 3).result() == 3


def test_no_second_interpreter_can_be_made(make_pool, monkeypatch):
    executor = make_pool(2)
    assert executor.submit(interpreter_calls.echo, 1).result() == 1

    def create():
        raise interpreters.InterpreterError("out of memory")

    monkeypatch.setattr(interpreters, "create", create)
    futures = [executor.submit(interpreter_calls.echo, number) for number in range(20)]
    assert [future.result() for future in futures] == list(range(20))
    assert len(executor._threads) == 1


def test_no_thread_can_be_started(make_pool, monkeypatch):
    executor = make_pool(1)

    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        executor.submit(interpreter_calls.echo)


def test_shutdown_waits_for_a_thread_left_by_a_call(pool, gate):
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    try:
        pool.submit(interpreter_calls.leave_thread, gate[0], writer).result()
        shutdown = threading.Thread(target=pool.shutdown)
        shutdown.start()
        shutdown.join(0.3)
        assert shutdown.is_alive(), "shutdown did not wait for the thread"
        os.write(gate[1], b"x")
        shutdown.join(30)
        assert not shutdown.is_alive()
        assert os.read(reader, 1) == b"x"
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.skipif(sys.platform == "win32", reason="children are ended with a POSIX signal")
def test_a_child_left_by_a_call_keeps_nobody(pool):
    number = pool.submit(interpreter_calls.leave_child).result()
    pool.shutdown()
    os.kill(number, 9)
    os.waitpid(number, 0)


def test_names_that_the_world_reads(make_pool):
    executor = make_pool(2, "prefix", interpreter_calls.touch, (1,))
    assert executor._max_workers == 2
    assert executor._thread_name_prefix == "prefix"
    assert executor._initializer is interpreter_calls.touch
    assert executor._initargs == (1,)
    assert (executor._shutdown, executor._broken) == (False, False)
    executor.submit(interpreter_calls.echo).result()
    assert {thread.name for thread in executor._threads} == {"prefix_0"}
    executor.shutdown()
    assert executor._shutdown is True
    assert executor._threads == set()
    assert make_pool()._thread_name_prefix.startswith("InterpreterPoolExecutor-")


@pytest.mark.parametrize("bad", [{"max_workers": 0}, {"max_workers": -1}])
def test_bad_sizes_are_refused(make_pool, bad):
    with pytest.raises(ValueError, match="max_workers"):
        make_pool(**bad)


def test_an_initializer_must_be_callable(make_pool):
    with pytest.raises(TypeError, match="initializer"):
        make_pool(initializer=3)


def test_no_method_of_the_standard_pool_is_inherited():
    from corefutures_interpreter import InterpreterPoolExecutor as Ours

    standard = concurrent.futures.InterpreterPoolExecutor.__mro__[:-1]
    inert = {"_adjust_thread_count", "_initializer_failed", "prepare_context"}  # nothing of ours calls them
    for base in standard:
        for name, member in vars(base).items():
            if callable(member) or isinstance(member, classmethod):
                owner = next(kind for kind in Ours.__mro__ if name in vars(kind))
                assert owner.__module__.startswith("corefutures") or name in inert, name


PROGRAMS = {
    "calls run at the end": "executor.submit(time.sleep, 0.1)",
    "calls wait at the end": "[executor.submit(time.sleep, 0.01) for _ in range(20)]",
    "dropped": "executor.submit(time.sleep, 0.05); del executor",
    "dropped at once": "del executor",
    "shut down without waiting": "executor.submit(time.sleep, 0.05); executor.shutdown(wait=False)",
    "in a cycle": "cycle = [executor.submit(time.sleep, 0.05), executor]; cycle.append(cycle); del executor, cycle",
    "an exception ends the program": "executor.submit(time.sleep, 0.05); sys.exit(0)",
    "large results on the way": "[executor.submit(bytes, 1 << 21) for _ in range(10)]",
    "a result kept to the end": "keep = executor.submit(memoryview, b'x' * (1 << 20)).result(); sys.keep = keep",
    "in a thread at the end": "threading.Thread(target=executor.submit(time.sleep, 0.05).result).start()",
    "from atexit": "import atexit; atexit.register(lambda: executor.shutdown())",
}


@pytest.mark.parametrize("order", PROGRAMS)
def test_the_end_of_the_program(order, transport):
    program = textwrap.dedent(
        f"""
        import sys, threading, time
        from corefutures_interpreter import InterpreterPoolExecutor
        executor = InterpreterPoolExecutor(2)
        executor.submit(int).result()
        {PROGRAMS[order]}
        """
    )
    environment = {**os.environ, "COREFUTURES_PORTABLE": "1" if transport == "pipes" else "0"}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-W", "default", "-X", "faulthandler", "-c", program], env=environment,
            capture_output=True, text=True, timeout=40,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")


ENDS = {
    "": 0,
    "sys.exit(3)": 3,
    "sys.exit('a message')": 1,
    "raise ZeroDivisionError": 1,
    "raise KeyboardInterrupt": -2 if os.name == "posix" else 0xC000013A,
}


@pytest.mark.parametrize("end", ENDS)
def test_a_program_abandons_calls_that_do_not_stop(end, tmp_path):
    """at_exit="abandon": threads and exit handlers end, the calls that are left are named, the exit status stays."""
    (tmp_path / "obedient.py").write_text(
        textwrap.dedent(
            """
            import time
            from corefutures import cancel_requested

            def obey():
                while not cancel_requested():
                    time.sleep(0.001)
                print("stopped", flush=True)
            """
        )
    )
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            f"""
            import atexit, logging, sys, threading, time
            import obedient
            from corefutures import InterpreterPoolExecutor
            if __name__ == "__main__":
                logging.basicConfig(stream=sys.stdout, format="%(message)s")
                atexit.register(print, "atexit")
                pool = InterpreterPoolExecutor(2, at_exit="abandon")
                calls = pool.submit(time.sleep, 600), pool.submit(obedient.obey)
                while not all(call.running() for call in calls):
                    time.sleep(0.001)
                pool.submit(print, "never")
                threading.Thread(target=lambda: (time.sleep(0.05), print("thread", flush=True))).start()
                {end}
            """
        )
    )
    ended = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60, check=False)
    said = "the program ends while calls run that it abandons: after 0.3 s there is still running: sleep"
    assert ended.returncode == ENDS[end], ended
    *threads, warning, last = ended.stdout.splitlines()
    assert sorted(threads) == ["stopped", "thread"], ended
    assert (warning.partition(";")[0], last) == (said, "atexit")


def test_a_program_ends_as_always_if_no_call_is_abandoned():
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(
            """
            import atexit, sys
            from corefutures import InterpreterPoolExecutor
            atexit.register(print, "atexit")
            pool = InterpreterPoolExecutor(1, at_exit="abandon")
            print(pool.submit(abs, -1).result())
            sys.exit(3)
            """
        )],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "1\natexit\n", "")
