"""The recommendation: from what was measured to one backend and one sentence.

The decision is short on purpose: a reader can check the sentence against the table.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from corefutures_tools._comparing.measured import LOOP, Trial
from corefutures_tools._comparing.units import duration

#: A backend is worth having from this many times the speed of a loop.
WORTH: Final = 1.2

#: Within this part of the best speed, the simpler backend is taken.
CLOSE: Final = 0.9

#: From this share of waiting on, calls count as waiting.
WAITS: Final = 0.5

#: Simplest first: what has to be pickled, started and looked after. Others come after these.
SIMPLEST_FIRST: Final = ("thread", "interpreter", "process")


def recommend(loop: Trial, trials: Sequence[Trial], calls: int, waiting: float | None) -> tuple[str | None, str]:
    """Choose a backend.

    Args:
        loop: The trial of the plain loop.
        trials: The trials of the backends.
        calls: How many calls the sample has.
        waiting: The share of the loop's time that was waiting; None if unknown.

    Returns:
        The backend's name, `"loop"`, or None if nothing ran the calls; and the reason, in one sentence.
    """
    if loop.seconds is None:
        return _without_loop(loop, trials, calls)
    if loop.failed == calls:
        return None, f"Every call raises ({loop.failure}): there is no speed to compare."
    usable = [trial for trial in trials if trial.speedup is not None and trial.failed <= loop.failed]
    if loop.agrees is not False:  # else the calls return something else each time, wherever they run
        usable = [trial for trial in usable if trial.agrees is not False]
    if not usable:
        return LOOP, "No backend ran every call to the loop's result; the notes above say why."
    fastest = max(_speed(trial) for trial in usable)
    if fastest < WORTH:
        return LOOP, _why_not(loop, usable, calls)
    close = [trial for trial in usable if _speed(trial) >= max(WORTH, CLOSE * fastest)]
    chosen = min(close, key=_simplicity)
    return chosen.backend, f"{_why(chosen, waiting)}: {_speed(chosen):.1f} times as fast as a loop."


def _speed(trial: Trial) -> float:
    return trial.speedup or 0.0


def _simplicity(trial: Trial) -> tuple[int, float]:
    known = trial.backend in SIMPLEST_FIRST
    return (SIMPLEST_FIRST.index(trial.backend) if known else len(SIMPLEST_FIRST), -_speed(trial))


def _why(chosen: Trial, waiting: float | None) -> str:
    if waiting is None:
        return (
            f"{chosen.backend.capitalize()} ran the calls side by side (whether they wait or compute was not to be told"
            " from so short a sample)"
        )
    if waiting >= WAITS:
        waits = f"The calls wait ({waiting:.0%} of their time)"
        if chosen.backend == "thread":
            return f"{waits}, so threads run them side by side"
        return f"{waits}, and {chosen.backend} ran them side by side best"
    if chosen.backend == "thread":
        if not getattr(sys, "_is_gil_enabled", lambda: True)():
            return "This Python has no GIL, so threads compute in parallel"
        return "The calls compute in code that releases the GIL, so threads are enough"
    if chosen.backend == "interpreter":
        return "The calls compute in Python, and interpreters do so in parallel within one process"
    return f"The calls compute in Python, and {chosen.backend} runs them in parallel"


def _why_not(loop: Trial, usable: Sequence[Trial], calls: int) -> str:
    work = (loop.seconds or 0.0) / calls
    carried = [trial for trial in usable if trial.transport is not None]
    if carried:
        least = min(carried, key=lambda trial: trial.transport or 0.0)
        if (least.transport or 0.0) >= work / 2:
            return (
                f"Transport costs too much for the work: {duration(least.transport)} a call on {least.backend} "
                f"beside {duration(work)} of work."
            )
    return f"No backend was {WORTH:g} times as fast."


def _without_loop(loop: Trial, trials: Sequence[Trial], calls: int) -> tuple[str | None, str]:
    survived = [trial for trial in trials if trial.seconds is not None and trial.failed < calls]
    if survived:
        chosen = min(survived, key=lambda trial: (trial.failed, _simplicity(trial)))
        return chosen.backend, f"The loop could not run the calls ({loop.error}), and {chosen.backend} could."
    return None, f"Nothing could run the calls; the loop: {loop.error}."
