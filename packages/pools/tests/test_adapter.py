"""`adapt`: what it adds to executors that can do next to nothing, and that it takes nothing away from others."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import pickle
import sys
import threading
import weakref
from concurrent import futures as standard
from functools import partial

import pytest
from foreign import BareExecutor, ManualExecutor, MuteFuture
from races import LIMIT, Parking, elsewhere, frequent_switches, together
from signals import everywhere
from subprocesses import in_fork, run_script

from corefutures import BrokenExecutor, CancelledError, Executor, Future, adapt, as_completed, wait
from corefutures.backend import Capabilities
from corefutures_pools.adapter import call as adapter_call, executor as adapter_executor, future as adapter_future

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def manual():
    return ManualExecutor()


@pytest.fixture
def executor(manual):
    return adapt(manual)


@pytest.fixture
def bare():
    with adapt(BareExecutor(2)) as executor:
        yield executor


def raising(error: BaseException) -> None:
    raise error


# ── what is taken ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("thing", "phrase"),
    [
        (3, "int has no submit"),
        (None, "NoneType has no submit"),
        (standard.ThreadPoolExecutor, "not its class"),
        (type("Submits", (), {"submit": print})(), "Submits has no shutdown"),
        (type("Wrong", (), {"submit": 1, "shutdown": print})(), "Wrong has no submit"),
    ],
)
def test_what_is_no_executor_is_refused(thing, phrase):
    with pytest.raises(TypeError, match=phrase):
        adapt(thing)


def test_where_calls_are_pickled_a_chunk_is_one_call():
    submitted = []

    class Pickling(BareExecutor):
        def submit(self, fn):
            submitted.append(fn)
            return super().submit(fn)

    with adapt(Pickling(1), capabilities=Capabilities(pickles=True)) as executor:
        assert list(executor.map(divmod, [7, 8, 9, 7], [2, 2, 2, 4], chunksize=2)) == [(3, 1), (4, 0), (4, 1), (1, 3)]
        assert len(submitted) == 2
        results = executor.map(int, ["1", "x", "3"], chunksize=3)
        assert next(results) == 1
        with pytest.raises(ValueError, match="invalid literal") as caught:
            next(results)
        assert "ValueError" in str(caught.value.__cause__)
        assert next(results) == 3


def test_capabilities_must_be_capabilities(manual):
    with pytest.raises(TypeError, match="must be a Capabilities or None, not "):
        adapt(manual, capabilities={"pickles": True})


def test_what_is_adapted_already_is_returned(executor):
    assert adapt(executor) is executor


def test_an_adapted_executor_is_one_of_ours_and_of_the_standard_type(executor):
    assert isinstance(executor, Executor)
    assert isinstance(executor, standard.Executor)
    assert isinstance(executor.submit(int), Future)
    assert "ManualExecutor" in repr(executor)


def test_capabilities_are_known_stated_or_none(manual):
    assert adapt(manual).capabilities == Capabilities()
    stated = Capabilities(pickles=True, remote=True)
    assert adapt(manual, capabilities=stated).capabilities is stated
    manual.capabilities = stated
    assert adapt(manual).capabilities is stated
    with standard.ThreadPoolExecutor(1) as threads, standard.ProcessPoolExecutor(1) as processes:
        assert adapt(threads).capabilities == Capabilities(same_process=True, shares_memory=True)
        assert adapt(processes).capabilities == Capabilities(pickles=True)


# ── calls ────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_argument_reaches_the_call(bare):
    def echo(*args, **kwargs):
        return args, kwargs

    names = {"self": 1, "fn": 2, "call": 3, "timeout": 4, "args": 5, "kwargs": 6}
    thing = object()
    assert bare.submit(echo, thing, 2, **names).result(LIMIT) == ((thing, 2), names)


def test_what_cannot_be_called_is_refused_at_once(executor, manual):
    with pytest.raises(TypeError, match="takes a callable, not 3"):
        executor.submit(3)
    assert manual.futures == []


def test_an_exception_is_the_very_one_and_leaves_no_cycle():
    class Error(Exception):
        pass

    raised = []

    def fail():
        raised.append(Error())
        raise raised[0]

    with adapt(standard.ThreadPoolExecutor(1)) as executor:
        future = executor.submit(fail)
    assert future.exception() is raised[0]
    del executor
    with pytest.raises(Error) as caught:
        future.result()
    assert caught.traceback[-1].name == "fail"
    gone = weakref.ref(raised.pop())
    gc.disable()
    try:
        del caught, future
        Parking.until(lambda: gone() is None)
    finally:
        gc.enable()


def test_an_error_that_is_false_is_an_error(bare):
    class Falsy(Exception):
        def __bool__(self):
            return False

    with pytest.raises(Falsy):
        bare.submit(raising, Falsy()).result(LIMIT)


def test_an_executor_may_repeat_a_call(executor, manual):
    outcomes = iter([ValueError("not yet"), "at last"])

    def fickle():
        outcome = next(outcomes)
        return raising(outcome) if isinstance(outcome, Exception) else outcome

    future = executor.submit(fickle)
    with pytest.raises(ValueError, match="not yet"):
        manual.calls[0]()
    assert future.running()
    manual.run()
    assert future.result() == "at last"


def test_an_executor_may_make_something_else_of_the_result(executor, manual):
    future = executor.submit(int, "7")
    manual.calls[0]()
    manual.futures[0].set_result("seven")
    assert future.result() == "seven"


def test_map_has_time_limits_and_a_bounded_buffer_and_can_be_closed(executor, manual):
    taken = []
    results = executor.map(int, (taken.append(number) or number for number in range(9)), buffersize=2)
    assert taken == [0, 1]
    manual.run(0)
    assert next(results) == 0
    assert taken == [0, 1, 2]
    results.close()
    limited = executor.map(taken.append, [9], timeout=0)
    with pytest.raises(TimeoutError):
        next(limited)
    for index in (1, 2, 3):
        manual.run(index)
        assert manual.futures[index].result() is None
    assert taken == [0, 1, 2]


def test_futures_can_be_waited_for_and_mixed(bare):
    with standard.ThreadPoolExecutor(1) as pool:
        mixed = [bare.submit(int, "1"), pool.submit(int, "2"), bare.submit(int, "3")]
        assert not standard.wait(mixed, LIMIT).not_done
        assert not wait(mixed, LIMIT).not_done
        assert {future.result() for future in as_completed(mixed, LIMIT)} == {1, 2, 3}


@pytest.mark.parametrize("same_process", [True, False])
def test_only_for_workers_of_this_process_a_thread_spins(manual, monkeypatch, same_process):
    counted = []
    monkeypatch.setattr("corefutures._future.spin_until", lambda condition: counted.append(condition()) or counted[-1])
    executor = adapt(manual, capabilities=Capabilities(same_process=same_process, shares_memory=same_process))
    future = executor.submit(pow, 2, 2)
    with pytest.raises(TimeoutError):
        future.result(0.01)
    assert counted == [False] * same_process
    waiting = threading.Thread(target=future.result, args=(LIMIT,))
    waiting.start()
    while not future._cf_parked:
        threading.Event().wait(0.001)
    manual.run()
    waiting.join(LIMIT)
    assert not waiting.is_alive()
    cancelled = executor.submit(pow, 2, 2)
    assert cancelled.cancel()
    with pytest.raises(CancelledError):
        cancelled.result(LIMIT)


def test_asyncio_takes_the_futures(bare):
    async def program():
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(bare, pow, 2, number) for number in range(20)))

    assert asyncio.run(program()) == [2**number for number in range(20)]


def test_calls_that_an_event_loop_runs():
    class LoopExecutor:
        """Runs calls as tasks of an event loop in another thread."""

        def __init__(self):
            self.loop = asyncio.new_event_loop()
            self.thread = threading.Thread(target=self.loop.run_forever)
            self.thread.start()

        def submit(self, call):
            async def run():
                return call()

            return asyncio.run_coroutine_threadsafe(run(), self.loop)

        def shutdown(self):
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join()
            self.loop.close()

    with adapt(LoopExecutor()) as executor:
        assert list(executor.map(abs, range(-3, 0), timeout=LIMIT)) == [3, 2, 1]
        assert isinstance(executor.submit(raising, KeyError()).exception(LIMIT), KeyError)


def test_what_submit_raises_is_raised_and_nothing_is_left(manual, executor):
    error = BrokenExecutor("worn out")
    manual.submit = lambda call: raising(error)
    with pytest.raises(BrokenExecutor) as caught:
        executor.submit(int)
    assert caught.value is error
    elsewhere(executor.shutdown)  # would wait for a call that were left


def test_what_is_no_future_is_refused(manual, executor):
    manual.submit = lambda call: 42
    with pytest.raises(TypeError, match="returned 42, which is no future"):
        executor.submit(int)
    elsewhere(executor.shutdown)


# ── cancelling ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("future_type", [standard.Future, MuteFuture])
def test_a_waiting_call_is_cancelled_at_once(future_type):
    manual = ManualExecutor(future_type)
    executor = adapt(manual)
    ran = []

    class Argument:
        pass

    argument = Argument()
    gone = weakref.ref(argument)
    future = executor.submit(lambda argument: ran.append(1), argument)
    del argument
    called = []
    future.add_done_callback(called.append)
    assert future.cancel()
    assert future.cancel()
    assert (future.cancelled(), future.running(), called) == (True, False, [future])
    assert wait([future], 0).done == {future}
    gc.collect()
    assert gone() is None
    assert manual.calls[0]() is None
    assert ran == []
    if future_type is standard.Future:
        manual.futures[0].set_result(None)  # a naive worker's, which never asks whether it was cancelled
    else:
        manual.futures[0].end()  # the thread that waits for it may go


def test_a_call_that_runs_cannot_be_cancelled(executor, manual):
    seen = []

    def look():
        seen.append((future.running(), future.cancel(), future.running()))

    future = executor.submit(look)
    assert not future.running()
    manual.run()
    assert seen == [(True, False, True)]
    assert (future.done(), future.running(), future.cancel()) == (True, False, False)


def test_once_pickled_the_call_is_the_executors_to_cancel(executor, manual):
    future = executor.submit(int, "1")
    pickled = pickle.dumps(manual.calls[0])
    assert b"corefutures" not in pickled  # a worker needs nothing of ours
    assert type(pickle.loads(pickled)) is partial
    assert pickle.loads(pickled)() == 1
    theirs = manual.futures[0]
    theirs.set_running_or_notify_cancel()
    assert (future.running(), future.cancel()) == (True, False)
    theirs.set_result(5)
    assert (future.running(), future.result()) == (False, 5)

    future = executor.submit(int, "1")
    pickle.dumps(manual.calls[1])
    assert not future.running()
    assert future.cancel()
    assert (future.cancelled(), manual.futures[1].cancelled()) == (True, True)


def test_a_call_that_was_cancelled_before_it_was_pickled_does_nothing_anywhere(executor, manual):
    future = executor.submit(os._exit, 3)
    assert future.cancel()
    assert pickle.loads(pickle.dumps(manual.calls[0]))() is False


def test_an_executor_whose_futures_cannot_be_cancelled(caplog):
    class Uncancellable(standard.Future):
        answer: BaseException = NotImplementedError()

        def cancel(self):
            raise self.answer

        def running(self):
            raise self.answer

    manual = ManualExecutor(Uncancellable)
    executor = adapt(manual)
    assert executor.submit(int).cancel()
    for answer in (NotImplementedError(), ValueError()):
        Uncancellable.answer = answer
        future = executor.submit(int)
        pickle.dumps(manual.calls[-1])
        assert (future.running(), future.cancel(), future.cancelled()) == (False, False, False)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == [
        "running() of Uncancellable failed", "running() of Uncancellable failed", "cancel() of Uncancellable failed",
    ]  # fmt: skip
    for pending in manual.futures:  # or else the interpreter would wait for them at its end
        if not pending.done():
            pending.set_result(0)


def test_a_call_that_is_cancelled_while_it_is_submitted_is_not_handed_over(executor, manual, monkeypatch):
    hand_over = executor._hand_over

    def cancel_first(future):
        assert future.cancel()  # as `shutdown(cancel_futures=True)` of another thread does
        hand_over(future)

    monkeypatch.setattr(executor, "_hand_over", cancel_first)
    assert executor.submit(int).cancelled()
    assert manual.calls == []


class LateFuture(standard.Future):
    """Its own methods say that it was cancelled; those of the class it is made from don't know of it."""

    def cancelled(self):
        return True


@pytest.mark.parametrize("future_type", [standard.Future, type("Derived", (standard.Future,), {}), LateFuture])
def test_futures_of_the_standard_type_say_how_they_ended(future_type):
    manual = ManualExecutor(future_type)
    executor = adapt(manual)
    returned, raised, cancelled = (executor.submit(int) for _ in range(3))
    error = ValueError("x")
    manual.futures[0].set_result(7)
    manual.futures[1].set_exception(error)
    manual.futures[2].cancel()
    assert cancelled.cancelled()
    if future_type is LateFuture:
        assert returned.cancelled()
    else:
        assert returned.result(LIMIT) == 7
        assert raised.exception(LIMIT) is error
        assert error.__traceback__ is None


def test_what_the_executor_cancels_is_cancelled(executor, manual):
    waiting = executor.submit(int)
    assert manual.futures[0].cancel()
    assert waiting.cancelled()
    assert wait([waiting], 0).done == {waiting}

    running = executor.submit(lambda: manual.futures[1].cancel())
    manual.calls[1]()  # it runs, and for them it is pending still
    assert (running.cancelled(), running.done()) == (False, True)
    with pytest.raises(CancelledError):
        running.result()


def test_a_callbacks_exit_is_logged_in_a_worker_and_raised_to_who_cancels(executor, manual, caplog):
    ended, cancelled, sent = executor.submit(int), executor.submit(int), executor.submit(int)
    pickle.dumps(manual.calls[2])
    for future in (ended, cancelled, sent):
        future.add_done_callback(lambda _: raising(SystemExit(3)))
    manual.run(0)
    assert "exception calling callback" in caplog.text
    for future in (cancelled, sent):
        with pytest.raises(SystemExit):
            future.cancel()
        assert future.cancelled()


def test_an_interrupt_of_submit_leaves_no_call_that_shutdown_waits_for():
    """The call had ended already, and who submits ended its future: an interrupt of that was logged, and no more."""

    class Interrupted(BaseException):
        pass

    class Instant:
        def submit(self, fn):
            future = standard.Future()
            future.set_result(fn())
            return future

        def shutdown(self, wait=True):
            pass

    def scenario(interrupt):
        executor = adapt(Instant())
        with contextlib.suppress(Interrupted), interrupt(lambda: raising(Interrupted())):
            executor.submit(int)
        executor.shutdown()

    assert everywhere(scenario, adapter_future, raises=True) > 10


@pytest.mark.thread_unsafe(reason="two threads race as it is, and each of 2,000 calls starts one more")
def test_cancelling_races_the_start_of_thousands_of_calls():
    ran: set[int] = set()
    with frequent_switches(), adapt(BareExecutor(2)) as executor:
        for start in range(0, 2000, 100):
            futures = [executor.submit(ran.add, number) for number in range(start, start + 100)]
            answers = together(*[lambda: [future.cancel() for future in futures]] * 2)  # noqa: B023
            for number, future, *said in zip(range(start, start + 100), futures, *answers, strict=True):
                wait([future], LIMIT)
                assert future.done()
                assert said == [future.cancelled()] * 2
                assert (number in ran) != future.cancelled()


# ── shutting down ────────────────────────────────────────────────────────────────────────────────────────


def test_shutdown_refuses_calls_and_is_passed_on_once(executor, manual):
    executor.shutdown()
    executor.shutdown(False)
    executor.shutdown(wait=True, cancel_futures=True)
    assert manual.shutdowns == [True]
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(int)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.map(int, "1")


def test_every_kind_of_shutdown_is_called_as_it_can_be():
    called = []

    class Nothing(ManualExecutor):
        def shutdown(self):
            called.append(())

    class Anything(ManualExecutor):
        def shutdown(self, **options):
            called.append(options)

    class Both(ManualExecutor):
        def shutdown(self, wait=False, cancel_futures=False):
            called.append((wait, cancel_futures))

    class Opaque(ManualExecutor):
        shutdown = property(lambda self: called.clear)  # a method of C, which can't be looked into

    for kind in (Nothing, Anything, Both):
        with adapt(kind()) as executor:
            executor.submit(int).cancel()
    assert called == [(), {"wait": True}, (True, False)]
    with adapt(Opaque()):
        pass
    assert called == []


def test_shutdown_waits_until_no_call_is_left_and_only_then_is_passed_on(executor, manual):
    future = executor.submit(int)
    executor.shutdown(wait=False)
    assert manual.shutdowns == []
    ending = threading.Thread(target=executor.shutdown, daemon=True)
    ending.start()
    Parking.until(lambda: executor._parked and len(executor._parked) == 2)
    assert (future.done(), manual.shutdowns) == (False, [])
    manual.run()
    ending.join(LIMIT)
    assert not ending.is_alive()
    assert manual.shutdowns == [True]


def test_shutdown_cancels_what_has_not_started():
    gate, entered = threading.Event(), threading.Event()
    executor = adapt(BareExecutor(1))
    running = executor.submit(lambda: entered.set() or gate.wait(LIMIT))
    waiting = [executor.submit(int) for _ in range(20)]
    assert entered.wait(LIMIT)
    executor.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in waiting)
    assert not running.done()
    gate.set()
    elsewhere(executor.shutdown)
    assert running.result() is True


def test_callbacks_that_fail_do_not_keep_calls_from_being_cancelled(executor):
    futures = [executor.submit(int) for _ in range(3)]
    futures[0].add_done_callback(lambda _: raising(SystemExit(3)))
    with pytest.raises(SystemExit):
        executor.shutdown(cancel_futures=True)
    assert all(future.cancelled() for future in futures)


@pytest.mark.parametrize("workers", [1, 2])
def test_shutdown_from_a_call_or_a_callback_does_not_wait(workers):
    for from_callback in (False, True):
        executor = adapt(BareExecutor(workers))
        told = threading.Event()
        gate = threading.Event()
        first = executor.submit(gate.wait, LIMIT) if from_callback else executor.submit(executor.shutdown)
        if from_callback:
            first.add_done_callback(lambda _, end=executor.shutdown, told=told: (end(), told.set()))
        gate.set()
        first.result(LIMIT)
        if from_callback:
            assert told.wait(LIMIT)
        elsewhere(executor.shutdown)


def test_shutdowns_in_many_threads_all_return_when_it_is_over():
    for _ in range(30):
        executor = adapt(BareExecutor(2))
        futures = [executor.submit(int) for _ in range(5)]

        def end(executor=executor, futures=futures):
            executor.shutdown()
            return all(future.done() for future in futures) and not any(
                thread.is_alive() for thread in executor._cf_adapted._threads
            )

        assert together(*[end] * 4) == [True] * 4


def test_submitting_races_shutting_down():
    with frequent_switches():
        for _ in range(100):
            executor = adapt(BareExecutor(1))
            futures = []

            def submit(executor=executor, futures=futures):
                try:
                    while True:
                        futures.append(executor.submit(int))
                except RuntimeError as error:
                    return str(error)

            assert "after shutdown" in together(submit, executor.shutdown)[0]
            executor.shutdown()
            assert all(future.done() for future in futures)


def test_what_shutdown_raises_is_raised_once_and_logged_where_nobody_waits(manual, caplog):
    manual.shutdown = lambda: raising(OSError("stuck"))
    executor = adapt(manual)
    with pytest.raises(OSError, match="stuck"):
        executor.shutdown()
    executor.shutdown()
    adapt(manual).shutdown(wait=False)
    Parking.until(lambda: "shutting down" in caplog.text)


def test_a_shutdown_that_is_interrupted_can_be_repeated(manual):
    errors = iter([KeyboardInterrupt()])
    ended = []
    manual.shutdown = lambda: [raising(error) for error in errors] or ended.append(1)
    executor = adapt(manual)
    with pytest.raises(KeyboardInterrupt):
        executor.shutdown()
    executor.shutdown()
    assert ended == [1]


# ── lifetimes ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_dropped_adapter_is_freed_and_shuts_nothing_down(manual):
    executor = adapt(manual)
    future = executor.submit(int, "3")
    gone = weakref.ref(executor)
    del executor
    gc.collect()
    assert gone() is not None, "a call is pending"
    manual.run()
    gc.disable()
    try:
        Parking.until(lambda: gone() is None)
    finally:
        gc.enable()
    assert future.result() == 3
    assert manual.shutdowns == []


def test_an_ended_future_keeps_nothing(manual):
    executor = adapt(manual)

    class Argument:
        pass

    argument = Argument()
    gone = weakref.ref(argument), weakref.ref(executor)
    future = executor.submit(id, argument)
    manual.run()
    theirs = weakref.ref(manual.futures.pop())
    manual.calls.clear()
    del argument, executor
    gc.collect()
    assert [reference() for reference in (*gone, theirs)] == [None, None, None]
    assert future.done()


def test_calls_that_are_pending_at_the_end_of_the_interpreter_run():
    ended = run_script(
        """
        import sys
        sys.path[:0] = sys.argv[1:]
        import time
        from foreign import BareExecutor
        from corefutures import adapt

        def last():
            try:
                executor.submit(int)
            except RuntimeError as error:
                print(error)

        executor = adapt(BareExecutor(1))
        executor.submit(time.sleep, 0.05)
        executor.submit(print, "ran").add_done_callback(lambda future: print("called back"))
        import atexit
        atexit.register(last)
        """,
        os.path.dirname(sys.modules["foreign"].__file__),
    )
    assert ended == (0, "ran\ncalled back\ncannot schedule new futures after interpreter shutdown\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_is_told_that_the_workers_are_missing():
    executor = adapt(BareExecutor(1))
    gate = threading.Event()
    running, waiting = executor.submit(gate.wait, LIMIT), executor.submit(int, "4")

    def check():
        for future in (running, waiting):
            assert isinstance(future.exception(LIMIT), BrokenExecutor)
        with pytest.raises(BrokenExecutor, match="forked"):
            executor.submit(int)
        executor.shutdown()
        executor.shutdown(wait=False)

    in_fork(check)
    gate.set()
    assert (running.result(LIMIT), waiting.result(LIMIT)) == (True, 4)
    executor.shutdown()


# ── interruptions (F8) ───────────────────────────────────────────────────────────────────────────────────


def test_submit_may_be_interrupted_by_anything():
    def scenario(interrupt):
        manual = ManualExecutor()
        executor = adapt(manual)
        before = executor.submit(int)

        def handler():
            before.cancel()
            executor.submit(int).cancel()
            executor.shutdown(cancel_futures=True)

        with interrupt(handler):
            try:
                future = executor.submit(int, "1")
            except RuntimeError:
                future = None
        for index in range(len(manual.futures)):
            manual.run(index)
        assert before.done()
        assert future is None or future.done()
        elsewhere(executor.shutdown)

    assert everywhere(scenario, adapter_executor, adapter_future, adapter_call) > 5


def test_cancel_may_be_interrupted_by_anything():
    for pickled in (False, True):

        def scenario(interrupt, pickled=pickled):
            manual = ManualExecutor()
            executor = adapt(manual)
            future = executor.submit(int)
            called = []
            future.add_done_callback(called.append)
            if pickled:
                pickle.dumps(manual.calls[0])
            with interrupt(lambda: (future.cancel(), future.running(), executor.shutdown(wait=False))):
                assert future.cancel()
            assert called == [future]
            elsewhere(executor.shutdown)

        assert everywhere(scenario, adapter_executor, adapter_future, adapter_call) > 5


# ── other people's executors ─────────────────────────────────────────────────────────────────────────────


def test_the_standard_thread_pool():
    with adapt(standard.ThreadPoolExecutor(2)) as executor:
        assert list(executor.map(abs, range(-20, 0), buffersize=3)) == list(range(20, 0, -1))


def test_the_standard_process_pool():
    from multiprocessing import get_context

    with adapt(standard.ProcessPoolExecutor(1, mp_context=get_context("spawn"))) as executor:
        assert executor.submit(int, "12", base=3).result(LIMIT) == 5
        assert executor.submit(os.getpid).result(LIMIT) != os.getpid()
        assert isinstance(executor.submit(int, "x").exception(LIMIT), ValueError)
        waiting = [executor.submit(sorted, [3, 1]) for _ in range(40)]
        executor.shutdown(cancel_futures=True)
        assert waiting[-1].cancelled()
        assert all(future.done() for future in waiting)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="interpreter pools need Python 3.14")
def test_the_standard_interpreter_pool():
    with adapt(standard.InterpreterPoolExecutor(1)) as executor:
        assert executor.capabilities == Capabilities(same_process=True, pickles=True)
        assert executor.submit(int, "12", base=3).result(LIMIT) == 5
        assert executor.submit(lambda: 7).result(LIMIT) == 7


def test_loky():
    loky = pytest.importorskip("loky", reason="needs the capability to import loky")
    with adapt(loky.ProcessPoolExecutor(1)) as executor:
        assert executor.submit(lambda *args, fn: (args, fn), 1, fn=2).result(LIMIT) == ((1,), 2)


def test_no_thread_can_be_started_to_wait_for_a_call(bare, monkeypatch):
    """The call has been taken, and its future ends."""
    start = threading.Thread.start

    def fail(thread: threading.Thread) -> None:
        if thread.name == "corefutures-waiting":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        future, told = bare.submit(int, "7"), []
        assert future.result(LIMIT) == 7
        future.add_done_callback(told.append)
        assert told == [future]
    assert bare.submit(int, "8").result(LIMIT) == 8
