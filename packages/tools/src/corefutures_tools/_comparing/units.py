"""Times, ratios and sizes as people read them."""

from __future__ import annotations


def times(ratio: float) -> str:
    """How many times as fast."""
    return f"{ratio:.2f} ×" if ratio >= 0.01 else "< 0.01 ×"


def duration(seconds: float | None) -> str:
    """Seconds in the unit that suits them, to three digits."""
    if seconds is None:
        return "-"
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1 or unit == "µs":
            return f"{seconds * factor:.3g} {unit}" if seconds * factor < 1000 else f"{seconds * factor:.0f} {unit}"
    raise AssertionError("unreachable")


def size(count: float) -> str:
    """Bytes in the unit that suits them."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
