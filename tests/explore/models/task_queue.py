"""Models of the task queue of isolated workers."""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Callable
from typing import Any

from explorer import Run
from modelling import Answers, Check, Fault, expect, model

TASK_QUEUE = "corefutures_pools.workers.shared_queue.task_queue"

REVOKES_IN_STEPS = Fault(
    "what is read back to revoke a task is posted again in a step of its own", TASK_QUEUE,
    right="self._atomically((self._drain_step(), revoke, self._rewrite_step(rewrite)))",
    wrong="""self._atomically((self._drain_step(),))
            self._atomically((revoke,))
            self._atomically((self._rewrite_step(rewrite),))""",
)  # fmt: skip


#
# Its pipe is a real one: nothing in it blocks, and what goes through it is one step of the kernel.

QUEUE = (TASK_QUEUE, "corefutures_pools.workers.future")


class Tasks:
    """A task queue with calls that its model submits, and the numbers of those that a worker has claimed."""

    def __init__(self, run: Run, our: Any) -> None:
        self.our = our
        self.queue = our.task_queue.TaskQueue(2, deque())
        self.claimed: list[int] = []
        os.set_blocking(self.queue.reader, False)
        run.closers.append(self.queue.close)

    def submit(self, *numbers: int) -> None:
        """Does what a submitter does."""
        for number in numbers:
            future = self.our.future.CallFuture(None, b"body")
            future._number = number
            self.queue.encode(future)
            self.queue._backlog.append(future)
        self.queue.flush()

    def claim(self) -> bool:
        """Does what a worker does: reads one descriptor, if there is one."""
        size = self.our.task_queue.TASK.size
        try:
            descriptor = os.read(self.queue.reader, size)
        except BlockingIOError:
            return False
        self.claimed.append(self.our.task_queue.TASK.unpack(descriptor)[0])
        return True

    def readable(self) -> bool:
        """Whether a worker that reads would get a descriptor."""
        return bool(select.select([self.queue.reader], [], [], 0)[0])

    def work(self, most: int) -> Callable[[], None]:
        """Returns a worker that claims tasks until it has so many or nothing more happens."""

        def claim_when_there_is_one() -> None:
            for _ in range(most):
                if not self.our.wait_until(self.readable, 1):
                    return
                self.claim()

        return claim_when_there_is_one

    def check(self, *numbers: int) -> None:
        """Fails unless each task was claimed once or revoked, or can still be claimed, in order."""
        self.queue.flush()
        while self.claim():
            pass
        revoked = [number for number in self.queue.revoked if number in numbers]
        assert sorted([*self.claimed, *revoked]) == sorted(numbers), (self.claimed, revoked)
        assert self.claimed == sorted(self.claimed), "out of order"


@model("E1 E3", modules=QUEUE, files=("task_queue.py",))
def a_task_is_claimed_or_revoked(run: Run, our: Any) -> Check:
    tasks = Tasks(run, our)
    tasks.submit(1, 2)
    run.spawn("worker", tasks.work(2))
    run.spawn("canceller", lambda: tasks.queue.revoke(1))
    return lambda: tasks.check(1, 2)


@model("E1 E3", modules=QUEUE, files=("task_queue.py",), faults=(REVOKES_IN_STEPS,))
def post_against_revoke(run: Run, our: Any) -> Check:
    tasks, got = Tasks(run, our), Answers()
    tasks.submit(1)
    run.spawn("submitter", lambda: tasks.submit(2))
    run.spawn("canceller", got.say("revoked", lambda: tasks.queue.revoke(1)))

    def check() -> None:
        assert got["revoked"]  # no worker is there that could have claimed it
        tasks.check(1, 2)

    return check


@model("E1 E3", modules=QUEUE, files=("task_queue.py",), faults=(REVOKES_IN_STEPS,))
def two_that_revoke_behind_each_other(run: Run, our: Any) -> Check:
    tasks, got = Tasks(run, our), Answers()
    tasks.submit(1, 2, 3)
    run.spawn("one", got.say("two", lambda: tasks.queue.revoke(2)))
    run.spawn("another", got.say("three", lambda: tasks.queue.revoke(3)))

    def check() -> None:
        expect((got["two"], got["three"]), (True, True))
        tasks.check(1, 2, 3)

    return check


@model("E1 F8", modules=QUEUE, files=("task_queue.py",))
def a_handler_that_posts_while_its_thread_posts(run: Run, our: Any) -> Check:
    tasks = Tasks(run, our)
    submitted = [1]

    def submit_again() -> None:
        submitted.append(2)
        tasks.submit(2)
        assert tasks.readable()  # it waits for nothing that its own thread was about to do

    run.spawn("submitter", lambda: tasks.submit(1), submit_again)

    def check() -> None:
        while tasks.claim():  # all has been sent: nobody flushes any more
            pass
        expect(sorted(tasks.claimed), submitted)

    return check


@model("E1 E6", modules=QUEUE, files=("task_queue.py",))
def post_and_revoke_against_close(run: Run, our: Any) -> Check:
    tasks = Tasks(run, our)
    tasks.submit(1)
    run.spawn("submitter", lambda: tasks.submit(2))
    run.spawn("canceller", lambda: tasks.queue.revoke(1))
    run.spawn("closer", tasks.queue.close_pool_end)
    return lambda: None  # nothing was raised, and nobody waits
