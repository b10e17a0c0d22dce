"""Draws a `Profile` as one page of HTML, which needs nothing else: no network, no other file.

Touches the template beside it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def page(title: str, found: dict[str, Any], stacks: dict[tuple[tuple[str, str], ...], float]) -> str:
    """Return the page.

    Args:
        title: Its headline, plain text.
        found: `samples`, `seconds`, `idle` of a `Profile`, and its `functions` as dictionaries.
        stacks: Those of the profile.
    """
    template = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    data = json.dumps({"title": title, **found, "tree": _tree(stacks)}, separators=(",", ":"))
    # In a script, only these could end it.
    return template.replace("/*DATA*/null", data.replace("<", "\\u003c").replace("\u2028", "\\u2028"))


def _tree(stacks: dict[tuple[tuple[str, str], ...], float]) -> dict[str, Any]:
    """Return the stacks as a tree: each node has the time of its branch, `time`, and its callees, `inner`."""
    root: dict[str, Any] = {"name": "all calls", "file": "", "time": 0.0, "inner": {}}
    for stack, seconds in stacks.items():
        node = root
        node["time"] += seconds
        for file, name in stack:
            node = node["inner"].setdefault((file, name), {"name": name, "file": file, "time": 0.0, "inner": {}})
            node["time"] += seconds
    nodes = [root]
    while nodes:  # not recursive: a stack may be deeper than Python's own
        node = nodes.pop()
        node["inner"] = sorted(node["inner"].values(), key=lambda child: (child["name"], child["file"]))
        nodes += node["inner"]
    return root
