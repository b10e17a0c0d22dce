"""Ctrl-C: it interrupts calls and what they have started, withdraws what waits, and spares what is ours."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys

import process_calls
import pytest

from corefutures import wait

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no process groups to be signalled")

HOW = ("result", "map", "chunks", "end", "shutdown", "limited")


def until_it_sleeps(pid):
    """Waits until the main thread of a process has been found asleep several times in a row."""
    if not sys.platform.startswith("linux"):
        return
    found = []

    def asleep():
        try:
            state = pathlib.Path(f"/proc/{pid}/task/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:  # it has ended
            return True
        found.append(state == "S")
        return len(found) > 30 and all(found[-30:])

    process_calls.until(asleep)


#: Each call would run for ten minutes, and the test waits for half a one.
PROGRAM = """
import multiprocessing, os, subprocess, sys, time
import corefutures

folder, how, method = sys.argv[1:]


def work(number):
    # A call that is interrupted within Popen() leaves its program behind: that must not keep our output open.
    program = subprocess.Popen(["sleep", "600"], stdout=-3, stderr=-3) if how == "program" else None
    open(os.path.join(folder, f"started-{number}"), "w").close()
    if program is not None:
        program.wait()
    time.sleep(600)


if __name__ == "__main__":
    try:
        with corefutures.ProcessPoolExecutor(2, multiprocessing.get_context(method)) as executor:
            if how == "map":
                for _ in executor.map(work, range(50)):
                    pass
            elif how == "chunks":
                for _ in executor.map(work, range(50), chunksize=2):
                    pass
            else:
                futures = [executor.submit(work, number) for number in range(50)]
                open(folder + "-submitted", "w").close()
                if how in ("shutdown", "limited"):
                    executor.shutdown(timeout=600 if how == "limited" else None)
                elif how != "end":
                    futures[-1].result()
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.mark.parametrize(
    ("how", "who"),
    [(how, who) for how in HOW for who in ("group", "process")] + [("program", "group")],
)
def test_a_with_block_is_left(tmp_path, make_pool, method, transport, how, who):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    started = tmp_path / "started"
    started.mkdir()
    program = subprocess.Popen(
        [sys.executable, script, started, how, method],
        start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        submitted = tmp_path / "started-submitted"
        process_calls.until(
            lambda: (
                (len(list(started.iterdir())) >= 2 and (how in ("map", "chunks") or submitted.exists()))
                or program.poll() is not None
            )
        )
        until_it_sleeps(program.pid)  # an interrupt while workers are being forked is another matter
        (os.killpg if who == "group" else os.kill)(program.pid, signal.SIGINT)  # the first is what a terminal does
        out, err = program.communicate(timeout=30)
    finally:
        try:
            os.killpg(program.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        program.wait()
    assert (out, program.returncode) == ("interrupted\n", 0), err
    assert len(list(started.iterdir())) < 10  # each worker may have claimed one more, and no other


AT_EXIT = """
import multiprocessing, sys, threading, time, traceback
import corefutures

def tell():  # an interrupt that comes before Python has called us is Python's
    while not any(frame.name == "finish" for frame in traceback.extract_stack(sys._current_frames()[main])):
        time.sleep(0.01)
    print("started", flush=True)

if __name__ == "__main__":
    pools = [corefutures.ProcessPoolExecutor(1, multiprocessing.get_context(sys.argv[1])) for _ in range(2)]
    futures = [pool.submit(time.sleep, 600) for pool in pools for _ in range(10)]
    while not (futures[0].running() and futures[-10].running()):
        time.sleep(0.01)
    main = threading.get_ident()
    threading.Thread(target=tell, daemon=True).start()
"""


def test_the_end_of_the_interpreter_is_left(tmp_path, make_pool, method, transport):
    (script := tmp_path / "program.py").write_text(AT_EXIT)
    program = subprocess.Popen([sys.executable, script, method], start_new_session=True, stdout=-1, stderr=-1)
    try:
        assert program.stdout.readline() == b"started\n"
        program.send_signal(signal.SIGINT)
        program.communicate(timeout=30)
    finally:
        try:
            os.killpg(program.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        program.wait()


def test_programs_that_calls_start_heed_ctrl_c(make_pool):
    pool = make_pool(1)
    number = pool.submit(process_calls.program_ended_by_interrupt).result(30)
    assert number == -signal.SIGINT


def test_a_worker_between_calls_is_not_interrupted(make_pool):
    """Ctrl-C again and again, wherever the worker is: calls may be interrupted, and nothing else."""
    pool = make_pool(1)
    worker = pool.submit(process_calls.pid).result(30)
    futures = []
    for _ in range(60):
        futures += [pool.submit(process_calls.echo, n) for n in range(20)]
        os.kill(worker, signal.SIGINT)
        assert not wait(futures, 30).not_done
    outcomes = {type(future.exception()) for future in futures}
    assert outcomes <= {type(None), KeyboardInterrupt}
    assert pool.submit(process_calls.pid).result(30) == worker


def test_a_call_that_is_interrupted_is_interrupted_once(make_pool, tmp_path):
    pool = make_pool(1)
    journal = str(tmp_path / "journal")
    future = pool.submit(process_calls.clean_up_when_interrupted, journal)
    process_calls.until(lambda: process_calls.lines(journal) == ["began"])
    pool._cf_pool.control.interrupt()
    assert future.result(30) == "cleaned up"
    assert process_calls.lines(journal) == ["began", "interrupted", "cleaned up"]


def test_an_ignored_signal_stays_ignored(tmp_path, make_pool, method):
    """A job in the background of a shell is started like that."""
    program = (
        "import multiprocessing, signal, corefutures\n"
        "if __name__ == '__main__':\n"
        f"    with corefutures.ProcessPoolExecutor(1, multiprocessing.get_context({method!r})) as executor:\n"
        "        print(executor.submit(signal.getsignal, signal.SIGINT).result() == signal.SIG_IGN)\n"
    )
    script = tmp_path / "program.py"
    script.write_text(program)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    assert (done.stdout, done.returncode) == ("True\n", 0), done.stderr
