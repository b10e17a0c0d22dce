"""`on_refusal`: what an interpreter can't load runs in a process, as the same call."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import wait
from concurrent.futures.interpreter import BrokenInterpreterPool

import interpreter_calls
import late_calls
import pytest
import refused_calls

from corefutures import WorkerLostError, create_executor
from corefutures_interpreter import InterpreterPoolExecutor

needs_fifos = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs the capability to make named pipes")


@pytest.fixture(scope="module", autouse=True)
def process_server():
    """Start what process pools leave behind: the fork server and the resource tracker of `multiprocessing`."""
    with create_executor("process", max_workers=1, on_worker_loss="replace") as executor:
        executor.submit(int).result(30)


@pytest.fixture
def pool(make_pool):
    return make_pool(1, on_refusal="process")


@pytest.fixture
def pipes(tmp_path):
    """The names of two pipes."""
    names = [str(tmp_path / name) for name in ("begun", "end")]
    for name in names:
        os.mkfifo(name)
    return names


def read(name):
    with open(name) as pipe:
        return pipe.read()


def test_what_is_refused_runs_in_a_process_and_is_told_once(pool, caplog):
    with caplog.at_level(logging.WARNING, "concurrent.futures"):
        process, result = pool.submit(refused_calls.double, 4).result(30)
        assert process != os.getpid()
        assert result == 8
        assert pool.submit(refused_calls.double, 5).result(30) == (process, 10)
        assert list(pool.map(refused_calls.double, range(4), chunksize=2)) == [(process, 2 * n) for n in range(4)]
    (record,) = caplog.records
    assert "_tracemalloc" in record.getMessage()
    assert pool.submit(interpreter_calls.interpreter_number).result(30) > 0
    stats = pool.stats()
    assert (stats.submitted, stats.finished, stats.refused) == (5, 5, 4)


def test_it_fails_as_elsewhere(pool):
    error = pool.submit(refused_calls.fail, LookupError, "far away").exception(30)
    assert type(error) is LookupError
    assert error.args == ("far away",)
    assert "far away" in str(error.__cause__)
    lost = pool.submit(refused_calls.end_process).exception(30)
    assert type(lost) is WorkerLostError
    assert pool.submit(refused_calls.double, 1).result(30)[1] == 2
    assert pool.submit(interpreter_calls.echo, 1).result(30) == 1


@pytest.mark.parametrize("size", [10, 100_000, 3_000_000])
def test_content_of_any_size_gets_there(pool, size):
    for make in (bytes, bytearray):
        name, length, process = pool.submit(refused_calls.kind_of, make(size)).result(30)
        assert (name, length) == (make.__name__, size)
        assert process != os.getpid()


def test_memory_that_would_be_shared(pool):
    whole = memoryview(bytes(range(24))).cast("H", (3, 4))
    assert pool.submit(refused_calls.form_of, whole).result(30) == ("H", (3, 4), whole.tolist())
    with pytest.raises(Exception, match=r"toreadonly\(\)"):
        pool.submit(refused_calls.form_of, memoryview(bytearray(8))).result(30)


def test_a_stream(pool):
    stream = pool.stream(refused_calls.count, 500, buffer=10)
    assert list(stream) == list(range(500))
    with pool.stream(refused_calls.count, 10**9, buffer=4) as endless:
        assert [next(endless) for _ in range(20)] == list(range(20))
    assert pool.submit(interpreter_calls.echo, 1).result(30) == 1


def test_shared_objects_and_slots(make_pool):
    executor = make_pool(2, on_refusal="process", slots={"db": ["one", "two"]})
    with executor.share(b"x" * 1000) as shared:
        assert executor.submit(refused_calls.kind_of, shared).result(30)[:2] == ("bytes", 1000)
    held = executor.options(slots={"db": 2}).submit(refused_calls.slots).result(30)
    assert sorted(held["db"]) == ["one", "two"]


def test_a_call_that_has_begun_is_not_run_again(pool, tmp_path):
    journal = tmp_path / "journal"
    error = pool.submit(late_calls.journal, str(journal)).exception(30)
    assert type(error) is ImportError
    assert journal.read_text() == "begun\n"
    assert pool.stats().refused == 0


def test_unless_the_user_says_so(make_pool, tmp_path):
    executor = make_pool(1, on_refusal="rerun")
    journal = tmp_path / "journal"
    assert executor.submit(late_calls.journal, str(journal)).result(30)[0] != os.getpid()
    assert journal.read_text() == "begun\n" * 2
    assert executor.submit(late_calls.journal_large, str(journal), bytes(200_000)).result(30)[1] == 200_000
    assert journal.read_text() == "begun\n" * 4
    stream = executor.stream(late_calls.items, str(journal))
    assert next(stream) == 1  # it was taken: no process may begin again
    with pytest.raises(ImportError):
        next(stream)


@needs_fifos
def test_a_request_to_stop_gets_there(pool, pipes):
    future = pool.submit(refused_calls.until_asked, pipes[0])
    assert read(pipes[0]) == "x"
    assert future.running()
    assert not future.cancel()
    assert pool.request_cancel(future)
    assert future.result(30) == "asked"


@needs_fifos
def test_a_refused_call_keeps_its_worker(pool, pipes):
    running = pool.submit(refused_calls.until_read, *pipes)
    waiting = [pool.submit(refused_calls.double, number) for number in range(3)]
    assert read(pipes[0]) == "x"
    stats = pool.stats()
    assert (stats.running, stats.waiting, stats.refused) == (1, 3, 1)
    with pytest.raises(TimeoutError, match="until_read"):
        pool.shutdown(cancel_futures=True, timeout=0.01)
    assert all(future.cancelled() for future in waiting)
    with open(pipes[1], "w") as pipe:
        pipe.write("end")
    assert running.result(30) == "end"
    pool.shutdown()


def test_an_initializer_that_is_refused_runs_in_the_processes(make_pool, tmp_path):
    executor = make_pool(1, initializer=refused_calls.set_state, initargs=("set there",), on_refusal="process")
    assert executor.submit(refused_calls.read_state).result(30) == "set there"
    assert executor.submit(refused_calls.kind_of, bytes(100_000)).result(30)[1] == 100_000
    assert executor.submit(os.getpid).result(30) != os.getpid()
    begun = str(tmp_path / "journal")
    with make_pool(1, initializer=late_calls.journal, initargs=(begun,), on_refusal="process") as other:
        assert type(other.submit(int).exception(30)) is BrokenInterpreterPool
    with make_pool(1, initializer=late_calls.journal, initargs=(begun,), on_refusal="rerun") as other:
        assert other.submit(int).result(30) == 0


def test_a_pool_whose_processes_break_is_broken(make_pool):
    executor = make_pool(1, initializer=refused_calls.fail, initargs=(LookupError, "no start"), on_refusal="process")
    error = executor.submit(int).exception(30)
    assert type(error) is BrokenInterpreterPool
    assert type(error.__cause__) is LookupError
    with pytest.raises(BrokenInterpreterPool):
        executor.submit(int)


def test_what_is_submitted_before_the_end_is_run(make_pool):
    executor = make_pool(2, on_refusal="process")
    futures = [executor.submit(refused_calls.double, number) for number in range(6)]
    executor.shutdown()
    assert [future.result(0)[1] for future in futures] == [0, 2, 4, 6, 8, 10]


def test_an_executor_that_is_dropped_finishes(transport, monkeypatch):
    monkeypatch.setenv("COREFUTURES_PORTABLE", "1" if transport == "pipes" else "0")
    futures = [InterpreterPoolExecutor(1, on_refusal="process").submit(refused_calls.double, 3)]
    assert not wait(futures, 30).not_done
    assert futures[0].result()[1] == 6


PROGRAM = """
    import os, sys, threading
    sys.path.insert(0, {folder!r})
    from corefutures_interpreter import InterpreterPoolExecutor
    import refused_calls

    if __name__ == "__main__":
        executor = InterpreterPoolExecutor(1, on_refusal="process", at_exit={at_exit!r})
        for number in range(3):
            executor.submit(refused_calls.double, number).add_done_callback(
                lambda future: print("cancelled" if future.cancelled() else future.result()[1], flush=True)
            )
    """


@pytest.mark.parametrize("at_exit", ["wait", "cancel"])
def test_at_exit(tmp_path, transport, at_exit):
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(PROGRAM.format(folder=os.path.dirname(__file__), at_exit=at_exit)))
    environment = {**os.environ, "COREFUTURES_PORTABLE": "1" if transport == "pipes" else "0"}
    done = subprocess.run(
        [sys.executable, str(path)], env=environment, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split()
    if at_exit == "wait":
        assert lines == ["0", "2", "4"], done.stderr
    else:
        assert len(lines) == 3
        assert "cancelled" in lines


INTERRUPTED = """
    import os, sys
    sys.path.insert(0, {folder!r})
    from corefutures_interpreter import InterpreterPoolExecutor
    import refused_calls

    if __name__ == "__main__":
        with InterpreterPoolExecutor(1, on_refusal="process") as executor:
            future = executor.submit(refused_calls.until_read, *{pipes!r})
            future.add_done_callback(lambda future: print(type(future.exception()).__name__, flush=True))
    """


@needs_fifos
def test_an_interrupt_gets_there(tmp_path, transport, pipes):
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(INTERRUPTED.format(folder=os.path.dirname(__file__), pipes=pipes)))
    environment = {**os.environ, "COREFUTURES_PORTABLE": "1" if transport == "pipes" else "0"}
    program = subprocess.Popen(
        [sys.executable, str(path)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        assert read(pipes[0]) == "x"
        program.send_signal(signal.SIGINT)  # the terminal would interrupt the process as well
        output, errors = program.communicate(timeout=40)
    finally:
        program.kill()
    assert output == "KeyboardInterrupt\n", errors
    assert "KeyboardInterrupt" in errors


@needs_fifos
def test_a_broken_pool_ends_what_runs_in_processes(pool, pipes):
    future = pool.submit(refused_calls.until_read, *pipes)
    assert read(pipes[0]) == "x"
    pool._cf_pool.mark_broken("for a test", None)
    assert "for a test" in str(future.exception(30))
    pool.shutdown()


def test_without_the_option_the_call_fails(make_pool):
    error = make_pool(1).submit(refused_calls.double, 1).exception(30)
    assert type(error) is ImportError
    assert 'create_executor("process")' in error.__notes__[0]


def test_bad_values_are_told():
    with pytest.raises(ValueError, match="on_refusal"):
        InterpreterPoolExecutor(on_refusal="thread")
    code = "import corefutures_interpreter as plugin; plugin.InterpreterPoolExecutor(on_refusal='process')"
    environment = {**os.environ, "COREFUTURES_DISABLE": "process"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=50, check=False
    )
    assert "ValueError: on_refusal='process' needs the process backend" in done.stderr
