"""The pytest plugin: the fixture `executor`, and the options `--corefutures-…`. pytest finds it by itself.

It is imported in every run of pytest where corefutures-testing is installed: it imports nothing until a test or an
option needs it.
"""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from corefutures_testing import SimulatedExecutor

_VARIABLES = {"corefutures_seed": "COREFUTURES_SEED", "corefutures_replay": "COREFUTURES_REPLAY"}

_SEED = pytest.StashKey[int]()
_EXECUTOR = pytest.StashKey[Any]()
_FAILED = pytest.StashKey[bool]()


def _probability(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError(text)
    return value


_probability.__name__ = "probability"  # what argparse calls it in a refusal


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("corefutures", "tests of programs with executors (corefutures-testing)")
    group.addoption("--corefutures-seed", type=int, metavar="N", help="repeat the schedules, and the chaos, of a seed")
    group.addoption(
        "--corefutures-replay", metavar="SCHEDULE", help="run simulated executors by the schedule of a failure's report"
    )
    group.addoption(
        "--corefutures-leaks", action="store_true", help="fail tests that leave pools, calls or workers behind"
    )
    group.addoption(
        "--corefutures-chaos",
        type=_probability,
        metavar="P",
        help="delay, fail or kill calls of real executors, each with this probability, such as 0.02",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Begin a session."""
    config.addinivalue_line(
        "markers",
        "corefutures(max_workers=, seed=, replay=, cancellations=, losses=, delays=, patience=): options of the"
        " simulated executor that the fixture `executor` makes",
    )
    if config.getoption("corefutures_seed") is None:
        inherited = os.environ.get(_VARIABLES["corefutures_seed"], "")  # in a worker of pytest-xdist
        config.option.corefutures_seed = (
            int(inherited) if inherited.isdecimal() else random.SystemRandom().randrange(1_000_000_000)
        )
    config.stash[_SEED] = config.option.corefutures_seed
    for option, variable in _VARIABLES.items():
        value = config.getoption(option)
        if value is not None:
            before = os.environ.get(variable)
            os.environ[variable] = str(value)
            config.add_cleanup(functools.partial(_restore, variable, before))
    if (replay := config.getoption("corefutures_replay")) is not None:
        from corefutures_testing._choices import from_text

        try:
            from_text(replay)
        except ValueError as error:
            raise pytest.UsageError(f"--corefutures-replay: {error}") from None
    if config.getoption("corefutures_leaks"):
        from corefutures_testing._leaks import Leaks

        config.pluginmanager.register(Leaks(), "corefutures-leaks")
    if probability := config.getoption("corefutures_chaos"):
        from corefutures_testing._chaos import Chaos

        config.pluginmanager.register(Chaos(probability, config.stash[_SEED]), "corefutures-chaos")


def _restore(variable: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(variable, None)
    else:
        os.environ[variable] = value


@pytest.fixture
def executor(request: pytest.FixtureRequest) -> Generator[SimulatedExecutor, None, None]:
    """Provide a simulated executor: it runs one call at a time, in an order that a seed decides.

    The marker `corefutures` gives its options. Calls that the test leaves run at its end.
    """
    from corefutures_testing import SimulatedExecutor

    options: dict[str, Any] = {}
    for marker in reversed(list(request.node.iter_markers("corefutures"))):
        if marker.args:
            raise pytest.UsageError("the marker corefutures takes keyword arguments, such as losses=1")
        options |= marker.kwargs
    config = request.config
    if "seed" not in options and "replay" not in options:
        replay = config.getoption("corefutures_replay")
        options |= {"seed": config.stash[_SEED]} if replay is None else {"replay": replay}
    made = SimulatedExecutor(**options)
    made._cf_pool.simulation.traced = True
    request.node.stash[_EXECUTOR] = made
    try:
        yield made
        if not request.node.stash.get(_FAILED, False):
            made.shutdown()
    finally:
        made._cf_close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say in the report of a failure how it is repeated."""
    report = yield
    made = item.stash.get(_EXECUTOR, None)
    if report.failed and made is not None:
        item.stash[_FAILED] = True
        how = f"seed {made.seed}: repeat it with --corefutures-seed={made.seed}, or the same order alone with"
        if made.seed is None:
            how = "a replay: repeat it with"
        lines = [f"{how} --corefutures-replay={made.schedule}", *made.notes, *made.events]
        report.sections.append(("corefutures", "\n".join(lines)))
    return report
