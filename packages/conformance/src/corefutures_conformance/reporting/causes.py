"""Broken rules put together by what broke them, so that one mistake of an executor is read once."""

from __future__ import annotations

import re
from collections.abc import Sequence

from corefutures_conformance.verdict import Report, Result

_VOLATILE = re.compile(r"0x[0-9a-fA-F]+|\d+")
_FRAME = re.compile(r'  File "[^"]*", line \d+,? in \S+')


def broken(report: Report) -> list[list[Result]]:
    """Return the broken rules, those of one cause together: first what decides, then advisories."""
    bad = [result for result in report.results if result.bad]
    groups: dict[object, list[Result]] = {}
    for result in sorted(bad, key=lambda result: not result.decides(strict=report.strict)):
        decides = result.decides(strict=report.strict)
        groups.setdefault((decides, result.outcome, *_cause(result)), []).append(result)
    return list(groups.values())


def excused(report: Report) -> list[list[Result]]:
    """Return the expected failures, those of one reason together."""
    groups: dict[str, list[Result]] = {}
    for result in report.results:
        if result.outcome == "expected-failure":
            groups.setdefault(result.message.partition(" [")[0], []).append(result)
    return list(groups.values())


def _cause(result: Result) -> Sequence[str]:
    """Return what two rules that the same mistake broke have in common: what happened, and where."""
    frames: list[str] = _FRAME.findall(result.details)
    where = frames[-1:] if result.outcome == "failed" else frames
    return [_VOLATILE.sub("0", result.message), *where]
