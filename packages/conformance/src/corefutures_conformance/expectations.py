"""What `concurrent.futures` itself does differently from version to version: data, each with its issue.

Rules ask `expected(…)`, so that an executor modelled on the running Python's own is not accused.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Expectation:
    """A behaviour that came with a version."""

    what: str
    since: tuple[int, int]
    issue: str

    @property
    def here(self) -> bool:
        """Whether the running Python is new enough."""
        return sys.version_info >= self.since

    @property
    def absence(self) -> str:
        """Why a rule on it does not apply here."""
        return f"{self.what}: since Python {self.since[0]}.{self.since[1]} ({self.issue})"


MAP_BUFFERSIZE = Expectation("map() takes buffersize", (3, 14), "gh-74028")
MAP_CONTINUES_AFTER_ERROR = Expectation("map's iterator goes on after an error of a call", (3, 16), "gh-108518")
MAP_CLOSE = Expectation("map's iterator has close()", (3, 16), "gh-108518")
MAP_CALLS_OWN_TIMEOUT = Expectation("map tells a call's own TimeoutError from its own", (3, 16), "gh-155852")
FALSY_EXCEPTIONS = Expectation("an exception that is false is raised", (3, 14), "gh-132063")
OWN_BROKEN_ERROR = Expectation("each future has a broken-pool error of its own", (3, 15), "gh-101267")
