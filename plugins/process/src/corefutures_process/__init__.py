"""The process backend of corefutures: `ProcessPoolExecutor`.

The class is imported on first use: worker processes import this file, and nothing of the pool's side.
"""

from __future__ import annotations

try:
    import corefutures as _core  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "corefutures":
        raise
    raise ModuleNotFoundError(
        "corefutures_process needs the distribution corefutures, which is not installed: install it from where"
        " corefutures-process came from, such as the root of the same clone (pip install .)",
        name="corefutures",
    ) from None

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
