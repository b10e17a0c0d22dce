"""Defects in spares: they are workers like all others, are not used, or used up."""

from __future__ import annotations

import os
from typing import Any, ClassVar

import corefutures
from mutants import mutant
from mutants.control import Able
from mutants.worker_values import Surviving


class Sparing(corefutures.ProcessPoolExecutor):
    """A correct executor with spares."""

    abilities: ClassVar[dict[str, bool]] = {**Surviving.abilities, "spares": True}

    def __init__(self, max_workers: int = 1, *, spares: int = 0, **options: Any) -> None:
        super().__init__(
            max_workers,
            "spawn" if os.name == "nt" else "forkserver",
            spares=spares,
            on_worker_loss="replace",
            **options,
        )


@mutant("spares.spares_take_no_calls", says="were run by the processes", also=("spares.*",), deadline=20)
class SparesAreWorkers(Sparing):
    """There is a worker more, which takes calls."""

    def __init__(self, max_workers: int = 1, *, spares: int = 0, **options: Any) -> None:
        super().__init__(max_workers + spares, **options)
        self.more = spares

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        if self.more:  # has the other one started at once
            self.more = 0
            first = super().submit(fn, *args, **kwargs)
            super().submit(abs, -1)
            return first
        return super().submit(fn, *args, **kwargs)


@mutant("spares.a_spare_takes_the_place_of_a_killed_worker", says="not the spare", also=("spares.*",), deadline=20)
class SparesStayWhatTheyAre(Sparing):
    """The spare is not used."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._cf_pool.supervisor._promote_spare = lambda: False  # type: ignore[method-assign]


@mutant("spares.a_spare_that_was_needed_is_replaced", says="another spare to be started", deadline=8)
class SparesAreUsedUp(Sparing):
    """There is one, and then none."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        supervisor = self._cf_pool.supervisor
        promote = supervisor._promote_spare

        def promote_the_last() -> bool:
            supervisor._spares_wanted = 0
            return promote()

        supervisor._promote_spare = promote_the_last  # type: ignore[method-assign]


@mutant("spares.spares_are_refused", says="was not refused")
class HasNoSpares(Able):
    """It takes the option, and does nothing with it."""

    def __init__(self, max_workers: int = 1, *, spares: int = 0, **options: Any) -> None:
        super().__init__(max_workers, **options)
