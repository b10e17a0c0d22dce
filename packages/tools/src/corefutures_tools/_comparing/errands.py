"""What workers run to tell what carrying a call costs; imports nothing."""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any


def swallow(_: Any) -> None:
    """Takes a value and returns nothing: what sending an argument costs."""


def echo(value: Any) -> Any:
    """Returns what it is given: what carrying a value there and back costs."""
    return value
