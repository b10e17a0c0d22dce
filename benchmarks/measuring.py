"""How everything here is measured: two contenders in turn, in one run, the median of their ratios.

Knows nothing of executors. Guarantees: the order alternates (ABBA), garbage is collected before each block,
what is printed is also in the JSON.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

#: Does the work once and returns its cost, in the row's unit; less is better.
Block = Callable[[], float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One thing that is measured.

    Args:
        what: What is done, in a few words.
        unit: What a block's figure is in, such as "µs a call".
        ours: The block that is judged.
        against: The block that it is compared with, as a rule the standard library's; None for none.
        at_least: How often `ours` must go into `against`; None where nothing was promised.
        at_most: How much `ours` may cost more than `against`, in the row's unit.
        others: Further blocks, measured for comparison: name → block.
        rounds: How often; None for what the command line says.
    """

    what: str
    unit: str
    ours: Block
    against: Block | None = None
    at_least: float | None = None
    at_most: float | None = None
    others: Mapping[str, Block] = field(default_factory=dict)
    rounds: int | None = None


@dataclass(frozen=True, slots=True)
class Sheet:
    """The rows that belong together; made when its turn comes, so that nothing is imported in vain."""

    title: str
    rows: Callable[[], Iterator[Row]]


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured for one row."""

    row: Row
    ours: list[float]
    against: list[float]
    others: dict[str, list[float]]

    @property
    def ratio(self) -> float | None:
        """How often ours goes into the other: the median of the rounds' ratios."""
        if not self.against:
            return None
        return statistics.median(there / here for here, there in zip(self.ours, self.against, strict=True))

    @property
    def excess(self) -> float | None:
        """How much ours costs more than the other: the median of the rounds' differences."""
        if not self.against:
            return None
        return statistics.median(here - there for here, there in zip(self.ours, self.against, strict=True))

    @property
    def kept(self) -> bool | None:
        """Whether the promise was kept; None where there is none."""
        if self.row.at_least is not None and self.ratio is not None:
            return self.ratio >= self.row.at_least
        if self.row.at_most is not None and self.excess is not None:
            return self.excess <= self.row.at_most
        return None

    def as_json(self) -> dict[str, object]:
        return {
            "what": self.row.what,
            "unit": self.row.unit,
            "ratio": self.ratio,
            "excess": self.excess,
            "at_least": self.row.at_least,
            "at_most": self.row.at_most,
            "kept": self.kept,
            "ours": self.ours,
            "against": self.against,
            "others": self.others,
        }


def seconds(work: Callable[[], object]) -> float:
    """Returns how long `work` takes, by the clock on the wall."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(row: Row, rounds: int) -> Figures:
    """Measures all blocks of a row, one after the other, `rounds` times."""
    figures = Figures(row, [], [], {name: [] for name in row.others})
    contenders = [(row.ours, figures.ours)]
    if row.against is not None:
        contenders.append((row.against, figures.against))
    for number in range(row.rounds or rounds):
        # A B, B A, A B …: what drifts over time falls on both alike.
        for block, costs in contenders if number % 2 == 0 else contenders[::-1]:
            gc.collect()
            costs.append(block())
        for name, block in row.others.items():
            gc.collect()
            figures.others[name].append(block())
    return figures
