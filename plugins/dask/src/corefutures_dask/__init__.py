"""The Dask backend of corefutures: `DaskExecutor`.

Resolved on first use: Dask's workers pass through this file and need nothing of the caller's side.
"""

from __future__ import annotations

try:
    import corefutures as _core  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "corefutures":
        raise
    raise ModuleNotFoundError(
        "corefutures_dask needs the distribution corefutures, which is not installed: install it from where"
        " corefutures-dask came from, such as the root of the same clone (pip install .)",
        name="corefutures",
    ) from None

TYPE_CHECKING = False  # as in `corefutures`

if TYPE_CHECKING:
    from corefutures_dask._exceptions import BrokenDaskPool as BrokenDaskPool
    from corefutures_dask._executor import DaskExecutor as DaskExecutor

_HOMES = {"BrokenDaskPool": "_exceptions", "DaskExecutor": "_executor"}
__all__ = ["BrokenDaskPool", "DaskExecutor"]


if not TYPE_CHECKING:  # for type checkers every name is above, and no other one is known

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # here for start-up time only

        value: object = getattr(import_module(f"corefutures_dask.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
