"""The pytest plugin that runs rules; pytest finds it by itself where the kit is installed.

It is imported in every run of pytest then, those of people who certify nothing among them: so it imports nothing, and
does nothing before a subclass of `ExecutorTests` is collected.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType


def _kit() -> ModuleType | None:
    """Return the module of `ExecutorTests`, if anybody has imported it."""
    return sys.modules.get("corefutures_conformance.executor_tests")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Let a runner process run the item if it is a rule."""
    kit, tests = _kit(), getattr(item, "cls", None)
    if kit is None or not (isinstance(tests, type) and issubclass(tests, kit.ExecutorTests)):
        return None
    from corefutures_conformance.class_runs import run_item  # here: only whoever certifies something needs it

    return run_item(item, nextitem, tests) or None


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leave no runner process behind, also when the run was interrupted."""
    if _kit() is not None:
        from corefutures_conformance.class_runs import class_runs

        for class_run in class_runs(session.config).values():
            class_run.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the verdict on each class, and the advisories."""
    if _kit() is not None:
        from corefutures_conformance.class_runs import summarise

        summarise(terminalreporter, config)
