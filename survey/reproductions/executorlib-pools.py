"""What executorlib does where a rule demands otherwise: `python executorlib-pools.py`, with executorlib installed."""

import asyncio
import os
import subprocess
import sys
import time

from executorlib import SingleNodeExecutor

kept = []


def make(block_allocation):
    kept.append(SingleNodeExecutor(max_workers=1, block_allocation=block_allocation))  # some wait for ever if dropped
    return kept[-1]


def outcome(future, seconds=10):
    try:
        return repr(future.exception(timeout=seconds) or future.result(timeout=0))
    except TimeoutError:
        return f"nothing after {seconds} s"


def keywords(in_blocks):
    """executorlib executorlib-block: submitting.passes_a_keyword_called_self submitting.passes_a_keyword_called_fn"""
    executor = make(in_blocks)
    for name in ("self", "fn"):
        try:
            print(executor.submit(dict, **{name: 1}))
        except TypeError as error:
            print(f"submit(dict, {name}=1) raised", error)


def a_class(in_blocks):
    """executorlib executorlib-block: submitting.calls_a_class"""
    executor = make(in_blocks)
    try:
        print(executor.submit(dict, [(1, 2)]))
    except ValueError as error:
        print("submit(dict, [(1, 2)]) raised", error)


def length(value):
    return len(value)


def cyclic_argument(in_blocks):
    """executorlib executorlib-block: submitting.passes_a_cyclic_argument"""
    executor = make(in_blocks)
    cycle = [1]
    cycle.append(cycle)
    try:
        print("the length of a list that contains itself:", outcome(executor.submit(length, cycle)))
    except RecursionError as error:
        print("submit() of a list that contains itself raised", repr(error)[:100])


def raising(error):
    raise error


def answer():
    return 42


def base_exceptions(in_blocks):
    """executorlib executorlib-block: exceptions.raised_cancellation_of_asyncio_is_no_cancellation
    exceptions.raised_system_exit_arrives exceptions.raised_keyboard_interrupt_arrives
    exceptions.raised_base_exception_arrives exceptions.workers_outlive_base_exceptions
    exceptions.waiting_calls_outlive_base_exceptions
    """
    for error in (SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()):
        executor = make(in_blocks)
        raised, behind = executor.submit(raising, error), executor.submit(answer)
        print(f"{error!r} arrives as {outcome(raised)}, and the call behind ends in {outcome(behind)}")


def cancelled_calls(in_blocks):
    """executorlib executorlib-block: cancelling.a_cancelled_call_never_runs
    cancelling.a_cancelled_future_stays_cancelled cancelling.cancel_again_returns_true
    cancelling.cancel_from_several_threads cancelling.cancel_leaves_other_calls_alone
    cancelling.the_executor_goes_on_after_cancellations cancelling.shutdown_after_cancelling_everything
    cancelling.wait_sees_a_cancelled_future cancelling.as_completed_yields_a_cancelled_future
    """
    executor = make(in_blocks)
    running, waiting = executor.submit(time.sleep, 1), executor.submit(answer)
    print("cancel() at once of a call that waits returned", waiting.cancel())
    behind = executor.submit(answer)
    print("the running call ends in", outcome(running), "and the one behind in", outcome(behind))


def shutdown_without_waiting(in_blocks):
    """executorlib: cancelling.cancel_after_shutdown"""
    executor = make(in_blocks)
    running = executor.submit(time.sleep, 3)
    executor.submit(answer)
    time.sleep(0.5)
    began = time.monotonic()
    executor.shutdown(wait=False)
    print(f"shutdown(wait=False) took {time.monotonic() - began:.1f} s; the call of 3 s has ended:", running.done())


def many_calls(in_blocks):
    executor = make(in_blocks)
    began = time.monotonic()
    futures = [executor.submit(answer) for _ in range(10)]
    print("10 calls of one worker:", {future.result() for future in futures}, f"after {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    shows = (keywords, a_class, cyclic_argument, base_exceptions, cancelled_calls, shutdown_without_waiting, many_calls)
    if len(sys.argv) == 1:  # each in a process of its own: after some of them nothing else works, not even the end
        for how in ("a process for each call", "in blocks"):
            for show in shows:
                print(f"--- {how}: {show.__name__}", flush=True)
                command = [sys.executable, __file__, show.__name__, how]
                subprocess.run(command, stderr=subprocess.DEVNULL, timeout=120, check=False)
    else:
        {show.__name__: show for show in shows}[sys.argv[1]](sys.argv[2] == "in blocks")
        sys.stdout.flush()
        os._exit(0)
