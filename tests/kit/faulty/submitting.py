"""Defects in submitting."""

from __future__ import annotations

from typing import Any

from planting import planted
from reference import ThreadExecutor


@planted(
    "submitting.submit_returns_a_future",
    says="no concurrent.futures.Future",
    also=("submitting.*",),
)
class ReturnsNoFuture(ThreadExecutor):
    """submit() returns something that is no Future."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        return vars(super().submit(fn, *args, **kwargs))
