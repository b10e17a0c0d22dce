"""`Chaos`: delays, fails and kills calls of the executors of a test suite; the plugin behind `--corefutures-chaos`.

Touches executors by `_interception`. Guarantees: which calls of a test are hit depends on the seed, the test's name and
the order in which the test submits its calls.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Generator
from concurrent.futures import Executor
from typing import Any, Final

import pytest

from corefutures_pools.blocking import system
from corefutures_pools.instrumentation import name_of
from corefutures_testing._chaos_call import FAULTS, ChaosCall, Fault
from corefutures_testing._interception import Listener, listen, stop_listening

#: Seconds of a delay, at most.
_LONGEST_DELAY: Final = 0.05

_WORDS: Final[dict[Fault, str]] = {"delay": "delayed", "failure": "made to fail", "kill": "killed with its worker"}


class Chaos(Listener):
    """The faults of a session.

    Args:
        probability: How probable a fault is, for each call.
        seed: Decides the faults.
    """

    def __init__(self, probability: float, seed: int) -> None:
        self._probability = probability
        self._seed = seed
        self._lock = threading.Lock()  # guards the rest: tests may submit from several threads
        self._random: random.Random | None = None  # of the test that runs
        self._calls = 0
        self._hit: list[str] = []
        self._counts: Counter[Fault] = Counter()
        listen(self)

    def change_call(self, executor: Executor, function: Any) -> Any:
        """Return the call with a fault, now and then."""
        if type(executor).__module__.startswith("corefutures_testing") or _is_internal(function):
            return function
        with self._lock:
            if self._random is None:
                return function
            self._calls += 1
            draws = [self._random.random() for _ in range(4)]
            if draws[0] >= self._probability:
                return function
            fault, after = FAULTS[int(draws[1] * len(FAULTS))], draws[2] < 0.5
            self._counts[fault] += 1
            when = "after" if after else "before"
            self._hit.append(f"call {self._calls} of the test, {name_of(function)}, was {_WORDS[fault]} {when} it ran")
        return ChaosCall(function, fault, after=after, seconds=draws[3] * _LONGEST_DELAY, submitter=system.getpid())

    @property
    def _repeat(self) -> str:
        return f"--corefutures-chaos={self._probability:g} --corefutures-seed={self._seed}"

    # ── pytest's hooks ───────────────────────────────────────────────────────────────────────────────────

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Begin the faults of a test."""
        with self._lock:
            self._random = random.Random(f"{self._seed}:{item.nodeid}")
            self._calls = 0
            self._hit = []
        try:
            return (yield)
        finally:
            self._random = None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Say in the report of a failure what was done to the test."""
        report = yield
        if report.failed and self._hit:
            lines = [*self._hit, f"repeat it with {self._repeat}"]
            report.sections.append(("corefutures chaos", "\n".join(lines)))
        return report

    def pytest_report_header(self) -> str:
        """Say how the chaos of this session is repeated."""
        return f"corefutures chaos: {self._repeat}"

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what was done."""
        if not self._counts:  # nothing was hit, or workers of pytest-xdist ran the tests
            return
        done = ", ".join(f"{self._counts[fault]} {_WORDS[fault]}" for fault in FAULTS)
        terminalreporter.write_line(f"corefutures chaos: calls {done}; {self._repeat}")

    def pytest_unconfigure(self) -> None:
        """Do nothing to executors that are made after this session."""
        stop_listening(self)


def _is_internal(function: Any) -> bool:
    """Return whether a function is one of ours, such as that of the items of a `map`, and no call of the program."""
    module = getattr(function, "__module__", None) or type(function).__module__
    return isinstance(module, str) and module.partition(".")[0].startswith("corefutures")
