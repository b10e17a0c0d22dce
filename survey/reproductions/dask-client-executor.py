"""What Dask's ClientExecutor does where a rule demands otherwise: `python dask-client-executor.py`, with distributed.

Some of it comes from what Dask is for: `cancel` gives up a call also while it runs, keyword arguments of `submit` are
Dask's own, and the scheduler looks into the arguments, so that what is hostile at unpickling ends its process.
"""

import concurrent.futures
import faulthandler
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from distributed import Client, LocalCluster


def attempt(what, function):
    try:
        print(what, "gives", repr(function())[:110], flush=True)
    except BaseException as error:
        print(what, "raises", repr(error)[:110], flush=True)


def outcome(future, seconds=8):
    try:
        return repr(future.exception(timeout=seconds) or future.result(timeout=0))[:110]
    except concurrent.futures.CancelledError:
        return "cancelled"
    except TimeoutError:
        return f"nothing after {seconds} s"


def keywords(client, executor):
    """distributed: submitting.passes_a_keyword_called_self submitting.passes_a_keyword_called_fn
    submitting.passes_a_keyword_called_key submitting.passes_keywords_that_executors_like
    submitting.callable_is_positional_only
    """
    for name in ("self", "fn", "key", "func"):
        attempt(f"submit(dict, {name}='x')", lambda name=name: executor.submit(dict, **{name: "x"}).result(timeout=8))
    attempt("submit(fn=int)", lambda: executor.submit(fn=int))


def cyclic_argument(client, executor):
    """distributed: submitting.passes_a_cyclic_argument transport.cyclic_values_arrive"""
    cycle = [1]
    cycle.append(cycle)
    attempt("submit(len, a list that contains itself)", lambda: executor.submit(len, cycle).result(timeout=8))


def running(client, executor):
    """distributed: results.a_timeout_changes_nothing results.running_is_true_while_the_call_runs"""
    future = executor.submit(time.sleep, 2)
    time.sleep(1)
    print("running() of a call that runs is", future.running())


def raising(make):
    raise make()


def unicode_error():
    return UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no")


def stop_iteration():
    return StopIteration(42)


class NoRepr(Exception):
    def __repr__(self):
        raise RuntimeError("it cannot be shown")

    __str__ = __repr__


def own_exceptions(client, executor):
    """distributed: exceptions.raised_unicode_error_arrives exceptions.raised_stop_iteration_arrives
    exceptions.raised_exception_is_not_shown
    """
    error = executor.submit(raising, unicode_error).exception(timeout=8)
    print("a UnicodeDecodeError arrives with the object", error.object if hasattr(error, "object") else error)
    print("StopIteration(42) arrives with the value", executor.submit(raising, stop_iteration).exception(8).value)
    print("an exception whose repr fails arrives as", type(executor.submit(raising, NoRepr).exception(timeout=8)))


def raise_large():
    raise ValueError(b"x" * 1_000_000)


def large_exception(client, executor):
    """distributed: transport.large_exceptions_arrive"""
    error = executor.submit(raise_large).exception(timeout=8)
    print("an exception with an argument of 1,000,000 bytes arrives as", repr(error)[:110])


def system_exit(client, executor):
    """distributed: exceptions.raised_system_exit_arrives exceptions.raised_keyboard_interrupt_arrives
    exceptions.workers_outlive_base_exceptions exceptions.waiting_calls_outlive_base_exceptions
    worker_loss.system_exit_while_running worker_loss.system_exit_loses_no_worker
    """
    for error in (KeyboardInterrupt, SystemExit):
        print(error.__name__, "arrives as", outcome(executor.submit(raising, error)))
        print("the next call ends in", outcome(executor.submit(int)))


def touch(path):
    Path(path).touch()


def pass_gate(started, gate):
    touch(started)
    while not os.path.exists(gate):
        time.sleep(0.001)


def hold(path, seconds):
    touch(path)
    time.sleep(seconds)


def cancel(client, executor):
    """distributed: cancelling.cancel_returns_false_once_running cancelling.cancel_does_not_disturb_a_running_call
    cancelling.cancel_does_not_hide_an_exception cancelling.a_cancelled_call_never_runs
    cancelling.cancel_races_with_the_start
    """
    with tempfile.TemporaryDirectory() as folder:
        started, ran = Path(folder, "started"), Path(folder, "ran")
        future = executor.submit(hold, str(started), 2)
        while not started.exists():
            time.sleep(0.01)
        print("cancel() of a call that runs returned", future.cancel(), "and cancelled() is", future.cancelled())
        print("its outcome is", outcome(future))
        ran_after_all = 0
        for number in range(20):
            gate, started, ran = (Path(folder, f"{name}{number}") for name in ("gate", "started", "ran"))
            ahead = executor.submit(pass_gate, str(started), str(gate))
            waiting = executor.submit(touch, str(ran))
            while not started.exists():
                time.sleep(0.01)
            cancelled = waiting.cancel()
            gate.touch()
            ahead.result(timeout=8)
            time.sleep(0.2)
            ran_after_all += cancelled and ran.exists()
        print("of 20 calls for which cancel() returned True, these ran:", ran_after_all)


def pause(seconds, *_):
    time.sleep(seconds)


def times_out(_):
    raise TimeoutError("the call's own")


def maps(client, executor):
    """distributed: mapping.map_stops_at_the_shortest_iterable mapping.map_calls_each_item_once
    mapping.map_collects_its_input_at_once mapping.map_runs_its_calls_unasked
    mapping.map_passes_on_an_error_of_its_input mapping.map_with_timeout_zero_does_not_wait
    mapping.map_counts_its_timeout_from_the_call mapping.map_gives_available_results_after_its_time
    mapping.map_leaves_the_executor_usable_after_a_timeout mapping.map_raises_a_calls_own_timeout_error
    mapping.map_buffersize_does_not_change_the_results mapping.map_buffersize_of_nothing_is_empty
    mapping.map_buffersize_gives_results_that_are_false mapping.map_buffersize_limits_what_is_drawn
    mapping.map_buffersize_takes_an_endless_input mapping.map_buffersize_passes_on_an_error_of_its_input
    mapping.map_buffersize_times_out mapping.map_buffersize_goes_with_chunks
    shutting_down.shutdown_with_cancel_ends_an_iterator_of_map
    """
    attempt("map(pow, repeat(2), [1, 2])", lambda: list(executor.map(pow, itertools.repeat(2), [1, 2])))
    attempt("map(abs, iter([1]))", lambda: list(executor.map(abs, iter([1]))))
    attempt("map(abs, [1], buffersize=1)", lambda: list(executor.map(abs, [1], buffersize=1)))
    attempt("map(pause, [1], timeout=0)", lambda: list(executor.map(pause, [1], timeout=0)))
    attempt("map(times_out, [1], timeout=8)", lambda: list(executor.map(times_out, [1], timeout=8)))


def shutdown_cancels(client, executor):
    """distributed: shutting_down.shutdown_makes_submit_fail_while_calls_run
    shutting_down.shutdown_takes_wait_by_position shutting_down.shutdown_without_waiting_returns_at_once
    shutting_down.shutdown_without_waiting_completes_the_calls
    shutting_down.shutdown_without_waiting_wakes_a_thread_in_result
    submitting.submit_after_shutdown_without_waiting_raises
    """
    futures = [executor.submit(pause, 1, number) for number in range(3)]
    time.sleep(0.5)
    executor.shutdown(wait=False)
    time.sleep(0.5)
    print("after shutdown(wait=False) the calls end in", [outcome(future) for future in futures])


def map_after_shutdown(client, executor):
    """distributed: shutting_down.shutdown_makes_map_fail"""
    executor.shutdown()
    attempt("map() after shutdown()", lambda: executor.map(abs, [1]))


def cancel_futures(client, executor):
    """distributed: shutting_down.shutdown_of_an_unused_executor_makes_submit_fail
    shutting_down.shutdown_leaves_other_executors_alone
    shutting_down.shutdown_with_cancel_cancels_what_waits shutting_down.shutdown_with_cancel_waits_for_what_runs
    shutting_down.shutdown_with_cancel_without_waiting_cancels_what_waits
    shutting_down.shutdown_with_cancel_without_waiting_lets_the_running_call_end
    shutting_down.shutdown_with_cancel_leaves_finished_calls_alone
    shutting_down.shutdown_with_cancel_wakes_a_thread_in_result shutting_down.shutdown_with_cancel_runs_callbacks
    """
    attempt("shutdown(cancel_futures=True)", lambda: executor.shutdown(cancel_futures=True))


def end_of_the_program(client, executor):
    """distributed: shutting_down.exit_waits_for_the_calls_after_shutdown"""
    program = """
from distributed import Client, LocalCluster
if __name__ == "__main__":
    client = Client(LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None))
    executor = client.get_executor(pure=False)
    futures = [executor.submit(open, "{}/" + str(n), "w") for n in range(4)]
    executor.shutdown(wait=False)
"""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "program.py")
        (ran := Path(folder, "ran")).mkdir()
        script.write_text(program.replace("{}", str(ran)))
        subprocess.run([sys.executable, str(script)], stderr=subprocess.DEVNULL, timeout=60, check=False)
        print("of 4 calls that were pending at the end of the program these ran:", sorted(os.listdir(ran)))


class EndsItsReader:
    def __init__(self, how):
        self.how = how

    def __reduce__(self):
        return self.how, (7,)


def hostile_arguments(client, executor):
    """distributed: worker_loss.os_exit_while_unpickling worker_loss.crash_while_unpickling
    worker_loss.kill_while_unpickling
    """
    print("this process ends, with status 7, when it submits what ends who unpickles it:", flush=True)
    print(outcome(executor.submit(id, EndsItsReader(os._exit))))


def exits_at_unpickling(client, executor):
    """distributed: worker_loss.system_exit_while_unpickling"""
    future = executor.submit(id, EndsItsReader(sys.exit))
    print("an argument that raises SystemExit when it is unpickled:", outcome(future))


class EndsAtPickling:
    def __reduce__(self):
        os._exit(7)


class CrashesAtPickling:
    def __reduce__(self):
        faulthandler._sigsegv()


class KilledAtPickling:
    def __reduce__(self):
        os.kill(os.getpid(), signal.SIGKILL)


def exits_at_pickling(client, executor):
    """distributed: worker_loss.os_exit_while_pickling worker_loss.crash_while_pickling
    worker_loss.kill_while_pickling
    """
    for kind in (EndsAtPickling, CrashesAtPickling, KilledAtPickling):
        print(f"{kind.__name__}: a result that ends the worker:", outcome(executor.submit(kind), 30), flush=True)


class RaisesExitAtPickling:
    def __reduce__(self):
        sys.exit(3)


def raises_exit_at_pickling(client, executor):
    """distributed: worker_loss.system_exit_while_pickling"""
    print("a result that raises SystemExit when it is pickled:", outcome(executor.submit(RaisesExitAtPickling), 30))


def generator():
    yield 1


def unpicklable_results(client, executor):
    """distributed: transport.unpicklable_result_is_an_error"""
    for make in (generator, threading.Lock):
        print(f"{make.__name__}() as a result, which cannot be pickled:", outcome(executor.submit(make), 30))


if __name__ == "__main__":
    shows = {
        show.__name__: show
        for show in (
            keywords, cyclic_argument, running, own_exceptions, large_exception, system_exit, cancel, maps,
            shutdown_cancels, map_after_shutdown, cancel_futures, end_of_the_program, hostile_arguments,
            exits_at_unpickling, exits_at_pickling, raises_exit_at_pickling, unpicklable_results,
        )
    }  # fmt: skip
    if len(sys.argv) == 1:  # each with a cluster of its own: some leave none that works
        for name in shows:
            print(f"--- {name}", flush=True)
            done = subprocess.run([sys.executable, __file__, name], stderr=subprocess.DEVNULL, timeout=120, check=False)
            if done.returncode:
                print(f"(the process ended with status {done.returncode})", flush=True)
    else:
        client = Client(LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None))
        threading.Timer(100, os._exit, (1,)).start()
        shows[sys.argv[1]](client, client.get_executor(pure=False))
        sys.stdout.flush()
        os._exit(0)
