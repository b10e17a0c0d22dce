"""The options of `adapt`: calls that wait here, calls as bytes, initializers."""

from __future__ import annotations

import os
import pickle
import sys
import threading
import types
from concurrent import futures as standard
from functools import partial
from multiprocessing import get_context

import pytest
from foreign import BareExecutor, ManualExecutor
from races import LIMIT, together
from signals import everywhere
from subprocesses import in_fork, run_script

from corefutures import BrokenExecutor, adapt, wait
from corefutures.backend import Capabilities
from corefutures_pools.adapter import executor as adapter_executor, waiting as adapter_waiting

pytestmark = pytest.mark.timeout(60)

THREADS = Capabilities(same_process=True, shares_memory=True)


@pytest.fixture
def manual():
    """An executor that has run what it got when the test ends: the end of the interpreter would wait for it."""
    manual = ManualExecutor()
    yield manual
    while any(not future.done() for future in manual.futures):
        for n, future in enumerate(manual.futures):
            if not future.done():
                manual.run(n)


def eventually(condition):
    for _ in range(int(LIMIT * 100)):
        if condition():
            return True
        threading.Event().wait(0.01)
    return False


class Unpicklable:
    def __reduce__(self):
        raise ValueError("stays here")


class FailsToUnpickle(Exception):
    def __reduce__(self):
        return int, ("x",)


def raise_it(error):
    raise error()


def fail_to_initialize(*_):
    raise ZeroDivisionError("not today")


# ── max_workers ──────────────────────────────────────────────────────────────────────────────────────────


def test_calls_wait_here_until_a_worker_is_free(manual):
    executor = adapt(manual, max_workers=2)
    futures = [executor.submit(divmod, 7, n) for n in range(1, 6)]
    assert len(manual.calls) == 2
    assert [future.running() for future in futures] == [True, True, False, False, False]
    assert not futures[0].cancel(), "the executor has the call"
    assert futures[3].cancel()
    manual.run(1)
    assert futures[1].result(LIMIT) == (3, 1)
    assert eventually(lambda: len(manual.calls) == 3)
    assert futures[2].running()
    manual.run(0)
    assert eventually(lambda: len(manual.calls) == 4)
    manual.run(2)
    manual.run(3)
    assert [future.result(LIMIT) for future in (futures[0], futures[2], futures[4])] == [(7, 0), (2, 1), (1, 2)]
    later = executor.submit(int, "8")
    assert len(manual.calls) == 5, "a worker is free: the call is handed over at once"
    manual.run(4)
    assert later.result(LIMIT) == 8


def test_an_executor_that_cancels_what_runs_is_not_asked_to(manual):
    executor = adapt(manual, max_workers=1)
    future = executor.submit(pickle.dumps, 1)
    pickle.dumps(manual.calls[0])  # a worker elsewhere may run it
    assert not future.cancel()
    assert not manual.futures[0].cancelled()


def test_shutdown_waits_for_the_calls_that_wait(manual):
    executor = adapt(manual, max_workers=1)
    futures = [executor.submit(int, "7") for _ in range(3)]
    executor.shutdown(wait=False)
    for n in range(3):
        assert eventually(lambda n=n: len(manual.calls) == n + 1)
        assert manual.shutdowns == []
        manual.run(n)
    assert [future.result(LIMIT) for future in futures] == [7, 7, 7]
    assert eventually(lambda: manual.shutdowns == [True])


def test_shutdown_cancels_the_calls_that_wait(manual):
    executor = adapt(manual, max_workers=1)
    futures = [executor.submit(int, "7") for _ in range(3)]
    executor.shutdown(wait=False, cancel_futures=True)
    assert [future.cancelled() for future in futures] == [False, True, True]
    manual.run(0)
    assert eventually(lambda: manual.shutdowns == [True])
    assert len(manual.calls) == 1


def test_calls_that_wait_at_the_end_come_before_the_end_of_an_executor_that_began_late():
    """loky registers its step at exit when it gets the first call: later than ours."""
    ended = run_script(
        """
        import sys, threading
        sys.path[:0] = sys.argv[1:]
        from corefutures import adapt
        from foreign import BareExecutor

        class EndsEarly(BareExecutor):
            begun, ended = False, threading.Event()

            def submit(self, call):
                if self.ended.is_set():
                    raise RuntimeError("the interpreter ends")
                if not self.begun:
                    self.begun = True
                    threading._register_atexit(self.end)
                return super().submit(call)

            def end(self):
                self.ended.set()

        executor = adapt(EndsEarly(1), max_workers=1)
        executor.submit(EndsEarly.ended.wait, 0.5)  # whichever step is first: the others wait until then
        for n in range(4):
            executor.submit(print, n)
        executor.shutdown(wait=False)
        """,
        os.path.dirname(sys.modules["foreign"].__file__),
    )
    assert ended == (0, "0\n1\n2\n3\n", "")


def test_a_call_that_the_executor_refuses_later_fails(manual):
    executor = adapt(manual, max_workers=1)
    first, second, third = (executor.submit(int, "7") for _ in range(3))

    def refuse(call):
        raise BrokenExecutor("broken meanwhile")

    manual.submit = refuse
    manual.run(0)
    assert first.result(LIMIT) == 7
    for future in (second, third):
        with pytest.raises(BrokenExecutor, match="broken meanwhile"):
            future.result(LIMIT)
    with pytest.raises(BrokenExecutor, match="broken meanwhile"):
        executor.submit(int)
    executor.shutdown()


def test_no_more_calls_run_at_once_than_there_are_workers():
    running, most = [], []

    def call(n):
        running.append(n)
        most.append(len(running))
        running.remove(n)
        return n

    with adapt(BareExecutor(4), max_workers=2) as executor:
        assert list(executor.map(call, range(200))) == list(range(200))
    assert max(most) <= 2
    assert executor._max_workers == 2


def test_a_call_whose_future_has_no_callbacks_counts_until_it_ends():
    gate, submitted = threading.Event(), []

    class Counting(BareExecutor):
        def submit(self, call):
            submitted.append(call)
            return super().submit(call)

    with adapt(Counting(2), max_workers=1) as executor:
        futures = [executor.submit(gate.wait, LIMIT) for _ in range(3)]
        assert eventually(futures[0].running)
        assert len(submitted) == 1
        gate.set()
        assert [future.result(LIMIT) for future in futures] == [True] * 3


def test_submitting_cancelling_and_ending_race():
    with adapt(standard.ThreadPoolExecutor(2), max_workers=2) as executor:
        futures = []

        def submit():
            futures.extend(executor.submit(int, n) for n in range(300))

        def cancel():
            for _ in range(300):
                for future in futures[-3:]:
                    future.cancel()

        together(submit, submit, cancel)
        wait(futures, LIMIT)
        assert all(future.done() for future in futures)
        assert executor.submit(int, "9").result(LIMIT) == 9, "no worker was lost count of"
        assert executor.submit(int, "9").result(LIMIT) == 9


def test_without_a_thread_calls_are_handed_over_where_others_end(manual, monkeypatch):
    executor = adapt(manual, max_workers=1)
    start = threading.Thread.start

    def fail(thread):
        if thread.name == "corefutures-handing-over":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fail)
    futures = [executor.submit(int, n) for n in range(3)]
    for n in range(3):
        assert len(manual.calls) == n + 1
        manual.run(n)
    assert [future.result(LIMIT) for future in futures] == [0, 1, 2]


@pytest.mark.parametrize("max_workers", [0, -1, 1.5, True])
def test_max_workers_is_a_number(manual, max_workers):
    with pytest.raises((TypeError, ValueError), match="max_workers"):
        adapt(manual, max_workers=max_workers)


def test_calls_that_wait_at_the_end_of_the_interpreter_run():
    script = """
        import sys
        sys.path[:0] = sys.argv[1:]
        from corefutures import adapt
        from foreign import BareExecutor
        class Telling(BareExecutor):
            def shutdown(self):
                super().shutdown()
                print("shut down")
        executor = adapt(Telling(1), max_workers=1)
        for n in range(3):
            executor.submit(print, n)
    """
    ended = run_script(script, os.path.dirname(sys.modules["foreign"].__file__))
    assert ended == (0, "0\n1\n2\nshut down\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_forgets_the_calls_that_wait(manual):
    executor = adapt(manual, max_workers=1)
    futures = [executor.submit(int) for _ in range(3)]

    def child():
        for future in futures:
            assert isinstance(future.exception(LIMIT), BrokenExecutor)
        with pytest.raises(BrokenExecutor):
            executor.submit(int)

    in_fork(child)
    executor.shutdown(wait=False, cancel_futures=True)


# ── serializer ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def processes():
    pytest.importorskip("cloudpickle", reason="needs the capability to pickle functions by value (cloudpickle)")
    pool = standard.ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    with adapt(pool, capabilities=Capabilities(pickles=True), serializer="cloudpickle") as executor:
        yield executor


def test_what_cannot_cross_fails_alone(processes):
    assert "stays here" in str(processes.submit(repr, Unpicklable()).exception(LIMIT))
    assert isinstance(processes.submit(raise_it, FailsToUnpickle).exception(LIMIT), Exception)
    assert isinstance(processes.submit(raise_it, SystemExit).exception(LIMIT), SystemExit)
    assert isinstance(processes.submit(raise_it, KeyboardInterrupt).exception(LIMIT), KeyboardInterrupt)
    assert processes.submit(lambda: 7).result(LIMIT) == 7, "functions without a name travel by value"


def test_arguments_are_taken_at_submit(processes):
    gate, items = [], [1]
    futures = [processes.submit(list, items) for _ in range(20)]
    items.append(2)
    assert [future.result(LIMIT) for future in futures] == [[1]] * 20
    assert gate == []


def test_calls_by_name_end_as_calls_by_value_do(processes):
    assert processes.submit(shown, 1, two="2", three=None).result(LIMIT) == "(1,) {'two': '2', 'three': None}"
    assert processes.submit(bytes, 2).result(LIMIT) == b"\0\0", "an answer in bytes is no result by itself"
    assert processes.submit(Flag, True).result(LIMIT) == Flag(True)
    assert isinstance(processes.submit(FailsToUnpickle).exception(LIMIT), ValueError)
    assert isinstance(processes.submit(threading.Lock).exception(LIMIT), TypeError)
    error = processes.submit(divmod, 1, 0).exception(LIMIT)
    assert isinstance(error, ZeroDivisionError)
    assert "Traceback" in str(error.__cause__)


def test_a_name_that_workers_do_not_find_fails_its_call_alone(processes, monkeypatch):
    module = types.ModuleType("corefutures_only_here")
    exec("def fn(): pass", vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert isinstance(processes.submit(module.fn).exception(LIMIT), ModuleNotFoundError)
    added = types.FunctionType(shown.__code__, globals(), "added")
    added.__qualname__ = "added"
    monkeypatch.setitem(globals(), "added", added)
    assert isinstance(processes.submit(added).exception(LIMIT), AttributeError)
    assert processes.submit(int, "7").result(LIMIT) == 7


def shown(*args, **kwargs):
    return f"{args} {kwargs}"


class Number(int):
    pass


class Flag:
    def __init__(self, value=False):
        self.value = value

    def __eq__(self, other):
        return self.value is other.value

    def method(self):
        return self.value


def named(fn, *args, **kwargs):
    from corefutures_pools import wire

    call = wire.name_call(fn, args, kwargs)
    assert not call or wire.run_named(*call) == fn(*args, **kwargs)
    return bool(call)


def test_only_names_with_atoms_are_not_pickled_at_once(monkeypatch):
    """What anybody can change until it is pickled has to be pickled by `submit`; so has what has no name."""
    pytest.importorskip("cloudpickle", reason="needs the capability to pickle functions by value (cloudpickle)")
    assert named(shown)
    assert named(shown, 1, "2", True, None, 0.5, key="value")
    assert named(abs, -7)
    assert named(float, 2)
    assert not named(shown, [])
    assert not named(shown, ())
    assert not named(shown, Number(1))
    assert not named(shown, key=[])
    assert not named(lambda: 1)
    assert not named(Flag(True).method)
    assert not named(partial(shown, 1))

    def local():
        return 1

    assert not named(local)
    for module in ("__main__", None, ["unhashable"], "no_such_module"):
        monkeypatch.setattr(local, "__module__", module)
        assert not named(local)
    monkeypatch.setattr(local, "__module__", __name__)
    monkeypatch.setattr(local, "__qualname__", "shown")
    assert not named(local), "another function has its name"


def test_an_error_shows_where_it_was_raised(processes):
    error = processes.submit(lambda: 1 / 0).exception(LIMIT)
    assert isinstance(error, ZeroDivisionError)
    assert "Traceback" in str(error.__cause__)


def test_another_answer_is_the_result(manual):
    pytest.importorskip("cloudpickle", reason="needs the capability to pickle functions by value (cloudpickle)")
    executor = adapt(manual, serializer="cloudpickle")
    future = executor.submit(int)
    manual.futures[0].set_result({"executor": "its own"})
    assert future.result(LIMIT) == {"executor": "its own"}


def test_a_serializer_that_is_missing_is_told(manual, monkeypatch):
    with pytest.raises(ValueError, match="serializer"):
        adapt(manual, serializer="json")
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(ValueError, match="pip install cloudpickle"):
        adapt(manual, serializer="cloudpickle")


# ── initializer ──────────────────────────────────────────────────────────────────────────────────────────


def test_each_thread_is_initialized_before_its_first_call():
    local, threads = threading.local(), []

    def initialize(value):
        threads.append(threading.get_ident())
        local.value = value

    with adapt(BareExecutor(2), capabilities=THREADS, initializer=initialize, initargs=(7,)) as executor:
        barrier = threading.Barrier(2)
        first = [executor.submit(barrier.wait, LIMIT) for _ in range(2)]
        wait(first, LIMIT)
        assert list(executor.map(lambda _: local.value, range(20))) == [7] * 20
    assert len(threads) == len(set(threads)) == 2


@pytest.mark.parametrize("max_workers", [None, 1])
def test_an_initializer_that_fails_breaks_the_executor(caplog, max_workers):
    held, gate = threading.Event(), threading.Event()

    def initialize():
        held.wait(LIMIT)
        raise ZeroDivisionError("not today")

    called = []
    executor = adapt(BareExecutor(1), capabilities=THREADS, max_workers=max_workers, initializer=initialize)
    futures = [executor.submit(called.append, n) for n in range(3)]
    held.set()
    errors = [future.exception(LIMIT) for future in futures]
    assert [type(error) for error in errors] == [BrokenExecutor] * 3
    assert len({id(error) for error in errors}) == 3
    assert all(isinstance(error.__cause__, ZeroDivisionError) for error in errors)
    with pytest.raises(BrokenExecutor, match="initializer") as caught:
        executor.submit(int)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    gate.set()
    executor.shutdown()
    assert called == []
    assert "Exception in initializer" in caplog.text


def test_workers_elsewhere_are_initialized_with_their_first_call():
    pytest.importorskip("cloudpickle", reason="needs the capability to pickle functions by value (cloudpickle)")
    with adapt(
        standard.ProcessPoolExecutor(1, mp_context=get_context("spawn")),
        serializer="cloudpickle",
        initializer=sys.setrecursionlimit,
        initargs=(4321,),
    ) as executor:
        assert [executor.submit(sys.getrecursionlimit).result(LIMIT) for _ in range(2)] == [4321] * 2
    with adapt(
        standard.ProcessPoolExecutor(1, mp_context=get_context("spawn")),
        serializer="cloudpickle",
        initializer=fail_to_initialize,
    ) as executor:
        error = executor.submit(int).exception(LIMIT)
        assert isinstance(error, BrokenExecutor)
        assert isinstance(error.__cause__, ZeroDivisionError)


def test_an_initializer_needs_a_way_to_the_worker(manual):
    with pytest.raises(ValueError, match="needs serializer='cloudpickle'"):
        adapt(manual, initializer=int)
    with pytest.raises(TypeError, match="initializer must be a callable"):
        adapt(manual, capabilities=THREADS, initializer=3)
    with pytest.raises(TypeError, match="initargs"):
        adapt(manual, capabilities=THREADS, initializer=int, initargs="7")


# ── errors that are false ────────────────────────────────────────────────────────────────────────────────


def test_an_executor_that_asks_whether_there_is_an_error_is_told(manual):
    class Empty(Exception):
        def __len__(self):
            return 0

    error = Empty()
    future = adapt(manual).submit(raise_it, lambda: error)
    with pytest.raises(Exception, match="may be false, or is no Exception") as told:
        manual.calls[0]()
    manual.futures[0].set_exception(told.value)
    assert future.exception(LIMIT) is error


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_workers_are_not_told_of_what_would_end_them(manual, kind):
    future = adapt(manual).submit(raise_it, kind)
    with pytest.raises(Exception, match="no Exception") as told:
        manual.calls[0]()
    manual.futures[0].set_exception(told.value)
    assert isinstance(future.exception(LIMIT), kind)


# ── interruptions ────────────────────────────────────────────────────────────────────────────────────────────


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("raises", [False, True])
def test_a_submit_that_is_interrupted_anywhere_holds_up_no_other_call(raises):
    """F8: with an interrupted first waiting call, its thread was never started, and later calls waited for ever."""

    def scenario(interrupt):
        gate = threading.Event()
        with standard.ThreadPoolExecutor(1) as theirs:
            executor = adapt(theirs, capabilities=THREADS, max_workers=1)
            running = executor.submit(gate.wait, LIMIT)
            others = []

            def handle():
                others.append(executor.submit(abs, -1))
                if raises:
                    raise Interrupted

            try:
                with interrupt(handle):
                    others.append(executor.submit(abs, -2))
            except Interrupted:
                pass
            others.append(executor.submit(abs, -3))
            gate.set()
            assert running.result(LIMIT)
            assert {other.result(LIMIT) for other in others} <= {1, 2, 3}
            executor.shutdown()

    assert everywhere(scenario, adapter_executor, adapter_waiting, raises=raises) > 10


def test_functions_of_modules_that_travel_by_value_do_so(processes, monkeypatch):
    cloudpickle = pytest.importorskip("cloudpickle")
    module = types.ModuleType("of_this_process_alone")
    exec("def double(number): return 2 * number", vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    cloudpickle.register_pickle_by_value(module)
    try:
        assert processes.submit(module.double, 4).result(LIMIT) == 8
    finally:
        cloudpickle.unregister_pickle_by_value(module)
