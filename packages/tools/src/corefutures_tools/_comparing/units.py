"""Times, ratios and sizes as people read them."""

from __future__ import annotations


def times(ratio: float) -> str:
    """Return a ratio of speeds."""
    return f"{ratio:.2f} ×" if ratio >= 0.01 else "< 0.01 ×"


def duration(seconds: float | None) -> str:
    """Return a time in the unit that suits it, to three digits; a dash for None."""
    if seconds is None:
        return "-"
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1 or unit == "µs":
            return f"{seconds * factor:.3g} {unit}" if seconds * factor < 1000 else f"{seconds * factor:.0f} {unit}"
    raise AssertionError("unreachable")


def size(count: float) -> str:
    """Return a number of bytes in the unit that suits it."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
