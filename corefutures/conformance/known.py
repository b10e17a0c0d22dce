"""Where the standard library itself breaks a rule: recorded with the issue it is known by, not bent."""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class KnownFailure:
    """A rule that a target is known to break."""

    targets: tuple[str, ...]
    rule: str
    reason: str
    first: tuple[int, int] = (3, 11)
    until: tuple[int, int] = (4, 0)
    """Pythons from `first` on, below `until`."""


KNOWN_FAILURES: tuple[KnownFailure, ...] = ()


def failures(target: str) -> dict[str, str]:
    """The rules that `target` is known to break on this Python: rule id → reason."""
    version = sys.version_info[:2]
    return {
        failure.rule: failure.reason
        for failure in KNOWN_FAILURES
        if target in failure.targets and failure.first <= version < failure.until
    }
