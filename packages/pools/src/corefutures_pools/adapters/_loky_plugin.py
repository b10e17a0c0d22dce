"""The plugin module of the backend "loky": describes it, imports nothing of it."""

from __future__ import annotations

from corefutures.backend import Backend, Capabilities, hookimpl


def _unavailable_reason() -> str | None:
    from importlib.util import find_spec

    return None if find_spec("loky") is not None else "the package loky is not installed here: pip install loky"


@hookimpl
def corefutures_backend() -> Backend:
    """Describe the backend: it declares the manual of `concurrent.futures`, and not our promises beyond that."""
    return Backend(
        name="loky",
        factory="corefutures_pools.adapters.loky:make_executor",
        capabilities=Capabilities(pickles=True, accepts_initializer=True),
        summary="processes of loky's, which takes functions of interactive sessions; by adapt()",
        unavailable_reason=_unavailable_reason,
    )
