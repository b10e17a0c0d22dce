"""The door for whoever certifies an executor.

`ExecutorTests` (subclass it, give `make_executor`, run pytest with `-p corefutures.conformance.plugin`) and
the marks that rules carry. Names resolve on first use: workers import this package's `worker` modules, and
must not import pytest for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from corefutures.conformance.executor_tests import ExecutorTests as ExecutorTests

__all__ = ["ExecutorTests"]


if not TYPE_CHECKING:  # for type checkers every name is above, and no other one is known

    def __getattr__(name: str) -> object:
        if name == "ExecutorTests":  # imported on demand: it brings pytest along
            from corefutures.conformance.executor_tests import ExecutorTests

            return ExecutorTests
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
