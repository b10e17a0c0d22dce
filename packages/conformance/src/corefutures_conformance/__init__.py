"""The door for whoever certifies an executor: `ExecutorTests`, to be subclassed and run by pytest.

It resolves on first use: workers import this package's `worker` modules, and must not import pytest for it.
PYTEST_DONT_REWRITE: pytest, which loads the plugin, is not to warn of a package that was imported before.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`
if TYPE_CHECKING:
    from corefutures_conformance.executor_tests import ExecutorTests as ExecutorTests

__all__ = ["ExecutorTests"]


if not TYPE_CHECKING:  # for type checkers every name is above, and no other one is known

    def __getattr__(name: str) -> object:
        if name == "ExecutorTests":  # imported on demand: it brings pytest along
            from corefutures_conformance.executor_tests import ExecutorTests

            return ExecutorTests
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
