"""The Ray backend of corefutures: `RayExecutor`.

Resolved on first use: describing the backend imports no Ray.
"""

from __future__ import annotations

try:
    import corefutures as _core  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "corefutures":
        raise
    raise ModuleNotFoundError(
        "corefutures_ray needs the distribution corefutures, which is not installed: install it from where"
        " corefutures-ray came from, such as the root of the same clone (pip install .)",
        name="corefutures",
    ) from None

TYPE_CHECKING = False  # as in `corefutures`

if TYPE_CHECKING:
    from corefutures_ray._executor import RayExecutor as RayExecutor

__all__ = ["RayExecutor"]


if not TYPE_CHECKING:  # for type checkers every name is above, and no other one is known

    def __getattr__(name: str) -> object:
        if name != "RayExecutor":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from corefutures_ray._executor import RayExecutor  # here for start-up time only

        globals()[name] = RayExecutor
        return RayExecutor
