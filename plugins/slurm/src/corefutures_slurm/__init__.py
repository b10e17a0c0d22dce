"""The SLURM backend of corefutures: `SlurmExecutor`.

Resolved on first use: describing the backend imports no submitit.
"""

from __future__ import annotations

try:
    import corefutures as _core  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "corefutures":
        raise
    raise ModuleNotFoundError(
        "corefutures_slurm needs the distribution corefutures, which is not installed: install it from where"
        " corefutures-slurm came from, such as the root of the same clone (pip install .)",
        name="corefutures",
    ) from None

TYPE_CHECKING = False  # as in `corefutures`

if TYPE_CHECKING:
    from corefutures_slurm._executor import SlurmExecutor as SlurmExecutor

__all__ = ["SlurmExecutor"]


if not TYPE_CHECKING:  # for type checkers every name is above, and no other one is known

    def __getattr__(name: str) -> object:
        if name != "SlurmExecutor":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from corefutures_slurm._executor import SlurmExecutor  # here for start-up time only

        globals()[name] = SlurmExecutor
        return SlurmExecutor
