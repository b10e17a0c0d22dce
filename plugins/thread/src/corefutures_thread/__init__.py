"""The thread backend of corefutures: `ThreadPoolExecutor`."""

try:
    import corefutures as _core  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "corefutures":
        raise
    raise ModuleNotFoundError(
        "corefutures_thread needs the distribution corefutures, which is not installed: install it from where"
        " corefutures-thread came from, such as the root of the same clone (pip install .)",
        name="corefutures",
    ) from None

from corefutures_thread._executor import ThreadPoolExecutor

__all__ = ["ThreadPoolExecutor"]
