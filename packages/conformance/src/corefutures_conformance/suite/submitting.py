"""Chapter "submitting": arguments, kinds of callables, order of start, what a submitted call is."""

from __future__ import annotations

import functools
import signal
import sys
import threading
from concurrent.futures import Executor, Future
from typing import Any

import pytest

from corefutures_conformance.deadlines import all_done, brief, error_of, finishes, joined, result_of, until
from corefutures_conformance.fixtures import ExecutorFactory
from corefutures_conformance.promises import skip_unless_promised
from corefutures_conformance.rules import only_where, patient, requires
from corefutures_conformance.worker import calls, hostile
from corefutures_conformance.worker.gates import Gate
from corefutures_conformance.worker.journal import Journal


class Submitting:
    """Rules on `Executor.submit`."""

    # What submit returns

    def test_executor_is_an_executor(self, executor: Executor) -> None:
        """An executor SHOULD be an instance of concurrent.futures.Executor. (manual: Executor)"""
        assert isinstance(executor, Executor), f"{type(executor).__name__} is no subclass of Executor"

    def test_submit_returns_a_future(self, executor: Executor) -> None:
        """submit() MUST return a Future. (manual: Executor.submit)"""
        future = executor.submit(calls.nothing)
        assert isinstance(future, Future), f"submit() returned {brief(future)}, which is no concurrent.futures.Future"

    def test_each_submit_returns_a_new_future(self, executor: Executor) -> None:
        """submit() MUST return a future of its own for each call, also for equal calls. (manual:
        Executor.submit)
        """
        first, second = executor.submit(calls.echo, 1), executor.submit(calls.echo, 1)
        assert first is not second, "two calls got the same future"
        assert result_of(first) == result_of(second) == 1, "equal calls did not both give their result"

    def test_submit_returns_while_the_call_runs(self, executor: Executor, gate: Gate) -> None:
        """submit() MUST schedule the call and return its future without waiting for it. (manual:
        Executor.submit)
        """
        future = finishes(lambda: executor.submit(calls.pass_gate, gate, 5), "submit() of a call that blocks")
        gate.await_arrivals()
        assert not future.done(), "the future was done while its call was running"
        gate.open()
        assert result_of(future) == 5, "the call's result was lost"

    def test_submit_accepts_more_calls_than_workers(self, executor: Executor, gate: Gate) -> None:
        """submit() MUST accept calls while every worker is busy. (manual: Executor.submit)"""
        futures = [executor.submit(calls.pass_gate, gate)]
        gate.await_arrivals()
        futures += finishes(
            lambda: [executor.submit(calls.echo, number) for number in range(100)],
            "submit() beside a busy worker",
        )
        gate.open()
        got = [result_of(future) for future in futures]
        assert got == [None, *range(100)], f"calls that waited for a worker gave {brief(got)}"

    # Arguments

    def test_passes_positional_arguments(self, executor: Executor) -> None:
        """submit(fn, *args) MUST execute fn(*args), with the arguments in their order. (manual:
        Executor.submit)
        """
        got = result_of(executor.submit(calls.arguments, 1, "two", (3.0, None)))
        assert got == ((1, "two", (3.0, None)), {}), f"the call got {brief(got)}"

    def test_passes_keyword_arguments(self, executor: Executor) -> None:
        """submit(fn, **kwargs) MUST execute fn(**kwargs). (manual: Executor.submit)"""
        got = result_of(executor.submit(calls.arguments, 0, first=1, second="two"))
        assert got == ((0,), {"first": 1, "second": "two"}), f"the call got {brief(got)}"

    def test_keyword_arguments_keep_their_order(self, executor: Executor) -> None:
        """Keyword arguments MUST reach the call in their order, as in fn(**kwargs). (manual: Executor.submit)"""
        _, kwargs = result_of(executor.submit(calls.arguments, z=1, a=2, m=3))
        assert list(kwargs) == ["z", "a", "m"], f"the keyword arguments z, a, m arrived as {', '.join(kwargs)}"

    def test_passes_no_arguments(self, executor: Executor) -> None:
        """submit(fn) MUST execute fn(). (manual: Executor.submit)"""
        got = result_of(executor.submit(calls.arguments))
        assert got == ((), {}), f"the call got {brief(got)}"

    def test_passes_falsy_arguments(self, executor: Executor) -> None:
        """Arguments that are false or None MUST reach the call like any other. (manual: Executor.submit)"""
        got = result_of(executor.submit(calls.arguments, None, 0, "", (), a=None, b=False))
        assert got == ((None, 0, "", ()), {"a": None, "b": False}), f"the call got {brief(got)}"

    def test_passes_a_keyword_called_self(self, executor: Executor) -> None:
        """A keyword argument called `self` MUST reach the call. (manual: Executor.submit)"""
        self._keyword_arrives(executor, "self")

    def test_passes_a_keyword_called_fn(self, executor: Executor) -> None:
        """A keyword argument called `fn` MUST reach the call. (manual: Executor.submit)"""
        self._keyword_arrives(executor, "fn")

    def test_passes_a_keyword_called_timeout(self, executor: Executor) -> None:
        """A keyword argument called `timeout` MUST reach the call. (manual: Executor.submit)"""
        self._keyword_arrives(executor, "timeout")

    def test_passes_a_keyword_called_key(self, executor: Executor) -> None:
        """A keyword argument called `key` MUST reach the call. (manual: Executor.submit)"""
        self._keyword_arrives(executor, "key")

    def test_passes_keywords_that_executors_like(self, executor: Executor) -> None:
        """Every keyword argument MUST reach the call, whatever it is called. (manual: Executor.submit)"""
        names = "args kwargs func function task callback future executor priority retries resources workers pure"
        names += " callable name block wait chunksize initializer context job work_item item result loop daemon"
        given = {name: number for number, name in enumerate(names.split())}
        got = result_of(executor.submit(calls.arguments, **given))
        assert got == ((), given), f"of the keywords {brief(given)} the call got {brief(got)}"

    def _keyword_arrives(self, executor: Executor, name: str) -> None:
        future = executor.submit(calls.arguments, **{name: 7})
        got = result_of(future)
        assert got == ((), {name: 7}), f"the keyword {name}=7 reached the call as {brief(got)}"

    def test_passes_many_arguments(self, executor: Executor) -> None:
        """Any number of arguments MUST reach the call. (manual: Executor.submit)"""
        keywords = {f"key{number}": number for number in range(300)}
        got = result_of(executor.submit(calls.arguments, *range(1000), **keywords))
        assert got == (tuple(range(1000)), keywords), "1000 positional and 300 keyword arguments arrived changed"

    def test_passes_a_cyclic_argument(self, executor: Executor) -> None:
        """An argument that contains itself MUST reach the call. (manual: Executor.submit)"""
        got = result_of(executor.submit(calls.length, hostile.cyclic()))
        assert got == 2, f"a list of two, itself one of them, arrived with length {brief(got)}"

    def test_does_not_compare_arguments(self, executor: Executor) -> None:
        """submit() MUST execute fn(*args) for arguments that can't be compared, hashed or shown. (manual:
        Executor.submit)
        """
        got = result_of(executor.submit(calls.type_name, hostile.Uncomparable()))
        assert got == "Uncomparable", f"the argument arrived as {brief(got)}"

    @requires(pickles=False)
    def test_does_not_consume_arguments(self, executor: Executor) -> None:
        """An argument that is an endless iterator MUST reach the call unconsumed. (manual: Executor.submit)"""
        future = finishes(
            lambda: executor.submit(calls.take_first, hostile.endless()), "submit() of an endless iterator"
        )
        got = result_of(future)
        assert got == 0, f"the call took {brief(got)} as first of an untouched iterator"

    @requires("shares_memory")
    def test_passes_the_very_arguments(self, executor: Executor) -> None:
        """Where memory is shared, fn(*args, **kwargs) MUST get the very objects that were submitted. (manual:
        Executor.submit)
        """
        one, two = object(), hostile.Uncomparable()
        args, kwargs = result_of(executor.submit(calls.arguments, one, other=two))
        assert args[0] is one and kwargs["other"] is two, "the call got copies of its arguments"

    @requires("shares_memory")
    def test_does_not_resolve_futures_among_arguments(self, executor: Executor) -> None:
        """An argument that is a Future MUST reach the call as it is. (manual: Executor.submit)"""
        given = executor.submit(calls.echo, 1)
        got = result_of(executor.submit(calls.echo, given))
        assert got is given, f"a future given as argument arrived as {brief(got)}"

    def test_does_not_evaluate_arguments(self, executor: Executor) -> None:
        """An argument that looks like a call, a callable and its arguments in a tuple, MUST reach the call as it is.
        (manual: Executor.submit)
        """
        for given in ((len, "three"), [(len, "three")], {"key": (calls.nothing,)}):
            got = result_of(executor.submit(calls.echo, given))
            assert got == given, f"the argument {brief(given)} arrived as {brief(got)}"

    @requires("pickles")
    def test_serialises_arguments_at_submit(self, executor: Executor, gate: Gate) -> None:
        """Arguments SHOULD be serialised when submit() is called: later changes are not seen. (promise E4)"""
        ahead = [executor.submit(calls.pass_gate, gate) for _ in range(4)]
        gate.await_arrivals()
        values = [1, 2, 3]
        future = executor.submit(calls.length, values)
        values.clear()
        gate.open()
        all_done(ahead)
        got = result_of(future)
        assert got == 3, f"the call saw a change of its argument made after submit(): length {brief(got)}"

    # Kinds of callables

    def test_calls_a_builtin(self, executor: Executor) -> None:
        """A built-in function MUST be callable through submit(). (manual: Executor.submit)"""
        got = result_of(executor.submit(pow, 323, 1235, 1000))
        assert got == pow(323, 1235, 1000), f"submit(pow, …) gave {brief(got)}"

    def test_calls_a_class(self, executor: Executor) -> None:
        """A class MUST be callable through submit(). (manual: Executor.submit)"""
        got = result_of(executor.submit(dict, one=1))
        assert got == {"one": 1}, f"submit(dict, one=1) gave {brief(got)}"

    def test_calls_a_bound_method(self, executor: Executor) -> None:
        """A bound method MUST be callable through submit(). (manual: Executor.submit)"""
        got = result_of(executor.submit(hostile.Adder(40).add, 2))
        assert got == 42, f"a bound method gave {brief(got)}"

    def test_calls_a_bound_method_of_a_builtin(self, executor: Executor) -> None:
        """A method of a built-in object MUST be callable through submit(). (manual: Executor.submit)"""
        got = result_of(executor.submit("a,b".split, ","))
        assert got == ["a", "b"], f"submit('a,b'.split, ',') gave {brief(got)}"

    def test_calls_a_class_method(self, executor: Executor) -> None:
        """A class method MUST be callable through submit(). (manual: Executor.submit)"""
        got = result_of(executor.submit(hostile.Adder.name))
        assert got == "Adder", f"a class method gave {brief(got)}"

    def test_calls_a_static_method(self, executor: Executor) -> None:
        """A static method MUST be callable through submit(). (manual: Executor.submit)"""
        got = result_of(executor.submit(hostile.Adder.double, 21))
        assert got == 42, f"a static method gave {brief(got)}"

    def test_calls_a_partial(self, executor: Executor) -> None:
        """A functools.partial MUST be callable through submit(). (manual: Executor.submit)"""
        got = result_of(executor.submit(functools.partial(calls.arguments, 1, a=2), 3, b=4))
        assert got == ((1, 3), {"a": 2, "b": 4}), f"a partial got {brief(got)}"

    def test_calls_a_callable_object(self, executor: Executor) -> None:
        """An object with __call__ MUST be callable through submit(). (manual: Executor.submit)"""
        got = result_of(executor.submit(hostile.Adder(40), 2))
        assert got == 42, f"a callable object gave {brief(got)}"

    def test_calls_a_falsy_callable(self, executor: Executor) -> None:
        """A callable that is false MUST be called like any other. (manual: Executor.submit)"""
        got = result_of(executor.submit(hostile.FalsyCallable(), 42))
        assert got == 42, f"a callable that is false gave {brief(got)}"

    @requires("shares_memory")
    def test_calls_a_lambda(self, executor: Executor) -> None:
        """Where memory is shared, a lambda MUST be callable through submit(). (manual: Executor.submit)"""
        got = result_of(executor.submit(lambda number: number + 1, 41))
        assert got == 42, f"a lambda gave {brief(got)}"

    @requires("shares_memory")
    def test_calls_a_closure(self, executor: Executor) -> None:
        """Where memory is shared, a closure MUST be called with what it closes over. (manual:
        Executor.submit)
        """
        seen: list[int] = []
        result_of(executor.submit(lambda: seen.append(1)))
        assert seen == [1], f"the closure's effect on its surroundings was {seen} instead of [1]"

    # Bad calls

    def test_submit_without_callable_raises_type_error(self, executor: Executor) -> None:
        """submit() without a callable MUST raise TypeError. (manual: Executor.submit)"""
        self._refused(lambda: executor.submit(), "submit() without arguments")  # type: ignore[call-arg]

    def test_callable_is_positional_only(self, executor: Executor) -> None:
        """submit(fn=…) MUST raise TypeError: the callable is positional-only. (manual: Executor.submit)"""
        self._refused(lambda: executor.submit(fn=calls.nothing), "submit(fn=…)")  # type: ignore[call-arg]

    def _refused(self, call: Any, what: str) -> None:
        try:
            found = call()
        except TypeError:
            return
        pytest.fail(f"{what} did not raise TypeError but returned {brief(found)}")

    def test_what_is_not_callable_ends_in_type_error(self, executor: Executor) -> None:
        """Submitting what is not callable MUST end in TypeError, at the call or in the future. (manual:
        Executor.submit)
        """
        try:
            future: Future[Any] = executor.submit(42)  # type: ignore[arg-type]
        except TypeError:
            return
        error = error_of(future)
        assert isinstance(error, TypeError), f"submit(42) ended in {brief(error)}"

    def test_wrong_arguments_end_in_type_error(self, executor: Executor) -> None:
        """A call with arguments that its function does not take MUST end in the future with TypeError.
        (manual: Future.result)
        """
        future: Future[int] = executor.submit(calls.square)  # type: ignore[call-arg]
        error = error_of(future)
        assert isinstance(error, TypeError), f"a call that lacks an argument ended in {brief(error)}"

    def test_max_workers_must_be_positive(self, make: ExecutorFactory) -> None:
        """Making an executor with max_workers 0 or negative SHOULD raise ValueError. (manual:
        ProcessPoolExecutor)
        """
        for number in (0, -1):
            try:
                make(max_workers=number)
            except ValueError:
                continue
            pytest.fail(f"max_workers={number} did not raise ValueError")

    # Execution

    def test_each_call_runs_exactly_once(self, make: ExecutorFactory, journal: Journal) -> None:
        """Every submitted call MUST be executed exactly once. (PEP 3148)"""
        executor = make(max_workers=2)
        all_done([executor.submit(calls.note, journal, number) for number in range(60)])
        ran = sorted(map(int, journal.entries))
        assert ran == list(range(60)), f"of calls 0 to 59 these ran: {brief(ran)}"

    def test_equal_calls_each_run(self, executor: Executor, journal: Journal) -> None:
        """Equal calls MUST be executed each for itself. (manual: Executor.submit)"""
        all_done([executor.submit(calls.note, journal, "again") for _ in range(5)])
        assert journal.entries == ["again"] * 5, f"five equal calls ran {len(journal.entries)} times"

    def test_calls_run_without_being_asked_for(self, executor: Executor, journal: Journal) -> None:
        """A submitted call MUST run although nobody asks for its result. (manual: Executor.submit)"""
        executor.submit(calls.note, journal, "ran")
        result_of(executor.submit(calls.note, journal, "last"))
        until(lambda: sorted(journal.entries) == ["last", "ran"], "a call whose future was dropped to run")

    def test_calls_start_in_the_order_submitted(self, executor: Executor, journal: Journal, gate: Gate) -> None:
        """Calls SHOULD start in the order submitted. (promise E2)"""
        first = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        futures = [executor.submit(calls.note, journal, number) for number in range(30)]
        gate.open()
        all_done([first, *futures])
        ran = [int(entry) for entry in journal.entries]
        assert ran == list(range(30)), f"with one worker, calls started in the order {ran}"

    def test_calls_run_outside_the_caller(self, executor: Executor) -> None:
        """A call MUST be executed asynchronously: not in the thread that submits it. (manual: Executor)"""
        import os

        here = (os.getpid(), threading.get_ident())
        process, interpreter, thread = result_of(executor.submit(calls.place))
        if interpreter == calls.place()[1]:
            assert (process, thread) != here, "the call ran in the very thread that submitted it"

    def test_submit_from_several_threads(self, make: ExecutorFactory, journal: Journal) -> None:
        """submit() MUST work from several threads at once, losing and doubling no call. (PEP 3148)"""
        executor = make(max_workers=2)
        start = threading.Barrier(4)
        futures: list[list[Future[int]]] = [[] for _ in range(4)]

        def submit(number: int) -> None:
            start.wait(10)
            for entry in range(number, 100, 4):
                futures[number].append(executor.submit(calls.note_and_echo, journal, entry))

        threads = [threading.Thread(target=submit, args=(number,), daemon=True) for number in range(4)]
        for thread in threads:
            thread.start()
        joined(threads, "submit() from four threads")
        got = sorted(result_of(future) for several in futures for future in several)
        assert got == list(range(100)), f"100 calls from four threads gave {brief(got)}"
        ran = sorted(map(int, journal.entries))
        assert ran == list(range(100)), f"of 100 calls from four threads these ran: {brief(ran)}"

    @requires(remote=False)
    @only_where(hasattr(signal, "setitimer"), "interrupting a thread needs POSIX timers")
    @patient(0.4)  # one that hangs does so in the main thread, until the rule is overdue
    def test_a_signal_handler_may_submit(self, make: ExecutorFactory) -> None:
        """A signal handler SHOULD be able to submit a call, wherever in submit() it interrupts its thread. (promise F8)

        An executor that holds a lock then, which its own thread can't take again, hangs.
        """
        executor = make(max_workers=2)
        skip_unless_promised(executor)
        if threading.current_thread() is not threading.main_thread():
            pytest.skip("signal handlers run in the main thread alone")
        if sys.platform == "win32":
            raise AssertionError("timers need POSIX")
        futures: list[Future[int]] = []

        def handle(number: int, frame: object) -> None:
            futures.append(executor.submit(calls.square, len(futures)))
            if len(futures) < 30:
                signal.setitimer(signal.ITIMER_REAL, 0.0005)

        before = signal.signal(signal.SIGALRM, handle)
        own: list[Future[int]] = []
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0005)
            while len(futures) < 30:  # the handler interrupts it somewhere in submit, or between two
                own.append(executor.submit(calls.echo, len(own)))
                if len(own) % 100 == 0:
                    all_done(own)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        got = [result_of(future) for future in own]
        assert got == list(range(len(own))), f"calls beside those of a signal handler returned {brief(got)}"
        got = [result_of(future) for future in futures]
        assert got == [number * number for number in range(len(futures))], f"a signal handler's calls returned {got}"

    @requires("shares_memory")
    def test_a_call_may_submit(self, make: ExecutorFactory) -> None:
        """A call SHOULD be able to submit another to its own executor. (promise F3)"""
        executor = make(max_workers=1)
        inner = result_of(executor.submit(lambda: executor.submit(calls.echo, 42)))
        assert result_of(inner, "the result of a call that was submitted by a call") == 42, "the inner call gave no 42"

    def test_submit_after_shutdown_raises(self, executor: Executor) -> None:
        """submit() after shutdown() MUST raise RuntimeError. (manual: Executor.shutdown)"""
        result_of(executor.submit(calls.nothing))
        finishes(executor.shutdown, "shutdown()")
        self._refuses_new_calls(executor, "shutdown()")

    def test_submit_after_shutdown_without_waiting_raises(self, executor: Executor, gate: Gate) -> None:
        """submit() after shutdown(wait=False) MUST raise RuntimeError, also while calls run. (manual:
        Executor.shutdown)
        """
        future = executor.submit(calls.pass_gate, gate, 1)
        gate.await_arrivals()
        finishes(lambda: executor.shutdown(wait=False), "shutdown(wait=False)")
        self._refuses_new_calls(executor, "shutdown(wait=False)")
        gate.open()
        assert result_of(future) == 1, "the call that ran at shutdown lost its result"

    def _refuses_new_calls(self, executor: Executor, after: str) -> None:
        try:
            future = executor.submit(calls.nothing)
        except RuntimeError:
            return
        except Exception as error:
            pytest.fail(f"submit() after {after} raised {type(error).__name__}, which is no RuntimeError")
        pytest.fail(f"submit() after {after} did not raise RuntimeError but returned {brief(future)}")
