"""What a comparison found: `Comparison`, and how it reads as text, as JSON and as a picture.

An immutable value that imports nothing of the machinery; `verdict` fills in the recommendation.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from corefutures_tools._comparing.measured import LOOP, Trial
from corefutures_tools._comparing.units import duration, size, times

#: The columns of the table.
COLUMNS: Final = ("backend", "time", "speed-up", "start", "transport", "memory", "results")


@dataclass(frozen=True)
class Comparison:
    """A function's calls on a plain loop and on every backend, as `compare` returns it.

    Args:
        function: The function's name.
        calls: How many calls the sample has.
        max_workers: How many calls ran at once on the backends.
        waiting: The share of the loop's time in which this process computed nothing, 0 to 1.
        pickled_bytes: How many bytes an argument and a result take together when pickled, on average.
        unpicklable: What can't be pickled, of `"function"`, `"arguments"`, `"results"`, each with the reason.
        loop: The trial of the plain loop.
        trials: The trials of the backends.
        recommended: The backend to take, or `"loop"`; None if nothing could run the calls.
        reason: Why, in one sentence.
    """

    function: str
    calls: int
    max_workers: int
    waiting: float | None
    pickled_bytes: float | None
    unpicklable: dict[str, str]
    loop: Trial
    trials: tuple[Trial, ...]
    recommended: str | None
    reason: str

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def as_dict(self) -> dict[str, Any]:
        """Return the whole comparison as what JSON can hold: dicts, lists, texts, numbers and None."""
        return {**asdict(self), "trials": [asdict(trial) for trial in self.trials], "python": sys.version.split()[0]}

    def as_svg(self) -> str:
        """Return a picture of the times as SVG, for light and dark pages."""
        from corefutures_tools._comparing.picture import draw  # here for start-up time: few want a picture

        return draw(self.title(), (self.loop, *self.trials), self.recommended, self.notes()[-1])

    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells of the table, a row for each trial, without the `COLUMNS`."""
        return [cells(trial) for trial in (self.loop, *self.trials)]

    def notes(self) -> list[str]:
        """Return the lines below the table: errors, what is known of the calls, the recommendation."""
        every = (self.loop, *self.trials)
        notes = [f"{trial.backend}: {trial.error}" for trial in every if trial.error]
        known = (self.loop.failed, self.loop.failure)
        raised = [
            trial for trial in every if trial.failed and (trial is self.loop or (trial.failed, trial.failure) != known)
        ]
        notes += [f"{trial.backend}: {trial.failed} calls raised, first {trial.failure}" for trial in raised]
        if self.waiting is not None:
            notes.append(f"the calls wait for {self.waiting:.0%} of their time and compute for the rest")
        if self.pickled_bytes is not None:
            notes.append(f"an argument and its result take {size(self.pickled_bytes)} when pickled")
        notes += [f"cannot be pickled: {what} ({why})" for what, why in self.unpicklable.items()]
        choice = "a plain loop" if self.recommended == LOOP else self.recommended or "nothing"
        return [*notes, f"recommended: {choice}. {self.reason}"]

    def title(self) -> str:
        """Return the function, the number of calls and that of workers."""
        workers = f"{self.max_workers} worker{'s' if self.max_workers != 1 else ''}"
        return f"{self.function}, {self.calls} call{'s' if self.calls != 1 else ''}, {workers}"

    def _lines(self) -> Iterator[str]:
        yield self.title()
        yield ""
        rows = [COLUMNS, *self.rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
        for row in rows:
            yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        yield ""
        yield from self.notes()


def cells(trial: Trial) -> tuple[str, ...]:
    """Return the cells of one row; a dash where nothing is known."""
    outcome = {True: "agree", False: "differ", None: "-"}[trial.agrees]
    if trial.error:
        outcome = "failed"
    elif trial.failed:
        outcome = f"{trial.failed} raised" + (", agree" if trial.agrees else "")
    at_least = "≥ " if trial.memory_source == "rusage" and trial.backend != LOOP else ""
    return (
        trial.backend,
        duration(trial.seconds),
        "-" if trial.speedup is None else times(trial.speedup),
        duration(trial.startup),
        duration(trial.transport),
        "-" if trial.memory is None else at_least + size(trial.memory),
        outcome,
    )
