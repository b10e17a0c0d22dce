"""Models of threads that wait for futures: `result`, `wait` and `as_completed`."""

from __future__ import annotations

from typing import Any

from explorer import Run
from modelling import FUTURE, Answers, Check, Fault, expect, model

PARKS_BLINDLY = Fault(
    "a thread parks without a look at the state", FUTURE,
    right="if waits := self._state not in DONE:\n                self._cf_watched = True",
    wrong="if waits := True:\n                self._cf_watched = True",
)  # fmt: skip

PARKS_UNLOCKED = Fault(
    "a thread parks by a look at the state and a subscription that are two steps", FUTURE,
    right="""        if self._cf_lock.taken:
            if waits := self._state not in DONE:
                self._cf_watched = True
                if self._cf_parked is None:
                    self._cf_parked = fresh
                self._cf_parked += added
            self._cf_lock.release()
""",
    wrong="""        if waits := self._state not in DONE:
            self._cf_watched = True
            if self._cf_parked is None:
                self._cf_parked = fresh
            self._cf_parked += added
""",
)  # fmt: skip

FORGETS_ENDED_BY_HAND = Fault(
    "code that ends a future by hand, as the standard library's own, wakes no thread in result()", FUTURE,
    right="        if future is not None and future._state in DONE:\n", wrong="        if False:\n",
)  # fmt: skip
ENDED_BETWEEN = Fault(
    "code that ends a future by hand does not wait for a thread that is about to park", FUTURE,
    right="""            if future._cf_lock.taken:  # a subscriber has done so, or reads the new state
                future._cf_lock.release()
""", wrong="",
)  # fmt: skip
HANDLER_UNDER_THE_LOCK = Fault(
    "a signal handler runs while its thread holds the lock of a future", FUTURE,
    right="""        added, waits = (unpark,), False
        if self._cf_lock.taken:
""",
    wrong="""        added, waits = (unpark,), False
        if self._cf_lock.acquire():
""",
)  # fmt: skip
SUBSCRIBES_BLINDLY = Fault(
    "a waiter subscribes without a look at the state", FUTURE,
    right="""        if self._state in ENDED:  # without the lock, as above
            return False
        fresh: list[Any] = []
        added, waits = (waiter,), False
        if self._cf_lock.taken:
            if waits := self._state not in ENDED:""",
    wrong="""        fresh: list[Any] = []
        added, waits = (waiter,), False
        if self._cf_lock.taken:
            if waits := True:""",
)  # fmt: skip

CONDITION_ONCE = Fault(
    "a transition does not look whether the condition was made meanwhile", FUTURE,
    right="""                        exclusive = condition is self._cf_own_condition
                        if moved""",
    wrong="""                        exclusive = True
                        if moved""",
    changes=3,
)  # fmt: skip

COUNTS_FIRST = Fault(
    "of two futures that end at once, neither sees the other", "corefutures._wait",
    right="""        self.ended.append(future)
        if len(self.ended) >= self._wanted:
            self._wake()

    def add_exception""",
    wrong="""        enough = len(self.ended) + 1 >= self._wanted
        self.ended.append(future)
        if enough:
            self._wake()

    def add_exception""",
)  # fmt: skip


@model(
    "F5",
    faults=(
        PARKS_BLINDLY,
        PARKS_UNLOCKED,
    ),
)
def finish_against_result(run: Run, our: Any) -> Check:
    future, got = our.future.Future(), Answers()
    run.spawn("waiter", got.say("result", future.result))
    run.spawn("worker", lambda: future.set_result(7))
    return lambda: expect(got["result"], 7)


@model("F5", delays=True)
def finish_against_two_waiters(run: Run, our: Any) -> Check:
    future, got = our.future.Future(), Answers()
    run.spawn("first", got.say("first", future.result))
    run.spawn("second", got.say("second", future.exception))
    run.spawn("worker", lambda: future.set_result(7))
    return lambda: expect((got["first"], got["second"]), (7, None))


@model("F5")
def finish_against_result_with_time_limit(run: Run, our: Any) -> Check:
    future, got = our.future.Future(), Answers()
    run.spawn("waiter", got.say("result", lambda: future.result(5)))
    run.spawn("worker", lambda: future.set_result(7))

    def check() -> None:
        expect(got["result"], 7)  # time passes only where nothing else happens
        assert not future._cf_parked

    return check


@model("F5", faults=(PARKS_BLINDLY,))
def cancel_against_result(run: Run, our: Any) -> Check:
    future, got = our.future.Future(), Answers()
    run.spawn("waiter", got.say("result", future.result))
    run.spawn("canceller", got.say("cancelled", future.cancel))
    return lambda: expect((got["result"], got["cancelled"]), ("CancelledError", True))


@model("F5")
def a_time_limit_that_ends_against_finish(run: Run, our: Any) -> Check:
    future, got = our.future.Future(), Answers()
    clock = our.blocking._thread.allocate_lock()

    def late() -> None:
        clock.acquire()
        clock.acquire(True, 5)  # until the same moment
        future.set_result(7)

    run.spawn("waiter", got.say("result", lambda: future.result(5)))
    run.spawn("worker", late)

    def check() -> None:
        expect(got["result"], 7, "TimeoutError")
        assert future.result(0) == 7

    return check


@model("F5 F8")
def a_handler_that_finishes_what_its_thread_waits_for(run: Run, our: Any) -> Check:
    future, got = our.future.Future(), Answers()
    run.spawn("waiter", got.say("result", lambda: future.result(5)), lambda: future.set_result(7))
    return lambda: expect(got["result"], 7, "TimeoutError")


@model("F5", faults=(SUBSCRIBES_BLINDLY,))
def wait_against_finish(run: Run, our: Any) -> Check:
    first, second, got = our.future.Future(), our.future.Future(), Answers()
    run.spawn("waiter", got.say("wait", lambda: len(our.wait.wait([first, second]).done)))
    run.spawn("worker", lambda: (first.set_result(1), second.set_result(2)))
    return lambda: expect(got["wait"], 2)


@model("F5", faults=(COUNTS_FIRST,))
def wait_for_all_against_two_that_finish(run: Run, our: Any) -> Check:
    first, second, got = our.future.Future(), our.future.Future(), Answers()
    run.spawn("waiter", got.say("wait", lambda: len(our.wait.wait([first, second]).done)))
    run.spawn("one worker", lambda: first.set_result(1))
    run.spawn("another", lambda: second.set_result(2))
    return lambda: expect(got["wait"], 2)


@model("F5")
def wait_for_the_first_against_two_that_finish(run: Run, our: Any) -> Check:
    first, second, got = our.future.Future(), our.future.Future(), Answers()

    def wait() -> int:
        return len(our.wait.wait([first, second], return_when="FIRST_COMPLETED").done)

    run.spawn("waiter", got.say("wait", wait))
    run.spawn("one worker", lambda: first.set_result(1))
    run.spawn("another", lambda: second.set_result(2))

    def check() -> None:
        expect(got["wait"], 1, 2)
        assert not first._waiters
        assert not second._waiters

    return check


@model("F5")
def wait_against_cancel(run: Run, our: Any) -> Check:
    future, got = our.future.Future(), Answers()
    run.spawn("waiter", got.say("wait", lambda: len(our.wait.wait([future]).done)))
    run.spawn("canceller", lambda: (future.cancel(), future.set_running_or_notify_cancel()))
    return lambda: expect(got["wait"], 1)


@model("F5 F6")
def as_completed_against_finish_and_cancel(run: Run, our: Any) -> Check:
    first, second, got = our.future.Future(), our.future.Future(), Answers()
    run.spawn("reader", got.say("done", lambda: sum(1 for _ in our.wait.as_completed([first, second]))))
    run.spawn("worker", lambda: first.set_result(1))
    run.spawn("canceller", lambda: (second.cancel(), second.set_running_or_notify_cancel()))
    return lambda: expect(got["done"], 2)


@model("F5", files=("_future.py",), faults=(CONDITION_ONCE,))
def the_standard_wait_against_finish(run: Run, our: Any) -> Check:
    """The standard library's `wait` reads our futures' private parts; its code runs over the explorer's locks."""
    future, got = our.future.Future(), Answers()
    standard = our.standard_base()
    run.spawn("waiter", got.say("wait", lambda: len(standard.wait([future]).done)))
    run.spawn("worker", lambda: future.set_result(7))
    return lambda: expect(got["wait"], 1)


@model("F5 F7", faults=(FORGETS_ENDED_BY_HAND, ENDED_BETWEEN))
def a_future_that_is_ended_by_hand_against_result(run: Run, our: Any) -> Check:
    """As CPython's own suite does it, and some libraries."""
    future, got = our.future.Future(), Answers()

    def end() -> None:
        with future._condition:
            future._result = 7
            future._state = "FINISHED"
            future._condition.notify_all()

    run.spawn("waiter", got.say("result", future.result))
    run.spawn("worker", end)
    return lambda: expect(got["result"], 7)


@model("F8", faults=(HANDLER_UNDER_THE_LOCK,))
def a_handler_that_waits_for_the_thread_that_finishes(run: Run, our: Any) -> Check:
    """It interrupts a thread that subscribes, at any point, and waits for one that needs the future's lock."""
    future, got = our.future.Future(), Answers()
    worker = run.spawn("worker", lambda: future.set_result(7))
    run.spawn("waiter", got.say("result", future.result), lambda: run.wait(lambda: worker.ended))
    return lambda: expect(got["result"], 7)
