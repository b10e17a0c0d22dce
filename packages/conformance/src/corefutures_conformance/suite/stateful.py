"""Chapter "stateful": random histories of submit, release, cancel, wait and shutdown, held against a model.

`histories` has the model. It is imported on demand: it brings Hypothesis along, which no other chapter needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from corefutures_conformance.fixtures import ExecutorFactory, GateFactory
from corefutures_conformance.rules import patient
from corefutures_conformance.worker.journal import Journal


class Stateful:
    """Rules on histories."""

    @patient(3)
    def test_histories_with_one_worker(
        self, make: ExecutorFactory, gates: GateFactory, journal: Journal, capabilities: Mapping[str, bool]
    ) -> None:
        """Whatever the history, no call MUST be lost, run twice or end in a wrong way. (manual:
        Executor.submit)
        """
        _explore(make, gates, journal, capabilities, workers=1)

    @patient(3)
    def test_histories_with_two_workers(
        self, make: ExecutorFactory, gates: GateFactory, journal: Journal, capabilities: Mapping[str, bool]
    ) -> None:
        """Whatever the history, no call of two workers MUST be lost, run twice or end in a wrong way.
        (manual: Executor.submit)
        """
        _explore(make, gates, journal, capabilities, workers=2)

    @patient(3)
    def test_histories_with_shutdown(
        self, make: ExecutorFactory, gates: GateFactory, journal: Journal, capabilities: Mapping[str, bool]
    ) -> None:
        """Whatever the history, calls MUST end as shutdown() promises, and later ones be refused. (manual:
        Executor.shutdown)
        """
        _explore(make, gates, journal, capabilities, workers=1, shuts_down=True)

    @patient(3)
    def test_histories_with_true_states(
        self, make: ExecutorFactory, gates: GateFactory, journal: Journal, capabilities: Mapping[str, bool]
    ) -> None:
        """Whatever the history, waiting calls SHOULD be cancellable, and calls start when a worker is free.
        (promise E2, E3)
        """
        _explore(make, gates, journal, capabilities, workers=2, strict=True)


def _explore(*of_the_rule: Any, **options: Any) -> None:
    from corefutures_conformance.histories import explore

    explore(*of_the_rule, **options)
