"""What pebble's pools do where a rule demands otherwise: `python pebble-pools.py`, with pebble installed.

`schedule` takes the arguments as a tuple and a dictionary, so that no name of a keyword argument should matter. That a
call which runs can be cancelled is what pebble is made for: its worker is ended.
"""

import concurrent.futures
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import pebble


def keyword_called_function():
    """pebble-process pebble-thread: submitting.passes_keywords_that_executors_like"""
    with pebble.ProcessPool(max_workers=1) as pool:
        print("keyword called args:", pool.schedule(dict, (), {"args": 1}).result())
        try:
            print(pool.schedule(dict, (), {"function": 1}).result())
        except pebble.ProcessExpired as error:
            print("keyword called function ends the worker:", error)
    with pebble.ThreadPool(max_workers=1) as pool:
        print("in a thread pool:", repr(outcome(pool.schedule(dict, (), {"function": 1}))))
        pool.stop()


def cancel_of_a_running_call():
    """pebble-process: cancelling.cancel_returns_false_once_running cancelling.cancel_does_not_disturb_a_running_call
    cancelling.cancel_does_not_hide_an_exception
    """
    with pebble.ProcessPool(max_workers=1) as pool:
        future = pool.schedule(time.sleep, (2,))
        time.sleep(1)
        running = future.running()
        print("running() is", running, "cancel() returned", future.cancel(), "and cancelled() is", future.cancelled())


def cancel_of_a_waiting_call():
    """pebble-process: cancelling.cancel_after_shutdown stress.many_threads_cancel_the_same_calls
    stress.cancel_races_shutdown stateful.histories_with_one_worker stateful.histories_with_two_workers
    stateful.histories_with_shutdown shutting_down.shutdown_with_cancel_cancels_what_waits
    """
    with tempfile.TemporaryDirectory() as folder, pebble.ProcessPool(max_workers=1) as pool:
        pool.schedule(time.sleep, (1,))
        time.sleep(0.5)
        file = pathlib.Path(folder, "ran")
        waiting = [pool.schedule(int) for _ in range(9)]
        last = pool.schedule(file.touch)
        time.sleep(0.2)
        print("cancel() of a call behind", len(waiting), "others returned", last.cancel())
        pool.close()
        pool.join()
        print("the cancelled call", "ran" if file.exists() else "did not run", "and cancelled() is", last.cancelled())


def outcome(future):
    try:
        return future.exception(timeout=5)
    except TimeoutError:
        return "nothing after 5 s"


def exit_status_zero():
    """pebble-process: worker_loss.os_exit_with_status_zero_while_running"""
    with pebble.ProcessPool(max_workers=1) as pool:
        print("a call that ends its worker with status 1 ends in", repr(outcome(pool.schedule(os._exit, (1,)))))
        print("a call that ends its worker with status 0 ends in", repr(outcome(pool.schedule(os._exit, (0,)))))
        pool.stop()


class Unpicklable:
    def __reduce__(self):
        raise ValueError("it cannot be pickled")


class NotToBeRead:
    def __reduce__(self):
        return fail, ()


def make_unreadable():
    return NotToBeRead()


def raise_unreadable():
    raise ValueError(NotToBeRead())


def nested(depth=100_000):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def what_cannot_cross():
    """pebble-process: transport.unpicklable_argument_is_an_error transport.unpicklable_callable_is_an_error
    transport.too_deep_argument_works_or_is_an_error transport.result_that_fails_at_unpickling_is_an_error
    transport.result_that_exits_at_unpickling_is_an_error transport.exception_that_fails_at_unpickling_is_an_error
    """
    for what, function, arguments in (
        ("an argument whose pickling raises ValueError", len, (Unpicklable(),)),
        ("an argument that is nested too deeply", len, (nested(),)),
        ("a result that fails at unpickling", make_unreadable, ()),
        ("an exception that fails at unpickling", raise_unreadable, ()),
    ):
        with pebble.ProcessPool(max_workers=1) as pool:
            print(f"{what}:", repr(outcome(pool.schedule(function, arguments))))
            pool.stop()


def exit_of_the_program():
    """pebble-process: shutting_down.exit_waits_for_the_calls_after_shutdown"""
    program = "import pebble, time\nif __name__ == '__main__':\n    pool = pebble.ProcessPool(max_workers=1)\n"
    program += "    futures = [pool.schedule(print, (n,), {'flush': True}) for n in range(4)]\n    pool.close()\n"
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "program.py")
        file.write_text(program)
        done = subprocess.run([sys.executable, file], capture_output=True, text=True, timeout=30)
    print("of four calls that were pending at the end of the program after close(), these ran:", done.stdout.split())


def fail():
    raise ValueError("the initializer")


def broken_pool():
    """pebble-process: initializing.failing_initializer_makes_submit_fail
    initializing.failing_initializer_makes_map_fail initializing.failing_initializer_in_a_second_worker_breaks_the_pool
    """
    pool = pebble.ProcessPool(max_workers=1, initializer=fail)
    print("the first call ended in", type(pool.schedule(int).exception()))
    time.sleep(0.5)
    try:
        pool.schedule(int)
    except RuntimeError as error:
        print(
            f"the next one raised {error!r}, a BrokenExecutor: {isinstance(error, concurrent.futures.BrokenExecutor)}"
        )
    pool.stop()
    pool.join()


def broken_thread_pool():
    """pebble-thread: initializing.failing_initializer_fails_the_pending_call
    initializing.failing_initializer_fails_every_pending_call initializing.failing_initializer_runs_no_call
    initializing.failing_initializer_makes_submit_fail initializing.failing_initializer_makes_map_fail
    initializing.failing_initializer_wakes_who_waits initializing.failing_initializer_breaks_one_executor_only
    initializing.failing_initializer_in_a_second_worker_breaks_the_pool
    """
    pool = pebble.ThreadPool(max_workers=1, initializer=fail)
    print("a call of a thread pool whose initializer failed ends in", repr(outcome(pool.schedule(int))))
    try:
        pool.schedule(int)
    except RuntimeError as error:
        print(f"the next one raised {error!r}")
    pool.stop()


if __name__ == "__main__":
    for show in (
        keyword_called_function, cancel_of_a_running_call, cancel_of_a_waiting_call, exit_status_zero,
        what_cannot_cross, exit_of_the_program, broken_pool, broken_thread_pool,
    ):  # fmt: skip
        print(f"--- {show.__name__}")
        show()
