"""Draws a `Timeline` as one page of HTML, which needs nothing else: no network, no other file.

Touches `reading` and the template beside it.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from corefutures_monitor._timelines.reading import OUTCOMES

if TYPE_CHECKING:
    from corefutures_monitor._timelines.reading import Timeline


def page(timeline: Timeline, title: str) -> str:
    """Return the page.

    Args:
        timeline: What to draw.
        title: Its headline, plain text.
    """
    template = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    data = json.dumps({**asdict(timeline), "outcomes": OUTCOMES, "title": title}, separators=(",", ":"))
    # In a script, only these could end it.
    return template.replace("/*DATA*/null", data.replace("<", "\\u003c").replace("\u2028", "\\u2028"))
