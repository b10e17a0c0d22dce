"""What Parsl's pool executor does where a rule demands otherwise: `python parsl-pool.py`, with parsl installed."""

import tempfile
import threading
import time

import parsl
from parsl.concurrent import ParslPoolExecutor
from parsl.executors import ThreadPoolExecutor


def show(text, call):
    try:
        print(text, "gives", repr(call()))
    except Exception as error:
        print(text, "raises", repr(error))


def builtins(executor):
    """parsl: submitting.calls_a_class"""
    show("submit(int, '7')", lambda: executor.submit(int, "7").result())
    show("submit(dict, a=1)", lambda: executor.submit(dict, a=1).result())


def keywords(executor):
    """parsl: submitting.passes_a_keyword_called_fn submitting.passes_a_keyword_called_self
    submitting.callable_is_positional_only submitting.passes_keywords_that_executors_like
    """

    def names(**keywords):
        return keywords

    for name in ("self", "fn", "func", "inputs", "outputs"):
        show(f"submit(names, {name}=1)", lambda name=name: executor.submit(names, **{name: 1}).result())
    show("submit(fn=names)", lambda: executor.submit(fn=names))


def arguments_that_are_futures(executor):
    """parsl: submitting.does_not_resolve_futures_among_arguments results.result_may_be_a_future"""
    print("submit(fn, future) waits for the future, and calls fn with its result:")
    first = executor.submit(pow, 2, 3)
    show("submit(repr, future)", lambda: executor.submit(repr, first).result())
    show("submit(repr, [future])", lambda: executor.submit(repr, [first]).result())


def cancel(executor):
    """parsl: cancelling.a_cancelled_call_never_runs cancelling.a_cancelled_future_stays_cancelled
    cancelling.cancel_again_returns_true cancelling.cancel_does_not_disturb_a_running_call
    cancelling.cancel_does_not_hide_an_exception cancelling.cancel_from_several_threads
    cancelling.cancel_leaves_other_calls_alone cancelling.cancel_returns_false_once_failed
    cancelling.cancel_returns_false_once_finished cancelling.cancel_returns_false_once_running
    cancelling.cancel_returns_true_for_a_waiting_call cancelling.cancelled_is_true_after_cancel
    cancelling.done_is_true_after_cancel cancelling.exception_raises_cancelled_error
    cancelling.result_raises_cancelled_error cancelling.running_is_false_after_cancel
    cancelling.the_executor_goes_on_after_cancellations results.a_timeout_changes_nothing
    results.running_is_true_while_the_call_runs
    """
    release = threading.Event()
    blocker = executor.submit(release.wait)
    waiting = executor.submit(pow, 2, 3)
    time.sleep(0.5)
    print("running() of a call that runs is", blocker.running())
    show("cancel() of a waiting call", waiting.cancel)
    release.set()


def in_words(executor):
    """parsl: exceptions.raised_base_exception_arrives exceptions.raised_cancellation_of_asyncio_is_no_cancellation
    exceptions.raised_exception_is_not_shown exceptions.raised_keyboard_interrupt_arrives
    exceptions.raised_system_exit_arrives exceptions.waiting_calls_outlive_base_exceptions
    exceptions.workers_outlive_base_exceptions
    """
    print("The future of a call that raises a BaseException which is no Exception stays pending (in words only)")


def shutdown_without_waiting():
    """parsl: cancelling.cancel_after_shutdown submitting.submit_after_shutdown_without_waiting_raises"""
    executor = ParslPoolExecutor(config=settings())
    executor.submit(time.sleep, 2)
    start = time.monotonic()
    executor.shutdown(wait=False)
    print(f"shutdown(wait=False) beside a call of 2 s took {time.monotonic() - start:.1f} s")


def settings():
    return parsl.Config(
        [ThreadPoolExecutor(max_threads=1)], run_dir=tempfile.mkdtemp(), usage_tracking=0, initialize_logging=False
    )


if __name__ == "__main__":
    with parsl.DataFlowKernel(settings()) as kernel:
        for demonstrate in (builtins, keywords, arguments_that_are_futures, cancel, in_words):
            print(f"--- {demonstrate.__name__}")
            demonstrate(ParslPoolExecutor(dfk=kernel))
    print("--- shutdown_without_waiting")
    shutdown_without_waiting()
