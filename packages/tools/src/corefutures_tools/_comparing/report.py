"""What a comparison found: `Trial`, `Comparison`, and how they read as text, as JSON and as a picture.

Immutable values that import nothing of the machinery; `verdict` fills in the recommendation.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

#: The name of the trial without a backend.
LOOP: Final = "loop"

#: The columns of the table.
COLUMNS: Final = ("backend", "time", "speed-up", "start", "transport", "memory", "results")


@dataclass(frozen=True)
class Trial:
    """How one backend, or the plain loop, ran the sample.

    Args:
        backend: The backend's name, or `"loop"`.
        seconds: How long the sample took, the fastest of up to three rounds; None if it did not get that far.
        speedup: How many times as fast as the loop it was; None where either is unknown.
        startup: Seconds to make the executor and run one empty call on each worker.
        transport: Seconds that carrying one argument there and one result back costs, the call itself left out.
        memory: The most bytes that the trial's processes took together; None where that can't be known.
        memory_source: `"psutil"`, or `"rusage"`, which does not count worker processes.
        failed: How many calls raised.
        failure: What the first of them raised.
        agrees: Whether every outcome equals the loop's; the loop is compared with itself. None where unknown.
        error: Why there is no time, in a sentence.
    """

    backend: str
    seconds: float | None = None
    speedup: float | None = None
    startup: float | None = None
    transport: float | None = None
    memory: int | None = None
    memory_source: str | None = None
    failed: int = 0
    failure: str | None = None
    agrees: bool | None = None
    error: str | None = None


@dataclass(frozen=True)
class Comparison:
    """A function's calls on a plain loop and on every backend; what `compare` returns.

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
        """Returns the whole comparison as what JSON can hold: dicts, lists, texts, numbers and None."""
        return {**asdict(self), "trials": [asdict(trial) for trial in self.trials], "python": sys.version.split()[0]}

    def as_svg(self) -> str:
        """Returns a picture of the times as SVG, for light and dark pages."""
        from corefutures_tools._comparing.picture import drawn  # here for start-up time: few want a picture

        return drawn(self)

    def rows(self) -> list[tuple[str, ...]]:
        """Returns the cells of the table, a row for each trial, without the `COLUMNS`."""
        return [cells(trial) for trial in (self.loop, *self.trials)]

    def notes(self) -> list[str]:
        """Returns what stands below the table: errors, what was seen of the calls, the recommendation."""
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
        """Returns what was compared."""
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
    """The cells of one row; a dash where nothing is known."""
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


def times(ratio: float) -> str:
    """How many times as fast."""
    return f"{ratio:.2f} ×" if ratio >= 0.01 else "< 0.01 ×"


def duration(seconds: float | None) -> str:
    """Seconds in the unit that suits them, to three digits."""
    if seconds is None:
        return "-"
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1 or unit == "µs":
            return f"{seconds * factor:.3g} {unit}" if seconds * factor < 1000 else f"{seconds * factor:.0f} {unit}"
    raise AssertionError("unreachable")


def size(count: float) -> str:
    """Bytes in the unit that suits them."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
