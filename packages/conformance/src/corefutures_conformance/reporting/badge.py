"""A badge: one line in SVG with the verdict, the version of the contract and the rules kept.

The colours have a contrast of at least 4.5 to the text, and an outline that is seen on light and on dark pages.
"""

from __future__ import annotations

from html import escape
from typing import Final

from corefutures_conformance.reporting.stored import StoredReport

_COLOURS: Final = {
    "conformant": "#1a7f37",
    "conformant-with-exceptions": "#8a5a00",
    "nonconformant": "#b62324",
    "incomplete": "#57606a",
}

_NARROW: Final = frozenset("fijlrt.,:;|!'()[] ·")


def badge(report: StoredReport) -> str:
    """Return the badge of a report as an SVG document."""
    label = f"concurrent.futures contract {report['contract']['version']}"
    kept = sum(rule["outcome"] == "passed" for rule in report["rules"])
    applicable = sum(rule["outcome"] != "not-applicable" for rule in report["rules"])
    scope = " of a selection" if report["selection"] else ""
    message = f"{report['verdict'].replace('-', ' ')} · {kept} of {applicable} rules{scope}"
    text = escape(f"{label}: {message}", quote=True)
    left, right = _width(label), _width(message)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" aria-label="{text}">'
        f"<title>{text}</title>"
        f'<rect x="0.5" y="0.5" width="{left + right - 1}" height="19" rx="3" fill="#24292f" stroke="#8b949e"/>'
        f'<path d="M{left} 1h{right - 4}a3 3 0 0 1 3 3v12a3 3 0 0 1-3 3h-{right - 4}z" '
        f'fill="{_COLOURS[report["verdict"]]}"/>'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,Geneva,sans-serif" font-size="11">'
        f'<text x="8" y="14" textLength="{left - 16}">{escape(label)}</text>'
        f'<text x="{left + 8}" y="14" textLength="{right - 16}">{escape(message)}</text>'
        "</g></svg>\n"
    )


def _width(text: str) -> int:
    """Return the width of a part with its margins, in pixels: fonts differ, and the text is fitted to this width."""
    return 16 + round(sum(4.2 if letter in _NARROW else 7.0 for letter in text))
