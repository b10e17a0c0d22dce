"""Correct executors that do what the manual leaves open in another way than most."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, ClassVar

from reference import Job, Pool, ThreadExecutor


class LastFirst(ThreadExecutor):
    """The call that was submitted last starts first."""

    @classmethod
    def pick(cls, pool: Pool) -> Job:
        return pool.jobs.pop()


class Late(ThreadExecutor):
    """A worker takes its time to start."""

    @classmethod
    def work(cls, pool: Pool) -> None:
        threading.Event().wait(0.2)
        super().work(pool)


class KeepsALog(ThreadExecutor):
    """A log has the last calls, up to so many."""

    log: ClassVar[deque[list[int]]] = deque(maxlen=900)

    def make_job(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Job:
        self.log.append([len(args), len(kwargs)])
        return super().make_job(fn, args, kwargs)
