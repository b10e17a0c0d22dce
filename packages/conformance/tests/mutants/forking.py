"""Defects that show in processes that a program forked while the executor worked."""

from __future__ import annotations

import mmap
import os
import weakref
from typing import Any

from reference import ProcessExecutor, ThreadExecutor

from corefutures_conformance.worker.carrying import Table
from mutants import mutant
from mutants.control import Able, Promising

_registered: list[bool] = []
_pools: weakref.WeakSet[Any] = weakref.WeakSet()


def _take_stock() -> None:
    for pool in list(_pools):
        with pool.changed:
            pool.jobs.clear()


@mutant("forking.fork_returns_while_others_submit", says="a forked child hung", deadline=4)
class LooksAtItsPoolInAChild(ThreadExecutor):
    """After a fork the child takes a lock that a thread of its parent may have held."""

    def __init__(self, max_workers: int = 2, **options: Any) -> None:
        if not _registered:
            os.register_at_fork(after_in_child=_take_stock)
            _registered.append(True)
        super().__init__(max_workers, **options)
        _pools.add(self.pool)


@mutant("forking.a_child_has_its_own_calls_run", says="a call of a forked child failed")
class IsOfNoUseInAChild(Able):
    """In a forked child submit() refuses every call."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.process = os.getpid()

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        if os.getpid() != self.process:
            raise RuntimeError("the executor belongs to the parent of this process")
        return super().submit(fn, *args, **kwargs)


@mutant(
    "forking.what_a_child_inherits_fails_there",
    says="did not fail",
    also=("forking.a_child_has_its_own_calls_run",),
    deadline=4,
)
class LeavesAChildWaiting(Promising):
    """In a forked child the futures of its parent's calls stay pending."""


@mutant("forking.a_child_does_not_change_its_parents_results", says="a forked child changed a result")
class ResultsAreShared(ProcessExecutor):
    """A large result stays in memory that a forked child shares."""

    @classmethod
    def unpack(cls, reply: bytes) -> Any:
        value = super().unpack(reply)
        if isinstance(value, Table):
            shared = mmap.mmap(-1, len(value.content))
            shared[:] = bytes(value.content)
            value.content = shared
        return value
