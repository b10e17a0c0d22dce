"""What reusable executors do where a rule uses two: `python loky-reusable.py`, with loky and joblib installed."""

import time

import joblib.externals.loky
import loky


def the_next_ends_this_one(get_reusable_executor):
    """loky-reusable joblib: initializing.failing_initializer_breaks_one_executor_only
    as_completed.as_completed_takes_futures_of_several_executors shutting_down.shutdown_leaves_other_executors_alone
    """
    first = get_reusable_executor(max_workers=1, reuse=False)
    print("the first works:", first.submit(abs, -1).result())
    second = get_reusable_executor(max_workers=1, reuse=False)
    print("the second is another one:", second is not first)
    try:
        print("the first, once there is a second:", first.submit(abs, -1).result(10))
    except RuntimeError as error:
        print("the first, once there is a second:", type(error).__name__, error)
    second.shutdown()
    try:
        print("the first, once the second was shut down:", first.submit(abs, -1).result(10))
    except RuntimeError as error:
        print("the first, once the second was shut down:", type(error).__name__, error)


def the_next_waits_for_this_one(get_reusable_executor):
    """loky-reusable joblib: waiting.wait_takes_futures_of_several_executors
    as_completed.as_completed_takes_futures_of_several_executors shutting_down.shutdown_leaves_other_executors_alone
    """
    first = get_reusable_executor(max_workers=1, reuse=False)
    future = first.submit(time.sleep, 3)
    get_reusable_executor(max_workers=1, reuse=False)
    print("a second was to be had once the calls of the first had ended:", future.done())


if __name__ == "__main__":
    for library in (loky, joblib.externals.loky):
        for show in (the_next_ends_this_one, the_next_waits_for_this_one):
            print(f"--- {library.__name__}: {show.__name__}")
            show(library.get_reusable_executor)
        library.get_reusable_executor(max_workers=1).shutdown()
