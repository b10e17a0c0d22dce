"""The one hook of a plugin: its marker for authors, its specification for the registry.

The only file but `_registry` that imports pluggy; therefore never imported in a worker.
"""

from __future__ import annotations

import pluggy

from corefutures._instrumentation import PROJECT
from corefutures.registry._description import Backend

#: Marks a plugin's implementation of `corefutures_backend`.
hookimpl = pluggy.HookimplMarker(PROJECT)

_hookspec = pluggy.HookspecMarker(PROJECT)


class HookSpecification:
    """The hook that a plugin implements."""

    @staticmethod
    @_hookspec
    def corefutures_backend() -> Backend:  # type: ignore[empty-body]
        """Describe the plugin's backend.

        Takes no arguments, imports nothing heavy, and returns a `Backend` whose name is the key
        of the entry point that named the plugin.
        """
