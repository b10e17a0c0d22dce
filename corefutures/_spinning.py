"""Spinning: a thread that is about to sleep stays awake for some microseconds first.

Touches nothing. Waking a sleeper costs more than a short call; a thread that gives way and looks again is often
spared the sleep. Guarantees: where processors are scarce, so that giving way costs milliseconds, it is left out.
"""

from __future__ import annotations

import sys
import time

from corefutures._originals import clock, system

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

if sys.platform == "win32":

    def give_way() -> None:
        """Lets other threads have the GIL and the processor for a moment."""
        time.sleep(0)

else:
    give_way = system.sched_yield

LOOKS: Final = 20
#: Seconds for all of them, after which others are using the processor …
SLOW: Final = 0.0005
#: … and this many waits go to sleep at once.
SOUND_SLEEPS: Final = 1000

_sound_sleeps = 0


def spin_until(condition: Callable[[], object]) -> bool:
    """Returns whether `condition()` becomes true within some microseconds.

    Thread safety: may be called by any number of threads; what they share is a rough count.
    """
    global _sound_sleeps
    if _sound_sleeps > 0:
        _sound_sleeps -= 1
        return False
    begun = clock.perf_counter()
    met = False
    for _ in range(LOOKS):
        give_way()
        if condition():
            met = True
            break
    if clock.perf_counter() - begun > SLOW:
        _sound_sleeps = SOUND_SLEEPS
    return met
