"""The stack of a worker interpreter, also of one that is stuck: its thread gets a signal, and `faulthandler` writes it.

Touches the door. Guarantees: nobody waits beyond the deadline; nothing is installed while nobody asks, so that workers
pay for nothing and the program's own use of the signal is restored.
"""

from __future__ import annotations

import re
import signal
import sys
import threading

from corefutures_pools.blocking import clock, system
from corefutures_pools.descriptors import lifted, standard_taken
from corefutures_pools.lifecycle import renew_in_child

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from typing import Final

    from corefutures_pools.inspection.stacks import Frame

#: The last line that `faulthandler` writes: the outermost frame, or that it leaves the rest out.
_END: Final = re.compile(r'_launcher\.py", line \d+ in _enter\n|^  \.\.\.\n', re.MULTILINE)

#: Seconds after which a thread without an answer is asked again.
_PATIENCE: Final = 0.02

# Held by whoever asks. Waited for no longer than for a worker: a signal handler may interrupt its holder.
_turn = threading.Lock()

#: The pipe that stacks come through, made when the first is asked for. Never closed: a signal may come late.
_pipe: tuple[int, int] | None = None


def stack_in(thread: int, deadline: float) -> tuple[list[Frame], str | None]:
    """Returns the stack of the interpreter that a thread is in, innermost last, or none and why there is none.

    Args:
        thread: The ident of a living thread.
        deadline: When to stop waiting for it, by `time.monotonic`.
    """
    if sys.platform == "win32":
        return [], "the stacks of interpreters can't be had on Windows"
    if not _turn.acquire(timeout=max(0.0, deadline - clock.monotonic())):
        return [], "somebody else is asking"
    try:
        frames = _ask(thread, deadline)
    finally:
        _turn.release()
    return (frames, None) if frames else ([], "it does not answer")


def _ask(thread: int, deadline: float) -> list[Frame]:
    global _pipe
    if sys.platform == "win32":
        raise OSError("no signals between threads")
    import faulthandler  # here: worker interpreters, which import the caller's main module, can't load it

    if _pipe is None:
        with standard_taken:
            outlet, inlet = map(lifted, system.pipe())
        system.set_blocking(outlet, False)
        system.set_blocking(inlet, False)
        _pipe = outlet, inlet
    outlet, inlet = _pipe
    from corefutures_pools.inspection.stacks import discard_stacks  # here for start-up time only

    discard_stacks(outlet)
    faulthandler.register(signal.SIGURG, inlet, all_threads=False)
    try:
        # A signal that comes while `faulthandler` writes the last line for another thread is dropped.
        frames: list[Frame] = []
        while not frames and clock.monotonic() < deadline:
            signal.pthread_kill(thread, signal.SIGURG)
            from corefutures_pools.inspection.stacks import collect_stack  # here for start-up time only

            frames = collect_stack(outlet, deadline, _END, clock.monotonic() + _PATIENCE)
        return frames
    except ProcessLookupError:  # it has just ended
        return []
    finally:
        faulthandler.unregister(signal.SIGURG)


def _after_fork_in_child() -> None:
    global _turn, _pipe
    _turn = threading.Lock()
    if _pipe is not None:
        for end in _pipe:
            system.close(end)
        _pipe = None


renew_in_child(_after_fork_in_child)
