"""Tracebacks and stacks of a broken rule as its reader wants them: without the frames of the kit and of pytest."""

from __future__ import annotations

import os
import re
import threading
import traceback
from collections.abc import Iterator
from importlib.util import find_spec

_OWN = os.path.dirname(os.path.abspath(__file__)) + os.sep
_FRAME = re.compile(r'  File "([^"]*)"')


def shown(error: BaseException) -> str:
    """Return the traceback of an error, and of those behind it; empty if it has no frames but the kit's."""
    described = traceback.TracebackException.from_exception(error)
    frames = [_strip(one) for one in _chain(described)]
    return "".join(described.format()).rstrip() if any(frames) or len(frames) > 1 else ""


def _chain(first: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    waiting = [first]
    while waiting:
        one = waiting.pop()
        yield one
        waiting += [other for other in (one.__cause__, one.__context__, *(one.exceptions or ())) if other is not None]


def _strip(described: traceback.TracebackException) -> int:
    """Take out the frames that are not wanted; how many remain."""
    kept = [frame for frame in described.stack if not _is_ours(frame.filename)]
    described.stack = traceback.StackSummary.from_list(kept)
    return len(kept)


def stacks(dump: str) -> str:
    """Return what faulthandler has dumped: without threads that only the kit uses."""
    threads = re.split(r"^(?=(?:Current thread|Thread) 0x)", dump, flags=re.M)
    return "\n".join(filter(None, map(_stack, threads)))


def _stack(text: str) -> str:
    kept: list[str] = []
    has_frames = dropped = False
    for line in text.splitlines():
        frame = _FRAME.match(line)
        if frame is not None and _is_ours(frame[1]):
            dropped = True
            continue
        has_frames |= frame is not None and frame[1] not in _PLUMBING
        if line and not line.startswith("Timeout ("):
            kept.append(line)
    return "" if dropped and not has_frames else "\n".join(kept)


def _is_ours(file: str) -> bool:
    return file.startswith(_OWN) or file == "<frozen runpy>" or any(file.startswith(root) for root in _ENGINES)


def _roots(*packages: str) -> Iterator[str]:
    for package in packages:
        spec = find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            yield folder + os.sep


_ENGINES = tuple(_roots("_pytest", "pytest", "pluggy", "hypothesis"))
_PLUMBING = (threading.__file__,)
"""What a thread of the kit's rests in."""
