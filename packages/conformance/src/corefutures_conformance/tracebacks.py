"""Tracebacks and stacks of a broken rule as its reader wants them: without the frames of the kit and of pytest."""

from __future__ import annotations

import os
import re
import sysconfig
import threading
import traceback
from collections.abc import Iterator
from importlib.util import find_spec

_OWN = os.path.dirname(os.path.abspath(__file__)) + os.sep
_PLACE = re.compile(r'  File "([^"]*)", line (\d+) in (.*)')
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
    return "\n".join(filter(None, map(_stack, _threads(dump))))


def _threads(dump: str) -> list[str]:
    return re.split(r"^(?=(?:Current thread|Thread) 0x)", dump, flags=re.M)


def with_place(message: str, dump: str) -> str:
    """Return a message on what is overdue, with the line of the target's code where the time went, if it is seen."""
    place = place_of_delay(dump)
    return f"{message} (the time went in {place})" if place else message


def place_of_delay(dump: str) -> str:
    """Return the line of the target's code that a rule waits in, as faulthandler's dump shows it; "" if none is seen.

    The threads in which the kit called the target come first: a worker of the target waits for its next call, which
    is no delay.
    """
    places = {False: "", True: ""}
    for thread in _threads(dump):
        frames = [frame for frame in map(_PLACE.match, thread.splitlines()) if frame is not None]
        called_by_us = any(_is_ours(frame[1]) for frame in frames)
        innermost = next((frame for frame in frames if not _is_ours(frame[1]) and not _is_of_python(frame[1])), None)
        if innermost is not None and not places[called_by_us]:
            places[called_by_us] = f"{os.path.basename(innermost[1])}, line {innermost[2]}, in {innermost[3]}"
    return places[True] or places[False]


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


def _is_of_python(file: str) -> bool:
    """Return whether a file belongs to Python itself; what is installed beside it may lie in a folder of it."""
    return file.startswith("<") or (file.startswith(_STANDARD_LIBRARY) and "site-packages" not in file)


def _roots(*packages: str) -> Iterator[str]:
    for package in packages:
        spec = find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            yield folder + os.sep


_ENGINES = tuple(_roots("_pytest", "pytest", "pluggy", "hypothesis"))
_STANDARD_LIBRARY = tuple({sysconfig.get_path("stdlib") + os.sep, sysconfig.get_path("platstdlib") + os.sep})
_PLUMBING = (threading.__file__,)
"""What a thread of the kit's rests in."""
