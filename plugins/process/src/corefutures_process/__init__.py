"""The process backend of corefutures: `ProcessPoolExecutor`.

Resolved on first use: worker processes pass through this file and need nothing of the caller's side.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in `corefutures`

if TYPE_CHECKING:
    from corefutures_process._executor import ProcessPoolExecutor as ProcessPoolExecutor

__all__ = ["ProcessPoolExecutor"]


if not TYPE_CHECKING:  # for type checkers every name is above, and no other one is known

    def __getattr__(name: str) -> object:
        if name == "ProcessPoolExecutor":
            from corefutures_process._executor import ProcessPoolExecutor  # here for start-up time only

            globals()[name] = ProcessPoolExecutor
            return ProcessPoolExecutor
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
