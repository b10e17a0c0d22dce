"""Defects that show after some steps only."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from reference import Job, ThreadExecutor

from mutants import mutant


@mutant(
    "stateful.histories_with_one_worker",
    says="after:",
    also=("stateful.histories_with_two_workers", "stateful.histories_with_true_states", "stateful.*"),
)
class CallsWhatWasCancelledWhileWaiting(ThreadExecutor):
    """A cancelled call is made all the same."""

    future_type = Future

    @classmethod
    def begin(cls, job: Job) -> bool:
        if super().begin(job):
            return True
        job.fn(*job.args, **job.kwargs)
        return False


@mutant("stateful.histories_with_shutdown", says="", also=("stateful.*",))
class ShutdownCancelsWhatWaits(ThreadExecutor):
    """shutdown() cancels what waits, whatever `cancel_futures` says."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait, cancel_futures=True)


@mutant("stateful.histories_with_true_states", says="", also=("stateful.*",))
class ThirdCallCannotBeCancelled(ThreadExecutor):
    """Every third call counts as running from the start."""

    def make_job(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Job:
        job = super().make_job(fn, args, kwargs)
        self.made = getattr(self, "made", 0) + 1
        job.early = self.made % 3 == 0 and super().begin(job)  # type: ignore[attr-defined]
        return job

    @classmethod
    def begin(cls, job: Job) -> bool:
        return job.early or super().begin(job)  # type: ignore[attr-defined]


class _Fickle(Future[Any]):
    asked = False

    def cancel(self) -> bool:
        asked, self.asked = self.asked, True
        return super().cancel() and not asked


@mutant(
    "stateful.histories_with_two_workers", says="cancel() returned False for a cancelled call", also=("stateful.*",)
)
class SecondCancelSaysFalse(ThreadExecutor):
    """cancel() of a cancelled call says False."""

    future_type = _Fickle
