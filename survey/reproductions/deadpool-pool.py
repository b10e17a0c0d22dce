"""What Deadpool does where a rule demands otherwise: `python deadpool-pool.py`, with deadpool-executor installed.

Some of it is what Deadpool is for: `cancel` ends a call also while it runs.
"""

import concurrent.futures
import os
import subprocess
import sys
import threading
import time

from deadpool import Deadpool


def raising(error):
    raise error


def returned(value):
    return value


class Coded(Exception):
    def __init__(self, code, text):
        super().__init__(code, text)
        self.code = code


class NoRepr(Exception):
    def __repr__(self):
        raise RuntimeError("it cannot be shown")

    __str__ = __repr__


def exceptions(pool):
    """deadpool: exceptions.exception_returns_what_the_call_raised exceptions.exceptions_do_not_touch_neighbours
    exceptions.raised_errors_that_executors_catch_arrive exceptions.raised_exception_is_not_shown
    exceptions.raised_exception_of_own_class_arrives exceptions.raised_os_error_keeps_its_fields
    exceptions.raised_stop_iteration_arrives exceptions.raised_system_exit_arrives
    exceptions.raised_timeout_error_arrives exceptions.result_raises_what_the_call_raised
    exceptions.waiting_threads_get_the_exception mapping.map_raises_a_calls_own_timeout_error
    """
    for error in (ValueError("why", 42), OSError(2, "gone"), StopIteration(7), SystemExit(3), TimeoutError("own")):
        text = pool.submit(raising, error).exception().args[0]
        print(repr(error), "arrives with a first argument that begins", repr(text)[:60])
    print("an exception of one's own arrives as", repr(pool.submit(raising, Coded(1, "text")).exception())[:60])
    print("one that can't be shown arrives as", type(pool.submit(raising, NoRepr()).exception()))


def exception_as_result(pool):
    """deadpool: results.result_may_be_an_exception"""
    future = pool.submit(returned, ValueError("a value"))
    print("a call that returned a ValueError has the exception", repr(future.exception()))


def running(pool):
    """deadpool: results.running_is_true_while_the_call_runs results.a_timeout_changes_nothing
    cancelling.cancel_returns_false_once_running cancelling.cancel_does_not_disturb_a_running_call
    cancelling.cancel_does_not_hide_an_exception
    """
    future = pool.submit(time.sleep, 5)
    time.sleep(2)
    print("running() of a call that runs is", future.running())
    print("cancel() of it returned", future.cancel(), "and cancelled() is", future.cancelled())


def cancelled(pool):
    """deadpool: cancelling.wait_sees_a_cancelled_future cancelling.as_completed_yields_a_cancelled_future
    as_completed.as_completed_gives_cancelled_futures waiting.wait_takes_cancelled_futures_as_done
    waiting.wait_does_not_take_a_cancelled_call_for_an_exception waiting.wait_wakes_for_a_cancellation
    """
    running, waiting = pool.submit(time.sleep, 1), pool.submit(int)
    print("cancel() of a call that waits returned", waiting.cancel())
    running.result()
    pool.submit(int).result()
    print("5 s after the worker was free wait() takes as done:", concurrent.futures.wait([waiting], timeout=5).done)


def submit_after_shutdown(pool):
    """deadpool: submitting.submit_after_shutdown_raises shutting_down.shutdown_makes_submit_fail
    shutting_down.shutdown_of_an_unused_executor_makes_submit_fail shutting_down.shutdown_makes_map_fail
    shutting_down.shutdown_makes_submit_fail_while_it_waits
    """
    pool.shutdown()
    for what in (pool.submit, pool.map):
        try:
            what(abs, [1])
        except Exception as error:
            print(what.__name__, "after a shutdown raised", type(error), "which is a RuntimeError:", end=" ")
            print(isinstance(error, RuntimeError))


def shutdown_without_waiting(pool):
    """deadpool: shutting_down.shutdown_takes_wait_by_position submitting.submit_after_shutdown_without_waiting_raises
    shutting_down.shutdown_makes_submit_fail_while_calls_run cancelling.cancel_after_shutdown
    """
    pool.submit(time.sleep, 5)
    time.sleep(1)
    began = time.monotonic()
    pool.shutdown(wait=False)
    print(f"shutdown(wait=False) beside a call of 5 s took {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    shows = {
        show.__name__: show
        for show in (
            exceptions, exception_as_result, running, cancelled, submit_after_shutdown, shutdown_without_waiting,
        )
    }  # fmt: skip
    if len(sys.argv) == 1:  # each in a process of its own: some leave a pool that does not end
        for name in shows:
            print(f"--- {name}", flush=True)
            subprocess.run([sys.executable, __file__, name], stderr=subprocess.DEVNULL, timeout=60, check=False)
    else:
        threading.Timer(50, os._exit, (1,)).start()
        shows[sys.argv[1]](Deadpool(max_workers=1))
        sys.stdout.flush()
        os._exit(0)
