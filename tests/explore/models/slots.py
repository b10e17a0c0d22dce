"""Models of slots: the thread that grants them, its submitters, and calls that end."""

from __future__ import annotations

from typing import Any

from explorer import Run
from modelling import CORE, Answers, Check, Fault, expect, model

SLOTS = "corefutures_pools.slots"
MODULES = (*CORE, "corefutures_pools.slot_call", SLOTS)

LEAVES_BLINDLY = Fault(
    "the thread that grants slots leaves without another look for calls", SLOTS,
    right="                if self._events.empty() and not self.held:\n                    return",
    wrong="                return",
)  # fmt: skip
STAYS_HELD = Fault(
    "a call that is cancelled while it waits for slots is held for ever", SLOTS,
    right="        held = self.held.pop(future, None)\n        if held is not None:  # it",
    wrong="        held = None\n        if held is not None:  # it",
)  # fmt: skip
NEEDS_ITS_ENTRY = Fault(
    "a call that has ended with its pool before it asks for slots raises a KeyError in its submitter", SLOTS,
    right="held = self.held.get(future)",
    wrong="held = self.held[future]",
)  # fmt: skip


class Pool:
    """A pool that runs each call when it is dispatched."""

    def dispatch_held(self, future: Any, grant: bytes) -> None:
        if future.set_running_or_notify_cancel():
            future.set_result(grant[-4:])

    def on_held_ended(self, future: Any) -> None:
        """See `SlotPool`."""

    def on_held_left(self) -> None:
        """See `SlotPool`."""


def _scheduler(our: Any) -> Any:
    return our.slots.SlotScheduler(our.slots.SlotSet({"gpu": 1}, {}))


def _submit(our: Any, scheduler: Any, future: Any) -> None:
    call = scheduler.slots.demand({"gpu": 1}).call(abs)
    scheduler.enter(future, call, Pool())
    scheduler.submit(future)


def _all_free(scheduler: Any) -> None:
    assert not scheduler.held
    assert not scheduler.granted
    expect(scheduler._free, scheduler.slots.all)


@model("C13 E2", modules=MODULES, files=("slots.py",), preemptions=1, quick=0, faults=(LEAVES_BLINDLY,))
def a_call_submitted_while_the_thread_that_grants_leaves(run: Run, our: Any) -> Check:
    scheduler, got = _scheduler(our), Answers()

    def submit() -> Any:
        future = our.future.Future()
        _submit(our, scheduler, future)
        return future.result()

    run.spawn("one", got.say("one", submit))
    run.spawn("another", got.say("another", submit))

    def check() -> None:
        expect((got["one"], got["another"]), (b"\0" * 4, b"\0" * 4))
        _all_free(scheduler)

    return check


@model("C13 E3", modules=MODULES, files=("slots.py",), preemptions=1, quick=0, faults=(STAYS_HELD,))
def cancel_against_the_grant_of_slots(run: Run, our: Any) -> Check:
    scheduler, got = _scheduler(our), Answers()
    first, second = our.future.Future(), our.future.Future()

    def submit() -> Any:
        _submit(our, scheduler, first)
        _submit(our, scheduler, second)
        return second.result()

    run.spawn("submitter", got.say("second", submit))
    run.spawn("canceller", first.cancel)

    def check() -> None:
        expect(got["second"], b"\0" * 4)
        assert first.done()
        _all_free(scheduler)

    return check


@model("C13 E1", modules=MODULES, files=("slots.py",), preemptions=2, quick=1, faults=(NEEDS_ITS_ENTRY,))
def the_end_of_a_pool_against_a_call_that_asks_for_slots(run: Run, our: Any) -> Check:
    scheduler, got = _scheduler(our), Answers()
    future = our.future.Future()
    future.add_done_callback(scheduler.withdraw)  # as the permit of a call does
    scheduler.enter(future, scheduler.slots.demand({"gpu": 1}).call(abs), Pool())

    run.spawn("submitter", got.say("submitted", lambda: scheduler.submit(future)))
    run.spawn("breaker", future.cancel)

    def check() -> None:
        expect(got["submitted"], None)
        assert future.done()
        _all_free(scheduler)

    return check
