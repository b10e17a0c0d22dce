"""Puts our classes in the place of the standard ones, in this process, and keeps evidence of who was used.

Touches the attributes of `concurrent.futures` and its modules, and wraps methods of the standard classes and
ours. Guarantees: whatever the standard classes are asked to do from then on leaves a mark, and so does each
pool and each bare future of ours. Asking for a pool that isn't installed skips the case.
"""

from __future__ import annotations

import concurrent.futures as standard
import functools
import importlib
import os
import types
import unittest
from typing import Any

#: Where a script finds the folder for its marks; set for the scripts that cases start, for no other process.
EVIDENCE = "COREFUTURES_CPYTHON_EVIDENCE"

#: kind → the name of its pool; each lives in `concurrent.futures.<kind>` and in `corefutures_<kind>`.
POOLS = {
    "thread": "ThreadPoolExecutor",
    "process": "ProcessPoolExecutor",
    "interpreter": "InterpreterPoolExecutor",
}
NAMES = ("Future", "Executor", "wait", "as_completed")


class Evidence:
    """A folder with a file for each process that leaves marks, named by its number; one line a mark."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._left: set[tuple[str, int, str]] = set()

    def leave(self, mark: str) -> None:
        """Writes `mark` at once, so that it outlives this process; once for each folder."""
        key = (self.folder, os.getpid(), mark)
        if key in self._left:
            return
        try:
            with open(os.path.join(self.folder, str(os.getpid())), "a") as file:
                file.write(f"{mark}\n")
        except (FileNotFoundError, NotADirectoryError):  # nobody reads the marks, or not any more
            return
        self._left.add(key)

    def read(self) -> dict[int, set[str]]:
        """Returns the marks of each process."""
        marks = {}
        for entry in os.scandir(self.folder):
            if entry.is_file():
                with open(entry) as file:
                    marks[int(entry.name)] = set(file.read().split("\n"))
        return marks


def install(evidence: Evidence) -> None:
    """Replaces the names, for good."""
    import corefutures

    base = importlib.import_module("concurrent.futures._base")
    replaced = {name: (getattr(base, name), getattr(corefutures, name)) for name in NAMES}
    absent = {}
    homes = [standard, base]
    for kind, pool in POOLS.items():
        if not hasattr(standard, pool):  # this Python has none
            continue
        home = importlib.import_module(f"concurrent.futures.{kind}")
        homes.append(home)
        distribution = f"corefutures-{kind}"
        try:
            ours = getattr(importlib.import_module(f"corefutures_{kind}"), pool)
        except ModuleNotFoundError as error:
            if error.name != f"corefutures_{kind}":
                raise
            absent[getattr(home, pool)] = distribution
        else:
            replaced[pool] = (getattr(home, pool), ours)

    for theirs, distribution in absent.items():
        theirs.__init__ = _refusal(distribution)
    for name, (theirs, ours) in replaced.items():
        if isinstance(theirs, type):
            _watch(theirs, evidence)
            ours.__init__ = _marking(ours.__init__, f"ours {name}", evidence)
        for home in homes:
            if getattr(home, name, None) is theirs:
                setattr(home, name, ours)


def spare_asyncio() -> None:
    """Lets asyncio go on seeing the standard classes, as it does for our users: it asks what is one of them."""
    from asyncio import base_events

    for pool in POOLS.values():
        getattr(standard, pool, None)  # they are imported when first asked for
    seen = types.SimpleNamespace(**vars(standard))
    base_events.concurrent = types.SimpleNamespace(futures=seen)  # type: ignore[attr-defined]


def _watch(theirs: type, evidence: Evidence) -> None:
    """Has every method of a standard class leave a mark when it is called.

    Not `submit`, which tools replace, so that our pools would go through it; that of a pool comes after its `__init__`.
    """
    for name, method in list(vars(theirs).items()):
        if name == "submit":
            continue
        mark = f"standard {theirs.__name__}.{name}"
        if isinstance(method, types.FunctionType):
            setattr(theirs, name, _marking(method, mark, evidence))
        elif isinstance(method, classmethod) and isinstance(method.__func__, types.FunctionType):
            setattr(theirs, name, classmethod(_marking(method.__func__, mark, evidence)))


def _marking(function: Any, mark: str, evidence: Evidence) -> Any:
    @functools.wraps(function)
    def marked(*args: Any, **kwargs: Any) -> Any:
        evidence.leave(mark)
        return function(*args, **kwargs)

    return marked


def _refusal(distribution: str) -> Any:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise unittest.SkipTest(f"{distribution} is not installed")

    return refuse


def install_in_script() -> None:
    """The same in a script that a case has started; in every other process it does nothing."""
    folder = os.environ.pop(EVIDENCE, None)
    if folder is None:
        return
    own = os.path.join(os.path.dirname(os.path.abspath(__file__)), "script")
    entries = [entry for entry in os.environ.pop("PYTHONPATH").split(os.pathsep) if entry != own]
    if entries:  # what the scripts themselves start shall find neither of the two
        os.environ["PYTHONPATH"] = os.pathsep.join(entries)
    evidence = Evidence(folder)
    evidence.leave("script")
    install(evidence)
