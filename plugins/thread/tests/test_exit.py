"""E6: the end of the interpreter, in scripts of their own."""

from __future__ import annotations

import signal
import sys

import pytest
from subprocesses import run_script

from corefutures import UnsupportedError, create_executor

CALLS_THAT_RUN = {
    "kept": "",
    "shut down without waiting": "pool.shutdown(wait=False)",
    "dropped": "del pool",
}


@pytest.mark.parametrize("then", CALLS_THAT_RUN.values(), ids=CALLS_THAT_RUN)
def test_the_calls_are_done_before_the_exit_handlers_run(then: str) -> None:
    """The manual: all threads are joined before `atexit`, whatever became of the pool."""
    ended = run_script(
        f"""
        import atexit, threading
        from corefutures import ThreadPoolExecutor
        atexit.register(print, "atexit")
        pool = ThreadPoolExecutor(1)
        at_the_end = threading.Event()
        threading._register_atexit(at_the_end.set)
        pool.submit(lambda: (at_the_end.wait(30), print("first")))
        pool.submit(print, "second")
        {then}
        print("end")
        """
    )
    assert ended == (0, "end\nfirst\nsecond\natexit\n", "")


def test_no_call_is_taken_at_the_end() -> None:
    """submit in an exit handler, and in a call that runs at the end, is refused; so is a new pool's."""
    ended = run_script(
        """
        import atexit, threading
        from corefutures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(1)

        def late(name, pool):
            try:
                pool.submit(print, "ran")
            except RuntimeError as exc:
                print(name, exc)

        def in_a_call():
            while not pool._shutdown:  # until the interpreter ends
                pass
            late("call:", pool)
            late("new:", ThreadPoolExecutor(1))

        atexit.register(lambda: late("atexit:", pool))
        pool.submit(in_a_call)
        """
    )
    refusal = "cannot schedule new futures after interpreter shutdown"
    assert ended == (0, f"call: {refusal}\nnew: {refusal}\natexit: {refusal}\n", "")


@pytest.mark.parametrize("status", [0, 3])
def test_a_program_abandons_calls_that_do_not_stop(status: int) -> None:
    """at_exit="abandon": the handlers of `atexit` run, the calls that are left are named, the exit status stays."""
    ended = run_script(
        f"""
        import atexit, logging, sys, threading, time
        from corefutures import ThreadPoolExecutor, cancel_requested
        logging.basicConfig(stream=sys.stdout, format="%(message)s")
        atexit.register(print, "atexit")
        pool = ThreadPoolExecutor(2, at_exit="abandon")

        def sleep():
            begun.release()
            time.sleep(600)

        def obey():
            begun.release()
            while not cancel_requested():
                time.sleep(0.001)
            print("stopped")

        begun = threading.Semaphore(0)
        pool.submit(sleep), pool.submit(obey)
        begun.acquire(), begun.acquire()
        pool.submit(print, "never")
        sys.exit({status})
        """
    )
    said = "the program ends while calls run that it abandons: after 0.3 s there is still running: sleep\n"
    assert ended == (status, f"stopped\n{said}atexit\n", "")


def test_calls_in_processes_can_be_killed_and_not_abandoned() -> None:
    with pytest.raises(UnsupportedError, match=r"abandon the calls that run at exit; create_executor\('thread'\)"):
        create_executor("process", at_exit="abandon")


OUTLIVING = """
    import threading
    at_the_end = threading.Event()
    threading._register_atexit(at_the_end.set)  # the step that is taken last
    from corefutures import ThreadPoolExecutor
    pool = ThreadPoolExecutor(1{options})
    pool.submit(int).result()

    def late():
        at_the_end.wait(30)
        try:
            print(pool.submit(abs, -1).result(), ThreadPoolExecutor(1).submit(abs, -2).result())
            threading.Thread(target=last).start()
        except RuntimeError as exc:
            print(exc)

    def last():
        print(pool.submit(abs, -3).result())

    threading.Thread(target=late).start()
"""


def test_a_thread_that_outlives_the_main_one_submits_calls() -> None:
    """E6: to pools that were there and to new ones; and so does a thread that it starts."""
    assert run_script(OUTLIVING.format(options="")) == (0, "1 2\n3\n", "")


def test_a_stream_of_the_main_thread_does_not_keep_the_program_from_ending_with_another_thread() -> None:
    ended = run_script(
        """
        import threading
        from corefutures import ThreadPoolExecutor

        def produce():
            yield from range(1000)

        pool = ThreadPoolExecutor(1)
        stream = pool.stream(produce, buffer=2)
        print(next(stream))
        threading.Thread(target=lambda: (threading.main_thread().join(), print("late"))).start()
        """
    )
    assert ended == (0, "0\nlate\n", "")


def test_a_pool_that_cancels_at_exit_does_so_although_other_threads_go_on() -> None:
    ended = run_script(OUTLIVING.format(options=", at_exit='cancel'"))
    assert ended == (0, "cannot schedule new futures after interpreter shutdown\n", "")


def test_threads_that_end_with_a_pool_of_another_kind_do_not_keep_the_program_from_ending() -> None:
    """The threads of an adapted executor end once its adapter is shut down, which is at the end."""
    ended = run_script(
        """
        import queue, threading
        from concurrent.futures import Future
        from corefutures import ThreadPoolExecutor, adapt

        class Own:
            def __init__(self):
                self.calls = queue.SimpleQueue()
                threading.Thread(target=self.work).start()

            def work(self):
                while (call := self.calls.get()) is not None:
                    call()

            def submit(self, fn, *args):
                future = Future()
                self.calls.put(lambda: future.set_result(fn(*args)))
                return future

            def shutdown(self, wait=True):
                self.calls.put(None)

        pool, adapted = ThreadPoolExecutor(1), adapt(Own())
        print(pool.submit(abs, -1).result(), adapted.submit(abs, -2).result())
        """
    )
    assert ended == (0, "1 2\n", "")


def test_an_unused_pool_does_not_matter() -> None:
    ended = run_script(
        """
        from corefutures import ThreadPoolExecutor
        used = ThreadPoolExecutor(4)
        print(used.submit(int).result())
        unused = ThreadPoolExecutor(4)
        """
    )
    assert ended == (0, "0\n", "")


def test_cancelled_and_pending_calls_at_the_end() -> None:
    ended = run_script(
        """
        import threading
        from corefutures import ThreadPoolExecutor
        gate = threading.Event()
        pool = ThreadPoolExecutor(1)
        pool.submit(gate.wait)
        futures = [pool.submit(print, number) for number in range(5)]
        futures[1].cancel()
        futures[3].cancel()
        gate.set()
        """
    )
    assert ended == (0, "0\n2\n4\n", "")


def test_an_exit_inside_a_call_ends_nothing() -> None:
    """E1: SystemExit belongs to the future."""
    ended = run_script(
        """
        import sys
        from corefutures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(1)
        print(repr(pool.submit(sys.exit, 3).exception()))
        print(pool.submit(int).result())
        """
    )
    assert ended == (0, "SystemExit(3)\n0\n", "")


def test_a_log_record_of_a_call_at_the_very_end_is_no_error() -> None:
    ended = run_script(
        """
        import sys, threading
        from corefutures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(2)
        meeting = threading.Barrier(2)
        for _ in range(2):
            pool.submit(meeting.wait).add_done_callback(lambda future: sys.stdout.write("done\\n"))
        """,
        options=("-X", "dev"),
    )
    assert ended == (0, "done\ndone\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signal that one process raises in itself")
def test_an_interrupt_ends_the_script_once_the_calls_are_done() -> None:
    """Ctrl-C while the main thread waits for a call: the exception, the call's end, the exit status."""
    ended = run_script(
        """
        import os, signal, threading
        from corefutures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(1)
        interrupted = threading.Event()
        waiting = threading.Event()
        # A shell has what it runs in the background ignore it.
        signal.signal(signal.SIGINT, signal.default_int_handler)

        def call():
            waiting.wait(30)
            os.kill(os.getpid(), signal.SIGINT)
            interrupted.wait(30)
            print("call done")

        future = pool.submit(call)
        try:
            waiting.set()
            while True:  # a signal just before the system call would go unnoticed without a time limit
                try:
                    future.result(timeout=0.05)
                except TimeoutError:
                    pass
        except KeyboardInterrupt:
            print("interrupted")
            interrupted.set()
            raise
        """
    )
    assert (ended.status, ended.out) == (-signal.SIGINT, "interrupted\ncall done\n")
    assert ended.err.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.parametrize("first", ["corefutures.ProcessPoolExecutor", "corefutures_pools.workers", "corefutures_pools"])
def test_a_pool_ends_whatever_was_imported_before(first: str) -> None:
    """`concurrent.futures.thread` joins our threads at exit: had our own step come after that, nobody had closed them.

    It did if the toolkit was imported before that module: the step that was registered last is first.
    """
    module, _, name = first.partition(".")
    ended = run_script(
        f"""
        import importlib
        import corefutures, corefutures_pools.lifecycle
        getattr(importlib.import_module({module!r}), {name!r}, None)
        from corefutures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(1)
        print(pool.submit(abs, -1).result())
        """
    )
    assert ended == (0, "1\n", "")
