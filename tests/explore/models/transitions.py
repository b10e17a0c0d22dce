"""Models of a future's transitions against each other, and of its callbacks."""

from __future__ import annotations

from typing import Any

from explorer import Run
from modelling import FUTURE, Answers, Check, Fault, expect, model

START_LOOKS_FIRST = Fault(
    "the state is read before the lock is taken", FUTURE,
    right="""        started = False
        if self._cf_lock.taken:
            if started := self._state == PENDING:
""",
    wrong="""        started = self._state == PENDING
        if self._cf_lock.taken:
            if started:
""",
)  # fmt: skip

FINISH_LOOKS_FIRST = Fault(
    "the state is read before the lock is taken", FUTURE,
    right="if moved := exclusive and self._state in states and",
    wrong="if moved := exclusive and could_move and",
    also=(
        (
            FUTURE,
            "        moved = exclusive = False\n",
            "        moved, exclusive, could_move = False, False, self._state in states\n",
        ),
    ),
)  # fmt: skip

STATE_FIRST = Fault(
    "the state comes before the outcome", FUTURE,
    right="""                            self._result = result
                            self._exception = exception
                            self._state = state
""",
    wrong="""                            self._state = state
                            self._result = result
                            self._exception = exception
""",
)  # fmt: skip

CALLBACK_BLINDLY = Fault(
    "a callback is added without a look at the state", FUTURE,
    right="if waits := self._state not in DONE:\n                    self._cf_watched = True",
    wrong="if waits := True:\n                    self._cf_watched = True",
)  # fmt: skip


@model("F1", faults=(START_LOOKS_FIRST,))
def cancel_against_start(run: Run, our: Any) -> Check:
    future, got = our.future.Future(), Answers()
    run.spawn("canceller", got.say("cancelled", future.cancel))
    run.spawn("worker", got.say("started", future.set_running_or_notify_cancel))
    return lambda: expect((got["cancelled"], got["started"]), (True, False), (False, True))


@model("F1 F2", preemptions=3, faults=(FINISH_LOOKS_FIRST,))
def transitions_against_each_other(run: Run, our: Any) -> Check:
    future, got = our.future.Future(), Answers()
    run.spawn("canceller", got.say("cancel", future.cancel))
    run.spawn("worker", got.say("finish", lambda: future.set_result(1)))
    run.spawn("pool that breaks", got.say("fail", lambda: future.set_exception(OSError())))

    def check() -> None:
        outcomes = got["cancel"], got["finish"], got["fail"]
        expect(
            outcomes,
            (True, "InvalidStateError", "InvalidStateError"),
            (False, None, "InvalidStateError"),
            (False, "InvalidStateError", None),
        )
        assert future.done()

    return check


@model("F2", faults=(STATE_FIRST,))
def the_outcome_is_there_before_the_state(run: Run, our: Any) -> Check:
    future, got = our.future.Future(), Answers()

    def look() -> Any:
        return future.result(0) if future.done() else "pending"

    run.spawn("worker", lambda: future.set_result(7))
    run.spawn("reader", got.say("read", look))
    return lambda: expect(got["read"], 7, "pending")


@model("F4", faults=(CALLBACK_BLINDLY,))
def callback_added_against_finish(run: Run, our: Any) -> Check:
    future, called = our.future.Future(), []
    run.spawn("subscriber", lambda: future.add_done_callback(called.append))
    run.spawn("worker", lambda: future.set_result(7))
    return lambda: expect(called, [future])


@model("F4")
def callbacks_added_against_cancel(run: Run, our: Any) -> Check:
    future, called = our.future.Future(), []

    def subscribe() -> None:
        future.add_done_callback(lambda _: called.append(1))
        future.add_done_callback(lambda _: called.append(2))

    run.spawn("subscriber", subscribe)
    run.spawn("canceller", future.cancel)
    # One that is added after the end runs at once, in its own thread: only those before the end are in order.
    return lambda: expect(called, [1, 2], [2, 1])


@model("F4 F8")
def a_callback_that_adds_one_against_another(run: Run, our: Any) -> Check:
    future, called = our.future.Future(), []
    future.add_done_callback(lambda _: future.add_done_callback(lambda _: called.append("inner")))
    run.spawn("subscriber", lambda: future.add_done_callback(lambda _: called.append("outer")))
    run.spawn("worker", lambda: future.set_result(7))

    def check() -> None:
        assert sorted(called) == ["inner", "outer"]

    return check
