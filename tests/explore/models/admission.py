"""Models of bounded admission: the places of `max_pending`."""

from __future__ import annotations

from typing import Any

from explorer import Run
from modelling import Answers, Check, Fault, expect, model

ADMISSION = "corefutures_pools.admission"

TWO_STEPS = Fault(
    "a place moves in two steps", ADMISSION,
    right="self._held.extend(starmap(limiter._tokens.get_nowait, _NO_ARGUMENTS))",
    wrong="self._held.append(limiter._tokens.get_nowait())",
)  # fmt: skip

ONE_IS_ADMITTED = Fault(
    "a limiter that is closed admits one of those that wait", ADMISSION,
    right="if self._held[0] is _CLOSED:\n            self.release()",
    wrong="if self._held[0] is _CLOSED:\n            self._held.clear()",
)  # fmt: skip


@model("C4", modules=("corefutures_pools.admission",), files=("admission.py",))
def a_place_given_back_against_a_waiter(run: Run, our: Any) -> Check:
    limiter = our.admission.PendingLimiter(1, "block")
    held, got = our.admission.Permit(limiter), Answers()
    held.acquire()

    def submit() -> Any:
        permit = our.admission.Permit(limiter)
        admitted = permit.acquire()
        permit.release()
        return admitted

    run.spawn("submitter", got.say("admitted", submit))
    run.spawn("worker", held.release)

    def check() -> None:
        expect(got["admitted"], True)
        assert limiter._tokens.qsize() == 1

    return check


@model("C4", modules=("corefutures_pools.admission",), files=("admission.py",), faults=(ONE_IS_ADMITTED,))
def waiters_against_a_shutdown(run: Run, our: Any) -> Check:
    limiter = our.admission.PendingLimiter(1, "block")
    our.admission.Permit(limiter).acquire()
    got = Answers()
    for name in ("one", "another"):
        run.spawn(name, got.say(name, our.admission.Permit(limiter).acquire))
    run.spawn("closer", limiter.close)
    return lambda: expect((got["one"], got["another"]), (True, True))


@model("C4 F8", modules=("corefutures_pools.admission",), files=("admission.py",), faults=(TWO_STEPS,))
def an_interrupted_submitter_loses_no_place(run: Run, our: Any) -> Check:
    limiter, got = our.admission.PendingLimiter(1, "block"), Answers()

    class Interrupt(Exception):
        pass

    def interrupt() -> None:
        raise Interrupt

    def submit() -> Any:
        permit = our.admission.Permit(limiter)
        try:
            return permit.acquire()
        finally:
            try:
                permit.release()
            except Interrupt:
                permit.release()  # as often as one likes: it gives back what is held

    run.spawn("submitter", got.say("admitted", submit), interrupt)
    run.spawn("another", got.say("other", submit))

    def check() -> None:
        expect(got["other"], True)
        assert limiter._tokens.qsize() == 1

    return check
