"""What loky's executors do where a rule demands otherwise: `python loky-pools.py`, with loky installed."""

import itertools
import sys

from loky import ProcessPoolExecutor


def keywords(executor):
    """loky loky-reusable joblib: submitting.passes_a_keyword_called_self submitting.passes_a_keyword_called_fn
    submitting.callable_is_positional_only
    """
    for name in ("self", "fn"):
        try:
            print(executor.submit(dict, **{name: 1}).result())
        except TypeError as error:
            print(f"submit(dict, {name}=1) raised", error)
    print("submit(fn=int) is taken:", executor.submit(fn=int))


def buffersize(executor):
    """loky loky-reusable joblib: mapping.map_buffersize_limits_what_is_drawn
    mapping.map_buffersize_takes_an_endless_input mapping.map_buffersize_times_out
    """
    if sys.version_info < (3, 14):
        return print("map() takes buffersize since Python 3.14")
    drawn = []
    next(executor.map(abs, (drawn.append(number) or number for number in range(100)), buffersize=2))
    print(f"with buffersize=2, {len(drawn)} items were drawn for the first result")

    def endless():
        for number in itertools.count():
            if number == 100_000:
                raise RuntimeError(f"{number:,} items were drawn of an endless input, and no result given")
            yield number

    try:
        next(executor.map(abs, endless(), buffersize=2))
    except RuntimeError as error:
        print(error)


def cancel_futures(executor):
    """loky loky-reusable joblib: shutting_down.shutdown_of_an_unused_executor_makes_submit_fail
    shutting_down.shutdown_leaves_other_executors_alone shutting_down.shutdown_with_cancel_cancels_what_waits
    shutting_down.shutdown_with_cancel_waits_for_what_runs
    shutting_down.shutdown_with_cancel_without_waiting_cancels_what_waits
    shutting_down.shutdown_with_cancel_without_waiting_lets_the_running_call_end
    shutting_down.shutdown_with_cancel_leaves_finished_calls_alone
    shutting_down.shutdown_with_cancel_wakes_a_thread_in_result shutting_down.shutdown_with_cancel_runs_callbacks
    shutting_down.shutdown_with_cancel_ends_an_iterator_of_map stress.cancel_races_shutdown
    stateful.histories_with_shutdown
    """
    try:
        executor.shutdown(cancel_futures=True)
    except TypeError as error:
        print("shutdown(cancel_futures=True) raised", error)


if __name__ == "__main__":
    with ProcessPoolExecutor(max_workers=1) as executor:
        for show in (keywords, buffersize, cancel_futures):
            print(f"--- {show.__name__}")
            show(executor)
