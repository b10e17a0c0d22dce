"""Defects that show when futures are handed out as they end."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any, ClassVar

from reference import ThreadExecutor

from mutants import mutant


class _Held(Future[Any]):
    """Tells of its end when the next one ends."""

    before: ClassVar[list[_Held]] = []

    def set_result(self, result: Any) -> None:
        self._waiters, waiters = [], self._waiters
        super().set_result(result)
        self._waiters = waiters
        self.before.append(self)
        if len(self.before) == 2:
            for future in (self.before.pop(), self.before.pop()):
                for waiter in future._waiters:
                    waiter.add_result(future)


@mutant(
    "as_completed.as_completed_follows_the_order_of_completion",
    says="next() of as_completed()",
    also=("as_completed.as_completed_with_enough_time_gives_everything", "as_completed.*"),
    deadline=2,
)
class EndsAreToldInPairs(ThreadExecutor):
    """The end of a call is told when another one ends."""

    future_type = _Held


@mutant(
    "as_completed.as_completed_gives_ended_futures_only",
    says="gave a future that had not ended",
    also=("as_completed.*",),
    deadline=3,
)
class StartsAreToldAsEnds(ThreadExecutor):
    """Who waits is told of an end when a call starts."""

    @classmethod
    def begin(cls, job: Any) -> bool:
        runs = super().begin(job)
        if runs:
            waiters, job.future._waiters = job.future._waiters, []
            for waiter in waiters:
                waiter.add_result(job.future)
            job.future._waiters = waiters
            threading.Event().wait(0.02)
        return runs


class _Once(Future[Any]):
    """Has room for one waiter in its life."""

    def __init__(self) -> None:
        super().__init__()

        class Room(list[Any]):
            used = False

            def append(self, waiter: Any) -> None:
                if not self.used:
                    self.used = True
                    super().append(waiter)

            def remove(self, waiter: Any) -> None:
                if waiter in self:
                    super().remove(waiter)

        self._waiters = Room()


@mutant(
    "as_completed.as_completed_works_again_after_a_timeout",
    says="next() of as_completed()",
    also=(
        "as_completed.as_completed_in_two_threads_gives_all_to_both",
        "waiting.wait_after_a_timeout_wakes_again",
        "waiting.wait_in_several_threads_wakes_them_all",
        "waiting.*",
    ),
    deadline=2,
)
class FuturesAreWaitedForOnce(ThreadExecutor):
    """A future wakes the first who ever waited for it."""

    future_type = _Once


@mutant(
    "as_completed.as_completed_lets_new_calls_be_submitted",
    says="RuntimeError",
    also=(
        "submitting.*",
        "exceptions.*",
        "concurrency.*",
        "resources.*",
        "as_completed.*",
    ),
)
class RefusesCallsAfterAResult(ThreadExecutor):
    """Once a call has ended, no other is taken."""

    def check_open(self) -> None:
        super().check_open()
        if any(future.done() for future in self.__dict__.setdefault("taken", [])):
            raise RuntimeError("no more")

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = super().submit(fn, *args, **kwargs)
        self.__dict__["taken"].append(future)
        return future


class _BadAtLeaving(Future[Any]):
    """Is lost when who waited for it goes away."""

    def __init__(self) -> None:
        super().__init__()
        lost = self.lost = threading.Event()

        class Doors(list[Any]):
            def remove(self, waiter: Any) -> None:
                super().remove(waiter)
                lost.set()

        self._waiters = Doors()

    def set_result(self, result: Any) -> None:
        super().set_result("lost" if self.lost.is_set() else result)


@mutant(
    "as_completed.as_completed_that_is_dropped_leaves_the_futures_well",
    says="lost its result after an iterator",
    also=("as_completed.*",),
)
class DroppedWaitersSpoilTheFuture(ThreadExecutor):
    """A future of which a waiter has gone loses its result."""

    future_type = _BadAtLeaving


@mutant(
    "as_completed.as_completed_futures_are_freed",
    says="an ended future to be freed",
    deadline=2,
    also=("resources.*",),
)
class KeepsEveryFuture(ThreadExecutor):
    """The executor keeps every future that it has made."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = super().submit(fn, *args, **kwargs)
        self.__dict__.setdefault("made", []).append(future)
        return future


class _Foreigner(Future[Any]):
    """Accepts waiters of the standard library only."""

    def __init__(self) -> None:
        super().__init__()

        class Standard(list[Any]):
            def append(self, waiter: Any) -> None:
                if not type(waiter).__module__.startswith("concurrent.futures"):
                    raise TypeError("not one of us")
                super().append(waiter)

        self._waiters = Standard()


@mutant(
    "as_completed.as_completed_of_corefutures_takes_the_futures",
    says="not one of us",
    deadline=3,
    also=(
        "waiting.wait_of_corefutures_takes_the_futures",
        "as_completed.as_completed_says_how_many_are_unfinished",
    ),
)
class FuturesTakeStandardWaitersOnly(ThreadExecutor):
    """A future looks at the type of who waits for it."""

    future_type = _Foreigner
