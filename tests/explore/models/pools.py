"""What models of whole pools with isolated workers share: a model is a program, over each of the transports.

The workers are threads of the exploration (see `in_process`); pipes, memory and epoll are real.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any, Protocol

import in_process
from explorer import Run
from modelling import CORE, Answers, Check, Fault, Program, model

WORKERS = "corefutures_pools.workers."


class Use(Protocol):
    """Has a thread use a pool and close it, and checks at the end that nothing of it is left."""

    def __call__(
        self, workers: int, main: Callable[[Any, Any], Any], *handlers: Any, warm: bool = True,
        settled_end: bool = False, **options: Any,
    ) -> Answers:  # fmt: skip
        """Returns what "main" will have got.

        Args:
            workers: How many the pool has.
            main: Is given the pool and its launcher.
            *handlers: Of the thread: see `Run.spawn`.
            warm: Whether each worker has run a call before.
            settled_end: Whether nothing is decided once "main" has got all, and the pool ends: where that is dear, and
                no part of the hand-off.
            **options: See `in_process.make_pool`.
        """


def _use(
    run: Run, our: Any, fixed: Mapping[str, Any], workers: int, main: Callable[[Any, Any], Any], *handlers: Any,
    warm: bool = True, settled_end: bool = False, **options: Any,
) -> Answers:  # fmt: skip
    got = Answers()
    before = set(os.listdir("/proc/self/fd"))

    def use() -> Any:
        with run.settled():
            pool, launcher = in_process.make_pool(run, our, workers, **fixed, **options)
            if warm:
                for future in [pool.submit(in_process.meet if workers > 1 else int, (0,), {}) for _ in range(workers)]:
                    future.result()
                in_process.told.clear()
                pool._spin_next = False  # of a pool over a queue: the first thread that waits sleeps at once
        try:
            return main(pool, launcher)
        finally:
            with run.settled() if settled_end else nullcontext():
                pool.close(wait=True)

    run.spawn("main", got.say("main", use), *handlers)

    def check_nothing_is_left() -> None:
        left = set(os.listdir("/proc/self/fd")) - before
        if len(left) > 1:  # a worker that was killed leaves objects that refer to each other
            gc.collect()
            left = set(os.listdir("/proc/self/fd")) - before
        assert len(left) <= 1, {number: _target(number) for number in left}  # one is the folder that is listed

    run.checks.append(check_nothing_is_left)
    return got


def _target(number: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        return "closed by now"


READING = ("inline_wait.py", "leader.py", "event_loop.py", "frame_reader.py")
SENDING = (
    "workers/pool.py", "workers/future.py", "call_control.py", "submission.py", "supervisor.py",
)  # fmt: skip
QUEUE_FILES = ("shared_queue/pool.py", "call_killer.py", "claims.py", *READING, *SENDING)
QUEUE, PIPES, INTERPRETERS, PIPED_INTERPRETERS = (
    "over a queue",
    "over pipes",
    "in interpreters",
    "in piped interpreters",
)
QUEUE_FOCUS = ("shared_queue/pool.py", "claims.py", "call_killer.py")
_TRANSPORTS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], dict[str, Any]]] = {
    QUEUE: ((*CORE, *in_process.MODULES), QUEUE_FILES, QUEUE_FOCUS, {}),
    PIPES: ((*CORE, *in_process.PIPE_MODULES), ("pipes/pool.py", *SENDING), ("pipes/pool.py",), {"pipes": True}),
    INTERPRETERS: ((*CORE, *in_process.MODULES), QUEUE_FILES, QUEUE_FOCUS, {"kind": "interpreter"}),
    PIPED_INTERPRETERS: (
        (*CORE, *in_process.PIPE_MODULES), ("pipes/pool.py", *SENDING), ("pipes/pool.py",),
        {"pipes": True, "kind": "interpreter"},
    ),
}  # fmt: skip


def pool_models(
    promise: str,
    *transports: str,
    preemptions: int = 1,
    quick: int | None = None,
    files: tuple[str, ...] | None = None,
    focus: tuple[str, ...] | None = None,
    faults: Mapping[str, tuple[Fault, ...]] | None = None,
) -> Callable[[Callable[[Run, Any, Use], Check]], None]:
    """Makes a function a model over each of the transports, over a queue and over pipes if none is named.

    The arguments are those of `Model`; `focus` and `files` are those of the transport if they are not given.
    """

    def enter(program: Callable[[Run, Any, Use], Check]) -> None:
        for transport in transports or (QUEUE, PIPES):
            modules, all_files, narrow, fixed = _TRANSPORTS[transport]

            def over(run: Run, our: Any, *, fixed: Mapping[str, Any] = fixed) -> Check:
                return program(run, our, partial(_use, run, our, fixed))

            over.__name__ = f"{program.__name__}_{transport.replace(' ', '_')}"
            entered: Program = over
            model(
                promise, modules=modules, files=files or all_files, preemptions=preemptions, quick=quick, delays=True,
                faults=(faults or {}).get(transport, ()),
                focus=() if preemptions > 1 else narrow if focus is None else focus,
            )(entered)  # fmt: skip

    return enter
