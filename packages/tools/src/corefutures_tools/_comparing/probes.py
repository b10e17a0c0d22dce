"""Functions that workers run to measure what carrying a call costs; imports nothing."""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any


def discard(_: Any) -> None:
    """Take a value and return nothing: what sending an argument costs."""


def echo(value: Any) -> Any:
    """Return the value: what carrying it there and back costs."""
    return value
