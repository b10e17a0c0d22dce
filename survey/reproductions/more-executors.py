"""What more-executors does where a rule demands otherwise: `python more-executors.py`, where it is installed."""

import threading
import time

from more_executors import Executors


def keyword_called_self():
    """more-executors more-executors-retry: submitting.passes_a_keyword_called_self"""
    with Executors.thread_pool(max_workers=1) as executor:
        try:
            print(executor.submit(dict, self=1).result())
        except TypeError as error:
            print("submit(dict, self=1) raises:", error)


def with_retry():
    return Executors.thread_pool(max_workers=1).with_retry(max_attempts=1)


def keyword_called_fn():
    """more-executors-retry: submitting.passes_a_keyword_called_fn submitting.callable_is_positional_only"""
    with with_retry() as executor:
        try:
            print(executor.submit(dict, fn=1).result())
        except TypeError as error:
            print("submit(dict, fn=1) raises:", error)
        print("submit(fn=print) is taken:", executor.submit(fn=print))


class Empty(Exception):
    def __len__(self):
        return 0


def raise_empty():
    raise Empty


def exception_of_length_zero():
    """more-executors-retry: exceptions.raised_falsy_exception_arrives exceptions.raised_empty_exception_arrives"""
    with with_retry() as executor:
        try:
            executor.submit(raise_empty).result(timeout=2)
        except TimeoutError:
            print("a call that raised an exception of length 0 has not ended after 2 s")
        except Empty:
            print("the exception arrived")


def late_callback_that_raises():
    """more-executors-retry: callbacks.a_late_raising_callback_is_logged"""
    with with_retry() as executor:
        future = executor.submit(int)
        future.result()
        time.sleep(0.1)
        try:
            future.add_done_callback(lambda future: 1 // 0)
        except ZeroDivisionError as error:
            print("add_done_callback() raised what the callback raised:", error)


def shutdown_forgets():
    """more-executors-retry: shutting_down.shutdown_right_after_many_calls_completes_them
    shutting_down.shutdown_right_after_map_keeps_the_results shutting_down.with_waits_for_its_calls
    shutting_down.with_passes_on_an_exception shutting_down.exit_waits_for_the_calls_after_shutdown
    resources.threads_end_at_shutdown resources.threads_end_after_shutdown_without_wait
    resources.descriptors_are_closed_at_shutdown stress.submit_races_shutdown stress.cancel_races_shutdown
    stress.executors_in_quick_succession stateful.histories_with_shutdown
    """
    executor = with_retry()
    futures = [executor.submit(int) for _ in range(50)]
    executor.shutdown(wait=True)
    time.sleep(1)
    print("a second after shutdown(wait=True),", sum(future.done() for future in futures), "of 50 calls have ended")


def shutdown_does_not_cancel():
    """more-executors-retry: shutting_down.shutdown_with_cancel_cancels_what_waits
    shutting_down.shutdown_with_cancel_without_waiting_cancels_what_waits
    shutting_down.shutdown_with_cancel_wakes_a_thread_in_result shutting_down.shutdown_with_cancel_runs_callbacks
    shutting_down.shutdown_with_cancel_ends_an_iterator_of_map
    """
    executor, gate = with_retry(), threading.Event()
    futures = [executor.submit(gate.wait) for _ in range(9)]
    time.sleep(0.2)
    executor.shutdown(wait=False, cancel_futures=True)
    time.sleep(1)
    print(
        "a second after shutdown(cancel_futures=True), the waiting calls are", {future._state for future in futures[1:]}
    )
    gate.set()


def fail():
    raise ValueError("the initializer")


def broken_pool():
    """more-executors-retry: initializing.failing_initializer_makes_submit_fail
    initializing.failing_initializer_makes_map_fail
    initializing.failing_initializer_in_a_second_worker_breaks_the_pool
    """
    executor = Executors.thread_pool(max_workers=1, initializer=fail).with_retry(max_attempts=1)
    for _ in range(3):
        future = executor.submit(int)
        time.sleep(0.5)
        print("submit() to a pool whose initializer failed returned", future)
    executor.shutdown(wait=False)


if __name__ == "__main__":
    for show in (
        keyword_called_self, keyword_called_fn, exception_of_length_zero, late_callback_that_raises, shutdown_forgets,
        shutdown_does_not_cancel, broken_pool,
    ):  # fmt: skip
        print(f"--- {show.__name__}")
        show()
