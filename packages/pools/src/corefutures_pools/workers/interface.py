"""What a backend adds to the shared machinery: how a worker starts, how it ends, how that is noticed.

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
        """How errors call it."""
        ...

    @property
    def pid(self) -> int | None:
        """Its process id, None if it has none of its own."""
        ...

    def cpu_seconds(self) -> float | None:
        """Returns how long it has had a processor, None if that can't be known."""
        ...

    def sentinels(self) -> Iterable[Any]:
        """Returns descriptors (or other waitable objects) that become readable when the worker has ended.

        They are registered once, belong to the worker, and are closed by `reap`. There may be none: then the
        end of the worker is the end of its pipe of frames.
        """
        ...

    def ended(self) -> bool:
        """Returns whether it has ended; asked after a sentinel spoke. Must not block."""
        ...

    def mark_exiting(self) -> None:
        """Told once when it takes no more calls and ends by itself: from then on another may be in its place."""
        ...

    def terminate(self) -> None:
        """Asks it to end at once. A worker that can't be ended from outside ignores it."""
        ...

    def kill(self) -> None:
        """Ends it without asking."""
        ...

    def interrupt(self) -> None:
        """Raises KeyboardInterrupt in the call that it runs, as Ctrl-C does; where that can't be done, does nothing."""
        ...

    @property
    def thread(self) -> int | None:
        """The ident of its thread, None if it is a process."""
        ...

    def ask_for_stack(self) -> None:
        """Asks it for its stack, which `read_stack` returns; must not block or raise."""
        ...

    def read_stack(self, deadline: float) -> tuple[list[Frame], str | None]:
        """Returns its stack, innermost last, or none and why there is none.

        Args:
            deadline: When to stop waiting for it, by `time.monotonic`.
        """
        ...

    def reap(self) -> int | None:
        """Frees what is left of a worker that has ended; called once.

        Returns:
            Its exit code (negative: the signal that killed it), None if there is none.
        """
        ...


class WorkerLauncher(Protocol):
    """Starts workers; one for each pool."""

    def launch(self, ends: Any) -> WorkerHandle:
        """Starts a worker that serves `ends`, made by the pool for this one worker.

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
        """Closes our copy of the worker's end."""
        ...

    def send(self, number: int, payload: Any) -> None:
        """Sends the arguments of call `number`, which the worker waits for. Must not block.

        Raises:
            OSError: It can't be sent; `refuse` tells the worker.
        """
        ...

    def refuse(self, number: int) -> None:
        """Tells the worker that waits for the arguments of call `number` that they won't come."""
        ...

    def receive(self, number: int) -> Any:
        """Returns the decoded result of call `number`, which the worker has sent before it said so.

        Raises:
            BaseException: Whatever decoding raises.
        """
        ...

    def close(self) -> None:
        """Gives everything back."""
        ...
