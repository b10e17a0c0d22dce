"""How threads of ours start: under an empty context, whoever's call it is that they start for.

Touches nothing.
"""

from __future__ import annotations

from contextvars import Context

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from threading import Thread


def start_thread(thread: Thread) -> None:
    """Starts a thread that will work for others than the one that starts it.

    Tools that follow a request from thread to thread replace `Thread.start`, and so do builds of Python whose threads
    inherit a context: either way a worker would for all its life belong to the request that it happened to start in.

    Raises:
        RuntimeError: The system can't start a thread.
    """
    Context().run(thread.start)
