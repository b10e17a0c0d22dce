"""What a backend supplies: how its workers start, how they end, and how their end is noticed.

Touches nothing. `WorkerLauncher` and `WorkerHandle` are all that the pools know of a backend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from corefutures_pools.inspection.stacks import Frame


class WorkerHandle(Protocol):
    """One worker that was started, seen from the caller's side."""

    @property
    def name(self) -> str:
        """The name of the worker in errors."""
        ...

    @property
    def pid(self) -> int | None:
        """The worker's process id, None if it has no process of its own."""
        ...

    def cpu_seconds(self) -> float | None:
        """Return the CPU time of the worker in seconds, None if the platform does not tell."""
        ...

    def sentinels(self) -> Iterable[Any]:
        """Return descriptors (or other waitable objects) that become readable when the worker has ended.

        They are registered once, belong to the worker, and are closed by `reap`. There may be none: then the
        end of the worker is the end of its pipe of frames.
        """
        ...

    def ended(self) -> bool:
        """Return whether the worker has ended; called after a sentinel became readable. Must not block."""
        ...

    def mark_exiting(self) -> None:
        """Note that the worker takes no more calls and ends by itself: another one may replace it now. Called once."""
        ...

    def terminate(self) -> None:
        """Ask the worker to end at once. A worker that can't be ended from outside ignores this."""
        ...

    def kill(self) -> None:
        """End the worker without its cooperation."""
        ...

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in the worker's call, as Ctrl-C does; do nothing where that is impossible."""
        ...

    @property
    def thread(self) -> int | None:
        """The ident of the worker's thread, None if the worker is a process."""
        ...

    def ask_for_stack(self) -> None:
        """Ask the worker for its stack, which `read_stack` returns; must not block or raise."""
        ...

    def read_stack(self, deadline: float) -> tuple[list[Frame], str | None]:
        """Return the worker's stack, innermost frame last, or no frames and the reason.

        Args:
            deadline: When to stop waiting for it, by `time.monotonic`.
        """
        ...

    def reap(self) -> int | None:
        """Free what is left of a worker that has ended; called once.

        Returns:
            Its exit code (negative: the signal that killed it), None if there is none.
        """
        ...


class WorkerLauncher(Protocol):
    """Starts workers; one for each pool."""

    def launch(self, ends: Any) -> WorkerHandle:
        """Start a worker that serves `ends`, made by the pool for this one worker.

        Raises:
            BaseException: It could not be started; the pool does without it, or breaks if it has no other.
        """
        ...


class PayloadChannel(Protocol):
    """The caller's end of what carries payloads between the pool and one worker."""

    @property
    def child_end(self) -> Any:
        """The worker's end, for `ends`; closed here by `close_child_end` once the worker has it."""
        ...

    def close_child_end(self) -> None:
        """Close the pool's copy of the worker's end."""
        ...

    def send(self, number: int, payload: Any) -> None:
        """Send the arguments of call `number`, which the worker waits for. Must not block.

        Raises:
            OSError: It can't be sent; `refuse` tells the worker.
        """
        ...

    def refuse(self, number: int) -> None:
        """Tell the worker that waits for the arguments of call `number` that they won't come."""
        ...

    def grant(self, number: int, count: int) -> None:
        """Let the worker send `count` more items of call `number`, which is a stream; 0: it need send no more.

        Raises:
            OSError: The worker can't be reached any more.
        """
        ...

    def receive(self, number: int) -> Any:
        """Return the decoded result, or item, of call `number`, which the worker has sent before it said so.

        Raises:
            BaseException: Whatever decoding raises.
        """
        ...

    def close(self) -> None:
        """Release all descriptors."""
        ...
