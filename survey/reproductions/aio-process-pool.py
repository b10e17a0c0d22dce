"""What aio_process_pool's executor does where a rule demands otherwise: `python aio-process-pool.py`.

It is made for the thread of a running event loop, so each of these programs has one.
"""

import asyncio
import concurrent.futures
import functools
import os
import subprocess
import sys
import tempfile

from aio_process_pool import Executor


def outcome(*call, seconds=8, **keywords):
    """Submit a call to an executor of its own, in a loop of its own, and say how it ends."""

    async def in_loop():
        return await asyncio.wait_for(asyncio.wrap_future(Executor(1).submit(*call, **keywords)), seconds)

    try:
        return repr(asyncio.new_event_loop().run_until_complete(in_loop()))[:110]
    except TimeoutError:
        return f"nothing after {seconds} s"
    except BaseException as error:
        return f"{type(error).__name__}({str(error)[:80]!r})"


def arguments(*args, **kwargs):
    return args, kwargs


def keywords():
    """aio-process-pool: submitting.passes_keyword_arguments submitting.passes_many_arguments
    submitting.passes_falsy_arguments submitting.keyword_arguments_keep_their_order submitting.calls_a_partial
    submitting.calls_a_class submitting.passes_a_keyword_called_self submitting.passes_a_keyword_called_fn
    submitting.passes_a_keyword_called_key submitting.passes_a_keyword_called_timeout
    submitting.passes_keywords_that_executors_like
    """
    print("submit(arguments, 1, a=2) gives", outcome(arguments, 1, a=2))
    print("submit(partial(arguments, 1), b=2) gives", outcome(functools.partial(arguments, 1), b=2))
    print("submit(dict, a=1) gives", outcome(dict, a=1))
    for name in ("self", "fn"):
        print(f"submit(arguments, {name}=1) gives", outcome(arguments, **{name: 1}))


def raising(error):
    raise error


def exceptions():
    """aio-process-pool: callbacks.callback_sees_the_exception cancelling.cancel_does_not_hide_an_exception
    cancelling.cancel_returns_false_once_failed exceptions.exception_can_be_asked_again
    exceptions.exception_returns_what_the_call_raised exceptions.exceptions_do_not_touch_neighbours
    exceptions.raised_broken_executor_breaks_nothing exceptions.raised_cancelled_error_is_no_cancellation
    exceptions.raised_empty_exception_arrives exceptions.raised_errors_that_executors_catch_arrive
    exceptions.raised_exception_is_not_compared exceptions.raised_exception_keeps_its_attributes
    exceptions.raised_exception_of_own_class_arrives exceptions.raised_falsy_exception_arrives
    exceptions.raised_group_arrives exceptions.raised_os_error_keeps_its_fields
    exceptions.raised_recursion_error_arrives exceptions.raised_stop_iteration_arrives
    exceptions.raised_timeout_error_arrives exceptions.raised_unicode_error_arrives
    exceptions.result_raises_what_the_call_raised exceptions.waiting_threads_get_the_exception
    mapping.map_chunksize_keeps_results_of_chunks_before_an_error mapping.map_error_leaves_the_executor_usable
    mapping.map_neither_repeats_nor_skips_after_an_error mapping.map_raises_a_calls_error_in_its_place
    mapping.map_raises_a_calls_own_timeout_error mapping.map_reports_an_error_at_iteration_only
    shutting_down.shutdown_waits_although_calls_fail shutting_down.shutdown_with_cancel_leaves_finished_calls_alone
    submitting.what_is_not_callable_ends_in_type_error submitting.wrong_arguments_end_in_type_error
    """
    for error in (ValueError(1, 2), OSError(2, "gone"), StopIteration(7), TimeoutError("own")):
        print(repr(error), "arrives as", outcome(raising, error))
    broken = concurrent.futures.BrokenExecutor("own")
    print(repr(broken), "arrives as", outcome(raising, broken))
    print("submit(42) ends in", outcome(42))


class NoRepr(Exception):
    def __repr__(self):
        raise RuntimeError("it cannot be shown")

    __str__ = __repr__


def touch_and_end(folder, how):
    tempfile.mkstemp(dir=folder)
    how()


def interrupt():
    raise KeyboardInterrupt


def show_no_repr():
    raise NoRepr


def ended_workers():
    """aio-process-pool: exceptions.raised_base_exception_arrives exceptions.raised_exception_is_not_shown
    exceptions.raised_cancellation_of_asyncio_is_no_cancellation exceptions.raised_keyboard_interrupt_arrives
    exceptions.raised_system_exit_arrives exceptions.waiting_calls_outlive_base_exceptions
    exceptions.workers_outlive_base_exceptions worker_loss.crash_while_running worker_loss.kill_while_running
    worker_loss.os_exit_while_running
    """
    for how in (os.abort, interrupt, sys.exit, show_no_repr):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            print(f"a call that ends its worker by {how.__name__} ends in", end=" ")
            print(
                outcome(touch_and_end, folder, how, seconds=3),
                "and was begun more than once:",
                len(os.listdir(folder)) > 1,
            )


def end_of_the_program():
    """aio-process-pool: shutting_down.exit_waits_for_the_calls_after_shutdown"""
    program = """
import asyncio
from aio_process_pool import Executor
async def main():
    executor = Executor(1)
    futures = [executor.submit(open, "{}/" + str(n), "w") for n in range(4)]
    executor.shutdown(wait=False)
if __name__ == "__main__":
    asyncio.run(main())
"""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", program.replace("{}", folder)], stderr=subprocess.DEVNULL, timeout=30)
        print("of 4 calls that were pending at the end of the program these ran:", sorted(os.listdir(folder)))


if __name__ == "__main__":
    shows = {show.__name__: show for show in (keywords, exceptions, ended_workers, end_of_the_program)}
    if len(sys.argv) == 1:  # each in a process of its own: some leave workers that do not end
        for name in shows:
            print(f"--- {name}", flush=True)
            subprocess.run([sys.executable, __file__, name], stderr=subprocess.DEVNULL, timeout=60, check=False)
    else:
        shows[sys.argv[1]]()
        sys.stdout.flush()
        os._exit(0)
