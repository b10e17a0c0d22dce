"""What billiard's pool does where a rule demands otherwise: `python billiard-pool.py`, with billiard installed.

Its interface is that of `multiprocessing.Pool`, which was not made for it: calls that wait can't be cancelled.
"""

import os
import time

import billiard


def cancel():
    """billiard: as_completed.as_completed_gives_cancelled_futures callbacks.a_raising_callback_does_not_reach_cancel
    callbacks.callback_runs_after_a_cancellation callbacks.callbacks_of_a_cancelled_call_run_in_the_order_added
    callbacks.late_callback_runs_at_once_after_a_cancellation cancelling.a_cancelled_call_never_runs
    cancelling.a_cancelled_future_stays_cancelled cancelling.cancel_after_shutdown cancelling.cancel_again_returns_true
    cancelling.cancel_from_several_threads cancelling.cancel_leaves_other_calls_alone
    cancelling.cancel_returns_true_for_a_waiting_call cancelling.cancel_wakes_a_thread_in_exception
    cancelling.cancel_wakes_a_thread_in_result cancelling.cancelled_is_true_after_cancel
    cancelling.done_is_true_after_cancel cancelling.exception_raises_cancelled_error
    cancelling.result_raises_cancelled_error cancelling.running_is_false_after_cancel
    cancelling.the_executor_goes_on_after_cancellations results.running_is_false_while_the_call_waits
    shutting_down.shutdown_with_cancel_cancels_what_waits shutting_down.shutdown_with_cancel_ends_an_iterator_of_map
    shutting_down.shutdown_with_cancel_runs_callbacks shutting_down.shutdown_with_cancel_wakes_a_thread_in_result
    shutting_down.shutdown_with_cancel_without_waiting_cancels_what_waits
    waiting.wait_does_not_take_a_cancelled_call_for_an_exception waiting.wait_takes_cancelled_futures_as_done
    waiting.wait_wakes_for_a_cancellation
    """
    pool = billiard.Pool(1)
    pool.apply_async(time.sleep, [1])
    waiting = pool.apply_async(int)
    names = ("cancel", "cancelled", "running")
    print("the result of a call that waits has", {name: hasattr(waiting, name) for name in names})


def submit_after_close():
    """billiard: shutting_down.shutdown_makes_map_fail shutting_down.shutdown_makes_submit_fail
    shutting_down.shutdown_makes_submit_fail_while_calls_run shutting_down.shutdown_makes_submit_fail_while_it_waits
    shutting_down.shutdown_of_an_unused_executor_makes_submit_fail shutting_down.with_passes_on_an_exception
    shutting_down.with_waits_for_its_calls submitting.submit_after_shutdown_raises
    submitting.submit_after_shutdown_without_waiting_raises
    """
    pool = billiard.Pool(1)
    pool.close()
    print("apply_async() after close() returned", pool.apply_async(int))
    pool.join()
    print("and after join()", pool.apply_async(int))


def failing():
    raise ValueError("the initializer's")


def failing_initializer():
    """billiard: initializing.failing_initializer_fails_every_pending_call
    initializing.failing_initializer_fails_the_pending_call initializing.failing_initializer_makes_map_fail
    initializing.failing_initializer_makes_submit_fail initializing.failing_initializer_runs_no_call
    """
    pool = billiard.Pool(1, failing)
    try:
        print(pool.apply_async(int).get(timeout=10))
    except billiard.TimeoutError:
        print("10 s after its submission the call of a pool whose initializer fails has not ended")


if __name__ == "__main__":
    for show in (cancel, submit_after_close, failing_initializer):
        print(f"--- {show.__name__}", flush=True)
        show()
    os._exit(0)
