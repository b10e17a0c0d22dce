"""The reason why interpreters can't run calls in this program, if there is one; the plugin module imports it."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder

from corefutures_pools.workers.transport import threads_are_replaced

_REPLACED = (
    "a library such as gevent or eventlet has replaced threads by its own, of which one that runs an interpreter would"
    " stop all others: use the process backend"
)
_FROZEN = (
    "this program is a bundle whose modules the main interpreter alone can import, by an importer of its own: use the"
    " process backend"
)


#: The modules whose loaders every interpreter has.
_LOADERS = ("_frozen_importlib_external", "zipimport")


def unavailable_reason() -> str | None:
    """Return the reason why a pool of interpreters can't run here; None if it can."""
    if sys.version_info >= (3, 14):
        try:
            import _interpqueues  # noqa: F401 - some builds
            import _interpreters  # noqa: F401 - lack these modules
        except ImportError:
            return "this build of Python has no concurrent.interpreters"
        if threads_are_replaced():
            return _REPLACED
        if getattr(sys, "frozen", False) and not _is_found_by_all():
            return _FROZEN
        return None
    return (
        "it needs Python 3.14 or newer: older versions have no concurrent.interpreters,"
        " and their interpreters are not stable enough"
    )


def _is_found_by_all() -> bool:
    """Return whether every interpreter can import this package; a bundler's own importer is in the main one only."""
    spec = PathFinder.find_spec("corefutures_interpreter")
    return spec is not None and type(spec.loader).__module__ in _LOADERS
