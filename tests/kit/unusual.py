"""Correct executors that do what the manual leaves open in another way than most."""

from __future__ import annotations

import threading

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
