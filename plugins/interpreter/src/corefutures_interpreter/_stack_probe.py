"""The stack of a worker interpreter, also of a stuck one: its thread gets a signal, `faulthandler` writes the stack.

Touches the toolkit. Guarantees: no caller waits beyond its deadline; the signal handler is installed during a request
only, so that workers have no cost and the program's own handler is restored.
"""

from __future__ import annotations

import re
import signal
import sys

from corefutures_pools.blocking import clock, system, threading
from corefutures_pools.descriptors import above_standard, standard_reserved
from corefutures_pools.lifecycle import renew_in_child

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from typing import Final

    from corefutures_pools.inspection.stacks import Frame

#: The last line that `faulthandler` writes: the outermost frame, or an ellipsis for the rest.
_END: Final = re.compile(r'_launcher\.py", line \d+ in _enter\n|^  \.\.\.\n', re.MULTILINE)

#: Seconds after which the signal is sent again to a thread that has not answered.
_RETRY_INTERVAL: Final = 0.02

# Guards the pipe and the signal handler, for one request. Acquired with a timeout: a signal handler may interrupt the
# holder and ask for a stack itself.
_lock = threading.Lock()

#: The pipe that stacks are written to, made for the first request. Never closed: a signal may be handled late.
_pipe: tuple[int, int] | None = None


def read_stack(thread: int, deadline: float) -> tuple[list[Frame], str | None]:
    """Return the stack of the interpreter that a thread runs, innermost frame last, or no frames and the reason.

    Args:
        thread: The ident of a living thread.
        deadline: The end of the wait for the stack, by `time.monotonic`.
    """
    if sys.platform == "win32":
        return [], "the stacks of interpreters can't be had on Windows"
    if not _lock.acquire(timeout=max(0.0, deadline - clock.monotonic())):
        return [], "another thread is asking"
    try:
        frames = _ask(thread, deadline)
    finally:
        _lock.release()
    return (frames, None) if frames else ([], "it does not answer")


def _ask(thread: int, deadline: float) -> list[Frame]:
    global _pipe
    if sys.platform == "win32":
        raise OSError("no signals between threads")
    import faulthandler  # here because worker interpreters can't load it, and may import this module

    if _pipe is None:
        with standard_reserved:
            outlet, inlet = map(above_standard, system.pipe())
        system.set_blocking(outlet, False)
        system.set_blocking(inlet, False)
        _pipe = outlet, inlet
    outlet, inlet = _pipe
    from corefutures_pools.inspection.stacks import discard_stacks  # here for start-up time only

    discard_stacks(outlet)
    faulthandler.register(signal.SIGURG, inlet, all_threads=False)
    try:
        # `faulthandler` drops a signal that comes while it writes the last line for another thread.
        frames: list[Frame] = []
        while not frames and clock.monotonic() < deadline:
            signal.pthread_kill(thread, signal.SIGURG)
            from corefutures_pools.inspection.stacks import collect_stack  # here for start-up time only

            frames = collect_stack(outlet, deadline, _END, clock.monotonic() + _RETRY_INTERVAL)
        return frames
    except ProcessLookupError:  # the thread has just ended
        return []
    finally:
        faulthandler.unregister(signal.SIGURG)


def _after_fork_in_child() -> None:
    global _lock, _pipe
    _lock = threading.Lock()
    if _pipe is not None:
        for end in _pipe:
            system.close(end)
        _pipe = None


renew_in_child(_after_fork_in_child)
