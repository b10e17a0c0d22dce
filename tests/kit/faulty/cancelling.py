"""Defects in cancelling."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from planting import planted
from reference import ThreadExecutor


class _SaysYes(Future[Any]):
    def cancel(self) -> bool:
        return super().cancel() or not self.done()


@planted("cancelling.cancel_returns_false_once_running", says="cancel() did not return False")
class CancelOfRunningSaysTrue(ThreadExecutor):
    """cancel() says True for a call that runs on."""

    future_type = _SaysYes
