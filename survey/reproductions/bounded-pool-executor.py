"""What bounded_pool_executor does where a rule demands otherwise: `python bounded-pool-executor.py`.

That `submit` waits for a worker is what it is made for.
"""

import time

from bounded_pool_executor import BoundedProcessPoolExecutor, BoundedThreadPoolExecutor


def submit_waits(executor):
    """bounded-thread bounded-process: submitting.submit_accepts_more_calls_than_workers
    submitting.submit_after_shutdown_without_waiting_raises cancelling.cancel_returns_true_for_a_waiting_call
    cancelling.cancelled_is_true_after_cancel cancelling.done_is_true_after_cancel
    cancelling.result_raises_cancelled_error cancelling.running_is_false_after_cancel
    exceptions.waiting_calls_outlive_base_exceptions results.result_times_out_on_a_waiting_call
    results.running_is_false_while_the_call_waits
    """
    executor.submit(time.sleep, 1)
    start = time.monotonic()
    executor.submit(int)
    print(
        f"submit() beside a call that runs took {time.monotonic() - start:.1f} s: no call ever waits in the executor,"
    )
    print("and a program in which a running call is ended by who submitted it can't submit a second one")
    executor.submit(time.sleep, 1)
    executor.shutdown(wait=False)
    start = time.monotonic()
    try:
        executor.submit(int)
    except RuntimeError as error:
        print(f"submit() after a shutdown took {time.monotonic() - start:.1f} s to raise", repr(error))


def keywords(executor):
    """bounded-thread bounded-process: submitting.passes_a_keyword_called_fn submitting.passes_a_keyword_called_self
    submitting.callable_is_positional_only
    """
    print("submit(fn=print) is taken:", executor.submit(fn=print))
    for name in ("self", "fn"):
        try:
            print(executor.submit(dict, **{name: 1}).result())
        except TypeError as error:
            print(f"submit(dict, {name}=1) raised", error)
            executor = type(executor)(max_workers=1)  # the place of the call is not given back


if __name__ == "__main__":
    for kind in (BoundedThreadPoolExecutor, BoundedProcessPoolExecutor):
        for show in (submit_waits, keywords):
            print(f"--- {kind.__name__}: {show.__name__}")
            show(kind(max_workers=1))
